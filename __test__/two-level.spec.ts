/**
 * @file The kinds of our own engine: 'two-level', 'buddy-pages', 'slab-cache'.
 *
 * First what each does, then every misuse row of `HAZARDS.md` for `buddy-slab-allocator` (BS, BT, RF):
 * what crashed, leaked or corrupted there has a typed error here, or simply works. Models against an
 * oracle are in `two-level-model.spec.ts`, the kernel's text formats in `kernel-text.spec.ts`.
 */
import { describe, expect, it } from 'vitest';
import {
  BuddyAllocator,
  GiB,
  GlobalAllocator,
  KiB,
  MiB,
  SlabAllocator,
  createAllocator,
  features,
  withFeatures,
} from '../index.ts';
import type { AllocError, SlabAllocResult } from '../index.ts';
import { expectRefusal, expectUnchanged, expectWrongType } from './support/refusal.ts';

const PAGE = 4096;

function two(
  more: { cpus?: number; size?: number; start?: number; memory?: boolean } = {},
): GlobalAllocator {
  return createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2, ...more });
}

function pages(count: number, memory = false): BuddyAllocator {
  return createAllocator({ kind: 'buddy-pages', size: count * PAGE, memory });
}

/** Makes a two-level allocator with more options. */
function make(more: object): () => unknown {
  return () => createAllocator({ kind: 'two-level', size: MiB(1), ...more } as never);
}

function allocated(result: SlabAllocResult): number {
  if (result.state !== 'allocated') throw new Error('a slab was expected');
  return result.pos;
}

/** Class `index` of a CPU. */
function classOf(
  allocator: GlobalAllocator,
  cpu: number,
  index: number,
): ReturnType<ReturnType<GlobalAllocator['cpu']>['classes']>[number] {
  return allocator.cpu(cpu).classes()[index] as never;
}

