/**
 * @file One thread's attachment to a heap: everything that the hot path does not do itself.
 *
 * A {@link HeapCore} is what the functions of `magazine.ts` fall back on. It judges arguments (types,
 * then values, then state), swaps the two stacks of a class, crosses to Rust when both are empty or
 * full, and turns statuses into errors. It also owns the moment at which an exclusive heap becomes a
 * shared one: when `handle` is first read, on the owner's own thread, before anybody can attach.
 *
 * Invariants:
 * 1. Before any crossing that may look at a pool's stack, its top stands in the thread area.
 * 2. Whoever moves the top of an alloc stack other than by a pop adds the pops so far to `ALLOCS`.
 * 3. After `close` nothing here touches native memory; areas are left poisoned, so that a function of
 *    the hot path that a program kept ends up here too.
 *
 * Not here: views and the public class (`heap.ts`); `debug: true` (`debug.ts`).
 */
import {
  HEAP_ALLOCS,
  HEAP_CLASSES_MAX,
  HEAP_COUNT,
  HEAP_LOW,
  HEAP_POISON,
  HEAP_POOL_LOW,
  HEAP_PT,
  HEAP_SEEN,
} from '../native/layout.ts';
import type { RangeBuffers } from './buffers.ts';
import { channels } from './channels.ts';
import { failure, hex } from './errors.ts';
import type { HeapClassStats, HeapEngine, HeapStats } from './heap-engine.ts';
import { AREA, HeapMemory } from './heap-memory.ts';
import {
  exclusiveBigPath,
  exclusiveBigPoolPath,
  exclusivePath,
  exclusivePoolPath,
  sharedPath,
  sharedPoolPath,
  specialize,
} from './magazine.ts';
import type {
  ExclusiveMemory,
  HeapPath,
  PoolPath,
  PoolSlowPath,
  PoolState,
  SharedMemory,
  SlowPath,
} from './magazine.ts';
import { blockOfBatch, native, noRoomFor, refusal } from './native.ts';
import type { Call, Native, NativeHeap } from './native.ts';
import { alignment, arrayOf, isNumber, isNumberOrLeftOut, natural, positive } from './options.ts';

/** The largest alignment that a heap offers: 2 MiB. */
const HEAP_ALIGN_MAX: number = 2 ** 21;

/** Every block is a multiple of this. */
const GRANULE = 16;

/** What a word of the page map is about. */
const PAGE = 4096;

/** A live block: where it starts and how much of it may be used. */
export interface Block {
  readonly start: number;
  readonly usable: number;
}

/** The pool stack of one class, and the paths over it. */
interface ClassPool {
  readonly class: number;
  readonly state: PoolState;
  readonly path: PoolPath;
}

/** Checks a size and an alignment, in that order of judgment: types, then values. */
export function judgeRequest(size: unknown, align: unknown): [size: number, align: number] {
  isNumber(size, 'size');
  isNumberOrLeftOut(align, 'align');
  const bytes = positive(size, 'size');
  const multiple = align === undefined ? GRANULE : alignment(align);
  if (multiple > HEAP_ALIGN_MAX) {
    throw failure(
      'ERR_INVALID_PARAM',
      `align must be a power of two up to ${HEAP_ALIGN_MAX} (2 MiB) on a heap, got ${multiple}`,
    );
  }
  return [bytes, Math.max(multiple, GRANULE)];
}

/** One thread's attachment to a heap. */
export class HeapCore implements HeapEngine, SlowPath {
  readonly #native: Native;
  readonly #owner: NativeHeap;
  readonly #memory: HeapMemory;
  readonly #h: number;
  readonly #name: string;
  readonly #buffers: RangeBuffers;
  /** The thread area: words, and the same as doubles. */
  #m: Int32Array;
  #doubles: Float64Array;
  /** What the first word of the area is as long as the attachment lives; never 0. */
  #alive: number;
  #exclusive: ExclusiveMemory | undefined;
  #shared: SharedMemory | undefined;
  #open = true;
  readonly #pools = new Map<number, ClassPool>();
  /** Blocks that pools handed out in place of one of their class, where there was none. */
  readonly #standIns = new Map<number, { readonly usable: number; readonly expected: number }>();
  /** Bytes of a block by class number. */
  readonly #sizes: readonly number[];
  /** Told of each new hot path, now and when the heap becomes shared. */
  readonly #install: () => void;
  /** The hot path of this moment. */
  path: HeapPath;

