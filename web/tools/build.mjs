// SPDX-License-Identifier: Apache-2.0
// Builds the library into packages/nbd-server/dist.
import { execFileSync } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bundle, WEB } from './bundle.mjs';

const require = createRequire(import.meta.url);
const library = 'packages/nbd-server';

await rm(join(WEB, library, 'dist'), { recursive: true, force: true });
await bundle({
  entryPoints: [`${library}/src/index.ts`],
  outfile: `${library}/dist/index.js`,
  format: 'esm',
});
const tsc = require.resolve('typescript/bin/tsc');
execFileSync(process.execPath, [tsc, '-p', join(WEB, library), '--emitDeclarationOnly'], {
  stdio: 'inherit',
});
