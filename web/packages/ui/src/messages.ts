// SPDX-License-Identifier: Apache-2.0
/** What the page and its Worker say to each other. */

export type Kind = 'disk' | 'cd';

/**
 * How far a session has come. The device tells 'opening' to 'closing'; the page itself knows
 * 'connecting' (nothing has been told yet), 'suspended' (no line: the machine's reads wait), 'absent'
 * (no line for so long that they fail) and 'resuming' (a line again: the device compares the image).
 */
export type SessionState =
  | 'connecting'
  | 'opening'
  | 'attaching'
  | 'serving'
  | 'closing'
  | 'suspended'
  | 'absent'
  | 'resuming';

/** What the device gives a session so that it may come back after its line was lost. */
export interface Ticket {
  /** Names the session; a secret between this page and the device. */
  token: string;
  /** Seconds for which the machine's reads wait once the line is lost. */
  grace: number;
  /** Seconds for which the drive is kept after that. */
  keep: number;
}

export type ToWorker =
  /** Opens the session; the first message and sent once. With `back` it takes one up again. */
  | { type: 'open'; url: string; file: File; back?: { ticket: Ticket; lostAt: number } }
  /** The line may be there again: try now, and do not wait for the next turn. */
  | { type: 'retry' }
  /** Ends it in good order; 'ended' follows. */
  | { type: 'close' };

export type FromWorker =
  /** `locked`: the machine has locked the drive, as far as is known. */
  | { type: 'state'; state: SessionState; uri: string; locked: boolean }
  /** The drive is in the machine, or on its way, and the device keeps it: what to come back with. */
  | { type: 'ticket'; ticket: Ticket }
  /** The line is lost; told again and again until it is back. */
  | { type: 'outage'; outage: Outage }
  | { type: 'progress'; progress: Progress }
  /** The session is over; the last message. */
  | { type: 'ended'; end: SessionEnd };

/** A lost line. Times are milliseconds. */
export interface Outage {
  /** When the line was last known to be good, by Date.now(). */
  lostAt: number;
  /** Until the next try; 0 while one is under way. */
  next: number;
  /** For how long the machine's reads still wait; 0: they fail now. */
  grace: number;
  /** For how long the device still keeps the drive. */
  keep: number;
}

export interface Progress {
  /** Milliseconds on the Worker's own clock. */
  at: number;
  /** Bytes the device has been given since the start. */
  bytesRead: number;
  /** Which of the image's MAP_CELLS equal parts have been read from since the last message. */
  cells: number[];
}

/** Into how many parts the picture of the image is divided. */
export const MAP_CELLS = 960;

/**
 * Who ended it: the person, the device (or the network: the code says which), the file that
 * changed, a line that went silent, a device that broke the protocol, or the time for which the
 * device keeps a drive without a line.
 */
export type EndCause = 'person' | 'device' | 'file' | 'silence' | 'protocol' | 'time';

export interface SessionEnd {
  cause: EndCause;
  /** The WebSocket's close code; 1006 when there was no goodbye. */
  code: number;
  /** The device's sentence, or ''. */
  reason: string;
  /** Whether the connection ever stood. */
  opened: boolean;
  /** The line had been lost, and the session was not taken up again yet. */
  back?: boolean;
}

/** Close codes that the page sends; a page may send no others than 1000 and 3000 to 4999. */
export const CLOSE_NORMAL = 1000;
export const CLOSE_FILE_CHANGED = 4100;
export const CLOSE_SILENCE = 4101;
export const CLOSE_PROTOCOL = 4102;
