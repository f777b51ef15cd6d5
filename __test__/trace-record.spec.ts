/**
 * @file Recordings: on a toy, on every byte kind and on a Heap, replayed and recorded again.
 */
import { describe, expect, it } from 'vitest';
import { Heap, MiB, createAllocator, features } from '../index.ts';
import type { ByteAllocator } from '../index.ts';
import { readTrace, writeTrace } from '../src/trace/format.ts';
import { ToyAllocator } from './support/toy-allocator.ts';
import { SEED, TORTURE, errorOf, file, record, replay, someEvents } from './support/traces.ts';

describe('record', () => {
  const trace = readTrace(writeTrace(someEvents(3000, SEED)));

  it('gives back the trace of a replay, byte for byte', () => {
    const toy = new ToyAllocator(64 * 2 ** 20);
    const recording = record(toy);
    replay(trace, toy);
    const again = recording.stop();
    expect(Buffer.compare(writeTrace(again), writeTrace(trace))).toBe(0);
    expect(again.peakBytes).toBe(trace.peakBytes);
    expect(Buffer.compare(recording.bytes(), writeTrace(trace))).toBe(0);
    expect(recording.stop()).toBe(again);
  });

  it('leaves no trace of itself on the target', () => {
    const toy = new ToyAllocator(65_536);
    const recording = record(toy);
    expect(Object.keys(toy)).toContain('alloc');
    toy.dealloc(toy.alloc(10));
    recording.stop();
    expect(Object.keys(toy)).toEqual(Object.keys(new ToyAllocator(65_536)));
    toy.alloc(10);
    expect(recording.stop().events).toBe(2);
  });

  it('says what was recorded so far while it goes on', () => {
    const toy = new ToyAllocator(65_536);
    const recording = record(toy);
    const pos = toy.alloc(10);
    expect(readTrace(recording.bytes()).events).toBe(1);
    toy.dealloc(pos);
    expect(recording.stop().events).toBe(2);
  });

  it('leaves out what it cannot know: blocks from before', () => {
    const toy = new ToyAllocator(65_536);
    const [before, grown] = [toy.alloc(10), toy.alloc(20)];
    const recording = record(toy);
    toy.dealloc(before);
    const moved = toy.realloc(grown, 30);
    toy.dealloc(moved);
    expect([...recording.stop()]).toEqual([
      { op: 'alloc', id: 0, size: 30 },
      { op: 'free', id: 0 },
    ]);
  });

  it('does not write down what failed', () => {
    const toy = new ToyAllocator(4096);
    const recording = record(toy);
    expect(() => toy.alloc(1e6)).toThrow('NO_MEMORY');
    expect(() => toy.dealloc(12)).toThrow('NOT_ALLOCATED');
    const pos = toy.alloc(8);
    expect(() => toy.realloc(pos, 1e6)).toThrow('NO_MEMORY');
    expect([...recording.stop()]).toEqual([{ op: 'alloc', id: 0, size: 8 }]);
  });

  it('keeps sizes above 2^32 and addresses wherever they are', () => {
    for (const start of [4096, 2 ** 40, 2 ** 52]) {
      const pages = new Map<number, number>();
      let next = start;
      const sparse = {
        ranges: [{ start, size: 2 ** 50 }],
        stats: () => ({}),
        alloc: (size: number) => (pages.set((next += 2 ** 41), size), next - 3),
        dealloc: (pos: number) => void pages.delete(pos + 3),
        realloc: (pos: number) => pos,
      };
      const recording = record(sparse);
      const blocks = [5, 2 ** 33, 2 ** 32 - 1, 2 ** 32].map((size) => sparse.alloc(size));
      blocks.forEach((pos) => sparse.dealloc(pos));
      expect(
        [...recording.stop()].map((event) => ('size' in event ? event.size : event.id)),
      ).toEqual([5, 2 ** 33, 2 ** 32 - 1, 2 ** 32, 0, 1, 2, 3]);
    }
  });

  it('refuses to record twice, and what is no allocator', () => {
    const toy = new ToyAllocator(4096);
    const recording = record(toy);
    expect(errorOf(() => record(toy)).code).toBe('ERR_INVALID_PARAM');
    recording.stop();
    record(toy).stop();
    for (const target of [null, undefined, 7, 'heap', {}]) {
      expect(errorOf(() => record(target as never)).code).toBe('ERR_INVALID_ARG_TYPE');
    }
  });
});

