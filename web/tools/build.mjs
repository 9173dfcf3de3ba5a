// SPDX-License-Identifier: Apache-2.0
// Builds the page into web/dist and the library into packages/nbd-server/dist.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bundle, WEB } from './bundle.mjs';

const require = createRequire(import.meta.url);
const dist = join(WEB, 'dist');
const ui = join(WEB, 'packages/ui/src');
const library = 'packages/nbd-server';

await rm(dist, { recursive: true, force: true });
await rm(join(WEB, library, 'dist'), { recursive: true, force: true });
await mkdir(dist);
await bundle({
  entryPoints: [join(ui, 'app.ts'), join(ui, 'worker.ts'), join(ui, 'style.css')],
  outdir: dist,
  format: 'iife',
  minify: true,
});
await copyFile(join(ui, 'index.html'), join(dist, 'index.html'));
await copyFile(join(ui, 'icon.svg'), join(dist, 'icon.svg'));
await bundle({
  entryPoints: [`${library}/src/index.ts`],
  outfile: `${library}/dist/index.js`,
  format: 'esm',
});
const tsc = require.resolve('typescript/bin/tsc');
execFileSync(process.execPath, [tsc, '-p', join(WEB, library), '--emitDeclarationOnly'], {
  stdio: 'inherit',
});
