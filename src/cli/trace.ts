/**
 * @file `heapwright trace`: what is in a trace file, and making one from logs of other tools.
 */
import path from 'node:path';

import { bytesText, countText } from '../inspect/text.ts';
import { OP, packTrace, writeTrace } from '../trace/format.ts';
import { CliError, JSON_STDOUT, usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson, requireWritable, writeWhole } from './output.ts';
import { bundledTraces, readInput, readTraceFile } from './trace-files.ts';
import type { NamedTrace } from './trace-files.ts';
import { IMPORT_FORMATS, importLog } from '../trace/import.ts';
import type { ImportFormat } from '../trace/import.ts';

export const traceCommand: Command = {
  name: 'trace',
  actions: ['info', 'convert'],
  summary: 'Show what a trace holds; make one from an mtrace, ltrace or CSV log',
  operands: 'info [FILE...] | convert LOG OUT.hwt.gz',
  files: ['hwt', 'gz', 'log', 'csv', 'txt'],
  description: `
info: events, blocks, sizes and peaks of traces (the five of the package without FILE).
convert: reads a log of glibc's mtrace, of ltrace -e malloc+free+realloc+calloc, or CSV lines
op,id,size, and writes an HWT1 trace, gzipped if OUT ends in .gz.`,
  options: {
    from: {
      type: 'string',
      value: 'FORMAT',
      choices: IMPORT_FORMATS,
      summary: 'What the log is; by default its first lines decide',
    },
  },
  examples: [
    ['heapwright trace info', 'The five traces of the package.'],
    [
      'MALLOC_TRACE=app.log LD_PRELOAD=libc_malloc_debug.so.0 ./app && heapwright trace convert app.log app.hwt.gz',
      'A trace of a program that calls mtrace().',
    ],
    [
      "ltrace -o app.log -e 'malloc+free+realloc+calloc' ./app && heapwright trace convert app.log app.hwt.gz",
      'A trace of any dynamically linked program.',
    ],
  ],
  run: runTrace,
};

function runTrace(values: OptionValues, operands: readonly string[]): number {
  const [action, ...rest] = operands;
  if (action === 'info') return runInfo(values, rest);
  if (action === 'convert') return runConvert(values, rest);
  throw usageError(
    action === undefined
      ? 'trace needs an action: info or convert (see heapwright trace --help)'
      : `unknown action '${action}'; trace knows info and convert`,
  );
}

/** What `trace info` says of one file. */
export interface TraceSummary {
  readonly name: string;
  readonly file: string;
  readonly fileBytes: number;
  readonly events: number;
  readonly allocs: number;
  readonly zeroedAllocs: number;
  readonly alignedAllocs: number;
  readonly reallocs: number;
  readonly frees: number;
  readonly blocksLive: { readonly peak: number; readonly atEnd: number };
  readonly requestedBytes: {
    readonly total: number;
    readonly peak: number;
    readonly atEnd: number;
  };
  readonly size: {
    readonly min: number;
    readonly median: number;
    readonly p99: number;
    readonly max: number;
  };
}

/** Counts what is in a trace. */
function summarize({ name, file, fileBytes, trace }: NamedTrace): TraceSummary {
  const packed = packTrace(trace);
  const ops = [0, 0, 0, 0, 0];
  const sizeOf = new Float64Array(packed.ids);
  const asked = new Float64Array(packed.events);
  let requests = 0;
  let total = 0;
  let live = 0;
  let livePeak = 0;
  let liveBytes = 0;
  for (const cursor = packed.cursor(); cursor.next();) {
    const { op, id, size } = cursor;
    ops[op] = (ops[op] as number) + 1;
    if (op !== OP.free) {
      asked[requests++] = size;
      total += size;
    }
    liveBytes += size - (sizeOf[id] as number);
    sizeOf[id] = size;
    if (op === OP.free) live--;
    else if (op !== OP.realloc) live++;
    livePeak = Math.max(livePeak, live);
  }
  const sizes = asked.subarray(0, requests).toSorted();
  const at = (share: number): number =>
    sizes[Math.min(requests - 1, Math.floor(requests * share))] ?? 0;
  const [plain = 0, frees = 0, reallocs = 0, alignedAllocs = 0, zeroedAllocs = 0] = ops;
  return {
    name,
    file,
    fileBytes,
    events: packed.events,
    allocs: plain + alignedAllocs + zeroedAllocs,
    zeroedAllocs,
    alignedAllocs,
    reallocs,
    frees,
    blocksLive: { peak: livePeak, atEnd: live },
    requestedBytes: { total, peak: packed.peakBytes, atEnd: liveBytes },
    size: { min: at(0), median: at(0.5), p99: at(0.99), max: sizes[requests - 1] ?? 0 },
  };
}

function runInfo(values: OptionValues, files: readonly string[]): number {
  const summaries = (files.length === 0 ? bundledTraces() : files).map((file) =>
    summarize(readTraceFile(file)),
  );
  const { json } = values;
  if (typeof json === 'string') {
    putJson(summaries, json);
    return 0;
  }
  for (const trace of summaries) {
    const { blocksLive, requestedBytes, size } = trace;
    print(
      `${trace.name}: ${countText(trace.events)} events in ${bytesText(trace.fileBytes)} (${trace.file})\n` +
        `  ${countText(trace.allocs)} allocs (${countText(trace.zeroedAllocs)} zeroed, ${countText(trace.alignedAllocs)} aligned), ` +
        `${countText(trace.reallocs)} reallocs, ${countText(trace.frees)} frees\n` +
        `  live: ${countText(blocksLive.peak)} blocks at most, ${bytesText(requestedBytes.peak)} at most; ` +
        `${countText(blocksLive.atEnd)} blocks, ${bytesText(requestedBytes.atEnd)} at the end\n` +
        `  sizes: ${bytesText(size.min)} to ${bytesText(size.max)}, median ${bytesText(size.median)}, p99 ${bytesText(size.p99)}; ` +
        `${bytesText(requestedBytes.total)} asked for in all\n`,
    );
  }
  return 0;
}

/** A log is text of some 40 bytes per event; this is more than 20 million. */
const LOG_BYTES_MAX = 2 ** 30;

function runConvert(values: OptionValues, operands: readonly string[]): number {
  const [log, out, ...more] = operands;
  if (log === undefined || out === undefined || more.length > 0) {
    throw usageError(
      'trace convert takes a log and an output: heapwright trace convert LOG OUT.hwt.gz',
    );
  }
  const { from, json } = values;
  if (typeof from === 'string' && !(IMPORT_FORMATS as readonly string[]).includes(from)) {
    throw usageError(`unknown format '${from}'; known are ${IMPORT_FORMATS.join(', ')}`);
  }
  requireWritable(out);
  const bytes = readInput(log, LOG_BYTES_MAX);
  let imported;
  try {
    imported = importLog(bytes, from as ImportFormat | undefined);
  } catch (error) {
    throw new CliError(`${log}: ${(error as Error).message}`, 1, error);
  }
  const { trace, format, notes } = imported;
  const written = writeTrace(trace, { gzip: out.endsWith('.gz') });
  writeWhole(out, written);
  const { events, ids, peakBytes } = trace;
  if (typeof json === 'string') {
    putJson({ log, format, out: path.resolve(out), events, ids, peakBytes, notes }, json);
    if (json === JSON_STDOUT) return 0;
  }
  print(
    `${out}: ${countText(events)} events, ${countText(ids)} blocks, ${bytesText(peakBytes)} at the peak, ` +
      `${bytesText(written.length)}, from a log of ${format}\n`,
  );
  for (const note of notes) print(`  ${note}\n`);
  return 0;
}
