/**
 * @file Acceptance test A4: every row of HAZARDS section 1 that concerns the wrapped crates and the
 * mirror, each in a process of its own. A signal, or 5 seconds, is a failure.
 *
 * CI runs the shipped binary; torture runs a second pass with one that has debug assertions.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { root, runFile } from './support/child.ts';
import { torture } from './support/random.ts';
// @ts-expect-error A list of programs in plain JavaScript, which the child imports too.
import { cases } from './support/hazard-cases.mjs';

/** After this long a call counts as one that hangs; a sanitizer makes every call slow. */
const PATIENCE = process.env['HEAPWRIGHT_SANITIZER'] === undefined ? 5000 : 100_000;

const rows = cases as [row: string, what: string][];
const child = join(root, '__test__/support/hazard-child.mjs');
const checkedFolder = join(root, 'tmp/checked-addon');

describe.each(torture ? ['release', 'release-checked'] : ['release'])('a %s build', (profile) => {
  const env: Record<string, string> = {};
  beforeAll(() => {
    if (profile === 'release') return;
    mkdirSync(checkedFolder, { recursive: true });
    const args = ['scripts/build.mjs', '--profile', profile, '--output-dir', checkedFolder];
    execFileSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    env['NAPI_RS_NATIVE_LIBRARY_PATH'] = join(checkedFolder, 'heapwright.linux-x64-gnu.node');
  }, 900_000);

  it.concurrent.each(rows.map(([row, what], index) => ({ row, what, index })))(
    '$row: $what',
    async ({ index }) => {
      const ending = await runFile(child, { args: [String(index)], env, timeoutMs: PATIENCE });
      expect(ending).toEqual({ code: 0, signal: null, stdout: 'ok\n', stderr: '' });
    },
  );
});
