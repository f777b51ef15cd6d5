/**
 * @file The public API: what is exported, and what its types promise.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as api from '../index.ts';
import { root } from './support/child.ts';

const contract = readFileSync(new URL('support/contract.d.ts', import.meta.url), 'utf8');

/** Names that the contract exports as `what`. */
function promised(what: string): string[] {
  const pattern = new RegExp(`^export (?:${what}) (\\w+)`, 'gmu');
  return [...new Set([...contract.matchAll(pattern)].map(([, name]) => name as string))].toSorted();
}

describe('the public API', () => {
  it('exports every value of the contract, and nothing else', () => {
    expect(Object.keys(api).toSorted()).toEqual(promised('class|function'));
  });

  it('names every type of the contract in index.d.ts', () => {
    const rollUp = readFileSync(join(root, 'index.d.ts'), 'utf8');
    const missing = promised('class|function|interface|type').filter(
      (name) => !new RegExp(`^export declare (?:abstract )?\\w+ ${name}\\b`, 'mu').test(rollUp),
    );
    expect(missing).toEqual([]);
  });

  it('has the types of the contract', () => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const run = (): string =>
      execFileSync(process.execPath, [tsc, '-p', '__test__/tsconfig.types.json'], {
        cwd: root,
        encoding: 'utf8',
      });
    expect(run()).toBe('');
  });
});
