/**
 * @file Runs one case of `hazard-cases.mjs` (its index is the argument) and prints `ok`.
 *
 * A broken expectation is an exit code of 1 with its message on stderr; a crash or a hang is what the
 * parent is watching for.
 */
import * as api from '../../dist/index.js';
import { cases } from './hazard-cases.mjs';

const [row, what, run] = cases[Number(process.argv[2])];

function assert(condition, message) {
  if (!condition) throw new Error(`${row} (${what}): ${message}`);
}

const withoutFailures = (allocator) => {
  const { failures: _, ...rest } = allocator.stats();
  return JSON.stringify(rest);
};

const t = {
  hex: (address) => `0x${address.toString(16)}`,
  ok: (condition, message = 'does not hold') => assert(condition, message),
  equal: (found, wanted) => assert(found === wanted, `${found} is not ${wanted}`),
  /** Blocks of `size` until there are no more. */
  fill(allocator, size) {
    const blocks = [];
    try {
      for (;;) blocks.push(allocator.alloc(size));
    } catch (error) {
      assert(error.code === 'ERR_NO_MEMORY', error.stack);
    }
    return blocks;
  },
  throws(code, pattern, call) {
    let error;
    try {
      call();
    } catch (thrown) {
      error = thrown;
    }
    assert(error !== undefined, `${call} did not throw`);
    assert(error instanceof api.AllocError && error.name === 'AllocError', error.stack);
    assert(error.code === code, `${error.code} (${error.message}) is not ${code}`);
    assert(new RegExp(pattern, 'su').test(error.message), `'${error.message}' lacks ${pattern}`);
    return error;
  },
  /** As `throws`, and the allocator is exactly as it was. */
  refuses(allocator, code, pattern, call) {
    const before = withoutFailures(allocator);
    const error = t.throws(code, pattern, call);
    assert(withoutFailures(allocator) === before, `${code} changed the allocator`);
    allocator.check();
    return error;
  },
};

await run(api, t);
process.stdout.write('ok\n');
