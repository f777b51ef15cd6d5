/**
 * @file `BitmapIdAllocator`: single ids, runs, fixed ids, ranges.
 */
import { describe, expect, it } from 'vitest';
import { BitmapIdAllocator, createAllocator } from '../index.ts';
import { idsOf } from './support/kinds.ts';
import { expectRefusal, expectUnchanged } from './support/refusal.ts';

describe('BitmapIdAllocator', () => {
  it('hands out the lowest free id, from 0', () => {
    const ids = idsOf(4);
    expect([ids.allocId(), ids.allocId(), ids.allocId(), ids.allocId()]).toEqual([0, 1, 2, 3]);
    const error = expectUnchanged(ids, 'ERR_NO_MEMORY', /1 ids/, () => ids.allocId());
    expect([error.requested, error.largestFree]).toEqual([1, 0]);
    ids.deallocId(2);
    expect(ids.allocId()).toBe(2);
  });

  it('hands out runs, aligned', () => {
    const ids = idsOf();
    expect(ids.allocId(3)).toBe(0);
    expect(ids.allocId(4, 8)).toBe(8);
    expect(ids.allocId(5)).toBe(3);
    expect(ids.used).toBe(12);
    expectUnchanged(ids, 'ERR_SIZE_MISMATCH', /4 ids, got 3/, () => ids.deallocId(8, 3));
    expectUnchanged(ids, 'ERR_NOT_ALLOCATED', /9/, () => ids.deallocId(9));
    ids.deallocId(8, 4);
    expect(ids.isAllocated(8)).toBe(false);
  });

  it('takes the very id that is asked for', () => {
    const ids = idsOf(100);
    ids.allocFixedId(42);
    expect(ids.isAllocated(42)).toBe(true);
    expectUnchanged(ids, 'ERR_NO_MEMORY', /id 42 is taken/, () => ids.allocFixedId(42));
    expectUnchanged(ids, 'ERR_INVALID_PARAM', /got 100/, () => ids.allocFixedId(100));
    expect(ids.allocId(50)).toBe(43);
    ids.deallocId(42);
  });

  it('manages ids from any start, in several ranges', () => {
    const ports = createAllocator({ kind: 'id', start: 32_768, size: 100 });
    ports.addMemory(60_000, 50);
    expect(ports.size).toBe(150);
    expect(ports.allocId()).toBe(32_768);
    ports.allocFixedId(60_049);
    expect(ports.isAllocated(60_049)).toBe(true);
    expect(ports.isAllocated(40_000)).toBe(false);
    expect(ports.available).toBe(148);
    expectUnchanged(ports, 'ERR_MEMORY_OVERLAP', /32768/, () => ports.addMemory(32_800, 10));
  });

  it('answers false to every number that is no id of its own', () => {
    const ids = idsOf(10);
    for (const id of [10, -1, 0.5, NaN, Infinity, 2 ** 53, 2 ** 28]) {
      expect(ids.isAllocated(id)).toBe(false);
    }
  });

  it('counts ids in its statistics and walks', () => {
    const ids = idsOf(100);
    ids.allocId(5);
    ids.allocFixedId(50);
    expect(ids.stats()).toMatchObject({
      kind: 'id',
      total: 100,
      used: 6,
      requested: 6,
      available: 94,
      largestFree: 49,
      blocks: 2,
      allocs: 2,
      frees: 0,
      peakUsed: 6,
    });
    const seen: number[][] = [];
    ids.walk((...run) => seen.push(run));
    expect(seen.map(([start, count]) => [start, count])).toEqual([
      [0, 5],
      [50, 1],
    ]);
  });

  it('names an alignment above what its map spans', () => {
    using ids = createAllocator({ kind: 'id', size: 64 });
    expectRefusal('ERR_INVALID_PARAM', /align .*map.*1048576/, () => ids.allocId(1, 2 ** 20));
  });

  it('holds up to 2^28 ids', () => {
    using ids = createAllocator({ kind: 'id', size: 2 ** 28 });
    ids.allocFixedId(2 ** 28 - 1);
    expect(ids.allocId(2 ** 28 - 1)).toBe(0);
    expectRefusal('ERR_CAPACITY', /268435456/, () =>
      createAllocator({ kind: 'id', size: 2 ** 28 + 1 }),
    );
  });

  it('works in two steps', () => {
    const ids = new BitmapIdAllocator();
    expectRefusal('ERR_CLOSED', /init/, () => ids.allocId());
    ids.init(0, 8);
    expect(ids.allocId()).toBe(0);
    expectRefusal('ERR_INVALID_PARAM', /once/, () => ids.init(100, 8));
  });
});
