// SPDX-License-Identifier: Apache-2.0
/**
 * One session, in the Worker: joins the file to the device, over as many connections as it takes,
 * until the person, the device or the file is done. Says how it goes by `tell`, 'ended' being its last
 * word.
 *
 * Once the drive is on its way into the machine, a lost line does not end it: the device keeps the drive and
 * lets the machine wait, and this side comes back with the ticket that the device gave it. Each
 * connection negotiates anew; the file's store, with all it has read, stays.
 */
import { type ByteStream, FileStore } from '@platter/nbd-server';
import { ASK_FIRST_FROM, retryDelay, TRY_LIMIT } from './backoff.js';
import { type Close, Connection, TICK } from './connection.js';
import { mayComeBack } from './endings.js';
import {
  CLOSE_FILE_CHANGED,
  CLOSE_NORMAL,
  type EndCause,
  type FromWorker,
  MAP_CELLS,
  type SessionState,
  type Ticket,
} from './messages.js';
import { isOver, outageNow } from './outage.js';
import { parseWord } from './words.js';

/** A connection that served less long than this was no good: the next try is not made at once. */
const GOOD_AFTER = 5000;
/** How often either side may break the protocol before the session is given up. */
const FAULTS_MAX = 3;
/** A try this young is not made anew when the network may have come back. */
const TRY_YOUNG = 1000;

export interface SessionOptions {
  /** Where the session's WebSocket is. */
  url: string;
  file: File;
  /** A session to take up again, lost at that moment by Date.now(). */
  back?: { ticket: Ticket; lostAt: number };
  tell: (message: FromWorker) => void;
}

export class Session {
  readonly #url: string;
  readonly #file: File;
  readonly #tell: (message: FromWorker) => void;
  readonly #store: FileStore;
  readonly #cells = new Set<number>();
  readonly #seen = new Uint8Array(MAP_CELLS);
  readonly #ticker: ReturnType<typeof setInterval>;
  #connection: Connection | undefined;
  /** Bytes read over earlier connections. */
  #bytesBefore = 0;
  #ticket: Ticket | undefined;
  /** The drive is in the machine, or on its way: the device keeps it when the line is lost. */
  #isIn = false;
  #lostAt: number | undefined;
  #servingSince: number | undefined;
  #tries = 0;
  /** When the present try began, or the next one begins; by performance.now(). */
  #tryAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;
  #faults = 0;
  #state: SessionState = 'connecting';
  #locked = false;
  /** Why the device is about to end it: the whole sentence, where its goodbye has room for a part. */
  #deviceReason = '';
  #over = false;

