// SPDX-License-Identifier: Apache-2.0
// How everything here is bundled: one place, so that the page, the library and the tests agree.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

export const WEB = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs esbuild over entry points inside web/ with the house's settings. */
export function bundle(options) {
  return build({
    absWorkingDir: WEB,
    bundle: true,
    target: 'es2022',
    conditions: ['source'],
    legalComments: 'none',
    logLevel: 'warning',
    ...options,
  });
}
