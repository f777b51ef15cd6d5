/**
 * @file `heapwright report`: JSON of replays and snapshots into one HTML file.
 */
import path from 'node:path';

import { renderReport } from '../inspect/html.ts';
import type { Snapshot } from '../inspect/snapshot.ts';
import { countText } from '../inspect/text.ts';
import type { ReplayReport } from '../trace/replay.ts';
import { CliError, usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson, requireWritable, writeWhole } from './output.ts';
import { readInput } from './trace-files.ts';

const OUTPUT_DEFAULT = 'heapwright-report.html';
/** JSON of 30 replays with their maps is some 5 MB. */
const JSON_BYTES_MAX = 512 * 2 ** 20;

export const reportCommand: Command = {
  name: 'report',
  summary: 'Make one self-contained HTML file of replays and snapshots',
  operands: 'FILE.json... [--out report.html]',
  files: ['json'],
  description: `
Reads JSON that heapwright replay --json and heapwright snapshot --json wrote (or what a program made with
JSON.stringify of replay reports and snapshots) and writes one HTML file with all of it: verdict, table,
charts, heap maps. The file loads nothing from anywhere.`,
  options: {
    out: {
      type: 'string',
      short: 'o',
      value: 'FILE.html',
      summary: `Where to write (default ${OUTPUT_DEFAULT})`,
    },
    title: { type: 'string', value: 'TEXT', summary: 'Title of the page' },
  },
  examples: [
    [
      'heapwright replay sqlite --json s.json && heapwright report s.json',
      'A report of one trace.',
    ],
    [
      'heapwright report before.json after.json --title "Before and after"',
      'Two runs in one page.',
    ],
  ],
  run: runReport,
};

interface Parts {
  reports: ReplayReport[];
  snapshots: Snapshot[];
}

function runReport(values: OptionValues, files: readonly string[]): number {
  if (files.length === 0) {
    throw usageError('report needs at least one JSON file (see heapwright report --help)');
  }
  const { out, title, json } = values;
  const target = typeof out === 'string' ? out : OUTPUT_DEFAULT;
  requireWritable(target);
  const parts: Parts = { reports: [], snapshots: [] };
  for (const file of files) readParts(file, parts);
  let html: string;
  try {
    html = renderReport({ ...parts, ...(typeof title === 'string' ? { title } : {}) });
  } catch (error) {
    throw new CliError(`${files.join(', ')}: ${(error as Error).message}`, 1, error);
  }
  writeWhole(target, html);
  const counts = { reports: parts.reports.length, snapshots: parts.snapshots.length };
  if (typeof json === 'string') {
    putJson({ out: path.resolve(target), bytes: Buffer.byteLength(html), ...counts }, json);
    return 0;
  }
  print(
    `${path.resolve(target)}: ${countText(counts.reports)} replays, ${countText(counts.snapshots)} snapshots\n`,
  );
  return 0;
}

function readParts(file: string, parts: Parts): void {
  const text = readInput(file, JSON_BYTES_MAX).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CliError(`${file} is no JSON: ${(error as Error).message}`, 1, error);
  }
  if (!addPart(value, parts)) {
    throw new CliError(
      `${file} holds neither replays nor a snapshot (no schema heapwright/replay/1 or heapwright/snapshot/1)`,
      1,
    );
  }
}

function addPart(value: unknown, parts: Parts): boolean {
  if (Array.isArray(value)) return value.length > 0 && value.every((one) => addPart(one, parts));
  if (typeof value !== 'object' || value === null) return false;
  const { schema, reports, kind, samples } = value as Record<string, unknown>;
  if (schema === 'heapwright/replay/1' && Array.isArray(reports)) {
    parts.reports.push(...(reports as ReplayReport[]));
    return true;
  }
  if (schema === 'heapwright/snapshot/1') {
    parts.snapshots.push(value as Snapshot);
    return true;
  }
  if (typeof kind === 'string' && Array.isArray(samples)) {
    parts.reports.push(value as ReplayReport);
    return true;
  }
  return false;
}
