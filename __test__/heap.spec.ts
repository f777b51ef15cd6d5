/**
 * @file The Heap on one thread: blocks, views, pools, batches, statistics, closing.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { GiB, Heap, KiB, MiB } from '../index.ts';
import type { AllocError, HeapOptions } from '../index.ts';

const opened: Heap[] = [];

function heapOf(options: Partial<HeapOptions> = {}): Heap {
  const heap = new Heap({ size: MiB(4), ...options });
  opened.push(heap);
  return heap;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'nothing was thrown';
}

/** Allocates until memory is short. */
function fillUp(alloc: () => unknown): void {
  let code: string;
  do code = codeOf(alloc);
  while (code === 'nothing was thrown');
  expect(code).toBe('ERR_NO_MEMORY');
}

afterEach(() => {
  for (const heap of opened.splice(0)) heap.close();
});

describe('Heap', () => {
  it('hands out aligned numbers, never 0, and writes reach the memory', () => {
    const heap = heapOf();
    const p = heap.alloc(64);
    expect(p).toBeGreaterThan(0);
    expect(p % 16).toBe(0);
    heap.u32[p / 4] = 0xdead_beef;
    heap.f64[p / 8 + 1] = Math.PI;
    expect([...heap.view(p, 4)]).toEqual([0xef, 0xbe, 0xad, 0xde]);
    expect(heap.buffer(p, 16).readDoubleLE(8)).toBe(Math.PI);
    heap.free(p);
    expect(codeOf(() => heap.free(p))).toBe('ERR_NOT_ALLOCATED');
    expect(heap.check()).toBe(0);
  });

  it('serves every size class, and exact page runs above', () => {
    const heap = heapOf({ size: MiB(16) });
    for (let size = 1; size <= KiB(40); size += size < 600 ? 1 : 97) {
      const p = heap.alloc(size);
      const usable = heap.usableSize(p);
      expect(usable).toBeGreaterThanOrEqual(size);
      const limit =
        size <= KiB(32) ? Math.max(Math.ceil(size / 16) * 16, size * 1.125 + 16) : size + 4095;
      expect(usable, `size ${size}`).toBeLessThanOrEqual(limit);
      heap.view(p).fill(0xa5);
      heap.free(p);
    }
    const p = heap.alloc(KiB(100) + 1);
    expect(heap.usableSize(p)).toBe(KiB(104));
    heap.free(p);
    expect(heap.check()).toBe(0);
  });

  it('honors alignments up to 2 MiB', () => {
    const heap = heapOf({ size: MiB(64) });
    for (let align = 1; align <= MiB(2); align *= 2) {
      for (const size of [1, 24, 100, 5000, KiB(33), MiB(1)]) {
        const p = heap.alloc(size, align);
        expect(p % align).toBe(0);
        expect(heap.usableSize(p)).toBeGreaterThanOrEqual(size);
        heap.free(p);
      }
    }
    expect(codeOf(() => heap.alloc(16, MiB(4)))).toBe('ERR_INVALID_PARAM');
    expect(heap.check()).toBe(0);
  });

  it('zeroes what is asked to be zero, also when memory is used again', () => {
    const heap = heapOf();
    for (const size of [16, 200, KiB(20), KiB(200)]) {
      const p = heap.alloc(size);
      heap.fill(p, 0xff);
      heap.free(p);
      const q = heap.allocZeroed(size);
      expect(heap.view(q, size).every((byte) => byte === 0)).toBe(true);
      heap.free(q);
    }
  });

  it('keeps contents through realloc, in place where it can', () => {
    const heap = heapOf({ size: MiB(16) });
    let p = heap.alloc(10);
    heap.view(p, 10).set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(heap.realloc(p, 12)).toBe(p);
    for (const size of [100, 5000, KiB(64), MiB(3), KiB(40), 500, 10]) {
      const q = heap.realloc(p, size);
      expect([...heap.view(q, 10)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      if (q !== p) expect(heap.isLive(p)).toBe(false);
      p = q;
    }
    expect(codeOf(() => heap.realloc(p, GiB(1)))).toBe('ERR_NO_MEMORY');
    expect(heap.isLive(p)).toBe(true);
    heap.free(p);
    expect(codeOf(() => heap.realloc(p, 16))).toBe('ERR_NOT_ALLOCATED');
    expect(heap.check()).toBe(0);
  });

  it('allocates and frees in batches, all or nothing', () => {
    const heap = heapOf();
    const ps = heap.allocMany(100, 500);
    expect(new Set(ps).size).toBe(500);
    expect(heap.stats().blocks).toBe(500);
    expect(codeOf(() => heap.freeMany([ps[0] as number, ps[0] as number]))).toBe(
      'ERR_NOT_ALLOCATED',
    );
    expect(() => heap.freeMany([ps[0] as number, ps[0] as number])).toThrow('occurs twice');
    expect(codeOf(() => heap.freeMany([ps[0] as number, 8]))).toBe('ERR_NOT_ALLOCATED');
    expect(codeOf(() => heap.freeMany([ps[0] as number, NaN]))).toBe('ERR_INVALID_PARAM');
    expect(heap.stats().blocks).toBe(500);
    heap.freeMany(ps);
    expect(heap.stats().blocks).toBe(0);
    expect(codeOf(() => heap.allocMany(KiB(64), 1000))).toBe('ERR_NO_MEMORY');
    expect(() => heap.allocMany(KiB(64), 1000)).toThrow(
      /^no room for 1000 blocks of 65536 bytes, 65536000 bytes in all: the largest free block is of \d+ bytes$/u,
    );
    expect(codeOf(() => heap.allocMany(2 ** 30, 2 ** 30))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.allocMany(16, 2 ** 45))).toBe('ERR_NO_MEMORY');
    expect(heap.check()).toBe(0);
  });

  it('counts what it populated as committed, and gives it back by trim', () => {
    const heap = heapOf({ size: MiB(8), populate: true });
    expect(heap.stats().committed).toBe(MiB(8));
    const p = heap.alloc(KiB(64));
    expect(heap.trim()).toBeGreaterThan(MiB(7));
    expect(heap.stats().committed).toBeLessThan(MiB(1));
    expect(heap.u8[p]).toBe(0);
    expect(heap.check()).toBe(1);
  });

  it('views, copies and fills from any address inside a block, and no byte beyond', () => {
    const heap = heapOf();
    const p = heap.alloc(64);
    const q = heap.alloc(64);
    heap.view(p).forEach((_, i, bytes) => (bytes[i] = i));
    expect(heap.view(p + 10, 4)).toEqual(new Uint8Array([10, 11, 12, 13]));
    expect(heap.view(p + 60).length).toBe(heap.usableSize(p) - 60);
    expect(heap.view(p, 0).length).toBe(0);
    heap.copy(q, p + 8, 8);
    expect([...heap.view(q, 8)]).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    heap.copy(p + 1, p, 32);
    expect([...heap.view(p, 4)]).toEqual([0, 0, 1, 2]);
    heap.fill(q, 7, 4);
    expect([...heap.view(q, 5)]).toEqual([7, 7, 7, 7, 12]);
    const end = heap.usableSize(p);
    expect(codeOf(() => heap.view(p, end + 1))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.view(p + 1, end))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.copy(q, p, end + 1))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.fill(q, 256))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.fill(q, 0.5))).toBe('ERR_INVALID_PARAM');
    heap.free(q);
    expect(codeOf(() => heap.view(q))).toBe('ERR_NOT_ALLOCATED');
    expect(codeOf(() => heap.fill(q, 0))).toBe('ERR_NOT_ALLOCATED');
    expect(codeOf(() => heap.copy(p, q, 1))).toBe('ERR_NOT_ALLOCATED');
  });

  it('finds every invalid free, and changes nothing', () => {
    const heap = heapOf();
    const p = heap.alloc(100);
    const large = heap.alloc(KiB(100));
    const before = heap.stats();
    for (const wrong of [
      0,
      1,
      8,
      16,
      p + 1,
      p + 16,
      p - 16,
      large + 4096,
      MiB(4),
      MiB(5),
      2 ** 32 + p,
      2 ** 40,
      2 ** 53 - 1,
    ]) {
      expect(
        codeOf(() => heap.free(wrong)),
        `free(${wrong})`,
      ).toBe('ERR_NOT_ALLOCATED');
    }
    for (const wrong of [-1, NaN, 0.5, p + 0.5, Infinity, 2 ** 53]) {
      expect(
        codeOf(() => heap.free(wrong)),
        `free(${wrong})`,
      ).toBe('ERR_INVALID_PARAM');
    }
    for (const wrong of [null, undefined, '64', 64n, {}, [p], Symbol('p')]) {
      expect(codeOf(() => heap.free(wrong as never))).toBe('ERR_INVALID_ARG_TYPE');
    }
    const after = heap.stats();
    expect({ ...after, crossings: 0 }).toEqual({ ...before, crossings: 0 });
    heap.free(p);
    heap.free(large);
    expect(codeOf(() => heap.free(large))).toBe('ERR_NOT_ALLOCATED');
    expect(heap.check()).toBe(0);
  });

  it('knows a peak that has passed, in magazines and in pools', () => {
    const heap = new Heap({ size: MiB(16) });
    const pool = heap.pool(64);
    for (const p of Array.from({ length: 60 }, () => pool.alloc())) pool.free(p);
    expect(heap.stats()).toMatchObject({ used: 0, peakUsed: 60 * 64 });
    const ps: number[] = [];
    let peak = 60;
    for (let i = 0; i < 20_000; i += 1) {
      // Up and down, more each time: stacks trade places, are filled and flushed between two looks.
      if (i % 1000 < 500 + i / 50 || ps.length === 0)
        ps.push(i % 3 ? heap.alloc(64) : pool.alloc());
      else (i % 2 ? heap : pool).free(ps.pop() as number);
      peak = Math.max(peak, ps.length);
      if (i % 777 === 0) expect(heap.stats().peakUsed).toBeGreaterThanOrEqual(peak * 64);
    }
    expect(heap.check()).toBe(ps.length);
    expect(heap.stats().peakUsed).toBeGreaterThanOrEqual(peak * 64);
    heap.close();
  });

  it.each(['exclusive', 'shared'])('keeps what a pool frees on its own stack (%s)', (mode) => {
    const heap = heapOf({ size: MiB(16) });
    if (mode === 'shared') expect(heap.handle).toBeDefined();
    const pool = heap.pool(64);
    for (const p of Array.from({ length: 20_000 }, () => pool.alloc())) pool.free(p);
    const { cached } = heap.stats();
    expect(cached).toBeGreaterThanOrEqual(KiB(32));
    // No block went to the heap's own stacks.
    expect(cached).toBeLessThanOrEqual(KiB(64));
    expect(heap.check()).toBe(0);
  });

  it('counts exactly', () => {
    const heap = heapOf();
    const pool = heap.pool(48);
    const ps: number[] = [];
    for (let i = 0; i < 1000; i += 1)
      ps.push(i % 3 === 0 ? pool.alloc() : heap.alloc(16 + (i % 300)));
    for (let i = 0; i < 400; i += 1) heap.free(ps.pop() as number);
    const stats = heap.stats();
    expect(stats.allocs).toBe(1000);
    expect(stats.frees).toBe(400);
    expect(stats.blocks).toBe(600);
    expect(stats.used).toBe(ps.reduce((sum, p) => sum + heap.usableSize(p), 0));
    expect(stats.classes.reduce((sum, c) => sum + c.blocks, 0)).toBe(600);
    expect(stats.peakUsed).toBeGreaterThanOrEqual(stats.used);
    expect(stats.threads).toBe(1);
    expect(stats.shared).toBe(false);
    expect(heap.check()).toBe(600);
    const walked: number[] = [];
    heap.walk((p, usable) => {
      expect(usable).toBe(heap.usableSize(p));
      walked.push(p);
    });
    expect(walked).toEqual(ps.toSorted((a, b) => a - b));
    heap.freeMany(ps);
    heap.trim();
    const end = heap.stats();
    expect(end.cached).toBe(0);
    expect(end.used).toBe(0);
    expect(end.largestFree).toBe(MiB(4) - 4096);
  });

  it('tells the truth about largestFree, at any moment', () => {
    const heap = heapOf({ size: MiB(1) });
    const held: number[] = [];
    let x = 12345;
    for (let round = 0; round < 60; round += 1) {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      try {
        held.push(heap.alloc(1 + (x >>> 17)));
      } catch (error) {
        expect((error as AllocError).code).toBe('ERR_NO_MEMORY');
        const { requested, largestFree } = error as AllocError;
        expect(requested).toBe(1 + (x >>> 17));
        expect(largestFree).toBeLessThan(requested as number);
        if ((largestFree as number) > 0) heap.free(heap.alloc(largestFree as number));
      }
      if (round % 3 === 2) heap.free(held.splice(x % held.length, 1)[0] as number);
      const { largestFree } = heap.stats();
      if (largestFree > 0) heap.free(heap.alloc(largestFree));
      expect(heap.check()).toBe(held.length);
    }
  });

  it('gives memory back: free everything, trim, and the first largestFree is there again', () => {
    const heap = heapOf({ size: MiB(2) });
    heap.trim();
    const first = heap.stats().largestFree;
    for (let cycle = 0; cycle < 10; cycle += 1) {
      const ps: number[] = [];
      try {
        for (;;) ps.push(heap.alloc(1 + ((cycle * 7919 + ps.length * 104729) % 9000)));
      } catch (error) {
        expect((error as AllocError).code).toBe('ERR_NO_MEMORY');
      }
      expect(ps.length).toBeGreaterThan(100);
      ps.sort((a, b) => ((a * 31) % 1009) - ((b * 31) % 1009));
      for (const p of ps) heap.free(p);
      heap.trim();
      expect(heap.stats()).toMatchObject({ used: 0, blocks: 0, cached: 0, largestFree: first });
      expect(heap.check()).toBe(0);
    }
  });

  it('keeps every method within types, values, then state', () => {
    const heap = heapOf();
    const calls: ((v: never) => unknown)[] = [
      (v) => heap.alloc(v),
      (v) => heap.alloc(16, v ?? (null as never)),
      (v) => heap.allocZeroed(v),
      (v) => heap.free(v),
      (v) => heap.realloc(v, 16),
      (v) => heap.realloc(16, v),
      (v) => heap.allocMany(v, 1),
      (v) => heap.allocMany(16, v),
      (v) => heap.isLive(v),
      (v) => heap.usableSize(v),
      (v) => heap.view(v),
      (v) => heap.buffer(v),
      (v) => heap.copy(v, 16, 1),
      (v) => heap.fill(v, 0),
      (v) => heap.pool(v),
      (v) => heap.pool(64).free(v),
    ];
    for (const call of calls) {
      for (const value of [null, '64', 64n, {}, [], true, Symbol('x'), () => 64]) {
        expect(
          codeOf(() => call(value as never)),
          String(call),
        ).toBe('ERR_INVALID_ARG_TYPE');
      }
    }
    expect(heap.check()).toBe(0);
    heap.close();
    expect(codeOf(() => heap.alloc(-1))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => heap.alloc('x' as never))).toBe('ERR_INVALID_ARG_TYPE');
  });

  it('refuses options that are wrong, by name', () => {
    expect(codeOf(() => new Heap(undefined as never))).toBe('ERR_INVALID_ARG_TYPE');
    expect(codeOf(() => new Heap({ size: KiB(64) }))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => new Heap({ size: GiB(65) }))).toBe('ERR_CAPACITY');
    expect(codeOf(() => new Heap({ size: MiB(1), maxThreads: 1025 }))).toBe('ERR_CAPACITY');
    expect(codeOf(() => new Heap({ size: MiB(1), maxThreads: 0 }))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => new Heap({ size: MiB(1), colour: 1 } as never))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => new Heap({ size: '1' } as never))).toBe('ERR_INVALID_ARG_TYPE');
    const heap = heapOf({ size: MiB(1) + 1 });
    expect(heap.size).toBe(MiB(1) + KiB(64));
  });

  it('closes once, detaches its views, and refuses everything after', () => {
    const heap = heapOf();
    const p = heap.alloc(64);
    const { u8, u32 } = heap;
    const bytes = heap.view(p);
    const pool = heap.pool(64);
    const { alloc, free } = heap;
    const { alloc: poolAlloc, free: poolFree } = pool;
    heap.close();
    heap.close();
    expect(heap.closed).toBe(true);
    expect([u8.length, u32.length, bytes.length]).toEqual([0, 0, 0]);
    const calls = [
      () => heap.alloc(16),
      () => alloc(16),
      () => heap.free(p),
      () => free(p),
      () => pool.alloc(),
      () => poolAlloc(),
      () => pool.free(p),
      () => poolFree(p),
      () => heap.u8,
      () => heap.f64,
      () => heap.view(p),
      () => heap.realloc(p, 32),
      () => heap.stats(),
      () => heap.check(),
      () => heap.trim(),
      () => heap.walk(() => {}),
      () => heap.isLive(p),
      () => heap.usableSize(p),
      () => heap.allocMany(16, 2),
      () => heap.freeMany([p]),
      () => heap.pool(16),
      () => heap.handle,
      () => heap.leaks(),
    ];
    for (const call of calls) expect(codeOf(call), String(call)).toBe('ERR_CLOSED');
  });

  it('makes its buffer anew when the program detached it', () => {
    const heap = heapOf();
    const p = heap.alloc(64);
    heap.u32[p / 4] = 42;
    structuredClone(0);
    const { u8 } = heap;
    const moved = structuredClone(u8.buffer, { transfer: [] });
    expect(moved.byteLength).toBe(heap.size);
    try {
      structuredClone(u8.buffer, { transfer: [u8.buffer as ArrayBuffer] });
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    expect(heap.u32[p / 4]).toBe(42);
    heap.free(p);
  });

  it('is a pool of one size, checked like the heap', () => {
    const heap = heapOf();
    const pool = heap.pool(48);
    expect(heap.pool(48)).toBe(pool);
    expect(pool.size).toBe(48);
    const ps = Array.from({ length: 3000 }, () => pool.alloc());
    expect(new Set(ps).size).toBe(3000);
    const other = heap.alloc(500);
    expect(codeOf(() => pool.free(other))).toBe('ERR_SIZE_MISMATCH');
    expect(codeOf(() => pool.free(other + 16))).toBe('ERR_NOT_ALLOCATED');
    heap.free(ps.pop() as number);
    for (const p of ps) pool.free(p);
    expect(codeOf(() => pool.free(ps[0] as number))).toBe('ERR_NOT_ALLOCATED');
    heap.free(other);
    expect(heap.stats()).toMatchObject({ blocks: 0, used: 0, allocs: 3001, frees: 3001 });
    const big = heap.pool(KiB(64), 4096);
    const p = big.alloc();
    const q = heap.alloc(KiB(128));
    expect(codeOf(() => big.free(q))).toBe('ERR_SIZE_MISMATCH');
    big.free(p);
    heap.free(q);
    expect(heap.check()).toBe(0);
  });

  it('takes blocks back through a pool that has no memory left to ask for', () => {
    for (const [size, align] of [
      [40_000, 16],
      [100, 64],
      [5000, 4096],
    ] as const) {
      const heap = heapOf({ size: MiB(1) });
      const ps: number[] = [];
      const pool = heap.pool(size, align);
      fillUp(() => ps.push(pool.alloc()));
      // Its pools are made anew.
      expect(heap.handle.heapwright).toBe('heap');
      const other = heap.pool(size + 1, align);
      expect(codeOf(() => heap.pool(MiB(1)).free(ps[0] as number))).toBe('ERR_SIZE_MISMATCH');
      for (const p of ps) (p % 32 === 0 ? pool : other).free(p);
      expect(heap.check()).toBe(0);
    }
  });

  it('takes back what a pool handed out in place of its class', () => {
    const heap = heapOf({ size: MiB(1) });
    const pool = heap.pool(100, 64);
    const ps = [pool.alloc()];
    const others: number[] = [];
    const others64 = [heap.alloc(64)];
    fillUp(() => others.push(heap.alloc(256)));
    fillUp(() => others64.push(heap.alloc(64)));
    for (const p of others.splice(0, 3)) heap.free(p);
    fillUp(() => ps.push(pool.alloc()));
    const odd = ps.filter((p) => heap.usableSize(p) !== 128);
    expect(odd).not.toEqual([]);
    expect(codeOf(() => pool.free(others[0] as number))).toBe('ERR_SIZE_MISMATCH');
    for (const p of ps) pool.free(p);
    expect(codeOf(() => pool.free(odd[0] as number))).toBe('ERR_NOT_ALLOCATED');
    for (const p of [...others, ...others64]) heap.free(p);
    expect(heap.check()).toBe(0);
  });

  it('refuses more blocks than it has room for, and keeps none', () => {
    const heap = heapOf({ size: MiB(1) });
    for (const count of [MiB(1) / 16, MiB(1) / 16 + 1, MiB(1) / 2]) {
      const refused = expect.objectContaining({ code: 'ERR_NO_MEMORY', requested: count });
      expect(() => heap.allocMany(1, count)).toThrow(refused);
      expect(heap.check()).toBe(0);
    }
  });

  it('judges a block given to a pool of large or aligned blocks without taking one', () => {
    const heap = heapOf();
    const aligned = heap.alloc(64, 64);
    const large = heap.alloc(KiB(64));
    const [byAlignment, bySize] = [heap.pool(64, 64), heap.pool(KiB(64))];
    const before = heap.stats();
    for (const pool of [byAlignment, bySize]) {
      for (const wrong of [null, '1', -1, 0.5, 16, large + 16]) {
        expect(codeOf(() => pool.free(wrong as number))).toMatch(/^ERR_(INVALID|NOT_ALLOCATED)/);
      }
    }
    expect(codeOf(() => byAlignment.free(large))).toBe('ERR_SIZE_MISMATCH');
    expect(codeOf(() => bySize.free(aligned))).toBe('ERR_SIZE_MISMATCH');
    expect(heap.stats()).toMatchObject({ allocs: before.allocs, frees: before.frees });
    // Also while there is no memory for another block.
    heap.alloc(heap.stats().largestFree);
    while (codeOf(() => heap.alloc(16)) !== 'ERR_NO_MEMORY');
    bySize.free(large);
    byAlignment.free(aligned);
  });

  it('takes back what a pool of aligned blocks got from elsewhere when memory was short', () => {
    const heap = heapOf({ size: MiB(1) });
    const pool = heap.pool(64, 64);
    const ps = [pool.alloc()];
    const larger = heap.alloc(128);
    while (codeOf(() => heap.alloc(4096)) !== 'ERR_NO_MEMORY');
    // The rest of its slab, and then slots of the larger class.
    while (codeOf(() => ps.push(pool.alloc())) !== 'ERR_NO_MEMORY');
    expect(heap.usableSize(ps.at(-1) as number)).toBe(128);
    expect(codeOf(() => pool.free(larger))).toBe('ERR_SIZE_MISMATCH');
    for (const p of ps) pool.free(p);
    expect(ps.some((p) => heap.isLive(p))).toBe(false);
  });

  it('answers ERR_NO_MEMORY to every batch that is too large, up to 2^53 bytes', () => {
    const heap = heapOf({ size: GiB(64) });
    for (const [size, count] of [
      [1, 2 ** 32],
      [16, 2 ** 32],
      [1, 2 ** 53 - 1],
      [2 ** 26, 2 ** 27],
      [2 ** 53 - 1, 1],
    ] as const) {
      const { failures } = heap.stats();
      expect(codeOf(() => heap.allocMany(size, count))).toBe('ERR_NO_MEMORY');
      expect(heap.stats()).toMatchObject({ failures: failures + 1, blocks: 0 });
    }
    expect(codeOf(() => heap.allocMany(3, 3_002_399_751_580_331))).toBe('ERR_INVALID_PARAM');
  });

  it('works through a subclass that overrides alloc', () => {
    class Counting extends Heap {
      count = 0;
      override alloc(size: number, align?: number): number {
        this.count += 1;
        return super.alloc(size, align);
      }
    }
    const heap = new Counting({ size: MiB(1) });
    heap.free(heap.alloc(16));
    expect(heap.count).toBe(1);
    heap.close();
  });

  it('publishes what happens to it, and inspects itself', () => {
    const seen: unknown[] = [];
    const listen = (message: unknown): void => void seen.push(message);
    for (const name of ['open', 'close', 'oom']) subscribe(`heapwright:heap.${name}`, listen);
    const heap = new Heap({ size: MiB(1), name: 'watched' });
    expect(codeOf(() => heap.alloc(MiB(2)))).toBe('ERR_NO_MEMORY');
    expect(inspect(heap)).toContain('watched');
    expect(inspect(heap.pool(48))).toBe('Pool { size: 48 }');
    expect(String(heap)).toBe('[object Heap]');
    heap.close();
    for (const name of ['open', 'close', 'oom']) unsubscribe(`heapwright:heap.${name}`, listen);
    expect(seen).toMatchObject([
      { name: 'watched', size: MiB(1) },
      { name: 'watched', requested: MiB(2) },
      { name: 'watched', how: 'close' },
    ]);
  });

  it('keeps several heaps apart, also those that share the code of the hot path', () => {
    const heaps = Array.from({ length: 300 }, () => heapOf({ size: MiB(1) }));
    const ps = heaps.map((heap, i) => {
      const p = heap.alloc(64);
      heap.u32[p / 4] = i;
      return p;
    });
    heaps.forEach((heap, i) => expect(heap.u32[(ps[i] as number) / 4]).toBe(i));
    heaps.forEach((heap, i) => heap.free(ps[i] as number));
    for (const heap of heaps) expect(heap.check()).toBe(0);
  });

  it('manages more than 4 GiB', () => {
    const heap = heapOf({ size: GiB(6) });
    const big = heap.alloc(GiB(4.5));
    const ps = Array.from({ length: 2000 }, () => heap.alloc(1000));
    expect(Math.max(...ps)).toBeGreaterThan(GiB(4));
    const top = ps.at(-1) as number;
    heap.view(top, 8).fill(9);
    heap.copy(ps[0] as number, top, 8);
    expect([...heap.view(ps[0] as number, 8)]).toEqual([9, 9, 9, 9, 9, 9, 9, 9]);
    const pool = heap.pool(1000);
    const p = pool.alloc();
    expect(codeOf(() => heap.free(top - 2 ** 32))).toBe('ERR_NOT_ALLOCATED');
    pool.free(p);
    expect(codeOf(() => pool.free(p))).toBe('ERR_NOT_ALLOCATED');
    expect(heap.check()).toBe(2001);
    for (const block of ps) heap.free(block);
    heap.free(big);
    expect(heap.check()).toBe(0);
  });
});
