// SPDX-License-Identifier: Apache-2.0
/**
 * Replies to reads, built in place in reused buffers, one message a reply.
 *
 * A buffer has room for heads at its front and the data after them, so that the store writes the
 * data where it will be sent from. A reply without holes (nearly every one) then needs only its
 * head written just before the data. One with holes is closed up from the front: every piece moves
 * towards the front only, so nothing is overwritten before it has moved.
 */
import * as wire from './wire.js';

/** Zeroes are looked for in steps of this many bytes: a file system's block. */
const GRANULE = 4096;
const POOL_MAX = 16;
/** Buffers are made in powers of two from this on, so that one size serves many requests. */
const BUFFER_MIN = 64 * 1024;

/** A reply under construction. */
export interface ReplyBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same memory by fours: zeroes are found that much faster. */
  readonly words: Int32Array<ArrayBuffer>;
}

/** Keeps up to 16 buffers; bigger ones than `keepMax` are made and dropped each time. */
export class BufferPool {
  readonly #free: ReplyBuffer[] = [];
  readonly #keepMax: number;

  constructor(keepMax: number) {
    this.#keepMax = ceilPower(keepMax);
  }

  take(length: number): ReplyBuffer {
    let best = -1;
    this.#free.forEach((buffer, i) => {
      const fits = buffer.bytes.length >= length;
      const kept = this.#free[best];
      if (fits && (!kept || buffer.bytes.length < kept.bytes.length)) best = i;
    });
    const found = this.#free.splice(best < 0 ? this.#free.length : best, 1)[0];
    if (found) return found;
    const memory = new ArrayBuffer(ceilPower(length));
    return { bytes: new Uint8Array(memory), words: new Int32Array(memory) };
  }

  give(buffer: ReplyBuffer): void {
    if (buffer.bytes.length > this.#keepMax) return;
    if (this.#free.length === POOL_MAX) this.#free.shift();
    this.#free.push(buffer);
  }
}

function ceilPower(length: number): number {
  let size = BUFFER_MIN;
  while (size < length) size *= 2;
  return size;
}

/** How many bytes must lie free before the data of a reply of `length`; a multiple of four. */
export function headRoom(length: number, structured: boolean): number {
  if (!structured) return wire.SIMPLE_REPLY_LENGTH;
  return wire.HOLE_CHUNK_LENGTH * Math.max(1, Math.ceil(length / GRANULE));
}

/**
 * Finishes the reply to a read whose data lies in `buffer` after its headRoom().
 * @returns the message: good until the buffer is given back
 */
export function finishRead(
  buffer: ReplyBuffer,
  request: wire.Request,
  structured: boolean,
): Uint8Array<ArrayBuffer> {
  const room = headRoom(request.length, structured);
  if (!structured) {
    wire.putSimpleReply(buffer.bytes, 0, 0, request.cookie);
    return buffer.bytes.subarray(0, room + request.length);
  }
  if (request.length === 0) {
    wire.putChunk(buffer.bytes, 0, wire.CHUNK_FLAG_DONE, wire.CHUNK_NONE, request.cookie, 0);
    return buffer.bytes.subarray(0, wire.CHUNK_LENGTH);
  }
  return finishStructured(buffer, room, request);
}

function finishStructured(
  buffer: ReplyBuffer,
  room: number,
  request: wire.Request,
): Uint8Array<ArrayBuffer> {
  const { bytes } = buffer;
  const { cookie, offset, length } = request;
  let at = 0;
  let hole = isZero(buffer, room, at, length);
  let end = endOfRun(buffer, room, at, length, hole);
  const inOnePiece = (request.flags & wire.CMD_FLAG_DF) !== 0;
  if (end === length ? !hole : inOnePiece) {
    // One piece of data: the head goes right before it, and it stays where it is.
    const start = room - wire.DATA_CHUNK_LENGTH;
    wire.putDataChunk(bytes, start, wire.CHUNK_FLAG_DONE, cookie, offset, length);
    return bytes.subarray(start, room + length);
  }
  let out = 0;
  for (;;) {
    const done = end === length ? wire.CHUNK_FLAG_DONE : 0;
    if (hole) {
      out += wire.putHoleChunk(bytes, out, done, cookie, offset + at, end - at);
    } else {
      bytes.copyWithin(out + wire.DATA_CHUNK_LENGTH, room + at, room + end);
      out += wire.putDataChunk(bytes, out, done, cookie, offset + at, end - at) + (end - at);
    }
    if (done) return bytes.subarray(0, out);
    at = end;
    hole = !hole;
    end = endOfRun(buffer, room, at, length, hole);
  }
}

/** Where the run of granules that are all zeroes (or all not) ends, which begins at `at`. */
function endOfRun(
  buffer: ReplyBuffer,
  room: number,
  at: number,
  length: number,
  hole: boolean,
): number {
  let end = at;
  do end = Math.min(end + GRANULE, length);
  while (end < length && isZero(buffer, room, end, length) === hole);
  return end;
}

/** Whether the granule at `at` is all zeroes. Costs one look at most granules of real data. */
function isZero(buffer: ReplyBuffer, room: number, at: number, length: number): boolean {
  const start = room + at;
  const end = room + Math.min(at + GRANULE, length);
  const wordsEnd = end >> 2;
  for (let i = start >> 2; i < wordsEnd; i++) if (buffer.words[i] !== 0) return false;
  for (let i = wordsEnd << 2; i < end; i++) if (buffer.bytes[i] !== 0) return false;
  return true;
}
