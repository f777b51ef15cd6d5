/**
 * @file What the two kinds with sections share: physical addresses, low memory, managed sections.
 *
 * A section is a range with a physical address: `physStart` goes with it when it is added, and stays a
 * constant offset from then on. `FamilyCore` knows ranges only, so {@link SectionOwner} stands between
 * it and the native class and adds what the call brought along.
 *
 * Not here: the classes (`buddy-pages.ts`, `two-level.ts`).
 */
import { failure } from './errors.ts';
import type { FamilyCore } from './family.ts';
import { native } from './native.ts';
import type { NativeMemory } from './native.ts';
import {
  RANGE_END_MAX,
  alignment,
  copyOptions,
  isNumber,
  isNumberOrLeftOut,
  natural,
  positive,
} from './options.ts';

/** One section of a page allocator. */
export interface ManagedSection {
  /** Its first address. */
  readonly start: number;
  /** In bytes. */
  readonly size: number;
  /** The physical address of `start`. */
  readonly physStart: number;
  /** Pages of the section. */
  readonly totalPages: number;
  /** Pages that are free. */
  readonly freePages: number;
  /** Free runs by order: index = log2(pages). */
  readonly freeRuns: readonly number[];
}

/** What a section can be told when it is added. */
export interface RegionPlace {
  /** The physical address of `start`; default: `start` itself. */
  physStart?: number;
}

/** The totals that the native classes keep at hand: those of bytes, or those of pages. */
type Totals = Partial<
  Record<
    'totalBytes' | 'usedBytes' | 'availableBytes' | 'totalPages' | 'usedPages' | 'availablePages',
    number
  >
>;

/** The most pages of a section; Rust checks it too. */
const SECTION_PAGES_MAX = 2 ** 30;

/** The most sections; Rust checks it too. */
const SECTIONS_MAX = 1024;

/** A native allocator whose ranges have physical addresses. */
export class SectionOwner implements NativeMemory {
  readonly handle: number;
  readonly #owner: NativeMemory & Totals;
  #physStart: number | undefined;

  constructor(owner: NativeMemory) {
    this.#owner = owner;
    this.handle = owner.handle;
  }

  /** Runs `add`, which adds one range, with that physical address; `undefined`: its own. */
  at(physStart: number | undefined, add: () => void): void {
    this.#physStart = physStart;
    try {
      add();
    } finally {
      this.#physStart = undefined;
    }
  }

  init(start: number, size: number): void {
    this.#add(start, size, 1);
  }

  addMemory(start: number, size: number): void {
    this.#add(start, size, 0);
  }

  #add(start: number, size: number, first: 0 | 1): void {
    const { ctl, raw } = native();
    ctl[0] = this.handle;
    ctl[1] = start;
    ctl[2] = size;
    ctl[3] = this.#physStart ?? start;
    ctl[5] = first;
    raw.regionAdd();
  }

  get totalBytes(): number | undefined {
    return this.#owner.totalBytes;
  }

  get usedBytes(): number | undefined {
    return this.#owner.usedBytes;
  }

  get availableBytes(): number | undefined {
    return this.#owner.availableBytes;
  }

  get totalPages(): number | undefined {
    return this.#owner.totalPages;
  }

  get usedPages(): number | undefined {
    return this.#owner.usedPages;
  }

  get availablePages(): number | undefined {
    return this.#owner.availablePages;
  }

  close(): void {
    this.#owner.close();
  }

  wrap(index: number, offset: number, length: number): ArrayBuffer | null {
    return this.#owner.wrap(index, offset, length);
  }

  provide(index: number, bytes: Uint8Array): void {
    this.#owner.provide(index, bytes);
  }
}

