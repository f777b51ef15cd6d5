/**
 * @file Histories of one heap: four workers that record what they do to it (`history-worker.mjs`), and a
 * judge of each history (`linearizability.ts`).
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Heap, MiB } from '../../index.ts';
import { root } from './child.ts';
import { firstIllegal } from './linearizability.ts';
import type { Operation, StepKind } from './linearizability.ts';
import type { Random } from './random.ts';

const entry = `file://${root}dist/index.js`;
const script = new URL('history-worker.mjs', import.meta.url);

/** Operations that fit into a worker's log. */
const LOG_OPERATIONS = 3000;

/** A heap, four workers that record what they do to it, and what it held at last. */
export class Recording {
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

  async #start(worker: number): Promise<void> {
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

  /** Starts the workers. */
  async startAll(): Promise<void> {
    await Promise.all(this.#logs.map((_, worker) => this.#start(worker)));
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
    await this.#start(victim);
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
        // One that found no memory did nothing; nor did one that was not called yet, or a question that
        // was never answered.
        .filter(
          ({ kind, block, called, returned }) =>
            block !== 0 && called >= 0 && !(kind === 'live' && returned === Infinity),
        ),
    );
  }

  #judge(): void {
    if (this.#failures.length > 0) throw new Error(this.#failures.join('; '));
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

  /** Workers let go, and everything is freed. */
  async finish(): Promise<void> {
    Atomics.store(this.#control, 1, -1);
    const gone = this.#workers.map((worker) => once(worker, 'exit'));
    Atomics.notify(this.#control, 1);
    await Promise.all(gone);
    this.#freeAll();
    this.heap.trim();
  }
}
