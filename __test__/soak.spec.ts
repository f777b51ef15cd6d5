/**
 * @file The soak in a short form (A24): all kinds and the Heap mixed, workers that come and go. Nothing may
 * be left, and every `check()` is clean.
 *
 * Not here: the five minutes, and what they say of resident memory (`npm run soak`).
 */
import { describe, expect, it } from 'vitest';
import { runFile } from './support/child.ts';
import { rounds } from './support/random.ts';

describe('The soak', () => {
  it('leaves nothing behind', async () => {
    const seconds = rounds(3, 45);
    const { code, signal, stdout, stderr } = await runFile('scripts/soak.mjs', {
      args: [String(seconds)],
      timeoutMs: seconds * 1000 + 50_000,
    });
    console.log(stdout);
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
    expect(stdout).toMatch(/1 passed, 0 failed/);
  });
});
