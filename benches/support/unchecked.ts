/**
 * @file The peer of B17: our own heap with the live check of `free` taken out.
 *
 * The product has no such switch, and must not have one. For the suite `harness/unchecked.ts` makes a copy of the built
 * front in which the check is removed; where the sources have changed so that it cannot, the path is reported as skipped.
 */
import type { OurHeap } from './ours.ts';

/** Opens a heap of the copy. */
export async function uncheckedHeap(size: number): Promise<OurHeap> {
  const entry = process.env['HEAPWRIGHT_BENCH_UNCHECKED'];
  if (entry === undefined)
    throw new Error('HEAPWRIGHT_BENCH_UNCHECKED names no copy without the check');
  const { Heap } = (await import(entry)) as { Heap: new (options: { size: number }) => OurHeap };
  return new Heap({ size });
}
