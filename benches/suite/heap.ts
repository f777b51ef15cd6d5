/** @file The workloads of one thread on a Heap: B1, B2, B3, B10, B17. */
import {
  type Column,
  column,
  divide,
  type Job,
  type Profile,
  ratio,
  type Workload,
} from './types.ts';

/** The four C peers. */
const C_PEERS = ['glibc', 'mimalloc', 'snmalloc', 'jemalloc'];

/** Optional: skipped by name where Debian's libtcmalloc-minimal4 is not installed. */
const TCMALLOC = { path: 'tcmalloc', side: 'native', tcmalloc: true } as const;

/** Ours once more in other states: shown beside, fewer rounds. */
const STATES = [
  { suffix: 'shared', args: ['shared=1'] },
  { suffix: 'after a detach', args: ['detached=1'] },
  { suffix: 'megamorphic', args: ['megamorphic=1'] },
];

const warm = ({ warm }: Profile): string => `warm=${warm}`;
const NATIVE_WARM = 'warm=100';

function pairJobs(profile: Profile): Job[] {
  const entry = 'b01-pair.bench';
  const steps = profile.quick ? 5_000_000 : 20_000_000;
  const slow = profile.quick ? 500_000 : 1_000_000;
  const extraRounds = Math.min(3, profile.rounds);
  const ours = (
    path: string,
    name: string,
    group: string,
    args: readonly string[],
    rounds?: number,
  ): Job => ({
    path: name,
    group,
    side: 'js',
    entry,
    args: [`path=${path}`, `steps=${steps}`, warm(profile), ...args],
    ...(rounds === undefined ? {} : { rounds }),
  });
  const jobs: Job[] = [ours('pool', 'pool', 'one', []), ours('heap', 'heap', 'one', [])];
  for (const { suffix, args } of STATES) {
    jobs.push(ours('pool', `pool, ${suffix}`, 'one', args, extraRounds));
    jobs.push(ours('heap', `heap, ${suffix}`, 'one', args, extraRounds));
  }
  for (const path of ['pool', 'heap']) {
    jobs.push(ours(path, `${path}, passed as an argument`, 'one', ['passed=1'], extraRounds));
    const job = ours(path, `${path}, no external buffers`, 'one', [], extraRounds);
    jobs.push({ ...job, withoutExternalBuffers: true });
  }
  jobs.push(ours('heap', 'heap', 'many', ['sizes=many']));
  jobs.push(ours('loop alone', 'loop alone', 'one', [], extraRounds));
  for (const peer of C_PEERS) {
    const native = { path: peer, side: 'native', entry: 'B1' } as const;
    jobs.push({
      ...native,
      group: 'one',
      args: [`peer=${peer}`, 'size=64', `steps=${steps}`, NATIVE_WARM],
    });
    jobs.push({
      ...native,
      group: 'many',
      args: [`peer=${peer}`, 'size=0', `steps=${steps}`, NATIVE_WARM],
    });
  }
  for (const path of [
    'control-block',
    'napi-class',
    'Buffer.allocUnsafe',
    'new Uint8Array',
    '@thi.ng/malloc',
  ]) {
    const count = path === 'control-block' ? steps / 2 : slow;
    const shared = [`path=${path}`, `steps=${count}`, `warm=${Math.min(300, profile.warm)}`];
    jobs.push({ path, group: 'one', side: 'js', entry, args: shared });
    jobs.push({ path, group: 'many', side: 'js', entry, args: [...shared, 'sizes=many'] });
  }
  return jobs;
}

const pair: Workload = {
  id: 'B1',
  title: 'The pair: allocate, write 4 bytes, free',
  unit: 'ns per pair',
  shows:
    'The cost of the two calls themselves; always the same warm block. No fragmentation, no cache misses. `loop alone` has no allocator in it. Buffers and Uint8Arrays are also garbage that someone collects later.',
  jobs: pairJobs,
  columns: [column('64'), column('16..1024')],
  chart: '64',
  targets: [
    ratio('pool, to glibc', 0.4, 'pool', 'glibc', '64'),
    ratio('pool, to snmalloc', 0.75, 'pool', 'snmalloc', '64'),
    ratio('generic, to glibc', 0.6, 'heap', 'glibc', '64'),
    ratio('generic, to snmalloc', 1, 'heap', 'snmalloc', '64'),
    ratio('generic, 16..1024, to glibc', 0.6, 'heap', 'glibc', '16..1024'),
    ratio('generic, 16..1024, to snmalloc', 1, 'heap', 'snmalloc', '16..1024'),
    ratio('pool, to the idiomatic class', 0.05, 'pool', 'napi-class', '64'),
  ],
};

const BATCH_CASES = [25, 100, 400, 1600].map((batch): Column => ({
  name: `x ${batch}`,
  cases: [16, 32, 64].flatMap((size) =>
    ['in order', 'reverse'].map((order) => `${size} B x ${batch}, ${order}`),
  ),
}));

