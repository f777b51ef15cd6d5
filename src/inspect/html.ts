/**
 * @file `renderReport`: replays and snapshots as one HTML file that needs nothing else.
 *
 * ```text
 * head   content-security policy: nothing may be loaded, only these scripts and styles (by hash) may run
 * body   verdict, tables           plain HTML, complete without any script
 *        charts, heap maps         drawn by page/report.js from
 *        data                      JSON, deflated, base64
 * ```
 *
 * Everything from outside (names of traces, kinds, titles) is escaped where it is text; in the data it
 * is base64, which no `</script>` can leave. The policy is a second wall: a script that is not ours has
 * no hash and does not run.
 *
 * Not here: the program in the page (`page/report.js`), how it gets into a string (`page-assets.ts`).
 */
import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';

import { invalidType } from '../errors.ts';
import { copyOptions } from '../options.ts';
import type { ReplayReport, ReplaySample } from '../trace/replay.ts';
import { REPORT_CSS, REPORT_JS, UPLOT_CSS, UPLOT_JS, UPLOT_NOTICE } from './page-assets.ts';
import { REPORT_COLUMNS, REPORT_LEGEND, reportCells } from './report-table.ts';
import { REPORT_SHAPE, SNAPSHOT_SHAPE } from './shape.ts';
import type { Snapshot } from './snapshot.ts';
import { bytesText, countText, shareText } from './text.ts';
import { byTrace, verdict } from './verdict.ts';

/** What a report is made of. */
export interface ReportParts {
  /** From `replay`; grouped by their `trace`. What an older version wrote may lack newer fields. */
  reports?: readonly (Pick<ReplayReport, 'kind' | 'events'> &
    Partial<Omit<ReplayReport, 'samples'>> & {
      readonly samples: readonly Partial<ReplaySample>[];
    })[];
  /** From `snapshot`. */
  snapshots?: readonly Pick<Snapshot, 'schema'>[];
  title?: string;
}

/** A snapshot with more blocks than this is drawn from its cells, to keep the page small. */
const BLOCKS_MAX = 200_000;

const METRICS: readonly (readonly [id: string, label: string])[] = [
  ['span', 'Span'],
  ['used', 'Used'],
  ['fragmentation', 'Fragmentation'],
  ['mean', 'Mean time'],
  ['longest', 'Longest call'],
  ['largestFree', 'Largest free'],
];

/**
 * Renders a report.
 *
 * @returns The whole HTML file. It loads nothing; open it from disk.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming what a report or snapshot lacks.
 */
export function renderReport(parts: ReportParts): string {
  if (parts === undefined) throw invalidType('parts', 'an object', parts);
  const {
    reports: someReports,
    snapshots: someSnapshots,
    title,
  } = copyOptions(parts, 'parts', ['reports', 'snapshots', 'title']);
  if (title !== undefined && typeof title !== 'string') {
    throw invalidType('parts.title', 'a string', title);
  }
  const reports = listOf<ReplayReport>(someReports, 'parts.reports');
  const snapshots = listOf<Snapshot>(someSnapshots, 'parts.snapshots');
  reports.forEach((report, index) => REPORT_SHAPE(report, `parts.reports[${index}]`));
  snapshots.forEach((taken, index) => SNAPSHOT_SHAPE(taken, `parts.snapshots[${index}]`));
  return page(title ?? 'heapwright report', reports, snapshots);
}

function listOf<T>(value: unknown, name: string): readonly T[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalidType(name, 'an array', value);
  return value as T[];
}

// ---------------------------------------------------------------- the page

