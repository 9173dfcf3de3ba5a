// SPDX-License-Identifier: Apache-2.0
import { afterEach, describe, expect, test, vi } from 'vitest';
import { retryDelay } from '../src/backoff.js';
import {
  type Claim,
  describeDifference,
  dropClaim,
  loadClaim,
  parseClaim,
  saveClaim,
} from '../src/claim.js';
import { describeEnd, describeUntold, isUntold, mayComeBack } from '../src/endings.js';
import { formatBytes, formatRoundTrip, formatSpeed, formatTime } from '../src/format.js';
import type { EndCause, SessionEnd } from '../src/messages.js';
import { describeNext, describeWait, isOver, lostSince, outageNow } from '../src/outage.js';
import { isKept, isSame, mediaUrl, parseSlots } from '../src/slots.js';
import { parseWord } from '../src/words.js';

const plain = (text: string) => text.replace(/\u00a0/g, ' ');

test('numbers, as people read them', () => {
  const sizes: [number, string][] = [
    [0, '0 bytes'],
    [1, '1 byte'],
    [999, '999 bytes'],
    [1000, '1.00 KB'],
    [9999, '10.0 KB'],
    [99_960, '100 KB'],
    [999_400, '999 KB'],
    [999_500, '1.00 MB'],
    [694_157_312, '694 MB'],
    [4_700_000_000, '4.70 GB'],
    [2 ** 53, '9.01 PB'],
  ];
  for (const [bytes, text] of sizes) expect(formatBytes(bytes)).toBe(text.replace(' ', '\u00a0'));
  expect(formatSpeed(0)).toBe('at rest');
  expect(formatSpeed(12.4e6)).toBe('12.4\u00a0MB/s');
  expect(
    [0, 59.9, 60, 3599, 3600, 45_296].map(formatTime).map((t) => t.replace(/\u00a0/g, ' ')),
  ).toEqual(['0 s', '59 s', '1 min', '59 min', '1 h 00 min', '12 h 34 min']);
  expect([0.00042, 0.0214, 0.1].map(formatRoundTrip).map(plain)).toEqual([
    '0.4 ms',
    '21 ms',
    '100 ms',
  ]);
});

