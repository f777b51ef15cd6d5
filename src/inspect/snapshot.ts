/**
 * @file `snapshot`: the state of any allocator or Heap as plain JSON, by a published schema.
 *
 * The schema is `docs/schemas/snapshot-1.schema.json`; a field is added to both or to neither. What a
 * kind does not have is left out, never null. Addresses are those that the program itself sees; no
 * address of the process is in here.
 *
 * A snapshot is made from public calls only (`stats`, `walk`, `managedSections`, `cpu(i).classes()`), one
 * pass over the blocks, so it is as true as they are, and 1 M blocks take well under a second.
 *
 * Blocks come as columns, not as objects: `blocks.pos[i]`, `blocks.size[i]`, `blocks.align[i]`. That is
 * half the JSON and a fraction of the memory.
 *
 * Not here: text formats (`kernel-text.ts`, `pagetypeinfo.ts`), pictures (`html.ts`).
 */
import { invalidType } from '../errors.ts';
import { copyOptions, isBooleanOrLeftOut } from '../options.ts';
import { isHeapLike } from '../trace/target.ts';
import { alignedRuns } from './free-runs.ts';

/** The schema of this version. */
const SNAPSHOT_SCHEMA = 'heapwright/snapshot/1';

/** A part of the managed pages: one section of a page allocator. */
export interface SnapshotSection {
  readonly start: number;
  /** In bytes. */
  readonly size: number;
  readonly physStart: number;
  readonly totalPages: number;
  readonly freePages: number;
  /** Free runs by order: index = log2(pages). For 'bitmap', the aligned runs that its free pages make up. */
  readonly freeRuns: readonly number[];
}

/** One size class of slabs. */
export interface SnapshotSlabClass {
  readonly objectSize: number;
  readonly slabs: number;
  readonly objects: number;
  readonly active: number;
  readonly partial: number;
  readonly full: number;
  readonly empty: number;
  readonly pendingRemote: number;
}

/** How full a range is, cell by cell. */
export interface SnapshotMap {
  /** First address (page address, id) of the range. */
  readonly start: number;
  /** What one cell stands for, in the unit of addresses. */
  readonly cellSize: number;
  /** One hexadecimal digit per cell: 0 empty, f full; the empty tail is left out. */
  readonly cells: string;
}

/** Blocks of one power of two of sizes: `from <= size < 2 * from`. */
export interface SnapshotSizes {
  readonly from: number;
  readonly blocks: number;
  readonly size: number;
}

/** State of an allocator or Heap; see the schema for every field. */
export interface Snapshot {
  readonly schema: 'heapwright/snapshot/1';
  readonly kind: string;
  /** What sizes and addresses count: bytes (also for pages, which are given by address), or ids. */
  readonly unit: 'bytes' | 'ids';
  readonly name?: string;
  readonly pageSize?: number;
  readonly ranges: readonly { readonly start: number; readonly size: number }[];
  /** What `stats()` says, without its classes; in the unit that `stats()` uses. */
  readonly stats: Readonly<Record<string, number | string | boolean>>;
  /**
   * `internal`: share of what is granted beyond what was asked for (a Heap does not know what was).
   * `external`: share of what is free beyond the largest run.
   */
  readonly fragmentation: { readonly internal?: number; readonly external: number };
  readonly maps?: readonly SnapshotMap[];
  readonly sizes?: readonly SnapshotSizes[];
  readonly sections?: readonly SnapshotSection[];
  readonly cpus?: readonly {
    readonly index: number;
    readonly classes: readonly SnapshotSlabClass[];
  }[];
  /** Classes of a 'slab-cache'. */
  readonly slabClasses?: readonly SnapshotSlabClass[];
  /** Classes of the family 'slab': what each holds for good, in use or not. */
  readonly heldClasses?: readonly {
    readonly objectSize: number;
    readonly active: number;
    readonly heldBytes: number;
  }[];
  /** Classes of a Heap. */
  readonly heapClasses?: readonly {
    readonly size: number;
    readonly blocks: number;
    readonly slabs: number;
    readonly cached: number;
  }[];
  /** Columns over all live blocks, ascending by address; for a Heap, `size` is what may be used. */
  readonly blocks?: {
    readonly pos: readonly number[];
    readonly size: readonly number[];
    readonly align?: readonly number[];
  };
  readonly [key: string]: unknown;
}

/** Options of {@link snapshot}. */
export interface SnapshotOptions {
  /** List every live block (default false). */
  blocks?: boolean;
}

