/**
 * @file B13: fields. Two million records of four numbers: the sum of a field, an update of another, a sort by a field.
 *
 * It shows what reading and writing records on a heap costs beside objects, a `DataView` and a bare `Float64Array`. The heap's
 * records lie in one block, read through a view of that block, as a store of many records is; in rows of their own the same
 * block through the whole-heap view, and a pool block for each record, reached through an array of their addresses. The same loops run once more under `--no-use-osr`, where on-stack
 * replacement cannot favor a side. `bytes per access` is what the sum left on the JavaScript heap.
 */
import { type Arguments, consume, emit, main, measure } from './support/bench.ts';
import { openHeap } from './support/ours.ts';
import { nextX, SEED_SLOT } from './support/sequence.ts';

interface PlainRecord {
  a: number;
  b: number;
  c: number;
  d: number;
}

/** The three loops over one representation. */
interface Fields {
  readonly kernel: unknown;
  readonly updateKernel: unknown;
  sum(count: number): number;
  update(count: number): number;
  sort(): number;
}

/** The key of record `i`: the same for every representation. */
function keys(records: number): Float64Array {
  const values = new Float64Array(records);
  let x = SEED_SLOT;
  for (let i = 0; i < records; i++) {
    x = nextX(x);
    values[i] = x / 7;
  }
  return values;
}

function sumObjects(list: PlainRecord[], count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += (list[i] as PlainRecord).b;
  return sum;
}

function updateObjects(list: PlainRecord[], count: number): number {
  for (let i = 0; i < count; i++) {
    const record = list[i] as PlainRecord;
    record.c = record.b * 0.5 + 1;
  }
  return list.length;
}

function objects(records: number): Fields {
  const list = Array.from(keys(records), (key, i): PlainRecord => ({
    a: i,
    b: key,
    c: key + 0.5,
    d: i + 0.25,
  }));
  return {
    kernel: sumObjects,
    updateKernel: updateObjects,
    sum: (count) => sumObjects(list, count),
    update: (count) => updateObjects(list, count),
    sort: () => list.toSorted((left, right) => left.b - right.b).length,
  };
}

function sumNumbers(numbers: Float64Array, end: number): number {
  let sum = 0;
  for (let at = 1; at < end; at += 4) sum += numbers[at] as number;
  return sum;
}

function updateNumbers(numbers: Float64Array, end: number): number {
  for (let at = 0; at < end; at += 4) numbers[at + 2] = (numbers[at + 1] as number) * 0.5 + 1;
  return numbers.length;
}

/** The loops over one array of numbers, wherever it lies. */
function numbersOf(numbers: Float64Array, records: number): Fields {
  keys(records).forEach((key, i) => numbers.set([i, key, key + 0.5, i + 0.25], i * 4));
  const order = Uint32Array.from({ length: records }, (_, i) => i * 4);
  return {
    kernel: sumNumbers,
    updateKernel: updateNumbers,
    sum: (count) => sumNumbers(numbers, count * 4),
    update: (count) => updateNumbers(numbers, count * 4),
    sort: () =>
      order.toSorted((l, r) => (numbers[l + 1] as number) - (numbers[r + 1] as number)).length,
  };
}

function sumView(view: DataView, end: number): number {
  let sum = 0;
  for (let at = 8; at < end; at += 32) sum += view.getFloat64(at, true);
  return sum;
}

function updateView(view: DataView, end: number): number {
  for (let at = 0; at < end; at += 32) {
    view.setFloat64(at + 16, view.getFloat64(at + 8, true) * 0.5 + 1, true);
  }
  return view.byteLength;
}

function dataView(records: number): Fields {
  const view = new DataView(new ArrayBuffer(records * 32));
  keys(records).forEach((key, i) => {
    view.setFloat64(i * 32, i, true);
    view.setFloat64(i * 32 + 8, key, true);
    view.setFloat64(i * 32 + 16, key + 0.5, true);
    view.setFloat64(i * 32 + 24, i + 0.25, true);
  });
  const order = Uint32Array.from({ length: records }, (_, i) => i * 32);
  return {
    kernel: sumView,
    updateKernel: updateView,
    sum: (count) => sumView(view, count * 32),
    update: (count) => updateView(view, count * 32),
    sort: () =>
      order.toSorted((l, r) => view.getFloat64(l + 8, true) - view.getFloat64(r + 8, true)).length,
  };
}

