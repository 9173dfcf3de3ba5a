// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ByteStream } from '../src/file-run.js';
import { FileChangedError, type FileLike, type FilePart, FileStore } from '../src/file-store.js';
import { NbdServer } from '../src/server.js';
import { counting, TestClient } from './test-client.js';

/** A File whose content, facts and temper can be changed while it is served. */
class FakeFile implements FileLike {
  size: number;
  lastModified = 1000;
  readonly slices: [number, number][] = [];
  /** What a slice gives from now on instead of its bytes. */
  broken: ((wanted: number) => ArrayBuffer) | undefined;
  /** Called while a slice is being read. */
  during: ((start: number) => unknown) | undefined;
  constructor(readonly content: Uint8Array) {
    this.size = content.length;
  }
  slice(start: number, end: number) {
    return {
      arrayBuffer: async () => {
        this.slices.push([start, end]);
        await Promise.resolve();
        await this.during?.(start);
        if (this.broken) return this.broken(end - start);
        return this.content.slice(start, end).buffer as ArrayBuffer;
      },
    };
  }
}

/** A file that can be read as a stream, too, as in browsers of today. */
class StreamingFile extends FakeFile {
  readonly streams: number[] = [];
  cancelled = 0;
  /** What a stream gives in place of its next bytes: an end, or an error. */
  brokenStream: 'ends' | 'fails' | undefined;
  override slice(start: number, end: number) {
    let at = start;
    const pull = async (controller: ReadableByteStreamController) => {
      await this.during?.(at);
      if (this.brokenStream === 'fails') {
        controller.error(new DOMException('It could not be read', 'NotReadableError'));
      } else if (this.brokenStream === 'ends' || at === end) {
        controller.close();
        const waiting = controller.byobRequest as { respond(length: number): void } | undefined;
        waiting?.respond(0);
      } else {
        const bytes = this.content.slice(at, Math.min(at + 50, end));
        at += bytes.length;
        controller.enqueue(bytes);
      }
    };
    const cancel = () => {
      this.cancelled++;
    };
    const stream = () => {
      this.streams.push(start);
      return new ReadableStream({ type: 'bytes', pull, cancel }) as unknown as ByteStream;
    };
    return { ...super.slice(start, end), stream };
  }
}

const image = counting(1000);
const small = { minRead: 64, maxRead: 64, memory: 256 };

async function read(store: FileStore, offset: number, length: number): Promise<Uint8Array> {
  const target = new Uint8Array(length);
  expect(await store.read(offset, target)).toBe(length);
  return target;
}

describe('reading', () => {
  test('gives every range of the file', async () => {
    const store = new FileStore(new FakeFile(image), small);
    for (let offset = 0; offset < 1000; offset += 37) {
      for (let length = 1; offset + length <= 1000; length += 41) {
        expect(await read(store, offset, length)).toEqual(image.subarray(offset, offset + length));
      }
    }
    expect(await read(store, 1000, 0)).toEqual(new Uint8Array());
  });

  test('reads aligned blocks, the next one ahead, and shares what is under way', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, small);
    await Promise.all([read(store, 0, 10), read(store, 10, 10), read(store, 20, 10)]);
    expect(file.slices).toEqual([
      [0, 64],
      [64, 128],
    ]);
    await read(store, 64, 64);
    expect(file.slices).toHaveLength(3);
    expect(file.slices[2]).toEqual([128, 192]);
  });

  test('random access reads nothing ahead; the last block is as short as it is', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, small);
    await read(store, 500, 10);
    await read(store, 990, 10);
    expect(file.slices).toEqual([
      [448, 512],
      [960, 1000],
    ]);
  });

  test('reads more at once the longer it goes on in order, up to a limit', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, { minRead: 32, maxRead: 256, memory: 1024 });
    for (let at = 0; at < 1000; at += 20) {
      expect(await read(store, at, 20)).toEqual(image.subarray(at, at + 20));
    }
    expect(file.slices).toEqual([
      [0, 32],
      [32, 96],
      [96, 224],
      [224, 480],
      [480, 736],
      [736, 992],
      [992, 1000],
    ]);
  });

  test('several readers in order do not disturb each other, nor read anything twice', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, { minRead: 32, maxRead: 256, memory: 1024 });
    for (let at = 0; at < 500; at += 20) {
      await Promise.all([read(store, at, 20), read(store, 500 + at, 20)]);
    }
    const total = file.slices.reduce((sum, [start, end]) => sum + end - start, 0);
    expect(total).toBe(1000);
    expect(file.slices.length).toBeLessThan(14);
  });

  test('a long read at a jump is one read of the file', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, { minRead: 32, maxRead: 256, memory: 1024 });
    await read(store, 320, 128);
    expect(file.slices).toEqual([[320, 448]]);
  });

  test('what is kept stays within its memory', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, { minRead: 32, maxRead: 128, memory: 256 });
    for (let at = 0; at < 1000; at += 20) await read(store, at, 20);
    const before = file.slices.length;
    await read(store, 900, 20);
    expect(file.slices).toHaveLength(before);
    await read(store, 10, 1);
    expect(file.slices).toHaveLength(before + 1);
  });

  test('keeps the blocks used last', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, small);
    for (const block of [2, 5, 8, 11, 2, 14]) await read(store, block * 64 + 1, 1);
    const before = file.slices.length;
    for (const block of [14, 2, 11, 8]) await read(store, block * 64 + 1, 1);
    expect(file.slices).toHaveLength(before);
    await read(store, 5 * 64 + 1, 1);
    expect(file.slices).toHaveLength(before + 1);
  });
});

