/**
 * @file What the specs of traces share: events from a seed, errors as values.
 */
import { readFileSync } from 'node:fs';
import { record as recordTarget } from '../../src/trace/record.ts';
import type { Recording } from '../../src/trace/record.ts';
import { replay as replayOn } from '../../src/trace/replay.ts';
import type { ReplayOptions, ReplayReport } from '../../src/trace/replay.ts';
import type { Trace, TraceEvent } from '../../src/trace/format.ts';

/** Whether the run is a long one. */
export const TORTURE: boolean = process.env['HEAPWRIGHT_TORTURE'] === '1';
/** From which everything follows that is random. */
export const SEED: number = Number(process.env['HEAPWRIGHT_SEED'] ?? 20_261_121);

// The toy has what a replay and a recording use, and no more.
/** `replay` on anything. */
export const replay = (trace: Trace, target: object, options?: ReplayOptions): ReplayReport =>
  replayOn(trace, target as never, options);
/** `record` of anything. */
export const record = (target: object): Recording => recordTarget(target as never);

/** A trace of the package. */
export function file(name: string): Uint8Array {
  return readFileSync(new URL(`../../traces/${name}.hwt.gz`, import.meta.url));
}

/** A small generator (mulberry32), so that a failing seed can be given again. */
export function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Events of every sort, valid, from a seed. */
export function someEvents(count: number, seed: number): TraceEvent[] {
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

/** What `run` throws. */
export function errorOf(run: () => unknown): { code?: string; message: string; name: string } {
  try {
    run();
  } catch (error) {
    return error as { code?: string; message: string; name: string };
  }
  throw new Error('nothing was thrown');
}
