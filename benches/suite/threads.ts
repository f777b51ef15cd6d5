/** @file The workloads over several threads: B7, B8, B9. */
import { column, divide, type Job, type Profile, type Target, type Workload } from './types.ts';

/** 1 to the number of cores, by doubling: the peer runs with the same. */
function threadCounts(cores: number): number[] {
  const counts: number[] = [];
  for (let n = 1; n < cores; n *= 2) counts.push(n);
  return [...counts, cores];
}

const MAX_COUNTS = [1, 2, 4, 8, 16];

interface ThreadJobs {
  readonly name: string;
  readonly entry: string;
  readonly peers: readonly string[];
  readonly paths: readonly string[];
  readonly counts: (profile: Profile) => number[];
  readonly letter: string;
  readonly args: (profile: Profile) => readonly string[];
  /** Threads that run at once for `n`. */
  readonly running: (n: number) => number;
}

function threadJobs(spec: ThreadJobs): (profile: Profile) => Job[] {
  return (profile) =>
    spec.counts(profile).flatMap((threads): Job[] => {
      const common = {
        group: `${spec.letter}=${threads}`,
        threads: spec.running(threads),
        rounds: Math.min(3, profile.rounds),
      };
      const args = [`threads=${threads}`, ...spec.args(profile)];
      return [
        ...spec.paths.map((path): Job => ({
          path,
          side: 'js',
          entry: spec.entry,
          args: [`path=${path}`, ...args],
          ...common,
        })),
        ...spec.peers.map((peer): Job => ({
          path: peer,
          side: 'native',
          entry: spec.name,
          args: [`peer=${peer}`, ...args],
          ...common,
        })),
      ];
    });
}

/** A target for every number of threads that was run: the worst one counts. */
function worst(
  name: string,
  limit: number,
  letter: string,
  peer: string,
  more: Partial<Target> = {},
): Target {
  return {
    name,
    limit,
    ...more,
    figure: (figures) => {
      const ratios = MAX_COUNTS.map((n) =>
        divide(figures('heap', `${letter}=${n}`), figures(peer, `${letter}=${n}`)),
      ).filter((value) => value !== undefined);
      if (ratios.length === 0) return undefined;
      return more.atLeast === true ? Math.min(...ratios) : Math.max(...ratios);
    },
  };
}

const larson: Workload = {
  id: 'B7',
  title: 'Larson: threads replace blocks and hand them on',
  unit: 'M operations/s per thread',
  higherIsBetter: true,
  shows:
    'A shared heap: frees of own blocks and of other threads’. An operation is a free and an alloc. Two cores give a ratio, not a scaling curve.',
  jobs: threadJobs({
    name: 'B7',
    entry: 'b07-larson.bench',
    peers: ['glibc', 'mimalloc'],
    paths: ['heap', 'postMessage'],
    counts: ({ cores }) => threadCounts(cores),
    letter: 'N',
    args: ({ quick }) => [`millis=${quick ? 1000 : 3000}`],
    running: (n) => n,
  }),
  columns: MAX_COUNTS.map((n) => column(`N=${n}`)),
  chart: 'N=2',
  targets: [
    worst('operations per core, to mimalloc at the same N', 0.7, 'N', 'mimalloc', {
      atLeast: true,
    }),
    {
      name: 'operations at 2 over 1, to mimalloc’s quotient',
      limit: 0.9,
      atLeast: true,
      figure: (figures) =>
        divide(
          divide(figures('heap', 'N=2'), figures('heap', 'N=1')),
          divide(figures('mimalloc', 'N=2'), figures('mimalloc', 'N=1')),
        ),
    },
    worst('operations, to postMessage', 20, 'N', 'postMessage', { atLeast: true }),
  ],
};

/** The remote free alone, in Rust: the two-level engine beside the crate of its shape and the C allocators. */
const REMOTE = ['two-level', 'buddy-slab-allocator', 'mimalloc', 'snmalloc', 'glibc'];

const heapProducers = threadJobs({
  name: 'B8',
  entry: 'b08-producer-consumer.bench',
  peers: ['glibc', 'mimalloc', 'snmalloc'],
  paths: ['heap'],
  counts: ({ cores }) => threadCounts(cores),
  letter: 'N',
  args: ({ quick }) => [`millis=${quick ? 1000 : 3000}`],
  running: (n) => 2 * n,
});

const producers: Workload = {
  id: 'B8',
  title: 'Producers and consumers (xmalloc-test)',
  unit: 'ns of wall time per block',
  shows:
    'Every block is freed by a thread that never allocates. N producers and N consumers. `remote free` and `alloc after`: the engines from Rust, one thread that allocates 64 B blocks and one that frees them all, each timing its own calls alone; the allocation includes taking back what was freed.',
  jobs: (profile) => [
    ...heapProducers(profile),
    ...REMOTE.map((path): Job => ({
      path,
      group: 'remote',
      side: 'native',
      entry: 'B8-remote',
      args: [`peer=${path}`, `batches=${profile.quick ? 100 : 500}`],
      threads: 2,
      rounds: Math.min(3, profile.rounds),
    })),
  ],
  columns: [
    ...MAX_COUNTS.map((n) => column(`N=${n}`)),
    column('remote free'),
    column('alloc after'),
  ],
  chart: 'N=1',
  targets: [
    worst('time per block, to glibc at the same N', 0.33, 'N', 'glibc'),
    {
      name: 'two-level, a remote free, to buddy-slab-allocator',
      limit: 1,
      goal: true,
      figure: (figures) =>
        divide(figures('two-level', 'remote free'), figures('buddy-slab-allocator', 'remote free')),
    },
    {
      name: 'two-level, a remote free, to mimalloc',
      limit: 1,
      goal: true,
      figure: (figures) =>
        divide(figures('two-level', 'remote free'), figures('mimalloc', 'remote free')),
    },
  ],
};

const sizes: Workload = {
  id: 'B9',
  title: 'Sizes up and down (the pattern of sh6bench)',
  unit: 'ns of wall time per block',
  shows:
    'Many sizes and long runs of one, freed by the thread that made them. 10,000 calls of 12,700 blocks are split over T threads.',
  jobs: threadJobs({
    name: 'B9',
    entry: 'b09-sizes-up-and-down.bench',
    peers: ['glibc', 'mimalloc'],
    paths: ['heap'],
    counts: ({ cores }) => threadCounts(2 * cores),
    letter: 'T',
    args: ({ quick }) => [`calls=${quick ? 1000 : 10_000}`],
    running: (n) => n,
  }),
  columns: MAX_COUNTS.map((n) => column(`T=${n}`)),
  chart: 'T=2',
  targets: [worst('time per block, to glibc at the same T', 0.35, 'T', 'glibc')],
};

/** In the order of their numbers. */
export const threadWorkloads: readonly Workload[] = [larson, producers, sizes];
