/**
 * @file Traces: the format and its damage.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readTrace, writeTrace } from '../src/trace/format.ts';
import type { TraceEvent } from '../src/trace/format.ts';
import { SEED, TORTURE, errorOf, file, random, someEvents } from './support/traces.ts';

/** 2^53 - 1 as a varint. */
const LARGEST = [...Array<number>(7).fill(0xff), 0x0f];

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
