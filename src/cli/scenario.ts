/**
 * @file The scripts that `heapwright simulate` steps through: a text form and a JSON form of one thing.
 *
 * ```text
 * kind two-level            # header: kind, range, cpus, page
 * range 0x100000 1MiB
 * cpus 2
 * a = alloc 64 cpu 1        # steps: NAME = alloc | zeroed | pages | ids
 * b = pages 4 align 64KiB   #        align A, cpu N, at ADDRESS, lowmem
 * free a cpu 0              #        free, realloc, drain, trim, adopt, add, note
 * drain 1
 * ```
 *
 * JSON: `{ "kind", "range": { "start", "size" }, "cpus", "pageSize", "steps": [{ "op", "name", … }] }`; its
 * steps have the words of the text form as keys. Both are checked whole before anything runs, and every
 * fault names its line (in JSON, its step).
 *
 * Not here: doing the steps (`simulation.ts`).
 */
import { parseSize, usageError } from './command.ts';
import type { CliError } from './command.ts';

/** The operations of a script. */
const STEP_OPS = [
  'alloc',
  'zeroed',
  'pages',
  'ids',
  'free',
  'realloc',
  'drain',
  'trim',
  'adopt',
  'add',
  'note',
] as const;
export type StepOp = (typeof STEP_OPS)[number];

/** One step of a script. */
export interface Step {
  readonly op: StepOp;
  /** How the script writes it, for the screen. */
  readonly text: string;
  /** Line of the text form, from 1; number of the step in JSON. */
  readonly line: number;
  readonly name?: string;
  /** Bytes, pages or ids. */
  readonly amount?: number;
  readonly align?: number;
  readonly cpu?: number;
  readonly at?: number;
  readonly lowmem?: boolean;
  /** `adopt FROM TO`. */
  readonly from?: number;
  readonly to?: number;
}

/** A whole script. */
export interface Scenario {
  readonly kind: string;
  readonly start: number;
  readonly size: number;
  readonly cpus?: number;
  readonly pageSize?: number;
  readonly steps: readonly Step[];
}

/** Kinds that a script can drive. */
export const SCENARIO_KINDS: readonly string[] = [
  'tlsf',
  'buddy',
  'slab',
  'bitmap',
  'id',
  'two-level',
  'buddy-pages',
  'heap',
];

/** More steps than this are a trace, not a scenario. */
const STEPS_MAX = 10_000;
const NAME = /^[A-Za-z_]\w{0,31}$/u;

/** Reads a script in either form. Throws a usage error that names `file` and the line. */
export function parseScenario(text: string, file: string): Scenario {
  const reader = new ScenarioReader(file);
  if (text.trimStart().startsWith('{')) reader.readJson(text);
  else text.split('\n').forEach((line, index) => reader.readLine(line, index + 1));
  return reader.finish();
}

class ScenarioReader {
  readonly #file: string;
  #kind: string | undefined;
  #range: { start: number; size: number } | undefined;
  #cpus: number | undefined;
  #pageSize: number | undefined;
  readonly #steps: Step[] = [];
  /** Names given so far; a script may free what failed, so being live is not checked here. */
  readonly #names = new Set<string>();
  #where = 'line 1';

  constructor(file: string) {
    this.#file = file;
  }

