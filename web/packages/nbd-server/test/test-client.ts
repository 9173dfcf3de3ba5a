// SPDX-License-Identifier: Apache-2.0
/** A strict NBD client over memory, for tests: it refuses everything the protocol forbids. */
import { NbdServer, type NbdServerOptions } from '../src/server.js';
import type { BlockStore } from '../src/store.js';
import * as wire from '../src/wire.js';
import * as client from './client-wire.js';

/** What became of one request. */
export interface Answer {
  error: number;
  data: Uint8Array;
  /** [type, length] of each structured chunk, in order; none for a simple reply. */
  chunks: [number, number][];
}

interface Pending {
  offset: bigint;
  data: Uint8Array;
  filled: number;
  error: number;
  chunks: [number, number][];
  isRead: boolean;
}

export class TestClient {
  readonly server: NbdServer;
  readonly messages: number[] = [];
  readonly optionReplies: client.OptionReply[] = [];
  readonly answers = new Map<bigint, Answer>();
  readonly order: bigint[] = [];
  greeting: number | undefined;
  exported: { size: bigint; flags: number } | undefined;
  end: { kind: string; message: string } | undefined;
  bufferedAmount = 0;
  #bytes = new Uint8Array();
  #phase: 'greeting' | 'options' | 'export-name' | 'transmission' = 'greeting';
  #zeroes = false;
  structured = false;
  readonly #pending = new Map<bigint, Pending>();
  #cookie = 0n;

  constructor(store: BlockStore, options: Partial<NbdServerOptions> = {}) {
    const self = this;
    this.server = new NbdServer({
      store,
      socket: {
        send: (bytes) => self.#hear(bytes),
        get bufferedAmount() {
          return self.bufferedAmount;
        },
      },
      ...options,
      onEnd: (end) => {
        if (self.end) throw new Error('ended twice');
        self.end = end;
        options.onEnd?.(end);
      },
    });
    this.server.start();
  }

  say(bytes: Uint8Array): void {
    this.server.receive(bytes);
  }

  /** Flags, STRUCTURED_REPLY if wanted, GO: ready for requests. */
  go(structured: boolean): this {
    this.say(client.encodeClientFlags(3));
    if (structured) this.option(wire.OPT_STRUCTURED_REPLY);
    this.option(wire.OPT_GO, client.encodeInfoRequest('', [wire.INFO_BLOCK_SIZE]));
    return this;
  }

  option(option: number, data?: Uint8Array): void {
    if (option === wire.OPT_EXPORT_NAME) this.#phase = 'export-name';
    this.say(client.encodeOption(option, data));
  }

  exportName(flags: number, name = ''): void {
    this.#zeroes = (flags & wire.FLAG_NO_ZEROES) === 0;
    this.say(client.encodeClientFlags(flags));
    this.option(wire.OPT_EXPORT_NAME, new TextEncoder().encode(name));
  }

