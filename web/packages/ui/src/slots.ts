// SPDX-License-Identifier: Apache-2.0
/** The device's drives, as it tells of them at /api/slots. */
import type { Kind } from './messages.js';
import { isTime } from './words.js';

export interface Slot {
  slot: number;
  name: string;
  /** How the drive reaches the machine: "usb", "kernel", "unix". */
  export: string;
  /** The only kind of image that it takes; undefined: either. */
  kind: Kind | undefined;
  /** The machine has locked it. */
  locked: boolean;
  /** "idle" when it is free. */
  state: string;
  medium: Medium | null;
  /** For a kept drive: seconds for which reads still wait, and for which it is kept after that. */
  waiting: { grace: number; keep: number } | undefined;
  /** How the line does, of a session that is on. */
  line: LineFacts | undefined;
}

export interface Medium {
  name: string;
  kind: Kind;
  size: number;
}

export interface LineFacts {
  /** Seconds, 0 while not known. */
  roundTrip: number;
  /** Bytes a second, 0 while not known. */
  rate: number;
  /** The part of the machine's reads that had no need of the line, 0 to 1. */
  cached: number;
}

/** The states of a drive that has lost its page, and is kept for it. */
export function isKept({ state }: Slot): boolean {
  return ['suspended', 'resuming', 'absent', 'returning'].includes(state);
}

/** Keeps what is well-formed in an answer of the device. @throws when nothing is */
export function parseSlots(answer: unknown): Slot[] {
  const list = (answer as { slots?: unknown } | null)?.slots;
  if (!Array.isArray(list)) throw new Error('no slots in the answer');
  return list.flatMap((entry) => {
    if (typeof entry?.slot !== 'number' || typeof entry.state !== 'string') return [];
    const { medium } = entry;
    const isMedium = typeof medium?.name === 'string' && typeof medium.size === 'number';
    return [
      {
        slot: entry.slot,
        name: String(entry.name || `Drive ${entry.slot}`),
        export: String(entry.export ?? ''),
        kind: entry.drive === 'cd' || entry.drive === 'disk' ? entry.drive : undefined,
        locked: entry.locked === true,
        state: entry.state,
        medium: isMedium
          ? { name: medium.name, kind: medium.kind === 'cd' ? 'cd' : 'disk', size: medium.size }
          : null,
        waiting: parseWaiting(entry.waiting),
        line: parseLine(entry.counters),
      },
    ];
  });
}

function parseWaiting(told: { grace_left?: unknown; keep_left?: unknown } | null | undefined) {
  const { grace_left: grace, keep_left: keep } = told ?? {};
  return isTime(grace) && isTime(keep) ? { grace, keep } : undefined;
}

function parseLine(counters: unknown): LineFacts | undefined {
  const told = (counters ?? {}) as Record<string, unknown>;
  const { round_trip: roundTrip, line_rate: rate, hits, misses } = told;
  if (typeof roundTrip !== 'number' || typeof rate !== 'number') return undefined;
  if (typeof hits !== 'number' || typeof misses !== 'number') return undefined;
  return { roundTrip: roundTrip / 1e6, rate, cached: hits / Math.max(1, hits + misses) };
}

export async function fetchSlots(signal?: AbortSignal): Promise<Slot[]> {
  const answer = await fetch('api/slots', { cache: 'no-store', signal: signal ?? null });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return parseSlots(await answer.json());
}

/**
 * Takes a kept drive out of the machine, locked or not, from the device's side.
 * @param medium what is in it: when it is something else by now, that stays
 * @returns false when the device does not answer
 */
export async function removeDrive(
  slot: number,
  medium: Pick<Medium, 'name' | 'size'>,
): Promise<boolean> {
  const signal = abortAfter(REMOVE_LIMIT);
  try {
    const now = (await fetchSlots(signal)).find((one) => one.slot === slot)?.medium;
    if (!now || !isSame(medium, now)) return true;
    const answer = await fetch(`api/slots/${slot}/end?force=1`, { method: 'POST', signal });
    return answer.ok || answer.status === 409; // 409: it has ended by itself
  } catch {
    return false;
  }
}

/** Whether the device tells of this medium; it keeps only the beginning of a very long name. */
export function isSame(medium: Pick<Medium, 'name' | 'size'>, told: Medium): boolean {
  return medium.name.startsWith(told.name) && medium.size === told.size;
}

const REMOVE_LIMIT = 5000;

function abortAfter(milliseconds: number): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), milliseconds);
  return controller.signal;
}

/** Where the session's WebSocket is. */
export function mediaUrl(page: string, slot: number, kind: Kind, file: FileFacts): string {
  const url = new URL(`api/slots/${slot}/media`, page);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = `?kind=${kind}&name=${encodeURIComponent(file.name)}&modified=${file.lastModified}`;
  return url.href;
}

type FileFacts = Pick<File, 'name' | 'lastModified'>;
