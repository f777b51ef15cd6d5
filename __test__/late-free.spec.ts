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

afterEach(() => {
  vi.restoreAllMocks();
});

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
    return { ...memory, pageMap };
  });
  return new Heap({ size: MiB(4), maxThreads: 4 });
}

/** A word of the page map for the class of `word`, of a public page of a slab that `slot` owns. */
function wordOf(word: number, slot: number): number {
  return (word & AREA.classMask) | AREA.isPublic | (slot << AREA.ownerShift);
}

/** A worker with ten live blocks, and how to make it let go, now. */
async function owner(heap: Heap) {
  const gate = new SharedArrayBuffer(8);
  const job = { name: 'leaveAtSignal', count: 10, gate };
  const worker = new Worker(script, { workerData: { entry, handle: heap.handle, job } });
  const [{ ps }] = (await once(worker, 'message')) as [{ ps: number[] }];
  const flag = new Int32Array(gate);
  const letGo = (): void => {
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
    expect(Atomics.wait(flag, 1, 0, 10_000)).not.toBe('timed-out');
  };
  return { ps, letGo, gone: once(worker, 'exit') };
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
        const notLive = expect.objectContaining({ code: 'ERR_NOT_ALLOCATED' });
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
});
