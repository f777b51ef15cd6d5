/**
 * @file `GlobalAllocator`: pages and per-CPU slabs, our own engine, one step at a time.
 *
 * Sizes and alignments up to 2048 go to the slabs of the CPU that asks, the rest to pages. The CPUs are
 * simulated: `g.cpu(2).alloc(64)` is what CPU 2 does, and `g.cpu(3).dealloc(p)` of that block is a
 * *remote free*: the block is dead at once, its slot comes back when CPU 2 drains. That happens on a
 * miss, by `drainRemoteFrees`, `trim` or `adopt`, and never behind anyone's back.
 *
 * Calls without a CPU (`g.alloc`, `g.dealloc`, …) speak for CPU 0.
 *
 * Not here: the levels alone (`buddy-pages.ts`, `slab-cache.ts`), threads (`heap.ts`).
 */
import { ByteFamily } from './byte-family.ts';
import type { ByteAllocator } from './byte-family.ts';
import { failure } from './errors.ts';
import type { AllocError } from './errors.ts';
import { coreOf } from './family.ts';
import type { FamilyCore } from './family.ts';
import { native } from './native.ts';
import type { Call } from './native.ts';
import {
  alignment,
  copyOptions,
  isBooleanOrLeftOut,
  isNumber,
  isNumberOrLeftOut,
  natural,
  pageSizeOf,
  positive,
} from './options.ts';
import { PageFamily } from './page-family.ts';
import type { PageAllocator } from './page-family.ts';
import {
  ALLOCATED_BYTES,
  MANAGED_BYTES,
  SectionOwner,
  addSection,
  allocPagesLowmem,
  engineBytes,
  managedSections,
  virtToPhys,
} from './sections.ts';
import type { ManagedSection, RegionPlace } from './sections.ts';
import { slabClasses } from './slab-cache.ts';
import type { SlabClassStats } from './slab-cache.ts';

/** The most CPUs that can be simulated. */
const CPUS_MAX = 256;

const ALIGN_DEFAULT = 8;

/** What the constructor takes. */
export interface GlobalAllocatorOptions {
  /** CPUs, from 1 to 256; default 1. */
  cpus?: number;
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the ranges? Default: true. */
  memory?: boolean;
}

/** The view of one CPU: what it allocates is its own, what it frees of another's is a remote free. */
export interface CpuAllocator {
  /** Which CPU, from 0. */
  readonly index: number;
  /** Allocates a block; see `GlobalAllocator.alloc`. */
  alloc(size: number, align?: number): number;
  /** Frees any live block. Another CPU's slot is dead at once, and comes back when that CPU drains. */
  dealloc(pos: number): void;
  /** Takes back what others freed; returns how many. Happens by itself only on a miss. */
  drainRemoteFrees(): number;
  /** The slabs of this CPU by size class. */
  classes(): readonly SlabClassStats[];
}

/** One CPU of a {@link GlobalAllocator}. */
class Cpu implements CpuAllocator {
  readonly index: number;
  readonly #core: FamilyCore;
  /** Who adopted whom. */
  readonly #adopters: ReadonlyMap<number, number>;

  constructor(core: FamilyCore, index: number, adopters: ReadonlyMap<number, number>) {
    this.#core = core;
    this.index = index;
    this.#adopters = adopters;
  }

  alloc(size: number, align?: number): number {
    isNumber(size, 'size');
    isNumberOrLeftOut(align, 'align');
    const bytes = positive(size, 'size');
    const boundary = align === undefined ? ALIGN_DEFAULT : alignment(align);
    const { ctl, raw } = this.#core.native;
    ctl[0] = this.#core.handle;
    ctl[1] = this.index;
    ctl[2] = bytes;
    ctl[3] = boundary;
    raw.cpuAlloc();
    if (ctl[0] !== 0) throw this.#refused({ requested: bytes });
    return ctl[1] as number;
  }

  dealloc(pos: number): void {
    isNumber(pos, 'pos');
    const at = natural(pos, 'pos');
    const { ctl, raw } = this.#core.native;
    ctl[0] = this.#core.handle;
    ctl[1] = this.index;
    ctl[2] = at;
    raw.cpuDealloc();
    if (ctl[0] !== 0) throw this.#refused({ pos: at });
  }