  /**
   * @param owner - The native attachment, open.
   * @param name - For channels and inspection.
   * @param mode - Exclusive for who created it, shared for who attached.
   * @param metadata - With the fallback backend: what JavaScript made.
   * @param buffers - The data, for zeroing.
   * @param install - Called when {@link path} has changed.
   */
  constructor(
    owner: NativeHeap,
    name: string,
    mode: 'exclusive' | 'shared',
    metadata: SharedArrayBuffer | undefined,
    buffers: RangeBuffers,
    install: () => void,
  ) {
    this.#native = native();
    this.#owner = owner;
    this.#h = owner.handle;
    this.#name = name;
    this.#install = install;
    this.#buffers = buffers;
    this.#memory = new HeapMemory(owner, metadata);
    if (mode === 'exclusive') {
      this.#exclusive = this.#memory.exclusive();
      this.#m = this.#exclusive.m;
      this.path = specialize(this.#exclusive.big ? exclusiveBigPath : exclusivePath)(
        this.#exclusive,
        AREA,
        this,
      );
    } else {
      this.#shared = this.#memory.sharedMode();
      this.#m = this.#shared.t;
      this.path = specialize(sharedPath)(this.#shared, AREA, this);
    }
    this.#doubles = new Float64Array(this.#m.buffer, this.#m.byteOffset, HEAP_CLASSES_MAX);
    this.#alive = (this.#m[0] as number) || -1;
    this.#sizes = classSizes(this.#m);
  }

  /** Whether this thread still has the heap, and nobody destroyed it. */
  get open(): boolean {
    return this.#open && this.#m[0] === this.#alive;
  }

  /** Bytes of the heap. */
  get size(): number {
    return this.#owner.size;
  }

  /** Whether the hot path is the shared one. */
  get sharedMode(): boolean {
    return this.#shared !== undefined;
  }

  /** Throws `ERR_CLOSED` unless {@link open}. */
  assertOpen(): void {
    if (!this.open) throw failure('ERR_CLOSED', 'the heap is closed');
  }

  // ---------------------------------------------------------------- alloc and free

  /** {@inheritDoc SlowPath.alloc} */
  alloc(size: unknown, align?: unknown): number {
    if (this.#swapped(size, align)) return this.path.alloc(size as number);
    const [bytes, multiple] = judgeRequest(size, align);
    this.assertOpen();
    if (bytes > AREA.smallMax || multiple > GRANULE) {
      return this.#allocBy(this.#native.raw.heapAlloc, bytes, multiple);
    }
    if (this.#provide(this.classOf(bytes))) return this.path.alloc(bytes);
    // No slab of the class can be had: a larger class may have a block, or a page be left.
    return this.#allocBy(this.#native.raw.heapAlloc, bytes, multiple);
  }

  /** The common case, without ado: whether stacks could trade places for an ordinary request. */
  #swapped(size: unknown, align: unknown): boolean {
    if (typeof size !== 'number' || align !== undefined) return false;
    if ((size | 0) !== size || (size - 1) >>> 0 >= AREA.smallMax || !this.open) return false;
    const m = this.#m;
    const c = m[AREA.s2c + ((size + 15) >>> 4)] as number;
    const a = m[AREA.at + c] as number;
    const f = m[AREA.ft + c] as number;
    if (m[a - 1] !== 0 || m[f - 1] === 0) return false;
    this.#swap(c, a, f);
    return true;
  }

  /** Whether the alloc stack of a class is not empty, or could be filled. */
  #provide(c: number): boolean {
    const m = this.#m;
    const a = m[AREA.at + c] as number;
    const f = m[AREA.ft + c] as number;
    if (m[a - 1] !== 0) return true;
    if (m[f - 1] !== 0) {
      this.#swap(c, a, f);
      return true;
    }
    this.syncPools();
    this.#call2(this.#native.raw.heapRefill, c, { block: 'block', unit: 'bytes' });
    this.#readPools();
    return this.#native.ctl[1] !== 0;
  }

  /** The stacks of a class trade places. */
  #swap(c: number, a: number, f: number): void {
    const m = this.#m;
    this.#addAllocs((m[HEAP_COUNT + c] as number) - a);
    m[AREA.at + c] = f;
    m[AREA.ft + c] = a;
    m[HEAP_COUNT + c] = f;
    // For `peakUsed`: until now the two held at least this many, and the free stack holds nothing.
    m[HEAP_LOW + c] = Math.min(m[HEAP_LOW + c] as number, m[HEAP_SEEN + c] as number);
    m[HEAP_SEEN + c] = 0;
  }

