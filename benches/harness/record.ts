/**
 * @file What a run leaves: figures by path and column, targets judged, one JSON file per workload in `benches/results/`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { geometricMean, type Figures, type Workload } from '../suite/types.ts';
import type { CaseResult, Results } from './execute.ts';
import type { Machine } from './machine.ts';

/** A target with its figure. */
export interface Judgment {
  readonly name: string;
  readonly limit: number;
  readonly atLeast: boolean;
  readonly goal: boolean;
  readonly absolute: boolean;
  readonly figure: number | null;
  readonly met: boolean | null;
}

/** A workload's record. */
export interface WorkloadRecord {
  readonly schema: 'heapwright/bench/1';
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly date: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly machine: Machine;
  /** path → column → figure. */
  readonly figures: Record<string, Record<string, number>>;
  readonly targets: readonly Judgment[];
  readonly skipped: Record<string, string>;
  readonly results: Results;
}

/** A case by its name; `name#extra` is another number of its process. */
function caseValue(cases: Record<string, CaseResult>, name: string): number | undefined {
  const [key, extra] = name.split('#') as [string, string?];
  const found = cases[key];
  return extra === undefined ? found?.value : found?.extras[extra];
}

/** Reads columns out of results. */
export function figuresOf(workload: Workload, results: Results): Figures {
  return (path, name) => {
    const column = workload.columns.find((candidate) => candidate.name === name);
    const cases = results[path]?.cases;
    if (column === undefined || cases === undefined) return undefined;
    return geometricMean(column.cases.map((key) => caseValue(cases, key)));
  };
}

/** Judges the targets of a workload. */
export function judge(workload: Workload, figures: Figures): Judgment[] {
  return workload.targets.map((target) => {
    const figure = target.figure(figures);
    const atLeast = target.atLeast === true;
    return {
      name: target.name,
      limit: target.limit,
      atLeast,
      goal: target.goal === true,
      absolute: target.absolute === true,
      figure: figure ?? null,
      met: figure === undefined ? null : atLeast ? figure >= target.limit : figure <= target.limit,
    };
  });
}

/** Makes the record of a run. */
export function makeRecord(
  workload: Workload,
  results: Results,
  run: { quick: boolean; rounds: number; machine: Machine },
): WorkloadRecord {
  const read = figuresOf(workload, results);
  const figures: Record<string, Record<string, number>> = {};
  const skipped: Record<string, string> = {};
  for (const [path, { skipped: reason }] of Object.entries(results)) {
    if (reason !== undefined) skipped[path] = reason;
    const row: Record<string, number> = {};
    for (const { name } of workload.columns) {
      const value = read(path, name);
      if (value !== undefined) row[name] = value;
    }
    if (Object.keys(row).length > 0) figures[path] = row;
  }
  return {
    schema: 'heapwright/bench/1',
    id: workload.id,
    title: workload.title,
    unit: workload.unit,
    date: new Date().toISOString(),
    ...run,
    figures,
    targets: judge(workload, read),
    skipped,
    results,
  };
}

/** The file name of a workload: `b03`. */
export function fileName(id: string): string {
  return `b${id.slice(1).padStart(2, '0')}`;
}

/** Writes a record. */
export function saveRecord(folder: string, record: WorkloadRecord): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${fileName(record.id)}.json`),
    `${JSON.stringify(record, null, 1)}\n`,
  );
}

/** The record of a workload; undefined where there is none. */
export function loadRecord(folder: string, id: string): WorkloadRecord | undefined {
  const file = join(folder, `${fileName(id)}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as WorkloadRecord) : undefined;
}

/** All records of a folder. */
export function loadRecords(folder: string): WorkloadRecord[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^b\d\d\.json$/.test(name))
    .toSorted()
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as WorkloadRecord);
}

/** Targets whose ratio is more than `tolerance` worse than on record. */
export function regressions(
  before: WorkloadRecord,
  after: WorkloadRecord,
  tolerance: number = 0.1,
): { name: string; before: number; after: number }[] {
  const found: { name: string; before: number; after: number }[] = [];
  for (const target of before.targets) {
    const now = after.targets.find(({ name }) => name === target.name);
    if (target.absolute || target.figure === null || now === undefined) continue;
    const figure = now.figure;
    const worse =
      figure === null ||
      (target.atLeast
        ? figure < target.figure * (1 - tolerance)
        : figure > target.figure * (1 + tolerance));
    if (worse)
      found.push({ name: target.name, before: target.figure, after: figure ?? Number.NaN });
  }
  return found;
}
