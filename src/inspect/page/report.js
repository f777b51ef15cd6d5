/**
 * @file The program inside an HTML report: unpacks the data, draws charts and heap maps.
 *
 * Plain JavaScript for browsers, put into the page by `html.ts` (through `page-assets.ts`) behind the
 * chart library uPlot, of which it uses the global `uPlot`. It loads nothing: the page's policy forbids
 * it. What matters most (verdict and table) is in the HTML already; this adds what can be moved.
 *
 * One state (trace, metric, frame, window of addresses), one function that draws it all. Everything can be
 * reached by keyboard: the controls are native ones, and a focused map takes arrows, plus and minus.
 */
/* global uPlot */
'use strict';
const $ = (id) => document.getElementById(id);

/** What there is to show, as `html.ts` packed it. */
let data = { traces: [], snapshots: [] };

const unpack = async () => {
  const packed = $('data').textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.codePointAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return await new Response(stream).json();
};

const KINDS = {
  tlsf: ['#0072b2', '#56b4e9', []],
  slab: ['#b86e00', '#e69f00', [6, 3]],
  'two-level': ['#00805c', '#2fc79a', [2, 3]],
  heap: ['#c2410c', '#ff8c52', [10, 3, 2, 3]],
  buddy: ['#a0447c', '#e08ec0', [12, 4]],
};
const OTHERS = [
  ['#5b4fb3', '#a79bff', []],
  ['#4d6b00', '#a5c94a', [4, 2]],
  ['#8a5a44', '#d6a68e', [8, 2, 2, 2]],
];
const isDark = () => {
  const set = document.documentElement.dataset.theme;
  return set ? set === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};
const others = new Map();
const styleOf = (kind) => {
  if (!KINDS[kind] && !others.has(kind)) others.set(kind, OTHERS[others.size % OTHERS.length]);
  const [light, dark, dash] = KINDS[kind] ?? others.get(kind);
  return { color: isDark() ? dark : light, dash };
};
const cssVar = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const bytesText = (value) => {
  if (value < 1024) return `${Math.round(value)} B`;
  let unit = 0;
  let left = value;
  while (left >= 1023.95 && unit < 5) {
    left /= 1024;
    unit++;
  }
  const digits = left >= 99.95 ? 0 : left >= 9.995 ? 1 : 2;
  return `${left.toFixed(digits)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][unit]}`;
};
const nsText = (value) => {
  if (value < 1000) return `${value < 100 ? Math.round(value * 10) / 10 : Math.round(value)} ns`;
  let unit = 0;
  let left = value;
  while (left >= 999.5 && unit < 3) {
    left /= 1000;
    unit++;
  }
  return `${left >= 99.95 ? left.toFixed(0) : left >= 9.995 ? left.toFixed(1) : left.toFixed(2)} ${['ns', 'µs', 'ms', 's'][unit]}`;
};
const shareText = (value) => `${(value * 100).toFixed(1)} %`;
const countText = (value) => value.toLocaleString('en-US');

/** What can be drawn over the events of a trace. */
const METRICS = {
  span: { label: 'Range needed so far', unit: bytesText, asked: true, of: (s) => s.span },
  used: {
    label: 'Bytes granted to live blocks',
    unit: bytesText,
    asked: true,
    of: (s) => s.used,
  },
  fragmentation: {
    label: 'Fragmentation: share of the range needed so far that live blocks do not fill',
    unit: shareText,
    of: (s) => s.span.map((span, i) => (span > 0 ? Math.max(0, 1 - s.requested[i] / span) : 0)),
  },
  mean: { label: 'Mean time of a call', unit: nsText, log: true, of: (s) => s.nsPerCall },
  longest: { label: 'Longest call', unit: nsText, log: true, of: (s) => s.nsMax },
  largestFree: {
    label: 'Largest request that would succeed',
    unit: bytesText,
    of: (s) => s.largestFree,
  },
};

const state = { trace: 0, metric: 'span', frame: 1, timer: 0 };
const charts = [];

// ------------------------------------------------------------ charts

