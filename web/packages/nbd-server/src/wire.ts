// SPDX-License-Identifier: Apache-2.0
/**
 * The bytes of the NBD protocol, as far as a server with one read-only export needs them.
 *
 * Pure: numbers to bytes and bytes to numbers, no state. Encoders write at a place in a buffer the
 * caller owns and return how many bytes they wrote; decoders are given exactly as many bytes as the
 * fixed part they read (`..._LENGTH`) and throw nothing: whether a value is sensible is judged by
 * the one who knows the connection (server.ts). Section names are those of the NBD protocol
 * document (NetworkBlockDevice/nbd, doc/proto.md).
 */

// Newstyle negotiation
export const NBD_MAGIC = 0x4e42444d41474943n; // "NBDMAGIC"
export const OPTION_MAGIC = 0x49484156454f5054n; // "IHAVEOPT"
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;

export const FLAG_FIXED_NEWSTYLE = 1 << 0;
export const FLAG_NO_ZEROES = 1 << 1;

export const OPT_EXPORT_NAME = 1;
export const OPT_ABORT = 2;
export const OPT_LIST = 3;
export const OPT_INFO = 6;
export const OPT_GO = 7;
export const OPT_STRUCTURED_REPLY = 8;

export const REP_ACK = 1;
export const REP_SERVER = 2;
export const REP_INFO = 3;
export const REP_ERR_UNSUP = 0x80000001;
export const REP_ERR_INVALID = 0x80000003;
export const REP_ERR_UNKNOWN = 0x80000006;
export const REP_ERR_TOO_BIG = 0x80000009;

export const INFO_EXPORT = 0;
export const INFO_NAME = 1;
export const INFO_DESCRIPTION = 2;
export const INFO_BLOCK_SIZE = 3;

// Transmission
export const TFLAG_HAS_FLAGS = 1 << 0;
export const TFLAG_READ_ONLY = 1 << 1;
export const TFLAG_SEND_FLUSH = 1 << 2;
export const TFLAG_SEND_DF = 1 << 7;

export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;

export const CMD_READ = 0;
export const CMD_WRITE = 1;
export const CMD_DISC = 2;
export const CMD_FLUSH = 3;
export const CMD_TRIM = 4;
export const CMD_WRITE_ZEROES = 6;

export const CMD_FLAG_DF = 1 << 2;

export const CHUNK_FLAG_DONE = 1 << 0;
export const CHUNK_NONE = 0;
export const CHUNK_OFFSET_DATA = 1;
export const CHUNK_OFFSET_HOLE = 2;
export const CHUNK_ERROR = 0x8001;

export const EPERM = 1;
export const EIO = 5;
export const EINVAL = 22;

// Lengths of the fixed parts, in bytes
export const GREETING_LENGTH = 18;
export const CLIENT_FLAGS_LENGTH = 4;
export const OPTION_LENGTH = 16;
export const OPTION_REPLY_LENGTH = 20;
export const EXPORT_NAME_REPLY_LENGTH = 10;
export const EXPORT_NAME_ZEROES = 124;
export const REQUEST_LENGTH = 28;
export const SIMPLE_REPLY_LENGTH = 16;
export const CHUNK_LENGTH = 20;
/** A chunk header and the offset of the data after it. */
export const DATA_CHUNK_LENGTH = CHUNK_LENGTH + 8;
/** A whole hole: chunk header, offset, size. */
export const HOLE_CHUNK_LENGTH = CHUNK_LENGTH + 12;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// What the server says ---------------------------------------------------------------------------

export function putGreeting(to: Uint8Array, at: number, flags: number): number {
  const view = viewOf(to);
  view.setBigUint64(at, NBD_MAGIC);
  view.setBigUint64(at + 8, OPTION_MAGIC);
  view.setUint16(at + 16, flags);
  return GREETING_LENGTH;
}

export function putOptionReply(
  to: Uint8Array,
  at: number,
  option: number,
  type: number,
  length: number,
): number {
  const view = viewOf(to);
  view.setBigUint64(at, OPTION_REPLY_MAGIC);
  view.setUint32(at + 8, option);
  view.setUint32(at + 12, type);
  view.setUint32(at + 16, length);
  return OPTION_REPLY_LENGTH;
}

/** The answer to EXPORT_NAME, without the 124 zeroes. */
export function putExportNameReply(
  to: Uint8Array,
  at: number,
  size: number,
  flags: number,
): number {
  const view = viewOf(to);
  view.setBigUint64(at, BigInt(size));
  view.setUint16(at + 8, flags);
  return EXPORT_NAME_REPLY_LENGTH;
}

