// SPDX-License-Identifier: Apache-2.0
/**
 * One WebSocket and the NBD server that speaks through it, from the first knock to the end. A
 * session has one at a time and makes a new one when the line was lost; the store, and what it has
 * cached, is the session's.
 *
 * `closed` is called once, and nothing after it; after abandon() nothing is called at all.
 */
import { type BlockStore, NbdServer } from '@platter/nbd-server';
import { CLOSE_NORMAL, CLOSE_PROTOCOL, CLOSE_SILENCE, type EndCause } from './messages.js';

export const SUBPROTOCOL = 'platter.media.1';
/** Milliseconds between two calls of tick(). */
export const TICK = 500;
/**
 * The device has a word to say every 2 s. Silence is counted in ticks and not by a clock, so that a
 * computer that slept does not take its sleep for silence. A device that gives no ticket, and so
 * would not take this page back, gets more time: of such it is only known that it speaks every 10 s.
 */
const SILENT_TICKS_MAX = 12;
const SILENT_TICKS_MAX_ONCE = 70;
/** After a sleep a living line has a word within this. */
const DOUBT_TICKS = 5;
/** After its goodbye the device closes the socket, with its reason. If it does not, we do. */
const GOODBYE_WAIT = 5000;
/**
 * A browser takes memory of its own for each message, and for those of more than about a quarter of a
 * MiB anew from the system: sending a MiB in one costs half as much again as in four.
 */
const MESSAGE_MAX = 264 * 1024; // a reply of 256 KiB with its heads is one message
const ALIVE = '{"alive":true}';

export interface Close {
  cause: EndCause;
  /** The WebSocket's close code; 1006 when there was no goodbye. */
  code: number;
  reason: string;
  opened: boolean;
}

export interface ConnectionOptions {
  url: string;
  store: BlockStore;
  /** The file's name, as the NBD server describes itself. */
  name: string;
  onOpen: () => void;
  /** A text message of the device: JSON, or whatever it says. */
  onWord: (text: string) => void;
  onRead: (offset: number, length: number) => void;
  onClosed: (close: Close) => void;
}

export class Connection {
  /** The device would take this page back, and so speaks often: silence is noticed soon. */
  isWatched = false;
  readonly #options: ConnectionOptions;
  readonly #socket: WebSocket;
  #server: NbdServer | undefined;
  #silentTicks = 0;
  #heardAt = Date.now();
  #leaving = false;
  #cause: EndCause = 'device';
  #reason = '';
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = new WebSocket(options.url, [SUBPROTOCOL]);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#message(data);
    this.#socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  get isOpen(): boolean {
    return this.#server !== undefined && !this.#over;
  }

  /** When the device was last heard, by Date.now(). */
  get heardAt(): number {
    return this.#heardAt;
  }

  get bytesRead(): number {
    return this.#server?.counters.bytesRead ?? 0;
  }

  /** Says goodbye; `closed` follows, in GOODBYE_WAIT at the latest. */
  leave(cause: EndCause, code: number, reason: string): void {
    if (this.#over || this.#leaving) return;
    this.#leaving = true;
    this.#cause = cause;
    this.#reason = reason;
    this.#server?.stop();
    this.#socket.close(code, reason);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#closed(1006, ''), GOODBYE_WAIT);
  }

  /** Lets go of it at once, without a word to the owner. */
  abandon(): void {
    this.#finish();
    this.#socket.close(CLOSE_SILENCE, 'The device went silent.');
  }

  /** Call every TICK while it lives. */
  tick(): void {
    const most = this.isWatched ? SILENT_TICKS_MAX : SILENT_TICKS_MAX_ONCE;
    if (!this.isOpen || this.#leaving || ++this.#silentTicks <= most) return;
    this.abandon(); // the answer to a goodbye may take minutes to come
    this.#options.onClosed({ cause: 'silence', code: 1006, reason: '', opened: true });
  }

  /** The computer may have slept, or changed its network: believe in this line only if it speaks. */
  doubt(): void {
    if (!this.isWatched || Date.now() - this.#heardAt < DOUBT_TICKS * TICK) return;
    this.#silentTicks = Math.max(this.#silentTicks, SILENT_TICKS_MAX - DOUBT_TICKS);
  }

  #opened(): void {
    this.#heardAt = Date.now();
    this.#server = new NbdServer({
      socket: this.#socket,
      store: this.#options.store,
      description: this.#options.name,
      maxMessage: MESSAGE_MAX,
      onRead: this.#options.onRead,
      onEnd: ({ kind, message }) => {
        if (kind === 'protocol') this.leave('protocol', CLOSE_PROTOCOL, message);
        else this.#timer = setTimeout(() => this.leave('device', CLOSE_NORMAL, ''), GOODBYE_WAIT);
      },
    });
    this.#server.start();
    this.#options.onOpen();
  }

  #message(data: unknown): void {
    this.#silentTicks = 0;
    this.#heardAt = Date.now();
    if (data instanceof ArrayBuffer) {
      this.#server?.receive(new Uint8Array(data));
    } else if (typeof data === 'string') {
      if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(ALIVE);
      this.#options.onWord(data);
    }
  }

  #closed(code: number, reason: string): void {
    if (this.#over) return;
    const opened = this.#server !== undefined;
    this.#finish();
    this.#options.onClosed({ cause: this.#cause, code, reason: reason || this.#reason, opened });
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#server?.stop();
    this.#socket.onopen = null;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
  }
}