const axisStyle = () => ({
  stroke: cssVar('--soft'),
  grid: { stroke: cssVar('--line'), width: 1 },
  ticks: { stroke: cssVar('--line'), width: 1 },
  font: '12px system-ui, sans-serif',
});
const plot = (id, options, columns) => {
  const place = $(id);
  place.replaceChildren();
  const width = Math.max(280, place.clientWidth);
  const chart = new uPlot({ width, height: 300, ...options }, columns, place);
  charts.push([place, chart]);
  return chart;
};
/** Powers of ten within a range, for logarithmic axes. */
const decades = (_chart, _axis, min, max) => {
  const marks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    const mark = 10 ** power;
    if (mark >= min * 0.999 && mark <= max * 1.001) marks.push(mark);
  }
  return marks;
};
/** Steps of an axis of bytes: powers of two, so that its marks are round in KiB and MiB. */
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const positive = (value) => (value > 0 ? value : null);

const drawTimeline = () => {
  const { reports } = data.traces[state.trace];
  const metric = METRICS[state.metric];
  $('timeline-title').textContent = metric.label;
  const [first] = reports;
  if (first.samples.event.length < 2) {
    drawNothing('timeline', 'There are no samples along the trace.');
    return;
  }
  const columns = [first.samples.event];
  const series = [{ label: 'event', value: (_, v) => (v === null ? '' : countText(v)) }];
  const value = (_, v) => (v === null || v === undefined ? '' : metric.unit(v));
  if (metric.asked) {
    columns.push(first.samples.requested);
    series.push({
      label: 'asked for',
      stroke: cssVar('--soft'),
      fill: cssVar('--empty'),
      width: 1,
      value,
    });
  }
  for (const report of reports) {
    const { color, dash } = styleOf(report.kind);
    // Kinds are sampled at the same events, unless one was stopped early: then its line ends there.
    const values = metric.of(report.samples);
    columns.push(
      columns[0].map((_, i) => (metric.log ? positive(values[i] ?? 0) : (values[i] ?? null))),
    );
    series.push({
      label: report.kind,
      stroke: color,
      dash,
      width: 2,
      value,
      points: { show: false },
    });
  }
  plot(
    'timeline',
    {
      series,
      scales: {
        x: { time: false },
        y: metric.log
          ? { distr: 3, log: 10 }
          : { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] },
      },
      axes: [
        { ...axisStyle(), values: (_, marks) => marks.map(countText), space: 90 },
        {
          ...axisStyle(),
          size: 82,
          ...(metric.log ? { splits: decades } : {}),
          ...(metric.unit === bytesText ? { incrs: BINARY_STEPS } : {}),
          values: (_, marks) => marks.map((mark) => (mark === null ? '' : metric.unit(mark))),
        },
      ],
      cursor: { drag: { x: true, y: false } },
    },
    columns,
  );
};

/** Says why there is no chart. */
const drawNothing = (id, why) => {
  $(id).replaceChildren(why);
};

const drawLatency = () => {
  const { reports } = data.traces[state.trace];
  // Share of calls that took longer than x: where the line falls through 1 % is p99.
  const edges = [
    ...new Set(reports.flatMap(({ latency }) => latency.map(([start]) => Math.max(1, start)))),
  ];
  edges.sort((a, b) => a - b);
  if (edges.length < 2) {
    drawNothing('latency', 'No durations are known.');
    return;
  }
  const columns = [edges];
  const series = [{ label: 'longer than', value: (_, v) => (v === null ? '' : nsText(v)) }];
  for (const { kind, latency } of reports) {
    const total = latency.reduce((sum, [, count]) => sum + count, 0);
    let at = 0;
    let below = 0;
    const shares = edges.map((edge) => {
      while (at < latency.length && Math.max(1, latency[at][0]) <= edge) below += latency[at++][1];
      return positive((total - below) / Math.max(1, total));
    });
    columns.push(shares);
    const { color, dash } = styleOf(kind);
    series.push({
      label: kind,
      stroke: color,
      dash,
      width: 2,
      points: { show: false },
      value: (_, v) =>
        v === null || v === undefined ? '' : `${(v * 100).toPrecision(3)} % of calls`,
    });
  }
  plot(
    'latency',
    {
      series,
      scales: { x: { time: false, distr: 3, log: 10 }, y: { distr: 3, log: 10 } },
      axes: [
        {
          ...axisStyle(),
          splits: decades,
          // On a narrow screen every second or third power of ten has its name.
          filter: (u, marks) =>
            marks.map((m, i) => (i % Math.ceil((marks.length * 64) / u.width) === 0 ? m : null)),
          values: (_, marks) => marks.map((m) => (m === null ? '' : nsText(m))),
          space: 30,
        },
        {
          ...axisStyle(),
          size: 76,
          splits: decades,
          values: (_, marks) =>
            marks.map((m) => (m === null ? '' : `${Number((m * 100).toPrecision(1))} %`)),
        },
      ],
    },
    columns,
  );
};

