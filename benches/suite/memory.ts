/** @file The workloads of large stores and of memory that comes and goes: B11 to B15. */
import { column, divide, type Job, ratio, type Workload } from './types.ts';

const STORES = ['heap', 'Map of objects', 'Map of Buffers', 'lru-cache', 'empty process'];
const GC_FLAGS = ['--expose-gc', '--max-old-space-size=12288'];

/** A store filled with `records`, then churned for `millis`. */
function storeJob(path: string, records: number, millis: number, rounds: number): Job {
  return {
    path,
    group: `${records}`,
    side: 'js',
    entry: 'b11-gc.bench',
    args: [`path=${path}`, `records=${records}`, `millis=${millis}`],
    flags: GC_FLAGS,
    rounds,
  };
}

const collector: Workload = {
  id: 'B11',
  title: 'What millions of records cost the garbage collector',
  unit: 'as named',
  shows:
    'Forced collections, the JavaScript heap, the event loop’s delay under a churn that promotes nothing. Stores that live long; no look-ups, no objects made out of records.',
  jobs: ({ quick }) => {
    const small = STORES.map((path) =>
      storeJob(path, 1_000_000, quick ? 500 : 2000, quick ? 1 : 2),
    );
    if (quick) return small;
    return [
      ...small,
      ...STORES.map((path) => storeJob(path, 10_000_000, 2000, 1)),
      storeJob('heap', 50_000_000, 0, 1),
    ];
  },
  columns: ['1 M', '10 M', '50 M'].flatMap((size) => [
    column(`${size}, put`),
    column(`${size}, gc()`),
    column(`${size}, JavaScript heap`),
    ...(size === '50 M' ? [] : [column(`${size}, p99.9 delay`)]),
  ]),
  chart: '10 M, gc()',
  targets: [
    ratio('gc() at 10 M, to Map', 0.006, 'heap', 'Map of objects', '10 M, gc()'),
    {
      name: 'the same without an empty process’s gc()',
      limit: 0.002,
      figure: (figures) => {
        const [ours, empty] = [
          figures('heap', '10 M, gc()'),
          figures('empty process', '10 M, gc()'),
        ];
        if (ours === undefined || empty === undefined) return undefined;
        return divide(Math.max(0, ours - empty), figures('Map of objects', '10 M, gc()'));
      },
    },
    {
      name: 'JavaScript heap at 10 M, MB',
      limit: 16,
      absolute: true,
      figure: (figures) => figures('heap', '10 M, JavaScript heap'),
    },
    {
      name: 'entries stored in one store (Map stops at 16.7 M)',
      limit: 50e6,
      atLeast: true,
      absolute: true,
      figure: (figures) => (figures('heap', '50 M, put') === undefined ? undefined : 50e6),
    },
  ],
};

const map: Workload = {
  id: 'B12',
  title: 'A map on a Heap',
  unit: 'ns',
  shows: 'get, put and delete by integer and string keys beside Map, lru-cache and lmdb.',
  jobs: () => [],
  columns: [],
  chart: '',
  targets: [],
  waits: 'a map on a Heap',
};

