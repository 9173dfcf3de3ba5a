// SPDX-License-Identifier: Apache-2.0
/** Choosing the image, and as what the machine shall see it. */
import type { ImageVerdict } from '@platter/nbd-server';
import { h, setText } from './dom.js';
import { formatBytes } from './format.js';
import type { Kind } from './messages.js';

export interface Choice {
  file: File;
  verdict: ImageVerdict;
}

export class PlatterPicker extends HTMLElement {
  onfile: (file: File) => void = () => {};
  onconnect: (kind: Kind) => void = () => {};
  #choice: Choice | undefined;
  #only: Kind | undefined;

  readonly #title = h('h1', {}, '');
  readonly #facts = h('p', { class: 'facts' });
  readonly #note = h('p', { class: 'note' });
  readonly #refusal = h('p', { class: 'notice bad', role: 'alert' });
  readonly #disk = this.#kindInput('disk');
  readonly #cd = this.#kindInput('cd');
  readonly #legend = h('legend');
  readonly #kinds = h(
    'fieldset',
    { class: 'kinds' },
    this.#legend,
    h(
      'div',
      { class: 'segments' },
      h('label', {}, this.#cd, h('span', {}, 'CD')),
      h('label', {}, this.#disk, h('span', {}, 'Disk')),
    ),
  );
  readonly #input = h('input', {
    type: 'file',
    id: 'file',
    class: 'unseen',
    change: () => this.#picked(),
  });
  readonly #choose = h('label', { for: 'file', class: 'button' }, '');
  readonly #connect = h('button', { type: 'submit', class: 'button main' }, 'Connect');
  readonly #hint = h('p', { class: 'hint' }, 'or drop a file anywhere on this page');

  connectedCallback(): void {
    const form = h(
      'form',
      { submit: (event) => this.#submit(event) },
      this.#kinds,
      h('div', { class: 'actions' }, this.#connect, this.#input, this.#choose, this.#hint),
    );
    this.append(this.#title, this.#facts, this.#note, this.#refusal, form);
    this.update(undefined, undefined, false);
  }

  /**
   * @param only the one kind that the drive takes, if it does not take both
   * @param ready whether a session could begin now
   */
  update(choice: Choice | undefined, only: Kind | undefined, ready: boolean): void {
    if (choice !== this.#choice || only !== this.#only) {
      const kind = only ?? choice?.verdict.suggestion;
      this.#disk.checked = kind === 'disk';
      this.#cd.checked = kind === 'cd';
      this.#disk.disabled = only === 'cd';
      this.#cd.disabled = only === 'disk';
    }
    this.#choice = choice;
    this.#only = only;
    setText(this.#legend, only ? ONLY[only] : 'The machine sees it as a');
    const verdict = choice?.verdict;
    setText(this.#title, choice?.file.name ?? 'Choose an image for the machine');
    setText(this.#facts, choice ? facts(choice) : EXPLANATION);
    this.#show(this.#note, verdict?.ok ? verdict.note : undefined);
    this.#show(this.#refusal, verdict?.refuse);
    this.#kinds.hidden = !verdict?.ok;
    this.#connect.hidden = !verdict?.ok;
    this.#connect.disabled = !ready;
    this.#hint.hidden = verdict?.ok === true;
    this.#choose.classList.toggle('main', !verdict?.ok);
    setText(this.#choose, choice ? 'Choose another…' : 'Choose a file…');
  }

  focusConnect(): void {
    if (!this.#connect.hidden) this.#connect.focus();
  }

  #show(element: HTMLElement, text: string | undefined): void {
    element.hidden = !text;
    setText(element, text ?? '');
  }

  #kindInput(kind: Kind): HTMLInputElement {
    return h('input', { type: 'radio', name: 'kind', value: kind });
  }

  #picked(): void {
    const file = this.#input.files?.[0];
    this.#input.value = ''; // so that choosing the same file again is a choice
    if (file) this.onfile(file);
  }

  #submit(event: Event): void {
    event.preventDefault();
    this.onconnect(this.#cd.checked ? 'cd' : 'disk');
  }
}

const ONLY: Record<Kind, string> = { cd: 'This drive takes CDs', disk: 'This drive takes disks' };

const EXPLANATION =
  'A CD or disk image from this computer. The machine gets it as a USB drive, and only what it reads travels.';

function facts({ file, verdict }: Choice): string {
  return `${formatBytes(file.size)} · ${verdict.what}`;
}
