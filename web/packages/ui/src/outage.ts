// SPDX-License-Identifier: Apache-2.0
/** What an outage means for the machine, as far as the page can know it from its own clock. */
import { formatTime } from './format.js';
import type { Outage, Ticket } from './messages.js';

/**
 * The device starts its clock when it notices the loss itself, seconds after the page's last good
 * moment: so much longer a try may still succeed.
 */
export const KEEP_MARGIN = 15_000;

/** @param nextIn ms until the next try; 0 while one is under way */
export function outageNow(ticket: Ticket, lostAt: number, now: number, nextIn: number): Outage {
  const gone = Math.max(0, now - lostAt);
  const grace = ticket.grace * 1000;
  return {
    lostAt,
    next: Math.max(0, nextIn),
    grace: Math.max(0, grace - gone),
    keep: Math.max(0, grace + ticket.keep * 1000 - gone),
  };
}

/** When the line was lost, by what the device says is left; by Date.now(). */
export function lostSince(
  ticket: Ticket,
  left: { grace: number; keep: number },
  now: number,
): number {
  const gone = left.grace > 0 ? ticket.grace - left.grace : ticket.grace + ticket.keep - left.keep;
  return now - gone * 1000;
}

/** Whether the device cannot have kept the drive until now. */
export function isOver(ticket: Ticket, lostAt: number, now: number): boolean {
  return now - lostAt > (ticket.grace + ticket.keep) * 1000 + KEEP_MARGIN;
}

/** What it means for the machine, in one sentence. */
export function describeWait({ grace, keep }: Pick<Outage, 'grace' | 'keep'>): string {
  if (grace > 0) return `The machine waits another ${countdown(grace)} before its reads fail.`;
  return `The machine’s reads fail until this page is back; the drive is kept for another ${countdown(keep)}.`;
}

/** When this page tries again. */
export function describeNext({ next }: Pick<Outage, 'next'>): string {
  return next > 0 ? `Next try in ${countdown(next)}.` : 'Trying now…';
}

/** Rounded up: a countdown ends at the moment, not a second before. */
function countdown(milliseconds: number): string {
  return formatTime(Math.ceil(milliseconds / 1000));
}
