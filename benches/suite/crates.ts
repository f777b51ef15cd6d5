/** @file The workloads of the native engines beside the bare crates: B4, B5, B6, B16, B18. Rust only, but for the Heap's own row of B16. */
import {
  type Column,
  column,
  divide,
  type Job,
  type Profile,
  ratio,
  type Target,
  type Workload,
} from './types.ts';

/** The crates that a family wraps: ours, bare. */
const FAMILIES = [
  { ours: 'buddy (ours)', bare: 'buddy_system_allocator' },
  { ours: 'tlsf (ours)', bare: 'rlsf' },
  { ours: 'slab (ours)', bare: 'ax_slab_allocator' },
] as const;

const BARE = [
  'buddy_system_allocator',
  'rlsf',
  'ax_slab_allocator',
  'buddy-slab-allocator',
  'talc',
  'glibc',
];
/** The engine with the Heap's size classes instead of the kernel's nine. */
const FINE = 'two-level, fine classes (ours)';
const OURS = ['two-level', FINE, ...FAMILIES.map(({ ours }) => ours)];

function native(
  entry: string,
  path: string,
  group: string,
  args: readonly string[],
  rounds: number,
): Job {
  return { path, group, side: 'native', entry, args: [`peer=${path}`, ...args], rounds };
}

const COLLECTIONS = ['free-25K', 'free-7500', 'vec-push-3M', 'btree-map-50K', 'replace-100K'];

const collections: Workload = {
  id: 'B4',
  title: 'Collections of a kernel: shuffled frees, a vector, a map, replacement',
  unit: 'ms, replacement ns per pair',
  shows:
    'The engines from Rust, without JavaScript. Ours include the live table and, for the families, the mirror: every free is checked. The bare crates check nothing.',
  jobs: ({ quick, rounds }) =>
    COLLECTIONS.flatMap((name) =>
      [...OURS, ...BARE].map((path) => {
        // The buddy walks its free list: seconds a pass, and the same every time.
        const slow = path.startsWith('buddy') && path !== 'buddy-slab-allocator';
        const times = slow ? 1 : Math.min(3, rounds);
        return native('B4', path, name, [`case=${name}`, `passes=${quick || slow ? 1 : 3}`], times);
      }),
    ),
  columns: COLLECTIONS.map(column),
  chart: 'replace-100K',
  targets: [
    ratio(
      'two-level, 25 K x 512 B, to bare buddy',
      1 / 3000,
      'two-level',
      'buddy_system_allocator',
      'free-25K',
    ),
    ratio(
      'two-level, 7500 x 4160 B, to bare buddy',
      1 / 1000,
      'two-level',
      'buddy_system_allocator',
      'free-7500',
    ),
    ratio('two-level, replacement, to rlsf', 1, 'two-level', 'rlsf', 'replace-100K'),
    ...FAMILIES.map(({ ours, bare }): Target => ({
      name: `${ours}, worst case, to its bare crate`,
      limit: 1.5,
      figure: (figures) => {
        const ratios = COLLECTIONS.map((name) => divide(figures(ours, name), figures(bare, name)));
        const known = ratios.filter((value) => value !== undefined);
        return known.length === 0 ? undefined : Math.max(...known);
      },
    })),
  ],
};

const PAIRS = [100, 500, 1000, 2000, 5000, 100_000];

const freeScan: Workload = {
  id: 'B5',
  title: 'The free scan: free the even blocks, then the odd ones',
  unit: 'ns per free',
  shows:
    'Whether a free costs the same whatever else is free. 64 B blocks; the bare buddy stops at 5000 pairs, where a free takes microseconds.',
  jobs: ({ rounds }) =>
    PAIRS.flatMap((pairs) =>
      ['two-level', 'buddy_system_allocator', 'rlsf', 'buddy-slab-allocator']
        .filter((path) => path !== 'buddy_system_allocator' || pairs <= 5000)
        .map((path) => {
          const few = path === 'buddy_system_allocator' ? ['passes=1'] : [];
          return native('B5', path, `${pairs}`, [`pairs=${pairs}`, ...few], Math.min(3, rounds));
        }),
    ),
  columns: PAIRS.map((pairs) => column(`${pairs} pairs`)),
  chart: '5000 pairs',
  targets: [
    {
      name: 'two-level, a free at 100 K, to one at 100',
      limit: 1.5,
      figure: (figures) =>
        divide(figures('two-level', '100000 pairs'), figures('two-level', '100 pairs')),
    },
    ratio(
      'two-level at 5000, to bare buddy',
      0.01,
      'two-level',
      'buddy_system_allocator',
      '5000 pairs',
    ),
  ],
};

const MAP_STATES = ['empty', 'checkerboard', 'random'];
const MAP_CASES = [1, 2, 16, 512].flatMap((count) => [`${count} pages`, `${count} pages, 2 MiB`]);

