/**
 * @file B7: larson, a server in miniature. Each of N threads replaces blocks of 8..1000 bytes in 5000 slots at random; after
 * 100 x 5000 steps it hands its slots to the next thread and goes on with those of the one before, so that most blocks are
 * freed by another thread than allocated them.
 *
 * It shows what a shared heap costs: the live check by an atomic exchange, the remote frees. The peer among JavaScript's own
 * means keeps Buffers in the slots and hands them over by `postMessage` with a transfer list. With two cores this is a ratio
 * at N = 1 and 2, not a scaling curve.
 */
import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  parentPort,
  workerData,
} from 'node:worker_threads';
import { type Arguments, emit, main, now } from './support/bench.ts';
import { heapClass, moduleUrl, type OurHeap } from './support/ours.ts';
import {
  LARSON_SLOTS,
  LARSON_TURN,
  larsonSeeds,
  larsonSize,
  larsonSlot,
  nextX,
  nextY,
} from './support/sequence.ts';
import { controlWords, go, OWN, sleep, startWorkers, STOP, waitForGo } from './support/threads.ts';

interface Share {
  readonly index: number;
  readonly threads: number;
  readonly control: Int32Array;
  /** Operations of each thread, in units of 5000. */
  readonly counts: Int32Array;
  readonly handle?: unknown;
  readonly slots?: Uint32Array;
  readonly inbox?: MessagePort;
  readonly next?: MessagePort;
}

interface State {
  x: number;
  y: number;
}

/** Replaces blocks in `slots` at random until `limit` operations are done or all is over; says how many were. */
type Turn = (slots: Uint32Array, state: State, control: Int32Array, limit: number) => number;

/** The loop of one thread, with heap and view as constants of its closure. */
function makeTurn(heap: OurHeap, bytes: Uint8Array): Turn {
  return (slots, state, control, limit) => {
    let { x, y } = state;
    let done = 0;
    while (done < limit && Atomics.load(control, STOP) === 0) {
      for (let i = 0; i < LARSON_SLOTS; i++) {
        x = nextX(x);
        y = nextY(y);
        const slot = larsonSlot(x);
        heap.free(slots[slot] as number);
        const p = heap.alloc(larsonSize(y));
        bytes[p] = i;
        slots[slot] = p;
      }
      done += LARSON_SLOTS;
    }
    state.x = x;
    state.y = y;
    return done;
  };
}

function turnOfBuffers(
  slots: Uint8Array[],
  state: State,
  control: Int32Array,
  limit: number,
): number {
  let { x, y } = state;
  let done = 0;
  while (done < limit && Atomics.load(control, STOP) === 0) {
    for (let i = 0; i < LARSON_SLOTS; i++) {
      x = nextX(x);
      y = nextY(y);
      const block = Buffer.allocUnsafeSlow(larsonSize(y));
      block[0] = i;
      slots[larsonSlot(x)] = block;
    }
    done += LARSON_SLOTS;
  }
  state.x = x;
  state.y = y;
  return done;
}

/** A mailbox per thread: 0 is empty, else the index of a set of slots, plus 1. */
function handOver(control: Int32Array, to: number, set: number): void {
  while (Atomics.compareExchange(control, OWN + to, 0, set + 1) !== 0) {
    if (Atomics.load(control, STOP) !== 0) return;
    Atomics.wait(control, OWN + to, Atomics.load(control, OWN + to), 10);
  }
  Atomics.notify(control, OWN + to);
}

function receive(control: Int32Array, self: number): number {
  for (;;) {
    const mail = Atomics.exchange(control, OWN + self, 0);
    if (mail !== 0) {
      Atomics.notify(control, OWN + self);
      return mail - 1;
    }
    if (Atomics.load(control, STOP) !== 0) return -1;
    Atomics.wait(control, OWN + self, 0, 10);
  }
}

