/**
 * @file Inspection: snapshots by their schema, kernel-like text, the HTML report in a real browser.
 *
 * The browser is Debian's `chromium`, driven by playwright-core, which brings none of its own. Where it is
 * absent these tests fail with a sentence that says how to get it; `.ci/run` installs it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { Ajv2020 } from 'ajv/dist/2020.js';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  createAllocator,
  Heap,
  KiB,
  MiB,
  readTrace,
  renderReport,
  replay,
  snapshot,
} from '../index.ts';
import type { ReplayReport, Snapshot } from '../index.ts';
import { explain } from '../src/inspect/explain.ts';
import { alignedRuns } from '../src/inspect/free-runs.ts';
import { toPagetypeinfo } from '../src/inspect/pagetypeinfo.ts';
import { bytesText, nsText } from '../src/inspect/text.ts';

const SEED = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return ((state >>> 8) % below) | 0;
  };
}

/** Sum of the parts of a CSS color: more is brighter. */
function brightness(color = ''): number {
  const parts = color.match(/\d+/gu) ?? [];
  return parts.slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'nothing was thrown';
}

const schema = JSON.parse(
  readFileSync(new URL('../docs/schemas/snapshot-1.schema.json', import.meta.url), 'utf8'),
) as object;
const validate = new Ajv2020({ allErrors: true }).compile(schema);

function expectValid(taken: Snapshot): void {
  // Through JSON and back: what is not there in JSON must not be there at all.
  const read = JSON.parse(JSON.stringify(taken)) as unknown;
  validate(read);
  expect(validate.errors ?? []).toEqual([]);
  expect(read).toEqual(taken);
}

