// SPDX-License-Identifier: Apache-2.0
/**
 * One session, in the Worker: joins the file to the WebSocket by an NBD server, until one of them,
 * the person or the device is done. Says how it goes by `tell`, 'ended' being its last word.
 */
import { FileStore, NbdServer } from '@platter/nbd-server';
import {
  CLOSE_FILE_CHANGED,
  CLOSE_NORMAL,
  CLOSE_PROTOCOL,
  CLOSE_SILENCE,
  type EndCause,
  type FromWorker,
  MAP_CELLS,
  type SessionState,
} from './messages.js';

export const SUBPROTOCOL = 'platter.media.1';

const PROGRESS_INTERVAL = 500;
/**
 * The device says something at least every 10 s. Silence is counted in ticks and not by a clock, so
 * that a computer that slept does not take its sleep for silence.
 */
const SILENT_TICKS_MAX = 70;
/** After its goodbye the device closes the socket, with its reason. If it does not, we do. */
const GOODBYE_WAIT = 5000;

const STATES: readonly SessionState[] = ['opening', 'attaching', 'serving', 'closing'];

export class Session {
  readonly #file: File;
  readonly #tell: (message: FromWorker) => void;
  readonly #socket: WebSocket;
  readonly #cells = new Set<number>();
  readonly #seen = new Uint8Array(MAP_CELLS);
  #server: NbdServer | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;
  #silentTicks = 0;
  #cause: EndCause = 'device';
  #reason = '';
  /** Why the device is about to end it: the whole sentence, where its goodbye has room for a part. */
  #deviceReason = '';
  #over = false;

  constructor(url: string, file: File, tell: (message: FromWorker) => void) {
    this.#file = file;
    this.#tell = tell;
    this.#socket = new WebSocket(url, [SUBPROTOCOL]);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#message(data);
    this.#socket.onclose = ({ code, reason }) => this.#ended(code, reason);
  }

  /** The person has had enough. */
  close(): void {
    this.#leave('person', CLOSE_NORMAL, '');
  }

  #opened(): void {
    const store = new FileStore(this.#file, {
      // Reads that are under way are answered with EIO first; then the session ends.
      onChanged: () =>
        setTimeout(() => this.#leave('file', CLOSE_FILE_CHANGED, 'The file changed.'), 0),
    });
    this.#server = new NbdServer({
      socket: this.#socket,
      store,
      description: this.#file.name,
      onRead: (offset, length) => this.#mark(offset, length),
      onEnd: ({ kind, message }) => {
        if (kind === 'protocol') this.#leave('protocol', CLOSE_PROTOCOL, message);
        else setTimeout(() => this.#leave('device', CLOSE_NORMAL, ''), GOODBYE_WAIT);
      },
    });
    this.#server.start();
    this.#ticker = setInterval(() => this.#tick(), PROGRESS_INTERVAL);
  }

  #message(data: unknown): void {
    this.#silentTicks = 0;
    if (data instanceof ArrayBuffer) this.#server?.receive(new Uint8Array(data));
    else if (typeof data === 'string') this.#word(data);
  }

  /** The device's word on how far it is; anything else it may say in future is passed over. */
  #word(text: string): void {
    let word: { state?: unknown; uri?: unknown; reason?: unknown } | null;
    try {
      word = JSON.parse(text);
    } catch {
      return;
    }
    const state = STATES.find((known) => known === word?.state);
    if (!state) return;
    if (typeof word?.reason === 'string') this.#deviceReason = word.reason;
    const uri = typeof word?.uri === 'string' ? word.uri : '';
    this.#tell({ type: 'state', state, uri });
  }

  #mark(offset: number, length: number): void {
    const { size } = this.#file;
    const last = Math.floor(((offset + Math.max(length, 1) - 1) * MAP_CELLS) / size);
    for (let cell = Math.floor((offset * MAP_CELLS) / size); cell <= last; cell++) {
      if (this.#seen[cell]) continue;
      this.#seen[cell] = 1;
      this.#cells.add(cell);
    }
  }

  #tick(): void {
    this.#report();
    if (++this.#silentTicks > SILENT_TICKS_MAX) {
      this.#leave('silence', CLOSE_SILENCE, 'The device went silent.');
      this.#ended(1006, ''); // its answer to our goodbye may never come
    }
  }

  #report(): void {
    const bytesRead = this.#server?.counters.bytesRead ?? 0;
    const cells = [...this.#cells];
    this.#cells.clear();
    this.#tell({ type: 'progress', progress: { at: performance.now(), bytesRead, cells } });
  }

  #leave(cause: EndCause, code: number, reason: string): void {
    if (this.#over || this.#socket.readyState >= WebSocket.CLOSING) return;
    this.#cause = cause;
    this.#reason = reason;
    this.#server?.stop();
    this.#socket.close(code, reason);
    this.#tell({ type: 'state', state: 'closing', uri: '' });
  }

  #ended(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#ticker);
    const opened = this.#server !== undefined;
    this.#server?.stop();
    if (opened) this.#report();
    const end = {
      cause: this.#cause,
      code,
      reason: this.#deviceReason || reason || this.#reason,
      opened,
    };
    this.#tell({ type: 'ended', end });
  }
}
