// SPDX-License-Identifier: Apache-2.0
/**
 * Serves a File that the person chose, and notices when it is no longer the file they chose.
 *
 * Reading a blob costs the same fixed time whether it gives 4 KiB or 256 KiB, and a third less a byte
 * in 4 MiB than in 2 MiB. So a read that jumps takes a small aligned extent of the file, and one that
 * goes on where an extent ends takes the next, twice as long, and has the one after that read ahead.
 * From 1 MiB on they come out of one stream, which costs far less, where the browser has such
 * streams. The extents used last are kept, with room for many such readers at once. Misses on the
 * same extent share one read.
 *
 * A file can change underneath. Browsers differ in how that shows: an error, an empty buffer with no
 * error, or nothing but another size or date. Every block read is checked for all of these, before
 * and after; and beside a stream, which does not notice a new date, a byte is read by itself four
 * times a second. From the first sign on the store is dead for good: half of an old image and half
 * of a new one is worse than no image.
 */
import { type ByteStream, FileRun } from './file-run.js';
import type { BlockStore } from './store.js';

/** The part of a File that is needed; a File is one. */
export interface FileLike {
  readonly size: number;
  /** Milliseconds since 1970, or absent for a mere Blob. */
  readonly lastModified?: number;
  slice(start: number, end: number): FilePart;
}

export interface FilePart {
  arrayBuffer(): Promise<ArrayBuffer>;
  stream?(): ByteStream;
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
  /** The bytes of a part as a stream, if there is a better way than its own `stream()`. */
  stream?: (part: FilePart) => ByteStream | null;
  /** Bytes read at least, and at a jump; extents are aligned to it. Default: 256 KiB. */
  minRead?: number;
  /** Bytes read at most, where access is sequential: `minRead` times a power of two. Default: 4 MiB. */
  maxRead?: number;
  /** Of these, bytes taken at once out of a stream, and the least that is. Default: 1 MiB. */
  streamRead?: number;
  /** Bytes kept. Default: 16 MiB. */
  memory?: number;
  /** Called once, at the first sign that the file has changed. Reads fail from then on. */
  onChanged?: (error: FileChangedError) => void;
}

/** A part of the file, read or being read. */
interface Extent {
  readonly start: number;
  readonly end: number;
  /** It goes on where another one ended: somebody reads this file in order here. */
  readonly isRun: boolean;
  readonly bytes: Promise<Uint8Array<ArrayBuffer>>;
  /** Reads that wait for the bytes. */
  readers: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;
/** Streams open at once. */
const RUNS_MAX = 4;
/** Milliseconds for which a file is what it was the last time. */
const LOOK_INTERVAL = 250;

export class FileStore implements BlockStore {
  readonly size: number;
  readonly #file: FileLike;
  readonly #date: number | undefined;
  readonly #minRead: number;
  readonly #maxRead: number;
  readonly #streamRead: number;
  readonly #memory: number;
  readonly #stream: (part: FilePart) => ByteStream | null | undefined;
  readonly #onChanged: ((error: FileChangedError) => void) | undefined;
  /** The least recently used first. They never overlap. */
  #extents: Extent[] = [];
  #kept = 0;
  /** The one used last is the last. */
  #runs: FileRun[] = [];
  #hasStreams = true;
  /** Memory of extents that are kept no more. */
  readonly #spare: ArrayBuffer[] = [];
  #lastEnd = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #look: Promise<unknown> = Promise.resolve();
  #dead: FileChangedError | undefined;

  constructor(file: FileLike, options: FileStoreOptions = {}) {
    this.#file = file;
    this.size = file.size;
    this.#date = file.lastModified;
    this.#minRead = options.minRead ?? 256 * KiB;
    this.#maxRead = options.maxRead ?? 4 * MiB;
    this.#streamRead = options.streamRead ?? MiB;
    this.#memory = options.memory ?? 16 * MiB;
    this.#stream = options.stream ?? ((part) => part.stream?.());
    this.#onChanged = options.onChanged;
  }

