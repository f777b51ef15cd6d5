/**
 * Off-heap memory for Node.js, managed by real Rust allocators.
 *
 * The families ({@link createAllocator}) are the published crates, exact to the block: for those who
 * study allocators or simulate a kernel. `Heap` is this package's own engine: for those who need
 * memory. Whatever is done to either, a mistake is a typed {@link AllocError}, never a crash.
 *
 * @packageDocumentation
 */

/** Names a kind of allocator; selects the class in `createAllocator`. */
export declare type AllocatorKind =
  | 'buddy'
  | 'tlsf'
  | 'slab'
  | 'bitmap'
  | 'id'
  | 'two-level'
  | 'buddy-pages'
  | 'slab-cache';

/** In bytes for byte kinds and 'two-level', in pages for 'bitmap' and 'buddy-pages', in ids for 'id'. */
export declare interface AllocatorStats {
  /** The kind of the allocator. */
  readonly kind: AllocatorKind;
  /** Bytes, pages or ids managed. */
  readonly total: number;
  /** Granted to live blocks, rounding included. */
  readonly used: number;
  /** Asked for by live blocks. */
  readonly requested: number;
  /** `total - used`. */
  readonly available: number;
  /** A request of this much, at alignment 1, succeeds now. */
  readonly largestFree: number;
  /** Live blocks. */
  readonly blocks: number;
  /** Since `init`. */
  readonly allocs: number;
  /** Since `init`. */
  readonly frees: number;
  /** `ERR_NO_MEMORY` so far. */
  readonly failures: number;
  /** The most that `used` ever was. */
  readonly peakUsed: number;
}

/**
 * Every failure of an allocator. After any throw the allocator is exactly as it was.
 *
 * A wrong JavaScript type is a `TypeError` with code `ERR_INVALID_ARG_TYPE` instead.
 */
export declare class AllocError extends Error {
  /** Stable; what a program should look at. */
  readonly code: AllocErrorCode;
  /** `ERR_NO_MEMORY` only: the bytes (pages, ids) asked for. */
  readonly requested?: number;
  /** `ERR_NO_MEMORY` only: the largest request that would succeed now, at alignment 1. */
  readonly largestFree?: number;
  /** `AllocError`, also where a bundler renames classes. */
  get name(): string;
}

/**
 * @file The one error class, its codes, and the sentences that its messages are made of.
 *
 * Two sorts of failure: a value of the wrong JavaScript type is a `TypeError` with code
 * `ERR_INVALID_ARG_TYPE`, as in Node; everything else is an {@link AllocError}. A message gives the
 * value and the limit, and reads on after the name: `align must be a power of two, got 24`.
 *
 * Invariant: building a message never calls code of the program. A value is described by its type,
 * never by its `toString`, `valueOf` or a property.
 *
 * Not here: the checks themselves (`options.ts`); what a native status means (`native.ts`).
 */
/** Every code of an {@link AllocError}; `docs/errors.md` has a line for each. */
export declare type AllocErrorCode =
  | 'ERR_INVALID_PARAM'
  | 'ERR_MEMORY_OVERLAP'
  | 'ERR_NO_MEMORY'
  | 'ERR_NOT_ALLOCATED'
  | 'ERR_CLOSED'
  | 'ERR_SIZE_MISMATCH'
  | 'ERR_CAPACITY'
  | 'ERR_FEATURE_DISABLED'
  | 'ERR_UNSUPPORTED'
  | 'ERR_NO_BINDING'
  | 'ERR_CORRUPTED'
  | 'ERR_INTERNAL';

/** Every allocator: `new X(options?)`, then `init` once; `createAllocator` does both. */
export declare interface BaseAllocator extends Disposable {
  /** The kind that `createAllocator` knows this class by. */
  readonly kind: AllocatorKind;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /** Gives the allocator its first range; once. */
  init(start: number, size: number): void;
  /** One more range, apart from all others (`ERR_MEMORY_OVERLAP`). Blocks never span two ranges. */
  addMemory(start: number, size: number): void;
  /** The ranges managed, in order of addition. */
  readonly ranges: readonly ManagedRange[];
  /** Figures of this moment, and since `init`. */
  stats(): AllocatorStats;
  /** Every live block, ascending by address; do not allocate meanwhile. */
  walk(visit: (pos: number, size: number, align: number) => void): void;
  /** Verifies all own invariants against the live table; returns the number of blocks. Only looks. */
  check(): number;
  /** Lets go of everything; views become length 0, later calls throw `ERR_CLOSED`. Idempotent. */
  close(): void;
}

