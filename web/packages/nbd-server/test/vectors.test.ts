// SPDX-License-Identifier: Apache-2.0
// The golden bytes that the C code and this library share: tests/vectors/README.md.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as wire from '../src/wire.js';
import * as client from './client-wire.js';
import { counting, memoryStore, TestClient } from './test-client.js';

const VECTORS = new URL('../../../../tests/vectors/', import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(name, VECTORS), 'utf8'));

type Fields = Record<string, unknown>;
interface Vector {
  name: string;
  kind: string;
  hex: string;
  fields?: Fields;
  malformed?: string;
}

/** How each kind is written and read here; null from decode means "need more". */
interface Codec {
  encode?: (fields: never) => Uint8Array;
  decode?: (bytes: Uint8Array) => Fields | null;
}

const wide = (value: bigint | number) => `0x${BigInt(value).toString(16)}`;
const put = (length: number, write: (to: Uint8Array) => number) => {
  const bytes = new Uint8Array(length);
  expect(write(bytes)).toBe(length);
  return bytes;
};
const unwrap = <T extends object>(decoded: { fields: T } | null) =>
  decoded && ({ ...decoded.fields } as Fields);

const CODECS: Record<string, Codec> = {
  'server-hello': {
    encode: ({ flags }: { flags: number }) => put(18, (to) => wire.putGreeting(to, 0, flags)),
    decode: (bytes) => unwrap(client.decodeServerHello(bytes)),
  },
  'client-flags': { encode: ({ flags }: { flags: number }) => client.encodeClientFlags(flags) },
  option: {
    encode: ({ option, data }: { option: number; data: string }) =>
      client.encodeOption(option, client.hex(data)),
    decode: (bytes) => {
      if (bytes.length < wire.OPTION_LENGTH) return null;
      const { magic, option, length } = wire.getOption(bytes);
      if (magic !== wire.OPTION_MAGIC) throw new Error('magic');
      const end = wire.OPTION_LENGTH + length;
      if (bytes.length < end) return null;
      return { option, data: client.toHex(bytes.subarray(wire.OPTION_LENGTH, end)) };
    },
  },
  'option-reply': {
    encode: ({ option, type, data }: { option: number; type: number; data: string }) => {
      const bytes = client.hex(data);
      const head = put(20, (to) => wire.putOptionReply(to, 0, option, type, bytes.length));
      return client.join(head, bytes);
    },
    decode: (bytes) => {
      const reply = client.decodeOptionReply(bytes);
      return reply && { ...reply.fields, data: client.toHex(reply.fields.data) };
    },
  },
  'info-request': {
    encode: ({ name, infos }: { name: string; infos: number[] }) =>
      client.encodeInfoRequest(name, infos),
    decode: (bytes) => {
      const query = wire.getInfoQuery(bytes);
      if (!query) throw new Error('length');
      return { name: new TextDecoder().decode(query.name), infos: query.infos };
    },
  },
  'info-export': {
    encode: ({ size, flags }: { size: string; flags: number }) =>
      put(12, (to) => wire.putInfoExport(to, 0, Number(size), flags)),
    decode: (bytes) => {
      const { size, flags } = client.decodeInfoExport(bytes);
      return { size: wide(size), flags };
    },
  },
  'info-block-size': {
    encode: (f: { minimum: number; preferred: number; maximum: number }) =>
      put(14, (to) => wire.putInfoBlockSize(to, 0, f.minimum, f.preferred, f.maximum)),
    decode: (bytes) => ({ ...client.decodeInfoBlockSize(bytes) }),
  },
  request: {
    encode: (f: { flags: number; type: number; cookie: string; offset: string; length: number }) =>
      client.encodeRequest({ ...f, cookie: BigInt(f.cookie), offset: BigInt(f.offset) }),
    decode: (bytes) => {
      if (bytes.length < wire.REQUEST_LENGTH) return null;
      const { magic, flags, command, cookie, offset, length } = wire.getRequest(bytes);
      if (magic !== wire.REQUEST_MAGIC) throw new Error('magic');
      return { flags, type: command, cookie: wide(cookie), offset: wide(offset), length };
    },
  },
  'simple-reply': {
    encode: ({ error, cookie }: { error: number; cookie: string }) =>
      put(16, (to) => wire.putSimpleReply(to, 0, error, BigInt(cookie))),
    decode: (bytes) => {
      const reply = client.decodeSimpleReply(bytes);
      return reply && { error: reply.fields.error, cookie: wide(reply.fields.cookie) };
    },
  },
  chunk: {
    encode: (f: { flags: number; type: number; cookie: string; length: number }) =>
      put(20, (to) => wire.putChunk(to, 0, f.flags, f.type, BigInt(f.cookie), f.length)),
    decode: (bytes) => {
      const chunk = client.decodeChunk(bytes);
      return chunk && { ...chunk.fields, cookie: wide(chunk.fields.cookie) };
    },
  },
  'chunk-hole': {
    encode: ({ offset, length }: { offset: string; length: number }) =>
      put(32, (to) => wire.putHoleChunk(to, 0, 1, 1n, Number(offset), length)).subarray(20),
  },
  'chunk-error': {
    encode: ({ error, message }: { error: number; message: string }) => {
      const bytes = new TextEncoder().encode(message);
      const whole = put(26 + bytes.length, (to) => wire.putErrorChunk(to, 0, 1, 1n, error, bytes));
      return whole.subarray(20);
    },
  },
  'export-reply': {
    encode: ({ size, flags, zeroes }: { size: string; flags: number; zeroes: boolean }) =>
      client.join(
        put(10, (to) => wire.putExportNameReply(to, 0, Number(size), flags)),
        new Uint8Array(zeroes ? 124 : 0),
      ),
    decode: (bytes) => {
      const reply = client.decodeExportReply(bytes, bytes.length > 10);
      return reply && { ...reply.fields, size: wide(reply.fields.size) };
    },
  },
};

