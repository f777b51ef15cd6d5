/**
 * @file Traces: the format and its damage, replays and what they promise, imports of real logs.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { createAllocator, features, Heap, MiB } from '../index.ts';
import type { ByteAllocator } from '../index.ts';
import { importLog } from '../src/trace/import.ts';
import { readTrace, writeTrace } from '../src/trace/format.ts';
import type { Trace, TraceEvent } from '../src/trace/format.ts';
import { Histogram } from '../src/trace/histogram.ts';
import { record as recordTarget } from '../src/trace/record.ts';
import type { Recording } from '../src/trace/record.ts';
import { replay as replayOn } from '../src/trace/replay.ts';
import type { ReplayOptions, ReplayReport } from '../src/trace/replay.ts';
import { ToyAllocator } from './support/toy-allocator.ts';
import type { ToyFault } from './support/toy-allocator.ts';

const TORTURE = process.env['HEAPWRIGHT_TORTURE'] === '1';
const SEED = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

// The toy has what a replay and a recording use, and no more.
const replay = (trace: Trace, target: object, options?: ReplayOptions): ReplayReport =>
  replayOn(trace, target as never, options);
const record = (target: object): Recording => recordTarget(target as never);

function file(name: string): Uint8Array {
  return readFileSync(new URL(`../traces/${name}.hwt.gz`, import.meta.url));
}

/** A small generator (mulberry32), so that a failing seed can be given again. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Events of every sort, valid, from a seed. */
function someEvents(count: number, seed: number): TraceEvent[] {
  const below = random(seed);
  const live: number[] = [];
  const events: TraceEvent[] = [];
  let id = 0;
  while (events.length < count) {
    const choice = below(10);
    const size = 1 + below(1 << (1 + below(14)));
    if (choice < 5 || live.length === 0) {
      live.push(id);
      if (choice === 0) events.push({ op: 'alloc', id, size, align: 2 ** below(10) });
      else if (choice === 1) events.push({ op: 'alloc', id, size, zeroed: true });
      else events.push({ op: 'alloc', id, size });
      id++;
    } else if (choice < 7) {
      events.push({ op: 'realloc', id: live[below(live.length)] as number, size });
    } else {
      const [gone] = live.splice(below(live.length), 1);
      events.push({ op: 'free', id: gone as number });
    }
  }
  return events;
}

/** 2^53 - 1 as a varint. */
const LARGEST = [...Array<number>(7).fill(0xff), 0x0f];

/** A recorded log; `fixtures/logs/record.sh` made it. */
function log(name: string): Uint8Array {
  return readFileSync(new URL(`fixtures/logs/${name}`, import.meta.url));
}

function errorOf(run: () => unknown): { code?: string; message: string; name: string } {
  try {
    run();
  } catch (error) {
    return error as { code?: string; message: string; name: string };
  }
  throw new Error('nothing was thrown');
}

function outcomeOf<T>(run: () => T): { value?: T; error?: { code: string; message: string } } {
  try {
    return { value: run() };
  } catch (error) {
    return { error: error as { code: string; message: string } };
  }
}

function bytes(...values: (number | string)[]): Uint8Array {
  return Buffer.concat(
    values.map((value) => Buffer.from(typeof value === 'string' ? value : [value])),
  );
}

