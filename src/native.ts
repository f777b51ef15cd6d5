/**
 * @file The seam to Rust: the only importer of `#binding`.
 *
 * Every native function answers through the **control block**, one `Float64Array` over native memory:
 * operands in `ctl[0…]`, after the call the status in `ctl[0]` and results from `ctl[1]`. What is
 * called per allocation takes no arguments at all, which makes a crossing cost 7 ns instead of 165.
 * A refusal is a status; the `AllocError` is built here, since a throw from Rust costs 4.6 µs.
 *
 * The binding is loaded at the first use, not at import, so that a program that never allocates (a
 * bundler, a startup snapshot) never needs it, and a missing one can be explained: `ERR_NO_BINDING`.
 *
 * Not here: checks of what JavaScript passes (`options.ts`); by the time a number gets here it is a
 * safe integer. Rust checks all ranges once more.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { CONTROL_LENGTH, LAYOUT_VERSION, STATUS_CODES } from '../native/layout.ts';
import { failure, hex } from './errors.ts';
import type { AllocError, AllocErrorCode } from './errors.ts';

/** What every native allocator class has. */
export interface NativeAllocator {
  /** Indexes a table of this environment; a closed one answers `ERR_CLOSED`. */
  readonly handle: number;
  /** Status in `ctl[0]`. */
  init(start: number, size: number): void;
  /** Status in `ctl[0]`. */
  addMemory(start: number, size: number): void;
  close(): void;
}

/** A native allocator with memory behind its ranges. */
export interface NativeMemory extends NativeAllocator {
  /**
   * An ArrayBuffer over part of the data mapping of a range; `null` with status 0 where the runtime
   * forbids external buffers, `null` with another status where the runtime refused this one.
   */
  wrap(range: number, offset: number, length: number): ArrayBuffer | null;
  /** Fallback backend: `bytes`, of the size of the range, becomes its data mapping. */
  provide(range: number, bytes: Uint8Array): void;
}

/** One thread's attachment to a heap; `docs/heap.md` has its memory. */
export interface NativeHeap {
  readonly handle: number;
  readonly id: number;
  readonly generation: number;
  /** This thread's slot: the owner in page map words, the index of its shared-mode area. */
  readonly slot: number;
  readonly size: number;
  readonly metaSize: number;
  readonly pageMapOffset: number;
  readonly bitsOffset: number;
  readonly bytesOffset: number;
  readonly areasOffset: number;
  /** A window of the data; `null` as {@link NativeMemory.wrap}. */
  data(offset: number, length: number): ArrayBuffer | null;
  /** A window of the metadata. */
  meta(offset: number, length: number): ArrayBuffer | null;
  /** Fallback backend: memory of JavaScript's own becomes that of the heap. Status in `ctl[0]`. */
  provide(data: Uint8Array, metadata: Uint8Array): void;
  close(): void;
  destroy(): void;
}

/** What the Heap calls, every time a magazine is empty or full: no arguments either. */
export interface HeapCallbacks {
  /** `[h, class] → [n]`: fills the alloc stack. */
  heapRefill(): void;
  /** `[h, class]`: hands back the older half of the free stack. */
  heapFlush(): void;
  /** `[h, class] → [n]` */
  heapPoolRefill(): void;
  /** `[h, class]` */
  heapPoolFlush(): void;
  /** `[h]`: hands back what other threads own. */
  heapOutbox(): void;
  heapSettle(): void;
  /** `[h, size, align] → [p]` */
  heapAlloc(): void;
  /** `[h, size, align] → [p]` */
  heapAllocZeroed(): void;
  /** `[h, p]` */
  heapFree(): void;
  /** `[h, p, newSize] → [p]` */
  heapRealloc(): void;
  /** `[h, p] → [start, usable, class]` */
  heapLookup(): void;
  /** `[h] → [size, committed, used, peakUsed, blocks, cached, largestFree, threads, shared, allocs, frees, crossings, failures]` */
  heapStats(): void;
  /** `[h] → [blocks]` */
  heapCheck(): void;
  /** `[h] → [bytes decommitted]` */
  heapTrim(): void;
  /** `[h]`: from exclusive to shared. */
  heapShare(): void;
}

