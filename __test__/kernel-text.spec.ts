/**
 * @file `toBuddyinfo` and `toSlabinfo`: the kernel's formats, column for column, from real snapshots.
 */
import { describe, expect, it } from 'vitest';
import {
  GiB,
  MiB,
  SlabAllocator,
  createAllocator,
  snapshot,
  toBuddyinfo,
  toSlabinfo,
} from '../index.ts';
import { expectRefusal, expectWrongType } from './support/refusal.ts';

/** A line of slabinfo, as tools parse it. */
const SLABINFO =
  /^(\S+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) : tunables +(\d+) +(\d+) +(\d+) : slabdata +(\d+) +(\d+) +(\d+)$/u;

describe('toBuddyinfo', () => {
  it('writes a line for each section, counts by order', () => {
    using pages = createAllocator({ kind: 'buddy-pages', size: MiB(1) });
    pages.addRegion(GiB(8), MiB(8), { physStart: GiB(6) });
    pages.allocPagesAt(MiB(1), 1);
    expect(toBuddyinfo(snapshot(pages))).toBe(
      'Node 0, zone    DMA32      1      1      1      1      1      1      1      1      0      0      0      0 \n' +
        'Node 1, zone   Normal      0      0      0      0      0      0      0      0      0      0      0      1 \n',
    );
  });

  it('counts what the allocator counts, for every page kind', () => {
    using buddy = createAllocator({ kind: 'buddy-pages', size: 1000 * 4096 });
    using bitmap = createAllocator({ kind: 'bitmap', size: 1000 * 4096 });
    using both = createAllocator({ kind: 'two-level', size: 1000 * 4096, cpus: 2 });
    for (const pages of [buddy, bitmap, both]) {
      for (let count = 1; count < 20; count += 1) pages.allocPages(count);
      const columns = toBuddyinfo(snapshot(pages)).trim().split(/\s+/u).slice(4).map(Number);
      const free = columns.reduce((sum, runs, order) => sum + runs * 2 ** order, 0);
      expect(free).toBe(pages.availablePages);
    }
  });

  it('refuses what has no pages', () => {
    using bytes = createAllocator({ size: MiB(1) });
    expectRefusal('ERR_INVALID_PARAM', /tlsf/u, () => toBuddyinfo(snapshot(bytes)));
    expectRefusal('ERR_INVALID_PARAM', /schema/u, () => toBuddyinfo({} as never));
    expectWrongType('snapshot', () => toBuddyinfo(null as never));
  });
});

describe('toSlabinfo', () => {
  it('writes version 2.1, a line for each class over all CPUs', () => {
    using both = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
    for (let index = 0; index < 100; index += 1) both.cpu(index % 2).alloc(64);
    both.cpu(0).dealloc(both.cpu(1).alloc(2048));
    const lines = toSlabinfo(snapshot(both)).split('\n');
    expect(lines[0]).toBe('slabinfo - version: 2.1');
    expect(lines[1]).toBe(
      '# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>',
    );
    expect(lines).toHaveLength(2 + 9 + 1);
    expect(lines[5]).toBe(
      'kmalloc-64           100    128     64   64    1 : tunables    0    0    0 : slabdata      2      2      0',
    );
    expect(lines[10]).toBe(
      'kmalloc-2048           0      8   2048    8    4 : tunables    0    0    0 : slabdata      1      1      0',
    );
    for (const line of lines.slice(2, -1)) expect(line).toMatch(SLABINFO);
  });

  it('agrees with stats of a slab cache', () => {
    using slots = new SlabAllocator();
    slots.addSlab(0, 4096, 1);
    slots.addSlab(8, 16384, 4);
    for (let index = 0; index < 10; index += 1) slots.alloc(8);
    const rows = toSlabinfo(snapshot(slots)).trim().split('\n').slice(2);
    const figures = rows.map((row) =>
      (SLABINFO.exec(row) as RegExpExecArray).slice(2, 7).map(Number),
    );
    const expected = slots
      .stats()
      .classes.map((entry) => [entry.active, entry.objects, entry.objectSize]);
    expect(figures.map((row) => row.slice(0, 3))).toEqual(expected);
    expect(figures[0]).toEqual([10, 512, 8, 512, 1]);
  });

  it('still shows the slabs of the others when a CPU is gone', () => {
    using both = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
    both.cpu(0).alloc(64);
    both.adopt(0, 1);
    expect(toSlabinfo(snapshot(both))).toContain('kmalloc-64             1     64');
  });

  it('names the path of what is wrong in a snapshot that was damaged', () => {
    const damaged = (parts: object): never =>
      ({ schema: 'heapwright/snapshot/1', kind: 'two-level', ...parts }) as never;
    for (const [path, parts] of [
      ['snapshot.sections', { sections: 1 }],
      ['snapshot.sections[0]', { sections: [null] }],
      ['snapshot.sections[0].freeRuns', { sections: [{ physStart: 0, size: 4096 }] }],
    ] as const) {
      const error = expectRefusal('ERR_INVALID_PARAM', /must be/u, () =>
        toBuddyinfo(damaged(parts)),
      );
      expect(error.message).toContain(`${path} must be`);
    }
    for (const [path, parts] of [
      ['snapshot.cpus[0].classes', { cpus: [{}] }],
      ['snapshot.slabClasses[0].objectSize', { slabClasses: [{ objectSize: 0 }] }],
      ['snapshot.heapClasses[0]', { heapClasses: [null] }],
    ] as const) {
      const error = expectRefusal('ERR_INVALID_PARAM', /must be/u, () =>
        toSlabinfo(damaged(parts)),
      );
      expect(error.message).toContain(`${path} must be`);
    }
  });

  it('refuses what has no slabs', () => {
    using pages = createAllocator({ kind: 'buddy-pages', size: MiB(1) });
    expectRefusal('ERR_INVALID_PARAM', /buddy-pages/u, () => toSlabinfo(snapshot(pages)));
  });
});
