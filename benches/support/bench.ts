/**
 * @file The inside of one benchmark process: arguments, timing, the JSON lines that `run.ts` reads.
 *
 * A process runs one path of one workload (ours, or one peer), so that V8 sees one shape only. It
 * prints a line per case, with every pass, in the form of `benches/native/src/report.rs`.
 *
 * Not here: any judgment; medians, ratios and targets are made in `run.ts`.
 */
import { readFileSync, writeSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

/** What a case of a path took, or yielded. */
export interface CaseLine {
  readonly case: string;
  readonly unit: string;
  readonly samples: readonly number[];
  readonly [extra: string]: unknown;
}

/** The `key=value` arguments of this process. */
export class Arguments {
  readonly #values: ReadonlyMap<string, string>;

  constructor(words: readonly string[]) {
    this.#values = new Map(
      words.map((word) => {
        const at = word.indexOf('=');
        if (at < 1) throw new Error(`expected key=value, got ${word}`);
        return [word.slice(0, at), word.slice(at + 1)];
      }),
    );
  }

  /** The text of `key`, or `fallback`. */
  text(key: string, fallback = ''): string {
    return this.#values.get(key) ?? fallback;
  }

  /** The number of `key`, or `fallback`. */
  number(key: string, fallback: number): number {
    const text = this.#values.get(key);
    const value = text === undefined ? fallback : Number(text);
    if (!Number.isFinite(value)) throw new Error(`${key} must be a number, got ${text}`);
    return value;
  }

  /** The share of `steps=` that one call of a kernel runs. */
  stepsPerCall(fallback: number): number {
    return Math.max(1, Math.floor(this.number('steps', fallback) / CALLS));
  }

  /** The same arguments with some replaced. */
  with(replaced: ReadonlyMap<string, string>): Arguments {
    return new Arguments([...this.#values, ...replaced].map(([key, value]) => `${key}=${value}`));
  }

  /** Whether `key=1`. */
  flag(key: string): boolean {
    return this.text(key) === '1';
  }
}

/** Nanoseconds now. */
export function now(): number {
  return Number(process.hrtime.bigint());
}

setFlagsFromString('--allow-natives-syntax');
const optimizationStatus = new Function('callee', 'return %GetOptimizationStatus(callee);') as (
  callee: unknown,
) => number;
setFlagsFromString('--no-allow-natives-syntax');
/** V8's kOptimized, the same bit in Node 20 to 26. */
const OPTIMIZED = 1 << 4;

/** Whether V8 runs `callee` as optimized code now. */
function isOptimized(callee: unknown): boolean {
  return (optimizationStatus(callee) & OPTIMIZED) !== 0;
}

/** What folds the pointers: kept, so that no compiler may remove the loop that made it. */
let sink = 0;

/** Keeps `value` alive. */
export function consume(value: number): void {
  sink = (sink + value) | 0;
}

/**
 * Calls of the kernel in one timed pass. A loop that is entered once runs in code made by on-stack replacement; entered
 * eight times it runs in the code that a program would run.
 */
const CALLS = 8;

/**
 * Calls `pass` for `warm=` ms, then takes the time of `passes=` passes of {@link CALLS} calls each.
 *
 * @param args - `warm` (ms) and `passes`.
 * @param count - Operations of a call.
 * @param kernel - The function that must stay optimized; a pass after which it is not is counted.
 * @param pass - Runs the loop once, for the count given, and returns what it folded. It is called for a single operation a
 *   few times before anything else: code that V8 makes inside a first, long loop has never seen what comes after the loop, and
 *   is thrown away there.
 * @param calls - Calls of a pass, where one takes long.
 * @returns Nanoseconds per operation of each pass, and the passes that ended deoptimized.
 */
export function measure(
  args: Arguments,
  count: number,
  kernel: unknown,
  pass: (count: number) => number,
  calls: number = CALLS,
): { samples: number[]; deoptimized: number } {
  const passes = args.number('passes', 3);
  const end = now() + args.number('warm', 200) * 1e6;
  if (calls > 1) for (let i = 0; i < 50; i++) consume(pass(1));
  do consume(pass(count));
  while (now() < end);
  const samples: number[] = [];
  let deoptimized = 0;
  for (let i = 0; i < passes; i++) {
    const start = now();
    for (let call = 0; call < calls; call++) consume(pass(count));
    samples.push((now() - start) / (count * calls));
    if (!isOptimized(kernel)) deoptimized++;
  }
  return { samples, deoptimized };
}

/** (minor faults, major faults, resident bytes) of this process. */
function usage(): { minor: number; major: number; rss: number } {
  const { minorPageFault, majorPageFault } = process.resourceUsage();
  return { minor: minorPageFault, major: majorPageFault, rss: process.memoryUsage.rss() };
}

/** Prints a case. */
export function emit(line: CaseLine): void {
  writeSync(1, `${JSON.stringify({ ...line, ...usage(), sink: sink & 1 })}\n`);
}

/** The resident bytes of this process now, from the kernel. */
export function residentBytes(): number {
  return Number(readFileSync('/proc/self/statm', 'latin1').split(' ')[1]) * 4096;
}

/**
 * Puts the isolate into the state after its first detached ArrayBuffer: from then on V8 checks every
 * typed-array access. Our own `close` does it, and a user's transfer list.
 */
function detachSomething(): void {
  structuredClone(new ArrayBuffer(8), { transfer: [new ArrayBuffer(8)] });
}

/**
 * Runs the path that `path=` names and ends the process, also when workers are still there.
 *
 * @param paths - What each name runs.
 */
export async function main(
  paths: Record<string, (args: Arguments) => void | Promise<void>>,
): Promise<void> {
  try {
    const args = new Arguments(process.argv.slice(2));
    const path = paths[args.text('path')];
    if (path === undefined) {
      throw new Error(
        `path must be one of ${Object.keys(paths).join(', ')}, got ${args.text('path')}`,
      );
    }
    if (args.flag('detached')) detachSomething();
    await path(args);
  } catch (error) {
    writeSync(2, `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  }
  process.exit(0);
}
