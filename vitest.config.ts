/**
 * @file How the TypeScript tests run.
 *
 * Every spec file has a process of its own (`pool: 'forks'`): the addon's objects belong to one
 * realm, which `vmThreads` and `vmForks` would leave. Torture runs get more time.
 */
import { defineConfig } from 'vitest/config';

const torture = process.env['HEAPWRIGHT_TORTURE'] === '1';

export default defineConfig({
  test: {
    include: ['__test__/**/*.spec.ts'],
    pool: 'forks',
    maxWorkers: 2,
    maxConcurrency: 2,
    testTimeout: torture ? 600_000 : 60_000,
    hookTimeout: 60_000,
    coverage: { include: ['src/**'] },
  },
});
