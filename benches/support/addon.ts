/**
 * @file The bench-only addon: glibc behind two control-block calls, and behind an idiomatic class.
 *
 * `run.ts` builds it and names the file in HEAPWRIGHT_BENCH_ADDON.
 */

/** What `benches/addon` exports. */
export interface BenchAddon {
  attach(control: Float64Array, magazine: Uint32Array): void;
  nothing(): void;
  controlMalloc(): void;
  controlFree(): void;
  controlRefill(): void;
  argumentRefill(count: number, sizeClass: number): number;
  IdiomaticHeap: new () => {
    alloc(size: number): number;
    free(address: number): void;
    refill(count: number): void;
    readonly live: number;
  };
}

/** Loads the addon and gives it its control block and magazine. */
export function loadAddon(): { addon: BenchAddon; control: Float64Array; magazine: Uint32Array } {
  const file = process.env['HEAPWRIGHT_BENCH_ADDON'];
  if (file === undefined) throw new Error('HEAPWRIGHT_BENCH_ADDON names no file');
  const holder = { exports: {} as BenchAddon };
  process.dlopen(holder, file);
  const control = new Float64Array(new ArrayBuffer(64 * 8));
  const magazine = new Uint32Array(new ArrayBuffer(256 * 4));
  holder.exports.attach(control, magazine);
  return { addon: holder.exports, control, magazine };
}

/** glibc behind two control-block calls: the lean binding. The touch is written by the native side. */
export interface LeanMalloc {
  /** A real address. */
  alloc(size: number): number;
  /** Gives it back. */
  free(address: number): void;
}

/** Opens the lean binding. The callbacks are called without a receiver, which V8 compiles to a direct call. */
export function leanMalloc(): LeanMalloc {
  const { addon, control } = loadAddon();
  const { controlMalloc, controlFree } = addon;
  return {
    alloc(size: number): number {
      control[0] = size;
      controlMalloc();
      return control[0];
    },
    free(address: number): void {
      control[0] = address;
      controlFree();
    },
  };
}