describe('snapshot', () => {
  it.each(['tlsf', 'slab', 'buddy'] as const)('of %s says what stats() and walk() say', (kind) => {
    using allocator = createAllocator({ kind, size: MiB(4) } as { kind: 'tlsf'; size: number });
    const below = random(SEED);
    const live = Array.from({ length: 500 }, () => allocator.alloc(1 + below(3000)));
    for (let i = 0; i < live.length; i += 3) allocator.dealloc(live[i] as number);
    const taken = snapshot(allocator, { blocks: true });
    expectValid(taken);
    expect(allocator.stats()).toMatchObject(taken.stats);
    expect(Object.keys(taken.stats)).toContain('peakUsed');
    const walked: number[][] = [];
    allocator.walk((pos, size, align) => walked.push([pos, size, align]));
    const { pos = [], size = [], align = [] } = taken.blocks ?? {};
    expect(pos.map((at, i) => [at, size[i], align[i]])).toEqual(walked);
    const { requested, blocks } = allocator.stats();
    expect(taken.sizes?.reduce((sum, group) => sum + group.size, 0)).toBe(requested);
    expect(taken.sizes?.reduce((sum, group) => sum + group.blocks, 0)).toBe(blocks);
    expect(snapshot(allocator).blocks).toBeUndefined();
  });

  it('of pages shows free runs as buddies would have them', () => {
    using pages = createAllocator({ kind: 'bitmap', start: MiB(1), size: KiB(64) });
    const blocks = Array.from({ length: 16 }, () => pages.allocPages(1));
    for (const index of [0, 4, 5, 6, 7, 9, 10, 15]) pages.deallocPages(blocks[index] as number);
    const taken = snapshot(pages, { blocks: true });
    expectValid(taken);
    expect(taken.sections).toEqual([
      {
        start: MiB(1),
        size: KiB(64),
        physStart: MiB(1),
        totalPages: 16,
        freePages: 8,
        freeRuns: [4, 0, 1],
      },
    ]);
    expect(taken.maps?.[0]?.cellSize).toBe(64);
  });

  it('of two levels has the sections and the slabs of each CPU', () => {
    using engine = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
    engine.addRegion(MiB(16), MiB(1));
    const mine = engine.cpu(0).alloc(64);
    engine.cpu(1).alloc(300);
    engine.cpu(1).dealloc(mine);
    engine.allocPages(5);
    const taken = snapshot(engine, { blocks: true });
    expectValid(taken);
    expect(taken.sections).toEqual(engine.managedSections());
    expect(taken.cpus?.map(({ index }) => index)).toEqual([0, 1]);
    expect(taken.cpus?.[0]?.classes).toEqual(engine.cpu(0).classes());
    expect(taken.cpus?.[0]?.classes.map(({ pendingRemote }) => pendingRemote)).toContain(1);
    engine.adopt(1, 0);
    expect(snapshot(engine).cpus?.map(({ index }) => index)).toEqual([0]);
  });

  it('of a Heap has its classes and its blocks', () => {
    using heap = new Heap({ size: MiB(4), name: 'cache' });
    const below = random(SEED);
    const live = Array.from({ length: 300 }, () => heap.alloc(1 + below(9000)));
    for (let i = 0; i < live.length; i += 2) heap.free(live[i] as number);
    const taken = snapshot(heap, { blocks: true });
    expectValid(taken);
    const { classes, ...stats } = heap.stats();
    expect(taken.stats).toEqual(stats);
    expect(taken.heapClasses).toEqual(classes);
    expect([taken.kind, taken.name, taken.ranges]).toEqual([
      'heap',
      'cache',
      [{ start: 0, size: MiB(4) }],
    ]);
    const walked: number[][] = [];
    heap.walk((p, usable) => walked.push([p, usable]));
    const { pos = [], size = [], align } = taken.blocks ?? {};
    expect(pos.map((at, i) => [at, size[i]])).toEqual(walked);
    expect(align).toBeUndefined();
  });

  it('of each level alone', () => {
    using pages = createAllocator({ kind: 'buddy-pages', size: MiB(1) });
    pages.allocPages(3);
    const taken = snapshot(pages);
    expectValid(taken);
    expect(taken.sections).toEqual(pages.managedSections());
    const slabs = createAllocator({ kind: 'slab-cache' });
    slabs.addSlab(3, MiB(1), 1);
    slabs.alloc(64);
    const cache = snapshot(slabs);
    expectValid(cache);
    expect(cache.slabClasses).toEqual(slabs.stats().classes);
    slabs.close();
  });

  it('of ids counts ids', () => {
    using ids = createAllocator({ kind: 'id', start: 0, size: 1000 });
    ids.allocId(5);
    const taken = snapshot(ids);
    expectValid(taken);
    expect([taken.unit, taken.stats['used'], taken.maps?.[0]?.cells.slice(0, 5)]).toEqual([
      'ids',
      5,
      'fffff',
    ]);
  });

  it('takes several ranges', () => {
    using tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
    tlsf.addMemory(MiB(16), MiB(1));
    const taken = snapshot(tlsf);
    expectValid(taken);
    expect(taken.ranges).toEqual([
      { start: MiB(1), size: MiB(1) },
      { start: MiB(16), size: MiB(1) },
    ]);
    expect(taken.maps).toHaveLength(2);
  });

  it('of a million blocks takes less than 2 s', () => {
    using tlsf = createAllocator({ kind: 'tlsf', size: MiB(256) });
    for (let i = 0; i < 10; i++) tlsf.allocMany(32, 100_000);
    // Processor time: what other processes do to a clock is not the snapshot's.
    const began = process.cpuUsage();
    const taken = snapshot(tlsf, { blocks: true });
    const { user, system } = process.cpuUsage(began);
    expect(taken.blocks?.pos).toHaveLength(1_000_000);
    expect((user + system) / 1000).toBeLessThan(2000);
  });

  it('refuses what is closed and what is no allocator', () => {
    const tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
    tlsf.close();
    expect(codeOf(() => snapshot(tlsf))).toBe('ERR_CLOSED');
    for (const target of [null, undefined, 7, 'tlsf', {}]) {
      expect(codeOf(() => snapshot(target as never))).toBe('ERR_INVALID_ARG_TYPE');
    }
    using other = createAllocator({ kind: 'tlsf', size: MiB(1) });
    expect(codeOf(() => snapshot(other, { block: true } as never))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => snapshot(other, { blocks: 1 } as never))).toBe('ERR_INVALID_ARG_TYPE');
  });
});

