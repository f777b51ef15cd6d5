/**
 * @file A process that shows a heap to `heapwright top`.
 */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { root } from './child.ts';
import { RUN, folder } from './cli.ts';

/** Where processes put their sockets. */
export const SOCKETS: string = path.join(RUN, 'heapwright');

/** A process that publishes a heap and lives until its input ends. */
const PUBLISHER = `
import { publish } from ${JSON.stringify(path.join(root, 'dist/src/inspect/publish.js'))};
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

/** Runs `use` beside such a process. */
export async function withPublisher(
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
