/**
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
