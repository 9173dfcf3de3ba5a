// SPDX-License-Identifier: Apache-2.0
/**
 * The picture of the drive: a disc on which the image lies once around, clockwise from the top, and
 * each part lights up as the machine reads from it. Everything it shows is said in words as well.
 */
import { svg } from './dom.js';
import { MAP_CELLS } from './messages.js';

const SEGMENTS = 120;
const CELLS_PER_SEGMENT = MAP_CELLS / SEGMENTS;
const RADIUS = 78;

export class PlatterDisc extends HTMLElement {
  readonly #segments: SVGPathElement[] = [];
  #read = new Uint8Array(SEGMENTS);

  connectedCallback(): void {
    const around = svg('g', { class: 'map' });
    for (let i = 0; i < SEGMENTS; i++) {
      const segment = svg('path', { d: arc(i) });
      this.#segments.push(segment);
      around.append(segment);
    }
    const groove = (r: number) => svg('circle', { class: 'groove', cx: 100, cy: 100, r });
    this.append(
      svg(
        'svg',
        { viewBox: '0 0 200 200', 'aria-hidden': 'true' },
        svg('circle', { class: 'rim', cx: 100, cy: 100, r: 97 }),
        around,
        ...[57, 50, 43].map(groove),
        svg('circle', { class: 'hub', cx: 100, cy: 100, r: 31 }),
        svg('circle', { class: 'hole', cx: 100, cy: 100, r: 10 }),
      ),
    );
  }

  clear(): void {
    this.#read = new Uint8Array(SEGMENTS);
    for (const segment of this.#segments) segment.removeAttribute('class');
  }

  /** These cells have been read from. */
  light(cells: number[]): void {
    for (const cell of cells) {
      const index = Math.floor(cell / CELLS_PER_SEGMENT);
      const read = (this.#read[index] ?? 0) + 1;
      this.#read[index] = read;
      const level = Math.ceil((4 * read) / CELLS_PER_SEGMENT);
      this.#segments[index]?.setAttribute('class', `read${level}`);
    }
  }
}

/** One segment's arc: a stroke as wide as the recorded part of the disc. */
function arc(index: number): string {
  const gap = 0.12;
  const point = (position: number) => {
    const angle = (position / SEGMENTS) * 2 * Math.PI - Math.PI / 2;
    const x = 100 + RADIUS * Math.cos(angle);
    const y = 100 + RADIUS * Math.sin(angle);
    return `${x.toFixed(2)} ${y.toFixed(2)}`;
  };
  return `M${point(index + gap)}A${RADIUS} ${RADIUS} 0 0 1 ${point(index + 1 - gap)}`;
}
