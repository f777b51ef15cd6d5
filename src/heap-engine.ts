/**
 * @file What `Heap` asks of the engine behind it: the fast one or the debugging one.
 *
 * Not here: either of them (`heap-core.ts`, `debug.ts`).
 */
import type { Block } from './heap-core.ts';
import type { HeapPath, PoolPath } from './magazine.ts';

/** Live blocks that nobody freed, by the place that allocated them. */
export interface Leak {
  /** The line of the program that allocated. */
  readonly site: string;
  /** The whole stack of one such allocation. */
  readonly stack: string;
  /** Live blocks from there. */
  readonly blocks: number;
  /** Their sizes, in bytes. */
  readonly bytes: number;
}

/** One size class of a heap. */
export interface HeapClassStats {
  /** Of a block, in bytes. */
  readonly size: number;
  /** Live blocks. */
  readonly blocks: number;
  /** Runs of pages cut into blocks of this class. */
  readonly slabs: number;
  /** Blocks in magazines. */
  readonly cached: number;
}

/** Figures of a heap, exact at rest: while no other thread is inside it. */
export interface HeapStats {
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

/** What every engine does; arguments that are typed are judged already. */
export interface HeapEngine {
  /** `alloc` and `free` of this moment. */
  readonly path: HeapPath;
  readonly open: boolean;
  assertOpen(): void;
  isLive(p: unknown): boolean;
  usableSize(p: unknown): number;
  lookup(p: number): Block;
  allocZeroed(size: number, align: number): number;
  realloc(p: number, newSize: number): number;
  allocMany(size: number, count: number): Float64Array;
  freeMany(positions: Float64Array): void;
  /** The functions of pools of that size and alignment. */
  pool(size: number, align: number): PoolPath;
  stats(name: string): HeapStats;
  check(): number;
  trim(): number;
  walk(visit: (p: number, usable: number) => void): void;
  leaks(): readonly Leak[];
  share(): void;
  close(how: 'close' | 'destroy'): void;
}
