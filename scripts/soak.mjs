/**
 * @file `npm run soak`: every kind and the Heap, used together for a long time, with workers that come and
 * go (A24).
 *
 *     npm run soak [-- seconds]           300 by default; the seed comes from HEAPWRIGHT_SEED
 *
 * Each cycle lasts about a second: workers attach to one heap and churn, blocks go from hand to hand, the
 * main thread works through all kinds, closes one allocator and makes it anew, and opens a heap of its own;
 * then the workers go, some by themselves and some by `terminate`, and `check()` must be clean everywhere. Every
 * few cycles everything is freed, nothing may be left, and the resident memory is noted after a garbage
 * collection; a line through these notes, without the first third of them, may rise by 1 % at most.
 *
 * What is bounded but takes its time to get there is not what this looks for. So a judged run first makes as
 * many heaps as get code of their own (256 copies in all, `docs/heap.md`), and the first third is left
 * out: V8 and malloc settle. A run of less than a minute tells its slope, and is not judged by it.
 *
 * Needs a build. Not here: the models and oracles (`__test__/`); this looks for what grows.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { random } from '../__test__/support/split-mix.mjs';
import { Heap, MiB, createAllocator } from '../dist/index.js';

/** The least run that is judged by its slope, in seconds. */
const JUDGED_SECONDS_MIN = 60;

/** The most that the line through the resident memory may rise. */
const RISE_MAX = 0.01;

const WORKERS = 3;

/** Heaps that are made before the time runs: with a pool each, more than get code of their own. */
const WARM_UP_HEAPS = 150;

/** Every so many cycles everything is freed, and the resident memory noted. */
const REST_CYCLES = 3;

/** Allocates or frees one block at random, of at most `most`; a refusal for want of memory is an answer. */
function step(live, most, next, alloc, free) {
  if (live.length < most && (live.length === 0 || next(2) === 0)) {
    try {
      live.push(alloc());
    } catch (error) {
      if (error.code !== 'ERR_NO_MEMORY') throw error;
      if (live.length > 0) free(live.pop());
    }
    return;
  }
  const at = next(live.length);
  const last = live.pop();
  if (at === live.length) {
    free(last);
  } else {
    free(live[at]);
    live[at] = last;
  }
}

/** Sizes of all magnitudes, mostly small. */
function size(next, largest) {
  return 1 + next(next(20) === 0 ? largest : 300);
}

/** An allocator under use: some steps, everything freed. Each is made anew from time to time. */
class Subject {
  #make;
  #most;
  #live = [];

  constructor(name, most, make) {
    this.name = name;
    this.#most = most;
    this.#make = make;
    this.open();
  }

