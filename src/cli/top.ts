/**
 * @file `heapwright top`: the heaps of running processes, live, in the manner of `slabtop`.
 *
 * Asks the sockets of `src/inspect/publish.ts`, a line per look. Sockets of processes that are gone are
 * taken away. Keys: q ends, s changes the order of the size classes, n goes to the next heap.
 */
import { readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';

import { runtimeFolder } from '../inspect/publish.ts';
import type { Published } from '../inspect/publish.ts';
import { bytesText, countText, shareText } from '../inspect/text.ts';
import { CliError, parsePositive, usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson, styled } from './output.ts';
import { Screen } from './terminal.ts';

const ANSWER_MS_MAX = 2000;
/** A heap of all classes is some 10 KB of JSON; this is a process with thousands of heaps. */
const ANSWER_BYTES_MAX = 64 * 2 ** 20;

export const topCommand: Command = {
  name: 'top',
  summary: 'Watch the heaps of running processes that publish them',
  operands: '[PID] [options]',
  description: `
Shows the heaps of processes of this user that were started with HEAPWRIGHT_PUBLISH=1 or called
heap.publish(): size, use, size classes, refreshed until q. Without a terminal, or with --once: one look.`,
  options: {
    interval: {
      type: 'string',
      short: 'd',
      value: 'SECONDS',
      summary: 'Time between two looks (default 1)',
    },
    once: { type: 'boolean', summary: 'One look, printed' },
    sort: {
      type: 'string',
      value: 'COLUMN',
      choices: ['blocks', 'size', 'slabs', 'cached'],
      summary: 'Order of the size classes',
    },
  },
  examples: [
    ['HEAPWRIGHT_PUBLISH=1 node server.js & heapwright top', 'Watch a service.'],
    ['heapwright top 4711 --json', 'One look at one process, for programs.'],
  ],
  run: runTop,
};

const SORTS = ['blocks', 'size', 'slabs', 'cached'] as const;
type Sort = (typeof SORTS)[number];

async function runTop(values: OptionValues, operands: readonly string[]): Promise<number> {
  const [pid, ...more] = operands;
  if (more.length > 0) throw usageError('top takes at most one pid');
  if (pid !== undefined && !/^\d+$/u.test(pid))
    throw usageError(`the pid must be a number, got '${pid}'`);
  const { interval, sort = 'blocks', json } = values;
  const seconds = typeof interval === 'string' ? parsePositive(interval, '--interval') : 1;
  if (!SORTS.includes(sort as Sort)) {
    throw usageError(`unknown column '${String(sort)}'; known are ${SORTS.join(', ')}`);
  }
  const look = (): Promise<Published[]> => lookAt(pid);
  const first = await look();
  if (first.length === 0) throw nothingPublished(pid);
  if (typeof json === 'string') {
    putJson(first, json);
    return 0;
  }
  if (values['once'] === true || process.stdout.isTTY !== true) {
    print(`${first.flatMap((process) => processLines(process, sort as Sort)).join('\n')}\n`);
    return 0;
  }
  return await watch(first, look, seconds * 1000, sort as Sort);
}

function nothingPublished(pid: string | undefined): CliError {
  return pid === undefined
    ? new CliError(
        'no process publishes heaps: start one with HEAPWRIGHT_PUBLISH=1, or call heap.publish()',
        1,
      )
    : new CliError(
        `process ${pid} publishes no heaps: start it with HEAPWRIGHT_PUBLISH=1, or call heap.publish()`,
        1,
      );
}

async function lookAt(pid: string | undefined): Promise<Published[]> {
  const folder = runtimeFolder();
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /^\d+(?:-\d+)?\.sock$/u.test(name));
  } catch {
    return [];
  }
  const wanted = names.filter((name) => pid === undefined || name.split(/[-.]/u)[0] === pid);
  const answers = await Promise.all(wanted.map((name) => ask(path.join(folder, name))));
  return answers
    .filter((answer) => answer !== undefined)
    .toSorted((a, b) => a.pid - b.pid || a.thread - b.thread);
}

/** One question; undefined where nobody answers in time. */
function ask(socketFile: string): Promise<Published | undefined> {
  return new Promise((resolve) => {
    const connection = connect(socketFile);
    let text = '';
    const end = (answer: Published | undefined): void => {
      connection.destroy();
      resolve(answer);
    };
    connection.setTimeout(ANSWER_MS_MAX, () => end(undefined));
    connection.setEncoding('utf8');
    connection.on('error', (error: NodeJS.ErrnoException) => {
      // Nobody listens there any more: the process died without taking its socket away.
      if (error.code === 'ECONNREFUSED') rmSync(socketFile, { force: true });
      end(undefined);
    });
    connection.on('connect', () => connection.write('stats\n'));
    connection.on('close', () => resolve(undefined));
    connection.on('data', (part: string) => {
      text += part;
      if (text.length > ANSWER_BYTES_MAX) end(undefined);
      else if (text.endsWith('\n')) end(parseAnswer(text));
    });
  });
}

