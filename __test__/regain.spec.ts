/**
 * @file Acceptance test A7: whatever was allocated, freeing it all in random order gives it all back.
 *
 * 'slab' cannot: its sets never go back (HAZARDS SL5); what it promises instead is tested as well.
 * CI: 50 cycles per kind; torture: 1,000. And, at random moments of all this: `largestFree` is true.
 */
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../index.ts';
import { BYTE_KINDS, bytesOf, idsOf, pagesOf } from './support/kinds.ts';
import type { Bytes } from './support/kinds.ts';
import { Random, rounds, seedOf } from './support/random.ts';
import { expectRefusal } from './support/refusal.ts';

const CYCLES = rounds(50, 1000);

/** A request of `largestFree` succeeds, one more fails, and neither leaves a trace. */
function expectTrueLargestFree(target: {
  stats(): { readonly largestFree: number; readonly used: number };
  take(size: number): () => void;
}): void {
  const { largestFree, used } = target.stats();
  if (largestFree > 0) target.take(largestFree)();
  const error = expectRefusal('ERR_NO_MEMORY', new RegExp(`${largestFree}`), () =>
    target.take(largestFree + 1),
  );
  expect(error.requested).toBe(largestFree + 1);
  expect(target.stats().used).toBe(used);
}

const ofBytes = (allocator: Bytes) => ({
  stats: () => allocator.stats(),
  take: (size: number) => {
    const pos = allocator.alloc(size, 1);
    return () => allocator.dealloc(pos);
  },
});

/** Allocates until there is no more, of random sizes; returns what it got. */
function exhaust(
  take: (size: number) => () => void,
  random: Random,
  sizeMax: number,
): (() => void)[] {
  const blocks: (() => void)[] = [];
  for (let misses = 0; misses < 3;) {
    try {
      blocks.push(take(random.size(sizeMax)));
    } catch {
      misses += 1;
    }
  }
  return random.shuffle(blocks);
}

describe.each(BYTE_KINDS)('kind %s', (kind) => {
  it('gives everything back', () => {
    const random = new Random(seedOf(`regain ${kind}`, 0xa7));
    const allocator = bytesOf(kind, MiB(1));
    const first = allocator.stats().largestFree;
    for (let cycle = 0; cycle < CYCLES; cycle += 1) {
      for (const free of exhaust(ofBytes(allocator).take, random, KiB(32))) free();
      const stats = allocator.stats();
      expect([stats.used, stats.requested, stats.blocks]).toEqual([0, 0, 0]);
      if (kind === 'slab') expectTrueLargestFree(ofBytes(allocator));
      else expect(stats.largestFree).toBe(first);
    }
    expect(allocator.check()).toBe(0);
  });

  it('says truly what the largest request is, at random moments', () => {
    const random = new Random(seedOf(`largestFree ${kind}`, 0x1f));
    const allocator = bytesOf(kind, MiB(1));
    const live: (() => void)[] = [];
    for (let round = 0; round < rounds(300, 10_000); round += 1) {
      if (random.chance(3, 5)) {
        try {
          live.push(ofBytes(allocator).take(random.size(KiB(64))));
        } catch {
          for (const free of live.splice(0, live.length >> 1)) free();
        }
      } else if (live.length > 0) {
        live.splice(random.below(live.length), 1)[0]?.();
      }
      expectTrueLargestFree(ofBytes(allocator));
    }
  });
});

describe('kinds bitmap and id', () => {
  it.each(['bitmap', 'id'] as const)(
    '%s gives everything back, and largestFree is true',
    (kind) => {
      const random = new Random(seedOf(`regain ${kind}`, 0xa7));
      const pages = pagesOf(MiB(4), false);
      const ids = idsOf(1024);
      const target =
        kind === 'bitmap'
          ? {
              stats: () => pages.stats(),
              take: (count: number) => {
                const pos = pages.allocPages(count);
                return () => pages.deallocPages(pos);
              },
            }
          : {
              stats: () => ids.stats(),
              take: (count: number) => {
                const id = ids.allocId(count);
                return () => ids.deallocId(id);
              },
            };
      for (let cycle = 0; cycle < CYCLES; cycle += 1) {
        const blocks = exhaust(target.take, random, 32);
        while (blocks.length > 0) {
          expectTrueLargestFree(target);
          for (const free of blocks.splice(0, 1 + (blocks.length >> 2))) free();
        }
        expect(target.stats()).toMatchObject({ used: 0, largestFree: 1024 });
      }
    },
  );
});