/** The payload of a REP_INFO of type INFO_EXPORT. */
export function putInfoExport(to: Uint8Array, at: number, size: number, flags: number): number {
  const view = viewOf(to);
  view.setUint16(at, INFO_EXPORT);
  view.setBigUint64(at + 2, BigInt(size));
  view.setUint16(at + 10, flags);
  return 12;
}

/** The payload of a REP_INFO of type INFO_BLOCK_SIZE. */
export function putInfoBlockSize(
  to: Uint8Array,
  at: number,
  minimum: number,
  preferred: number,
  maximum: number,
): number {
  const view = viewOf(to);
  view.setUint16(at, INFO_BLOCK_SIZE);
  view.setUint32(at + 2, minimum);
  view.setUint32(at + 6, preferred);
  view.setUint32(at + 10, maximum);
  return 14;
}

export function putSimpleReply(to: Uint8Array, at: number, error: number, cookie: bigint): number {
  const view = viewOf(to);
  view.setUint32(at, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, error);
  view.setBigUint64(at + 8, cookie);
  return SIMPLE_REPLY_LENGTH;
}

export function putChunk(
  to: Uint8Array,
  at: number,
  flags: number,
  type: number,
  cookie: bigint,
  length: number,
): number {
  const view = viewOf(to);
  view.setUint32(at, CHUNK_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setBigUint64(at + 8, cookie);
  view.setUint32(at + 16, length);
  return CHUNK_LENGTH;
}

/** The head of an OFFSET_DATA chunk; `length` bytes of data follow it. */
export function putDataChunk(
  to: Uint8Array,
  at: number,
  flags: number,
  cookie: bigint,
  offset: number,
  length: number,
): number {
  putChunk(to, at, flags, CHUNK_OFFSET_DATA, cookie, 8 + length);
  viewOf(to).setBigUint64(at + CHUNK_LENGTH, BigInt(offset));
  return DATA_CHUNK_LENGTH;
}

/** A whole OFFSET_HOLE chunk: `length` zeroes at `offset`. */
export function putHoleChunk(
  to: Uint8Array,
  at: number,
  flags: number,
  cookie: bigint,
  offset: number,
  length: number,
): number {
  putChunk(to, at, flags, CHUNK_OFFSET_HOLE, cookie, 12);
  const view = viewOf(to);
  view.setBigUint64(at + CHUNK_LENGTH, BigInt(offset));
  view.setUint32(at + CHUNK_LENGTH + 8, length);
  return HOLE_CHUNK_LENGTH;
}

/** A whole ERROR chunk; `message` is for people and at most 65535 bytes. */
export function putErrorChunk(
  to: Uint8Array,
  at: number,
  flags: number,
  cookie: bigint,
  error: number,
  message: Uint8Array,
): number {
  putChunk(to, at, flags, CHUNK_ERROR, cookie, 6 + message.length);
  const view = viewOf(to);
  view.setUint32(at + CHUNK_LENGTH, error);
  view.setUint16(at + CHUNK_LENGTH + 4, message.length);
  to.set(message, at + CHUNK_LENGTH + 6);
  return CHUNK_LENGTH + 6 + message.length;
}

// What the client says ---------------------------------------------------------------------------

export interface OptionHead {
  magic: bigint;
  option: number;
  length: number;
}

export function getOption(bytes: Uint8Array): OptionHead {
  const view = viewOf(bytes);
  return { magic: view.getBigUint64(0), option: view.getUint32(8), length: view.getUint32(12) };
}

export interface InfoQuery {
  name: Uint8Array;
  infos: number[];
}

/** The data of INFO and GO; null when its lengths contradict each other. */
export function getInfoQuery(data: Uint8Array): InfoQuery | null {
  if (data.length < 6) return null;
  const view = viewOf(data);
  const nameLength = view.getUint32(0);
  if (nameLength > data.length - 6) return null;
  const count = view.getUint16(4 + nameLength);
  if (data.length !== 6 + nameLength + 2 * count) return null;
  const infos: number[] = [];
  for (let i = 0; i < count; i++) infos.push(view.getUint16(6 + nameLength + 2 * i));
  return { name: data.subarray(4, 4 + nameLength), infos };
}

export interface Request {
  magic: number;
  flags: number;
  command: number;
  cookie: bigint;
  /** Exact up to 2^53; past that only "far beyond every image". */
  offset: number;
  length: number;
}

export function getRequest(bytes: Uint8Array): Request {
  const view = viewOf(bytes);
  return {
    magic: view.getUint32(0),
    flags: view.getUint16(4),
    command: view.getUint16(6),
    cookie: view.getBigUint64(8),
    offset: Number(view.getBigUint64(16)),
    length: view.getUint32(24),
  };
}