  /** The bytes of a request, registered as asked; the caller says them. */
  request(type: number, offset = 0, length = 0, flags = 0): { cookie: bigint; bytes: Uint8Array } {
    const cookie = ++this.#cookie;
    const isRead = type === wire.CMD_READ;
    this.#pending.set(cookie, {
      offset: BigInt(offset),
      data: new Uint8Array(isRead ? Math.min(length, 1 << 26) : 0),
      filled: 0,
      error: 0,
      chunks: [],
      isRead,
    });
    const fields = { type, cookie, offset: BigInt(offset), length, flags };
    return { cookie, bytes: client.encodeRequest(fields) };
  }

  ask(type: number, offset = 0, length = 0, flags = 0): bigint {
    const { cookie, bytes } = this.request(type, offset, length, flags);
    this.say(bytes);
    return cookie;
  }

  /** Waits until the request is answered. */
  async answer(cookie: bigint): Promise<Answer> {
    for (;;) {
      const answer = this.answers.get(cookie);
      if (answer) return answer;
      if (this.end) throw new Error(`ended without an answer: ${this.end.message}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  read(offset: number, length: number, flags = 0): Promise<Answer> {
    return this.answer(this.ask(wire.CMD_READ, offset, length, flags));
  }

  #hear(message: Uint8Array): void {
    this.messages.push(message.length);
    this.#bytes = client.join(this.#bytes, message);
    for (let used = this.#step(); used > 0; used = this.#step()) {
      this.#bytes = this.#bytes.slice(used);
    }
  }

  /** Takes one part off the front; 0 when it is not all there. */
  #step(): number {
    switch (this.#phase) {
      case 'greeting': {
        const hello = client.decodeServerHello(this.#bytes);
        if (!hello) return 0;
        this.greeting = hello.fields.flags;
        this.#phase = 'options';
        return hello.used;
      }
      case 'options':
        return this.#optionReply();
      case 'export-name': {
        const reply = client.decodeExportReply(this.#bytes, this.#zeroes);
        if (!reply) return 0;
        this.exported = reply.fields;
        this.#phase = 'transmission';
        return reply.used;
      }
      case 'transmission':
        return this.#reply();
    }
  }

  #optionReply(): number {
    const reply = client.decodeOptionReply(this.#bytes);
    if (!reply) return 0;
    this.optionReplies.push(reply.fields);
    const { option, type, data } = reply.fields;
    if (option === wire.OPT_STRUCTURED_REPLY && type === wire.REP_ACK) this.structured = true;
    if (type === wire.REP_INFO && data[1] === wire.INFO_EXPORT) {
      this.exported = client.decodeInfoExport(data);
    }
    if (option === wire.OPT_GO && type === wire.REP_ACK) this.#phase = 'transmission';
    return reply.used;
  }

  #reply(): number {
    if (this.#bytes.length < 4) return 0;
    const magic = new DataView(this.#bytes.buffer).getUint32(0);
    return magic === wire.CHUNK_MAGIC ? this.#chunk() : this.#simpleReply();
  }

  #pendingFor(cookie: bigint): Pending {
    const pending = this.#pending.get(cookie);
    if (!pending) throw new Error(`an answer to nothing: ${cookie}`);
    return pending;
  }

  #simpleReply(): number {
    const reply = client.decodeSimpleReply(this.#bytes);
    if (!reply) return 0;
    const { error, cookie } = reply.fields;
    const pending = this.#pendingFor(cookie);
    if (pending.isRead && this.structured) throw new Error('a simple reply to a read');
    const used = reply.used + (error === 0 ? pending.data.length : 0);
    if (this.#bytes.length < used) return 0;
    pending.error = error;
    pending.data.set(this.#bytes.subarray(reply.used, used));
    pending.filled = pending.data.length;
    this.#done(cookie, pending);
    return used;
  }

  #chunk(): number {
    if (!this.structured) throw new Error('a chunk, and nobody agreed to that');
    const chunk = client.decodeChunk(this.#bytes);
    if (!chunk || this.#bytes.length < chunk.used + chunk.fields.length) return 0;
    const { flags, type, cookie, length } = chunk.fields;
    const pending = this.#pendingFor(cookie);
    const payload = this.#bytes.subarray(chunk.used, chunk.used + length);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    if (type === wire.CHUNK_OFFSET_DATA) {
      if (length <= 8) throw new Error('a data chunk of nothing');
      this.#fill(pending, view.getBigUint64(0), payload.subarray(8));
    } else if (type === wire.CHUNK_OFFSET_HOLE) {
      if (length !== 12) throw new Error('a hole of the wrong length');
      this.#fill(pending, view.getBigUint64(0), new Uint8Array(view.getUint32(8)));
    } else if (type === wire.CHUNK_ERROR) {
      if (length !== 6 + view.getUint16(4)) throw new Error('an error of the wrong length');
      pending.error = view.getUint32(0);
    } else if (type !== wire.CHUNK_NONE || length !== 0 || (flags & 1) === 0) {
      throw new Error(`chunk type ${type}`);
    }
    pending.chunks.push([type, length]);
    if (flags & wire.CHUNK_FLAG_DONE) this.#done(cookie, pending);
    return chunk.used + length;
  }

  #fill(pending: Pending, offset: bigint, data: Uint8Array): void {
    const at = Number(offset - pending.offset);
    if (at !== pending.filled) throw new Error('a chunk out of place');
    if (at + data.length > pending.data.length) throw new Error('a chunk past the end');
    pending.data.set(data, at);
    pending.filled = at + data.length;
  }

  #done(cookie: bigint, pending: Pending): void {
    if (pending.error === 0 && pending.filled !== pending.data.length)
      throw new Error('bytes missing');
    this.#pending.delete(cookie);
    this.order.push(cookie);
    const { error, data, chunks } = pending;
    this.answers.set(cookie, { error, data, chunks });
  }
}

/** A store over memory. */
export function memoryStore(image: Uint8Array): BlockStore {
  return {
    size: image.length,
    async read(offset, target) {
      target.set(image.subarray(offset, offset + target.length));
      return target.length;
    },
  };
}

/** Byte N is N & 0xff, as in the shared conversations. */
export function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i & 0xff);
}