/** Kinds this side neither writes nor reads: the server sends no such thing. */
const NOT_OURS = new Set([
  'rep-server',
  'rep-meta-context',
  'chunk-data',
  'chunk-status',
  'extent',
  'chunk-error-offset',
]);
/** The server holds sizes and offsets as numbers: those past 2^53 are out of its world. */
const isPastNumbers = ({ fields }: Vector) =>
  ['size', 'offset'].some((name) => BigInt((fields?.[name] as string) ?? 0) > 2n ** 53n);

describe('every golden structure', () => {
  const vectors: Vector[] = load('nbd-codec.json');
  test('the file has something to say about each kind', () => {
    const kinds = new Set(vectors.map(({ kind }) => kind));
    for (const kind of kinds) expect(NOT_OURS.has(kind) || kind in CODECS, kind).toBe(true);
    for (const kind of Object.keys(CODECS)) expect(kinds).toContain(kind);
  });
  for (const vector of vectors.filter(({ kind }) => !NOT_OURS.has(kind))) {
    test(vector.name, () => check(vector));
  }
});

function check(vector: Vector): void {
  const codec = CODECS[vector.kind];
  const bytes = client.hex(vector.hex);
  const { fields } = vector;
  if (!fields) {
    if (codec?.decode) expect(() => codec.decode?.(bytes)).toThrow();
    return;
  }
  const needsBigSize = isPastNumbers(vector) && vector.kind !== 'request';
  if (codec?.encode && !needsBigSize) {
    expect(client.toHex(codec.encode(fields as never))).toBe(client.toHex(bytes));
  }
  if (!codec?.decode) return;
  const expected = { ...fields };
  if (vector.kind === 'request') expected.offset = wide(Number(fields.offset));
  expect(codec.decode(bytes)).toEqual(expected);
  for (let length = 0; length < bytes.length; length++) {
    expect(needsMore(codec.decode, bytes.subarray(0, length), vector), `first ${length}`).toBe(
      true,
    );
  }
}

/** Data of a known length say so by an error; the rest by null. */
function needsMore(decode: NonNullable<Codec['decode']>, prefix: Uint8Array, { kind }: Vector) {
  if (kind === 'export-reply' && prefix.length >= 10) return true; // its other form
  try {
    return decode(prefix) === null;
  } catch (error) {
    return kind.startsWith('info-') && (error as Error).message === 'length';
  }
}

interface Step {
  from?: string;
  hex?: string;
  do?: string;
  id?: number;
  offset?: string;
  length?: number;
  done?: number;
  error?: number;
}

describe("every golden conversation's client", () => {
  const conversations: { name: string; size: string; steps: Step[] }[] =
    load('nbd-conversations.json');
  for (const { name, size, steps } of conversations) {
    test(`${name}: is understood, cut at every place`, async () => {
      const said = client.join(
        ...steps.filter((step) => step.from === 'client').map((step) => client.hex(step.hex ?? '')),
      );
      const whole = await replay(said, [said.length], Number(size));
      for (let cut = 1; cut < said.length; cut++) {
        expect(await replay(said, [cut, said.length], Number(size))).toEqual(whole);
      }
      const eachByte = Array.from(said, (_, i) => i + 1);
      expect(await replay(said, eachByte, Number(size))).toEqual(whole);
      // That client was refused GO and goes on to EXPORT_NAME; this server has said yes to GO.
      expect(whole.end === 'protocol').toBe(name === 'fallback');
    });
  }
});

/** What the server says to these bytes, sorted by nothing but itself: reads are answered in turn. */
async function replay(said: Uint8Array, cuts: number[], size: number) {
  let heard = '';
  let end = '';
  const { NbdServer } = await import('../src/server.js');
  const server = new NbdServer({
    store: memoryStore(counting(size)),
    socket: {
      send: (bytes) => {
        heard += client.toHex(bytes);
      },
      bufferedAmount: 0,
    },
    onEnd: ({ kind }) => {
      end = kind;
    },
  });
  server.start();
  let from = 0;
  for (const cut of cuts) {
    server.receive(said.subarray(from, cut));
    from = cut;
  }
  for (let i = 0; i < 10; i++) await Promise.resolve();
  return { heard, end };
}

test('the answers to the golden conversation mean what they should', async () => {
  const image = counting(0x10000);
  const talk = new TestClient(memoryStore(image)).go(true);
  expect(talk.exported).toEqual({ size: 0x10000n, flags: 0x87 });
  for (const [offset, length] of [
    [0, 16],
    [0x1000, 32],
    [0x4000, 16],
  ] as const) {
    const { error, data } = await talk.read(offset, length);
    expect(error).toBe(0);
    expect(data).toEqual(image.subarray(offset, offset + length));
  }
});
