/**
 * @file `heapwright replay`: the main job. Traces through every byte kind, a table, a conclusion.
 *
 * Every cell of the table gets a fresh allocator over a fresh range. Before it is measured, the start
 * of the trace is replayed once on a throw-away allocator of the same kind, so that the first kind does
 * not pay for the compiling of the loop. All cells share one process, so their call sites are
 * polymorphic; the benches, one process per path, are for absolute figures.
 *
 * A kind that is slow by nature shows its progress and, after `--limit-seconds`, a partial row.
 */
import path from 'node:path';

import { features } from '../create-allocator.ts';
import { renderReport } from '../inspect/html.ts';
import { REPORT_COLUMNS, REPORT_LEGEND, reportCells } from '../inspect/report-table.ts';
import { countText } from '../inspect/text.ts';
import { verdict } from '../inspect/verdict.ts';
import { readTrace, writeTrace } from '../trace/format.ts';
import type { Trace, TraceEvent } from '../trace/format.ts';
import { replay } from '../trace/replay.ts';
import type { ReplayReport } from '../trace/replay.ts';
import { CliError, JSON_STDOUT, parseChoices, parsePositive, parseSize } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, Progress, putJson, requireWritable, styled, Table, writeWhole } from './output.ts';
import { BYTE_KIND_NAMES, byteKinds, openTarget } from './targets.ts';
import type { ByteKind } from './targets.ts';
import { bundledTraces, readTraceFile } from './trace-files.ts';
import type { NamedTrace } from './trace-files.ts';

const SIZE_MIN = 64 * 2 ** 20;
/** The slab family ends at 4 GiB, and its range starts at 1 MiB. */
const SLAB_SIZE_MAX = 4 * 2 ** 30 - 2 ** 20;
/** Pictures along a trace; the slider of the report has as many steps. */
const MAP_FRAMES = 48;
const WARM_UP_EVENTS = 20_000;
const LIMIT_SECONDS = 120;
const REPEAT = 3;
/** A replay that took longer than this is not repeated: its time is its own, not the machine's. */
const REPEAT_MS_MAX = 3000;

/** Where the main job leaves its files. */
const OUTPUT_FOLDER = '.heapwright';

const TABLE = new Table(REPORT_COLUMNS);

/** The JSON that `heapwright replay` writes and `heapwright report` reads. */
export interface ReplayFile {
  readonly schema: 'heapwright/replay/1';
  readonly version: string;
  readonly node: string;
  readonly traces: readonly {
    readonly name: string;
    readonly events: number;
    readonly ids: number;
    readonly peakBytes: number;
  }[];
  readonly reports: readonly ReplayReport[];
  readonly conclusion: readonly string[];
}

export const replayCommand: Command = {
  name: 'replay',
  summary: 'Replay allocation traces through every byte kind and compare them',
  operands: '[FILE...] [options]',
  files: ['hwt', 'gz'],
  description: `
Replays allocation traces (HWT1, gzipped or not) through the allocators and prints a table: time per
call, peaks, the range that was needed, fragmentation, and what to conclude from it. Without FILE: the
five traces that come with the package, all kinds; JSON and an HTML report go to ${OUTPUT_FOLDER}/.
FILE may be the bare name of one of the five, like sqlite.`,
  options: {
    kind: {
      type: 'string',
      short: 'k',
      value: 'KIND,...',
      choices: BYTE_KIND_NAMES,
      summary: 'Kinds to replay on, comma-separated; by default all of this build',
    },
    size: {
      type: 'string',
      short: 's',
      value: 'SIZE',
      summary:
        'Range of each allocator: 64MiB, 64m, 1e6 ..., rounded up to 64 KiB; by default 64 MiB or 4 times the peak',
    },
    verify: { type: 'boolean', summary: 'Tag every block and check it when it is freed or moved' },
    report: { type: 'string', value: 'FILE.html', summary: 'Write the HTML report there' },
    samples: { type: 'string', value: 'N', summary: 'Samples along each trace (default 500)' },
    repeat: {
      type: 'string',
      value: 'N',
      summary: `Runs of each replay; the fastest is shown (default ${REPEAT}, slow ones run once)`,
    },
    'limit-seconds': {
      type: 'string',
      value: 'SECONDS',
      summary: `Stop a replay after this time; its row is marked (default ${LIMIT_SECONDS})`,
    },
  },
  examples: [
    ['heapwright replay', 'The main job: five traces, every kind.'],
    [
      'heapwright replay sqlite --kind tlsf,slab --verify',
      'One bundled trace on two kinds, contents checked.',
    ],
    [
      'heapwright replay app.hwt.gz --kind tlsf --size 64MiB --json out.json',
      'Your own trace, figures as JSON.',
    ],
  ],
  run: runReplay,
};

