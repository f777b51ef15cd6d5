/**
 * @file B2: glibc-simple. Batches of 25 to 1600 blocks of 16, 32 or 64 bytes, every int of them written, freed in order of
 * allocation (as glibc's own benchmark does) and in reverse.
 *
 * It shows whether a cache of free blocks is large enough: a batch that fits the magazine never leaves JavaScript. One size
 * at a time, so nothing about fragmentation.
 */
import { type Arguments, emit, main, measure } from './support/bench.ts';
import { crossingFigures, openHeap, type OurHeap } from './support/ours.ts';

const SIZES = [16, 32, 64];
const BATCHES = [25, 100, 400, 1600];

function batches(
  heap: OurHeap,
  words: Int32Array,
  blocks: Uint32Array,
  batch: number,
  rounds: number,
  size: number,
  reverse: boolean,
): number {
  let sink = 0;
  const ints = size >>> 2;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < batch; i++) {
      const p = heap.alloc(size);
      const first = p >>> 2;
      for (let k = 0; k < ints; k++) words[first + k] = round + k;
      sink = (sink + p) | 0;
      blocks[i] = p;
    }
    if (reverse) for (let i = batch - 1; i >= 0; i--) heap.free(blocks[i] as number);
    else for (let i = 0; i < batch; i++) heap.free(blocks[i] as number);
  }
  return sink;
}

async function ours(args: Arguments): Promise<void> {
  const heap = await openHeap(args, 64 << 20);
  const words = heap.i32;
  const blocks = new Uint32Array(1600);
  const steps = args.stepsPerCall(2_000_000);
  for (const size of SIZES) {
    for (const batch of BATCHES) {
      for (const reverse of [false, true]) {
        const rounds = Math.ceil(steps / batch);
        const before = heap.stats().crossings;
        let operations = 0;
        const result = measure(args, rounds * batch, batches, (count) => {
          const turns = Math.ceil(count / batch);
          operations += 2 * turns * batch;
          return batches(heap, words, blocks, batch, turns, size, reverse);
        });
        const order = reverse ? 'reverse' : 'in order';
        emit({
          case: `${size} B x ${batch}, ${order}`,
          unit: 'ns',
          ...result,
          ...crossingFigures(heap, before, operations),
        });
      }
    }
  }
}

await main({ heap: ours });
