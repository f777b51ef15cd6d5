/**
 * @file A cache of a million records that four worker threads share, with no GC pause.
 *
 * Every record is one block of 48 bytes; a table of block addresses, itself a block, finds them by id.
 * Workers fill the cache together, each reads all of it, and then each evicts what *another* one put
 * in: a free works on any thread. The JavaScript heap stays as small as that of an empty program.
 *
 *     node dist/examples/shared-cache.js [records]
 */
import { performance, PerformanceObserver } from 'node:perf_hooks';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { GiB, Heap } from 'heapwright';
import type { HeapHandle } from 'heapwright';

const WORKERS = 4;

/** What a worker is told: a heap, a table in it, a gate to wait at, and which share is its own. */
interface Job {
  readonly handle: HeapHandle;
  readonly table: number;
  readonly records: number;
  readonly gate: SharedArrayBuffer;
  readonly share: number;
}

/** Waits until all workers are here. */
function meet(gate: Int32Array, turn: number): void {
  if (Atomics.add(gate, turn, 1) + 1 === WORKERS) Atomics.notify(gate, turn);
  for (;;) {
    const here = Atomics.load(gate, turn);
    if (here === WORKERS) return;
    Atomics.wait(gate, turn, here);
  }
}

/** The life of one worker. */
function work({ handle, table, records, gate, share }: Job): void {
  const heap = Heap.attach(handle);
  const slots = heap.i32; // The table holds block addresses divided by 16.
  const first = table / 4;
  const meeting = new Int32Array(gate);
  const pool = heap.pool(48);

  for (let id = share; id < records; id += WORKERS) {
    const p = pool.alloc();
    heap.u32[p / 4] = id;
    heap.f64[p / 8 + 1] = id * 0.5;
    heap.f64[p / 8 + 2] = id * 2;
    heap.buffer(p + 24, 16).write(`record ${id}`, 'latin1');
    Atomics.store(slots, first + id, p / 16);
  }
  meet(meeting, 0);

  let sum = 0;
  for (let id = 0; id < records; id += 1) {
    const p = Atomics.load(slots, first + id) * 16;
    sum += heap.f64[p / 8 + 1] as number;
  }
  meet(meeting, 1);

  const other = (share + 1) % WORKERS;
  for (let id = other; id < records; id += WORKERS) {
    heap.free(Atomics.exchange(slots, first + id, 0) * 16);
  }
  heap.close();
  parentPort?.postMessage(sum);
}

/** Starts the workers and reports. */
function main(records: number): void {
  let pauseMsMax = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) pauseMsMax = Math.max(pauseMsMax, entry.duration);
  });
  observer.observe({ entryTypes: ['gc'] });

  const heap = new Heap({ size: GiB(1), name: 'cache' });
  const table = heap.allocZeroed(records * 4);
  const gate = new SharedArrayBuffer(8);
  const started = performance.now();
  let done = 0;
  for (let share = 0; share < WORKERS; share += 1) {
    const job: Job = { handle: heap.handle, table, records, gate, share };
    const worker = new Worker(new URL(import.meta.url), { workerData: job });
    worker.on('message', (sum: number) => {
      if (sum !== (records * (records - 1)) / 4) throw new Error(`wrong sum: ${sum}`);
    });
    worker.on('exit', () => {
      done += 1;
      if (done < WORKERS) return;
      const seconds = (performance.now() - started) / 1000;
      heap.free(table);
      const { blocks } = heap.stats();
      const jsHeapMiB = process.memoryUsage().heapUsed / 2 ** 20;
      heap.close();
      observer.disconnect();
      console.log(
        `${records} records written, read by ${WORKERS} threads and evicted in ${seconds.toFixed(2)} s`,
      );
      console.log(`blocks left: ${blocks}; JavaScript heap: ${jsHeapMiB.toFixed(1)} MiB`);
      console.log(`longest GC pause of this thread: ${pauseMsMax.toFixed(1)} ms`);
    });
  }
}

if (isMainThread) main(Number(process.argv[2] ?? 1_000_000));
else work(workerData as Job);