  constructor({ url, file, back, tell }: SessionOptions) {
    this.#url = url;
    this.#file = file;
    this.#tell = tell;
    this.#store = new FileStore(file, {
      // Chromium gives a Response's bytes in larger pieces than a Blob's own stream, at half the cost.
      stream: (part) => new Response(part as Blob).body as ByteStream | null,
      // Reads that are under way are answered with EIO first; then the session ends.
      onChanged: () =>
        setTimeout(() => this.#leave('file', CLOSE_FILE_CHANGED, 'The file changed.'), 0),
    });
    this.#ticker = setInterval(() => this.#tick(), TICK);
    if (back) {
      this.#ticket = back.ticket;
      this.#lostAt = back.lostAt;
      this.#isIn = true;
    }
    this.#try();
  }

  /** The person has had enough. */
  close(): void {
    this.#leave('person', CLOSE_NORMAL, '');
  }

  /** The line may be there again. */
  retry(): void {
    if (this.#over) return;
    this.#connection?.doubt();
    const isYoung = this.#timer === undefined && performance.now() - this.#tryAt < TRY_YOUNG;
    if (this.#lostAt === undefined || this.#connection?.isOpen || isYoung) return;
    this.#try();
  }

  // Connections ------------------------------------------------------------------------------------

  #try(): void {
    this.#dropTry();
    this.#tryAt = performance.now();
    this.#tellOutage();
    if (this.#lostAt !== undefined && this.#tries >= ASK_FIRST_FROM) void this.#askFirst();
    else this.#connect();
  }

  /** Lets go of whatever is on its way to a connection. */
  #dropTry(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#asking?.abort();
    this.#asking = undefined;
    this.#connection?.abandon();
    this.#connection = undefined;
  }

  async #askFirst(): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    const limit = setTimeout(() => asking.abort(), TRY_LIMIT);
    let isThere = false;
    try {
      const { href } = new URL('../../slots', this.#url.replace(/^ws/, 'http'));
      isThere = (await fetch(href, { cache: 'no-store', signal: asking.signal })).ok;
    } catch {
      // No line yet.
    }
    clearTimeout(limit);
    if (this.#asking !== asking) return; // another try has taken its place
    this.#asking = undefined;
    if (isThere) this.#connect();
    else this.#tryLater();
  }

  #connect(): void {
    const token = this.#lostAt === undefined ? '' : `&resume=${this.#ticket?.token}`;
    const connection = new Connection({
      url: this.#url + token,
      store: this.#store,
      name: this.#file.name,
      onOpen: () => this.#opened(),
      onWord: (text) => this.#word(text),
      onRead: (offset, length) => this.#mark(offset, length),
      onClosed: (close) => this.#closed(close),
    });
    this.#connection = connection;
    connection.isWatched = this.#ticket !== undefined;
    if (this.#lostAt === undefined) return; // the first one takes what the browser gives it
    setTimeout(() => {
      if (this.#connection === connection && !connection.isOpen) {
        this.#dropTry();
        this.#tryLater();
      }
    }, TRY_LIMIT);
  }

  #opened(): void {
    if (this.#lostAt === undefined) return;
    this.#setState('resuming', '');
    void this.#store.verify();
  }

  #closed(close: Close): void {
    this.#bytesBefore += this.#connection?.bytesRead ?? 0;
    const heardAt = this.#connection?.heardAt ?? Date.now();
    this.#connection = undefined;
    if (close.cause === 'protocol' || close.code === 1002) this.#faults++;
    const isBearable = this.#faults < FAULTS_MAX && mayComeBack(close);
    if (!this.#ticket || !this.#isIn || !isBearable) {
      this.#end(close);
      return;
    }
    this.#deviceReason = '';
    if (this.#lostAt === undefined) {
      this.#lostAt = heardAt;
      this.#tries = performance.now() - (this.#servingSince ?? 0) < GOOD_AFTER ? 1 : 0;
      this.#servingSince = undefined;
      void this.#store.verify();
    }
    this.#tryLater();
  }

  /** Also at once, when nothing has failed yet. */
  #tryLater(): void {
    const ticket = this.#ticket;
    if (this.#over || !ticket || this.#lostAt === undefined) return;
    const gone = Date.now() - this.#lostAt;
    if (isOver(ticket, this.#lostAt, Date.now())) {
      this.#end({ cause: 'time', code: 1006, reason: '', opened: true });
      return;
    }
    const delay = retryDelay(this.#tries, gone);
    this.#tries++;
    this.#tryAt = performance.now() + delay;
    this.#timer = setTimeout(() => this.#try(), delay);
    this.#tellOutage();
  }

  // What the device says ---------------------------------------------------------------------------

  #word(text: string): void {
    const word = parseWord(text);
    if (!word) return;
    if (word.ticket) this.#ticket = word.ticket;
    if (this.#connection && this.#ticket) this.#connection.isWatched = true;
    this.#locked = word.locked;
    if (word.reason) this.#deviceReason = word.reason;
    if (word.state === 'attaching' || word.state === 'serving') this.#isInNow(word.state);
    // While a session is taken up again, 'opening' and the like are steps on that way.
    const isBack = this.#lostAt === undefined || word.state === 'closing';
    this.#setState(isBack ? word.state : 'resuming', word.uri);
  }

  #isInNow(state: SessionState): void {
    if (!this.#isIn && this.#ticket) {
      this.#isIn = true;
      this.#tell({ type: 'ticket', ticket: this.#ticket });
    }
    if (state !== 'serving') return;
    this.#servingSince ??= performance.now();
    this.#lostAt = undefined;
  }

  #setState(state: SessionState, uri: string): void {
    this.#state = state;
    this.#tell({ type: 'state', state, uri, locked: this.#locked });
  }

  // What is told -----------------------------------------------------------------------------------

  #mark(offset: number, length: number): void {
    const { size } = this.#file;
    const last = Math.floor(((offset + Math.max(length, 1) - 1) * MAP_CELLS) / size);
    for (let cell = Math.floor((offset * MAP_CELLS) / size); cell <= last; cell++) {
      if (this.#seen[cell]) continue;
      this.#seen[cell] = 1;
      this.#cells.add(cell);
    }
  }

  #tick(): void {
    this.#report();
    this.#connection?.tick();
    this.#tellOutage();
  }

  #report(): void {
    const bytesRead = this.#bytesBefore + (this.#connection?.bytesRead ?? 0);
    const cells = [...this.#cells];
    this.#cells.clear();
    this.#tell({ type: 'progress', progress: { at: performance.now(), bytesRead, cells } });
  }

  #tellOutage(): void {
    if (this.#over || !this.#ticket || this.#lostAt === undefined || this.#connection?.isOpen)
      return;
    const nextIn = this.#tryAt - performance.now();
    const outage = outageNow(this.#ticket, this.#lostAt, Date.now(), nextIn);
    const state = outage.grace > 0 ? 'suspended' : 'absent';
    if (this.#state !== state) this.#setState(state, '');
    this.#tell({ type: 'outage', outage });
  }

  // The end ----------------------------------------------------------------------------------------

  /** With a goodbye where there is a line to say it on; else the device does not hear of it. */
  #leave(cause: EndCause, code: number, reason: string): void {
    const connection = this.#connection;
    if (this.#over) return;
    if (connection && (this.#lostAt === undefined || connection.isOpen)) {
      connection.leave(cause, code, reason);
      this.#setState('closing', '');
    } else {
      this.#end({ cause, code: 1006, reason: '', opened: true });
    }
  }

  #end(close: Close): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#ticker);
    this.#dropTry();
    if (close.opened) this.#report();
    const reason = this.#deviceReason || close.reason;
    this.#tell({ type: 'ended', end: { ...close, reason, back: this.#lostAt !== undefined } });
  }
}
