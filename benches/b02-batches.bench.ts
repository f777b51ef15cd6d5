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

/** Runs `rounds` batches. */
type Kernel = (rounds: number, batch: number, size: number, reverse: boolean) => number;

/**
 * Every int of a block is written, four a turn, as the C compilers unroll the same loop; all three sizes are multiples of 16.
 * Heap and views are constants of the closure, as in B1; sizes and counts are not.
 */
function batches(heap: Pick<OurHeap, 'alloc' | 'free'>, words: Int32Array): Kernel {
  const blocks = new Uint32Array(1600);
  return (rounds, batch, size, reverse) => {
    let sink = 0;
    const ints = size >>> 2;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < batch; i++) {
        const p = heap.alloc(size);
        const first = p >>> 2;
        for (let k = 0; k < ints; k += 4) {
          const at = first + k;
          const value = round + k;
          words[at] = value;
          words[at + 1] = value + 1;
          words[at + 2] = value + 2;
          words[at + 3] = value + 3;
        }
        sink = (sink + p) | 0;
        blocks[i] = p;
      }
      if (reverse) for (let i = batch - 1; i >= 0; i--) heap.free(blocks[i] as number);
      else for (let i = 0; i < batch; i++) heap.free(blocks[i] as number);
    }
    return sink;
  };
}

function cases(args: Arguments, kernel: Kernel, heap?: OurHeap): void {
  const steps = args.stepsPerCall(2_000_000);
  for (const size of SIZES) {
    for (const batch of BATCHES) {
      for (const reverse of [false, true]) {
        const before = heap?.stats().crossings ?? 0;
        let operations = 0;
        const result = measure(args, Math.ceil(steps / batch) * batch, kernel, (count) => {
          const turns = Math.ceil(count / batch);
          operations += 2 * turns * batch;
          return kernel(turns, batch, size, reverse);
        });
        emit({
          case: `${size} B x ${batch}, ${reverse ? 'reverse' : 'in order'}`,
          unit: 'ns',
          ...result,
          ...(heap === undefined ? {} : crossingFigures(heap, before, operations)),
        });
      }
    }
  }
}

async function ours(args: Arguments): Promise<void> {
  const heap = await openHeap(args, 64 << 20);
  cases(args, batches(heap, heap.i32), heap);
}

/** The same loop over addresses that somebody counts up, who neither frees nor checks. */
function loopAlone(args: Arguments): void {
  let next = 0;
  const counter = {
    alloc(size: number): number {
      next = (next + size) & 0x1ffff;
      return next;
    },
    free(): void {},
  };
  cases(args, batches(counter, new Int32Array(1 << 20)));
}

await main({ heap: ours, 'loop alone': loopAlone });