const BYTE_KINDS = (['tlsf', 'slab', 'two-level', 'buddy'] as const).filter((kind) =>
  features().kinds.includes(kind),
);
const open = (kind: (typeof BYTE_KINDS)[number]): ByteAllocator =>
  createAllocator({ kind, start: MiB(64), size: MiB(64) } as never);

describe.each(BYTE_KINDS)('%s under traces', (kind) => {
  // buddy takes seconds for the two traces with many small blocks; those are for the torture run.
  const names = [
    'cc1',
    'git-log',
    'sqlite',
    ...(kind !== 'buddy' || TORTURE ? ['jq', 'python-json'] : []),
  ];

  it.each(names)('serves %s with every byte where it was put', (name) => {
    using allocator = open(kind);
    const trace = readTrace(file(name));
    const report = replay(trace, allocator, { verify: true, sampleEvery: 5000 });
    expect(report).toMatchObject({
      kind,
      failures: 0,
      events: trace.events,
      complete: true,
      verified: true,
    });
    expect(report.peakRequested).toBe(trace.peakBytes);
    expect(report.peakUsed).toBeGreaterThanOrEqual(trace.peakBytes);
    expect(report.peakUsed).toBe(allocator.stats().peakUsed);
    expect(report.peakSpan).toBeGreaterThanOrEqual(trace.peakBytes);
    expect(allocator.check()).toBe(report.blocksLeft);
    for (const sample of report.samples)
      expect(sample.used).toBeGreaterThanOrEqual(sample.requested);
  });

  it('gives the trace of a replay back when it is recorded', () => {
    using allocator = open(kind);
    const trace = readTrace(file('git-log'));
    const recording = record(allocator);
    replay(trace, allocator);
    expect(Buffer.compare(writeTrace(recording.stop()), writeTrace(trace))).toBe(0);
  });

  it('records batches, alignments and zeroing, one event a block', () => {
    using allocator = open(kind);
    const recording = record(allocator);
    const many = allocator.allocMany(48, 3);
    const aligned = allocator.alloc(100, 4096);
    const zeroed = allocator.allocZeroed(10);
    allocator.deallocMany(many);
    allocator.dealloc(aligned, 100, 4096);
    const grown = allocator.realloc(zeroed, 5000);
    expect(() => allocator.dealloc(many[0] as number)).toThrow('not live');
    allocator.dealloc(grown);
    expect([...recording.stop()]).toEqual([
      ...[0, 1, 2].map((id) => ({ op: 'alloc', id, size: 48 })),
      { op: 'alloc', id: 3, size: 100, align: 4096 },
      { op: 'alloc', id: 4, size: 10, zeroed: true },
      ...[0, 1, 2, 3].map((id) => ({ op: 'free', id })),
      { op: 'realloc', id: 4, size: 5000 },
      { op: 'free', id: 4 },
    ]);
  });

  it('counts what a range that is too small cannot serve', () => {
    using allocator = createAllocator({ kind, start: MiB(2), size: MiB(1) } as never) as ReturnType<
      typeof open
    >;
    const report = replay(readTrace(file('git-log')), allocator, { verify: true });
    expect(report.failures).toBe(allocator.stats().failures);
    expect(report.failures).toBeGreaterThan(0);
    expect(report.peakSpan).toBeLessThanOrEqual(MiB(1));
    expect(report.blocksLeft).toBe(allocator.check());
  });

  it('needs memory to verify, and says so', () => {
    using allocator = createAllocator({ kind, size: MiB(1), memory: false } as never) as ReturnType<
      typeof open
    >;
    const trace = readTrace(writeTrace(someEvents(50, SEED)));
    expect(errorOf(() => replay(trace, allocator, { verify: true })).code).toBe('ERR_UNSUPPORTED');
    expect(replay(trace, allocator).failures).toBe(0);
  });
});

