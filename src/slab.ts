/**
 * @file `SlabByteAllocator`: bytes by slabs over a buddy, the crate `ax_slab_allocator` 0.4.
 *
 * Seven classes of 64 to 4096 bytes, each filled by sets of 64 objects; larger blocks come from the
 * crate's buddy. A set never goes back (HAZARDS SL5): after freeing everything a large request may
 * still fail, which `largestFree` knows. A range is a multiple of 32 KiB and ends at 4 GiB.
 */
import { ByteFamily } from './byte-family.ts';
import type { ByteAllocator, ByteOptions } from './byte-family.ts';
import { native } from './native.ts';

/** The crate's smallest heap. */
const SLAB_RANGE_UNIT = 32 * 1024;

/** Objects of a class come in sets of so many. */
const SET_OBJECTS = 64;

/** The smallest and the largest size that a class serves. */
const CLASS_SIZE_MIN = 64;
const CLASS_SIZE_MAX = 4096;

/** Bytes by slabs; ranges are multiples of 32 KiB. */
export class SlabByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions) {
    const { NativeSlab } = native().binding;
    super(
      { kind: 'slab', sizeUnit: SLAB_RANGE_UNIT, hint: setHint },
      options,
      (memory) => new NativeSlab(memory),
    );
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'SlabByteAllocator';
  }
}

/** Says why a small request can fail in a range that looks large enough: HAZARDS SL3. */
function setHint(size: number): string {
  if (size > CLASS_SIZE_MAX) return '';
  let objectSize = CLASS_SIZE_MIN;
  while (objectSize < size) objectSize *= 2;
  return `; objects of ${objectSize} bytes come in sets that need ${objectSize * SET_OBJECTS} bytes`;
}
