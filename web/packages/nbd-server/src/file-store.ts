// SPDX-License-Identifier: Apache-2.0
/**
 * Serves a File that the person chose, and notices when it is no longer the file they chose.
 *
 * Reading a blob costs the same fixed time whether it gives 4 KiB or 4 MiB, so the file is read in
 * aligned blocks of 1 to 4 MiB, of which the last few are kept, and on sequential access the
 * next one is read ahead. Misses on the same block share one read.
 *
 * A file can change underneath. Browsers differ in how that shows: an error, an empty buffer with no
 * error, or nothing but another size or date. Every block read is checked for all of these, before
 * and after. From the first sign on the store is dead for good: half of an old image and half of a
 * new one is worse than no image.
 */
import type { BlockStore } from './store.js';

/** The part of a File that is needed; a File is one. */
export interface FileLike {
  readonly size: number;
  /** Milliseconds since 1970, or absent for a mere Blob. */
  readonly lastModified?: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/**
 * By what a change was noticed: the browser refused to read on, gave fewer bytes than the file
 * had, or reports another size or another date.
 */
export type FileChangeSign = 'unreadable' | 'short' | 'size' | 'date';

/** The file is not the one that was chosen any more: changed, cut, moved or deleted. */
export class FileChangedError extends Error {
  override readonly name = 'FileChangedError';
  readonly sign: FileChangeSign;

  constructor(sign: FileChangeSign, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.sign = sign;
  }
}

export interface FileStoreOptions {
  /** Bytes a block: 1 to 4 MiB are sensible. Default: 2 MiB. */
  blockSize?: number;
  /** Blocks kept: 8 to 16 are sensible. Default: 12. */
  maxBlocks?: number;
  /** Called once, at the first sign that the file has changed. Reads fail from then on. */
  onChanged?: (error: FileChangedError) => void;
}

export class FileStore implements BlockStore {
  readonly size: number;
  readonly #file: FileLike;
  readonly #date: number | undefined;
  readonly #blockSize: number;
  readonly #maxBlocks: number;
  readonly #onChanged: ((error: FileChangedError) => void) | undefined;
  /** Blocks read or being read, the least recently used first. */
  readonly #blocks = new Map<number, Promise<Uint8Array>>();
  #lastBlock = -1;
  #lastEnd = 0;
  #dead: FileChangedError | undefined;

  constructor(file: FileLike, options: FileStoreOptions = {}) {
    this.#file = file;
    this.size = file.size;
    this.#date = file.lastModified;
    this.#blockSize = options.blockSize ?? 2 * 1024 * 1024;
    this.#maxBlocks = options.maxBlocks ?? 12;
    this.#onChanged = options.onChanged;
  }

  /** @throws FileChangedError, and nothing else, once the file is not what it was */
  async read(offset: number, target: Uint8Array): Promise<number> {
    const end = offset + target.length;
    const first = Math.floor(offset / this.#blockSize);
    const last = Math.floor(Math.max(offset, end - 1) / this.#blockSize);
    const isSequential = offset === this.#lastEnd || first === this.#lastBlock + 1;
    this.#lastBlock = last;
    this.#lastEnd = end;
    const blocks: Promise<Uint8Array>[] = [];
    for (let index = first; index <= last; index++) blocks.push(this.#block(index));
    if (isSequential && (last + 1) * this.#blockSize < this.size) {
      this.#block(last + 1).catch(() => {}); // whoever reads it for its own sake will hear of it
    }
    let at = offset;
    for (const block of await Promise.all(blocks)) {
      const from = at % this.#blockSize;
      const part = block.subarray(from, from + end - at);
      target.set(part, at - offset);
      at += part.length;
    }
    return at - offset;
  }

  /** Whether it is still the file that was chosen, asked of the file itself and not of the cache. */
  async verify(): Promise<boolean> {
    try {
      const last = Math.max(0, this.size - 1);
      await this.#readFile(last, this.size);
    } catch {
      return false;
    }
    return true;
  }

  #block(index: number): Promise<Uint8Array> {
    if (this.#dead) return Promise.reject(this.#dead);
    const known = this.#blocks.get(index);
    const block = known ?? this.#fetch(index);
    this.#blocks.delete(index);
    this.#blocks.set(index, block);
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= this.#maxBlocks) break;
      this.#blocks.delete(oldest);
    }
    return block;
  }

  async #fetch(index: number): Promise<Uint8Array> {
    const start = index * this.#blockSize;
    return this.#readFile(start, Math.min(start + this.#blockSize, this.size));
  }

  async #readFile(start: number, end: number): Promise<Uint8Array> {
    this.#checkFacts();
    let data: ArrayBuffer;
    try {
      data = await this.#file.slice(start, end).arrayBuffer();
    } catch (error) {
      throw this.#changed('unreadable', 'The browser cannot read the file any more.', error);
    }
    if (data.byteLength !== end - start) {
      throw this.#changed('short', `The file gave ${data.byteLength} bytes of ${end - start}.`);
    }
    this.#checkFacts();
    return new Uint8Array(data);
  }

  /** The size and date of a File are live in some browsers. */
  #checkFacts(): void {
    if (this.#dead) throw this.#dead;
    if (this.#file.size !== this.size) {
      throw this.#changed('size', `The file's size changed from ${this.size} bytes.`);
    }
    if (this.#file.lastModified !== this.#date) {
      throw this.#changed('date', "The file's date changed.");
    }
  }

  /** Ends the store's life at the first call; later ones give the first one's error. */
  #changed(sign: FileChangeSign, message: string, cause?: unknown): FileChangedError {
    if (this.#dead) return this.#dead;
    this.#dead = new FileChangedError(sign, message, cause);
    this.#blocks.clear();
    this.#onChanged?.(this.#dead);
    return this.#dead;
  }
}