describe('a Heap under traces', () => {
  it.each(['cc1', 'git-log', 'sqlite', 'jq', 'python-json'])(
    'serves %s with every byte where it was put',
    (name) => {
      using heap = new Heap({ size: MiB(64) });
      const trace = readTrace(file(name));
      const report = replay(trace, heap, { verify: true, sampleEvery: 5000 });
      expect(report).toMatchObject({
        kind: 'heap',
        failures: 0,
        events: trace.events,
        verified: true,
      });
      expect(report.peakRequested).toBe(trace.peakBytes);
      expect(report.peakUsed).toBeGreaterThanOrEqual(trace.peakBytes);
      expect(report.samples.at(-1)?.used).toBe(heap.stats().used);
      expect(heap.check()).toBe(report.blocksLeft);
    },
  );

  it('gives the trace of a replay back when it is recorded', () => {
    using heap = new Heap({ size: MiB(64) });
    const trace = readTrace(file('cc1'));
    const recording = record(heap);
    replay(trace, heap);
    expect(Buffer.compare(writeTrace(recording.stop()), writeTrace(trace))).toBe(0);
  });

  it('records pools, batches and reallocs, and leaves the heap as it was', () => {
    using heap = new Heap({ size: MiB(16) });
    const early = heap.pool(48);
    const before = Object.getOwnPropertyDescriptors(heap);
    const poolBefore = Object.getOwnPropertyDescriptors(early);
    const recording = record(heap);
    const nodes = heap.pool(100);
    const node = nodes.alloc();
    const old = early.alloc();
    const many = heap.allocMany(20, 2);
    const zeroed = heap.allocZeroed(30);
    const moved = heap.realloc(heap.alloc(10, 256), 50_000);
    heap.freeMany(many);
    nodes.free(node);
    heap.free(old);
    heap.free(zeroed);
    heap.free(moved);
    expect(() => heap.free(moved)).toThrow(/not live|live/u);
    const trace = recording.stop();
    expect([...trace]).toEqual([
      { op: 'alloc', id: 0, size: 100 },
      { op: 'alloc', id: 1, size: 48 },
      { op: 'alloc', id: 2, size: 20 },
      { op: 'alloc', id: 3, size: 20 },
      { op: 'alloc', id: 4, size: 30, zeroed: true },
      { op: 'alloc', id: 5, size: 10, align: 256 },
      { op: 'realloc', id: 5, size: 50_000 },
      ...[2, 3, 0, 1, 4, 5].map((id) => ({ op: 'free', id })),
    ]);
    expect(Object.getOwnPropertyDescriptors(heap)).toEqual(before);
    expect(Object.getOwnPropertyDescriptors(early)).toEqual(poolBefore);
    heap.free(heap.alloc(8));
    nodes.free(nodes.alloc());
    expect(recording.stop()).toBe(trace);
    expect(heap.check()).toBe(0);
  });

  it('goes on recording when the heap becomes shared, and then leaves it shared', () => {
    using heap = new Heap({ size: MiB(16) });
    const pool = heap.pool(64);
    const recording = record(heap);
    const first = heap.alloc(10);
    const { handle } = heap;
    const own = Object.getOwnPropertyNames(heap);
    const second = heap.alloc(20);
    const third = pool.alloc();
    heap.free(first);
    heap.free(third);
    expect(heap.handle).toBe(handle);
    expect([...recording.stop()]).toEqual([
      { op: 'alloc', id: 0, size: 10 },
      { op: 'alloc', id: 1, size: 20 },
      { op: 'alloc', id: 2, size: 64 },
      { op: 'free', id: 0 },
      { op: 'free', id: 2 },
    ]);
    expect(own).toContain('handle');
    expect(Object.getOwnPropertyNames(heap)).not.toContain('handle');
    expect(heap.handle).toBe(handle);
    heap.free(second);
    expect(heap.check()).toBe(0);
  });
});

it('records the CPUs and the pages of two levels, each call once', () => {
  using engine = createAllocator({ kind: 'two-level', size: MiB(1), cpus: 2 });
  const held = engine.cpu(1);
  const recording = record(engine);
  const first = engine.alloc(40);
  const second = held.alloc(50, 64);
  const pages = engine.allocPages(3);
  const fixed = engine.allocPagesAt(MiB(1) + 4096 * 64, 1);
  engine.cpu(0).dealloc(second);
  engine.dealloc(first);
  engine.deallocPages(pages, 3);
  engine.deallocPages(fixed);
  expect([...recording.stop()]).toEqual([
    { op: 'alloc', id: 0, size: 40 },
    { op: 'alloc', id: 1, size: 50, align: 64 },
    { op: 'alloc', id: 2, size: 3 * 4096, align: 4096 },
    { op: 'alloc', id: 3, size: 4096, align: 4096 },
    ...[1, 0, 2, 3].map((id) => ({ op: 'free', id })),
  ]);
  engine.cpu(1).dealloc(engine.cpu(1).alloc(8));
  expect(recording.stop().events).toBe(8);
});

it('refuses to replay on or record what is closed', () => {
  const allocator = createAllocator({ kind: 'tlsf', size: MiB(1) });
  allocator.close();
  const trace = readTrace(writeTrace(someEvents(5, SEED)));
  expect(errorOf(() => replay(trace, allocator)).code).toBe('ERR_CLOSED');
  expect(errorOf(() => record(allocator)).code).toBe('ERR_CLOSED');
});
