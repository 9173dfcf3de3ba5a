// SPDX-License-Identifier: Apache-2.0
// The built page (web/dist) in a real headless Chromium, before a pretended device: what a person
// sees in each case. Files really change on disk here.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newSlot, startDevice } from './fake-device.mjs';

const MiB = 1 << 20;
const executablePath = process.env.PLATTER_CHROMIUM ?? '/usr/bin/chromium';
const noSandbox = process.getuid() === 0 || process.env.PLATTER_NO_SANDBOX === '1';
const WAIT = { timeout: 25_000 };

let browser;
let device;
let page;
let directory;
let complaints;

beforeAll(async () => {
  if (!existsSync(new URL('../../../dist/index.html', import.meta.url))) {
    throw new Error('web/dist is not there; run "npm run build" first.');
  }
  if (!existsSync(executablePath))
    throw new Error(`There is no ${executablePath}; install chromium.`);
  const flags = ['--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'];
  flags.push('--no-first-run', '--disable-component-update', '--disable-sync');
  if (noSandbox) flags.push('--no-sandbox');
  browser = await chromium.launch({ executablePath, args: flags });
}, 60_000);

afterAll(() => browser?.close());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'platter-page-'));
  device = await startDevice(0);
  page = await browser.newPage();
  complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy|CSP/.test(message.text())) complaints.push(message.text());
  });
});

afterEach(async () => {
  await page.close();
  device.close();
  await rm(directory, { recursive: true });
  expect(complaints).toEqual([]);
});

async function image(name, head = '', size = 32 * MiB) {
  const path = join(directory, name);
  await writeFile(
    path,
    Buffer.alloc(64 * 1024, 7).fill(head, 0, Buffer.byteLength(head, 'latin1'), 'latin1'),
  );
  await truncate(path, size);
  return path;
}

const state = (wanted) =>
  page.waitForFunction(
    (now) => document.querySelector('platter-app')?.dataset.state === now,
    wanted,
    WAIT,
  );
const bytesRead = (least) =>
  page.waitForFunction(
    (now) => Number(document.querySelector('platter-app').dataset.bytes) >= now,
    least,
    WAIT,
  );
const pick = (path) => page.locator('#file').setInputFiles(path);
const connect = () => page.getByRole('button', { name: 'Connect', exact: true }).click(WAIT);
const answer = (name) => page.locator('dialog').getByRole('button', { name }).click(WAIT);
const notice = () => page.locator('div.notice').textContent(WAIT);

async function open() {
  await page.goto(`http://127.0.0.1:${device.port}/`);
  await page.getByText('Drive 1 is empty').waitFor(WAIT);
}

async function serve(path) {
  await open();
  await pick(path);
  await connect();
  await state('serving');
}

