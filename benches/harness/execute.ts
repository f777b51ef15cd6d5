/**
 * @file Starts the processes of a workload and gathers what they print.
 *
 * Every process is pinned to one core (the last one) unless its workload runs several threads. Jobs of a group are
 * interleaved: forwards in even rounds, backwards in odd ones (A B C C B A), so that a drift of the machine meets all alike.
 * A process that fails is a path skipped by name, never silently, and nothing that it printed counts.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Job, Profile, Workload } from '../suite/types.ts';
import type { Binaries } from './build.ts';

/** What a process prints for a case. */
export interface Line {
  readonly case: string;
  readonly unit: string;
  readonly samples: readonly number[];
  readonly [extra: string]: unknown;
}

/** A case of a path over all rounds. */
export interface CaseResult {
  readonly unit: string;
  /** Best pass of each process, in the order of the rounds. */
  readonly best: number[];
  /** The median of `best`. */
  value: number;
  /** (largest - smallest) / median. */
  spread: number;
  /** Other numbers of the last process: crossings, faults, RSS. */
  extras: Record<string, number>;
}

/** A path over all its cases. */
export interface PathResult {
  readonly cases: Record<string, CaseResult>;
  skipped?: string;
}

/** By path. */
export type Results = Record<string, PathResult>;

const hasTaskset = spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0;
/** Milliseconds after which a process is given up. */
const LIMIT = 240_000;

/** The command line of a job. */
function commandOf(job: Job, binaries: Binaries): string[] {
  const command =
    job.side === 'native'
      ? [binaries.native, job.entry, ...job.args]
      : [binaries.node, ...(job.flags ?? []), `${binaries.modules}/${job.entry}.js`, ...job.args];
  if (!hasTaskset || (job.threads ?? 1) > 1) return command;
  return ['taskset', '-c', String(availableParallelism() - 1), ...command];
}

/** Parses what a process printed; throws on a line that is no result. */
export function parseLines(text: string): Line[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => {
      const value = JSON.parse(line) as Line;
      const good =
        typeof value.case === 'string' &&
        typeof value.unit === 'string' &&
        Array.isArray(value.samples) &&
        value.samples.length > 0 &&
        value.samples.every((sample) => typeof sample === 'number' && Number.isFinite(sample));
      if (!good) throw new Error(`not a result: ${line}`);
      return value;
    });
}

/** Where Debian and Ubuntu put tcmalloc. */
const TCMALLOC = ['x86_64', 'aarch64'].map(
  (machine) => `/usr/lib/${machine}-linux-gnu/libtcmalloc_minimal.so.4`,
);

/** The environment of a job: never preloaded into Node, for that would change V8 too. */
function environment(job: Job, binaries: Binaries): NodeJS.ProcessEnv {
  const env = { ...process.env, HEAPWRIGHT_BENCH_ADDON: binaries.addon };
  const library = job.tcmalloc === true ? TCMALLOC.find((file) => existsSync(file)) : undefined;
  if (library !== undefined) return { ...env, LD_PRELOAD: library };
  if (job.withoutExternalBuffers === true) return { ...env, HEAPWRIGHT_FORCE_NO_EXTERNAL: '1' };
  return binaries.unchecked === undefined
    ? env
    : { ...env, HEAPWRIGHT_BENCH_UNCHECKED: binaries.unchecked };
}

/** Runs one process. */
function start(job: Job, binaries: Binaries): Promise<{ lines: Line[]; error?: string }> {
  return new Promise((resolve) => {
    const [command, ...args] = commandOf(job, binaries) as [string, ...string[]];
    const child = spawn(command, args, {
      env: environment(job, binaries),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LIMIT,
    });
    let [out, log] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4000)));
    child.on('error', (error) => resolve({ lines: [], error: error.message }));
    child.on('close', (code, signal) => {
      try {
        const lines = parseLines(out);
        if (code === 0 && lines.length > 0) return resolve({ lines });
        const text =
          log.split('\n').find((line) => /error|expected|must|no /i.test(line)) ?? log.trim();
        return resolve({ lines, error: text || `ended with ${signal ?? code}` });
      } catch (error) {
        return resolve({ lines: [], error: String(error) });
      }
    });
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Adds a process's lines to the results. */
export function addLines(
  results: Results,
  job: Job,
  lines: readonly Line[],
  higherIsBetter: boolean,
): void {
  const path = (results[job.path] ??= { cases: {} });
  for (const line of lines) {
    const best = higherIsBetter ? Math.max(...line.samples) : Math.min(...line.samples);
    const found = (path.cases[line.case] ??= {
      unit: line.unit,
      best: [],
      value: 0,
      spread: 0,
      extras: {},
    });
    found.best.push(best);
    found.value = median(found.best);
    found.spread =
      found.value === 0 ? 0 : (Math.max(...found.best) - Math.min(...found.best)) / found.value;
    for (const [name, value] of Object.entries(line)) {
      if (typeof value === 'number' && name !== 'sink') found.extras[name] = value;
    }
  }
}

/** The jobs of a workload in the order in which their processes are started. */
export function schedule(jobs: readonly Job[], rounds: number): Job[] {
  const groups = new Map<string, Job[]>();
  for (const job of jobs) {
    const group = groups.get(job.group);
    if (group === undefined) groups.set(job.group, [job]);
    else group.push(job);
  }
  const order: Job[] = [];
  for (const group of groups.values()) {
    const most = Math.max(...group.map((job) => job.rounds ?? rounds));
    for (let round = 0; round < most; round++) {
      const due = group.filter((job) => round < (job.rounds ?? rounds));
      order.push(...(round % 2 === 0 ? due : due.toReversed()));
    }
  }
  return order;
}

/** Runs a workload; `report` is told what runs. */
export async function execute(
  workload: Workload,
  profile: Profile,
  binaries: Binaries,
  report: (text: string) => void,
): Promise<Results> {
  const results: Results = {};
  const failed = new Set<string>();
  const order = schedule(workload.jobs(profile), profile.rounds);
  for (const [index, job] of order.entries()) {
    const name = `${job.path}/${job.group}`;
    if (failed.has(name)) continue;
    report(`${workload.id} ${index + 1}/${order.length} ${job.path} ${job.group}`);
    const { lines, error } = await start(job, binaries);
    if (error === undefined) {
      addLines(results, job, lines, workload.higherIsBetter === true);
    } else {
      // What it printed before is not believed either.
      failed.add(name);
      const path = (results[job.path] ??= { cases: {} });
      path.skipped = `${job.group === '' ? '' : `${job.group}: `}${error}`;
    }
  }
  return results;
}
