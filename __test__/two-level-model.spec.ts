/**
 * @file Acceptance test A2 for our own engine: random operations of random CPUs against an oracle.
 *
 * The oracle is a `Map` of live blocks and one byte for each byte of the range. Every block is filled with
 * its tag, which is checked before it is freed or moved; `stats`, `walk` and `check` are compared with the
 * oracle throughout. A CPU goes away now and then.
 *
 * CI: 2 seeds x 15,000 operations; torture: 4 x 1,000,000.
 */
import assert from 'node:assert/strict';
import { describe, expect, it } from 'vitest';
import { MiB, createAllocator } from '../index.ts';
import type { AllocError, GlobalAllocator } from '../index.ts';
import { Random, rounds, seedOf } from './support/random.ts';

const START = MiB(3);
const SIZE = MiB(6);
const CPUS = 4;
const OPERATIONS = rounds(15_000, 1_000_000);

interface Block {
  readonly size: number;
  readonly align: number;
  readonly tag: number;
  readonly pages: number;
}

/** The allocator with its oracle. */
class Run {
  readonly live = new Map<number, Block>();
  readonly open = [0, 1, 2, 3];
  readonly #held = new Uint8Array(SIZE);
  readonly #random: Random;
  readonly #engine: GlobalAllocator;
  #tag = 0;
  requested = 0;

  constructor(engine: GlobalAllocator, random: Random) {
    this.#engine = engine;
    this.#random = random;
  }

  cpu(): number {
    return this.#random.pick(this.open);
  }

  /** Runs `allocate`; a refusal must be for want of memory, and truthful. */
  born(size: number, align: number, pages: number, allocate: () => number): void {
    let pos: number;
    try {
      pos = allocate();
    } catch (error) {
      assert.equal((error as AllocError).code, 'ERR_NO_MEMORY');
      // The largest is that of alignment 1 and CPU 0: nothing larger than a page may be promised falsely.
      const { largestFree } = error as AllocError;
      if (align <= 8 && size > 2048) {
        const asked = pages > 0 ? pages : Math.ceil(size / 4096) * 4096;
        assert((largestFree as number) < asked, `${largestFree} is free, ${asked} was refused`);
      }
      return;
    }
    if (pos % align !== 0) throw new Error(`${pos} is no multiple of ${align}`);
    const span = this.#held.subarray(pos - START, pos - START + size);
    if (span.length !== size || span.includes(1)) throw new Error(`${pos} + ${size} is not free`);
    span.fill(1);
    this.#tag = (this.#tag % 255) + 1;
    this.#engine.view(pos).fill(this.#tag);
    this.live.set(pos, { size, align, tag: this.#tag, pages });
    this.requested += size;
  }

  verify(pos: number, length: number, tag: number): void {
    const view = this.#engine.view(pos, length);
    if (view.some((byte) => byte !== tag)) throw new Error(`the block at ${pos} was written over`);
  }

  died(pos: number): Block {
    const block = this.live.get(pos) as Block;
    this.#held.fill(0, pos - START, pos - START + block.size);
    this.live.delete(pos);
    this.requested -= block.size;
    return block;
  }

  any(): number | undefined {
    return this.live.size === 0 ? undefined : this.#random.pick([...this.live.keys()]);
  }

  compare(): void {
    const { blocks, requested, used, total } = this.#engine.stats();
    assert.deepEqual([blocks, requested, total], [this.live.size, this.requested, SIZE]);
    assert(used >= requested);
    assert(used <= this.#engine.allocatedBytes);
    const walked: number[][] = [];
    this.#engine.walk((pos, size, align) => walked.push([pos, size, align]));
    const expected = [...this.live].map(([pos, { size, align }]) => [pos, size, align]);
    expected.sort((a, b) => (a[0] as number) - (b[0] as number));
    assert.deepEqual(walked, expected);
    assert.equal(this.#engine.check(), this.live.size);
  }
}

function step(run: Run, engine: GlobalAllocator, random: Random): void {
  const victim = run.any();
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const [size, align] = [random.size(20_000), random.chance(1, 5) ? 1 << random.below(14) : 8];
      run.born(size, align, 0, () => engine.cpu(run.cpu()).alloc(size, align));
      break;
    }
    case 4: {
      const count = 1 + random.below(6);
      run.born(count * 4096, 4096, count, () => engine.allocPages(count));
      break;
    }
    case 5: {
      if (victim === undefined) break;
      const newSize = random.size(9000);
      const { size, tag, align, pages } = run.live.get(victim) as Block;
      let moved: number;
      try {
        moved = engine.realloc(victim, newSize);
      } catch (error) {
        assert.match((error as AllocError).code, /ERR_NO_MEMORY|ERR_CLOSED/u);
        run.verify(victim, size, tag);
        break;
      }
      run.verify(moved, Math.min(size, newSize), tag);
      run.died(victim);
      run.born(newSize, align, pages > 0 ? Math.ceil(newSize / 4096) : 0, () => moved);
      break;
    }
    default: {
      if (victim === undefined) break;
      const { size, tag } = run.live.get(victim) as Block;
      run.verify(victim, size, tag);
      if (random.chance(1, 4)) engine.dealloc(victim, size);
      else engine.cpu(run.cpu()).dealloc(victim);
      run.died(victim);
      assert(!engine.isLive(victim));
    }
  }
}

describe('two-level', () => {
  it.each(Array.from({ length: rounds(2, 4) }, (_, index) => 0x2_1e7e1 + index * 7919))(
    'agrees with its oracle, seed %i',
    (fallback) => {
      const seed = seedOf('two-level-model', fallback);
      const random = new Random(seed);
      using engine = createAllocator({ kind: 'two-level', start: START, size: SIZE, cpus: CPUS });
      const run = new Run(engine, random);
      for (let index = 0; index < OPERATIONS; index += 1) {
        step(run, engine, random);
        if (random.chance(1, 200)) engine.cpu(run.cpu()).drainRemoteFrees();
        if (random.chance(1, 500)) engine.trim();
        if (index % 500 === 0) run.compare();
        if (index === Math.floor(OPERATIONS / 2)) {
          engine.adopt(2, 3);
          run.open.splice(run.open.indexOf(2), 1);
        }
      }
      run.compare();
      for (const pos of random.shuffle([...run.live.keys()])) {
        engine.cpu(run.cpu()).dealloc(pos);
        run.died(pos);
      }
      engine.trim();
      run.compare();
      // A7: all of it is back.
      expect(engine.allocatedBytes).toBe(0);
      expect(engine.stats().largestFree).toBe(SIZE);
    },
  );
});
