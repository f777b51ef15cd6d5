/**
 * @file What the commands print and write: colors, tables, progress, files.
 *
 * - Colors only on a terminal, and never where `NO_COLOR` is set or `TERM` is `dumb`.
 * - Progress is one line on standard error, only if that is a terminal.
 * - A file is written beside its name and renamed, so nobody ever sees half of it.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { styleText } from 'node:util';

import { CliError, JSON_STDOUT } from './command.ts';

type StyleName = Parameters<typeof styleText>[0];

/** May `stream` be colored? */
export function hasColor(stream: NodeJS.WriteStream = process.stdout): boolean {
  const { NO_COLOR: noColor, TERM: term } = process.env;
  return stream.isTTY === true && (noColor === undefined || noColor === '') && term !== 'dumb';
}

/** `text` in a style, where standard output shows styles. */
export function styled(style: StyleName, text: string, stream?: NodeJS.WriteStream): string {
  return hasColor(stream) ? styleText(style, text) : text;
}

/** Prints to standard output. */
export function print(text: string): void {
  process.stdout.write(text);
}

/** Prints a line to standard error. */
export function warn(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** One column of a {@link Table}. */
export interface Column {
  readonly head: string;
  readonly width: number;
  readonly left?: boolean;
}

/** Lines of a table whose widths are known beforehand, so that rows can be printed as they come. */
export class Table {
  readonly #columns: readonly Column[];

  constructor(columns: readonly Column[]) {
    this.#columns = columns;
  }

  head(): string {
    const cells = this.#columns.map(({ head }) => head);
    const rule = this.#columns.map(({ width }) => '─'.repeat(width)).join('─┼─');
    return `${styled('bold', this.row(cells))}\n${rule}`;
  }

  row(cells: readonly string[]): string {
    return this.#columns
      .map(({ width, left }, i) => {
        const cell = cells[i] ?? '';
        return left === true ? cell.padEnd(width) : cell.padStart(width);
      })
      .join(' │ ')
      .trimEnd();
  }
}

/** A line on standard error that is rewritten in place; silent where that is no terminal. */
export class Progress {
  readonly #shown = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
  #label = '';
  #began = 0;

  start(label: string): void {
    this.#label = label;
    this.#began = performance.now();
    this.update(0, 1);
  }

  update(done: number, total: number): void {
    if (!this.#shown) return;
    const share = total === 0 ? 1 : done / total;
    const filled = Math.round(share * 24);
    const seconds = (performance.now() - this.#began) / 1000;
    const left =
      share > 0.02 && seconds > 2 ? `, ${Math.ceil(seconds / share - seconds)} s left` : '';
    const bar = `${'█'.repeat(filled)}${'░'.repeat(24 - filled)}`;
    const line = `${this.#label} ${bar} ${String(Math.floor(share * 100)).padStart(3)} %, ${seconds.toFixed(0)} s${left}`;
    // Written at once and not through the stream: a replay does not return to the event loop.
    writeNow(`\r\u001B[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  clear(): void {
    if (this.#shown) writeNow('\r\u001B[2K');
  }
}

function writeNow(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // A terminal that is gone or full loses a progress line, not the work.
  }
}

/** The reason of a failed system call, as people read it: `permission denied (EACCES)`. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const [, text] = /^[A-Z0-9]+: ([^,]+),/u.exec(message) ?? [];
  return text === undefined ? message : `${text} (${code})`;
}

/**
 * Makes `folder` and what is missing above it. Not by `mkdirSync` with `recursive`, which never returns
 * where a file system says that a folder is not there and cannot be made either (`/proc`, Node 20).
 */
function makeFolder(folder: string): void {
  const missing: string[] = [];
  let above = folder;
  while (!existsSync(above)) {
    missing.unshift(above);
    above = path.dirname(above);
  }
  for (const one of missing) mkdirSync(one);
}

/** Throws unless a file could be written at `file`; to be asked before long work. Makes missing folders. */
export function requireWritable(file: string): void {
  if (file === JSON_STDOUT) return;
  const folder = path.dirname(path.resolve(file));
  try {
    makeFolder(folder);
    accessSync(folder, constants.W_OK);
    const found = statSync(file, { throwIfNoEntry: false });
    if (found?.isDirectory() === true)
      throw new CliError(`cannot write ${file}: it is a folder`, 1);
    if (found !== undefined) accessSync(file, constants.W_OK);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`cannot write ${file}: ${reasonOf(error)}`, 1, error);
  }
}

/** Writes `contents` to `file`: to a temporary file in the same folder first, then renamed. */
export function writeWhole(file: string, contents: string | Uint8Array): void {
  requireWritable(file);
  const found = statSync(file, { throwIfNoEntry: false });
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    if (found !== undefined && !found.isFile()) {
      // A device or a pipe, like /dev/stdout, cannot be renamed over.
      writeFileSync(file, contents);
      return;
    }
    const descriptor = openSync(temporary, 'wx');
    try {
      writeFileSync(descriptor, contents);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new CliError(`cannot write ${file}: ${reasonOf(error)}`, 1, error);
  }
}

/** Prints `value` as JSON to standard output, or writes it to `file`. */
export function putJson(value: unknown, file: string): void {
  const text = `${JSON.stringify(value, undefined, file === JSON_STDOUT ? 2 : undefined)}\n`;
  if (file === JSON_STDOUT) print(text);
  else writeWhole(file, text);
}
