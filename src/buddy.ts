/**
 * @file `BuddyByteAllocator`: bytes by binary buddies, the crate `buddy_system_allocator` 0.13.
 *
 * A block is a power of two that covers size and alignment, split from larger ones and merged back.
 * The family keeps the cost of the crate: a free walks the free list of its class, so freeing every
 * other of 80,000 blocks takes 75 µs each (HAZARDS BU12). `Heap` and 'two-level' do not.
 */
import { ByteFamily } from './byte-family.ts';
import type { ByteAllocator, ByteOptions } from './byte-family.ts';
import { native } from './native.ts';
import { RANGE_UNIT } from './options.ts';

/** Bytes by binary buddies; ranges are multiples of 4096. */
export class BuddyByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions) {
    const { NativeBuddy } = native().binding;
    super({ kind: 'buddy', sizeUnit: RANGE_UNIT }, options, (memory) => new NativeBuddy(memory));
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'BuddyByteAllocator';
  }
}
