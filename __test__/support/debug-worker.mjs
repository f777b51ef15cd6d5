/**
 * @file A worker that allocates and frees on the debug heap it is handed: for ever, until it is terminated, or
 * some thousand times, and closes it then.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Heap } from '../../dist/index.js';

const { handle, way } = workerData;
const heap = Heap.attach(handle);
const live = [];
parentPort.postMessage('attached');
for (let step = 0; way === 'churn' || step < 3000; step += 1) {
  live.push(heap.alloc(100 + ((step * 37) % 3000)));
  if (live.length > 50) heap.free(live.shift());
}
for (const p of live) heap.free(p);
heap.close();
