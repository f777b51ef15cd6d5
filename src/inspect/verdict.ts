/**
 * @file What one should conclude from a set of replays, in plain words.
 *
 * Only what the figures say: who was fastest and by how much, who needed the smallest range, who could
 * not serve a request, and which slowness is known and why. Speed is the mean without the slowest call
 * in a thousand: those are mostly the machine's doing. Means over traces are geometric, of ratios
 * to the best kind of the same trace, so that a long trace does not outweigh a short one.
 */
import type { ReplayReport } from '../trace/replay.ts';
import { bytesText, countText, nsText, timesText } from './text.ts';

/** What is known of a kind's costs (`docs/` tells more). */
const KNOWN: Readonly<Record<string, string>> = {
  buddy:
    'buddy rounds every block up to a power of two, and its free walks a list to find the buddy, so it slows down with the number of free blocks; that is the published crate, kept as it is.',
  heap: 'heap gives every size class pages of its own and keeps free blocks at hand, which is where its speed comes from and why its span is wider; trim() gives empty pages back.',
  slab: 'slab never gives the memory of a size class back to others; that is the published crate, kept as it is.',
};

/** A trace's name in texts. */
function traceName(report: ReplayReport): string {
  return report.trace ?? 'trace';
}

/** Groups reports by trace, in order of appearance. */
export function byTrace(reports: readonly ReplayReport[]): Map<string, ReplayReport[]> {
  const groups = new Map<string, ReplayReport[]>();
  for (const report of reports) {
    const name = traceName(report);
    groups.set(name, [...(groups.get(name) ?? []), report]);
  }
  return groups;
}

/** Sentences about `reports`, the most important last. */
export function verdict(reports: readonly ReplayReport[]): string[] {
  const lines: string[] = [];
  const groups = byTrace(reports);
  for (const [name, group] of groups) lines.push(...verdictOfTrace(name, group));
  if (groups.size > 1) lines.push(...verdictOverall(groups));
  if (reports.some(isServed)) {
    lines.push(
      'Speeds are means without the slowest call in a thousand; the table shows all of them.',
    );
  }
  for (const [kind, text] of Object.entries(KNOWN)) {
    if (reports.some((report) => report.kind === kind)) lines.push(text);
  }
  return lines;
}

function isServed(report: ReplayReport): boolean {
  return report.failures === 0 && report.complete !== false && report.calls !== 0;
}

/** What kinds are ranked by: the mean that a busy machine does not change. */
function speedOf({ nsTrimmed, nsPerEvent }: ReplayReport): number {
  return nsTrimmed ?? nsPerEvent;
}

function verdictOfTrace(name: string, group: readonly ReplayReport[]): string[] {
  const lines: string[] = [];
  const served = group.filter(isServed);
  const fastest = minBy(served, speedOf);
  const densest = minBy(served, ({ peakSpan }) => peakSpan);
  if (fastest !== undefined && densest !== undefined) {
    const slowest = minBy(served, (report) => -speedOf(report));
    const speed =
      slowest === undefined || slowest === fastest
        ? ''
        : `, ${timesText(speedOf(slowest) / speedOf(fastest))} as fast as ${slowest.kind}`;
    lines.push(
      `${name}: ${fastest.kind} was fastest (${nsText(speedOf(fastest))} a call${speed}); ` +
        `${densest.kind} needed the smallest range (${bytesText(densest.peakSpan)} for ${bytesText(densest.peakRequested)} asked for at the peak).`,
    );
  }
  for (const report of group) {
    if (report.failures > 0) {
      lines.push(
        `${name}: ${report.kind} could not serve ${countText(report.failures)} requests in ${bytesText(report.rangeBytes ?? report.peakSpan)}; give it a larger range before comparing it.`,
      );
    }
    if (report.complete === false) {
      lines.push(
        `${name}: ${report.kind} was stopped by the time limit after ${countText(report.events)} events; its figures are of that part.`,
      );
    }
  }
  return lines;
}

function verdictOverall(groups: ReadonlyMap<string, readonly ReplayReport[]>): string[] {
  const kinds = new Set([...groups.values()].flat().map(({ kind }) => kind));
  const scores: { kind: string; time: number; span: number }[] = [];
  for (const kind of kinds) {
    let time = 0;
    let span = 0;
    let traces = 0;
    for (const group of groups.values()) {
      const served = group.filter(isServed);
      const report = served.find((candidate) => candidate.kind === kind);
      if (report === undefined) continue;
      const bestTime = Math.min(...served.map(speedOf));
      const bestSpan = Math.min(...served.map(({ peakSpan }) => peakSpan));
      time += Math.log(Math.max(speedOf(report), 0.1) / Math.max(bestTime, 0.1));
      span += Math.log(report.peakSpan / bestSpan);
      traces++;
    }
    // A mean over fewer traces than the others have would compare what cannot be compared.
    if (traces === groups.size) {
      scores.push({ kind, time: Math.exp(time / traces), span: Math.exp(span / traces) });
    }
  }
  if (scores.length < 2) return [];
  const times = scores
    .toSorted((a, b) => a.time - b.time)
    .map(({ kind, time }) => `${kind} ${timesText(time)}`);
  const spans = scores
    .toSorted((a, b) => a.span - b.span)
    .map(({ kind, span }) => `${kind} ${span.toFixed(2)}x`);
  return [
    `Over all ${groups.size} traces, time per call beside the fastest of each trace: ${times.join(', ')}.`,
    `Over all ${groups.size} traces, range needed beside the smallest of each trace: ${spans.join(', ')}.`,
  ];
}

function minBy<T>(items: readonly T[], key: (item: T) => number): T | undefined {
  let best: T | undefined;
  for (const item of items) if (best === undefined || key(item) < key(best)) best = item;
  return best;
}
