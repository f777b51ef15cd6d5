/**
 * @file Acceptance test A6: random bytes over everything that JavaScript can reach.
 *
 * Two allocators get the same calls; over the bytes of one a program writes at random, through the
 * buffer behind every view it ever got. All answers must be those of its untouched twin, since no
 * allocator keeps anything where a view can reach.
 *
 * CI: 500 rounds per kind; torture: 10,000.
 */
import { describe, expect, it } from 'vitest';
import type { AllocError } from '../index.ts';
import { KiB, MiB } from '../index.ts';
import { BYTE_KINDS, bytesOf, pagesOf } from './support/kinds.ts';
import { Random, rounds, seedOf } from './support/random.ts';

const ROUNDS = rounds(500, 10_000);

/** Random bytes at random places of `buffer`, now and then everywhere. */
function scribble(buffer: ArrayBufferLike, random: Random): void {
  const words = new Uint32Array(buffer);
  if (random.chance(1, 50)) words.fill(random.next());
  for (let count = 0; count < 64; count += 1) words[random.below(words.length)] = random.next();
}

/** What a call answers, errors included. */
function answer(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    const { code, message, requested, largestFree } = error as AllocError;
    return { code, message, requested, largestFree };
  }
}

describe.each(BYTE_KINDS)('kind %s', (kind) => {
  it('answers as its untouched twin', () => {
    const random = new Random(seedOf(`isolation ${kind}`, 0xa6));
    const [victim, twin] = [bytesOf(kind, MiB(2)), bytesOf(kind, MiB(2))];
    const live: number[] = [];
    const buffer = victim.view(victim.alloc(8)).buffer;
    twin.alloc(8);
    for (let round = 0; round < ROUNDS; round += 1) {
      scribble(buffer, random);
      const size = random.size(KiB(8));
      const index = random.below(live.length + 1);
      const pos = live[index];
      const what = random.below(4);
      let answers: unknown[];
      if (pos === undefined || (what < 2 && live.length < 500)) {
        answers = [victim, twin].map((each) => answer(() => each.alloc(size)));
        if (typeof answers[0] === 'number') live.push(answers[0]);
      } else if (what === 2) {
        answers = [victim, twin].map((each) => answer(() => each.realloc(pos, size)));
        if (typeof answers[0] === 'number') live[index] = answers[0];
      } else {
        answers = [victim, twin].map((each) => answer(() => each.dealloc(pos)));
        live.splice(index, 1);
      }
      expect(answers[0]).toEqual(answers[1]);
      if (round % 100 === 0) {
        expect(victim.stats()).toEqual(twin.stats());
        expect(victim.check()).toBe(live.length + 1);
      }
    }
    expect(victim.stats()).toEqual(twin.stats());
    victim.deallocMany(live);
    expect(victim.check()).toBe(1);
  });
});

describe('kind bitmap', () => {
  it('answers as its untouched twin', () => {
    const random = new Random(seedOf('isolation bitmap', 0xa6));
    const [victim, twin] = [pagesOf(), pagesOf()];
    const live: number[] = [];
    const { buffer } = victim.view(victim.allocPages(1));
    twin.allocPages(1);
    for (let round = 0; round < ROUNDS; round += 1) {
      scribble(buffer, random);
      const index = random.below(live.length + 1);
      const pos = live[index];
      if (pos === undefined || random.chance(1, 2)) {
        const count = random.size(16);
        const [first, second] = [victim, twin].map((each) => answer(() => each.allocPages(count)));
        expect(first).toEqual(second);
        if (typeof first === 'number') live.push(first);
      } else {
        for (const each of [victim, twin]) each.deallocPages(pos);
        live.splice(index, 1);
      }
    }
    expect(victim.stats()).toEqual(twin.stats());
    expect(victim.check()).toBe(live.length + 1);
  });
});