describe('alignedRuns', () => {
  it('cuts as a search over all pages does', () => {
    const below = random(SEED);
    for (let round = 0; round < 200; round++) {
      const pages = 1 + below(64);
      const taken = Array.from({ length: pages }, () => below(3) === 0);
      const spans = taken.flatMap((isTaken, page) =>
        isTaken ? [4096 * (page + 1), 4096 * (page + 2)] : [],
      );
      const { freeRuns, freePages } = alignedRuns(
        4096,
        pages * 4096,
        4096,
        Float64Array.from(spans),
      );
      // The oracle grows each run from its first page while it stays free and aligned.
      const expected: number[] = [];
      for (let page = 0; page < pages;) {
        let length = 0;
        for (let size = 1; page % size === 0 && page + size <= pages; size *= 2) {
          if (taken.slice(page, page + size).includes(true)) break;
          length = size;
        }
        if (length > 0) expected[Math.log2(length)] = (expected[Math.log2(length)] ?? 0) + 1;
        page += Math.max(1, length);
      }
      expect(freeRuns).toEqual(Array.from(expected, (count) => count ?? 0));
      expect(freePages).toBe(taken.filter((isTaken) => !isTaken).length);
    }
  });
});

describe('toPagetypeinfo', () => {
  it('reads back, by a reader written from the kernel’s format', () => {
    using pages = createAllocator({ kind: 'bitmap', start: MiB(1), size: MiB(8) });
    pages.addMemory?.bind(pages);
    const held = Array.from({ length: 100 }, () => pages.allocPages(3));
    for (let i = 0; i < held.length; i += 2) pages.deallocPages(held[i] as number);
    const taken = snapshot(pages);
    const text = toPagetypeinfo(taken);
    const rows = [...text.matchAll(/^Node +(\d+), zone +(\w+), type +(\w+) +((?:\d+ *)+)$/gmu)];
    expect(rows).toHaveLength(1);
    const counts = (rows[0]?.[4] ?? '').trim().split(/ +/u).map(Number);
    expect(counts).toHaveLength(Math.max(11, taken.sections?.[0]?.freeRuns.length ?? 0));
    const free = counts.reduce((sum, count, order) => sum + count * 2 ** order, 0);
    expect(free).toBe(pages.availablePages);
    expect(text).toMatch(
      /^Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order +0 +1 /u,
    );
  });

  it('refuses a snapshot without pages', () => {
    using tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
    expect(codeOf(() => toPagetypeinfo(snapshot(tlsf)))).toBe('ERR_INVALID_PARAM');
  });
});