  open() {
    Object.assign(this, this.#make());
  }

  turn(next, steps) {
    for (let i = 0; i < steps; i += 1) {
      step(this.#live, this.#most, next, () => this.alloc(next), this.free);
    }
    this.allocator.check();
  }

  freeAll() {
    for (const p of this.#live.splice(0)) this.free(p);
    this.allocator.check();
    const { used, usedBytes = used } = this.allocator.stats();
    if (usedBytes !== 0 && usedBytes !== undefined)
      throw new Error(`${this.name}: ${usedBytes} bytes are left`);
  }

  /** With blocks in it or without. */
  renew(next) {
    if (next(2) === 0) this.freeAll();
    this.#live = [];
    this.allocator.close();
    this.open();
  }
}

/** A kind that hands out bytes; each block is written to. */
function bytes(kind, more = {}) {
  return new Subject(kind, 800, () => {
    const allocator = createAllocator({ kind, size: MiB(8), ...more });
    return {
      allocator,
      alloc(next) {
        const wanted = size(next, 20_000);
        let p = next(8) === 0 ? allocator.allocZeroed(wanted) : allocator.alloc(wanted);
        allocator.view(p).fill(next(256));
        if (next(8) === 0) p = allocator.realloc(p, size(next, 20_000));
        return p;
      },
      free: (p) => allocator.dealloc(p),
    };
  });
}

/** A kind that hands out pages. */
function pages(kind) {
  return new Subject(kind, 300, () => {
    const allocator = createAllocator({ kind, size: MiB(16), memory: true });
    return {
      allocator,
      alloc(next) {
        const p = allocator.allocPages(1 + next(8));
        allocator.view(p, 64).fill(next(256));
        return p;
      },
      free: (p) => allocator.deallocPages(p),
    };
  });
}

/** Slabs of the bare cache, on pages of the test's own. */
function slabCache() {
  return new Subject('slab-cache', 800, () => {
    const allocator = createAllocator({ kind: 'slab-cache' });
    const buddy = createAllocator({ kind: 'buddy-pages', size: MiB(8) });
    const close = allocator.close.bind(allocator);
    allocator.close = () => {
      close();
      buddy.close();
    };
    return {
      allocator,
      alloc(next) {
        const wanted = 1 + next(2000);
        for (;;) {
          const made = allocator.alloc(wanted);
          if (made.state === 'allocated') return made.pos;
          allocator.addSlab(
            made.sizeClass,
            buddy.allocPages(made.pages, made.pages * 4096),
            made.pages,
          );
        }
      },
      free(p) {
        const freed = allocator.dealloc(p);
        if (freed.state === 'freeSlab') buddy.deallocPages(freed.base);
      },
    };
  });
}

function subjects() {
  return [
    bytes('buddy'),
    bytes('tlsf'),
    bytes('slab'),
    bytes('two-level', { cpus: 2 }),
    pages('bitmap'),
    pages('buddy-pages'),
    slabCache(),
    new Subject('id', 5000, () => {
      const allocator = createAllocator({ kind: 'id', size: 100_000 });
      return {
        allocator,
        alloc: () => allocator.allocId(),
        free: (id) => allocator.deallocId(id),
      };
    }),
  ];
}

/** One block of a heap, by whatever way. */
function allocOn(heap, pool, next) {
  const wanted = size(next, 60_000);
  const way = next(10);
  if (way < 3) return pool.alloc();
  if (way === 3) return heap.allocZeroed(wanted);
  if (way === 4) return heap.alloc(wanted, 64);
  const p = heap.alloc(wanted);
  heap.u8[p] = way;
  return way === 5 ? heap.realloc(p, size(next, 60_000)) : p;
}

/** What all threads do to the heap: own blocks, and swaps with places that all share. */
function churn(heap, pool, table, next, live, steps) {
  for (let i = 0; i < steps; i += 1) {
    step(
      live,
      400,
      next,
      () => allocOn(heap, pool, next),
      (p) => {
        const other = Atomics.exchange(table, next(table.length), p / 16);
        if (other !== 0) heap.free(other * 16);
      },
    );
  }
}

/** A worker: churns until it is told to stop, or terminated. */
function work() {
  const { handle, places, stop, seed } = workerData;
  const heap = Heap.attach(handle);
  const next = random(seed);
  const live = [];
  const [pool, table, flag] = [heap.pool(64), new Int32Array(places), new Int32Array(stop)];
  parentPort.postMessage('ready');
  while (Atomics.load(flag, 0) === 0) churn(heap, pool, table, next, live, 1000);
  for (const p of live) heap.free(p);
  heap.close();
}

/** A heap that is made, used and closed within one cycle, with `debug: true` now and then. */
function shortHeap(next) {
  const heap = new Heap({ size: MiB(16), debug: next(4) === 0 });
  const live = [];
  const pool = heap.pool(100);
  for (let i = 0; i < 2000; i += 1) {
    step(
      live,
      200,
      next,
      () => (next(3) === 0 ? pool.alloc() : heap.alloc(size(next, 9000))),
      (p) => heap.free(p),
    );
  }
  for (const p of live) heap.free(p);
  heap.check();
  if (next(2) === 0) heap.close();
  else heap.destroy();
}

/** How much of its mean a least-squares line through `values` rises from its first to its last. */
function riseOf(values) {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const middle = (n - 1) / 2;
  let [covariance, variance] = [0, 0];
  for (const [index, value] of values.entries()) {
    covariance += (index - middle) * (value - mean);
    variance += (index - middle) ** 2;
  }
  return variance === 0 ? 0 : ((covariance / variance) * (n - 1)) / mean;
}

/** A garbage collection, without a flag on the command line. */
function collector() {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}

async function main(seconds) {
  const seed = Number(process.env.HEAPWRIGHT_SEED ?? 0xa24) >>> 0;
  console.log(`soak: ${seconds} s, HEAPWRIGHT_SEED=0x${seed.toString(16)}`);
  const next = random(seed);
  const gc = collector();
  const all = subjects();
  const heap = new Heap({ size: MiB(64), maxThreads: WORKERS + 2 });
  const { handle } = heap;
  const pool = heap.pool(64);
  const places = new SharedArrayBuffer(4 * 200);
  const table = new Int32Array(places);
  const live = [];
  const notes = [];
  const freeHeap = () => {
    for (const p of live.splice(0)) heap.free(p);
    for (const granule of table) if (granule !== 0) heap.free(granule * 16);
    table.fill(0);
  };
  let [cycles, workersGone] = [0, 0];
  const judged = seconds >= JUDGED_SECONDS_MIN;
  for (let i = 0; judged && i < WARM_UP_HEAPS; i += 1) shortHeap(next);
  const started = process.hrtime.bigint();
  const elapsed = () => Number(process.hrtime.bigint() - started) / 1e9;
  for (let cycle = 0; elapsed() < seconds; cycle += 1) {
    const stop = new SharedArrayBuffer(4);
    const workers = Array.from(
      { length: WORKERS },
      () =>
        new Worker(fileURLToPath(import.meta.url), {
          workerData: { handle, places, stop, seed: next(2 ** 32) },
        }),
    );
    const exits = workers.map((worker) => once(worker, 'exit'));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const until = elapsed() + 0.6;
    while (elapsed() < until) {
      for (const subject of all) subject.turn(next, 400);
      churn(heap, pool, table, next, live, 4000);
      heap.check();
      // Lets messages and finalizers through.
      await new Promise((resolve) => setImmediate(resolve));
    }
    all[cycle % all.length].renew(next);
    shortHeap(next);
    await workers[cycle % WORKERS].terminate();
    Atomics.store(new Int32Array(stop), 0, 1);
    await Promise.all(exits);
    workersGone += WORKERS;
    cycles += 1;
    if (heap.stats().threads !== 1) throw new Error('a worker that is gone is still attached');
    // What the terminated one left behind is known to nobody.
    const known = new Set([...live, ...Array.from(table, (granule) => granule * 16)]);
    heap.walk((p) => {
      if (!known.has(p)) heap.free(p);
    });
    heap.check();
    if (cycle % REST_CYCLES === REST_CYCLES - 1) {
      // At rest: what random populations hold, or touched once, would hide what nobody holds.
      for (const subject of all) {
        subject.freeAll();
        subject.renew(next);
      }
      freeHeap();
      heap.trim();
      for (let turn = 0; turn < 3; turn += 1) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      notes.push(process.memoryUsage.rss());
    }
  }
  for (const subject of all) {
    subject.freeAll();
    subject.allocator.close();
  }
  freeHeap();
  heap.trim();
  const { blocks, used, cached, allocs, frees } = heap.stats();
  if (heap.check() + blocks + used + cached !== 0) throw new Error(`the heap holds ${used} bytes`);
  heap.close();
  const settled = notes.slice(Math.floor(notes.length / 3));
  const rise = riseOf(settled);
  const mib = (bytes) => (bytes / MiB(1)).toFixed(1);
  console.log(
    `${cycles} cycles, ${workersGone} workers, ${allocs} blocks allocated and ${frees} freed on the ` +
      `heap; resident ${mib(settled[0] ?? 0)} MiB after a third, ${mib(settled.at(-1) ?? 0)} MiB at the ` +
      `end, at most ${mib(Math.max(...notes))}`,
  );
  const few = notes.filter((_, index) => index % Math.ceil(notes.length / 20) === 0);
  console.log(`MiB at rest: ${few.map(mib).join(' ')}`);
  const passed = !judged || rise <= RISE_MAX;
  const verdict = judged ? `at most ${RISE_MAX * 100} % allowed` : 'too short to be judged';
  console.log(`soak: the resident memory rose by ${(rise * 100).toFixed(2)} % (${verdict})`);
  console.log(passed ? '1 passed, 0 failed' : '0 passed, 1 failed');
  return passed ? 0 : 1;
}

if (isMainThread) process.exit(await main(Number(process.argv[2] ?? 300)));
else work();