  #addAllocs(count: number): void {
    this.#doubles[HEAP_ALLOCS / 2] = (this.#doubles[HEAP_ALLOCS / 2] as number) + count;
  }

  /** {@inheritDoc SlowPath.free} */
  free(p: unknown): void {
    isNumber(p, 'p');
    const block = natural(p, 'p');
    this.assertOpen();
    if (this.#madeRoomFor(block)) {
      this.path.free(block);
      return;
    }
    this.syncPools();
    this.#call2(this.#native.raw.heapFree, block, blockAt(block));
  }

  /** {@inheritDoc SlowPath.settle} */
  settle(c: number): void {
    const { ctl, raw } = this.#native;
    ctl[0] = this.#h;
    ctl[1] = c;
    // Advice: what comes back does not matter, and the free that it is given after has succeeded.
    raw.heapSettle();
  }

  /** Whether the hot path had no room for a block that may be live, and has some now. */
  #madeRoomFor(p: number): boolean {
    const m = this.#m;
    const c = this.#exclusive === undefined ? this.#ownClass(p) : this.#smallClass(p);
    if (c > 0) {
      const f = m[AREA.ft + c] as number;
      if (m[f] !== 0) return false;
      this.#makeRoom(c, f);
      return true;
    }
    if (c === 0 || (m[AREA.outbox] as number) < AREA.outboxMax) return false;
    this.syncPools();
    this.#call1(this.#native.raw.heapOutbox, blockAt(p));
    return true;
  }

  /** Shared: the class number at `p` where this thread owns the slab, -1 where another does, else 0. */
  #ownClass(p: number): number {
    const { pageMap, end, me } = this.#shared as SharedMemory;
    if (p % GRANULE !== 0 || p >= end) return 0;
    const word = pageMap[Math.floor(p / PAGE)] as number;
    const c = word & AREA.classMask;
    if (c === 0 || c >= AREA.large) return 0;
    return (word & AREA.ownerMask) >>> AREA.ownerShift === me ? c : -1;
  }

  /** Makes sure that the free stack of a class is not full. */
  #makeRoom(c: number, f: number): void {
    const a = this.#m[AREA.at + c] as number;
    if (this.#m[a - 1] === 0) {
      this.#swap(c, a, f);
      return;
    }
    this.syncPools();
    this.#call2(this.#native.raw.heapFlush, c, { block: 'block', unit: 'bytes' });
  }

  /** The class number of a small block that is live in an exclusive heap; else 0. */
  #smallClass(p: number): number {
    const x = this.#exclusive;
    if (x === undefined || p % GRANULE !== 0 || p >= x.end) return 0;
    const g = p / GRANULE;
    if (((x.m[x.bits + Math.floor(g / 32)] as number) & (1 << (g % 32))) === 0) return 0;
    const c = x.m[x.pages + Math.floor(p / PAGE)] as number;
    return c < AREA.large ? c : 0;
  }

  /** Whether a live block starts at `p`. */
  isLive(p: unknown): boolean {
    isNumber(p, 'p');
    this.assertOpen();
    if (!Number.isSafeInteger(p) || p < 0 || p % GRANULE !== 0 || p >= this.#owner.size) {
      return false;
    }
    const g = p / GRANULE;
    const x = this.#exclusive;
    if (x !== undefined) {
      return ((x.m[x.bits + Math.floor(g / 32)] as number) & (1 << (g % 32))) !== 0;
    }
    return Atomics.load((this.#shared as SharedMemory).state, g) === 1;
  }

  /**
   * The live block that holds the address `p`, which need not be its start.
   *
   * @throws AllocError `ERR_NOT_ALLOCATED`.
   */
  lookup(p: number): Block {
    const c = this.#smallClass(p);
    if (c !== 0) return { start: p, usable: this.#sizes[c] as number };
    this.#call2(this.#native.raw.heapLookup, p, blockAt(p));
    const { ctl } = this.#native;
    return { start: ctl[1] as number, usable: ctl[2] as number };
  }

  /** Bytes that may be used of the block that starts at `p`. */
  usableSize(p: unknown): number {
    isNumber(p, 'p');
    const block = natural(p, 'p');
    this.assertOpen();
    const found = this.lookup(block);
    if (found.start !== block) throw notLive(block);
    return found.usable;
  }

  /** {@inheritDoc HeapEngine.allocZeroed} */
  allocZeroed(size: number, align: number): number {
    if (size <= AREA.smallMax && align <= GRANULE) {
      const p = this.path.alloc(size);
      this.#buffers.view(p, size).fill(0);
      return p;
    }
    // Rust knows which pages are zero already.
    return this.#allocBy(this.#native.raw.heapAllocZeroed, size, align);
  }

  /** One block from Rust; where memory is short, it takes back what the pools of this thread hold. */
  #allocBy(raw: () => void, size: number, align: number): number {
    this.syncPools();
    this.#call3(raw, size, align, { block: 'block', unit: 'bytes', requested: size });
    const p = this.#native.ctl[1] as number;
    this.#readPools();
    return p;
  }

  /** Like C's; the arguments are judged already. */
  realloc(p: number, newSize: number): number {
    const c = this.#smallClass(p);
    if (c !== 0 && newSize <= AREA.smallMax) {
      if (this.#m[AREA.s2c + Math.ceil(newSize / GRANULE)] === c) return p;
    }
    this.syncPools();
    this.#call3(this.#native.raw.heapRealloc, p, newSize, {
      block: 'block',
      unit: 'bytes',
      pos: p,
      requested: newSize,
    });
    const moved = this.#native.ctl[1] as number;
    this.#readPools();
    return moved;
  }

  /** All or nothing. */
  allocMany(size: number, count: number): Float64Array {
    const refused = (): Error =>
      this.#refuse({ block: 'block', unit: 'bytes', ...noRoomFor(count, size) });
    this.syncPools();
    const { ctl, binding } = this.#native;
    // An array that no heap could fill is not even made.
    const out = Math.max(size, GRANULE) * count > this.size ? undefined : arrayOf(count);
    if (out === undefined) {
      ctl[0] = this.#h;
      // However small the blocks are, a heap never has its own size free: its first page is withheld.
      ctl[1] = this.size;
      ctl[2] = GRANULE;
      this.#native.raw.heapAlloc();
      throw refused();
    }
    ctl[0] = this.#h;
    ctl[1] = size;
    binding.heapAllocMany(out);
    if (ctl[0] !== 0) throw refused();
    this.#readPools();
    return out;
  }

  /** All or nothing; the positions are safe integers. */
  freeMany(positions: Float64Array): void {
    const { ctl, binding } = this.#native;
    this.syncPools();
    ctl[0] = this.#h;
    binding.heapFreeMany(positions);
    if (ctl[0] !== 0) {
      const named = blockOfBatch(positions, ctl[1] as number);
      throw this.#refuse({ block: 'block', unit: 'bytes', ...named });
    }
  }

  // ---------------------------------------------------------------- pools

  /** The class number of a size that magazines serve; 0 for a larger one. */
  classOf(size: number): number {
    return size > AREA.smallMax ? 0 : (this.#m[AREA.s2c + Math.ceil(size / GRANULE)] as number);
  }

  /** The hot path of pools of a class, one per thread; another after {@link share}. */
  poolPath(c: number): PoolPath {
    let pool = this.#pools.get(c);
    if (pool === undefined) {
      pool = this.#makePool(c);
      this.#pools.set(c, pool);
    }
    return pool.path;
  }

  #makePool(c: number): ClassPool {
    const state: PoolState = { top: this.#m[HEAP_PT + c] as number, count: 0, publicFrees: 0 };
    return { class: c, state, path: this.#makePoolPath(c, state) };
  }

  #makePoolPath(c: number, state: PoolState): PoolPath {
    const slow: PoolSlowPath = {
      alloc: () => this.#poolAlloc(c, state),
      settle: () => this.settle(c),
      free: (p) => this.#poolFree(c, state, p),
    };
    if (this.#exclusive !== undefined) {
      const factory = this.#exclusive.big ? exclusiveBigPoolPath : exclusivePoolPath;
      return specialize(factory)(this.#exclusive, c, state, slow);
    }
    return specialize(sharedPoolPath)(this.#shared as SharedMemory, AREA, c, state, slow);
  }

  #poolAlloc(c: number, state: PoolState): number {
    this.assertOpen();
    const pool = this.#pools.get(c) as ClassPool;
    // A function of an older path that a program kept: the state it works on is poisoned.
    if (pool.state !== state) return pool.path.alloc();
    this.syncPools();
    this.#call2(this.#native.raw.heapPoolRefill, c, {
      block: 'block',
      unit: 'bytes',
      requested: this.#sizes[c],
    });
    this.#readPools();
    return pool.path.alloc();
  }

  #poolFree(c: number, state: PoolState, p: unknown): void {
    isNumber(p, 'p');
    const block = natural(p, 'p');
    this.assertOpen();
    const pool = this.#pools.get(c) as ClassPool;
    if (pool.state !== state) {
      pool.path.free(block);
      return;
    }
    this.#call2(this.#native.raw.heapLookup, block, blockAt(block));
    const { ctl } = this.#native;
    if (ctl[1] !== block) throw notLive(block);
    if (ctl[3] !== c) throw mismatch(block, ctl[2] as number, this.#sizes[c] as number);
    // Another thread's block would not go on the stack.
    if (
      this.#m[state.top] === 0 &&
      (this.#exclusive !== undefined || this.#ownClass(block) === c)
    ) {
      this.syncPools();
      this.#call2(this.#native.raw.heapPoolFlush, c, { block: 'block', unit: 'bytes' });
      this.#readPools();
      pool.path.free(block);
      return;
    }
    this.path.free(block);
  }

  /** Writes what pools keep in fields into the thread area. */
  syncPools(): void {
    const m = this.#m;
    for (const { class: c, state } of this.#pools.values()) {
      // For `peakUsed`: the stack never held less, for no more was popped.
      const low = Math.max(0, Math.min(state.top, (m[HEAP_PT + c] as number) - state.count));
      m[HEAP_POOL_LOW + c] = Math.min(m[HEAP_POOL_LOW + c] as number, low);
      m[HEAP_PT + c] = state.top;
      this.#addAllocs(state.count);
      state.count = 0;
    }
  }

  /** Reads the tops of pools back, after a crossing that may have moved them. */
  #readPools(): void {
    for (const { class: c, state } of this.#pools.values()) {
      state.top = this.#m[HEAP_PT + c] as number;
    }
  }

  /** {@inheritDoc HeapEngine.pool} */
  pool(size: number, align: number): PoolPath {
    if (size <= AREA.smallMax && align <= GRANULE) return this.poolPath(this.classOf(size));
    const expected = this.usableOf(size, align);
    const alloc = (): number => {
      const p = this.alloc(size, align);
      const { usable } = this.lookup(p);
      if (usable !== expected) this.#standIns.set(p, { usable, expected });
      return p;
    };
    const free = (p: unknown): void => {
      const usable = this.usableSize(p);
      if (usable !== expected) {
        const standIn = this.#standIns.get(p as number);
        if (standIn?.usable !== usable || standIn.expected !== expected) {
          throw mismatch(p as number, usable, expected);
        }
        this.#standIns.delete(p as number);
      }
      this.path.free(p as number);
    };
    return { alloc, free };
  }

  /** What a block may be used for that was asked for by size and alignment, unless memory is short. */
  usableOf(size: number, align: number): number {
    const fits = (bytes: number): boolean => bytes >= size && bytes % align === 0;
    const slot = align > PAGE ? undefined : this.#sizes.find(fits);
    return slot ?? Math.ceil(size / PAGE) * PAGE;
  }

  // ---------------------------------------------------------------- the whole heap

  /** {@inheritDoc HeapEngine.stats} */
  stats(name: string): HeapStats {
    this.assertOpen();
    this.syncPools();
    this.#call1(this.#native.raw.heapStats, { block: 'range', unit: 'bytes' });
    const figure = [...this.#native.ctl.subarray(0, 14)] as number[];
    const rows = this.#native.binding.heapClassStats(this.#h);
    if (rows === null) throw this.#refuse({ block: 'range', unit: 'bytes' });
    const classes = [];
    for (let i = 0; i < rows.length; i += 4) {
      const [size, blocks, slabs, cached] = rows.subarray(i, i + 4) as unknown as number[];
      classes.push({ size, blocks, slabs, cached } as HeapClassStats);
    }
    return {
      name,
      size: figure[1] as number,
      committed: figure[2] as number,
      used: figure[3] as number,
      peakUsed: figure[4] as number,
      blocks: figure[5] as number,
      cached: figure[6] as number,
      largestFree: figure[7] as number,
      threads: figure[8] as number,
      shared: figure[9] === 1,
      allocs: figure[10] as number,
      frees: figure[11] as number,
      crossings: figure[12] as number,
      failures: figure[13] as number,
      classes,
    };
  }

  /** Verifies all invariants; returns the number of live blocks. */
  check(): number {
    this.assertOpen();
    this.syncPools();
    this.#call1(this.#native.raw.heapCheck, { block: 'range', unit: 'bytes' });
    return this.#native.ctl[1] as number;
  }

  /** Gives back what is cached and empty; returns bytes decommitted. */
  trim(): number {
    this.assertOpen();
    this.syncPools();
    this.#call1(this.#native.raw.heapTrim, { block: 'range', unit: 'bytes' });
    this.#readPools();
    return this.#native.ctl[1] as number;
  }

  /** Live blocks, ascending: pairs of address and usable bytes. */
  live(): Float64Array {
    this.assertOpen();
    this.syncPools();
    const pairs = this.#native.binding.heapLive(this.#h);
    if (pairs === null) {
      throw this.#refuse({
        block: 'range',
        unit: 'bytes',
        taken: 'no memory for a list of all blocks',
      });
    }
    return pairs;
  }

  /** {@inheritDoc HeapEngine.walk} */
  walk(visit: (p: number, usable: number) => void): void {
    const pairs = this.live();
    for (let i = 0; i < pairs.length; i += 2) visit(pairs[i] as number, pairs[i + 1] as number);
  }

  /** {@inheritDoc HeapEngine.leaks} */
  leaks(): never {
    this.assertOpen();
    throw failure('ERR_UNSUPPORTED', 'leaks() needs a heap made with debug: true');
  }

  /** Makes an exclusive heap ready for other threads. Idempotent. */
  share(): void {
    this.assertOpen();
    if (this.#exclusive === undefined) return;
    this.syncPools();
    this.#call1(this.#native.raw.heapShare, { block: 'range', unit: 'bytes' });
    for (const pool of this.#pools.values()) pool.state.top = HEAP_POISON;
    this.#exclusive = undefined;
    this.#shared = this.#memory.sharedMode();
    this.#m = this.#shared.t;
    this.#doubles = new Float64Array(this.#m.buffer, this.#m.byteOffset, HEAP_CLASSES_MAX);
    this.#alive = (this.#m[0] as number) || -1;
    this.path = specialize(sharedPath)(this.#shared, AREA, this);
    for (const c of this.#pools.keys()) this.#pools.set(c, this.#makePool(c));
    this.#install();
  }

  /** This thread lets go, or ends the heap for all. Idempotent. */
  close(how: 'close' | 'destroy'): void {
    if (!this.#open) return;
    if (this.#m[0] === this.#alive) this.syncPools();
    this.#open = false;
    for (const { state } of this.#pools.values()) state.top = HEAP_POISON;
    if (how === 'close') this.#owner.close();
    else this.#owner.destroy();
  }

  // ---------------------------------------------------------------- crossings

  #call1(raw: () => void, call: Call): void {
    this.#native.ctl[0] = this.#h;
    raw();
    if (this.#native.ctl[0] !== 0) throw this.#refuse(call);
  }

  #call2(raw: () => void, operand: number, call: Call): void {
    this.#native.ctl[1] = operand;
    this.#call1(raw, call);
  }

  #call3(raw: () => void, first: number, second: number, call: Call): void {
    this.#native.ctl[2] = second;
    this.#call2(raw, first, call);
  }

  #refuse(call: Call): Error {
    const error = refusal(this.#native, call);
    if (error.code === 'ERR_NO_MEMORY') {
      this.#readPools();
      const { requested, largestFree } = error;
      if (channels.oom.hasSubscribers) {
        channels.oom.publish({ name: this.#name, requested, largestFree });
      }
    }
    return error;
  }
}

/** A call about the block at `p`. */
function blockAt(p: number): Call {
  return { block: 'block', unit: 'bytes', pos: p };
}

/** `ERR_NOT_ALLOCATED` for an address. */
export function notLive(p: number): Error {
  return failure(
    'ERR_NOT_ALLOCATED',
    `block ${hex(p)} is not live: it was freed before, or never handed out`,
  );
}

/** `ERR_SIZE_MISMATCH` for a block that is of another pool. */
export function mismatch(p: number, usable: number, expected: number): Error {
  return failure(
    'ERR_SIZE_MISMATCH',
    `block ${hex(p)} is of ${usable} bytes, this pool has blocks of ${expected}`,
  );
}

/** Bytes of a block by class number, from the table that the hot path reads. */
function classSizes(m: Int32Array): number[] {
  const sizes: number[] = [];
  for (let granules = 1; granules * GRANULE <= AREA.smallMax; granules += 1) {
    sizes[m[AREA.s2c + granules] as number] = granules * GRANULE;
  }
  return sizes;
}