describe('a lost line', () => {
  const ticket = { token: 'x', grace: 25, keep: 3600 };

  test('is tried at once, then ever more seldom, and never all pages together', () => {
    const at = (tries: number, outage: number) => retryDelay(tries, outage, () => 0);
    expect([0, 1, 2, 3, 4, 5, 40].map((tries) => at(tries, 60_000))).toEqual([
      0, 500, 1000, 2000, 3000, 3000, 3000,
    ]);
    expect([119_999, 120_000, 599_999, 600_000].map((outage) => at(30, outage))).toEqual([
      3000, 10_000, 10_000, 30_000,
    ]);
    expect(at(0, 600_000)).toBe(0);
    expect(retryDelay(4, 0, () => 1)).toBe(2250);
  });

  test('the countdown is that of the device', () => {
    const at = (gone: number, next = 0) => outageNow(ticket, 1000, 1000 + gone, next);
    expect(at(0)).toEqual({ lostAt: 1000, next: 0, grace: 25_000, keep: 3_625_000 });
    expect(plain(describeWait(at(7001)))).toBe(
      'The machine waits another 18 s before its reads fail.',
    );
    expect(plain(describeWait(at(25_000)))).toBe(
      'The machine’s reads fail until this page is back; the drive is kept for another 1 h 00 min.',
    );
    expect(plain(describeNext(at(0, 1001)))).toBe('Next try in 2 s.');
    expect(describeNext(at(0, -5))).toBe('Trying now…');
    for (const gone of [0, 9000, 25_000, 60_000]) {
      const { grace, keep } = at(gone);
      const left = { grace: grace / 1000, keep: Math.min(keep / 1000, 3600) };
      expect(lostSince(ticket, left, 1000 + gone)).toBe(1000);
    }
    expect(at(-5000).grace).toBe(25_000); // a clock that was set back
    expect([3_640_000, 3_640_001].map((gone) => isOver(ticket, 0, gone))).toEqual([false, true]);
  });

  test('is a pause or the end, by how it was lost', () => {
    const by = (cause: EndCause, code: number) => mayComeBack({ cause, code });
    for (const code of [1002, 1003, 1005, 1006, 1009, 1011, 1012, 1013, 1015]) {
      expect(by('device', code), String(code)).toBe(true);
    }
    for (const code of [1000, 1001, 4001, 4002, 4003, 4004, 4005, 4006, 4999]) {
      expect(by('device', code), String(code)).toBe(false);
    }
    expect([by('silence', 1006), by('protocol', 4102)]).toEqual([true, true]);
    expect([by('person', 1006), by('file', 1006), by('time', 1006)]).toEqual([false, false, false]);
  });

  test('an end that the device has not heard of is known', () => {
    const untold = (cause: EndCause, code: number) =>
      isUntold({ cause, code, reason: '', opened: true });
    expect([untold('person', 1000), untold('file', 4100), untold('device', 4001)]).toEqual([
      false,
      false,
      false,
    ]);
    expect([untold('person', 1006), untold('file', 1006), untold('protocol', 4102)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(plain(describeUntold(3_599_500))).toMatch(/another 1 h 00 min/);
  });
});

describe("the device's words", () => {
  const token = '00112233445566778899aabbccddeeff';
  test('are taken as far as they are understood', () => {
    expect(parseWord('{"state":"serving","uri":"nbd:x","new":1}')).toEqual({
      state: 'serving',
      uri: 'nbd:x',
      reason: '',
      locked: false,
    });
    expect(parseWord('{"state":"returning"}')?.state).toBe('resuming');
    const isLocked = (locked: unknown) =>
      parseWord(JSON.stringify({ state: 'serving', locked }))?.locked;
    expect([true, false, 1, 'true', null].map(isLocked)).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
    const ticket = { token, grace: 25, keep: 0 };
    expect(parseWord(JSON.stringify({ state: 'opening', ...ticket }))?.ticket).toEqual(ticket);
    const bad = [{ token: 7 }, { token: '../../x' }, { grace: -1 }, { keep: '1' }, { keep: 1e9 }];
    for (const wrong of bad) {
      const word = parseWord(JSON.stringify({ state: 'opening', ...ticket, ...wrong }));
      expect(word).toEqual({ state: 'opening', uri: '', reason: '', locked: false });
    }
    for (const noise of ['', '[', 'null', '1', '{}', '{"state":"constructor"}', '{"state":1}']) {
      expect(parseWord(noise)).toBeUndefined();
    }
  });
});

describe('what a reload leaves', () => {
  afterEach(() => vi.unstubAllGlobals());
  const claim: Claim = {
    slot: 1,
    kind: 'cd',
    name: 'x.iso',
    size: 700e6,
    modified: 1_700_000_000_000,
    ticket: { token: 'ab', grace: 25, keep: 3600 },
    lostAt: 5,
  };

  test('is kept in the tab, and only what is well-formed comes back', () => {
    const items = new Map<string, string>();
    vi.stubGlobal('sessionStorage', {
      getItem: (key: string) => items.get(key) ?? null,
      setItem: (key: string, value: string) => items.set(key, value),
      removeItem: (key: string) => items.delete(key),
    });
    expect(loadClaim()).toBeUndefined();
    saveClaim(claim);
    expect(loadClaim()).toEqual(claim);
    dropClaim();
    expect(items.size).toBe(0);
    items.set('platter-session', '{');
    expect(loadClaim()).toBeUndefined();
    const wrongs = [
      { slot: '1' },
      { kind: 'tape' },
      { ticket: null },
      { lostAt: 'x' },
      { size: null },
    ];
    for (const wrong of wrongs) expect(parseClaim({ ...claim, ...wrong })).toBeUndefined();
    expect(parseClaim(null)).toBeUndefined();
    expect(parseClaim({ ...claim, lostAt: undefined })).toBeDefined();
  });

  test('where the browser stores nothing, nothing breaks', () => {
    vi.stubGlobal('sessionStorage', undefined);
    saveClaim(claim);
    dropClaim();
    expect(loadClaim()).toBeUndefined();
  });

  test('the file has to be the same one', () => {
    const differs = (name: string, size: number, lastModified: number) =>
      plain(describeDifference(claim, { name, size, lastModified } as File) ?? '');
    expect(differs('x.iso', 700e6, claim.modified)).toBe('');
    expect(differs('y.iso', 700e6, claim.modified)).toBe(
      '“y.iso” is another file; choose “x.iso”.',
    );
    expect(differs('x.iso', 20e6, claim.modified)).toContain(
      'has 20.0 MB, the one in the drive 700 MB',
    );
    expect(differs('x.iso', 700e6 + 1, claim.modified)).toContain(
      'has 700000001 bytes, the one in',
    );
    expect(differs('x.iso', 700e6, claim.modified + 1)).toContain('has been changed since');
  });
});

describe('why it ended', () => {
  const end = (fields: Partial<SessionEnd>) =>
    describeEnd(
      { cause: 'device', code: 1006, reason: '', opened: true, ...fields },
      'x.iso',
      'bmc',
    );
  const cases: [string, Partial<SessionEnd>, string, RegExp, boolean][] = [
    ['the person', { cause: 'person', code: 1000 }, 'Disconnected', /out of the machine/, true],
    [
      'the file',
      { cause: 'file', code: 4100 },
      'The file changed on disk',
      /“x\.iso” .*choose the file again/,
      false,
    ],
    ['silence', { cause: 'silence' }, 'The device went silent', /from bmc/, false],
    [
      'protocol',
      { cause: 'protocol', reason: 'Noise.' },
      'The device cannot be understood',
      /^Noise\. .*reload/,
      false,
    ],
    ['1000', { code: 1000 }, 'Finished', /ended the session/, true],
    [
      '1001',
      { code: 1001, reason: 'platterd stops' },
      'The device is stopping',
      /^platterd stops\. Connect again/,
      false,
    ],
    [
      '1002',
      { code: 1002 },
      'The device did not understand this page',
      /^The page and the device/,
      false,
    ],
    [
      '4001',
      { code: 4001, reason: 'The disc was ejected.' },
      'Ejected by the machine',
      /^The disc was ejected\. Connect/,
      true,
    ],
    [
      '4002',
      { code: 4002, reason: 'It is too big.' },
      'The device refused this image',
      /^It is too big\.$/,
      false,
    ],
    [
      '4003',
      { code: 4003, reason: 'Slot is in use' },
      'The drive is in use',
      /^Slot is in use\. Try/,
      false,
    ],
    [
      '4005',
      { code: 4005, reason: 'Block 7 differs' },
      'That is not the image in the drive',
      /^Block 7 differs\.$/,
      false,
    ],
    ['4006', { code: 4006, reason: '' }, 'The drive is gone', /ended the session meanwhile/, false],
    ['time', { cause: 'time' }, 'The drive is gone', /^The line to bmc was lost for longer/, false],
    ['4004', { code: 4004, reason: '' }, 'Something failed on the device', /its log/, false],
    ['1006 later', {}, 'The connection was lost', /line to bmc/, false],
    ['1006 at once', { opened: false }, 'No connection', /^bmc did not take/, false],
    ['another code', { code: 4999 }, 'The session ended', /code 4999\./, false],
    [
      'another reason',
      { code: 4999, reason: 'Because' },
      'The session ended',
      /^Because\.$/,
      false,
    ],
  ];
  for (const [name, fields, title, text, calm] of cases) {
    test(name, () => {
      const ending = end(fields);
      expect(ending).toMatchObject({ title, calm, forgetFile: fields.cause === 'file' });
      expect(ending.text).toMatch(text);
    });
  }
});

describe("the device's slots", () => {
  test('what is well-formed is kept', () => {
    const medium = { name: 'x.iso', kind: 'cd', size: 5, read_only: true };
    const waiting = { grace_left: 0, keep_left: 7 };
    const nothing = { kind: undefined, locked: false, waiting: undefined, line: undefined };
    const counters = { round_trip: 20_000, line_rate: 1e6, hits: 3, misses: 1 };
    const slots = [
      {
        ...{ slot: 0, name: 'Drive 1', export: 'usb', drive: 'cd', locked: true },
        ...{ state: 'serving', medium, counters, waiting },
      },
      { slot: 1, name: '', state: 'idle', drive: 'auto', locked: 1, medium: null },
      { slot: 2, state: 'idle', drive: 'tape', medium: { name: 7 } },
      { slot: '3', state: 'idle' },
      null,
    ];
    expect(parseSlots({ slots })).toEqual([
      {
        slot: 0,
        name: 'Drive 1',
        export: 'usb',
        kind: 'cd',
        locked: true,
        state: 'serving',
        medium: { name: 'x.iso', kind: 'cd', size: 5 },
        waiting: { grace: 0, keep: 7 },
        line: { roundTrip: 0.02, rate: 1e6, cached: 0.75 },
      },
      { slot: 1, name: 'Drive 1', export: '', state: 'idle', medium: null, ...nothing },
      { slot: 2, name: 'Drive 2', export: '', state: 'idle', medium: null, ...nothing },
    ]);
    const kept = (state: string) => parseSlots({ slots: [{ slot: 0, state }] }).map(isKept)[0];
    expect(['suspended', 'absent', 'resuming', 'returning'].map(kept)).not.toContain(false);
    expect(['idle', 'opening', 'serving', 'closing'].map(kept)).not.toContain(true);
    for (const wrong of [null, [], {}, { slots: 1 }]) expect(() => parseSlots(wrong)).toThrow();
  });

  test('a medium is known again by its size, and its name as far as the device keeps it', () => {
    const told = { name: 'a-long', kind: 'cd' as const, size: 5 };
    expect(isSame({ name: 'a-long-name.iso', size: 5 }, told)).toBe(true);
    expect(isSame({ name: 'a-long-name.iso', size: 6 }, told)).toBe(false);
    expect(isSame({ name: 'another.iso', size: 5 }, told)).toBe(false);
  });

  test('the socket is beside the page, wherever that is', () => {
    const file = { name: 'größe & 100%.iso', lastModified: 1_700_000_000_000 };
    const query = '?kind=cd&name=gr%C3%B6%C3%9Fe%20%26%20100%25.iso&modified=1700000000000';
    expect(mediaUrl('http://bmc:8080/', 0, 'cd', file)).toBe(
      `ws://bmc:8080/api/slots/0/media${query}`,
    );
    expect(mediaUrl('https://[::1]/vm/index.html?a#b', 2, 'cd', file)).toBe(
      `wss://[::1]/vm/api/slots/2/media${query}`,
    );
  });
});
