/**
 * @file A queue between two threads that hands blocks over instead of copying them.
 *
 * The producer allocates a block, writes the message into it and puts its address into a ring; the
 * consumer reads the message where it lies and frees it. Nothing is cloned, and nothing is collected.
 * The same messages go through `postMessage` afterwards, in the same run, for comparison.
 *
 *     node dist/examples/message-queue.js [messages] [bytes]
 */
import { performance } from 'node:perf_hooks';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Heap, MiB } from 'heapwright';
import type { HeapHandle } from 'heapwright';

/** Slots of the ring, a power of two. */
const RING = 1024;
const HEAD = 0;
const TAIL = 1;

/** What the consumer is told. */
interface Job {
  readonly handle: HeapHandle;
  readonly ring: SharedArrayBuffer;
  readonly messages: number;
}

/** Waits while `index` of the ring has the value `seen`. */
function waitWhile(ring: Int32Array, index: number, seen: number): void {
  if (Atomics.load(ring, index) === seen) Atomics.wait(ring, index, seen, 1);
}

/** Takes blocks from the ring, adds their first words up, frees them. */
function consume({ handle, ring: memory, messages }: Job): void {
  const heap = Heap.attach(handle);
  const ring = new Int32Array(memory);
  const { u32 } = heap;
  let sum = 0;
  for (let i = 0; i < messages; i += 1) {
    while (Atomics.load(ring, HEAD) === i) waitWhile(ring, HEAD, i);
    const p = (ring[2 + (i % RING)] as number) * 16;
    sum += u32[p / 4] as number;
    heap.free(p);
    Atomics.store(ring, TAIL, i + 1);
    if (i % 64 === 0) Atomics.notify(ring, TAIL);
  }
  heap.close();
  parentPort?.postMessage(sum);
  // From now on the other way: messages that were cloned.
  let copied = 0;
  let cloned = 0;
  parentPort?.on('message', (bytes: Uint8Array) => {
    copied += new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    cloned += 1;
    if (cloned < messages) return;
    parentPort?.postMessage(copied);
    parentPort?.close();
  });
}

/** Puts `messages` blocks of `size` bytes into the ring. */
function produce(heap: Heap, ring: Int32Array, messages: number, size: number): void {
  const pool = heap.pool(size);
  const { u32, u8 } = heap;
  for (let i = 0; i < messages; i += 1) {
    const p = pool.alloc();
    u8.fill(i & 255, p, p + size);
    u32[p / 4] = i;
    for (;;) {
      const tail = Atomics.load(ring, TAIL);
      if (i - tail < RING) break;
      waitWhile(ring, TAIL, tail);
    }
    ring[2 + (i % RING)] = p / 16;
    Atomics.store(ring, HEAD, i + 1);
    if (i % 64 === 0 || i === messages - 1) Atomics.notify(ring, HEAD);
  }
}

/** One message from the consumer. */
function answer(worker: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function main(messages: number, size: number): Promise<void> {
  const expected = (messages * (messages - 1)) / 2;
  const heap = new Heap({ size: MiB(64), name: 'queue' });
  const memory = new SharedArrayBuffer(4 * (2 + RING));
  const job: Job = { handle: heap.handle, ring: memory, messages };
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  await new Promise((resolve) => worker.once('online', resolve));

  const handed = performance.now();
  const sum = answer(worker);
  produce(heap, new Int32Array(memory), messages, size);
  if ((await sum) !== expected) throw new Error('a message was lost');
  const handedNs = ((performance.now() - handed) * 1e6) / messages;

  const posted = performance.now();
  const copies = answer(worker);
  for (let i = 0; i < messages; i += 1) {
    const bytes = new Uint8Array(size).fill(i & 255);
    new DataView(bytes.buffer).setUint32(0, i, true);
    worker.postMessage(bytes);
  }
  if ((await copies) !== expected) throw new Error('a copy was lost');
  const postedNs = ((performance.now() - posted) * 1e6) / messages;

  console.log(`${messages} messages of ${size} bytes`);
  console.log(`handed over as blocks: ${handedNs.toFixed(0)} ns each`);
  console.log(
    `by postMessage:        ${postedNs.toFixed(0)} ns each (${(postedNs / handedNs).toFixed(1)}x)`,
  );
  console.log(`blocks left: ${heap.stats().blocks}`);
  heap.close();
}

if (isMainThread) void main(Number(process.argv[2] ?? 200_000), Number(process.argv[3] ?? 256));
else consume(workerData as Job);