describe('GlobalAllocator', () => {
  it('routes small blocks to slabs and the rest to pages', () => {
    using allocator = two();
    const slot = allocator.alloc(2048, 2048);
    expect(slot % 2048).toBe(0);
    expect(allocator.usableSize(slot)).toBe(2048);
    const run = allocator.alloc(2049);
    expect(run % PAGE).toBe(0);
    expect(allocator.usableSize(run)).toBe(PAGE);
    const aligned = allocator.alloc(8, KiB(64));
    expect(aligned % KiB(64)).toBe(0);
    expect(allocator.usableSize(aligned)).toBe(PAGE);
    expect(allocator.stats()).toMatchObject({
      used: 2048 + 2 * PAGE,
      requested: 2048 + 2049 + 8,
      blocks: 3,
    });
    expect(allocator.check()).toBe(3);
  });

  it('has both faces: bytes and pages', () => {
    using allocator = two();
    const run = allocator.allocPages(3);
    expect(allocator.view(run)).toHaveLength(3 * PAGE);
    expect(allocator.isLive(run)).toBe(true);
    const at = allocator.allocPagesAt(MiB(2) - PAGE, 1);
    expect(at).toBe(MiB(2) - PAGE);
    const low = allocator.allocPagesLowmem(2, KiB(16));
    expect(low % KiB(16)).toBe(0);
    expect([allocator.usedPages, allocator.totalPages, allocator.availablePages]).toEqual([
      6, 256, 250,
    ]);
    expect(allocator.allocatedBytes).toBe(6 * PAGE);
    expect(allocator.managedBytes).toBe(MiB(1));
    const seen: number[][] = [];
    allocator.walk((pos, size, align) => seen.push([pos, size, align]));
    expect(seen).toContainEqual([run, 3 * PAGE, PAGE]);
    allocator.deallocPages(run, 3);
    allocator.deallocPages(at);
    allocator.dealloc(low);
    expect(allocator.usedPages).toBe(0);
  });

  it('keeps what is written, and gives zeroes where asked', () => {
    using allocator = two();
    for (const size of [1, 100, 2048, 5000]) {
      const block = allocator.alloc(size);
      allocator.view(block).fill(0xa5);
      allocator.dealloc(block);
      const zeroed = allocator.allocZeroed(size);
      expect(allocator.view(zeroed).every((byte) => byte === 0)).toBe(true);
      allocator.view(zeroed).fill(7);
      const moved = allocator.realloc(zeroed, size * 3);
      expect(allocator.view(moved, size).every((byte) => byte === 7)).toBe(true);
    }
    expect(allocator.check()).toBe(4);
  });

  it('resizes in place where the slot or the pages behind allow', () => {
    using allocator = two();
    const slot = allocator.alloc(100);
    expect(allocator.realloc(slot, 128)).toBe(slot);
    const run = allocator.alloc(5 * PAGE);
    expect(allocator.realloc(run, 3 * PAGE)).toBe(run);
    expect(allocator.realloc(run, 4 * PAGE)).toBe(run);
    expect(allocator.usableSize(run)).toBe(4 * PAGE);
    expect(allocator.check()).toBe(2);
  });

  it('frees all of a batch or none', () => {
    using allocator = two();
    const many = allocator.allocMany(64, 1000);
    expect(new Set(many).size).toBe(1000);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /0x/u, () =>
      allocator.deallocMany([many[0] as number, many[1] as number, many[0] as number]),
    );
    expectUnchanged(allocator, 'ERR_NO_MEMORY', /bytes/u, () => allocator.allocMany(2000, 500));
    allocator.deallocMany(many);
    allocator.trim();
    expect(allocator.allocatedBytes).toBe(0);
  });

  it('gives each CPU slabs of its own', () => {
    using allocator = two({ cpus: 4 });
    const block = allocator.cpu(2).alloc(64);
    expect(allocator.cpu(2).index).toBe(2);
    expect(classOf(allocator, 2, 3)).toMatchObject({ objectSize: 64, slabs: 1, active: 1 });
    expect(classOf(allocator, 1, 3)).toMatchObject({ slabs: 0 });
    expect(allocator.cpu(2)).toBe(allocator.cpu(2));
    // What is called without a CPU speaks for CPU 0.
    const first = allocator.alloc(64);
    expect(classOf(allocator, 0, 3)).toMatchObject({ active: 1 });
    allocator.cpu(2).dealloc(block);
    allocator.cpu(0).dealloc(first);
    expect(classOf(allocator, 2, 3)).toMatchObject({ active: 0, pendingRemote: 0, empty: 1 });
  });

  it('kills a remote block at once, and reuses it when its owner drains', () => {
    using allocator = two();
    const block = allocator.cpu(0).alloc(64);
    allocator.cpu(1).dealloc(block);
    expect(allocator.isLive(block)).toBe(false);
    expect(allocator.stats().blocks).toBe(0);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /0x/u, () => allocator.cpu(1).dealloc(block));
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /0x/u, () => allocator.cpu(0).dealloc(block));
    expect(classOf(allocator, 0, 3)).toMatchObject({ active: 0, pendingRemote: 1 });
    // Nothing drains but a miss.
    expect(allocator.cpu(0).alloc(64)).not.toBe(block);
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(1);
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(0);
    expect(allocator.cpu(0).alloc(64)).toBe(block);
  });

  it('drains on a miss before it asks for pages', () => {
    using allocator = two();
    const blocks = Array.from({ length: 64 }, () => allocator.cpu(0).alloc(64));
    const before = allocator.allocatedBytes;
    for (const block of blocks) allocator.cpu(1).dealloc(block);
    for (let index = 0; index < 64; index += 1) allocator.cpu(0).alloc(64);
    expect(allocator.allocatedBytes).toBe(before);
  });

  it('trims empty slabs, drained ones included', () => {
    using allocator = two();
    const block = allocator.cpu(0).alloc(2048);
    expect(allocator.trim()).toBe(0);
    allocator.cpu(1).dealloc(block);
    expect(allocator.trim()).toBe(4);
    expect(allocator.trim()).toBe(0);
    expect(allocator.stats().largestFree).toBe(MiB(1));
  });

  it('hands the slabs of a CPU to another', () => {
    using allocator = two({ cpus: 3 });
    const blocks = [1, 2, 3].map(() => allocator.cpu(1).alloc(100));
    allocator.cpu(0).dealloc(blocks[0] as number);
    allocator.adopt(1, 2);
    expect(classOf(allocator, 2, 4)).toMatchObject({ slabs: 1, active: 2, pendingRemote: 0 });
    for (const call of [
      () => allocator.cpu(1).alloc(8),
      () => allocator.cpu(1).dealloc(blocks[1] as number),
      () => allocator.cpu(1).drainRemoteFrees(),
      () => allocator.cpu(1).classes(),
      () => allocator.adopt(1, 2),
      () => allocator.adopt(2, 1),
    ]) {
      expectUnchanged(allocator, 'ERR_CLOSED', /CPU 1 is gone: CPU 2/u, call);
    }
    allocator.cpu(2).dealloc(blocks[1] as number);
    allocator.dealloc(blocks[2] as number);
    allocator.trim();
    expect(allocator.allocatedBytes).toBe(0);
  });

  it('goes on without CPU 0, but for what speaks for it', () => {
    using allocator = two();
    const block = allocator.alloc(64);
    allocator.adopt(0, 1);
    expectUnchanged(allocator, 'ERR_CLOSED', /CPU 0 is gone/u, () => allocator.alloc(64));
    const other = allocator.cpu(1).alloc(64);
    allocator.dealloc(block);
    allocator.dealloc(other);
    expect(allocator.check()).toBe(0);
  });

  it('refuses CPUs that are not there', () => {
    using allocator = two({ cpus: 3 });
    for (const call of [
      () => allocator.cpu(3),
      () => allocator.adopt(0, 3),
      () => allocator.adopt(3, 0),
      () => allocator.adopt(1, 1),
      () => allocator.cpu(-1),
      () => allocator.cpu(0.5),
    ]) {
      expectUnchanged(allocator, 'ERR_INVALID_PARAM', /got/u, call);
    }
    expectWrongType('index', () => allocator.cpu('0' as never));
    expectRefusal('ERR_INVALID_PARAM', /cpus .* got 0/u, () => new GlobalAllocator({ cpus: 0 }));
    // RF8: more than there can be.
    expectRefusal('ERR_CAPACITY', /256, got 257/u, () => new GlobalAllocator({ cpus: 257 }));
    using most = two({ cpus: 256 });
    expect(most.cpu(255).alloc(8)).toBeGreaterThan(0);
  });

  it('says truthfully what still fits', () => {
    using allocator = two({ size: 5 * PAGE, start: 3 * PAGE });
    for (;;) {
      const { largestFree } = allocator.stats();
      if (largestFree === 0) break;
      expect(() => allocator.cpu(1).alloc(largestFree + PAGE)).toThrow('the largest is of');
      allocator.alloc(largestFree, 1);
    }
    const error = expectRefusal('ERR_NO_MEMORY', /0 bytes/u, () => allocator.alloc(1));
    expect(error).toMatchObject({ requested: 1, largestFree: 0 } satisfies Partial<AllocError>);
    // A slot of its own is still had when no page is.
    using slots = two({ size: PAGE });
    const block = slots.alloc(100);
    expect(slots.stats().largestFree).toBe(128);
    slots.cpu(1).dealloc(block);
    slots.alloc(slots.stats().largestFree);
  });

  it('manages addresses without memory, up to a TiB', () => {
    using allocator = createAllocator({
      kind: 'two-level',
      size: GiB(1024),
      memory: false,
      cpus: 4,
    });
    const run = allocator.allocPages(2 ** 20);
    const block = allocator.alloc(64);
    expectRefusal('ERR_UNSUPPORTED', /memory/u, () => allocator.view(block));
    expect(allocator.check()).toBe(2);
    allocator.deallocPages(run);
  });

  it('is one of the kinds, and can be left out', () => {
    expect(features().kinds).toEqual(
      expect.arrayContaining(['two-level', 'buddy-pages', 'slab-cache']),
    );
    const bare = withFeatures('tlsf');
    for (const kind of ['two-level', 'buddy-pages'] as const) {
      expectRefusal('ERR_FEATURE_DISABLED', /two-level/u, () =>
        bare.createAllocator({ kind, size: MiB(1) } as never),
      );
    }
    expect(withFeatures('two-level').features().kinds).toEqual([
      'two-level',
      'buddy-pages',
      'slab-cache',
    ]);
  });

  it('refuses options that it does not know or cannot have', () => {
    expectRefusal('ERR_INVALID_PARAM', /cpu/u, make({ cpu: 2 }));
    expectRefusal('ERR_INVALID_PARAM', /pageSize/u, make({ pageSize: 1000 }));
    expectRefusal('ERR_INVALID_PARAM', /physStart/u, make({ physStart: -1 }));
    expectRefusal('ERR_INVALID_PARAM', /2\^53/u, make({ physStart: 2 ** 53 - 1 }));
    expectRefusal('ERR_INVALID_PARAM', /multiple/u, make({ size: 100 }));
    expectRefusal('ERR_INVALID_PARAM', /multiple/u, make({ start: 100 }));
    expectRefusal('ERR_CAPACITY', /manages/u, make({ size: GiB(8192), memory: false }));
    expectWrongType('physStart', make({ physStart: '1' }));
    expectWrongType('cpus', make({ cpus: null }));
  });

  it('throws ERR_CLOSED before init and after close', () => {
    const fresh = new GlobalAllocator({ cpus: 2 });
    const calls = [
      () => fresh.alloc(8),
      () => fresh.allocPages(1),
      () => fresh.allocPagesLowmem(1),
      () => fresh.virtToPhys(MiB(1)),
      () => fresh.managedSections(),
      () => fresh.managedBytes,
      () => fresh.trim(),
      () => fresh.adopt(0, 1),
      () => fresh.addRegion(MiB(1), MiB(1)),
      () => fresh.cpu(1),
    ];
    for (const call of calls) expectRefusal('ERR_CLOSED', /init/u, call);
    fresh.init(MiB(1), MiB(1));
    const cpu = fresh.cpu(1);
    calls.push(
      () => cpu.alloc(8),
      () => cpu.dealloc(8),
      () => cpu.drainRemoteFrees(),
      () => cpu.classes(),
    );
    fresh.close();
    fresh.close();
    for (const call of calls) expectRefusal('ERR_CLOSED', /closed/u, call);
  });
});

