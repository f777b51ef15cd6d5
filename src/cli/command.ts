/**
 * @file What a subcommand of `heapwright` is, and how its arguments are read.
 *
 * A command is data (name, options, examples) plus one function. Help texts and shell completions are
 * made from the data, so they cannot drift from what is parsed.
 *
 * `--json` needs a word: it may stand alone (print to standard output) or take a file. The word after
 * it belongs to it only if that is `-` or ends in `.json`; so `trace info --json x.hwt.gz` does not
 * write over a trace. `--json=FILE` takes any name.
 *
 * Exit codes: 0, 1 (it failed), 2 (it was called wrongly). Not here: printing (`output.ts`).
 */
import { parseArgs } from 'node:util';

/** A failure with a line for the user and an exit code; no stack is shown. */
export class CliError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** Called wrongly: exit code 2. */
export function usageError(message: string): CliError {
  return new CliError(message, 2);
}

/** One `--option`. */
export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** How help names the value; `FILE` completes file names. */
  readonly value?: string;
  /** The values there are, for completion and for help. */
  readonly choices?: readonly string[];
  readonly summary: string;
}

/** The values of the options of a call, by name. */
export type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

/** A subcommand. */
export interface Command {
  readonly name: string;
  /** Words of a second level, like `info` of `trace`. */
  readonly actions?: readonly string[];
  readonly summary: string;
  /** After the name, as in `heapwright replay [FILE...]`. */
  readonly operands: string;
  /** File endings that completion offers for operands. */
  readonly files?: readonly string[];
  readonly description: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** Resolves to the exit code. */
  run(values: OptionValues, operands: readonly string[]): number | Promise<number>;
}

/** Options of every command. */
export const COMMON_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  json: {
    type: 'string',
    value: '[FILE]',
    summary: 'JSON instead of text: to standard output, or to FILE (- or a name ending in .json)',
  },
  help: { type: 'boolean', short: 'h', summary: 'Show this help' },
};

/** What `--json` says where it stands alone: standard output. */
export const JSON_STDOUT = '-';

/** Reads the arguments of `command`; throws a usage error that names what is wrong. */
export function parseCommand(
  command: Command,
  args: readonly string[],
): { values: OptionValues; operands: string[] } {
  const options = { ...command.options, ...COMMON_OPTIONS };
  try {
    const { values, positionals } = parseArgs({
      args: joinJson(args),
      options: Object.fromEntries(
        Object.entries(options).map(([name, { type, short }]) => [
          name,
          short === undefined ? { type } : { type, short },
        ]),
      ),
      allowPositionals: true,
      strict: true,
    });
    return { values: values as OptionValues, operands: positionals };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('ERR_PARSE_ARGS') !== true) throw error;
    // Node's hint about `--` is for file names that begin with a dash; the first sentence is enough.
    const [sentence = message] = message.split(/\.?\s*\n|\. To specify/u);
    throw usageError(`${sentence} (see heapwright ${command.name} --help)`);
  }
}

function joinJson(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === '--') return [...joined, ...args.slice(i)];
    if (arg !== '--json') {
      joined.push(arg);
      continue;
    }
    const next = args[i + 1];
    const takesNext =
      next === JSON_STDOUT || (next?.endsWith('.json') === true && !next.startsWith('--'));
    joined.push(`--json=${takesNext ? (next as string) : JSON_STDOUT}`);
    if (takesNext) i++;
  }
  return joined;
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  kb: 1e3,
  m: 2 ** 20,
  mib: 2 ** 20,
  mb: 1e6,
  g: 2 ** 30,
  gib: 2 ** 30,
  gb: 1e9,
  t: 2 ** 40,
  tib: 2 ** 40,
  tb: 1e12,
};

/**
 * A size in bytes from what people type: `64MiB`, `64m`, `64 MiB`, `65536`, `1e6`, `1.5g`; `MB` is 10^6.
 *
 * @throws a usage error that quotes `text`.
 */
export function parseSize(text: string, name: string): number {
  const match = /^\s*(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([a-z]*)\s*$/iu.exec(text);
  const unit = SIZE_UNITS[match?.[2]?.toLowerCase() ?? '?'];
  if (match === null || unit === undefined) {
    throw usageError(`${name} must be a size like 64MiB, 64m, 65536 or 1e6, got '${text}'`);
  }
  const bytes = Number(match[1]) * unit;
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw usageError(`${name} must be a whole number of bytes from 1 to 2^53 - 1, got '${text}'`);
  }
  return bytes;
}

/** A positive number, like seconds. */
export function parsePositive(text: string, name: string): number {
  const value = /^\d+(?:\.\d+)?(?:e\d+)?$/u.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0 && value < Infinity))
    throw usageError(`${name} must be a number above 0, got '${text}'`);
  return value;
}

/** A comma-separated list of words that must all be among `choices`. */
export function parseChoices(text: string, name: string, choices: readonly string[]): string[] {
  const words = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  if (words.length === 0) throw usageError(`${name} is empty; known are ${choices.join(', ')}`);
  for (const word of words) {
    if (!choices.includes(word)) {
      throw usageError(`unknown ${name} '${word}'; known are ${choices.join(', ')}`);
    }
  }
  return [...new Set(words)];
}

/** The help text of one command. */
export function helpText(command: Command): string {
  const lines = [
    `Usage: heapwright ${command.name} ${command.operands}`,
    '',
    command.description.trim(),
    '',
    'Options:',
  ];
  const options = Object.entries({ ...command.options, ...COMMON_OPTIONS });
  const heads = options.map(
    ([name, { short, value }]) =>
      `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
  );
  const width = Math.max(...heads.map((head) => head.length));
  options.forEach(([, { summary, choices }], i) => {
    const among = choices === undefined ? '' : ` (${choices.join(', ')})`;
    lines.push(`  ${(heads[i] as string).padEnd(width)}  ${summary}${among}`);
  });
  lines.push('', 'Examples:');
  for (const [line, what] of command.examples) lines.push(`  ${line}`, `      ${what}`);
  return `${lines.join('\n')}\n`;
}
