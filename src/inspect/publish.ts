/**
 * @file Lets `heapwright top` look at the heaps of this process: a Unix socket that answers questions.
 *
 * Off unless asked for, by `heap.publish()` or `HEAPWRIGHT_PUBLISH=1`. While anything is published there is
 * one socket per thread, `<pid>.sock` (`<pid>-<thread>.sock` in a worker), in
 *
 * - `$XDG_RUNTIME_DIR/heapwright/` where that is set,
 * - else `<temporary folder>/heapwright-<uid>/`,
 *
 * a folder of mode 0700 that must belong to this user, the socket itself 0600. It speaks lines: for every
 * line that comes in, one line of JSON ({@link Published}) goes out. Nothing that comes in is looked at
 * but the line's end, so nobody can ask for anything but statistics; a line over 64 bytes ends the connection.
 *
 * It never keeps a process alive, takes no statistics unless asked, and holds the heaps weakly: what is
 * closed or collected drops out of the list. What goes wrong (a folder that is not ours, a socket in use)
 * is a process warning, not an exception: a service must not fail because nobody can watch it.
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isMainThread, threadId } from 'node:worker_threads';

import { setHeapPublisher } from '../heap.ts';

/** What a heap must have to be watched. */
export interface Watchable {
  readonly closed: boolean;
  stats(): object;
}

/** One line of the answer: a process and its heaps. */
export interface Published {
  readonly schema: 'heapwright/top/1';
  readonly pid: number;
  readonly thread: number;
  readonly title: string;
  readonly rss: number;
  readonly uptimeSeconds: number;
  readonly heaps: readonly object[];
}

/** Longest question in bytes; connections at once. */
const QUESTION_BYTES_MAX = 64;
const CONNECTIONS_MAX = 16;

const watched = new Set<WeakRef<Watchable>>();
let server: Server | undefined;
let socketFile = '';

/** The folder that the sockets of this user are in. */
export function runtimeFolder(): string {
  const { XDG_RUNTIME_DIR: runtime } = process.env;
  if (runtime !== undefined && path.isAbsolute(runtime)) return path.join(runtime, 'heapwright');
  return path.join(tmpdir(), `heapwright-${process.getuid?.() ?? 'user'}`);
}

/**
 * Lets others of this user see `heap.stats()`.
 *
 * @returns Ends it for this heap; with the last heap the socket goes.
 */
export function publish(heap: Watchable): () => void {
  const reference = new WeakRef(heap);
  watched.add(reference);
  open();
  return () => {
    watched.delete(reference);
    if (watched.size === 0) shut();
  };
}

function open(): void {
  if (server !== undefined) return;
  const name = isMainThread ? `${process.pid}.sock` : `${process.pid}-${threadId}.sock`;
  const created = createServer(serve);
  server = created;
  created.unref();
  created.maxConnections = CONNECTIONS_MAX;
  try {
    const folder = ownFolder();
    socketFile = path.join(folder, name);
  } catch (error) {
    fail(created, (error as Error).message);
    return;
  }
  created.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRINUSE') replaceStale(created);
    else fail(created, error.message);
  });
  listen(created);
  process.once('exit', shut);
}

/**
 * Binds the socket with mode 0600 from the start. A worker cannot set the umask of the process: there the
 * mode follows a moment later, and the folder, closed to others, covers that moment.
 */
function listen(created: Server): void {
  const before = isMainThread ? process.umask(0o177) : undefined;
  try {
    created.listen(socketFile, () => chmodSync(socketFile, 0o600));
  } finally {
    if (before !== undefined) process.umask(before);
  }
}

/** Makes the folder, and makes sure that it is ours and closed to others. */
function ownFolder(): string {
  const folder = runtimeFolder();
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const found = lstatSync(folder);
  const { uid, mode } = found;
  if (!found.isDirectory()) throw new Error(`${folder} is no folder`);
  if (process.getuid !== undefined && uid !== process.getuid()) {
    throw new Error(`${folder} belongs to another user`);
  }
  if ((mode & 0o077) !== 0) chmodSync(folder, 0o700);
  return folder;
}

/** A socket of our own pid is left over from a process that died, unless somebody answers. */
function replaceStale(created: Server): void {
  const probe = connect(socketFile);
  probe.unref();
  probe.on('connect', () => {
    probe.destroy();
    fail(created, `${socketFile} is in use by another process`);
  });
  probe.on('error', () => {
    if (server !== created) return;
    rmSync(socketFile, { force: true });
    created.removeAllListeners('error');
    created.on('error', (error) => fail(created, error.message));
    listen(created);
  });
}

function fail(failed: Server, reason: string): void {
  if (server === failed) server = undefined;
  process.emitWarning(`heaps are not published: ${reason}`, 'HeapwrightWarning');
}

function shut(): void {
  const closing = server;
  if (closing === undefined) return;
  server = undefined;
  process.removeListener('exit', shut);
  // Closing a listening socket takes its file away.
  if (closing.listening) closing.close();
}

function serve(connection: Socket): void {
  connection.unref();
  connection.setEncoding('latin1');
  connection.on('error', () => connection.destroy());
  let pending = '';
  connection.on('data', (text: string) => {
    pending += text;
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    if (pending.length > QUESTION_BYTES_MAX || lines.length > QUESTION_BYTES_MAX) {
      connection.destroy();
      return;
    }
    if (lines.length > 0) connection.write(`${JSON.stringify(state())}\n`);
  });
}

function state(): Published {
  const heaps: object[] = [];
  for (const reference of watched) {
    const heap = reference.deref();
    if (heap === undefined || heap.closed) watched.delete(reference);
    else heaps.push(statsOf(heap));
  }
  return {
    schema: 'heapwright/top/1',
    pid: process.pid,
    thread: threadId,
    title: process.title,
    rss: process.memoryUsage.rss(),
    uptimeSeconds: Math.round(process.uptime()),
    heaps,
  };
}

function statsOf(heap: Watchable): object {
  try {
    return heap.stats();
  } catch (error) {
    // Closed by another thread between the question and the answer, or poisoned: say so and go on.
    return { name: 'heap', error: (error as Error).message };
  }
}

// The Heap is below this file and cannot know it: `heap.publish()` finds its way here by this.
setHeapPublisher(publish);
