// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['source'] },
  test: { include: ['packages/*/test/*.test.{ts,mjs}'], testTimeout: 60_000 },
});
