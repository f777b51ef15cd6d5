/**
 * @file `BitmapPageAllocator`: the page samples of the seed, places, alignment, capacity, memory.
 */
import { describe, expect, it } from 'vitest';
import { BitmapPageAllocator, GiB, KiB, MiB, createAllocator } from '../index.ts';
import { pagesOf } from './support/kinds.ts';
import { expectRefusal, expectUnchanged } from './support/refusal.ts';

const PAGE_SIZE = 4096;

describe('BitmapPageAllocator', () => {
  it('allocates ten pages of 2 GiB, as the second sample of the seed', () => {
    const pages = createAllocator({
      kind: 'bitmap',
      start: 0x20_0000,
      size: GiB(2),
      pageSize: PAGE_SIZE,
    });
    expect(pages.totalPages).toBe(524_288);
    const addr = pages.allocPages(10, PAGE_SIZE);
    expect(addr % PAGE_SIZE).toBe(0);
    expect(pages.usedPages).toBe(10);
    pages.deallocPages(addr, 10);
    expect(pages.availablePages).toBe(524_288);
  });

  it('allocates the one page of a range (test_page_allocation)', () => {
    const pages = new BitmapPageAllocator();
    pages.init(0x1000, PAGE_SIZE);
    const addr = pages.allocPages(1, PAGE_SIZE);
    expect(addr).toBe(0x1000);
    pages.deallocPages(addr, 1);
  });

  it('allocates four pages in a row (test_multi_page_allocation)', () => {
    const pages = new BitmapPageAllocator();
    pages.init(0x1000, MiB(8));
    const addr = pages.allocPages(4, PAGE_SIZE);
    expect(addr % PAGE_SIZE).toBe(0);
    expect(addr >= 0x1000 && addr + 4 * PAGE_SIZE <= 0x1000 + MiB(8)).toBe(true);
    pages.deallocPages(addr, 4);
  });

  it('allocates at an address (test_specific_address_allocation)', () => {
    const pages = new BitmapPageAllocator();
    pages.init(0x1000, MiB(8));
    expect(pages.allocPagesAt(MiB(2), 2, MiB(2))).toBe(MiB(2));
    const error = expectUnchanged(pages, 'ERR_NO_MEMORY', /not all free/, () =>
      pages.allocPagesAt(MiB(2) - PAGE_SIZE, 2),
    );
    expect(error.requested).toBe(2);
    expect(error.largestFree).toBe(pages.stats().largestFree);
    pages.deallocPages(MiB(2), 2);
  });

  it.each([
    ['not a page', MiB(1) + 1, 1, undefined],
    ['not aligned', MiB(1) + PAGE_SIZE, 1, 2 * PAGE_SIZE],
    ['below the range', MiB(1) - PAGE_SIZE, 1, undefined],
    ['behind the range', MiB(2), 1, undefined],
    ['over the end', MiB(2) - PAGE_SIZE, 2, undefined],
    ['more pages than there are', MiB(1), 2 ** 52, undefined],
  ])('refuses a place that is %s', (_, base, count, align) => {
    const pages = pagesOf();
    expectUnchanged(pages, 'ERR_INVALID_PARAM', new RegExp(`${base}`), () =>
      pages.allocPagesAt(base, count, align),
    );
  });

  it('aligns absolute addresses, single pages included', () => {
    const pages = createAllocator({ kind: 'bitmap', start: MiB(1) + PAGE_SIZE, size: MiB(16) });
    for (const align of [KiB(8), KiB(64), MiB(1), MiB(4)]) {
      for (const count of [1, 2, 7]) expect(pages.allocPages(count, align) % align).toBe(0);
    }
    expectRefusal('ERR_INVALID_PARAM', /from 4096.*got 2048/, () => pages.allocPages(1, 2048));
    expectRefusal('ERR_INVALID_PARAM', /power of two from 4096.*got 12288/, () =>
      pages.allocPages(1, 12_288),
    );
  });

  it('takes the first run that fits', () => {
    const pages = pagesOf();
    const runs = Array.from({ length: 8 }, () => pages.allocPages(2));
    pages.deallocPages(runs[2] as number);
    pages.deallocPages(runs[5] as number);
    expect(pages.allocPages(3)).toBe(MiB(1) + 16 * PAGE_SIZE);
    expect(pages.allocPages(1)).toBe(runs[2]);
    expect(pages.allocPages(2)).toBe(runs[5]);
  });

  it('adds ranges within the capacity of its map, apart from the others', () => {
    const pages = createAllocator({ kind: 'bitmap', size: MiB(1), capacityBytes: GiB(1) });
    pages.addMemory(MiB(512), MiB(1));
    expect(pages.totalPages).toBe(512);
    expect(pages.allocPagesAt(MiB(512), 256)).toBe(MiB(512));
    expectUnchanged(pages, 'ERR_MEMORY_OVERLAP', /0x100000/, () =>
      pages.addMemory(MiB(1) + PAGE_SIZE, PAGE_SIZE),
    );
    expectUnchanged(
      pages,
      'ERR_CAPACITY',
      /range 0x100000000 of 1048576 bytes does not fit: at most 1073741824 bytes/,
      () => pages.addMemory(GiB(4), MiB(1)),
    );
    expectRefusal('ERR_NO_MEMORY', /257 pages/, () => pages.allocPages(257));
  });

  it.each([4096, 16_384, 65_536, MiB(2), 512])('manages pages of %i bytes', (pageSize) => {
    const pages = createAllocator({ kind: 'bitmap', start: MiB(4), size: 64 * pageSize, pageSize });
    expect(pages.pageSize).toBe(pageSize);
    expect(pages.totalPages).toBe(64);
    expect(pages.allocPages(64)).toBe(MiB(4));
    expectRefusal('ERR_NO_MEMORY', /1 pages.*largest is of 0/, () => pages.allocPages(1));
  });

  it('begins at the second page where pages are larger than 1 MiB', () => {
    const pages = createAllocator({ kind: 'bitmap', size: MiB(8), pageSize: MiB(2) });
    expect(pages.ranges).toEqual([{ start: MiB(2), size: MiB(8) }]);
  });

  it('has bytes behind its pages with memory: true only', () => {
    const pages = pagesOf();
    const addr = pages.allocPages(2);
    expect(pages.view(addr).length).toBe(2 * PAGE_SIZE);
    pages.view(addr, 10).fill(3);
    expect(pages.view(addr)[9]).toBe(3);
    expectRefusal('ERR_INVALID_PARAM', /at most the 8192/, () => pages.view(addr, 8193));
    expectRefusal('ERR_NOT_ALLOCATED', /not live/, () => pages.view(addr + PAGE_SIZE));
    const without = pagesOf(MiB(1), false);
    expectRefusal('ERR_UNSUPPORTED', /memory: true/, () => without.view(without.allocPages(1)));
  });

  it('walks runs in bytes', () => {
    const pages = pagesOf();
    pages.allocPages(3);
    pages.allocPages(1, KiB(64));
    const seen: number[][] = [];
    pages.walk((...run) => seen.push(run));
    expect(seen).toEqual([
      [MiB(1), 3 * PAGE_SIZE, PAGE_SIZE],
      [MiB(1) + KiB(64), PAGE_SIZE, KiB(64)],
    ]);
  });

  it('names an alignment above what its map spans', () => {
    using pages = createAllocator({ kind: 'bitmap', size: MiB(1) });
    expectRefusal('ERR_INVALID_PARAM', /align .*map.*1073741824/, () =>
      pages.allocPages(1, GiB(1)),
    );
    expectRefusal('ERR_INVALID_PARAM', /align .*map.*1073741824/, () => {
      using far = createAllocator({ kind: 'bitmap', start: GiB(1), size: MiB(1) });
      far.allocPagesAt(GiB(1), 1, GiB(1));
    });
  });

  it('refuses sizes above the largest map, and page sizes that are none', () => {
    expectRefusal('ERR_CAPACITY', /268435456 pages/, () =>
      createAllocator({ kind: 'bitmap', size: GiB(1025) }),
    );
    expectRefusal('ERR_CAPACITY', /capacityBytes/, () =>
      createAllocator({ kind: 'bitmap', size: MiB(1), capacityBytes: GiB(1025) }),
    );
    expectRefusal('ERR_INVALID_PARAM', /pageSize.*3000/, () =>
      createAllocator({ kind: 'bitmap', size: 3000, pageSize: 3000 }),
    );
    expectRefusal('ERR_INVALID_PARAM', /multiple of 4096, got 5000/, () =>
      createAllocator({ kind: 'bitmap', size: 5000 }),
    );
  });
});