describe('reading in order, where there are streams', () => {
  const runs = { minRead: 32, maxRead: 256, streamRead: 128, memory: 512 };
  /** The slice of a file of 1000 bytes by which its browser finds out whether it has changed. */
  const LOOK = [999, 1000];

  // However slow the machine is, the file is looked at again only when a test says so.
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  async function readTo(store: FileStore, from: number, to: number): Promise<void> {
    for (let at = from; at < to; at += 20) {
      expect(await read(store, at, 20)).toEqual(image.subarray(at, at + 20));
    }
  }

  test('takes all but the beginning out of one stream', async () => {
    const file = new StreamingFile(image);
    await readTo(new FileStore(file, runs), 0, 1000);
    expect(file.slices).toEqual([[0, 32], [32, 96], LOOK]);
    expect(file.streams).toEqual([96]);
  });

  test('takes the stream that it is told of', async () => {
    const file = new StreamingFile(image);
    const parts: unknown[] = [];
    const stream = (part: FilePart) => {
      parts.push(part);
      return part.stream?.() ?? null;
    };
    await readTo(new FileStore(file, { ...runs, stream }), 0, 1000);
    expect(parts).toHaveLength(1);
    expect(file.streams).toEqual([96]);
    const none = new FakeFile(image);
    await readTo(new FileStore(none, { ...runs, stream: () => null }), 0, 1000);
    expect(none.slices.at(-1)?.[1]).toBe(1000);
  });

  test("several readers have a stream each, and memory that serves again is nobody else's", async () => {
    const file = new StreamingFile(counting(64000));
    const store = new FileStore(file, runs);
    for (let at = 0; at < 16000; at += 100) {
      const offsets = [at, at + 16000, at + 32000, at + 48000, at + 20];
      const got = await Promise.all(offsets.map((offset) => read(store, offset, 100)));
      for (const [i, offset = 0] of offsets.entries()) {
        expect(got[i]).toEqual(file.content.subarray(offset, offset + 100));
      }
    }
  });

  test('a stream that nobody goes on with is let go of', async () => {
    const file = new StreamingFile(counting(64000));
    const store = new FileStore(file, { ...runs, memory: 8192 });
    for (let run = 0; run < 8; run++) {
      for (let at = 0; at < 400; at += 20) await read(store, run * 8000 + at, 20);
    }
    expect(file.streams).toHaveLength(8);
    await expect.poll(() => file.cancelled).toBeGreaterThanOrEqual(4);
  });

  test('the file is looked at beside a stream, for the browser looks only as it opens one', async () => {
    const file = new StreamingFile(image);
    const store = new FileStore(file, runs);
    const looks = () => file.slices.filter(([start]) => start === LOOK[0]).length;
    const begun = Date.now();
    await readTo(store, 0, 200);
    expect(looks()).toBe(1);
    vi.setSystemTime(begun + 249);
    await readTo(store, 200, 400);
    expect(looks()).toBe(1);
    vi.setSystemTime(begun + 250);
    await readTo(store, 400, 600);
    expect(looks()).toBe(2);
    vi.setSystemTime(begun); // clocks are set back, too
    await readTo(store, 600, 900);
    expect(looks()).toBe(3);
    expect(file.streams).toEqual([96]);
    expect(file.cancelled).toBe(0);
  });

  test('a change that only a look shows fails what the stream gave meanwhile', async () => {
    const file = new StreamingFile(image);
    const store = new FileStore(file, runs);
    await readTo(store, 0, 200);
    file.broken = () => {
      throw new DOMException('The requested file could not be read', 'NotReadableError');
    };
    vi.setSystemTime(Date.now() + 250);
    const target = new Uint8Array(400);
    const failure = await store.read(300, target).catch((error) => error);
    expect(failure.sign).toBe('unreadable');
    expect(target).toEqual(new Uint8Array(400));
  });

  test('without them, or with such as fill no memory they are given, slices do', async () => {
    const file = new StreamingFile(image);
    const store = new FileStore(file, runs);
    const slice = file.slice.bind(file);
    file.slice = (start, end) => ({
      ...slice(start, end),
      stream: () => new ReadableStream() as unknown as ByteStream,
    });
    await readTo(store, 0, 1000);
    expect(file.slices.at(-1)?.[1]).toBe(1000);
  });

  for (const [how, sign] of [
    ['ends', 'short'],
    ['fails', 'unreadable'],
  ] as const) {
    test(`a stream that ${how} is a changed file: noticed once, dead for good`, async () => {
      const file = new StreamingFile(image);
      const heard: FileChangedError[] = [];
      const store = new FileStore(file, { ...runs, onChanged: (e) => heard.push(e) });
      await readTo(store, 0, 100);
      file.brokenStream = how;
      const target = new Uint8Array(400);
      const failure = await store.read(96, target).catch((error) => error);
      expect(failure.sign).toBe(sign);
      expect(target).toEqual(new Uint8Array(400));
      expect(heard).toEqual([failure]);
      await expect(store.read(0, new Uint8Array(1))).rejects.toBe(failure);
    });
  }

  for (const fact of ['size', 'lastModified'] as const) {
    test(`another ${fact} while a stream gives its bytes fails the read`, async () => {
      const file = new StreamingFile(image);
      const store = new FileStore(file, runs);
      await readTo(store, 0, 100);
      file.during = () => file[fact]++;
      const target = new Uint8Array(500);
      await expect(store.read(100, target)).rejects.toBeInstanceOf(FileChangedError);
      expect(target).toEqual(new Uint8Array(500));
    });
  }
});

