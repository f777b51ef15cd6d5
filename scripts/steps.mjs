/**
 * @file What the scripts of this folder share: running a child, finding out whether a build is due.
 *
 * Plain Node, nothing installed needed. A build is due when an output is missing or older than the
 * newest of its sources, so that `npm start` and `npm test` on an unchanged tree start at once.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
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

/** The newest modification time below `paths`, among files that `keep` accepts; 0 for none. */
function newest(paths, keep) {
  let time = 0;
  for (const path of paths) {
    const full = join(root, path);
    if (!existsSync(full)) continue;
    const stat = statSync(full);
    if (stat.isDirectory()) {
      const names = readdirSync(full).filter(
        (name) => name !== 'target' && name !== 'node_modules',
      );
      time = Math.max(
        time,
        newest(
          names.map((name) => join(path, name)),
          keep,
        ),
      );
    } else if (keep(path)) {
      time = Math.max(time, stat.mtimeMs);
    }
  }
  return time;
}

/** The oldest modification time of `paths`, or 0 when one is missing. */
function oldest(paths) {
  const times = paths.map((path) => {
    const full = join(root, path);
    return existsSync(full) ? statSync(full).mtimeMs : 0;
  });
  return Math.min(...times);
}

/** The names of the built addons in native/. */
export function addons() {
  const folder = join(root, 'native');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.endsWith('.node'));
}

/** Whether the addon is missing or older than the Rust it is built from. */
export function nativeIsStale() {
  const built = addons().map((name) => join('native', name));
  if (built.length === 0 || !existsSync(join(root, 'native/binding.cjs'))) return true;
  const sources = newest(
    ['crates', 'Cargo.toml', 'Cargo.lock'],
    (path) => !/[\\/]tests?([\\/]|\.rs$)/.test(path),
  );
  return sources > oldest(built);
}

/** Whether dist/ is missing or older than the TypeScript it is built from. */
export function frontIsStale() {
  const sources = newest(
    [
      'index.ts',
      'src',
      'native',
      'examples',
      'benches',
      'tsconfig.json',
      'tsconfig.build.json',
      'api-extractor.json',
    ],
    (path) => /\.(ts|json)$/.test(path) && !path.includes('results'),
  );
  return sources > oldest(['dist/index.js']);
}

/**
 * Makes the tree ready to run: packages, then a build if one is due. One clear line, and the end
 * of the process, when a tool is missing.
 */
export function prepare() {
  if (!existsSync(join(root, 'node_modules/.package-lock.json'))) {
    process.stderr.write('Installing the development packages (npm ci)…\n');
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const code = run(npm, ['ci', '--no-audit', '--no-fund']);
    if (code !== 0) fail('npm ci failed; its messages are above.', code);
  }
  if (!nativeIsStale() && !frontIsStale()) return;
  requireCargo();
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
