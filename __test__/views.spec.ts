/**
 * @file Views: exact, zero-copy, one buffer per range, windows of 4 GiB where a runtime maps no more.
 *
 * The ranges here are large but untouched: a test writes a few bytes of them.
 */
import { constants } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { GiB, KiB, MiB, createAllocator } from '../index.ts';
import { BYTE_KINDS, bytesOf } from './support/kinds.ts';
import { expectRefusal } from './support/refusal.ts';

describe('views', () => {
  it.each(BYTE_KINDS)('of %s show the very bytes of the block, and no others', (kind) => {
    const allocator = bytesOf(kind);
    const blocks = Array.from({ length: 20 }, (_, index) => allocator.alloc(50 + index));
    blocks.forEach((pos, index) => allocator.view(pos).fill(index + 1));
    blocks.forEach((pos, index) => {
      const view = allocator.view(pos);
      expect(view.length).toBe(50 + index);
      expect(view.every((byte) => byte === index + 1)).toBe(true);
      // The place in the buffer is the place in the range.
      expect(view.byteOffset).toBe(pos - MiB(1));
    });
    expect(new Set(blocks.map((pos) => allocator.view(pos).buffer)).size).toBe(1);
  });

  it('share one buffer per range', () => {
    const allocator = bytesOf('buddy');
    allocator.addMemory(MiB(4), MiB(1));
    const [p, q] = [allocator.alloc(MiB(1)), allocator.alloc(MiB(1))];
    expect(allocator.view(p).buffer).not.toBe(allocator.view(q).buffer);
    allocator.view(p).fill(1);
    expect(allocator.view(q)[0]).toBe(0);
  });

  it('are stopped at the end of their block', () => {
    const allocator = bytesOf('tlsf');
    const pos = allocator.alloc(100);
    expect(allocator.view(pos)[100]).toBeUndefined();
    expect(() => allocator.view(pos).set([1], 100)).toThrow(RangeError);
  });

  const runsOfWindows = constants.MAX_LENGTH <= 2 ** 32;

  it('reach every block of a range above 4 GiB', () => {
    using allocator = createAllocator({ kind: 'buddy', start: GiB(16), size: GiB(16) });
    const blocks = Array.from({ length: 8 }, () => allocator.alloc(GiB(2)));
    blocks.forEach((pos, index) => {
      const view = allocator.view(pos);
      view[0] = index + 1;
      view[view.length - 1] = index + 101;
    });
    blocks.forEach((pos, index) => {
      expect(allocator.view(pos, 1)[0]).toBe(index + 1);
      expect(allocator.view(pos)[GiB(2) - 1]).toBe(index + 101);
    });
    const buffers = new Set(blocks.map((pos) => allocator.view(pos).buffer));
    expect(buffers.size).toBeLessThanOrEqual(runsOfWindows ? 8 : 1);
  });

  it('reach a block that lies across windows', () => {
    using allocator = createAllocator({ kind: 'tlsf', size: GiB(16) });
    const blocks = Array.from({ length: 4 }, () => allocator.alloc(GiB(3) + KiB(12)));
    blocks.forEach((pos, index) => {
      const view = allocator.view(pos);
      expect(view.length).toBe(GiB(3) + KiB(12));
      view.fill(index + 1, view.length - 2);
      expect(allocator.view(pos)[view.length - 1]).toBe(index + 1);
    });
    blocks.forEach((pos, index) => expect(allocator.view(pos)[index]).toBe(0));
  });

  it('say so where one cannot be as long as its block', () => {
    using allocator = createAllocator({ kind: 'buddy', size: GiB(16), start: GiB(16) });
    const pos = allocator.alloc(GiB(8));
    if (runsOfWindows) {
      expectRefusal('ERR_UNSUPPORTED', /8589934592 bytes is above the 4294967296/, () =>
        allocator.view(pos),
      );
    } else {
      expect(allocator.view(pos).length).toBe(GiB(8));
    }
    expect(allocator.view(pos, GiB(4)).length).toBe(GiB(4));
  });

  it('of closed ranges have length 0, in every window', () => {
    const allocator = createAllocator({ kind: 'buddy', start: GiB(16), size: GiB(16) });
    const views = Array.from({ length: 8 }, () => allocator.view(allocator.alloc(GiB(2))));
    allocator.close();
    expect(views.map((view) => view.length)).toEqual(Array.from({ length: 8 }, () => 0));
  });
});
