/**
 * @file One heap on many threads: hand-over, races, termination, destroy, churn (A9 to A12, A20).
 *
 * Workers import the built package, as a user's do.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { Heap, MiB } from '../index.ts';
import { root } from './support/child.ts';
import { duel } from './support/duel.mjs';
import { Random, rounds, seedOf } from './support/random.ts';

const entry = `file://${root}dist/index.js`;
const script = new URL('support/heap-worker.mjs', import.meta.url);
const opened: Heap[] = [];

afterEach(() => {
  for (const heap of opened.splice(0)) heap.close();
});

/*
 * The test's own heap comes from the source, the workers' from `dist`: both are the same binary, whose
 * statics all threads of a process share.
 */
function heapOf(size = MiB(64), maxThreads = 16): Heap {
  const heap = new Heap({ size, maxThreads });
  opened.push(heap);
  return heap;
}

function start(heap: Heap, job: Record<string, unknown>): Worker {
  return new Worker(script, { workerData: { entry, handle: heap.handle, job } });
}

async function answer<T>(worker: Worker): Promise<T> {
  const [message] = (await once(worker, 'message')) as [T & { failed?: string; message?: string }];
  if (message.failed !== undefined)
    throw new Error(`worker: ${message.failed}: ${message.message}`);
  return message;
}

async function run<T>(heap: Heap, job: Record<string, unknown>): Promise<T> {
  const worker = start(heap, job);
  const gone = once(worker, 'exit');
  const result = await answer<T>(worker);
  await gone;
  return result;
}

