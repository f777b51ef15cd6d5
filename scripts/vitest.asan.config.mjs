/**
 * @file How `asan.mjs` runs the TypeScript tests: as ever, but on the addon that HEAPWRIGHT_ASAN_ADDON
 * names.
 *
 * The variable that napi-rs's loaders look for is set in the workers only: vitest's own bundler is a
 * napi-rs addon too, and would load ours in its place.
 */
import { mergeConfig } from 'vitest/config';
import base from '../vitest.config.ts';
import { root } from './steps.mjs';

export default mergeConfig(base, {
  root,
  test: {
    env: { NAPI_RS_NATIVE_LIBRARY_PATH: process.env.HEAPWRIGHT_ASAN_ADDON },
    // Every access is checked, and two threads share the processors with their shadow.
    testTimeout: 300_000,
  },
});
