/**
 * @file The table of replays: its columns and the text of its cells, for the terminal and for the page.
 */
import type { ReplayReport } from '../trace/replay.ts';
import { bytesText, countText, nsText, shareText } from './text.ts';

/** A column: its head, its width in the terminal, and which value of a report it shows. */
export interface ReportColumn {
  readonly head: string;
  readonly width: number;
  readonly left?: boolean;
  /** The figure itself; columns of text have none. */
  readonly value?: (report: ReplayReport) => number;
  /** Is the smallest figure of a trace the best one? */
  readonly lowIsBest?: boolean;
}

/** Reports that a program wrote down itself may lack what can be had from the rest. */
function fragmentationOf({ fragmentation, peakRequested, peakSpan }: ReplayReport): number {
  return fragmentation ?? (peakSpan === 0 ? 0 : Math.max(0, 1 - peakRequested / peakSpan));
}

/** From left to right. */
export const REPORT_COLUMNS: readonly ReportColumn[] = [
  { head: 'trace', width: 11, left: true },
  { head: 'kind', width: 9, left: true },
  { head: 'events', width: 7, value: (report) => report.events },
  { head: 'failures', width: 8, value: (report) => report.failures },
  { head: 'ns/event', width: 8, value: (report) => report.nsPerEvent, lowIsBest: true },
  { head: 'p50', width: 7, value: (report) => report.p50, lowIsBest: true },
  { head: 'p99', width: 7, value: (report) => report.p99, lowIsBest: true },
  { head: 'p99.9', width: 7, value: (report) => report.p999, lowIsBest: true },
  { head: 'max', width: 7, value: (report) => report.max, lowIsBest: true },
  { head: 'asked', width: 8, value: (report) => report.peakRequested },
  { head: 'used', width: 8, value: (report) => report.peakUsed, lowIsBest: true },
  { head: 'span', width: 8, value: (report) => report.peakSpan, lowIsBest: true },
  { head: 'frag', width: 6, value: fragmentationOf, lowIsBest: true },
];

/** What the columns mean. */
export const REPORT_LEGEND: readonly string[] = [
  'ns/event, p50 … max: time of one call, the crossing from JavaScript included.',
  'asked, used: most bytes that live blocks asked for, and were granted. span: what the range had to hold.',
  'A row is one run, the fastest of those made; a busy machine shows in max and in ns/event.',
  'frag: share of the span beyond what was asked for at the peak.',
];

/** The cells of a report's row, in the order of {@link REPORT_COLUMNS}. */
export function reportCells(report: ReplayReport): string[] {
  return [
    report.trace ?? '',
    report.kind,
    countText(report.events),
    countText(report.failures),
    nsText(report.nsPerEvent),
    nsText(report.p50),
    nsText(report.p99),
    nsText(report.p999),
    nsText(report.max),
    bytesText(report.peakRequested),
    bytesText(report.peakUsed),
    bytesText(report.peakSpan),
    shareText(fragmentationOf(report)),
  ];
}
