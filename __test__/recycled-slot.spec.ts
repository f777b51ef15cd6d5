/**
 * @file A thread that let go of a shared heap has no way back in: its old `alloc` and `free`, taken off
 * the heap before, throw for ever, also when another attachment has its slot and its magazines.
 *
 * Not here: what happens on the closed heap itself (`misuse.spec.ts`).
 */
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { Heap, MiB } from '../index.ts';

let worker: Worker | undefined;

afterEach(async () => {
  await worker?.terminate();
});

/** Gives up the slot of a heap that a worker keeps alive, and takes it again. */
async function recycled() {
  const first = new Heap({ size: MiB(8) });
  const pool = first.pool(48);
  const stale = { alloc: first.alloc, free: first.free, take: pool.alloc, give: pool.free };
  const { handle } = first;
  const shared = { alloc: first.alloc, free: first.free, take: pool.alloc, give: pool.free };
  worker = new Worker(new URL('./support/keep-heap.mjs', import.meta.url), {
    workerData: { handle },
  });
  await new Promise((resolve, reject) => {
    worker!.once('message', resolve);
    worker!.once('error', reject);
  });
  const kept = first.alloc(64);
  first.close();
  const second = Heap.attach(handle);
  return { stale: [stale, shared], second, kept };
}

describe('A recycled slot', () => {
  it('is closed to whoever had it before', async () => {
    const { stale, second, kept } = await recycled();
    const live = Array.from({ length: 1000 }, () => second.alloc(64));
    for (const p of live.splice(0, 500)) second.free(p);
    const closed = expect.objectContaining({ code: 'ERR_CLOSED' });
    for (const { alloc, free, take, give } of stale) {
      expect(() => alloc(64)).toThrow(closed);
      expect(() => free(live[0]!)).toThrow(closed);
      expect(() => free(kept)).toThrow(closed);
      expect(() => take()).toThrow(closed);
      expect(() => give(live[0]!)).toThrow(closed);
    }
    second.check();
    for (const p of live) second.free(p);
    second.free(kept);
    second.check();
    second.close();
  });
});
