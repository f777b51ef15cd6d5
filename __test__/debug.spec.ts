/**
 * @file `debug: true`: overflow, use after free, double free with its stacks, leaks by call site.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Heap, KiB, MiB } from '../index.ts';
import type { AllocError, HeapDebugOptions, HeapHandle } from '../index.ts';
import { Random, rounds, seedOf } from './support/random.ts';

const opened: Heap[] = [];

function heapOf(debug: true | HeapDebugOptions = true): Heap {
  const heap = new Heap({ size: MiB(8), debug, name: 'debugged' });
  opened.push(heap);
  return heap;
}

function errorOf(run: () => unknown): AllocError {
  try {
    run();
  } catch (error) {
    return error as AllocError;
  }
  throw new Error('nothing was thrown');
}

/** What an optimizing compiler does not see through: writes past a block. */
function poke(heap: Heap, p: number, value: number): void {
  heap.u8[p] = value;
}

/** Workers that allocate and free on the heap of `handle`, each in its way, and have begun to. */
function churning(handle: HeapHandle, ...ways: ('churn' | 'close')[]): Promise<Worker[]> {
  const start = (way: string): Promise<Worker> => {
    const worker = new Worker(new URL('./support/debug-worker.mjs', import.meta.url), {
      workerData: { handle, way },
    });
    return new Promise((resolve, reject) => {
      worker.once('message', () => resolve(worker));
      worker.once('error', reject);
    });
  };
  return Promise.all(ways.map(start));
}

afterEach(() => {
  vi.restoreAllMocks();
  for (const heap of opened.splice(0)) {
    try {
      heap.close();
    } catch {
      // Damage that the test did on purpose.
    }
  }
});