const drawSizes = (id, groups, label) => {
  if (groups.length === 0) {
    drawNothing(id, 'No sizes are known.');
    return;
  }
  const first = Math.log2(groups[0].from);
  const last = Math.log2(groups.at(-1).from);
  const x = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const byPower = new Map(groups.map((group) => [Math.log2(group.from), group]));
  plot(
    id,
    {
      series: [
        {
          label: 'size',
          value: (_, v) =>
            v === null ? '' : `${bytesText(2 ** v)} up to ${bytesText(2 ** (v + 1) - 1)}`,
        },
        {
          label,
          stroke: cssVar('--accent'),
          fill: `${cssVar('--accent')}88`,
          paths: uPlot.paths.bars({ size: [0.8, 60] }),
          points: { show: false },
          value: (_, v) => (v === null || v === undefined ? '' : countText(v)),
        },
      ],
      scales: {
        x: { time: false, range: () => [first - 0.6, last + 0.6] },
        y: {
          distr: 3,
          log: 10,
          range: (_, __, max) => [0.5, 10 ** Math.ceil(Math.log10(max * 1.1))],
        },
      },
      axes: [
        {
          ...axisStyle(),
          splits: () => x,
          values: (_, marks) => marks.map((m) => (m === null ? '' : bytesText(2 ** m))),
          space: 60,
          rotate: -50,
          size: 64,
          filter: (u, marks) =>
            marks.map((m, i) =>
              i % Math.ceil(marks.length / Math.max(4, u.width / 62)) === 0 ? m : null,
            ),
        },
        {
          ...axisStyle(),
          size: 76,
          splits: decades,
          values: (_, marks) => marks.map((m) => (m === null ? '' : countText(m))),
        },
      ],
    },
    [x, x.map((power) => positive(byPower.get(power)?.blocks ?? 0))],
  );
};

// ------------------------------------------------------------ heap maps

const digit = (cells, i) => {
  const code = i < cells.length ? cells.charCodeAt(i) : 48;
  return code < 58 ? code - 48 : code - 87;
};
/** How full [from, to) is, from 0 to 1, by the cells of a frame. */
const fillOfCells = (cells, cellSize, from, to) => {
  let filled = 0;
  for (let cell = Math.floor(from / cellSize); cell * cellSize < to; cell++) {
    const overlap = Math.min(to, (cell + 1) * cellSize) - Math.max(from, cell * cellSize);
    filled += (digit(cells, cell) / 15) * overlap;
  }
  return filled / (to - from);
};
/** The same by the blocks of a snapshot. */
const fillOfBlocks = ({ pos, size }, start, from, to) => {
  let low = 0;
  let high = pos.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (pos[middle] + size[middle] - start <= from) low = middle + 1;
    else high = middle;
  }
  let filled = 0;
  for (let i = low; i < pos.length && pos[i] - start < to; i++) {
    filled += Math.min(to, pos[i] + size[i] - start) - Math.max(from, pos[i] - start);
  }
  return filled / (to - from);
};

const CELL_PX = 7;
/** Draws the window of addresses [from, to) as rows of cells; returns how many bytes a cell is. */
const drawMap = (canvas, fill, from, to, color) => {
  const ratio = devicePixelRatio || 1;
  const { clientWidth, clientHeight } = canvas;
  canvas.width = Math.round(clientWidth * ratio);
  canvas.height = Math.round(clientHeight * ratio);
  const columns = Math.max(1, Math.floor(clientWidth / CELL_PX));
  const rows = Math.max(1, Math.floor(clientHeight / CELL_PX));
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  context.fillStyle = cssVar('--empty');
  context.fillRect(0, 0, clientWidth, clientHeight);
  const each = (to - from) / (columns * rows);
  context.fillStyle = color;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = from + (row * columns + column) * each;
      const level = fill(at, at + each);
      if (level <= 0) continue;
      context.globalAlpha = 0.18 + 0.82 * Math.min(1, level);
      context.fillRect(column * CELL_PX, row * CELL_PX, CELL_PX - 1, CELL_PX - 1);
    }
  }
  context.globalAlpha = 1;
  return { columns, rows, each };
};

const frameAt = (map, share) => {
  const { frames } = map;
  return frames[Math.max(0, Math.min(frames.length - 1, Math.ceil(share * frames.length) - 1))];
};
const extentOf = (reports) => Math.max(1, ...reports.map((report) => report.peakSpan));