describe('Heap on several threads', () => {
  it('is exclusive until a second thread attaches', async () => {
    const heap = heapOf();
    const pool = heap.pool(64);
    const stale = {
      alloc: heap.alloc,
      free: heap.free,
      poolAlloc: pool.alloc,
      poolFree: pool.free,
    };
    const p = stale.alloc(64);
    const q = stale.poolAlloc();
    expect(heap.stats()).toMatchObject({ shared: false, threads: 1 });
    const { handle } = heap;
    expect(structuredClone(handle)).toEqual(handle);
    expect(Heap.attach(handle)).toBe(heap);
    expect(heap.stats().shared).toBe(false);
    // Functions of the exclusive path that a program kept still do the right thing.
    expect(heap.isLive(p)).toBe(true);
    stale.free(p);
    stale.poolFree(q);
    const r = stale.alloc(100);
    const s = stale.poolAlloc();
    expect(heap.isLive(r)).toBe(true);
    expect(heap.isLive(s)).toBe(true);
    expect(heap.check()).toBe(2);
    heap.free(r);
    pool.free(s);
    const { same } = await run<{ same: boolean }>(heap, { name: 'attachTwice' });
    expect(same).toBe(true);
    expect(heap.stats()).toMatchObject({ shared: true, blocks: 0 });
    expect(heap.check()).toBe(0);
  });

  it('refuses handles that were forged, and those of heaps that are gone', () => {
    const heap = heapOf(MiB(1));
    const { handle } = heap;
    const code = (h: unknown): string => {
      try {
        Heap.attach(h as never);
      } catch (error) {
        return (error as { code: string }).code;
      }
      return 'attached';
    };
    expect(code({ ...handle, id: handle.id + 1000 })).toBe('ERR_INVALID_PARAM');
    expect(code({ ...handle, generation: handle.generation + 1 })).toBe('ERR_INVALID_PARAM');
    expect(code({ ...handle, heapwright: 'pile' })).toBe('ERR_INVALID_PARAM');
    expect(code({ ...handle, id: -1 })).toBe('ERR_INVALID_PARAM');
    expect(code({ ...handle, id: '1' })).toBe('ERR_INVALID_ARG_TYPE');
    expect(code(null)).toBe('ERR_INVALID_ARG_TYPE');
    expect(code('heap')).toBe('ERR_INVALID_ARG_TYPE');
    heap.close();
    expect(code(handle)).toBe('ERR_CLOSED');
  });

  it('lets any thread free, and counts blocks of all', async () => {
    const heap = heapOf();
    const { ps } = await run<{ ps: number[] }>(heap, { name: 'leave', count: 2000 });
    expect(heap.stats().blocks).toBe(2000);
    for (const p of ps.slice(0, 1000)) heap.free(p);
    const mine = Array.from({ length: 500 }, () => heap.alloc(100));
    const freed = await run(heap, { name: 'freeAll', ps: [...ps.slice(1000), ...mine] });
    expect(freed).toEqual({ freed: 1500, refused: 0 });
    heap.trim();
    expect(heap.stats()).toMatchObject({ blocks: 0, used: 0, threads: 1 });
    expect(heap.check()).toBe(0);
  });

  it('gives exactly one of several racing frees the success', async () => {
    const heap = heapOf();
    for (let round = 0; round < rounds(2, 20); round += 1) {
      const ps = Array.from({ length: 5000 }, (_, i) => heap.alloc(16 + (i % 400)));
      const gate = new SharedArrayBuffer(4);
      const results = await Promise.all(
        [1, 2, 3].map(() =>
          run<{ freed: number; refused: number }>(heap, { name: 'race', ps, gate, parties: 3 }),
        ),
      );
      expect(results.reduce((sum, r) => sum + r.freed, 0)).toBe(5000);
      expect(results.reduce((sum, r) => sum + r.refused, 0)).toBe(10_000);
      expect(heap.check()).toBe(0);
    }
  });

  it('gives one of two racing frees the success where the other thread is the first to free in a page', async () => {
    for (let round = 0; round < rounds(4, 100); round += 1) {
      const heap = heapOf(MiB(64));
      // As the owner frees by plain stores until another thread comes: a block of each of many fresh pages.
      const pages = new Map<number, number>();
      for (let i = 0; i < 12_000; i += 1) {
        const p = heap.alloc(16 + ((i % 40) + 1) * 24);
        if (!pages.has(p >>> 12)) pages.set(p >>> 12, p);
      }
      const ps = [...pages.values()];
      const blocks = heap.stats().blocks;
      const gate = new SharedArrayBuffer(8);
      const theirs = run<number[]>(heap, { name: 'duel', ps, gate, me: 1 });
      const flags = new Int32Array(gate);
      while (Atomics.load(flags, 1) === 0) await sleep(1);
      const mine: number[] = duel(heap, ps, flags, 0);
      const both = (await theirs).map((won, i) => won + (mine[i] as number));
      expect(both).toEqual(ps.map(() => 1));
      expect(heap.stats().blocks).toBe(blocks - ps.length);
      expect(heap.check()).toBe(blocks - ps.length);
      heap.close();
    }
  });

  it('survives stress by eight workers that hand blocks over (A9)', async () => {
    const seed = seedOf('worker stress', 0xa9);
    for (let round = 0; round < rounds(1, 3); round += 1) {
      const heap = heapOf(MiB(256), 16);
      const slots = new SharedArrayBuffer(4 * 1000);
      const steps = rounds(60_000, 700_000);
      const results = await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          run<{ errors: number }>(heap, {
            name: 'stress',
            seed: seed + round * 8 + i,
            steps,
            slots,
          }),
        ),
      );
      expect(results.reduce((sum, r) => sum + r.errors, 0)).toBe(0);
      for (const granule of new Int32Array(slots)) if (granule !== 0) heap.free(granule * 16);
      heap.trim();
      expect(heap.stats()).toMatchObject({ blocks: 0, used: 0, threads: 1 });
      expect(heap.check()).toBe(0);
      heap.close();
    }
  }, 300_000);

  it('does not hoard where one thread only allocates and another only frees (A10)', async () => {
    const heap = heapOf(MiB(64));
    const producer = start(heap, { name: 'produce', count: 3000 });
    await answer(producer);
    let early = 0;
    const total = rounds(60, 200);
    for (let round = 1; round <= total; round += 1) {
      producer.postMessage('go');
      const { ps } = await answer<{ ps: Float64Array }>(producer);
      for (const p of ps) heap.free(p);
      const slabs = heap.stats().classes.reduce((sum, c) => sum + c.slabs, 0);
      if (round === 3) early = slabs;
      if (round === total) expect(slabs).toBeLessThanOrEqual(early + 1);
    }
    await producer.terminate();
    heap.trim();
    expect(heap.check()).toBe(0);
  }, 60_000);

  it('loses nothing when workers are terminated at any moment (A11)', async () => {
    const random = new Random(seedOf('worker churn', 0xa11));
    const heap = heapOf(MiB(128), 8);
    const gate = new SharedArrayBuffer(4 * 65);
    const slots = new Int32Array(gate);
    const total = rounds(24, 1000);
    let started = 0;
    const one = async (): Promise<void> => {
      while (started < total) {
        started += 1;
        const worker = start(heap, { name: 'churn', seed: random.next(), gate });
        await answer(worker);
        await new Promise((resolve) => setTimeout(resolve, random.below(15)));
        await worker.terminate();
      }
    };
    await Promise.all([one(), one(), one(), one()]);
    // Survivors can free whatever the dead left alive.
    const left: number[] = [];
    heap.walk((p) => left.push(p));
    for (const p of left) heap.free(p);
    slots.fill(0);
    heap.trim();
    expect(heap.stats()).toMatchObject({ blocks: 0, used: 0, threads: 1, cached: 0 });
    expect(heap.check()).toBe(0);
    expect(heap.stats().largestFree).toBeGreaterThan(MiB(100));
  }, 300_000);

  it('ends for every thread at destroy(), without a fault (A12)', async () => {
    for (let round = 0; round < rounds(6, 500); round += 1) {
      const heap = new Heap({ size: MiB(8), maxThreads: 8 });
      const p = heap.alloc(4096);
      const { u8 } = heap;
      const workers = Array.from({ length: 4 }, () => start(heap, { name: 'touch', p }));
      const exits = workers.map((worker) => once(worker, 'exit'));
      await Promise.all(workers.map((worker) => answer(worker)));
      const answers = workers.map((worker) => answer<{ code: string }>(worker));
      heap.destroy();
      expect(u8.length).toBe(0);
      expect(heap.closed).toBe(true);
      for (const { code } of await Promise.all(answers)) expect(code).toBe('ERR_CLOSED');
      await Promise.all(exits);
    }
  }, 300_000);

  it('goes on for others after close() on one thread (A12)', async () => {
    const heap = heapOf(MiB(8));
    const { ps } = await run<{ ps: number[] }>(heap, { name: 'leave', count: 100 });
    const worker = start(heap, { name: 'produce', count: 10 });
    await answer(worker);
    const { handle } = heap;
    heap.close();
    worker.postMessage('go');
    expect((await answer<{ ps: Float64Array }>(worker)).ps.length).toBe(10);
    const again = Heap.attach(handle);
    opened.push(again);
    expect(again.stats().blocks).toBe(110);
    for (const p of ps) again.free(p);
    await worker.terminate();
    expect(again.check()).toBe(10);
  });

  it('takes as many threads as maxThreads, and says so', async () => {
    const heap = heapOf(MiB(2), 2);
    const first = start(heap, { name: 'produce', count: 1 });
    await answer(first);
    await expect(run(heap, { name: 'attachTwice' })).rejects.toThrow('ERR_CAPACITY');
    await first.terminate();
    expect(await run(heap, { name: 'attachTwice' })).toMatchObject({ same: true });
  });
});