/** What is called per allocation: no arguments, everything through the control block. */
export interface RawCallbacks {
  /** `[h, size, align] → [pos]` */
  byteAlloc(): void;
  /** `[h, size, align] → [pos]` */
  byteAllocZeroed(): void;
  /** `[h, pos, size | -1, align | -1]` */
  byteDealloc(): void;
  /** `[h, pos, newSize] → [pos]` */
  byteRealloc(): void;
  /** `[h, pos] → [size, align, usable]` */
  byteLookup(): void;
  /** `[h, count, align] → [pos]` */
  pageAlloc(): void;
  /** `[h, base, count, align] → [pos]` */
  pageAllocAt(): void;
  /** `[h, pos, count | -1]` */
  pageDealloc(): void;
  /** `[h, pos] → [count, align]` */
  pageLookup(): void;
  /** `[h, count, align] → [id]` */
  idAlloc(): void;
  /** `[h, id]` */
  idAllocFixed(): void;
  /** `[h, start, count | -1]` */
  idDealloc(): void;
  /** `[h, id] → [0 | 1]` */
  idIsAllocated(): void;
  /** `[h] → [total, used, requested, available, largestFree, blocks, allocs, frees, failures, peakUsed]` */
  allocatorStats(): void;
  /** `[h] → [blocks]` */
  allocatorCheck(): void;
  /** `[h] → [count, (object size, live objects, bytes held) of each]`: what a slab never gives back. */
  heldClasses(): void;
  /** `[h, start, size, physStart, -, first ? 1 : 0]` */
  regionAdd(): void;
  /** `[h, count, align] → [pos]` */
  pageAllocLowmem(): void;
  /** `[h, pos] → [physical address]` */
  virtToPhys(): void;
  /** `[h] → [bytes managed, bytes of pages that are not free]` */
  engineBytes(): void;
  /** `[h, cpu, size, align] → [pos]` */
  cpuAlloc(): void;
  /** `[h, cpu, pos]` */
  cpuDealloc(): void;
  /** `[h, cpu] → [slots]` */
  cpuDrain(): void;
  /** `[h] → [pages]` */
  engineTrim(): void;
  /** `[h, from, to]` */
  engineAdopt(): void;
  /** `[h, size, align] → [0, pos] | [1, class, pages]` */
  slabAlloc(): void;
  /** `[h, class, base, pages]` */
  slabAdd(): void;
  /** `[h, pos] → [0] | [1, base, pages]` */
  slabDealloc(): void;
}

/** The whole binding, as its Rust side is written. */
export interface Binding extends RawCallbacks, HeapCallbacks {
  readonly layoutVersion: number;
  controlBlock(): ArrayBuffer;
  features(): string[];
  backend(): 'external' | 'shared';
  lastInternalError(): string;
  detach(buffer: ArrayBuffer): boolean;
  /** `[h, size, align]`: fills `out`, all or nothing. */
  byteAllocMany(out: Float64Array): void;
  /** `[h]`: all or nothing; on an error `ctl[1]` is the position it is about. */
  byteDeallocMany(positions: Float64Array): void;
  /** `[h]` is an argument here: `(pos, size, align)` triples, ascending. */
  liveBlocks(handle: number): Float64Array;
  readonly NativeBuddy: new (memory: boolean) => NativeMemory;
  readonly NativeTlsf: new (memory: boolean) => NativeMemory;
  readonly NativeSlab: new (memory: boolean) => NativeMemory;
  readonly NativeBitmap: new (
    pageSize: number,
    memory: boolean,
    capacityBytes: number,
  ) => NativeMemory;
  readonly NativeId: new () => NativeAllocator;
  /** Eight numbers for each class; `null` with a status. */
  slabClasses(handle: number, cpu: number): Float64Array | null;
  /** Six numbers for each section and its free runs by order; `null` with a status. */
  managedSections(handle: number): Float64Array | null;
  readonly NativeTwoLevel: new (cpus: number, pageSize: number, memory: boolean) => NativeMemory;
  readonly NativeBuddyPages: new (pageSize: number, memory: boolean) => NativeMemory;
  readonly NativeSlabCache: new (pageSize: number) => NativeAllocator;
  /** Status in `ctl[0]`. `flags`: 1 huge pages, 2 populate. */
  readonly NativeHeap: new (size: number, maxThreads: number, flags: number) => NativeHeap;
  /** Status in `ctl[0]`; `null` unless it is 0. */
  heapAttach(id: number, generation: number): NativeHeap | null;
  /** `[h, size]`: fills `out`, all or nothing. */
  heapAllocMany(out: Float64Array): void;
  /** `[h]`: all or nothing; on an error `ctl[1]` is the position it is about. */
  heapFreeMany(positions: Float64Array): void;
  /** `(p, usable)` pairs, ascending. */
  heapLive(handle: number): Float64Array | null;
  /** Rows of class size, live blocks, slabs, cached blocks. */
  heapClassStats(handle: number): Float64Array | null;
}