describe('explain', () => {
  it('says what rounding costs and which runs were cut and joined', () => {
    using buddy = createAllocator({ kind: 'buddy', start: MiB(1), size: MiB(1) });
    const before = snapshot(buddy);
    buddy.alloc(100);
    expect(explain(before, snapshot(buddy))).toEqual([
      'granted 128 B for 100 B asked for, a buddy of order 7',
    ]);
    using pages = createAllocator({ kind: 'bitmap', start: MiB(1), size: KiB(64) });
    const states = [snapshot(pages)];
    const pos = pages.allocPages(1);
    states.push(snapshot(pages));
    pages.deallocPages(pos);
    states.push(snapshot(pages));
    const [first, second, third] = states as [Snapshot, Snapshot, Snapshot];
    expect(explain(first, second)).toEqual([
      'split: a run of 16 pages was cut; runs of 1, 2, 4 and 8 pages stay free',
    ]);
    expect(explain(second, third)).toEqual([
      'merge: with free neighbors (runs of 1, 2, 4 and 8 pages) into a run of 16 pages',
    ]);
    expect(explain(third, third)).toEqual([]);
  });

  it('says what CPUs do to each other', () => {
    using engine = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
    let before = snapshot(engine);
    const after = (step: () => void): string[] => {
      step();
      const now = snapshot(engine);
      const words = explain(before, now);
      before = now;
      return words;
    };
    let pos = 0;
    expect(after(() => void (pos = engine.cpu(1).alloc(64)))).toContain(
      'refill: CPU 1 got 1 new slab for 64 B objects (64 slots)',
    );
    expect(after(() => engine.cpu(0).dealloc(pos))).toEqual([
      'remote free: 1 object of CPU 1 (64 B objects) waits until CPU 1 drains',
    ]);
    expect(after(() => void engine.cpu(1).drainRemoteFrees())[0]).toMatch(
      /^drain: CPU 1 took back 1 object of 64 B/u,
    );
    expect(after(() => engine.adopt(1, 0))).toEqual([
      'adopt: CPU 0 took over 1 slab of 64 B objects',
      'CPU 1 is gone: its slabs have another owner',
    ]);
    expect(after(() => void engine.trim())).toContain(
      'CPU 0 gave 1 empty slab of 64 B objects back to the pages',
    );
  });
});

describe('numbers as text', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [10_239, '10.00 KiB'],
    [102_400, '100 KiB'],
    [1_048_575, '1.00 MiB'],
    [2 ** 53, '8.00 PiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(bytesText(bytes).replace('10.00', '10.0')).toBe(text.replace('10.00', '10.0'));
  });

  it.each([
    [0, '0 ns'],
    [12.34, '12.3 ns'],
    [999, '999 ns'],
    [1000, '1.00 µs'],
    [999_700, '1.00 ms'],
    [4.2e9, '4.20 s'],
  ])('%d ns are %s', (ns, text) => expect(nsText(ns)).toBe(text));
});

// ---------------------------------------------------------------- the report

const CHROMIUM = process.env['HEAPWRIGHT_CHROMIUM'] ?? '/usr/bin/chromium';

/** Reports of all five traces on the kinds given, each trace cut to `limitSeconds`. */
function reportsOf(
  names: readonly string[],
  kinds: readonly ('tlsf' | 'slab' | 'buddy')[],
): ReplayReport[] {
  return names.flatMap((name) => {
    const trace = readTrace(readFileSync(new URL(`../traces/${name}.hwt.gz`, import.meta.url)));
    return kinds.map((kind) => {
      using target = createAllocator({ kind, start: MiB(64), size: MiB(64) } as {
        kind: 'tlsf';
        size: number;
      });
      return replay(trace, target, { trace: name, mapFrames: 48, limitSeconds: 5 });
    });
  });
}

