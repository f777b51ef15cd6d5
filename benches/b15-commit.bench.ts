/**
 * @file B15: memory that comes and goes. One block of 1 GiB: its first touch, with 4 KiB pages, huge pages, or populated by
 * the constructor; `free` and `trim()`; a second touch.
 *
 * It shows page faults and the kernel's zeroing, which is most of it, and that memory given back really leaves RSS. Figures
 * are milliseconds per GiB and depend on the machine's huge-page setting, which is printed with the results.
 */
import { type Arguments, consume, emit, main, now, residentBytes } from './support/bench.ts';
import { heapClass } from './support/ours.ts';

const PAGE = 4096;

function touch(bytes: Uint8Array, first: number, end: number): number {
  let sink = 0;
  for (let at = first; at < end; at += PAGE) {
    bytes[at] = 1;
    sink += at;
  }
  return sink;
}

/** Milliseconds of `body`, for `bytes` bytes, per GiB. */
function perGibibyte(bytes: number, body: () => void): number {
  const start = now();
  body();
  return ((now() - start) / 1e6) * (2 ** 30 / bytes);
}

async function ours(
  args: Arguments,
  form: '4 KiB pages' | 'huge pages' | 'populate',
): Promise<void> {
  const Heap = await heapClass();
  // The loop is compiled on memory of its own before.
  const warm = new Uint8Array(2 ** 24);
  for (let i = 0; i < 50; i++) consume(touch(warm, 0, warm.length));
  const bytes = args.number('mib', 1024) * 2 ** 20;
  const options = { size: bytes + 2 ** 24, hugePages: form === 'huge pages' };
  if (form === 'populate') {
    let opened: { close(): void } | undefined;
    const took = perGibibyte(options.size, () => {
      opened = new Heap({ ...options, populate: true });
    });
    emit({ case: 'first touch, populate', unit: 'ms/GiB', samples: [took] });
    opened?.close();
    return;
  }
  const heap = new Heap(options);
  const { u8 } = heap;
  const start = residentBytes();
  const p = heap.alloc(bytes);
  const first = perGibibyte(bytes, () => consume(touch(u8, p, p + bytes)));
  const full = residentBytes();
  heap.free(p);
  const trim = perGibibyte(bytes, () => consume(heap.trim() > 0 ? 1 : 0));
  const left = residentBytes();
  const again = heap.alloc(bytes);
  const second = perGibibyte(bytes, () => consume(touch(u8, again, again + bytes)));
  heap.free(again);
  emit({ case: `first touch, ${form}`, unit: 'ms/GiB', samples: [first] });
  emit({ case: `second touch, ${form}`, unit: 'ms/GiB', samples: [second] });
  emit({ case: `decommit, ${form}`, unit: 'ms/GiB', samples: [trim] });
  emit({
    case: `RSS left after trim, ${form}`,
    unit: '%',
    samples: [(Math.max(0, left - start) / (full - start)) * 100],
  });
}

function buffer(args: Arguments): void {
  const warm = new Uint8Array(2 ** 24);
  for (let i = 0; i < 50; i++) consume(touch(warm, 0, warm.length));
  const bytes = args.number('mib', 1024) * 2 ** 20;
  const took = perGibibyte(bytes, () => {
    const block = Buffer.alloc(bytes);
    consume(touch(block, 0, bytes));
  });
  emit({ case: 'first touch, 4 KiB pages', unit: 'ms/GiB', samples: [took] });
}

await main({
  heap: (args) => ours(args, '4 KiB pages'),
  'heap, huge pages': (args) => ours(args, 'huge pages'),
  'heap, populate': (args) => ours(args, 'populate'),
  'Buffer.alloc': buffer,
});
