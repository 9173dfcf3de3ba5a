// SPDX-License-Identifier: Apache-2.0
/**
 * A file read in order, as one stream.
 *
 * The browser opens the file anew for every slice that is read, and moves its bytes through more
 * hands than those of a stream: a stream costs it a third of the time a byte. A run should be long,
 * for what a browser has read ahead for one that is closed is lost, and each begins in new memory.
 * But a stream looks at the file's date only as it is opened: its owner has to look meanwhile.
 */

/** As much of a ReadableStream of bytes as is needed. */
export interface ByteStream {
  getReader(options: { mode: 'byob' }): ByteReader;
}

export interface ByteReader {
  read(view: Uint8Array<ArrayBuffer>): Promise<{ value?: Uint8Array<ArrayBuffer> | undefined }>;
  cancel(): Promise<void>;
}

export class FileRun {
  readonly #reader: ByteReader;
  #at: number;
  /** Settled when what was asked for before has come, or has failed. */
  #before: Promise<unknown> = Promise.resolve();

  /**
   * @param stream the bytes of the file from `start` on
   * @throws TypeError if it cannot fill memory that it is given, as in older browsers
   */
  constructor(stream: ByteStream, start: number) {
    this.#reader = stream.getReader({ mode: 'byob' });
    this.#at = start;
  }

  /** Whether the next bytes of it are those from `offset` on. */
  isAt(offset: number): boolean {
    return this.#at === offset;
  }

  /**
   * The next bytes, as many as the memory is long, and in what has become of it, for it is taken;
   * fewer only at the end of the stream. Several may wait for theirs.
   */
  take(memory: ArrayBuffer): Promise<ArrayBuffer> {
    this.#at += memory.byteLength;
    const bytes = this.#before.then(() => this.#fill(memory));
    this.#before = bytes.catch(() => {});
    return bytes;
  }

  /** Lets go of the file, once all that was asked for has come. */
  close(): void {
    this.#before.then(() => this.#reader.cancel()).catch(() => {});
  }

  async #fill(memory: ArrayBuffer): Promise<ArrayBuffer> {
    const length = memory.byteLength;
    let filled = memory;
    for (let have = 0; have < length; ) {
      const { value } = await this.#reader.read(new Uint8Array(filled, have, length - have));
      if (!value?.length) return new ArrayBuffer(have);
      filled = value.buffer;
      have += value.length;
    }
    return filled;
  }
}
