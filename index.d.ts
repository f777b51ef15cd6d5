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

/** Pages by binary buddies in several sections; metadata out of line; merges at once. */
export declare class BuddyAllocator extends PageFamily implements PageAllocator {
  /** @param options - The page size, and whether bytes lie behind the pages. */
  constructor(options?: BuddyAllocatorOptions);
  /**
   * Gives the allocator its first section; once.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_CAPACITY` above 2^30 pages.
   */
  init(start: number, size: number, options?: RegionPlace): void;
  /**
   * Adds one more section, apart from all others. Runs never span two.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_MEMORY_OVERLAP`, else as `init`.
   */
  addRegion(start: number, size: number, options?: RegionPlace): void;
  /** The same as `addRegion`. */
  addMemory(start: number, size: number): void;
  /**
   * Allocates a run of pages that lies wholly below 4 GiB of physical address.
   *
   * @param count - In pages, from 1.
   * @param align - In bytes, a power of two from `pageSize` to 1 GiB; default `pageSize`.
   * @returns The address of the first page.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with the largest run below 4 GiB as `largestFree`.
   */
  allocPagesLowmem(count: number, align?: number): number;
  /**
   * The physical address of `pos`.
   *
   * @param pos - Any address of a managed range.
   */
  virtToPhys(pos: number): number;
  /** The sections, in order of addition, with their free runs by order. */
  managedSections(): ManagedSection[];
  /** Bytes managed. */
  get managedBytes(): number;
  /** Bytes of live runs. */
  get allocatedBytes(): number;
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** What the constructor takes. */
export declare interface BuddyAllocatorOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the ranges? Default: false. */
  memory?: boolean;
}

