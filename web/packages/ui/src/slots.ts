// SPDX-License-Identifier: Apache-2.0
/** The device's drives, as it tells of them at /api/slots. */
import type { Kind } from './messages.js';

export interface Slot {
  slot: number;
  name: string;
  /** How the drive reaches the machine: "usb", "kernel", "unix". */
  export: string;
  /** "idle" when it is free. */
  state: string;
  medium: { name: string; kind: Kind; size: number } | null;
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
        state: entry.state,
        medium: isMedium
          ? { name: medium.name, kind: medium.kind === 'cd' ? 'cd' : 'disk', size: medium.size }
          : null,
      },
    ];
  });
}

export async function fetchSlots(): Promise<Slot[]> {
  const answer = await fetch('api/slots', { cache: 'no-store' });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return parseSlots(await answer.json());
}

/** Where the session's WebSocket is. */
export function mediaUrl(page: string, slot: number, kind: Kind, name: string): string {
  const url = new URL(`api/slots/${slot}/media`, page);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = `?kind=${kind}&name=${encodeURIComponent(name)}`;
  return url.href;
}
