/**
 * @file Seeded random numbers for tests: SplitMix64 narrowed to 32 bits, printed seed.
 *
 * `HEAPWRIGHT_SEED=0x1234 npm test -- model` replays a run. Torture runs (`npm run torture`) take the
 * full counts of the acceptance tests, all others the small ones.
 */

/** Whether this is a torture run. */
export const torture: boolean = process.env['HEAPWRIGHT_TORTURE'] === '1';

/** The count for this run: `small` in CI, `full` under torture. */
export function rounds(small: number, full: number): number {
  return torture ? full : small;
}

/** The seed of a test: HEAPWRIGHT_SEED, else `fallback`; printed, so that a failure can be replayed. */
export function seedOf(test: string, fallback: number): number {
  const given = process.env['HEAPWRIGHT_SEED'];
  const seed = given === undefined ? fallback : Number(given) >>> 0;
  console.log(`${test}: HEAPWRIGHT_SEED=0x${seed.toString(16)}`);
  return seed;
}

/** A generator of numbers that depend on the seed alone. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 2^32 - 1. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  /** From 0 to `n - 1`, for `n` up to 2^32. */
  below(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n);
  }

  /** True `numerator` times out of `denominator`. */
  chance(numerator: number, denominator: number): boolean {
    return this.below(denominator) < numerator;
  }

  /** One of `items`. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Small sizes mostly, large ones now and then: 1 to `max`, by a random power of two. */
  size(max: number): number {
    const bits = this.below(Math.floor(Math.log2(max)) + 1);
    return Math.min(max, (1 << bits) + this.below(1 << bits));
  }

  /** Puts `items` into a random order, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let index = items.length - 1; index > 0; index -= 1) {
      const other = this.below(index + 1);
      [items[index], items[other]] = [items[other] as T, items[index] as T];
    }
    return items;
  }
}
