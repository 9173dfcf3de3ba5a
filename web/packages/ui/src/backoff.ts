// SPDX-License-Identifier: Apache-2.0
/** When to try again after the line was lost. All times are milliseconds. */

/** The first tries; the last of these goes on until PATIENT_AFTER. */
const STEPS = [0, 500, 1000, 2000, 3000] as const;
const PATIENT_AFTER = 120_000;
const PATIENT_STEP = 10_000;
const SELDOM_AFTER = 600_000;
const SELDOM_STEP = 30_000;

/** How long a try may take to open before it is given up. */
export const TRY_LIMIT = 4000;
/**
 * From this try on the device is asked over plain HTTP first. Browsers make a WebSocket wait the
 * longer the more of them have failed: in Firefox up to a minute, longer than TRY_LIMIT, so that tries
 * would go on failing with the line long back.
 */
export const ASK_FIRST_FROM = 5;

/**
 * How long to wait before a try. Shortened by up to a quarter at random, so that the pages of a
 * network that comes back do not all knock at once.
 * @param tries how many have failed in this outage
 * @param outage for how long the line has been lost
 */
export function retryDelay(tries: number, outage: number, random = Math.random): number {
  const step = STEPS[Math.min(tries, STEPS.length - 1)] ?? 0;
  let delay: number = step;
  if (tries > 0 && outage >= PATIENT_AFTER) delay = PATIENT_STEP;
  if (tries > 0 && outage >= SELDOM_AFTER) delay = SELDOM_STEP;
  return Math.round(delay * (1 - random() / 4));
}
