/**
 * @file `TlsfByteAllocator`: bytes by two-level segregated fit, the crate `rlsf` 0.2.3.
 *
 * Constant time for every allocation and free, good fit, 16 bytes of header a block. Its header makes
 * the largest request smaller than the range (HAZARDS TL7); `stats().largestFree` is truthful.
 */
import { ByteFamily } from './byte-family.ts';
import type { ByteAllocator, ByteOptions } from './byte-family.ts';
import { native } from './native.ts';
import { RANGE_UNIT } from './options.ts';

/** Bytes by two-level segregated fit; ranges are multiples of 4096. */
export class TlsfByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions) {
    const { NativeTlsf } = native().binding;
    super({ kind: 'tlsf', sizeUnit: RANGE_UNIT }, options, (memory) => new NativeTlsf(memory));
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'TlsfByteAllocator';
  }
}