/** What the constructor takes. */
export declare interface BitmapAllocatorOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the range? Default: false. */
  memory?: boolean;
  /** What the map can ever hold, counted from `start`. Default: the smallest map that holds `size`. */
  capacityBytes?: number;
}

/** Ids by first fit; one id or a run of them. */
export declare class BitmapIdAllocator extends Family implements BaseAllocator {
  #private;
  constructor();
  /**
   * Allocates the lowest free id, or run of ids.
   *
   * @param count - Ids in a row, from 1; default 1.
   * @param align - The first is a multiple of it: a power of two; default 1.
   * @returns The first id.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree` in ids.
   */
  allocId(count?: number, align?: number): number;
  /**
   * Allocates exactly `id`.
   *
   * @throws {@link AllocError} `ERR_NO_MEMORY` if it is taken, `ERR_INVALID_PARAM` if it is not managed.
   */
  allocFixedId(id: number): void;
  /**
   * Frees the live id, or run of ids, at `start`: whole.
   *
   * @param start - What `allocId` returned, or `allocFixedId` took.
   * @param count - In ids; checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  deallocId(start: number, count?: number): void;
  /**
   * Whether `id` is taken, alone or within a run.
   *
   * @param id - Any number; `false` for what was never managed.
   */
  isAllocated(id: number): boolean;
  /** Ids managed. */
  get size(): number;
  /** Ids taken. */
  get used(): number;
  /** `size - used`. */
  get available(): number;
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** A range of pages under a bitmap. */
export declare interface BitmapOptions extends PageOptions {
  /** What the map can ever hold, counted from `start`: added ranges must lie in it. Default: the smallest map that holds `size`. */
  capacityBytes?: number;
}

/** Pages by first fit; ranges are multiples of `pageSize`. */
export declare class BitmapPageAllocator extends PageFamily implements PageAllocator {
  /** @param options - The page size, whether bytes lie behind the pages, and room to grow. */
  constructor(options?: BitmapAllocatorOptions);
  /**
   * Gives the allocator its range; once.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @throws {@link AllocError} `ERR_CAPACITY` above the largest map, `ERR_FEATURE_DISABLED` where this
   * build left that map out.
   */
  init(start: number, size: number): void;
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** Bytes by binary buddies; ranges are multiples of 4096. */
export declare class BuddyByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** An allocator of bytes. */
export declare interface ByteAllocator extends BaseAllocator {
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

/** The byte kinds: everything but the crate behind them. */
declare abstract class ByteFamily extends Family implements ByteAllocator {
  #private;
  /**
   * Allocates `size` bytes of uninitialized memory.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 1 GiB; default 8.
   * @returns The address of the block, in a managed range: a number, never 0.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   */
  alloc(size: number, align?: number): number;
  /**
   * Allocates `size` bytes, all 0.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 1 GiB; default 8.
   * @returns The address of the block.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   */
  allocZeroed(size: number, align?: number): number;
  /**
   * Frees the live block at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @param size - In bytes; checked if given.
   * @param align - Checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  dealloc(pos: number, size?: number, align?: number): void;
  /**
   * Changes the size of the live block at `pos`, which may move it.
   *
   * @param pos - What `alloc` returned.
   * @param newSize - In bytes, from 1.
   * @returns The address of the block from now on; contents are kept up to the smaller size.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, `ERR_NOT_ALLOCATED`; the block is untouched then.
   */
  realloc(pos: number, newSize: number): number;
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
  allocMany(size: number, count: number, align?: number): Float64Array;
  /**
   * Frees many blocks: all of them or none.
   *
   * @param positions - Starts of live blocks, each once.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED` naming the first that is not live, or occurs twice.
   * @remarks One call into Rust for all of them.
   */
  deallocMany(positions: ArrayLike<number>): void;
  /**
   * Whether a live block starts at `pos`.
   *
   * @param pos - Any number; `false` for one that is no address.
   */
  isLive(pos: number): boolean;
  /**
   * Bytes really granted to the live block at `pos`: at least what was asked for.
   *
   * @param pos - What `alloc` returned.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`.
   */
  usableSize(pos: number): number;
  /**
   * Zero-copy bytes of the live block at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @param length - From 0 to the size that was asked for, which is the default.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_INVALID_PARAM` for a longer view,
   * `ERR_UNSUPPORTED` without memory behind the range.
   * @remarks Valid until the block is freed: later the bytes belong to whoever gets them next.
   */
  view(pos: number, length?: number): Uint8Array;
  /** Bytes managed. */
  get totalBytes(): number;
  /** Bytes granted to live blocks, rounding included. */
  get usedBytes(): number;
  /** `totalBytes - usedBytes`. */
  get availableBytes(): number;
}

/** What the constructors of the byte kinds take. */
export declare interface ByteOptions {
  /** Real bytes behind the ranges? Default: true. */
  memory?: boolean;
}

/**
 * Makes and initializes an allocator; its class follows from `kind`.
 *
 * @param options - The kind, its range, and what else the kind takes. Without `kind`: the byte family
 * that is there; where several are, 'tlsf', then 'slab', then 'buddy'.
 * @throws {@link AllocError} `ERR_FEATURE_DISABLED` for a kind that this build left out.
 *
 * @example
 * ```ts
 * const tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
 * const ptr = tlsf.alloc(1024, 16);
 * tlsf.dealloc(ptr);
 * ```
 */
export declare function createAllocator(
  options: {
    kind?: undefined;
  } & RangeOptions,
): ByteAllocator;

export declare function createAllocator(
  options: {
    kind: 'buddy';
  } & RangeOptions,
): BuddyByteAllocator;

export declare function createAllocator(
  options: {
    kind: 'tlsf';
  } & RangeOptions,
): TlsfByteAllocator;

export declare function createAllocator(
  options: {
    kind: 'slab';
  } & RangeOptions,
): SlabByteAllocator;

export declare function createAllocator(
  options: {
    kind: 'bitmap';
  } & BitmapOptions,
): BitmapPageAllocator;

export declare function createAllocator(
  options: {
    kind: 'id';
  } & IdOptions,
): BitmapIdAllocator;

/** The life cycle that every kind has. */
declare abstract class Family implements BaseAllocator {
  #private;
  /** The kind that `createAllocator` knows this class by. */
  get kind(): AllocatorKind;
  /** Whether `close` was called. */
  get closed(): boolean;
  /** The ranges managed, in order of addition; none before `init`. */
  get ranges(): readonly ManagedRange[];
  /**
   * Gives the allocator its first range; once.
   *
   * @param start - The first address; see the options of the kind.
   * @param size - In bytes (ids for 'id').
   * @throws {@link AllocError} `ERR_INVALID_PARAM` for a second `init` too, `ERR_CAPACITY` above what
   * the kind manages, `ERR_NO_MEMORY` where the operating system refuses.
   */
  init(start: number, size: number): void;
  /**
   * Adds one more range, apart from all others. Blocks never span two ranges.
   *
   * @param start - The first address; see the options of the kind.
   * @param size - In bytes (ids for 'id').
   * @throws {@link AllocError} `ERR_MEMORY_OVERLAP`, else as `init`.
   */
  addMemory(start: number, size: number): void;
  /**
   * Figures of this moment, and since `init`.
   *
   * @remarks Constant time but for `largestFree`, which the kind may have to search for.
   */
  stats(): AllocatorStats;
  /**
   * Visits every live block, ascending by address. Do not allocate meanwhile.
   *
   * @param visit - Gets the address, the size asked for (in bytes; ids for 'id') and the alignment.
   */
  walk(visit: (pos: number, size: number, align: number) => void): void;
  /**
   * Verifies all own invariants against the live table. Only looks.
   *
   * @returns The number of live blocks.
   * @throws {@link AllocError} `ERR_INTERNAL` naming what does not hold.
   */
  check(): number;
  /** Lets go of everything: views become length 0, later calls throw `ERR_CLOSED`. Idempotent. */
  close(): void;
  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void;
  /** The name of the class, as `Object.prototype.toString` shows it. */
  get [Symbol.toStringTag](): string;
}

/** The Cargo features of the seed, as run-time flags. */
export declare type FeatureFlag =
  | 'buddy'
  | 'tlsf'
  | 'slab'
  | 'bitmap'
  | 'two-level'
  | 'full'
  | 'page-alloc-256m'
  | 'page-alloc-4g'
  | 'page-alloc-64g'
  | 'page-alloc-1t';

/** What a build, or a factory, contains. */
export declare interface Features {
  /** The kinds that `createAllocator` makes. */
  readonly kinds: readonly AllocatorKind[];
  /** Cargo features. */
  readonly cargo: readonly string[];
  /** Of this package. */
  readonly version: string;
  /** How native memory becomes visible: external ArrayBuffers, or SharedArrayBuffers of the runtime. */
  readonly backend: 'external' | 'shared';
}

/** What this build contains: names of kinds and Cargo features, package version, backend of the buffers. */
export declare function features(): Features;

/**
 * `n` gibibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024 ** 3`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export declare function GiB(n: number): number;

/** Up to 2^28 ids. */
export declare interface IdOptions {
  /** The first id; default 0, and 0 is an id. */
  start?: number;
  /** How many ids. */
  size: number;
}

/**
 * `n` kibibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export declare function KiB(n: number): number;

/** One range that an allocator manages: `[start, start + size)`. */
export declare interface ManagedRange {
  /** Its first address (id). */
  readonly start: number;
  /** In bytes (ids). */
  readonly size: number;
}

/**
 * `n` mebibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024 ** 2`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export declare function MiB(n: number): number;

/** An allocator of runs of pages. */
export declare interface PageAllocator extends BaseAllocator {
  /** In bytes, a power of two. */
  readonly pageSize: number;
  /** `align` is in bytes, a power of two from `pageSize` up; default `pageSize`. */
  allocPages(count: number, align?: number): number;
  /** Exactly there, or `ERR_NO_MEMORY` (taken) / `ERR_INVALID_PARAM` (no such place). */
  allocPagesAt(base: number, count: number, align?: number): number;
  /** `count` is remembered; if given and different: `ERR_SIZE_MISMATCH`, nothing freed. */
  deallocPages(pos: number, count?: number): void;
  /** Whether a live run starts at `pos`; `false` for every other number. */
  isLive(pos: number): boolean;
  /** Zero-copy bytes of the live run at `pos`; without memory `ERR_UNSUPPORTED`. */
  view(pos: number, length?: number): Uint8Array;
  /** Pages managed. */
  readonly totalPages: number;
  /** Pages of live runs. */
  readonly usedPages: number;
  /** `totalPages - usedPages`. */
  readonly availablePages: number;
}

/** The page kinds: everything but the crate behind them. */
declare abstract class PageFamily extends Family implements PageAllocator {
  #private;
  /** In bytes, a power of two. */
  get pageSize(): number;
  /**
   * Allocates a run of pages.
   *
   * @param count - In pages, from 1.
   * @param align - In bytes, a power of two from `pageSize` to 1 GiB; default `pageSize`.
   * @returns The address of the first page.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree` in pages.
   */
  allocPages(count: number, align?: number): number;
  /**
   * Allocates the run of pages at `base`, exactly there.
   *
   * @param base - The address of a page of a managed range.
   * @param count - In pages, from 1.
   * @param align - In bytes; `base` must be a multiple of it.
   * @returns `base`.
   * @throws {@link AllocError} `ERR_NO_MEMORY` if a page of it is taken, `ERR_INVALID_PARAM` if it is
   * no page, not aligned, or not wholly inside one range.
   */
  allocPagesAt(base: number, count: number, align?: number): number;
  /**
   * Frees the live run at `pos`, whole.
   *
   * @param pos - What `allocPages` returned.
   * @param count - In pages; checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  deallocPages(pos: number, count?: number): void;
  /**
   * Whether a live run starts at `pos`.
   *
   * @param pos - Any number; `false` for one that is no address.
   */
  isLive(pos: number): boolean;
  /**
   * Zero-copy bytes of the live run at `pos`.
   *
   * @param pos - What `allocPages` returned.
   * @param length - In bytes, from 0 to the whole run, which is the default.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_INVALID_PARAM` for a longer view,
   * `ERR_UNSUPPORTED` without memory behind the range (the default of page kinds).
   */
  view(pos: number, length?: number): Uint8Array;
  /** Pages managed. */
  get totalPages(): number;
  /** Pages of live runs. */
  get usedPages(): number;
  /** `totalPages - usedPages`. */
  get availablePages(): number;
}

/** A range of pages. */
export declare interface PageOptions extends RangeOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
}

/** A range of addresses for a new allocator. */
export declare interface RangeOptions {
  /** First address of the range. Default: 1 MiB. Any multiple of 4096 (of `pageSize` for pages) but 0. */
  start?: number;
  /** A multiple of 4096 (of `pageSize`; of 32 KiB for 'slab'). 'slab' ends at 4 GiB: `ERR_CAPACITY`. */
  size: number;
  /** Real bytes behind the range? Default: true for bytes, false for pages. */
  memory?: boolean;
}

/** Bytes by slabs; ranges are multiples of 32 KiB. */
export declare class SlabByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** Bytes by two-level segregated fit; ranges are multiples of 4096. */
export declare class TlsfByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/**
 * The factory as a build with only these features would offer it.
 *
 * @param flags - As in Cargo: 'bitmap' brings 'id' and pages up to 256 MiB of 4 KiB, more by the
 * `page-alloc-*` flags; 'full' brings everything.
 * @returns A factory whose other kinds throw `ERR_FEATURE_DISABLED` naming the flag.
 * @throws {@link AllocError} `ERR_FEATURE_DISABLED` for a flag that this build lacks.
 */
export declare function withFeatures(...flags: FeatureFlag[]): {
  readonly createAllocator: typeof createAllocator;
  readonly features: typeof features;
};

export {};
