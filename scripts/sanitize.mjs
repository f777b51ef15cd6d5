/**
 * @file What `asan.mjs` and `tsan.mjs` share: cargo test of the crates under a sanitizer, counted.
 *
 * A sanitizer needs the nightly compiler, an explicit `--target` (so that build scripts and macros
 * stay plain) and a target folder of its own. Tests that a sanitizer's runtime cannot survive by
 * its nature (they use up the process's mappings) look for HEAPWRIGHT_SANITIZER and return.
 *
 * Not here: doctests (rustdoc takes other flags) and the addon (`asan.mjs`).
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { fail, has, root } from './steps.mjs';

/** The crates without Node-API, bottom up. */
const crates = ['core', 'region', 'allocators', 'two-level', 'heap'];

/** The target triple of this machine: the sanitizers are known to work on these. */
function host() {
  const arch = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
  if (process.platform !== 'linux' || arch === undefined) {
    fail('The sanitizers run on Linux, x64 or arm64, only.');
  }
  return `${arch}-unknown-linux-gnu`;
}

/** Whether the nightly compiler came with the source of its standard library. */
export function hasRustSource() {
  const { stdout } = spawnSync('rustc', ['+nightly', '--print', 'sysroot'], { encoding: 'utf8' });
  return existsSync(join(stdout?.trim() ?? '', 'lib/rustlib/src/rust/library/Cargo.lock'));
}

/**
 * The environment and the folders of a build under a sanitizer.
 *
 * @param {string} name - `asan` or `tsan`.
 * @param {string} rustflags - What rustc gets.
 * @param {Record<string, string>} env - Options of the sanitizer's runtime.
 * @param {string[]} [flags] - What cargo gets beside.
 */
export function setup(name, rustflags, env, flags = []) {
  if (!has('cargo')) fail('cargo was not found: install Rust from https://rustup.rs');
  const target = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), name);
  return {
    name,
    flags,
    target: host(),
    folder: join(target, host(), 'debug'),
    env: {
      ...process.env,
      CARGO_TARGET_DIR: target,
      RUSTFLAGS: rustflags,
      HEAPWRIGHT_SANITIZER: name,
      // Unoptimized code under a sanitizer is ten times slower; assertions stay.
      CARGO_PROFILE_DEV_OPT_LEVEL: '1',
      ...env,
    },
  };
}

/**
 * Runs a command, passes its output on, and counts in it.
 *
 * @returns {Promise<{ code: number, passed: number, failed: number, reports: number }>} The exit
 * code, the tests of Rust's and vitest's summary lines, and the reports of the sanitizer.
 */
export function counted(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['inherit', 'pipe', 'pipe'], env });
    const counts = { code: 0, passed: 0, failed: 0, reports: 0 };
    const seen = (line) => {
      const rust = /^test result: .* (\d+) passed; (\d+) failed;/.exec(line);
      counts.passed += Number(rust?.[1] ?? 0);
      counts.failed += Number(rust?.[2] ?? 0);
      // vitest: ` Tests  1 failed | 26 passed (27)`, in the colors of the terminal or not.
      const specs = /^\s*Tests\s+(?:(\d+) failed)?(?: \| )?(?:(\d+) passed)?/.exec(
        stripVTControlCharacters(line),
      );
      counts.failed += Number(specs?.[1] ?? 0);
      counts.passed += Number(specs?.[2] ?? 0);
      if (/ERROR: \w+Sanitizer|WARNING: ThreadSanitizer: (?!requested|failed)/.test(line))
        counts.reports += 1;
    };
    for (const [stream, out] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ]) {
      let rest = '';
      stream.on('data', (chunk) => {
        out.write(chunk);
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) seen(line);
      });
      stream.on('end', () => seen(rest));
    }
    child.on('error', () => resolve({ ...counts, code: 128 }));
    child.on('close', (code) => resolve({ ...counts, code: code ?? 128 }));
  });
}

/**
 * Runs the unit and integration tests of the crates under the sanitizer.
 *
 * @param {ReturnType<typeof setup>} build - Of {@link setup}.
 * @param {string[]} args - Of the command line: names of crates (`region`), then arguments of the
 * test programs after a `--`.
 */
export async function testCrates(build, args) {
  const cut = args.includes('--') ? args.indexOf('--') : args.length;
  const chosen = args.slice(0, cut);
  const unknown = chosen.filter((crate) => !crates.includes(crate));
  if (unknown.length > 0)
    fail(`no such crate: ${unknown.join(', ')}; there are ${crates.join(', ')}`);
  const packages = (chosen.length > 0 ? chosen : crates).flatMap((crate) => [
    '-p',
    `heapwright-${crate}`,
  ]);
  return counted(
    'cargo',
    ['+nightly', 'test', '--locked', '--no-fail-fast', '--target', build.target, '--lib', '--tests']
      .concat(build.flags)
      .concat(packages)
      .concat(args.slice(cut)),
    build.env,
  );
}

/** Prints the one line of the summary and ends the process. */
export function finish(name, results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  // A program that the sanitizer ended has no line of its own.
  const died = results.filter((result) => result.code !== 0 && result.failed === 0).length;
  const failed = sum('failed') + died;
  console.log(`${name}: ${sum('passed')} passed, ${failed} failed, ${sum('reports')} reports`);
  process.exit(failed + sum('reports') === 0 ? 0 : 1);
}