/** Everything that a target may have; which methods are there decides what a snapshot holds. */
interface Subject {
  readonly kind?: string;
  readonly size?: number;
  readonly name?: string;
  readonly pageSize?: number;
  readonly cpus?: number;
  readonly ranges?: readonly { readonly start: number; readonly size: number }[];
  stats(): Readonly<Record<string, unknown>>;
  walk?(visit: (pos: number, size: number, align?: number) => void): void;
  managedSections?(): readonly SnapshotSection[];
  cpu?(index: number): { classes(): readonly SnapshotSlabClass[] };
}

const MAP_CELLS = 1024;

/**
 * Takes a snapshot.
 *
 * @param target - Any allocator, or a Heap at rest (no other thread inside).
 * @throws {@link AllocError} `ERR_CLOSED`; `TypeError` for what is neither.
 * @remarks Time: one `walk()`.
 */
export function snapshot(target: { stats(): object }, options?: SnapshotOptions): Snapshot {
  const { blocks: withBlocks } = copyOptions(options, 'options', ['blocks']);
  isBooleanOrLeftOut(withBlocks, 'options.blocks');
  if (
    typeof target !== 'object' ||
    target === null ||
    typeof (target as Subject).stats !== 'function'
  ) {
    throw invalidType('target', 'an allocator or a Heap', target);
  }
  const subject = target as Subject;
  const isHeap = isHeapLike(target);
  const kind = isHeap ? 'heap' : (subject.kind ?? 'slab-cache');
  const { classes, ...stats } = subject.stats();
  const ranges = rangesOf(subject, isHeap);
  const walked =
    subject.walk === undefined ? undefined : walkBlocks(subject, ranges, withBlocks === true);
  const sections = sectionsOf(subject, ranges, walked);
  const { name } = stats as { name?: string };
  return {
    schema: SNAPSHOT_SCHEMA,
    kind,
    unit: kind === 'id' ? 'ids' : 'bytes',
    ...(name === undefined ? {} : { name }),
    ...(subject.pageSize === undefined ? {} : { pageSize: subject.pageSize }),
    ranges,
    stats: stats as Snapshot['stats'],
    fragmentation: fragmentationOf(stats, isHeap),
    ...(walked === undefined ? {} : { maps: walked.maps, sizes: walked.sizes }),
    ...(sections === undefined ? {} : { sections }),
    ...cpusOf(subject),
    ...classesOf(classes, kind),
    ...(walked?.blocks === undefined ? {} : { blocks: walked.blocks }),
  };
}

function rangesOf(subject: Subject, isHeap: boolean): { start: number; size: number }[] {
  if (isHeap) return [{ start: 0, size: subject.size ?? 0 }];
  return (subject.ranges ?? []).map(({ start, size }) => ({ start, size }));
}

function fragmentationOf(
  stats: Readonly<Record<string, unknown>>,
  isHeap: boolean,
): Snapshot['fragmentation'] {
  const { used, requested, available, largestFree, size } = stats as Record<
    string,
    number | undefined
  >;
  const free = isHeap ? (size ?? 0) - (used ?? 0) : (available ?? 0);
  return {
    ...(requested === undefined ? {} : { internal: shareBeyond(requested, used ?? 0) }),
    external: shareBeyond(largestFree ?? free, free),
  };
}

/** 1 - part / whole, between 0 and 1; 0 of nothing. */
function shareBeyond(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(1, Math.max(0, 1 - part / whole));
}

/** What one pass over the blocks gives. */
interface Walked {
  readonly maps: SnapshotMap[];
  readonly sizes: SnapshotSizes[];
  readonly blocks: Snapshot['blocks'];
  /** Start and end of each block, for free runs. */
  readonly spans: Float64Array;
}

function walkBlocks(subject: Subject, ranges: Snapshot['ranges'], withBlocks: boolean): Walked {
  const pos: number[] = [];
  const size: number[] = [];
  const align: number[] = [];
  const fills = ranges.map((range) => new RangeFill(range.start, range.size));
  const sizes = new SizeGroups();
  let spans = new Float64Array(1024);
  let count = 0;
  let fill = fills[0];
  subject.walk?.((at, length, boundary) => {
    if (withBlocks) {
      pos.push(at);
      size.push(length);
      if (boundary !== undefined) align.push(boundary);
    }
    // Blocks come in order, so they change range seldom.
    if (fill?.holds(at) !== true) fill = fills.find((candidate) => candidate.holds(at));
    fill?.add(at, length);
    sizes.add(length);
    if (count + 2 > spans.length) {
      const grown = new Float64Array(spans.length * 2);
      grown.set(spans);
      spans = grown;
    }
    spans[count++] = at;
    spans[count++] = at + length;
  });
  return {
    maps: fills.map((fill) => fill.finish()),
    sizes: sizes.finish(),
    blocks: withBlocks ? { pos, size, ...(align.length > 0 ? { align } : {}) } : undefined,
    spans: spans.subarray(0, count),
  };
}

