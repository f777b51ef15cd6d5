/**
 * @file Histories of `alloc`, `free` and `isLive` by four threads on one heap: each has an order in which
 * every answer is right (A20).
 *
 * Workers free each other's blocks, and most blocks more than once and at once; now and then one of them
 * is terminated in the middle. The stamps come from one counter, taken just before a call and just
 * after. A heap of 1 MiB makes slabs come and go between threads.
 *
 * A seed fixes what each worker does; how their steps interleave is up to the machine.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { firstIllegal, isLinearizable } from './support/linearizability.ts';
import type { Operation, Step, StepKind } from './support/linearizability.ts';
import { Random, rounds, seedOf } from './support/random.ts';
import { Recording } from './support/recording.ts';

/** A step in the short form of these tests: thread, kind, called, returned. */
function step(thread: number, kind: StepKind, called: number, returned = Infinity): Step {
  return { thread, kind, called, returned };
}

describe('The checker of histories', () => {
  it('accepts what has a legal order', () => {
    expect(isLinearizable([], false)).toBe(true);
    expect(isLinearizable([step(0, 'alloc', 0, 1), step(1, 'free', 2, 3)], false)).toBe(true);
    // Two frees at once: the loser may have been called first, and return first.
    const race = [step(0, 'refused', 0, 2), step(1, 'free', 1, 3)];
    expect(isLinearizable(race, true)).toBe(true);
    // The free overlaps the allocation that it frees.
    expect(isLinearizable([step(0, 'alloc', 0, 3), step(1, 'free', 1, 2)], false)).toBe(true);
    // A free that never returned has happened, or not.
    const cut = [step(0, 'free', 0), step(1, 'alloc', 2, 3)];
    expect(isLinearizable(cut, true)).toBe(true);
    expect(isLinearizable([step(0, 'free', 0), step(1, 'live', 2, 3)], true)).toBe(true);
  });

  it('refuses what has none', () => {
    const illegal: Record<string, [Step[], boolean]> = {
      'two frees succeed': [[step(0, 'free', 0, 2), step(1, 'free', 1, 3)], true],
      'two frees in turn succeed': [[step(0, 'free', 0, 1), step(1, 'free', 2, 3)], true],
      'a live block is handed out': [[step(0, 'alloc', 0, 1)], true],
      'two threads get one block': [[step(0, 'alloc', 0, 2), step(1, 'alloc', 1, 3)], false],
      'a free before the alloc': [[step(0, 'free', 0, 1), step(1, 'alloc', 2, 3)], false],
      'a live block is refused': [[step(0, 'refused', 0, 1)], true],
      'both racing frees are refused': [[step(0, 'refused', 0, 2), step(1, 'refused', 1, 3)], true],
      'a freed block is live': [[step(0, 'free', 0, 1), step(1, 'live', 2, 3)], true],
      'handed out before it was freed': [[step(0, 'alloc', 0, 1), step(1, 'free', 2, 3)], true],
      'one cut free for two blocks': [
        [step(0, 'free', 0), step(1, 'alloc', 2, 3), step(1, 'alloc', 4, 5)],
        true,
      ],
      'a cut free comes before its call': [[step(1, 'alloc', 0, 1), step(0, 'free', 2)], true],
    };
    for (const [what, [steps, live]] of Object.entries(illegal)) {
      expect(isLinearizable(steps, live), what).toBe(false);
    }
  });

  it('lets an alloc that never returned explain one block, not two', () => {
    const lost: Operation = { ...step(0, 'alloc', 5), block: undefined };
    const freed = (block: number): Operation => ({ ...step(1, 'free', block, block + 0.5), block });
    const none = new Set<number>();
    expect(firstIllegal([lost, freed(16)], none, none)).toBe(undefined);
    expect(firstIllegal([lost], none, new Set([16]))).toBe(undefined);
    expect(firstIllegal([lost, freed(16), freed(32)], none, none)?.block).toBe(16);
    // It was called after that free.
    expect(firstIllegal([lost, freed(3)], none, none)?.block).toBe(3);
  });

  it('finds what was written over in a history', () => {
    const none = new Set<number>();
    const alloc: Operation = { ...step(0, 'alloc', 0, 1), block: 16 };
    expect(firstIllegal([alloc], none, new Set([16]))).toBe(undefined);
    expect(firstIllegal([alloc], none, none)?.block).toBe(16);
    expect(firstIllegal([], new Set([48]), none)?.block).toBe(48);
    expect(firstIllegal([], none, new Set([48]))?.block).toBe(48);
  });

  it('agrees with one that tries all orders', () => {
    const random = new Random(seedOf('orders', 0xa20));
    const kinds: readonly StepKind[] = ['alloc', 'free', 'refused', 'live', 'dead'];
    const verdicts = { legal: 0, illegal: 0 };
    for (let round = 0; round < rounds(3000, 30_000); round += 1) {
      const clocks = [0, 0, 0];
      const steps = Array.from({ length: 2 + random.below(5) }, () => {
        const thread = random.below(3);
        const called = (clocks[thread] as number) + 0.25 + random.below(4) + 0.1 * thread;
        clocks[thread] = called + 0.5 + random.below(4);
        return step(thread, random.pick(kinds), called, clocks[thread]);
      });
      const live = random.chance(1, 2);
      const legal = hasLegalOrder(steps, live);
      expect(isLinearizable(steps, live), JSON.stringify({ steps, live })).toBe(legal);
      verdicts[legal ? 'legal' : 'illegal'] += 1;
    }
    expect(verdicts.legal).toBeGreaterThan(100);
    expect(verdicts.illegal).toBeGreaterThan(100);
  });
});

/** The dumb way: each step that nothing must precede is tried as the first. */
function hasLegalOrder(steps: readonly Step[], live: boolean): boolean {
  if (steps.length === 0) return true;
  return steps.some((first) => {
    if (steps.some((other) => other.returned < first.called)) return false;
    const rest = steps.filter((other) => other !== first);
    const right = ['free', 'live'].includes(first.kind) === live;
    const after = first.kind === 'alloc' || first.kind === 'live';
    return right && hasLegalOrder(rest, after);
  });
}

describe('Heap on four threads', () => {
  let recording: Recording | undefined;

  afterEach(() => {
    recording?.heap.close();
    recording = undefined;
  });

  it('is linearizable (A20)', async () => {
    const seed = seedOf('linearizability', 0xa20);
    recording = new Recording(seed);
    await recording.startAll();
    const random = new Random(seed);
    const histories = rounds(100, 2000);
    const cuts = rounds(3, 60);
    for (let history = 1; history <= histories; history += 1) {
      recording.play(40);
      if (history % Math.floor(histories / cuts) === 0) await recording.playAndTerminate(random);
    }
    console.log(`${histories} histories, ${cuts} more with a terminated worker`, recording.counts);
    await recording.finish();
    // Everything is freed, and nothing was lost.
    expect(recording.heap.check()).toBe(0);
    expect(recording.heap.stats()).toMatchObject({ blocks: 0, used: 0, cached: 0, threads: 1 });
  });
});
