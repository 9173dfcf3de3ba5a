// SPDX-License-Identifier: Apache-2.0
/**
 * The page. It holds what the person chose and how the session goes, and shows it; the session
 * itself lives in the Worker, one Worker a session.
 *
 * data-state, data-bytes, data-code and data-reason on <platter-app> say the same to programs.
 */
import { inspectImage } from '@platter/nbd-server';
import { PlatterActivity } from './activity.js';
import { mayRest, stayAwake } from './awake.js';
import { PlatterDisc } from './disc.js';
import { h, setText } from './dom.js';
import { type DriveFacts, PlatterDrive, STATE_WORDS } from './drive.js';
import { PlatterDrives } from './drives.js';
import { describeEnd, type Ending } from './endings.js';
import { formatBytes, formatSpeed } from './format.js';
import type { FromWorker, Kind, SessionEnd, ToWorker } from './messages.js';
import { type Choice, PlatterPicker } from './picker.js';
import { Samples } from './samples.js';
import { fetchSlots, mediaUrl, type Slot } from './slots.js';

const POLL_INTERVAL = 3000;
const SETTLE_TIME = 800;

interface RunningSession {
  worker: Worker;
  facts: DriveFacts;
  samples: Samples;
  /** When it began to serve, on the page's clock in ms. */
  since: number | undefined;
}

class PlatterApp extends HTMLElement {
  #slots: Slot[] = [];
  #chosenSlot: number | undefined;
  #unreachable = false;
  #choice: Choice | undefined;
  #session: RunningSession | undefined;
  #ending: Ending | undefined;

  readonly #drives = new PlatterDrives();
  readonly #disc = new PlatterDisc();
  readonly #picker = new PlatterPicker();
  readonly #drive = new PlatterDrive();
  readonly #status = h('p', { class: 'status', role: 'status' });
  readonly #notice = h('div', { class: 'notice', role: 'alert' });

  connectedCallback(): void {
    this.#drives.onchoose = (slot) => this.#chooseSlot(slot);
    this.#picker.onfile = (file) => void this.#chooseFile(file);
    this.#picker.onconnect = (kind) => this.#connect(kind);
    this.#drive.ondisconnect = () => this.#say({ type: 'close' });
    this.append(
      h('header', {}, h('p', { class: 'brand' }, 'Platter'), this.#drives),
      h(
        'main',
        {},
        this.#disc,
        h('div', { class: 'words' }, this.#status, this.#notice, this.#picker, this.#drive),
      ),
    );
    this.#acceptDrops();
    window.addEventListener('beforeunload', (event) => {
      if (this.#session) event.preventDefault();
    });
    document.addEventListener('visibilitychange', () => void this.#poll());
    setInterval(() => void this.#poll(), POLL_INTERVAL);
    void this.#poll();
    this.#render();
  }

  // The device -------------------------------------------------------------------------------------

  /** Not while hidden, and not in a session: its own socket tells more, and sooner. */
  async #poll(): Promise<void> {
    if (document.visibilityState === 'hidden' || this.#session) return;
    try {
      this.#slots = await fetchSlots();
      this.#unreachable = false;
      const isThere = this.#slots.some(({ slot }) => slot === this.#chosenSlot);
      if (!isThere) this.#chosenSlot = (this.#freeSlot() ?? this.#slots[0])?.slot;
    } catch {
      this.#unreachable = true;
    }
    this.#render();
  }

  #freeSlot(): Slot | undefined {
    return this.#slots.find(({ state }) => state === 'idle');
  }

  #slot(): Slot | undefined {
    return this.#slots.find(({ slot }) => slot === this.#chosenSlot);
  }

  #chooseSlot(slot: number): void {
    this.#chosenSlot = slot;
    this.#render();
  }

  // The file ---------------------------------------------------------------------------------------

  #acceptDrops(): void {
    const over = (event: DragEvent, isOver: boolean) => {
      event.preventDefault();
      this.classList.toggle('dropping', isOver && !this.#session);
    };
    window.addEventListener('dragover', (event) => over(event, true));
    window.addEventListener('dragleave', (event) => over(event, event.relatedTarget !== null));
    window.addEventListener('drop', (event) => {
      over(event, false);
      const file = event.dataTransfer?.files[0];
      if (file && !this.#session) void this.#chooseFile(file);
    });
  }

  async #chooseFile(file: File): Promise<void> {
    this.#ending = undefined;
    try {
      this.#choice = { file, verdict: await inspectImage(file) };
    } catch {
      const refuse =
        'The browser cannot read this file; check that it is a file that you may read.';
      const verdict = { ok: false, what: 'not readable', suggestion: 'disk' as const, refuse };
      this.#choice = { file, verdict };
    }
    this.#disc.clear();
    this.#render();
    this.#picker.focusConnect();
  }

  // The session ------------------------------------------------------------------------------------

  #connect(kind: Kind): void {
    const file = this.#choice?.file;
    if (!file || this.#chosenSlot === undefined || this.#session) return;
    const worker = new Worker('worker.js');
    const { name, size } = file;
    this.#session = {
      worker,
      facts: { name, size, kind, state: 'connecting', uri: '', bytesRead: 0, seconds: 0 },
      samples: new Samples(),
      since: undefined,
    };
    this.#ending = undefined;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    worker.onerror = () => this.#end({ cause: 'device', code: 1006, reason: '', opened: false });
    this.#say({ type: 'open', url: mediaUrl(location.href, this.#chosenSlot, kind, name), file });
    this.#disc.clear();
    stayAwake();
    this.#render();
    this.#drive.focusDisconnect();
  }

  #say(message: ToWorker): void {
    this.#session?.worker.postMessage(message);
  }

