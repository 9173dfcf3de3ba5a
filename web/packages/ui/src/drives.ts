// SPDX-License-Identifier: Apache-2.0
/** Which drive of the machine: a choice where there are several, a plain name where there is one. */
import { h } from './dom.js';
import type { Slot } from './slots.js';

export class PlatterDrives extends HTMLElement {
  /** The person chose another drive. */
  onchoose: (slot: number) => void = () => {};
  #shown = '';

  update(slots: Slot[], chosen: number | undefined, locked: boolean): void {
    const state = JSON.stringify([slots, chosen, locked]);
    if (state === this.#shown) return;
    this.#shown = state;
    const focused = this.contains(document.activeElement);
    if (slots.length > 1) this.replaceChildren(this.#choice(slots, chosen, locked));
    else this.replaceChildren(h('span', { class: 'drive' }, slots[0]?.name ?? ''));
    if (focused) this.querySelector<HTMLInputElement>('input:checked')?.focus();
  }

  #choice(slots: Slot[], chosen: number | undefined, locked: boolean): HTMLElement {
    const options = slots.map((slot) => {
      const input = h('input', {
        type: 'radio',
        name: 'drive',
        value: slot.slot,
        disabled: locked,
        change: () => this.onchoose(slot.slot),
      });
      input.checked = slot.slot === chosen;
      const busy = slot.state === 'idle' ? '' : ' · in use';
      return h('label', {}, input, h('span', {}, slot.name + busy));
    });
    const legend = h('legend', { class: 'unseen' }, 'Drive');
    return h('fieldset', { class: 'segments' }, legend, ...options);
  }
}
