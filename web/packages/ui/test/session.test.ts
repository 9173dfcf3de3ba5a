// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { FromWorker, SessionEnd } from '../src/messages.js';
import { Samples } from '../src/samples.js';
import { Session, SUBPROTOCOL } from '../src/session.js';

/** A WebSocket whose far end is the test. */
class FakeSocket {
  static readonly CLOSING = 2;
  static last: FakeSocket;
  binaryType = 'blob';
  bufferedAmount = 0;
  readyState = 0;
  readonly sent: Uint8Array[] = [];
  closed: [number, string] | undefined;
  onopen = () => {};
  onmessage = (_: { data: unknown }) => {};
  onclose = (_: { code: number; reason: string }) => {};
  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.last = this;
  }
  send(bytes: Uint8Array): void {
    if (this.readyState === 1) this.sent.push(bytes.slice());
  }
  close(code: number, reason: string): void {
    this.readyState = 2;
    this.closed = [code, reason];
  }
  open(): void {
    this.readyState = 1;
    this.onopen();
  }
  hear(data: unknown): void {
    this.onmessage({ data });
  }
  gone(code: number, reason = ''): void {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

function fakeFile(size: number) {
  const file = {
    name: 'x.iso',
    size,
    lastModified: 1,
    slice: (start: number, end: number) => ({
      arrayBuffer: async () => new Uint8Array(end - start).fill(7).buffer,
    }),
  };
  return file as typeof file & File;
}

/** Client flags, then EXPORT_NAME; and one READ of 512 bytes at `offset`. */
const hello = Uint8Array.from([
  ...[0, 0, 0, 3, ...Buffer.from('IHAVEOPT'), 0, 0, 0, 1, 0, 0, 0, 0],
]).buffer;
function readAt(offset: number): ArrayBuffer {
  const request = new DataView(new ArrayBuffer(28));
  request.setUint32(0, 0x25609513);
  request.setBigUint64(16, BigInt(offset));
  request.setUint32(24, 512);
  return request.buffer;
}

describe('a session', () => {
  let told: FromWorker[];
  const states = () => told.flatMap((message) => (message.type === 'state' ? [message.state] : []));
  const end = (): SessionEnd | undefined => {
    const ends = told.flatMap((message) => (message.type === 'ended' ? [message.end] : []));
    expect(ends.length).toBeLessThan(2);
    if (ends.length === 1) expect(told.at(-1)?.type).toBe('ended');
    return ends[0];
  };

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('WebSocket', FakeSocket);
    told = [];
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  function start(file = fakeFile(1 << 20)) {
    const session = new Session('ws://bmc/', file, (message) => told.push(message));
    return { session, socket: FakeSocket.last, file };
  }

  async function serving(file = fakeFile(1 << 20)) {
    const all = start(file);
    all.socket.open();
    all.socket.hear(hello);
    all.socket.hear('{"state":"serving","uri":"nbd+unix:///x"}');
    return all;
  }

  test('speaks first, serves, and tells of its progress', async () => {
    const { socket } = await serving();
    expect(socket.protocols).toEqual([SUBPROTOCOL]);
    expect(socket.binaryType).toBe('arraybuffer');
    expect(socket.sent.map(({ length }) => length)).toEqual([18, 10]);
    socket.hear(readAt(512 * 1024));
    await vi.advanceTimersByTimeAsync(600);
    expect(socket.sent[2]?.length).toBe(16 + 512);
    expect(told.find(({ type }) => type === 'state')).toEqual({
      type: 'state',
      state: 'serving',
      uri: 'nbd+unix:///x',
    });
    expect(told.at(-1)).toMatchObject({ progress: { bytesRead: 512, cells: [480] } });
  });

  test('passes over words it does not know', async () => {
    const { socket } = await serving();
    for (const word of ['', '{', 'null', '7', '{"state":"dancing"}', '{"other":1}'])
      socket.hear(word);
    expect(states()).toEqual(['serving']);
    expect(end()).toBeUndefined();
  });

  test('the person ends it with 1000', async () => {
    const { session, socket } = await serving();
    session.close();
    expect(socket.closed).toEqual([1000, '']);
    expect(states().at(-1)).toBe('closing');
    socket.gone(1000);
    session.close();
    expect(end()).toMatchObject({ cause: 'person', code: 1000, opened: true });
  });

  test('the person ends it before it stood', () => {
    const { session, socket } = start();
    session.close();
    socket.gone(1006);
    expect(end()).toMatchObject({ cause: 'person', opened: false });
  });

  test('the device ends it with a code and a reason', async () => {
    const { socket } = await serving();
    socket.gone(4001, 'Ejected.');
    expect(end()).toEqual({ cause: 'device', code: 4001, reason: 'Ejected.', opened: true });
    const heard = told.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told.length).toBe(heard);
  });

  test('a reason longer than a goodbye is told whole', async () => {
    const { socket } = await serving();
    socket.hear('{"state":"closing","uri":"","reason":"A long story."}');
    socket.gone(4004, 'A long');
    expect(end()).toMatchObject({ cause: 'device', code: 4004, reason: 'A long story.' });
  });

  test('a connection that never stood', () => {
    start().socket.gone(1006);
    expect(end()).toEqual({ cause: 'device', code: 1006, reason: '', opened: false });
  });

  test('a file that changed: EIO for the read, then 4100', async () => {
    const { socket, file } = await serving();
    Object.assign(file, { size: 4096 });
    socket.hear(readAt(0));
    await vi.advanceTimersByTimeAsync(10);
    expect(Buffer.from(socket.sent[2] ?? []).toString('hex')).toBe(
      `6744669800000005${'00'.repeat(8)}`,
    );
    expect(socket.closed?.[0]).toBe(4100);
    socket.gone(4100, 'The file changed.');
    expect(end()).toMatchObject({ cause: 'file', code: 4100 });
  });

  test('a device that talks nonsense', async () => {
    const { socket } = await serving();
    socket.hear(new Uint8Array(28).fill(1).buffer);
    expect(socket.closed).toEqual([4102, 'The far end sent something that is no NBD request.']);
    socket.gone(1006);
    expect(end()).toMatchObject({ cause: 'protocol', reason: expect.stringContaining('no NBD') });
  });

  test("after the device's NBD goodbye its close says why; without one we close", async () => {
    const disc = new DataView(readAt(0));
    disc.setUint16(6, 2);
    const first = await serving();
    first.socket.hear(disc.buffer);
    await vi.advanceTimersByTimeAsync(1000);
    first.socket.gone(4001, 'Ejected.');
    expect(end()).toMatchObject({ code: 4001 });
    told = [];
    const second = await serving();
    second.socket.hear(disc.buffer);
    await vi.advanceTimersByTimeAsync(6000);
    expect(second.socket.closed?.[0]).toBe(1000);
  });

  test('silence ends it; any sign of life does not', async () => {
    const { socket } = await serving();
    for (let i = 0; i < 10; i++) {
      await vi.advanceTimersByTimeAsync(30_000);
      socket.hear('{"state":"serving"}');
    }
    expect(end()).toBeUndefined();
    await vi.advanceTimersByTimeAsync(36_000);
    expect(socket.closed?.[0]).toBe(4101);
    expect(end()).toMatchObject({ cause: 'silence' });
  });
});

describe('speed', () => {
  const sample = (at: number, bytesRead: number) => ({ at, bytesRead, cells: [] });

  test('is the mean of the last two seconds', () => {
    const samples = new Samples();
    expect(samples.speed()).toBe(0);
    samples.add(sample(0, 0));
    expect(samples.speed()).toBe(0);
    for (let i = 1; i <= 10; i++) samples.add(sample(i * 500, i * 1000));
    expect(samples.speed()).toBe(2000);
    for (let i = 11; i <= 14; i++) samples.add(sample(i * 500, 10_000));
    expect(samples.speed()).toBe(0);
  });

  test('its curve spans one minute', () => {
    const samples = new Samples();
    for (let i = 0; i <= 400; i++) samples.add(sample(i * 500, i * 1000));
    const curve = samples.curve();
    expect(curve.length).toBeLessThanOrEqual(122);
    expect(curve.at(-1)).toEqual([1, 2000]);
    expect(curve[0]?.[0]).toBeCloseTo(0, 1);
  });
});