async function heapThread(share: Share): Promise<void> {
  const { index, threads, control, counts } = share;
  const slots = share.slots as Uint32Array;
  const heap = (await heapClass()).attach(share.handle);
  const turn = makeTurn(heap, heap.u8);
  const state = larsonSeeds(index);
  let set = index;
  let own = slots.subarray(set * LARSON_SLOTS, (set + 1) * LARSON_SLOTS);
  for (let i = 0; i < LARSON_SLOTS; i++) {
    state.x = nextX(state.x);
    state.y = nextY(state.y);
    own[i] = heap.alloc(larsonSize(state.y));
  }
  turn(own, state, control, LARSON_TURN);
  parentPort?.postMessage('ready');
  waitForGo(control);
  while (set >= 0 && Atomics.load(control, STOP) === 0) {
    const done = turn(own, state, control, LARSON_TURN);
    Atomics.add(counts, index, done / LARSON_SLOTS);
    handOver(control, (index + 1) % threads, set);
    set = receive(control, index);
    if (set >= 0) own = slots.subarray(set * LARSON_SLOTS, (set + 1) * LARSON_SLOTS);
  }
}

function bufferThread(share: Share): void {
  const { index, control, counts } = share;
  const inbox = share.inbox as MessagePort;
  const next = share.next as MessagePort;
  const state = larsonSeeds(index);
  const first: Uint8Array[] = [];
  for (let i = 0; i < LARSON_SLOTS; i++) first.push(Buffer.allocUnsafeSlow(64));
  turnOfBuffers(first, state, control, LARSON_TURN);
  const work = (slots: Uint8Array[]): void => {
    const done = turnOfBuffers(slots, state, control, LARSON_TURN);
    Atomics.add(counts, index, done / LARSON_SLOTS);
    next.postMessage(
      slots,
      slots.map((block) => block.buffer as ArrayBuffer),
    );
  };
  inbox.on('message', work);
  parentPort?.postMessage('ready');
  waitForGo(control);
  work(first);
}

async function run(
  args: Arguments,
  prepare: (threads: number) => Promise<Partial<Share>[]>,
): Promise<void> {
  const threads = args.number('threads', 1);
  const control = controlWords(threads);
  const counts = new Int32Array(new SharedArrayBuffer(threads * 4));
  const shares = (await prepare(threads)).map((part, index) => ({
    index,
    threads,
    control,
    counts,
    ...part,
  }));
  const ports = shares.flatMap((share) =>
    [share.inbox, share.next].filter((port) => port !== undefined),
  );
  const url = moduleUrl('./b07-larson.bench', import.meta.url);
  await startWorkers(url, shares, ports);
  const start = now();
  go(control);
  sleep(args.number('millis', 5000));
  Atomics.store(control, STOP, 1);
  const seconds = (now() - start) / 1e9;
  sleep(50); // Each thread adds what it had done of its turn.
  let total = 0;
  for (let i = 0; i < threads; i++) total += Atomics.load(counts, i);
  emit({
    case: `N=${threads}`,
    unit: 'Mops/s',
    samples: [(total * LARSON_SLOTS) / seconds / 1e6 / threads],
  });
}

const paths = {
  heap: (args: Arguments): Promise<void> =>
    run(args, async (threads) => {
      const Heap = await heapClass();
      const heap = new Heap({ size: 2 ** 28 });
      const slots = new Uint32Array(new SharedArrayBuffer(threads * LARSON_SLOTS * 4));
      kept.push(heap);
      return Array.from({ length: threads }, () => ({ handle: heap.handle, slots }));
    }),
  postMessage: (args: Arguments): Promise<void> =>
    run(args, async (threads) => {
      const channels = Array.from({ length: threads }, () => new MessageChannel());
      return channels.map(({ port1 }, index) => ({
        inbox: port1,
        next: (channels[(index + 1) % threads] as MessageChannel).port2,
      }));
    }),
};

/** Heaps stay open while their threads run. */
const kept: OurHeap[] = [];

if (isMainThread) await main(paths);
else if ((workerData as Share).inbox === undefined) await heapThread(workerData as Share);
else bufferThread(workerData as Share);
