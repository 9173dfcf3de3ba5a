// SPDX-License-Identifier: Apache-2.0
/** Numbers as people read them. */

const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** Decimal units with three digits that count, as on the box a drive is sold in: "4.70 GB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (unit < UNITS.length - 1 && value >= 999.5) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)}\u00a0${bytes === 1 ? 'byte' : UNITS[unit]}`;
}

export function formatSpeed(bytesPerSecond: number): string {
  return bytesPerSecond < 1 ? 'at rest' : `${formatBytes(bytesPerSecond)}/s`;
}

/** Seconds, as the milliseconds that people know: "0.4 ms", "21 ms". */
export function formatRoundTrip(seconds: number): string {
  const milliseconds = seconds * 1000;
  return `${milliseconds.toFixed(milliseconds < 9.95 ? 1 : 0)}\u00a0ms`;
}

/** "48 s", "12 min", "2 h 05 min". */
export function formatTime(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  const rest = String(minutes % 60).padStart(2, '0');
  return `${Math.floor(minutes / 60)}\u00a0h ${rest}\u00a0min`;
}
