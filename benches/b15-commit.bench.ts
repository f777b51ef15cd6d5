/**
 * @file B15: memory that comes and goes. One block of 1 GiB: its first touch, with 4 KiB pages, huge pages, or populated by
 * the constructor; `free` and `trim()`; a second touch.
 *
 * It shows page faults and the kernel's zeroing, which is most of it, and that memory given back really leaves RSS. Figures
 * are milliseconds per GiB and depend on the machine's huge-page setting, which is printed with the results.
 *
 * A heap of its own comes and goes before each measured one: a virtual machine whose free pages are reported to its
 * hypervisor has to get them back first, at five to twenty times the price (`cold touch`), and soon loses them again.
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
    const populate = (): number => {
      let opened: { destroy(): void } | undefined;
      const took = perGibibyte(options.size, () => {
        opened = new Heap({ ...options, populate: true });
      });
      opened?.destroy(); // Its pages go now, not when its buffers are collected.
      return took;
    };
    populate();
    emit({ case: 'first touch, populate', unit: 'ms/GiB', samples: [populate()] });
    return;
  }
  const before = new Heap(options);
  const all = before.u8;
  const block = before.alloc(bytes);
  const cold = perGibibyte(bytes, () => consume(touch(all, block, block + bytes)));
  before.free(block);
  before.trim();
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
  emit({ case: `cold touch, ${form}`, unit: 'ms/GiB', samples: [cold] });
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
  const samples = [1, 2].map(() => {
    const took = perGibibyte(bytes, () => {
      const block = Buffer.alloc(bytes);
      consume(touch(block, 0, bytes));
    });
    (globalThis as { gc?: () => void }).gc?.(); // The suite runs this path with --expose-gc.
    return took;
  });
  emit({ case: 'cold touch, 4 KiB pages', unit: 'ms/GiB', samples: samples.slice(0, 1) });
  emit({ case: 'first touch, 4 KiB pages', unit: 'ms/GiB', samples: samples.slice(1) });
}

await main({
  heap: (args) => ours(args, '4 KiB pages'),
  'heap, huge pages': (args) => ours(args, 'huge pages'),
  'heap, populate': (args) => ours(args, 'populate'),
  'Buffer.alloc': buffer,
});
