/**
 * @file One thread's windows onto the memory of a heap: data for the program, metadata for this module.
 *
 * ```text
 * metadata  | exclusive area | page map | state bits | state bytes | area 0 | area 1 | …
 *           |◄──────── exclusive heap: one array ───►|             |  one window each: shared heap
 * ```
 *
 * Invariant: a typed array over metadata never leaves this folder, and no view of a program covers any
 * of it (MI4 of `docs/heap.md`).
 *
 * Not here: what the words mean (`magazine.ts`); who maps them (Rust).
 */
import {
  HEAP_AREA_BYTES,
  HEAP_AT,
  HEAP_CLASS_MASK,
  HEAP_FT,
  HEAP_HAZARD,
  HEAP_LARGE,
  HEAP_MARKS,
  HEAP_MODE_MASK,
  HEAP_MODE_PUBLIC,
  HEAP_OUTBOX,
  HEAP_OUTBOX_MAX,
  HEAP_OWNER_MASK,
  HEAP_OWNER_SHIFT,
  HEAP_QUIET_FREES,
  HEAP_S2C,
  HEAP_SMALL_MAX,
  HEAP_STATE_MARK,
} from '../native/layout.ts';
import type { Addresses, AreaLayout, ExclusiveMemory, SharedMemory } from './magazine.ts';
import { native, refusal } from './native.ts';
import type { NativeHeap } from './native.ts';

/** Where things lie in every thread area. */
export const AREA: AreaLayout = {
  s2c: HEAP_S2C,
  at: HEAP_AT,
  ft: HEAP_FT,
  smallMax: HEAP_SMALL_MAX,
  outbox: HEAP_OUTBOX,
  outboxMax: HEAP_OUTBOX_MAX,
  large: HEAP_LARGE,
  hazard: HEAP_HAZARD,
  classMask: HEAP_CLASS_MASK,
  isPublic: HEAP_MODE_PUBLIC,
  ownerAndMode: HEAP_OWNER_MASK | HEAP_MODE_MASK,
  ownerMask: HEAP_OWNER_MASK,
  ownerShift: HEAP_OWNER_SHIFT,
  quietFrees: HEAP_QUIET_FREES,
};

/** Every block is a multiple of this. */
const GRANULE = 16;

/** Up to this, no address is negative as a 32-bit integer. */
const SIGNED = 2 ** 31;

/** Above this, stacks hold granule numbers, and `p >>> 2` is no index. */
const BIG = 2 ** 32;

/** Makes the windows of one thread. */
export class HeapMemory {
  readonly #owner: NativeHeap;
  /** With the fallback backend: the metadata, made by JavaScript. */
  readonly #shared: SharedArrayBuffer | undefined;
  readonly size: number;
  readonly big: boolean;

  constructor(owner: NativeHeap, shared: SharedArrayBuffer | undefined) {
    this.#owner = owner;
    this.#shared = shared;
    this.size = owner.size;
    this.big = owner.size > BIG;
  }

  /** Thread area, page map and state bits of a heap that no other thread has. */
  exclusive(): ExclusiveMemory {
    const { pageMapOffset, bitsOffset, bytesOffset } = this.#owner;
    return {
      m: new Int32Array(...this.#window(0, bytesOffset)),
      pages: pageMapOffset / 4,
      bits: bitsOffset / 4,
      ...this.#addresses(),
    };
  }

  #addresses(): Addresses {
    return {
      end: this.size,
      inside: (2 ** Math.ceil(Math.log2(this.size)) - GRANULE) | 0,
      signed: this.size <= SIGNED,
      big: this.big,
    };
  }

  /** This thread's area, the page map and the state bytes of a shared heap. */
  sharedMode(): SharedMemory {
    const { slot, pageMapOffset, bitsOffset, bytesOffset, areasOffset } = this.#owner;
    const area = areasOffset + slot * HEAP_AREA_BYTES;
    const granules = this.size / 16;
    return {
      t: new Int32Array(...this.#window(area, HEAP_AREA_BYTES)),
      pageMap: new Int32Array(...this.#window(pageMapOffset, bitsOffset - pageMapOffset)),
      state: new Int8Array(...bytes(this.#window(bytesOffset, granules))),
      ...this.#addresses(),
      me: slot,
      // As an `Int8Array` reads it.
      mark: slot < HEAP_MARKS ? ((HEAP_STATE_MARK + slot) << 24) >> 24 : 0,
    };
  }

  #window(offset: number, length: number): [ArrayBuffer | SharedArrayBuffer, number, number] {
    if (this.#shared !== undefined) return [this.#shared, offset, length / 4];
    const made = this.#owner.meta(offset, length);
    if (made === null) throw refusal(native(), { block: 'range', unit: 'bytes' });
    return [made, 0, length / 4];
  }
}

/** The same window, its length in bytes instead of words. */
function bytes(
  window: [ArrayBuffer | SharedArrayBuffer, number, number],
): [ArrayBuffer | SharedArrayBuffer, number, number] {
  return [window[0], window[1], window[2] * 4];
}