describe('choosing', () => {
  test('a CD image is offered as a CD, as a disk if the person wants', async () => {
    const path = await image('größe 100%.iso');
    const bytes = Buffer.from('\x01CD001\x01', 'latin1');
    const { open: openFile } = await import('node:fs/promises');
    const file = await openFile(path, 'r+');
    await file.write(bytes, 0, bytes.length, 32768);
    await file.close();
    await open();
    await pick(path);
    await page.getByText('33.6 MB · CD image').waitFor(WAIT);
    expect(await page.getByRole('radio', { name: 'CD' }).isChecked()).toBe(true);
    await page.getByRole('radio', { name: 'Disk' }).check({ force: true });
    await connect();
    await state('serving');
    expect(device.sessions[0]).toMatchObject({ name: 'größe 100%.iso', kind: 'disk' });
  });

  test('a drive of one kind takes no other', async () => {
    device.slots = [
      { ...newSlot(0, 'Disks'), drive: 'disk' },
      { ...newSlot(1, 'CDs'), drive: 'cd' },
    ];
    const path = await image('x.img');
    await page.goto(`http://127.0.0.1:${device.port}/`);
    await pick(path);
    await page.getByText('This drive takes disks').waitFor(WAIT);
    const [cd, disk] = ['CD', 'Disk'].map((name) => page.getByRole('radio', { name, exact: true }));
    expect([await disk.isChecked(), await disk.isEnabled()]).toEqual([true, true]);
    expect(await cd.isEnabled()).toBe(false);
    await page.getByRole('radio', { name: 'CDs' }).check({ force: true, ...WAIT });
    await page.getByText('This drive takes CDs').waitFor(WAIT);
    expect([await cd.isChecked(), await disk.isEnabled()]).toEqual([true, false]);
    await connect();
    await state('serving');
    expect(device.sessions[0]).toMatchObject({ kind: 'cd', name: 'x.img' });
  });

  test('a compressed image is refused in one sentence, and never connected', async () => {
    await open();
    await pick(await image('x.img', '\xfd7zXZ\0'));
    await page.getByText('This is an xz archive, which the machine could not read').waitFor(WAIT);
    expect(await page.getByRole('button', { name: 'Connect', exact: true }).count()).toBe(0);
  });

  test('a file can be dropped anywhere', async () => {
    await open();
    await page.evaluate(() => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(4096).fill(1)], 'dropped.img'));
      const event = { dataTransfer: data, bubbles: true, cancelable: true };
      document.body.dispatchEvent(new DragEvent('drop', event));
    });
    await page.getByRole('heading', { name: 'dropped.img' }).waitFor(WAIT);
  });

  test('everything can be done from the keyboard', async () => {
    await open();
    await pick(await image('x.img'));
    await page.locator('button[type=submit]:focus').waitFor(WAIT);
    await page.keyboard.press('Enter');
    await state('serving');
    await page.locator('#disconnect:focus').waitFor(WAIT);
    await page.keyboard.press('Enter');
    await state('ended');
  });
});

describe('a session', () => {
  test('shows what is read, and where programs find it', async () => {
    await serve(await image('x.img'));
    await bytesRead(4 * MiB);
    expect(await page.locator('#uri').inputValue()).toBe(
      'nbd+unix:///?socket=/run/platter/slot0.sock',
    );
    expect(await page.locator('platter-disc path.read4').count()).toBeGreaterThan(5);
    await page.waitForFunction(() => /^● .* read · Platter$/.test(document.title), null, WAIT);
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor(WAIT);
  });

  test('Disconnect says goodbye with 1000, and the next session works', async () => {
    await serve(await image('x.img'));
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await state('ended');
    expect(await notice()).toContain('Disconnected');
    await expect.poll(() => device.sessions[0].closed?.code).toBe(1000);
    await connect();
    await state('serving');
    expect(device.sessions.length).toBe(2);
  });

  test('leaving asks first', async () => {
    await serve(await image('x.img'));
    const asked = new Promise((resolve) => page.once('dialog', resolve));
    await page.evaluate(() => setTimeout(() => location.reload(), 0));
    const dialog = await asked;
    expect(dialog.type()).toBe('beforeunload');
    await dialog.dismiss();
    await state('serving');
  });

  const closings = [
    [4001, 'The tray was opened.', 'Ejected by the machine'],
    [4002, 'It is larger than 2.36 GB; offer it as a disk.', 'The device refused this image'],
    [4004, 'The helper is gone.', 'Something failed on the device'],
    [1001, 'platterd is stopping.', 'The device is stopping'],
  ];
  for (const [code, reason, title] of closings) {
    test(`the device closes with ${code}: its reason is shown`, async () => {
      await serve(await image('x.img'));
      device.sessions[0].socket.close(code, reason);
      await state('ended');
      expect(await notice()).toContain(title);
      expect(await notice()).toContain(reason);
    });
  }

  test('a line that breaks to a device that keeps no drives is told from a goodbye', async () => {
    device.ticket = null;
    await serve(await image('x.img'));
    device.sessions[0].socket.cut();
    await state('ended');
    expect(await notice()).toContain('The connection was lost');
  });
});

