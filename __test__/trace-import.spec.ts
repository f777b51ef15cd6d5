/**
 * @file Imports of real logs.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readTrace, writeTrace } from '../src/trace/format.ts';
import { importLog } from '../src/trace/import.ts';
import { SEED, TORTURE, errorOf, random } from './support/traces.ts';

/** A recorded log; `fixtures/logs/record.sh` made it. */
function log(name: string): Uint8Array {
  return readFileSync(new URL(`fixtures/logs/${name}`, import.meta.url));
}

function outcomeOf<T>(run: () => T): { value?: T; error?: { code: string; message: string } } {
  try {
    return { value: run() };
  } catch (error) {
    return { error: error as { code: string; message: string } };
  }
}

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
