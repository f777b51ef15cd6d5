/**
 * @file The command line: what it prints, writes and answers, the terminal programs in a real terminal.
 *
 * Runs the built command (`dist/src/cli/main.js`) in processes of its own, in an empty folder. The full-screen
 * programs run in tmux (Debian's `tmux`), which keeps the screen as a terminal would show it.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readTrace } from '../index.ts';
import { parseSize } from '../src/cli/command.ts';
import { COMMANDS } from '../src/cli/commands.ts';
import { parseScenario } from '../src/cli/scenario.ts';
import { reportCells } from '../src/inspect/report-table.ts';
import type { ReplayReport } from '../src/trace/replay.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = path.join(ROOT, 'dist/src/cli/main.js');
const folder = mkdtempSync(path.join(tmpdir(), 'heapwright-cli-'));
const TORTURE = process.env['HEAPWRIGHT_TORTURE'] === '1';
const SEED = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

beforeAll(() => {
  mkdirSync(path.join(folder, 'run'));
  if (!existsSync(MAIN)) throw new Error('the command is not built: npm run build');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [MAIN, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: path.join(folder, 'run'), ...env },
    maxBuffer: 2 ** 28,
    timeout: 55_000,
  });
}

function json<T>(args: readonly string[]): T {
  const { stdout, status, stderr } = run([...args, '--json']);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return JSON.parse(stdout) as T;
}

function scenario(name: string): string {
  return path.join(ROOT, 'examples/scenarios', name);
}

/** What a real bash offers after `words`. */
function complete(...words: string[]): string[] {
  const script = `source <("${process.execPath}" "${MAIN}" completion bash)
COMP_WORDS=(heapwright ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _heapwright; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' }).trim().split('\n');
}

describe('heapwright', () => {
  it('says what it can do', () => {
    for (const args of [['--help'], ['-h'], ['help']]) {
      const { stdout, status } = run(args);
      expect(status).toBe(0);
      for (const { name } of COMMANDS) expect(stdout).toContain(`\n  ${name} `);
    }
    expect(run([]).status).toBe(2);
  });

  it.each(COMMANDS.map(({ name }) => name))(
    '%s --help names every option and shows examples',
    (name) => {
      const command = COMMANDS.find((candidate) => candidate.name === name);
      const { stdout, status } = run([name, '--help']);
      expect(status).toBe(0);
      expect(stdout).toMatch(/^Usage: heapwright /u);
      for (const option of [...Object.keys(command?.options ?? {}), 'json', 'help']) {
        expect(stdout).toContain(`--${option}`);
      }
      expect(stdout).toContain('Examples:\n  ');
      expect(run(['help', name]).stdout).toBe(stdout);
    },
  );

  it.each<[string[], number, RegExp]>([
    [['bogus'], 2, /unknown command 'bogus'; known are replay,/u],
    [['replay', '--bogus'], 2, /Unknown option '--bogus'/u],
    [['replay', '--kind', 'malloc'], 2, /unknown kind 'malloc'; known are tlsf,/u],
    [['replay', '--kind', ','], 2, /kind is empty/u],
    [['replay', '--size', '64 potatoes'], 2, /--size must be a size like 64MiB.*'64 potatoes'/u],
    [['replay', '--size', '0'], 2, /got '0'/u],
    [['replay', '--size', '1e300'], 2, /1e300/u],
    [['replay', '--samples', 'many'], 2, /--samples must be a number above 0, got 'many'/u],
    [['replay', '--limit-seconds', '-1'], 2, /limit-seconds/u],
    [
      ['replay', 'sqlite', '--kind', 'slab', '--size', '1e12'],
      2,
      /slab cannot be made with --size/u,
    ],
    [
      ['replay', 'no-such-file'],
      1,
      /cannot read no-such-file: no such file or directory \(ENOENT\)/u,
    ],
    [['replay', ROOT], 1, /cannot read .*EISDIR/u],
    [['replay', MAIN], 1, /main\.js: trace is damaged at byte 0: no trace/u],
    [['replay', 'cc1', '--json=/proc/none/x.json'], 1, /cannot write \/proc\/none\/x\.json/u],
    [['trace'], 2, /info or convert/u],
    [['trace', 'eat'], 2, /unknown action 'eat'/u],
    [['trace', 'convert', 'a'], 2, /takes a log and an output/u],
    [['trace', 'convert', MAIN, 'out.hwt', '--from', 'gdb'], 2, /unknown format 'gdb'/u],
    [['trace', 'convert', MAIN, 'out.hwt', '--from', 'mtrace'], 1, /line 1: no line of mtrace/u],
    [['snapshot'], 2, /takes one trace/u],
    [
      ['snapshot', 'cc1', '--at', 'noon'],
      2,
      /--at must be a number of events or a share like 50%, got 'noon'/u,
    ],
    [['snapshot', 'cc1', '--kind', 'tlsf,slab'], 2, /one --kind/u],
    [['report'], 2, /at least one JSON file/u],
    [['report', MAIN], 1, /main\.js is no JSON/u],
    [['report', path.join(ROOT, 'package.json')], 1, /neither replays nor a snapshot/u],
    [['simulate'], 2, /takes one script/u],
    [['simulate', path.join(ROOT, 'package.json')], 2, /unknown key 'name'/u],
    [['top', 'me'], 2, /the pid must be a number, got 'me'/u],
    [['top', '--sort', 'color'], 2, /unknown column 'color'/u],
    [['top'], 1, /no process publishes heaps/u],
    [['info', 'more'], 2, /takes no operand/u],
    [['completion', 'fish'], 2, /bash or zsh, got 'fish'/u],
    [['completion', 'bash', 'more'], 2, /bash or zsh, got 'bash more'/u],
  ])('answers %j with exit code %i and one line', (args, code, reason) => {
    const { status, stdout, stderr } = run(args);
    expect(stderr).toMatch(reason);
    expect(stderr).toMatch(/^heapwright: [^\n]+\n$/u);
    expect([status, stdout]).toEqual([code, '']);
  });

  it('leaves nothing half written', () => {
    expect(readdirSync(folder).filter((name) => name !== 'run')).toEqual([]);
  });

  it('says why a file cannot be written', () => {
    const target = path.join(folder, 'taken.json');
    mkdirSync(target);
    const { status, stderr } = run(['replay', 'cc1', '--kind', 'tlsf', '--json', target]);
    expect([status, stderr]).toEqual([1, `heapwright: cannot write ${target}: it is a folder\n`]);
    rmSync(target, { recursive: true });
  });

  it('ends quietly when its reader goes away', () => {
    const script = `"${process.execPath}" "${MAIN}" snapshot python-json --blocks --json | head -c 100 > /dev/null; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
    expect([stdout, stderr]).toEqual(['0\n', '']);
  });

  it('ends at once on Ctrl-C, in the middle of a replay, and leaves no file', async () => {
    const child = spawn(
      process.execPath,
      [MAIN, 'replay', 'python-json', '--kind', 'buddy', '--repeat', '50', '--json', 'late.json'],
      { cwd: folder },
    );
    await wait(1200);
    const ended = new Promise((resolve) =>
      child.on('exit', (code, signal) => resolve(signal ?? code)),
    );
    child.kill('SIGINT');
    expect(await ended).toBe('SIGINT');
    expect(existsSync(path.join(folder, 'late.json'))).toBe(false);
  });

  it('writes no color where none is wanted', () => {
    for (const env of [{ NO_COLOR: '1' }, {}]) {
      expect(run(['trace', 'info', 'cc1'], env).stdout).not.toContain('\u001B');
    }
  });
});

