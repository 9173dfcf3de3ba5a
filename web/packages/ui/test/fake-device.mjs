// SPDX-License-Identifier: Apache-2.0
// A device for looking at the page without one: serves web/dist with the daemon's headers, tells of
// its slots, reads the image through the media WebSocket at a steady pace, and keeps the drive of a page
// whose line is lost. Also a small WebSocket server by itself (RFC 6455), so that nothing has to be
// installed for it.
//
//   node packages/ui/test/fake-device.mjs --port 8090 [--rate BYTES_A_SECOND]
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const DIST = fileURLToPath(new URL('../../../dist/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
export const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** One WebSocket, from the server's side. */
class DeviceSocket {
  #socket;
  #bytes = Buffer.alloc(0);
  #closed = false;
  #closing = false;
  #stalled = false;
  saidGoodbye = false;
  onbinary = () => {};
  ontext = () => {};
  onclose = () => {};

  constructor(request, socket) {
    this.#socket = socket;
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${request.headers['sec-websocket-protocol']}\r\n\r\n`,
    );
    socket.on('data', (data) => this.#data(data));
    socket.on('error', () => {});
    socket.on('close', () => this.#gone(1006));
  }

  text(value) {
    this.#frame(1, Buffer.from(JSON.stringify(value)));
  }

  binary(bytes) {
    this.#frame(2, bytes);
  }

  close(code, reason) {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.#frame(8, payload);
    this.#closing = true;
    this.saidGoodbye = true;
  }

  /** Hangs up without a goodbye. */
  cut() {
    this.#socket.destroy();
  }

  /** From now on nothing is sent and nothing is read, as when the network drops every packet. */
  stall() {
    this.#stalled = true;
    this.#socket.pause();
  }

  #frame(opcode, payload) {
    if (this.#closed || this.#closing || this.#stalled || this.#socket.destroyed) return;
    const head = payload.length < 126 ? Buffer.alloc(2) : Buffer.alloc(4);
    head[0] = 0x80 | opcode;
    head[1] = Math.min(payload.length, 126);
    if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
    this.#socket.write(Buffer.concat([head, payload]));
  }

  #data(data) {
    this.#bytes = Buffer.concat([this.#bytes, data]);
    for (let frame = this.#next(); frame; frame = this.#next()) {
      if (frame.opcode === 8) {
        const code = frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : 1005;
        this.#frame(8, frame.payload);
        this.#gone(code, frame.payload.subarray(2).toString());
        this.#socket.end();
      } else if (frame.opcode === 0 || frame.opcode === 2) {
        this.onbinary(frame.payload);
      } else if (frame.opcode === 1) {
        this.ontext(frame.payload.toString());
      }
    }
  }

  #next() {
    const bytes = this.#bytes;
    if (bytes.length < 2) return null;
    let length = bytes[1] & 0x7f;
    let at = 2;
    if (length === 126) {
      if (bytes.length < 4) return null;
      length = bytes.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (bytes.length < 10) return null;
      length = Number(bytes.readBigUInt64BE(2));
      at = 10;
    }
    if (bytes.length < at + 4 + length) return null;
    const mask = bytes.subarray(at, at + 4);
    const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
    for (let i = 0; i < length; i++) payload[i] ^= mask[i & 3];
    this.#bytes = bytes.subarray(at + 4 + length);
    return { opcode: bytes[0] & 0xf, payload };
  }

  #gone(code, reason = '') {
    if (this.#closed) return;
    this.#closed = true;
    this.onclose(code, reason);
  }
}

/** Reads the image from end to end over EXPORT_NAME and simple replies, one request at a time. */
class Reader {
  #socket;
  #expect = [];
  #bytes = Buffer.alloc(0);
  #size = 0;
  #offset = 0;
  #rate;
  errors = 0;
  bytesRead = 0;

  get offset() {
    return this.#offset;
  }

  constructor(socket, rate, offset = 0) {
    this.#socket = socket;
    this.#rate = rate;
    this.#offset = offset;
    socket.onbinary = (bytes) => this.#data(bytes);
    this.#expect = [[18, () => this.#greeted()]];
  }

  #data(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#expect.length > 0 && this.#bytes.length >= this.#expect[0][0]) {
      const [length, handle] = this.#expect.shift();
      const part = this.#bytes.subarray(0, length);
      this.#bytes = this.#bytes.subarray(length);
      handle(part);
    }
  }

  #greeted() {
    const hello = Buffer.alloc(20);
    hello.writeUInt32BE(3, 0);
    hello.write('IHAVEOPT', 4);
    hello.writeUInt32BE(1, 12);
    this.#socket.binary(hello);
    this.#expect.push([10, (reply) => this.#exported(Number(reply.readBigUInt64BE(0)))]);
  }

  #exported(size) {
    this.#size = size;
    this.onready?.(size);
    this.#read();
  }

  #read() {
    const length = Math.min(128 * 1024, this.#size - this.#offset);
    if (length <= 0) return;
    const request = Buffer.alloc(28);
    request.writeUInt32BE(0x25609513, 0);
    request.writeBigUInt64BE(1n, 8);
    request.writeBigUInt64BE(BigInt(this.#offset), 16);
    request.writeUInt32BE(length, 24);
    this.#socket.binary(request);
    this.#expect.push([16, (reply) => this.#replied(reply.readUInt32BE(4), length)]);
  }

  #replied(error, length) {
    if (error) {
      this.errors++;
      return;
    }
    this.#expect.push([
      length,
      () => {
        this.bytesRead += length;
        this.#offset += length;
        const pause = (length / this.#rate()) * 1000;
        setTimeout(() => this.#read(), pause);
      },
    ]);
  }
}

/**
 * Starts it on a port of 127.0.0.1 (0: any).
 *
 * What it returns may be changed at any time: `slots` is what /api/slots tells; `answering`: false
 * hangs up on everything, 'never' leaves everything without an answer; `ticket`: what sessions are given to
 * come back with, null for a device that keeps no drives; `turnAway`: [code, reason] for whoever comes
 * back. `sessions` holds every connection so far: {socket, reader, kind, name, query, texts, closed, lock()}.
 */
export async function startDevice(port, { rate = 8e6, steps = 150 } = {}) {
  const device = {
    sessions: [],
    rate,
    steps,
    slots: [newSlot(0, 'Drive 1')],
    answering: true,
    ticket: { grace: 25, keep: 3600 },
    turnAway: null,
    ended: [],
  };
  const server = createServer((request, response) => answer(device, request, response));
  server.on('upgrade', (request, socket) => upgrade(device, request, socket));
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  device.port = server.address().port;
  device.close = () => {
    server.close();
    server.closeAllConnections();
    for (const { socket } of device.sessions) socket.cut();
    for (const slot of device.slots) clearTimeout(drives.get(slot)?.clock);
  };
  return device;
}

export function newSlot(slot, name) {
  return {
    ...{ slot, name, export: 'unix', drive: 'auto', state: 'idle', uri: '', reason: '' },
    ...{ medium: null, locked: false },
  };
}

/** What the device knows of a slot beside what it tells: {token, session, offset, clock}. */
const drives = new WeakMap();

async function answer(device, request, response) {
  const headers = { 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff' };
  const path = new URL(request.url, 'http://localhost').pathname;
  const end = /^\/api\/slots\/(\d+)\/end$/.exec(path);
  if (path.startsWith('/api/') && device.answering !== true) {
    if (!device.answering) request.socket.destroy();
    return undefined;
  }
  if (end && request.method === 'POST') {
    const slot = device.slots.find(({ slot }) => slot === Number(end[1]));
    device.ended.push(slot.slot);
    if (slot.locked && !request.url.endsWith('?force=1')) {
      response.writeHead(409, headers);
      return response.end('The machine is using this drive.');
    }
    response.writeHead(slot.state === 'idle' ? 409 : 204, headers);
    drives.get(slot)?.session.socket.close(1000, 'The drive was removed.');
    empty(slot);
    return response.end();
  }
  if (path === '/api/slots') {
    response.writeHead(200, { ...headers, 'Content-Type': 'application/json' });
    return response.end(JSON.stringify({ slots: device.slots }));
  }
  const name = path === '/' ? 'index.html' : normalize(path).slice(1);
  try {
    const body = await readFile(join(DIST, name));
    response.writeHead(200, { ...headers, 'Content-Type': TYPES[extname(name)] ?? 'text/plain' });
    return response.end(body);
  } catch {
    response.writeHead(404, headers);
    return response.end();
  }
}

function upgrade(device, request, netSocket) {
  if (!device.answering) return netSocket.destroy();
  if (device.answering === 'never') return undefined;
  const url = new URL(request.url, 'http://localhost');
  const socket = new DeviceSocket(request, netSocket);
  const slot = device.slots.find(({ slot }) => url.pathname === `/api/slots/${slot}/media`);
  const query = Object.fromEntries(url.searchParams);
  const drive = drives.get(slot);
  if (query.resume === undefined) {
    if (slot.state !== 'idle') return socket.close(4003, 'Slot is in use');
    drives.set(slot, { token: randomBytes(16).toString('hex'), offset: 0 });
    slot.state = 'opening';
  } else if (device.turnAway) {
    return socket.close(...device.turnAway);
  } else if (query.resume !== drive?.token) {
    return socket.close(4006, 'That session is over.');
  } else {
    slot.state = 'resuming';
  }
  return serve(device, slot, socket, query);
}

/** One connection of a slot's session: its first, or one that takes it up again. */
function serve(device, slot, socket, query) {
  const drive = drives.get(slot);
  const { token, offset } = drive;
  const isBack = query.resume !== undefined;
  const { name, kind } = query;
  const session = { socket, name, kind, query, texts: [], closed: null };
  clearTimeout(drive.clock);
  drive.session?.socket.cut();
  drive.session = session;
  const locked = () => (slot.locked ? { locked: true } : {});
  const say = (word) => socket.text({ state: slot.state, uri: '', ...locked(), ...word });
  session.lock = (isLocked) => {
    slot.locked = isLocked;
    say();
  };
  say(device.ticket ? { token, ...device.ticket } : {});
  const heart = setInterval(say, 2000);
  socket.ontext = (text) => session.texts.push(text);
  session.reader = new Reader(socket, () => device.rate, offset);
  session.reader.onready = (size) => {
    slot.medium = { name, kind, size, read_only: true };
    if (!isBack) slot.state = 'attaching';
    say();
    setTimeout(() => {
      if (drive.session !== session || session.closed) return;
      slot.state = 'serving';
      say({ uri: 'nbd+unix:///?socket=/run/platter/slot0.sock' });
    }, device.steps);
  };
  socket.onclose = (code, reason) => {
    clearInterval(heart);
    session.closed = { code, reason };
    drive.offset = session.reader.offset;
    if (drives.get(slot)?.session !== session) return;
    const wasUp = slot.state === 'serving' || slot.state === 'resuming';
    const isFinal = [1000, 4100].includes(code) || socket.saidGoodbye;
    if (device.ticket && wasUp && !isFinal) keep(device, slot);
    else empty(slot);
  };
  device.sessions.push(session);
}

/** The line is lost: the drive waits, then its reads fail, then it is taken out. */
function keep(device, slot) {
  const drive = drives.get(slot);
  const { grace, keep } = device.ticket;
  slot.state = 'suspended';
  drive.clock = setTimeout(() => {
    slot.state = 'absent';
    drive.clock = setTimeout(() => empty(slot), keep * 1000);
  }, grace * 1000);
}

function empty(slot) {
  clearTimeout(drives.get(slot)?.clock);
  drives.delete(slot);
  Object.assign(slot, { state: 'idle', medium: null, locked: false });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string' }, rate: { type: 'string' } } });
  const device = await startDevice(Number(values.port ?? 8090), {
    rate: Number(values.rate ?? 8e6),
  });
  console.log(`http://127.0.0.1:${device.port}/`);
}