describe('a line that is lost', () => {
  const words = () => page.locator('.outage').textContent(WAIT);
  /** Cut off from the device until answering is true again. */
  async function lose(path) {
    await serve(path);
    await bytesRead(MiB);
    device.answering = false;
    device.sessions.at(-1).socket.cut();
  }

  test('is taken up again, and the machine reads on where it was', async () => {
    await serve(await image('x.img'));
    await bytesRead(MiB);
    for (let cut = 1; cut <= 3; cut++) {
      device.sessions.at(-1).socket.cut();
      await expect.poll(() => device.sessions.length, WAIT).toBe(cut + 1);
      const before = device.sessions[cut - 1].reader.offset;
      await expect.poll(() => device.sessions[cut].reader.offset, WAIT).toBeGreaterThan(before);
      await state('serving');
    }
    const { query, texts } = device.sessions[3];
    expect(query.resume).toMatch(/^[0-9a-f]{32}$/);
    expect(query.modified).toMatch(/^\d{13}$/);
    expect(JSON.parse(texts[0])).toEqual({ alive: true });
    expect(await page.locator('.outage').isVisible()).toBe(false);
  });

  test('while it lasts the page says what the machine does, and tries', async () => {
    await lose(await image('x.img'));
    await state('suspended');
    await page.getByText('Connection lost; the machine waits').waitFor(WAIT);
    expect(await words()).toMatch(/The machine waits another 2\d\s+s before its reads fail/);
    await page.waitForFunction(() => /Connection lost/.test(document.title), null, WAIT);
    await page.getByText(/Next try in \d\s+s/).waitFor(WAIT);
    device.answering = true;
    await state('serving');
    expect(await page.locator('platter-drive h1').textContent()).toBe('x.img');
  });

  test('Try now and a network that is back do not wait for the next turn', async () => {
    await lose(await image('x.img'));
    await state('suspended');
    await page.getByText(/Next try in 3\s+s/).waitFor(WAIT);
    device.answering = true;
    const start = Date.now();
    await page.getByRole('button', { name: 'Try now' }).click();
    await state('serving');
    expect(Date.now() - start).toBeLessThan(2000);
    device.answering = false;
    device.sessions.at(-1).socket.cut();
    await page.getByText(/Next try in 3\s+s/).waitFor(WAIT);
    device.answering = true;
    await page.evaluate(() => window.dispatchEvent(new Event('online')));
    await state('serving');
  });

  test('one that goes silent is given up without waiting for its close', async () => {
    await serve(await image('x.img'));
    await bytesRead(MiB);
    device.sessions[0].socket.stall();
    await expect.poll(() => device.sessions.length, WAIT).toBe(2);
    await state('serving');
  });

  test('after the grace reads fail, after the keep time it is over', async () => {
    device.ticket = { grace: 1, keep: 600 };
    await lose(await image('x.img'));
    await state('absent');
    expect(await words()).toMatch(/reads fail until this page is back.*kept for another 10\s+min/);
    device.answering = true;
    await state('serving');
    device.turnAway = [4006, 'That session is over.'];
    device.sessions.at(-1).socket.cut();
    await state('ended');
    expect(await notice()).toContain('The drive is gone');
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  });

  test('Disconnect takes the drive out as soon as the device can be told', async () => {
    await lose(await image('x.img'));
    await state('suspended');
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await state('ended');
    await page.getByText('keeps the drive for another 1 h').waitFor(WAIT);
    device.answering = true;
    await page.getByRole('button', { name: 'Remove it…' }).click(WAIT);
    await answer('Remove it');
    await expect.poll(() => device.slots[0].state, WAIT).toBe('idle');
    await connect();
    await state('serving');
  });

  test('Disconnect where only the socket is lost takes it out at once', async () => {
    await serve(await image('x.img'));
    device.answering = 'never';
    device.sessions[0].socket.cut();
    await state('suspended');
    device.answering = true;
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await state('ended');
    await expect.poll(() => device.slots[0].state, WAIT).toBe('idle');
    expect(await notice()).toContain('The drive is out of the machine');
  });

  test('a file that changes meanwhile ends it', async () => {
    const path = await image('x.img');
    await lose(path);
    await state('suspended');
    await truncate(path, 5 * MiB);
    device.answering = true;
    await state('ended');
    expect(await notice()).toContain('The file changed on disk');
    await expect.poll(() => device.slots[0].state, WAIT).toBe('idle');
  });
});

