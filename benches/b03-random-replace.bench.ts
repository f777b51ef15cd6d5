/**
 * @file B3: random replacement, the workload that decides. A ring of 2^10, 2^15 or 2^20 live blocks; each step frees the
 * block of a random slot, allocates 16..527 bytes there and writes one of them.
 *
 * Form A takes slot and size from one generator (from 2^15 slots on a slot always gets the same size), form B has a second
 * generator for the size. Uniform sizes, no locality: harder on caches than most programs, and the reason why it shows what
 * metadata costs. It shows nothing about threads. The variant frees four million blocks in shuffled order.
 *
 * The ring holds what each side calls a block: 4 bytes in JavaScript, 8 natively.
 */
import { MemPool } from '@thi.ng/malloc';
import { type Arguments, consume, emit, main, measure, now } from './support/bench.ts';
import { leanMalloc } from './support/addon.ts';
import { crossingFigures, openHeap, type OurHeap } from './support/ours.ts';
import {
  nextX,
  nextY,
  replaceSizeA,
  replaceSizeB,
  replaceSlot,
  SEED_SIZE,
  SEED_SLOT,
  shuffle,
} from './support/sequence.ts';

/** Where the generators stand between passes. */
interface State {
  x: number;
  y: number;
}

interface NumberAllocator {
  alloc(size: number): number;
  free(p: number): void;
}

/** Heap, view and ring are constants of the closure, as in B1; so are the generators. */
function replaceA(
  heap: OurHeap,
  bytes: Uint8Array,
  ring: Uint32Array,
  state: State,
): (steps: number) => number {
  const mask = ring.length - 1;
  // A binding of another module is loaded, and tested for being initialized, at every use.
  const [next, slotOf, sizeOf] = [nextX, replaceSlot, replaceSizeA];
  return (steps) => {
    let sink = 0;
    let { x } = state;
    for (let i = 0; i < steps; i++) {
      x = next(x);
      const slot = slotOf(x, mask);
      heap.free(ring[slot] as number);
      const p = heap.alloc(sizeOf(x));
      bytes[p] = i;
      sink = (sink + p) | 0;
      ring[slot] = p;
    }
    state.x = x;
    return sink;
  };
}

function replaceB(
  heap: OurHeap,
  bytes: Uint8Array,
  ring: Uint32Array,
  state: State,
): (steps: number) => number {
  const mask = ring.length - 1;
  const [next, nextSize, slotOf, sizeOf] = [nextX, nextY, replaceSlot, replaceSizeB];
  return (steps) => {
    let sink = 0;
    let { x, y } = state;
    for (let i = 0; i < steps; i++) {
      x = next(x);
      y = nextSize(y);
      const slot = slotOf(x, mask);
      heap.free(ring[slot] as number);
      const p = heap.alloc(sizeOf(y));
      bytes[p] = i;
      sink = (sink + p) | 0;
      ring[slot] = p;
    }
    state.x = x;
    state.y = y;
    return sink;
  };
}

/** Both forms for peers whose blocks are addresses or written elsewhere. */
function replaceAddresses(
  heap: NumberAllocator,
  ring: Float64Array,
  state: State,
  steps: number,
  formA: boolean,
): number {
  let sink = 0;
  let { x, y } = state;
  const mask = ring.length - 1;
  for (let i = 0; i < steps; i++) {
    x = nextX(x);
    if (!formA) y = nextY(y);
    const slot = replaceSlot(x, mask);
    heap.free(ring[slot] as number);
    const p = heap.alloc(formA ? replaceSizeA(x) : replaceSizeB(y));
    sink = (sink + p) | 0;
    ring[slot] = p;
  }
  state.x = x;
  state.y = y;
  return sink;
}

/** Fills the ring with the first steps of the sequence. */
function fill(
  heap: NumberAllocator,
  ring: Uint32Array | Float64Array,
  state: State,
  formA: boolean,
): void {
  for (let i = 0; i < ring.length; i++) {
    state.x = nextX(state.x);
    if (!formA) state.y = nextY(state.y);
    ring[i] = heap.alloc(formA ? replaceSizeA(state.x) : replaceSizeB(state.y));
  }
}

async function ours(args: Arguments): Promise<void> {
  const log2 = args.number('ring', 10);
  const formA = args.text('form', 'A') === 'A';
  const steps = args.stepsPerCall(10_000_000);
  const heap = await openHeap(args, 2 ** 30);
  const bytes = heap.u8;
  const ring = new Uint32Array(2 ** log2);
  const state = { x: SEED_SLOT, y: SEED_SIZE };
  fill(heap, ring, state, formA);
  let before = heap.stats().crossings;
  const kernel = (formA ? replaceA : replaceB)(heap, bytes, ring, state);
  const result = measure(args, steps, kernel, (count) => {
    // Only the last call is counted: the first ones bring the magazines to their size.
    before = heap.stats().crossings;
    return kernel(count);
  });
  const figures = crossingFigures(heap, before, 2 * steps);
  emit({
    case: `${formA ? 'A' : 'B'} 2^${log2}`,
    unit: 'ns',
    ...result,
    ...figures,
    crossingsPerMillionSteps: figures.crossingsPerMillion * 2,
  });
}

function addresses(args: Arguments, heap: NumberAllocator): void {
  const log2 = args.number('ring', 10);
  const formA = args.text('form', 'A') === 'A';
  const steps = args.stepsPerCall(10_000_000);
  const ring = new Float64Array(2 ** log2);
  const state = { x: SEED_SLOT, y: SEED_SIZE };
  fill(heap, ring, state, formA);
  const result = measure(args, steps, replaceAddresses, (count) =>
    replaceAddresses(heap, ring, state, count, formA),
  );
  emit({ case: `${formA ? 'A' : 'B'} 2^${log2}`, unit: 'ns', ...result });
}

function thing(args: Arguments): void {
  const pool = new MemPool({ size: 64 << 20 });
  addresses(args, {
    alloc: (size) => pool.malloc(size),
    free(p: number): void {
      if (!pool.free(p)) consume(1);
    },
  });
}

function fillBlocks(heap: OurHeap, words: Int32Array, blocks: Uint32Array): number {
  let sink = 0;
  for (let i = 0; i < blocks.length; i++) {
    const p = heap.alloc(64);
    words[p >>> 2] = i;
    sink = (sink + p) | 0;
    blocks[i] = p;
  }
  return sink;
}

function freeBlocks(heap: OurHeap, blocks: Uint32Array, order: Uint32Array): number {
  for (let i = 0; i < order.length; i++) heap.free(blocks[order[i] as number] as number);
  return 0;
}

async function shuffled(args: Arguments): Promise<void> {
  const count = args.number('steps', 4_000_000);
  const heap = await openHeap(args, 2 ** 30);
  const words = heap.i32;
  const blocks = new Uint32Array(count);
  const order = shuffle(count);
  const allocs: number[] = [];
  const frees: number[] = [];
  for (let pass = 0; pass <= args.number('passes', 3); pass++) {
    const start = now();
    consume(fillBlocks(heap, words, blocks));
    const middle = now();
    consume(freeBlocks(heap, blocks, order));
    const end = now();
    if (pass === 0) continue; // The warm-up: pages are faulted in, code is optimized.
    allocs.push((middle - start) / count);
    frees.push((end - middle) / count);
  }
  emit({ case: 'alloc', unit: 'ns', samples: allocs });
  emit({ case: 'shuffled free', unit: 'ns', samples: frees });
}

await main({
  heap: ours,
  'heap-shuffled': shuffled,
  'control-block': (args) => addresses(args, leanMalloc()),
  '@thi.ng/malloc': thing,
});
