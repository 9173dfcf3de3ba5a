// SPDX-License-Identifier: Apache-2.0
/** Reading speed over the last minute. */
import type { Progress } from './messages.js';

const SPAN = 60_000;
/** The speed told is the mean over this long, so that it can be read. */
const MEAN = 2000;

/** What has been read when, for the last minute. */
export class Samples {
  #samples: Pick<Progress, 'at' | 'bytesRead'>[] = [];

  add({ at, bytesRead }: Progress): void {
    this.#samples.push({ at, bytesRead });
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) > SPAN)
      this.#samples.shift();
  }

  /** Bytes a second, over the last two seconds. */
  speed(): number {
    const last = this.#samples.at(-1);
    if (!last) return 0;
    const first = this.#samples.filter(({ at }) => last.at - at >= MEAN).at(-1) ?? this.#samples[0];
    if (!first || first.at === last.at) return 0;
    return ((last.bytesRead - first.bytesRead) * 1000) / (last.at - first.at);
  }

  /** Points [0..1 from a minute ago to now, bytes a second], in order. */
  curve(): [number, number][] {
    const now = this.#samples.at(-1)?.at ?? 0;
    return this.#samples.slice(1).map((sample, i) => {
      const before = this.#samples[i] ?? sample;
      const seconds = (sample.at - before.at) / 1000;
      const speed = seconds > 0 ? (sample.bytesRead - before.bytesRead) / seconds : 0;
      return [1 - (now - sample.at) / SPAN, speed];
    });
  }
}
