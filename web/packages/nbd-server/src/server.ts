// SPDX-License-Identifier: Apache-2.0
/**
 * One NBD connection, seen from the server: negotiation, then requests, until either side is done.
 *
 * The owner brings the socket and the store, hands in whatever bytes arrive by receive(), and hears
 * of the end once, by onEnd. Nothing here closes the socket or the store: that is the owner's.
 *
 * What always holds: at most `maxReads` reads are under way; what is under way and what the socket
 * has not sent yet stay together below `maxQueued` (one reply may go beyond, so that any reply
 * can be sent at all); requests wait in a queue of bounded length, and a far end that overfills it
 * breaks the protocol. Replies leave as their data comes, in any order.
 */
import { Inbox } from './inbox.js';
import { type Export, Negotiation, OPTION_DATA_MAX, OPTION_SKIP_MAX } from './negotiation.js';
import { BufferPool, finishRead, headRoom } from './replies.js';
import type { BinarySocket } from './socket.js';
import type { BlockStore } from './store.js';
import * as wire from './wire.js';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A client that was told no limit may ask for this much at once ("Block size constraints"). */
const UNTOLD_REQUEST_MAX = 32 * MiB;
/** How many requests may wait for their turn. */
const WAITING_MAX = 1024;
/** A browser gives no event when its socket drains, so a full one is looked at this often, in ms. */
const POLL_INTERVAL = 5;

export interface NbdServerOptions {
  socket: BinarySocket;
  store: BlockStore;
  /** The name of the one export; the empty name always means it too. Default: "". */
  exportName?: string;
  /** A line about it for clients that show one, such as a file's name. Default: none. */
  description?: string;
  /** The longest read a client is told it may send, in bytes. Default: 1 MiB. */
  maxRequest?: number;
  /** Replies longer than this leave in several messages. Default: one message a reply. */
  maxMessage?: number;
  /** Reads under way at once. Default: 16. */
  maxReads?: number;
  /** Bytes of replies being read or waiting in the socket. Default: 8 MiB. */
  maxQueued?: number;
  /** A read has failed in the store; the client has just been told EIO. */
  onReadError?: (error: unknown) => void;
  /** A read has been answered: for displays of activity. */
  onRead?: (offset: number, length: number) => void;
  /** The connection is over; called once, and nothing is sent after it. */
  onEnd?: (end: NbdEnd) => void;
}

/** How a connection ended. */
export interface NbdEnd {
  /** 'done': the client took its leave. 'protocol': it broke the protocol. */
  kind: 'done' | 'protocol';
  /** One sentence for people. */
  message: string;
}

export interface NbdCounters {
  /** Requests answered, of any kind. */
  requests: number;
  /** Of these, the ones answered with an error. */
  errors: number;
  /** Bytes that reads were answered with; holes count as what they stand for. */
  bytesRead: number;
  /** Bytes handed to the socket. */
  bytesSent: number;
}

