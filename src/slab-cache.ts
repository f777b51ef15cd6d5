/**
 * @file `SlabAllocator`: slots of nine sizes over pages that the program brings, the slab level alone.
 *
 * ```text
 * alloc ──► allocated { pos }                     dealloc ──► done
 *       └─► needsSlab { sizeClass, pages }                └─► freeSlab { base, pages }
 *             ▲ addSlab(sizeClass, base, pages)                 the pages are the program's again
 * ```
 *
 * It never asks anyone for memory. The last empty slab of each class stays; the next one that becomes
 * empty is handed back.
 *
 * Not here: where pages come from (`buddy-pages.ts`), both together (`two-level.ts`).
 */
import { failure } from './errors.ts';
import type { AllocError } from './errors.ts';
import { owned } from './family.ts';
import type { AllocatorStats } from './family.ts';
import { native, refusal } from './native.ts';
import type { Call, Native, NativeAllocator } from './native.ts';
import {
  alignment,
  copyOptions,
  isNumber,
  isNumberOrLeftOut,
  natural,
  pageSizeOf,
  positive,
} from './options.ts';

/** What `SlabAllocator` takes. */
export interface SlabCacheOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
}

/** One size class of slabs. */
export interface SlabClassStats {
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

/** What an allocation came to. */
export type SlabAllocResult =
  | { readonly state: 'allocated'; readonly pos: number }
  | { readonly state: 'needsSlab'; readonly sizeClass: number; readonly pages: number };

/** What a free came to. */
export type SlabDeallocResult =
  | { readonly state: 'done' }
  | { readonly state: 'freeSlab'; readonly base: number; readonly pages: number };

const DONE: SlabDeallocResult = Object.freeze({ state: 'done' });

/** The largest size and alignment that slots have. */
const SLOT_MAX = 2048;

const ALIGN_DEFAULT = 8;

/** The size classes of a CPU, or of a slab cache. */
export function slabClasses(
  { binding }: Native,
  handle: number,
  cpu: number,
): SlabClassStats[] | undefined {
  const numbers = binding.slabClasses(handle, cpu);
  if (numbers === null) return undefined;
  const classes: SlabClassStats[] = [];
  for (let index = 0; index < numbers.length; index += 8) {
    const [objectSize, slabs, objects, active, partial, full, empty, pendingRemote] =
      numbers.subarray(index, index + 8) as unknown as Eight;
    classes.push({ objectSize, slabs, objects, active, partial, full, empty, pendingRemote });
  }
  return classes;
}

type Eight = [number, number, number, number, number, number, number, number];

/** Slots of nine classes, 8 … 2048 bytes, over pages that the program brings. */
export class SlabAllocator implements Disposable {
  /** The kind that `createAllocator` knows this class by. */
  readonly kind = 'slab-cache' as const;
  /** In bytes, a power of two. */
  readonly pageSize: number;
  readonly #native: Native;
  readonly #owner: NativeAllocator;
  #closed = false;

