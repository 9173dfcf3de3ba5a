// SPDX-License-Identifier: Apache-2.0
/** What the page and its Worker say to each other. */

export type Kind = 'disk' | 'cd';

/** How far a session has come, as the device tells it; 'connecting' before it has told anything. */
export type SessionState = 'connecting' | 'opening' | 'attaching' | 'serving' | 'closing';

export type ToWorker =
  /** Opens the session; the first message and sent once. */
  | { type: 'open'; url: string; file: File }
  /** Ends it in good order; 'ended' follows. */
  | { type: 'close' };

export type FromWorker =
  | { type: 'state'; state: SessionState; uri: string }
  | { type: 'progress'; progress: Progress }
  /** The session is over; the last message. */
  | { type: 'ended'; end: SessionEnd };

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
 * changed, a line that went silent, or a device that broke the protocol.
 */
export type EndCause = 'person' | 'device' | 'file' | 'silence' | 'protocol';

export interface SessionEnd {
  cause: EndCause;
  /** The WebSocket's close code; 1006 when there was no goodbye. */
  code: number;
  /** The device's sentence, or ''. */
  reason: string;
  /** Whether the connection ever stood. */
  opened: boolean;
}

/** Close codes that the page sends; a page may send no others than 1000 and 3000 to 4999. */
export const CLOSE_NORMAL = 1000;
export const CLOSE_FILE_CHANGED = 4100;
export const CLOSE_SILENCE = 4101;
export const CLOSE_PROTOCOL = 4102;
