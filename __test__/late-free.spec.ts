/**
 * @file A wrong program's free that comes late: from what a thread read of the page map before the slab
 * went to another, who lets go in the middle of that free. It succeeds once, and the heap lives on.
 *
 * The moment is held open by a page map that is asked twice: the first answer is of long ago, and the
 * second is given only when the owner is gone.
 *
 * Not here: the same steps without JavaScript (`late_free.rs` of the engine's tests).
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Heap, MiB } from '../index.ts';
import { AREA, HeapMemory } from '../src/heap-memory.ts';
import { root } from './support/child.ts';

const entry = `file://${root}dist/index.js`;
const script = new URL('support/heap-worker.mjs', import.meta.url);

/** Those of one test: where it fails, some wait for a signal that does not come. */
const workers: Worker[] = [];

function start(heap: Heap, job: Record<string, unknown>): Worker {
  const worker = new Worker(script, { workerData: { entry, handle: heap.handle, job } });
  workers.push(worker);
  return worker;
}

afterEach(async () => {
  vi.restoreAllMocks();
  answers.length = 0;
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

/** What the owner's plain stores do to the state of a block, by now. */
let store: (p: number, value: 0 | 1) => void;

/** The answers of a page map to come, before it tells the truth again. */
const answers: ((truth: number) => number)[] = [];

/** A shared heap whose page map gives {@link answers}. */
function heapWithMemories(): Heap {
  const sharedMode = HeapMemory.prototype.sharedMode;
  vi.spyOn(HeapMemory.prototype, 'sharedMode').mockImplementation(function (this: HeapMemory) {
    const memory = sharedMode.call(this);
    const pageMap = new Proxy(memory.pageMap, {
      get: (words, index) => {
        const truth = words[index as unknown as number] as number;
        return answers.shift()?.(truth) ?? truth;
      },
    });
    store = (p, value) => {
      memory.state[p / 16] = value;
    };
    return { ...memory, pageMap };
  });
  return new Heap({ size: MiB(4), maxThreads: 4 });
}

const notLive = expect.objectContaining({ code: 'ERR_NOT_ALLOCATED' });

/** A word of the page map for the class of `word`, of a public page of a slab that `slot` owns. */
function wordOf(word: number, slot: number): number {
  return (word & AREA.classMask) | AREA.isPublic | (slot << AREA.ownerShift);
}

/** A worker with ten live blocks, and how to make it let go, now. */
async function owner(heap: Heap) {
  const gate = new SharedArrayBuffer(8);
  const worker = start(heap, { name: 'leaveAtSignal', count: 10, gate });
  const [{ ps }] = (await once(worker, 'message')) as [{ ps: number[] }];
  const flag = new Int32Array(gate);
  const letGo = (): void => {
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
    expect(Atomics.wait(flag, 1, 0, 10_000)).not.toBe('timed-out');
  };
  return { ps, letGo, gone: once(worker, 'exit') };
}

/** A worker that frees `ps` when it is told to, and keeps what it has until it is told to let go. */
async function freer(heap: Heap, ps: number[]) {
  const gate = new SharedArrayBuffer(8);
  const worker = start(heap, { name: 'freeAtSignal', ps, gate });
  await once(worker, 'message');
  const flag = new Int32Array(gate);
  const signal = (value: number): void => {
    Atomics.store(flag, 0, value);
    Atomics.notify(flag, 0);
  };
  return {
    /** How many it freed. */
    free(): number {
      signal(1);
      expect(Atomics.wait(flag, 1, 0, 10_000)).not.toBe('timed-out');
      return (flag[1] as number) - 1;
    },
    letGo: () => signal(2),
    gone: once(worker, 'exit'),
  };
}

describe('A free that comes late', () => {
  // As the page map said: the slab was the freer's own (slot 0), or that of a third thread.
  for (const [whose, slot] of [
    ["the freer's own", 0],
    ["another's", 3],
  ] as const) {
    for (const what of ['heap', 'pool'] as const) {
      it(`succeeds once where the block was ${whose}, freed by the ${what}`, async () => {
        const heap = heapWithMemories();
        const pool = heap.pool(64);
        const { ps, letGo, gone } = await owner(heap);
        const free = what === 'heap' ? heap.free : pool.free;
        const late = ps[4] as number;
        answers.push(
          (truth) => wordOf(truth, slot),
          (truth) => {
            letGo();
            return truth;
          },
        );
        free(late);
        // A pool asks once only where it does not own the slab.
        for (const answer of answers.splice(0)) answer(0);
        await gone;
        expect(() => heap.free(late)).toThrow(notLive);
        for (const p of ps) if (p !== late) heap.free(p);
        const again = Array.from({ length: 5000 }, () => heap.alloc(64));
        expect(new Set(again).size).toBe(5000);
        expect(heap.check()).toBe(5000);
        for (const p of again) heap.free(p);
        expect(heap.check()).toBe(0);
        heap.close();
      });
    }
  }

  for (const what of ['heap', 'pool'] as const) {
    it(`goes to the owner, where the block was the freer's own, freed by the ${what}`, async () => {
      const heap = heapWithMemories();
      const pool = heap.pool(64);
      const { ps, letGo, gone } = await owner(heap);
      const free = what === 'heap' ? heap.free : pool.free;
      for (const p of ps) {
        answers.push((truth) => wordOf(truth, 0));
        free(p);
        // A block of another's slab in the freer's magazines is what this looks for.
        expect(heap.check()).toBeLessThan(10);
      }
      letGo();
      await gone;
      expect(heap.check()).toBe(0);
      heap.close();
    });
  }

  for (const what of ['heap', 'pool'] as const) {
    it(`is refused where its owner freed the block and died, freed by the ${what}`, async () => {
      const heap = heapWithMemories();
      const pool = heap.pool(64);
      const { ps, letGo, gone } = await owner(heap);
      const free = what === 'heap' ? heap.free : pool.free;
      const late = ps[4] as number;
      answers.push(
        (truth) => wordOf(truth, 0),
        (truth) => {
          // The owner was between its look and its store; then the slab became this thread's.
          store(late, 0);
          letGo();
          return wordOf(truth, 0);
        },
      );
      expect(() => free(late)).toThrow(notLive);
      await gone;
      const again = Array.from({ length: 5000 }, () => heap.alloc(64));
      expect(new Set(again).size).toBe(5000);
      expect(heap.check()).toBe(5009);
      heap.close();
    });
  }

  // Of a block that is its own by what it knows, and of another's.
  for (const [what, slot] of [
    ['heap', 0],
    ['pool', 0],
    ['heap', 3],
  ] as const) {
    it(`takes no other thread's claim back (${what}, by a word of slot ${slot})`, async () => {
      const heap = heapWithMemories();
      const pool = heap.pool(64);
      const { ps, letGo, gone } = await owner(heap);
      const p = ps[4] as number;
      // A free by way of Rust, which makes the page public, and one by the fast path.
      const other = await freer(heap, [ps[0] as number, p]);
      answers.push(
        (truth) => wordOf(truth, slot),
        (truth) => {
          // Freed by its owner, who had looked before; handed out once more; and freed by a third thread.
          store(p, 0);
          store(p, 1);
          expect(other.free()).toBe(2);
          return truth;
        },
      );
      const free = what === 'heap' ? heap.free : pool.free;
      expect(() => free(p)).toThrow(notLive);
      expect(answers).toEqual([]);
      expect(() => heap.free(p)).toThrow(notLive);
      other.letGo();
      letGo();
      await Promise.all([gone, other.gone]);
      expect(heap.check()).toBe(8);
      heap.close();
    });
  }
});

describe('A thread without a mark of its own', () => {
  for (const what of ['heap', 'pool'] as const) {
    it(`leaves what takes an atomic to Rust (${what})`, async () => {
      const sharedMode = HeapMemory.prototype.sharedMode;
      const exchange = vi.spyOn(Atomics, 'compareExchange');
      vi.spyOn(HeapMemory.prototype, 'sharedMode').mockImplementation(function (this: HeapMemory) {
        return { ...sharedMode.call(this), mark: 0 };
      });
      const heap = new Heap({ size: MiB(4), maxThreads: 4 });
      const pool = heap.pool(64);
      const free = what === 'heap' ? heap.free : pool.free;
      const { ps, letGo, gone } = await owner(heap);
      const own = Array.from({ length: 1000 }, () => heap.alloc(64));
      // Both threads' pages are public from here on.
      const other = await freer(heap, own.splice(0, 1));
      expect(other.free()).toBe(1);
      for (const p of [...own, ...ps]) {
        free(p);
        expect(() => free(p)).toThrow(notLive);
      }
      expect(exchange.mock.calls.length).toBe(0);
      other.letGo();
      letGo();
      await Promise.all([gone, other.gone]);
      expect(heap.check()).toBe(0);
      heap.close();
    });
  }
});
