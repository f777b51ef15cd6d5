/**
 * @file How a workload is described: the processes to start, the columns to show, the targets to judge.
 *
 * A job is one process: one path (ours, or one peer) over one or a few cases. Jobs of one group stand beside each other and
 * are interleaved A B C C B A. A column is the geometric mean of some cases; a target is a ratio of two columns.
 */

/** Long and short form of a run. */
export interface Profile {
  readonly quick: boolean;
  /** Milliseconds of warm-up of a JavaScript path. */
  readonly warm: number;
  /** Rounds of the main paths. */
  readonly rounds: number;
  /** Cores at hand. */
  readonly cores: number;
}

/** One process. */
export interface Job {
  readonly path: string;
  /** Jobs of one group are interleaved. */
  readonly group: string;
  /** `native`: the Rust binary; `js`: Node over a module of `benches/`. */
  readonly side: 'native' | 'js';
  /** The command of the binary, or the module without its extension. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly flags?: readonly string[];
  /** Threads that run at once: 1 pins the process to one core. */
  readonly threads?: number;
  readonly rounds?: number;
  /** Preload Debian's tcmalloc into a native process. */
  readonly tcmalloc?: true;
  /** Make the product believe that this runtime forbids external buffers. */
  readonly withoutExternalBuffers?: true;
}

/** A column of the table: the geometric mean over the cases. */
export interface Column {
  readonly name: string;
  readonly cases: readonly string[];
}

/** Reads a column of a path; undefined where it was not run. */
export type Figures = (path: string, column: string) => number | undefined;

/** What is promised of a workload. */
export interface Target {
  readonly name: string;
  readonly limit: number;
  /** Whether the figure must be at most (the rule) or at least the limit. */
  readonly atLeast?: boolean;
  /** A goal beyond the promise: missing it is told, and does not count as a miss. */
  readonly goal?: boolean;
  /** Not a ratio of times taken in one run: left out of `bench:check`. */
  readonly absolute?: boolean;
  readonly figure: (figures: Figures) => number | undefined;
}

/** One row of `PERFORMANCE.md` section 5. */
export interface Workload {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly higherIsBetter?: boolean;
  /** What the figures show, and what they do not. */
  readonly shows: string;
  readonly jobs: (profile: Profile) => readonly Job[];
  readonly columns: readonly Column[];
  /** The column that the chart draws. */
  readonly chart: string;
  readonly targets: readonly Target[];
  /** Set where the feature that it measures is not there: nothing is run. */
  readonly waits?: string;
}

/** A column of one case. */
export function column(name: string): Column {
  return { name, cases: [name] };
}

/** The ratio of two figures as a target: `ours` of `column` over `peer` of the same. */
export function ratio(
  name: string,
  limit: number,
  ours: string,
  peer: string,
  of: string,
  more: Partial<Target> = {},
): Target {
  return {
    name,
    limit,
    ...more,
    figure: (figures) => divide(figures(ours, of), figures(peer, of)),
  };
}

/** `a / b`, where both are there. */
export function divide(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined || b === 0 ? undefined : a / b;
}

/** The geometric mean; undefined when a value is missing. */
export function geometricMean(values: readonly (number | undefined)[]): number | undefined {
  if (values.length === 0) return undefined;
  if (values.length === 1) return values[0];
  let sum = 0;
  for (const value of values) {
    if (value === undefined || value <= 0) return undefined;
    sum += Math.log(value);
  }
  return Math.exp(sum / values.length);
}
