/**
 * @file Records what a program does to a byte allocator or a Heap, as a trace.
 *
 * While a recording runs, the allocator *object* has methods of its own that call the real ones and
 * write the event down; `stop` takes them away again, in the reverse order, so that V8 gives the object
 * its old shape back. Nobody pays anything before or after, and no allocator knows that recorders exist.
 *
 * An event is two 32-bit words in a list of chunks; ids come from {@link BlockIds}. The trace is made from
 * that at the end. Measured cost: `docs/trace.md`.
 *
 * What is written down: calls of this thread that succeeded, batches as single events, pools and CPUs
 * of the target too. Blocks that lived before are unknown: their free is left out, their realloc is
 * a birth. An address that comes back with no free seen (another thread freed it) gets one.
 *
 * Not here: the format (`format.ts`).
 */
import { failure, invalidType } from '../errors.ts';
import { Heap, poolsOf } from '../heap.ts';
import { BlockIds } from './block-ids.ts';
import { OP, readTrace, TraceEncoder } from './format.ts';
import type { Trace } from './format.ts';
import { isByteAllocatorLike, isHeapLike } from './target.ts';
import type { TraceTarget } from './target.ts';

/** A recording that runs. */
export interface Recording {
  /** Ends the recording; the same trace again if it has ended. */
  stop(): Trace;
  /** What has been recorded so far, as HWT1 (not gzipped). */
  bytes(): Uint8Array;
}

/** Words of a chunk of the log; a chunk is never moved, so that a long recording never pauses to copy. */
const CHUNK_WORDS = 2 ** 17;
/** Three bits of the first word are the operation. Later births are not recorded. */
const IDS_MAX = 2 ** 29;
/** Stands for a size that a word does not hold; the size itself is in a list. */
const SIZE_ELSEWHERE = 0xffff_ffff;

/** The events so far, in memory made for appending. */
class EventLog {
  readonly #blocks: BlockIds;
  readonly #full: Uint32Array[] = [];
  #words: Uint32Array = new Uint32Array(CHUNK_WORDS);
  #length = 0;
  #ids = 0;
  readonly #largeSizes: number[] = [];
  readonly #aligns: number[] = [];

  constructor(origin: number, shift: number) {
    this.#blocks = new BlockIds(origin, shift);
  }

  /** A block of `size` bytes is born at `pos`; `op` is a plain or a zeroed alloc. */
  born(pos: number, size: number, op: number): void {
    const id = this.#ids;
    if (id >= IDS_MAX) return;
    const before = this.#blocks.put(pos, id);
    if (before >= 0) this.#append(before * 8 + OP.free, 0);
    this.#ids = id + 1;
    this.#append(id * 8 + op, size);
  }

