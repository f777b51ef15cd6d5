/**
 * @file `Heap`: memory outside the V8 heap, a number for a block, shared by all worker threads.
 *
 * The class is the public face. It checks what its own methods add (views, copies, batches) and has an
 * engine do the rest: {@link HeapCore}, or `DebugEngine` where `debug` was asked for. `alloc` and `free`
 * of a heap are own properties, the functions of the hot path themselves; the methods of the class,
 * which a subclass may override, lead to the same ones.
 *
 * Invariants:
 * 1. One object per heap and thread: `attach` answers the one that is open already.
 * 2. After `close` no buffer of this thread shows memory of the heap.
 * 3. Nothing here keeps a heap alive: one that is dropped is collected, and its memory returned.
 *
 * Not here: the hot path (`magazine.ts`), its other cases (`heap-core.ts`), debugging (`debug.ts`).
 */
import * as workerThreads from 'node:worker_threads';
import { inspect } from 'node:util';
import type { InspectOptions } from 'node:util';
import { RangeBuffers, sharedMemory } from './buffers.ts';
import { channels } from './channels.ts';
import { DebugEngine } from './debug.ts';
import { failure, hex, invalidType } from './errors.ts';
import { HeapCore, judgeRequest } from './heap-core.ts';
import type { Block } from './heap-core.ts';
import type { HeapEngine, HeapStats, Leak } from './heap-engine.ts';
import { heapSettings } from './heap-options.ts';
import type { HeapOptions, HeapSettings } from './heap-options.ts';
import { native, refusal } from './native.ts';
import type { NativeHeap, NativeMemory } from './native.ts';
import {
  isFunction,
  isNumber,
  isNumberOrLeftOut,
  natural,
  positive,
  positionsOf,
  totalOf,
} from './options.ts';
import { HeapPool, link } from './pool.ts';
import type { Pool } from './pool.ts';

/** Names a heap to another thread: plain and cloneable; send it, then `Heap.attach` it there. */
export interface HeapHandle {
  /** Always `'heap'`. */
  readonly heapwright: 'heap';
  readonly id: number;
  readonly generation: number;
}

/** What travels in a handle beside its public fields: the settings, and the fallback's buffers. */
interface FullHandle extends HeapHandle {
  readonly name: string;
  readonly debug?: HeapSettings['debug'];
  readonly buffers?: { readonly data: SharedArrayBuffer; readonly metadata: SharedArrayBuffer };
}

/** An attachment that `Heap.attach` made and hands to the constructor. */
interface Attachment {
  readonly owner: NativeHeap;
  readonly handle: FullHandle;
}

/** Flags of the native constructor. */
const HUGE_PAGES = 1;
const POPULATE = 2;

/**
 * The heaps that this thread has open, by id, and some that were collected. (No `FinalizationRegistry` tells of
 * those: Node 20 aborts the process where one has something to clean up while a worker is being terminated.)
 */
const openHere = new Map<number, WeakRef<Heap>>();

/** At how many entries those of collected heaps are looked for next. */
let sweepAt = 32;

/** Enters a heap that was opened; forgets collected ones, in constant time for each that ever came. */
function enterHere(id: number, heap: Heap): void {
  openHere.set(id, new WeakRef(heap));
  if (openHere.size < sweepAt) return;
  for (const [other, reference] of openHere) {
    if (reference.deref() === undefined) openHere.delete(other);
  }
  sweepAt = 2 * openHere.size + 32;
}

/** Set by `Heap.attach` for the constructor that it calls. */
let attachment: Attachment | undefined;

/** Set by `inspect/publish.ts`; what `publish()` does. */
let publisher: ((heap: Heap) => () => void) | undefined;

/** Tells this module how heaps are published. @internal */
export function setHeapPublisher(publish: (heap: Heap) => () => void): void {
  publisher = publish;
}

/** The pools that a heap has handed out, for those who record it. @internal */
export let poolsOf: (heap: Heap) => Pool[];