describe('readTrace', () => {
  it.each([
    ['cc1', 58_076, 30_244, 3_012_866],
    ['git-log', 46_336, 22_963, 3_988_932],
    ['jq', 125_997, 62_998, 7_647_518],
    ['python-json', 613_465, 303_284, 10_636_914],
    ['sqlite', 197_830, 98_805, 2_574_153],
  ])('reads %s and writes the same bytes again', (name, events, ids, peakBytes) => {
    const packed = file(name);
    const trace = readTrace(packed);
    expect([trace.events, trace.ids, trace.peakBytes]).toEqual([events, ids, peakBytes]);
    const raw = gunzipSync(packed);
    expect(Buffer.compare(writeTrace(trace), raw)).toBe(0);
    expect(Buffer.compare(gunzipSync(writeTrace(trace, { gzip: true })), raw)).toBe(0);
    expect(readTrace(raw).peakBytes).toBe(peakBytes);
  });

  it('gives back every event that was written', () => {
    const events = someEvents(5000, SEED);
    expect([...readTrace(writeTrace(events))]).toEqual(events);
    expect([...readTrace(writeTrace(events, { gzip: true }))]).toEqual(events);
  });

  it('keeps numbers up to 2^53 - 1', () => {
    const size = Number.MAX_SAFE_INTEGER;
    const events: TraceEvent[] = [
      { op: 'alloc', id: 0, size },
      { op: 'free', id: 0 },
    ];
    for (const power of [7, 14, 21, 28, 31, 32, 35, 42, 49]) {
      events.push(
        { op: 'alloc', id: events.length / 2, size: 2 ** power },
        { op: 'free', id: events.length / 2 },
      );
    }
    expect([...readTrace(writeTrace(events))]).toEqual(events);
  });

  it('takes a trace without events', () => {
    const trace = readTrace(bytes('HWT1'));
    expect([trace.events, trace.ids, trace.peakBytes, [...trace]]).toEqual([0, 0, 0, []]);
  });

  it.each<[string, Uint8Array, number, RegExp]>([
    ['nothing', bytes(), 0, /ends within its magic/u],
    ['half a magic', bytes('HW'), 2, /ends within its magic/u],
    ['another file', bytes('HWT2', 0, 0, 1), 3, /magic is not/u],
    ['an unknown operation', bytes('HWT1', 5, 0), 4, /5 is no operation/u],
    ['a missing operand', bytes('HWT1', 0, 0), 6, /ends within the event at byte 4/u],
    ['half a number', bytes('HWT1', 0, 0, 0x80), 7, /ends within the event at byte 4/u],
    [
      'an endless number',
      bytes('HWT1', 0, 0, ...Array<number>(9).fill(0x80), 1),
      6,
      /more than 8 bytes/u,
    ],
    [
      'a number above 2^53',
      bytes('HWT1', 0, 0, ...Array<number>(7).fill(0xff), 0x7f),
      6,
      /above 2\^53/u,
    ],
    ['a birth out of order', bytes('HWT1', 0, 1, 8), 4, /born out of order/u],
    ['a second birth', bytes('HWT1', 0, 0, 8, 0, 0, 8), 7, /born out of order/u],
    ['a free before birth', bytes('HWT1', 1, 0), 4, /not live/u],
    ['a second free', bytes('HWT1', 0, 0, 8, 1, 0, 1, 0), 9, /not live/u],
    ['a realloc of the dead', bytes('HWT1', 0, 0, 8, 1, 0, 2, 0, 9), 9, /not live/u],
    ['an alignment of 3', bytes('HWT1', 3, 0, 8, 3), 4, /power of two/u],
    ['an alignment of 0', bytes('HWT1', 3, 0, 8, 0), 4, /power of two/u],
    [
      'an alignment of 2 GiB',
      bytes('HWT1', 3, 0, 8, 0x80, 0x80, 0x80, 0x80, 8),
      4,
      /power of two/u,
    ],
    [
      'more live bytes than numbers reach',
      bytes('HWT1', 0, 0, ...LARGEST, 0, 1, ...LARGEST),
      14,
      /2\^53 - 1 bytes live/u,
    ],
  ])('refuses %s, naming the byte', (_, input, offset, reason) => {
    const { code, message, name } = errorOf(() => readTrace(input));
    expect([name, code]).toEqual(['AllocError', 'ERR_INVALID_PARAM']);
    expect(message).toMatch(new RegExp(`^trace is damaged at byte ${offset}: `, 'u'));
    expect(message).toMatch(reason);
  });

  it('refuses every truncation, naming where it ends', () => {
    const raw = writeTrace(someEvents(200, SEED));
    const boundaries = new Set<number>();
    for (let cut = 0; cut < raw.length; cut++) {
      const { value, error } = outcomeOf(() => readTrace(raw.subarray(0, cut)));
      if (value !== undefined) boundaries.add(cut);
      const message = error?.message ?? `at byte ${cut}: ends within`;
      expect(message).toMatch(new RegExp(`at byte ${cut}: .*ends within|^at byte`, 'u'));
      expect(value?.events ?? 0).toBeLessThan(200);
    }
    // One cut after the magic and one after each event but the last leave a shorter trace.
    expect(boundaries.size).toBe(200);
  });

  it('refuses a damaged gzip stream, naming the byte', () => {
    const packed = writeTrace(someEvents(2000, SEED), { gzip: true });
    const cut = errorOf(() => readTrace(packed.subarray(0, packed.length - 20)));
    expect(cut.message).toContain(`at byte ${packed.length - 20} of the gzip stream`);
    const more = errorOf(() => readTrace(Buffer.concat([packed, Buffer.from('junk')])));
    expect(more.message).toMatch(
      new RegExp(`at byte ${packed.length}|${packed.length + 1} of the gzip`, 'u'),
    );
    const wrongSum = packed.slice();
    wrongSum[packed.length - 8] = (wrongSum[packed.length - 8] as number) ^ 1;
    const sum = errorOf(() => readTrace(wrongSum));
    expect(sum.message).toMatch(/at byte \d+ of the gzip stream: incorrect data check/u);
    expect(Number(/\d+/u.exec(sum.message)?.[0])).toBeGreaterThanOrEqual(packed.length - 9);
  });

  it('stops unpacking at its limit', () => {
    const bomb = gzipSync(Buffer.alloc(300 * 2 ** 20));
    const before = process.memoryUsage().rss;
    const { code, message } = errorOf(() => readTrace(bomb));
    expect(code).toBe('ERR_INVALID_PARAM');
    expect(message).toContain(`more than the limit of ${256 * 2 ** 20} bytes`);
    expect(process.memoryUsage().rss - before).toBeLessThan(600 * 2 ** 20);
    const small = writeTrace(someEvents(1000, SEED));
    expect(errorOf(() => readTrace(small, { limitBytes: 100 })).message).toContain(
      'limit of 100 bytes',
    );
  });

  it('answers every mutation with a trace or a typed error', () => {
    const rounds = TORTURE ? 10_000 : 1500;
    console.log(`mutations: seed ${SEED}, ${rounds} rounds`);
    const below = random(SEED);
    const raw = writeTrace(someEvents(400, SEED));
    const packed = writeTrace(someEvents(400, SEED), { gzip: true });
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const input = (round % 2 === 0 ? raw : packed).slice();
      const changes = 1 + below(4);
      for (let i = 0; i < changes; i++) input[below(input.length)] = below(256);
      const cut = below(4) === 0 ? input.subarray(0, below(input.length)) : input;
      const { value, error } = outcomeOf(() => readTrace(cut));
      if (value === undefined) refused++;
      const again = value === undefined ? undefined : readTrace(writeTrace(value));
      expect([...(again ?? [])], `round ${round}`).toEqual([...(value ?? [])]);
      expect(error?.code ?? 'ERR_INVALID_PARAM', `round ${round}`).toBe('ERR_INVALID_PARAM');
      expect(error?.message ?? 'at byte 0').toMatch(/at byte \d+/u);
    }
    expect(refused).toBeGreaterThan(rounds / 2);
  });

  it('refuses what is no bytes as a wrong type', () => {
    const noBytes = [undefined, null, 'HWT1', 7, {}, [72, 87, 84, 49], new ArrayBuffer(4)];
    for (const value of [...noBytes, new Proxy(bytes('HWT1'), {})]) {
      const error = errorOf(() => readTrace(value as never));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
    }
  });

  it('keeps a trace whatever happens to the bytes afterwards', () => {
    const raw = writeTrace(someEvents(50, SEED));
    const trace = readTrace(raw);
    const before = [...trace];
    raw.fill(0xff);
    expect([...trace]).toEqual(before);
  });
});

