/**
 * @file What page kinds share: runs of pages, exact places, views.
 *
 * As in `byte-family.ts`, a method checks its arguments, puts them into the control block and makes
 * one argument-free call. Counts are pages, alignments are bytes, positions are addresses.
 *
 * Not here: which run is chosen (the crates), the life cycle (`family.ts`).
 */
import { failure, hex } from './errors.ts';
import { Family, coreOf } from './family.ts';
import type { BaseAllocator, FamilyCore, ManagedRange } from './family.ts';
import { NOT_ALLOCATED } from './native.ts';
import { alignment, isNumber, isNumberOrLeftOut, natural, positive } from './options.ts';

/** Stands for "not given" across the seam. */
const LEFT_OUT = -1;

/** An allocator of runs of pages. */
export interface PageAllocator extends BaseAllocator {
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
export abstract class PageFamily extends Family implements PageAllocator {
  readonly #core: FamilyCore;

  /** @internal */
  constructor(core: FamilyCore) {
    super(core);
    this.#core = coreOf(this);
  }

  /** In bytes, a power of two. */
  get pageSize(): number {
    return this.#core.units.size;
  }

  /**
   * Allocates a run of pages.
   *
   * @param count - In pages, from 1.
   * @param align - In bytes, a power of two from `pageSize` to 1 GiB; default `pageSize`.
   * @returns The address of the first page.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree` in pages.
   */
  allocPages(count: number, align?: number): number {
    isNumber(count, 'count');
    isNumberOrLeftOut(align, 'align');
    const pages = positive(count, 'count');
    const boundary = this.#boundary(align);
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = pages;
    ctl[2] = boundary;
    native.raw.pageAlloc();
    if (ctl[0] !== 0) throw this.#core.refused({ requested: pages, align: boundary });
    return ctl[1] as number;
  }

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
  allocPagesAt(base: number, count: number, align?: number): number {
    isNumber(base, 'base');
    isNumber(count, 'count');
    isNumberOrLeftOut(align, 'align');
    const at = natural(base, 'base');
    const pages = positive(count, 'count');
    const boundary = this.#boundary(align);
    if (at % boundary !== 0) {
      throw failure('ERR_INVALID_PARAM', `base must be a multiple of ${boundary}, got ${at}`);
    }
    const core = this.#core;
    core.assertOpen();
    const range = core.ranges[core.rangeAt(at)] as ManagedRange | undefined;
    if (range === undefined || pages > (range.start + range.size - at) / core.units.size) {
      throw failure(
        'ERR_INVALID_PARAM',
        `base and count must lie in one managed range, got ${pages} page(s) at ${at}`,
      );
    }
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = at;
    ctl[2] = pages;
    ctl[3] = boundary;
    raw.pageAllocAt();
    if (ctl[0] !== 0) {
      const taken = `${pages} page(s) at ${hex(at)} are not all free`;
      throw core.refused({ pos: at, requested: pages, align: boundary, taken });
    }
    return ctl[1] as number;
  }

  /**
   * Frees the live run at `pos`, whole.
   *
   * @param pos - What `allocPages` returned.
   * @param count - In pages; checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  deallocPages(pos: number, count?: number): void {
    isNumber(pos, 'pos');
    isNumberOrLeftOut(count, 'count');
    const at = natural(pos, 'pos');
    const pages = count === undefined ? LEFT_OUT : positive(count, 'count');
    const { native, handle } = this.#core;
    const { ctl } = native;
    ctl[0] = handle;
    ctl[1] = at;
    ctl[2] = pages;
    native.raw.pageDealloc();
    if (ctl[0] !== 0) throw this.#core.refused({ pos: at, given: count });
  }

  /**
   * Whether a live run starts at `pos`.
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
    raw.pageLookup();
    if (ctl[0] === 0) return true;
    if (ctl[0] === NOT_ALLOCATED) return false;
    throw core.refused({ pos });
  }

  /**
   * Zero-copy bytes of the live run at `pos`.
   *
   * @param pos - What `allocPages` returned.
   * @param length - In bytes, from 0 to the whole run, which is the default.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_INVALID_PARAM` for a longer view,
   * `ERR_UNSUPPORTED` without memory behind the range (the default of page kinds).
   */
  view(pos: number, length?: number): Uint8Array {
    isNumber(pos, 'pos');
    isNumberOrLeftOut(length, 'length');
    const at = natural(pos, 'pos');
    const wanted = length === undefined ? undefined : natural(length, 'length');
    const core = this.#core;
    core.assertOpen();
    if (!core.memory) {
      throw failure('ERR_UNSUPPORTED', 'view needs bytes: pass memory: true to the constructor');
    }
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = at;
    raw.pageLookup();
    if (ctl[0] !== 0) throw core.refused({ pos: at });
    const size = (ctl[1] as number) * core.units.size;
    if (wanted !== undefined && wanted > size) {
      throw failure(
        'ERR_INVALID_PARAM',
        `length must be at most the ${size} bytes of the run, got ${wanted}`,
      );
    }
    return core.bytes(at, wanted ?? size);
  }

  /** Pages managed. */
  get totalPages(): number {
    return this.#core.figure('totalPages');
  }

  /** Pages of live runs. */
  get usedPages(): number {
    return this.#core.figure('usedPages');
  }

  /** `totalPages - usedPages`. */
  get availablePages(): number {
    return this.#core.figure('availablePages');
  }

  #boundary(align: number | undefined): number {
    const { size } = this.#core.units;
    return align === undefined ? size : alignment(align, 'align', size);
  }
}
