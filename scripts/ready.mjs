/**
 * @file `npm run ready`: everything that CI checks, in one order, stopping at the first failure.
 *
 * Format → lint → types → clippy → build → tests → generated files unchanged → package →
 * dependencies → spelling. A failure names the script that repeats it. The last line is always the
 * plain `N passed, N failed`: the tests, plus one failure for a step that failed without counting.
 */
import { spawn } from 'node:child_process';
import { has, requireCargo, root } from './steps.mjs';

/** Each step: its name, the npm script that repeats it, the tool it cannot do without. */
const steps = [
  { name: 'format', script: 'format:check' },
  { name: 'lint', script: 'lint' },
  { name: 'types', script: 'typecheck' },
  { name: 'clippy', script: 'clippy' },
  { name: 'build', script: 'build' },
  { name: 'test', script: 'test' },
  { name: 'generated files', script: 'generated' },
  { name: 'package', script: 'package' },
  { name: 'dependencies', script: 'deny', tool: 'cargo-deny' },
  { name: 'spelling', script: 'typos', tool: 'typos' },
];

/** Runs an npm script with its output passed on; resolves to its exit code and its last line. */
function script(name) {
  return new Promise((resolve) => {
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const child = spawn(npm, ['run', '--silent', name], {
      cwd: root,
      stdio: ['inherit', 'pipe', 'inherit'],
    });
    let tail = '';
    child.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk).slice(-2000);
    });
    child.on('error', () => resolve({ code: 128, last: '' }));
    child.on('close', (code) =>
      resolve({ code: code ?? 128, last: tail.trimEnd().split('\n').pop() ?? '' }),
    );
  });
}

requireCargo();
let counts = { passed: 0, failed: 0 };
for (const { name, script: command, tool } of steps) {
  if (tool !== undefined && !has(tool)) {
    console.log(`— ${name}: left out, ${tool} is not installed`);
    continue;
  }
  console.log(`— ${name} (npm run ${command})`);
  const started = Date.now();
  const { code, last } = await script(command);
  const found = /^(\d+) passed, (\d+) failed$/.exec(last);
  if (found !== null) counts = { passed: Number(found[1]), failed: Number(found[2]) };
  if (code !== 0) {
    if (found === null) counts.failed += 1;
    console.log(`— ${name} failed. Repeat it with: npm run ${command}`);
    break;
  }
  console.log(`— ${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 ? 0 : 1);
