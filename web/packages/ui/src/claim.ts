// SPDX-License-Identifier: Apache-2.0
/**
 * What a reloaded page remembers of its session: the ticket, and which file it was. The file itself
 * a page may not keep, so the person has to choose it again.
 *
 * It lives in the tab's own storage. A tab that is duplicated takes a copy along, and two tabs with
 * one ticket would take the drive from each other forever: so a page with a claim asks the others,
 * and lets go of it when one of them has the session.
 */
import { formatBytes } from './format.js';
import type { Kind, Ticket } from './messages.js';
import { isTime } from './words.js';

const KEY = 'platter-session';

export interface Claim {
  slot: number;
  kind: Kind;
  name: string;
  size: number;
  /** Milliseconds since 1970. */
  modified: number;
  ticket: Ticket;
  /** When the line was last good, by Date.now(); absent while it is. */
  lostAt?: number;
}

export function saveClaim(claim: Claim): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(claim));
  } catch {
    // Storage is switched off: then a reload ends the session, as a closed tab does.
  }
}

export function dropClaim(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was stored either.
  }
}

/** What this tab has left behind, if it is well-formed. */
export function loadClaim(): Claim | undefined {
  try {
    return parseClaim(JSON.parse(sessionStorage.getItem(KEY) ?? 'null'));
  } catch {
    return undefined;
  }
}

export function parseClaim(stored: unknown): Claim | undefined {
  const claim = stored as Claim | null;
  const { slot, kind, name, size, modified, ticket, lostAt } = claim ?? {};
  const isGood =
    [slot, size, modified].every((value) => typeof value === 'number') &&
    (kind === 'cd' || kind === 'disk') &&
    typeof name === 'string' &&
    typeof ticket?.token === 'string' &&
    isTime(ticket.grace) &&
    isTime(ticket.keep) &&
    (lostAt === undefined || typeof lostAt === 'number');
  return isGood && claim ? claim : undefined;
}

/** Why a file cannot be the one that was served: one sentence; nothing when it may be. */
export function describeDifference(claim: Claim, file: File): string | undefined {
  if (file.name !== claim.name) {
    return `“${file.name}” is another file; choose “${claim.name}”.`;
  }
  if (file.size !== claim.size) {
    const [is, was] = [file.size, claim.size].map(formatBytes);
    const sizes = is === was ? [`${file.size} bytes`, `${claim.size}`] : [is, was];
    return `This “${file.name}” has ${sizes[0]}, the one in the drive ${sizes[1]}; choose that one.`;
  }
  if (file.lastModified !== claim.modified) {
    return `“${file.name}” has been changed since it was put in the drive; remove the drive, then connect this file anew.`;
  }
  return undefined;
}

/** Other tabs of this device's page. */
export class Siblings {
  readonly #channel = new BroadcastChannel('platter');

  /**
   * @param held the token of the session that this page has, if it has one
   * @param onHeld another page has the session of this token
   */
  constructor(held: () => string | undefined, onHeld: (token: string) => void) {
    this.#channel.onmessage = ({ data }: MessageEvent<{ ask?: string; held?: string }>) => {
      if (data?.ask && data.ask === held()) this.tell(data.ask);
      if (data?.held) onHeld(data.held);
    };
  }

  /** Who has it? */
  ask(token: string): void {
    this.#channel.postMessage({ ask: token });
  }

  /** This page has it. */
  tell(token: string): void {
    this.#channel.postMessage({ held: token });
  }
}
