/**
 * @file `heapwright snapshot`: the state of an allocator in the middle of a trace.
 */
import { toBuddyinfo, toSlabinfo } from '../inspect/kernel-text.ts';
import { toPagetypeinfo } from '../inspect/pagetypeinfo.ts';
import { snapshot } from '../inspect/snapshot.ts';
import type { Snapshot } from '../inspect/snapshot.ts';
import { bytesText, countText, shareText } from '../inspect/text.ts';
import { readTrace, writeTrace } from '../trace/format.ts';
import type { Trace, TraceEvent } from '../trace/format.ts';
import { replay } from '../trace/replay.ts';
import { CliError, parseChoices, parseSize, usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson } from './output.ts';
import { BYTE_KIND_NAMES, byteKinds, openTarget } from './targets.ts';
import type { ByteKind } from './targets.ts';
import { readTraceFile } from './trace-files.ts';

/** Texts in formats that people know. */
const TEXTS: Readonly<Record<string, (taken: Snapshot) => string>> = {
  buddyinfo: toBuddyinfo,
  pagetypeinfo: toPagetypeinfo,
  slabinfo: toSlabinfo,
};

export const snapshotCommand: Command = {
  name: 'snapshot',
  summary: 'Show the state of an allocator at a point of a trace',
  operands: 'TRACE [options]',
  files: ['hwt', 'gz'],
  description: `
Replays a trace up to a point and shows the state there: statistics, fragmentation, live blocks by size.
--json gives the whole snapshot by the schema docs/schemas/snapshot-1.schema.json, which heapwright report
reads. --text gives it as the kernel would.`,
  options: {
    kind: {
      type: 'string',
      short: 'k',
      value: 'KIND',
      choices: BYTE_KIND_NAMES,
      summary: 'Kind to replay on (default tlsf)',
    },
    size: { type: 'string', short: 's', value: 'SIZE', summary: 'Range, like 64MiB (the default)' },
    at: {
      type: 'string',
      value: 'POINT',
      summary: 'Events to replay: a number or a share like 50% (default 100%)',
    },
    blocks: { type: 'boolean', summary: 'List every live block in the JSON' },
    text: {
      type: 'string',
      value: 'FORMAT',
      choices: Object.keys(TEXTS),
      summary: 'Kernel text instead; needs a kind with pages and slabs, like two-level',
    },
  },
  examples: [
    ['heapwright snapshot sqlite --at 50%', 'tlsf in the middle of the trace.'],
    [
      'heapwright snapshot sqlite --kind two-level --text slabinfo',
      'Slabs as /proc/slabinfo shows them.',
    ],
    [
      'heapwright snapshot jq --kind slab --blocks --json jq.json && heapwright report jq.json',
      'A page with every block.',
    ],
  ],
  run: runSnapshot,
};

function runSnapshot(values: OptionValues, operands: readonly string[]): number {
  const [file, ...more] = operands;
  if (file === undefined || more.length > 0) {
    throw usageError('snapshot takes one trace (see heapwright snapshot --help)');
  }
  const { kind: kindText, size: sizeText, at, text, json } = values;
  const kinds =
    typeof kindText === 'string' ? parseChoices(kindText, 'kind', BYTE_KIND_NAMES) : ['tlsf'];
  if (kinds.length > 1) throw usageError('snapshot takes one --kind');
  const size = parseSize(typeof sizeText === 'string' ? sizeText : '64MiB', '--size');
  const format =
    typeof text === 'string' ? parseChoices(text, 'text', Object.keys(TEXTS))[0] : undefined;
  if (typeof at === 'string') pointOf(at, 1);
  const kind = kinds[0] as ByteKind;
  if (!byteKinds().includes(kind)) throw new CliError(`this build has no ${kind}`, 1);
  const { trace } = readTraceFile(file);
  const events = pointOf(typeof at === 'string' ? at : '100%', trace.events);
  const target = openTarget(kind, size);
  try {
    const { failures } = replay(firstEvents(trace, events), target);
    const taken = snapshot(target, { blocks: values['blocks'] === true });
    if (typeof json === 'string') putJson(taken, json);
    else if (format !== undefined) print(kernelText(taken, format));
    else print(describe(taken, events, failures));
  } finally {
    target.close();
  }
  return 0;
}

function kernelText(taken: Snapshot, format: string): string {
  try {
    return (TEXTS[format] as (taken: Snapshot) => string)(taken);
  } catch (error) {
    throw usageError(
      `${format} cannot be made of kind '${taken.kind}': ${(error as Error).message}`,
    );
  }
}

function pointOf(text: string, events: number): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/u.exec(text.trim());
  const value = match === null ? -1 : Number(match[1]);
  const isShare = match?.[2] === '%';
  if (value < 0 || (isShare && value > 100) || (!isShare && !Number.isInteger(value))) {
    throw usageError(`--at must be a number of events or a share like 50%, got '${text}'`);
  }
  return Math.min(events, isShare ? Math.round((events * value) / 100) : value);
}

function firstEvents(trace: Trace, events: number): Trace {
  if (events >= trace.events) return trace;
  function* first(): Generator<TraceEvent, void, undefined> {
    let left = events;
    for (const event of trace) {
      if (left-- === 0) return;
      yield event;
    }
  }
  return readTrace(writeTrace(first()));
}

function describe(taken: Snapshot, events: number, failures: number): string {
  const { kind, stats, fragmentation, sizes = [], maps = [] } = taken;
  const { used = 0, requested, largestFree = 0, blocks = 0 } = stats as Record<string, number>;
  const lines = [
    `${kind} after ${countText(events)} events${failures > 0 ? `, ${countText(failures)} requests refused` : ''}`,
    `  ${countText(blocks)} live blocks, ${bytesText(used)} granted` +
      `${requested === undefined ? '' : ` for ${bytesText(requested)} asked for`}; largest request that succeeds: ${bytesText(largestFree)}`,
    `  fragmentation: ${fragmentation.internal === undefined ? '' : `${shareText(fragmentation.internal)} internal, `}${shareText(fragmentation.external)} external`,
    '  live blocks by size:',
  ];
  const most = Math.max(1, ...sizes.map((group) => group.blocks));
  for (const group of sizes) {
    const bar = '█'.repeat(Math.ceil((group.blocks / most) * 30));
    lines.push(`  ${bytesText(group.from).padStart(9)} ${bar} ${countText(group.blocks)}`);
  }
  for (const map of maps) {
    const size = map.cells.length * map.cellSize;
    lines.push(
      `  the range from 0x${map.start.toString(16)}, ${bytesText(size)} of it touched, a cell is ${bytesText(map.cellSize)}:`,
    );
    for (let at = 0; at < map.cells.length; at += 64) {
      lines.push(`    ${shades(map.cells.slice(at, at + 64))}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Hexadecimal levels as blocks of ink. */
export function shades(cells: string): string {
  return [...cells].map((cell) => '·░░░░▒▒▒▒▒▓▓▓▓▓█'[Number.parseInt(cell, 16)]).join('');
}