describe('a drive that the machine has locked', () => {
  const disconnect = () => page.getByRole('button', { name: 'Disconnect' }).click(WAIT);
  beforeEach(async () => {
    await serve(await image('x.img'));
    device.sessions[0].lock(true);
    await page.getByText('The machine uses the drive (locked)').waitFor(WAIT);
  });

  test('is taken out only when the person is sure', async () => {
    await disconnect();
    const question = page.getByText('The machine is using this drive. Remove it all the same?');
    await question.waitFor(WAIT);
    await page.keyboard.press('Escape');
    await question.waitFor({ state: 'detached', ...WAIT });
    await page.locator('#disconnect:focus').waitFor(WAIT);
    await disconnect();
    await answer('Keep it');
    expect(device.sessions[0].closed).toBe(null);
    await disconnect();
    await answer('Remove it');
    await state('ended');
    expect(device.sessions[0].closed).toMatchObject({ code: 1000 });
  });

  test('is not asked about once the machine lets go', async () => {
    device.sessions[0].lock(false);
    await page.getByText('In the drive').waitFor(WAIT);
    await disconnect();
    await state('ended');
  });

  test('the question goes when the machine ejects it meanwhile', async () => {
    await disconnect();
    await page.locator('dialog').waitFor(WAIT);
    device.sessions[0].socket.close(4001, 'The machine ejected the drive.');
    await state('ended');
    expect(await page.locator('dialog').count()).toBe(0);
    expect(await notice()).toContain('The machine ejected the drive.');
  });

  test('is taken out while the line is lost, when the person is sure', async () => {
    device.answering = 'never';
    device.sessions[0].socket.cut();
    await state('suspended');
    device.answering = true;
    await disconnect();
    await answer('Remove it');
    await state('ended');
    await expect.poll(() => device.slots[0].state, WAIT).toBe('idle');
  });
});

describe('a page that is loaded anew', () => {
  const again = (path) => page.locator('#again').setInputFiles(path);
  async function reload(path) {
    await serve(path);
    await bytesRead(MiB);
    page.once('dialog', (dialog) => dialog.accept());
    await page.reload();
    await state('waiting');
  }

  test('asks for the file again, and the machine reads on where it was', async () => {
    const path = await image('x.img');
    await reload(path);
    await page.getByRole('heading', { name: 'x.img' }).waitFor(WAIT);
    await page.getByText(/The machine waits another \d+\s+s/).waitFor(WAIT);
    const before = device.sessions[0].reader.offset;
    await again(path);
    await state('serving');
    await expect.poll(() => device.sessions.at(-1).reader.offset, WAIT).toBeGreaterThan(before);
    expect(device.sessions.length).toBe(2);
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await state('ended');
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  });

  test('another file is not taken for it', async () => {
    const path = await image('x.img');
    await reload(path);
    await again(await image('y.img'));
    await page.getByText('“y.img” is another file; choose “x.img”.').waitFor(WAIT);
    await truncate(path, 5 * MiB);
    await again(path);
    await page.getByText('This “x.img” has 5.24 MB, the one in the drive 33.6 MB').waitFor(WAIT);
    await truncate(path, 32 * MiB);
    await utimes(path, new Date(), new Date(Date.now() + 60_000));
    await again(path);
    await page.getByText('“x.img” has been changed since').waitFor(WAIT);
    expect(device.sessions.length).toBe(1);
  });

  test('what the device does not take for it can be chosen anew', async () => {
    const path = await image('x.img');
    await reload(path);
    device.turnAway = [4005, 'This is not the image that the drive began with.'];
    await again(path);
    await page.getByText('This is not the image that the drive began with.').waitFor(WAIT);
    await state('waiting');
    device.turnAway = null;
    await again(path);
    await state('serving');
  });

  test('the drive can be given up', async () => {
    await reload(await image('x.img'));
    await page.getByRole('button', { name: 'Remove the drive' }).click();
    await answer('Remove it');
    await page.getByText('Drive 1 is empty').waitFor(WAIT);
    expect(await notice()).toContain('The drive is out of the machine');
    expect(device.ended).toEqual([0]);
  });

  test('a drive that was taken out meanwhile is not waited for', async () => {
    await reload(await image('x.img'));
    device.slots = [newSlot(0, 'Drive 1')];
    await state('ended');
    expect(await notice()).toContain('The drive is gone');
  });

  test('a copy of the tab does not claim the drive', async () => {
    await serve(await image('x.img'));
    const claim = await page.evaluate(() => sessionStorage.getItem('platter-session'));
    const [copy] = await Promise.all([
      page.waitForEvent('popup'),
      page.evaluate(() => void window.open('about:blank')),
    ]);
    await copy.addInitScript((text) => sessionStorage.setItem('platter-session', text), claim);
    await copy.goto(`http://127.0.0.1:${device.port}/`);
    await copy.getByText('“x.img” is in it').waitFor(WAIT);
    await copy.close();
    await state('serving');
  });
});