type ViewConstructor<View> = {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): View;
  readonly BYTES_PER_ELEMENT: number;
};

/** What a heap keeps to itself. */
interface Inside {
  readonly owner: NativeHeap;
  readonly engine: HeapEngine;
  readonly buffers: RangeBuffers;
  readonly sharedBuffers: FullHandle['buffers'];
  readonly settings: HeapSettings;
}

/**
 * A general-purpose heap outside V8's: `alloc` answers a number, views cover all of it, and a free that
 * is wrong throws.
 *
 * @example
 * ```ts
 * const heap = new Heap({ size: MiB(64) }); // Reserved now, committed as it is touched.
 * const p = heap.alloc(64); // A number, never 0.
 * heap.u32[p >>> 2] = 0xdead_beef; // Native memory: no copy, nothing for the GC.
 * heap.free(p); // A second free would throw ERR_NOT_ALLOCATED.
 * heap.close();
 * ```
 */
export class Heap implements Disposable {
  readonly #inside: Inside;
  readonly #pools = new Map<string, { pool: HeapPool; size: number; align: number }>();
  #closed = false;
  #handle: FullHandle | undefined;
  #u8: Uint8Array | undefined;
  #i8: Int8Array | undefined;
  #u16: Uint16Array | undefined;
  #i16: Int16Array | undefined;
  #u32: Uint32Array | undefined;
  #i32: Int32Array | undefined;
  #f32: Float32Array | undefined;
  #f64: Float64Array | undefined;
  #u64: BigUint64Array | undefined;
  #i64: BigInt64Array | undefined;
  static {
    poolsOf = (heap) => [...heap.#pools.values()].map(({ pool }) => pool);
    // What `console.log` shows: the settings, nothing native.
    Object.defineProperty(this.prototype, inspect.custom, {
      configurable: true,
      writable: true,
      value(this: Heap, _depth: number, options: InspectOptions): string {
        if (!(#inside in this)) return Object.prototype.toString.call(this);
        const { settings, owner } = this.#inside;
        const { name, size } = settings;
        const shown = this.closed
          ? { name, size, closed: true }
          : { name, size, id: owner.id, shared: this.#handle !== undefined };
        return `Heap ${inspect(shown, options)}`;
      },
    });
  }

  /** The hot path that is installed as own properties. */
  #installed: HeapEngine['path'] | undefined;

  /**
   * Reserves a heap.
   *
   * @param options - `size` in bytes, from 1 MiB to 64 GiB.
   * @throws AllocError `ERR_INVALID_PARAM`, `ERR_CAPACITY`, `ERR_NO_MEMORY` (address space, or with
   * `populate` the memory itself), `ERR_NO_BINDING`.
   */
  constructor(options: HeapOptions) {
    const attached = attachment;
    attachment = undefined;
    this.#inside =
      attached === undefined
        ? create(heapSettings(options), () => this.#install())
        : join(attached, () => this.#install());
    this.#install();
    enterHere(this.#inside.owner.id, this);
    markAsUncloneable(this);
    if (channels.open.hasSubscribers) {
      const { name } = this.#inside.settings;
      channels.open.publish({ name, size: this.size, shared: attached !== undefined });
    }
    if (attached === undefined && process.env['HEAPWRIGHT_PUBLISH'] === '1') this.publish();
  }

  /**
   * The heap that a handle names, on this thread.
   *
   * @returns Where this thread has the heap open already: that very object.
   * @throws AllocError `ERR_INVALID_PARAM` for a handle that was never issued, `ERR_CLOSED` for a heap
   * that is gone, `ERR_CAPACITY` where `maxThreads` have it open.
   */
  static attach(handle: HeapHandle): Heap {
    const full = readHandle(handle);
    const here = openHere.get(full.id)?.deref();
    if (here !== undefined && !here.#closed && here.#inside.owner.generation === full.generation) {
      here.#inside.engine.assertOpen();
      return here;
    }
    const { binding, ctl } = native();
    const owner = binding.heapAttach(full.id, full.generation);
    if (ctl[0] !== 0 || owner === null) throw attachRefusal();
    attachment = { owner, handle: full };
    try {
      return new Heap(undefined as never);
    } catch (error) {
      // Not to be waited for until the collector comes: it takes one of the heap's slots.
      owner.close();
      throw error;
    }
  }

  /** Names this heap to other threads. Reading it first switches this thread to its shared hot path. */
  get handle(): HeapHandle {
    const { engine, owner, settings, sharedBuffers } = this.#inside;
    this.#assertOpen();
    if (this.#handle === undefined) {
      engine.share();
      this.#handle = Object.freeze({
        heapwright: 'heap',
        id: owner.id,
        generation: owner.generation,
        name: settings.name,
        ...(settings.debug === undefined ? {} : { debug: settings.debug }),
        ...(sharedBuffers === undefined ? {} : { buffers: sharedBuffers }),
      });
    }
    return this.#handle;
  }

  /** Bytes reserved: what was asked for, rounded up to 64 KiB. */
  get size(): number {
    return this.#inside.settings.size;
  }

  /** Whether this thread has let go, or the heap was destroyed. */
  get closed(): boolean {
    return this.#closed || !this.#inside.engine.open;
  }

  // ---------------------------------------------------------------- whole-heap views

  /** All bytes; index `p`. Above what the runtime maps as one buffer: `ERR_UNSUPPORTED`, use `view`. */
  get u8(): Uint8Array {
    const v = this.#u8;
    return v !== undefined && v.length !== 0 ? v : (this.#u8 = this.#whole(Uint8Array));
  }

  /** All bytes, signed; index `p`. */
  get i8(): Int8Array {
    const v = this.#i8;
    return v !== undefined && v.length !== 0 ? v : (this.#i8 = this.#whole(Int8Array));
  }

  /** Index `p / 2`. */
  get u16(): Uint16Array {
    const v = this.#u16;
    return v !== undefined && v.length !== 0 ? v : (this.#u16 = this.#whole(Uint16Array));
  }

  /** Index `p / 2`. */
  get i16(): Int16Array {
    const v = this.#i16;
    return v !== undefined && v.length !== 0 ? v : (this.#i16 = this.#whole(Int16Array));
  }

  /** Index `p / 4`; `p >>> 2` is as good in heaps up to 4 GiB, and wrong above. */
  get u32(): Uint32Array {
    const v = this.#u32;
    return v !== undefined && v.length !== 0 ? v : (this.#u32 = this.#whole(Uint32Array));
  }

  /** Index `p / 4`. */
  get i32(): Int32Array {
    const v = this.#i32;
    return v !== undefined && v.length !== 0 ? v : (this.#i32 = this.#whole(Int32Array));
  }

  /** Index `p / 4`. */
  get f32(): Float32Array {
    const v = this.#f32;
    return v !== undefined && v.length !== 0 ? v : (this.#f32 = this.#whole(Float32Array));
  }

  /** Index `p / 8`. */
  get f64(): Float64Array {
    const v = this.#f64;
    return v !== undefined && v.length !== 0 ? v : (this.#f64 = this.#whole(Float64Array));
  }

  /** Index `p / 8`. */
  get u64(): BigUint64Array {
    const v = this.#u64;
    return v !== undefined && v.length !== 0 ? v : (this.#u64 = this.#whole(BigUint64Array));
  }

  /** Index `p / 8`. */
  get i64(): BigInt64Array {
    const v = this.#i64;
    return v !== undefined && v.length !== 0 ? v : (this.#i64 = this.#whole(BigInt64Array));
  }

  #whole<View>(constructor: ViewConstructor<View>): View {
    this.#assertOpen();
    const bytes = this.#inside.buffers.whole();
    if (bytes === undefined) {
      throw failure(
        'ERR_UNSUPPORTED',
        `this runtime cannot map ${this.size} bytes as one buffer; use view(p, length)`,
      );
    }
    return new constructor(bytes, 0, this.size / constructor.BYTES_PER_ELEMENT);
  }

  // ---------------------------------------------------------------- blocks

  /**
   * Allocates `size` bytes of uninitialized native memory.
   *
   * @param size - In bytes, from 1.
   * @param align - A power of two up to 2 MiB; blocks are 16-byte aligned by themselves.
   * @returns The address of the block in this heap: a number, never 0.
   * @throws AllocError `ERR_NO_MEMORY`, with `requested` and `largestFree`.
   * @remarks Constant time. Rust is called only when this thread's magazine is empty.
   */
  alloc(size: number, align?: number): number {
    return this.#inside.engine.path.alloc(size, align);
  }

  /**
   * Allocates `size` bytes that are 0.
   *
   * @throws As {@link Heap.alloc}.
   */
  allocZeroed(size: number, align?: number): number {
    const [bytes, multiple] = judgeRequest(size, align);
    this.#assertOpen();
    return this.#inside.engine.allocZeroed(bytes, multiple);
  }

  /**
   * Frees a block.
   *
   * @param p - The start of a live block of this heap.
   * @throws AllocError `ERR_NOT_ALLOCATED` for any other address; nothing has changed then.
   * @remarks Constant time; on any thread that has the heap open.
   */
  free(p: number): void {
    this.#inside.engine.path.free(p);
  }

  /**
   * Like C's: keeps the contents up to the smaller size; in place where possible.
   *
   * @returns The address, 16-byte aligned; where it is another one, the old block is dead.
   * @throws AllocError `ERR_NO_MEMORY`, `ERR_NOT_ALLOCATED`; the old block is untouched then.
   */
  realloc(p: number, newSize: number): number {
    isNumber(p, 'p');
    isNumber(newSize, 'newSize');
    const block = natural(p, 'p');
    const size = positive(newSize, 'newSize');
    this.#assertOpen();
    return this.#inside.engine.realloc(block, size);
  }

  /**
   * Allocates `count` blocks of `size` bytes, all or none.
   *
   * @throws AllocError `ERR_NO_MEMORY`; none was allocated then.
   */
  allocMany(size: number, count: number): Float64Array {
    isNumber(size, 'size');
    isNumber(count, 'count');
    positive(size, 'size');
    positive(count, 'count');
    totalOf(size, count);
    this.#assertOpen();
    return this.#inside.engine.allocMany(size, count);
  }

  /**
   * Frees many blocks, all or none: every address is checked, and must occur once, before any is freed.
   *
   * @throws AllocError `ERR_NOT_ALLOCATED`.
   */
  freeMany(ps: ArrayLike<number>): void {
    const positions = positionsOf(ps, 'ps');
    this.#assertOpen();
    if (positions.length > 0) this.#inside.engine.freeMany(positions);
  }

  /** Whether a live block starts at `p`; false for every number that is none. */
  isLive(p: number): boolean {
    return this.#inside.engine.isLive(p);
  }

  /** Bytes that may be used of the block at `p`: at least what was asked for. */
  usableSize(p: number): number {
    return this.#inside.engine.usableSize(p);
  }

  /**
   * Zero-copy bytes of a live block, from any address inside it.
   *
   * @param length - From 0; by default the rest of the block.
   * @throws AllocError `ERR_NOT_ALLOCATED`; `ERR_INVALID_PARAM` beyond the end of the block.
   */
  view(p: number, length?: number): Uint8Array {
    const span = this.#span(p, length);
    return this.#inside.buffers.view(span.start, span.usable);
  }

  /** As {@link Heap.view}, as a Buffer. */
  buffer(p: number, length?: number): Buffer {
    const bytes = this.view(p, length);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /**
   * Copies bytes between live blocks, or within one; overlap-safe.
   *
   * @param to - Any address inside a live block; so is `from`.
   */
  copy(to: number, from: number, length: number): void {
    isNumber(to, 'to');
    isNumber(from, 'from');
    isNumber(length, 'length');
    natural(to, 'to');
    natural(from, 'from');
    natural(length, 'length');
    this.#assertOpen();
    this.#within(to, length);
    this.#within(from, length);
    if (length > 0) copyBytes(this.#inside.buffers, to, from, length);
  }

  /**
   * Fills part of a live block with one byte.
   *
   * @param value - From 0 to 255.
   */
  fill(p: number, value: number, length?: number): void {
    isNumber(p, 'p');
    isNumber(value, 'value');
    isNumberOrLeftOut(length, 'length');
    natural(p, 'p');
    if (!Number.isInteger(value) || value < 0 || value > 255) {
      throw failure('ERR_INVALID_PARAM', `value must be an integer from 0 to 255, got ${value}`);
    }
    this.view(p, length).fill(value);
  }

  /** Judges `p` and `length`; the span from `p`, as start and length. */
  #span(p: number, length: number | undefined): Block {
    isNumber(p, 'p');
    isNumberOrLeftOut(length, 'length');
    natural(p, 'p');
    if (length !== undefined) natural(length, 'length');
    this.#assertOpen();
    return { start: p, usable: this.#within(p, length) };
  }

  /** The length of a span from `p` that ends within its live block. */
  #within(p: number, length: number | undefined): number {
    const { start, usable } = this.#inside.engine.lookup(p);
    const rest = start + usable - p;
    if (length !== undefined && length > rest) {
      throw failure(
        'ERR_INVALID_PARAM',
        `length must be at most ${rest}, the rest of the block at ${hex(start)}, got ${length}`,
      );
    }
    return length ?? rest;
  }

  /**
   * Blocks of one size: the fastest path there is.
   *
   * @returns The same object for the same size and alignment.
   */
  pool(size: number, align?: number): Pool {
    const [bytes, multiple] = judgeRequest(size, align);
    this.#assertOpen();
    const key = `${bytes}/${multiple}`;
    const known = this.#pools.get(key);
    if (known !== undefined) return known.pool;
    const pool = new HeapPool(bytes, this.#inside.engine.pool(bytes, multiple));
    this.#pools.set(key, { pool, size: bytes, align: multiple });
    return pool;
  }

  // ---------------------------------------------------------------- the whole heap

  /** Figures of this moment; exact at rest, while no other thread is inside the heap. */
  stats(): HeapStats {
    this.#assertOpen();
    return this.#inside.engine.stats(this.#inside.settings.name);
  }

  /**
   * Verifies all invariants, and under `debug` red zones and poison.
   *
   * @returns The number of live blocks.
   * @throws AllocError `ERR_INTERNAL`; `ERR_CORRUPTED` for damage that the program did.
   */
  check(): number {
    this.#assertOpen();
    return this.#inside.engine.check();
  }

  /** Calls `visit` for every live block, ascending; it may free, but should not allocate. */
  walk(visit: (p: number, usable: number) => void): void {
    isFunction(visit, 'visit');
    this.#assertOpen();
    this.#inside.engine.walk(visit);
  }

  /**
   * Gives this thread's cached blocks back, and empty pages to the system; returns bytes decommitted.
   *
   * @remarks Without it a heap stays within a sixteenth above the most that it ever had allocated (`docs/heap.md`).
   */
  trim(): number {
    this.#assertOpen();
    return this.#inside.engine.trim();
  }

  /**
   * Live blocks by the place that allocated them, largest first.
   *
   * @throws AllocError `ERR_UNSUPPORTED` on a heap without `debug`.
   */
  leaks(): readonly Leak[] {
    this.#assertOpen();
    return this.#inside.engine.leaks();
  }

  /**
   * Shows this heap to `heapwright top` until the function returned is called, or the heap is closed.
   *
   * @throws AllocError `ERR_UNSUPPORTED` where the platform has no Unix sockets.
   */
  publish(): () => void {
    this.#assertOpen();
    if (publisher === undefined) {
      throw failure('ERR_UNSUPPORTED', 'publish() is not part of this build');
    }
    return publisher(this);
  }

  /**
   * This thread lets go: its views become length 0. Other threads go on; the memory goes when the last
   * of them has let go. Idempotent.
   *
   * @throws AllocError `ERR_CORRUPTED` from a debug heap that found damage; it is closed all the same.
   */
  close(): void {
    this.#end('close');
  }

  /** Ends the heap for every thread, now: views read zeros, calls throw `ERR_CLOSED`. Idempotent. */
  destroy(): void {
    this.#end('destroy');
  }

  /** `using heap = …`. */
  [Symbol.dispose](): void {
    this.close();
  }

  get [Symbol.toStringTag](): string {
    return 'Heap';
  }

  #end(how: 'close' | 'destroy'): void {
    if (this.#closed) return;
    this.#closed = true;
    const { engine, buffers, settings, owner } = this.#inside;
    this.#u8 = this.#i8 = this.#u16 = this.#i16 = this.#u32 = undefined;
    this.#i32 = this.#f32 = this.#f64 = this.#u64 = this.#i64 = undefined;
    if (openHere.get(owner.id)?.deref() === this) openHere.delete(owner.id);
    try {
      engine.close(how);
    } finally {
      buffers.detach();
      if (channels.close.hasSubscribers) channels.close.publish({ name: settings.name, how });
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw failure('ERR_CLOSED', 'the heap is closed');
    this.#inside.engine.assertOpen();
  }

  /** Makes the hot path of this moment the own `alloc` and `free`, unless a subclass has its own. */
  #install(): void {
    const { path } = this.#inside.engine;
    for (const name of ['alloc', 'free'] as const) {
      const now = this[name];
      if (now === Heap.prototype[name] || now === this.#installed?.[name]) {
        Object.defineProperty(this, name, {
          value: path[name],
          writable: true,
          configurable: true,
          enumerable: false,
        });
      }
    }
    this.#installed = path;
    for (const { pool, size, align } of this.#pools.values()) {
      link(pool, this.#inside.engine.pool(size, align));
    }
  }
}

/** Reserves a heap and opens it on this thread. */
function create(settings: HeapSettings, install: () => void): Inside {
  const { binding, ctl } = native();
  const flags = (settings.hugePages ? HUGE_PAGES : 0) + (settings.populate ? POPULATE : 0);
  const owner = new binding.NativeHeap(settings.size, settings.maxThreads, flags);
  if (ctl[0] !== 0) {
    throw refusal(native(), { block: 'range', unit: 'bytes', requested: settings.size });
  }
  let sharedBuffers: FullHandle['buffers'];
  if (binding.backend() === 'shared') {
    const data = sharedMemory(settings.size);
    // The runtime's memory is zero, and not there until it is written to.
    if (settings.populate) new Uint8Array(data).fill(0);
    const metadata = sharedMemory(owner.metaSize);
    owner.provide(new Uint8Array(data), new Uint8Array(metadata));
    if (ctl[0] !== 0) throw refusal(native(), { block: 'range', unit: 'bytes' });
    sharedBuffers = { data, metadata };
  }
  return inside(owner, settings, 'exclusive', sharedBuffers, install);
}

/** Opens an attachment on this thread. */
function join({ owner, handle }: Attachment, install: () => void): Inside {
  const settings: HeapSettings = {
    size: owner.size,
    name: handle.name,
    debug: handle.debug,
    hugePages: false,
    populate: false,
    maxThreads: 1,
  };
  const { binding, ctl } = native();
  if (handle.buffers !== undefined) {
    // The same memory as the creator's (Rust compares, then attaches): kept until this thread lets go, also by
    // the garbage collector, which may free a buffer before the finalizer that lets go has run.
    const { data, metadata } = handle.buffers;
    owner.provide(new Uint8Array(data), new Uint8Array(metadata));
    if (ctl[0] !== 0) throw attachRefusal();
  } else if (binding.backend() === 'shared') {
    throw failure('ERR_INVALID_PARAM', 'handle lacks the memory of its heap: send it as it is');
  }
  return inside(owner, settings, 'shared', handle.buffers, install);
}

function inside(
  owner: NativeHeap,
  settings: HeapSettings,
  mode: 'exclusive' | 'shared',
  sharedBuffers: FullHandle['buffers'],
  install: () => void,
): Inside {
  const memory = { wrap: (_range, offset, length) => owner.data(offset, length) } as NativeMemory;
  const buffers = new RangeBuffers(memory, 0, settings.size, sharedBuffers?.data);
  const core = new HeapCore(owner, settings.name, mode, sharedBuffers?.metadata, buffers, install);
  const engine =
    settings.debug === undefined
      ? core
      : new DebugEngine(core, buffers, settings.name, settings.debug);
  return { owner, engine, buffers, sharedBuffers, settings };
}

/** Reads a handle that a program passed: own properties, each once. */
function readHandle(value: unknown): FullHandle {
  if (typeof value !== 'object' || value === null) {
    throw invalidType('handle', 'the handle of a heap', value);
  }
  const { heapwright, id, generation, name, debug, buffers } = value as Partial<FullHandle>;
  isNumber(id, 'handle.id');
  isNumber(generation, 'handle.generation');
  if (heapwright !== 'heap') {
    throw failure('ERR_INVALID_PARAM', 'handle was not issued by a heap');
  }
  natural(id, 'handle.id');
  natural(generation, 'handle.generation');
  return {
    heapwright,
    id,
    generation,
    name: typeof name === 'string' ? name : `heap-${id}`,
    // What a forged handle says of debugging only changes what its own thread sees.
    debug: isDebugSettings(debug) ? debug : undefined,
    ...(isBuffers(buffers) ? { buffers } : {}),
  };
}

function isDebugSettings(value: unknown): value is HeapSettings['debug'] {
  const d = value as HeapSettings['debug'];
  return (
    typeof d === 'object' &&
    d !== null &&
    Number.isSafeInteger(d.redZone) &&
    Number.isSafeInteger(d.quarantineBytes) &&
    typeof d.stacks === 'boolean'
  );
}

function isBuffers(value: unknown): value is NonNullable<FullHandle['buffers']> {
  const b = value as NonNullable<FullHandle['buffers']>;
  return (
    typeof b === 'object' &&
    b !== null &&
    b.data instanceof SharedArrayBuffer &&
    b.metadata instanceof SharedArrayBuffer
  );
}

function attachRefusal(): Error {
  const { ctl } = native();
  const limit = ctl[1] as number;
  const error = refusal(native(), { block: 'range', unit: 'bytes' });
  switch (error.code) {
    case 'ERR_INVALID_PARAM':
      return failure(error.code, 'handle was not issued by a heap of this process');
    case 'ERR_CLOSED':
      return failure(error.code, 'the heap that this handle names is closed');
    case 'ERR_CAPACITY':
      return failure(error.code, `at most ${limit} threads (maxThreads) may have this heap open`);
    default:
      return error;
  }
}

/** Copies through windows, where the runtime has no single buffer over all of the heap. */
function copyBytes(buffers: RangeBuffers, to: number, from: number, length: number): void {
  const low = Math.min(to, from);
  const span = Math.max(to, from) + length - low;
  if (Math.abs(to - from) < length) {
    // One window for both, since only within one buffer is a copy sure to mind the overlap.
    buffers.view(low, span).copyWithin(to - low, from - low, from - low + length);
  } else {
    buffers.view(to, length).set(buffers.view(from, length));
  }
}

/** Cloning a heap would give `{}` without a word; where the runtime can refuse, it does. */
function markAsUncloneable(heap: Heap): void {
  const { markAsUncloneable: mark } = workerThreads as { markAsUncloneable?: (o: object) => void };
  mark?.(heap);
}
