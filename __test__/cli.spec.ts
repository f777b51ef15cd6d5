/**
 * @file The command line: what all commands have in common, sizes, completion, the samples of docs/trace.md.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { readTrace } from '../index.ts';
import { parseSize } from '../src/cli/command.ts';
import { COMMANDS } from '../src/cli/commands.ts';
import { root } from './support/child.ts';
import { MAIN, folder, run } from './support/cli.ts';

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
    [['replay', root], 1, /cannot read .*EISDIR/u],
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
    [['report', path.join(root, 'package.json')], 1, /neither replays nor a snapshot/u],
    [['simulate'], 2, /takes one script/u],
    [['simulate', path.join(root, 'package.json')], 2, /unknown key 'name'/u],
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
    const text = readFileSync(path.join(root, 'docs/trace.md'), 'utf8');
    const samples = [...text.matchAll(/```ts\n([\s\S]*?)```/gu)].map(([, code = '']) => code);
    expect(samples.length).toBeGreaterThan(1);
    // In the package's own folder, so that they import 'heapwright' as they say; /tmp/ is ignored there.
    const inside = path.join(root, 'tmp');
    mkdirSync(inside, { recursive: true });
    const file = path.join(inside, `docs-sample-${process.pid}.mjs`);
    try {
      for (const code of samples) {
        writeFileSync(file, code.replaceAll("'traces/", `'${root}traces/`));
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
