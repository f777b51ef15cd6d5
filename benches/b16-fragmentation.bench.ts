/**
 * @file B16: how much of 128 MiB can be used, and what random churn leaves resident; the Heap's side of the Rust loop in
 * `native/src/loops/fragmentation.rs`.
 *
 * `useful` fills a heap with random sizes until a request is refused: the bytes asked for over the heap's size. `RSS / live`
 * fills 100 MiB, then five times frees 90 % of the blocks at random and refills with other sizes. Sizes below a power of two
 * from 2^6 to 2^15, itself chosen at random: many small blocks, few large ones.
 */
import { type Arguments, emit, main, residentBytes } from './support/bench.ts';
import { openHeap, type OurHeap } from './support/ours.ts';
import { below, mixSize, nextX, nextY, SEED_SIZE, SEED_SLOT } from './support/sequence.ts';

const ARENA = 128 * 2 ** 20;
const LIVE = 100 * 2 ** 20;

/** Blocks with what was asked for, in arrays that are touched before. */
interface Held {
  readonly heap: OurHeap;
  readonly blocks: Float64Array;
  readonly sizes: Int32Array;
  count: number;
  live: number;
}

function hold(heap: OurHeap): Held {
  const blocks = new Float64Array(2 ** 20).fill(1);
  return { heap, blocks, sizes: new Int32Array(2 ** 20).fill(1), count: 0, live: 0 };
}

/** Allocates and writes blocks until `limit` bytes are live or one is refused. */
function fill(held: Held, round: number, limit: number): void {
  let x = SEED_SLOT + round;
  let y = SEED_SIZE + round;
  const { u8 } = held.heap;
  while (held.live < limit) {
    x = nextX(x);
    y = nextY(y);
    const size = mixSize(x, y);
    let p = 0;
    try {
      p = held.heap.alloc(size);
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_NO_MEMORY') return;
      throw error;
    }
    u8.fill(1, p, p + size);
    held.blocks[held.count] = p;
    held.sizes[held.count] = size;
    held.count++;
    held.live += size;
  }
}

/** Frees nine of ten blocks at random; the others keep their order. */
function thin(held: Held, x: number): number {
  let kept = 0;
  for (let i = 0; i < held.count; i++) {
    x = nextX(x);
    const p = held.blocks[i] as number;
    const size = held.sizes[i] as number;
    if (below(x, 10) === 0) {
      held.blocks[kept] = p;
      held.sizes[kept] = size;
      kept++;
    } else {
      held.heap.free(p);
      held.live -= size;
    }
  }
  held.count = kept;
  return x;
}

async function ours(args: Arguments): Promise<void> {
  const full = hold(await openHeap(args, ARENA));
  fill(full, 0, ARENA);
  emit({ case: 'useful', unit: '%', samples: [(full.live / ARENA) * 100] });
  const churned = hold(await openHeap(args, 2 * ARENA));
  const before = residentBytes();
  fill(churned, 1, LIVE);
  let x = SEED_SLOT;
  for (let round = 0; round < 5; round++) {
    x = thin(churned, x);
    fill(churned, 2 + round, LIVE);
  }
  const resident = residentBytes() - before;
  churned.heap.check();
  emit({ case: 'RSS / live', unit: 'ratio', samples: [resident / churned.live] });
}

await main({ heap: ours });
