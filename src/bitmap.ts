/**
 * @file `BitmapPageAllocator`: pages by first fit in a bitmap, the crate `bitmap-allocator` 0.4.6.
 *
 * One bit a page, in one of the crate's four maps; which one is chosen at run time, by what the map
 * must be able to hold. Contiguous runs are found by an index of our own that answers exactly what the
 * crate's search would answer, without its rescans.
 *
 * Not here: the index (`crates/heapwright-allocators`).
 */
import { failure } from './errors.ts';
import { FamilyCore, owned } from './family.ts';
import { native } from './native.ts';
import {
  copyOptions,
  isBooleanOrLeftOut,
  isNumber,
  isNumberOrLeftOut,
  pageSizeOf,
  positive,
} from './options.ts';
import { PageFamily } from './page-family.ts';
import type { PageAllocator } from './page-family.ts';

/** The crate's maps by the feature that a build needs for them, and the pages that each can hold. */
const PAGE_MAPS = [
  { flag: 'page-alloc-256m', pages: 2 ** 16 },
  { flag: 'page-alloc-4g', pages: 2 ** 20 },
  { flag: 'page-alloc-64g', pages: 2 ** 24 },
  { flag: 'page-alloc-1t', pages: 2 ** 28 },
];

/** The most pages that any map can hold. */
const PAGES_MAX = 2 ** 28;

/** What the constructor takes. */
export interface BitmapAllocatorOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
  /** Real bytes behind the range? Default: false. */
  memory?: boolean;
  /** What the map can ever hold, counted from `start`. Default: the smallest map that holds `size`. */
  capacityBytes?: number;
}

/** Pages by first fit; ranges are multiples of `pageSize`. */
export class BitmapPageAllocator extends PageFamily implements PageAllocator {
  /** @param options - The page size, whether bytes lie behind the pages, and room to grow. */
  constructor(options?: BitmapAllocatorOptions) {
    const given = copyOptions(options, 'options', ['pageSize', 'memory', 'capacityBytes']);
    const { pageSize, memory, capacityBytes } = given;
    isNumberOrLeftOut(pageSize, 'options.pageSize');
    isBooleanOrLeftOut(memory, 'options.memory');
    isNumberOrLeftOut(capacityBytes, 'options.capacityBytes');
    const page = pageSizeOf(pageSize);
    const capacity = capacityBytes === undefined ? 0 : positive(capacityBytes, 'capacityBytes');
    const { binding } = native();
    assertPageMap('capacityBytes', capacity, page, binding.features());
    super(
      new FamilyCore({
        kind: 'bitmap',
        owner: owned(() => new binding.NativeBitmap(page, memory ?? false, capacity)),
        units: { start: page, size: page, startMin: 1 },
        unit: 'pages',
        block: 'run of pages',
        memory: memory ?? false,
      }),
    );
  }

  /**
   * Gives the allocator its range; once.
   *
   * @param start - A multiple of `pageSize`, but not 0.
   * @param size - In bytes, a multiple of `pageSize`.
   * @throws {@link AllocError} `ERR_CAPACITY` above the largest map, `ERR_FEATURE_DISABLED` where this
   * build left that map out.
   */
  override init(start: number, size: number): void {
    isNumber(start, 'start');
    if (Number.isSafeInteger(size)) {
      assertPageMap('size', size, this.pageSize, native().binding.features());
    }
    super.init(start, size);
  }

  /** The name of the class. */
  override get [Symbol.toStringTag](): string {
    return 'BitmapPageAllocator';
  }
}

/**
 * Throws unless the crate has a map for so many bytes, among the features given.
 *
 * @param name - What the message calls the figure.
 * @param bytes - What the map must hold.
 * @param features - Which of the `page-alloc-*` there are.
 */
export function assertPageMap(
  name: string,
  bytes: number,
  pageSize: number,
  features: readonly string[],
): void {
  const pages = Math.ceil(bytes / pageSize);
  const map = PAGE_MAPS.find((candidate) => candidate.pages >= pages);
  if (map === undefined) {
    throw failure(
      'ERR_CAPACITY',
      `${name} must be at most ${PAGES_MAX} pages (${PAGES_MAX * pageSize} bytes), got ${bytes}`,
    );
  }
  // A larger map holds a smaller range as well.
  const there = PAGE_MAPS.some(
    (candidate) => candidate.pages >= pages && features.includes(candidate.flag),
  );
  if (!there) {
    throw failure(
      'ERR_FEATURE_DISABLED',
      `${name} of ${bytes} bytes needs the feature '${map.flag}', which is not enabled: build with --features ${map.flag}`,
    );
  }
}
