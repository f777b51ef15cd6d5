/**
 * @file Builds everything that is generated: the native binary with its loader and typings (`native/`), the
 * constants of the seam (`native/layout.ts`), `dist/`, and the roll-up of the public API (`index.d.ts`).
 *
 *     node scripts/build.mjs [--debug | --profile NAME] [--output-dir DIR] [--force]
 *
 * Each step runs only when one of its sources is newer than what it makes, or when the profile has changed.
 * `--debug` and `--profile` select a Cargo profile (default: release); with `--output-dir` only the binary is built,
 * into that folder, so that a second one can stand beside the shipped one. CARGO_TARGET_DIR is honoured.
 *
 * Needs `npm ci` to have run, and cargo. Not here: installing (`start.mjs`, `test.mjs`).
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const at = (...parts) => join(root, ...parts);

/** Ends the build with one clear line. */
function fail(message) {
  process.stderr.write(`build: ${message}\n`);
  process.exit(1);
}

function run(command, args) {
  process.stderr.write(`build: ${[command, ...args].join(' ')}\n`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) fail(`cannot run ${command}: ${error.message}`);
  if (status !== 0) fail(`${command} ended with ${status}`);
}

/** Runs the JavaScript program of an npm dependency with this very Node. */
function runTool(file, args) {
  const path = at('node_modules', file);
  if (!existsSync(path)) fail(`node_modules/${file} is missing: run npm ci`);
  run(process.execPath, [path, ...args]);
}

/** The newest time of change below `paths`, in ms; folders count through their files. */
function newest(paths, accept = () => true) {
  let latest = 0;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const found = statSync(path);
    if (!found.isDirectory()) {
      latest = Math.max(latest, found.mtimeMs);
      continue;
    }
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) latest = Math.max(latest, newest([child], accept));
      else if (accept(entry.name)) latest = Math.max(latest, statSync(child).mtimeMs);
    }
  }
  return latest;
}

/** The oldest of `paths`, in ms; 0 where one is missing. */
function oldest(paths) {
  return Math.min(...paths.map((path) => (existsSync(path) ? statSync(path).mtimeMs : 0)));
}

/** Marks `paths` as made now, for tools that leave an unchanged file alone. */
function touch(paths) {
  const now = new Date();
  for (const path of paths) if (existsSync(path)) utimesSync(path, now, now);
}

/** Folders of the crates that the addon is made of: not those of tests and benches. */
function crateSources() {
  return readdirSync(at('crates'))
    .filter((name) => name !== 'heapwright-testkit')
    .flatMap((name) => [
      at('crates', name, 'src'),
      at('crates', name, 'Cargo.toml'),
      at('crates', name, 'build.rs'),
    ]);
}

/** The binary, its loader and its typings. */
function buildBinding({ profile, outputDir, force }) {
  const folder = outputDir === undefined ? at('native') : resolve(outputDir);
  const stamp = join(folder, '.profile.node'); // Ignored by git as every *.node of that folder is.
  const built = ['heapwright.linux-x64-gnu.node', 'binding.cjs', 'binding.d.cts'].map((name) =>
    join(folder, name),
  );
  const sources = newest([...crateSources(), at('Cargo.toml'), at('Cargo.lock')]);
  const sameProfile = existsSync(stamp) && readFileSync(stamp, 'utf8') === profile;
  if (!force && sameProfile && oldest(built) >= sources) return false;
  if (spawnSync('cargo', ['--version']).error) {
    fail('cargo was not found: install Rust 1.95 or newer from https://rustup.rs');
  }
  mkdirSync(folder, { recursive: true });
  runTool('@napi-rs/cli/dist/cli.js', [
    'build',
    '--platform',
    '--manifest-path',
    'crates/heapwright-node/Cargo.toml',
    '--package-json-path',
    'package.json',
    '--output-dir',
    folder,
    '--js',
    'binding.cjs',
    '--dts',
    'binding.d.cts',
    '--no-const-enum',
    '--no-dts-cache',
    ...(profile === 'debug' ? [] : ['--profile', profile]),
    '--',
    '--locked',
  ]);
  writeFileSync(stamp, profile);
  touch(built);
  return true;
}

/** The constants that the fresh binary declares, as TypeScript. The child keeps a broken binary out of this process. */
function writeLayout() {
  const file = at('native', 'layout.ts');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      '-e',
      `process.stdout.write(require(${JSON.stringify(at('native', 'binding.cjs'))}).layout())`,
    ],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) fail(`the fresh binary does not load:\n${stderr}`);
  const lines = Object.entries(JSON.parse(stdout)).map(([name, value]) =>
    Array.isArray(value)
      ? `export const ${name}: readonly string[] = [\n${value.map((item) => `  '${item}',\n`).join('')}];\n`
      : `export const ${name} = ${value};\n`,
  );
  const text = [
    '/**\n',
    ' * @file Constants of the native seam. DO NOT EDIT DIRECTLY: written by `scripts/build.mjs` from what the\n',
    ' * binary declares, so that Rust is the only source.\n',
    ' */\n\n',
    ...lines,
  ].join('');
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) writeFileSync(file, text);
  touch([file]);
}

/** `dist/`: front, examples and benches as JavaScript with typings. */
function compileTypeScript({ force }) {
  const config = at('tsconfig.build.json');
  if (!existsSync(config)) return false;
  const isSource = (name) => name.endsWith('.ts') && !name.endsWith('.spec.ts');
  const sources = newest(
    [
      at('index.ts'),
      at('src'),
      at('examples'),
      at('benches'),
      at('native', 'layout.ts'),
      config,
      at('tsconfig.json'),
    ],
    isSource,
  );
  const stamp = at('dist', '.built');
  if (!force && oldest([stamp]) >= sources) return false;
  runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json']);
  mkdirSync(at('dist'), { recursive: true });
  writeFileSync(stamp, '');
  return true;
}

/** `index.d.ts`: the typings of the public API in one file. */
function rollUp({ force }) {
  const config = at('api-extractor.json');
  if (!existsSync(config)) return;
  const report = at('index.d.ts');
  const sources = newest([at('dist', 'index.d.ts'), at('dist', 'src'), config], (name) =>
    name.endsWith('.d.ts'),
  );
  if (!force && oldest([report]) >= sources) return;
  runTool('@microsoft/api-extractor/bin/api-extractor', [
    'run',
    '--local',
    '--config',
    'api-extractor.json',
  ]);
  // The roll-up indents what follows a trimmed comment ever deeper; the formatter sets that right.
  runTool('oxfmt/bin/oxfmt', ['index.d.ts']);
  touch([report]);
}

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        debug: { type: 'boolean', default: false },
        profile: { type: 'string' },
        'output-dir': { type: 'string' },
        force: { type: 'boolean', default: false },
      },
    });
    if (values.debug && values.profile !== undefined) fail('give --debug or --profile, not both');
    return {
      profile: values.debug ? 'debug' : (values.profile ?? 'release'),
      outputDir: values['output-dir'],
      force: values.force,
    };
  } catch (error) {
    return fail(error.message);
  }
}

const options = parse();
const rebuilt = buildBinding(options);
if (options.outputDir === undefined) {
  const layout = at('native', 'layout.ts');
  if (rebuilt || !existsSync(layout)) writeLayout();
  compileTypeScript(options);
  rollUp(options);
}
