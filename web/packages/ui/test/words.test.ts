// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { describeEnd } from '../src/endings.js';
import { formatBytes, formatSpeed, formatTime } from '../src/format.js';
import type { SessionEnd } from '../src/messages.js';
import { mediaUrl, parseSlots } from '../src/slots.js';

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
    const slots = [
      { slot: 0, name: 'Drive 1', export: 'kernel', state: 'serving', medium, counters: {} },
      { slot: 1, name: '', state: 'idle', medium: null },
      { slot: 2, state: 'idle', medium: { name: 7 } },
      { slot: '3', state: 'idle' },
      null,
    ];
    expect(parseSlots({ slots })).toEqual([
      {
        slot: 0,
        name: 'Drive 1',
        export: 'kernel',
        state: 'serving',
        medium: { name: 'x.iso', kind: 'cd', size: 5 },
      },
      { slot: 1, name: 'Drive 1', export: '', state: 'idle', medium: null },
      { slot: 2, name: 'Drive 2', export: '', state: 'idle', medium: null },
    ]);
    for (const wrong of [null, [], {}, { slots: 1 }]) expect(() => parseSlots(wrong)).toThrow();
  });

  test('the socket is beside the page, wherever that is', () => {
    const name = 'größe & 100%.iso';
    const query = '?kind=cd&name=gr%C3%B6%C3%9Fe%20%26%20100%25.iso';
    expect(mediaUrl('http://bmc:8080/', 0, 'cd', name)).toBe(
      `ws://bmc:8080/api/slots/0/media${query}`,
    );
    expect(mediaUrl('https://[::1]/vm/index.html?a#b', 2, 'cd', name)).toBe(
      `wss://[::1]/vm/api/slots/2/media${query}`,
    );
  });
});
