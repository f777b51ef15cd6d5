/** @file A record as text: for the terminal, and as Markdown for `benches/README.md`. */
import type { Judgment, WorkloadRecord } from './record.ts';

/** Three significant digits, without an exponent where people would not write one. */
export function show(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (size >= 1000) return value.toFixed(0);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 0.1) return value.toFixed(2);
  return value.toPrecision(2);
}

/** `≤ 0.4` or `≥ 20`. */
export function showLimit({ limit, atLeast }: Judgment): string {
  return `${atLeast ? '≥' : '≤'} ${limit !== 0 && limit < 0.01 ? limit.toPrecision(2) : String(limit)}`;
}

/** The verdict in a word. */
export function verdict({ met, goal }: Judgment): string {
  if (met === null) return 'not run';
  if (met) return 'met';
  return goal ? 'not reached (goal)' : '**missed**';
}

function table(rows: readonly (readonly string[])[], markdown: boolean): string {
  const [head] = rows;
  if (head === undefined) return '';
  const widths = head.map((_, column) =>
    Math.max(...rows.map((row) => [...(row[column] ?? '')].length)),
  );
  const pad = (text: string, column: number): string => {
    const fill = ' '.repeat((widths[column] ?? 0) - [...text].length);
    return column === 0 ? text + fill : fill + text;
  };
  const line = (row: readonly string[]): string => {
    const cells = head.map((_, column) => pad(row[column] ?? '', column));
    return markdown ? `| ${cells.join(' | ')} |` : cells.join('  ');
  };
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  const body = rows.slice(1).map(line);
  return [line(head), ...(markdown ? [`| ${rule.join(' | ')} |`] : []), ...body].join('\n');
}

/** Columns that any path has. */
function columnsOf(record: WorkloadRecord): string[] {
  const names = new Set<string>();
  for (const row of Object.values(record.figures))
    for (const name of Object.keys(row)) names.add(name);
  return [...names];
}

/** Paths × columns. */
export function figuresTable(record: WorkloadRecord, markdown: boolean): string {
  const columns = columnsOf(record);
  const rows = Object.entries(record.figures).map(([path, row]) => [
    path,
    ...columns.map((name) => (row[name] === undefined ? '' : show(row[name]))),
  ]);
  // Wide tables stand on their side: a row per column.
  if (columns.length > 8) {
    const paths = Object.keys(record.figures);
    const turned = columns.map((name) => [
      name,
      ...paths.map((path) => {
        const value = record.figures[path]?.[name];
        return value === undefined ? '' : show(value);
      }),
    ]);
    return table([['', ...paths], ...turned], markdown);
  }
  return table([['', ...columns], ...rows], markdown);
}

/** Targets with their figures. */
export function targetsTable(record: WorkloadRecord, markdown: boolean): string {
  const rows = record.targets.map((target) => {
    const word = verdict(target);
    return [
      target.name,
      show(target.figure),
      showLimit(target),
      markdown ? word : word.replaceAll('*', ''),
    ];
  });
  return table([['target', 'measured', 'limit', ''], ...rows], markdown);
}

/** The widest spread between processes, per path, where it is above a tenth. */
export function spreadLine(record: WorkloadRecord): string {
  const wide: string[] = [];
  for (const [path, { cases }] of Object.entries(record.results)) {
    const most = Math.max(0, ...Object.values(cases).map(({ spread }) => spread));
    if (most > 0.1) wide.push(`${path} ${(most * 100).toFixed(0)} %`);
  }
  return wide.length === 0
    ? 'Spread between processes: below 10 % everywhere.'
    : `Spread between processes, widest case: ${wide.join(', ')}.`;
}

/** Crossings and hit rates, where a path told them. */
export function crossingLine(record: WorkloadRecord): string {
  const told: string[] = [];
  for (const [path, { cases }] of Object.entries(record.results)) {
    for (const [name, { extras }] of Object.entries(cases)) {
      const { crossingsPerMillion, hitRate } = extras;
      if (crossingsPerMillion === undefined || hitRate === undefined) continue;
      told.push(`${path} ${name}: ${show(crossingsPerMillion)} (${(hitRate * 100).toFixed(2)} %)`);
    }
  }
  if (told.length === 0) return '';
  const most =
    told.length > 8 ? told.filter((_, index) => index % Math.ceil(told.length / 8) === 0) : told;
  return `Crossings per million operations (magazine hit rate): ${most.join('; ')}.`;
}

/** Paths that did not run, and processes that deoptimized. */
export function warnings(record: WorkloadRecord): string[] {
  const lines = Object.entries(record.skipped).map(
    ([path, reason]) => `skipped: ${path} (${reason})`,
  );
  for (const [path, { cases }] of Object.entries(record.results)) {
    const names = Object.entries(cases)
      .filter(([, { extras }]) => (extras['deoptimized'] ?? 0) > 0)
      .map(([name]) => name);
    if (names.length > 0)
      lines.push(`deoptimized in the timed window: ${path} (${names.join(', ')})`);
  }
  return lines;
}

/** The record for a terminal. */
export function recordText(record: WorkloadRecord): string {
  return [
    `${record.id}: ${record.title} (${record.unit}; median of ${record.rounds} processes’ best)`,
    '',
    figuresTable(record, false),
    '',
    ...(record.targets.length > 0 ? [targetsTable(record, false), ''] : []),
    spreadLine(record),
    crossingLine(record),
    ...warnings(record),
  ]
    .filter((line, index, all) => line !== '' || all[index - 1] !== '')
    .join('\n');
}
