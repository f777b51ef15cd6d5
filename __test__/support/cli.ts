/**
 * @file The built command (`dist/src/cli/main.js`), run in processes of its own, in an empty folder that is there
 * while the tests of a spec run.
 */
import { spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { root } from './child.ts';

/** The command. */
export const MAIN: string = path.join(root, 'dist/src/cli/main.js');

/** Where it runs. */
export const folder: string = mkdtempSync(path.join(tmpdir(), 'heapwright-cli-'));

/** What it takes for the folder of sockets and the like. */
export const RUN: string = path.join(folder, 'run');

beforeAll(() => {
  mkdirSync(RUN);
  if (!existsSync(MAIN)) throw new Error('the command is not built: npm run build');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the command to its end. */
export function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [MAIN, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: RUN, ...env },
    maxBuffer: 2 ** 28,
    timeout: 55_000,
  });
}

/** What the command prints with `--json`. */
export function json<T>(args: readonly string[]): T {
  const { stdout, status, stderr } = run([...args, '--json']);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return JSON.parse(stdout) as T;
}

/** A script of the package. */
export function scenario(name: string): string {
  return path.join(root, 'examples/scenarios', name);
}
