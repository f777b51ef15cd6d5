/**
 * @file What the byte kinds share: one block, batches of blocks, views.
 *
 * A method checks its arguments, puts them into the control block, makes one argument-free call and
 * reads the answer: no object is made but by `view` and the batches. The state needs no check of its
 * own, since the native side answers `ERR_CLOSED` for a handle that is not open.
 *
 * Invariant: between the first write to the control block and the last read of it no code of the
 * program runs, so nobody can come in between.
 *
 * Not here: the life cycle (`family.ts`), how many bytes a block really costs (the crates).
 */
import { failure } from './errors.ts';
import { Family, FamilyCore, coreOf, owned } from './family.ts';
import type { AllocatorKind, BaseAllocator } from './family.ts';
import { NOT_ALLOCATED, blockOfBatch, noRoomFor } from './native.ts';
import type { Call, NativeMemory } from './native.ts';
import {
  RANGE_UNIT,
  alignment,
  arrayOf,
  copyOptions,
  isBooleanOrLeftOut,
  isNumber,
  isNumberOrLeftOut,
  natural,
  positionsOf,
  positive,
  totalOf,
} from './options.ts';

/** The alignment of a block when none is asked for. */
const ALIGN_DEFAULT = 8;

/** Stands for "not given" across the seam. */
const LEFT_OUT = -1;

/** Where a refused allocation leaves the bytes that a set of its class needs, or 0. */
const SET_BYTES = 4;

/** An allocator of bytes. */
export interface ByteAllocator extends BaseAllocator {
  /** Returns an address in a managed range, a multiple of `align` (default 8, a power of two). */
  alloc(size: number, align?: number): number;
  /** As `alloc`, with every byte of the block 0. */
  allocZeroed(size: number, align?: number): number;
  /** `size` and `align` are remembered; if given and different: `ERR_SIZE_MISMATCH`, nothing freed. */
  dealloc(pos: number, size?: number, align?: number): void;
  /** Keeps contents up to the smaller size, and the alignment. On failure the old block is untouched. */
  realloc(pos: number, newSize: number): number;
  /** All or nothing. */
  allocMany(size: number, count: number, align?: number): Float64Array;
  /** All or nothing: every address is checked (and must occur once) before any is freed. */
  deallocMany(positions: ArrayLike<number>): void;
  /** Whether a live block starts at `pos`; `false` for every other number. */
  isLive(pos: number): boolean;
  /** Bytes really granted to the live block at `pos`. */
  usableSize(pos: number): number;
  /** Zero-copy bytes of the live block at `pos`; `length` up to its requested size, the default. */
  view(pos: number, length?: number): Uint8Array;
  /** Bytes managed. */
  readonly totalBytes: number;
  /** Bytes granted to live blocks, rounding included. */
  readonly usedBytes: number;
  /** `totalBytes - usedBytes`. */
  readonly availableBytes: number;
}

/** What the constructors of the byte kinds take. */
export interface ByteOptions {
  /** Real bytes behind the ranges? Default: true. */
  memory?: boolean;
}

/** What a byte kind is, beside its native class. */
export interface ByteKind {
  readonly kind: AllocatorKind;
  /** Ranges are multiples of this. */
  readonly sizeUnit: number;
  /** Ranges begin at multiples of this; default 4096. */
  readonly startUnit?: number;
  /** Why a call finds itself closed while the allocator is open, if it does. */
  readonly closed?: () => string | undefined;
}

/** The byte kinds: everything but the crate behind them. */
export abstract class ByteFamily extends Family implements ByteAllocator {
  readonly #core: FamilyCore;
  readonly #closedBy: (() => string | undefined) | undefined;

  /** @internal */
  constructor(kind: ByteKind, options: unknown, make: (memory: boolean) => NativeMemory) {
    const { memory } = copyOptions(options, 'options', ['memory']);
    isBooleanOrLeftOut(memory, 'options.memory');
    const hasMemory = memory ?? true;
    super(
      new FamilyCore({
        kind: kind.kind,
        owner: owned(() => make(hasMemory)),
        units: { start: kind.startUnit ?? RANGE_UNIT, size: kind.sizeUnit, startMin: 1 },
        unit: 'bytes',
        block: 'block',
        memory: hasMemory,
      }),
    );
    this.#core = coreOf(this);
    this.#closedBy = kind.closed;
  }