function parseAnswer(text: string): Published | undefined {
  try {
    const answer = JSON.parse(text) as Published;
    return answer.schema === 'heapwright/top/1' && Array.isArray(answer.heaps) ? answer : undefined;
  } catch {
    return undefined;
  }
}

function watch(
  first: Published[],
  look: () => Promise<Published[]>,
  everyMs: number,
  sortFirst: Sort,
): Promise<number> {
  return new Promise((resolve) => {
    let seen = first;
    let sort = sortFirst;
    let skip = 0;
    const draw = (): void => {
      const lines = seen.flatMap((process) => processLines(process, sort)).slice(skip);
      const keys = `q ends · s sorts by ${SORTS[(SORTS.indexOf(sort) + 1) % SORTS.length]} · up and down scroll`;
      const gone = seen.length === 0 ? ['No process publishes heaps any more.'] : [];
      screen.show([styled('inverse', `heapwright top: ${keys}`), ...gone, ...lines]);
    };
    const timer = setInterval(() => {
      void look().then((now) => {
        seen = now;
        draw();
        return undefined;
      });
    }, everyMs);
    const screen = new Screen((key) => {
      if (key === 'q' || key === 'escape') {
        clearInterval(timer);
        screen.leave();
        resolve(0);
        return;
      }
      if (key === 's') sort = SORTS[(SORTS.indexOf(sort) + 1) % SORTS.length] as Sort;
      else if (key === 'down' || key === 'j') skip += 1;
      else if (key === 'up' || key === 'k') skip = Math.max(0, skip - 1);
      draw();
    }, draw);
    draw();
  });
}

/** The lines about one process. */
function processLines(published: Published, sort: Sort): string[] {
  const { pid, thread, title, rss, uptimeSeconds, heaps } = published;
  const where = thread === 0 ? `${pid}` : `${pid}, thread ${thread}`;
  const count = heaps.length === 1 ? '1 heap' : `${heaps.length} heaps`;
  return [
    styled(
      'bold',
      `process ${where} (${printable(title)}), up ${countText(uptimeSeconds)} s, RSS ${bytesText(rss)}, ${count}`,
    ),
    ...heaps.flatMap((heap) => heapLines(heap as Readonly<Record<string, unknown>>, sort)),
    '',
  ];
}

/** Text of another process: no control characters of its may reach the terminal. */
function printable(text: unknown): string {
  return String(text)
    .replace(/\p{Cc}/gu, '?')
    .slice(0, 60);
}

interface ClassRow {
  readonly size: number;
  readonly blocks: number;
  readonly slabs: number;
  readonly cached: number;
}

function heapLines(heap: Readonly<Record<string, unknown>>, sort: Sort): string[] {
  const { name, error, classes } = heap;
  if (typeof error === 'string') return [`  ${printable(name)}: ${printable(error)}`];
  const figure = (key: string): number => (typeof heap[key] === 'number' ? heap[key] : 0);
  const size = figure('size');
  const used = figure('used');
  const bar = Math.round((size === 0 ? 0 : used / size) * 30);
  const rows = (Array.isArray(classes) ? (classes as ClassRow[]) : []).filter(
    ({ blocks, slabs, cached }) => blocks > 0 || slabs > 0 || cached > 0,
  );
  const order = rows.toSorted((a, b) => b[sort] - a[sort] || a.size - b.size);
  return [
    `  ${printable(name === '' ? 'heap' : name)} [${'█'.repeat(bar)}${'·'.repeat(30 - bar)}] ${shareText(size === 0 ? 0 : used / size)} of ${bytesText(size)}`,
    `    used ${bytesText(used)} in ${countText(figure('blocks'))} blocks (peak ${bytesText(figure('peakUsed'))}), committed ${bytesText(figure('committed'))}, ` +
      `cached ${bytesText(figure('cached'))}, threads ${figure('threads')}`,
    `    allocs ${countText(figure('allocs'))}, frees ${countText(figure('frees'))}, crossings ${countText(figure('crossings'))}, failures ${countText(figure('failures'))}`,
    ...(order.length === 0
      ? []
      : [
          styled(
            'underline',
            `    ${'OBJ SIZE'.padStart(10)} ${'BLOCKS'.padStart(12)} ${'SLABS'.padStart(8)} ${'USE'.padStart(10)} ${'CACHED'.padStart(10)}`,
          ),
        ]),
    ...order.map(
      (row) =>
        `    ${bytesText(row.size).padStart(10)} ${countText(row.blocks).padStart(12)} ${countText(row.slabs).padStart(8)} ${bytesText(row.blocks * row.size).padStart(10)} ${countText(row.cached).padStart(10)}`,
    ),
  ];
}
