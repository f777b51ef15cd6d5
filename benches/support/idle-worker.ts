/** @file A worker that attaches a heap, says so, and sleeps: it makes the heap a shared one. */
import { parentPort, workerData } from 'node:worker_threads';
import { heapClass } from './ours.ts';

const Heap = await heapClass();
const heap = Heap.attach(workerData);
const block = heap.alloc(64);
heap.free(block);
parentPort?.postMessage('attached');
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