/** The binding of this environment, ready for use. */
export interface Native {
  readonly binding: Binding;
  /** The same functions, in an object of fixed shape: a property load that V8 keeps in its caches. */
  readonly raw: RawCallbacks & HeapCallbacks;
  /** The control block. */
  readonly ctl: Float64Array;
}

let loaded: Native | undefined;

/**
 * The binding, loaded at the first call.
 *
 * @throws AllocError `ERR_NO_BINDING` with platform, architecture, the paths tried and the cause.
 */
export function native(): Native {
  return (loaded ??= load());
}

function load(): Native {
  const require = createRequire(import.meta.url);
  let binding: Binding;
  try {
    binding = require('#binding') as Binding;
  } catch (error) {
    throw noBinding('the native binary could not be loaded', error);
  }
  if (binding.layoutVersion !== LAYOUT_VERSION || typeof binding.byteAlloc !== 'function') {
    throw noBinding(
      `the native binary is not of this version: its layout is ${String(binding.layoutVersion)}, this package needs ${LAYOUT_VERSION}`,
    );
  }
  const ctl = new Float64Array(binding.controlBlock(), 0, CONTROL_LENGTH);
  return { binding, ctl, raw: rawCallbacks(binding) };
}

function rawCallbacks(binding: Binding): RawCallbacks & HeapCallbacks {
  return {
    byteAlloc: binding.byteAlloc,
    byteAllocZeroed: binding.byteAllocZeroed,
    byteDealloc: binding.byteDealloc,
    byteRealloc: binding.byteRealloc,
    byteLookup: binding.byteLookup,
    pageAlloc: binding.pageAlloc,
    pageAllocAt: binding.pageAllocAt,
    pageDealloc: binding.pageDealloc,
    pageLookup: binding.pageLookup,
    idAlloc: binding.idAlloc,
    idAllocFixed: binding.idAllocFixed,
    idDealloc: binding.idDealloc,
    idIsAllocated: binding.idIsAllocated,
    allocatorStats: binding.allocatorStats,
    allocatorCheck: binding.allocatorCheck,
    heldClasses: binding.heldClasses,
    regionAdd: binding.regionAdd,
    pageAllocLowmem: binding.pageAllocLowmem,
    virtToPhys: binding.virtToPhys,
    engineBytes: binding.engineBytes,
    cpuAlloc: binding.cpuAlloc,
    cpuDealloc: binding.cpuDealloc,
    cpuDrain: binding.cpuDrain,
    engineTrim: binding.engineTrim,
    engineAdopt: binding.engineAdopt,
    slabAlloc: binding.slabAlloc,
    slabAdd: binding.slabAdd,
    slabDealloc: binding.slabDealloc,
    heapRefill: binding.heapRefill,
    heapFlush: binding.heapFlush,
    heapPoolRefill: binding.heapPoolRefill,
    heapPoolFlush: binding.heapPoolFlush,
    heapOutbox: binding.heapOutbox,
    heapSettle: binding.heapSettle,
    heapAlloc: binding.heapAlloc,
    heapAllocZeroed: binding.heapAllocZeroed,
    heapFree: binding.heapFree,
    heapRealloc: binding.heapRealloc,
    heapLookup: binding.heapLookup,
    heapStats: binding.heapStats,
    heapCheck: binding.heapCheck,
    heapTrim: binding.heapTrim,
    heapShare: binding.heapShare,
  };
}

/** `ERR_NO_BINDING`, naming what was looked for and where. */
function noBinding(reason: string, cause?: unknown): AllocError {
  const { platform, arch, env } = process;
  const libc = platform === 'linux' ? (usesGlibc() ? 'gnu' : 'musl') : '';
  const triple = [platform, arch, libc].filter((part) => part !== '').join('-');
  const paths = [
    ...(env['NAPI_RS_NATIVE_LIBRARY_PATH'] ? [env['NAPI_RS_NATIVE_LIBRARY_PATH']] : []),
    `native/heapwright.${triple}.node`,
    `heapwright-${triple}`,
  ];
  return failure(
    'ERR_NO_BINDING',
    `${reason} (platform ${platform}, arch ${arch}${libc === '' ? '' : `, libc ${libc}`}); ` +
      `tried ${paths.join(', ')}; build it with: npm run build`,
    { cause },
  );
}

function usesGlibc(): boolean {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report?.header?.glibcVersionRuntime !== undefined;
}

/** The status of a call that named no live block. */
export const NOT_ALLOCATED: number = STATUS_CODES.indexOf('ERR_NOT_ALLOCATED');