describe('sizes', () => {
  it.each([
    ['64MiB', 64 * 2 ** 20],
    ['64m', 64 * 2 ** 20],
    ['64 MiB', 64 * 2 ** 20],
    ['1e6', 1e6],
    ['1.5k', 1536],
    ['2GB', 2e9],
    ['4096', 4096],
    ['1TiB', 2 ** 40],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text, '--size')).toBe(bytes));

  it.each([
    '64 potatoes',
    '',
    'MiB',
    '-1',
    '0x10',
    '1.2345k',
    '1e99',
    '٣',
    '64MiBB',
    'NaN',
    'Infinity',
  ])('%j is refused by name', (text) =>
    expect(() => parseSize(text, '--size')).toThrow(`'${text}'`),
  );
});

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
    const readme = readFileSync(path.join(ROOT, 'traces/README.md'), 'utf8');
    for (const { events } of summaries)
      expect(readme).toContain(` ${events.toLocaleString('en-US')} `);
  });

  it.each(['words.mtrace.log', 'words.ltrace.log', 'bash.ltrace.log'])('converts %s', (name) => {
    const log = path.join(ROOT, '__test__/fixtures/logs', name);
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

describe('heapwright simulate', () => {
  it('says what an allocator does in words', () => {
    const { stdout, status } = run(['simulate', scenario('fragmentation.sim')]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/13\. two = pages 2 {2}refused: .*\(ERR_NO_MEMORY\)/u);
    expect(stdout).toMatch(
      /15\. two = pages 2 {2}two = 0x100000, 2 pages\n {3}· taken whole: a run of 2 pages/u,
    );
    expect(stdout).toContain('│██·█·█·█│');
  });

  it('finds the scripts of the package by their bare names', () => {
    for (const file of readdirSync(path.join(ROOT, 'examples/scenarios'))) {
      const name = path.basename(file, '.sim');
      const { stdout, status } = run(['simulate', name]);
      expect(status).toBe(0);
      expect(stdout).toContain(`${name}: `);
      expect(run(['simulate', '--help']).stdout).toContain(name);
    }
    expect(run(['simulate', 'no-such-script']).status).toBe(1);
  });

  it('drives another kind than the script says', () => {
    const { stdout } = run(['simulate', scenario('rounding.sim'), '--kind', 'tlsf']);
    expect(stdout).toContain('tlsf over 64.0 KiB');
  });

  it('shows when a Heap calls Rust and when its magazines serve', () => {
    writeFileSync(
      path.join(folder, 'heap.sim'),
      'kind heap\nrange 0x100000 1MiB\na = alloc 64\nb = alloc 64\nfree a\nfree a\n',
    );
    const { stdout, status } = run(['simulate', 'heap.sim']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/1\. a = alloc 64[^\n]*\n(?: {3}·[^\n]*\n)* {3}· 1 call into Rust/u);
    expect(stdout).toMatch(
      /2\. b = alloc 64[^\n]*\n {3}· the magazine of this thread served it: no call into Rust/u,
    );
    expect(stdout).toMatch(/4\. free a {2}refused: .*\(ERR_NOT_ALLOCATED\)/u);
  });

  it('takes the same script as JSON, and gives the outcomes as JSON', () => {
    const script = {
      kind: 'buddy',
      range: { start: '0x100000', size: '64KiB' },
      steps: [
        { op: 'alloc', name: 'a', size: 100 },
        { op: 'alloc', name: 'b', size: '1KiB', align: 4096 },
        { op: 'note', text: 'now free' },
        { op: 'free', name: 'a' },
        { op: 'free', name: 'a' },
      ],
    };
    writeFileSync(path.join(folder, 'script.json'), JSON.stringify(script));
    const { outcomes } = json<{
      outcomes: { result: string; refused: boolean; words: string[] }[];
    }>(['simulate', 'script.json']);
    expect(outcomes.map(({ refused }) => refused)).toEqual([false, false, false, false, true]);
    expect(outcomes[0]?.words).toEqual(['granted 128 B for 100 B asked for, a buddy of order 7']);
    expect(outcomes[4]?.result).toContain('ERR_NOT_ALLOCATED');
  });

  it.each<[string, RegExp]>([
    ['', /says no kind/u],
    ['kind tlsf', /has no steps/u],
    ['kind malloc', /line 1: unknown kind 'malloc'/u],
    ['kind tlsf\nalloc 64', /line 2: 'alloc' needs a name/u],
    ['kind tlsf\na = alloc lots', /line 2: the amount must be a size/u],
    ['kind tlsf\na = alloc 64 sideways', /line 2: 'sideways' is not understood/u],
    ['kind tlsf\nfree b', /line 2: nothing before is called 'b'/u],
    ['kind tlsf\n1 = alloc 64', /line 2: '1' is no name/u],
    ['kind tlsf\nfly', /line 2: unknown step 'fly'/u],
    ['kind tlsf\na = free a', /line 2: 'free' gives nothing/u],
    [`kind tlsf\n${'a = alloc 1\n'.repeat(10_001)}`, /line 10002: more than 10000 steps/u],
    ['{"kind": "tlsf"', /is no JSON/u],
    ['{"kind": "tlsf", "steps": [1]}', /step 1: is no object/u],
    ['{"kind": "tlsf", "step": []}', /unknown key 'step'/u],
  ])('refuses the script %j', (text, reason) => {
    expect(() => parseScenario(text, 'script')).toThrow(reason);
  });

  it('answers every mutation of a script with a scenario or a usage error', () => {
    const texts = readdirSync(scenario('')).map((name) => readFileSync(scenario(name), 'utf8'));
    let state = SEED;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return (state >>> 8) % limit;
    };
    for (let round = 0; round < (TORTURE ? 10_000 : 2000); round++) {
      const bytes = Buffer.from(texts[round % texts.length] as string);
      for (let i = below(5); i >= 0; i--) bytes[below(bytes.length)] = below(256);
      let code = 2;
      try {
        parseScenario(bytes.toString('utf8'), 'script');
      } catch (error) {
        code = (error as { exitCode: number }).exitCode;
      }
      expect(code).toBe(2);
    }
  });
});

describe('heapwright completion', () => {
  it('completes commands, options and kinds in a real bash', () => {
    expect(complete('re')).toEqual(['replay', 'report']);
    expect(complete('replay', '--kind', 't')).toEqual(['tlsf', 'two-level']);
    expect(complete('trace', 'con')).toContain('convert');
    expect(complete('replay', '--ver')).toEqual(['--verify']);
  });

  it('prints a script for zsh that names every command', () => {
    const { stdout } = run(['completion', 'zsh']);
    for (const { name } of COMMANDS) expect(stdout).toContain(`    ${name}) _arguments`);
  });
});

describe('docs/trace.md', () => {
  it('has samples that run', () => {
    const text = readFileSync(path.join(ROOT, 'docs/trace.md'), 'utf8');
    const samples = [...text.matchAll(/```ts\n([\s\S]*?)```/gu)].map(([, code = '']) => code);
    expect(samples.length).toBeGreaterThan(1);
    // In the package's own folder, so that they import 'heapwright' as they say; /tmp/ is ignored there.
    const inside = path.join(ROOT, 'tmp');
    mkdirSync(inside, { recursive: true });
    const file = path.join(inside, `docs-sample-${process.pid}.mjs`);
    try {
      for (const code of samples) {
        writeFileSync(file, code.replaceAll("'traces/", `'${ROOT}traces/`));
        const { status, stderr } = spawnSync(process.execPath, [file], {
          cwd: folder,
          encoding: 'utf8',
        });
        expect([status, stderr]).toEqual([0, '']);
      }
      expect(readTrace(readFileSync(path.join(folder, 'app.hwt.gz'))).events).toBe(2);
    } finally {
      rmSync(file, { force: true });
    }
  });
});

// ---------------------------------------------------------------- top

const RUN = path.join(folder, 'run');
const SOCKETS = path.join(RUN, 'heapwright');

/** A process that publishes a heap and lives until its input ends. */
const PUBLISHER = `
import { publish } from ${JSON.stringify(path.join(ROOT, 'dist/src/inspect/publish.js'))};
const heap = {
  closed: false,
  stats: () => ({ name: 'cache\u001b[31m', size: 1048576, committed: 65536, used: 4096, peakUsed: 8192, blocks: 64,
    cached: 512, largestFree: 900000, threads: 1, shared: false, allocs: 100, frees: 36, crossings: 2, failures: 0,
    classes: [{ size: 64, blocks: 60, slabs: 1, cached: 256 }, { size: 128, blocks: 4, slabs: 1, cached: 256 }] }),
};
const end = publish(heap);
process.stdin.on('data', () => end());
process.stdin.on('end', () => {});
process.stdout.write('up\\n');
`;

async function withPublisher(
  use: (pid: number, child: ReturnType<typeof spawn>) => Promise<void> | void,
): Promise<void> {
  const file = path.join(folder, 'publisher.mjs');
  writeFileSync(file, PUBLISHER);
  const child = spawn(process.execPath, [file], { env: { ...process.env, XDG_RUNTIME_DIR: RUN } });
  try {
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const socket = path.join(SOCKETS, `${child.pid}.sock`);
    for (let tries = 0; tries < 100 && !existsSync(socket); tries++) await wait(50);
    await use(child.pid as number, child);
  } finally {
    child.kill();
    await new Promise((resolve) =>
      (child.exitCode ?? child.signalCode) === null ? child.once('exit', resolve) : resolve(0),
    );
  }
}

describe('heapwright top', () => {
  it('looks at a process that publishes a heap, as text and as JSON', async () => {
    await withPublisher((pid) => {
      const { stdout, status } = run(['top', '--once']);
      expect(status).toBe(0);
      expect(stdout).toContain(`process ${pid} (`);
      // A name from another process brings no escape sequence into this terminal.
      expect(stdout).toContain('cache?[31m [');
      expect(stdout).not.toContain('\u001B');
      expect(stdout).toMatch(/64 B +60 +1 +3\.75 KiB +256\n +128 B +4 +1/u);
      expect(run(['top', '--once', '--sort', 'size']).stdout).toMatch(/128 B +4 +1.*\n +64 B +60/u);
      const [first] = json<{ pid: number; heaps: { blocks: number }[] }[]>(['top', String(pid)]);
      expect([first?.pid, first?.heaps[0]?.blocks]).toEqual([pid, 64]);
      expect(run(['top', '1']).stderr).toMatch(/process 1 publishes no heaps/u);
    });
  });

  it.each([
    ['by HEAPWRIGHT_PUBLISH=1', '1', ''],
    ['by heap.publish()', '0', 'heap.publish();'],
  ])('shows a real heap that is published %s', async (_, value, call) => {
    const file = path.join(folder, `service-${value}.mjs`);
    writeFileSync(
      file,
      `import { Heap, MiB } from ${JSON.stringify(path.join(ROOT, 'dist/index.js'))};
const heap = new Heap({ size: MiB(16), name: 'sessions' });
const blocks = heap.allocMany(100, 1000);
${call}
process.stdout.write('up');
process.stdin.on('data', () => { heap.close(); process.stdout.write('closed'); });`,
    );
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, XDG_RUNTIME_DIR: RUN, HEAPWRIGHT_PUBLISH: value },
    });
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      const [shown] = json<
        { heaps: { name: string; blocks: number; classes: { blocks: number }[] }[] }[]
      >(['top', String(child.pid)]);
      expect(shown?.heaps.map(({ name, blocks }) => [name, blocks])).toEqual([['sessions', 1000]]);
      expect(run(['top', String(child.pid), '--once']).stdout).toMatch(
        /sessions \[.*\n.*in 1,000 blocks/u,
      );
      child.stdin.write('close');
      await new Promise((resolve) => child.stdout.once('data', resolve));
      const [after] = json<{ heaps: unknown[] }[]>(['top', String(child.pid)]);
      expect(after?.heaps).toEqual([]);
    } finally {
      child.kill();
      await new Promise((resolve) => child.once('exit', resolve));
    }
  });

  it('keeps the socket to its user', async () => {
    await withPublisher((pid) => {
      expect(statSync(SOCKETS).mode & 0o777).toBe(0o700);
      expect(statSync(path.join(SOCKETS, `${pid}.sock`)).mode & 0o777).toBe(0o600);
    });
  });

  it('ends a connection that sends no lines, and answers the next', async () => {
    await withPublisher(async (pid) => {
      const connection = connect(path.join(SOCKETS, `${pid}.sock`));
      connection.write('x'.repeat(1000));
      await new Promise((resolve) => connection.once('close', resolve));
      expect(run(['top', String(pid), '--once']).status).toBe(0);
    });
  });

  it('is told when a heap is not published any more', async () => {
    await withPublisher(async (pid, child) => {
      child.stdin?.write('end');
      for (let tries = 0; tries < 100 && existsSync(path.join(SOCKETS, `${pid}.sock`)); tries++)
        await wait(50);
      expect(run(['top', String(pid)]).status).toBe(1);
    });
  });

  it('takes away the socket of a process that died', async () => {
    let dead = 0;
    await withPublisher((pid, child) => {
      dead = pid;
      child.kill('SIGKILL');
    });
    expect(existsSync(path.join(SOCKETS, `${dead}.sock`))).toBe(true);
    expect(run(['top', '--once']).status).toBe(1);
    expect(existsSync(path.join(SOCKETS, `${dead}.sock`))).toBe(false);
  });

  it('warns and goes on where the socket or its folder is not to be had', () => {
    const script = path.join(folder, 'busy.mjs');
    writeFileSync(
      script,
      `import { createServer } from 'node:net';
import { publish } from ${JSON.stringify(path.join(ROOT, 'dist/src/inspect/publish.js'))};
const heap = { closed: false, stats: () => ({}) };
const busy = createServer();
busy.listen(process.argv[2].replace('PID', process.pid), () => publish(heap));
process.on('warning', ({ message }) => { console.log(message); busy.close(); });`,
    );
    const publishOver = (socket: string, runtime: string): string =>
      spawnSync(process.execPath, ['--no-warnings', script, socket], {
        encoding: 'utf8',
        timeout: 10_000,
        env: { ...process.env, XDG_RUNTIME_DIR: runtime },
      }).stdout;
    expect(publishOver(path.join(SOCKETS, 'PID.sock'), RUN)).toMatch(
      /^heaps are not published: .*is in use by another process\n$/u,
    );
    const taken = path.join(folder, 'taken');
    mkdirSync(taken);
    writeFileSync(path.join(taken, 'heapwright'), '');
    expect(publishOver(path.join(folder, 'other-PID.sock'), taken)).toMatch(/is no folder/u);
    expect(publishOver(path.join(folder, 'other-PID.sock'), path.join(folder, 'nowhere'))).toMatch(
      /ENOENT/u,
    );
  });

  it('never keeps a process alive', () => {
    const script = path.join(folder, 'brief.mjs');
    writeFileSync(
      script,
      `import { publish } from ${JSON.stringify(path.join(ROOT, 'dist/src/inspect/publish.js'))}; publish({ closed: false, stats: () => ({}) });`,
    );
    const { status, stderr } = spawnSync(process.execPath, [script], {
      timeout: 10_000,
      encoding: 'utf8',
      env: { ...process.env, XDG_RUNTIME_DIR: RUN },
    });
    expect([status, stderr]).toEqual([0, '']);
    expect(readdirSync(SOCKETS)).toEqual([]);
  });
});