function page(
  title: string,
  reports: readonly ReplayReport[],
  snapshots: readonly Snapshot[],
): string {
  const style = `${UPLOT_CSS}\n${REPORT_CSS}`;
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(UPLOT_JS)} ${hashOf(REPORT_JS)}`,
    `style-src ${hashOf(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="heapwright">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<button id="theme" type="button">Light or dark</button>
</header>
<main>
<p id="failed" role="alert" hidden></p>
${reports.length > 0 ? replaySection(reports) : ''}
${snapshots.map(snapshotSection).join('\n')}
${reports.length + snapshots.length === 0 ? '<p>There is nothing in this report.</p>' : ''}
</main>
<footer>Made by heapwright. This file is complete: it loads nothing and sends nothing. Charts: uPlot (MIT).</footer>
<!--
${UPLOT_NOTICE.replaceAll('--', '- -')}
-->
<script type="application/octet-stream" id="data">${pack(reports, snapshots)}</script>
<script>${UPLOT_JS}</script>
<script>${REPORT_JS}</script>
</body>
</html>
`;
}

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** Text as HTML: for contents and for quoted attributes. */
function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

function replaySection(reports: readonly ReplayReport[]): string {
  const groups = byTrace(reports);
  const choices = [...groups.keys()].map(
    (name, index) => `<option value="${index}">${escapeHtml(name)}</option>`,
  );
  const metrics = METRICS.map(
    ([id, label], index) =>
      `<button type="button" data-metric="${id}" aria-pressed="${index === 0}">${label}</button>`,
  );
  return `<section aria-labelledby="verdict-title">
<h2 id="verdict-title">What to conclude</h2>
<ul class="verdict">
${verdict(reports)
  .map((line) => `<li>${escapeHtml(line)}</li>`)
  .join('\n')}
</ul>
</section>
<section aria-labelledby="table-title">
<h2 id="table-title">Kinds side by side</h2>
<p class="note">${REPORT_LEGEND.map(escapeHtml).join(' ')} The best of each trace is marked.</p>
<div class="panel scroll" tabindex="0" role="region" aria-label="Figures of every trace and kind">
${[...groups].map(([name, group]) => reportTable(name, group)).join('\n')}
</div>
</section>
<section aria-labelledby="trace-title">
<h2 id="trace-title">One trace</h2>
<div class="controls">
<label>Trace <select id="trace">${choices.join('')}</select></label>
</div>
<div class="grid">
<div class="panel">
<div class="controls" role="group" aria-label="What to draw">${metrics.join('')}</div>
<h3 id="timeline-title">Along the trace</h3>
<div id="timeline" class="chart"></div>
<p class="legend">Drag to zoom, double-click to see all.</p>
</div>
<div class="panel">
<h3>How long calls take: share of calls longer than</h3>
<div id="latency" class="chart"></div>
<p class="legend">Both axes are logarithmic. Where a line falls through 1 % is its p99.</p>
</div>
<div class="panel">
<h3>Sizes asked for</h3>
<div id="sizes" class="chart"></div>
</div>
</div>
<h2 id="map-title">Heap map</h2>
<p class="note">Every cell is a stretch of the range, row by row from its start; the fuller, the darker in color. The
scale is the same for all kinds. Double-click or Shift + wheel zooms; in a focused map, arrows move, + and - zoom, 0
shows all.</p>
<div class="controls">
<button type="button" id="play">Play</button>
<label>Point of the trace <input type="range" id="frame" min="1" max="48" value="48"></label>
<button type="button" id="zoom-in" aria-label="Zoom in">+</button>
<button type="button" id="zoom-out" aria-label="Zoom out">−</button>
<button type="button" id="pan-left" aria-label="Lower addresses">◀</button>
<button type="button" id="pan-right" aria-label="Higher addresses">▶</button>
<button type="button" id="zoom-all">All</button>
<span id="window" role="status"></span>
</div>
<div id="maps" class="maps"></div>
</section>`;
}

function reportTable(name: string, group: readonly ReplayReport[]): string {
  const columns = REPORT_COLUMNS.slice(1);
  const served = group.filter(({ failures, calls }) => failures === 0 && calls !== 0);
  const rows = group.map((report) => {
    const texts = reportCells(report).slice(1);
    const cells = columns.map(({ head, value, lowIsBest }, i) => {
      const text = escapeHtml(texts[i] ?? '');
      if (value === undefined) return `<th scope="row">${text}</th>`;
      const figure = value(report);
      const isBest =
        lowIsBest === true &&
        served.length > 1 &&
        served.includes(report) &&
        figure === Math.min(...served.map(value));
      const style = isBest
        ? ' class="best"'
        : head === 'failures' && figure > 0
          ? ' class="bad"'
          : '';
      return `<td data-column="${head}" data-value="${figure}"${style}>${text}</td>`;
    });
    const mark = report.complete === false ? ' data-partial="true"' : '';
    return `<tr data-trace="${escapeHtml(name)}" data-kind="${escapeHtml(report.kind)}"${mark}>${cells.join('')}</tr>`;
  });
  const heads = columns.map(({ head }) => `<th scope="col">${escapeHtml(head)}</th>`);
  return `<table>
<caption>${escapeHtml(name)}</caption>
<thead><tr>${heads.join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>`;
}

function snapshotSection(snapshot: Snapshot, index: number): string {
  const { kind, name, stats, fragmentation, sections } = snapshot;
  const rows = Object.entries(stats).map(
    ([key, value]) =>
      `<tr><th scope="row">${escapeHtml(key)}</th><td data-value="${escapeHtml(String(value))}">${escapeHtml(statText(key, value, snapshot))}</td></tr>`,
  );
  for (const [name, share] of Object.entries(fragmentation)) {
    rows.push(
      `<tr><th scope="row">${escapeHtml(name)} fragmentation</th><td>${shareText(Number(share))}</td></tr>`,
    );
  }
  const label = name === undefined || name === '' ? kind : `${kind} ${name}`;
  return `<section aria-labelledby="snapshot-${index}">
<h2 id="snapshot-${index}">Snapshot ${index + 1}: ${escapeHtml(label)}</h2>
<div class="grid">
<div class="panel scroll" tabindex="0" role="region" aria-label="Statistics"><table><tbody>${rows.join('')}</tbody></table></div>
<div class="panel"><h3>Live blocks by size</h3><div id="snapshot-sizes-${index}" class="chart"></div></div>
</div>
${sections === undefined ? '' : sectionTable(sections)}
<h3>Heap map</h3>
<div id="snapshot-maps-${index}" class="maps"></div>
</section>`;
}

/** Pages are counted in pages, ids in ids; only byte figures get a binary unit. */
function statText(key: string, value: unknown, { kind, unit }: Snapshot): string {
  if (typeof value !== 'number') return String(value);
  const countsBytes = unit === 'bytes' && kind !== 'bitmap' && kind !== 'buddy-pages';
  const isAmount =
    /^(?:total|used|requested|available|largestFree|peakUsed|size|committed|cached)$/u.test(key);
  return countsBytes && isAmount ? bytesText(value) : countText(value);
}

function sectionTable(sections: NonNullable<Snapshot['sections']>): string {
  const orders = Math.max(1, ...sections.map(({ freeRuns }) => freeRuns.length));
  const heads = Array.from({ length: orders }, (_, order) => `<th scope="col">2^${order}</th>`);
  const rows = sections.map(({ start, freePages, totalPages, freeRuns }) => {
    const counts = Array.from(
      { length: orders },
      (_, order) => `<td>${countText(freeRuns[order] ?? 0)}</td>`,
    );
    return `<tr><th scope="row">0x${start.toString(16)}</th><td>${countText(freePages)} of ${countText(totalPages)}</td>${counts.join('')}</tr>`;
  });
  return `<div class="panel scroll" tabindex="0" role="region" aria-label="Free runs"><table>
<caption>Free runs of pages, by order</caption>
<thead><tr><th scope="col">section</th><th scope="col">free pages</th>${heads.join('')}</tr></thead>
<tbody>${rows.join('')}</tbody></table></div>`;
}

// ---------------------------------------------------------------- the data

function pack(reports: readonly ReplayReport[], snapshots: readonly Snapshot[]): string {
  const traces = [...byTrace(reports)].map(([name, group]) => ({
    name,
    reports: group.map(({ kind, peakSpan, samples, latency, sizes, map }) => ({
      kind,
      peakSpan,
      samples: columnsOf(samples),
      latency: latency ?? [],
      sizes: (sizes ?? []).map(([from, blocks]) => ({ from, blocks })),
      ...(map === undefined ? {} : { map }),
    })),
  }));
  const shown = snapshots.map(({ kind, maps, sizes, blocks }) => ({
    kind,
    maps: maps ?? [],
    sizes: sizes ?? [],
    ...(blocks === undefined || blocks.pos.length > BLOCKS_MAX
      ? {}
      : { blocks: { pos: blocks.pos, size: blocks.size } }),
  }));
  const json = JSON.stringify({ traces, snapshots: shown });
  return deflateRawSync(json, { level: 9 }).toString('base64');
}

/** Samples as columns: what charts take, and a third of the bytes. */
function columnsOf(samples: ReplayReport['samples']): Record<string, number[]> {
  const column = (key: keyof ReplayReport['samples'][number]): number[] =>
    samples.map((sample) => sample[key] ?? 0);
  return {
    event: column('event'),
    requested: column('requested'),
    used: column('used'),
    span: column('span'),
    largestFree: column('largestFree'),
    nsPerCall: column('nsPerCall'),
    nsMax: column('nsMax'),
  };
}
