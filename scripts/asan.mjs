/**
 * @file `npm run asan`: the crates' tests under AddressSanitizer, then the addon in a plain Node.
 *
 *     node scripts/asan.mjs [crate…] [-- arguments of the test programs]
 *     node scripts/asan.mjs addon [spec…]
 *
 * Without arguments both run, with one line at the end. The addon is built with the sanitizer and
 * loaded by an ordinary Node into which gcc's `libasan` is preloaded, which offers the interface
 * that rustc's instrumentation calls; vitest then runs the specs of the allocators. Leaks are
 * looked for in the crates only: Node itself leaves memory to the system when it ends.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { counted, finish, setup, testCrates } from './sanitize.mjs';
import { root } from './steps.mjs';

/** The specs that put every native call through its paces, as far as they exist. */
const specs =
  'bitmap buddy byte-kinds debug gc hazards heap id isolation misuse model pool regain region slab tlsf two-level workers'.split(
    ' ',
  );

const build = setup('asan', '-Zsanitizer=address', {
  ASAN_OPTIONS: [
    // The faults that some tests provoke are judged by their parents, not by the runtime.
    'handle_segv=0',
    'handle_sigbus=0',
    // Memory that cannot be had is refused, as it is without the sanitizer.
    'allocator_may_return_null=1',
    'detect_stack_use_after_return=1',
    'quarantine_size_mb=32',
  ].join(':'),
  LSAN_OPTIONS: `suppressions=${join(root, 'scripts/lsan.supp')}:print_suppressions=0`,
});

/** The shared runtime of gcc; rustc brings a static one only, which a library cannot link. */
function sharedRuntime() {
  const { stdout } = spawnSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  const path = stdout?.trim() ?? '';
  return isAbsolute(path) && existsSync(path) ? path : undefined;
}

/** Builds the addon with the sanitizer and runs the specs on it. */
async function testAddon(chosen) {
  const runtime = sharedRuntime();
  if (runtime === undefined) {
    console.log('asan: the addon is left out, gcc has no shared libasan here');
    return [];
  }
  const built = await counted(
    'cargo',
    ['+nightly', 'build', '--locked', '--target', build.target, '-p', 'heapwright-node'],
    build.env,
  );
  if (built.code !== 0) return [built];
  const addon = join(build.folder, 'addon', 'heapwright.asan.node');
  mkdirSync(join(build.folder, 'addon'), { recursive: true });
  copyFileSync(join(build.folder, 'libheapwright_node.so'), addon);
  const files = chosen
    .map((spec) => `__test__/${spec}.spec.ts`)
    .filter((file) => existsSync(join(root, file)));
  if (files.length === 0) return [built];
  const { RUSTFLAGS: _, ...env } = build.env;
  const result = await counted(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--config',
      'scripts/vitest.asan.config.mjs',
      ...files,
    ],
    {
      ...env,
      ASAN_OPTIONS: `${env.ASAN_OPTIONS}:detect_leaks=0`,
      LD_PRELOAD: runtime,
      HEAPWRIGHT_ASAN_ADDON: addon,
    },
  );
  return [result];
}

const args = process.argv.slice(2);
const results = [];
if (args[0] !== 'addon') results.push(await testCrates(build, args));
if (args.length === 0) results.push(...(await testAddon(specs)));
if (args[0] === 'addon')
  results.push(...(await testAddon(args.length > 1 ? args.slice(1) : specs)));
finish('asan', results);
