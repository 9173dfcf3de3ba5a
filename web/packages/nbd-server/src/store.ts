// SPDX-License-Identifier: Apache-2.0
/**
 * What the server serves: a fixed number of bytes that can be read at any place.
 */
export interface BlockStore {
  /** Bytes; never changes while the store lives. */
  readonly size: number;
  /**
   * Fills `target` with the bytes from `offset` on and resolves with how many bytes it put there.
   * Anything but all of them counts as a failed read, as does a rejection. The server asks only for
   * ranges that lie inside `size`, and several reads may be under way at once. `target` may be
   * written to until the promise has settled, and never after.
   */
  read(offset: number, target: Uint8Array): Promise<number>;
}
