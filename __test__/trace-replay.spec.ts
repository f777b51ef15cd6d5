/**
 * @file Replays: what they measure, count and verify, on a toy.
 */
import { describe, expect, it } from 'vitest';
import { readTrace, writeTrace } from '../src/trace/format.ts';
import type { Trace, TraceEvent } from '../src/trace/format.ts';
import { Histogram } from '../src/trace/histogram.ts';
import { ToyAllocator } from './support/toy-allocator.ts';
import type { ToyFault } from './support/toy-allocator.ts';
import { SEED, errorOf, random, replay, someEvents } from './support/traces.ts';

describe('Histogram', () => {
  it('finds percentiles within a 32nd of the sorted list', () => {
    const below = random(SEED);
    const values = Array.from({ length: 20_000 }, () => below(2 ** (1 + below(30))));
    const histogram = new Histogram();
    for (const value of values) histogram.add(value);
    values.sort((a, b) => a - b);
    for (const fraction of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.ceil(values.length * fraction) - 1] as number;
      expect(Math.abs(histogram.percentile(fraction) - exact)).toBeLessThanOrEqual(
        exact / 32 + 0.5,
      );
    }
    const quickest = values.slice(0, 18_000).reduce((sum, value) => sum + value, 0) / 18_000;
    expect(Math.abs(histogram.meanOfQuickest(0.9) - quickest)).toBeLessThanOrEqual(
      quickest / 32 + 0.5,
    );
    expect(new Histogram().meanOfQuickest(0.9)).toBe(0);
    expect(histogram.max).toBe(values.at(-1));
    expect(histogram.buckets().reduce((sum, [, count]) => sum + count, 0)).toBe(values.length);
  });
});

