/**
 * @file B9: the pattern of sh6bench, written anew. Sizes from 1 to about 1000 grow by half and are halved down to 1; when a
 * thread's buffer of 10,000 pointers is full, its bottom half is freed in order and its top half in reverse. First and last
 * byte of every block are written. 10,000 calls are split over T threads.
 *
 * Many sizes at once and long runs of one size: it shows how well classes and magazines share memory. Blocks are freed by
 * the thread that made them.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { type Arguments, emit, main, now } from './support/bench.ts';
import { heapClass, moduleUrl, type OurHeap } from './support/ours.ts';
import { sh6Call } from './support/sequence.ts';
import {
  controlWords,
  go,
  sayDone,
  startWorkers,
  waitForDone,
  waitForGo,
} from './support/threads.ts';

const BUFFER = 10_000;

interface Share {
  readonly control: Int32Array;
  readonly calls: number;
  readonly handle: unknown;
}

/** The loop of one thread, with heap, view and buffer as constants of its closure. */
function makeWork(
  heap: OurHeap,
  bytes: Uint8Array,
  buffer: Uint32Array,
): (sizes: Int32Array, counts: Int32Array, calls: number) => void {
  const full = BUFFER;

  function release(filled: number): void {
    const half = filled >>> 1;
    for (let i = 0; i < half; i++) heap.free(buffer[i] as number);
    for (let i = filled - 1; i >= half; i--) heap.free(buffer[i] as number);
  }

  return (sizes, counts, calls) => {
    let filled = 0;
    for (let call = 0; call < calls; call++) {
      for (let step = 0; step < sizes.length; step++) {
        const size = sizes[step] as number;
        const blocks = counts[step] as number;
        for (let k = 0; k < blocks; k++) {
          const p = heap.alloc(size);
          bytes[p] = size;
          bytes[p + size - 1] = filled;
          buffer[filled] = p;
          filled++;
          if (filled === full) {
            release(filled);
            filled = 0;
          }
        }
      }
    }
    release(filled);
  };
}

async function thread({ control, calls, handle }: Share): Promise<void> {
  const heap = (await heapClass()).attach(handle);
  const steps = sh6Call();
  const sizes = Int32Array.from(steps, ({ size }) => size);
  const counts = Int32Array.from(steps, ({ blocks }) => blocks);
  const work = makeWork(heap, heap.u8, new Uint32Array(BUFFER));
  work(sizes, counts, 40);
  parentPort?.postMessage('ready');
  waitForGo(control);
  work(sizes, counts, calls);
  sayDone(control);
}

async function run(args: Arguments): Promise<void> {
  const threads = args.number('threads', 1);
  const calls = Math.floor(args.number('calls', 10_000) / threads);
  const Heap = await heapClass();
  const heap = new Heap({ size: 2 ** 28 });
  const control = controlWords(0);
  const shares = Array.from({ length: threads }, () => ({ control, calls, handle: heap.handle }));
  await startWorkers(moduleUrl('./b09-sizes-up-and-down.bench', import.meta.url), shares);
  const start = now();
  go(control);
  waitForDone(control, threads);
  const nanos = now() - start;
  const perCall = sh6Call().reduce((sum, { blocks }) => sum + blocks, 0);
  emit({ case: `T=${threads}`, unit: 'ns', samples: [nanos / (perCall * calls * threads)] });
}

if (isMainThread) await main({ heap: run });
else await thread(workerData as Share);
