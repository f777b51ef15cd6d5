/**
 * @file `heapwright simulate`: steps a scenario through a kind and shows the state after each step.
 *
 * Printed, it is a list of steps; with `--step` it is a screen with keys for next, back, run and quit. Both
 * show the same lines about a step: what was asked, what came of it, what the allocator did in words
 * (split, merge, refill, drain), the figures, and a map of the range.
 */
import type { Snapshot } from '../inspect/snapshot.ts';
import { bytesText, countText, shareText } from '../inspect/text.ts';
import { usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { hasColor, print, putJson, styled } from './output.ts';
import { parseScenario, SCENARIO_KINDS } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { Simulation } from './simulation.ts';
import type { StepOutcome } from './simulation.ts';
import { shades } from './snapshot.ts';
import { Screen } from './terminal.ts';
import { findBundled, readInput } from './trace-files.ts';

const SCRIPT_BYTES_MAX = 4 * 2 ** 20;

export const simulateCommand: Command = {
  name: 'simulate',
  summary: 'Step a small script through any kind and see what the allocator does',
  operands: 'SCRIPT [--step]',
  files: ['sim', 'txt', 'json'],
  description: `
Reads a script (text or JSON, see docs/cli.md) that names a kind, a range and steps like
  a = alloc 64      b = pages 4 align 64KiB      free a      drain 1
and shows the state after each step, with what the allocator did in words. --step waits for keys:
n or right: next, b or left: back, r: run to the end, g: to the start, q: quit.
SCRIPT may be the bare name of one that comes with the package: split-and-merge, fragmentation, rounding,
remote-free.`,
  options: {
    step: { type: 'boolean', summary: 'One step per key, on the whole screen' },
    kind: {
      type: 'string',
      short: 'k',
      value: 'KIND',
      choices: SCENARIO_KINDS,
      summary: 'Another kind than the script says',
    },
  },
  examples: [
    ['heapwright simulate split-and-merge', 'Watch buddies split and merge.'],
    ['heapwright simulate remote-free --step', 'Step by step, forward and back.'],
  ],
  run: runSimulate,
};

async function runSimulate(values: OptionValues, operands: readonly string[]): Promise<number> {
  const [file, ...more] = operands;
  if (file === undefined || more.length > 0) {
    throw usageError('simulate takes one script (see heapwright simulate --help)');
  }
  const { kind, step, json } = values;
  if (typeof kind === 'string' && !SCENARIO_KINDS.includes(kind)) {
    throw usageError(`unknown kind '${kind}'; known are ${SCENARIO_KINDS.join(', ')}`);
  }
  const found = findBundled(file, 'examples/scenarios', 'sim');
  const parsed = parseScenario(readInput(found, SCRIPT_BYTES_MAX).toString('utf8'), file);
  const scenario = typeof kind === 'string' ? { ...parsed, kind } : parsed;
  if (step === true && json === undefined) return await stepThrough(scenario, file);
  const simulation = new Simulation(scenario);
  try {
    const outcomes: StepOutcome[] = [];
    if (json === undefined) print(`${styled('bold', titleOf(scenario, file))}\n\n`);
    while (!simulation.done) {
      const outcome = simulation.next();
      if (typeof json === 'string') outcomes.push(outcome);
      else print(`${outcomeLines(outcome, 64).join('\n')}\n\n`);
    }
    if (typeof json === 'string') putJson({ scenario, outcomes }, json);
  } finally {
    simulation.close();
  }
  return 0;
}

function titleOf({ kind, start, size, cpus, steps }: Scenario, file: string): string {
  const processors = cpus === undefined ? '' : `, ${cpus} CPUs`;
  return `${file}: ${kind} over ${kind === 'id' ? `${countText(size)} ids` : bytesText(size)} from 0x${start.toString(16)}${processors}, ${steps.length} steps`;
}

/** The lines about one step. */
function outcomeLines(outcome: StepOutcome, mapWidth: number): string[] {
  const { index, step, result, refused, words, snapshot } = outcome;
  const head =
    step === undefined ? 'start' : `${index}. ${step.op === 'note' ? 'note' : step.text}`;
  return [
    `${styled('bold', head)}  ${refused ? styled('red', result) : result}`,
    ...words.map((word) => `   ${styled('cyan', '·')} ${word}`),
    `   ${figures(snapshot)}`,
    ...mapLines(outcome, mapWidth).map((line) => `   ${line}`),
  ];
}

function figures({ kind, unit, stats, fragmentation }: Snapshot): string {
  const { used = 0, total, size, largestFree = 0, blocks = 0 } = stats as Record<string, number>;
  const inPages = kind === 'bitmap' || kind === 'buddy-pages';
  const text = (value: number): string => {
    if (unit === 'ids') return `${countText(value)} ids`;
    return inPages ? `${countText(value)} ${value === 1 ? 'page' : 'pages'}` : bytesText(value);
  };
  return (
    `${countText(blocks)} live, ${text(used)} of ${text(total ?? size ?? 0)} used, ` +
    `largest request that succeeds ${text(largestFree)}, external fragmentation ${shareText(fragmentation.external)}`
  );
}

/** Rows of the map at most; a wider stretch per letter keeps it within. */
const MAP_ROWS_MAX = 8;

/** The ranges as letters, the block of the step marked. */
function mapLines({ snapshot, touched }: StepOutcome, width: number): string[] {
  const lines: string[] = [];
  (snapshot.maps ?? []).forEach((map, index) => {
    const size = snapshot.ranges[index]?.size ?? 0;
    const cells = Math.ceil(size / map.cellSize);
    // A letter is never less than a page: its parts are always alike.
    const fold = Math.max(
      Math.ceil(cells / (width * MAP_ROWS_MAX)),
      Math.ceil((snapshot.pageSize ?? 1) / map.cellSize),
    );
    const folded = foldCells(map.cells.padEnd(cells, '0').slice(0, cells), fold);
    const text = shades(folded);
    const unit = map.cellSize * fold;
    const from = touched === undefined ? -1 : Math.floor((touched.pos - map.start) / unit);
    const to =
      touched === undefined ? -1 : Math.ceil((touched.pos + touched.size - map.start) / unit);
    for (let at = 0; at < text.length; at += width) {
      lines.push(`│${marked(text.slice(at, at + width), from - at, to - at)}│`);
    }
    lines.push(
      `0x${map.start.toString(16)}, ${snapshot.unit === 'ids' ? `${countText(unit)} ids` : bytesText(unit)} a letter${hasColor() || from < 0 ? '' : `; the block is at ${from + 1 === to ? `letter ${to}` : `letters ${from + 1} to ${to}`}`}`,
    );
  });
  return lines;
}

function foldCells(cells: string, fold: number): string {
  if (fold === 1) return cells;
  let folded = '';
  for (let at = 0; at < cells.length; at += fold) {
    let sum = 0;
    for (const cell of cells.slice(at, at + fold)) sum += Number.parseInt(cell, 16);
    folded += Math.ceil(sum / fold).toString(16);
  }
  return folded;
}

function marked(text: string, from: number, to: number): string {
  const start = Math.max(0, Math.min(text.length, from));
  const end = Math.max(start, Math.min(text.length, to));
  return `${text.slice(0, start)}${styled('inverse', text.slice(start, end))}${text.slice(end)}`;
}

// ---------------------------------------------------------------- step by step

async function stepThrough(scenario: Scenario, file: string): Promise<number> {
  let simulation = new Simulation(scenario);
  /** Going back is going forward again from the start: every kind is deterministic. */
  const goTo = (index: number): void => {
    if (index < simulation.last.index) {
      simulation.close();
      simulation = new Simulation(scenario);
    }
    while (simulation.last.index < index && !simulation.done) simulation.next();
  };
  try {
    await new Promise<void>((resolve, reject) => {
      const draw = (): void => {
        const { last } = simulation;
        const { steps } = scenario;
        const near = steps.slice(Math.max(0, last.index - 3), last.index + 3);
        const list = near.map((step) => {
          const isNow = step === last.step;
          return isNow ? styled('inverse', `▶ ${step.text}`) : `  ${step.text}`;
        });
        screen.show([
          styled('bold', titleOf(scenario, file)),
          `step ${last.index} of ${steps.length}   n next · b back · r run · g start · q quit`,
          '',
          ...list,
          '',
          ...outcomeLines(last, Math.min(96, screen.columns - 8)),
        ]);
      };
      const act = (key: string): void => {
        const { index } = simulation.last;
        if (key === 'n' || key === 'right' || key === 'space' || key === 'return') goTo(index + 1);
        else if (key === 'b' || key === 'left' || key === 'backspace') goTo(Math.max(0, index - 1));
        else if (key === 'r' || key === 'end') goTo(scenario.steps.length);
        else if (key === 'g' || key === 'home') goTo(0);
        else if (key === 'q' || key === 'escape') {
          screen.leave();
          resolve();
          return;
        }
        draw();
      };
      const screen = new Screen((key) => {
        try {
          act(key);
        } catch (error) {
          screen.leave();
          reject(error as Error);
        }
      }, draw);
      draw();
    });
  } finally {
    simulation.close();
  }
  return 0;
}
