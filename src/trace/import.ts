/**
 * @file Traces out of the logs that people can make without heapwright.
 *
 * | format | made by | lines understood |
 * | --- | --- | --- |
 * | `mtrace` | glibc's mtrace() and `MALLOC_TRACE` | `@ where + pos size`, `- pos`, `< old`, `> new size`, `! …` |
 * | `ltrace` | `ltrace [-f] -e malloc+free+realloc+calloc` | `prog->malloc(size) = pos` …, unfinished and resumed calls |
 * | `csv` | anything | `op,id,size[,align]`; op is alloc, calloc, realloc or free; `#` comments |
 *
 * A log names blocks by address and begins in the middle of a program's life, so an importer has to be
 * lenient about two things, and counts both in its notes: a free of a block that the log never saw born
 * is left out; an address that is handed out twice without a free in between was freed unseen, and a
 * free is put in. In CSV, whose ids are the author's own, the second is an error.
 *
 * A line that is none of its format is an error with its number. Memory: the log, 5 bytes per event and
 * a map entry per live block; lines over 4 KiB are refused.
 */
import { failure, invalidType } from '../errors.ts';
import { alignFault, Lifetimes, PackedTrace, TraceEncoder } from './format.ts';
import type { Trace } from './format.ts';

/** The logs that can be read. */
export const IMPORT_FORMATS = ['mtrace', 'ltrace', 'csv'] as const;
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/** A trace made from a log. */
export interface ImportedTrace {
  readonly trace: Trace;
  readonly format: ImportFormat;
  /** What was left out or put in, in words; empty if nothing was. */
  readonly notes: readonly string[];
}

const LINE_BYTES_MAX = 4096;

/**
 * Reads a log.
 *
 * @param format - Decided by the first lines where left out.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming the line (counted from 1).
 */
export function importLog(bytes: Uint8Array, format?: ImportFormat): ImportedTrace {
  if (!(bytes instanceof Uint8Array)) throw invalidType('bytes', 'a Uint8Array', bytes);
  const found = format ?? sniff(bytes);
  const importer = new Importer(found === 'csv');
  const readLine = { mtrace: readMtrace, ltrace: readLtrace, csv: readCsv }[found]();
  eachLine(bytes, (line, number) => {
    const fault = readLine(line, importer, number);
    if (fault !== '') throw badLine(number, fault, line);
  });
  return { trace: importer.finish(found), format: found, notes: importer.notes() };
}

function badLine(number: number, fault: string, line: string): Error {
  const shown = line.length > 60 ? `${line.slice(0, 60)}…` : line;
  return failure('ERR_INVALID_PARAM', `line ${number}: ${fault}: ${JSON.stringify(shown)}`);
}

function eachLine(bytes: Uint8Array, visit: (line: string, number: number) => void): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let number = 0;
  for (let at = 0; at < buffer.length;) {
    const newline = buffer.indexOf(10, at);
    const end = newline < 0 ? buffer.length : newline;
    number++;
    if (end - at > LINE_BYTES_MAX) {
      const start = buffer.toString('latin1', at, at + 40);
      throw badLine(number, `longer than ${LINE_BYTES_MAX} bytes`, start);
    }
    const line = buffer.toString('latin1', at, end).trim();
    if (line !== '') visit(line, number);
    at = end + 1;
  }
}

