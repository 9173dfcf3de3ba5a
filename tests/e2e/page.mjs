// SPDX-License-Identifier: Apache-2.0
// Plays the person in front of the page, in a real headless Chromium, for tests in any language.
//
//   node tests/e2e/page.mjs --url URL --file PATH [--kind disk|cd] [--slot N] [--wait SECONDS]
//
// Opens the page, picks the file, chooses what it is (the page's own suggestion without --kind),
// connects. Prints one JSON line for everything that changes:
//   {"state":"serving","locked":false,"bytes":1234,"uri":"…"}
//       state: idle, connecting, opening, attaching, serving, closing; suspended, absent, resuming
//   {"state":"ended","cause":"device","code":4001,"reason":"…","title":"…","text":"…"}
//   {"state":"waiting","wrong":"…", and as "ended"}     after a reload, for the file to be chosen again
//   {"refused":"This is an xz archive, …"}         the page will not connect this file; ends with 3
//   {"blocked":"…"}                                the slot is in use; waits until it is free
// Commands, one a line on stdin:
//   disconnect · connect · retry · reload · again PATH · remove · close-tab · state
//   screenshot PATH · quit
// "close-tab", "quit" and the end of stdin end it with 0. What cannot be done ends it with 1 and one
// sentence on stderr. PLATTER_CHROMIUM names another browser; PLATTER_NO_SANDBOX=1 is for
// containers, and implied for root.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const POLL = 100;

class Failure extends Error {}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function readArguments() {
  const option = { type: 'string' };
  const { values } = parseArgs({
    options: { url: option, file: option, kind: option, slot: option, wait: option },
  });
  if (!values.url || !values.file) throw new Failure('page.mjs needs --url URL and --file PATH.');
  if (values.kind && !['disk', 'cd'].includes(values.kind)) {
    throw new Failure(`--kind is "disk" or "cd", not "${values.kind}".`);
  }
  if (!existsSync(values.file)) throw new Failure(`There is no file ${values.file}.`);
  return { ...values, wait: Number(values.wait ?? 30) * 1000 };
}

async function launch() {
  let playwright;
  try {
    playwright = require('playwright-core');
  } catch {
    throw new Failure('playwright-core is not installed; run "npm ci" in web/.');
  }
  const executablePath = process.env.PLATTER_CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Failure(`There is no ${executablePath}; install the package "chromium".`);
  }
  const noSandbox = process.getuid() === 0 || process.env.PLATTER_NO_SANDBOX === '1';
  return playwright.chromium.launch({
    executablePath,
    args: [
      ...(noSandbox ? ['--no-sandbox'] : []),
      '--disable-gpu',
      '--disable-background-networking',
      '--no-first-run',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
    ],
  });
}

/** What the page shows now; runs inside the page. */
function look() {
  const app = document.querySelector('platter-app');
  if (!app?.dataset.state) return null;
  const text = (selector) => {
    const element = app.querySelector(selector);
    return element && !element.hidden ? element.textContent : '';
  };
  return {
    state: app.dataset.state,
    locked: app.dataset.locked !== undefined,
    bytes: Number(app.dataset.bytes ?? 0),
    cause: app.dataset.cause,
    code: Number(app.dataset.code),
    reason: app.dataset.reason,
    wrong: text('platter-waiting p.notice'),
    title: text('div.notice strong'),
    text: text('div.notice span'),
    refused: text('platter-picker p.notice'),
    uri: app.querySelector('#uri')?.value ?? '',
    canConnect: app.querySelector('button[type=submit]:enabled:not([hidden])') !== null,
  };
}

class Driver {
  #options;
  #page;
  #last = '';
  #blocked = '';

  constructor(options, page) {
    this.#options = options;
    this.#page = page;
    page.on('pageerror', (error) => print({ pageError: String(error) }));
    page.on('dialog', (dialog) => dialog.accept().catch(() => {}));
  }

