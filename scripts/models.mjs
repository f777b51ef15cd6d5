/**
<<<<<<< HEAD
 * @file `npm run models`: the remote frees of the two-level engine under two model checkers, with one
 * line at the end.
 *
 *     node scripts/models.mjs [loom | shuttle] [-- arguments of the test programs]
 *
 * loom runs every execution that the C11 memory model allows of a small program, shuttle a great many
 * random schedules of a larger one. Both replace the locks and atomics of the very sources that ship
 * (`crates/heapwright-two-level/src/sync.rs`), by a `cfg`, hence a target folder of their own.
 *
 * Not here: the interleavings that `cargo test` tries and the stress test under ThreadSanitizer.
 */
import { join } from 'node:path';
import { counted, finish } from './sanitize.mjs';
import { fail, has, root } from './steps.mjs';

const checkers = ['loom', 'shuttle'];

if (!has('cargo')) fail('cargo was not found: install Rust from https://rustup.rs');
const args = process.argv.slice(2);
const cut = args.includes('--') ? args.indexOf('--') : args.length;
const chosen = cut > 0 ? args.slice(0, cut) : checkers;
const results = [];
for (const checker of chosen) {
  if (!checkers.includes(checker))
    fail(`no such checker: ${checker}; there are ${checkers.join(', ')}`);
  results.push(
    await counted(
      'cargo',
      ['test', '--locked', '--release', '-p', 'heapwright-two-level']
        .concat(['--test', `${checker}_remote`])
        .concat(args.slice(cut)),
      {
        ...process.env,
        RUSTFLAGS: `--cfg ${checker}`,
        CARGO_TARGET_DIR: join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), checker),
        // The link step of the addon's profile is of no use here.
        CARGO_PROFILE_RELEASE_LTO: 'off',
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
      },
    ),
  );
}
finish('models', results);
=======
 * @file Model checks of the two-level engine: the same sources over loom's and shuttle's atomics.
 *
 *     node scripts/models.mjs [loom | shuttle]
 *
 * loom visits all C11 executions of tiny cases (bounded preemptions), shuttle random schedules of larger
 * ones; a failing shuttle schedule prints what replays it. HEAPWRIGHT_TORTURE=1 takes the full counts.
 * The exhaustive model of the protocol is an ordinary test (`cargo test -p heapwright-two-level`), and
 * ThreadSanitizer is `tsan.mjs`.
 *
 * Each needs a build of its own: `--cfg` goes to every crate.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fail, has, root } from './steps.mjs';

const checkers = ['loom', 'shuttle'];
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !checkers.includes(name));
if (unknown !== undefined) fail(`${unknown} is no model checker: take ${checkers.join(' or ')}`);
if (!has('cargo')) fail('cargo was not found: install Rust from https://rustup.rs');

for (const checker of wanted.length > 0 ? wanted : checkers) {
  const target = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), checker);
  const args = ['test', '-p', 'heapwright-two-level', '--release', '--test', `${checker}_remote`];
  process.stderr.write(`models: RUSTFLAGS="--cfg ${checker}" cargo ${args.join(' ')}\n`);
  const { status } = spawnSync('cargo', args, {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      RUSTFLAGS: `--cfg ${checker}`,
      CARGO_TARGET_DIR: target,
      // A checked build is run once: link it fast.
      CARGO_PROFILE_RELEASE_LTO: 'off',
      CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
    },
  });
  if (status !== 0) fail(`${checker} found a fault, or could not run`);
}
>>>>>>> 757cfe3 (Check the models with one command)
