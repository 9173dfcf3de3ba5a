// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the browser from putting a serving page to sleep, with whatever it offers. Both means need
 * a secure context; without one the session works all the same.
 */
let release: (() => void) | undefined;
let screen: WakeLockSentinel | undefined;

/** A page that holds a Web Lock is not frozen in the background. */
export function stayAwake(): void {
  if (release) return;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  navigator.locks?.request(`platter-${Math.random()}`, () => held).catch(() => {});
  void keepScreenOn();
}

export function mayRest(): void {
  release?.();
  release = undefined;
  screen?.release().catch(() => {});
  screen = undefined;
}

/** The screen lock is lost whenever the page is hidden. */
async function keepScreenOn(): Promise<void> {
  if (!release || document.visibilityState !== 'visible') return;
  try {
    screen = await navigator.wakeLock?.request('screen');
    if (!release) mayRest();
  } catch {
    // Low battery, or not allowed: the person's computer knows best.
  }
}

document.addEventListener('visibilitychange', () => void keepScreenOn());
