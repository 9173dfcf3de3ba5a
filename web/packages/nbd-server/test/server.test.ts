// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { BlockStore } from '../src/store.js';
import * as wire from '../src/wire.js';
import * as client from './client-wire.js';
import { counting, memoryStore, TestClient } from './test-client.js';

const MiB = 1 << 20;
const replyTypes = (talk: TestClient) =>
  talk.optionReplies.map(({ option, type }) => [option, type]);

/** A store whose reads are answered by hand, in any order. */
function manualStore(size: number) {
  const reads: { offset: number; length: number; give(): void; fail(error: unknown): void }[] = [];
  const store: BlockStore = {
    size,
    read: (offset, target) =>
      new Promise((resolve, reject) => {
        const give = () => {
          target.fill(offset & 0xff || 1);
          resolve(target.length);
        };
        reads.push({ offset, length: target.length, give, fail: reject });
      }),
  };
  return { store, reads };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 0));

/** The same numbers each time: a failure can be looked at again. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('negotiation', () => {
  const image = memoryStore(counting(1000));

  test('greets with fixed newstyle, before it has heard anything', () => {
    expect(new TestClient(image).greeting).toBe(3);
  });

  test('tells size, flags and limits to who asks', () => {
    const talk = new TestClient(image, { exportName: 'cd', description: 'a disc' });
    talk.say(client.encodeClientFlags(3));
    talk.option(wire.OPT_INFO, client.encodeInfoRequest('cd', [1, 2, 3, 77]));
    const [exported, blocks, name, description, ack] = talk.optionReplies;
    expect(client.decodeInfoExport(exported?.data ?? new Uint8Array()).flags).toBe(0x7);
    expect(client.decodeInfoBlockSize(blocks?.data ?? new Uint8Array())).toEqual({
      minimum: 1,
      preferred: 4096,
      maximum: MiB,
    });
    expect(client.toHex(name?.data ?? new Uint8Array())).toBe('00016364');
    expect(Buffer.from(description?.data ?? []).toString('latin1')).toBe('\0\x02a disc');
    expect(ack?.type).toBe(wire.REP_ACK);
    expect(talk.exported?.size).toBe(1000n);
  });

  test('refuses what it does not know and goes on', async () => {
    const talk = new TestClient(image);
    talk.say(client.encodeClientFlags(3));
    for (const option of [5, 9, 10, 11, 0x77777777]) talk.option(option, new Uint8Array(3));
    talk.option(wire.OPT_STRUCTURED_REPLY, new Uint8Array(1));
    talk.option(wire.OPT_LIST, new Uint8Array(1));
    talk.option(wire.OPT_GO, new Uint8Array(5));
    talk.option(wire.OPT_GO, client.encodeInfoRequest('other', []));
    talk.option(wire.OPT_GO, new Uint8Array(9000));
    expect(talk.optionReplies.map(({ type }) => type)).toEqual([
      ...Array<number>(5).fill(wire.REP_ERR_UNSUP),
      wire.REP_ERR_INVALID,
      wire.REP_ERR_INVALID,
      wire.REP_ERR_INVALID,
      wire.REP_ERR_UNKNOWN,
      wire.REP_ERR_TOO_BIG,
    ]);
    talk.option(wire.OPT_GO, client.encodeInfoRequest('', []));
    expect((await talk.read(5, 3)).data).toEqual(Uint8Array.of(5, 6, 7));
  });

  test('lists its one export', () => {
    const talk = new TestClient(image, { exportName: 'disk' });
    talk.say(client.encodeClientFlags(3));
    talk.option(wire.OPT_LIST);
    expect(replyTypes(talk)).toEqual([
      [wire.OPT_LIST, wire.REP_SERVER],
      [wire.OPT_LIST, wire.REP_ACK],
    ]);
    expect(client.toHex(talk.optionReplies[0]?.data ?? new Uint8Array())).toBe('000000046469736b');
  });

  test('ends on ABORT, with its ACK said', () => {
    const talk = new TestClient(image);
    talk.say(client.encodeClientFlags(3));
    talk.option(wire.OPT_ABORT);
    expect(replyTypes(talk)).toEqual([[wire.OPT_ABORT, wire.REP_ACK]]);
    expect(talk.end?.kind).toBe('done');
  });

  for (const flags of [0, 1, 3]) {
    test(`EXPORT_NAME with client flags ${flags} leads to simple replies`, async () => {
      const talk = new TestClient(image);
      talk.exportName(flags);
      expect(talk.exported).toMatchObject({ size: 1000n, flags: 0x7, zeroes: flags !== 3 });
      const { error, data, chunks } = await talk.read(10, 20);
      expect([error, chunks.length]).toEqual([0, 0]);
      expect(data).toEqual(counting(1000).subarray(10, 30));
    });
  }

  test('EXPORT_NAME after STRUCTURED_REPLY keeps the agreement', async () => {
    const talk = new TestClient(image);
    talk.say(client.encodeClientFlags(3));
    talk.option(wire.OPT_STRUCTURED_REPLY);
    talk.option(wire.OPT_EXPORT_NAME);
    expect((await talk.read(1, 9)).chunks).toEqual([[wire.CHUNK_OFFSET_DATA, 17]]);
  });

  test('an export name that is not here ends EXPORT_NAME', () => {
    const talk = new TestClient(image);
    talk.exportName(3, 'other');
    expect(talk.end).toMatchObject({ kind: 'protocol' });
  });
});

describe('requests', () => {
  for (const structured of [true, false]) {
    test(`any reads give the image's bytes (structured: ${structured})`, async () => {
      const below = random(42);
      const image = new Uint8Array(3 * MiB + 123);
      for (let at = 0; at < image.length; at += 4096) {
        if (below(3) > 0) image.fill(1 + below(255), at, at + 1 + below(4096));
      }
      const talk = new TestClient(memoryStore(image), { maxMessage: 70_000 }).go(structured);
      for (let round = 0; round < 60; round++) {
        const batch = Array.from({ length: 1 + below(20) }, () => {
          const offset = below(image.length);
          const length = below(Math.min(image.length - offset, below(2) ? MiB : 9000) + 1);
          return { offset, length, cookie: talk.ask(wire.CMD_READ, offset, length, 0) };
        });
        for (const { offset, length, cookie } of batch) {
          const { error, data } = await talk.answer(cookie);
          expect(error).toBe(0);
          expect(Buffer.compare(data, image.subarray(offset, offset + length))).toBe(0);
        }
      }
      expect(Math.max(...talk.messages)).toBeLessThanOrEqual(70_000);
    }, 30_000);
  }

  test('zeroes travel as holes, data in one piece, and DF asks for one', async () => {
    const image = new Uint8Array(64 * 1024);
    image.fill(7, 8192, 12288);
    image.fill(9, 40_000, 40_001);
    const talk = new TestClient(memoryStore(image)).go(true);
    expect((await talk.read(0, 8192)).chunks).toEqual([[wire.CHUNK_OFFSET_HOLE, 12]]);
    expect((await talk.read(8192, 4096)).chunks).toEqual([[wire.CHUNK_OFFSET_DATA, 4104]]);
    const mixed = await talk.read(0, image.length);
    expect(mixed.chunks.map(([type]) => type)).toEqual([2, 1, 2, 1, 2]);
    expect(mixed.data).toEqual(image);
    const whole = await talk.read(0, image.length, wire.CMD_FLAG_DF);
    expect(whole.chunks).toEqual([[wire.CHUNK_OFFSET_DATA, image.length + 8]]);
    expect(whole.data).toEqual(image);
    expect((await talk.read(0, 4096, wire.CMD_FLAG_DF)).chunks[0]?.[0]).toBe(2);
    expect((await talk.read(0, 0)).chunks).toEqual([[wire.CHUNK_NONE, 0]]);
  });

  test('one message a reply', async () => {
    const talk = new TestClient(memoryStore(counting(MiB))).go(true);
    const before = talk.messages.length;
    for (let i = 0; i < 8; i++) await talk.read(i * 4096, 128 * 1024);
    expect(talk.messages.slice(before)).toEqual(Array(8).fill(128 * 1024 + 28));
  });

  test('FLUSH is fine; what would write is EPERM, and its payload passes by', async () => {
    const talk = new TestClient(memoryStore(counting(4096))).go(true);
    expect((await talk.answer(talk.ask(wire.CMD_FLUSH))).error).toBe(0);
    const write = talk.request(wire.CMD_WRITE, 0, 3000);
    const after = talk.request(wire.CMD_READ, 1, 2);
    const payload = new Uint8Array(3000).fill(0x25);
    const all = client.join(write.bytes, payload, after.bytes);
    for (let at = 0; at < all.length; at += 7) talk.say(all.subarray(at, at + 7));
    expect((await talk.answer(write.cookie)).error).toBe(wire.EPERM);
    expect((await talk.answer(after.cookie)).data).toEqual(Uint8Array.of(1, 2));
    for (const type of [wire.CMD_TRIM, wire.CMD_WRITE_ZEROES]) {
      expect((await talk.answer(talk.ask(type, 0, 512))).error).toBe(wire.EPERM);
    }
    expect(talk.server.counters).toMatchObject({ requests: 5, errors: 3, bytesRead: 2 });
  });

  test('DISC waits for what is under way, then ends', async () => {
    const { store, reads } = manualStore(4096);
    const talk = new TestClient(store).go(true);
    const cookie = talk.ask(wire.CMD_READ, 0, 512);
    talk.ask(wire.CMD_DISC);
    talk.say(new Uint8Array(100));
    expect(talk.end).toBeUndefined();
    reads[0]?.give();
    expect((await talk.answer(cookie)).error).toBe(0);
    await soon();
    expect(talk.end?.kind).toBe('done');
  });

  test('replies leave in the order in which the data comes', async () => {
    const { store, reads } = manualStore(MiB);
    const talk = new TestClient(store).go(true);
    const cookies = [0, 1, 2, 3].map((i) => talk.ask(wire.CMD_READ, i * 512, 512));
    for (const i of [2, 0, 3, 1]) {
      reads[i]?.give();
      await soon();
    }
    expect(talk.order).toEqual([2, 0, 3, 1].map((i) => cookies[i]));
  });

  test('a read that fails or falls short is EIO, and the session goes on', async () => {
    const errors: unknown[] = [];
    const store: BlockStore = {
      size: 8192,
      async read(offset, target) {
        if (offset === 0) throw new Error('broken');
        return offset === 512 ? target.length - 1 : target.length;
      },
    };
    for (const structured of [true, false]) {
      const options = { onReadError: (error: unknown) => errors.push(error) };
      const talk = new TestClient(store, options).go(structured);
      expect((await talk.read(0, 512)).error).toBe(wire.EIO);
      expect((await talk.read(512, 512)).error).toBe(wire.EIO);
      expect((await talk.read(1024, 512)).error).toBe(0);
    }
    expect(errors.map(String)).toEqual([
      'Error: broken',
      'Error: The store gave 511 bytes of 512.',
      'Error: broken',
      'Error: The store gave 511 bytes of 512.',
    ]);
  });

  test('after stop() nothing is sent and nobody is called', async () => {
    const { store, reads } = manualStore(4096);
    const talk = new TestClient(store).go(true);
    talk.ask(wire.CMD_READ, 0, 512);
    talk.ask(wire.CMD_READ, 512, 512);
    talk.server.stop();
    const sent = talk.messages.length;
    reads[0]?.give();
    reads[1]?.fail(new Error('late'));
    await soon();
    expect(talk.messages.length).toBe(sent);
    expect(talk.end).toBeUndefined();
  });
});

describe('holding back', () => {
  test('at most maxReads are under way; the next starts when one is done', async () => {
    const { store, reads } = manualStore(MiB);
    const talk = new TestClient(store, { maxReads: 4 }).go(true);
    for (let i = 0; i < 10; i++) talk.ask(wire.CMD_READ, 0, 512);
    expect(reads.length).toBe(4);
    reads[3]?.give();
    await soon();
    expect(reads.length).toBe(5);
  });

  test('a full socket holds reads back until it drains', async () => {
    const { store, reads } = manualStore(64 * MiB);
    const talk = new TestClient(store, { maxQueued: 2 * MiB }).go(true);
    talk.bufferedAmount = 2 * MiB - 1000;
    talk.ask(wire.CMD_READ, 0, 512);
    const held = talk.ask(wire.CMD_READ, 0, MiB);
    const flush = talk.ask(wire.CMD_FLUSH);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(reads.length).toBe(1);
    expect(talk.answers.has(flush)).toBe(false);
    talk.bufferedAmount = 0;
    await expect.poll(() => reads.length).toBe(2);
    expect((await talk.answer(flush)).error).toBe(0);
    reads[1]?.give();
    expect((await talk.answer(held)).error).toBe(0);
  });

  test('one reply may be longer than the limit', async () => {
    const talk = new TestClient(memoryStore(counting(MiB)), { maxQueued: 1000 }).go(true);
    expect((await talk.read(0, MiB)).error).toBe(0);
  });

  test('one client that was told no limit may ask for 32 MiB', async () => {
    const talk = new TestClient(memoryStore(new Uint8Array(32 * MiB + 1)));
    talk.exportName(3);
    expect((await talk.read(0, 32 * MiB)).error).toBe(0);
    expect((await talk.read(0, 32 * MiB + 1)).error).toBe(wire.EINVAL);
  });
});

describe('a hostile client', () => {
  const flags = client.encodeClientFlags(3);
  const go = client.encodeOption(wire.OPT_GO, client.encodeInfoRequest('', [3]));
  const noise = new Uint8Array(64).fill(0xa5);
  const header = (option: number, length: number) =>
    client.join(client.encodeOption(option).subarray(0, 12), client.encodeClientFlags(length));
  const cases: [string, Uint8Array][] = [
    ['unknown client flags', client.encodeClientFlags(0x80000003)],
    ['noise for an option', client.join(flags, noise)],
    ['an option of 4 GiB', client.join(flags, header(wire.OPT_LIST, 0xffffffff))],
    ['a long EXPORT_NAME', client.join(flags, header(wire.OPT_EXPORT_NAME, 9000))],
    ['noise for a request', client.join(flags, go, noise)],
    ['a reply for a request', client.join(flags, go, client.hex(`67446698${'00'.repeat(24)}`))],
    [
      'options without end',
      client.join(flags, ...Array<Uint8Array>(1001).fill(client.encodeOption(99))),
    ],
    [
      'more requests than can wait',
      client.join(
        flags,
        go,
        ...Array<Uint8Array>(1100).fill(client.encodeRequest({ type: 0, cookie: 1n, length: 9 })),
      ),
    ],
  ];
  for (const [name, bytes] of cases) {
    for (const piece of [bytes.length, 1, 13]) {
      test(`${name}, in pieces of ${piece}, ends the connection`, () => {
        const { store } = manualStore(100);
        const talk = new TestClient(store);
        // The client's own bookkeeping does not know of these requests, and none is answered.
        for (let at = 0; at < bytes.length; at += piece) talk.say(bytes.subarray(at, at + piece));
        expect(talk.end?.kind).toBe('protocol');
        const sent = talk.messages.length;
        talk.say(noise);
        expect(talk.messages.length).toBe(sent);
      });
    }
  }

  const refused: [string, number, number, number, number][] = [
    ['a read past the end', wire.CMD_READ, 4000, 97, 0],
    ['a read far past the end', wire.CMD_READ, 2 ** 60, 1, 0],
    ['a read whose end wraps', wire.CMD_READ, 2 ** 63, 0xffffffff, 0],
    ['a read over the limit told', wire.CMD_READ, 0, 0xffffffff, 0],
    ['a read with unknown flags', wire.CMD_READ, 0, 1, 0xfff8],
    ['a flush with flags', wire.CMD_FLUSH, 0, 0, 1],
    ['an unknown command', 4711, 0, 0, 0],
    ['BLOCK_STATUS that was not agreed', 7, 0, 512, 0],
  ];
  for (const [name, type, offset, length, requestFlags] of refused) {
    for (const structured of [true, false]) {
      test(`${name} is EINVAL (structured: ${structured})`, async () => {
        const talk = new TestClient(memoryStore(counting(4096))).go(structured);
        const cookie = talk.ask(type, offset, length, requestFlags);
        expect((await talk.answer(cookie)).error).toBe(wire.EINVAL);
        expect((await talk.read(0, 1)).error).toBe(0);
      });
    }
  }
});
