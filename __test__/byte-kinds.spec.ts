/**
 * @file The three byte kinds, one promise at a time: `BuddyByteAllocator`, `TlsfByteAllocator`,
 * `SlabByteAllocator`. What is peculiar to one of them is at the end.
 */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  BuddyByteAllocator,
  GiB,
  KiB,
  MiB,
  SlabByteAllocator,
  TlsfByteAllocator,
  createAllocator,
} from '../index.ts';
import { BYTE_KINDS, bytesOf } from './support/kinds.ts';
import { expectRefusal, expectUnchanged } from './support/refusal.ts';

const CLASSES = { buddy: BuddyByteAllocator, tlsf: TlsfByteAllocator, slab: SlabByteAllocator };

describe.each(BYTE_KINDS)('kind %s', (kind) => {
  it('allocates, writes and frees, as the first sample of the seed', () => {
    const allocator = bytesOf(kind, MiB(1), { start: 0x10_0000 });
    const ptr = allocator.alloc(1024, 16);
    expect(ptr % 16).toBe(0);
    expect(ptr).toBeGreaterThanOrEqual(0x10_0000);
    expect(ptr + 1024).toBeLessThanOrEqual(0x20_0000);
    allocator.view(ptr, 4).set([0xef, 0xbe, 0xad, 0xde]);
    expect(
      new DataView(allocator.view(ptr).buffer, allocator.view(ptr).byteOffset).getUint32(0, true),
    ).toBe(0xdead_beef);
    allocator.dealloc(ptr);
    expect(allocator.stats()).toMatchObject({ kind, used: 0, blocks: 0, allocs: 1, frees: 1 });
  });

  it('takes its range in two steps, and more ranges later', () => {
    const allocator = new CLASSES[kind]();
    expect(allocator.ranges).toEqual([]);
    allocator.init(0x10_0000, MiB(1));
    allocator.addMemory(0x40_0000, MiB(1));
    expect(allocator.ranges).toEqual([
      { start: 0x10_0000, size: MiB(1) },
      { start: 0x40_0000, size: MiB(1) },
    ]);
    expect(allocator.totalBytes).toBe(MiB(2));
    const blocks = [];
    for (let used = 0; used < 20; used += 1) blocks.push(allocator.alloc(KiB(64)));
    expect(blocks.some((pos) => pos >= 0x40_0000)).toBe(true);
    for (const pos of blocks) allocator.view(pos).fill(7);
    allocator.deallocMany(blocks);
    expect(allocator.usedBytes).toBe(0);
  });

  it('honors every alignment up to the largest', () => {
    const allocator = bytesOf(kind, MiB(4));
    for (let align = 1; align <= MiB(1); align *= 2) {
      const pos = allocator.alloc(24, align);
      expect(pos % align).toBe(0);
      allocator.dealloc(pos, 24, align);
    }
    expect(allocator.check()).toBe(0);
  });

  it('remembers size and alignment, and checks them when given', () => {
    const allocator = bytesOf(kind);
    const pos = allocator.alloc(100, 32);
    expectUnchanged(allocator, 'ERR_SIZE_MISMATCH', /100 bytes, got 101/, () =>
      allocator.dealloc(pos, 101),
    );
    expectUnchanged(allocator, 'ERR_SIZE_MISMATCH', /alignment 32, got 16/, () =>
      allocator.dealloc(pos, 100, 16),
    );
    allocator.dealloc(pos, 100, 32);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /not live/, () => allocator.dealloc(pos));
  });

  it('zeroes what it is asked to zero, and nothing else', () => {
    const allocator = bytesOf(kind);
    const dirty = Array.from({ length: 20 }, () => allocator.alloc(500));
    for (const pos of dirty) allocator.view(pos).fill(0xee);
    for (const pos of dirty) allocator.dealloc(pos);
    for (let count = 0; count < 20; count += 1) {
      const pos = allocator.allocZeroed(500);
      expect(allocator.view(pos).every((byte) => byte === 0)).toBe(true);
    }
  });

  it('keeps contents through realloc, up to the smaller size', () => {
    const allocator = bytesOf(kind);
    let pos = allocator.alloc(100, 64);
    allocator.view(pos).forEach((_, index, view) => (view[index] = index));
    for (const size of [50, 1000, 10_000, 60, 100_000]) {
      const kept = allocator.view(pos).slice(0, Math.min(50, size));
      pos = allocator.realloc(pos, size);
      expect(pos % 64).toBe(0);
      expect(allocator.view(pos).length).toBe(size);
      expect(allocator.view(pos).slice(0, kept.length)).toEqual(kept);
    }
    expectUnchanged(allocator, 'ERR_NO_MEMORY', /2097152/, () => allocator.realloc(pos, MiB(2)));
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /not live/, () =>
      allocator.realloc(pos + 8, 10),
    );
    expect(allocator.stats()).toMatchObject({ blocks: 1, requested: 100_000 });
  });

  it('allocates a batch whole or not at all', () => {
    const allocator = bytesOf(kind);
    const positions = allocator.allocMany(64, 100);
    expect(positions).toBeInstanceOf(Float64Array);
    expect(new Set(positions).size).toBe(100);
    expect(allocator.stats().blocks).toBe(100);
    const error = expectUnchanged(allocator, 'ERR_NO_MEMORY', /6553600 bytes/, () =>
      allocator.allocMany(65_536, 100),
    );
    expect(error.requested).toBe(6_553_600);
    const enough = allocator.stats().failures;
    expectUnchanged(allocator, 'ERR_NO_MEMORY', /1044480 bytes/, () =>
      allocator.allocMany(4096, 255),
    );
    expect(allocator.stats().failures).toBe(enough + 1);
  });

  it('judges size * count exactly, where the product of two doubles rounds', () => {
    const allocator = bytesOf(kind);
    // 2^53 + 1 = 3 * 3002399751580331.
    expectUnchanged(allocator, 'ERR_INVALID_PARAM', /2\^53, got 3 \* 3002399751580331/, () =>
      allocator.allocMany(3, 3_002_399_751_580_331),
    );
    expectUnchanged(allocator, 'ERR_NO_MEMORY', /9007199254740992 bytes/, () =>
      allocator.allocMany(2 ** 26, 2 ** 27),
    );
  });

  it('says of a batch that there is no room for all of it, though each block fits', () => {
    const allocator = bytesOf(kind);
    const { largestFree } = allocator.stats();
    const size = Math.ceil(largestFree / 2) + 4096;
    expectUnchanged(
      allocator,
      'ERR_NO_MEMORY',
      new RegExp(
        `no room for 3 blocks of ${size} bytes, ${size * 3} bytes in all: the largest free`,
      ),
      () => allocator.allocMany(size, 3),
    );
  });

  it('says of a block that is not live nothing that an earlier call left behind', () => {
    const allocator = bytesOf(kind);
    allocator.usableSize(allocator.alloc(64));
    expect(allocator.stats().largestFree).toBeGreaterThan(0);
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /never handed out$/, () =>
      allocator.realloc(8, 16),
    );
  });

  it('frees a batch whole or not at all', () => {
    const allocator = bytesOf(kind);
    const positions = Array.from(allocator.allocMany(64, 10));
    const [first] = positions as [number];
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /occurs twice in the batch$/, () =>
      allocator.deallocMany([...positions, first]),
    );
    expectUnchanged(allocator, 'ERR_NOT_ALLOCATED', /0x8/, () =>
      allocator.deallocMany([...positions, 8]),
    );
    expectRefusal('ERR_INVALID_PARAM', /positions\[1\].*0\.5/, () =>
      allocator.deallocMany([first, 0.5]),
    );
    allocator.deallocMany(positions);
    allocator.deallocMany([]);
    expect(allocator.stats().blocks).toBe(0);
  });

  it('answers about blocks without changing anything', () => {
    const allocator = bytesOf(kind);
    const pos = allocator.alloc(100);
    expect(allocator.isLive(pos)).toBe(true);
    for (const other of [pos + 1, pos + 8, 0, -1, 0.5, NaN, Infinity, 2 ** 53]) {
      expect(allocator.isLive(other)).toBe(false);
    }
    expect(allocator.usableSize(pos)).toBeGreaterThanOrEqual(100);
    expect(allocator.usedBytes).toBeGreaterThanOrEqual(allocator.usableSize(pos));
    expectRefusal('ERR_NOT_ALLOCATED', /not live/, () => allocator.usableSize(pos + 8));
  });

  it('shows a block, exactly', () => {
    const allocator = bytesOf(kind);
    const pos = allocator.alloc(100);
    expect(allocator.view(pos).length).toBe(100);
    expect(allocator.view(pos, 10).length).toBe(10);
    expect(allocator.view(pos, 0).length).toBe(0);
    expect(allocator.view(pos).buffer).toBe(allocator.view(pos, 10).buffer);
    expectRefusal('ERR_INVALID_PARAM', /at most the 100.*got 101/, () => allocator.view(pos, 101));
    expectRefusal('ERR_NOT_ALLOCATED', /not live/, () => allocator.view(pos + 8));
    allocator.dealloc(pos);
    expectRefusal('ERR_NOT_ALLOCATED', /not live/, () => allocator.view(pos));
  });

  it('makes its buffer anew when a program has taken it away', () => {
    const allocator = bytesOf(kind);
    const pos = allocator.alloc(100);
    const view = allocator.view(pos);
    view.fill(9);
    takeAway(view);
    expect(allocator.view(pos).length).toBe(100);
    expect(allocator.view(pos).every((byte) => byte === 9)).toBe(true);
  });

  it('has no bytes with memory: false, and manages all the same', () => {
    const allocator = bytesOf(kind, GiB(2), { memory: false, start: 2 ** 40 });
    const pos = allocator.alloc(MiB(1), 4096);
    expect(pos).toBeGreaterThanOrEqual(2 ** 40);
    expectRefusal('ERR_UNSUPPORTED', /memory: false/, () => allocator.view(pos));
    expect(allocator.realloc(pos, 100)).toBeGreaterThanOrEqual(2 ** 40);
    expect(allocator.check()).toBe(1);
  });

  it('walks every live block, ascending', () => {
    const allocator = bytesOf(kind);
    const blocks = [10, 200, 3000].map((size) => ({ pos: allocator.alloc(size, 16), size }));
    allocator.dealloc(allocator.alloc(50));
    const seen: { pos: number; size: number }[] = [];
    allocator.walk((pos, size, align) => {
      expect(align).toBe(16);
      seen.push({ pos, size });
    });
    expect(seen).toEqual(blocks.toSorted((a, b) => a.pos - b.pos));
  });

  it('lets go of everything at close, once', () => {
    const allocator = bytesOf(kind);
    const view = allocator.view(allocator.alloc(100));
    allocator.close();
    allocator[Symbol.dispose]();
    expect(allocator.closed).toBe(true);
    expect(view.length).toBe(0);
    expectRefusal('ERR_CLOSED', /closed/, () => allocator.alloc(1));
  });

  it('is closed by using', () => {
    let outside;
    {
      using allocator = createAllocator({ kind: 'tlsf', size: MiB(1) });
      outside = allocator;
      expect(outside.closed).toBe(false);
    }
    expect(outside.closed).toBe(true);
  });

  it('shows itself to console.log, and nothing native', () => {
    const allocator = bytesOf(kind);
    allocator.alloc(100);
    const text = inspect(allocator);
    expect(text).toContain(CLASSES[kind].name);
    expect(text).toContain(`kind: '${kind}'`);
    expect(text).toContain('blocks: 1');
    expect(text).not.toMatch(/handle|ctl|native/);
    expect(Object.prototype.toString.call(allocator)).toBe(`[object ${CLASSES[kind].name}]`);
    expect(Object.keys(allocator)).toEqual([]);
    allocator.close();
    expect(inspect(allocator)).toContain('closed');
  });
});

