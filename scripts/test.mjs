/**
 * @file `npm test`: installs and builds if needed, then runs cargo test and vitest.
 *
 * Ends in one plain line, `N passed, N failed`, that counts both. With arguments (`npm test --
 * misuse`) only vitest runs, and gets them. `--torture` runs the full counts of the acceptance
 * tests instead of the small ones; a seed comes from HEAPWRIGHT_SEED.
 *
 * Not here: what the tests need installed beside npm packages; `.ci/run` does that.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepare, requireCargo, root } from './steps.mjs';

const args = process.argv.slice(2).filter((arg) => arg !== '--torture');
const torture = process.argv.includes('--torture');
if (torture) process.env.HEAPWRIGHT_TORTURE = '1';

requireCargo();
prepare();

let passed = 0;
let failed = 0;

/** Runs a command, passes its output on, and hands each line of stdout to `seen`. */
function follow(command, commandArgs, seen = () => {}) {
  return new Promise((resolve) => {
    const child = spawn(command, commandArgs, { cwd: root, stdio: ['inherit', 'pipe', 'inherit'] });
    let rest = '';
    child.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) seen(line);
    });
    child.on('error', () => resolve(128));
    child.on('close', (code) => resolve(code ?? 128));
  });
}

if (args.length === 0) {
  const before = failed;
  const profile = torture ? ['--profile', 'release-checked'] : [];
  const code = await follow('cargo', ['test', '--locked', '--no-fail-fast', ...profile], (line) => {
    const counts = /^test result: .* (\d+) passed; (\d+) failed;/.exec(line);
    passed += Number(counts?.[1] ?? 0);
    failed += Number(counts?.[2] ?? 0);
  });
  // A crate that does not compile, or a test that takes its process down, has no line of its own.
  if (code !== 0 && failed === before) failed += 1;
}

const folder = mkdtempSync(join(tmpdir(), 'heapwright-test-'));
const report = join(folder, 'vitest.json');
const code = await follow(process.execPath, [
  'node_modules/vitest/vitest.mjs',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...args,
]);
if (existsSync(report)) {
  const counts = JSON.parse(readFileSync(report, 'utf8'));
  passed += counts.numPassedTests;
  failed += counts.numFailedTests;
  // A spec file that cannot be loaded holds no test to count.
  const broken = counts.testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  );
  failed += broken.length;
  if (code !== 0 && counts.numFailedTests + broken.length === 0) failed += 1;
} else {
  failed += 1;
}
rmSync(folder, { recursive: true, force: true });

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
