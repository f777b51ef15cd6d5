/**
 * @file The bytes behind one range, as ArrayBuffers: made when first looked at, kept, made anew.
 *
 * ```text
 * range    |──────────────────────────── 10 GiB ────────────────────────────|
 * whole    |─────────────────────────────────────────────────────────────────|   where the runtime can
 * windows  |───────── 4 GiB ─────────|
 *                        |───────── 4 GiB ─────────|                               where it cannot:
 *                                     |───────── 4 GiB ─────────|  …               Node 20, Bun
 * ```
 *
 * One buffer per range where the runtime maps that much, else windows of 4 GiB that begin every 2 GiB:
 * any block up to 2 GiB lies in one of them, and a longer one gets a window of its own.
 *
 * Invariants:
 * 1. Few and long-lived: a buffer is made once per range (or window) and kept, since V8 counts each in
 *    full as external memory.
 * 2. A kept buffer of length 0 was detached by the program (`transfer`, a byte stream); the next view
 *    makes a new one over the same bytes. Its new owner keeps the mapping alive, not the allocator.
 * 3. Whoever holds a view holds the allocator's memory, until `close`.
 * 4. Every view is exact: `[offset, offset + length)` and no byte more.
 *
 * Not here: which part of a range a program may see (`family.ts`).
 */
import { constants } from 'node:buffer';
import { BUFFER_BYTES_MAX, WINDOW_BYTES_MAX } from '../native/layout.ts';
import { failure } from './errors.ts';
import { native, refusal } from './native.ts';
import type { NativeMemory } from './native.ts';

/** Windows begin at multiples of this: half a window, so that neighbors overlap by half. */
const WINDOW_STRIDE = WINDOW_BYTES_MAX / 2;

/** A window for a long block begins at a multiple of this. */
const WINDOW_UNIT = 4096;

/**
 * Whose memory a buffer shows. A program that keeps only a view must keep its bytes, so the buffer
 * keeps the allocator: collecting that would give the memory back.
 */
const OWNERS = new WeakMap<ArrayBuffer, NativeMemory>();

/** The bytes of one range. */
export class RangeBuffers {
  readonly #owner: NativeMemory;
  readonly #range: number;
  readonly #size: number;
  /** What JavaScript made, where the runtime forbids external buffers. */
  readonly #shared: SharedArrayBuffer | undefined;
  /** Kept buffers by the offset at which they begin. */
  readonly #windows = new Map<number, ArrayBuffer>();
  #windowBytesMax: number;

  /**
   * @param owner - The native allocator that maps the range.
   * @param range - Its index there.
   * @param size - In bytes.
   * @param shared - The memory itself, with the fallback backend.
   */
  constructor(owner: NativeMemory, range: number, size: number, shared?: SharedArrayBuffer) {
    this.#owner = owner;
    this.#range = range;
    this.#size = size;
    this.#shared = shared;
    const max = Math.min(constants.MAX_LENGTH, BUFFER_BYTES_MAX);
    this.#windowBytesMax = Math.max(max, WINDOW_BYTES_MAX);
  }

  /**
   * Zero-copy bytes.
   *
   * @param offset - From the start of the range.
   * @param length - From 0, within the range.
   * @throws AllocError `ERR_UNSUPPORTED` where no window of this runtime holds so many bytes.
   */
  view(offset: number, length: number): Uint8Array {
    if (this.#shared !== undefined) return new Uint8Array(this.#shared, offset, length);
    if (this.#size <= this.#windowBytesMax) {
      const whole = this.#buffer(0, this.#size);
      if (whole !== undefined) return new Uint8Array(whole, offset, length);
      // The runtime cannot map as much as it says: windows from now on.
      this.#windowBytesMax = WINDOW_BYTES_MAX;
    }
    let base = offset - (offset % WINDOW_STRIDE);
    if (offset + length > base + WINDOW_BYTES_MAX) base = offset - (offset % WINDOW_UNIT);
    const end = Math.min(base + WINDOW_BYTES_MAX, this.#size);
    const window = offset + length <= end ? this.#buffer(base, end - base) : undefined;
    if (window === undefined) {
      throw failure(
        'ERR_UNSUPPORTED',
        `a view of ${length} bytes is above the ${WINDOW_BYTES_MAX} that this runtime maps at once; pass a smaller length`,
      );
    }
    return new Uint8Array(window, offset - base, length);
  }

  /**
   * One buffer over the whole range; `undefined` where the runtime maps none of that length.
   *
   * @remarks Kept; made anew where the program has detached it.
   */
  whole(): ArrayBuffer | SharedArrayBuffer | undefined {
    if (this.#shared !== undefined) return this.#shared;
    return this.#size <= this.#windowBytesMax ? this.#buffer(0, this.#size) : undefined;
  }

  /** Detaches every buffer: all views of this range become length 0. */
  detach(): void {
    const { binding } = native();
    for (const buffer of this.#windows.values()) {
      if (buffer.byteLength > 0) binding.detach(buffer);
    }
    this.#windows.clear();
  }

  /** The buffer from `base`, kept or new; `undefined` where the runtime makes none of that length. */
  #buffer(base: number, length: number): ArrayBuffer | undefined {
    const kept = this.#windows.get(base);
    if (kept !== undefined && kept.byteLength > 0) return kept;
    const { ctl } = native();
    const made = this.#owner.wrap(this.#range, base, length);
    if (made === null) {
      if (ctl[0] === 0 || length <= WINDOW_BYTES_MAX) {
        throw refusal(native(), { block: 'range', unit: 'bytes' });
      }
      return undefined;
    }
    this.#windows.set(base, made);
    OWNERS.set(made, this.#owner);
    return made;
  }
}

/**
 * Memory of JavaScript's own for a range, for runtimes that forbid external buffers.
 *
 * @throws AllocError `ERR_NO_MEMORY` where the runtime makes no SharedArrayBuffer of that size,
 * `ERR_UNSUPPORTED` where it can make one but not look at all of it.
 */
export function sharedMemory(size: number): SharedArrayBuffer {
  if (size > constants.MAX_LENGTH) {
    throw failure(
      'ERR_UNSUPPORTED',
      `size must be at most ${constants.MAX_LENGTH} in a runtime that forbids external buffers, got ${size}`,
    );
  }
  try {
    return new SharedArrayBuffer(size);
  } catch (error) {
    throw failure('ERR_NO_MEMORY', `${size} bytes cannot be had from the runtime`, {
      requested: size,
      largestFree: 0,
      cause: error,
    });
  }
}
