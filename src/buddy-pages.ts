/**
 * @file `BuddyAllocator`: pages by binary buddies in sections, the page level of our own engine.
 *
 * A run is split off the smallest free buddy that holds it, and the unused tail is given back at once,
 * so what is used is what was asked for. A free merges with its buddies right away. All metadata lies
 * outside the pages, which may have memory behind them or none.
 *
 * Not here: slots in pages (`slab-cache.ts`), both together (`two-level.ts`).
 */
import { FamilyCore, coreOf, owned } from './family.ts';
import { native } from './native.ts';
import { copyOptions, isBooleanOrLeftOut, isNumberOrLeftOut, pageSizeOf } from './options.ts';
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

/** What the constructor takes. */
export interface BuddyAllocatorOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the ranges? Default: false. */
  memory?: boolean;
}

/** Pages by binary buddies in several sections; metadata out of line; merges at once. */
export class BuddyAllocator extends PageFamily implements PageAllocator {
  /** @param options - The page size, and whether bytes lie behind the pages. */
  constructor(options?: BuddyAllocatorOptions) {
    const { pageSize, memory } = copyOptions(options, 'options', ['pageSize', 'memory']);
    isNumberOrLeftOut(pageSize, 'options.pageSize');
    isBooleanOrLeftOut(memory, 'options.memory');
    const page = pageSizeOf(pageSize);
    const hasMemory = memory ?? false;
    super(
      new FamilyCore({
        kind: 'buddy-pages',
        owner: owned(
          () => new SectionOwner(new (native().binding.NativeBuddyPages)(page, hasMemory)),
        ),
        units: { start: page, size: page, startMin: 1 },
        unit: 'pages',
        block: 'run of pages',
        memory: hasMemory,
      }),
    );
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
   * Adds one more section, apart from all others. Runs never span two.
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

  /** Bytes of live runs. */
  get allocatedBytes(): number {
    return engineBytes(coreOf(this), ALLOCATED_BYTES);
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'BuddyAllocator';
  }
}