  #hear(message: FromWorker): void {
    const session = this.#session;
    if (!session) return;
    const { facts } = session;
    switch (message.type) {
      case 'state':
        facts.state = message.state;
        facts.uri = message.uri || facts.uri;
        if (message.state === 'serving') session.since ??= performance.now();
        break;
      case 'progress':
        facts.bytesRead = message.progress.bytesRead;
        session.samples.add(message.progress);
        this.#disc.light(message.progress.cells);
        break;
      case 'ended':
        this.#end(message.end);
        return;
    }
    if (session.since !== undefined) facts.seconds = (performance.now() - session.since) / 1000;
    this.#render();
  }

  #end(end: SessionEnd): void {
    const session = this.#session;
    if (!session) return;
    session.worker.terminate();
    mayRest();
    this.#session = undefined;
    this.#ending = describeEnd(end, session.facts.name, location.hostname);
    if (this.#ending.forgetFile) this.#choice = undefined;
    this.dataset.bytes = String(session.facts.bytesRead);
    this.dataset.cause = end.cause;
    this.dataset.code = String(end.code);
    this.dataset.reason = end.reason;
    this.#render();
    void this.#poll();
    setTimeout(() => void this.#poll(), SETTLE_TIME); // by then the device has put it all away
  }

  // What is seen -----------------------------------------------------------------------------------

  #render(): void {
    const session = this.#session;
    const slot = this.#slot();
    const isFree = slot?.state === 'idle';
    this.dataset.state = session?.facts.state ?? (this.#ending ? 'ended' : 'idle');
    if (session) this.dataset.bytes = String(session.facts.bytesRead);
    this.#drives.update(this.#slots, this.#chosenSlot, session !== undefined);
    setText(this.#status, this.#statusWords(session, slot));
    this.#picker.hidden = session !== undefined;
    this.#drive.hidden = session === undefined;
    if (session) this.#drive.update(session.facts, session.samples);
    else this.#picker.update(this.#choice, isFree && !this.#unreachable);
    this.#showNotice(session === undefined, slot, isFree);
    document.title = this.#title(session);
  }

  #statusWords(session: RunningSession | undefined, slot: Slot | undefined): string {
    if (session) return STATE_WORDS[session.facts.state];
    if (this.#unreachable) return 'No answer from the device';
    if (!slot) return this.#slots.length > 0 ? '' : 'Looking for the drive…';
    if (slot.state === 'idle') return `${slot.name} is empty`;
    return `${slot.name} is in use`;
  }

  #showNotice(isOut: boolean, slot: Slot | undefined, isFree: boolean): void {
    let title = '';
    let text = '';
    let isBad = true;
    if (isOut && this.#ending) {
      ({ title, text } = this.#ending);
      isBad = !this.#ending.calm;
    } else if (isOut && this.#unreachable) {
      title = 'This page cannot reach the device';
      text = `${location.hostname} does not answer; check its network. The page goes on trying.`;
    } else if (isOut && slot && !isFree) {
      ({ title, text } = inUse(slot));
      isBad = false;
    }
    this.#notice.hidden = title === '';
    this.#notice.classList.toggle('bad', isBad);
    if (this.#notice.textContent !== title + text) {
      this.#notice.replaceChildren(h('strong', {}, title), h('span', {}, text));
    }
  }

  #title(session: RunningSession | undefined): string {
    if (session?.facts.state === 'serving') {
      const { facts, samples } = session;
      const speed = samples.speed();
      const now = speed < 1 ? STATE_WORDS.serving : formatSpeed(speed);
      return `● ${now} · ${formatBytes(facts.bytesRead)} read · Platter`;
    }
    if (session) return `○ ${STATE_WORDS[session.facts.state]} · Platter`;
    return this.#ending ? `${this.#ending.title} · Platter` : 'Platter';
  }
}

function inUse({ name, medium }: Slot): { title: string; text: string } {
  if (!medium) return { title: `${name} is in use`, text: 'It will be free again in a moment.' };
  const what = `${formatBytes(medium.size)}, as a ${medium.kind === 'cd' ? 'CD' : 'disk'}`;
  return {
    title: `“${medium.name}” is in it`,
    text: `Another page holds it (${what}); the drive is free when that page disconnects.`,
  };
}

customElements.define('platter-activity', PlatterActivity);
customElements.define('platter-disc', PlatterDisc);
customElements.define('platter-drives', PlatterDrives);
customElements.define('platter-drive', PlatterDrive);
customElements.define('platter-picker', PlatterPicker);
customElements.define('platter-app', PlatterApp);
