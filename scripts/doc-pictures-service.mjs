/**
 * @file The program that `doc-pictures.mjs` watches with `heapwright top`: a small cache that lives on.
 */
import { Heap, MiB } from 'heapwright';

const heap = new Heap({ size: MiB(64), name: 'session cache' });
const slots = new Float64Array(20_000);
let x = 1;
setInterval(() => {
  for (let i = 0; i < 20_000; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    const slot = (x >>> 8) % slots.length;
    if (slots[slot] !== 0) heap.free(slots[slot]);
    slots[slot] = heap.alloc(16 + ((x >>> 20) % 500));
  }
}, 50);