interface Plan {
  readonly kinds: readonly ByteKind[];
  readonly size: number | undefined;
  readonly verify: boolean;
  readonly samples: number;
  readonly repeat: number;
  readonly limitSeconds: number;
  readonly jsonFile: string | undefined;
  readonly reportFile: string | undefined;
}

function planOf(values: OptionValues, isMainJob: boolean): Plan {
  const { kind, size, samples, repeat, 'limit-seconds': limit, json, report } = values;
  // Values first, then the binary: a typo should not need one to be told.
  const wanted = typeof kind === 'string' ? parseChoices(kind, 'kind', BYTE_KIND_NAMES) : undefined;
  const plan = {
    size: typeof size === 'string' ? parseSize(size, '--size') : undefined,
    verify: values['verify'] === true,
    samples: typeof samples === 'string' ? Math.ceil(parsePositive(samples, '--samples')) : 500,
    repeat: typeof repeat === 'string' ? Math.ceil(parsePositive(repeat, '--repeat')) : REPEAT,
    limitSeconds:
      typeof limit === 'string' ? parsePositive(limit, '--limit-seconds') : LIMIT_SECONDS,
    jsonFile: fileOf(json, isMainJob, 'replay.json'),
    reportFile: fileOf(report, isMainJob, 'report.html'),
  };
  const there = byteKinds();
  const missing = wanted?.find((name) => !there.includes(name as ByteKind));
  if (missing !== undefined) {
    throw new CliError(`this build has no ${missing}; it has ${there.join(', ')}`, 1);
  }
  return { ...plan, kinds: (wanted as ByteKind[] | undefined) ?? there };
}

/** The file that was asked for; the main job writes its files unasked. */
function fileOf(
  asked: string | boolean | undefined,
  isMainJob: boolean,
  name: string,
): string | undefined {
  if (typeof asked === 'string') return asked;
  return isMainJob ? path.join(OUTPUT_FOLDER, name) : undefined;
}

function runReplay(values: OptionValues, operands: readonly string[]): number {
  const plan = planOf(values, operands.length === 0);
  for (const file of [plan.jsonFile, plan.reportFile])
    if (file !== undefined) requireWritable(file);
  const traces = (operands.length === 0 ? bundledTraces() : operands).map(readTraceFile);
  // A size that a kind cannot have is told before anything is printed.
  if (plan.size !== undefined) for (const kind of plan.kinds) openTarget(kind, plan.size).close();
  const quiet = plan.jsonFile === JSON_STDOUT;
  if (!quiet) printHead(traces, plan);
  const reports: ReplayReport[] = [];
  const progress = new Progress();
  for (const named of traces) {
    for (const kind of plan.kinds) {
      const report = replayCell(named, kind, plan, progress);
      reports.push(report);
      if (!quiet) print(`${rowOf(report)}\n`);
    }
  }
  finish(traces, reports, plan, quiet);
  return 0;
}

function printHead(traces: readonly NamedTrace[], plan: Plan): void {
  const events = traces.reduce((sum, { trace }) => sum + trace.events, 0);
  const what = traces.length === 1 ? `${traces[0]?.name}` : `${traces.length} traces`;
  print(
    `Replaying ${what} (${countText(events)} events) on ${plan.kinds.join(', ')}` +
      `${plan.verify ? ', contents verified' : ''}.\n\n${TABLE.head()}\n`,
  );
}