/** Bytes by binary buddies; ranges are multiples of 4096. */
export declare class BuddyByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** A range of pages under binary buddies. */
export declare interface BuddyPagesOptions extends PageOptions {
  /** Physical address of `start`. Default: `start` itself. */
  physStart?: number;
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

/** The view of one CPU: what it allocates is its own, what it frees of another's is a remote free. */
export declare interface CpuAllocator {
  /** Which CPU, from 0. */
  readonly index: number;
  /** Allocates a block; see `GlobalAllocator.alloc`. */
  alloc(size: number, align?: number): number;
  /** Frees any live block. Another CPU's slot is dead at once, and comes back when that CPU drains. */
  dealloc(pos: number): void;
  /** Takes back what others freed; returns how many. Happens by itself only on a miss. */
  drainRemoteFrees(): number;
  /** The slabs of this CPU by size class. */
  classes(): readonly SlabClassStats[];
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

export declare function createAllocator(
  options: {
    kind: 'two-level';
  } & TwoLevelOptions,
): GlobalAllocator;

export declare function createAllocator(
  options: {
    kind: 'buddy-pages';
  } & BuddyPagesOptions,
): BuddyAllocator;

export declare function createAllocator(
  options: {
    kind: 'slab-cache';
  } & SlabCacheOptions,
): SlabAllocator;

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

/** Pages and per-CPU slabs; see the file comment. Deterministic, and of one thread. */
export declare class GlobalAllocator extends ByteFamily implements ByteAllocator, PageAllocator {
  #private;
  /** CPUs that there are. */
  readonly cpus: number;
  /** In bytes, a power of two. */
  readonly pageSize: number;
  /** @param options - CPUs, page size, and whether bytes lie behind the ranges. */
  constructor(options?: GlobalAllocatorOptions);
  /**
   * Gives the allocator its first section; once.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_CAPACITY` above 2^30 pages.
   */
  init(start: number, size: number, options?: RegionPlace): void;
  /**
   * Adds one more section, apart from all others. Blocks never span two.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_MEMORY_OVERLAP`, else as `init`.
   */
  addRegion(start: number, size: number, options?: RegionPlace): void;
  /** The same as `addRegion`. */
  addMemory(start: number, size: number): void;
  /**
   * The view of one CPU.
   *
   * @param index - From 0.
   * @throws {@link AllocError} `ERR_INVALID_PARAM` for a CPU that is not there, `ERR_CLOSED` before `init` and
   * after `close`.
   */
  cpu(index: number): CpuAllocator;
  /**
   * Drains every CPU, and gives empty slabs back to the pages.
   *
   * @returns Pages given back.
   */
  trim(): number;
  /**
   * `from` goes away: its calls throw `ERR_CLOSED` from now on. `to` owns its slabs, pending frees
   * drained, and what others still free into them.
   *
   * @param from - A CPU.
   * @param to - Another one.
   */
  adopt(from: number, to: number): void;
  /** See {@link PageAllocator.allocPages}; errors count in pages. */
  allocPages(count: number, align?: number): number;
  /** See {@link PageAllocator.allocPagesAt}; errors count in pages. */
  allocPagesAt(base: number, count: number, align?: number): number;
  /** See {@link PageAllocator.deallocPages}: a whole run of pages; a slot is none. */
  deallocPages(pos: number, count?: number): void;
  /**
   * Allocates a run of pages that lies wholly below 4 GiB of physical address.
   *
   * @param count - In pages, from 1.
   * @param align - In bytes, a power of two from `pageSize` to 1 GiB; default `pageSize`.
   * @returns The address of the first page.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with the largest run below 4 GiB as `largestFree`.
   */
  allocPagesLowmem(count: number, align?: number): number;
  /**
   * The physical address of `pos`.
   *
   * @param pos - Any address of a managed range.
   */
  virtToPhys(pos: number): number;
  /** The sections, in order of addition, with their free runs by order. */
  managedSections(): ManagedSection[];
  /** Bytes managed. */
  get managedBytes(): number;
  /** Bytes of pages that are not free: those of slabs in full. */
  get allocatedBytes(): number;
  /** Pages managed. */
  get totalPages(): number;
  /** Pages that are not free: those of slabs in full. */
  get usedPages(): number;
  /** Pages that are free. */
  get availablePages(): number;
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** What the constructor takes. */
export declare interface GlobalAllocatorOptions {
  /** CPUs, from 1 to 256; default 1. */
  cpus?: number;
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the ranges? Default: true. */
  memory?: boolean;
}

/**
 * A general-purpose heap outside V8's: `alloc` answers a number, views cover all of it, and a free that
 * is wrong throws.
 *
 * @example
 * ```ts
 * const heap = new Heap({ size: MiB(64) }); // Reserved now, committed as it is touched.
 * const p = heap.alloc(64); // A number, never 0.
 * heap.u32[p >>> 2] = 0xdead_beef; // Native memory: no copy, nothing for the GC.
 * heap.free(p); // A second free would throw ERR_NOT_ALLOCATED.
 * heap.close();
 * ```
 */
export declare class Heap implements Disposable {
  #private;
  /**
   * Reserves a heap.
   *
   * @param options - `size` in bytes, from 1 MiB to 64 GiB.
   * @throws AllocError `ERR_INVALID_PARAM`, `ERR_CAPACITY`, `ERR_NO_MEMORY` (address space, or with
   * `populate` the memory itself), `ERR_NO_BINDING`.
   */
  constructor(options: HeapOptions);
  /**
   * The heap that a handle names, on this thread.
   *
   * @returns Where this thread has the heap open already: that very object.
   * @throws AllocError `ERR_INVALID_PARAM` for a handle that was never issued, `ERR_CLOSED` for a heap
   * that is gone, `ERR_CAPACITY` where `maxThreads` have it open.
   */
  static attach(handle: HeapHandle): Heap;
  /** Names this heap to other threads. Reading it first switches this thread to its shared hot path. */
  get handle(): HeapHandle;
  /** Bytes reserved: what was asked for, rounded up to 64 KiB. */
  get size(): number;
  /** Whether this thread has let go, or the heap was destroyed. */
  get closed(): boolean;
  /** All bytes; index `p`. Above what the runtime maps as one buffer: `ERR_UNSUPPORTED`, use `view`. */
  get u8(): Uint8Array;
  /** All bytes, signed; index `p`. */
  get i8(): Int8Array;
  /** Index `p / 2`. */
  get u16(): Uint16Array;
  /** Index `p / 2`. */
  get i16(): Int16Array;
  /** Index `p / 4`; `p >>> 2` is as good in heaps up to 4 GiB, and wrong above. */
  get u32(): Uint32Array;
  /** Index `p / 4`. */
  get i32(): Int32Array;
  /** Index `p / 4`. */
  get f32(): Float32Array;
  /** Index `p / 8`. */
  get f64(): Float64Array;
  /** Index `p / 8`. */
  get u64(): BigUint64Array;
  /** Index `p / 8`. */
  get i64(): BigInt64Array;
  /**
   * Allocates `size` bytes of uninitialized native memory.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 2 MiB; blocks are 16-byte aligned by themselves.
   * @returns The address of the block in this heap: a number, never 0.
   * @throws AllocError `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   * @remarks Constant time. Rust is called only when this thread's magazine is empty.
   */
  alloc(size: number, align?: number): number;
  /**
   * Allocates `size` bytes that are 0.
   *
   * @throws As {@link Heap.alloc}.
   */
  allocZeroed(size: number, align?: number): number;
  /**
   * Frees a block.
   *
   * @param p - The start of a live block of this heap.
   * @throws AllocError `ERR_NOT_ALLOCATED` for any other address; nothing has changed then.
   * @remarks Constant time; on any thread that has the heap open.
   */
  free(p: number): void;
  /**
   * Like C's: keeps the contents up to the smaller size; in place where possible.
   *
   * @returns The address, 16-byte aligned; where it is another one, the old block is dead.
   * @throws AllocError `ERR_NO_MEMORY`, `ERR_NOT_ALLOCATED`; the old block is untouched then.
   */
  realloc(p: number, newSize: number): number;
  /**
   * Allocates `count` blocks of `size` bytes, all or none.
   *
   * @throws AllocError `ERR_NO_MEMORY`; none was allocated then.
   */
  allocMany(size: number, count: number): Float64Array;
  /**
   * Frees many blocks, all or none: every address is checked, and must occur once, before any is freed.
   *
   * @throws AllocError `ERR_NOT_ALLOCATED`.
   */
  freeMany(ps: ArrayLike<number>): void;
  /** Whether a live block starts at `p`; false for every number that is none. */
  isLive(p: number): boolean;
  /** Bytes that may be used of the block at `p`: at least what was asked for. */
  usableSize(p: number): number;
  /**
   * Zero-copy bytes of a live block, from any address inside it.
   *
   * @param length - From 0; by default the rest of the block.
   * @throws AllocError `ERR_NOT_ALLOCATED`; `ERR_INVALID_PARAM` beyond the end of the block.
   */
  view(p: number, length?: number): Uint8Array;
  /** As {@link Heap.view}, as a Buffer. */
  buffer(p: number, length?: number): Buffer;
  /**
   * Copies bytes between live blocks, or within one; overlap-safe.
   *
   * @param to - Any address inside a live block; so is `from`.
   */
  copy(to: number, from: number, length: number): void;
  /**
   * Fills part of a live block with one byte.
   *
   * @param value - From 0 to 255.
   */
  fill(p: number, value: number, length?: number): void;
  /**
   * Blocks of one size: the fastest path there is.
   *
   * @returns The same object for the same size and alignment.
   */
  pool(size: number, align?: number): Pool;
  /** Figures of this moment; exact at rest, while no other thread is inside the heap. */
  stats(): HeapStats;
  /**
   * Verifies all invariants, and under `debug` red zones and poison.
   *
   * @returns The number of live blocks.
   * @throws AllocError `ERR_INTERNAL`; `ERR_CORRUPTED` for damage that the program did.
   */
  check(): number;
  /** Calls `visit` for every live block, ascending; it may free, but should not allocate. */
  walk(visit: (p: number, usable: number) => void): void;
  /**
   * Gives this thread's cached blocks back, and empty pages to the system; returns bytes decommitted.
   *
   * @remarks Without it a heap stays within a sixteenth above the most that it ever had allocated (`docs/heap.md`).
   */
  trim(): number;
  /**
   * Live blocks by the place that allocated them, largest first.
   *
   * @throws AllocError `ERR_UNSUPPORTED` on a heap without `debug`.
   */
  leaks(): readonly Leak[];
  /**
   * Shows this heap to `heapwright top` until the function returned is called, or the heap is closed.
   *
   * @throws AllocError `ERR_UNSUPPORTED` where the platform has no Unix sockets.
   */
  publish(): () => void;
  /**
   * This thread lets go: its views become length 0. Other threads go on; the memory goes when the last
   * of them has let go. Idempotent.
   *
   * @throws AllocError `ERR_CORRUPTED` from a debug heap that found damage; it is closed all the same.
   */
  close(): void;
  /** Ends the heap for every thread, now: views read zeros, calls throw `ERR_CLOSED`. Idempotent. */
  destroy(): void;
  /** `using heap = …`. */
  [Symbol.dispose](): void;
  get [Symbol.toStringTag](): string;
}

/** One size class of a heap. */
export declare interface HeapClassStats {
  /** Of a block, in bytes. */
  readonly size: number;
  /** Live blocks. */
  readonly blocks: number;
  /** Runs of pages cut into blocks of this class. */
  readonly slabs: number;
  /** Blocks in magazines. */
  readonly cached: number;
}

/** How a debug heap watches its blocks. */
export declare interface HeapDebugOptions {
  /** Guarded bytes on both sides of each block; default 64, rounded up to 16. */
  redZone?: number;
  /** Freed blocks up to so many bytes are kept back and watched; default 1 MiB. */
  quarantineBytes?: number;
  /** Remember where each block was allocated and freed; default true. */
  stacks?: boolean;
}

/** Names a heap to another thread: plain and cloneable; send it, then `Heap.attach` it there. */
export declare interface HeapHandle {
  /** Always `'heap'`. */
  readonly heapwright: 'heap';
  readonly id: number;
  readonly generation: number;
}

/** What replaying, recording and inspecting need of a Heap. */
export declare interface HeapLike {
  readonly size: number;
  alloc(size: number, align?: number): number;
  allocZeroed(size: number, align?: number): number;
  realloc(p: number, newSize: number): number;
  free(p: number): void;
  usableSize(p: number): number;
  view(p: number, length?: number): Uint8Array;
  pool(size: number, align?: number): object;
  stats(): object;
}

/** The pictures of a replay. */
export declare interface HeapMap {
  /** First address of the range. */
  readonly start: number;
  /** Bytes that a cell stands for. */
  readonly cellBytes: number;
  readonly frames: readonly MapFrame[];
}

/** What a heap is made of. */
export declare interface HeapOptions {
  /** Bytes reserved, from 1 MiB to 64 GiB, rounded up to 64 KiB; committed as touched. */
  size: number;
  /** For statistics, channels and inspection. */
  name?: string;
  /** Red zones, poison, quarantine, allocation stacks; slow. */
  debug?: boolean | HeapDebugOptions;
  /** Ask for huge pages. */
  hugePages?: boolean;
  /** Commit and touch everything now. */
  populate?: boolean;
  /** Threads at once, the creator's included. Default 64, up to 1024. */
  maxThreads?: number;
}

/** Figures of a heap, exact at rest: while no other thread is inside it. */
export declare interface HeapStats {
  /** As given to the constructor. */
  readonly name: string;
  /** Bytes reserved. */
  readonly size: number;
  /** Bytes of pages that were handed out or populated, and not given back since. */
  readonly committed: number;
  /** The sum of `usableSize` over live blocks. */
  readonly used: number;
  /** The most that live and cached blocks ever took together, seen at each call into Rust. */
  readonly peakUsed: number;
  /** Live blocks. */
  readonly blocks: number;
  /** Bytes in magazines; 0 after `trim()` of the only thread. */
  readonly cached: number;
  /** A request of this many bytes succeeds now. */
  readonly largestFree: number;
  /** Threads that have the heap open. */
  readonly threads: number;
  /** Whether a second thread ever attached. */
  readonly shared: boolean;
  /** Since the heap was made, by all threads. */
  readonly allocs: number;
  /** Since the heap was made, by all threads. */
  readonly frees: number;
  /** Calls into Rust for blocks. */
  readonly crossings: number;
  /** `ERR_NO_MEMORY` so far. */
  readonly failures: number;
  /** Size classes that were ever used, ascending. */
  readonly classes: readonly HeapClassStats[];
}

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

/** Live blocks that nobody freed, by the place that allocated them. */
export declare interface Leak {
  /** The line of the program that allocated. */
  readonly site: string;
  /** The whole stack of one such allocation. */
  readonly stack: string;
  /** Live blocks from there. */
  readonly blocks: number;
  /** Their sizes, in bytes. */
  readonly bytes: number;
}

/** One range that an allocator manages: `[start, start + size)`. */
export declare interface ManagedRange {
  /** Its first address (id). */
  readonly start: number;
  /** In bytes (ids). */
  readonly size: number;
}

/** One section of a page allocator. */
export declare interface ManagedSection {
  /** Its first address. */
  readonly start: number;
  /** In bytes. */
  readonly size: number;
  /** The physical address of `start`. */
  readonly physStart: number;
  /** Pages of the section. */
  readonly totalPages: number;
  /** Pages that are free. */
  readonly freePages: number;
  /** Free runs by order: index = log2(pages). */
  readonly freeRuns: readonly number[];
}

/**
 * @file A heap map that is kept up to date event by event: how full each stretch of the range is.
 *
 * ```text
 * range   |<--------------------- span ---------------------->|       never touched
 * cells   [0][1][2][3] ...                              [1023]
 * ```
 *
 * The number of cells is fixed, the bytes of a cell double when an address beyond the last cell comes:
 * neighbours are added together, in the frames taken earlier too. So the map of a small trace is as
 * fine as that of a large one, and nobody needs to know the span beforehand.
 *
 * Cost: a block touches as many cells as it covers; folding is rare (log2 of the span times).
 * Not here: single blocks. A snapshot has those.
 */
/** One picture of the range: how full each cell is. */
export declare interface MapFrame {
  /** Events done when the picture was taken. */
  readonly event: number;
  /** One hexadecimal digit per cell from the start of the range: 0 empty, f full. Empty tail left out. */
  readonly cells: string;
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

/** Blocks of one size. */
export declare interface Pool {
  /** Of each block, in bytes, as asked for. */
  readonly size: number;
  /**
   * An uninitialized block.
   *
   * @throws AllocError `ERR_NO_MEMORY`, `ERR_CLOSED`.
   * @remarks Constant time; Rust is called once for half a magazine.
   */
  alloc(): number;
  /**
   * Frees a block of this pool, or of any other of its class; also `heap.free` may do that.
   *
   * @throws AllocError `ERR_NOT_ALLOCATED`; `ERR_SIZE_MISMATCH` for a live block of another class.
   */
  free(p: number): void;
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

/**
 * Reads a trace in HWT1, gzipped or not, and checks all of it.
 *
 * @param bytes - The file. It is copied; later writes to it do not reach the trace.
 * @param options - `limitBytes`: the largest unpacked size accepted, by default 256 MiB.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming the byte offset, where the input is damaged,
 * truncated, inconsistent or larger than the limit. Offsets count from the start of the *unpacked*
 * trace, unless the message says that the gzip stream itself is damaged.
 * @remarks About 15 ns per event. Memory: see the head of this file.
 */
export declare function readTrace(
  bytes: Uint8Array,
  options?: {
    limitBytes?: number;
  },
): Trace;

/**
 * Records what is done to a byte allocator (two-level included) or a Heap until `stop()`.
 *
 * @throws {@link AllocError} `ERR_CLOSED` for a target that is closed, `ERR_INVALID_PARAM` for one that is
 * being recorded already. `TypeError` for anything else.
 * @remarks 10 to 30 ns per event while it runs; 8 bytes per event, and 4 bytes per granule of the span
 * that is touched. The pools and CPUs of the target are recorded with it.
 */
export declare function record(target: TraceTarget): Recording;

/** A recording that runs. */
export declare interface Recording {
  /** Ends the recording; the same trace again if it has ended. */
  stop(): Trace;
  /** What has been recorded so far, as HWT1 (not gzipped). */
  bytes(): Uint8Array;
}

/** What a section can be told when it is added. */
export declare interface RegionPlace {
  /** The physical address of `start`; default: `start` itself. */
  physStart?: number;
}

/**
 * Renders a report.
 *
 * @returns The whole HTML file. It loads nothing; open it from disk.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming what a report or snapshot lacks.
 */
export declare function renderReport(parts: ReportParts): string;

/**
 * Replays a trace.
 *
 * @param trace - From `readTrace`, `record`, or any object that keeps the rules of a {@link Trace}.
 * @param target - A byte allocator (two-level included) or a Heap, open, best with nothing in it.
 * @throws {@link AllocError} `ERR_CORRUPTED` where `verify` finds a block that does not hold what was
 * written to it, is misaligned, or is not zero though it should be; `ERR_UNSUPPORTED` for `verify` on a
 * target without memory; whatever the target throws that is not a refusal to allocate.
 * @remarks About 150 ns per event beside the target's own time; with `verify` 1 ns per byte more.
 */
export declare function replay(
  trace: Trace,
  target: TraceTarget,
  options?: ReplayOptions,
): ReplayReport;

/** Options of {@link replay}. */
export declare interface ReplayOptions {
  /** Tag every block, check at free, at realloc and at the end. */
  verify?: boolean;
  /** Events between samples; by default so many that there are about 500 samples. */
  sampleEvery?: number;
  /** Called every 50 ms or so, and at the end. */
  onProgress?: (done: number, total: number) => void;
  /** Name of the trace, passed on to the report. */
  trace?: string;
  /** Pictures of the range to take along the trace (default 0: none); see {@link HeapMap}. */
  mapFrames?: number;
  /** Stop after this many seconds; the report then has `complete: false`. */
  limitSeconds?: number;
}

/** What a replay measured. All durations are of calls that succeeded. */
export declare interface ReplayReport {
  /** Kind of the target; 'heap' for a Heap. */
  readonly kind: string;
  /** Events of the trace that were gone through: all of them, unless `complete` is false. */
  readonly events: number;
  /** Requests that the target could not serve. */
  readonly failures: number;
  /** Time spent in the target's calls. */
  readonly seconds: number;
  /** `seconds` over the calls made, in nanoseconds. */
  readonly nsPerEvent: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly peakRequested: number;
  readonly peakUsed: number;
  /** Highest address touched - start: what the range had to hold. */
  readonly peakSpan: number;
  readonly samples: readonly ReplaySample[];
  /** Name of the trace, if one was given. */
  readonly trace?: string;
  /** Was the whole trace gone through? */
  readonly complete: boolean;
  /** Were contents tagged and checked? */
  readonly verified: boolean;
  /** Calls that succeeded. */
  readonly calls: number;
  /**
   * Mean duration without the slowest call in a thousand, in nanoseconds. On a machine that is busy with
   * other things those are the calls that it interrupted, so this is what to compare.
   */
  readonly nsTrimmed: number;
  /** Events skipped because the request that should have made their block had failed. */
  readonly skipped: number;
  /** Bytes of the target's ranges. */
  readonly rangeBytes: number;
  /** Blocks of the replay still live at the end. */
  readonly blocksLeft: number;
  /** Share of the peak span that live bytes do not account for at the peak: 1 - peakRequested / peakSpan. */
  readonly fragmentation: number;
  /** Buckets of durations that hold anything: lowest nanoseconds, calls. */
  readonly latency: readonly (readonly [startNs: number, count: number])[];
  /** Requests by size: every power of two that occurs, and how many requests were in [from, 2 * from). */
  readonly sizes: readonly (readonly [from: number, requests: number])[];
  /** Cost of an empty pair of clock readings, which was taken off every duration. */
  readonly clockNs: number;
  /** Pictures of the range, if asked for. */
  readonly map?: HeapMap;
}

/** The state at one point of a replay. */
export declare interface ReplaySample {
  /** Events done. */
  readonly event: number;
  /** Bytes that live blocks of the replay asked for. */
  readonly requested: number;
  /** Bytes granted to live blocks, as the target counts them. */
  readonly used: number;
  /** Highest address touched so far - start of the range. */
  readonly span: number;
  /** Largest request that would succeed, as the target says. */
  readonly largestFree: number;
  /** Mean and longest duration of the calls since the previous sample, in nanoseconds. */
  readonly nsPerCall: number;
  readonly nsMax: number;
}

/** What a report is made of. */
export declare interface ReportParts {
  /** From `replay`; grouped by their `trace`. What an older version wrote may lack newer fields. */
  reports?: readonly (Pick<ReplayReport, 'kind' | 'events'> &
    Partial<Omit<ReplayReport, 'samples'>> & {
      readonly samples: readonly Partial<ReplaySample>[];
    })[];
  /** From `snapshot`. */
  snapshots?: readonly Pick<Snapshot, 'schema'>[];
  title?: string;
}

/** Slots of nine classes, 8 … 2048 bytes, over pages that the program brings. */
export declare class SlabAllocator implements Disposable {
  #private;
  /** The kind that `createAllocator` knows this class by. */
  readonly kind: 'slab-cache';
  /** In bytes, a power of two. */
  readonly pageSize: number;
  /** @param options - The page size. */
  constructor(options?: SlabCacheOptions);
  /** Whether `close` was called. */
  get closed(): boolean;
  /**
   * Allocates a slot, or says what slab is missing.
   *
   * @param size - In bytes, from 1 to 2048.
   * @param align - A power of two up to 2048; default 8.
   * @returns The address of the slot, or the class that has none and the pages of a slab of it.
   * @throws {@link AllocError} `ERR_INVALID_PARAM` above 2048.
   */
  alloc(size: number, align?: number): SlabAllocResult;
  /**
   * Makes pages that the program owns a slab.
   *
   * @param sizeClass - From 0 to 8: slots of `8 << sizeClass` bytes.
   * @param base - A multiple of `pages * pageSize`, but not 0.
   * @param pages - From 1 to 4 (for small pages, to as many as one slot of 2048 bytes needs).
   * @throws {@link AllocError} `ERR_INVALID_PARAM`, `ERR_MEMORY_OVERLAP` over another slab.
   */
  addSlab(sizeClass: number, base: number, pages: number): void;
  /**
   * Frees the slot at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @returns `freeSlab` when a slab became empty and is the program's again.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`; nothing has changed then.
   */
  dealloc(pos: number): SlabDeallocResult;
  /** Figures of this moment in bytes of slots, with those of each class. */
  stats(): AllocatorStats & {
    readonly classes: readonly SlabClassStats[];
  };
  /**
   * Verifies all own invariants against the live table. Only looks.
   *
   * @returns The number of live slots.
   * @throws {@link AllocError} `ERR_INTERNAL` naming what does not hold.
   */
  check(): number;
  /** Forgets every slab; later calls throw `ERR_CLOSED`. Idempotent. */
  close(): void;
  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void;
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** What an allocation came to. */
export declare type SlabAllocResult =
  | {
      readonly state: 'allocated';
      readonly pos: number;
    }
  | {
      readonly state: 'needsSlab';
      readonly sizeClass: number;
      readonly pages: number;
    };

/** Bytes by slabs; ranges are multiples of 32 KiB. */
export declare class SlabByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /**
   * Figures of this moment, and since `init`.
   *
   * @returns Also what each class holds, in use or not.
   */
  stats(): AllocatorStats & {
    readonly classes: readonly SlabHolding[];
  };
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/** What `SlabAllocator` takes. */
export declare interface SlabCacheOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
}

/** One size class of slabs. */
export declare interface SlabClassStats {
  /** Bytes of a slot. */
  readonly objectSize: number;
  /** Slabs. */
  readonly slabs: number;
  /** Slots of these slabs. */
  readonly objects: number;
  /** Live slots; those freed remotely are dead. */
  readonly active: number;
  /** Slabs with some slots to hand out. */
  readonly partial: number;
  /** Slabs with none. */
  readonly full: number;
  /** Slabs with nothing but. */
  readonly empty: number;
  /** Slots that other CPUs freed and that are not drained yet. */
  readonly pendingRemote: number;
}

/** What a free came to. */
export declare type SlabDeallocResult =
  | {
      readonly state: 'done';
    }
  | {
      readonly state: 'freeSlab';
      readonly base: number;
      readonly pages: number;
    };

/** What one class of a slab holds. */
export declare interface SlabHolding {
  /** In bytes. */
  readonly objectSize: number;
  /** Live objects. */
  readonly active: number;
  /** Bytes of its sets: no other class, and no large block, ever gets them again. */
  readonly heldBytes: number;
}

/** State of an allocator or Heap; see the schema for every field. */
export declare interface Snapshot {
  readonly schema: 'heapwright/snapshot/1';
  readonly kind: string;
  /** What sizes and addresses count: bytes (also for pages, which are given by address), or ids. */
  readonly unit: 'bytes' | 'ids';
  readonly name?: string;
  readonly pageSize?: number;
  readonly ranges: readonly {
    readonly start: number;
    readonly size: number;
  }[];
  /** What `stats()` says, without its classes; in the unit that `stats()` uses. */
  readonly stats: Readonly<Record<string, number | string | boolean>>;
  /**
   * `internal`: share of what is granted beyond what was asked for (a Heap does not know what was).
   * `external`: share of what is free beyond the largest run.
   */
  readonly fragmentation: {
    readonly internal?: number;
    readonly external: number;
  };
  readonly maps?: readonly SnapshotMap[];
  readonly sizes?: readonly SnapshotSizes[];
  readonly sections?: readonly SnapshotSection[];
  readonly cpus?: readonly {
    readonly index: number;
    readonly classes: readonly SnapshotSlabClass[];
  }[];
  /** Classes of a 'slab-cache'. */
  readonly slabClasses?: readonly SnapshotSlabClass[];
  /** Classes of the family 'slab': what each holds for good, in use or not. */
  readonly heldClasses?: readonly {
    readonly objectSize: number;
    readonly active: number;
    readonly heldBytes: number;
  }[];
  /** Classes of a Heap. */
  readonly heapClasses?: readonly {
    readonly size: number;
    readonly blocks: number;
    readonly slabs: number;
    readonly cached: number;
  }[];
  /** Columns over all live blocks, ascending by address; for a Heap, `size` is what may be used. */
  readonly blocks?: {
    readonly pos: readonly number[];
    readonly size: readonly number[];
    readonly align?: readonly number[];
  };
  readonly [key: string]: unknown;
}

/**
 * Takes a snapshot.
 *
 * @param target - Any allocator, or a Heap at rest (no other thread inside).
 * @throws {@link AllocError} `ERR_CLOSED`; `TypeError` for what is neither.
 * @remarks Time: one `walk()`.
 */
export declare function snapshot(
  target: {
    stats(): object;
  },
  options?: SnapshotOptions,
): Snapshot;

/** How full a range is, cell by cell. */
export declare interface SnapshotMap {
  /** First address (page address, id) of the range. */
  readonly start: number;
  /** What one cell stands for, in the unit of addresses. */
  readonly cellSize: number;
  /** One hexadecimal digit per cell: 0 empty, f full; the empty tail is left out. */
  readonly cells: string;
}

/** Options of {@link snapshot}. */
export declare interface SnapshotOptions {
  /** List every live block (default false). */
  blocks?: boolean;
}

/** A part of the managed pages: one section of a page allocator. */
export declare interface SnapshotSection {
  readonly start: number;
  /** In bytes. */
  readonly size: number;
  readonly physStart: number;
  readonly totalPages: number;
  readonly freePages: number;
  /** Free runs by order: index = log2(pages). For 'bitmap', the aligned runs that its free pages make up. */
  readonly freeRuns: readonly number[];
}

/** Blocks of one power of two of sizes: `from <= size < 2 * from`. */
export declare interface SnapshotSizes {
  readonly from: number;
  readonly blocks: number;
  readonly size: number;
}

/** One size class of slabs. */
export declare interface SnapshotSlabClass {
  readonly objectSize: number;
  readonly slabs: number;
  readonly objects: number;
  readonly active: number;
  readonly partial: number;
  readonly full: number;
  readonly empty: number;
  readonly pendingRemote: number;
}

/** Bytes by two-level segregated fit; ranges are multiples of 4096. */
export declare class TlsfByteAllocator extends ByteFamily implements ByteAllocator {
  /** @param options - `memory: false` manages addresses only. */
  constructor(options?: ByteOptions);
  /** The name of the class. */
  get [Symbol.toStringTag](): string;
}

/**
 * The free runs of a snapshot as the lines of `/proc/buddyinfo`: one for each section.
 *
 * @param snapshot - Of 'buddy-pages', 'two-level' or 'bitmap'.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` for a snapshot without sections of pages.
 *
 * @example
 * ```text
 * Node 0, zone    DMA32      1      0      1      1      0      1      1      0      1      1      3
 * ```
 */
export declare function toBuddyinfo(snapshot: Pick<Snapshot, 'schema'>): string;

/**
 * The size classes of a snapshot as `/proc/slabinfo`, version 2.1: a cache for each class, over all CPUs.
 *
 * @param snapshot - Of 'two-level', 'slab-cache' or a Heap.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` for a snapshot without slabs.
 *
 * @remarks For a Heap, whose slabs of a class differ in size, `<num_objs>` counts live and cached blocks,
 * and `<objperslab>` is their mean.
 */
export declare function toSlabinfo(snapshot: Pick<Snapshot, 'schema'>): string;

/** A checked allocation trace. Iterating it yields its events from the first on, every time. */
export declare interface Trace extends Iterable<TraceEvent> {
  /** How many events there are. */
  readonly events: number;
  /** How many blocks are born. */
  readonly ids: number;
  /** The largest sum of the sizes of live blocks, in bytes. */
  readonly peakBytes: number;
}

/** One event of a trace, as an object: what iterating a {@link Trace} yields. */
export declare type TraceEvent =
  | {
      op: 'alloc';
      id: number;
      size: number;
      align?: number;
      zeroed?: boolean;
    }
  | {
      op: 'realloc';
      id: number;
      size: number;
    }
  | {
      op: 'free';
      id: number;
    };

/** What a trace can be replayed on and recorded from. */
export declare type TraceTarget = ByteAllocator | HeapLike;

/** A range for pages and per-CPU slabs. */
export declare interface TwoLevelOptions extends PageOptions {
  /** Default 1, up to 256. */
  cpus?: number;
  /** Physical address of `start`, for `allocPagesLowmem`. Default: `start` itself. */
  physStart?: number;
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

/**
 * Writes events as HWT1.
 *
 * @param events - A {@link Trace}, or any iterable of events that obeys the same rules.
 * @param options - `gzip`: pack the result (default false). The same events give the same bytes.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming the event (counted from 0) that is out of order
 * or cannot be written: HWT1 has no event that is aligned *and* zeroed. `TypeError` for what is no event.
 */
export declare function writeTrace(
  events: Iterable<TraceEvent>,
  options?: {
    gzip?: boolean;
  },
): Uint8Array;

export {};