describe('writeTrace', () => {
  it.each<[string, unknown, string]>([
    ['an unknown operation', { op: 'move', id: 0 }, 'ERR_INVALID_PARAM'],
    ['an id out of order', { op: 'alloc', id: 7, size: 1 }, 'ERR_INVALID_PARAM'],
    ['a fraction', { op: 'alloc', id: 0, size: 0.5 }, 'ERR_INVALID_PARAM'],
    ['a negative size', { op: 'alloc', id: 0, size: -1 }, 'ERR_INVALID_PARAM'],
    ['NaN', { op: 'alloc', id: 0, size: Number.NaN }, 'ERR_INVALID_PARAM'],
    ['a BigInt', { op: 'alloc', id: 0, size: 1n }, 'ERR_INVALID_ARG_TYPE'],
    ['no id', { op: 'free' }, 'ERR_INVALID_ARG_TYPE'],
    ['null', null, 'ERR_INVALID_ARG_TYPE'],
    [
      'aligned and zeroed at once',
      { op: 'alloc', id: 0, size: 1, align: 8, zeroed: true },
      'ERR_INVALID_PARAM',
    ],
    ['zeroed: 1', { op: 'alloc', id: 0, size: 1, zeroed: 1 }, 'ERR_INVALID_ARG_TYPE'],
    ['an alignment of 12', { op: 'alloc', id: 0, size: 1, align: 12 }, 'ERR_INVALID_PARAM'],
  ])('refuses %s', (_, event, code) => {
    expect(errorOf(() => writeTrace([event as TraceEvent])).code).toBe(code);
  });

  it('refuses unknown options and wrong types', () => {
    expect(errorOf(() => writeTrace([], { zip: true } as never)).code).toBe('ERR_INVALID_PARAM');
    expect(errorOf(() => writeTrace([], { gzip: 1 } as never)).code).toBe('ERR_INVALID_ARG_TYPE');
    expect(errorOf(() => writeTrace(7 as never)).code).toBe('ERR_INVALID_ARG_TYPE');
  });
});

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

