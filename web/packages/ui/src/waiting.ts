// SPDX-License-Identifier: Apache-2.0
/** After a reload: the drive waits for its file, and the person chooses it again or gives it up. */
import type { Claim } from './claim.js';
import { h, setText } from './dom.js';
import { formatBytes } from './format.js';
import { describeWait, outageNow } from './outage.js';

export class PlatterWaiting extends HTMLElement {
  onfile: (file: File) => void = () => {};
  onremove: () => void = () => {};
  readonly #title = h('h1');
  readonly #facts = h('p', { class: 'facts' });
  readonly #ask = h('p', { class: 'note' });
  readonly #clock = h('p', { class: 'note', role: 'timer' });
  readonly #wrong = h('p', { class: 'notice bad', role: 'alert' });
  readonly #input = h('input', {
    type: 'file',
    id: 'again',
    class: 'unseen',
    change: () => this.#picked(),
  });
  readonly #remove = h(
    'button',
    { type: 'button', class: 'button', id: 'remove', click: () => this.onremove() },
    'Remove the drive',
  );

  connectedCallback(): void {
    const choose = h('label', { for: 'again', class: 'button main' }, 'Choose it again…');
    const hint = h('p', { class: 'hint' }, 'or drop it anywhere on this page');
    this.append(
      this.#title,
      this.#facts,
      this.#ask,
      this.#clock,
      this.#wrong,
      h('div', { class: 'actions' }, this.#input, choose, this.#remove, hint),
    );
  }

  /** @param wrong why the file that was just chosen cannot be the one; '' when none was */
  update({ name, size, kind, ticket, lostAt }: Claim, wrong: string): void {
    const now = Date.now();
    setText(this.#title, name);
    setText(this.#facts, `${formatBytes(size)} · as a ${kind === 'cd' ? 'CD' : 'disk'}`);
    setText(
      this.#ask,
      'The drive is still in the machine, but a browser does not keep a file for a page that is loaded anew: choose it again, and the machine goes on where it was.',
    );
    setText(this.#clock, describeWait(outageNow(ticket, lostAt ?? now, now, 0)));
    setText(this.#wrong, wrong);
    this.#wrong.hidden = wrong === '';
  }

  #picked(): void {
    const file = this.#input.files?.[0];
    this.#input.value = ''; // so that choosing the same file again is a choice
    if (file) this.onfile(file);
  }
}