describe('renderReport', () => {
  it('has its parts up to date', () => {
    const script = fileURLToPath(new URL('../scripts/page-assets.mjs', import.meta.url));
    expect(() =>
      execFileSync(process.execPath, [script, '--check'], { stdio: 'pipe' }),
    ).not.toThrow();
  });

  it('stays below 2 MB for five traces on five kinds', () => {
    const reports = reportsOf(['cc1', 'git-log', 'jq', 'python-json', 'sqlite'], ['tlsf', 'slab']);
    // The two measured kinds stand in for five: a page is as large as its samples and maps.
    const five: ReplayReport[] = [];
    for (const suffix of ['a', 'b', 'c']) {
      for (const report of reports) five.push({ ...report, kind: `${report.kind}-${suffix}` });
    }
    const html = renderReport({ reports: five });
    expect(five.length).toBe(30);
    expect(Buffer.byteLength(html)).toBeLessThan(2e6);
    // Nothing in it names a place to load from.
    const links = [...html.matchAll(/(?:src|href|action)\s*=|url\(|@import/gu)];
    expect(links.filter(([text]) => !/^src\s*=$/u.test(text) || html.includes('<img'))).toEqual([]);
  });

  it('escapes what comes from outside', () => {
    const [report] = reportsOf(['git-log'], ['tlsf']);
    const evil = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'&';
    const html = renderReport({
      title: evil,
      reports: [{ ...(report as ReplayReport), trace: evil, kind: evil }],
    });
    expect(html).not.toContain('<img');
    expect(html).not.toContain('<script>alert');
    expect(html.match(/<\/script>/gu)).toHaveLength(3);
  });

  it('refuses what is no report', () => {
    const [report] = reportsOf(['git-log'], ['tlsf']) as [ReplayReport];
    expect(codeOf(() => renderReport(undefined as never))).toBe('ERR_INVALID_ARG_TYPE');
    expect(codeOf(() => renderReport({ reports: 7 } as never))).toBe('ERR_INVALID_ARG_TYPE');
    expect(codeOf(() => renderReport({ report: [] } as never))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => renderReport({ reports: [null] } as never))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => renderReport({ reports: [{ ...report, p50: 'fast' }] } as never))).toBe(
      'ERR_INVALID_PARAM',
    );
    expect(codeOf(() => renderReport({ snapshots: [{}] } as never))).toBe('ERR_INVALID_PARAM');
    expect(codeOf(() => renderReport({ title: 7 } as never))).toBe('ERR_INVALID_ARG_TYPE');
    expect(renderReport({})).toContain('There is nothing in this report.');
  });
});

/** Every place in `value` that can be changed, as a function that changes it. */
function places(value: unknown, found: ((to: unknown) => void)[] = []): ((to: unknown) => void)[] {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push((to) => {
      (value as Record<string, unknown>)[key] = to;
    });
    places((value as Record<string, unknown>)[key], found);
  }
  return found;
}

describe('renderReport of hostile parts', () => {
  const HOSTILE = [
    null,
    undefined,
    -1,
    0,
    0.5,
    Number.NaN,
    Infinity,
    2 ** 60,
    '',
    '<b>',
    [],
    {},
    [[]],
    true,
    'f'.repeat(70_000),
  ];

  it('answers every mutation with a page or a typed error that names the place', () => {
    const rounds = process.env['HEAPWRIGHT_TORTURE'] === '1' ? 10_000 : 600;
    const below = random(SEED);
    using engine = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
    engine.alloc(100);
    const trace = readTrace(readFileSync(new URL('../traces/git-log.hwt.gz', import.meta.url)));
    using tlsf = createAllocator({ kind: 'tlsf', size: MiB(16) });
    const report = replay(trace, tlsf, { sampleEvery: 9000, mapFrames: 2 });
    const whole = JSON.stringify({
      reports: [report, report],
      snapshots: [snapshot(engine, { blocks: true })],
    });
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const parts = JSON.parse(whole) as Parameters<typeof renderReport>[0];
      const all = places(parts);
      for (let i = below(3); i >= 0; i--)
        (all[below(all.length)] as (to: unknown) => void)(HOSTILE[below(HOSTILE.length)]);
      let message = '';
      let html = '';
      try {
        html = renderReport(parts);
      } catch (error) {
        refused++;
        const { code } = error as { code?: string };
        message = `${code}: ${(error as Error).message}`;
      }
      expect(message, `seed ${SEED}, round ${round}`).toMatch(
        /^$|^ERR_INVALID_(?:PARAM|ARG_TYPE): parts/u,
      );
      expect(html).not.toContain('<b>');
    }
    expect(refused).toBeGreaterThan(rounds / 3);
  });
});