// ---------------------------------------------------------------- in a terminal

/** A terminal: a tmux server of its own, one window. */
class Terminal {
  readonly #socket: string;

  constructor(command: string, columns = 100, rows = 30) {
    this.#socket = path.join(folder, `tmux-${Math.trunc(performance.now())}`);
    this.#tmux([
      '-f',
      '/dev/null',
      'new-session',
      '-d',
      '-x',
      String(columns),
      '-y',
      String(rows),
      `cd ${folder}; ${command}; echo "ended with $?"; exec sleep 60`,
    ]);
  }

  keys(...keys: string[]): void {
    this.#tmux(['send-keys', ...keys]);
  }

  screen(): string {
    return this.#tmux(['capture-pane', '-p']);
  }

  async until(seen: RegExp): Promise<string> {
    for (let tries = 0; tries < 300; tries++) {
      const screen = this.screen();
      if (seen.test(screen)) return screen;
      await wait(100);
    }
    throw new Error(`${String(seen)} did not come; the screen is\n${this.screen()}`);
  }

  end(): void {
    this.#tmux(['kill-server']);
  }

  #tmux(args: readonly string[]): string {
    return execFileSync('tmux', ['-S', this.#socket, ...args], {
      encoding: 'utf8',
      env: { ...process.env, TERM: 'xterm-256color', XDG_RUNTIME_DIR: path.join(folder, 'run') },
    });
  }
}