  drainRemoteFrees(): number {
    const { ctl, raw } = this.#core.native;
    ctl[0] = this.#core.handle;
    ctl[1] = this.index;
    raw.cpuDrain();
    if (ctl[0] !== 0) throw this.#refused({});
    return ctl[1] as number;
  }

  classes(): readonly SlabClassStats[] {
    const core = this.#core;
    core.assertOpen();
    const classes = slabClasses(core.native, core.handle, this.index);
    if (classes === undefined) throw this.#refused({});
    return classes;
  }

  get [Symbol.toStringTag](): string {
    return 'CpuAllocator';
  }

  #refused(call: Partial<Call>): AllocError {
    const adopter = this.#adopters.get(this.index);
    const closed = adopter === undefined ? undefined : gone(this.index, adopter);
    return this.#core.refused({ ...call, closed });
  }
}

function gone(cpu: number, adopter: number): string {
  return `CPU ${cpu} is gone: CPU ${adopter} has adopted its slabs`;
}

/** The page calls of a {@link GlobalAllocator}: the same allocator, counted in pages. */
class Pages extends PageFamily {}

/** The core of an allocator, as the page calls see it: state and ranges stay where they are. */
function pagesCore(core: FamilyCore): FamilyCore {
  return Object.create(core, {
    unit: { value: 'pages' },
    block: { value: 'run of pages' },
  }) as FamilyCore;
}

/** Options with their types checked; values are judged here too, since `super` comes next. */
function parse(options: unknown): { cpus: number; pageSize: number; memory: boolean } {
  const given = copyOptions(options, 'options', ['cpus', 'pageSize', 'memory']);
  const { cpus, pageSize, memory } = given;
  isNumberOrLeftOut(cpus, 'options.cpus');
  isNumberOrLeftOut(pageSize, 'options.pageSize');
  isBooleanOrLeftOut(memory, 'options.memory');
  const count = cpus === undefined ? 1 : positive(cpus, 'cpus');
  const page = pageSizeOf(pageSize);
  if (count > CPUS_MAX) {
    throw failure('ERR_CAPACITY', `cpus must be at most ${CPUS_MAX}, got ${count}`);
  }
  return { cpus: count, pageSize: page, memory: memory ?? true };
}

/** Pages and per-CPU slabs; see the file comment. Deterministic, and of one thread. */
export class GlobalAllocator extends ByteFamily implements ByteAllocator, PageAllocator {
  /** CPUs that there are. */
  readonly cpus: number;
  /** In bytes, a power of two. */
  readonly pageSize: number;
  readonly #cpus: Cpu[] = [];
  /** Who adopted whom. */
  readonly #adopters: Map<number, number>;
  readonly #pages: Pages;

  /** @param options - CPUs, page size, and whether bytes lie behind the ranges. */
  constructor(options?: GlobalAllocatorOptions) {
    const { cpus, pageSize, memory } = parse(options);
    const adopters = new Map<number, number>();
    super(
      {
        kind: 'two-level',
        startUnit: pageSize,
        sizeUnit: pageSize,
        closed: () => (adopters.has(0) ? gone(0, adopters.get(0) as number) : undefined),
      },
      { memory },
      (hasMemory) =>
        new SectionOwner(new (native().binding.NativeTwoLevel)(cpus, pageSize, hasMemory)),
    );
    this.cpus = cpus;
    this.pageSize = pageSize;
    this.#adopters = adopters;
    this.#pages = new Pages(pagesCore(coreOf(this)));
    Object.defineProperties(this, {
      cpus: { writable: false, configurable: false },
      pageSize: { writable: false, configurable: false },
    });
  }

  /**
   * Gives the allocator its first section; once.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_CAPACITY` above 2^30 pages.
   */
  override init(start: number, size: number, options?: RegionPlace): void {
    addSection(coreOf(this), 'init', start, size, options);
  }

  /**
   * Adds one more section, apart from all others. Blocks never span two.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @param options - The physical address of `start`; default: `start` itself.
   * @throws {@link AllocError} `ERR_MEMORY_OVERLAP`, else as `init`.
   */
  addRegion(start: number, size: number, options?: RegionPlace): void {
    addSection(coreOf(this), 'addMemory', start, size, options);
  }

  /** The same as `addRegion`. */
  override addMemory(start: number, size: number): void {
    this.addRegion(start, size);
  }

