/**
 * @file What all families share: the life cycle, ranges, statistics, walking, closing, inspection.
 *
 * An allocator is `fresh` until `init`, then `open`, then `closed` for good. {@link FamilyCore} is
 * the one object that knows that state, the native allocator and the ranges; it stays private, since
 * it leads to the control block. The public classes hold it in a `#core`, and files of this folder
 * reach it through {@link coreOf}.
 *
 * Invariants:
 * 1. Arguments are judged by type, then by value, then by state, and all before anything changes.
 * 2. After `close` no buffer of this thread shows memory of the allocator.
 * 3. Nothing native, no typed array over native metadata and no real address leaves this folder.
 *
 * Not here: bytes (`byte-family.ts`), pages (`page-family.ts`), ids (`id.ts`).
 */
import * as workerThreads from 'node:worker_threads';
import { inspect } from 'node:util';
import type { InspectOptions } from 'node:util';
import { RangeBuffers, sharedMemory } from './buffers.ts';
import { failure } from './errors.ts';
import type { AllocError } from './errors.ts';
import { native, refusal } from './native.ts';
import type { Call, Native, NativeAllocator, NativeMemory } from './native.ts';
import { isFunction, isNumber, range } from './options.ts';

/** Names a kind of allocator; selects the class in `createAllocator`. */
export type AllocatorKind =
  | 'buddy'
  | 'tlsf'
  | 'slab'
  | 'bitmap'
  | 'id'
  | 'two-level'
  | 'buddy-pages'
  | 'slab-cache';

/** One range that an allocator manages: `[start, start + size)`. */
export interface ManagedRange {
  /** Its first address (id). */
  readonly start: number;
  /** In bytes (ids). */
  readonly size: number;
}

/** Every allocator: `new X(options?)`, then `init` once; `createAllocator` does both. */
export interface BaseAllocator extends Disposable {
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

/** In bytes for byte kinds and 'two-level', in pages for 'bitmap' and 'buddy-pages', in ids for 'id'. */
export interface AllocatorStats {
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

/** What the ranges of a kind are made of. */
export interface RangeUnits {
  readonly start: number;
  readonly size: number;
  /** 1 where address 0 is withheld. */
  readonly startMin: 0 | 1;
}

/** Everything that a family knows of itself; see the file comment for who may hold it. */
export class FamilyCore {
  readonly kind: AllocatorKind;
  readonly native: Native;
  readonly owner: NativeAllocator;
  readonly handle: number;
  readonly units: RangeUnits;
  /** What this kind counts, for messages. */
  readonly unit: Call['unit'];
  readonly block: Call['block'];
  /** Whether bytes lie behind the ranges. */
  readonly memory: boolean;
  state: 'fresh' | 'open' | 'closed' = 'fresh';
  ranges: readonly ManagedRange[] = Object.freeze([]);
  readonly buffers: RangeBuffers[] = [];

  constructor(facts: Pick<FamilyCore, 'kind' | 'owner' | 'units' | 'unit' | 'block' | 'memory'>) {
    this.kind = facts.kind;
    this.native = native();
    this.owner = facts.owner;
    this.handle = facts.owner.handle;
    this.units = facts.units;
    this.unit = facts.unit;
    this.block = facts.block;
    this.memory = facts.memory;
  }

  /** Throws unless between `init` and `close`. */
  assertOpen(): void {
    if (this.state !== 'open') throw this.closedError();
  }

  closedError(): AllocError {
    const why = this.state === 'closed' ? 'is closed' : 'was not initialized: call init first';
    return failure('ERR_CLOSED', `the ${this.kind} allocator ${why}`);
  }

  /** The error for the status in the control block. */
  refused(call: Partial<Call> = {}): AllocError {
    if (this.state !== 'open') return this.closedError();
    return refusal(this.native, { block: this.block, unit: this.unit, ...call });
  }

