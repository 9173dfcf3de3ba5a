// SPDX-License-Identifier: Apache-2.0
/**
 * Turns a stream of bytes, cut anywhere, into parts of the lengths that its reader asks for.
 *
 * A part is gathered in one small fixed buffer; chunks are never joined or kept. Bytes that nobody
 * wants (the payload of a refused write, an option that is too long) are passed over without being
 * stored, so the far end cannot make this grow.
 */
export class Inbox {
  readonly #gathered: Uint8Array;
  readonly #part: (bytes: Uint8Array) => void;
  #wanted = 0;
  #have = 0;
  #toSkip = 0;
  #closed = false;

  /**
   * @param capacity the longest part, in bytes
   * @param part called with each part; the bytes are good until it returns. It says what comes next
   *   by calling want() or skip(), or ends everything by close().
   */
  constructor(capacity: number, part: (bytes: Uint8Array) => void) {
    this.#gathered = new Uint8Array(capacity);
    this.#part = part;
  }

  /** The next part is `length` bytes long: 1 to the capacity. */
  want(length: number): void {
    if (length < 1 || length > this.#gathered.length) throw new RangeError(`a part of ${length}`);
    this.#wanted = length;
    this.#have = 0;
  }

  /** Pass over `length` bytes before the next part. */
  skip(length: number): void {
    this.#toSkip = length;
  }

  /** Nothing more is wanted, now or ever. */
  close(): void {
    this.#closed = true;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && !this.#closed) {
      if (this.#toSkip > 0) {
        const skipped = Math.min(this.#toSkip, chunk.length - at);
        this.#toSkip -= skipped;
        at += skipped;
        continue;
      }
      const take = Math.min(this.#wanted - this.#have, chunk.length - at);
      this.#gathered.set(chunk.subarray(at, at + take), this.#have);
      this.#have += take;
      at += take;
      if (this.#have === this.#wanted) {
        this.#have = 0;
        this.#part(this.#gathered.subarray(0, this.#wanted));
      }
    }
  }
}
