/**
 * @file The two loops of B1 that B17 runs too: a pair on a pool, and on a heap.
 *
 * They hold heap, pool and view as constants of a closure, as a module that has one heap does; V8 then looks up neither in the
 * loop. (`passed=1` of B1 runs them with all three as arguments instead.)
 */
import type { OurHeap, OurPool } from './ours.ts';

/** Bytes of the blocks. */
export const SIZE = 64;

/** A loop over one heap: what it works on is fixed when it is made. */
export type Kernel = (steps: number) => number;

export function poolPairs(pool: OurPool, words: Int32Array): Kernel {
  return (steps) => {
    let sink = 0;
    for (let i = 0; i < steps; i++) {
      const p = pool.alloc();
      words[p >>> 2] = i;
      sink = (sink + p) | 0;
      pool.free(p);
    }
    return sink;
  };
}

export function pairs(heap: OurHeap, words: Int32Array): Kernel {
  // An exported binding is loaded, and tested for being initialized, at every use.
  const size = SIZE;
  return (steps) => {
    let sink = 0;
    for (let i = 0; i < steps; i++) {
      const p = heap.alloc(size);
      words[p >>> 2] = i;
      sink = (sink + p) | 0;
      heap.free(p);
    }
    return sink;
  };
}