  /**
   * Allocates `size` bytes of uninitialized memory.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 1 GiB; default 8.
   * @returns The address of the block, in a managed range: a number, never 0.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   */
  alloc(size: number, align?: number): number {
    return this.#allocate(false, size, align);
  }

  /**
   * Allocates `size` bytes, all 0.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 1 GiB; default 8.
   * @returns The address of the block.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   */
  allocZeroed(size: number, align?: number): number {
    return this.#allocate(true, size, align);
  }

  #allocate(zeroed: boolean, size: number, align: number | undefined): number {
    isNumber(size, 'size');
    isNumberOrLeftOut(align, 'align');
    const bytes = positive(size, 'size');
    const boundary = align === undefined ? ALIGN_DEFAULT : alignment(align);
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = bytes;
    ctl[2] = boundary;
    if (zeroed) native.raw.byteAllocZeroed();
    else native.raw.byteAlloc();
    if (ctl[0] !== 0) throw this.#noRoom({ requested: bytes });
    return ctl[1] as number;
  }

  /**
   * Frees the live block at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @param size - In bytes; checked if given.
   * @param align - Checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  dealloc(pos: number, size?: number, align?: number): void {
    isNumber(pos, 'pos');
    isNumberOrLeftOut(size, 'size');
    isNumberOrLeftOut(align, 'align');
    const at = natural(pos, 'pos');
    const bytes = size === undefined ? LEFT_OUT : positive(size, 'size');
    const boundary = align === undefined ? LEFT_OUT : alignment(align);
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = at;
    ctl[2] = bytes;
    ctl[3] = boundary;
    native.raw.byteDealloc();
    if (ctl[0] !== 0) throw this.#refused({ pos: at, given: size, align });
  }

  /**
   * Changes the size of the live block at `pos`, which may move it.
   *
   * @param pos - What `alloc` returned.
   * @param newSize - In bytes, from 1.
   * @returns The address of the block from now on; contents are kept up to the smaller size.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, `ERR_NOT_ALLOCATED`; the block is untouched then.
   */
  realloc(pos: number, newSize: number): number {
    isNumber(pos, 'pos');
    isNumber(newSize, 'newSize');
    const at = natural(pos, 'pos');
    const bytes = positive(newSize, 'newSize');
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = at;
    ctl[2] = bytes;
    native.raw.byteRealloc();
    if (ctl[0] !== 0) {
      throw this.#noRoom({ pos: at, requested: bytes });
    }
    return ctl[1] as number;
  }

  /**
   * Allocates `count` blocks of one size: all of them or none.
   *
   * @param size - Of each block, in bytes, from 1.
   * @param count - From 1.
   * @param align - Of each block; default 8.
   * @returns The addresses.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with the bytes of all blocks as `requested`.
   * @remarks One call into Rust for all of them.
   */
  allocMany(size: number, count: number, align?: number): Float64Array {
    isNumber(size, 'size');
    isNumber(count, 'count');
    isNumberOrLeftOut(align, 'align');
    const bytes = positive(size, 'size');
    const blocks = positive(count, 'count');
    const boundary = align === undefined ? ALIGN_DEFAULT : alignment(align);
    const requested = totalOf(bytes, blocks);
    const core = this.#core;
    core.assertOpen();
    const { binding, ctl, raw } = core.native;
    const managed = core.ranges.reduce((sum, range) => sum + range.size, 0);
    ctl[0] = core.handle;
    ctl[2] = boundary;
    const positions = requested > managed ? undefined : arrayOf(blocks);
    if (positions === undefined) {
      // Cannot be met: one request for more than there is fails, and is counted, in the same way.
      ctl[1] = managed + 1;
      raw.byteAlloc();
      throw this.#refused(noRoomFor(blocks, bytes));
    }
    ctl[1] = bytes;
    binding.byteAllocMany(positions);
    if (ctl[0] !== 0) throw this.#noRoom(noRoomFor(blocks, bytes));
    return positions;
  }

  /**
   * Frees many blocks: all of them or none.
   *
   * @param positions - Starts of live blocks, each once.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED` naming the first that is not live, or occurs twice.
   * @remarks One call into Rust for all of them.
   */
  deallocMany(positions: ArrayLike<number>): void {
    const all = positionsOf(positions);
    const core = this.#core;
    core.assertOpen();
    const { binding, ctl } = core.native;
    ctl[0] = core.handle;
    binding.byteDeallocMany(all);
    if (ctl[0] !== 0) throw this.#refused(blockOfBatch(all, ctl[1] as number));
  }

  /**
   * Whether a live block starts at `pos`.
   *
   * @param pos - Any number; `false` for one that is no address.
   */
  isLive(pos: number): boolean {
    isNumber(pos, 'pos');
    const core = this.#core;
    core.assertOpen();
    if (!Number.isSafeInteger(pos) || pos < 0) return false;
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = pos;
    raw.byteLookup();
    if (ctl[0] === 0) return true;
    if (ctl[0] === NOT_ALLOCATED) return false;
    throw this.#refused({ pos });
  }

  /**
   * Bytes really granted to the live block at `pos`: at least what was asked for.
   *
   * @param pos - What `alloc` returned.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`.
   */
  usableSize(pos: number): number {
    isNumber(pos, 'pos');
    const at = natural(pos, 'pos');
    this.#lookup(at);
    return this.#core.native.ctl[3] as number;
  }

  /**
   * Zero-copy bytes of the live block at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @param length - From 0 to the size that was asked for, which is the default.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_INVALID_PARAM` for a longer view,
   * `ERR_UNSUPPORTED` without memory behind the range.
   * @remarks Valid until the block is freed: later the bytes belong to whoever gets them next.
   */
  view(pos: number, length?: number): Uint8Array {
    isNumber(pos, 'pos');
    isNumberOrLeftOut(length, 'length');
    const at = natural(pos, 'pos');
    const wanted = length === undefined ? undefined : natural(length, 'length');
    const core = this.#core;
    core.assertOpen();
    if (!core.memory) {
      throw failure('ERR_UNSUPPORTED', 'view needs bytes: this allocator has memory: false');
    }
    this.#lookup(at);
    const size = core.native.ctl[1] as number;
    if (wanted !== undefined && wanted > size) {
      throw failure(
        'ERR_INVALID_PARAM',
        `length must be at most the ${size} bytes of the block, got ${wanted}`,
      );
    }
    return core.bytes(at, wanted ?? size);
  }

  /** Bytes managed. */
  get totalBytes(): number {
    return this.#core.figure('totalBytes');
  }

  /** Bytes granted to live blocks, rounding included. */
  get usedBytes(): number {
    return this.#core.figure('usedBytes');
  }

  /** `totalBytes - usedBytes`. */
  get availableBytes(): number {
    return this.#core.figure('availableBytes');
  }

  /** Leaves size, alignment and usable size of the live block at `pos` in the control block. */
  #lookup(pos: number): void {
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = pos;
    native.raw.byteLookup();
    if (ctl[0] !== 0) throw this.#refused({ pos });
  }

  /** As `#refused`, for calls that leave the bytes of a set that a class lacks in the control block. */
  #noRoom(call: Partial<Call>): ReturnType<FamilyCore['refused']> {
    const set = this.#core.native.ctl[SET_BYTES] as number;
    const hint =
      set > 0 ? `; a first block of this class needs a set of ${set} bytes in one piece` : '';
    return this.#refused({ ...call, hint });
  }

  #refused(call: Partial<Call>): ReturnType<FamilyCore['refused']> {
    return this.#core.refused({ closed: this.#closedBy?.(), ...call });
  }
}