  /** @param options - The page size. */
  constructor(options?: SlabCacheOptions) {
    const { pageSize } = copyOptions(options, 'options', ['pageSize']);
    isNumberOrLeftOut(pageSize, 'options.pageSize');
    this.pageSize = pageSizeOf(pageSize);
    const { binding } = (this.#native = native());
    this.#owner = owned(() => new binding.NativeSlabCache(this.pageSize));
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Allocates a slot, or says what slab is missing.
   *
   * @param size - In bytes, from 1 to 2048.
   * @param align - A power of two up to 2048; default 8.
   * @returns The address of the slot, or the class that has none and the pages of a slab of it.
   * @throws {@link AllocError} `ERR_INVALID_PARAM` above 2048.
   */
  alloc(size: number, align?: number): SlabAllocResult {
    isNumber(size, 'size');
    isNumberOrLeftOut(align, 'align');
    const bytes = positive(size, 'size');
    const boundary = align === undefined ? ALIGN_DEFAULT : alignment(align);
    if (bytes > SLOT_MAX || boundary > SLOT_MAX) {
      const [name, value] = bytes > SLOT_MAX ? ['size', bytes] : ['align', boundary];
      throw failure('ERR_INVALID_PARAM', `${name} must be at most ${SLOT_MAX}, got ${value}`);
    }
    const ctl = this.#call(bytes, boundary);
    this.#native.raw.slabAlloc();
    if (ctl[0] !== 0) throw this.#refused({ requested: bytes });
    return ctl[1] === 0
      ? { state: 'allocated', pos: ctl[2] as number }
      : { state: 'needsSlab', sizeClass: ctl[2] as number, pages: ctl[3] as number };
  }

  /**
   * Makes pages that the program owns a slab.
   *
   * @param sizeClass - From 0 to 8: slots of `8 << sizeClass` bytes.
   * @param base - A multiple of `pages * pageSize`, but not 0.
   * @param pages - From 1 to 4 (for small pages, to as many as one slot of 2048 bytes needs).
   * @throws {@link AllocError} `ERR_INVALID_PARAM`, `ERR_MEMORY_OVERLAP` over another slab.
   */
  addSlab(sizeClass: number, base: number, pages: number): void {
    isNumber(sizeClass, 'sizeClass');
    isNumber(base, 'base');
    isNumber(pages, 'pages');
    const index = natural(sizeClass, 'sizeClass');
    const at = natural(base, 'base');
    const count = positive(pages, 'pages');
    if (index > 8) {
      throw failure('ERR_INVALID_PARAM', `sizeClass must be from 0 to 8, got ${index}`);
    }
    const bytes = count * this.pageSize;
    if (at === 0 || at % bytes !== 0) {
      throw failure(
        'ERR_INVALID_PARAM',
        `base must be a multiple of the ${bytes} bytes of the slab and not 0, got ${at}`,
      );
    }
    const ctl = this.#call(index, at, count);
    this.#native.raw.slabAdd();
    if (ctl[0] !== 0) {
      throw this.#refused({ block: 'range', pos: at, length: `${count} page(s)` });
    }
  }

  /**
   * Frees the slot at `pos`.
   *
   * @param pos - What `alloc` returned.
   * @returns `freeSlab` when a slab became empty and is the program's again.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`; nothing has changed then.
   */
  dealloc(pos: number): SlabDeallocResult {
    isNumber(pos, 'pos');
    const at = natural(pos, 'pos');
    const ctl = this.#call(at);
    this.#native.raw.slabDealloc();
    if (ctl[0] !== 0) throw this.#refused({ pos: at });
    if (ctl[1] === 0) return DONE;
    return { state: 'freeSlab', base: ctl[2] as number, pages: ctl[3] as number };
  }

  /** Figures of this moment in bytes of slots, with those of each class. */
  stats(): AllocatorStats & { readonly classes: readonly SlabClassStats[] } {
    this.#assertOpen();
    const classes = slabClasses(this.#native, this.#owner.handle, 0);
    if (classes === undefined) throw this.#refused();
    const ctl = this.#call();
    this.#native.raw.allocatorStats();
    if (ctl[0] !== 0) throw this.#refused();
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
      classes: Object.freeze(classes),
    });
  }

  /**
   * Verifies all own invariants against the live table. Only looks.
   *
   * @returns The number of live slots.
   * @throws {@link AllocError} `ERR_INTERNAL` naming what does not hold.
   */
  check(): number {
    this.#assertOpen();
    const ctl = this.#call();
    this.#native.raw.allocatorCheck();
    if (ctl[0] !== 0) throw this.#refused();
    return ctl[1] as number;
  }

  /** Forgets every slab; later calls throw `ERR_CLOSED`. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.close();
  }

  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The name of the class. */
  get [Symbol.toStringTag](): string {
    return 'SlabAllocator';
  }

  /** Puts handle and operands into the control block. */
  #call(...operands: number[]): Float64Array {
    const { ctl } = this.#native;
    ctl[0] = this.#owner.handle;
    for (let index = 0; index < operands.length; index += 1) {
      ctl[index + 1] = operands[index] as number;
    }
    return ctl;
  }

  #assertOpen(): void {
    if (this.#closed) throw this.#closedError();
  }

  #closedError(): AllocError {
    return failure('ERR_CLOSED', 'the slab-cache allocator is closed');
  }

  #refused(call: Partial<Call> = {}): AllocError {
    if (this.#closed) return this.#closedError();
    return refusal(this.#native, { block: 'block', unit: 'bytes', ...call });
  }
}
