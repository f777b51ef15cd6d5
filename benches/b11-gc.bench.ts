/**
 * @file B11: what millions of records cost the garbage collector. A record is an id, three numbers and a string of 16 bytes.
 *
 * Forced `gc()` with the store alive, the JavaScript heap it takes, and the 99.9th percentile of the event loop's delay under
 * a churn that promotes nothing (garbage of the test's own would otherwise be what is measured). The empty process stands
 * beside, for its `gc()` alone is half of ours. On the Heap a record is 48 bytes of one pool, found by an open-addressing
 * table in the same heap. It shows stores that live long; it does not show look-ups (B12), nor the cost of making objects
 * out of records.
 */
import { LRUCache } from 'lru-cache';
import { type Arguments, consume, emit, main, now } from './support/bench.ts';
import { openHeap } from './support/ours.ts';
import { nextX } from './support/sequence.ts';

/** A store of records: filled once, then asked. */
interface Store {
  put(id: number): void;
  /** Something of the record, so that the store is really there. */
  sum(id: number): number;
}

const text = (id: number): string => id.toString(36).padStart(16, '0');

interface PlainRecord {
  id: number;
  a: number;
  b: number;
  c: number;
  name: string;
}

const plain = (id: number): PlainRecord => ({
  id,
  a: id * 0.5,
  b: id + 1,
  c: id * 2,
  name: text(id),
});

function mapOfObjects(): Store {
  const map = new Map<number, PlainRecord>();
  return {
    put: (id) => void map.set(id, plain(id)),
    sum: (id) => map.get(id)?.b ?? Number.NaN,
  };
}

function mapOfBuffers(): Store {
  const map = new Map<number, Buffer>();
  return {
    put(id) {
      const record = Buffer.allocUnsafe(48);
      record.writeUInt32LE(id, 0);
      record.writeDoubleLE(id * 0.5, 8);
      record.writeDoubleLE(id + 1, 16);
      record.writeDoubleLE(id * 2, 24);
      record.write(text(id), 32, 'latin1');
      map.set(id, record);
    },
    sum: (id) => map.get(id)?.readDoubleLE(16) ?? Number.NaN,
  };
}

function lru(records: number): Store {
  const cache = new LRUCache<number, PlainRecord>({ max: records });
  return {
    put: (id) => void cache.set(id, plain(id)),
    sum: (id) => cache.get(id)?.b ?? Number.NaN,
  };
}

/** Records on a Heap. The table holds a record's address over 16, or 0; ids hash by multiplication. */
async function heapStore(args: Arguments, records: number): Promise<Store> {
  const bits = Math.ceil(Math.log2(records * 1.5));
  const heap = await openHeap(args, records * 56 + 2 ** bits * 4 + 2 ** 26);
  const pool = heap.pool(48);
  const { f64, u8 } = heap;
  const table = heap.view(heap.alloc(2 ** bits * 4));
  const slots = new Uint32Array(table.buffer, table.byteOffset, 2 ** bits).fill(0);
  const mask = 2 ** bits - 1;
  const find = (id: number): number => {
    let slot = (Math.imul(id, 0x9e3779b1) >>> 0) & mask;
    for (;;) {
      const at = (slots[slot] as number) * 2;
      if (at === 0 || f64[at] === id) return slot;
      slot = (slot + 1) & mask;
    }
  };
  return {
    put(id) {
      const p = pool.alloc();
      const at = p / 8;
      f64[at] = id;
      f64[at + 1] = id * 0.5;
      f64[at + 2] = id + 1;
      f64[at + 3] = id * 2;
      const name = text(id);
      for (let i = 0; i < 16; i++) u8[p + 32 + i] = name.charCodeAt(i);
      slots[find(id)] = p / 16;
    },
    sum: (id) => f64[(slots[find(id)] as number) * 2 + 2] as number,
  };
}

/** Forces collections until the heap is still, then takes the time of three more. */
function forcedCollections(): number[] {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error('run with --expose-gc');
  gc();
  const samples: number[] = [];
  for (let i = 0; i < 3; i++) {
    const start = now();
    gc();
    samples.push((now() - start) / 1e6);
  }
  return samples;
}

/** Milliseconds: the 99.9th percentile of what a turn of the event loop took beyond its churn's median. */
async function delayUnderChurn(store: Store, records: number, millis: number): Promise<number> {
  const delays: number[] = [];
  let x = 1;
  const end = now() + millis * 1e6;
  let last = now();
  while (now() < end) {
    for (let i = 0; i < 200; i++) {
      x = nextX(x);
      const garbage = { x, pair: [x, i] };
      consume(store.sum((x >>> 0) % records) + garbage.pair.length);
    }
    await new Promise((resolve) => setImmediate(resolve));
    const time = now();
    delays.push(time - last);
    last = time;
  }
  delays.sort((a, b) => a - b);
  const at = (share: number): number => delays[Math.floor(delays.length * share)] ?? 0;
  return (at(0.999) - at(0.5)) / 1e6;
}

async function run(
  args: Arguments,
  open: (records: number) => Store | Promise<Store>,
): Promise<void> {
  const records = args.number('records', 1_000_000);
  const name = records === 1_000_000 ? '1 M' : `${records / 1_000_000} M`;
  const store = await open(records);
  const start = now();
  for (let id = 1; id <= records; id++) store.put(id);
  const filled = (now() - start) / records;
  for (let id = 1; id < records; id += 997) {
    if (store.sum(id) !== id + 1) throw new Error(`record ${id} is not what was stored`);
  }
  emit({ case: `${name}, put`, unit: 'ns', samples: [filled] });
  emit({ case: `${name}, gc()`, unit: 'ms', samples: forcedCollections() });
  emit({
    case: `${name}, JavaScript heap`,
    unit: 'MB',
    samples: [process.memoryUsage().heapUsed / 1e6],
  });
  const millis = args.number('millis', 2000);
  if (millis > 0) {
    const delay = await delayUnderChurn(store, records, millis);
    emit({ case: `${name}, p99.9 delay`, unit: 'ms', samples: [delay] });
  }
}

await main({
  heap: (args) => run(args, (records) => heapStore(args, records)),
  'Map of objects': (args) => run(args, mapOfObjects),
  'Map of Buffers': (args) => run(args, mapOfBuffers),
  'lru-cache': (args) => run(args, lru),
  'empty process': (args) =>
    run(args, () => {
      let last = 0;
      return { put: (id) => void (last = id), sum: (id) => (last > 0 ? id + 1 : 0) };
    }),
});
