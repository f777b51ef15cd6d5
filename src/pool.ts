/**
 * @file Pools: blocks of one size, the fastest path there is.
 *
 * A pool of a size that magazines serve has its two functions straight from `magazine.ts`; all pools
 * of one class and thread share them. Any other (above 32 KiB, or aligned to more than 16 bytes) goes
 * the heap's own way and compares what a block may be used for.
 *
 * Not here: the hot path (`magazine.ts`) and what it falls back on (`heap-core.ts`).
 */
import { inspect } from 'node:util';
import type { InspectOptions } from 'node:util';
import type { PoolPath } from './magazine.ts';

/** Blocks of one size. */
export interface Pool {
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

/** A pool as the heap hands it out; its functions are replaced when the heap becomes shared. */
export class HeapPool implements Pool {
  readonly size: number;
  declare readonly alloc: () => number;
  declare readonly free: (p: number) => void;

  constructor(size: number, path: PoolPath) {
    this.size = size;
    link(this, path);
  }

  get [Symbol.toStringTag](): string {
    return 'Pool';
  }

  static {
    // Not a declaration: the types of the package name no symbol of `node:util`.
    Object.defineProperty(this.prototype, inspect.custom, {
      value(this: HeapPool, _depth: number, options: InspectOptions): string {
        return `Pool ${inspect({ size: this.size }, options)}`;
      },
    });
  }
}

/** Gives a pool its functions. */
export function link(pool: HeapPool, { alloc, free }: PoolPath): void {
  Object.assign(pool, { alloc, free });
}
