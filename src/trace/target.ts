/**
 * @file One face for what a trace can be replayed on or recorded from: byte allocators and the Heap.
 *
 * The two differ in names (`dealloc` / `free`), in what `stats()` says, and in how the peak of the
 * granted bytes is known:
 *
 * - A byte allocator counts `peakUsed` itself, exactly. Only where it had a higher peak before does the
 *   replay read `usedBytes` after every step that can raise it.
 * - A Heap's `used` is the sum of `usableSize` over live blocks, and its threads keep blocks in
 *   magazines; so the replay adds and subtracts `usableSize` itself.
 *
 * Targets are told apart by their methods, not by class, so that this file needs no binary.
 */
import type { ByteAllocator } from '../byte-family.ts';
import { AllocError, invalidType } from '../errors.ts';

/** The calls of a byte allocator or a Heap that a replay makes. */
export interface BlockCalls {
  alloc(size: number, align?: number): number;
  allocZeroed(size: number, align?: number): number;
  realloc(pos: number, newSize: number): number;
  /** Byte allocators. */
  dealloc(pos: number): void;
  /** Heaps. */
  free(pos: number): void;
  view(pos: number, length?: number): Uint8Array;
  usableSize(pos: number): number;
}

interface AnyStats {
  readonly used: number;
  readonly largestFree: number;
  readonly peakUsed: number;
}

interface AnyTarget extends BlockCalls {
  readonly kind?: string;
  readonly size?: number;
  readonly usedBytes?: number;
  readonly ranges?: readonly { readonly start: number; readonly size: number }[];
  stats(): AnyStats;
}

/** What replaying, recording and inspecting need of a Heap. */
export interface HeapLike {
  readonly size: number;
  alloc(size: number, align?: number): number;
  allocZeroed(size: number, align?: number): number;
  realloc(p: number, newSize: number): number;
  free(p: number): void;
  usableSize(p: number): number;
  view(p: number, length?: number): Uint8Array;
  pool(size: number, align?: number): object;
  stats(): object;
}

/** What a trace can be replayed on and recorded from. */
export type TraceTarget = ByteAllocator | HeapLike;

/** A byte allocator or Heap, as a replay sees it. */
export interface ReplayTarget {
  readonly kind: string;
  readonly isHeap: boolean;
  readonly allocator: BlockCalls;
  /** Lowest address managed. */
  readonly start: number;
  readonly rangeBytes: number;
  stats(): { readonly used: number; readonly largestFree: number };
  /** From here on {@link ReplayTarget.peakUsed} counts. */
  beginPeak(): void;
  /** A block is now at `pos`, with a new size perhaps. */
  came(pos: number): void;
  /** The block that was at `pos` is gone, or has been moved or resized. */
  left(pos: number): void;
  peakUsed(): number;
  /** Throws `ERR_UNSUPPORTED` where there are no bytes to tag. */
  requireMemory(): void;
}

/** Does it have the methods of a Heap? */
export function isHeapLike(target: object): boolean {
  const { free, pool, alloc } = target as { free?: unknown; pool?: unknown; alloc?: unknown };
  return typeof free === 'function' && typeof pool === 'function' && typeof alloc === 'function';
}

/** Does it have the methods of a byte allocator? */
export function isByteAllocatorLike(target: object): boolean {
  const { alloc, dealloc, realloc } = target as Partial<BlockCalls>;
  return [alloc, dealloc, realloc].every((method) => typeof method === 'function');
}

/** Wraps `target`, or throws a `TypeError` if it is neither. */
export function targetOf(target: TraceTarget): ReplayTarget {
  const expected = 'a byte allocator or a Heap';
  if (typeof target !== 'object' || target === null) throw invalidType('target', expected, target);
  if (isHeapLike(target)) return new HeapTarget(target as unknown as AnyTarget);
  if (isByteAllocatorLike(target)) return new ByteTarget(target as unknown as AnyTarget);
  throw invalidType('target', expected, target);
}

class ByteTarget implements ReplayTarget {
  readonly isHeap = false;
  readonly kind: string;
  readonly allocator: AnyTarget;
  readonly start: number;
  readonly rangeBytes: number;
  #peakBefore = 0;
  /** -1: the allocator's own peak is the peak of the replay. */
  #peak = -1;

  constructor(allocator: AnyTarget) {
    this.allocator = allocator;
    this.kind = allocator.kind ?? 'bytes';
    // stats() throws ERR_CLOSED on an allocator that is closed or has no range yet.
    allocator.stats();
    const ranges = allocator.ranges ?? [];
    this.start = ranges.reduce((low, range) => Math.min(low, range.start), Number.MAX_SAFE_INTEGER);
    this.rangeBytes = ranges.reduce((sum, range) => sum + range.size, 0);
  }

  stats(): AnyStats {
    return this.allocator.stats();
  }

  beginPeak(): void {
    const { used, peakUsed } = this.allocator.stats();
    this.#peakBefore = peakUsed;
    this.#peak = peakUsed > used ? used : -1;
  }

  came(): void {
    if (this.#peak < 0) return;
    const used = this.allocator.usedBytes ?? this.allocator.stats().used;
    if (used > this.#peak) this.#peak = used;
  }

  left(): void {}

  peakUsed(): number {
    const { peakUsed } = this.allocator.stats();
    return this.#peak < 0 || peakUsed > this.#peakBefore ? peakUsed : this.#peak;
  }

  requireMemory(): void {
    const { allocator } = this;
    const pos = allocator.alloc(1);
    try {
      allocator.view(pos, 1);
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_UNSUPPORTED') throw error;
      throw new AllocError(
        'ERR_UNSUPPORTED',
        `verify needs bytes to tag, and this ${this.kind} allocator has none (memory: false)`,
      );
    } finally {
      allocator.dealloc(pos);
    }
  }
}

class HeapTarget implements ReplayTarget {
  readonly isHeap = true;
  readonly kind = 'heap';
  readonly start = 0;
  readonly allocator: AnyTarget;
  readonly rangeBytes: number;
  readonly #usable = new Map<number, number>();
  #used = 0;
  #peak = 0;

  constructor(heap: AnyTarget) {
    this.allocator = heap;
    this.rangeBytes = heap.size ?? 0;
    heap.stats();
  }

  stats(): AnyStats {
    return this.allocator.stats();
  }

  beginPeak(): void {
    this.#used = this.allocator.stats().used;
    this.#peak = this.#used;
  }

  came(pos: number): void {
    const usable = this.allocator.usableSize(pos);
    this.#usable.set(pos, usable);
    this.#used += usable;
    if (this.#used > this.#peak) this.#peak = this.#used;
  }

  left(pos: number): void {
    this.#used -= this.#usable.get(pos) ?? 0;
    this.#usable.delete(pos);
  }

  peakUsed(): number {
    return this.#peak;
  }

  requireMemory(): void {}
}