describe('a debug heap', () => {
  it('works like any other, with usableSize exact', () => {
    const heap = heapOf();
    const random = new Random(seedOf('debug model', 0xdeb));
    const live = new Map<number, number>();
    for (let step = 0; step < rounds(2000, 50_000); step += 1) {
      if (live.size < 50 || random.chance(1, 2)) {
        const size = 1 + random.below(random.chance(1, 20) ? KiB(64) : 500);
        const align = random.chance(1, 10) ? 1 << random.below(13) : undefined;
        const p = heap.alloc(size, align);
        if (align !== undefined) expect(p % align).toBe(0);
        expect(heap.usableSize(p)).toBe(size);
        heap.fill(p, size & 255);
        live.set(p, size);
      } else {
        const [p, size] = [...live][random.below(live.size)] as [number, number];
        expect(heap.view(p).every((byte) => byte === (size & 255))).toBe(true);
        heap.free(p);
        live.delete(p);
        expect(heap.isLive(p)).toBe(false);
      }
      if (live.size > 60) {
        for (const p of [...live.keys()].slice(0, 30)) {
          heap.free(p);
          live.delete(p);
        }
      }
    }
    expect(heap.check()).toBe(live.size);
    expect(heap.stats()).toMatchObject({
      blocks: live.size,
      used: [...live.values()].reduce((a, b) => a + b, 0),
    });
    const walked: number[] = [];
    heap.walk((p, usable) => {
      expect(live.get(p)).toBe(usable);
      walked.push(p);
    });
    expect(walked).toEqual([...live.keys()].toSorted((a, b) => a - b));
    heap.freeMany([...live.keys()]);
    heap.trim();
    expect(heap.check()).toBe(0);
  });

  it('finds an overflow at free and by check, naming the block', () => {
    const heap = heapOf();
    const p = heap.alloc(100);
    poke(heap, p + 100, 1);
    const found = errorOf(() => heap.check());
    expect(found.code).toBe('ERR_CORRUPTED');
    expect(found.message).toContain(`0x${p.toString(16)}`);
    expect(found.message).toContain('overflow');
    expect(found.message).toContain('debug.spec');
    expect(errorOf(() => heap.free(p)).code).toBe('ERR_CORRUPTED');
    expect(heap.isLive(p)).toBe(true);
    poke(heap, p + 100, 0xfd);
    heap.free(p);
    expect(heap.check()).toBe(0);
  });

  it('finds an underflow', () => {
    const heap = heapOf();
    const p = heap.alloc(100);
    poke(heap, p - 1, 0);
    expect(errorOf(() => heap.free(p)).message).toContain('before its start');
    poke(heap, p - 1, 0xfd);
  });

  it('finds a write after free: by check, when the block leaves the quarantine, and at close', () => {
    const heap = heapOf({ quarantineBytes: KiB(16) });
    const p = heap.alloc(100);
    heap.free(p);
    poke(heap, p + 5, 1);
    expect(errorOf(() => heap.check())).toMatchObject({ code: 'ERR_CORRUPTED' });
    const leaving = errorOf(() => {
      for (let i = 0; i < 1000; i += 1) heap.free(heap.alloc(100));
    });
    expect(leaving.code).toBe('ERR_CORRUPTED');
    expect(leaving.message).toContain('byte 5 was written after it was freed');
    const other = heapOf();
    const q = other.alloc(100);
    other.free(q);
    poke(other, q, 1);
    expect(errorOf(() => other.close()).code).toBe('ERR_CORRUPTED');
    expect(other.closed).toBe(true);
  });

  it('reports a second free with three stacks', () => {
    const heap = heapOf();
    function allocatesHere(): number {
      return heap.alloc(64);
    }
    function freesHere(p: number): void {
      heap.free(p);
    }
    function freesAgainHere(p: number): void {
      heap.free(p);
    }
    const p = allocatesHere();
    freesHere(p);
    const error = errorOf(() => freesAgainHere(p));
    expect(error.code).toBe('ERR_NOT_ALLOCATED');
    expect(error.message).toContain('allocatesHere');
    expect(error.message).toContain('freesHere');
    expect(error.stack).toContain('freesAgainHere');
    expect(errorOf(() => heap.free(p + 16)).code).toBe('ERR_NOT_ALLOCATED');
    expect(errorOf(() => heap.free(KiB(64) * 3)).code).toBe('ERR_NOT_ALLOCATED');
  });

  it('does not hand a freed block out while it is in quarantine', () => {
    const heap = heapOf();
    const p = heap.alloc(64);
    heap.free(p);
    for (let i = 0; i < 100; i += 1) expect(heap.alloc(64)).not.toBe(p);
  });

  it('lists leaks by call site, on the channel, and as one warning', () => {
    const heap = heapOf();
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const messages: unknown[] = [];
    const listen = (message: unknown): void => void messages.push(message);
    subscribe('heapwright:heap.leak', listen);
    function leaksMuch(): void {
      for (let i = 0; i < 10; i += 1) heap.alloc(1000);
    }
    function leaksLittle(): void {
      heap.alloc(10);
    }
    leaksLittle();
    leaksMuch();
    heap.free(heap.alloc(5000));
    const leaks = heap.leaks();
    expect(leaks).toHaveLength(2);
    expect(leaks[0]).toMatchObject({ blocks: 10, bytes: 10_000 });
    expect(leaks[0]?.site).toContain('leaksMuch');
    expect(leaks[0]?.stack).toContain('debug.spec');
    expect(leaks[1]).toMatchObject({ blocks: 1, bytes: 10 });
    heap.close();
    unsubscribe('heapwright:heap.leak', listen);
    expect(messages).toEqual([{ name: 'debugged', leaks }]);
    expect(warning).toHaveBeenCalledTimes(1);
  });

  it('keeps contents through realloc, and pools apart', () => {
    const heap = heapOf();
    const p = heap.allocZeroed(100);
    expect(heap.view(p).every((byte) => byte === 0)).toBe(true);
    heap.view(p).set([1, 2, 3]);
    const q = heap.realloc(p, 2000);
    expect([...heap.view(q, 4)]).toEqual([1, 2, 3, 0]);
    expect(heap.isLive(p)).toBe(false);
    const pool = heap.pool(48);
    const r = pool.alloc();
    expect(errorOf(() => pool.free(q)).code).toBe('ERR_SIZE_MISMATCH');
    pool.free(r);
    expect(errorOf(() => pool.free(r)).code).toBe('ERR_NOT_ALLOCATED');
    const ps = heap.allocMany(64, 20);
    expect(errorOf(() => heap.freeMany([ps[0] as number, ps[0] as number])).code).toBe(
      'ERR_NOT_ALLOCATED',
    );
    heap.freeMany([...ps, q]);
    expect(heap.check()).toBe(0);
    expect(errorOf(() => heap.alloc(MiB(9))).code).toBe('ERR_NO_MEMORY');
  });

  it('keeps nothing back for a thread that has let go', async () => {
    const heap = heapOf({ stacks: false });
    const { handle } = heap;
    heap.trim();
    const { largestFree } = heap.stats();
    for (let round = 0; round < 3; round += 1) {
      const [worker] = await churning(handle, 'close');
      await new Promise((resolve) => worker!.once('exit', resolve));
    }
    heap.trim();
    expect(heap.stats()).toMatchObject({ blocks: 0, largestFree, threads: 1 });
  });

  it('finds no damage in what other threads are just making or freeing, or were when they ended', async () => {
    for (let round = 0; round < rounds(2, 20); round += 1) {
      const heap = heapOf({ stacks: false, quarantineBytes: KiB(64) });
      const workers = await churning(heap.handle, 'churn', 'churn');
      for (let look = 0; look < 30; look += 1) {
        expect(() => heap.check()).not.toThrow();
        heap.stats();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      await Promise.all(workers.map((worker) => worker.terminate()));
      heap.check();
      heap.close();
    }
  });

  it('counts every ERR_NO_MEMORY once, and promises only what it can keep', () => {
    const heap = heapOf();
    const { largestFree } = heap.stats();
    heap.free(heap.alloc(largestFree));
    // The block of before is in quarantine no more: it was made room for.
    heap.free(heap.alloc(largestFree));
    expect(heap.stats().failures).toBe(0);
    const before = heap.stats();
    for (const [index, run] of [
      () => heap.alloc(MiB(9)),
      () => heap.alloc(2 ** 53 - 1),
      () => heap.alloc(2 ** 53 - 1, 4096),
      () => heap.allocZeroed(2 ** 53 - 1),
      () => heap.pool(2 ** 53 - 1).alloc(),
      () => heap.allocMany(64, KiB(64)),
      () => heap.allocMany(1, 2 ** 53 - 1),
      () => heap.allocMany(2 ** 26, 2 ** 27),
    ].entries()) {
      const error = errorOf(run);
      expect(error.code).toBe('ERR_NO_MEMORY');
      expect(heap.stats()).toEqual({ ...heap.stats(), failures: index + 1, blocks: 0 });
      heap.free(heap.alloc(error.largestFree as number));
      expect(heap.stats().allocs).toBe(before.allocs + index + 1);
    }
    const batch = errorOf(() => heap.allocMany(1000, 8000));
    expect(batch).toMatchObject({ code: 'ERR_NO_MEMORY', requested: 8_000_000 });
    const { allocs, frees, blocks } = heap.stats();
    expect({ allocs, frees, blocks }).toEqual({
      allocs: before.allocs + 8,
      frees: before.frees + 8,
      blocks: 0,
    });
    expect(errorOf(() => heap.alloc(2 ** 53 - 1)).requested).toBe(2 ** 53 - 1);
  });

  it('leaves no second block behind when realloc finds damage', () => {
    const heap = heapOf({ quarantineBytes: KiB(4) });
    const p = heap.alloc(16);
    poke(heap, p + 16, 1);
    const { blocks, allocs } = heap.stats();
    expect(errorOf(() => heap.realloc(p, 100)).code).toBe('ERR_CORRUPTED');
    expect(heap.stats()).toMatchObject({ blocks, allocs });
    poke(heap, p + 16, 0xfd);
    // Damage in the quarantine, found while the old block makes its way there.
    const freed = heap.alloc(3000);
    heap.free(freed);
    poke(heap, freed, 1);
    const large = heap.alloc(2000);
    const then = heap.stats();
    expect(errorOf(() => heap.realloc(large, 100)).code).toBe('ERR_CORRUPTED');
    expect(heap.stats()).toMatchObject({ blocks: then.blocks, allocs: then.allocs });
    expect(heap.isLive(large)).toBe(true);
  });

  it('frees a batch whole or not at all, also when the quarantine holds damage', () => {
    const heap = heapOf({ quarantineBytes: KiB(4) });
    const freed = heap.alloc(2500);
    const ps = heap.allocMany(600, 3);
    heap.free(freed);
    poke(heap, freed, 1);
    expect(errorOf(() => heap.freeMany(ps)).code).toBe('ERR_CORRUPTED');
    expect([...ps].map((p) => heap.isLive(p))).toEqual([true, true, true]);
  });

  it('tells pools of large blocks apart', () => {
    const heap = heapOf();
    const p = heap.alloc(KiB(128));
    expect(errorOf(() => heap.pool(KiB(64)).free(p)).code).toBe('ERR_SIZE_MISMATCH');
    heap.pool(KiB(128)).free(p);
  });

  it('is asked for: leaks() of another heap is unsupported', () => {
    const heap = new Heap({ size: MiB(1) });
    expect(errorOf(() => heap.leaks()).code).toBe('ERR_UNSUPPORTED');
    heap.close();
  });
});