describe('the buddy', () => {
  it('grants powers of two', () => {
    const allocator = bytesOf('buddy');
    for (const size of [1, 9, 100, 1000, 5000]) {
      const usable = allocator.usableSize(allocator.alloc(size));
      expect(Math.log2(usable) % 1).toBe(0);
      expect(usable).toBeLessThan(size * 2 + 16);
    }
  });
});

describe('the slab', () => {
  it('says how many bytes a set of objects needs', () => {
    const allocator = createAllocator({ kind: 'slab', size: KiB(32) });
    expectRefusal('ERR_NO_MEMORY', /a set of 65536 bytes/, () => allocator.alloc(1000));
    expectRefusal('ERR_NO_MEMORY', /largest is of \d+ bytes$/, () => allocator.alloc(KiB(64)));
  });

  it('ends at 4 GiB', () => {
    const make = () => createAllocator({ kind: 'slab', size: GiB(8), memory: false });
    expectRefusal('ERR_CAPACITY', /4294967296/, make);
  });
});

/** Takes a buffer away from its owner, as a byte stream does. */
function takeAway(view: Uint8Array): void {
  const stream = new ReadableStream({
    type: 'bytes',
    start: (controller) => controller.enqueue(view),
  });
  expect(stream.locked).toBe(false);
  expect(view.length).toBe(0);
}
