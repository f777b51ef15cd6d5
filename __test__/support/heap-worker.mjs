/**
 * @file A worker of the Heap's tests: attaches, does one job, answers.
 *
 * No top-level await: Node 20 aborts when a worker is terminated inside a module that has one.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { duel } from './duel.mjs';
import { random } from './split-mix.mjs';

const { entry, handle, job } = workerData;

const jobs = {
  /** Allocates and frees at random, tags every block, hands some over through shared slots (A9). */
  stress(heap, { seed, steps, slots }) {
    const next = random(seed);
    const table = new Int32Array(slots);
    const own = [];
    let errors = 0;
    const check = (p) => {
      const size = heap.u32[p / 4];
      const tag = heap.u32[p / 4 + 1];
      if (tag !== (p ^ size) >>> 0) errors += 1;
      if (size > 24 && heap.u8[p + size - 1] !== (size & 255)) errors += 1;
    };
    const make = () => {
      const size = 16 + next(next(50) === 0 ? 60_000 : 600);
      const p = heap.alloc(size);
      heap.u32[p / 4] = size;
      heap.u32[p / 4 + 1] = (p ^ size) >>> 0;
      if (size > 24) heap.u8[p + size - 1] = size & 255;
      return p;
    };
    for (let i = 0; i < steps; i += 1) {
      const what = next(4);
      if (what < 2 && own.length < 500) {
        own.push(make());
      } else if (what === 2 && own.length > 0) {
        const k = next(own.length);
        const p = own[k];
        own[k] = own[own.length - 1];
        own.pop();
        check(p);
        heap.free(p);
      } else {
        // Swap with a slot that all workers share: what comes out was somebody else's.
        const p = own.length > 0 ? own.pop() : make();
        const got = Atomics.exchange(table, next(table.length), p / 16);
        if (got !== 0) {
          check(got * 16);
          if (next(2) === 0) heap.free(got * 16);
          else own.push(got * 16);
        }
      }
    }
    for (const p of own) {
      check(p);
      heap.free(p);
    }
    return { errors };
  },

  /** Frees what it is sent, and says how many it could. */
  freeAll(heap, { ps }) {
    let freed = 0;
    let refused = 0;
    for (const p of ps) {
      try {
        heap.free(p);
        freed += 1;
      } catch (error) {
        if (error.code !== 'ERR_NOT_ALLOCATED') throw error;
        refused += 1;
      }
    }
    return { freed, refused };
  },

  /** Waits at a gate with others, then frees the same blocks as they do. */
  race(heap, { ps, gate, parties }) {
    const flag = new Int32Array(gate);
    Atomics.add(flag, 0, 1);
    while (Atomics.load(flag, 0) < parties);
    return jobs.freeAll(heap, { ps });
  },

  /** Frees block after block side by side with another thread; says which frees were its own. */
  duel(heap, { ps, gate, me }) {
    return duel(heap, ps, new Int32Array(gate), me);
  },

  /** Allocates for ever, to be terminated at a random moment. */
  churn(heap, { seed, gate }) {
    const next = random(seed);
    const flag = new Int32Array(gate);
    const pool = heap.pool(64);
    const own = [];
    parentPort.postMessage({ ready: true });
    for (;;) {
      if (own.length < 300) own.push(next(3) === 0 ? pool.alloc() : heap.alloc(16 + next(2000)));
      if (own.length > 100 || next(3) === 0) {
        const p = own.splice(next(own.length), 1)[0];
        if (p !== undefined) heap.free(p);
      }
      // One block a time is handed to whoever survives.
      if (next(64) === 0 && own.length > 0) {
        const p = own.pop();
        const got = Atomics.exchange(flag, 1 + next(flag.length - 1), p / 16);
        if (got !== 0) heap.free(got * 16);
      }
    }
  },

  /** Touches views and calls until the heap is gone from under it; says with what. */
  touch(heap, { p }) {
    parentPort.postMessage({ ready: true });
    let sum = 0;
    for (;;) {
      try {
        sum += heap.u8[p];
        heap.u8[p + 1] = sum;
        heap.free(heap.alloc(64));
      } catch (error) {
        const zeros = heap.closed ? 'closed' : 'open';
        return { code: error.code, zeros };
      }
    }
  },

  /** Allocates blocks and leaves them to others, letting go by itself. */
  leave(heap, { count }) {
    const ps = Array.from({ length: count }, (_, i) => heap.alloc(16 + (i % 500)));
    heap.close();
    return { ps };
  },

  /** Hands over the addresses of some blocks, and lets go when the second word of the gate says so. */
  leaveAtSignal(heap, { count, gate }) {
    const flag = new Int32Array(gate);
    const ps = Array.from({ length: count }, () => heap.alloc(64));
    // As many wait in its magazines.
    for (const p of Array.from({ length: count }, () => heap.alloc(64))) heap.free(p);
    parentPort.postMessage({ ps });
    Atomics.wait(flag, 0, 0);
    heap.close();
    Atomics.store(flag, 1, 1);
    Atomics.notify(flag, 1);
    return {};
  },

  /** Frees what it is sent when the gate's first word says so, and lets go when that says more. */
  freeAtSignal(heap, { ps, gate }) {
    const flag = new Int32Array(gate);
    parentPort.postMessage({ ready: true });
    Atomics.wait(flag, 0, 0);
    Atomics.store(flag, 1, 1 + jobs.freeAll(heap, { ps }).freed);
    Atomics.notify(flag, 1);
    Atomics.wait(flag, 0, 1);
    return {};
  },

  /** Produces blocks for a consumer, in rounds (A10). */
  produce(heap, { count }) {
    parentPort.on('message', () => {
      const ps = new Float64Array(count);
      for (let i = 0; i < count; i += 1) ps[i] = heap.alloc(64);
      parentPort.postMessage({ ps });
    });
    return { ready: true };
  },

  attachTwice(heap, { Heap }) {
    return { same: Heap.attach(handle) === heap, closed: heap.closed };
  },
};

async function main() {
  const { Heap } = await import(entry);
  try {
    const heap = Heap.attach(handle);
    parentPort.postMessage(jobs[job.name](heap, { ...job, Heap }));
  } catch (error) {
    parentPort.postMessage({ failed: error.code ?? String(error), message: error.message });
  }
}

void main();
