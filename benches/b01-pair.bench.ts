/**
 * @file B1: the pair. Allocate, write 4 bytes, free.
 *
 * One size (64 bytes), then the sizes 16..1024 in steps of 16 in turn. The smallest thing an allocator can be asked, and
 * the one where nothing hides the cost of the call: the block is always the one just freed. It shows no fragmentation, no
 * cache miss and no crossing into native code beyond the first. `Buffer.allocUnsafe` and `new Uint8Array` write one byte
 * instead of four, and the native yardsticks write from native code; both favour the peer.
 */
import { MemPool } from '@thi.ng/malloc';
import { type Arguments, consume, emit, main, measure } from './support/bench.ts';
import { leanMalloc, loadAddon } from './support/addon.ts';
import { crossingFigures, openHeap, type OurHeap, type OurPool } from './support/ours.ts';
import { type Kernel, pairs, poolPairs, SIZE as PAIR_SIZE } from './support/pairs.ts';

/** The same, as a binding of this module: an imported one is loaded at every use. */
const SIZE = PAIR_SIZE;

/** Anything that hands out numbers. */
interface NumberAllocator {
  alloc(size: number): number;
  free(p: number): void;
}

function pairsOfManySizes(heap: OurHeap, words: Int32Array): Kernel {
  return (steps) => {
    let sink = 0;
    let size = 16;
    for (let i = 0; i < steps; i++) {
      const p = heap.alloc(size);
      words[p >>> 2] = i;
      sink = (sink + p) | 0;
      heap.free(p);
      size = size === 1024 ? 16 : size + 16;
    }
    return sink;
  };
}

function passedPoolPairs(pool: OurPool, words: Int32Array, steps: number): number {
  let sink = 0;
  for (let i = 0; i < steps; i++) {
    const p = pool.alloc();
    words[p >>> 2] = i;
    sink = (sink + p) | 0;
    pool.free(p);
  }
  return sink;
}

function passedPairs(heap: OurHeap, words: Int32Array, steps: number): number {
  let sink = 0;
  for (let i = 0; i < steps; i++) {
    const p = heap.alloc(SIZE);
    words[p >>> 2] = i;
    sink = (sink + p) | 0;
    heap.free(p);
  }
  return sink;
}

/** What is left of the loop without an allocator: addresses come from an array that holds the same one 256 times. */
function loopAlone(args: Arguments): void {
  const words = new Int32Array(1 << 20);
  const blocks = new Uint32Array(256).fill(65_536);
  const kernel: Kernel = (steps) => {
    let sink = 0;
    for (let i = 0; i < steps; i++) {
      const p = blocks[i & 255] as number;
      words[p >>> 2] = i;
      sink = (sink + p) | 0;
    }
    return sink;
  };
  const result = measure(args, args.stepsPerCall(20_000_000), kernel, kernel);
  emit({ case: name('one'), unit: 'ns', ...result });
}

/** The touch is not here: the native side writes it, or `@thi.ng/malloc`'s wrapper does. */
function pairsOfAddresses(
  heap: NumberAllocator,
  steps: number,
  first: number,
  step: number,
): number {
  let sink = 0;
  let size = first;
  for (let i = 0; i < steps; i++) {
    const p = heap.alloc(size);
    sink = (sink + p) | 0;
    heap.free(p);
    size = size === 1024 ? first : size + step;
  }
  return sink;
}

function pairsOfObjects(
  make: (size: number) => Uint8Array,
  steps: number,
  first: number,
  step: number,
): number {
  let sink = 0;
  let size = first;
  for (let i = 0; i < steps; i++) {
    const block = make(size);
    block[0] = i;
    sink = (sink + block.length) | 0;
    size = size === 1024 ? first : size + step;
  }
  return sink;
}

const name = (sizes: string): string => (sizes === 'many' ? '16..1024' : '64');

async function ours(args: Arguments, pooled: boolean): Promise<void> {
  const heap = await openHeap(args, 64 << 20);
  const words = heap.i32;
  const steps = args.stepsPerCall(20_000_000);
  const pool = heap.pool(SIZE);
  const sizes = args.text('sizes', 'one');
  const before = heap.stats().crossings;
  let operations = 0;
  let kernel: unknown;
  let run: Kernel;
  if (args.flag('passed')) {
    kernel = pooled ? passedPoolPairs : passedPairs;
    run = (count) =>
      pooled ? passedPoolPairs(pool, words, count) : passedPairs(heap, words, count);
  } else {
    run = pooled
      ? poolPairs(pool, words)
      : (sizes === 'many' ? pairsOfManySizes : pairs)(heap, words);
    kernel = run;
  }
  const result = measure(args, steps, kernel, (count) => {
    operations += 2 * count;
    return run(count);
  });
  emit({
    case: name(sizes),
    unit: 'ns',
    ...result,
    ...crossingFigures(heap, before, operations),
  });
}

function addresses(args: Arguments, heap: NumberAllocator): void {
  const steps = args.stepsPerCall(5_000_000);
  const sizes = args.text('sizes', 'one');
  const [first, step] = sizes === 'many' ? [16, 16] : [SIZE, 0];
  const result = measure(args, steps, pairsOfAddresses, (count) =>
    pairsOfAddresses(heap, count, first, step),
  );
  emit({ case: name(sizes), unit: 'ns', ...result });
}

function objects(args: Arguments, make: (size: number) => Uint8Array): void {
  const steps = args.stepsPerCall(5_000_000);
  const sizes = args.text('sizes', 'one');
  const [first, step] = sizes === 'many' ? [16, 16] : [SIZE, 0];
  const result = measure(args, steps, pairsOfObjects, (count) =>
    pairsOfObjects(make, count, first, step),
  );
  emit({ case: name(sizes), unit: 'ns', ...result });
}

function thing(args: Arguments): void {
  const pool = new MemPool({ size: 1 << 20 });
  const words = new Int32Array(pool.buf);
  addresses(args, {
    alloc(size: number): number {
      const p = pool.malloc(size);
      words[p >>> 2] = size;
      return p;
    },
    free(p: number): void {
      if (!pool.free(p)) consume(1);
    },
  });
}

await main({
  pool: (args) => ours(args, true),
  heap: (args) => ours(args, false),
  'loop alone': loopAlone,
  'control-block': (args) => addresses(args, leanMalloc()),
  'napi-class': (args) => addresses(args, new (loadAddon().addon.IdiomaticHeap)()),
  'Buffer.allocUnsafe': (args) => objects(args, (size) => Buffer.allocUnsafe(size)),
  'new Uint8Array': (args) => objects(args, (size) => new Uint8Array(size)),
  '@thi.ng/malloc': thing,
});
