/**
 * @file `createAllocator`, typed by `kind`; `features()`; `withFeatures()`.
 *
 * {@link KINDS} is the one list of what can be made: a new kind is a line in it, and an overload. A
 * kind is there when its Cargo feature was compiled in; `withFeatures` narrows that further, at run
 * time, to what a kernel's build configuration would select.
 *
 * Not here: what an allocator does (one file per class).
 */
import { createRequire } from 'node:module';
import { BitmapPageAllocator, assertPageMap } from './bitmap.ts';
import { BuddyAllocator } from './buddy-pages.ts';
import { BuddyByteAllocator } from './buddy.ts';
import type { ByteAllocator } from './byte-family.ts';
import { failure, invalidType } from './errors.ts';
import type { AllocatorKind } from './family.ts';
import { BitmapIdAllocator } from './id.ts';
import { native } from './native.ts';
import {
  copyOptions,
  isBooleanOrLeftOut,
  isNumber,
  isNumberOrLeftOut,
  pageSizeOf,
} from './options.ts';
import { SlabAllocator } from './slab-cache.ts';
import type { SlabCacheOptions } from './slab-cache.ts';
import { SlabByteAllocator } from './slab.ts';
import type { RegionPlace } from './sections.ts';
import { TlsfByteAllocator } from './tlsf.ts';
import { GlobalAllocator } from './two-level.ts';

/** A range of addresses for a new allocator. */
export interface RangeOptions {
  /** First address of the range. Default: 1 MiB. Any multiple of 4096 (of `pageSize` for pages) but 0. */
  start?: number;
  /** A multiple of 4096 (of `pageSize`; of 32 KiB for 'slab'). 'slab' ends at 4 GiB: `ERR_CAPACITY`. */
  size: number;
  /** Real bytes behind the range? Default: true for bytes, false for pages. */
  memory?: boolean;
}

/** A range of pages. */
export interface PageOptions extends RangeOptions {
  /** In bytes, a power of two; default 4096. */
  pageSize?: number;
}

/** A range of pages under a bitmap. */
export interface BitmapOptions extends PageOptions {
  /** What the map can ever hold, counted from `start`: added ranges must lie in it. Default: the smallest map that holds `size`. */
  capacityBytes?: number;
}

/** A range of pages under binary buddies. */
export interface BuddyPagesOptions extends PageOptions {
  /** Physical address of `start`. Default: `start` itself. */
  physStart?: number;
}

/** A range for pages and per-CPU slabs. */
export interface TwoLevelOptions extends PageOptions {
  /** Default 1, up to 256. */
  cpus?: number;
  /** Physical address of `start`, for `allocPagesLowmem`. Default: `start` itself. */
  physStart?: number;
}

/** Up to 2^28 ids. */
export interface IdOptions {
  /** The first id; default 0, and 0 is an id. */
  start?: number;
  /** How many ids. */
  size: number;
}

/** The Cargo features of the seed, as run-time flags. */
export type FeatureFlag =
  | 'buddy'
  | 'tlsf'
  | 'slab'
  | 'bitmap'
  | 'two-level'
  | 'full'
  | 'page-alloc-256m'
  | 'page-alloc-4g'
  | 'page-alloc-64g'
  | 'page-alloc-1t';

/** What a build, or a factory, contains. */
export interface Features {
  /** The kinds that `createAllocator` makes. */
  readonly kinds: readonly AllocatorKind[];
  /** Cargo features. */
  readonly cargo: readonly string[];
  /** Of this package. */
  readonly version: string;
  /** How native memory becomes visible: external ArrayBuffers, or SharedArrayBuffers of the runtime. */
  readonly backend: 'external' | 'shared';
}

/** Where ranges begin when `start` is left out. */
const START_DEFAULT = 2 ** 20;

/** One kind of allocator: a line in {@link KINDS}. */
interface KindEntry {
  readonly kind: AllocatorKind;
  /** The Cargo feature that brings it. */
  readonly flag: FeatureFlag;
  /** The options that it takes, beside `kind`. */
  readonly keys: readonly string[];
  /** Makes one. `options` are copies, their types checked, only keys of `keys`. */
  readonly make: (options: Readonly<Record<string, unknown>>) => unknown;
}

const BYTE_KEYS = ['start', 'size', 'memory'] as const;
const PAGE_KEYS = [...BYTE_KEYS, 'pageSize'] as const;