/** The worst ratio over the cases that `keep` accepts. */
function worstBitmap(
  name: string,
  limit: number,
  keep: (state: string, request: string) => boolean,
): Target {
  return {
    name,
    limit,
    figure: (figures) => {
      const ratios: number[] = [];
      for (const state of MAP_STATES) {
        for (const request of MAP_CASES) {
          const of = `${state}, ${request}`;
          const value = divide(figures('bitmap (ours)', of), figures('bitmap-allocator', of));
          if (value !== undefined && keep(state, request)) ratios.push(value);
        }
      }
      return ratios.length === 0 ? undefined : Math.max(...ratios);
    },
  };
}

/** The requests that walk the peer's whole map: contiguous pages, of which a checkerboard has none. */
const isScan = (state: string, request: string): boolean =>
  state === 'checkerboard' && !request.startsWith('1 ') && !request.includes('MiB');

const bitmap: Workload = {
  id: 'B6',
  title: 'Contiguous pages out of a map of one million',
  unit: 'ns per request and its undoing',
  shows:
    'A request and its undoing; one that fails is timed like one that succeeds. Ours checks every free and keeps an index; a bare request for one page on an empty map is a handful of instructions.',
  jobs: ({ rounds }) =>
    MAP_STATES.flatMap((state) =>
      ['bitmap (ours)', 'buddy-pages (ours)', 'bitmap-allocator'].map((path) =>
        native('B6', path, state, [`state=${state}`, 'passes=2'], Math.min(3, rounds)),
      ),
    ),
  columns: MAP_STATES.flatMap((state) =>
    MAP_CASES.map((request) => column(`${state}, ${request}`)),
  ),
  chart: 'checkerboard, 16 pages',
  targets: [
    worstBitmap('contiguous pages on a checkerboard, worst', 0.001, isScan),
    worstBitmap('every other case, worst', 2, (state, request) => !isScan(state, request)),
  ],
};

const fragmentation: Workload = {
  id: 'B16',
  title: 'Fragmentation: 128 MiB filled until refused, then five rounds of churn',
  unit: 'as named',
  shows:
    'Sizes below a power of two from 2^6 to 2^15 chosen at random. `useful`: bytes asked for over the arena. `RSS / live` after freeing 90 % at random and refilling, five times; the C allocators have no arena to fill.',
  jobs: () => [
    {
      path: 'heap',
      group: '',
      side: 'js',
      entry: 'b16-fragmentation.bench',
      args: ['path=heap'],
      rounds: 1,
    },
    ...[
      'two-level',
      FINE,
      'tlsf (ours)',
      'buddy_system_allocator',
      'rlsf',
      'talc',
      'glibc',
      'mimalloc',
    ].map((path) => native('B16', path, '', [], 1)),
  ],
  columns: [column('useful'), column('RSS / live')],
  chart: 'useful',
  targets: [
    {
      name: 'useful bytes, TLSF, %',
      limit: 96,
      atLeast: true,
      absolute: true,
      figure: (figures) => figures('tlsf (ours)', 'useful'),
    },
    {
      name: 'useful bytes, two-level, %',
      limit: 85,
      atLeast: true,
      absolute: true,
      figure: (figures) => figures('two-level', 'useful'),
    },
    {
      name: 'RSS / live, TLSF',
      limit: 1.2,
      absolute: true,
      figure: (figures) => figures('tlsf (ours)', 'RSS / live'),
    },
    {
      name: 'RSS / live, two-level',
      limit: 1.2,
      absolute: true,
      figure: (figures) => figures('two-level', 'RSS / live'),
    },
    {
      name: 'useful bytes, Heap, %',
      limit: 85,
      atLeast: true,
      absolute: true,
      goal: true,
      figure: (figures) => figures('heap', 'useful'),
    },
    {
      name: 'RSS / live, Heap',
      limit: 1.2,
      absolute: true,
      figure: (figures) => figures('heap', 'RSS / live'),
    },
  ],
};

const TAIL: Column[] = [column('p50'), column('p99.99'), column('max')];

const tail: Workload = {
  id: 'B18',
  title: 'The tail: 10 M operations by the cycle counter',
  unit: 'ns',
  shows:
    'Frees and allocs of random replacement over 2^16 blocks among as many holes. The empty loop’s maximum is what interrupts and the hypervisor do to any loop, and its median what reading the counter costs; compare nothing finer.',
  jobs: ({ quick, rounds }: Profile) =>
    ['two-level', 'tlsf (ours)', 'buddy_system_allocator', 'rlsf', 'glibc', 'empty loop'].map(
      (path) =>
        native('B18', path, '', [`steps=${quick ? 1_000_000 : 10_000_000}`], Math.min(3, rounds)),
    ),
  columns: TAIL,
  chart: 'p99.99',
  targets: [
    {
      name: 'TLSF, p99.99 over p50',
      limit: 8,
      figure: (figures) => divide(figures('tlsf (ours)', 'p99.99'), figures('tlsf (ours)', 'p50')),
    },
    ratio('two-level max, to bare buddy max', 0.001, 'two-level', 'buddy_system_allocator', 'max'),
    ratio(
      'two-level p99.99, to bare buddy p99.99',
      0.01,
      'two-level',
      'buddy_system_allocator',
      'p99.99',
      { goal: true },
    ),
  ],
};

/** In the order of their numbers. */
export const crateWorkloads: readonly Workload[] = [
  collections,
  freeScan,
  bitmap,
  fragmentation,
  tail,
];
