/**
 * @file A worker that allocates and frees at random, others' blocks and freed ones too, and writes what
 * it called, when, and what came of it into shared memory: a history (A20).
 *
 * ```text
 * control   0 clock · 1 round, -1 for the end · 2 arrived · 3 operations · 8 + worker: rounds done
 * log       count, then five words an operation: kind · granule · outcome · called · returned
 * table     granules that any worker may free
 * ```
 *
 * A call is on record before it is made, so that one that never returns is known.
 *
 * No top-level await: Node 20 aborts when a worker is terminated inside a module that has one.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { random } from './split-mix.mjs';

const { entry, handle, worker, workers, seed } = workerData;
const control = new Int32Array(workerData.control);
const table = new Int32Array(workerData.table);
const log = new Int32Array(workerData.log);

const sizes = [16, 64, 64, 64, 200, 1024, 5000, 40_000];

/** The outcome of a call: what `outcome` makes of its result, or 2 for `ERR_NOT_ALLOCATED`. */
function attempt(call, outcome) {
  try {
    return outcome(call());
  } catch (error) {
    if (error.code === 'ERR_NOT_ALLOCATED') return 2;
    if (error.code === 'ERR_NO_MEMORY') return 0;
    parentPort.postMessage({ failed: `${error.code}: ${error.message}` });
    return -1;
  }
}

function recorder(heap) {
  const record = (kind, granule, call, outcome) => {
    const count = log[0];
    const at = 1 + count * 5;
    log[at] = kind;
    log[at + 1] = granule;
    log[at + 2] = 0;
    log[at + 3] = -1; // Not called yet.
    log[at + 4] = 0;
    log[0] = count + 1;
    log[at + 3] = Atomics.add(control, 0, 1);
    const result = attempt(call, outcome);
    log[at + 4] = Atomics.add(control, 0, 1);
    log[at + 2] = result;
    return result;
  };
  return {
    alloc: (call) => record(1, 0, call, (p) => p / 16),
    free: (granule, call) =>
      record(
        2,
        granule,
        () => call(granule * 16),
        () => 1,
      ),
    look: (granule) =>
      record(
        3,
        granule,
        () => heap.isLive(granule * 16),
        (live) => (live ? 1 : 2),
      ),
  };
}

function play(heap, pool, stale, next, operations) {
  const { alloc, free, look } = recorder(heap);
  for (let i = 0; i < operations; i += 1) {
    const what = next(100);
    const place = next(table.length);
    if (what < 40) {
      const size = sizes[next(sizes.length)];
      const granule = alloc(
        size === 64 && next(2) === 0 ? () => pool.alloc() : () => heap.alloc(size),
      );
      if (granule > 0) stale.push(Atomics.exchange(table, place, granule));
    } else if (what < 92) {
      // Most of these race with the same free by others, or come a second time.
      const mine = stale.length > 8 ? stale.splice(next(stale.length), 1)[0] : 0;
      const granule = mine === 0 ? Atomics.load(table, place) : mine;
      if (granule > 0) free(granule, heap.free);
    } else if (what < 99) {
      const granule = Atomics.load(table, place);
      if (granule > 0) look(granule);
    } else {
      heap.trim();
    }
  }
}

async function main() {
  const { Heap } = await import(entry);
  const heap = Heap.attach(handle);
  const pool = heap.pool(64);
  const stale = [];
  let round = Atomics.load(control, 1);
  parentPort.postMessage({ ready: true });
  for (;;) {
    // A wake-up may be for the round that this worker has seen already.
    while (Atomics.load(control, 1) === round) Atomics.wait(control, 1, round);
    round = Atomics.load(control, 1);
    if (round < 0) return heap.close();
    // All at once, as far as there are processors.
    Atomics.add(control, 2, 1);
    for (let spins = 0; spins < 20_000 && Atomics.load(control, 2) < workers; spins += 1);
    play(heap, pool, stale, random(seed + round * workers + worker), control[3]);
    Atomics.store(control, 8 + worker, round);
    Atomics.notify(control, 8 + worker);
  }
}

void main();
