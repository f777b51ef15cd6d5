/**
 * @file What the loops over several threads share: a control word array, a start line, a futex lock.
 *
 * Everything is synchronous once the workers are ready: a worker that runs a loop has no event loop to wait in.
 */
import { once } from 'node:events';
import { type MessagePort, Worker } from 'node:worker_threads';

/** Words of the control array. */
const GO = 0;
export const STOP = 1;
export const DONE = 2;
/** The first word that a workload may use for itself. */
export const OWN = 8;

/** A control array that workers share. */
export function controlWords(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer((OWN + words) * 4));
}

/**
 * Starts a worker per element of `data` over the module at `url`, and waits until each has said that it is ready.
 *
 * @param url - The module.
 * @param data - What each worker is given.
 * @param ports - Ports in `data`; each worker is given those of its own element.
 */
export async function startWorkers(
  url: URL,
  data: readonly object[],
  ports: readonly MessagePort[] = [],
): Promise<Worker[]> {
  const workers = data.map((workerData) => {
    const values: readonly unknown[] = Object.values(workerData);
    const transferList = ports.filter((port) => values.includes(port));
    const worker = new Worker(url, { workerData, transferList, argv: process.argv.slice(2) });
    worker.on('error', (error) => {
      process.stderr.write(
        `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
      process.exit(1);
    });
    return worker;
  });
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  return workers;
}

/** Lets all workers go. */
export function go(control: Int32Array): void {
  Atomics.store(control, GO, 1);
  Atomics.notify(control, GO);
}

/** In a worker: waits for {@link go}. */
export function waitForGo(control: Int32Array): void {
  while (Atomics.load(control, GO) === 0) Atomics.wait(control, GO, 0);
}

/** Sleeps for `ms` without an event loop. */
export function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Says that a worker is done. */
export function sayDone(control: Int32Array): void {
  Atomics.add(control, DONE, 1);
  Atomics.notify(control, DONE);
}

/** Waits until `count` workers are done. */
export function waitForDone(control: Int32Array, count: number): void {
  for (;;) {
    const done = Atomics.load(control, DONE);
    if (done >= count) return;
    Atomics.wait(control, DONE, done);
  }
}

/** Takes the futex lock at `index`: 0 free, 1 held, 2 held and waited for. */
export function lock(words: Int32Array, index: number): void {
  if (Atomics.compareExchange(words, index, 0, 1) === 0) return;
  while (Atomics.exchange(words, index, 2) !== 0) Atomics.wait(words, index, 2);
}

/** Gives it back. */
export function unlock(words: Int32Array, index: number): void {
  if (Atomics.exchange(words, index, 0) === 2) Atomics.notify(words, index, 1);
}
