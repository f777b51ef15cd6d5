/**
 * @file The generators of the suite: what is allocated, where it is put, in which order.
 *
 * `benches/native/src/sequence.rs` holds the same ones in Rust; `__test__/benches.spec.ts` compares
 * the two number by number. Everything is 32-bit arithmetic that wraps. They are small functions over
 * plain integers, not objects, so that V8 inlines them into the loops that use them.
 */

/** Seed of the slots of B3. */
export const SEED_SLOT = 12345;
/** Seed of the sizes of B3 in form B. */
export const SEED_SIZE = 777;
/** Seed of larson (B7). */
const SEED_LARSON = 4141;
/** Slots of a larson thread. */
export const LARSON_SLOTS = 5000;
/** Steps after which a larson thread hands its slots to the next one. */
export const LARSON_TURN: number = 100 * LARSON_SLOTS;

/** One step of the first linear congruential generator. */
export function nextX(x: number): number {
  return (Math.imul(x, 1664525) + 1013904223) | 0;
}

/** One step of the second one. */
export function nextY(y: number): number {
  return (Math.imul(y, 22695477) + 1) | 0;
}

/** B3: the slot of a step. */
export function replaceSlot(x: number, mask: number): number {
  return (x >>> 6) & mask;
}

/** B3, form A: the size from the same generator; 16..527. */
export function replaceSizeA(x: number): number {
  return 16 + ((x >>> 8) & 511);
}

/** B3, form B: the size from the second generator; 16..527. */
export function replaceSizeB(y: number): number {
  return 16 + ((y >>> 20) & 511);
}

/** B7: the first seeds of thread `index`. */
export function larsonSeeds(index: number): { x: number; y: number } {
  return { x: (SEED_LARSON + index) | 0, y: Math.imul(SEED_LARSON + index, 31) };
}

/** B7: the slot of a step. */
export function larsonSlot(x: number): number {
  return ((x >>> 16) * LARSON_SLOTS) >>> 16;
}

/** B7: the size of a step; 8..1000. */
export function larsonSize(y: number): number {
  return 8 + (((y >>> 16) * 993) >>> 16);
}

/** A number below `n` from 32 bits. */
export function below(x: number, n: number): number {
  return Math.floor(((x >>> 0) * n) / 4294967296);
}

/** A permutation of `0..count` by Fisher and Yates, from the first generator. */
export function shuffle(count: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  let x = SEED_SLOT;
  for (let i = count - 1; i >= 1; i--) {
    x = nextX(x);
    const j = below(x, i + 1);
    const swapped = order[i] as number;
    order[i] = order[j] as number;
    order[j] = swapped;
  }
  return order;
}

/** B9: (size, blocks) of one call of the sh6bench pattern, in order; the Rust twin says how. */
export function sh6Call(): { size: number; blocks: number }[] {
  const steps: { size: number; blocks: number }[] = [];
  for (let base = 1; base <= 1000; base = Math.floor((base * 3) / 2) + 1) {
    const blocks = base < 100 ? 250 : 50;
    for (let size = base; size > 0; size = Math.floor(size / 2)) steps.push({ size, blocks });
  }
  return steps;
}

/** B16: a size below a power of two from 2^6 to 2^15. */
export function mixSize(x: number, y: number): number {
  const log2 = 6 + (((x >>> 16) * 10) >>> 16);
  return 1 + below(y, 2 ** log2 - 1);
}