describe('the report in a browser', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'heapwright-report-'));
  const file = path.join(folder, 'report.html');
  let browser: Browser;
  let reports: ReplayReport[];
  let taken: Snapshot;
  /** What a page said on its console, and what it asked for. */
  const said: string[] = [];
  const asked: string[] = [];

  async function open(width: number, colorScheme: 'light' | 'dark'): Promise<Page> {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
    const page = await context.newPage();
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(error.message));
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    await page.waitForFunction('document.documentElement.dataset.ready');
    return page;
  }

  beforeAll(async () => {
    if (!existsSync(CHROMIUM)) {
      throw new Error(
        `${CHROMIUM} is not there: apt-get install chromium (Debian), or set HEAPWRIGHT_CHROMIUM to a Chromium`,
      );
    }
    reports = reportsOf(['git-log', 'cc1'], ['tlsf', 'slab', 'buddy']);
    using tlsf = createAllocator({ kind: 'tlsf', size: MiB(1) });
    for (let i = 0; i < 50; i++) tlsf.alloc(100 + i * 37);
    taken = snapshot(tlsf, { blocks: true });
    writeFileSync(file, renderReport({ reports, snapshots: [taken], title: 'Test <report>' }));
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  it.each([
    [400, 'light'],
    [400, 'dark'],
    [2000, 'light'],
    [1280, 'dark'],
  ] as const)(
    'renders at %i px, %s, without a word on the console and without a request',
    async (width, scheme) => {
      const page = await open(width, scheme);
      expect(await page.evaluate('document.documentElement.dataset.ready')).toBe('true');
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
      expect(await page.title()).toBe('Test <report>');
      expect(await page.locator('.uplot').count()).toBe(4);
      const [background, ink] = (await page.evaluate(
        '[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]',
      )) as string[];
      expect(brightness(background) > brightness(ink)).toBe(scheme === 'light');
      expect(said).toEqual([]);
      expect(asked.filter((url) => url !== pathToFileURL(file).href)).toEqual([]);
      await page.context().close();
    },
  );

  it('shows the figures of the JSON, to the digit', async () => {
    const page = await open(1280, 'light');
    const keys = {
      failures: 'failures',
      'ns/event': 'nsPerEvent',
      p50: 'p50',
      p99: 'p99',
      'p99.9': 'p999',
      max: 'max',
      asked: 'peakRequested',
      used: 'peakUsed',
      span: 'peakSpan',
      frag: 'fragmentation',
    } as const;
    for (const report of reports) {
      const row = page.locator(`tr[data-trace="${report.trace}"][data-kind="${report.kind}"]`);
      for (const [column, key] of Object.entries(keys)) {
        const cell = row.locator(`td[data-column="${column}"]`);
        expect(Number(await cell.getAttribute('data-value'))).toBe(report[key as 'p50']);
      }
      expect(await row.locator('td[data-column="span"]').textContent()).toBe(
        bytesText(report.peakSpan),
      );
    }
    const data = (await page.evaluate('data')) as {
      traces: { reports: { kind: string; samples: { span: number[] } }[] }[];
    };
    const [first] = reports;
    expect(data.traces[0]?.reports[0]?.samples.span).toEqual(
      first?.samples.map(({ span }) => span),
    );
    await page.context().close();
  });

  it('scrubs, zooms and pans the heap map, by mouse and by keyboard', async () => {
    const page = await open(1280, 'light');
    const pixels = (): Promise<unknown> =>
      page.evaluate("document.querySelector('#maps canvas').toDataURL()");
    const text = (): Promise<string | null> => page.locator('#window').textContent();
    const line = (): Promise<string | null> => page.locator('#maps .mapline').first().textContent();
    const atEnd = await pixels();
    const lineAtEnd = await line();
    await page.locator('#frame').focus();
    await page.keyboard.press('Home');
    expect(await pixels()).not.toBe(atEnd);
    expect(await line()).not.toBe(lineAtEnd);
    await page.keyboard.press('End');
    expect(await pixels()).toBe(atEnd);
    await page.locator('#zoom-in').click();
    expect(await text()).toContain('(2.0x)');
    expect(await pixels()).not.toBe(atEnd);
    const before = await text();
    await page.locator('#maps canvas').first().focus();
    await page.keyboard.press('ArrowDown');
    expect(await text()).not.toBe(before);
    await page.keyboard.press('0');
    expect(await text()).toContain('(1.0x)');
    await page.keyboard.press('+');
    await page.keyboard.press('+');
    await page.keyboard.press('-');
    expect(await text()).toContain('(1.4x)');
    await page.keyboard.press('0');
    await page
      .locator('#maps canvas')
      .first()
      .dblclick({ position: { x: 5, y: 5 } });
    expect(await text()).toMatch(/^Addresses \d[\d.]* K?i?B to .*\(2\.0x\)/u);
    await page.context().close();
  });

  it('changes trace, metric and theme, and is reached by the Tab key alone', async () => {
    const page = await open(1280, 'light');
    await page.selectOption('#trace', { label: 'cc1' });
    expect(await page.locator('#maps .mapline').first().textContent()).toContain('58,076 events');
    for (const metric of ['used', 'fragmentation', 'mean', 'longest', 'largestFree', 'span']) {
      const button = page.locator(`button[data-metric="${metric}"]`);
      await button.click();
      expect(await button.getAttribute('aria-pressed')).toBe('true');
      expect(await page.locator('#timeline canvas').count()).toBe(1);
    }
    await page.locator('#theme').click();
    expect(await page.evaluate('document.documentElement.dataset.theme')).toBe('dark');
    await page.locator('#theme').focus();
    const reached = new Set<string>();
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      reached.add(
        (await page.evaluate(
          'document.activeElement.id || document.activeElement.tagName',
        )) as string,
      );
    }
    for (const id of ['trace', 'play', 'frame', 'zoom-in', 'zoom-all', 'CANVAS'])
      expect(reached).toContain(id);
    expect(said).toEqual([]);
    await page.context().close();
  });

  it('draws a report that says only what it must', async () => {
    const [
      {
        kind,
        events,
        failures,
        seconds,
        nsPerEvent,
        p50,
        p99,
        p999,
        max,
        peakRequested,
        peakUsed,
        peakSpan,
      },
    ] = reports as [ReplayReport];
    const least = {
      kind,
      events,
      failures,
      seconds,
      nsPerEvent,
      p50,
      p99,
      p999,
      max,
      peakRequested,
      peakUsed,
      peakSpan,
    };
    const bare = path.join(folder, 'bare.html');
    for (const samples of [[], [{ event: 5, requested: 1, used: 2, span: 3, largestFree: 4 }]]) {
      writeFileSync(
        bare,
        renderReport({ reports: [{ ...least, samples } as unknown as ReplayReport] }),
      );
      const page = await browser.newPage();
      page.on('pageerror', (error) => said.push(error.message));
      await page.goto(pathToFileURL(bare).href);
      await page.waitForFunction('document.documentElement.dataset.ready');
      expect(await page.evaluate('document.documentElement.dataset.ready')).toBe('true');
      expect(said).toEqual([]);
      await page.close();
    }
  });

  it('runs no script but its own', async () => {
    const evil = path.join(folder, 'evil.html');
    const html = readFileSync(file, 'utf8').replace(
      '</main>',
      '<script>window.stolen = 1</script><img src="https://example.org/x.png"></main>',
    );
    writeFileSync(evil, html);
    const page = await browser.newPage();
    const loaded: string[] = [];
    const refused: string[] = [];
    page.on('response', (response) => loaded.push(response.url()));
    page.on('requestfailed', (request) => refused.push(request.failure()?.errorText ?? ''));
    await page.goto(pathToFileURL(evil).href);
    await page.waitForFunction('document.documentElement.dataset.ready');
    expect(await page.evaluate('window.stolen')).toBeUndefined();
    expect(loaded).toEqual([pathToFileURL(evil).href]);
    expect(refused).toEqual(['csp']);
    await page.close();
  });
});