describe('BuddyAllocator', () => {
  it('gives tails back at once', () => {
    using allocator = pages(8);
    const run = allocator.allocPages(5);
    expect([allocator.usedPages, allocator.availablePages]).toEqual([5, 3]);
    expect(allocator.stats()).toMatchObject({ kind: 'buddy-pages', used: 5, requested: 5 });
    expect(allocator.allocPages(3)).toBe(run + 5 * PAGE);
    expect(allocator.check()).toBe(2);
  });

  it('hands out all of a section that is not aligned to its size', () => {
    using allocator = createAllocator({ kind: 'buddy-pages', size: MiB(4) });
    expect(allocator.stats().largestFree).toBe(1024);
    expect(allocator.allocPages(1024)).toBe(MiB(1));
  });

  it('tells free runs by order, section by section', () => {
    using allocator = new BuddyAllocator();
    allocator.init(MiB(1), MiB(1));
    allocator.addRegion(MiB(8), 3 * PAGE, { physStart: GiB(5) });
    allocator.addMemory(MiB(9), PAGE);
    allocator.allocPagesAt(MiB(1), 1);
    expect(allocator.managedSections()).toEqual([
      {
        start: MiB(1),
        size: MiB(1),
        physStart: MiB(1),
        totalPages: 256,
        freePages: 255,
        freeRuns: [1, 1, 1, 1, 1, 1, 1, 1, 0],
      },
      {
        start: MiB(8),
        size: 3 * PAGE,
        physStart: GiB(5),
        totalPages: 3,
        freePages: 3,
        freeRuns: [1, 1],
      },
      {
        start: MiB(9),
        size: PAGE,
        physStart: MiB(9),
        totalPages: 1,
        freePages: 1,
        freeRuns: [1],
      },
    ]);
    expect(allocator.managedBytes).toBe(MiB(1) + 4 * PAGE);
    expect(allocator.allocatedBytes).toBe(PAGE);
    expect(allocator.ranges).toHaveLength(3);
    expect(allocator.virtToPhys(MiB(8) + 5)).toBe(GiB(5) + 5);
    expectRefusal('ERR_INVALID_PARAM', /pos/u, () => allocator.virtToPhys(MiB(7)));
  });

  it('allocates below 4 GiB of physical address', () => {
    // BT3: the section lies across the boundary; only the target must lie below.
    using allocator = createAllocator({
      kind: 'buddy-pages',
      size: 64 * PAGE,
      physStart: GiB(4) - 23 * PAGE,
    });
    const low: number[] = [];
    for (;;) {
      try {
        low.push(allocator.allocPagesLowmem(1));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_NO_MEMORY', requested: 1, largestFree: 0 });
        break;
      }
    }
    expect(low).toHaveLength(23);
    for (const pos of low) expect(allocator.virtToPhys(pos) + PAGE).toBeLessThanOrEqual(GiB(4));
    expect(allocator.stats().largestFree).toBeGreaterThan(16);
  });

  it('shows the bytes behind the pages where there are any', () => {
    using allocator = pages(16, true);
    const run = allocator.allocPages(2);
    allocator.view(run).fill(3);
    expect(allocator.view(run, 10)).toEqual(new Uint8Array(10).fill(3));
    using addresses = pages(16);
    const bare = addresses.allocPages(1);
    expectRefusal('ERR_UNSUPPORTED', /memory/u, () => addresses.view(bare));
  });

  it('works over other page sizes', () => {
    using allocator = createAllocator({
      kind: 'buddy-pages',
      pageSize: MiB(2),
      start: GiB(1),
      size: GiB(1),
    });
    expect(allocator.pageSize).toBe(MiB(2));
    expect(allocator.totalPages).toBe(512);
    expect(allocator.allocPages(512)).toBe(GiB(1));
    expectRefusal('ERR_INVALID_PARAM', /from 2097152/u, () => allocator.allocPages(1, 4096));
  });
});

