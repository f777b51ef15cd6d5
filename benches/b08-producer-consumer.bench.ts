/**
 * @file B8: xmalloc-test. N producers fill batches of 4096 blocks of 64 bytes and write them whole; N consumers free them
 * all. A queue of at most 100 batches stands between.
 *
 * The worst case of an allocator that frees into the freeing thread's cache: every block is freed by a thread that never
 * allocates. It shows the remote free and nothing else; real programs free most blocks where they were made.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { type Arguments, emit, main, now } from './support/bench.ts';
import { heapClass, moduleUrl, type OurHeap } from './support/ours.ts';
import {
  controlWords,
  go,
  lock,
  OWN,
  sleep,
  startWorkers,
  STOP,
  unlock,
  waitForGo,
} from './support/threads.ts';

const BATCH = 4096;
const QUEUE = 100;
const SIZE = 64;

/** The queue: a lock, a version that changes with every change, counts, and the indices of full and empty batches. */
const LOCK = OWN;
const VERSION = OWN + 1;
const FULL_HEAD = OWN + 2;
const FULL_COUNT = OWN + 3;
const EMPTY_COUNT = OWN + 4;
const FREED = OWN + 5;
const FULL = OWN + 8;
const RING = 128;
const EMPTY: number = FULL + RING;

interface Share {
  readonly producer: boolean;
  readonly control: Int32Array;
  readonly batches: Uint32Array;
  readonly handle: unknown;
}

/** What one thread does with batches, with heap and view as constants of the closures. */
interface Work {
  readonly fillBatch: (batch: Uint32Array) => void;
  readonly freeBatch: (batch: Uint32Array) => void;
}

function makeWork(heap: OurHeap, words: Float64Array): Work {
  const size = SIZE;
  return {
    fillBatch(batch) {
      for (let i = 0; i < BATCH; i++) {
        const p = heap.alloc(size);
        const first = p >>> 3;
        // The widest store that JavaScript has, four a turn; the C compilers take wider ones.
        for (let k = 0; k < size / 8; k += 4) {
          const at = first + k;
          words[at] = i;
          words[at + 1] = i;
          words[at + 2] = i;
          words[at + 3] = i;
        }
        batch[i] = p;
      }
    },
    freeBatch(batch) {
      for (let i = 0; i < BATCH; i++) heap.free(batch[i] as number);
    },
  };
}

/** Waits for a change of the queue; the lock is held before and after. */
function waitForChange(control: Int32Array): void {
  const version = Atomics.load(control, VERSION);
  unlock(control, LOCK);
  Atomics.wait(control, VERSION, version, 100);
  lock(control, LOCK);
}

/** Ends a change: everyone looks again. */
function changed(control: Int32Array): void {
  unlock(control, LOCK);
  Atomics.add(control, VERSION, 1);
  Atomics.notify(control, VERSION);
}

const word = (control: Int32Array, index: number): number => control[index] as number;

/** A batch to fill, or -1 at the end. */
function takeEmpty(control: Int32Array): number {
  lock(control, LOCK);
  while (word(control, FULL_COUNT) >= QUEUE || word(control, EMPTY_COUNT) === 0) {
    if (Atomics.load(control, STOP) !== 0) break;
    waitForChange(control);
  }
  let index = -1;
  if (Atomics.load(control, STOP) === 0) {
    control[EMPTY_COUNT] = word(control, EMPTY_COUNT) - 1;
    index = word(control, EMPTY + word(control, EMPTY_COUNT));
  }
  unlock(control, LOCK);
  return index;
}

function putFull(control: Int32Array, index: number): void {
  lock(control, LOCK);
  control[FULL + ((word(control, FULL_HEAD) + word(control, FULL_COUNT)) & (RING - 1))] = index;
  control[FULL_COUNT] = word(control, FULL_COUNT) + 1;
  changed(control);
}

/** A batch to free, or -1 at the end. */
function takeFull(control: Int32Array): number {
  lock(control, LOCK);
  while (word(control, FULL_COUNT) === 0) {
    if (Atomics.load(control, STOP) !== 0) break;
    waitForChange(control);
  }
  let index = -1;
  if (word(control, FULL_COUNT) > 0) {
    const head = word(control, FULL_HEAD);
    index = word(control, FULL + head);
    control[FULL_HEAD] = (head + 1) & (RING - 1);
    control[FULL_COUNT] = word(control, FULL_COUNT) - 1;
  }
  unlock(control, LOCK);
  return index;
}

function putEmpty(control: Int32Array, index: number): void {
  lock(control, LOCK);
  control[EMPTY + word(control, EMPTY_COUNT)] = index;
  control[EMPTY_COUNT] = word(control, EMPTY_COUNT) + 1;
  control[FREED] = word(control, FREED) + 1;
  changed(control);
}

async function thread({ producer, control, batches, handle }: Share): Promise<void> {
  const heap = (await heapClass()).attach(handle);
  const { fillBatch, freeBatch } = makeWork(heap, heap.f64);
  const batchAt = (index: number): Uint32Array =>
    batches.subarray(index * BATCH, (index + 1) * BATCH);
  parentPort?.postMessage('ready');
  waitForGo(control);
  for (;;) {
    const index = producer ? takeEmpty(control) : takeFull(control);
    if (index < 0) break;
    if (producer) {
      fillBatch(batchAt(index));
      putFull(control, index);
    } else {
      freeBatch(batchAt(index));
      putEmpty(control, index);
    }
  }
}

async function run(args: Arguments): Promise<void> {
  const threads = args.number('threads', 1);
  const Heap = await heapClass();
  const heap = new Heap({ size: 2 ** 28 });
  const count = QUEUE + 2 * threads;
  const control = controlWords(EMPTY - OWN + count);
  const batches = new Uint32Array(new SharedArrayBuffer(count * BATCH * 4));
  for (let i = 0; i < count; i++) control[EMPTY + i] = i;
  control[EMPTY_COUNT] = count;
  const shares = Array.from({ length: 2 * threads }, (_, index) => ({
    producer: index % 2 === 0,
    control,
    batches,
    handle: heap.handle,
  }));
  await startWorkers(moduleUrl('./b08-producer-consumer.bench', import.meta.url), shares);
  go(control);
  sleep(300); // The warm-up: four isolates compile.
  const before = Atomics.load(control, FREED);
  const start = now();
  sleep(args.number('millis', 5000));
  const freed = (Atomics.load(control, FREED) - before) * BATCH;
  const nanos = now() - start;
  Atomics.store(control, STOP, 1);
  emit({ case: `N=${threads}`, unit: 'ns', samples: [nanos / freed] });
  sleep(200);
}

if (isMainThread) await main({ heap: run });
else await thread(workerData as Share);
