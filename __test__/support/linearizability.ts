/**
 * @file A checker of histories, after Wing and Gong: is there an order of a block's operations that
 * respects their times and in which each answer is right?
 *
 * A block is either live or not. An operation takes effect at one moment between its call and its
 * return. The checker tries every order that real time allows, and remembers which positions of all
 * threads, with which state, it has been in before: with `t` threads and `n` operations each it looks
 * at `n^t` of them at worst, and at few more than `n` where threads seldom overlap.
 *
 * Locality makes this enough: a history of a heap is linearizable if that of each block is, since an
 * `alloc` may return any block that is not live.
 *
 * Not here: how histories are recorded (`history-worker.mjs`, `linearizability.spec.ts`).
 */

/** What an operation did to the block, or said of it. */
export type StepKind =
  /** `alloc` returned the block. */
  | 'alloc'
  /** `free` succeeded. */
  | 'free'
  /** `free` threw `ERR_NOT_ALLOCATED`. */
  | 'refused'
  /** `isLive` said so. */
  | 'live'
  | 'dead';

/** One operation on one block, by one thread. */
export interface Step {
  readonly thread: number;
  readonly kind: StepKind;
  /** Stamps from one counter that all threads share; `returned` is Infinity if it never did. */
  readonly called: number;
  readonly returned: number;
}

/** Whether the block must be live for this answer, and whether it is afterwards. */
const effects: Readonly<Record<StepKind, { readonly before: boolean; readonly after: boolean }>> = {
  alloc: { before: false, after: true },
  free: { before: true, after: false },
  refused: { before: false, after: false },
  live: { before: true, after: true },
  dead: { before: false, after: false },
};

/**
 * Whether some order of the steps is legal.
 *
 * @param steps - Of one block. Those of one thread do not overlap, but the last may never have
 * returned: then it happened or not.
 * @param liveAtFirst - The state before all of them.
 */
export function isLinearizable(steps: readonly Step[], liveAtFirst: boolean): boolean {
  const threads = byThread(steps);
  const left = steps.filter((step) => step.returned !== Infinity).length;
  const seen = new Set<string>();
  const open = [{ at: threads.map(() => 0), live: liveAtFirst, left }];
  for (let here = open.pop(); here !== undefined; here = open.pop()) {
    if (here.left === 0) return true;
    const { at, live } = here;
    const key = `${at.join()} ${live}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const heads = threads.map((own, thread) => own[at[thread] as number]);
    // Whatever is called after another has returned comes after it.
    const latest = Math.min(...heads.map((step) => step?.returned ?? Infinity));
    for (const [thread, step] of heads.entries()) {
      if (step === undefined || step.called > latest || effects[step.kind].before !== live)
        continue;
      open.push({
        at: at.map((position, other) => (other === thread ? position + 1 : position)),
        live: effects[step.kind].after,
        left: here.left - (step.returned === Infinity ? 0 : 1),
      });
    }
  }
  return false;
}

/** The steps of each thread, in its own order. */
function byThread(steps: readonly Step[]): Step[][] {
  const threads = new Map<number, Step[]>();
  for (const step of steps.toSorted((a, b) => a.called - b.called)) {
    const own = threads.get(step.thread);
    const last = own?.at(-1);
    if (own === undefined) threads.set(step.thread, [step]);
    else if (last !== undefined && last.returned > step.called)
      throw new Error(
        `thread ${step.thread} called twice at once: ${JSON.stringify([last, step])}`,
      );
    else own.push(step);
  }
  return [...threads.values()];
}

/** An operation on a heap, as a thread recorded it. */
export interface Operation {
  readonly thread: number;
  readonly kind: StepKind;
  /** The block; `undefined` for an `alloc` that never returned. */
  readonly block: number | undefined;
  readonly called: number;
  readonly returned: number;
}

/** A block whose steps have no legal order. */
export interface Verdict {
  readonly block: number;
  readonly steps: readonly Step[];
}

/**
 * The first block of a history that has no legal order.
 *
 * @param operations - By all threads.
 * @param before - The blocks that were live before all of them.
 * @param after - And after.
 * @remarks An `alloc` that never returned may have made one block live that nobody was told of. Each such
 * call explains one block at most.
 */
export function firstIllegal(
  operations: readonly Operation[],
  before: ReadonlySet<number>,
  after: ReadonlySet<number>,
): Verdict | undefined {
  const end = Math.max(0, ...operations.map((step) => Math.max(step.called, returnOf(step)))) + 1;
  const blocks = new Map<number, Step[]>([...before, ...after].map((block) => [block, []]));
  for (const { block, ...step } of operations) {
    if (block === undefined) continue;
    const steps = blocks.get(block);
    if (steps === undefined) blocks.set(block, [step]);
    else steps.push(step);
  }
  const lost = operations.filter((step) => step.block === undefined);
  const unexplained: Verdict[] = [];
  for (const [block, steps] of blocks) {
    const kind = after.has(block) ? 'live' : 'dead';
    steps.push({ thread: -1, kind, called: end, returned: end + 1 });
    if (isLinearizable(steps, before.has(block))) continue;
    const explained = lost.some((alloc, index) => {
      const step = { ...alloc, kind: 'alloc' as const, thread: -2 - index };
      return isLinearizable([...steps, step], before.has(block));
    });
    if (!explained) return { block, steps };
    unexplained.push({ block, steps });
  }
  return unexplained.length > lost.length ? unexplained[0] : undefined;
}

function returnOf(step: Operation): number {
  return step.returned === Infinity ? 0 : step.returned;
}