function rowOf(report: ReplayReport): string {
  const row = TABLE.row(reportCells(report));
  if (!report.complete) return `${row}  stopped by --limit-seconds`;
  return report.failures > 0 ? styled('yellow', row) : row;
}

function defaultSize(trace: Trace, kind: ByteKind): number {
  const wanted = Math.max(SIZE_MIN, 2 ** Math.ceil(Math.log2(Math.max(1, trace.peakBytes * 4))));
  return kind === 'slab' ? Math.min(wanted, SLAB_SIZE_MAX) : wanted;
}

function replayCell(
  named: NamedTrace,
  kind: ByteKind,
  plan: Plan,
  progress: Progress,
): ReplayReport {
  const { name, trace } = named;
  const size = plan.size ?? defaultSize(trace, kind);
  warmUp(trace, kind, size);
  let best: ReplayReport | undefined;
  for (let run = 1; run <= plan.repeat; run++) {
    const began = performance.now();
    progress.start(`${name} on ${kind}${plan.repeat > 1 ? `, run ${run}` : ''}`);
    const report = replayOnce(named, kind, size, plan, progress);
    if (best === undefined || report.nsPerEvent < best.nsPerEvent) best = report;
    if (performance.now() - began > REPEAT_MS_MAX) break;
  }
  return best as ReplayReport;
}

function replayOnce(
  { name, trace }: NamedTrace,
  kind: ByteKind,
  size: number,
  plan: Plan,
  progress: Progress,
): ReplayReport {
  const target = openTarget(kind, size);
  try {
    return replay(trace, target, {
      trace: name,
      verify: plan.verify,
      sampleEvery: Math.max(1, Math.ceil(trace.events / plan.samples)),
      mapFrames: MAP_FRAMES,
      limitSeconds: plan.limitSeconds,
      onProgress: (done, total) => progress.update(done, total),
    });
  } catch (error) {
    progress.clear();
    throw new CliError(`${name} on ${kind} failed: ${(error as Error).message}`, 1, error);
  } finally {
    progress.clear();
    target.close();
  }
}

const prefixes = new WeakMap<Trace, Trace>();

function warmUp(trace: Trace, kind: ByteKind, size: number): void {
  let prefix = prefixes.get(trace);
  if (prefix === undefined) {
    prefix = readTrace(writeTrace(firstEvents(trace)));
    prefixes.set(trace, prefix);
  }
  const target = openTarget(kind, size);
  try {
    replay(prefix, target, { limitSeconds: 1 });
  } finally {
    target.close();
  }
}

function* firstEvents(trace: Trace): Generator<TraceEvent, void, undefined> {
  let left = WARM_UP_EVENTS;
  for (const event of trace) {
    if (left-- === 0) return;
    yield event;
  }
}

function finish(
  traces: readonly NamedTrace[],
  reports: readonly ReplayReport[],
  plan: Plan,
  quiet: boolean,
): void {
  const conclusion = verdict(reports);
  if (!quiet) {
    print(`\n${REPORT_LEGEND.join('\n')}\n\n${styled('bold', 'What to conclude')}\n`);
    for (const line of conclusion) print(`- ${line}\n`);
  }
  if (plan.jsonFile !== undefined) {
    const file: ReplayFile = {
      schema: 'heapwright/replay/1',
      version: features().version,
      node: process.version,
      traces: traces.map(({ name, trace: { events, ids, peakBytes } }) => ({
        name,
        events,
        ids,
        peakBytes,
      })),
      reports,
      conclusion,
    };
    putJson(file, plan.jsonFile);
    if (!quiet) print(`\nThe figures as JSON: ${path.resolve(plan.jsonFile)}\n`);
  }
  if (plan.reportFile !== undefined) {
    const title = `heapwright: ${traces.map(({ name }) => name).join(', ')}`;
    writeWhole(plan.reportFile, renderReport({ reports, title }));
    if (!quiet) print(`The report, for a browser: ${path.resolve(plan.reportFile)}\n`);
  }
}
