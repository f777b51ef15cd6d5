/**
 * @file A worker that attaches to the heap it is handed and keeps it until it is terminated.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Heap } from '../../dist/index.js';

const heap = Heap.attach(workerData.handle);
parentPort.on('message', () => heap.close());
parentPort.postMessage('attached');
