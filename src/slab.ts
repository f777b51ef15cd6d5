/**
 * @file `SlabByteAllocator`: bytes by slabs over a buddy, the crate `ax_slab_allocator` 0.4.
 *
 * Classes of 64 to 4096 bytes, each filled by sets of 64 objects; larger blocks come from the crate's
 * buddy. A set never goes back (HAZARDS SL5): after freeing everything a large request may still fail,
 * which `largestFree` knows and `stats().classes` shows. A range is a multiple of 32 KiB and ends at
 * 4 GiB.
 */
import { ByteFamily } from './byte-family.ts';
import type { ByteAllocator, ByteOptions } from './byte-family.ts';
import { coreOf } from './family.ts';
import type { AllocatorStats } from './family.ts';
import { native } from './native.ts';

/** The crate's smallest heap. */
const SLAB_RANGE_UNIT = 32 * 1024;

/** What one class of a slab holds. */
export interface SlabHolding {
  /** In bytes. */
  readonly objectSize: number;
  /** Live objects. */
  readonly active: number;
  /** Bytes of its sets: no other class, and no large block, ever gets them again. */
  readonly heldBytes: number;
}

/** Bytes by slabs; ranges are multiples of 32 KiB. */
export class SlabByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions) {
    const { NativeSlab } = native().binding;
    super({ kind: 'slab', sizeUnit: SLAB_RANGE_UNIT }, options, (memory) => new NativeSlab(memory));
  }

  /**
   * Figures of this moment, and since `init`.
   *
   * @returns Also what each class holds, in use or not.
   */
  override stats(): AllocatorStats & { readonly classes: readonly SlabHolding[] } {
    const stats = super.stats();
    const core = coreOf(this);
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    raw.heldClasses();
    if (ctl[0] !== 0) throw core.refused();
    const classes = Array.from({ length: ctl[1] as number }, (_, index) =>
      Object.freeze({
        objectSize: ctl[2 + index * 3] as number,
        active: ctl[3 + index * 3] as number,
        heldBytes: ctl[4 + index * 3] as number,
      }),
    );
    return Object.freeze({ ...stats, classes: Object.freeze(classes) });
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'SlabByteAllocator';
  }
}