const batches: Workload = {
  id: 'B2',
  title: 'Batches of one size, every int written (glibc-simple)',
  unit: 'ns per block',
  shows:
    'Whether the cache of free blocks is large enough. `loop alone` writes the same ints at addresses that a counter gives. Means over 16, 32 and 64 bytes and both orders of freeing. One size at a time: nothing about fragmentation.',
  jobs: (profile) => {
    const steps = `steps=${profile.quick ? 400_000 : 2_000_000}`;
    const args = [steps, `warm=${Math.min(80, profile.warm)}`];
    const entry = 'b02-batches.bench';
    return [
      { path: 'heap', group: '', side: 'js', entry, args: ['path=heap', ...args] },
      {
        path: 'heap, shared',
        group: '',
        side: 'js',
        entry,
        args: ['path=heap', 'shared=1', ...args],
        rounds: 2,
      },
      {
        path: 'loop alone',
        group: '',
        side: 'js',
        entry,
        args: ['path=loop alone', ...args],
        rounds: 2,
      },
      ...C_PEERS.map((peer): Job => ({
        path: peer,
        group: '',
        side: 'native',
        entry: 'B2',
        args: [`peer=${peer}`, steps, 'warm=10'],
      })),
      { ...TCMALLOC, group: '', entry: 'B2', args: ['peer=tcmalloc', steps, 'warm=10'] },
    ];
  },
  columns: [...BATCH_CASES, { name: 'mean', cases: BATCH_CASES.flatMap(({ cases }) => cases) }],
  chart: 'mean',
  targets: [ratio('geometric mean, to glibc', 0.5, 'heap', 'glibc', 'mean')],
};

const RINGS = [10, 15, 20];
const FORMS = ['A', 'B'];

function replaceJobs(profile: Profile): Job[] {
  const entry = 'b03-random-replace.bench';
  const jobs: Job[] = [];
  for (const form of FORMS) {
    for (const ring of RINGS) {
      const large = ring === 20;
      const group = `${form} 2^${ring}`;
      const steps = profile.quick ? 2_000_000 : 10_000_000;
      const loop = [`form=${form}`, `ring=${ring}`, `steps=${steps}`, `passes=${large ? 1 : 4}`];
      const js = (path: string, name: string, args: readonly string[], rounds?: number): Job => ({
        path: name,
        group,
        side: 'js',
        entry,
        args: [`path=${path}`, ...loop, warm(profile), ...args],
        ...(rounds === undefined ? {} : { rounds }),
      });
      jobs.push(js('heap', 'heap', []));
      for (const peer of C_PEERS) {
        jobs.push({
          path: peer,
          group,
          side: 'native',
          entry: 'B3',
          args: [`peer=${peer}`, ...loop, NATIVE_WARM],
        });
      }
      jobs.push({ ...TCMALLOC, group, entry: 'B3', args: ['peer=tcmalloc', ...loop, NATIVE_WARM] });
      jobs.push(js('control-block', 'control-block', [], Math.min(3, profile.rounds)));
      if (!profile.quick) {
        for (const { suffix, args } of STATES) jobs.push(js('heap', `heap, ${suffix}`, args, 2));
      }
      if (ring === 10)
        jobs.push(
          js('@thi.ng/malloc', '@thi.ng/malloc', ['steps=200000', 'passes=1', 'warm=1'], 1),
        );
    }
  }
  const shuffled = [`steps=${profile.quick ? 500_000 : 4_000_000}`, 'passes=2'];
  const rounds = Math.min(3, profile.rounds);
  jobs.push({
    path: 'heap',
    group: 'shuffled',
    side: 'js',
    entry,
    args: ['path=heap-shuffled', ...shuffled],
    rounds,
  });
  for (const peer of C_PEERS) {
    const args = [`peer=${peer}`, ...shuffled];
    jobs.push({
      path: peer,
      group: 'shuffled',
      side: 'native',
      entry: 'B3-shuffled',
      args,
      rounds,
    });
  }
  return jobs;
}

const replace: Workload = {
  id: 'B3',
  title: 'Random replacement of 16..527 bytes in a ring',
  unit: 'ns per free and alloc',
  shows:
    'What metadata costs when caches miss. Uniform sizes and no locality are harder than most programs. Form A: slot and size from one generator; form B: from two. The last two columns: 4 M blocks of 64 bytes, freed in shuffled order.',
  jobs: replaceJobs,
  columns: [
    ...FORMS.flatMap((form) => {
      const cases = RINGS.map((ring) => `${form} 2^${ring}`);
      return [...cases.map(column), { name: `${form} mean`, cases }];
    }),
    column('alloc'),
    column('shuffled free'),
  ],
  chart: 'B mean',
  targets: FORMS.flatMap((form) => [
    ratio(`form ${form}, to glibc (must)`, 0.8, 'heap', 'glibc', `${form} mean`),
    ratio(`form ${form}, to mimalloc v3 (goal)`, 1, 'heap', 'mimalloc', `${form} mean`, {
      goal: true,
    }),
    ratio(`form ${form}, to snmalloc (moonshot)`, 1, 'heap', 'snmalloc', `${form} mean`, {
      goal: true,
    }),
  ]),
};