  bornAligned(pos: number, size: number, align: number): void {
    if (this.#ids < IDS_MAX) this.#aligns.push(align);
    this.born(pos, size, OP.allocAligned);
  }

  died(pos: number): void {
    const id = this.#blocks.put(pos, -1);
    if (id >= 0) this.#append(id * 8 + OP.free, 0);
  }

  moved(from: number, to: number, size: number): void {
    const id = this.#blocks.put(from, -1);
    if (id < 0) {
      this.born(to, size, OP.alloc);
      return;
    }
    const before = this.#blocks.put(to, id);
    if (before >= 0) this.#append(before * 8 + OP.free, 0);
    this.#append(id * 8 + OP.realloc, size);
  }

  encode(): Uint8Array {
    const encoder = new TraceEncoder();
    let large = 0;
    let aligned = 0;
    const chunks = [...this.#full, this.#words.subarray(0, this.#length)];
    for (const words of chunks) {
      for (let i = 0; i < words.length; i += 2) {
        const head = words[i] as number;
        const word = words[i + 1] as number;
        const id = head >>> 3;
        const op = head & 7;
        if (op === OP.free) {
          encoder.free(id);
          continue;
        }
        const size = word === SIZE_ELSEWHERE ? (this.#largeSizes[large++] as number) : word;
        if (op === OP.alloc) encoder.alloc(id, size);
        else if (op === OP.realloc) encoder.realloc(id, size);
        else if (op === OP.allocZeroed) encoder.allocZeroed(id, size);
        else encoder.allocAligned(id, size, this.#aligns[aligned++] as number);
      }
    }
    return encoder.finish();
  }

  #append(head: number, size: number): void {
    let at = this.#length;
    if (at === CHUNK_WORDS) {
      this.#full.push(this.#words);
      this.#words = new Uint32Array(CHUNK_WORDS);
      at = 0;
    }
    this.#words[at] = head;
    this.#length = at + 2;
    if (size < SIZE_ELSEWHERE) {
      this.#words[at + 1] = size;
      return;
    }
    this.#words[at + 1] = SIZE_ELSEWHERE;
    this.#largeSizes.push(size);
  }
}

/** Any method of a target. */
type Method = (...args: never[]) => unknown;
type Methods = Record<string, Method>;

/** The methods of one object that stand before its own while a recording runs. */
interface Override {
  readonly owner: Methods;
  /** Makes the methods from those that are there at that moment. */
  readonly make: () => Methods;
  /** What was there, in order; undefined where it was the class's. */
  before: [name: string, own: Method | undefined][];
}

/**
 * One recording: which objects are overridden, and the log.
 *
 * Overridden methods may call each other inside the target (a realloc that allocates); then only the
 * outermost call is written down.
 */
class Recorder implements Recording {
  readonly #log: EventLog;
  readonly #overrides: Override[] = [];
  readonly #target: object;
  readonly #ends: (() => void)[] = [];
  #inside = false;
  #trace: Trace | undefined;

  constructor(target: object, log: EventLog) {
    this.#target = target;
    this.#log = log;
  }

  stop(): Trace {
    if (this.#trace === undefined) {
      for (const end of this.#ends.toReversed()) end();
      for (const override of this.#overrides.toReversed()) takeOff(override);
      recorded.delete(this.#target);
      this.#trace = readTrace(this.#log.encode());
    }
    return this.#trace;
  }

  bytes(): Uint8Array {
    return this.#log.encode();
  }

  /** Gives `owner` methods of its own that stand before those it has. */
  override(owner: object, make: () => Methods): void {
    const override: Override = { owner: owner as Methods, make, before: [] };
    this.#overrides.push(override);
    putOn(override);
  }

  /**
   * Does `step` with the target as it was, then overrides what is there afterwards: for a Heap that
   * changes its own methods when it becomes shared.
   */
  aside<T>(step: () => T): T {
    for (const override of this.#overrides.toReversed()) takeOff(override);
    try {
      return step();
    } finally {
      for (const override of this.#overrides) putOn(override);
    }
  }

  /** Something else to put on now and to take off at the end. */
  onEnds(putOnNow: () => void, takeOffAtEnd: () => void): void {
    putOnNow();
    this.#ends.push(takeOffAtEnd);
  }

  /** Is `owner` recorded already? */
  has(owner: object): boolean {
    return this.#overrides.some((known) => known.owner === owner);
  }

  /** The methods that allocate and free single blocks, for `owner` (the target, a pool or a CPU). */
  singles(owner: Methods, freeName: string, poolSize?: number): Methods {
    const log = this.#log;
    const { alloc, allocZeroed, realloc, [freeName]: free } = owner as Record<string, Method>;
    const call = alloc as unknown as (this: object, size: number, align?: number) => number;
    const callFree = free as unknown as (
      this: object,
      pos: number,
      size?: number,
      align?: number,
    ) => void;
    // oxlint-disable-next-line typescript/no-this-alias -- the overrides are functions of the owner
    const self = this;
    const overrides: Record<string, unknown> = {
      alloc:
        poolSize === undefined
          ? (size: number, align?: number): number => {
              const pos = call.call(owner, size, align);
              if (self.#inside) return pos;
              if (align === undefined) log.born(pos, size, OP.alloc);
              else log.bornAligned(pos, size, align);
              return pos;
            }
          : (): number => {
              const pos = (call as unknown as (this: object) => number).call(owner);
              log.born(pos, poolSize, OP.alloc);
              return pos;
            },
      allocZeroed: (size: number, align?: number): number => {
        const pos = self.#within(() =>
          (allocZeroed as unknown as typeof call).call(owner, size, align),
        );
        // HWT1 has no event that is both; the alignment decides where a block goes, so it is kept.
        if (align === undefined) log.born(pos, size, OP.allocZeroed);
        else log.bornAligned(pos, size, align);
        return pos;
      },
      realloc: (pos: number, newSize: number): number => {
        const moved = self.#within(() =>
          (realloc as unknown as typeof call).call(owner, pos, newSize),
        );
        log.moved(pos, moved, newSize);
        return moved;
      },
      [freeName]: (pos: number, size?: number, align?: number): void => {
        callFree.call(owner, pos, size, align);
        if (!self.#inside) log.died(pos);
      },
    };
    return overrides as Methods;
  }

  /** Batches: `allocMany`, and `freeMany` or `deallocMany`. */
  batches(owner: Methods, freeManyName: string): Methods {
    const log = this.#log;
    const { allocMany, [freeManyName]: freeMany } = owner as Record<string, Method>;
    const callMany = allocMany as unknown as (this: object, ...args: unknown[]) => Float64Array;
    const callFree = freeMany as unknown as (this: object, positions: ArrayLike<number>) => void;
    const overrides: Record<string, unknown> = {
      allocMany: (size: number, count: number, align?: number): Float64Array => {
        const positions = this.#within(() => callMany.call(owner, size, count, align));
        for (const pos of positions) {
          if (align === undefined) log.born(pos, size, OP.alloc);
          else log.bornAligned(pos, size, align);
        }
        return positions;
      },
      [freeManyName]: (positions: ArrayLike<number>): void => {
        // Copied first: the array is the program's, and a getter in it might change what it says.
        const copy =
          ArrayBuffer.isView(positions) || Array.isArray(positions)
            ? Float64Array.from(positions)
            : positions;
        this.#within(() => callFree.call(owner, copy));
        for (let i = 0; i < copy.length; i++) log.died(copy[i] as number);
      },
    };
    return overrides as Methods;
  }

  /** Page runs of a two-level allocator, as blocks of so many bytes. */
  pages(owner: Methods, pageSize: number): Methods {
    const log = this.#log;
    const overrides: Record<string, unknown> = {};
    const bornBy = (name: string, hasBase: boolean): void => {
      const method = owner[name] as unknown as (this: object, ...args: number[]) => number;
      overrides[name] = (...args: number[]): number => {
        const pos = this.#within(() => method.apply(owner, args));
        const [count, align] = hasBase ? args.slice(1) : args;
        log.bornAligned(pos, (count ?? 1) * pageSize, align ?? pageSize);
        return pos;
      };
    };
    bornBy('allocPages', false);
    bornBy('allocPagesLowmem', false);
    bornBy('allocPagesAt', true);
    const { deallocPages } = owner as Record<string, Method>;
    overrides['deallocPages'] = (...args: never[]): void => {
      this.#within(() => (deallocPages as Method).apply(owner, args));
      log.died(args[0] as unknown as number);
    };
    return overrides as Methods;
  }

  /** A method that hands out objects that allocate: pools of a Heap, CPUs of a two-level allocator. */
  makers(owner: Methods, name: string, record: (made: Methods) => void): Methods {
    const method = owner[name] as unknown as (this: object, ...args: unknown[]) => Methods;
    const override = (...args: unknown[]): Methods => {
      const made = method.apply(owner, args);
      if (this.#trace === undefined && !this.has(made)) record(made);
      return made;
    };
    return { [name]: override as unknown as Method };
  }

  #within<T>(call: () => T): T {
    const outer = this.#inside;
    this.#inside = true;
    try {
      return call();
    } finally {
      this.#inside = outer;
    }
  }
}

function putOn(override: Override): void {
  const { owner, make } = override;
  const methods = make();
  const names = Object.keys(methods).filter((name) => typeof owner[name] === 'function');
  override.before = names.map((name) => [
    name,
    Object.hasOwn(owner, name) ? owner[name] : undefined,
  ]);
  for (const name of names) owner[name] = methods[name] as Method;
}

function takeOff({ owner, before }: Override): void {
  // V8 gives an object its old shape back only if what was added last is deleted first.
  for (const [name, own] of before.toReversed()) {
    if (own === undefined) delete owner[name];
    else owner[name] = own;
  }
}

const recorded = new WeakSet<object>();

/**
 * Records what is done to a byte allocator (two-level included) or a Heap until `stop()`.
 *
 * @throws {@link AllocError} `ERR_CLOSED` for a target that is closed, `ERR_INVALID_PARAM` for one that is
 * being recorded already. `TypeError` for anything else.
 * @remarks 10 to 30 ns per event while it runs; 8 bytes per event, and 4 bytes per granule of the span
 * that is touched. The pools and CPUs of the target are recorded with it.
 */
export function record(target: TraceTarget): Recording {
  const isHeap = typeof target === 'object' && target !== null && isHeapLike(target);
  if (!isHeap && !(typeof target === 'object' && target !== null && isByteAllocatorLike(target))) {
    throw invalidType('target', 'a byte allocator or a Heap', target);
  }
  if (recorded.has(target)) {
    throw failure(
      'ERR_INVALID_PARAM',
      'target is being recorded already: stop that recording first',
    );
  }
  const methods = target as unknown as Methods;
  (methods['stats'] as () => unknown).call(target);
  const recorder = isHeap ? recordHeap(methods) : recordBytes(methods);
  recorded.add(target);
  return { stop: () => recorder.stop(), bytes: () => recorder.bytes() };
}

const HEAP_GRANULE_BITS = 4;
const BYTE_GRANULE_BITS = 3;

function recordHeap(heap: Methods): Recorder {
  const recorder = new Recorder(heap, new EventLog(0, HEAP_GRANULE_BITS));
  const recordPool = (pool: Methods): void => {
    const { size } = pool as unknown as { size: number };
    recorder.override(pool, () => {
      const { alloc, free } = recorder.singles(pool, 'free', size);
      return { alloc, free } as Methods;
    });
  };
  recorder.override(heap, () => ({
    ...recorder.singles(heap, 'free'),
    ...recorder.batches(heap, 'freeMany'),
    ...recorder.makers(heap, 'pool', recordPool),
  }));
  if (heap instanceof Heap) {
    for (const pool of poolsOf(heap)) recordPool(pool as unknown as Methods);
  }
  recordSharing(heap, recorder);
  return recorder;
}

/**
 * The first reading of `handle` makes a Heap shared, which replaces its own `alloc` and `free` and those of
 * its pools. It is let do so on the heap as it was, and what it put there is overridden again.
 */
function recordSharing(heap: Methods, recorder: Recorder): void {
  const prototype = Object.getPrototypeOf(heap) as object;
  const getter = Object.getOwnPropertyDescriptor(prototype, 'handle')?.get;
  if (getter === undefined) return;
  const define = (): void => {
    Object.defineProperty(heap, 'handle', {
      configurable: true,
      get: () => recorder.aside(() => getter.call(heap) as unknown),
    });
  };
  recorder.onEnds(define, () => delete (heap as { handle?: unknown }).handle);
}

function recordBytes(allocator: Methods): Recorder {
  const {
    ranges = [],
    pageSize = 4096,
    cpus = 0,
  } = allocator as unknown as {
    ranges?: readonly { start: number }[];
    pageSize?: number;
    cpus?: number;
  };
  const lowest = ranges.reduce((low, { start }) => Math.min(low, start), Number.MAX_SAFE_INTEGER);
  const origin = ranges.length === 0 ? 0 : lowest;
  const recorder = new Recorder(allocator, new EventLog(origin, BYTE_GRANULE_BITS));
  const recordCpu = (cpu: Methods): void => {
    recorder.override(cpu, () => {
      const { alloc, dealloc } = recorder.singles(cpu, 'dealloc');
      return { alloc, dealloc } as Methods;
    });
  };
  const hasPages = typeof allocator['allocPages'] === 'function';
  const hasCpus = typeof allocator['cpu'] === 'function';
  recorder.override(allocator, () => ({
    ...recorder.singles(allocator, 'dealloc'),
    ...recorder.batches(allocator, 'deallocMany'),
    ...(hasPages ? recorder.pages(allocator, pageSize) : {}),
    ...(hasCpus ? recorder.makers(allocator, 'cpu', recordCpu) : {}),
  }));
  // The same object is handed out every time: those that the program holds already are recorded by this.
  for (let index = 0; index < (hasCpus ? cpus : 0); index++) {
    (allocator['cpu'] as unknown as (index: number) => object)(index);
  }
  return recorder;
}