describe('SlabAllocator', () => {
  it('says what slab it needs, and serves from what it is given', () => {
    using slots = new SlabAllocator();
    expect(slots.alloc(2048)).toEqual({ state: 'needsSlab', sizeClass: 8, pages: 4 });
    slots.addSlab(8, MiB(1), 4);
    for (let slot = 0; slot < 8; slot += 1) {
      expect(slots.alloc(2048)).toEqual({ state: 'allocated', pos: MiB(1) + slot * 2048 });
    }
    expect(slots.alloc(2048).state).toBe('needsSlab');
    expect(slots.stats()).toMatchObject({ used: 8 * 2048, blocks: 8, largestFree: 0 });
    expect(slots.check()).toBe(8);
  });

  it('hands a slab back when the class has another empty one', () => {
    using slots = createAllocator({ kind: 'slab-cache' });
    slots.addSlab(6, MiB(1), 1);
    slots.addSlab(6, MiB(2), 1);
    const blocks = Array.from({ length: 16 }, () => allocated(slots.alloc(512)));
    const results = blocks.map((pos) => slots.dealloc(pos));
    expect(results.filter(({ state }) => state === 'freeSlab')).toHaveLength(1);
    expect(results[15]).toMatchObject({ state: 'freeSlab', pages: 1 });
    const kept = slots.stats().classes.find(({ slabs }) => slabs > 0);
    expect(kept).toMatchObject({ objectSize: 512, slabs: 1, empty: 1, active: 0 });
  });

  it('works over the pages of a BuddyAllocator', () => {
    using buddy = pages(256);
    using slots = new SlabAllocator();
    const live: number[] = [];
    for (let round = 0; round < 2000; round += 1) {
      const size = 1 + ((round * 37) % 2048);
      let result = slots.alloc(size);
      if (result.state === 'needsSlab') {
        const base = buddy.allocPages(result.pages, result.pages * PAGE);
        slots.addSlab(result.sizeClass, base, result.pages);
        result = slots.alloc(size);
      }
      live.push(allocated(result));
      if (live.length > 100) {
        const freed = slots.dealloc(live.splice((round * 7) % 100, 1)[0] as number);
        if (freed.state === 'freeSlab') buddy.deallocPages(freed.base, freed.pages);
      }
    }
    expect(slots.check()).toBe(live.length);
    buddy.check();
  });

  it('refuses slabs and sizes that cannot be', () => {
    using slots = new SlabAllocator();
    expectRefusal('ERR_INVALID_PARAM', /2048, got 2049/u, () => slots.alloc(2049));
    expectRefusal('ERR_INVALID_PARAM', /2048, got 4096/u, () => slots.alloc(8, 4096));
    expectRefusal('ERR_INVALID_PARAM', /got 0/u, () => slots.alloc(0));
    expectRefusal('ERR_INVALID_PARAM', /got 24/u, () => slots.alloc(8, 24));
    expectRefusal('ERR_INVALID_PARAM', /sizeClass/u, () => slots.addSlab(9, PAGE, 1));
    expectRefusal('ERR_INVALID_PARAM', /pages/u, () => slots.addSlab(0, PAGE, 0));
    expectRefusal('ERR_INVALID_PARAM', /5 page/u, () => slots.addSlab(0, 5 * PAGE, 5));
    expectRefusal('ERR_INVALID_PARAM', /multiple/u, () => slots.addSlab(8, PAGE, 4));
    expectRefusal('ERR_INVALID_PARAM', /not 0/u, () => slots.addSlab(0, 0, 1));
    // The end may be 2^53, as that of any range.
    slots.addSlab(0, 2 ** 53 - PAGE, 1);
    slots.addSlab(8, 4 * PAGE, 4);
    expectRefusal('ERR_MEMORY_OVERLAP', /0x4000/u, () => slots.addSlab(0, 7 * PAGE, 1));
    expectWrongType('size', () => slots.alloc(null as never));
    expectWrongType('base', () => slots.addSlab(0, 4096n as never, 1));
    expectWrongType('pos', () => slots.dealloc('1' as never));
    slots.check();
  });

  it('judges every free', () => {
    using slots = new SlabAllocator();
    slots.addSlab(3, PAGE, 1);
    const block = allocated(slots.alloc(64));
    for (const pos of [block + 1, block + 64, block - 64, 0, 2 ** 53 - 1]) {
      expectRefusal('ERR_NOT_ALLOCATED', /live/u, () => slots.dealloc(pos));
    }
    slots.dealloc(block);
    expectRefusal('ERR_NOT_ALLOCATED', /0x1000/u, () => slots.dealloc(block));
    expect(slots.check()).toBe(0);
  });

  it('is closed for good', () => {
    const slots = new SlabAllocator();
    slots.close();
    slots.close();
    for (const call of [
      () => slots.alloc(8),
      () => slots.addSlab(0, PAGE, 1),
      () => slots.dealloc(8),
      () => slots.stats(),
      () => slots.check(),
    ]) {
      expectRefusal('ERR_CLOSED', /closed/u, call);
    }
    expect(slots.closed).toBe(true);
  });
});

