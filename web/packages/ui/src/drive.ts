// SPDX-License-Identifier: Apache-2.0
/** A session as the person sees it: what is in the drive, and what the machine does with it. */
import { PlatterActivity } from './activity.js';
import { h, setText } from './dom.js';
import { formatBytes, formatRoundTrip, formatSpeed, formatTime } from './format.js';
import type { Kind, Outage, SessionState } from './messages.js';
import { describeNext, describeWait } from './outage.js';
import type { Samples } from './samples.js';
import type { LineFacts } from './slots.js';

const STATE_WORDS: Record<SessionState, string> = {
  connecting: 'Connecting…',
  opening: 'Opening the image…',
  attaching: 'Putting it in the drive…',
  serving: 'In the drive',
  closing: 'Taking it out…',
  suspended: 'Connection lost; the machine waits',
  absent: 'Connection lost; the machine’s reads fail',
  resuming: 'Connected again; the device compares the image…',
};

export function describeState({ state, locked }: Pick<DriveFacts, 'state' | 'locked'>): string {
  return locked && state === 'serving' ? 'The machine uses the drive (locked)' : STATE_WORDS[state];
}

export interface DriveFacts {
  name: string;
  size: number;
  kind: Kind;
  state: SessionState;
  /** The machine has locked it. */
  locked: boolean;
  uri: string;
  bytesRead: number;
  seconds: number;
  /** While the line is lost. */
  outage: Outage | undefined;
  /** As the device tells it. */
  line: LineFacts | undefined;
}

export class PlatterDrive extends HTMLElement {
  ondisconnect: () => void = () => {};
  onretry: () => void = () => {};
  readonly #title = h('h1');
  readonly #facts = h('p', { class: 'facts' });
  readonly #read = h('dd');
  readonly #speed = h('dd');
  readonly #time = h('dd');
  readonly #roundTrip = h('dd');
  readonly #rate = h('dd');
  readonly #cached = h('dd');
  readonly #line = h('details', {}, h('summary', {}, 'The line'));
  // No live region: a screen reader hears of the loss once, by the status above, and not each second.
  readonly #wait = h('p', { role: 'timer' });
  readonly #next = h('p', { class: 'hint', role: 'timer' });
  readonly #outage = h(
    'div',
    { class: 'outage' },
    this.#wait,
    h(
      'div',
      { class: 'actions' },
      h(
        'button',
        { type: 'button', class: 'button', id: 'retry', click: () => this.onretry() },
        'Try now',
      ),
      this.#next,
    ),
  );
  readonly #activity = new PlatterActivity();
  readonly #uri = h('input', { id: 'uri', type: 'text', readonly: true, spellcheck: 'false' });
  readonly #copy = h(
    'button',
    { type: 'button', class: 'button', click: () => this.#copyUri() },
    'Copy',
  );
  readonly #address = h(
    'div',
    { class: 'address' },
    h('label', { for: 'uri' }, 'Programs on the device find it at'),
    h('div', { class: 'row' }, this.#uri, this.#copy),
  );
  readonly #disconnect = h(
    'button',
    { type: 'button', class: 'button', id: 'disconnect', click: () => this.ondisconnect() },
    'Disconnect',
  );

  connectedCallback(): void {
    const fact = (name: string, value: HTMLElement) => h('div', {}, h('dt', {}, name), value);
    this.#line.append(
      h(
        'dl',
        {},
        fact('Round trip', this.#roundTrip),
        fact('It carries', this.#rate),
        fact('From cache', this.#cached),
      ),
    );
    this.append(
      this.#title,
      this.#facts,
      this.#outage,
      h('dl', {}, fact('Read', this.#read), fact('Speed', this.#speed), fact('Time', this.#time)),
      this.#activity,
      this.#line,
      this.#address,
      h('div', { class: 'actions' }, this.#disconnect),
      h('p', { class: 'hint' }, 'Keep this page open: the machine reads from it.'),
    );
  }

  update(facts: DriveFacts, samples: Samples): void {
    setText(this.#title, facts.name);
    setText(
      this.#facts,
      `${formatBytes(facts.size)} · as a ${facts.kind === 'cd' ? 'CD' : 'disk'}`,
    );
    setText(this.#read, formatBytes(facts.bytesRead));
    setText(this.#speed, formatSpeed(samples.speed()));
    setText(this.#time, formatTime(facts.seconds));
    this.#activity.draw(samples);
    this.#showOutage(facts.outage);
    this.#showLine(facts.line);
    this.#address.hidden = facts.uri === '';
    if (this.#uri.value !== facts.uri) this.#uri.value = facts.uri;
    this.#disconnect.disabled = facts.state === 'closing';
  }

  #showOutage(outage: Outage | undefined): void {
    this.#outage.hidden = outage === undefined;
    if (!outage) return;
    setText(this.#wait, describeWait(outage));
    setText(this.#next, describeNext(outage));
  }

  #showLine(line: LineFacts | undefined): void {
    this.#line.hidden = !line || line.rate === 0;
    if (!line) return;
    setText(this.#roundTrip, formatRoundTrip(line.roundTrip));
    setText(this.#rate, formatSpeed(line.rate));
    setText(this.#cached, `${Math.round(line.cached * 100)}\u00a0%`);
  }

  focusDisconnect(): void {
    this.#disconnect.focus();
  }

  /** The clipboard API wants a secure context; the old way works without. */
  async #copyUri(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.#uri.value);
    } catch {
      this.#uri.select();
      document.execCommand('copy');
    }
    setText(this.#copy, 'Copied');
    setTimeout(() => setText(this.#copy, 'Copy'), 2000);
  }
}
