// SPDX-License-Identifier: Apache-2.0
/**
 * A store served over a WebSocket of its own, from its opening to its end: for pages that bring no
 * life of a session themselves, such as OpenBMC's.
 *
 * The far end is any NBD client behind any web server. Nothing is sent but NBD's bytes, and text
 * that comes in is passed over.
 */
import { type NbdCounters, type NbdEnd, NbdServer, type NbdServerOptions } from './server.js';
import type { BinarySocket } from './socket.js';
import type { BlockStore } from './store.js';

/** The part of the platform's WebSocket that is used; naming it keeps the DOM out of the library. */
interface PlatformSocket extends BinarySocket {
  binaryType: string;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  close(code: number, reason?: string): void;
}
declare const WebSocket: new (url: string, subprotocol?: string) => PlatformSocket;

/**
 * What OpenBMC's web server lets through before it ends a session: messages of 131,088 bytes, which
 * is a simple reply to a read of 128 KiB, and four of them on their way to the device.
 */
export const BMCWEB_LIMITS = {
  maxMessage: 131_088,
  maxRequest: 131_072,
  maxReads: 4,
  maxQueued: 524_352,
} as const;

/** The close code of a page that was sent what is no NBD. */
const CLOSE_PROTOCOL = 4102;

export interface MediaSocketOptions extends Omit<NbdServerOptions, 'socket' | 'store' | 'onEnd'> {
  /** What to ask for as the WebSocket's subprotocol: OpenBMC wants its XSRF token there. */
  subprotocol?: string;
  /** The WebSocket is open. */
  onOpen?: () => void;
  /** It is over, however it ended; called once, unless close() was. */
  onClose?: (close: MediaSocketClose) => void;
}

export interface MediaSocketClose {
  /** The WebSocket's close code and reason; 1000 when it ended as it should. */
  code: number;
  reason: string;
  /** How the NBD connection ended; undefined when it was under way. */
  end: NbdEnd | undefined;
}

export class MediaSocket {
  readonly #socket: PlatformSocket;
  readonly #server: NbdServer;
  #end: NbdEnd | undefined;

  constructor(url: string, store: BlockStore, options: MediaSocketOptions = {}) {
    const { subprotocol, onOpen, onClose, ...limits } = options;
    this.#socket = subprotocol === undefined ? new WebSocket(url) : new WebSocket(url, subprotocol);
    this.#socket.binaryType = 'arraybuffer';
    this.#server = new NbdServer({
      ...limits,
      socket: this.#socket,
      store,
      onEnd: (end) => this.#ended(end),
    });
    this.#socket.onopen = () => {
      onOpen?.();
      this.#server.start();
    };
    this.#socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) this.#server.receive(new Uint8Array(data));
    };
    this.#socket.onclose = ({ code, reason }) => {
      this.#server.stop();
      onClose?.({ code, reason, end: this.#end });
    };
  }

  get counters(): NbdCounters {
    return this.#server.counters;
  }

  /** Ends it, as a person who disconnects does: nobody is called any more. */
  close(): void {
    this.#socket.onopen = null;
    this.#socket.onclose = null;
    this.#server.stop();
    this.#socket.close(1000);
  }

  #ended(end: NbdEnd): void {
    this.#end = end;
    this.#socket.close(end.kind === 'done' ? 1000 : CLOSE_PROTOCOL, end.message);
  }
}