/** Adds a section by `init` or `addMemory`, with the place that `options` name. */
export function addSection(
  core: FamilyCore,
  how: 'init' | 'addMemory',
  start: unknown,
  size: unknown,
  options: unknown,
): void {
  const { physStart } = copyOptions(options, 'options', ['physStart']);
  isNumber(start, 'start');
  isNumber(size, 'size');
  isNumberOrLeftOut(physStart, 'options.physStart');
  const phys = physStart === undefined ? undefined : natural(physStart, 'options.physStart');
  if (phys !== undefined && positive(size, 'size') > RANGE_END_MAX - phys) {
    throw failure(
      'ERR_INVALID_PARAM',
      `options.physStart + size must be at most 2^53, got ${phys} + ${size}`,
    );
  }
  const most = SECTION_PAGES_MAX * core.units.size;
  if (Number.isSafeInteger(size) && size > most) {
    throw failure(
      'ERR_CAPACITY',
      `size must be at most 2^30 pages (${most} bytes), the most that a section manages, got ${size}`,
    );
  }
  if (core.state === 'open' && core.ranges.length >= SECTIONS_MAX && how === 'addMemory') {
    throw failure(
      'ERR_CAPACITY',
      `the ${core.kind} allocator has ${SECTIONS_MAX} sections, the most that it manages`,
    );
  }
  (core.owner as SectionOwner).at(phys, () => core.addRange(how, start, size));
}

/** Allocates pages wholly below 4 GiB of physical address. */
export function allocPagesLowmem(
  core: FamilyCore,
  pageSize: number,
  count: unknown,
  align: unknown,
): number {
  isNumber(count, 'count');
  isNumberOrLeftOut(align, 'align');
  const pages = positive(count, 'count');
  const boundary = align === undefined ? pageSize : alignment(align, 'align', pageSize);
  const { ctl, raw } = core.native;
  ctl[0] = core.handle;
  ctl[1] = pages;
  ctl[2] = boundary;
  raw.pageAllocLowmem();
  if (ctl[0] !== 0) {
    const taken = `no free run of ${pages} page(s) below 4 GiB of physical address`;
    throw core.refused({ unit: 'pages', block: 'run of pages', requested: pages, taken });
  }
  return ctl[1] as number;
}

/** The physical address of an address in a section. */
export function virtToPhys(core: FamilyCore, pos: unknown): number {
  isNumber(pos, 'pos');
  const at = natural(pos, 'pos');
  core.assertOpen();
  if (core.rangeAt(at) < 0) {
    throw failure('ERR_INVALID_PARAM', `pos must lie in a managed range, got ${at}`);
  }
  const { ctl, raw } = core.native;
  ctl[0] = core.handle;
  ctl[1] = at;
  raw.virtToPhys();
  if (ctl[0] !== 0) throw core.refused({ pos: at });
  return ctl[1] as number;
}

/** Numbers that describe a section before its free runs. */
const SECTION_LENGTH = 6;

/** The sections, in order of addition. */
export function managedSections(core: FamilyCore): ManagedSection[] {
  core.assertOpen();
  const numbers = core.native.binding.managedSections(core.handle);
  if (numbers === null) throw core.refused();
  const sections: ManagedSection[] = [];
  let index = 0;
  while (index < numbers.length) {
    const [start, size, physStart, totalPages, freePages, orders] = numbers.subarray(
      index,
      index + SECTION_LENGTH,
    ) as unknown as [number, number, number, number, number, number];
    index += SECTION_LENGTH;
    const freeRuns = Array.from(numbers.subarray(index, index + orders));
    index += orders;
    sections.push({ start, size, physStart, totalPages, freePages, freeRuns });
  }
  return sections;
}

/** Slots of the control block after `engineBytes`. */
export const MANAGED_BYTES = 1;
/** See {@link MANAGED_BYTES}. */
export const ALLOCATED_BYTES = 2;

/** Bytes managed, or bytes of pages that are not free. */
export function engineBytes(core: FamilyCore, slot: number): number {
  core.assertOpen();
  const { ctl, raw } = core.native;
  ctl[0] = core.handle;
  raw.engineBytes();
  if (ctl[0] !== 0) throw core.refused();
  return ctl[slot] as number;
}