const drawMaps = () => {
  const { reports } = data.traces[state.trace];
  const shown = reports.filter((report) => report.map && report.map.frames.length > 0);
  const place = $('maps');
  if (place.childElementCount !== shown.length || place.dataset.trace !== String(state.trace)) {
    place.dataset.trace = String(state.trace);
    place.replaceChildren(...shown.map((report) => mapPanel(report.kind, report.kind, traceView)));
  }
  shown.forEach((report, i) => {
    const panel = place.children[i];
    const frame = frameAt(report.map, state.frame);
    const { color } = styleOf(report.kind);
    panel.querySelector('.swatch').style.background = color;
    const { each } = drawMap(
      panel.querySelector('canvas'),
      (from, to) => fillOfCells(frame.cells, report.map.cellBytes, from, to),
      traceView.from,
      traceView.to,
      color,
    );
    const index = Math.max(
      0,
      report.samples.event.findIndex((event) => event >= frame.event),
    );
    panel.querySelector('.mapline').textContent =
      `After ${countText(frame.event)} events: ${bytesText(report.samples.requested[index])} asked for, ` +
      `${bytesText(report.samples.span[index])} span. A cell is ${bytesText(each)}.`;
  });
  const whole = extentOf(reports);
  $('window').textContent =
    `Addresses ${bytesText(traceView.from)} to ${bytesText(traceView.to)} of ${bytesText(whole)} ` +
    `(${(whole / (traceView.to - traceView.from)).toFixed(1)}x)`;
  $('frame').setAttribute('aria-valuetext', `${Math.round(state.frame * 100)} % of the trace`);
};

const mapPanel = (title, kind, view) => {
  const panel = document.createElement('div');
  panel.className = 'panel';
  const head = document.createElement('h3');
  const swatch = document.createElement('span');
  swatch.className = 'swatch';
  head.append(swatch, title);
  const canvas = document.createElement('canvas');
  canvas.className = 'map';
  canvas.tabIndex = 0;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute(
    'aria-label',
    `Heap map of ${kind}: arrows move, plus and minus zoom, 0 shows all`,
  );
  const line = document.createElement('p');
  line.className = 'mapline';
  panel.append(head, canvas, line);
  canvas.addEventListener(
    'wheel',
    (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      zoom(view, event.deltaY < 0 ? 0.7 : 1 / 0.7, placeOf(event, canvas));
    },
    { passive: false },
  );
  canvas.addEventListener('dblclick', (event) => zoom(view, 0.5, placeOf(event, canvas)));
  canvas.addEventListener('keydown', (event) => {
    const step = {
      ArrowLeft: -0.02,
      ArrowRight: 0.02,
      ArrowUp: -0.2,
      ArrowDown: 0.2,
      PageUp: -0.9,
      PageDown: 0.9,
    }[event.key];
    if (step !== undefined) pan(view, step);
    else if (event.key === '+' || event.key === '=') zoom(view, 0.7, 0.5);
    else if (event.key === '-') zoom(view, 1 / 0.7, 0.5);
    else if (event.key === '0') showAll(view);
    else return;
    event.preventDefault();
  });
  return panel;
};
/** Where in the window of addresses a click was, from 0 to 1. */
const placeOf = (event, canvas) => {
  const box = canvas.getBoundingClientRect();
  const rows = Math.max(1, Math.floor(box.height / CELL_PX));
  const row = Math.min(rows - 1, Math.floor((event.clientY - box.top) / CELL_PX));
  return (row + (event.clientX - box.left) / box.width) / rows;
};
/** A window of addresses that maps are drawn of: `[from, to)` of `whole()`. */
const newView = (whole, draw) => ({ from: 0, to: whole(), whole, draw });
const zoom = (view, factor, around) => {
  const whole = view.whole();
  const length = Math.min(whole, Math.max(256, (view.to - view.from) * factor));
  const center = view.from + (view.to - view.from) * around;
  view.from = Math.max(0, Math.min(whole - length, center - length * around));
  view.to = view.from + length;
  view.draw();
};
const pan = (view, share) => {
  const whole = view.whole();
  const length = view.to - view.from;
  view.from = Math.max(0, Math.min(whole - length, view.from + length * share));
  view.to = view.from + length;
  view.draw();
};
const showAll = (view) => {
  view.from = 0;
  view.to = view.whole();
  view.draw();
};
/** The one window of the maps of a trace. */
let traceView;