/** What a call was about: the words of its error message. */
export interface Call {
  /** What a block of this kind is called. */
  readonly block: 'block' | 'run of pages' | 'id' | 'range';
  /** What is counted. */
  readonly unit: 'bytes' | 'pages' | 'ids';
  /** The block named, if one was. */
  readonly pos?: number | undefined;
  /** Whether a batch names that block twice. */
  readonly isTwice?: boolean | undefined;
  /** What was asked for, in `unit`. */
  readonly requested?: number | undefined;
  /** What the caller said of the block, in `unit`. */
  readonly given?: number | undefined;
  /** The alignment that the caller asked for, or said of the block. */
  readonly align?: number | undefined;
  /** Begins the message about memory, where it is not that no free block is so large. */
  readonly taken?: string | undefined;
  /** Ends the message about memory. */
  readonly hint?: string | undefined;
  /** Of the range that a message is about: its length. */
  readonly length?: string | undefined;
  /** Why it is closed, where the allocator as a whole is not. */
  readonly closed?: string | undefined;
}

/** What a refusal to allocate `count` blocks of `size` bytes should say. */
export function noRoomFor(
  count: number,
  size: number,
): Required<Pick<Call, 'requested' | 'taken'>> {
  const requested = size * count;
  return {
    requested,
    taken: `no room for ${count} blocks of ${size} bytes, ${requested} bytes in all`,
  };
}

/** What a refusal to free all of `positions` should say of the one that it is about. */
export function blockOfBatch(
  positions: Float64Array,
  pos: number,
): Required<Pick<Call, 'pos' | 'isTwice'>> {
  return { pos, isTwice: positions.indexOf(pos) !== positions.lastIndexOf(pos) };
}

/**
 * The error for the status in the control block, with the values that it carries.
 *
 * @remarks Reads the control block first of all, before anything else can use it.
 */
export function refusal({ ctl, binding }: Native, call: Call): AllocError {
  const code = (STATUS_CODES[ctl[0] as number] ?? 'ERR_INTERNAL') as AllocErrorCode;
  const [first, second, third] = [ctl[1] as number, ctl[2] as number, ctl[3] as number];
  const { unit, block } = call;
  const place = call.pos === undefined ? '' : ` ${unit === 'ids' ? call.pos : hex(call.pos)}`;
  const at = call.length === undefined ? place : `${place} of ${call.length}`;
  switch (code) {
    case 'ERR_NO_MEMORY':
      return noMemory(call, first, second, third);
    case 'ERR_NOT_ALLOCATED':
      return failure(
        code,
        call.isTwice === true
          ? `${block}${at} occurs twice in the batch`
          : `${block}${at} is not live: it was freed before, or never handed out`,
      );
    case 'ERR_SIZE_MISMATCH':
      return call.given !== undefined && call.given !== first
        ? failure(code, `${block}${at} has ${first} ${unit}, got ${call.given}`)
        : failure(code, `${block}${at} has alignment ${second}, got ${call.align}`);
    case 'ERR_MEMORY_OVERLAP':
      return failure(
        code,
        `range${place} overlaps the range of ${second} ${unit === 'ids' ? 'ids' : 'bytes'} at ${unit === 'ids' ? first : hex(first)} that is managed already`,
      );
    case 'ERR_CAPACITY':
      return failure(
        code,
        `${block}${at} does not fit: at most ${first} ${unit === 'ids' ? 'ids' : 'bytes'} can be managed here`,
      );
    case 'ERR_CLOSED':
      return failure(code, call.closed ?? 'the allocator is closed, or was not initialized');
    case 'ERR_INTERNAL':
      return failure(code, `the allocator is out of order: ${binding.lastInternalError()}`);
    default:
      // All else is judged before a call: only a map knows which alignment it is too small for.
      return call.align === undefined
        ? failure(code, `${block}${at} was refused`)
        : failure(code, `align must be at most what the map spans, got ${call.align}`);
  }
}

function noMemory(call: Call, first: number, largestFree: number, errno: number): AllocError {
  const requested = call.requested ?? first;
  const details = { requested, largestFree };
  if (errno === 0) {
    const largest = `of ${largestFree} ${call.unit}${call.hint ?? ''}`;
    const what =
      call.taken === undefined
        ? `no free block of ${requested} ${call.unit}: the largest is ${largest}`
        : `${call.taken}: the largest free ${call.unit === 'bytes' ? 'block' : 'run'} is ${largest}`;
    return failure('ERR_NO_MEMORY', what, details);
  }
  const name = getSystemErrorName(-errno);
  const cause = Object.assign(new Error(`the operating system refused: ${name}`), {
    code: name,
    errno: -errno,
  });
  return failure('ERR_NO_MEMORY', `${requested} ${call.unit} cannot be had: ${name}`, {
    ...details,
    cause,
  });
}