/** Every kind there is, in the order in which `features()` lists them. */
const KINDS: readonly KindEntry[] = [
  {
    kind: 'buddy',
    flag: 'buddy',
    keys: BYTE_KEYS,
    make: (options) => started(new BuddyByteAllocator(only(options, ['memory'])), options),
  },
  {
    kind: 'tlsf',
    flag: 'tlsf',
    keys: BYTE_KEYS,
    make: (options) => started(new TlsfByteAllocator(only(options, ['memory'])), options),
  },
  {
    kind: 'slab',
    flag: 'slab',
    keys: BYTE_KEYS,
    make: (options) => started(new SlabByteAllocator(only(options, ['memory'])), options),
  },
  {
    kind: 'bitmap',
    flag: 'bitmap',
    keys: [...PAGE_KEYS, 'capacityBytes'],
    make: (options) =>
      started(
        new BitmapPageAllocator(only(options, ['memory', 'pageSize', 'capacityBytes'])),
        options,
      ),
  },
  {
    kind: 'id',
    flag: 'bitmap',
    keys: ['start', 'size'],
    make: (options) => started(new BitmapIdAllocator(), options, 0),
  },
  {
    kind: 'two-level',
    flag: 'two-level',
    keys: [...PAGE_KEYS, 'cpus', 'physStart'],
    make: (options) =>
      started(new GlobalAllocator(only(options, ['memory', 'pageSize', 'cpus'])), options),
  },
  {
    kind: 'buddy-pages',
    flag: 'two-level',
    keys: [...PAGE_KEYS, 'physStart'],
    make: (options) => started(new BuddyAllocator(only(options, ['memory', 'pageSize'])), options),
  },
  {
    kind: 'slab-cache',
    flag: 'two-level',
    keys: ['pageSize'],
    make: (options) => new SlabAllocator(options),
  },
];

/** Without `kind`: the first of these that is there. */
const KINDS_DEFAULT: readonly AllocatorKind[] = ['tlsf', 'slab', 'buddy'];

/** Calls `init` on a new allocator; closes it again if that throws. Large pages move the first address. */
function started<
  T extends { init(start: number, size: number, place?: RegionPlace): void; close(): void },
>(allocator: T, options: Readonly<Record<string, unknown>>, startDefault = START_DEFAULT): T {
  const { start, size, pageSize } = options as Readonly<Record<string, number | undefined>>;
  try {
    // Ids begin at 0; pages larger than 1 MiB begin at the second of them.
    const first = startDefault === 0 ? 0 : Math.max(startDefault, pageSize ?? 0);
    allocator.init(start ?? first, size as number, only(options, ['physStart']));
  } catch (error) {
    allocator.close();
    throw error;
  }
  return allocator;
}

/** Those of `options` that a constructor takes. */
function only(options: Readonly<Record<string, unknown>>, keys: readonly string[]): object {
  return Object.fromEntries(keys.filter((key) => key in options).map((key) => [key, options[key]]));
}

/** Throws unless every option is of the type that its name stands for. */
function assertTypes(entry: KindEntry, options: Readonly<Record<string, unknown>>): void {
  for (const key of entry.keys) {
    const name = `options.${key}`;
    if (key === 'memory') isBooleanOrLeftOut(options[key], name);
    else if (key === 'size') isNumber(options[key], name);
    else isNumberOrLeftOut(options[key], name);
  }
}

/** Makes an allocator of a factory that has only `features`. */
function create(given: unknown, features: readonly string[]): unknown {
  if (given === undefined) throw invalidType('options', 'an object', given);
  const everyKey = [...new Set(['kind', ...KINDS.flatMap((entry) => entry.keys)])];
  const options = copyOptions(given, 'options', everyKey);
  const entry = entryOf(options['kind'], features);
  delete options['kind'];
  const unknown = Object.keys(options).find((key) => !entry.keys.includes(key));
  if (unknown !== undefined) {
    throw failure(
      'ERR_INVALID_PARAM',
      `options has the key ${JSON.stringify(unknown)}, which kind '${entry.kind}' does not take`,
    );
  }
  assertTypes(entry, options);
  if (!features.includes(entry.flag)) throw disabled(entry);
  if (entry.kind === 'bitmap') {
    const pageSize = pageSizeOf(options['pageSize'] as number | undefined);
    for (const name of ['size', 'capacityBytes']) {
      const bytes = options[name];
      if (Number.isSafeInteger(bytes)) assertPageMap(name, bytes as number, pageSize, features);
    }
  }
  return entry.make(options);
}

/** The line of {@link KINDS} that `kind` names, or that a factory without one takes. */
function entryOf(kind: unknown, features: readonly string[]): KindEntry {
  if (kind === undefined) {
    const known = KINDS_DEFAULT.map(
      (name) => KINDS.find((entry) => entry.kind === name) as KindEntry,
    );
    return known.find((entry) => features.includes(entry.flag)) ?? (known[0] as KindEntry);
  }
  if (typeof kind !== 'string') throw invalidType('options.kind', 'a string', kind);
  const entry = KINDS.find((candidate) => candidate.kind === kind);
  if (entry === undefined) {
    throw failure(
      'ERR_INVALID_PARAM',
      `options.kind must be one of ${KINDS.map((candidate) => candidate.kind).join(', ')}, got ${JSON.stringify(kind.slice(0, 40))}`,
    );
  }
  return entry;
}

function disabled(entry: KindEntry): Error {
  return failure(
    'ERR_FEATURE_DISABLED',
    `kind '${entry.kind}' needs the feature '${entry.flag}', which is not enabled: build with --features ${entry.flag}`,
  );
}