/** Blocks by log2 of their size. */
class SizeGroups {
  readonly #blocks = new Float64Array(64);
  readonly #sizes = new Float64Array(64);

  add(size: number): void {
    const power = size < 2 ** 31 ? 31 - Math.clz32(size) : Math.floor(Math.log2(size));
    this.#blocks[power] = (this.#blocks[power] as number) + 1;
    this.#sizes[power] = (this.#sizes[power] as number) + size;
  }

  finish(): SnapshotSizes[] {
    const groups: SnapshotSizes[] = [];
    this.#blocks.forEach((blocks, power) => {
      if (blocks > 0) groups.push({ from: 2 ** power, blocks, size: this.#sizes[power] as number });
    });
    return groups;
  }
}

const LEVELS = 15;

/** The cells of one range. */
class RangeFill {
  readonly #start: number;
  readonly #size: number;
  readonly #cellSize: number;
  readonly #cells = new Float64Array(MAP_CELLS);

  constructor(start: number, size: number) {
    this.#start = start;
    this.#size = size;
    this.#cellSize = Math.max(1, 2 ** Math.ceil(Math.log2(Math.max(1, size / MAP_CELLS))));
  }

  holds(pos: number): boolean {
    return pos >= this.#start && pos - this.#start < this.#size;
  }

  add(pos: number, size: number): void {
    const from = pos - this.#start;
    const end = Math.min(from + size, this.#size);
    let cell = Math.floor(from / this.#cellSize);
    for (let at = from; at < end; cell++) {
      const next = Math.min(end, (cell + 1) * this.#cellSize);
      this.#cells[cell] = (this.#cells[cell] as number) + next - at;
      at = next;
    }
  }

  finish(): SnapshotMap {
    let cells = '';
    for (const filled of this.#cells) {
      const share = filled / this.#cellSize;
      const level = share <= 0 ? 0 : share >= 1 ? LEVELS : 1 + Math.floor(share * (LEVELS - 1));
      cells += level.toString(16);
    }
    return { start: this.#start, cellSize: this.#cellSize, cells: cells.replace(/0+$/u, '') };
  }
}

function sectionsOf(
  subject: Subject,
  ranges: Snapshot['ranges'],
  walked: Walked | undefined,
): SnapshotSection[] | undefined {
  if (typeof subject.managedSections === 'function') {
    return subject
      .managedSections()
      .map(({ start, size, physStart, totalPages, freePages, freeRuns }) => ({
        start,
        size,
        physStart,
        totalPages,
        freePages,
        freeRuns: [...freeRuns],
      }));
  }
  const { pageSize } = subject;
  if (pageSize === undefined || walked === undefined) return undefined;
  return ranges.map(({ start, size }) => {
    const { freePages, freeRuns } = alignedRuns(start, size, pageSize, walked.spans);
    return { start, size, physStart: start, totalPages: size / pageSize, freePages, freeRuns };
  });
}

function cpusOf(subject: Subject): Pick<Snapshot, 'cpus'> {
  const { cpus } = subject;
  if (typeof subject.cpu !== 'function' || cpus === undefined) return {};
  const listed: { index: number; classes: SnapshotSlabClass[] }[] = [];
  for (let index = 0; index < cpus; index++) {
    try {
      const classes = subject.cpu(index).classes().map(slabClass);
      listed.push({ index, classes });
    } catch (error) {
      // A CPU whose slabs another one has adopted is closed: it has nothing to show.
      if ((error as { code?: string }).code !== 'ERR_CLOSED') throw error;
    }
  }
  return { cpus: listed };
}

function slabClass(stats: SnapshotSlabClass): SnapshotSlabClass {
  const { objectSize, slabs, objects, active, partial, full, empty, pendingRemote } = stats;
  return { objectSize, slabs, objects, active, partial, full, empty, pendingRemote };
}

function classesOf(classes: unknown, kind: string): Partial<Snapshot> {
  if (!Array.isArray(classes)) return {};
  if (kind === 'slab') {
    return {
      heldClasses: (classes as NonNullable<Snapshot['heldClasses']>).map(
        ({ objectSize, active, heldBytes }) => ({ objectSize, active, heldBytes }),
      ),
    };
  }
  if (kind !== 'heap') return { slabClasses: (classes as SnapshotSlabClass[]).map(slabClass) };
  return {
    heapClasses: (classes as NonNullable<Snapshot['heapClasses']>).map(
      ({ size, blocks, slabs, cached }) => ({ size, blocks, slabs, cached }),
    ),
  };
}
