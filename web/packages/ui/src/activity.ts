// SPDX-License-Identifier: Apache-2.0
/** Reading speed over the last minute: a number and a line. */
import { svg } from './dom.js';
import type { Progress } from './messages.js';

const SPAN = 60_000;
/** The number is the mean over this long, so that it can be read. */
const MEAN = 2000;
const WIDTH = 240;
const HEIGHT = 40;

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

export class PlatterActivity extends HTMLElement {
  readonly #area = svg('path', { class: 'area' });
  readonly #line = svg('path', { class: 'line' });

  connectedCallback(): void {
    const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
    const props = { viewBox, preserveAspectRatio: 'none', 'aria-hidden': 'true' };
    this.append(svg('svg', props, this.#area, this.#line));
  }

  draw(samples: Samples): void {
    const curve = samples.curve();
    const top = Math.max(1, ...curve.map(([, speed]) => speed));
    const points = curve.map(([x, speed]) => {
      const y = HEIGHT - 1 - (speed / top) * (HEIGHT - 4);
      return `${(Math.max(0, x) * WIDTH).toFixed(1)} ${y.toFixed(1)}`;
    });
    const line = points.length > 1 ? `M${points.join('L')}` : '';
    const start = points[0]?.split(' ')[0];
    this.#line.setAttribute('d', line);
    this.#area.setAttribute('d', line && `${line}V${HEIGHT}H${start}Z`);
  }
}
