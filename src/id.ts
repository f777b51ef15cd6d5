/**
 * @file `BitmapIdAllocator`: dense ids by first fit in a bitmap, over the crate `bitmap-allocator`.
 *
 * The seed ships only the trait. Ids are bare numbers: an old copy of a recycled id names the new
 * owner, as with a file descriptor. Up to 2^28 of them; 0 is an id like any other.
 */
import { failure } from './errors.ts';
import { Family, FamilyCore, coreOf, owned } from './family.ts';
import type { BaseAllocator } from './family.ts';
import { native } from './native.ts';
import { alignment, isNumber, isNumberOrLeftOut, natural, positive } from './options.ts';

/** Stands for "not given" across the seam. */
const LEFT_OUT = -1;

/** Ids by first fit; one id or a run of them. */
export class BitmapIdAllocator extends Family implements BaseAllocator {
  readonly #core: FamilyCore;

  constructor() {
    const { NativeId } = native().binding;
    super(
      new FamilyCore({
        kind: 'id',
        owner: owned(() => new NativeId()),
        units: { start: 1, size: 1, startMin: 0 },
        unit: 'ids',
        block: 'id',
        memory: false,
      }),
    );
    this.#core = coreOf(this);
  }

  /**
   * Allocates the lowest free id, or run of ids.
   *
   * @param count - Ids in a row, from 1; default 1.
   * @param align - The first is a multiple of it: a power of two; default 1.
   * @returns The first id.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with `requested` and `largestFree` in ids.
   */
  allocId(count?: number, align?: number): number {
    isNumberOrLeftOut(count, 'count');
    isNumberOrLeftOut(align, 'align');
    const ids = count === undefined ? 1 : positive(count, 'count');
    const boundary = align === undefined ? 1 : alignment(align);
    const { native: seam, handle } = this.#core;
    const { ctl } = seam;
    ctl[0] = handle;
    ctl[1] = ids;
    ctl[2] = boundary;
    seam.raw.idAlloc();
    if (ctl[0] !== 0) throw this.#core.refused({ requested: ids, align: boundary });
    return ctl[1] as number;
  }

  /**
   * Allocates exactly `id`.
   *
   * @throws {@link AllocError} `ERR_NO_MEMORY` if it is taken, `ERR_INVALID_PARAM` if it is not managed.
   */
  allocFixedId(id: number): void {
    isNumber(id, 'id');
    const wanted = natural(id, 'id');
    const core = this.#core;
    core.assertOpen();
    if (core.rangeAt(wanted) < 0) {
      throw failure('ERR_INVALID_PARAM', `id must lie in a managed range, got ${wanted}`);
    }
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = wanted;
    raw.idAllocFixed();
    if (ctl[0] !== 0) {
      throw core.refused({
        pos: wanted,
        requested: 1,
        taken: `id ${wanted} is taken`,
      });
    }
  }

  /**
   * Frees the live id, or run of ids, at `start`: whole.
   *
   * @param start - What `allocId` returned, or `allocFixedId` took.
   * @param count - In ids; checked if given.
   * @throws {@link AllocError} `ERR_NOT_ALLOCATED`, `ERR_SIZE_MISMATCH`; nothing is freed then.
   */
  deallocId(start: number, count?: number): void {
    isNumber(start, 'start');
    isNumberOrLeftOut(count, 'count');
    const at = natural(start, 'start');
    const ids = count === undefined ? LEFT_OUT : positive(count, 'count');
    const { native: seam, handle } = this.#core;
    const { ctl } = seam;
    ctl[0] = handle;
    ctl[1] = at;
    ctl[2] = ids;
    seam.raw.idDealloc();
    if (ctl[0] !== 0) throw this.#core.refused({ pos: at, given: count });
  }

  /**
   * Whether `id` is taken, alone or within a run.
   *
   * @param id - Any number; `false` for what was never managed.
   */
  isAllocated(id: number): boolean {
    isNumber(id, 'id');
    const core = this.#core;
    core.assertOpen();
    if (!Number.isSafeInteger(id) || core.rangeAt(id) < 0) return false;
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = id;
    raw.idIsAllocated();
    if (ctl[0] !== 0) throw core.refused({ pos: id });
    return ctl[1] === 1;
  }

  /** Ids managed. */
  get size(): number {
    return this.#core.figure('size');
  }

  /** Ids taken. */
  get used(): number {
    return this.#core.figure('used');
  }

  /** `size - used`. */
  get available(): number {
    return this.#core.figure('available');
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'BitmapIdAllocator';
  }
}