  /** Adds a range by `init` or `addMemory` of the native allocator. */
  addRange(how: 'init' | 'addMemory', start: unknown, size: unknown): void {
    isNumber(start, 'start');
    isNumber(size, 'size');
    const added = range(start, size, this.units);
    if (this.state === 'closed' || (how === 'addMemory' && this.state === 'fresh')) {
      throw this.closedError();
    }
    if (how === 'init' && this.state === 'open') {
      throw failure(
        'ERR_INVALID_PARAM',
        `init must be called once: the ${this.kind} allocator manages ${this.ranges.length} range(s) already`,
      );
    }
    const { binding, ctl } = this.native;
    // Made before the range is added, so that a failure changes nothing.
    const shared =
      this.memory && binding.backend() === 'shared' ? sharedMemory(added.size) : undefined;
    this.owner[how](added.start, added.size);
    if (ctl[0] !== 0) {
      const length = `${added.size} ${this.unit === 'ids' ? 'ids' : 'bytes'}`;
      throw refusal(this.native, { block: 'range', unit: this.unit, pos: added.start, length });
    }
    const index = this.ranges.length;
    if (this.memory) {
      const owner = this.owner as NativeMemory;
      if (shared !== undefined) owner.provide(index, new Uint8Array(shared));
      this.buffers.push(new RangeBuffers(owner, index, added.size, shared));
    }
    this.ranges = Object.freeze([...this.ranges, Object.freeze(added)]);
    this.state = 'open';
  }

  /** The index of the range that `pos` lies in, or -1. */
  rangeAt(pos: number): number {
    const { ranges } = this;
    for (let index = 0; index < ranges.length; index += 1) {
      const { start, size } = ranges[index] as ManagedRange;
      if (pos >= start && pos - start < size) return index;
    }
    return -1;
  }

  /**
   * Zero-copy bytes of a live block.
   *
   * @param pos - In a managed range.
   * @param length - From 0, within the block.
   */
  bytes(pos: number, length: number): Uint8Array {
    const index = this.rangeAt(pos);
    const { start } = this.ranges[index] as ManagedRange;
    return (this.buffers[index] as RangeBuffers).view(pos - start, length);
  }

  /** A figure that the native allocator keeps at hand. */
  figure<Name extends string>(name: Name): number {
    this.assertOpen();
    const figure = (this.owner as unknown as Readonly<Record<Name, number>>)[name];
    if (this.native.ctl[0] !== 0) throw this.refused();
    return figure;
  }

  stats(): AllocatorStats {
    this.assertOpen();
    const { ctl, raw } = this.native;
    ctl[0] = this.handle;
    raw.allocatorStats();
    if (ctl[0] !== 0) throw this.refused();
    return Object.freeze({
      kind: this.kind,
      total: ctl[1] as number,
      used: ctl[2] as number,
      requested: ctl[3] as number,
      available: ctl[4] as number,
      largestFree: ctl[5] as number,
      blocks: ctl[6] as number,
      allocs: ctl[7] as number,
      frees: ctl[8] as number,
      failures: ctl[9] as number,
      peakUsed: ctl[10] as number,
    });
  }

  close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    for (const buffers of this.buffers) buffers.detach();
    this.buffers.length = 0;
    this.owner.close();
  }
}

/** The private part of an allocator, for the files of this folder. */
export let coreOf: (family: Family) => FamilyCore;

/** The life cycle that every kind has. */
export abstract class Family implements BaseAllocator {
  readonly #core: FamilyCore;

