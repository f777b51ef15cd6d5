/**
 * @file Text in the formats of `/proc/buddyinfo` and `/proc/slabinfo` 2.1, column for column.
 *
 * The kernel's field widths are kept (`%6lu ` for each order; `%-17s %6lu %6lu %6u %4u %4d` for each
 * cache), so whatever reads the originals reads these. What has no counterpart here is named once:
 *
 * - A *node* is a section, in order of addition. Its *zone* is `DMA32` where all of it lies below 4 GiB
 *   of physical address, else `Normal`.
 * - A *cache* is a size class, `kmalloc-<size>`, over all CPUs. There are no tunables and no shared
 *   arrays: those columns are 0, as SLUB writes them.
 *
 * Not here: where the figures come from (`snapshot.ts`), the pagetypeinfo form (`pagetypeinfo.ts`).
 */
import { failure, invalidType } from '../errors.ts';
import { KERNEL_TEXT_SHAPE } from './shape.ts';
import type { Snapshot, SnapshotSection, SnapshotSlabClass } from './snapshot.ts';

/** Orders that the kernel shows: 0 to 10; more where a section has larger runs. */
const ORDERS_MIN = 11;

/** Where the kernel's DMA32 zone ends. */
const DMA32_END = 2 ** 32;

/** Throws unless `value` is what `snapshot()` makes. */
function assertSnapshot(value: unknown): asserts value is Snapshot {
  if (typeof value !== 'object' || value === null) {
    throw invalidType('snapshot', 'a snapshot', value);
  }
  KERNEL_TEXT_SHAPE(value, 'snapshot');
}

/**
 * The free runs of a snapshot as the lines of `/proc/buddyinfo`: one for each section.
 *
 * @param snapshot - Of 'buddy-pages', 'two-level' or 'bitmap'.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` for a snapshot without sections of pages.
 *
 * @example
 * ```text
 * Node 0, zone    DMA32      1      0      1      1      0      1      1      0      1      1      3
 * ```
 */
export function toBuddyinfo(snapshot: Pick<Snapshot, 'schema'>): string {
  assertSnapshot(snapshot);
  const { sections, kind } = snapshot;
  if (sections === undefined || sections.length === 0) {
    throw failure('ERR_INVALID_PARAM', `a snapshot of kind '${kind}' has no sections of pages`);
  }
  const orders = Math.max(ORDERS_MIN, ...sections.map(({ freeRuns }) => freeRuns.length));
  const line = (section: SnapshotSection, index: number): string => {
    const counts = Array.from(
      { length: orders },
      (_, order) => `${String(section.freeRuns[order] ?? 0).padStart(6)} `,
    );
    return `Node ${index}, zone ${zoneOf(section).padStart(8)} ${counts.join('')}\n`;
  };
  return sections.map(line).join('');
}

function zoneOf({ physStart, size }: SnapshotSection): string {
  return physStart + size <= DMA32_END ? 'DMA32' : 'Normal';
}

/** What a line of slabinfo says. */
interface Cache {
  readonly name: string;
  readonly activeObjects: number;
  readonly objects: number;
  readonly objectSize: number;
  readonly slabs: number;
  readonly activeSlabs: number;
}

/**
 * The size classes of a snapshot as `/proc/slabinfo`, version 2.1: a cache for each class, over all CPUs.
 *
 * @param snapshot - Of 'two-level', 'slab-cache' or a Heap.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` for a snapshot without slabs.
 *
 * @remarks For a Heap, whose slabs of a class differ in size, `<num_objs>` counts live and cached blocks,
 * and `<objperslab>` is their mean.
 */
export function toSlabinfo(snapshot: Pick<Snapshot, 'schema'>): string {
  assertSnapshot(snapshot);
  const caches = cachesOf(snapshot);
  if (caches === undefined) {
    throw failure('ERR_INVALID_PARAM', `a snapshot of kind '${snapshot.kind}' has no slabs`);
  }
  const pageSize = snapshot.pageSize ?? 4096;
  const head =
    '# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>' +
    ' : tunables <limit> <batchcount> <sharedfactor>' +
    ' : slabdata <active_slabs> <num_slabs> <sharedavail>';
  const lines = caches.map((cache) => cacheLine(cache, pageSize));
  return `${['slabinfo - version: 2.1', head, ...lines].join('\n')}\n`;
}

function cachesOf(snapshot: Snapshot): Cache[] | undefined {
  const { cpus, slabClasses, heapClasses } = snapshot;
  if (cpus !== undefined) return sumClasses(cpus.map(({ classes }) => classes));
  if (slabClasses !== undefined) return sumClasses([slabClasses]);
  return heapClasses?.map(({ size, blocks, slabs, cached }) => ({
    name: `heap-${size}`,
    activeObjects: blocks,
    objects: blocks + cached,
    objectSize: size,
    slabs,
    activeSlabs: slabs,
  }));
}

/** The classes of all CPUs, class by class. */
function sumClasses(cpus: readonly (readonly SnapshotSlabClass[])[]): Cache[] {
  const caches = new Map<number, Cache>();
  for (const entry of cpus.flat()) {
    const cache = caches.get(entry.objectSize);
    caches.set(entry.objectSize, {
      name: `kmalloc-${entry.objectSize}`,
      activeObjects: (cache?.activeObjects ?? 0) + entry.active,
      objects: (cache?.objects ?? 0) + entry.objects,
      objectSize: entry.objectSize,
      slabs: (cache?.slabs ?? 0) + entry.slabs,
      activeSlabs: (cache?.activeSlabs ?? 0) + entry.slabs - entry.empty,
    });
  }
  // Every CPU lists its classes by ascending size.
  return [...caches.values()];
}

function cacheLine(cache: Cache, pageSize: number): string {
  const { objectSize, slabs, objects } = cache;
  // Without a slab there is nothing to see it from: what the first one would have.
  const pagesFirst = Math.max(
    Math.min(4, Math.max(1, Math.ceil((32 * objectSize) / pageSize))),
    Math.ceil(objectSize / pageSize),
  );
  const perSlab =
    slabs === 0 || objects === 0
      ? Math.floor((pagesFirst * pageSize) / objectSize)
      : Math.ceil(objects / slabs);
  const pages = Math.ceil((perSlab * objectSize) / pageSize);
  const counts =
    `${cache.name.padEnd(17)} ${right(cache.activeObjects, 6)} ${right(objects, 6)} ` +
    `${right(objectSize, 6)} ${right(perSlab, 4)} ${right(pages, 4)}`;
  const tunables = ` : tunables ${right(0, 4)} ${right(0, 4)} ${right(0, 4)}`;
  const slabData = ` : slabdata ${right(cache.activeSlabs, 6)} ${right(slabs, 6)} ${right(0, 6)}`;
  return counts + tunables + slabData;
}

function right(value: number, width: number): string {
  return String(value).padStart(width);
}