describe('hazards of buddy-slab-allocator 0.1', () => {
  it('BS1: takes ranges of whole pages of any size', () => {
    for (const size of [32_769, 40_959]) {
      expectRefusal('ERR_INVALID_PARAM', /multiple of 4096/u, () =>
        createAllocator({ kind: 'two-level', size }),
      );
    }
    using smallest = createAllocator({ kind: 'two-level', size: 40_960 });
    expect(smallest.totalPages).toBe(10);
  });

  it('BS2: manages nothing outside of its range', () => {
    for (const range of [
      { start: MiB(1) + 1, size: MiB(1) },
      { start: MiB(1), size: MiB(1) + 100 },
      { start: MiB(1), size: 100 },
    ]) {
      expectRefusal('ERR_INVALID_PARAM', /multiple/u, () =>
        createAllocator({ kind: 'buddy-pages', ...range }),
      );
    }
    using exact = createAllocator({ kind: 'buddy-pages', start: 3 * PAGE, size: 7 * PAGE });
    const got = new Set(Array.from({ length: 7 }, () => exact.allocPages(1) / PAGE));
    expect(got).toEqual(new Set([3, 4, 5, 6, 7, 8, 9]));
  });

  it('BS3: checks an alignment before it takes anything', () => {
    using allocator = pages(16);
    for (const align of [0, 24, 3 * PAGE, PAGE / 2, 2 ** 31]) {
      expectUnchanged(allocator, 'ERR_INVALID_PARAM', /align/u, () =>
        allocator.allocPagesAt(MiB(1), 1, align),
      );
      expectUnchanged(allocator, 'ERR_INVALID_PARAM', /align/u, () =>
        allocator.allocPages(1, align),
      );
    }
  });

  it('BS4: an alignment costs no page', () => {
    using allocator = pages(256);
    for (let round = 0; round < 100; round += 1) {
      const page = allocator.allocPages(1, KiB(64));
      expect(allocator.usedPages).toBe(1);
      allocator.deallocPages(page);
      expect(allocator.usedPages).toBe(0);
    }
  });

  it('BS5: loses no page of 32 MiB when every other one is freed', () => {
    using allocator = pages(8192);
    const all = Array.from({ length: 8192 }, () => allocator.allocPages(1));
    for (let index = 0; index < 8192; index += 2) allocator.deallocPages(all[index] as number);
    expect(allocator.availablePages).toBe(4096);
    for (let index = 1; index < 8192; index += 2) allocator.deallocPages(all[index] as number);
    expect(allocator.stats().largestFree).toBe(8192);
    allocator.check();
  });

  it('BS6: refuses to free a part', () => {
    using allocator = pages(16);
    const run = allocator.allocPages(4);
    for (const count of [1, 3, 5]) {
      expectUnchanged(
        allocator,
        'ERR_SIZE_MISMATCH',
        new RegExp(`4 pages, got ${count}`, 'u'),
        () => allocator.deallocPages(run, count),
      );
    }
    allocator.deallocPages(run, 4);
    expect(allocator.usedPages).toBe(0);
  });

  it('BS7: refuses double and foreign frees of pages', () => {
    using allocator = pages(16);
    const run = allocator.allocPages(2);
    for (const pos of [run + PAGE, run + 1, MiB(9), 0, MiB(1) + 16 * PAGE]) {
      expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.deallocPages(pos));
    }
    allocator.deallocPages(run);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.deallocPages(run));
  });

  it('BS8: refuses foreign frees of slots, and a slot is no run of pages', () => {
    using allocator = two();
    const block = allocator.alloc(64);
    for (const pos of [block + 1, block + 64, block + 8, MiB(9), 0, 64]) {
      expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.dealloc(pos));
      expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.cpu(1).dealloc(pos));
    }
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.deallocPages(block));
  });

  it('BS9: serves 2,048 bytes from a single page', () => {
    using allocator = two({ size: PAGE });
    expect(allocator.alloc(2048)).toBe(MiB(1));
    expect(allocator.alloc(2048)).toBe(MiB(1) + 2048);
  });

  it('BS10, BS11, BS14: any number of engines, none knows of the other', () => {
    const many = Array.from({ length: 50 }, () => two());
    const blocks = many.map((allocator) => allocator.alloc(64));
    expect(new Set(blocks).size).toBe(1);
    many.forEach((allocator, index) => allocator.dealloc(blocks[index] as number));
    for (const allocator of many) allocator.close();
  });

  it('BS12: realloc remembers, and fails without a trace', () => {
    using allocator = two({ size: MiB(8) });
    for (let round = 0; round < 1100; round += 1) {
      const block = allocator.alloc(2048);
      const smaller = allocator.realloc(block, 8);
      allocator.dealloc(smaller, 8);
    }
    expect(allocator.stats().used).toBe(0);
    const kept = allocator.alloc(64);
    allocator.view(kept).fill(9);
    expectUnchanged(allocator, 'ERR_NO_MEMORY', /largest/u, () => allocator.realloc(kept, MiB(9)));
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /got 0/u, () => allocator.realloc(kept, 0));
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /got/u, () => allocator.realloc(kept, 2 ** 53));
    expect(allocator.view(kept).every((byte) => byte === 9)).toBe(true);
    expectUnchanged(allocator, 'ERR_SIZE_MISMATCH', /64 bytes, got 65/u, () =>
      allocator.dealloc(kept, 65),
    );
  });

  it('BS13: counts always, in many sections, up to a limit that it names', () => {
    using allocator = new BuddyAllocator();
    allocator.init(MiB(1), PAGE);
    for (let index = 1; index < 1024; index += 1) {
      allocator.addRegion(MiB(1) + index * 2 * PAGE, PAGE);
    }
    expect(allocator.totalPages).toBe(1024);
    expectUnchanged(allocator, 'ERR_CAPACITY', /1024/u, () => allocator.addRegion(GiB(1), PAGE));
    for (let index = 0; index < 1024; index += 1) allocator.allocPages(1);
    expect([allocator.usedPages, allocator.stats().peakUsed]).toEqual([1024, 1024]);
  });
});

