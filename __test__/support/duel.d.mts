import type { Heap } from '../../index.ts';

/** For each block 1 where this thread's free succeeded, 0 where it was refused. */
export function duel(heap: Heap, ps: readonly number[], gate: Int32Array, me: 0 | 1): number[];
