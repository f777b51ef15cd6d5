/**
 * @file B10: the crossing between JavaScript and native code, and what a batch makes of it.
 *
 * `call` is one call without arguments; `control block` writes an operand, calls, reads a result: the form the Heap uses. Both
 * per call, then divided by the objects that one refill brings. The three `refill` forms (control block, arguments of an
 * ordinary napi-rs function, method of a `#[napi]` class) also write the objects natively and read them in JavaScript. The C
 * loop beside them allocates and frees the same batch with glibc. It shows costs of calls, not of an allocator.
 */
import { type Arguments, emit, main, measure } from './support/bench.ts';
import { loadAddon } from './support/addon.ts';

const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

function calls(nothing: () => void, count: number): number {
  for (let i = 0; i < count; i++) nothing();
  return count;
}

function controlCalls(nothing: () => void, control: Float64Array, count: number): number {
  let sink = 0;
  for (let i = 0; i < count; i++) {
    control[0] = i;
    nothing();
    sink += control[0];
  }
  return sink;
}

function refills(
  refill: (count: number) => void,
  magazine: Uint32Array,
  batch: number,
  rounds: number,
): number {
  let sink = 0;
  for (let round = 0; round < rounds; round++) {
    refill(batch);
    for (let i = 0; i < batch; i++) sink = (sink + (magazine[i] as number)) | 0;
  }
  return sink;
}

function single(args: Arguments): void {
  const { addon, control } = loadAddon();
  const count = args.stepsPerCall(4_000_000);
  emit({
    case: 'call',
    unit: 'ns',
    ...measure(args, count, calls, (n) => calls(addon.nothing, n)),
  });
  const result = measure(args, count, controlCalls, (n) => controlCalls(addon.nothing, control, n));
  emit({ case: 'control block', unit: 'ns', ...result });
  for (const batch of BATCHES) {
    emit({
      case: `crossing / ${batch}`,
      unit: 'ns',
      samples: result.samples.map((sample) => sample / batch),
    });
  }
}

function refill(args: Arguments, form: 'control' | 'arguments' | 'class'): void {
  const { addon, control, magazine } = loadAddon();
  const heap = new addon.IdiomaticHeap();
  const { argumentRefill, controlRefill } = addon;
  const forms = {
    control: (count: number): void => {
      control[0] = count;
      controlRefill();
    },
    arguments: (count: number): void => void argumentRefill(count, 3),
    class: (count: number): void => heap.refill(count),
  };
  for (const batch of BATCHES) {
    const rounds = Math.ceil(args.stepsPerCall(4_000_000) / batch);
    const result = measure(args, rounds * batch, refills, (n) =>
      refills(forms[form], magazine, batch, Math.ceil(n / batch)),
    );
    emit({ case: `refill ${batch}`, unit: 'ns', ...result });
  }
}

await main({
  'control-block': single,
  'refill by control block': (args) => refill(args, 'control'),
  'refill by arguments': (args) => refill(args, 'arguments'),
  'refill by class': (args) => refill(args, 'class'),
});
