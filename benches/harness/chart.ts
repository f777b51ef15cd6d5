/**
 * @file A chart per workload: horizontal bars of one column, as plain SVG that is readable on light and dark pages.
 *
 * Bars are on a logarithmic scale when the largest is more than 30 times the smallest; the axis says so. The figures are
 * printed at the bars, so the length is only for the eye.
 */
import type { WorkloadRecord } from './record.ts';
import { show } from './table.ts';

const WIDTH = 720;
const LABEL = 210;
const FIGURE = 90;
const ROW = 24;

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Whether a path is ours: those are drawn in the strong color. */
export function isOurs(path: string): boolean {
  return /^(heap|pool|two-level|.* \(ours\))(,|$)/.test(path);
}

/** The chart of `column`; undefined where no path has it. */
export function chart(
  record: WorkloadRecord,
  column: string,
  higherIsBetter: boolean,
): string | undefined {
  const bars = Object.entries(record.figures)
    .map(([path, row]) => ({ path, value: row[column] ?? Number.NaN }))
    .filter(({ value }) => Number.isFinite(value) && value >= 0)
    .toSorted((left, right) =>
      higherIsBetter ? right.value - left.value : left.value - right.value,
    );
  if (bars.length === 0) return undefined;
  const values = bars.map(({ value }) => value).filter((value) => value > 0);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const logarithmic = most / least > 30;
  const room = WIDTH - LABEL - FIGURE;
  const length = (value: number): number => {
    if (value <= 0) return 1;
    if (!logarithmic) return Math.max(1, (value / most) * room);
    // The smallest bar keeps a tenth, so that it can be seen.
    return room * (0.1 + (0.9 * Math.log(value / least)) / Math.log(most / least));
  };
  const height = 64 + bars.length * ROW;
  const sense = `${higherIsBetter ? 'higher' : 'lower'} is better${logarithmic ? ', logarithmic scale' : ''}`;
  const rows = bars.map(({ path, value }, index) => {
    const y = 52 + index * ROW;
    const kind = isOurs(path) ? 'ours' : 'peer';
    return [
      `<text class="name" x="${LABEL - 10}" y="${y + 13}">${escape(path)}</text>`,
      `<rect class="${kind}" x="${LABEL}" y="${y}" width="${length(value).toFixed(1)}" height="${ROW - 7}" rx="2"/>`,
      `<text class="figure" x="${(LABEL + length(value) + 6).toFixed(1)}" y="${y + 13}">${show(value)}</text>`,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(`${record.id} ${record.title}: ${column}`)}">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.note { fill: #656d76; }
.name { text-anchor: end; }
.ours { fill: #0969da; }
.peer { fill: #afb8c1; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.note { fill: #8d96a0; }
.ours { fill: #4493f8; }
.peer { fill: #545d68; }
}
</style>
<text class="title" x="8" y="20">${escape(`${record.id} · ${record.title}`)}</text>
<text class="note" x="8" y="38">${escape(`${column} · ${record.unit} · ${sense} · ${record.machine.cpu}, Node ${record.machine.node}`)}</text>
${rows.join('\n')}
</svg>
`;
}
