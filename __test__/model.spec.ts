/**
 * @file Acceptance test A2 for the families: random operations against an oracle in JavaScript.
 *
 * The oracle is dumber than any allocator: a `Map` of live blocks and one byte per granule of the
 * range. It judges every answer (inside a range, aligned, no overlap), every block carries a tag that
 * is checked before it is freed or moved, and the statistics are compared throughout.
 *
 * CI: 2 seeds x 20,000 operations per kind; torture: 4 x 1,000,000.
 */
import { describe, expect, it } from 'vitest';
import { AllocError, KiB, MiB, createAllocator } from '../index.ts';
import { BYTE_KINDS, bytesOf } from './support/kinds.ts';
import type { Bytes } from './support/kinds.ts';
import { Random, rounds, seedOf } from './support/random.ts';

interface Block {
  readonly size: number;
  readonly align: number;
  readonly usable: number;
  readonly tag: number;
}

const SEEDS = Array.from({ length: rounds(2, 4) }, (_, index) => 0x5eed + index * 7919);
const OPERATIONS = rounds(20_000, 1_000_000);
const START = MiB(3);
const SIZE = MiB(8);
const LIVE_MAX = 1500;

/** Live blocks, and who holds each byte. */
class Oracle {
  readonly live = new Map<number, Block>();
  /** The keys of `live`, to pick from. */
  readonly positions: number[] = [];
  readonly #held = new Uint8Array(SIZE);
  requested = 0;
  used = 0;
  peak = 0;
  counts = { allocs: 0, frees: 0, failures: 0 };

  born(pos: number, block: Block): void {
    if (pos % block.align !== 0) throw new Error(`${pos} is no multiple of ${block.align}`);
    if (pos < START || pos + block.size > START + SIZE) throw new Error(`${pos} is outside`);
    const span = this.#held.subarray(pos - START, pos - START + block.size);
    if (span.includes(1)) throw new Error(`${pos} + ${block.size} overlaps a live block`);
    span.fill(1);
    this.live.set(pos, block);
    this.positions.push(pos);
    this.requested += block.size;
    this.used += block.usable;
    this.peak = Math.max(this.peak, this.used);
  }

  died(index: number): void {
    const pos = this.positions[index] as number;
    const last = this.positions.pop() as number;
    if (last !== pos) this.positions[index] = last;
    const block = this.live.get(pos) as Block;
    this.#held.fill(0, pos - START, pos - START + block.size);
    this.live.delete(pos);
    this.requested -= block.size;
    this.used -= block.usable;
  }
}

function fill(allocator: Bytes, pos: number, tag: number): void {
  allocator.view(pos).fill(tag);
}

function verify(allocator: Bytes, pos: number, length: number, tag: number): void {
  const view = allocator.view(pos, length);
  for (let index = 0; index < length; index += 1) {
    if (view[index] !== tag)
      throw new Error(`byte ${index} of ${pos} is ${view[index]}, not ${tag}`);
  }
}

/** Runs `attempt`; `undefined` when there was no memory, which must then be true. */
function orNoMemory(
  allocator: Bytes,
  oracle: Oracle,
  size: number,
  attempt: () => number,
): number | undefined {
  try {
    return attempt();
  } catch (error) {
    if (!(error instanceof AllocError) || error.code !== 'ERR_NO_MEMORY') throw error;
    oracle.counts.failures += 1;
    expect(error.requested).toBe(size);
    expect(error.largestFree).toBe(allocator.stats().largestFree);
    return undefined;
  }
}

function step(allocator: Bytes, oracle: Oracle, random: Random): void {
  const { positions } = oracle;
  const what = random.below(100);
  const tag = random.below(256);
  if (what < 50 && positions.length < LIVE_MAX) {
    const size = random.size(KiB(32));
    const align = 1 << random.below(13);
    const zeroed = random.chance(1, 8);
    const pos = orNoMemory(allocator, oracle, size, () =>
      zeroed ? allocator.allocZeroed(size, align) : allocator.alloc(size, align),
    );
    if (pos === undefined) return;
    if (zeroed) verify(allocator, pos, size, 0);
    oracle.born(pos, { size, align, usable: allocator.usableSize(pos), tag });
    oracle.counts.allocs += 1;
    fill(allocator, pos, tag);
  } else if (positions.length > 0) {
    const index = random.below(positions.length);
    const pos = positions[index] as number;
    const block = oracle.live.get(pos) as Block;
    verify(allocator, pos, block.size, block.tag);
    if (what < 60) {
      const size = random.size(KiB(32));
      const moved = orNoMemory(allocator, oracle, size, () => allocator.realloc(pos, size));
      if (moved === undefined) {
        verify(allocator, pos, block.size, block.tag);
        return;
      }
      verify(allocator, moved, Math.min(size, block.size), block.tag);
      oracle.died(index);
      oracle.born(moved, { size, align: block.align, usable: allocator.usableSize(moved), tag });
      fill(allocator, moved, tag);
    } else {
      if (random.chance(1, 2)) allocator.dealloc(pos);
      else allocator.dealloc(pos, block.size, block.align);
      oracle.died(index);
      oracle.counts.frees += 1;
    }
  }
}