describe('a file that changes', () => {
  const unreadable = () => {
    throw new DOMException('The requested file could not be read', 'NotReadableError');
  };
  const damage: [string, string, (file: FakeFile) => void][] = [
    ['cannot be read any more', 'unreadable', (file) => (file.broken = unreadable)],
    ['gives an empty buffer', 'short', (file) => (file.broken = () => new ArrayBuffer(0))],
    ['gives less', 'short', (file) => (file.broken = (wanted) => new ArrayBuffer(wanted - 1))],
    ['gives more', 'short', (file) => (file.broken = (wanted) => new ArrayBuffer(wanted + 1))],
    ['has another size', 'size', (file) => (file.size = 999)],
    ['has another date', 'date', (file) => (file.lastModified = 1001)],
  ];
  for (const [name, sign, harm] of damage) {
    // "When": before the n-th block read, or while it is under way.
    for (const nth of [0, 1, 2, 3]) {
      for (const when of ['before', 'during'] as const) {
        test(`${name} (${when} block read ${nth}): noticed once, dead for good`, async () => {
          const file = new FakeFile(image);
          const heard: FileChangedError[] = [];
          const store = new FileStore(file, { ...small, onChanged: (e) => heard.push(e) });
          for (let i = 0; i < nth; i++) await read(store, 128 * i, 1);
          if (when === 'before') harm(file);
          else file.during = () => harm(file);
          const target = new Uint8Array(200);
          const failure = await store.read(700, target).catch((error) => error);
          expect(failure).toBeInstanceOf(FileChangedError);
          expect(failure.sign).toBe(sign);
          expect(target).toEqual(new Uint8Array(200));

          file.broken = undefined;
          file.during = undefined;
          file.size = 1000;
          file.lastModified = 1000;
          await expect(store.read(0, new Uint8Array(1))).rejects.toBe(failure);
          expect(heard).toEqual([failure]);
        });
      }
    }
  }

  test('a read-ahead that meets the change fails the next read, not this one', async () => {
    const file = new FakeFile(image);
    const store = new FileStore(file, small);
    file.during = async (start) => {
      if (start === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 0));
      file.lastModified++;
    };
    expect(await read(store, 0, 64)).toEqual(image.subarray(0, 64));
    await expect.poll(() => store.read(10, new Uint8Array(1)).catch((e) => e.sign)).toBe('date');
  });

  test('is found when asked for, though all that is read is kept', async () => {
    const file = new FakeFile(image);
    const heard: FileChangedError[] = [];
    const store = new FileStore(file, { onChanged: (error) => heard.push(error) });
    await read(store, 0, 1000);
    expect(await store.verify()).toBe(true);
    file.broken = unreadable;
    expect(await store.verify()).toBe(false);
    expect(heard.map(({ sign }) => sign)).toEqual(['unreadable']);
  });

  test('is EIO for the read, and the server goes on answering EIO', async () => {
    const file = new FakeFile(image);
    const talk = new TestClient(new FileStore(file, small)).go(true);
    expect((await talk.read(0, 10)).error).toBe(0);
    file.size = 10;
    expect((await talk.read(600, 10)).error).toBe(5);
    expect((await talk.read(0, 10)).error).toBe(5);
    expect(talk.end).toBeUndefined();
    expect(talk.server).toBeInstanceOf(NbdServer);
  });
});