  /**
   * The view of one CPU.
   *
   * @param index - From 0.
   * @throws {@link AllocError} `ERR_INVALID_PARAM` for a CPU that is not there, `ERR_CLOSED` before `init` and
   * after `close`.
   */
  cpu(index: number): CpuAllocator {
    const at = this.#cpuIndex(index, 'index');
    coreOf(this).assertOpen();
    return (this.#cpus[at] ??= new Cpu(coreOf(this), at, this.#adopters));
  }

  #cpuIndex(index: number, name: string): number {
    isNumber(index, name);
    const at = natural(index, name);
    if (at >= this.cpus) {
      throw failure(
        'ERR_INVALID_PARAM',
        `${name} must be a CPU from 0 to ${this.cpus - 1}, got ${at}`,
      );
    }
    return at;
  }

  /**
   * Drains every CPU, and gives empty slabs back to the pages.
   *
   * @returns Pages given back.
   */
  trim(): number {
    const core = coreOf(this);
    core.assertOpen();
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    raw.engineTrim();
    if (ctl[0] !== 0) throw core.refused();
    return ctl[1] as number;
  }

  /**
   * `from` goes away: its calls throw `ERR_CLOSED` from now on. `to` owns its slabs, pending frees
   * drained, and what others still free into them.
   *
   * @param from - A CPU.
   * @param to - Another one.
   */
  adopt(from: number, to: number): void {
    isNumber(from, 'from');
    isNumber(to, 'to');
    const source = this.#cpuIndex(from, 'from');
    const target = this.#cpuIndex(to, 'to');
    if (source === target) {
      throw failure('ERR_INVALID_PARAM', `to must be another CPU than from, got ${target}`);
    }
    const core = coreOf(this);
    core.assertOpen();
    for (const cpu of [source, target]) {
      const adopter = this.#adopters.get(cpu);
      if (adopter !== undefined) throw failure('ERR_CLOSED', gone(cpu, adopter));
    }
    const { ctl, raw } = core.native;
    ctl[0] = core.handle;
    ctl[1] = source;
    ctl[2] = target;
    raw.engineAdopt();
    if (ctl[0] !== 0) throw core.refused();
    this.#adopters.set(source, target);
  }

  /** See {@link PageAllocator.allocPages}; errors count in pages. */
  allocPages(count: number, align?: number): number {
    return this.#pages.allocPages(count, align);
  }

  /** See {@link PageAllocator.allocPagesAt}; errors count in pages. */
  allocPagesAt(base: number, count: number, align?: number): number {
    return this.#pages.allocPagesAt(base, count, align);
  }

  /** See {@link PageAllocator.deallocPages}: a whole run of pages; a slot is none. */
  deallocPages(pos: number, count?: number): void {
    this.#pages.deallocPages(pos, count);
  }

  /**
   * Allocates a run of pages that lies wholly below 4 GiB of physical address.
   *
   * @param count - In pages, from 1.
   * @param align - In bytes, a power of two from `pageSize` to 1 GiB; default `pageSize`.
   * @returns The address of the first page.
   * @throws {@link AllocError} `ERR_NO_MEMORY`, with the largest run below 4 GiB as `largestFree`.
   */
  allocPagesLowmem(count: number, align?: number): number {
    return allocPagesLowmem(coreOf(this), this.pageSize, count, align);
  }

  /**
   * The physical address of `pos`.
   *
   * @param pos - Any address of a managed range.
   */
  virtToPhys(pos: number): number {
    return virtToPhys(coreOf(this), pos);
  }

  /** The sections, in order of addition, with their free runs by order. */
  managedSections(): ManagedSection[] {
    return managedSections(coreOf(this));
  }

  /** Bytes managed. */
  get managedBytes(): number {
    return engineBytes(coreOf(this), MANAGED_BYTES);
  }

  /** Bytes of pages that are not free: those of slabs in full. */
  get allocatedBytes(): number {
    return engineBytes(coreOf(this), ALLOCATED_BYTES);
  }

  /** Pages managed. */
  get totalPages(): number {
    return this.managedBytes / this.pageSize;
  }

  /** Pages that are not free: those of slabs in full. */
  get usedPages(): number {
    return this.allocatedBytes / this.pageSize;
  }

  /** Pages that are free. */
  get availablePages(): number {
    return this.totalPages - this.usedPages;
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'GlobalAllocator';
  }
}
