/**
 * @file Two threads free the same block in the same moment, on pages where both have freed before: one of
 * them wins, and the block is handed over once.
 *
 * The moments coincide only where there are two processors; on one, the outcome is the same.
 *
 * Not here: the first free of another thread in a page (`workers.spec.ts`).
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { Heap, MiB } from '../index.ts';
import { root } from './support/child.ts';
import { duel } from './support/duel.mjs';
import { rounds } from './support/random.ts';

const entry = `file://${root}dist/index.js`;
const script = new URL('support/heap-worker.mjs', import.meta.url);

/** Starts a worker with a job. */
function start(heap: Heap, job: Record<string, unknown>): Worker {
  return new Worker(script, { workerData: { entry, handle: heap.handle, job } });
}

describe('A duel of two frees', () => {
  it('has one winner', async () => {
    const heap = new Heap({ size: MiB(64), maxThreads: 4 });
    // One block of the class, and it is known that threads hand such blocks over.
    await once(start(heap, { name: 'freeAll', ps: [heap.alloc(64)] }), 'exit');
    for (let round = 0; round < rounds(2, 30); round += 1) {
      const ps = Array.from({ length: 200 }, () => heap.alloc(64));
      const gate = new SharedArrayBuffer(8);
      const flags = new Int32Array(gate);
      const worker = start(heap, { name: 'duel', ps, gate, me: 1 });
      const [message, gone] = [once(worker, 'message'), once(worker, 'exit')];
      while (Atomics.load(flags, 1) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      const mine = duel(heap, ps, flags, 0);
      const [theirs] = (await message) as [number[]];
      await gone;
      expect(theirs.map((won, i) => won + (mine[i] as number))).toEqual(ps.map(() => 1));
      expect(heap.check()).toBe(0);
    }
    const again = Array.from({ length: 3000 }, () => heap.alloc(64));
    expect(new Set(again).size).toBe(3000);
    heap.close();
  });

  it.each(['heap', 'pool'] as const)(
    'is lost by whoever comes a moment late (%s)',
    async (what) => {
      const heap = new Heap({ size: MiB(4), maxThreads: 4 });
      const pool = heap.pool(64);
      await once(start(heap, { name: 'freeAll', ps: [heap.alloc(64)] }), 'exit');
      // All pages of the class that are new now are public: an exchange decides.
      const ps = Array.from({ length: 2000 }, () => heap.alloc(64));
      const p = ps.at(-1) as number;
      const exchange = Atomics.compareExchange;
      const late = vi.spyOn(Atomics, 'compareExchange').mockImplementation(((
        ...operands: Parameters<typeof exchange>
      ) => {
        late.mockRestore();
        heap.free(p);
        return exchange(...operands);
      }) as typeof exchange);
      const free = what === 'heap' ? heap.free : pool.free;
      expect(() => free(p)).toThrow(expect.objectContaining({ code: 'ERR_NOT_ALLOCATED' }));
      late.mockRestore();
      expect(heap.check()).toBe(1999);
      for (const other of ps) if (other !== p) heap.free(other);
      expect(heap.check()).toBe(0);
      heap.close();
    },
  );
});