export class NbdServer {
  readonly counters: NbdCounters = { requests: 0, errors: 0, bytesRead: 0, bytesSent: 0 };
  readonly #socket: BinarySocket;
  readonly #store: BlockStore;
  readonly #options: NbdServerOptions;
  readonly #maxRequest: number;
  readonly #maxMessage: number;
  readonly #maxReads: number;
  readonly #maxQueued: number;
  readonly #negotiation: Negotiation;
  readonly #inbox = new Inbox(OPTION_DATA_MAX, (bytes) => this.#onPart(bytes));
  readonly #buffers: BufferPool;
  readonly #waiting: wire.Request[] = [];
  #onPart: (bytes: Uint8Array) => void = (bytes) => this.#clientFlags(bytes);
  #reads = 0;
  #readBytes = 0;
  #leaving = false;
  #ended = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#store = options.store;
    this.#maxRequest = options.maxRequest ?? MiB;
    this.#maxMessage = options.maxMessage ?? Number.POSITIVE_INFINITY;
    this.#maxReads = options.maxReads ?? 16;
    this.#maxQueued = options.maxQueued ?? 8 * MiB;
    this.#buffers = new BufferPool(this.#maxRequest + headRoom(this.#maxRequest, true));
    this.#negotiation = new Negotiation(this.#export(), (bytes) => this.#send(bytes));
    this.#inbox.want(wire.CLIENT_FLAGS_LENGTH);
  }

  /** Speaks first, as the protocol wants it. Call once, when the socket is open. */
  start(): void {
    this.#negotiation.greet();
  }

  /** Bytes have come from the far end, cut anywhere. They are not kept. */
  receive(bytes: Uint8Array): void {
    this.#inbox.push(bytes);
  }

  /** The socket is gone, or the owner has had enough: nothing is sent and nobody is called again. */
  stop(): void {
    this.#ended = true;
    this.#inbox.close();
    this.#waiting.length = 0;
    clearTimeout(this.#timer);
  }

  #export(): Export {
    const text = new TextEncoder();
    return {
      size: this.#store.size,
      name: text.encode(this.#options.exportName ?? ''),
      description: text.encode(this.#options.description ?? ''),
      preferredBlock: 4 * KiB,
      maximumBlock: this.#maxRequest,
    };
  }

  #end(kind: NbdEnd['kind'], message: string): void {
    if (this.#ended) return;
    this.stop();
    this.#options.onEnd?.({ kind, message });
  }

  // Negotiation ----------------------------------------------------------------------------------

  #clientFlags(bytes: Uint8Array): void {
    const flags = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    if (!this.#negotiation.clientFlags(flags)) {
      this.#end('protocol', 'The far end answered the greeting with flags that were not offered.');
      return;
    }
    this.#wantOption();
  }

  #wantOption(): void {
    this.#onPart = (bytes) => this.#option(wire.getOption(bytes));
    this.#inbox.want(wire.OPTION_LENGTH);
  }

  #option({ magic, option, length }: wire.OptionHead): void {
    if (magic !== wire.OPTION_MAGIC) {
      this.#end('protocol', 'The far end sent something that is no NBD option.');
    } else if (!this.#negotiation.count()) {
      this.#end('protocol', 'The far end sent options without end.');
    } else if (length === 0) {
      this.#optionData(option, new Uint8Array());
    } else if (length <= OPTION_DATA_MAX) {
      this.#onPart = (data) => this.#optionData(option, data);
      this.#inbox.want(length);
    } else if (length <= OPTION_SKIP_MAX && option !== wire.OPT_EXPORT_NAME) {
      this.#negotiation.tooBig(option);
      this.#inbox.skip(length);
      this.#wantOption();
    } else {
      this.#end('protocol', 'The far end sent an option that is far too long.');
    }
  }

  #optionData(option: number, data: Uint8Array): void {
    switch (this.#negotiation.option(option, data)) {
      case 'more':
        this.#wantOption();
        break;
      case 'transmission':
        this.#onPart = (bytes) => this.#request(wire.getRequest(bytes));
        this.#inbox.want(wire.REQUEST_LENGTH);
        break;
      case 'end':
        if (option === wire.OPT_ABORT) this.#end('done', 'The far end took its leave.');
        else this.#end('protocol', 'The far end asked for an export that is not here.');
        break;
    }
  }

  // Requests -------------------------------------------------------------------------------------

  #request(request: wire.Request): void {
    if (request.magic !== wire.REQUEST_MAGIC) {
      this.#end('protocol', 'The far end sent something that is no NBD request.');
      return;
    }
    if (request.command === wire.CMD_DISC) {
      this.#leaving = true;
      this.#inbox.close();
    } else {
      if (request.command === wire.CMD_WRITE) this.#inbox.skip(request.length);
      this.#waiting.push(request);
    }
    this.#pump();
    if (this.#waiting.length > WAITING_MAX) {
      this.#end('protocol', 'The far end sent more requests than can wait.');
    }
  }

  /** Lets waiting requests take their turn, as far as there is room. */
  #pump(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (!next || this.#ended) break;
      if (!this.#hasRoomFor(next)) return;
      this.#waiting.shift();
      this.#answer(next);
    }
    if (this.#leaving && this.#reads === 0) this.#end('done', 'The far end took its leave.');
  }

  #hasRoomFor(request: wire.Request): boolean {
    if (this.#reads >= this.#maxReads) return false; // the next finished read comes back here
    const unsent = this.#socket.bufferedAmount;
    const length = request.command === wire.CMD_READ ? request.length : 0;
    if (unsent === 0 && this.#readBytes === 0) return true;
    if (unsent + this.#readBytes + length <= this.#maxQueued) return true;
    if (unsent > 0) this.#pumpLater();
    return false;
  }

  #pumpLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, POLL_INTERVAL);
  }

  #answer(request: wire.Request): void {
    switch (request.command) {
      case wire.CMD_READ:
        if (this.#isGoodRead(request)) void this.#read(request);
        else this.#refuseRead(request, wire.EINVAL, 'this range or these flags cannot be read');
        break;
      case wire.CMD_FLUSH:
        this.#simple(request, request.flags === 0 ? 0 : wire.EINVAL);
        break;
      case wire.CMD_WRITE:
      case wire.CMD_TRIM:
      case wire.CMD_WRITE_ZEROES:
        this.#simple(request, wire.EPERM);
        break;
      default:
        this.#simple(request, wire.EINVAL);
    }
  }

  #isGoodRead({ flags, offset, length }: wire.Request): boolean {
    const knownFlags = this.#negotiation.structured ? wire.CMD_FLAG_DF : 0;
    const longest = this.#negotiation.limitsTold
      ? this.#maxRequest
      : Math.max(this.#maxRequest, UNTOLD_REQUEST_MAX);
    return (flags & ~knownFlags) === 0 && length <= longest && offset + length <= this.#store.size;
  }

  async #read(request: wire.Request): Promise<void> {
    const { structured } = this.#negotiation;
    const { offset, length } = request;
    const room = headRoom(length, structured);
    const buffer = this.#buffers.take(room + length);
    this.#reads++;
    this.#readBytes += length;
    let failure: unknown;
    try {
      const got = await this.#store.read(offset, buffer.bytes.subarray(room, room + length));
      if (got !== length) failure = new Error(`The store gave ${got} bytes of ${length}.`);
    } catch (error) {
      failure = error ?? new Error('The store failed without a reason.');
    }
    this.#reads--;
    this.#readBytes -= length;
    if (this.#ended) return;
    if (failure === undefined) {
      this.#count(0, length);
      this.#send(finishRead(buffer, request, structured));
      this.#options.onRead?.(offset, length);
    } else {
      this.#refuseRead(request, wire.EIO, 'the image could not be read');
      this.#options.onReadError?.(failure);
    }
    this.#buffers.give(buffer);
    this.#pump();
  }

  /** With structured replies agreed, a read is never answered with a simple one. */
  #refuseRead(request: wire.Request, error: number, why: string): void {
    if (!this.#negotiation.structured) {
      this.#simple(request, error);
      return;
    }
    this.#count(error, 0);
    const message = new TextEncoder().encode(why);
    const reply = new Uint8Array(wire.CHUNK_LENGTH + 6 + message.length);
    wire.putErrorChunk(reply, 0, wire.CHUNK_FLAG_DONE, request.cookie, error, message);
    this.#send(reply);
  }

  #simple(request: wire.Request, error: number): void {
    this.#count(error, 0);
    const reply = new Uint8Array(wire.SIMPLE_REPLY_LENGTH);
    wire.putSimpleReply(reply, 0, error, request.cookie);
    this.#send(reply);
  }

  #count(error: number, bytesRead: number): void {
    this.counters.requests++;
    if (error) this.counters.errors++;
    this.counters.bytesRead += bytesRead;
  }

  #send(bytes: Uint8Array<ArrayBuffer>): void {
    this.counters.bytesSent += bytes.length;
    for (let at = 0; at < bytes.length; at += this.#maxMessage) {
      this.#socket.send(bytes.subarray(at, at + this.#maxMessage));
    }
  }
}