  readLine(raw: string, line: number): void {
    this.#where = `line ${line}`;
    const text = raw.replace(/(^|\s)#.*$/u, '').trim();
    if (text === '') return;
    if (text.length > 500) throw this.#fault('longer than 500 letters');
    const words = text.split(/\s+/u);
    const [first = '', ...rest] = words;
    if (['kind', 'range', 'cpus', 'page'].includes(first) && words[1] !== '=') {
      this.#header(first, rest);
      return;
    }
    if (words[1] === '=') {
      const [, , op = '', ...operands] = words;
      this.#step(op, [first, ...operands], text, line, true);
    } else {
      this.#step(first, rest, text, line, false);
    }
  }

  readJson(text: string): void {
    this.#where = 'the script';
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw this.#fault(`is no JSON: ${(error as Error).message}`);
    }
    const { kind, range, cpus, pageSize, steps, ...others } = value as Record<string, unknown>;
    const [unknown] = Object.keys(others);
    if (unknown !== undefined) throw this.#fault(`unknown key '${unknown}'`);
    this.#header('kind', [String(kind)]);
    if (range !== undefined) {
      const { start, size } = (range ?? {}) as Record<string, unknown>;
      this.#header('range', [String(start), String(size)]);
    }
    if (cpus !== undefined) this.#header('cpus', [String(cpus)]);
    if (pageSize !== undefined) this.#header('page', [String(pageSize)]);
    if (!Array.isArray(steps)) throw this.#fault('steps must be an array');
    steps.forEach((step: unknown, index) => this.#jsonStep(step, index + 1));
  }

  finish(): Scenario {
    this.#where = 'the script';
    const kind = this.#kind;
    if (kind === undefined)
      throw this.#fault(`says no kind; known are ${SCENARIO_KINDS.join(', ')}`);
    if (this.#steps.length === 0) throw this.#fault('has no steps');
    const { start, size } = this.#range ?? { start: 2 ** 20, size: 2 ** 20 };
    return {
      kind,
      start,
      size,
      ...(this.#cpus === undefined ? {} : { cpus: this.#cpus }),
      ...(this.#pageSize === undefined ? {} : { pageSize: this.#pageSize }),
      steps: this.#steps,
    };
  }

  #fault(what: string): CliError {
    return usageError(`${this.#file}, ${this.#where}: ${what}`);
  }

  #header(name: string, values: readonly string[]): void {
    const [first = '', second = ''] = values;
    if (name === 'kind') {
      if (!SCENARIO_KINDS.includes(first)) {
        throw this.#fault(`unknown kind '${first}'; known are ${SCENARIO_KINDS.join(', ')}`);
      }
      this.#kind = first;
    } else if (name === 'range') {
      this.#range = { start: this.#number(first, 'start'), size: this.#number(second, 'size') };
    } else if (name === 'cpus') {
      this.#cpus = this.#number(first, 'cpus');
    } else {
      this.#pageSize = this.#number(first, 'page');
    }
  }

  /** An address, a size or a count: decimal, hexadecimal, or with a unit. */
  #number(text: string, name: string): number {
    if (/^0x[0-9a-f]{1,13}$/iu.test(text)) return Number(text);
    if (text === '0') return 0;
    try {
      return parseSize(text, name);
    } catch (error) {
      throw this.#fault((error as Error).message);
    }
  }

  #jsonStep(value: unknown, index: number): void {
    this.#where = `step ${index}`;
    if (typeof value !== 'object' || value === null) throw this.#fault('is no object');
    const { op, name, size, count, align, cpu, at, lowmem, from, to, start, text } =
      value as Record<string, unknown>;
    const words: string[] = [];
    const isBirth = ['alloc', 'zeroed', 'pages', 'ids'].includes(String(op));
    if (name !== undefined) words.push(String(name));
    if (op === 'adopt') words.push(String(from), String(to));
    if (op === 'add') words.push(String(start));
    if (op === 'drain') words.push(String(cpu));
    if (op === 'note') words.push(String(text));
    const amount = size ?? count;
    if (amount !== undefined) words.push(String(amount));
    for (const [key, given] of Object.entries({ align, at, ...(op === 'drain' ? {} : { cpu }) })) {
      if (given !== undefined) words.push(key, String(given));
    }
    if (lowmem === true) words.push('lowmem');
    const shown =
      isBirth && name !== undefined
        ? `${String(name)} = ${String(op)} ${words.slice(1).join(' ')}`
        : `${String(op)} ${words.join(' ')}`;
    this.#step(String(op), words, shown.trim(), index, isBirth);
  }

  #step(op: string, words: readonly string[], text: string, line: number, named: boolean): void {
    if (!(STEP_OPS as readonly string[]).includes(op)) {
      throw this.#fault(`unknown step '${op}'; known are ${STEP_OPS.join(', ')}`);
    }
    if (this.#steps.length >= STEPS_MAX) throw this.#fault(`more than ${STEPS_MAX} steps`);
    const isBirth = op === 'alloc' || op === 'zeroed' || op === 'pages' || op === 'ids';
    if (isBirth !== named) {
      throw this.#fault(
        isBirth
          ? `'${op}' needs a name, as in 'a = ${op} 64'`
          : `'${op}' gives nothing that a name could stand for`,
      );
    }
    const base = { op: op as StepOp, text, line };
    this.#steps.push(isBirth ? this.#birth(base, words) : this.#other(base, words));
  }

  #birth(base: Pick<Step, 'op' | 'text' | 'line'>, words: readonly string[]): Step {
    const [name = '', amount = '', ...options] = words;
    if (!NAME.test(name)) throw this.#fault(`'${name}' is no name: letters, digits and _`);
    this.#names.add(name);
    return { ...base, name, amount: this.#number(amount, 'the amount'), ...this.#options(options) };
  }

  #options(words: readonly string[]): Pick<Step, 'align' | 'cpu' | 'at' | 'lowmem'> {
    const options: { align?: number; cpu?: number; at?: number; lowmem?: boolean } = {};
    for (let i = 0; i < words.length; i++) {
      const word = words[i] as string;
      if (word === 'lowmem') options.lowmem = true;
      else if (word === 'align' || word === 'cpu' || word === 'at') {
        options[word] = this.#number(words[++i] ?? '', word);
      } else throw this.#fault(`'${word}' is not understood; known are align, cpu, at, lowmem`);
    }
    return options;
  }

  #other(base: Pick<Step, 'op' | 'text' | 'line'>, words: readonly string[]): Step {
    const [first = '', second = '', ...rest] = words;
    switch (base.op) {
      case 'free':
        return { ...base, name: this.#known(first), ...this.#options(words.slice(1)) };
      case 'realloc':
        return { ...base, name: this.#known(first), amount: this.#number(second, 'the new size') };
      case 'drain':
        return { ...base, cpu: this.#number(first, 'the CPU') };
      case 'adopt':
        return {
          ...base,
          from: this.#number(first, 'the CPU'),
          to: this.#number(second, 'the CPU'),
        };
      case 'add':
        return { ...base, at: this.#number(first, 'start'), amount: this.#number(second, 'size') };
      case 'trim':
      case 'note':
        return base;
      default:
        throw this.#fault(`'${base.op}' takes no ${rest.join(' ')}`);
    }
  }

  #known(name: string): string {
    if (!this.#names.has(name)) throw this.#fault(`nothing before is called '${name}'`);
    return name;
  }
}
