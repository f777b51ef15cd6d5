/**
 * @file `heapwright top` and the processes that it looks at: what they show, and to whom.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { root } from './support/child.ts';
import { RUN, folder, json, run } from './support/cli.ts';
import { SOCKETS, withPublisher } from './support/publisher.ts';

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
      `import { Heap, MiB } from ${JSON.stringify(path.join(root, 'dist/index.js'))};
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
import { publish } from ${JSON.stringify(path.join(root, 'dist/src/inspect/publish.js'))};
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
      `import { publish } from ${JSON.stringify(path.join(root, 'dist/src/inspect/publish.js'))}; publish({ closed: false, stats: () => ({}) });`,
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