function sniff(bytes: Uint8Array): ImportFormat {
  const head = Buffer.from(bytes.subarray(0, 65_536)).toString('latin1').split('\n').slice(0, 50);
  if (head.some((line) => /^(?:= Start|@ .* [-+<>!] )/u.test(line))) return 'mtrace';
  if (head.some((line) => /(?:malloc|calloc|realloc|free)(?:\(| resumed>)/u.test(line)))
    return 'ltrace';
  if (head.some((line) => /^\s*\w+\s*,\s*\w+/u.test(line))) return 'csv';
  throw failure(
    'ERR_INVALID_PARAM',
    `line 1: the log is none of ${IMPORT_FORMATS.join(', ')} as far as its first 50 lines show`,
  );
}

/** Reads one line; answers what is wrong with it, or `''`. */
type LineReader = (line: string, importer: Importer, number: number) => string;

/** Gives ids to names of blocks and writes the events. */
class Importer {
  readonly #strict: boolean;
  readonly #encoder = new TraceEncoder();
  readonly #lifetimes = new Lifetimes();
  readonly #idOf = new Map<string, number>();
  #events = 0;
  #unknown = 0;
  #reused = 0;
  #failed = 0;
  #ignored = 0;
  #misread = 0;

  constructor(strict: boolean) {
    this.#strict = strict;
  }

  alloc(name: string, size: number, zeroed: boolean, align?: number): string {
    if (this.#idOf.has(name)) {
      if (this.#strict) return `block ${name} is live already`;
      this.#reused++;
      this.free(name);
    }
    const id = this.#lifetimes.ids;
    const fault = align === undefined ? '' : alignFault(align);
    const problem = fault === '' ? this.#lifetimes.birth(id, size) : fault;
    if (problem !== '') return problem;
    this.#idOf.set(name, id);
    if (align !== undefined) this.#encoder.allocAligned(id, size, align);
    else if (zeroed) this.#encoder.allocZeroed(id, size);
    else this.#encoder.alloc(id, size);
    this.#events++;
    return '';
  }

  free(name: string): string {
    const id = this.#idOf.get(name);
    if (id === undefined) {
      this.#unknown++;
      return this.#strict ? `block ${name} is not live` : '';
    }
    this.#idOf.delete(name);
    this.#lifetimes.death(id);
    this.#encoder.free(id);
    this.#events++;
    return '';
  }

  realloc(name: string, newName: string, size: number): string {
    const id = this.#idOf.get(name);
    if (id === undefined) {
      if (this.#strict) return `block ${name} is not live`;
      // It was born before the log began: from here on it is a block like any other.
      this.#unknown++;
      return this.alloc(newName, size, false);
    }
    if (newName !== name && this.#idOf.has(newName)) {
      this.#reused++;
      this.free(newName);
    }
    const fault = this.#lifetimes.resize(id, size);
    if (fault !== '') return fault;
    this.#idOf.delete(name);
    this.#idOf.set(newName, id);
    this.#encoder.realloc(id, size);
    this.#events++;
    return '';
  }

  /** A request that failed in the program: nothing happened. */
  failed(): string {
    this.#failed++;
    return '';
  }

  /**
   * A call that the C library made itself: ltrace 0.7 prints its arguments and result from stale
   * registers, like `calloc(94382431918848, 2048)` or `realloc(…) = 0x6`.
   */
  misread(): string {
    this.#misread++;
    return '';
  }

  /** A line that says nothing about blocks. */
  ignored(): string {
    this.#ignored++;
    return '';
  }

  finish(format: ImportFormat): Trace {
    if (this.#events === 0) {
      throw failure('ERR_INVALID_PARAM', `the log has no event that ${format} lines describe`);
    }
    const { ids, peakBytes } = this.#lifetimes;
    return new PackedTrace(this.#encoder.finish(), this.#events, ids, peakBytes);
  }

  notes(): string[] {
    const notes: string[] = [];
    if (this.#unknown > 0)
      notes.push(`${this.#unknown} frees or reallocs of blocks born before the log began`);
    if (this.#reused > 0)
      notes.push(
        `${this.#reused} addresses handed out again with no free in the log: a free was put in`,
      );
    if (this.#failed > 0)
      notes.push(`${this.#failed} requests that had failed in the program were left out`);
    if (this.#misread > 0)
      notes.push(
        `${this.#misread} calls inside the C library, which ltrace misreads, were left out`,
      );
    if (this.#ignored > 0) notes.push(`${this.#ignored} lines about other things were passed over`);
    return notes;
  }
}

/** A decimal or hexadecimal number; -1 if it is none, or no safe integer. */
function number(text: string | undefined): number {
  if (text === undefined || !/^(?:\d+|0x[0-9a-f]+)$/iu.test(text)) return -1;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : -1;
}

function isNull(pos: string): boolean {
  return pos === '(nil)' || pos === 'nil' || /^(?:0x)?0+$/u.test(pos);
}

const BAD_SIZE = 'no size below 2^53';

// ---------------------------------------------------------------- mtrace

function readMtrace(): LineReader {
  // A realloc is two lines: `< old`, then `> new size`. The lock of mtrace keeps them together.
  let reallocOf: string | undefined;
  return (line, importer) => {
    if (line.startsWith('= ')) return importer.ignored();
    const [op, pos, sizeText, ...rest] = (
      line.startsWith('@ ') ? line.replace(/^@ .*? (?=[-+<>!] )/u, '') : line
    ).split(/\s+/u);
    if (op === undefined || pos === undefined || rest.length > 0 || !/^[-+<>!]$/u.test(op)) {
      return 'no line of mtrace';
    }
    if (!isNull(pos) && !/^0x[0-9a-f]+$/iu.test(pos)) return 'no address';
    if ((op === '>') !== (reallocOf !== undefined)) {
      return op === '>'
        ? 'the new place of a realloc without the old one'
        : 'a realloc without its new place';
    }
    if (op === '<') {
      reallocOf = pos;
      return '';
    }
    if (op === '-') return isNull(pos) ? importer.ignored() : importer.free(pos);
    const size = number(sizeText);
    if (size < 0) return BAD_SIZE;
    if (op === '!' || isNull(pos)) return importer.failed();
    if (op === '+') return importer.alloc(pos, size, false);
    const old = reallocOf as string;
    reallocOf = undefined;
    return importer.realloc(old, pos, size);
  };
}

// ---------------------------------------------------------------- ltrace

const LTRACE_CALL =
  /^(?:\[pid (\d+)\] |(\d+) +)?(?:[\d.:]+ +)?(?:([^\s()<>]+)->)?(\w+)\(([^)<]*)(\)|<unfinished \.\.\.>)\s*(?:=\s*(\S+).*)?$/u;
const LTRACE_RESUMED =
  /^(?:\[pid (\d+)\] |(\d+) +)?(?:[\d.:]+ +)?<\.\.\. (\w+) resumed> .*?\)\s*=\s*(\S+).*$/u;
const LTRACE_OTHER = /^(?:\[pid \d+\] |\d+ +)?(?:[\d.:]+ +)?(?:\+\+\+|---) /u;

function readLtrace(): LineReader {
  const unfinished = new Map<string, { name: string; args: string }>();
  return (line, importer) => {
    if (LTRACE_OTHER.test(line)) return importer.ignored();
    const resumed = LTRACE_RESUMED.exec(line);
    if (resumed !== null) {
      const [, pidA, pidB, name = '', result = ''] = resumed;
      const pid = pidA ?? pidB ?? '';
      const call = unfinished.get(pid);
      if (call?.name !== name) return 'a resumed call that was not begun';
      unfinished.delete(pid);
      return ltraceCall(name, call.args, result, importer);
    }
    const match = LTRACE_CALL.exec(line);
    if (match === null) return 'no line of ltrace';
    const [, pidA, pidB, caller = '', name = '', args = '', end, result] = match;
    if (caller.startsWith('libc.so')) return importer.misread();
    if (end !== ')') {
      // A process that forks can leave more calls open than ltrace ever resumes.
      if (unfinished.size > 100_000) return 'more than 100,000 unfinished calls';
      unfinished.set(pidA ?? pidB ?? '', { name, args });
      return '';
    }
    if (result === undefined) return 'a call without its result';
    return ltraceCall(name, args, result, importer);
  };
}

function ltraceCall(name: string, argsText: string, result: string, importer: Importer): string {
  const args = argsText.split(',').map((arg) => arg.trim());
  const [first = '', second] = args;
  switch (name) {
    case 'malloc': {
      const size = number(first);
      if (size < 0) return BAD_SIZE;
      return isNull(result) ? importer.failed() : importer.alloc(result, size, false);
    }
    case 'calloc': {
      const size = number(first) * number(second);
      if (number(first) < 0 || number(second) < 0) return BAD_SIZE;
      if (isNull(result)) return importer.failed();
      return Number.isSafeInteger(size) ? importer.alloc(result, size, true) : BAD_SIZE;
    }
    case 'realloc': {
      const size = number(second);
      if (size < 0) return BAD_SIZE;
      if (isNull(result))
        return size === 0 && !isNull(first) ? importer.free(first) : importer.failed();
      return isNull(first)
        ? importer.alloc(result, size, false)
        : importer.realloc(first, result, size);
    }
    case 'free':
      return isNull(first) ? importer.ignored() : importer.free(first);
    default:
      return importer.ignored();
  }
}

// ---------------------------------------------------------------- CSV

const CSV_OPS: Readonly<Record<string, 'alloc' | 'calloc' | 'realloc' | 'free'>> = {
  alloc: 'alloc',
  malloc: 'alloc',
  calloc: 'calloc',
  zeroed: 'calloc',
  realloc: 'realloc',
  free: 'free',
};

function readCsv(): LineReader {
  return (line, importer, lineNumber) => {
    if (line.startsWith('#')) return '';
    const cells = line.split(',').map((cell) => cell.trim().replace(/^"(.*)"$/u, '$1'));
    const [opText = '', id = '', sizeText, alignText] = cells;
    if (lineNumber === 1 && opText.toLowerCase() === 'op') return '';
    const op = CSV_OPS[opText.toLowerCase()];
    if (op === undefined) return `unknown op; known are ${Object.keys(CSV_OPS).join(', ')}`;
    if (id === '' || cells.length > 4) return 'not op,id,size[,align]';
    if (op === 'free') return importer.free(id);
    const size = number(sizeText);
    if (size < 0) return BAD_SIZE;
    if (op === 'realloc') return importer.realloc(id, id, size);
    if (alignText === undefined || alignText === '')
      return importer.alloc(id, size, op === 'calloc');
    return importer.alloc(id, size, false, number(alignText));
  };
}
