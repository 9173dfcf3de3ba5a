// SPDX-License-Identifier: Apache-2.0
/**
 * The first half of a connection: who are you, what do you want (NBD protocol, "Newstyle
 * negotiation" and "Option types").
 *
 * Holds what has been agreed and answers one option at a time; knows nothing of sockets. An option
 * this server does not know is refused with ERR_UNSUP and the talk goes on, as the protocol asks.
 */
import * as wire from './wire.js';

/** The longest data of an option that is looked at: a name of 4096 bytes and a list of infos. */
export const OPTION_DATA_MAX = 8192;
/** The longest data of an option that is passed over politely. */
export const OPTION_SKIP_MAX = 1 << 20;
/** How many options one connection may send: a haggler without end is cut off. */
export const OPTIONS_MAX = 1000;

export interface Export {
  size: number;
  name: Uint8Array;
  description: Uint8Array;
  preferredBlock: number;
  maximumBlock: number;
}

/** What becomes of the connection after an option. */
export type Verdict = 'more' | 'transmission' | 'end';

export class Negotiation {
  structured = false;
  /** The client has been told the longest request. */
  limitsTold = false;
  readonly #export: Export;
  readonly #send: (bytes: Uint8Array<ArrayBuffer>) => void;
  #noZeroes = false;
  #options = 0;

  constructor(what: Export, send: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#export = what;
    this.#send = send;
  }

  greet(): void {
    const hello = new Uint8Array(wire.GREETING_LENGTH);
    wire.putGreeting(hello, 0, wire.FLAG_FIXED_NEWSTYLE | wire.FLAG_NO_ZEROES);
    this.#send(hello);
  }

  /** False: the client answered with flags that this server did not offer. */
  clientFlags(flags: number): boolean {
    this.#noZeroes = (flags & wire.FLAG_NO_ZEROES) !== 0;
    return (flags & ~(wire.FLAG_FIXED_NEWSTYLE | wire.FLAG_NO_ZEROES)) === 0;
  }

  /** One more option has come; false when it is one too many. */
  count(): boolean {
    return ++this.#options <= OPTIONS_MAX;
  }

  tooBig(option: number): void {
    this.#reply(option, wire.REP_ERR_TOO_BIG);
  }

  option(option: number, data: Uint8Array): Verdict {
    switch (option) {
      case wire.OPT_EXPORT_NAME:
        return this.#exportName(data);
      case wire.OPT_ABORT:
        this.#reply(option, wire.REP_ACK);
        return 'end';
      case wire.OPT_LIST:
        this.#list(data);
        return 'more';
      case wire.OPT_STRUCTURED_REPLY:
        if (data.length > 0) {
          this.#reply(option, wire.REP_ERR_INVALID);
        } else {
          this.structured = true;
          this.#reply(option, wire.REP_ACK);
        }
        return 'more';
      case wire.OPT_INFO:
      case wire.OPT_GO:
        return this.#infoOrGo(option, data);
      default:
        this.#reply(option, wire.REP_ERR_UNSUP);
        return 'more';
    }
  }

  #transmissionFlags(): number {
    const flags = wire.TFLAG_HAS_FLAGS | wire.TFLAG_READ_ONLY | wire.TFLAG_SEND_FLUSH;
    return this.structured ? flags | wire.TFLAG_SEND_DF : flags;
  }

  /** The empty name means the only export there is; its own name is as good. */
  #isOurs(name: Uint8Array): boolean {
    return name.length === 0 || sameBytes(name, this.#export.name);
  }

  #exportName(name: Uint8Array): Verdict {
    if (!this.#isOurs(name)) return 'end'; // this option has no way to say no
    const reply = new Uint8Array(
      wire.EXPORT_NAME_REPLY_LENGTH + (this.#noZeroes ? 0 : wire.EXPORT_NAME_ZEROES),
    );
    wire.putExportNameReply(reply, 0, this.#export.size, this.#transmissionFlags());
    this.#send(reply);
    return 'transmission';
  }

  #list(data: Uint8Array): void {
    if (data.length > 0) {
      this.#reply(wire.OPT_LIST, wire.REP_ERR_INVALID);
      return;
    }
    const { name } = this.#export;
    const entry = new Uint8Array(4 + name.length);
    new DataView(entry.buffer).setUint32(0, name.length);
    entry.set(name, 4);
    this.#reply(wire.OPT_LIST, wire.REP_SERVER, entry);
    this.#reply(wire.OPT_LIST, wire.REP_ACK);
  }

  #infoOrGo(option: number, data: Uint8Array): Verdict {
    const query = wire.getInfoQuery(data);
    if (!query) {
      this.#reply(option, wire.REP_ERR_INVALID);
      return 'more';
    }
    if (!this.#isOurs(query.name)) {
      this.#reply(option, wire.REP_ERR_UNKNOWN);
      return 'more';
    }
    this.#infos(option, new Set(query.infos));
    this.#reply(option, wire.REP_ACK);
    return option === wire.OPT_GO ? 'transmission' : 'more';
  }

  /** INFO_EXPORT always; the rest to who asks. Asking for what is not known is no error. */
  #infos(option: number, asked: Set<number>): void {
    const about = this.#export;
    const info = new Uint8Array(14);
    const exported = wire.putInfoExport(info, 0, about.size, this.#transmissionFlags());
    this.#reply(option, wire.REP_INFO, info.subarray(0, exported));
    if (asked.has(wire.INFO_BLOCK_SIZE)) {
      wire.putInfoBlockSize(info, 0, 1, about.preferredBlock, about.maximumBlock);
      this.#reply(option, wire.REP_INFO, info);
      this.limitsTold = option === wire.OPT_GO || this.limitsTold;
    }
    if (asked.has(wire.INFO_NAME)) this.#infoText(option, wire.INFO_NAME, about.name);
    if (asked.has(wire.INFO_DESCRIPTION) && about.description.length > 0) {
      this.#infoText(option, wire.INFO_DESCRIPTION, about.description);
    }
  }

  #infoText(option: number, type: number, text: Uint8Array): void {
    const info = new Uint8Array(2 + text.length);
    new DataView(info.buffer).setUint16(0, type);
    info.set(text, 2);
    this.#reply(option, wire.REP_INFO, info);
  }

  #reply(option: number, type: number, data?: Uint8Array): void {
    const length = data?.length ?? 0;
    const reply = new Uint8Array(wire.OPTION_REPLY_LENGTH + length);
    wire.putOptionReply(reply, 0, option, type, length);
    if (data) reply.set(data, wire.OPTION_REPLY_LENGTH);
    this.#send(reply);
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
