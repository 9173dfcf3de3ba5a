// SPDX-License-Identifier: Apache-2.0
/**
 * The page. It holds what the person chose and how the session goes, and shows it; the session
 * itself lives in the Worker, one Worker a session.
 *
 * data-state, data-locked, data-bytes, data-code and data-reason on <platter-app> say the same to programs.
 */
import { inspectImage } from '@platter/nbd-server';
import { PlatterActivity } from './activity.js';
import { ask, leaveQuestion } from './ask.js';
import { mayRest, stayAwake } from './awake.js';
import {
  type Claim,
  describeDifference,
  dropClaim,
  loadClaim,
  Siblings,
  saveClaim,
} from './claim.js';
import { PlatterDisc } from './disc.js';
import { h, setText } from './dom.js';
import { type DriveFacts, describeState, PlatterDrive } from './drive.js';
import { PlatterDrives } from './drives.js';
import { describeEnd, describeUntold, type Ending, isUntold } from './endings.js';
import { formatBytes, formatSpeed } from './format.js';
import type { FromWorker, Kind, Outage, SessionEnd, Ticket, ToWorker } from './messages.js';
import { lostSince, outageNow } from './outage.js';
import { type Choice, PlatterPicker } from './picker.js';
import { Samples } from './samples.js';
import { fetchSlots, isKept, isSame, mediaUrl, removeDrive, type Slot } from './slots.js';
import { PlatterWaiting } from './waiting.js';

const POLL_INTERVAL = 3000;
const SETTLE_TIME = 800;
const IN_USE = 'The machine is using this drive.';

interface RunningSession {
  worker: Worker;
  slot: number;
  file: File;
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
  /** What there is to come back to: of the session that is on, or that a reload has cut off. */
  #claim: Claim | undefined = loadClaim();
  /** Why the file that was chosen again cannot be the one. */
  #wrong = '';

