/**
 * @file The random numbers of tests in plain JavaScript: workers and children, which load no TypeScript.
 */

/**
 * SplitMix32: the same numbers everywhere.
 *
 * @param seed - Of 32 bits.
 * @returns What gives a number from 0 to `below - 1`.
 */
export function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return ((z ^ (z >>> 16)) >>> 0) % below;
  };
}
