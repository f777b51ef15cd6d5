/**
 * @file How the loops get a heap: exclusive, shared with an idle worker, or after everything has run.
 *
 * The product is loaded only by the paths that measure it, so that a peer's process holds no trace of it.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Arguments } from './bench.ts';

/** What the loops use of a Heap; `api.d.ts` has the whole. */
export interface OurHeap {
  readonly handle: unknown;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  alloc(size: number, align?: number): number;
  free(p: number): void;
  pool(size: number, align?: number): OurPool;
  view(p: number, length?: number): Uint8Array;
  stats(): {
    readonly crossings: number;
    readonly shared: boolean;
    readonly blocks: number;
    readonly committed: number;
    readonly classes: readonly { readonly slabs: number }[];
  };
  trim(): number;
  check(): number;
  close(): void;
  destroy(): void;
}

/** What the loops use of a Pool. */
export interface OurPool {
  alloc(): number;
  free(p: number): void;
}

interface HeapClass {
  new (options: {
    size: number;
    hugePages?: boolean;
    populate?: boolean;
    maxThreads?: number;
  }): OurHeap;
  attach(handle: unknown): OurHeap;
}

/** The class itself. */
export async function heapClass(): Promise<HeapClass> {
  const module = (await import('../../index.ts')) as unknown as { Heap?: HeapClass };
  if (module.Heap === undefined) throw new Error('this build has no Heap');
  return module.Heap;
}

/** The URL of a module of this folder, as source or built. */
export function moduleUrl(name: string, base: string): URL {
  return new URL(`${name}${base.endsWith('.ts') ? '.ts' : '.js'}`, base);
}

/**
 * Opens a heap; with `shared=1` a worker attaches and sleeps, with `megamorphic=1` everything has run before.
 *
 * @param args - The arguments of the process.
 * @param size - In bytes.
 */
export async function openHeap(args: Arguments, size: number): Promise<OurHeap> {
  const Heap = await heapClass();
  const heap = new Heap({ size });
  if (args.flag('shared')) {
    const worker = new Worker(moduleUrl('./idle-worker', import.meta.url), {
      workerData: heap.handle,
    });
    await once(worker, 'message');
    worker.unref();
    if (!heap.stats().shared) throw new Error('the heap is not shared after an attach');
  }
  if (args.flag('megamorphic')) runEverything(Heap);
  return heap;
}

/** Exercises every entry of the Heap, on several heaps and pools, so that call sites have seen many shapes. */
function runEverything(Heap: HeapClass): void {
  for (let round = 0; round < 4; round++) {
    const heap = new Heap({ size: 64 << 20 });
    const pools = [16, 64, 256, 1024, 4096].map((size) => heap.pool(size));
    const kept: number[] = [];
    for (let i = 0; i < 50_000; i++) {
      const p = heap.alloc(16 + ((i * 37) & 2047));
      heap.u8[p] = i;
      kept.push(p);
      if (kept.length > 500) heap.free(kept.shift() as number);
      const pool = pools[i % pools.length] as OurPool;
      pool.free(pool.alloc());
    }
    for (const p of kept) heap.free(p);
    heap.view(heap.alloc(64)).fill(1);
    heap.trim();
  }
}

/** Crossings per million operations, and the share of operations that a magazine served. */
export function crossingFigures(
  heap: OurHeap,
  before: number,
  operations: number,
): { crossingsPerMillion: number; hitRate: number } {
  const crossings = heap.stats().crossings - before;
  return {
    crossingsPerMillion: (crossings / operations) * 1e6,
    hitRate: 1 - crossings / operations,
  };
}
