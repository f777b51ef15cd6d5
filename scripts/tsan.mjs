/**
 * @file `npm run tsan`: the crates' tests under ThreadSanitizer, with one line at the end.
 *
 *     node scripts/tsan.mjs [crate…] [-- arguments of the test programs]
 *
 * Where the nightly compiler has the component `rust-src`, the standard library is built with the
 * sanitizer too, and every report counts but the one kind that `tsan.supp` explains. Without it
 * that library is not instrumented: what it synchronizes inside itself (a contended lock, the count
 * of an `Arc`, the channel of the test harness) is not seen, and `tsan-std.supp` leaves out reports
 * that have such a frame.
 *
 * Not here: the addon. Node itself is not built for ThreadSanitizer.
 */
import { join } from 'node:path';
import { finish, hasRustSource, setup, testCrates } from './sanitize.mjs';
import { root } from './steps.mjs';

const whole = hasRustSource();
// With `tsan` set, locks spin: what happens inside a contended one is not seen otherwise.
const flags = whole ? '' : ' -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan';
const suppressions = join(root, 'scripts', whole ? 'tsan.supp' : 'tsan-std.supp');
const build = setup(
  'tsan',
  `-Zsanitizer=thread${flags}`,
  // The faults that some tests provoke are judged by their parents, not by the runtime, and memory
  // that cannot be had is refused, as it is without the sanitizer.
  {
    TSAN_OPTIONS: `suppressions=${suppressions} handle_segv=0 handle_sigbus=0 allocator_may_return_null=1`,
  },
  whole ? ['-Zbuild-std'] : [],
);
finish(`tsan (standard library ${whole ? 'instrumented' : 'not instrumented'})`, [
  await testCrates(build, process.argv.slice(2)),
]);
