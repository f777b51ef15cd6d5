/**
 * @file The Heap against oracles that are dumber than it: a Map of blocks, an untouched twin, every
 * address there is (A2, A3, A5, A6, A17, A21).
 */
import { afterEach, describe, expect, it } from 'vitest';
import { GiB, Heap, KiB, MiB } from '../index.ts';
import type { AllocError, HeapStats, Pool } from '../index.ts';
import { BAD_NUMBERS, NO_NUMBERS, ODD_CODES, ODD_NUMBERS } from './support/hostile.ts';
import { Random, rounds, seedOf } from './support/random.ts';

const opened: Heap[] = [];

function heapOf(size = MiB(8), shared = false): Heap {
  const heap = new Heap({ size, maxThreads: 4 });
  opened.push(heap);
  if (shared) void heap.handle;
  return heap;
}

afterEach(() => {
  for (const heap of opened.splice(0)) heap.close();
});

/** What no throw may change. */
function still(stats: HeapStats): unknown {
  return {
    ...stats,
    name: '',
    crossings: 0,
    failures: 0,
    peakUsed: 0,
    committed: 0,
    cached: 0,
    largestFree: 0,
    classes: [],
  };
}

/** A block of the oracle. */
interface Expected {
  readonly size: number;
  readonly tag: number;
}

/** Random operations against a Map: every answer, every overlap, every byte that was tagged. */
function verifyAgainstModel(heap: Heap, seed: number, steps: number): void {
  const random = new Random(seed);
  const live = new Map<number, Expected>();
  const starts = new Uint8Array(Math.min(heap.size, MiB(64)) / 16);
  const pools: Pool[] = [32, 48, 200, 1000].map((size) => heap.pool(size));
  const keys: number[] = [];
  const size = (): number =>
    random.chance(1, 30)
      ? 1 + random.below(KiB(120))
      : 1 + random.below(random.chance(1, 4) ? 6000 : 300);
  const born = (p: number, bytes: number): void => {
    const usable = heap.usableSize(p);
    if (usable < bytes || p % 16 !== 0 || p === 0) throw new Error(`bad block ${p} of ${usable}`);
    for (let g = p / 16; g < (p + usable) / 16; g += 1) {
      if (starts[g] === 1) throw new Error(`block ${p} of ${bytes} overlaps at ${g * 16}`);
      starts[g] = 1;
    }
    const tag = random.below(256);
    heap.fill(p, tag, 1);
    heap.fill(p + bytes - 1, tag, 1);
    live.set(p, { size: bytes, tag });
    keys.push(p);
  };
  const judge = (p: number, { size: bytes, tag }: Expected): void => {
    if (heap.view(p, 1)[0] !== tag || heap.view(p + bytes - 1, 1)[0] !== tag)
      throw new Error(`tag of ${p} is gone`);
  };
  const died = (p: number, usable: number): void => {
    starts.fill(0, p / 16, (p + usable) / 16);
    live.delete(p);
  };
  const pick = (): number => {
    const index = random.below(keys.length);
    const p = keys[index] as number;
    keys[index] = keys.at(-1) as number;
    keys.pop();
    return p;
  };
  const most = 800;
  for (let step = 0; step < steps; step += 1) {
    const what = random.below(100);
    try {
      if (keys.length === 0 || (what < 45 && keys.length < most)) {
        if (random.chance(1, 4)) {
          const pool = pools[random.below(4)] as Pool;
          born(pool.alloc(), pool.size);
        } else if (random.chance(1, 20)) {
          const align = 16 << random.below(10);
          const bytes = size();
          const p = heap.alloc(bytes, align);
          if (p % align !== 0) throw new Error(`${p} is no multiple of ${align}`);
          born(p, bytes);
        } else {
          const bytes = size();
          born(random.chance(1, 8) ? heap.allocZeroed(bytes) : heap.alloc(bytes), bytes);
        }
      } else if (what < 85) {
        const p = pick();
        const block = live.get(p) as Expected;
        judge(p, block);
        const usable = heap.usableSize(p);
        heap.free(p);
        if (heap.isLive(p)) throw new Error(`${p} is live after its free`);
        died(p, usable);
      } else if (what < 95) {
        const p = pick();
        const block = live.get(p) as Expected;
        judge(p, block);
        const usable = heap.usableSize(p);
        const bytes = size();
        let q: number;
        try {
          q = heap.realloc(p, bytes);
        } catch (error) {
          keys.push(p);
          judge(p, block);
          throw error;
        }
        if (heap.view(q, 1)[0] !== block.tag)
          throw new Error(`realloc of ${p} lost its first byte`);
        died(p, usable);
        born(q, bytes);
      } else if (what < 97) {
        const bytes = 1 + random.below(200);
        const count = 1 + random.below(40);
        for (const p of heap.allocMany(bytes, count)) born(p, bytes);
      } else if (what < 99) {
        const batch = Array.from({ length: Math.min(keys.length, 20) }, pick);
        const sizes = batch.map((p) => heap.usableSize(p));
        heap.freeMany(batch);
        batch.forEach((p, i) => died(p, sizes[i] as number));
      } else {
        heap.trim();
      }
    } catch (error) {
      if ((error as AllocError).code !== 'ERR_NO_MEMORY') throw error;
    }
    if (step % 5000 === 4999) {
      expect(heap.check()).toBe(live.size);
      let used = 0;
      heap.walk((p, usable) => {
        if (!live.has(p)) throw new Error(`walk shows ${p}, which is not live`);
        used += usable;
      });
      expect(heap.stats()).toMatchObject({ blocks: live.size, used });
    }
  }
  for (const [p, block] of live) judge(p, block);
  heap.freeMany([...live.keys()]);
  expect(heap.check()).toBe(0);
  heap.trim();
  const { allocs, frees, cached, used } = heap.stats();
  expect({ cached, used, open: allocs - frees }).toEqual({ cached: 0, used: 0, open: 0 });
}

