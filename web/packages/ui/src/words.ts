// SPDX-License-Identifier: Apache-2.0
/** The device's words beside the bytes: what it says of the session, as JSON. */
import type { SessionState, Ticket } from './messages.js';

export interface Word {
  state: SessionState;
  uri: string;
  reason: string;
  /** The machine has locked the drive. */
  locked: boolean;
  ticket?: Ticket;
}

/** What the device calls its states, and what the page makes of them. */
const STATES: Record<string, SessionState> = {
  opening: 'opening',
  attaching: 'attaching',
  serving: 'serving',
  closing: 'closing',
  resuming: 'resuming',
  returning: 'resuming',
};

/** The word, or nothing: whatever else a device may say in future is passed over. */
export function parseWord(text: string): Word | undefined {
  let said: Record<string, unknown> | null;
  try {
    said = JSON.parse(text);
  } catch {
    return undefined;
  }
  const name = said?.state;
  const state = typeof name === 'string' && Object.hasOwn(STATES, name) ? STATES[name] : undefined;
  if (!said || !state) return undefined;
  const { uri, reason, locked, token, grace, keep } = said;
  const word: Word = {
    state,
    uri: typeof uri === 'string' ? uri : '',
    reason: typeof reason === 'string' ? reason : '',
    locked: locked === true,
  };
  if (typeof token === 'string' && /^[0-9a-f]{32}$/.test(token) && isTime(grace) && isTime(keep)) {
    word.ticket = { token, grace, keep };
  }
  return word;
}

/** Seconds, from 0 to more than any device keeps a drive. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1e7;
}
