// SPDX-License-Identifier: Apache-2.0
/** Reading speed over the last minute, as a line. */
import { svg } from './dom.js';
import type { Samples } from './samples.js';

const WIDTH = 240;
const HEIGHT = 40;

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