describe('Heap against a model', () => {
  for (const mode of ['exclusive', 'shared'] as const) {
    it(`agrees with a Map of blocks (${mode})`, () => {
      const seed = seedOf(`heap model, ${mode}`, 0xa2);
      for (let round = 0; round < rounds(1, 4); round += 1) {
        const heap = heapOf(MiB(16), mode === 'shared');
        verifyAgainstModel(heap, seed + round, rounds(60_000, 1_000_000));
        heap.close();
      }
    }, 300_000);

    it(`agrees in a heap that is nearly always full (${mode})`, () => {
      const heap = heapOf(MiB(1), mode === 'shared');
      verifyAgainstModel(heap, seedOf(`full heap, ${mode}`, 0xf11), rounds(20_000, 300_000));
    }, 120_000);
  }

  it('agrees above 4 GiB', () => {
    const heap = heapOf(GiB(5));
    verifyAgainstModel(heap, seedOf('big heap', 0xb16), rounds(5000, 300_000));
  }, 120_000);

  for (const mode of ['exclusive', 'shared'] as const) {
    it(`refuses every address of a heap that is no live block (A5, ${mode})`, () => {
      const heap = heapOf(MiB(1), mode === 'shared');
      const live = new Set<number>();
      // Every size class, and a run of pages.
      for (let size = 16; size <= KiB(32); size = Math.ceil((size * 1.1) / 16) * 16) {
        try {
          live.add(heap.alloc(size));
        } catch (error) {
          expect((error as AllocError).code).toBe('ERR_NO_MEMORY');
        }
      }
      expect(live.size).toBeGreaterThan(30);
      const before = still(heap.stats());
      let wrong = 0;
      const { stackTraceLimit } = Error;
      Error.stackTraceLimit = 0;
      for (let p = -64; p <= MiB(1) + 4096; p += 1) {
        if (live.has(p)) continue;
        try {
          heap.free(p);
          wrong += 1;
        } catch (error) {
          const { code } = error as AllocError;
          if (code !== (p < 0 ? 'ERR_INVALID_PARAM' : 'ERR_NOT_ALLOCATED')) throw error;
        }
      }
      Error.stackTraceLimit = stackTraceLimit;
      expect(wrong).toBe(0);
      expect(still(heap.stats())).toEqual(before);
      for (const p of live) heap.free(p);
      expect(heap.check()).toBe(0);
    }, 120_000);
  }

  it('serves every size class in a heap of 1 MiB', () => {
    const heap = heapOf(MiB(1));
    const ps: number[] = [];
    for (let size = 16; size <= KiB(32); size += 16) {
      const p = heap.alloc(size);
      ps.push(p);
      heap.free(ps.pop() as number);
    }
    expect(heap.check()).toBe(0);
  });

  it('does not mind what a program writes, anywhere it can (A6)', () => {
    const random = new Random(seedOf('heap isolation', 0xa6));
    const heap = heapOf(MiB(2));
    const twin = heapOf(MiB(2));
    const mine: number[] = [];
    for (let round = 0; round < rounds(400, 10_000); round += 1) {
      for (let i = 0; i < 200; i += 1) {
        heap.u32[random.below(heap.size / 4)] = random.next();
      }
      if (mine.length < 300 && random.chance(2, 3)) {
        const size = 1 + random.below(random.chance(1, 10) ? 50_000 : 1000);
        const answer = (h: Heap): number | string => {
          try {
            return h.alloc(size);
          } catch (error) {
            return (error as AllocError).code;
          }
        };
        const p = answer(heap);
        expect(answer(twin)).toBe(p);
        if (typeof p === 'number') mine.push(p);
      } else if (mine.length > 0) {
        const p = mine.splice(random.below(mine.length), 1)[0] as number;
        heap.free(p);
        twin.free(p);
      }
    }
    expect(heap.check()).toBe(twin.check());
    expect(still(heap.stats())).toEqual(still(twin.stats()));
  });

  it('answers every hostile value with a typed error, and stays as it was (A3)', () => {
    const heap = heapOf(MiB(2));
    const pool = heap.pool(64);
    const p = heap.alloc(100);
    const calls: Record<string, (v: never) => unknown> = {
      'alloc(v)': (v) => heap.alloc(v),
      'alloc(16, v)': (v) => (v === undefined ? 0 : heap.alloc(16, v)),
      'allocZeroed(v)': (v) => heap.allocZeroed(v),
      'free(v)': (v) => heap.free(v),
      'realloc(v, 16)': (v) => heap.realloc(v, 16),
      'realloc(p, v)': (v) => heap.realloc(p, v),
      'allocMany(v, 2)': (v) => heap.allocMany(v, 2),
      'allocMany(16, v)': (v) => heap.allocMany(16, v),
      'freeMany([v])': (v) => heap.freeMany([v]),
      'freeMany(v)': (v) => heap.freeMany(v),
      'usableSize(v)': (v) => heap.usableSize(v),
      'view(v)': (v) => heap.view(v),
      'view(p, v)': (v) => heap.view(p, v),
      'buffer(v, 1)': (v) => heap.buffer(v, 1),
      'copy(v, p, 1)': (v) => heap.copy(v, p, 1),
      'copy(p, v, 1)': (v) => heap.copy(p, v, 1),
      'copy(p, p, v)': (v) => heap.copy(p, p, v),
      'fill(v, 0)': (v) => heap.fill(v, 0),
      'fill(p, v)': (v) => heap.fill(p, v),
      'fill(p, 0, v)': (v) => heap.fill(p, 0, v),
      'pool(v)': (v) => heap.pool(v),
      'pool.free(v)': (v) => pool.free(v),
      'isLive(v)': (v) => heap.isLive(v),
      'walk(v)': (v) => heap.walk(v),
      'new Heap({ size: v })': (v) => new Heap({ size: v }).close(),
      'new Heap({ maxThreads: v })': (v) => new Heap({ size: MiB(1), maxThreads: v }).close(),
      'Heap.attach(v)': (v) => Heap.attach(v),
    };
    let count = 0;
    for (const [name, call] of Object.entries(calls)) {
      for (const bad of [...BAD_NUMBERS, ...ODD_NUMBERS, ...NO_NUMBERS]) {
        const value = typeof bad === 'number' ? bad : bad.make({ close: () => heap.close() });
        const what = `${name} with ${typeof bad === 'number' ? bad : bad.name}`;
        const before = still(heap.stats());
        let refused: { code?: string; name?: string } | undefined;
        let answer: unknown;
        try {
          answer = call(value as never);
        } catch (error) {
          refused = error as AllocError;
        }
        count += 1;
        if (refused === undefined) {
          // A documented success: undone, so that the next value finds the same heap.
          if (typeof answer === 'number' && answer !== p && heap.isLive(answer)) heap.free(answer);
          else if (answer instanceof Float64Array) heap.freeMany(answer);
          continue;
        }
        if (typeof bad === 'number') {
          const codes = [...ODD_CODES, 'ERR_INVALID_ARG_TYPE'];
          expect(codes, what).toContain(refused.code);
          if (BAD_NUMBERS.includes(bad) && !/attach|walk|freeMany\(v\)/.test(name)) {
            expect(refused.code, what).toBe('ERR_INVALID_PARAM');
          }
        } else {
          // What a trap or a visitor of the program throws passes through.
          const isOurs = !bad.name.endsWith(' Proxy') && bad.name !== 'a function';
          if (!isOurs && refused.code === undefined) continue;
          expect(
            ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_PARAM', 'ERR_NOT_ALLOCATED'],
            what,
          ).toContain(refused.code);
        }
        expect(still(heap.stats()), what).toEqual(before);
      }
    }
    expect(heap.isLive(p)).toBe(true);
    expect(heap.closed).toBe(false);
    expect(heap.check()).toBe(1);
    console.log(`heap: ${count} hostile calls`);
  });

  it('finds a million wrong frees among good ones, and no other (B17 without its clock)', () => {
    const heap = heapOf(MiB(64));
    const other = heapOf(MiB(64));
    const random = new Random(seedOf('wrong frees', 0xb17));
    const good: number[] = [];
    let caught = 0;
    let wrong = 0;
    for (let i = 0; i < rounds(20_000, 1_000_000); i += 1) {
      for (let k = 0; k < 10; k += 1) {
        good.push(heap.alloc(16 + random.below(200)));
        if (good.length > 500) heap.free(good.splice(random.below(good.length), 1)[0] as number);
      }
      const p = good.at(-1) as number;
      const q = other.alloc(2000);
      heap.free(good.pop() as number);
      const bad = [p, p + 16 * (1 + random.below(5)) + 8, random.below(heap.size) | 1, q + 2 ** 25][
        i % 4
      ] as number;
      wrong += 1;
      try {
        heap.free(bad);
      } catch (error) {
        if ((error as AllocError).code === 'ERR_NOT_ALLOCATED') caught += 1;
      }
      other.free(q);
    }
    expect(caught).toBe(wrong);
    expect(heap.check()).toBe(good.length);
  }, 120_000);

  it('keeps secrets: no old byte in allocZeroed, no address in any view (A21)', () => {
    const heap = heapOf(MiB(4));
    const random = new Random(seedOf('heap secrets', 0xa21));
    for (let round = 0; round < rounds(500, 10_000); round += 1) {
      const size = 1 + random.below(random.chance(1, 10) ? KiB(100) : 2000);
      const p = heap.alloc(size);
      heap.fill(p, 0x5a);
      heap.free(p);
      const q = heap.allocZeroed(size);
      expect(heap.view(q, size).every((byte) => byte === 0)).toBe(true);
      heap.free(q);
    }
    for (const word of heap.u64) {
      // Addresses of a 64-bit Linux process that point into mappings begin with 0x7.
      if (word >= 0x7000_0000_0000n && word < 0x8000_0000_0000n) throw new Error(`address ${word}`);
    }
  });
});