  /** Opens the page and picks the file. */
  async open() {
    const { url, file, kind, slot, wait } = this.#options;
    await this.#page.goto(url, { timeout: wait }).catch((error) => {
      throw new Failure(`The page at ${url} does not open: ${error.message.split('\n')[0]}.`);
    });
    await this.#page.locator('#file').setInputFiles(file, { timeout: wait });
    await this.#until(
      ({ canConnect, refused, title }) => canConnect || refused || title,
      'the file is judged',
    );
    const { refused } = await this.#look();
    if (refused) {
      print({ refused });
      return false;
    }
    if (slot !== undefined) await this.#check(`input[name=drive][value="${slot}"]`, true);
    if (kind) await this.#check(`input[name=kind][value=${kind}]`, false);
    return true;
  }

  async #check(selector, mayBeAbsent) {
    const radio = this.#page.locator(selector);
    if (mayBeAbsent && (await radio.count()) === 0) return; // one drive only: no choice to make
    await radio.check({ timeout: this.#options.wait, force: true });
  }

  async connect() {
    await this.#until((now) => {
      if (!now.canConnect && now.title && now.text !== this.#blocked) {
        this.#blocked = now.text;
        print({ blocked: `${now.title}: ${now.text}` });
      }
      return now.canConnect;
    }, 'the drive is free');
    this.#last = '';
    await this.#page.locator('button[type=submit]').click({ timeout: this.#options.wait });
  }

  /** Prints what has changed since the last time. */
  async report(always = false) {
    const { state, locked, bytes, cause, code, reason, title, text, wrong, uri } =
      await this.#look();
    let line = { state, locked, bytes, uri };
    if (state === 'ended') line = { state, bytes, cause, code, reason, title, text };
    if (state === 'waiting') line = { state, wrong, code, reason, title, text };
    const key = JSON.stringify(line);
    if (key === this.#last && !always) return;
    this.#last = key;
    print(line);
  }

  /** Where the page asks first, as of a drive that the machine has locked, the answer is yes. */
  async #press(selector) {
    const yes = this.#page.locator('dialog button.main');
    await this.#page.locator(selector).click({ timeout: this.#options.wait });
    if ((await yes.count()) > 0) await yes.click({ timeout: this.#options.wait });
  }

  /** @returns false when it is time to go */
  async command(line) {
    const [word, ...rest] = line.trim().split(/\s+/);
    switch (word) {
      case '':
        return true;
      case 'state':
        await this.report(true);
        return true;
      case 'disconnect':
        await this.#press('#disconnect');
        return true;
      case 'retry':
        await this.#page.locator('#retry').click({ timeout: this.#options.wait });
        return true;
      case 'again':
        await this.#page.locator('#again').setInputFiles(rest.join(' '));
        return true;
      case 'remove':
        await this.#press('#remove');
        return true;
      case 'connect':
        await this.connect();
        return true;
      case 'reload':
        await this.#page.reload({ timeout: this.#options.wait });
        return true;
      case 'screenshot':
        await this.#page.screenshot({ path: rest.join(' ') });
        print({ screenshot: rest.join(' ') });
        return true;
      case 'close-tab':
        await this.#page.close();
        print({ closed: true });
        return false;
      case 'quit':
        return false;
      default:
        throw new Failure(`page.mjs does not know the command "${word}".`);
    }
  }

  async #look() {
    const now = await this.#page.evaluate(look);
    if (!now) throw new Failure(`The page at ${this.#options.url} is not Platter's.`);
    return now;
  }

  async #until(condition, what) {
    const end = Date.now() + this.#options.wait;
    for (;;) {
      const now = await this.#look();
      if (condition(now)) return now;
      if (Date.now() > end) {
        const said = [now.title, now.text].filter(Boolean).join(': ') || now.state;
        throw new Failure(
          `After ${this.#options.wait / 1000} s still not: ${what} (the page says: ${said}).`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  }
}

async function run(browser, options) {
  const page = await browser.newPage();
  const driver = new Driver(options, page);
  if (!(await driver.open())) return 3;
  await driver.connect();
  const commands = [];
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => commands.push(line));
  input.on('close', () => commands.push('quit'));
  for (;;) {
    await driver.report();
    const line = commands.shift();
    if (line !== undefined && !(await driver.command(line))) return 0;
    if (line === undefined) await new Promise((resolve) => setTimeout(resolve, POLL));
    if (!browser.isConnected()) throw new Failure('The browser has gone.');
  }
}

let browser;
let code = 1;
try {
  const options = readArguments();
  browser = await launch();
  code = await run(browser, options);
} catch (error) {
  process.stderr.write(
    `${error instanceof Failure ? error.message : String(error).split('\n')[0]}\n`,
  );
}
await browser?.close().catch(() => {});
process.exit(code);
