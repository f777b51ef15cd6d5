/**
 * @file A byte allocator in plain JavaScript, small enough to be trusted, with faults to order.
 *
 * First fit over a sorted list of free runs, granules of 16 bytes. It stands in where a test is about
 * the replay or the recorder and not about an allocator, and where a broken allocator is needed.
 */

/** What goes wrong, from the `after`-th alloc on. */
export interface ToyFault {
  readonly after: number;
  readonly fault: 'overlap' | 'misalign' | 'dirty-zeroed' | 'realloc-forgets';
}

const GRANULE = 16;

class ToyError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export class ToyAllocator {
  readonly kind = 'toy';
  readonly ranges: readonly { start: number; size: number }[];
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #live = new Map<number, { size: number; align: number }>();
  #free: { pos: number; size: number }[];
  readonly #fault: ToyFault | undefined;
  #allocs = 0;
  #used = 0;
  #peakUsed = 0;

  constructor(size: number, fault?: ToyFault, start = 4096) {
    this.ranges = [{ start, size }];
    this.#start = start;
    this.#bytes = new Uint8Array(size).fill(0xa5);
    this.#free = [{ pos: start, size }];
    this.#fault = fault;
  }

  alloc(size: number, align = 8): number {
    const broken = this.#isBroken();
    if (broken === 'overlap') {
      const [other] = this.#live.keys();
      if (other !== undefined) return other;
    }
    const granted = Math.ceil(size / GRANULE) * GRANULE;
    for (const [index, run] of this.#free.entries()) {
      const pos = Math.ceil(run.pos / Math.max(align, GRANULE)) * Math.max(align, GRANULE);
      const end = pos + granted;
      if (end > run.pos + run.size) continue;
      const rest = [];
      if (pos > run.pos) rest.push({ pos: run.pos, size: pos - run.pos });
      if (end < run.pos + run.size) rest.push({ pos: end, size: run.pos + run.size - end });
      this.#free.splice(index, 1, ...rest);
      this.#live.set(pos, { size, align });
      this.#used += granted;
      this.#peakUsed = Math.max(this.#peakUsed, this.#used);
      return broken === 'misalign' ? pos + 8 : pos;
    }
    throw new ToyError('ERR_NO_MEMORY');
  }

  allocZeroed(size: number, align?: number): number {
    const pos = this.alloc(size, align);
    const bytes = this.view(pos, size).fill(0);
    if (this.#isBroken() === 'dirty-zeroed') bytes[size - 1] = 1;
    return pos;
  }

  realloc(pos: number, newSize: number): number {
    const { size, align } = this.#blockAt(pos);
    const old = this.view(pos, Math.min(size, newSize)).slice();
    const moved = this.alloc(newSize, align);
    if (this.#isBroken() !== 'realloc-forgets') this.view(moved, newSize).set(old);
    this.dealloc(pos);
    return moved;
  }

  dealloc(pos: number): void {
    const { size } = this.#blockAt(pos);
    this.#live.delete(pos);
    const granted = Math.ceil(size / GRANULE) * GRANULE;
    this.#used -= granted;
    const index = this.#free.findIndex((run) => run.pos > pos);
    this.#free.splice(index < 0 ? this.#free.length : index, 0, { pos, size: granted });
    this.#merge();
  }

  view(pos: number, length: number): Uint8Array {
    return this.#bytes.subarray(pos - this.#start, pos - this.#start + length);
  }

  usableSize(pos: number): number {
    return Math.ceil(this.#blockAt(pos).size / GRANULE) * GRANULE;
  }

  get usedBytes(): number {
    return this.#used;
  }

  stats(): { used: number; largestFree: number; peakUsed: number } {
    const largestFree = this.#free.reduce((largest, run) => Math.max(largest, run.size), 0);
    return { used: this.#used, largestFree, peakUsed: this.#peakUsed };
  }

  #isBroken(): ToyFault['fault'] | undefined {
    this.#allocs++;
    const fault = this.#fault;
    return fault !== undefined && this.#allocs > fault.after ? fault.fault : undefined;
  }

  #blockAt(pos: number): { size: number; align: number } {
    const block = this.#live.get(pos);
    if (block === undefined) throw new ToyError('ERR_NOT_ALLOCATED');
    return block;
  }

  #merge(): void {
    const merged: { pos: number; size: number }[] = [];
    for (const run of this.#free) {
      const last = merged.at(-1);
      if (last !== undefined && last.pos + last.size === run.pos) last.size += run.size;
      else merged.push({ ...run });
    }
    this.#free = merged;
  }
}
