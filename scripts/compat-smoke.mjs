/**
 * @file One program for every runtime: families, Heap, workers, close, a heap of 8 GiB.
 *
 * Prints one JSON line per step: `{ step, ok, note }`. What a runtime cannot do must be a documented
 * error, never a crash.
 */
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { AllocError, GiB, Heap, MiB, createAllocator, features } from 'heapwright';

const say = (step, ok, note = '') => console.log(JSON.stringify({ step, ok, note }));

/** Runs a step; a documented error is its note. */
function attempt(step, run, documented = []) {
  try {
    say(step, true, run() ?? '');
  } catch (error) {
    const known = error instanceof AllocError && documented.includes(error.code);
    say(step, known, known ? error.code : String(error?.stack ?? error));
  }
}

function must(condition, what) {
  if (!condition) throw new Error(what);
}

function families() {
  for (const kind of ['buddy', 'tlsf', 'slab', 'two-level']) {
    const a = createAllocator({ kind, size: MiB(4) });
    const p = a.alloc(1000, 16);
    a.view(p, 4).set([1, 2, 3, 4]);
    must(a.view(p)[2] === 3, `${kind}: bytes`);
    a.dealloc(p);
    let code = 'none';
    try {
      a.dealloc(p);
    } catch (error) {
      code = error.code;
    }
    must(code === 'ERR_NOT_ALLOCATED', `${kind}: second free gave ${code}`);
    a.close();
  }
  const pages = createAllocator({ kind: 'bitmap', size: GiB(1024) });
  pages.deallocPages(pages.allocPages(10));
  pages.close();
  const ids = createAllocator({ kind: 'id', size: 1000 });
  ids.deallocId(ids.allocId());
  ids.close();
}

function heapAlone() {
  const heap = new Heap({ size: MiB(64) });
  const pool = heap.pool(48);
  const ps = Array.from({ length: 20_000 }, (_, i) =>
    i % 2 ? pool.alloc() : heap.alloc(16 + (i % 700)),
  );
  for (const p of ps) heap.u32[p / 4] = p;
  for (const p of ps) must(heap.u32[p / 4] === p, 'contents');
  heap.freeMany(ps.slice(0, 10_000));
  for (const p of ps.slice(10_000)) heap.free(p);
  must(heap.check() === 0, 'check');
  const kept = heap.u8;
  heap.close();
  must(features().backend === 'shared' || kept.length === 0, 'views after close');
  let code = 'none';
  try {
    heap.alloc(5);
  } catch (error) {
    code = error.code;
  }
  must(code === 'ERR_CLOSED', `after close: ${code}`);
  return features().backend;
}

function eightGiB() {
  const heap = new Heap({ size: GiB(8) });
  const low = heap.alloc(GiB(5));
  const p = heap.alloc(1000);
  must(p > GiB(4), 'above 4 GiB');
  heap.view(p, 8).fill(7);
  heap.copy(low, p, 8);
  must(heap.view(low, 8)[7] === 7, 'copy across windows');
  let whole = 'whole-heap views';
  try {
    must(heap.u8.length === GiB(8), 'length of u8');
  } catch (error) {
    if (error.code !== 'ERR_UNSUPPORTED') throw error;
    whole = 'views by window only';
  }
  heap.free(p);
  heap.free(low);
  must(heap.check() === 0, 'check');
  heap.close();
  return whole;
}

async function workers() {
  const heap = new Heap({ size: MiB(64) });
  const run = (job) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), {
        workerData: { handle: heap.handle, job },
      });
      worker.once('error', reject);
      worker.once('message', (message) => resolve([worker, message]));
    });
  const [leaver, ps] = await run('leave');
  await new Promise((resolve) => leaver.once('exit', resolve));
  for (const p of ps) heap.free(p);
  const [spinner] = await run('spin');
  await spinner.terminate();
  // Not every runtime waits for the thread to be gone.
  for (let i = 0; i < 100 && heap.stats().threads > 1; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const left = [];
  heap.walk((p) => left.push(p));
  heap.freeMany(left);
  must(heap.check() === 0, 'check after terminate');
  const threads = heap.stats().threads;
  heap.close();
  return `threads after terminate: ${threads}`;
}

if (isMainThread) {
  attempt('families', families);
  attempt('heap', heapAlone);
  attempt('8 GiB', eightGiB, ['ERR_UNSUPPORTED', 'ERR_NO_MEMORY']);
  workers()
    .then(
      (note) => say('workers', true, note),
      (error) => say('workers', false, String(error?.stack ?? error)),
    )
    .then(() => say('end', true));
} else {
  const heap = Heap.attach(workerData.handle);
  if (workerData.job === 'leave') {
    const ps = Array.from({ length: 1000 }, (_, i) => heap.alloc(16 + i));
    heap.close();
    parentPort.postMessage(ps);
    parentPort.close();
  } else {
    parentPort.postMessage('ready');
    for (;;) heap.free(heap.alloc(64));
  }
}
