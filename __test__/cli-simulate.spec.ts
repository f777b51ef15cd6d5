/**
 * @file `heapwright simulate`: what a script shows, and what is no script.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseScenario } from '../src/cli/scenario.ts';
import { root } from './support/child.ts';
import { folder, json, run, scenario } from './support/cli.ts';

const TORTURE = process.env['HEAPWRIGHT_TORTURE'] === '1';
const SEED = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

describe('heapwright simulate', () => {
  it('says what an allocator does in words', () => {
    const { stdout, status } = run(['simulate', scenario('fragmentation.sim')]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/13\. two = pages 2 {2}refused: .*\(ERR_NO_MEMORY\)/u);
    expect(stdout).toMatch(
      /15\. two = pages 2 {2}two = 0x100000, 2 pages\n {3}· taken whole: a run of 2 pages/u,
    );
    expect(stdout).toContain('│██·█·█·█│');
  });

  it('finds the scripts of the package by their bare names', () => {
    for (const file of readdirSync(path.join(root, 'examples/scenarios'))) {
      const name = path.basename(file, '.sim');
      const { stdout, status } = run(['simulate', name]);
      expect(status).toBe(0);
      expect(stdout).toContain(`${name}: `);
      expect(run(['simulate', '--help']).stdout).toContain(name);
    }
    expect(run(['simulate', 'no-such-script']).status).toBe(1);
  });

  it('drives another kind than the script says', () => {
    const { stdout } = run(['simulate', scenario('rounding.sim'), '--kind', 'tlsf']);
    expect(stdout).toContain('tlsf over 64.0 KiB');
  });

  it('shows when a Heap calls Rust and when its magazines serve', () => {
    writeFileSync(
      path.join(folder, 'heap.sim'),
      'kind heap\nrange 0x100000 1MiB\na = alloc 64\nb = alloc 64\nfree a\nfree a\n',
    );
    const { stdout, status } = run(['simulate', 'heap.sim']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/1\. a = alloc 64[^\n]*\n(?: {3}·[^\n]*\n)* {3}· 1 call into Rust/u);
    expect(stdout).toMatch(
      /2\. b = alloc 64[^\n]*\n {3}· the magazine of this thread served it: no call into Rust/u,
    );
    expect(stdout).toMatch(/4\. free a {2}refused: .*\(ERR_NOT_ALLOCATED\)/u);
  });

  it('takes the same script as JSON, and gives the outcomes as JSON', () => {
    const script = {
      kind: 'buddy',
      range: { start: '0x100000', size: '64KiB' },
      steps: [
        { op: 'alloc', name: 'a', size: 100 },
        { op: 'alloc', name: 'b', size: '1KiB', align: 4096 },
        { op: 'note', text: 'now free' },
        { op: 'free', name: 'a' },
        { op: 'free', name: 'a' },
      ],
    };
    writeFileSync(path.join(folder, 'script.json'), JSON.stringify(script));
    const { outcomes } = json<{
      outcomes: { result: string; refused: boolean; words: string[] }[];
    }>(['simulate', 'script.json']);
    expect(outcomes.map(({ refused }) => refused)).toEqual([false, false, false, false, true]);
    expect(outcomes[0]?.words).toEqual(['granted 128 B for 100 B asked for, a buddy of order 7']);
    expect(outcomes[4]?.result).toContain('ERR_NOT_ALLOCATED');
  });

  it.each<[string, RegExp]>([
    ['', /says no kind/u],
    ['kind tlsf', /has no steps/u],
    ['kind malloc', /line 1: unknown kind 'malloc'/u],
    ['kind tlsf\nalloc 64', /line 2: 'alloc' needs a name/u],
    ['kind tlsf\na = alloc lots', /line 2: the amount must be a size/u],
    ['kind tlsf\na = alloc 64 sideways', /line 2: 'sideways' is not understood/u],
    ['kind tlsf\nfree b', /line 2: nothing before is called 'b'/u],
    ['kind tlsf\n1 = alloc 64', /line 2: '1' is no name/u],
    ['kind tlsf\nfly', /line 2: unknown step 'fly'/u],
    ['kind tlsf\na = free a', /line 2: 'free' gives nothing/u],
    [`kind tlsf\n${'a = alloc 1\n'.repeat(10_001)}`, /line 10002: more than 10000 steps/u],
    ['{"kind": "tlsf"', /is no JSON/u],
    ['{"kind": "tlsf", "steps": [1]}', /step 1: is no object/u],
    ['{"kind": "tlsf", "step": []}', /unknown key 'step'/u],
  ])('refuses the script %j', (text, reason) => {
    expect(() => parseScenario(text, 'script')).toThrow(reason);
  });

  it('answers every mutation of a script with a scenario or a usage error', () => {
    const texts = readdirSync(scenario('')).map((name) => readFileSync(scenario(name), 'utf8'));
    let state = SEED;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return (state >>> 8) % limit;
    };
    for (let round = 0; round < (TORTURE ? 10_000 : 2000); round++) {
      const bytes = Buffer.from(texts[round % texts.length] as string);
      for (let i = below(5); i >= 0; i--) bytes[below(bytes.length)] = below(256);
      let code = 2;
      try {
        parseScenario(bytes.toString('utf8'), 'script');
      } catch (error) {
        code = (error as { exitCode: number }).exitCode;
      }
      expect(code).toBe(2);
    }
  });
});