describe('in a terminal', () => {
  beforeAll(() => {
    if (spawnSync('tmux', ['-V']).status !== 0)
      throw new Error('tmux is not there: apt-get install tmux (Debian)');
  });

  it('simulate --step goes forward, back, to the end, and gives the terminal back', async () => {
    const terminal = new Terminal(
      `${process.execPath} ${MAIN} simulate ${path.join(ROOT, 'examples/scenarios/fragmentation.sim')} --step`,
    );
    try {
      await terminal.until(/step 0 of 15/u);
      terminal.keys('n');
      const first = await terminal.until(/step 1 of 15/u);
      expect(first).toContain('▶ p0 = pages 1');
      expect(first).toContain('1. p0 = pages 1  p0 = 0x100000, 1 page');
      expect(first).toContain('│█·······│');
      terminal.keys('Right', 'n');
      await terminal.until(/step 3 of 15/u);
      terminal.keys('b');
      await terminal.until(/step 2 of 15/u);
      terminal.keys('b');
      // Going back shows the very screen that was there before.
      expect(await terminal.until(/step 1 of 15/u)).toBe(first);
      terminal.keys('r');
      expect(await terminal.until(/step 15 of 15/u)).toContain('│██·█·█·█│');
      terminal.keys('n');
      terminal.keys('g');
      await terminal.until(/step 0 of 15/u);
      terminal.keys('q');
      expect(await terminal.until(/ended with 0/u)).not.toContain('step 0');
    } finally {
      terminal.end();
    }
  });

  it('ends on Ctrl-C with the terminal as it was', async () => {
    const terminal = new Terminal(
      `${process.execPath} ${MAIN} simulate ${path.join(ROOT, 'examples/scenarios/fragmentation.sim')} --step`,
    );
    try {
      await terminal.until(/step 0 of 15/u);
      terminal.keys('C-c');
      expect(await terminal.until(/ended with 130/u)).not.toContain('step 0');
    } finally {
      terminal.end();
    }
  });

  it('top shows live heaps, sorts them, and ends on q', async () => {
    await withPublisher(async (pid) => {
      const terminal = new Terminal(`${process.execPath} ${MAIN} top ${pid} --interval 0.2`);
      try {
        expect(await terminal.until(/s sorts by size/u)).toContain(`process ${pid}`);
        terminal.keys('s');
        await terminal.until(/s sorts by slabs[\s\S]*128 B +4[\s\S]*64 B +60/u);
        terminal.keys('Down', 'Down');
        await terminal.until(/\n {4}used/u);
        terminal.keys('q');
        await terminal.until(/ended with 0/u);
      } finally {
        terminal.end();
      }
    });
  });

  it('shows progress while it replays', async () => {
    const terminal = new Terminal(
      `${process.execPath} ${MAIN} replay python-json --kind buddy --repeat 1 --limit-seconds 3`,
      150,
    );
    try {
      await terminal.until(/python-json on buddy [█░]{24} +\d+ %, \d+ s/u);
      const end = await terminal.until(/ended with 0/u);
      expect(end).toContain('What to conclude');
      expect(end).not.toContain('░');
    } finally {
      terminal.end();
    }
  });
});
