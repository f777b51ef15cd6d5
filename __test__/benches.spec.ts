/**
 * @file The benchmark suite's own correctness: both sides run the same sequences, use every block, link the peers they name,
 * and print what the reader can read. Nothing here is timed.
 *
 * The Rust generators are built without any dependency (a second). What needs the whole native binary runs only where
 * `npm run bench` has built it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { assertPeersApart } from '../benches/harness/build.ts';
import { chart } from '../benches/harness/chart.ts';
import {
  addLines,
  execute,
  parseLines,
  type Results,
  schedule,
} from '../benches/harness/execute.ts';
import type { Machine } from '../benches/harness/machine.ts';
import {
  judge,
  figuresOf,
  makeRecord,
  regressions,
  type WorkloadRecord,
} from '../benches/harness/record.ts';
import { generated } from '../benches/harness/readme.ts';
import { show } from '../benches/harness/table.ts';
import { withoutCheck } from '../benches/harness/unchecked.ts';
import { suite } from '../benches/suite/index.ts';
import type { Job, Workload } from '../benches/suite/types.ts';
import {
  larsonSeeds,
  larsonSize,
  larsonSlot,
  mixSize,
  nextX,
  nextY,
  replaceSizeA,
  replaceSizeB,
  replaceSlot,
  SEED_SIZE,
  SEED_SLOT,
  sh6Call,
  shuffle,
} from '../benches/support/sequence.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const results = join(root, 'benches/results');
const target = process.env['CARGO_TARGET_DIR'] ?? join(root, 'target');
const nativeBinary = join(target, 'release/heapwright-bench-native');

/** The (a, b) lines of a Rust generator. */
function rust(...args: string[]): [number, number][] {
  const { status, stdout, stderr } = spawnSync(
    'cargo',
    [
      'run',
      '-q',
      '--locked',
      '-p',
      'heapwright-bench-native',
      '--no-default-features',
      '--',
      'sequence',
      ...args,
    ],
    { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  if (status !== 0) throw new Error(`cargo run ended with ${status}: ${stderr}`);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ').map(Number) as [number, number]);
}

const machine: Machine = {
  cpu: 'a <cpu>',
  cores: 2,
  memoryGiB: 1,
  kernel: '0',
  transparentHugePages: 'madvise',
  node: '20',
  v8: '0',
  rustc: '0',
  glibc: '0',
  commit: '0',
  load: 0,
};

const workload: Workload = {
  id: 'B1',
  title: 'a & b',
  unit: 'ns',
  shows: '',
  jobs: () => [],
  columns: [
    { name: 'one', cases: ['x'] },
    { name: 'mean', cases: ['x', 'y'] },
    { name: 'extra', cases: ['x#hitRate'] },
  ],
  chart: 'one',
  targets: [
    { name: 'low', limit: 0.5, figure: (f) => (f('heap', 'one') ?? 0) / (f('glibc', 'one') ?? 1) },
    { name: 'high', limit: 2, atLeast: true, goal: true, figure: (f) => f('heap', 'mean') },
    { name: 'absent', limit: 1, figure: (f) => f('nobody', 'one') },
  ],
};

function job(path: string, group = ''): Job {
  return { path, group, side: 'native', entry: 'B1', args: [] };
}

function record(factor = 1): WorkloadRecord {
  const found: Results = {};
  for (const [path, x] of [
    ['heap', 2 * factor],
    ['glibc', 8],
  ] as const) {
    addLines(
      found,
      job(path),
      parseLines(`{"case":"x","unit":"ns","samples":[${x + 1},${x}],"hitRate":0.5}`),
      false,
    );
    addLines(found, job(path), parseLines('{"case":"y","unit":"ns","samples":[8]}'), false);
  }
  return makeRecord(workload, found, { quick: false, rounds: 1, machine });
}

/** Each allocation in a folder's files, as one text with the lines after it, that `used` does not match. */
function unused(
  folder: string,
  files: RegExp,
  allocation: RegExp,
  used: RegExp,
): { found: number; idle: string[] } {
  let found = 0;
  const idle: string[] = [];
  for (const name of readdirSync(folder).filter((file) => files.test(file))) {
    const lines = readFileSync(join(folder, name), 'utf8').split('\n');
    for (const [at, line] of lines.entries()) {
      if (!allocation.test(line)) continue;
      found++;
      if (!used.test(lines.slice(at, at + 10).join('\n'))) idle.push(`${name}: ${line.trim()}`);
    }
  }
  return { found, idle };
}

/** A line of `linked`. */
function linked(peer: string, malloc: number): string {
  return JSON.stringify({ peer, malloc, free: malloc + 1, block: malloc + 2, served: true });
}

describe('The generators', () => {
  it.each(['A', 'B'])(
    'of B3 yield the same slots and sizes on both sides in form %s',
    { timeout: 120_000 },
    (form) => {
      for (const ring of [10, 15, 20]) {
        let [x, y] = [SEED_SLOT, SEED_SIZE];
        const ours = Array.from({ length: 5000 }, () => {
          x = nextX(x);
          if (form === 'B') y = nextY(y);
          return [replaceSlot(x, 2 ** ring - 1), form === 'A' ? replaceSizeA(x) : replaceSizeB(y)];
        });
        expect(rust('of=replace', `form=${form}`, `ring=${ring}`, 'count=5000')).toEqual(ours);
        expect(ours.every(([slot, size]) => slot! < 2 ** ring && size! >= 16 && size! <= 527)).toBe(
          true,
        );
      }
    },
  );

  it('of larson are the same for every thread', { timeout: 120_000 }, () => {
    for (const thread of [0, 1, 7]) {
      let { x, y } = larsonSeeds(thread);
      const ours = Array.from({ length: 3000 }, () => {
        x = nextX(x);
        y = nextY(y);
        return [larsonSlot(x), larsonSize(y)];
      });
      expect(rust('of=larson', `thread=${thread}`, 'count=3000')).toEqual(ours);
      expect(ours.every(([slot, size]) => slot! < 5000 && size! >= 8 && size! <= 1000)).toBe(true);
    }
  });

  it('of the shuffles are the same, and permutations', { timeout: 120_000 }, () => {
    const ours = shuffle(100_000);
    expect(rust('of=shuffle', 'count=100000').map(([, at]) => at)).toEqual([...ours]);
    expect(new Set(ours).size).toBe(100_000);
  });

  it('of sh6bench and of the size mix are the same', { timeout: 120_000 }, () => {
    expect(rust('of=sh6')).toEqual(sh6Call().map(({ size, blocks }) => [size, blocks]));
    let [x, y] = [SEED_SLOT + 2, SEED_SIZE + 2];
    const sizes = Array.from({ length: 3000 }, () => {
      x = nextX(x);
      y = nextY(y);
      return mixSize(x, y);
    });
    expect(rust('of=mix', 'round=2', 'count=3000').map(([, size]) => size)).toEqual(sizes);
    expect(Math.min(...sizes)).toBeGreaterThan(0);
  });
});

describe('The loops', () => {
  it('write every block or fold its address, in JavaScript', () => {
    const { found, idle } = unused(
      join(root, 'benches'),
      /\.bench\.ts$/,
      /const p = \w+\.alloc\(/,
      /\[(p|at|first|p >>> 2)[\] ]|first \+ k|sink \+ p|touch\(/,
    );
    expect(idle).toEqual([]);
    expect(found).toBeGreaterThan(8);
  });

  it('write every block or fold its address, in Rust', () => {
    const { found, idle } = unused(
      join(root, 'benches/native/src/loops'),
      /\.rs$/,
      /let p = (P::malloc|\w+(\.\w+)*\.alloc)\(/,
      /\.write(_volatile|_bytes)?\(/,
    );
    expect(idle).toEqual([]);
    expect(found).toBeGreaterThan(8);
  });

  const built = existsSync(join(root, 'dist/benches/b01-pair.bench.js'));
  it.skipIf(!built)('print results that the reader reads', () => {
    for (const path of ['new Uint8Array', 'Buffer.allocUnsafe', '@thi.ng/malloc']) {
      const { stdout, stderr } = spawnSync(
        process.execPath,
        ['dist/benches/b01-pair.bench.js', `path=${path}`, 'steps=1000', 'warm=1', 'passes=2'],
        { cwd: root, encoding: 'utf8' },
      );
      const [line] = parseLines(stdout);
      expect(stderr).toBe('');
      expect(line).toMatchObject({ case: '64', unit: 'ns' });
      expect(line!.samples).toHaveLength(2);
    }
  });

  it.skipIf(!existsSync(nativeBinary))('run over four allocators that are really linked', () => {
    const { stdout } = spawnSync(nativeBinary, ['linked'], { encoding: 'utf8' });
    expect(assertPeersApart(stdout)).toEqual(['glibc', 'mimalloc', 'jemalloc', 'snmalloc']);
  });

  const hotPath = join(root, 'dist/src/magazine.js');
  it.skipIf(!existsSync(hotPath))('of B17 know the check that its peer goes without', () => {
    const text = readFileSync(hotPath, 'utf8');
    const rest = withoutCheck(text)!;
    expect(rest).not.toMatch(/m\[w\] = [sv] \^ b;\s*m\[t\] = p;/);
    expect(rest).not.toContain('(p & ~15)');
    expect(withoutCheck(rest)).toBeUndefined();
  });

  it('refuse peers that are one and the same', () => {
    const names = ['glibc', 'mimalloc', 'jemalloc', 'snmalloc'];
    expect(assertPeersApart(names.map((name, i) => linked(name, i * 10)).join('\n'))).toEqual(
      names,
    );
    expect(() =>
      assertPeersApart(names.map((name, i) => linked(name, i === 3 ? 0 : i * 10)).join('\n')),
    ).toThrow('two peers share a malloc');
    expect(() => assertPeersApart(linked('glibc', 1))).toThrow('4 peers must be linked, found 1');
  });
});

describe('The harness', () => {
  it('interleaves A B C C B A, group by group', () => {
    const jobs = [job('A', 'x'), job('B', 'x'), { ...job('C', 'x'), rounds: 1 }, job('D', 'y')];
    expect(
      schedule(jobs, 3)
        .map(({ path }) => path)
        .join(''),
    ).toBe('ABCBAABDDD');
  });

  it('takes the median of each process’s best pass', () => {
    const found: Results = {};
    for (const samples of ['[5,3]', '[9,9]', '[4,7]']) {
      addLines(
        found,
        job('heap'),
        parseLines(`{"case":"x","unit":"ns","samples":${samples}}`),
        false,
      );
    }
    expect(found['heap']!.cases['x']).toMatchObject({ best: [3, 9, 4], value: 4, spread: 1.5 });
  });

  it('counts nothing that a process printed before it failed', async () => {
    const print = `console.log('{"case":"x","unit":"ns","samples":[1]}')`;
    const run = (path: string, code: string): Job => ({
      ...job(path),
      side: 'native',
      entry: '-e',
      args: [code],
    });
    const jobs = [run('good', print), run('bad', `${print}; process.exit(3)`)];
    const workload = { ...suite[0]!, jobs: () => jobs };
    const profile = { quick: true, warm: 0, rounds: 1, cores: 1 };
    const binaries = {
      node: process.execPath,
      native: process.execPath,
      addon: '',
      modules: '',
      unchecked: undefined,
    };
    const found = await execute(workload, profile, binaries, () => {});
    expect(found['good']!.cases['x']).toMatchObject({ value: 1 });
    expect(found['bad']).toEqual({ cases: {}, skipped: 'ended with 3' });
  });

  it('refuses a line that is no result', () => {
    for (const line of [
      '{"case":"x"}',
      '{"case":"x","unit":"ns","samples":[]}',
      '{"case":"x","unit":"ns","samples":[null]}',
    ]) {
      expect(() => parseLines(line)).toThrow('not a result');
    }
    expect(parseLines('some log\n')).toEqual([]);
  });

  it('reads columns, means and other numbers', () => {
    const figures = figuresOf(workload, record().results);
    expect(figures('heap', 'one')).toBe(2);
    expect(figures('heap', 'mean')).toBeCloseTo(4);
    expect(figures('heap', 'extra')).toBe(0.5);
    expect(figures('heap', 'nothing')).toBeUndefined();
    expect(figures('nobody', 'one')).toBeUndefined();
  });

  it('judges each target, and names those that were not run', () => {
    const { results: found } = record();
    expect(judge(workload, figuresOf(workload, found)).map(({ name, met }) => [name, met])).toEqual(
      [
        ['low', true],
        ['high', true],
        ['absent', null],
      ],
    );
    expect(record(4).targets[0]!.met).toBe(false);
  });

  it('finds a ratio that is more than a tenth worse, and no other', () => {
    expect(regressions(record(), record(1.09))).toEqual([]);
    expect(regressions(record(), record(0.9)).map(({ name }) => name)).toEqual([]);
    expect(regressions(record(), record(1.2)).map(({ name }) => name)).toEqual(['low']);
    expect(regressions(record(), record(0.5)).map(({ name }) => name)).toEqual(['high']);
  });

  it('draws a chart for light and dark pages', () => {
    const picture = chart(record(), 'one', false)!;
    expect(picture).toContain('prefers-color-scheme: dark');
    expect(picture).toContain('a &amp; b');
    expect(picture).toContain('a &lt;cpu&gt;');
    expect(picture.match(/<rect/g)).toHaveLength(2);
    expect(chart(record(), 'nothing', false)).toBeUndefined();
  });

  it('shows three digits', () => {
    expect([0, 0.00012345, 0.1234, 1.234, 12.34, 123.4, 12345, 50e6, undefined].map(show)).toEqual([
      '0',
      '0.00012',
      '0.12',
      '1.23',
      '12.3',
      '123',
      '12345',
      '50.0 M',
      '–',
    ]);
  });
});

describe('The suite', () => {
  const profile = { quick: false, warm: 1, rounds: 1, cores: 2 };
  const present = suite.filter(({ waits }) => waits === undefined);

  it('has B1 to B18', () => {
    expect(suite.map(({ id }) => id)).toEqual(Array.from({ length: 18 }, (_, i) => `B${i + 1}`));
  });

  it('waits only for what comes later', () => {
    expect(suite.filter((one) => !present.includes(one)).map(({ id }) => id)).toEqual([
      'B12',
      'B14',
    ]);
  });

  it('gives every workload peers, targets and a chart', () => {
    const poor = present.filter(
      ({ jobs, targets, columns, chart: drawn }) =>
        jobs(profile).length < 2 ||
        targets.length === 0 ||
        !columns.some(({ name }) => name === drawn),
    );
    expect(poor.map(({ id }) => id)).toEqual([]);
  });

  it('names modules that are there', () => {
    const missing = present
      .flatMap(({ jobs }) => jobs({ ...profile, quick: true }))
      .filter(
        ({ side, entry }) => side === 'js' && !existsSync(join(root, 'benches', `${entry}.ts`)),
      );
    expect(missing).toEqual([]);
  });

  const recorded = existsSync(results)
    ? readdirSync(results).filter((name) => /^b\d\d\.json$/.test(name))
    : [];
  it.skipIf(recorded.length === 0)('has records that parse, and a README made from them', () => {
    const records = recorded.map(
      (name) => JSON.parse(readFileSync(join(results, name), 'utf8')) as WorkloadRecord,
    );
    expect(records.filter(({ schema }) => schema !== 'heapwright/bench/1')).toEqual([]);
    expect(records.filter(({ quick }) => quick)).toEqual([]);
    expect(records.filter(({ figures }) => Object.keys(figures).length === 0)).toEqual([]);
    const best = records.flatMap(({ results: paths }) =>
      Object.values(paths).flatMap(({ cases }) => Object.values(cases).flatMap((one) => one.best)),
    );
    expect(best.length).toBeGreaterThan(0);
    expect(best.filter((value) => !Number.isFinite(value))).toEqual([]);
    expect(readFileSync(join(root, 'benches/README.md'), 'utf8')).toContain(generated(results));
  });
});