// ------------------------------------------------------------ snapshots

/** Windows of the maps of snapshots, by place; they outlive a redrawing. */
const snapshotViews = new Map();

const drawSnapshotMap = (place, snapshot, map) => {
  const size = Math.max(1, map.cellSize * Math.max(1, map.cells.length));
  const { color } = styleOf(snapshot.kind);
  const fill = snapshot.blocks
    ? (from, to) => fillOfBlocks(snapshot.blocks, map.start, from, to)
    : (from, to) => fillOfCells(map.cells, map.cellSize, from, to);
  const key = `${place.id} ${map.start}`;
  const view = snapshotViews.get(key) ?? newView(() => size);
  snapshotViews.set(key, view);
  const panel = mapPanel(`from 0x${map.start.toString(16)}`, snapshot.kind, view);
  place.append(panel);
  panel.querySelector('.swatch').style.background = color;
  view.draw = () => {
    const { each } = drawMap(panel.querySelector('canvas'), fill, view.from, view.to, color);
    panel.querySelector('.mapline').textContent =
      `${bytesText(view.from)} to ${bytesText(view.to)} from the start of the range, a cell is ${bytesText(each)}; ` +
      `nothing lives beyond ${bytesText(size)}.`;
  };
  view.draw();
};

const drawSnapshots = () => {
  data.snapshots.forEach((snapshot, index) => {
    const place = $(`snapshot-maps-${index}`);
    place.replaceChildren();
    for (const map of snapshot.maps ?? []) drawSnapshotMap(place, snapshot, map);
    drawSizes(`snapshot-sizes-${index}`, snapshot.sizes ?? [], 'live blocks');
  });
};

// ------------------------------------------------------------ controls

const drawAll = () => {
  for (const [, chart] of charts.splice(0)) chart.destroy();
  if (data.traces.length > 0) {
    drawTimeline();
    drawLatency();
    drawSizes('sizes', data.traces[state.trace].reports[0].sizes ?? [], 'requests');
    drawMaps();
  }
  drawSnapshots();
};

const wireTraces = () => {
  traceView = newView(() => extentOf(data.traces[state.trace].reports), drawMaps);
  const choose = $('trace');
  choose.addEventListener('change', () => {
    state.trace = Number(choose.value);
    traceView.from = 0;
    traceView.to = traceView.whole();
    drawAll();
  });
  for (const button of document.querySelectorAll('button[data-metric]')) {
    button.addEventListener('click', () => {
      state.metric = button.dataset.metric;
      for (const other of document.querySelectorAll('button[data-metric]')) {
        other.setAttribute('aria-pressed', String(other === button));
      }
      drawAll();
    });
  }
  const slider = $('frame');
  slider.addEventListener('input', () => {
    state.frame = Number(slider.value) / Number(slider.max);
    drawMaps();
  });
  const stop = () => {
    clearInterval(state.timer);
    state.timer = 0;
    $('play').textContent = 'Play';
  };
  $('play').addEventListener('click', () => {
    if (state.timer !== 0) {
      stop();
      return;
    }
    if (Number(slider.value) >= Number(slider.max)) slider.value = '0';
    $('play').textContent = 'Pause';
    state.timer = setInterval(() => {
      slider.value = String(Number(slider.value) + 1);
      state.frame = Number(slider.value) / Number(slider.max);
      drawMaps();
      if (Number(slider.value) >= Number(slider.max)) stop();
    }, 120);
  });
  $('zoom-in').addEventListener('click', () => zoom(traceView, 0.5, 0.5));
  $('zoom-out').addEventListener('click', () => zoom(traceView, 2, 0.5));
  $('zoom-all').addEventListener('click', () => showAll(traceView));
  $('pan-left').addEventListener('click', () => pan(traceView, -0.5));
  $('pan-right').addEventListener('click', () => pan(traceView, 0.5));
};

const start = async () => {
  data = await unpack();
  if (data.traces.length > 0) wireTraces();
  $('theme').addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    drawAll();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
  let resizing = 0;
  addEventListener('resize', () => {
    clearTimeout(resizing);
    resizing = setTimeout(drawAll, 120);
  });
  drawAll();
  document.documentElement.dataset.ready = 'true';
};

start().catch((error) => {
  document.documentElement.dataset.ready = 'failed';
  const line = document.getElementById('failed');
  line.hidden = false;
  line.textContent = `The charts could not be drawn (${error.message}). The verdict and the table stand.`;
});