describe('hazards of buddy-slab-allocator 0.3 to 0.4', () => {
  it('BT1: refuses double, inner and foreign page frees in both kinds', () => {
    for (const allocator of [pages(64), two()]) {
      const run = allocator.allocPages(4);
      for (const pos of [run + PAGE, run + 2 * PAGE, run - PAGE, GiB(3)]) {
        expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.deallocPages(pos));
      }
      allocator.deallocPages(run);
      expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.deallocPages(run));
      allocator.close();
    }
  });

  it('BT2: aligns absolutely; a bad region and a second init are errors', () => {
    using allocator = createAllocator({ kind: 'buddy-pages', start: 5 * PAGE, size: 300 * PAGE });
    expect(allocator.allocPages(1, MiB(1))).toBe(MiB(1));
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /once/u, () => allocator.init(GiB(1), PAGE));
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /multiple/u, () =>
      allocator.addRegion(GiB(1), 100),
    );
    expectUnchanged(allocator, 'ERR_MEMORY_OVERLAP', /0x5000/u, () =>
      allocator.addRegion(6 * PAGE, PAGE),
    );
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /key/u, () =>
      allocator.addRegion(GiB(1), PAGE, { phys: 1 } as never),
    );
    expect(allocator.ranges).toHaveLength(1);
  });

  it('BT4: one empty slab of a class and CPU stays until trim', () => {
    using allocator = two();
    for (const cpu of [0, 1]) {
      for (let index = 0; index < 9; index += 1) {
        allocator.cpu(cpu).dealloc(allocator.cpu(cpu).alloc(8 << index));
      }
    }
    expect(allocator.stats().used).toBe(0);
    expect(allocator.usedPages).toBe(38);
    expect(allocator.trim()).toBe(38);
    expect(allocator.usedPages).toBe(0);
  });

  it('BT5: several live engines at once', () => {
    using first = two();
    using second = two();
    expect(first.alloc(8)).toBe(second.alloc(8));
  });

  it('RF1: slabs do not pile up when another CPU frees everything', () => {
    using allocator = two({ size: MiB(16) });
    const slabs: number[] = [];
    for (let round = 0; round < 50; round += 1) {
      const blocks = Array.from({ length: 3000 }, () => allocator.cpu(0).alloc(64));
      slabs.push(classOf(allocator, 0, 3).slabs);
      for (const block of blocks) allocator.cpu(1).dealloc(block);
    }
    expect(slabs.at(-1)).toBeLessThanOrEqual((slabs[2] as number) + 1);
    expect(allocator.check()).toBe(0);
  });

  it('RF2: a full slab with a pending free is neither lost nor returned', () => {
    using allocator = two();
    const blocks = Array.from({ length: 16 }, () => allocator.cpu(0).alloc(512));
    allocator.cpu(1).dealloc(blocks[0] as number);
    for (const block of blocks.slice(1)) {
      allocator.cpu(0).dealloc(block);
      allocator.check();
    }
    expect(classOf(allocator, 0, 6).pendingRemote).toBe(1);
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(1);
    allocator.trim();
    expect(allocator.allocatedBytes).toBe(0);
  });

  it('RF3, RF4: what is pending follows from the bits, at every step', () => {
    using allocator = two();
    const blocks = Array.from({ length: 200 }, () => allocator.cpu(0).alloc(32));
    blocks.forEach((block, index) => {
      allocator.cpu(1).dealloc(block);
      if (index % 7 === 0) {
        const pending = classOf(allocator, 0, 2).pendingRemote;
        expect(allocator.cpu(0).drainRemoteFrees()).toBe(pending);
        expect(classOf(allocator, 0, 2).pendingRemote).toBe(0);
      }
    });
    allocator.cpu(0).drainRemoteFrees();
    expect(classOf(allocator, 0, 2)).toMatchObject({ active: 0, pendingRemote: 0 });
    allocator.check();
  });

  it('RF5: a second remote free is refused, and draining ends', () => {
    using allocator = two();
    const block = allocator.cpu(0).alloc(64);
    allocator.cpu(1).dealloc(block);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.cpu(1).dealloc(block));
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(1);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /live/u, () => allocator.cpu(1).dealloc(block));
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(0);
  });

  it('RF6: no write of the program reaches what it decides by', () => {
    using allocator = two();
    const blocks = Array.from({ length: 300 }, () => allocator.cpu(0).alloc(64));
    const whole = new Uint8Array(allocator.view(blocks[0] as number).buffer);
    whole.fill(0xff);
    for (const block of blocks) allocator.cpu(1).dealloc(block);
    whole.fill(0x5a);
    expect(allocator.cpu(0).drainRemoteFrees()).toBe(300);
    expect(allocator.check()).toBe(0);
    allocator.trim();
    expect(allocator.allocatedBytes).toBe(0);
  });

  it('RF7: the slabs of a CPU that is gone are adopted, late frees included', () => {
    using allocator = two({ cpus: 3 });
    const blocks = Array.from({ length: 100 }, () => allocator.cpu(0).alloc(64));
    allocator.cpu(1).dealloc(blocks[0] as number);
    allocator.adopt(0, 2);
    for (const block of blocks.slice(1)) allocator.cpu(1).dealloc(block);
    expect(allocator.cpu(2).drainRemoteFrees()).toBe(99);
    allocator.trim();
    expect(allocator.allocatedBytes).toBe(0);
  });
});