describe('replay', () => {
  const trace = readTrace(writeTrace(someEvents(3000, SEED)));

  it('reports what the trace and the target say', () => {
    const toy = new ToyAllocator(64 * 2 ** 20);
    const report = replay(trace, toy, { verify: true, sampleEvery: 100, mapFrames: 8 });
    expect(report.kind).toBe('toy');
    expect(report.events).toBe(3000);
    expect(report.failures).toBe(0);
    expect(report.peakRequested).toBe(trace.peakBytes);
    expect(report.peakUsed).toBe(toy.stats().peakUsed);
    expect(report.samples).toHaveLength(30);
    expect(report.samples.at(-1)?.event).toBe(3000);
    expect(report.samples.at(-1)?.used).toBe(toy.usedBytes);
    expect(report.samples.at(-1)?.span).toBe(report.peakSpan);
    const ordered = [0, report.p50, report.p99, report.p999, report.max];
    expect(ordered).toEqual(ordered.toSorted((a, b) => a - b));
    expect(report.nsPerEvent * report.calls).toBeCloseTo(report.seconds * 1e9, -4);
    expect(report.latency.reduce((sum, [, count]) => sum + count, 0)).toBe(3000);
    expect(report.map?.frames.map(({ event }) => event)).toEqual([
      375, 750, 1125, 1500, 1875, 2250, 2625, 3000,
    ]);
    expect(report.complete).toBe(true);
  });

  it('takes about 500 samples by default', () => {
    const events = someEvents(40_000, SEED);
    const { samples } = replay(readTrace(writeTrace(events)), new ToyAllocator(2 ** 29));
    expect(samples.length).toBeGreaterThan(450);
    expect(samples.length).toBeLessThan(550);
  });

  it('draws a map whose cells add up to what is live', () => {
    const toy = new ToyAllocator(64 * 2 ** 20);
    const report = replay(trace, toy, { mapFrames: 4 });
    const { map } = report;
    const last = map?.frames.at(-1);
    const levels = [...(last?.cells ?? '')].map((digit) => Number.parseInt(digit, 16));
    const estimate = levels.reduce(
      (sum, level) =>
        sum + (level === 0 ? 0 : level === 15 ? 1 : (level - 0.5) / 14) * (map?.cellBytes ?? 0),
      0,
    );
    const requested = report.samples.at(-1)?.requested ?? 0;
    expect(Math.abs(estimate - requested) / requested).toBeLessThan(0.1);
    expect(map?.start).toBe(4096);
  });

  it('counts refusals, skips what follows of those blocks, and goes on', () => {
    const events: TraceEvent[] = [
      { op: 'alloc', id: 0, size: 1000 },
      { op: 'alloc', id: 1, size: 2 ** 40 },
      { op: 'realloc', id: 1, size: 10 },
      { op: 'free', id: 1 },
      { op: 'realloc', id: 0, size: 2 ** 40 },
      { op: 'free', id: 0 },
    ];
    const toy = new ToyAllocator(65_536);
    const report = replay(readTrace(writeTrace(events)), toy, { verify: true });
    expect(report).toMatchObject({
      events: 6,
      failures: 2,
      skipped: 2,
      calls: 2,
      blocksLeft: 0,
      peakRequested: 1000,
    });
    expect(toy.usedBytes).toBe(0);
  });

  it('takes a request of 0 bytes as one of 1, as malloc does', () => {
    const events: TraceEvent[] = [
      { op: 'alloc', id: 0, size: 0 },
      { op: 'realloc', id: 0, size: 0 },
      { op: 'free', id: 0 },
    ];
    expect(
      replay(readTrace(writeTrace(events)), new ToyAllocator(4096), { verify: true }).failures,
    ).toBe(0);
  });

  it.each<[ToyFault['fault'], RegExp]>([
    ['overlap', /has changed|not aligned/u],
    ['misalign', /is not aligned|not live|NOT_ALLOCATED/u],
    ['dirty-zeroed', /zeroed block/u],
    ['realloc-forgets', /has changed/u],
  ])('finds an allocator that breaks its word: %s', (fault, reason) => {
    const run = (): unknown =>
      replay(trace, new ToyAllocator(2 ** 26, { after: 500, fault }), { verify: true });
    expect(errorOf(run).message).toMatch(reason);
    expect(errorOf(run).code).toMatch(
      fault === 'misalign' ? /CORRUPTED|NOT_ALLOCATED/u : /CORRUPTED/u,
    );
  });

  it('takes any object that keeps the rules of a trace', () => {
    const events: TraceEvent[] = [
      { op: 'alloc', id: 0, size: 8 },
      { op: 'free', id: 0 },
    ];
    const foreign: Trace = {
      events: 2,
      ids: 1,
      peakBytes: 8,
      [Symbol.iterator]: () => events.values(),
    };
    expect(replay(foreign, new ToyAllocator(4096)).events).toBe(2);
    expect(
      errorOf(() =>
        replay(
          { ...foreign, [Symbol.iterator]: () => events.toReversed().values() },
          new ToyAllocator(4096),
        ),
      ).code,
    ).toBe('ERR_INVALID_PARAM');
  });

  it('reports progress and stops at its time limit', () => {
    const seen: number[] = [];
    const events = someEvents(3000, SEED);
    const long = readTrace(writeTrace(events));
    replay(long, new ToyAllocator(2 ** 29), {
      onProgress: (done, total) => seen.push(done / total),
    });
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    const partial = replay(long, new ToyAllocator(2 ** 29), { limitSeconds: 1e-6 });
    expect(partial.complete).toBe(false);
    expect(partial.events).toBeLessThan(3000);
  });

  it('refuses wrong arguments', () => {
    const toy = new ToyAllocator(4096);
    const wrong: [unknown, string][] = [
      [{ sampleEvery: 0 }, 'ERR_INVALID_PARAM'],
      [{ sampleEvery: '1' }, 'ERR_INVALID_ARG_TYPE'],
      [{ verify: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ onProgress: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ limitSeconds: 0 }, 'ERR_INVALID_PARAM'],
      [{ mapFrames: -1 }, 'ERR_INVALID_PARAM'],
      [{ sample: 1 }, 'ERR_INVALID_PARAM'],
      [null, 'ERR_INVALID_ARG_TYPE'],
    ];
    for (const [options, code] of wrong) {
      expect(errorOf(() => replay(trace, toy, options as never)).code).toBe(code);
    }
    for (const target of [null, undefined, 7, {}, { alloc: 1 }]) {
      expect(errorOf(() => replay(trace, target as never)).code).toBe('ERR_INVALID_ARG_TYPE');
    }
    expect(errorOf(() => replay(7 as never, toy)).code).toBe('ERR_INVALID_ARG_TYPE');
  });
});
