// SPDX-License-Identifier: Apache-2.0
// One headless Chromium with two tabs: Platter's page with a file picked, and the bench's own page
// that sends as fast as it goes.
//
//   node bench/browser.mjs --url URL --file PATH --sink URL
//
// Commands, one a line on stdin; each is answered with one line of JSON:
//   connect              {"serving":true}
//   disconnect           {"idle":true}
//   send BYTES MESSAGE   {"sent":true}
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const require = createRequire(new URL('../web/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const WAIT = 120_000;

const option = { type: 'string' };
const { values } = parseArgs({ options: { url: option, file: option, sink: option } });
const browser = await chromium.launch({
  executablePath: process.env.PLATTER_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    ...(process.getuid() === 0 || process.env.PLATTER_NO_SANDBOX === '1' ? ['--no-sandbox'] : []),
    '--disable-gpu',
    '--disable-background-networking',
    '--no-first-run',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
  ],
});

const platter = await browser.newPage();
await platter.goto(values.url);
await platter.locator('#file').setInputFiles(values.file);
await platter.locator('input[name=kind][value=disk]').check({ force: true });
const bare = await browser.newPage();
await bare.goto(values.sink);

const state = (wanted) => platter.waitForSelector(`platter-app[data-state=${wanted}]`, { timeout: WAIT });

const commands = {
  async connect() {
    await platter.locator('button[type=submit]:enabled').click({ timeout: WAIT });
    await state('serving');
    return { serving: true };
  },
  async disconnect() {
    await platter.locator('#disconnect').click({ timeout: WAIT });
    await state('ended');
    return { idle: true };
  },
  async send(bytes, message) {
    await bare.evaluate(([b, m]) => globalThis.send(b, m), [Number(bytes), Number(message)]);
    return { sent: true };
  },
};

process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [word, ...rest] = line.trim().split(/\s+/);
  process.stdout.write(`${JSON.stringify(await commands[word](...rest))}\n`);
}
await browser.close();