/** The Cargo features of this binary. */
function built(): readonly string[] {
  return native().binding.features();
}

/**
 * Makes and initializes an allocator; its class follows from `kind`.
 *
 * @param options - The kind, its range, and what else the kind takes. Without `kind`: the byte family
 * that is there; where several are, 'tlsf', then 'slab', then 'buddy'.
 * @throws {@link AllocError} `ERR_FEATURE_DISABLED` for a kind that this build left out.
 *
 * @example
 * ```ts
 * const tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
 * const ptr = tlsf.alloc(1024, 16);
 * tlsf.dealloc(ptr);
 * ```
 */
export function createAllocator(options: { kind?: undefined } & RangeOptions): ByteAllocator;
export function createAllocator(options: { kind: 'buddy' } & RangeOptions): BuddyByteAllocator;
export function createAllocator(options: { kind: 'tlsf' } & RangeOptions): TlsfByteAllocator;
export function createAllocator(options: { kind: 'slab' } & RangeOptions): SlabByteAllocator;
export function createAllocator(options: { kind: 'bitmap' } & BitmapOptions): BitmapPageAllocator;
export function createAllocator(options: { kind: 'id' } & IdOptions): BitmapIdAllocator;
export function createAllocator(options: { kind: 'two-level' } & TwoLevelOptions): GlobalAllocator;
export function createAllocator(
  options: { kind: 'buddy-pages' } & BuddyPagesOptions,
): BuddyAllocator;
export function createAllocator(options: { kind: 'slab-cache' } & SlabCacheOptions): SlabAllocator;
export function createAllocator(options: unknown): unknown {
  return create(options, built());
}

/** What this build contains: names of kinds and Cargo features, package version, backend of the buffers. */
export function features(): Features {
  return describeFeatures(built());
}

function describeFeatures(cargo: readonly string[]): Features {
  return Object.freeze({
    kinds: Object.freeze(
      KINDS.filter((entry) => cargo.includes(entry.flag)).map((entry) => entry.kind),
    ),
    cargo: Object.freeze([...cargo]),
    version: packageVersion(),
    backend: native().binding.backend(),
  });
}

/** By the package's own name: the same from source and from dist/. */
function packageVersion(): string {
  const require = createRequire(import.meta.url);
  const { version } = require('heapwright/package.json') as { version: string };
  return version;
}

/** Every flag of {@link FeatureFlag}, with those that it brings along. */
const FLAGS: Readonly<Record<FeatureFlag, readonly FeatureFlag[]>> = {
  buddy: [],
  tlsf: [],
  slab: [],
  bitmap: ['page-alloc-256m'],
  'two-level': [],
  full: ['buddy', 'tlsf', 'slab', 'bitmap', 'two-level', 'page-alloc-1t'],
  'page-alloc-256m': [],
  'page-alloc-4g': ['page-alloc-256m'],
  'page-alloc-64g': ['page-alloc-4g'],
  'page-alloc-1t': ['page-alloc-64g'],
};

/**
 * The factory as a build with only these features would offer it.
 *
 * @param flags - As in Cargo: 'bitmap' brings 'id' and pages up to 256 MiB of 4 KiB, more by the
 * `page-alloc-*` flags; 'full' brings everything.
 * @returns A factory whose other kinds throw `ERR_FEATURE_DISABLED` naming the flag.
 * @throws {@link AllocError} `ERR_FEATURE_DISABLED` for a flag that this build lacks.
 */
export function withFeatures(...flags: FeatureFlag[]): {
  readonly createAllocator: typeof createAllocator;
  readonly features: typeof features;
} {
  for (const [index, flag] of flags.entries()) {
    if (typeof flag !== 'string') throw invalidType(`flags[${index}]`, 'a string', flag);
  }
  const enabled = new Set<string>();
  const enable = (flag: FeatureFlag): void => {
    enabled.add(flag);
    FLAGS[flag].forEach(enable);
  };
  for (const [index, flag] of flags.entries()) {
    if (!Object.hasOwn(FLAGS, flag)) {
      throw failure(
        'ERR_INVALID_PARAM',
        `flags[${index}] must be one of ${Object.keys(FLAGS).join(', ')}, got ${JSON.stringify((flag as string).slice(0, 40))}`,
      );
    }
    enable(flag);
  }
  const there = built();
  const missing = [...enabled].find((flag) => !there.includes(flag));
  if (missing !== undefined) {
    throw failure(
      'ERR_FEATURE_DISABLED',
      `feature '${missing}' was left out of this build: build with --features ${missing}`,
    );
  }
  const cargo = Object.freeze(there.filter((flag) => enabled.has(flag)));
  const factory = (options: unknown): unknown => create(options, cargo);
  return Object.freeze({
    createAllocator: factory as typeof createAllocator,
    features: () => describeFeatures(cargo),
  });
}