const fields: Workload = {
  id: 'B13',
  title: 'Fields of two million records',
  unit: 'ns per record',
  shows:
    'Reading and writing records. The heap’s lie in one block, read through a view of that block; in rows of their own the same through the whole-heap view, and a pool block each, reached through an array of addresses. The sort calls a comparator per comparison. `no OSR`: the same loops without on-stack replacement.',
  jobs: ({ quick, warm }) =>
    [
      'heap',
      'heap, whole-heap view',
      'heap, a pool block each',
      'array of objects',
      'Float64Array',
      'DataView',
    ].flatMap((path): Job[] => {
      const job = {
        path,
        side: 'js',
        entry: 'b13-fields.bench',
        rounds: quick ? 1 : 3,
      } as const;
      const args = [
        `path=${path}`,
        `warm=${Math.min(300, warm)}`,
        `records=${quick ? 500_000 : 2_000_000}`,
      ];
      return [
        { ...job, group: 'osr', args },
        { ...job, group: 'no osr', args: [...args, 'no-osr=1'], flags: ['--no-use-osr'] },
      ];
    }),
  columns: ['sum', 'update', 'sort', 'bytes per access', 'sum, no OSR', 'update, no OSR'].map(
    column,
  ),
  chart: 'sum',
  targets: [
    ...['sum', 'update', 'sort'].flatMap((loop) => [
      ratio(`${loop}, to objects`, 0.4, 'heap', 'array of objects', loop),
      ratio(`${loop}, to a bare Float64Array`, 1.1, 'heap', 'Float64Array', loop),
    ]),
    {
      name: 'bytes allocated per access',
      limit: 0,
      absolute: true,
      figure: (figures) => figures('heap', 'bytes per access'),
    },
  ],
};

const mappedFile: Workload = {
  id: 'B14',
  title: 'A mapped file',
  unit: 'ns',
  shows: 'A random 4 KiB page and a random field of a mapped file beside fs.readSync and lmdb.',
  jobs: () => [],
  columns: [],
  chart: '',
  targets: [],
  waits: 'file-backed regions',
};

const commit: Workload = {
  id: 'B15',
  title: 'Memory that comes and goes: 1 GiB',
  unit: 'ms/GiB',
  shows:
    'Page faults and the kernel’s zeroing. Each process touches and gives back as much once before, so that a hypervisor that takes free memory away from its guest (as this one does, within seconds) has it in place; `cold` is that first time. Depends on the huge-page setting named above. RSS after trim is a percentage of what had been touched.',
  jobs: ({ quick }) => {
    const mib = `mib=${quick ? 256 : 1024}`;
    const rounds = quick ? 1 : 3;
    const entry = 'b15-commit.bench';
    return [
      ...['heap', 'heap, huge pages', 'heap, populate', 'Buffer.alloc'].map((path): Job => ({
        path,
        group: '',
        side: 'js',
        entry,
        args: [`path=${path}`, mib],
        ...(path === 'Buffer.alloc' ? { flags: ['--expose-gc'] } : {}),
        rounds,
      })),
      {
        path: 'glibc',
        group: '',
        side: 'native',
        entry: 'B15',
        args: ['peer=glibc', mib, 'passes=2'],
        rounds,
      },
    ];
  },
  columns: [
    ...['4 KiB pages', 'huge pages', 'populate'].map((form) => column(`first touch, ${form}`)),
    ...['4 KiB pages', 'huge pages'].map((form) => column(`cold touch, ${form}`)),
    ...['4 KiB pages', 'huge pages'].flatMap((form) => [
      column(`second touch, ${form}`),
      column(`decommit, ${form}`),
      column(`RSS left after trim, ${form}`),
    ]),
    { name: 'free', cases: ['decommit'] },
  ],
  chart: 'first touch, 4 KiB pages',
  targets: [
    {
      name: 'first touch with huge pages, to 4 KiB pages',
      limit: 0.4,
      figure: (figures) =>
        divide(
          figures('heap, huge pages', 'first touch, huge pages'),
          figures('heap', 'first touch, 4 KiB pages'),
        ),
    },
    {
      name: 'decommit, to first touch',
      limit: 0.1,
      figure: (figures) =>
        divide(
          figures('heap', 'decommit, 4 KiB pages'),
          figures('heap', 'first touch, 4 KiB pages'),
        ),
    },
    {
      name: 'RSS left after trim, %',
      limit: 2,
      absolute: true,
      figure: (figures) => figures('heap', 'RSS left after trim, 4 KiB pages'),
    },
  ],
};

/** In the order of their numbers. */
export const memoryWorkloads: readonly Workload[] = [collector, map, fields, mappedFile, commit];