describe('importLog', () => {
  it('reads a log of mtrace and one of ltrace of the same program, and finds the same blocks', () => {
    const mtrace = importLog(log('words.mtrace.log'));
    const ltrace = importLog(log('words.ltrace.log'));
    expect([mtrace.format, ltrace.format]).toEqual(['mtrace', 'ltrace']);
    // mtrace cannot tell calloc from malloc, and also sees the buffers that the C library makes for
    // itself; ltrace sees the calls of the program alone.
    const own = [...ltrace.trace]
      .filter(({ op }) => op === 'realloc')
      .map((event) => 'size' in event && event.size);
    const all = [...mtrace.trace]
      .filter(({ op }) => op === 'realloc')
      .map((event) => 'size' in event && event.size);
    expect(own.length).toBeGreaterThan(100);
    expect(all.filter((size) => own.includes(size)).length).toBeGreaterThanOrEqual(own.length);
    const zeroed = [...ltrace.trace].filter((event) => 'zeroed' in event);
    const words = [...ltrace.trace].filter((event) => event.op === 'alloc' && !('zeroed' in event));
    expect(zeroed.length).toBe(words.length);
    expect(mtrace.trace.ids).toBeGreaterThan(ltrace.trace.ids);
  });

  it('reads a log of several threads of control with calls begun and resumed', () => {
    const { trace, notes } = importLog(
      Buffer.from(
        [
          '10 prog->malloc(100 <unfinished ...>',
          '11 prog->calloc(4, 8)                 = 0x2000',
          '10 <... malloc resumed> )             = 0x1000',
          '11 prog->realloc(0x1000, 300)         = 0x3000',
          '11 prog->realloc(nil, 5)              = 0x4000',
          '10 prog->free(0x2000)                 = <void>',
          '10 prog->free(0x9000)                 = <void>',
          '10 prog->malloc(7)                    = 0',
          '10 --- SIGCHLD (Child exited) ---',
          '10 +++ exited (status 0) +++',
        ].join('\n'),
      ),
    );
    expect([...trace]).toEqual([
      { op: 'alloc', id: 0, size: 32, zeroed: true },
      { op: 'alloc', id: 1, size: 100 },
      { op: 'realloc', id: 1, size: 300 },
      { op: 'alloc', id: 2, size: 5 },
      { op: 'free', id: 0 },
    ]);
    expect(notes).toHaveLength(3);
  });

  it('passes over what ltrace misread, and says so', () => {
    const { trace, notes } = importLog(log('bash.ltrace.log'));
    expect(trace.events).toBeGreaterThan(500);
    expect(notes.join()).toContain('inside the C library');
  });

  it('reads CSV, with and without a head', () => {
    const rows = [
      'op,id,size,align',
      '# a comment',
      'malloc,a,10',
      'calloc,b,20',
      'alloc,c,30,64',
      'realloc,a,40',
      'free,a',
      'alloc,a,5',
    ];
    const expected = [
      { op: 'alloc', id: 0, size: 10 },
      { op: 'alloc', id: 1, size: 20, zeroed: true },
      { op: 'alloc', id: 2, size: 30, align: 64 },
      { op: 'realloc', id: 0, size: 40 },
      { op: 'free', id: 0 },
      { op: 'alloc', id: 3, size: 5 },
    ];
    expect([...importLog(Buffer.from(rows.join('\r\n'))).trace]).toEqual(expected);
    expect([...importLog(Buffer.from(rows.slice(2).join('\n')), 'csv').trace]).toEqual(expected);
  });

  it.each([
    ['csv', 'alloc,a,1\nfree,b', /^line 2: block b is not live/u],
    ['csv', 'alloc,a,1\nalloc,a,1', /^line 2: block a is live already/u],
    ['csv', 'alloc,a,many', /^line 1: no size/u],
    ['csv', 'steal,a,1', /^line 1: unknown op/u],
    ['csv', `alloc,a,1\n${'x'.repeat(5000)}`, /^line 2: longer than 4096 bytes/u],
    ['mtrace', '= Start\n@ p:[0x1] * 0x10 0x20', /^line 2: no line of mtrace/u],
    ['mtrace', '@ p:[0x1] > 0x10 0x20', /^line 1: the new place of a realloc without/u],
    ['mtrace', '@ p:[0x1] + 0x10 0xzz', /^line 1: no size/u],
    ['ltrace', 'p->malloc(12', /^line 1: no line of ltrace/u],
    ['ltrace', '1 <... malloc resumed> ) = 0x10', /^line 1: a resumed call/u],
    ['mtrace', '= Start\n= End', /no event/u],
    [undefined, 'What is this?', /^line 1: the log is none of/u],
  ])('refuses a bad line of %s, naming it', (format, text, reason) => {
    const { code, message } = errorOf(() => importLog(Buffer.from(text), format as never));
    expect(code).toBe('ERR_INVALID_PARAM');
    expect(message).toMatch(reason);
  });

  it('answers every mutation of a log with a trace or a typed error', () => {
    const below = random(SEED + 1);
    const logs = ['words.mtrace.log', 'words.ltrace.log', 'bash.ltrace.log'].map(log);
    const rounds = TORTURE ? 3000 : 150;
    for (let round = 0; round < rounds; round++) {
      const input = Uint8Array.from(logs[round % logs.length] as Uint8Array);
      for (let i = below(6); i >= 0; i--) input[below(input.length)] = below(256);
      const { value, error } = outcomeOf(() => importLog(input));
      const again = value === undefined ? 0 : readTrace(writeTrace(value.trace)).events;
      expect(again).toBe(value?.trace.events ?? 0);
      expect(error?.code ?? 'ERR_INVALID_PARAM').toBe('ERR_INVALID_PARAM');
      expect(error?.message ?? 'no event').toMatch(/^line \d+|no event/u);
    }
  });
});