const REFILLS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

const crossing: Workload = {
  id: 'B10',
  title: 'The crossing into native code, and what a batch makes of it',
  unit: 'ns',
  shows:
    'Calls, not allocators. `crossing / n` is one control-block call divided by the objects of a refill; the `refill` rows also write and read the objects. `malloc and free` is the same batch in C.',
  jobs: (profile) => {
    const entry = 'b10-crossing.bench';
    const args = [
      `steps=${profile.quick ? 500_000 : 1_000_000}`,
      `warm=${Math.min(100, profile.warm)}`,
    ];
    const rounds = Math.min(3, profile.rounds);
    const paths = [
      'control-block',
      'refill by control block',
      'refill by arguments',
      'refill by class',
    ];
    return [
      ...paths.map((path): Job => ({
        path,
        group: '',
        side: 'js',
        entry,
        args: [`path=${path}`, ...args],
        rounds,
      })),
      ...[1, 64, 256].map((batch): Job => ({
        path: 'malloc and free',
        group: '',
        side: 'native',
        entry: 'B10',
        args: ['peer=glibc', `batch=${batch}`, 'steps=2000000', 'warm=50'],
        rounds,
      })),
      {
        path: 'heap',
        group: 'B3',
        side: 'js',
        entry: 'b03-random-replace.bench',
        args: ['path=heap', 'ring=10', 'form=A', 'steps=1000000', 'passes=3', 'warm=300'],
        rounds: 1,
      },
    ];
  },
  columns: [
    column('call'),
    column('control block'),
    ...[1, 8, 64, 256].map((batch): Column => ({
      name: `crossing / ${batch}`,
      cases: [`crossing / ${batch}`],
    })),
    ...REFILLS.filter((batch) => [1, 8, 64, 256].includes(batch)).map((batch) =>
      column(`refill ${batch}`),
    ),
    ...[1, 64, 256].map((batch): Column => ({ name: `C, ${batch}`, cases: [`${batch}`] })),
    { name: 'crossings per 1 M steps', cases: ['A 2^10#crossingsPerMillionSteps'] },
  ],
  chart: 'refill 64',
  targets: [
    {
      name: 'crossing per object at 64, to one call',
      limit: 0.02,
      figure: (figures) =>
        divide(figures('control-block', 'crossing / 64'), figures('control-block', 'call')),
    },
    {
      name: 'crossings per 1 M steps of B3 at 2^10',
      limit: 8000,
      absolute: true,
      figure: (figures) => figures('heap', 'crossings per 1 M steps'),
    },
  ],
};

const safety: Workload = {
  id: 'B17',
  title: 'Safety: what is caught, and what the check costs',
  unit: 'as named',
  shows:
    'One million second, wild, interior and foreign frees among ten million good ones; then the pair of B1 against the same heap with its live check taken out.',
  jobs: (profile) => {
    const entry = 'b17-safety.bench';
    const steps = profile.quick ? 1_000_000 : 10_000_000;
    const loop = [`steps=${profile.quick ? 5_000_000 : 20_000_000}`, warm(profile)];
    return [
      {
        path: 'heap',
        group: 'hostile',
        side: 'js',
        entry,
        args: ['path=hostile', `steps=${steps}`],
        rounds: 1,
      },
      {
        path: 'heap, shared',
        group: 'hostile',
        side: 'js',
        entry,
        args: ['path=hostile', `steps=${steps / 10}`, 'shared=1'],
        rounds: 1,
      },
      ...['pool', 'generic'].flatMap((form): Job[] => [
        {
          path: 'heap',
          group: form,
          side: 'js',
          entry,
          args: ['path=checked', `form=${form}`, ...loop],
        },
        {
          path: 'unchecked',
          group: form,
          side: 'js',
          entry,
          args: ['path=unchecked', `form=${form}`, ...loop],
        },
      ]),
    ];
  },
  columns: [column('caught'), column('false alarms'), column('pool pair'), column('generic pair')],
  chart: 'generic pair',
  targets: [
    {
      name: 'bad frees caught, %',
      limit: 100,
      atLeast: true,
      absolute: true,
      figure: (figures) => figures('heap', 'caught'),
    },
    {
      name: 'false alarms',
      limit: 0,
      absolute: true,
      figure: (figures) => figures('heap', 'false alarms'),
    },
    ratio('check on the pool pair', 1.4, 'heap', 'unchecked', 'pool pair'),
    ratio('check on the generic pair', 1.25, 'heap', 'unchecked', 'generic pair'),
  ],
};

/** In the order of their numbers. */
export const heapWorkloads: readonly Workload[] = [pair, batches, replace, crossing, safety];