/** One block of the heap through a view that covers it. */
async function inOneBlock(args: Arguments, records: number): Promise<Fields> {
  const heap = await openHeap(args, 2 ** 28);
  const { buffer, byteOffset } = heap.view(heap.alloc(records * 32));
  return numbersOf(new Float64Array(buffer, byteOffset, records * 4), records);
}

/** The same block, record i at `base + 4 i` numbers of the whole heap: no index of the loops is known to start at 0. */
function sumBlock(f64: Float64Array, base: number, end: number): number {
  let sum = 0;
  for (let at = base + 1; at < end; at += 4) sum += f64[at] as number;
  return sum;
}

function updateBlock(f64: Float64Array, base: number, end: number): number {
  for (let at = base; at < end; at += 4) f64[at + 2] = (f64[at + 1] as number) * 0.5 + 1;
  return end;
}

async function inWholeHeap(args: Arguments, records: number): Promise<Fields> {
  const heap = await openHeap(args, 2 ** 28);
  const { f64 } = heap;
  const base = heap.alloc(records * 32) / 8;
  keys(records).forEach((key, i) => f64.set([i, key, key + 0.5, i + 0.25], base + i * 4));
  const order = Uint32Array.from({ length: records }, (_, i) => base + i * 4);
  return {
    kernel: sumBlock,
    updateKernel: updateBlock,
    sum: (count) => sumBlock(f64, base, base + count * 4),
    update: (count) => updateBlock(f64, base, base + count * 4),
    sort: () => order.toSorted((l, r) => (f64[l + 1] as number) - (f64[r + 1] as number)).length,
  };
}

/** A pool block each; `at` holds the index of each record's first number in `f64`. */
function sumPool(f64: Float64Array, at: Uint32Array, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += f64[(at[i] as number) + 1] as number;
  return sum;
}

function updatePool(f64: Float64Array, at: Uint32Array, count: number): number {
  for (let i = 0; i < count; i++) {
    const first = at[i] as number;
    f64[first + 2] = (f64[first + 1] as number) * 0.5 + 1;
  }
  return at.length;
}

async function inPool(args: Arguments, records: number): Promise<Fields> {
  const heap = await openHeap(args, 2 ** 28);
  const pool = heap.pool(32);
  const { f64 } = heap;
  const at = Uint32Array.from(keys(records), (key, i) => {
    const first = pool.alloc() / 8;
    f64.set([i, key, key + 0.5, i + 0.25], first);
    return first;
  });
  return {
    kernel: sumPool,
    updateKernel: updatePool,
    sum: (count) => sumPool(f64, at, count),
    update: (count) => updatePool(f64, at, count),
    sort: () => at.toSorted((l, r) => (f64[l + 1] as number) - (f64[r + 1] as number)).length,
  };
}

async function run(
  args: Arguments,
  open: (records: number) => Fields | Promise<Fields>,
): Promise<void> {
  const records = args.number('records', 2_000_000);
  const { kernel, updateKernel, sum, update, sort } = await open(records);
  const osr = args.flag('no-osr') ? ', no OSR' : '';
  emit({ case: `sum${osr}`, unit: 'ns', ...measure(args, records, kernel, sum) });
  emit({ case: `update${osr}`, unit: 'ns', ...measure(args, records, updateKernel, update) });
  if (osr !== '') return;
  const before = process.memoryUsage().heapUsed;
  consume(sum(records));
  const bytes = Math.max(0, process.memoryUsage().heapUsed - before);
  // What memoryUsage() itself allocates is a few hundred bytes a call.
  emit({ case: 'bytes per access', unit: 'B', samples: [bytes < 4096 ? 0 : bytes / records] });
  const once = args.with(new Map([['passes', '1']]));
  emit({ case: 'sort', unit: 'ns', samples: measure(once, records, kernel, sort, 1).samples });
}

await main({
  heap: (args) => run(args, (records) => inOneBlock(args, records)),
  'heap, whole-heap view': (args) => run(args, (records) => inWholeHeap(args, records)),
  'heap, a pool block each': (args) => run(args, (records) => inPool(args, records)),
  'array of objects': (args) => run(args, objects),
  Float64Array: (args) => run(args, (records) => numbersOf(new Float64Array(records * 4), records)),
  DataView: (args) => run(args, dataView),
});
