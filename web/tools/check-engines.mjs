// SPDX-License-Identifier: Apache-2.0
// Fails when a package in package-lock.json says that it does not run on the Node of Debian 12.
// Understands what `engines` fields hold: comparators joined by spaces, alternatives by "||".
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE = [18, 20, 4];

/** Whether a range such as "^18.0.0 || >=20" admits the version. */
export function admits(range, version) {
  return range.split('||').some((part) => {
    const comparators = part.trim().replace(/([<>=^~]+)\s+/g, '$1');
    return comparators.split(/\s+/).every((one) => meets(one, version));
  });
}

function meets(comparator, version) {
  if (comparator === '' || comparator === '*') return true;
  const match = /^(>=|<=|>|<|=|\^|~)?v?(\d+)(?:\.(\d+|x))?(?:\.(\d+|x))?$/.exec(comparator);
  if (!match) throw new Error(`cannot read the range "${comparator}"`);
  const [, sign = '', ...parts] = match;
  const given = parts.filter((part) => part !== undefined && part !== 'x').map(Number);
  const order = compare(version, [given[0], given[1] ?? 0, given[2] ?? 0]);
  const same = (count) => given.slice(0, count).every((part, i) => part === version[i]);
  switch (sign) {
    case '>=':
      return order >= 0;
    case '>':
      return given.length === 3 ? order > 0 : order > 0 && !same(given.length);
    case '<=':
      return order <= 0 || same(given.length);
    case '<':
      return order < 0;
    case '^':
      return order >= 0 && same(1);
    case '~':
      return order >= 0 && same(2);
    default:
      return same(given.length);
  }
}

function compare(a, b) {
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return 0;
}

async function main() {
  const lock = new URL('../package-lock.json', import.meta.url);
  const { packages } = JSON.parse(await readFile(lock, 'utf8'));
  const bad = Object.entries(packages).filter(
    ([, { engines }]) => engines?.node && !admits(engines.node, NODE),
  );
  for (const [name, { version, engines }] of bad) {
    console.error(
      `check-engines: ${name} ${version} wants Node ${engines.node}; pin an older one.`,
    );
  }
  const count = Object.keys(packages).length;
  console.log(`check-engines: ${count - bad.length} of ${count} packages run on Node ${NODE[0]}`);
  return bad.length === 0 ? 0 : 1;
}

if (process.argv[1] === join(fileURLToPath(import.meta.url))) process.exit(await main());
