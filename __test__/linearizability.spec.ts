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
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { Heap, MiB } from '../index.ts';
import { root } from './support/child.ts';
import { firstIllegal, isLinearizable } from './support/linearizability.ts';
import type { Operation, Step, StepKind } from './support/linearizability.ts';
import { Random, rounds, seedOf } from './support/random.ts';

const entry = `file://${root}dist/index.js`;
const script = new URL('support/history-worker.mjs', import.meta.url);

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

/** Words of a worker's log, and the operations that fit into it. */
const LOG_OPERATIONS = 3000;

/** A heap, four workers that record what they do to it, and what it held at last. */
class Recording {
  readonly heap = new Heap({ size: MiB(1), maxThreads: 8 });
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * 16));
  readonly #table = new SharedArrayBuffer(4 * 12);
  readonly #logs = Array.from(
    { length: 4 },
    () => new Int32Array(new SharedArrayBuffer(4 * (1 + 5 * LOG_OPERATIONS))),
  );
  readonly #workers: Worker[] = [];
  readonly #seed: number;
  readonly #failures: string[] = [];
  #live = new Set<number>();
  #round = 0;
  /** Of all histories: operations, frees refused, and operations that overlapped the one before. */
  readonly counts = { operations: 0, refused: 0, overlapping: 0, cut: 0 };

  constructor(seed: number) {
    this.#seed = seed;
  }

  async start(worker: number): Promise<void> {
    const started = new Worker(script, {
      workerData: {
        entry,
        handle: this.heap.handle,
        worker,
        workers: this.#logs.length,
        seed: this.#seed,
        control: this.#control.buffer,
        table: this.#table,
        log: (this.#logs[worker] as Int32Array).buffer,
      },
    });
    this.#workers[worker] = started;
    await once(started, 'message');
    started.on('message', ({ failed }: { failed: string }) => this.#failures.push(failed));
  }

  async startAll(): Promise<void> {
    await Promise.all(this.#logs.map((_, worker) => this.start(worker)));
  }

  #go(operations: number): void {
    for (const log of this.#logs) log[0] = 0;
    this.#control[2] = 0;
    this.#control[3] = operations;
    this.#round += 1;
    Atomics.store(this.#control, 1, this.#round);
    Atomics.notify(this.#control, 1);
  }

  #wait(workers: readonly number[]): void {
    for (const worker of workers) {
      const at = 8 + worker;
      for (let done = 0; (done = Atomics.load(this.#control, at)) !== this.#round;) {
        if (Atomics.wait(this.#control, at, done, 30_000) === 'timed-out')
          throw new Error(`worker ${worker} hangs in history ${this.#round}`);
      }
    }
  }

  /** One history to its end. */
  play(operations: number): void {
    this.#go(operations);
    this.#wait([...this.#logs.keys()]);
    this.#judge();
  }

  /** A long history, in which one worker is terminated; another takes its place. */
  async playAndTerminate(random: Random): Promise<void> {
    const victim = random.below(this.#logs.length);
    this.#go(LOG_OPERATIONS);
    await new Promise((resolve) => setTimeout(resolve, random.below(4)));
    await (this.#workers[victim] as Worker).terminate();
    this.#wait([...this.#logs.keys()].filter((worker) => worker !== victim));
    this.#judge();
    await this.start(victim);
  }

  #operations(): Operation[] {
    return this.#logs.flatMap((log, thread) =>
      Array.from({ length: log[0] as number }, (_, index) => {
        const [kind, granule, outcome, called, stamp] = log.subarray(1 + 5 * index) as never as [
          number,
          number,
          number,
          number,
          number,
        ];
        const returned = stamp === 0 ? Infinity : stamp;
        if (kind === 1) {
          const block = returned === Infinity ? undefined : outcome * 16;
          return { thread, kind: 'alloc' as const, block, called, returned };
        }
        const kinds = kind === 2 ? (['free', 'refused'] as const) : (['live', 'dead'] as const);
        const said = kinds[returned === Infinity ? 0 : outcome - 1] as StepKind;
        return { thread, kind: said, block: granule * 16, called, returned };
      })
        // One that found no memory did nothing; nor did a question that was never answered.
        .filter(
          ({ kind, block, returned }) => block !== 0 && !(kind === 'live' && returned === Infinity),
        ),
    );
  }

  #judge(): void {
    expect(this.#failures).toEqual([]);
    const operations = this.#operations();
    const after = new Set<number>();
    this.heap.walk((p) => after.add(p));
    const illegal = firstIllegal(operations, this.#live, after);
    if (illegal !== undefined) {
      const steps = illegal.steps.toSorted((a, b) => a.called - b.called);
      const lines = steps.map((s) => `  ${s.called}-${s.returned} thread ${s.thread} ${s.kind}`);
      const was = this.#live.has(illegal.block) ? 'live' : 'dead';
      throw new Error(
        `HEAPWRIGHT_SEED=0x${this.#seed.toString(16)}, history ${this.#round}: block ` +
          `${illegal.block}, at first ${was}, has no legal order\n${lines.join('\n')}`,
      );
    }
    this.#count(operations);
    this.#live = after;
    // Not too many; and now and then a thread frees that owns none of them.
    if (after.size > 100) this.#freeAll();
  }

  #count(operations: readonly Operation[]): void {
    let latest = -1;
    for (const { kind, called, returned } of operations.toSorted((a, b) => a.called - b.called)) {
      this.counts.operations += 1;
      this.counts.refused += Number(kind === 'refused');
      this.counts.overlapping += Number(called < latest);
      this.counts.cut += Number(returned === Infinity);
      if (returned !== Infinity) latest = Math.max(latest, returned);
    }
  }

  #freeAll(): void {
    for (const p of this.#live) this.heap.free(p);
    this.#live = new Set();
  }

  /** Everything is freed, and nothing was lost. */
  async finish(): Promise<void> {
    Atomics.store(this.#control, 1, -1);
    const gone = this.#workers.map((worker) => once(worker, 'exit'));
    Atomics.notify(this.#control, 1);
    await Promise.all(gone);
    this.#freeAll();
    this.heap.trim();
    expect(this.heap.check()).toBe(0);
    expect(this.heap.stats()).toMatchObject({ blocks: 0, used: 0, cached: 0, threads: 1 });
  }
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
  });
});