  static {
    coreOf = (family) => family.#core;
    // What `console.log` shows: the kind and the figures, nothing native.
    Object.defineProperty(Family.prototype, inspect.custom, {
      configurable: true,
      writable: true,
      value(this: Family, _depth: number, options: InspectOptions): string {
        if (!(#core in this)) return Object.prototype.toString.call(this);
        const core = this.#core;
        const shown = { kind: core.kind, ranges: core.ranges, ...figures(core) };
        return `${this[Symbol.toStringTag]} ${inspect(shown, options)}`;
      },
    });
  }

  /** @internal */
  constructor(core: FamilyCore) {
    this.#core = core;
    markAsUncloneable(this);
  }

  /** The kind that `createAllocator` knows this class by. */
  get kind(): AllocatorKind {
    return this.#core.kind;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#core.state === 'closed';
  }

  /** The ranges managed, in order of addition; none before `init`. */
  get ranges(): readonly ManagedRange[] {
    return this.#core.ranges;
  }

  /**
   * Gives the allocator its first range; once.
   *
   * @param start - The first address; see the options of the kind.
   * @param size - In bytes (ids for 'id').
   * @throws {@link AllocError} `ERR_INVALID_PARAM` for a second `init` too, `ERR_CAPACITY` above what
   * the kind manages, `ERR_NO_MEMORY` where the operating system refuses.
   */
  init(start: number, size: number): void {
    this.#core.addRange('init', start, size);
  }

  /**
   * Adds one more range, apart from all others. Blocks never span two ranges.
   *
   * @param start - The first address; see the options of the kind.
   * @param size - In bytes (ids for 'id').
   * @throws {@link AllocError} `ERR_MEMORY_OVERLAP`, else as `init`.
   */
  addMemory(start: number, size: number): void {
    this.#core.addRange('addMemory', start, size);
  }

  /**
   * Figures of this moment, and since `init`.
   *
   * @remarks Constant time but for `largestFree`, which the kind may have to search for.
   */
  stats(): AllocatorStats {
    return this.#core.stats();
  }

  /**
   * Visits every live block, ascending by address. Do not allocate meanwhile.
   *
   * @param visit - Gets the address, the size asked for (in bytes; ids for 'id') and the alignment.
   */
  walk(visit: (pos: number, size: number, align: number) => void): void {
    isFunction(visit, 'visit');
    const core = this.#core;
    core.assertOpen();
    const { binding, ctl } = core.native;
    const blocks = binding.liveBlocks(core.handle);
    if (ctl[0] !== 0) throw core.refused();
    const scale = core.unit === 'pages' ? core.units.size : 1;
    for (let index = 0; index < blocks.length; index += 3) {
      const size = (blocks[index + 1] as number) * scale;
      visit(blocks[index] as number, size, blocks[index + 2] as number);
    }
  }

  /**
   * Verifies all own invariants against the live table. Only looks.
   *
   * @returns The number of live blocks.
   * @throws {@link AllocError} `ERR_INTERNAL` naming what does not hold.
   */
  check(): number {
    const core = this.#core;
    core.assertOpen();
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    raw.allocatorCheck();
    if (ctl[0] !== 0) throw core.refused();
    return ctl[1] as number;
  }

  /** Lets go of everything: views become length 0, later calls throw `ERR_CLOSED`. Idempotent. */
  close(): void {
    this.#core.close();
  }

  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void {
    this.#core.close();
  }

  /** The name of the class, as `Object.prototype.toString` shows it. */
  get [Symbol.toStringTag](): string {
    return 'Allocator';
  }
}

/** The figures that inspection shows; never throws. */
function figures(core: FamilyCore): object {
  if (core.state !== 'open') return { state: core.state };
  try {
    const { total, used, blocks } = core.stats();
    return { total, used, blocks };
  } catch (error) {
    return { state: (error as AllocError).message };
  }
}

/**
 * Makes a native allocator.
 *
 * @throws AllocError `ERR_CAPACITY` where a thread has too many open.
 */
export function owned<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw failure(
      'ERR_CAPACITY',
      `no more allocators in this thread: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

/** A clone of an allocator would be an empty object: where the runtime can refuse, it shall. */
function markAsUncloneable(instance: object): void {
  const { markAsUncloneable: mark } = workerThreads as {
    markAsUncloneable?: (value: object) => void;
  };
  mark?.(instance);
}
