// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SUBPROTOCOL } from '../src/connection.js';
import type { FromWorker, SessionEnd } from '../src/messages.js';
import { Samples } from '../src/samples.js';
import { Session } from '../src/session.js';

/** A WebSocket whose far end is the test. */
class FakeSocket {
  static readonly CLOSING = 2;
  static readonly OPEN = 1;
  static last: FakeSocket;
  static count = 0;
  binaryType = 'blob';
  bufferedAmount = 0;
  readyState = 0;
  readonly sent: Uint8Array[] = [];
  readonly texts: string[] = [];
  closed: [number, string] | undefined;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.last = this;
    FakeSocket.count++;
  }
  send(data: Uint8Array | string): void {
    if (this.readyState !== 1) return;
    if (typeof data === 'string') this.texts.push(data);
    else this.sent.push(data.slice());
  }
  close(code: number, reason: string): void {
    this.readyState = 2;
    this.closed = [code, reason];
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  hear(data: unknown): void {
    this.onmessage?.({ data });
  }
  gone(code: number, reason = ''): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
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

const URL_OF_MEDIA = 'ws://bmc/api/slots/0/media?kind=cd';
const TOKEN = '0123456789abcdef0123456789abcdef';

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
    vi.spyOn(Math, 'random').mockReturnValue(0);
    vi.stubGlobal('WebSocket', FakeSocket);
    FakeSocket.count = 0;
    told = [];
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  function start(file = fakeFile(1 << 20)) {
    const tell = (message: FromWorker) => told.push(message);
    const session = new Session({ url: URL_OF_MEDIA, file, tell });
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
      locked: false,
    });
    expect(told.at(-1)).toMatchObject({ progress: { bytesRead: 512, cells: [480] } });
  });

  test('a locked drive is told of, and taken to be locked while the line is lost', async () => {
    const { socket } = await kept();
    const locks = () =>
      told.flatMap((message) => (message.type === 'state' ? [message.locked] : []));
    socket.hear(word('serving', { locked: true }));
    socket.gone(1006);
    expect(states().at(-1)).toBe('suspended');
    expect(locks().slice(-3)).toEqual([false, true, true]);
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
    expect(end()).toMatchObject({ cause: 'device', code: 4001, reason: 'Ejected.', opened: true });
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
    expect(end()).toMatchObject({ cause: 'device', code: 1006, reason: '', opened: false });
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

  // A device that gives a ticket keeps the drive when the line is lost -------------------------------

  const word = (state: string, more = {}) => JSON.stringify({ state, uri: '', ...more });
  const ticket = { token: TOKEN, grace: 25, keep: 100 };

  async function kept(file = fakeFile(1 << 20)) {
    const all = start(file);
    all.socket.open();
    all.socket.hear(word('opening', ticket));
    all.socket.hear(hello);
    all.socket.hear(word('serving'));
    await vi.advanceTimersByTimeAsync(0);
    return all;
  }
  const outages = () =>
    told.flatMap((message) => (message.type === 'outage' ? [message.outage] : []));

  test('answers each word, and hands the ticket on once the drive is in', async () => {
    const { socket } = start();
    socket.open();
    socket.hear(word('opening', ticket));
    expect(socket.texts).toEqual(['{"alive":true}']);
    expect(told.some(({ type }) => type === 'ticket')).toBe(false);
    socket.hear(word('serving'));
    expect(told.find(({ type }) => type === 'ticket')).toEqual({ type: 'ticket', ticket });
    expect(socket.texts.length).toBe(2);
  });

  test('a line lost before the drive was in is the end', () => {
    const { socket } = start();
    socket.open();
    socket.hear(word('opening', ticket));
    socket.gone(1006);
    expect(end()).toMatchObject({ cause: 'device', code: 1006 });
  });

  test('a line lost while the drive is being put in is a pause', async () => {
    const { socket } = start();
    socket.open();
    socket.hear(word('opening', ticket));
    socket.hear(word('attaching'));
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(600);
    expect(FakeSocket.last.url).toContain(`&resume=${TOKEN}`);
    expect(states().at(-1)).toBe('suspended');
  });

  test('a line lost while serving: it comes back with its token, and negotiates anew', async () => {
    const { socket } = await kept();
    socket.hear(readAt(0));
    await vi.advanceTimersByTimeAsync(6000 - 10);
    socket.hear(word('serving'));
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(0);
    expect(states().at(-1)).toBe('suspended');
    expect(FakeSocket.count).toBe(2);
    const next = FakeSocket.last;
    expect(next.url).toBe(`${URL_OF_MEDIA}&resume=${TOKEN}`);
    next.open();
    expect(states().at(-1)).toBe('resuming');
    expect(next.sent.map(({ length }) => length)).toEqual([18]);
    next.hear(word('opening', ticket));
    next.hear(hello);
    expect(states().at(-1)).toBe('resuming');
    next.hear(word('serving'));
    next.hear(readAt(512));
    await vi.advanceTimersByTimeAsync(600);
    expect(states().at(-1)).toBe('serving');
    expect(told.at(-1)).toMatchObject({ progress: { bytesRead: 1024 } });
    expect(end()).toBeUndefined();
  });

  test('it tries at once, then with longer and longer pauses, each for 4 s at most', async () => {
    const { socket } = await kept();
    await vi.advanceTimersByTimeAsync(5000 - 1);
    socket.hear(word('serving'));
    await vi.advanceTimersByTimeAsync(1);
    const fetching = vi.fn().mockRejectedValue(new Error('refused'));
    vi.stubGlobal('fetch', fetching);
    const begun = performance.now();
    const at: number[] = [];
    let known = FakeSocket.count;
    socket.gone(1006);
    for (let ms = 0; ms < 40_000; ms += 250) {
      await vi.advanceTimersByTimeAsync(ms === 0 ? 0 : 250);
      if (FakeSocket.count > known) at.push(performance.now() - begun);
      known = FakeSocket.count;
    }
    // 4 s each, and 0.5, 1 and 2 s between them.
    expect(at).toEqual([0, 4500, 9500, 15_500]);
    // From then on it asks over HTTP, whether there is somebody, before it knocks.
    expect(fetching.mock.calls[0]?.[0]).toBe('http://bmc/api/slots');
    fetching.mockResolvedValue({ ok: true });
    await vi.advanceTimersByTimeAsync(3000);
    expect(FakeSocket.count).toBe(known + 1);
    expect(outages().at(-1)?.grace).toBe(0);
    expect(states().at(-1)).toBe('absent');
    FakeSocket.last.open();
    FakeSocket.last.hear(word('serving'));
    expect(states().at(-1)).toBe('serving');
  });

  test('a line that holds for a moment only is not taken up at once', async () => {
    const { socket } = await kept();
    await vi.advanceTimersByTimeAsync(1000);
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(499);
    expect(FakeSocket.count).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(FakeSocket.count).toBe(2);
  });

  test('six seconds without a word: that socket is abandoned, its end is not waited for', async () => {
    const { socket } = await kept();
    await vi.advanceTimersByTimeAsync(6600);
    expect(socket.closed?.[0]).toBe(4101);
    expect(FakeSocket.count).toBe(2);
    socket.gone(1006);
    FakeSocket.last.open();
    FakeSocket.last.hear(word('serving'));
    socket.hear(readAt(0));
    expect(states().at(-1)).toBe('serving');
    expect(end()).toBeUndefined();
  });

  test('a try that hangs is made anew when the network may be back', async () => {
    const { socket, session } = await kept();
    await vi.advanceTimersByTimeAsync(5000);
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(2000);
    expect(FakeSocket.count).toBe(2);
    session.retry();
    expect(FakeSocket.count).toBe(3);
    session.retry(); // this one has just begun
    expect(FakeSocket.count).toBe(3);
    FakeSocket.last.open();
    session.retry();
    expect(FakeSocket.count).toBe(3);
  });

  test('after a sleep a line that does not speak is given up sooner', async () => {
    const { session } = await kept();
    vi.setSystemTime(Date.now() + 60_000);
    session.retry();
    await vi.advanceTimersByTimeAsync(4000);
    expect(states().at(-1)).toBe('absent');
    expect(FakeSocket.count).toBe(2);
  });

  test('what the device says is final is the end', async () => {
    for (const code of [1000, 1001, 4001, 4002, 4003, 4004, 4005, 4006, 4999]) {
      told = [];
      const { socket } = await kept();
      socket.gone(1006);
      await vi.advanceTimersByTimeAsync(600);
      FakeSocket.last.open();
      FakeSocket.last.gone(code, 'Why.');
      expect(end()).toMatchObject({ cause: 'device', code, reason: 'Why.' });
    }
  });

  test('a protocol broken three times is the end', async () => {
    await kept();
    for (let fault = 1; fault <= 3; fault++) {
      expect(end()).toBeUndefined();
      FakeSocket.last.gone(1002, 'Noise.');
      await vi.advanceTimersByTimeAsync(fault === 3 ? 0 : 3000);
      if (fault < 3) FakeSocket.last.open();
    }
    expect(end()).toMatchObject({ code: 1002, reason: 'Noise.' });
  });

  test('when the device cannot have kept it any longer it is over', async () => {
    const { socket } = await kept();
    vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new Error('refused')));
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(140_000);
    expect(end()).toBeUndefined();
    expect(outages().at(-1)).toMatchObject({ grace: 0, keep: 0 });
    await vi.advanceTimersByTimeAsync(15_000);
    expect(end()).toMatchObject({ cause: 'time' });
    const { count } = FakeSocket;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.count).toBe(count);
  });

  test('the person ends it while there is no line', async () => {
    const { socket, session } = await kept();
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(600);
    session.close();
    expect(end()).toMatchObject({ cause: 'person', code: 1006 });
    const { count } = FakeSocket;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.count).toBe(count);
  });

  test('a goodbye that is never answered is over after 5 s', async () => {
    const { socket, session } = await kept();
    session.close();
    await vi.advanceTimersByTimeAsync(5000);
    expect(socket.closed?.[0]).toBe(1000);
    expect(end()).toMatchObject({ cause: 'person', code: 1006 });
  });

  test('a file that changed while there was no line', async () => {
    const { socket, file } = await kept();
    Object.assign(file, { size: 4096 });
    socket.gone(1006);
    await vi.advanceTimersByTimeAsync(10);
    expect(end()).toMatchObject({ cause: 'file', code: 1006 });
  });

  test('a session taken up by a page that was loaded anew', async () => {
    const tell = (message: FromWorker) => told.push(message);
    const back = { ticket, lostAt: Date.now() - 30_000 };
    new Session({ url: URL_OF_MEDIA, file: fakeFile(1 << 20), back, tell });
    expect(states()).toEqual(['absent']);
    expect(outages()[0]).toMatchObject({ next: 0, grace: 0, keep: 95_000 });
    FakeSocket.last.gone(1006);
    await vi.advanceTimersByTimeAsync(600);
    expect(FakeSocket.last.url).toBe(`${URL_OF_MEDIA}&resume=${TOKEN}`);
    FakeSocket.last.open();
    FakeSocket.last.hear(word('serving'));
    expect(states().at(-1)).toBe('serving');
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
