/**
 * @file Full-screen commands in a real terminal.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from './support/child.ts';
import { MAIN } from './support/cli.ts';
import { withPublisher } from './support/publisher.ts';
import { Terminal } from './support/terminal.ts';

describe('in a terminal', () => {
  beforeAll(() => {
    if (spawnSync('tmux', ['-V']).status !== 0)
      throw new Error('tmux is not there: apt-get install tmux (Debian)');
  });

  it('simulate --step goes forward, back, to the end, and gives the terminal back', async () => {
    const terminal = new Terminal(
      `${process.execPath} ${MAIN} simulate ${path.join(root, 'examples/scenarios/fragmentation.sim')} --step`,
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
      `${process.execPath} ${MAIN} simulate ${path.join(root, 'examples/scenarios/fragmentation.sim')} --step`,
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
