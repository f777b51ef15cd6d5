/**
 * @file `heapwright replay`, `trace`, `snapshot` and `report`: what is printed, and what is in the files.
 */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTrace } from '../index.ts';
import { reportCells } from '../src/inspect/report-table.ts';
import type { ReplayReport } from '../src/trace/replay.ts';
import { root } from './support/child.ts';
import { folder, json, run } from './support/cli.ts';

const TORTURE = process.env['HEAPWRIGHT_TORTURE'] === '1';
const SEED = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

describe('heapwright replay', () => {
  it('prints a table, a conclusion, and writes the same figures as JSON and as a page', () => {
    const { stdout, status, stderr } = run([
      'replay',
      'cc1',
      'git-log',
      '--kind',
      'tlsf,slab',
      '--verify',
      '--json',
      'out.json',
      '--report',
      'out.html',
    ]);
    expect([status, stderr]).toEqual([0, '']);
    const file = JSON.parse(readFileSync(path.join(folder, 'out.json'), 'utf8')) as {
      schema: string;
      reports: ReplayReport[];
      conclusion: string[];
    };
    expect(file.schema).toBe('heapwright/replay/1');
    expect(file.reports.map(({ trace, kind }) => [trace, kind])).toEqual([
      ['cc1', 'tlsf'],
      ['cc1', 'slab'],
      ['git-log', 'tlsf'],
      ['git-log', 'slab'],
    ]);
    const html = readFileSync(path.join(folder, 'out.html'), 'utf8');
    for (const report of file.reports) {
      expect(report).toMatchObject({ failures: 0, verified: true, complete: true });
      const row = stdout
        .split('\n')
        .find((line) => line.startsWith(report.trace ?? '?') && line.includes(`│ ${report.kind} `));
      expect(row?.split('│').map((cell) => cell.trim())).toEqual(reportCells(report));
      // The page has the same texts in the same order.
      const cells = reportCells(report)
        .slice(2)
        .map((cell) => `>${cell}</td>`);
      const begin = html.indexOf(`<tr data-trace="${report.trace}" data-kind="${report.kind}"`);
      const htmlRow = html.slice(begin, html.indexOf('</tr>', begin));
      for (const cell of cells) expect(htmlRow).toContain(cell);
    }
    for (const line of file.conclusion) expect(stdout).toContain(`- ${line}\n`);
    expect(stdout).toContain(path.join(folder, 'out.json'));
    expect(stdout).toContain(path.join(folder, 'out.html'));
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('says that a range was too small, and is no failure for that', () => {
    const { stdout, status } = run([
      'replay',
      'git-log',
      '--kind',
      'tlsf',
      '--size',
      '1m',
      '--repeat',
      '1',
    ]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/git-log: tlsf could not serve [\d,]+ requests in 1\.00 MiB/u);
  });

  it('stops a slow kind at its limit and marks the row', () => {
    const { stdout, status } = run([
      'replay',
      'python-json',
      '--kind',
      'buddy',
      '--limit-seconds',
      '0.3',
      '--repeat',
      '1',
    ]);
    expect(status).toBe(0);
    expect(stdout).toContain('stopped by --limit-seconds');
    expect(stdout).toMatch(/python-json: buddy was stopped by the time limit after [\d,]+ events/u);
  });

  it('prints JSON alone where standard output is asked for', () => {
    const { reports } = json<{ reports: ReplayReport[] }>([
      'replay',
      'git-log',
      '--kind',
      'tlsf',
      '--repeat',
      '1',
    ]);
    expect(reports).toHaveLength(1);
  });
});

describe('heapwright trace', () => {
  it('tells what is in the bundled traces', () => {
    const summaries = json<{ name: string; events: number; blocksLive: { peak: number } }[]>([
      'trace',
      'info',
    ]);
    expect(summaries.map(({ name, events }) => [name, events])).toEqual([
      ['cc1', 58_076],
      ['git-log', 46_336],
      ['jq', 125_997],
      ['python-json', 613_465],
      ['sqlite', 197_830],
    ]);
    expect(summaries.map(({ blocksLive }) => blocksLive.peak)).toEqual([
      4201, 836, 42_160, 118_231, 1707,
    ]);
    const readme = readFileSync(path.join(root, 'traces/README.md'), 'utf8');
    for (const { events } of summaries)
      expect(readme).toContain(` ${events.toLocaleString('en-US')} `);
  });

  it.each(['words.mtrace.log', 'words.ltrace.log', 'bash.ltrace.log'])('converts %s', (name) => {
    const log = path.join(root, '__test__/fixtures/logs', name);
    const out = path.join(folder, 'converted.hwt.gz');
    const told = json<{ events: number; format: string }>(['trace', 'convert', log, out]);
    expect(told.format).toBe(name.split('.')[1]);
    expect(readTrace(readFileSync(out)).events).toBe(told.events);
    const { stdout, status } = run(['replay', out, '--kind', 'tlsf', '--verify']);
    expect(status).toBe(0);
    expect(stdout).toContain('converted');
  });
});

describe('heapwright snapshot and report', () => {
  it('shows the middle of a trace, and makes a page of it', () => {
    const { stdout } = run(['snapshot', 'sqlite', '--at', '50%']);
    expect(stdout).toMatch(/^tlsf after 98,915 events\n {2}[\d,]+ live blocks/u);
    expect(
      run(['snapshot', 'sqlite', '--at', '50%', '--blocks', '--json', 'middle.json']).status,
    ).toBe(0);
    const { stdout: told, status } = run([
      'report',
      'middle.json',
      '--out',
      'middle.html',
      '--title',
      'Middle',
    ]);
    expect(status).toBe(0);
    expect(told).toContain('0 replays, 1 snapshots');
    expect(readFileSync(path.join(folder, 'middle.html'), 'utf8')).toContain(
      '<title>Middle</title>',
    );
  });

  it('speaks as the kernel does', () => {
    const text = (format: string): string =>
      run(['snapshot', 'cc1', '--kind', 'two-level', '--text', format]).stdout;
    expect(text('buddyinfo')).toMatch(/^Node 0, zone +\w+( +\d+){11,}/u);
    expect(text('slabinfo')).toMatch(/^slabinfo - version: 2\.1\n/u);
    expect(text('pagetypeinfo')).toMatch(/^Page block order: 9\n/u);
    const { status, stderr } = run(['snapshot', 'cc1', '--text', 'buddyinfo']);
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/buddyinfo cannot be made of kind 'tlsf'/u),
    ]);
  });

  it('reads back what replay wrote, and refuses what was tampered with', () => {
    run(['replay', 'cc1', '--kind', 'tlsf', '--repeat', '1', '--json', 'one.json']);
    const text = readFileSync(path.join(folder, 'one.json'), 'utf8');
    expect(run(['report', 'one.json']).status).toBe(0);
    expect(existsSync(path.join(folder, 'heapwright-report.html'))).toBe(true);
    let state = SEED;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return (state >>> 8) % limit;
    };
    for (let round = 0; round < (TORTURE ? 200 : 6); round++) {
      const bytes = Buffer.from(text);
      for (let i = 0; i < 3; i++) bytes[below(2000)] = below(128);
      writeFileSync(path.join(folder, 'bad.json'), bytes);
      const { status, stderr } = run(['report', 'bad.json', '--out', 'bad.html']);
      expect([0, 1]).toContain(status);
      expect(stderr).not.toContain('unexpected');
    }
  });
});
