/**
 * @file A histogram of durations whose buckets grow with the value, cheap enough for every event.
 *
 * Below 32 ns each nanosecond has a bucket; above, each power of two is cut into 32, so a percentile
 * is off by at most 1/32 (3.1 %) of its value. Minimum, sum and maximum are kept exactly.
 *
 * Not here: the clock. Whoever measures takes its own cost off first.
 */

const SUB_BITS = 5;
const SUB_COUNT = 1 << SUB_BITS;
/** Buckets reach 2^31 ns, some 2 s; what takes longer is counted in the last. */
const BUCKETS = (31 - SUB_BITS + 1) * SUB_COUNT;
const NS_MAX = 2 ** 31 - 1;

/** Lowest duration of a bucket, in nanoseconds. */
function bucketStart(index: number): number {
  if (index < SUB_COUNT) return index;
  const octave = (index >>> SUB_BITS) - 1;
  return (SUB_COUNT + (index & (SUB_COUNT - 1))) * 2 ** octave;
}

/** Counts of durations, by bucket. */
export class Histogram {
  count = 0;
  sum = 0;
  max = 0;
  readonly #counts: Uint32Array = new Uint32Array(BUCKETS);

  /** Adds one duration in nanoseconds; what is negative counts as 0. */
  add(ns: number): void {
    this.count++;
    if (ns <= 0) {
      this.#counts[0] = (this.#counts[0] as number) + 1;
      return;
    }
    this.sum += ns;
    if (ns > this.max) this.max = ns;
    const whole = ns >= NS_MAX ? NS_MAX : ns | 0;
    const octave = 31 - SUB_BITS - Math.clz32(whole);
    const index = octave <= 0 ? whole : (octave << SUB_BITS) + (whole >>> octave);
    this.#counts[index] = (this.#counts[index] as number) + 1;
  }

  /**
   * The duration that `fraction` of all durations do not exceed, as the middle of its bucket, but never
   * above the maximum; 0 if there is none.
   */
  percentile(fraction: number): number {
    const rank = Math.max(1, Math.ceil(this.count * fraction));
    let seen = 0;
    for (let index = 0; index < BUCKETS; index++) {
      seen += this.#counts[index] as number;
      if (seen < rank) continue;
      return index === 0
        ? 0
        : Math.min(this.max, (bucketStart(index) + bucketStart(index + 1)) / 2);
    }
    return 0;
  }

  /** Mean of the quickest `fraction` of all durations, each taken as the middle of its bucket; 0 of none. */
  meanOfQuickest(fraction: number): number {
    const wanted = Math.max(1, Math.floor(this.count * fraction));
    let seen = 0;
    let sum = 0;
    for (let index = 0; index < BUCKETS && seen < wanted; index++) {
      const count = Math.min(this.#counts[index] as number, wanted - seen);
      sum += index === 0 ? 0 : (count * (bucketStart(index) + bucketStart(index + 1))) / 2;
      seen += count;
    }
    return seen === 0 ? 0 : sum / seen;
  }

  /** The buckets that hold anything, ascending: lowest duration in nanoseconds, and how many. */
  buckets(): (readonly [startNs: number, count: number])[] {
    const filled: (readonly [number, number])[] = [];
    this.#counts.forEach((count, index) => {
      if (count > 0) filled.push([bucketStart(index), count]);
    });
    return filled;
  }
}