describe('a file that changes while it is served', () => {
  const changes = [
    ['is appended to', async (path) => writeFile(path, 'more', { flag: 'a' })],
    ['is cut', async (path) => truncate(path, 5 * MiB)],
    ['is deleted', async (path) => rm(path)],
    ['is moved away', async (path) => rename(path, `${path}.old`)],
    [
      'is written anew',
      async (path) =>
        execFileSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', 'count=32', 'status=none']),
    ],
    ['gets another date', async (path) => utimes(path, new Date(), new Date(Date.now() + 60_000))],
  ];
  for (const [name, change] of changes) {
    test(`${name}: an orderly end, plain words`, async () => {
      const path = await image('x.img');
      await serve(path);
      await bytesRead(MiB);
      await change(path);
      await state('ended');
      expect(await notice()).toContain('The file changed on disk');
      expect(await notice()).toContain('choose the file again');
      await expect.poll(() => device.sessions[0].closed?.code).toBe(4100);
      await page.getByRole('heading', { name: 'Choose an image' }).waitFor(WAIT);
    });
  }
});

describe('the drives', () => {
  test('a drive that is in use says what is in it, and becomes free by itself', async () => {
    const medium = { name: 'other.iso', kind: 'cd', size: 12e6, read_only: true };
    device.slots = [{ ...newSlot(0, 'Drive 1'), state: 'serving', medium }];
    await page.goto(`http://127.0.0.1:${device.port}/`);
    await page.getByText('“other.iso” is in it').waitFor(WAIT);
    await pick(await image('x.img'));
    const button = page.getByRole('button', { name: 'Connect', exact: true });
    await button.waitFor(WAIT);
    expect(await button.isDisabled()).toBe(true);
    device.slots = [newSlot(0, 'Drive 1')];
    await expect.poll(() => button.isDisabled(), WAIT).toBe(false);
  });

  test('a drive that waits for another page can be removed, once the person is sure', async () => {
    const medium = { name: 'other.iso', kind: 'cd', size: 12e6, read_only: true };
    device.slots = [{ ...newSlot(0, 'Drive 1'), state: 'absent', medium }];
    await page.goto(`http://127.0.0.1:${device.port}/`);
    await page.getByText('“other.iso” waits in it for its page').waitFor(WAIT);
    const remove = page.getByRole('button', { name: 'Remove it…' });
    await remove.click();
    await answer('Keep it');
    expect(device.ended).toEqual([]);
    device.slots[0].locked = true;
    await page.waitForResponse('**/api/slots');
    await remove.click();
    await page.getByText('The machine is using this drive. Take “other.iso” out').waitFor(WAIT);
    await answer('Remove it');
    await page.getByText('Drive 1 is empty').waitFor(WAIT);
    expect(await remove.isVisible()).toBe(false);
  });

  test('of several drives one is chosen', async () => {
    device.slots = [newSlot(0, 'Upper'), newSlot(1, 'Lower')];
    await page.goto(`http://127.0.0.1:${device.port}/`);
    await page.getByRole('radio', { name: 'Lower' }).check({ force: true, ...WAIT });
    await pick(await image('x.img'));
    await connect();
    await state('serving');
    expect(device.slots[1].state).toBe('serving');
  });

  test('a device that does not answer is said, and found again', async () => {
    device.answering = false;
    await page.goto(`http://127.0.0.1:${device.port}/`);
    await page.getByText('This page cannot reach the device').waitFor(WAIT);
    device.answering = true;
    await page.getByText('Drive 1 is empty').waitFor(WAIT);
  });
});
