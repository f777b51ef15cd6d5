/**
 * @file `npm run miri`: the crates without system calls under Miri, with one line at the end.
 *
 *     node scripts/miri.mjs [crate…] [-- arguments of the test programs]
 *
 * Miri interprets the tests with strict provenance and finds undefined behavior of every kind. The
 * region runs on its fake system. Iterations shrink under `cfg!(miri)`. The wrapped families turn
 * integers into pointers, which strict provenance refuses; docs/verification.md has what else is
 * left out, and why.
 *
 * Needs the component `miri` of the nightly compiler; without it the line says so, and nothing ran.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { counted, finish } from './sanitize.mjs';
import { fail, root } from './steps.mjs';

/** The crates that Miri can run, with the flags that each needs. */
const crates = {
  core: '-Zmiri-strict-provenance',
  region: '-Zmiri-strict-provenance',
};

if (spawnSync('cargo', ['+nightly', 'miri', '--version']).status !== 0) {
  console.log('miri: left out, `rustup component add miri --toolchain nightly` would install it');
  process.exit(0);
}
const args = process.argv.slice(2);
const cut = args.includes('--') ? args.indexOf('--') : args.length;
const chosen = cut > 0 ? args.slice(0, cut) : Object.keys(crates);
const results = [];
for (const crate of chosen) {
  const flags = crates[crate];
  if (flags === undefined)
    fail(`no such crate: ${crate}; there are ${Object.keys(crates).join(', ')}`);
  results.push(
    await counted(
      'cargo',
      [
        '+nightly',
        'miri',
        'test',
        '--locked',
        '--no-fail-fast',
        '--lib',
        '-p',
        `heapwright-${crate}`,
      ].concat(args.slice(cut)),
      {
        ...process.env,
        MIRIFLAGS: `${flags} -Zmiri-disable-isolation`,
        CARGO_TARGET_DIR: join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'miri'),
      },
    ),
  );
}
finish('miri', results);
