/**
 * @file B17: what safety catches, and what it costs. Ten million good frees with a million bad ones among them: second frees,
 * wild addresses, interior ones, blocks of another heap.
 *
 * Every bad free must throw ERR_NOT_ALLOCATED and no good one may. What the check costs is B1's pair against the same heap
 * with its check taken out (`unchecked`, made by `support/unchecked.ts` from the built sources for this suite only).
 */
import { type Arguments, emit, main, measure } from './support/bench.ts';
import { openHeap, type OurHeap } from './support/ours.ts';
import { pairs, poolPairs } from './support/pairs.ts';
import { nextX, SEED_SLOT } from './support/sequence.ts';
import { uncheckedHeap } from './support/unchecked.ts';

const RING = 1024;

/** Whether freeing `p` throws ERR_NOT_ALLOCATED. */
function isRefused(heap: OurHeap, p: number): boolean {
  try {
    heap.free(p);
  } catch (error) {
    return (error as { code?: string }).code === 'ERR_NOT_ALLOCATED';
  }
  return false;
}

async function hostile(args: Arguments): Promise<void> {
  // A stack per error is what a million throws would spend their time on.
  Error.stackTraceLimit = 0;
  const heap = await openHeap(args, 2 ** 26);
  const other = await openHeap(args, 2 ** 26);
  const good = args.number('steps', 10_000_000);
  const every = 10;
  const ring = new Uint32Array(RING);
  for (let i = 0; i < RING; i++) ring[i] = heap.alloc(16 + (i & 511));
  // Blocks of the other heap at addresses where this one has none live: its far end.
  const far = Array.from({ length: 4096 }, () => other.alloc(8192)).slice(-64);
  let x = SEED_SLOT;
  let [bad, caught, falseAlarms] = [0, 0, 0];
  for (let i = 0; i < good; i++) {
    x = nextX(x);
    const slot = (x >>> 6) & (RING - 1);
    const p = ring[slot] as number;
    if (i % every === 0) {
      const kind = bad & 3;
      bad++;
      if (kind === 0) {
        if (isRefused(heap, p + 8)) caught++; // Inside a block.
      } else if (kind === 1) {
        if (isRefused(heap, 2 ** 25 + ((x >>> 8) & 0xffff) * 16)) caught++; // Wild, in the heap.
      } else if (kind === 2) {
        if (isRefused(heap, far[x & 63] as number)) caught++; // Of another heap.
      }
    }
    try {
      heap.free(p);
    } catch {
      falseAlarms++;
    }
    if (i % every === 0 && ((bad - 1) & 3) === 3 && isRefused(heap, p)) caught++; // A second time.
    ring[slot] = heap.alloc(16 + ((x >>> 8) & 511));
  }
  if (heap.check() !== RING) throw new Error('the heap lost or gained blocks');
  emit({ case: 'caught', unit: '%', samples: [(caught / bad) * 100], bad });
  emit({ case: 'false alarms', unit: 'count', samples: [falseAlarms], good });
}

/** One process each, so that the shapes stay apart. */
function cost(args: Arguments, heap: OurHeap): void {
  const steps = args.stepsPerCall(20_000_000);
  const pooled = args.text('form') === 'pool';
  const kernel = pooled ? poolPairs(heap.pool(64), heap.i32) : pairs(heap, heap.i32);
  const result = measure(args, steps, kernel, kernel);
  emit({ case: pooled ? 'pool pair' : 'generic pair', unit: 'ns', ...result });
}

await main({
  hostile,
  checked: async (args) => cost(args, await openHeap(args, 64 << 20)),
  unchecked: async (args) => cost(args, await uncheckedHeap(64 << 20)),
});
