/**
 * @file Two threads free the same blocks, side by side: for the tests of who wins.
 *
 * Plain JavaScript, as workers load it.
 */

/**
 * Frees each of `ps` at the same moment as the other thread does.
 *
 * @param gate - Two words, how far either is.
 * @param me - 0 or 1.
 * @returns For each block 1 where this thread's free succeeded, 0 where it was refused.
 */
export function duel(heap, ps, gate, me) {
  return ps.map((p, i) => {
    Atomics.store(gate, me, i + 1);
    while (Atomics.load(gate, 1 - me) <= i);
    // Either is first, by a little or by nothing: the two delays are different, and so is their difference.
    for (let delay = (i * (me === 0 ? 7 : 10)) % 61; delay > 0; delay -= 1) Atomics.load(gate, me);
    try {
      heap.free(p);
      return 1;
    } catch (error) {
      if (error.code !== 'ERR_NOT_ALLOCATED') throw error;
      return 0;
    }
  });
}