  readonly #drives = new PlatterDrives();
  readonly #disc = new PlatterDisc();
  readonly #picker = new PlatterPicker();
  readonly #drive = new PlatterDrive();
  readonly #waiting = new PlatterWaiting();
  readonly #siblings = new Siblings(
    () => this.#session && this.#claim?.ticket.token,
    (token) => this.#heldElsewhere(token),
  );
  readonly #remove = h(
    'button',
    { type: 'button', class: 'button', id: 'remove-kept', click: () => this.#removeKept() },
    'Remove it…',
  );
  readonly #status = h('p', { class: 'status', role: 'status' });
  readonly #notice = h('div', { class: 'notice', role: 'alert' });

  connectedCallback(): void {
    this.#drives.onchoose = (slot) => this.#chooseSlot(slot);
    this.#picker.onfile = (file) => void this.#chooseFile(file);
    this.#picker.onconnect = (kind) => this.#connect(kind);
    this.#drive.ondisconnect = () => void this.#disconnect();
    this.#drive.onretry = () => this.#say({ type: 'retry' });
    this.#waiting.onfile = (file) => void this.#chooseFile(file);
    this.#waiting.onremove = () => void this.#giveUp();
    this.append(
      h('header', {}, h('p', { class: 'brand' }, 'Platter'), this.#drives),
      h(
        'main',
        {},
        this.#disc,
        h(
          'div',
          { class: 'words' },
          this.#status,
          this.#notice,
          this.#remove,
          this.#waiting,
          this.#picker,
          this.#drive,
        ),
      ),
    );
    this.#acceptDrops();
    this.#watchPage();
    if (this.#claim) this.#siblings.ask(this.#claim.ticket.token);
    setInterval(() => void this.#poll(), POLL_INTERVAL);
    setInterval(() => this.#claim && !this.#session && this.#render(), 1000);
    void this.#poll();
    this.#render();
  }

  #watchPage(): void {
    window.addEventListener('beforeunload', (event) => {
      if (this.#session) event.preventDefault();
    });
    window.addEventListener('pagehide', () => {
      if (this.#claim) saveClaim({ ...this.#claim, lostAt: this.#claim.lostAt ?? Date.now() });
    });
    const retry = () => this.#say({ type: 'retry' });
    window.addEventListener('online', retry);
    window.addEventListener('pageshow', retry);
    document.addEventListener('resume', retry);
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') retry();
      void this.#poll();
    });
  }

  // The device -------------------------------------------------------------------------------------

  /** Not while hidden; in a session only for its counters: its own socket tells more, and sooner. */
  async #poll(): Promise<void> {
    if (document.visibilityState === 'hidden') return;
    if (this.#session && this.#session.facts.state !== 'serving') return;
    try {
      this.#slots = await fetchSlots();
      this.#unreachable = false;
      if (this.#claim && !this.#session) this.#checkClaim(this.#claim);
      const isThere = this.#slots.some(({ slot }) => slot === this.#chosenSlot);
      if (!isThere) this.#chosenSlot = (this.#freeSlot() ?? this.#slots[0])?.slot;
    } catch {
      this.#unreachable = true;
    }
    if (this.#session) this.#session.facts.line = this.#slot()?.line;
    this.#render();
  }

  /** A drive that is empty, or holds something else, is nothing to come back to. */
  #checkClaim(claim: Claim): void {
    this.#chosenSlot = claim.slot;
    const { medium, waiting } = this.#slot() ?? {};
    if (medium && isSame(claim, medium)) {
      // The device's own clock is the one that counts.
      if (waiting) claim.lostAt = lostSince(claim.ticket, waiting, Date.now());
      return;
    }
    const end = { cause: 'device' as const, code: 4006, reason: '', opened: true };
    this.#ending = describeEnd(end, claim.name, location.hostname);
    this.#forgetClaim();
  }

  #forgetClaim(): void {
    this.#claim = undefined;
    this.#wrong = '';
    dropClaim();
  }

  /** Another tab has this session: this one is a copy of it. */
  #heldElsewhere(token: string): void {
    if (this.#session || this.#claim?.ticket.token !== token) return;
    this.#forgetClaim();
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
    if (this.#claim) {
      this.#chooseAgain(this.#claim, file);
      return;
    }
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
    this.#begin(this.#chosenSlot, kind, file);
  }

  /** The file of a session that a reload has cut off, or what the person takes for it. */
  #chooseAgain(claim: Claim, file: File): void {
    this.#wrong = describeDifference(claim, file) ?? '';
    if (this.#wrong) {
      this.#render();
      return;
    }
    this.#siblings.tell(claim.ticket.token);
    const { ticket, lostAt = Date.now() } = claim;
    this.#begin(claim.slot, claim.kind, file, { ticket, lostAt });
  }

  #begin(slot: number, kind: Kind, file: File, back?: { ticket: Ticket; lostAt: number }): void {
    const worker = new Worker('worker.js');
    const { name, size } = file;
    const state = back ? 'resuming' : 'connecting';
    const facts = {
      locked: false,
      uri: '',
      bytesRead: 0,
      seconds: 0,
      outage: undefined,
      line: undefined,
    };
    this.#session = {
      worker,
      slot,
      file,
      facts: { ...facts, name, size, kind, state },
      samples: new Samples(),
      since: undefined,
    };
    this.#ending = undefined;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    worker.onerror = () => this.#end({ cause: 'device', code: 1006, reason: '', opened: false });
    const open = { type: 'open' as const, url: mediaUrl(location.href, slot, kind, file), file };
    this.#say(back ? { ...open, back } : open);
    this.#disc.clear();
    stayAwake();
    this.#render();
    this.#drive.focusDisconnect();
  }

  async #disconnect(): Promise<void> {
    const session = this.#session;
    if (session?.facts.locked && !(await ask(`${IN_USE} Remove it all the same?`, 'Remove it')))
      return;
    if (this.#session === session) this.#say({ type: 'close' });
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
        facts.locked = message.locked;
        facts.uri = message.uri || facts.uri;
        if (message.state === 'serving') session.since ??= performance.now();
        if (message.state !== 'suspended' && message.state !== 'absent') this.#lost(undefined);
        break;
      case 'ticket': {
        const { name, size, lastModified } = session.file;
        const { slot } = session;
        const { ticket } = message;
        this.#claim = { slot, kind: facts.kind, name, size, modified: lastModified, ticket };
        saveClaim(this.#claim);
        break;
      }
      case 'outage':
        this.#lost(message.outage);
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

  #lost(outage: Outage | undefined): void {
    if (!this.#session) return;
    this.#session.facts.outage = outage;
    if (this.#session.facts.state === 'serving') delete this.#claim?.lostAt;
    else if (this.#claim && outage) this.#claim.lostAt = outage.lostAt;
  }

  #end(end: SessionEnd): void {
    const session = this.#session;
    if (!session) return;
    session.worker.terminate();
    leaveQuestion();
    mayRest();
    this.#session = undefined;
    this.#ending = describeEnd(end, session.facts.name, location.hostname);
    if (this.#ending.forgetFile) this.#choice = undefined;
    // What the device could not read, or took for another image, may be chosen anew.
    const mayChoose = end.code === 4005 || (end.code === 4004 && end.back);
    if (this.#claim && !mayChoose) {
      if (isUntold(end)) void this.#tellEnd(this.#claim, this.#ending);
      this.#forgetClaim();
    }
    this.dataset.bytes = String(session.facts.bytesRead);
    this.dataset.cause = end.cause;
    this.dataset.code = String(end.code);
    this.dataset.reason = end.reason;
    this.#render();
    void this.#poll();
    setTimeout(() => void this.#poll(), SETTLE_TIME); // by then the device has put it all away
  }

  // Drives without a page --------------------------------------------------------------------------

  /** Ends on the device what has ended here without its knowing. */
  async #tellEnd(claim: Claim, ending: Ending): Promise<void> {
    if (!(await removeDrive(claim.slot, claim))) {
      const { ticket, lostAt = Date.now() } = claim;
      ending.text = describeUntold(outageNow(ticket, lostAt, Date.now(), 0).keep);
      ending.calm = false;
    }
    this.#render();
    void this.#poll();
  }

  /** The drive that waited for this page is given up. */
  async #giveUp(): Promise<void> {
    const claim = this.#claim;
    if (!claim || !(await this.#isSure(`Take “${claim.name}” out of the machine?`))) return;
    if (this.#claim !== claim) return;
    const end = { cause: 'person' as const, code: 1006, reason: '', opened: true };
    this.#ending = describeEnd(end, claim.name, location.hostname);
    this.#forgetClaim();
    await this.#tellEnd(claim, this.#ending);
  }

  /** Somebody else's drive, kept for a page that may never come back. */
  async #removeKept(): Promise<void> {
    const slot = this.#slot();
    if (!slot?.medium) return;
    const { name } = slot.medium;
    const question = `Take “${name}” out of the machine? The page that served it cannot come back to it then.`;
    if (!(await this.#isSure(question))) return;
    await removeDrive(slot.slot, slot.medium);
    void this.#poll();
  }

  #isSure(question: string): Promise<boolean> {
    return ask(this.#slot()?.locked ? `${IN_USE} ${question}` : question, 'Remove it');
  }

  // What is seen -----------------------------------------------------------------------------------

  #render(): void {
    const session = this.#session;
    const slot = this.#slot();
    const isFree = slot?.state === 'idle';
    const waiting = session ? undefined : this.#claim;
    this.dataset.state = session?.facts.state ?? this.#restingState();
    if (session) this.dataset.bytes = String(session.facts.bytesRead);
    const isBusy = session !== undefined || waiting !== undefined;
    this.toggleAttribute('data-locked', session?.facts.locked === true);
    this.#drives.update(this.#slots, this.#chosenSlot, isBusy);
    setText(this.#status, this.#statusWords(session, slot));
    this.#picker.hidden = isBusy;
    this.#drive.hidden = session === undefined;
    this.#waiting.hidden = waiting === undefined;
    this.#remove.hidden = isBusy || !slot || !isKept(slot);
    if (session) this.#drive.update(session.facts, session.samples);
    else if (waiting) this.#waiting.update(waiting, this.#wrong);
    else this.#picker.update(this.#choice, slot?.kind, isFree && !this.#unreachable);
    this.#showNotice(session === undefined, slot, isFree);
    document.title = this.#title(session);
  }

  #restingState(): string {
    if (this.#claim) return 'waiting';
    return this.#ending ? 'ended' : 'idle';
  }

  #statusWords(session: RunningSession | undefined, slot: Slot | undefined): string {
    if (session) return describeState(session.facts);
    if (this.#claim) return 'The drive waits for its file';
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
    } else if (isOut && slot && !isFree && !this.#claim) {
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
      const now = speed < 1 ? describeState(facts) : formatSpeed(speed);
      return `● ${now} · ${formatBytes(facts.bytesRead)} read · Platter`;
    }
    if (session) return `○ ${describeState(session.facts)} · Platter`;
    if (this.#claim) return `○ “${this.#claim.name}” waits for its file · Platter`;
    return this.#ending ? `${this.#ending.title} · Platter` : 'Platter';
  }
}

function inUse(slot: Slot): { title: string; text: string } {
  const { name, medium } = slot;
  if (!medium) return { title: `${name} is in use`, text: 'It will be free again in a moment.' };
  const what = `${formatBytes(medium.size)}, as a ${medium.kind === 'cd' ? 'CD' : 'disk'}`;
  if (isKept(slot)) {
    return {
      title: `“${medium.name}” waits in it for its page`,
      text: `The page that served it (${what}) has lost its connection or was closed. The drive is kept until that page is back, or you remove it.`,
    };
  }
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
customElements.define('platter-waiting', PlatterWaiting);
customElements.define('platter-app', PlatterApp);
