/**
 * @file `npm run bench`: ours beside every peer, in one run.
 *
 *     npm run bench                      the whole suite, recorded in benches/results/
 *     npm run bench -- B3 B1             some workloads, recorded
 *     npm run bench -- B3 --quick        under a minute, printed only
 *     npm run bench -- --rounds 5        5 processes a path instead of 3
 *     npm run bench -- --strict          7 rounds and 2 s of warm-up, as PERFORMANCE.md has it; two to three times as long
 *     npm run bench -- B1 --node PATH    the JavaScript paths under another Node
 *     npm run bench -- --report          README and charts anew from the records
 *     npm run bench:check [-- B3]        against the ratios on record; exit 1 when one is 10 % worse in two runs
 *
 * Each path of a workload is a process of its own, pinned to one core, interleaved with the others; figures are medians of
 * each process's best pass, and only their ratios are judged. Not here: how a path measures (`support/bench.ts`,
 * `native/src/report.rs`), what is measured (`suite/`).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Binaries, build, root } from './harness/build.ts';
import { chart } from './harness/chart.ts';
import { execute } from './harness/execute.ts';
import { describeMachine, type Machine, machineLine } from './harness/machine.ts';
import {
  fileName,
  loadRecord,
  loadRecords,
  makeRecord,
  regressions,
  saveRecord,
  type WorkloadRecord,
} from './harness/record.ts';
import { generated, writeGenerated } from './harness/readme.ts';
import { recordText } from './harness/table.ts';
import { suite } from './suite/index.ts';
import type { Profile, Workload } from './suite/types.ts';

const RECORDS = join(root, 'benches/results');
const README = join(root, 'benches/README.md');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    strict: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    node: { type: 'string', default: process.execPath },
  },
});

function selected(names: readonly string[]): Workload[] {
  if (names.length === 0) return [...suite];
  return names.map((name) => {
    const found = suite.find(({ id }) => id === name.toUpperCase());
    if (found === undefined) {
      throw new Error(`no workload is called ${name}: ${suite.map(({ id }) => id).join(' ')}`);
    }
    return found;
  });
}

function profileOf(): Profile {
  const cores = availableParallelism();
  const rounds = (usual: number): number => {
    const wanted = values.rounds === undefined ? usual : Number(values.rounds);
    if (!Number.isInteger(wanted) || wanted < 1)
      throw new Error(`rounds must be a count, got ${wanted}`);
    return wanted;
  };
  if (values.quick) return { quick: true, warm: 200, rounds: rounds(2), cores };
  if (values.strict) return { quick: false, warm: 2000, rounds: rounds(7), cores };
  if (values.check) return { quick: false, warm: 500, rounds: rounds(3), cores };
  return { quick: false, warm: 800, rounds: rounds(3), cores };
}

/** A busy machine makes noise of every ratio. */
function warnOfLoad({ load, cores }: Machine): void {
  if (load < cores / 2) return;
  process.stderr.write(`bench: the load average is ${load}; wait until nothing else runs\n`);
}

/** One line that is written over while a terminal looks on, a line per workload elsewhere. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`);
}

async function measure(
  workload: Workload,
  profile: Profile,
  binaries: Binaries,
  machine: Machine,
): Promise<WorkloadRecord> {
  const start = Date.now();
  const results = await execute(workload, profile, binaries, progress);
  if (process.stderr.isTTY) process.stderr.write('\r\u001B[K');
  const { quick, rounds } = profile;
  const record = makeRecord(workload, results, { quick, rounds, machine });
  process.stdout.write(
    `${recordText(record)}\n(${((Date.now() - start) / 1000).toFixed(0)} s)\n\n`,
  );
  return record;
}

/** Charts and README from what is on record. */
function report(): void {
  mkdirSync(RECORDS, { recursive: true });
  for (const record of loadRecords(RECORDS)) {
    const workload = suite.find(({ id }) => id === record.id);
    const picture = workload && chart(record, workload.chart, workload.higherIsBetter === true);
    if (picture) writeFileSync(join(RECORDS, `${fileName(record.id)}.svg`), picture);
  }
  writeGenerated(README, generated(RECORDS));
}

async function run(workloads: readonly Workload[], profile: Profile): Promise<number> {
  const binaries = build(values.node);
  const machine = describeMachine(values.node);
  warnOfLoad(machine);
  process.stdout.write(`${machineLine(machine)}\n\n`);
  let missed = 0;
  for (const workload of workloads) {
    if (workload.waits !== undefined) {
      process.stdout.write(`${workload.id}: waits for ${workload.waits}\n\n`);
      continue;
    }
    const record = await measure(workload, profile, binaries, machine);
    missed += record.targets.filter(({ met, goal }) => met === false && !goal).length;
    if (!profile.quick) {
      saveRecord(RECORDS, record);
      report();
    }
  }
  process.stdout.write(
    missed === 0 ? 'every target that was run is met\n' : `${missed} targets missed\n`,
  );
  return 0;
}

/** Each workload against its record; one that looks worse is run again, and fails when it still does. */
async function check(workloads: readonly Workload[], profile: Profile): Promise<number> {
  const binaries = build(values.node);
  const machine = describeMachine(values.node);
  warnOfLoad(machine);
  let failures = 0;
  for (const workload of workloads) {
    const before = loadRecord(RECORDS, workload.id);
    if (before === undefined || workload.waits !== undefined) {
      process.stdout.write(`${workload.id}: no record to compare with\n`);
      continue;
    }
    const first = regressions(before, await measure(workload, profile, binaries, machine));
    if (first.length === 0) continue;
    process.stdout.write(
      `${workload.id}: ${first.map(({ name }) => name).join('; ')} looks worse: once more\n`,
    );
    const second = regressions(before, await measure(workload, profile, binaries, machine));
    for (const { name, before: was, after } of second) {
      if (!first.some((other) => other.name === name)) continue;
      failures++;
      process.stdout.write(
        `${workload.id} FAILED: ${name}: ratio ${was.toPrecision(3)} on record, ${after.toPrecision(3)} now\n`,
      );
    }
  }
  process.stdout.write(
    failures === 0 ? 'no ratio is 10 % worse than on record\n' : `${failures} ratios are worse\n`,
  );
  return failures === 0 ? 0 : 1;
}

try {
  const workloads = selected(positionals);
  if (values.report) report();
  else process.exitCode = await (values.check ? check : run)(workloads, profileOf());
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
