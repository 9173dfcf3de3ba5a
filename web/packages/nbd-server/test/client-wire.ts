// SPDX-License-Identifier: Apache-2.0
/**
 * The client's half of the wire: what it encodes and what it decodes. Written apart from the
 * server's half, so that a mistake in one is not hidden by the same mistake in the other; the
 * golden vectors judge both. Decoders return null for "need more" and throw on malformed bytes.
 */
import * as wire from '../src/wire.js';

export function hex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(/\s+/g, '');
  const bytes = new Uint8Array(digits.length / 2);
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function number(value: bigint | number, bytes: number): Uint8Array {
  return hex(
    BigInt(value)
      .toString(16)
      .padStart(2 * bytes, '0'),
  );
}

const text = new TextEncoder();

export const encodeClientFlags = (flags: number) => number(flags, 4);

export function encodeOption(option: number, data: Uint8Array = new Uint8Array()) {
  return join(number(wire.OPTION_MAGIC, 8), number(option, 4), number(data.length, 4), data);
}

export function encodeInfoRequest(name: string, infos: number[]) {
  const bytes = text.encode(name);
  return join(
    number(bytes.length, 4),
    bytes,
    number(infos.length, 2),
    ...infos.map((info) => number(info, 2)),
  );
}

export interface RequestFields {
  flags?: number;
  type: number;
  cookie: bigint;
  offset?: bigint;
  length?: number;
}

export function encodeRequest({ flags = 0, type, cookie, offset = 0n, length = 0 }: RequestFields) {
  return join(
    number(wire.REQUEST_MAGIC, 4),
    number(flags, 2),
    number(type, 2),
    number(cookie, 8),
    number(offset, 8),
    number(length, 4),
  );
}

/** A part of the server's words and how many bytes it took. */
export interface Decoded<T> {
  fields: T;
  used: number;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function decodeServerHello(bytes: Uint8Array): Decoded<{ flags: number }> | null {
  if (bytes.length >= 8 && view(bytes).getBigUint64(0) !== wire.NBD_MAGIC)
    throw new Error('not NBD');
  if (bytes.length >= 16 && view(bytes).getBigUint64(8) !== wire.OPTION_MAGIC) {
    throw new Error('not newstyle');
  }
  return bytes.length < 18 ? null : { fields: { flags: view(bytes).getUint16(16) }, used: 18 };
}

export interface OptionReply {
  option: number;
  type: number;
  data: Uint8Array;
}

export function decodeOptionReply(bytes: Uint8Array): Decoded<OptionReply> | null {
  if (bytes.length < 20) return null;
  const head = view(bytes);
  if (head.getBigUint64(0) !== wire.OPTION_REPLY_MAGIC) throw new Error('magic');
  const used = 20 + head.getUint32(16);
  if (bytes.length < used) return null;
  const data = bytes.slice(20, used);
  return { fields: { option: head.getUint32(8), type: head.getUint32(12), data }, used };
}

export function decodeExportReply(bytes: Uint8Array, zeroes: boolean) {
  const used = zeroes ? 134 : 10;
  if (bytes.length < used) return null;
  const head = view(bytes);
  return { fields: { size: head.getBigUint64(0), flags: head.getUint16(8), zeroes }, used };
}

export function decodeInfoExport(data: Uint8Array) {
  if (data.length !== 12) throw new Error('length');
  return { size: view(data).getBigUint64(2), flags: view(data).getUint16(10) };
}

export function decodeInfoBlockSize(data: Uint8Array) {
  if (data.length !== 14) throw new Error('length');
  const at = (offset: number) => view(data).getUint32(offset);
  return { minimum: at(2), preferred: at(6), maximum: at(10) };
}

export interface SimpleReply {
  error: number;
  cookie: bigint;
}

export function decodeSimpleReply(bytes: Uint8Array): Decoded<SimpleReply> | null {
  if (bytes.length < 16) return null;
  const head = view(bytes);
  if (head.getUint32(0) !== wire.SIMPLE_REPLY_MAGIC) throw new Error('magic');
  return { fields: { error: head.getUint32(4), cookie: head.getBigUint64(8) }, used: 16 };
}

export interface Chunk {
  flags: number;
  type: number;
  cookie: bigint;
  length: number;
}

export function decodeChunk(bytes: Uint8Array): Decoded<Chunk> | null {
  if (bytes.length < 20) return null;
  const head = view(bytes);
  if (head.getUint32(0) !== wire.CHUNK_MAGIC) throw new Error('magic');
  const fields = {
    flags: head.getUint16(4),
    type: head.getUint16(6),
    cookie: head.getBigUint64(8),
    length: head.getUint32(16),
  };
  return { fields, used: 20 };
}
