/**
 * @file What the scripts of this folder share: running a child, making the tree ready.
 *
 * Plain Node, nothing installed needed. `scripts/build.mjs` rebuilds only what is older than its
 * sources, so that `npm start` and `npm test` on an unchanged tree start at once.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's root folder. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Runs a command in the root folder with this terminal, and returns its exit code.
 *
 * @param {string} command - The executable.
 * @param {string[]} args - Its arguments.
 * @param {Record<string, string>} [env] - Added to the environment.
 * @returns {number} The exit code; 128 after a signal or when the command does not exist.
 */
export function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  return status ?? 128;
}

/** Whether `command --version` runs here. */
export function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Prints one line to stderr and ends the process. */
export function fail(message, code = 1) {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}

/**
 * Makes the tree ready to run: packages, then whatever `scripts/build.mjs` finds older than its
 * sources. One clear line, and the end of the process, when a tool is missing.
 */
export function prepare() {
  if (!existsSync(join(root, 'node_modules/.package-lock.json'))) {
    process.stderr.write('Installing the development packages (npm ci)…\n');
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const code = run(npm, ['ci', '--no-audit', '--no-fund']);
    if (code !== 0) fail('npm ci failed; its messages are above.', code);
  }
  const code = run(process.execPath, ['scripts/build.mjs']);
  if (code !== 0) fail('The build failed; repeat it with: npm run build', code);
}

/** Ends the process with one clear line when Rust is not installed. */
export function requireCargo() {
  if (!has('cargo')) {
    fail(
      'heapwright is built from Rust, and cargo was not found: install Rust 1.95 or newer from https://rustup.rs, then run this again.',
    );
  }
}