describe.each(BYTE_KINDS)('kind %s', (kind) => {
  it.each(SEEDS)('agrees with the oracle, seed %i', (fallback) => {
    const random = new Random(seedOf(`model ${kind}`, fallback));
    const allocator = bytesOf(kind, SIZE, { start: START });
    const oracle = new Oracle();
    for (let operation = 0; operation < OPERATIONS; operation += 1) {
      step(allocator, oracle, random);
      if (operation % 64 === 0) {
        const stats = allocator.stats();
        expect(stats.blocks).toBe(oracle.live.size);
        expect(stats.requested).toBe(oracle.requested);
        // A TLSF block has a header, which is granted but not usable.
        if (kind === 'tlsf') expect(stats.used).toBeGreaterThanOrEqual(oracle.used);
        else expect(stats.used).toBe(oracle.used);
        expect(stats.used + stats.available).toBe(SIZE);
        expect(stats.failures).toBe(oracle.counts.failures);
      }
      if (operation % 5000 === 0) expect(allocator.check()).toBe(oracle.live.size);
    }
    const seen = new Map<number, number>();
    allocator.walk((pos, size) => seen.set(pos, size));
    expect(seen).toEqual(
      new Map(
        [...oracle.live]
          .map(([pos, { size }]) => [pos, size] as const)
          .toSorted(([a], [b]) => a - b),
      ),
    );
    for (const [pos, block] of oracle.live) verify(allocator, pos, block.size, block.tag);
    allocator.deallocMany([...oracle.live.keys()]);
    expect(allocator.stats()).toMatchObject({ used: 0, requested: 0, blocks: 0 });
    expect(allocator.stats().peakUsed).toBeGreaterThanOrEqual(oracle.peak);
    expect(allocator.check()).toBe(0);
  });
});

describe('kind bitmap', () => {
  it.each(SEEDS)('takes the first run that fits, seed %i', (fallback) => {
    const random = new Random(seedOf('model bitmap', fallback));
    const pages = 4096;
    const start = MiB(1) + 4096 * 3;
    const allocator = createAllocator({ kind: 'bitmap', start, size: pages * 4096 });
    const held = new Uint8Array(pages);
    const live = new Map<number, number>();
    const firstFit = (count: number, align: number): number | undefined => {
      for (let page = 0; page + count <= pages; page += 1) {
        if ((start + page * 4096) % align === 0 && !held.subarray(page, page + count).includes(1))
          return page;
      }
      return undefined;
    };
    for (let operation = 0; operation < OPERATIONS / 10; operation += 1) {
      if (random.chance(11, 20)) {
        const count = random.size(64);
        const align = 4096 << random.below(6);
        const expected = firstFit(count, align);
        let found: number | undefined;
        try {
          found = (allocator.allocPages(count, align) - start) / 4096;
        } catch (error) {
          expect((error as AllocError).code).toBe('ERR_NO_MEMORY');
        }
        expect(found).toBe(expected);
        if (found !== undefined) {
          held.fill(1, found, found + count);
          live.set(found, count);
        }
      } else if (live.size > 0) {
        const page = random.pick([...live.keys()]);
        const count = live.get(page) as number;
        allocator.deallocPages(start + page * 4096, random.chance(1, 2) ? count : undefined);
        held.fill(0, page, page + count);
        live.delete(page);
      }
      const used = [...live.values()].reduce((sum, count) => sum + count, 0);
      expect(allocator.usedPages).toBe(used);
    }
    expect(allocator.check()).toBe(live.size);
  });
});

describe('kind id', () => {
  it.each(SEEDS)('takes the lowest run that fits, seed %i', (fallback) => {
    const random = new Random(seedOf('model id', fallback));
    const size = 3000;
    const allocator = createAllocator({ kind: 'id', size });
    const held = new Uint8Array(size);
    const live = new Map<number, number>();
    for (let operation = 0; operation < OPERATIONS / 10; operation += 1) {
      const count = random.chance(1, 2) ? 1 : random.size(16);
      if (random.chance(11, 20)) {
        let expected = 0;
        while (expected + count <= size && held.subarray(expected, expected + count).includes(1))
          expected += 1;
        if (expected + count > size) {
          expect(() => allocator.allocId(count)).toThrow(AllocError);
        } else {
          expect(allocator.allocId(count)).toBe(expected);
          held.fill(1, expected, expected + count);
          live.set(expected, count);
        }
      } else if (live.size > 0) {
        const id = random.pick([...live.keys()]);
        allocator.deallocId(id);
        held.fill(0, id, id + (live.get(id) as number));
        live.delete(id);
      }
      const probe = random.below(size);
      expect(allocator.isAllocated(probe)).toBe(held[probe] === 1);
    }
    expect(allocator.check()).toBe(live.size);
    expect(allocator.used).toBe(held.reduce((sum, bit) => sum + bit, 0));
  });
});
