// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BMCWEB_LIMITS, MediaSocket, type MediaSocketClose } from '../src/media-socket.js';
import * as wire from '../src/wire.js';
import * as client from './client-wire.js';
import { counting, memoryStore } from './test-client.js';

/** A WebSocket to nowhere, which fails a test that sends what a browser would not. */
class FakeSocket {
  static made: FakeSocket[] = [];
  binaryType = 'blob';
  bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly sent: Uint8Array[] = [];
  readonly closes: unknown[][] = [];
  readonly arguments: unknown[];

  constructor(...given: unknown[]) {
    this.arguments = given;
    FakeSocket.made.push(this);
  }

  send(bytes: Uint8Array): void {
    if (this.closes.length > 0) throw new Error('sent after the close');
    this.sent.push(bytes.slice());
  }

  close(...given: unknown[]): void {
    this.closes.push(given);
  }

  hear(bytes: Uint8Array): void {
    this.onmessage?.({ data: bytes.slice().buffer });
  }

  /** Flags and EXPORT_NAME: ready for requests. */
  shakeHands(): void {
    this.onopen?.();
    this.hear(client.encodeClientFlags(3));
    this.hear(client.encodeOption(wire.OPT_EXPORT_NAME));
    this.sent.length = 0;
  }

  read(cookie: bigint, offset: number, length: number): void {
    const fields = { type: wire.CMD_READ, cookie, offset: BigInt(offset), length, flags: 0 };
    this.hear(client.encodeRequest(fields));
  }
}

const global = globalThis as { WebSocket?: unknown };
const real = global.WebSocket;

beforeEach(() => {
  FakeSocket.made = [];
  global.WebSocket = FakeSocket;
});
afterEach(() => {
  global.WebSocket = real;
});

const KiB = 1024;
const image = counting(2048 * KiB);
const soon = () => new Promise((resolve) => setTimeout(resolve, 2));

function open(options = {}): { media: MediaSocket; socket: FakeSocket; ends: MediaSocketClose[] } {
  const ends: MediaSocketClose[] = [];
  const onClose = (close: MediaSocketClose) => ends.push(close);
  const media = new MediaSocket('wss://bmc/vm/0/0', memoryStore(image), { onClose, ...options });
  const socket = FakeSocket.made[0];
  if (!socket) throw new Error('no WebSocket was made');
  return { media, socket, ends };
}

describe('a WebSocket of its own', () => {
  test('asks for the token as its subprotocol, or for none', () => {
    open({ subprotocol: 'kBvWUlFtzY' });
    open();
    expect(FakeSocket.made.map((socket) => socket.arguments)).toEqual([
      ['wss://bmc/vm/0/0', 'kBvWUlFtzY'],
      ['wss://bmc/vm/0/0'],
    ]);
  });

  test('speaks when it is open and not before, and bytes only', async () => {
    let opened = 0;
    const { media, socket } = open({ onOpen: () => opened++ });
    expect([socket.binaryType, socket.sent.length, opened]).toEqual(['arraybuffer', 0, 0]);
    socket.shakeHands();
    expect(opened).toBe(1);
    socket.onmessage?.({ data: '{"state":"serving"}' });
    socket.read(1n, 10, 20);
    await soon();
    expect(socket.sent.length).toBe(1);
    expect(socket.sent[0]?.subarray(16)).toEqual(image.subarray(10, 30));
    expect(media.counters.bytesRead).toBe(20);
  });

  test.each([
    [128 * KiB, [131_088]],
    [128 * KiB + 1, [131_088, 1]],
    [256 * KiB, [131_088, 131_072]],
    [1024 * KiB, [...Array<number>(7).fill(131_088), 131_072 - 6 * 16]],
  ])(
    'within the limits of bmcweb a read of %i bytes leaves in messages that fit',
    async (length, sizes) => {
      const { socket } = open({ ...BMCWEB_LIMITS });
      socket.shakeHands();
      socket.read(1n, 0, length);
      await soon();
      expect(socket.sent.map((bytes) => bytes.length)).toEqual(sizes);
      const whole = Buffer.concat(socket.sent);
      expect(whole.subarray(16).equals(image.subarray(0, length))).toBe(true);
    },
  );

  test('never has more than four replies in the socket', async () => {
    const { socket } = open({ ...BMCWEB_LIMITS });
    socket.shakeHands();
    const { send } = socket;
    socket.send = (bytes) => {
      send.call(socket, bytes);
      socket.bufferedAmount += bytes.length;
    };
    for (let i = 0; i < 16; i++) socket.read(BigInt(i), i * 1000, 128 * KiB);
    await soon();
    expect(socket.bufferedAmount).toBe(524_352);
    socket.bufferedAmount -= 131_088;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(socket.sent.length).toBe(5);
    expect(socket.bufferedAmount).toBe(524_352);
  });

  test('a goodbye of the device closes with 1000, nonsense does not', () => {
    for (const [bytes, code] of [
      [
        client.encodeRequest({ type: wire.CMD_DISC, cookie: 1n, offset: 0n, length: 0, flags: 0 }),
        1000,
      ],
      [new Uint8Array(28), 4102],
    ] as const) {
      FakeSocket.made = [];
      const { socket, ends } = open();
      socket.shakeHands();
      socket.hear(bytes);
      expect(socket.closes.map(([given]) => given)).toEqual([code]);
      socket.onclose?.({ code, reason: '' });
      expect(ends.map(({ end }) => end?.kind)).toEqual([code === 1000 ? 'done' : 'protocol']);
    }
  });

  test('a lost line is told once, and nothing is sent any more', async () => {
    const { socket, ends } = open();
    socket.shakeHands();
    socket.read(1n, 0, 10);
    socket.onclose?.({ code: 1006, reason: '' });
    await soon();
    expect(socket.sent).toEqual([]);
    expect(ends).toEqual([{ code: 1006, reason: '', end: undefined }]);
  });

  test('who closes it hears nothing of it', async () => {
    const { media, socket, ends } = open();
    socket.shakeHands();
    socket.read(1n, 0, 10);
    media.close();
    await soon();
    expect(socket.closes).toEqual([[1000]]);
    expect(socket.sent).toEqual([]);
    expect([socket.onopen, socket.onclose, ends]).toEqual([null, null, []]);
  });
});