  /** @throws FileChangedError, and nothing else, once the file is not what it was */
  async read(offset: number, target: Uint8Array): Promise<number> {
    if (this.#dead) throw this.#dead;
    const end = offset + target.length;
    const goesOn = offset === this.#lastEnd;
    this.#lastEnd = end;
    const extents: Extent[] = [];
    for (let at = offset; at < end; at = extents.at(-1)?.end ?? end) {
      extents.push(this.#extentAt(at, end));
    }
    const last = extents.at(-1);
    if (last && (goesOn || last.isRun) && last.end < this.size) {
      // Whoever reads it for its own sake will hear of an error.
      this.#extentAt(last.end, last.end + 1).bytes.catch(() => {});
    }
    for (const extent of extents) extent.readers++;
    let at = offset;
    try {
      for (const [i, bytes] of (await Promise.all(extents.map(({ bytes }) => bytes))).entries()) {
        const { start = 0 } = extents[i] ?? {};
        const part = bytes.subarray(at - start, end - start);
        target.set(part, at - offset);
        at += part.length;
      }
    } finally {
      for (const extent of extents) extent.readers--;
    }
    return at - offset;
  }

  /** The extent that holds the byte at `at`, which a read up to `end` needs; begun if there is none. */
  #extentAt(at: number, end: number): Extent {
    const index = this.#extents.findIndex((one) => one.start <= at && at < one.end);
    const known = index < 0 ? undefined : this.#extents.splice(index, 1)[0];
    const extent = known ?? this.#begin(at, end);
    this.#extents.push(extent);
    return extent;
  }

  #begin(at: number, end: number): Extent {
    const before = this.#extents.find((one) => one.end <= at && at - one.end < this.#minRead);
    const start = before?.end ?? Math.floor(at / this.#minRead) * this.#minRead;
    let length = this.#minRead;
    const wanted = before ? 2 * (before.end - before.start) : end - start;
    const most = before && this.#hasStreams ? this.#streamRead : this.#maxRead;
    while (length < Math.min(wanted, most, this.#maxRead)) length *= 2;
    let stop = Math.min(start + length, this.size);
    for (const one of this.#extents) if (one.start > at) stop = Math.min(stop, one.start);
    const bytes = this.#readFile(start, stop, before !== undefined && length >= this.#streamRead);
    this.#kept += stop - start;
    while (this.#kept > this.#memory && this.#extents.length > 1) {
      const oldest = this.#extents.shift();
      if (oldest) this.#forget(oldest);
    }
    return { start, end: stop, isRun: before !== undefined, bytes, readers: 0 };
  }

  /** Its memory serves again, for memory that is new costs as much as reading. */
  #forget(extent: Extent): void {
    const length = extent.end - extent.start;
    this.#kept -= length;
    if (length !== this.#streamRead || extent.readers > 0) return;
    extent.bytes.then(
      ({ buffer }) => {
        if (extent.readers === 0 && this.#spare.length < RUNS_MAX) this.#spare.push(buffer);
      },
      () => {},
    );
  }

  #memoryOf(length: number): ArrayBuffer {
    const spare = length === this.#streamRead ? this.#spare.pop() : undefined;
    return spare ?? new ArrayBuffer(length);
  }

  /** Whether it is still the file that was chosen, asked of the file itself and not of the cache. */
  async verify(): Promise<boolean> {
    try {
      await this.#readLast();
    } catch {
      return false;
    }
    return true;
  }

  #readLast(): Promise<unknown> {
    return this.#readFile(Math.max(0, this.size - 1), this.size);
  }

  /** Settled once the file has been looked at, not longer ago than the interval. */
  #lookAgain(): Promise<unknown> {
    const now = Date.now();
    // Clocks are set back, too.
    if (Math.abs(now - this.#lookedAt) >= LOOK_INTERVAL) {
      this.#lookedAt = now;
      this.#look = this.#readLast();
      this.#look.catch(() => {}); // whoever waits for it hears of an error
    }
    return this.#look;
  }

  async #readFile(start: number, end: number, isRun = false): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkFacts();
    let data: ArrayBuffer;
    try {
      const run = isRun ? this.#runAt(start) : undefined;
      const looked = run && this.#lookAgain();
      data = await (run?.take(this.#memoryOf(end - start)) ??
        this.#file.slice(start, end).arrayBuffer());
      await looked;
    } catch (error) {
      throw this.#changed('unreadable', 'The browser cannot read the file any more.', error);
    }
    if (data.byteLength !== end - start) {
      throw this.#changed('short', `The file gave ${data.byteLength} bytes of ${end - start}.`);
    }
    this.#checkFacts();
    return new Uint8Array(data);
  }

  /** The run that goes on at `start`; undefined where there are no streams that could. */
  #runAt(start: number): FileRun | undefined {
    const index = this.#runs.findIndex((one) => one.isAt(start));
    const run = index < 0 ? this.#openRun(start) : this.#runs.splice(index, 1)[0];
    if (run) this.#runs.push(run);
    if (this.#runs.length > RUNS_MAX) this.#runs.shift()?.close();
    return run;
  }

  #openRun(start: number): FileRun | undefined {
    const stream = this.#hasStreams && this.#stream(this.#file.slice(start, this.size));
    try {
      if (stream) return new FileRun(stream, start);
    } catch {}
    this.#hasStreams = false;
    return undefined;
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
    this.#extents = [];
    for (const run of this.#runs) run.close();
    this.#runs = [];
    this.#onChanged?.(this.#dead);
    return this.#dead;
  }
}
