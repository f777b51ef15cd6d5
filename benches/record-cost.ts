/**
 * @file What recording costs: the replacement loop of B3 (form A, ring of 2^10) on a Heap before, during
 * and after `record`, in nanoseconds of processor time per event.
 *
 * `node dist/benches/record-cost.js`. The target is 30 ns per event while recording (issue 7). "After, same
 * loop" is slower than before: the call site has seen two targets and V8 keeps it polymorphic. "After, new
 * loop" is what every other call site pays: nothing.
 *
 * Processor time, not the clock: what other processes do does not count. Not part of the suite (`run.ts`),
 * which compares with peers; no peer records.
 */
import { Heap, MiB, record } from 'heapwright';

const SLOTS = 1024;
const STEPS = 2_000_000;
const PASSES = 5;

const heap = new Heap({ size: MiB(64) });
const ring = new Float64Array(SLOTS);

type Loop = (steps: number) => void;

/** A loop of its own source: V8 compiles and specializes each apart. */
function newLoop(): Loop {
  // oxlint-disable-next-line no-implied-eval, no-new-func -- the same text again is the point
  const make = new Function(
    'heap',
    'ring',
    `let x = 12345;
    return (steps) => {
      for (let i = 0; i < steps; i++) {
        x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
        const slot = (x >>> 6) & ${SLOTS - 1};
        if (ring[slot] !== 0) heap.free(ring[slot]);
        ring[slot] = heap.alloc(16 + ((x >>> 8) & 511));
      }
    };`,
  ) as (heap: Heap, ring: Float64Array) => Loop;
  return make(heap, ring);
}

/** Nanoseconds of processor time per event: the best of a few passes, two events a step. */
function nsPerEvent(loop: Loop): number {
  loop(STEPS / 4);
  let best = Number.POSITIVE_INFINITY;
  for (let pass = 0; pass < PASSES; pass++) {
    const before = process.cpuUsage();
    loop(STEPS);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, ((user + system) * 1000) / (STEPS * 2));
  }
  return best;
}

const loop = newLoop();
const before = nsPerEvent(loop);
const recording = record(heap);
const during = nsPerEvent(loop);
const { events } = recording.stop();
const after = nsPerEvent(loop);
const afterElsewhere = nsPerEvent(newLoop());
heap.close();

console.log(`before               ${before.toFixed(1)} ns per event`);
console.log(
  `while recording      ${during.toFixed(1)} ns: ${(during - before).toFixed(1)} ns more, ${events} events`,
);
console.log(`after, same loop     ${after.toFixed(1)} ns`);
console.log(`after, new loop      ${afterElsewhere.toFixed(1)} ns`);
process.exitCode = during - before <= 30 ? 0 : 1;
