// SPDX-License-Identifier: Apache-2.0
// What a browser has to load, compressed: prints it, and fails when it has grown past the limit.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { WEB } from './bundle.mjs';

const LIMIT = 20 * 1024;

const dist = join(WEB, 'dist');
let names;
try {
  names = (await readdir(dist)).sort();
} catch {
  console.error(`size: ${dist} is not there; run "npm run build" first.`);
  process.exit(1);
}
let total = 0;
for (const name of names) {
  const plain = await readFile(join(dist, name));
  const packed = gzipSync(plain, { level: 9 }).length;
  total += packed;
  console.log(`${String(packed).padStart(7)} of ${String(plain.length).padStart(7)}  ${name}`);
}
console.log(`${String(total).padStart(7)} of ${String(LIMIT).padStart(7)} bytes allowed, gzip`);
if (total > LIMIT) {
  console.error(`size: the page is ${total - LIMIT} bytes over its limit; make it smaller.`);
  process.exit(1);
}
