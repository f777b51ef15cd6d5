/**
 * @file Replays a trace on a byte allocator or a Heap and measures every call.
 *
 * One pass over the events. Around each call the clock is read twice, and what an empty pair of
 * readings costs (measured at the start) is taken off; everything else, decoding, tags, statistics,
 * happens outside of that window. Durations go into a histogram ({@link Histogram}), so percentiles
 * cover every call, not a sample.
 *
 * What is *not* an error: an allocator that cannot serve a request. It is counted in `failures`; later
 * events of that block are skipped, and a block whose realloc failed lives on with its old size. Calls
 * that failed are not in the latencies, since most of their time is the making of an error.
 *
 * Blocks that the trace never frees are live afterwards: the replay does what the trace says and
 * nothing else, so recording it gives the same trace back.
 *
 * Not here: choosing targets and printing (`src/cli/replay.ts`).
 */
import { AllocError, failure, invalidType } from '../errors.ts';
import {
  copyOptions,
  isBooleanOrLeftOut,
  isFunction,
  isNumberOrLeftOut,
  positive,
} from '../options.ts';
import { OP, packTrace } from './format.ts';
import type { PackedTrace, Trace, TraceCursor } from './format.ts';
import { Histogram } from './histogram.ts';
import { Occupancy } from './occupancy.ts';
import type { HeapMap } from './occupancy.ts';
import { findNonZero, findTagFault, writeTag } from './tags.ts';
import { targetOf } from './target.ts';
import type { ReplayTarget, TraceTarget } from './target.ts';

/** Options of {@link replay}. */
export interface ReplayOptions {
  /** Tag every block, check at free, at realloc and at the end. */
  verify?: boolean;
  /** Events between samples; by default so many that there are about 500 samples. */
  sampleEvery?: number;
  /** Called every 50 ms or so, and at the end. */
  onProgress?: (done: number, total: number) => void;
  /** Name of the trace, passed on to the report. */
  trace?: string;
  /** Pictures of the range to take along the trace (default 0: none); see {@link HeapMap}. */
  mapFrames?: number;
  /** Stop after this many seconds; the report then has `complete: false`. */
  limitSeconds?: number;
}

/** The state at one point of a replay. */
export interface ReplaySample {
  /** Events done. */
  readonly event: number;
  /** Bytes that live blocks of the replay asked for. */
  readonly requested: number;
  /** Bytes granted to live blocks, as the target counts them. */
  readonly used: number;
  /** Highest address touched so far - start of the range. */
  readonly span: number;
  /** Largest request that would succeed, as the target says. */
  readonly largestFree: number;
  /** Mean and longest duration of the calls since the previous sample, in nanoseconds. */
  readonly nsPerCall: number;
  readonly nsMax: number;
}

/** What a replay measured. All durations are of calls that succeeded. */
export interface ReplayReport {
  /** Kind of the target; 'heap' for a Heap. */
  readonly kind: string;
  /** Events of the trace that were gone through: all of them, unless `complete` is false. */
  readonly events: number;
  /** Requests that the target could not serve. */
  readonly failures: number;
  /** Time spent in the target's calls. */
  readonly seconds: number;
  /** `seconds` over the calls made, in nanoseconds. */
  readonly nsPerEvent: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly peakRequested: number;
  readonly peakUsed: number;
  /** Highest address touched - start: what the range had to hold. */
  readonly peakSpan: number;
  readonly samples: readonly ReplaySample[];

  /** Name of the trace, if one was given. */
  readonly trace?: string;
  /** Was the whole trace gone through? */
  readonly complete: boolean;
  /** Were contents tagged and checked? */
  readonly verified: boolean;
  /** Calls that succeeded. */
  readonly calls: number;
  /**
   * Mean duration without the slowest call in a thousand, in nanoseconds. On a machine that is busy with
   * other things those are the calls that it interrupted, so this is what to compare.
   */
  readonly nsTrimmed: number;
  /** Events skipped because the request that should have made their block had failed. */
  readonly skipped: number;
  /** Bytes of the target's ranges. */
  readonly rangeBytes: number;
  /** Blocks of the replay still live at the end. */
  readonly blocksLeft: number;
  /** Share of the peak span that live bytes do not account for at the peak: 1 - peakRequested / peakSpan. */
  readonly fragmentation: number;
  /** Buckets of durations that hold anything: lowest nanoseconds, calls. */
  readonly latency: readonly (readonly [startNs: number, count: number])[];
  /** Requests by size: every power of two that occurs, and how many requests were in [from, 2 * from). */
  readonly sizes: readonly (readonly [from: number, requests: number])[];
  /** Cost of an empty pair of clock readings, which was taken off every duration. */
  readonly clockNs: number;
  /** Pictures of the range, if asked for. */
  readonly map?: HeapMap;
}

const SAMPLES = 500;
const MAP_CELLS = 1024;
const PROGRESS_MS = 50;
/** Events between two looks at the clock for progress and `limitSeconds`. */
const LOOK_EVERY = 256;

/**
 * Replays a trace.
 *
 * @param trace - From `readTrace`, `record`, or any object that keeps the rules of a {@link Trace}.
 * @param target - A byte allocator (two-level included) or a Heap, open, best with nothing in it.
 * @throws {@link AllocError} `ERR_CORRUPTED` where `verify` finds a block that does not hold what was
 * written to it, is misaligned, or is not zero though it should be; `ERR_UNSUPPORTED` for `verify` on a
 * target without memory; whatever the target throws that is not a refusal to allocate.
 * @remarks About 150 ns per event beside the target's own time; with `verify` 1 ns per byte more.
 */
export function replay(
  trace: Trace,
  target: TraceTarget,
  options: ReplayOptions = {},
): ReplayReport {
  const checked = checkOptions(options);
  const packed = packTrace(trace);
  return new Replay(packed, targetOf(target), checked).run();
}

interface CheckedOptions {
  readonly verify: boolean;
  readonly sampleEvery: number | undefined;
  readonly onProgress: ((done: number, total: number) => void) | undefined;
  readonly trace: string | undefined;
  readonly mapFrames: number;
  readonly limitSeconds: number;
}

const OPTION_NAMES = ['verify', 'sampleEvery', 'onProgress', 'trace', 'mapFrames', 'limitSeconds'];

function checkOptions(options: ReplayOptions): CheckedOptions {
  const { verify, sampleEvery, onProgress, trace, mapFrames, limitSeconds } = copyOptions(
    options,
    'options',
    OPTION_NAMES,
  );
  isBooleanOrLeftOut(verify, 'options.verify');
  isNumberOrLeftOut(sampleEvery, 'options.sampleEvery');
  if (onProgress !== undefined) isFunction(onProgress, 'options.onProgress');
  if (trace !== undefined && typeof trace !== 'string') {
    throw invalidType('options.trace', 'a string', trace);
  }
  isNumberOrLeftOut(mapFrames, 'options.mapFrames');
  isNumberOrLeftOut(limitSeconds, 'options.limitSeconds');
  if (sampleEvery !== undefined) positive(sampleEvery, 'options.sampleEvery');
  if (
    mapFrames !== undefined &&
    !(Number.isInteger(mapFrames) && mapFrames >= 0 && mapFrames <= 1000)
  ) {
    throw failure(
      'ERR_INVALID_PARAM',
      `options.mapFrames must be an integer from 0 to 1000, got ${mapFrames}`,
    );
  }
  if (limitSeconds !== undefined && !(limitSeconds > 0)) {
    throw failure('ERR_INVALID_PARAM', `options.limitSeconds must be above 0, got ${limitSeconds}`);
  }
  return {
    verify: verify ?? false,
    sampleEvery,
    onProgress: onProgress as CheckedOptions['onProgress'],
    trace,
    mapFrames: mapFrames ?? 0,
    limitSeconds: limitSeconds ?? Number.POSITIVE_INFINITY,
  };
}

/** What an empty pair of clock readings costs, in milliseconds: the median of many. */
function clockCost(): number {
  const pairs = new Float64Array(2001);
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < pairs.length; i++) {
      const before = performance.now();
      pairs[i] = performance.now() - before;
    }
  }
  return pairs.toSorted()[1000] as number;
}

/** The refusals that count as failures; everything else that a target throws ends the replay. */
const REFUSALS = new Set(['ERR_NO_MEMORY', 'ERR_CAPACITY', 'ERR_INVALID_PARAM']);

function isRefusal(error: unknown): boolean {
  return error instanceof Error && REFUSALS.has((error as { code?: string }).code ?? '');
}

/** The state of one run. */
class Replay {
  readonly #trace: PackedTrace;
  readonly #target: ReplayTarget;
  readonly #options: CheckedOptions;
  readonly #clockMs = clockCost();
  readonly #histogram = new Histogram();
  readonly #samples: ReplaySample[] = [];
  readonly #map: Occupancy | undefined;
  readonly #start: number;
  /** By id. A position of 0 is no block: not born yet, freed, or refused. */
  readonly #positions: Float64Array;
  readonly #sizes: Float64Array;
  /** Requests by log2 of their size. */
  readonly #requests = new Float64Array(64);
  #failures = 0;
  #skipped = 0;
  #blocks = 0;
  #requested = 0;
  #peakRequested = 0;
  #span = 0;
  /** Of the calls since the last sample. */
  #windowCalls = 0;
  #windowNs = 0;
  #windowMax = 0;

  constructor(trace: PackedTrace, target: ReplayTarget, options: CheckedOptions) {
    this.#trace = trace;
    this.#target = target;
    this.#options = options;
    this.#start = target.start;
    this.#positions = new Float64Array(trace.ids);
    this.#sizes = new Float64Array(trace.ids);
    this.#map = options.mapFrames > 0 ? new Occupancy(target.start, MAP_CELLS) : undefined;
  }

  run(): ReplayReport {
    const { events } = this.#trace;
    const { onProgress, limitSeconds, mapFrames } = this.#options;
    const sampleEvery = this.#options.sampleEvery ?? Math.max(1, Math.round(events / SAMPLES));
    const frameEvery = mapFrames > 0 ? Math.max(1, Math.ceil(events / mapFrames)) : 0;
    if (this.#options.verify) this.#target.requireMemory();
    this.#target.beginPeak();
    const cursor = this.#trace.cursor();
    const began = performance.now();
    let reported = began;
    let done = 0;
    let sampled = -1;
    while (cursor.next()) {
      this.#step(cursor, done);
      done++;
      if (done % sampleEvery === 0) {
        this.#sample(done);
        sampled = done;
      }
      if (this.#map !== undefined && (done % frameEvery === 0 || done === events)) {
        this.#map.takeFrame(done);
      }
      if (done % LOOK_EVERY !== 0) continue;
      const now = performance.now();
      if (now - began > limitSeconds * 1000) break;
      if (onProgress !== undefined && now - reported >= PROGRESS_MS) {
        reported = now;
        onProgress(done, events);
      }
    }
    if (sampled !== done) this.#sample(done);
    if (this.#options.verify) this.#verifyAll(done);
    onProgress?.(done, events);
    return this.#report(done);
  }

  #step(cursor: TraceCursor, event: number): void {
    const { op, id } = cursor;
    if (op === OP.free) this.#free(id, event);
    else if (op === OP.realloc) this.#realloc(id, cursor.size, event);
    else this.#alloc(cursor, event);
  }

  #alloc(cursor: TraceCursor, event: number): void {
    const { op, id, align } = cursor;
    // C gives a block of its own even for 0 bytes; the smallest request here is 1.
    const size = cursor.size === 0 ? 1 : cursor.size;
    const target = this.#target;
    this.#asked(size);
    let pos: number;
    let before: number;
    try {
      if (op === OP.alloc) {
        before = performance.now();
        pos = target.allocator.alloc(size);
      } else if (op === OP.allocZeroed) {
        before = performance.now();
        pos = target.allocator.allocZeroed(size);
      } else {
        before = performance.now();
        pos = target.allocator.alloc(size, align);
      }
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#failures++;
      return;
    }
    this.#time(performance.now() - before);
    this.#positions[id] = pos;
    this.#blocks++;
    this.#grown(id, pos, size, 0);
    if (!this.#options.verify) return;
    if (align > 1 && pos % align !== 0) {
      throw this.#corrupted(event, id, pos, `is not aligned to ${align}`);
    }
    const bytes = target.allocator.view(pos, size);
    if (op === OP.allocZeroed) {
      const at = findNonZero(bytes);
      if (at >= 0)
        throw this.#corrupted(event, id, pos, `byte ${at} of a zeroed block is ${bytes[at]}`);
    }
    writeTag(bytes, id);
  }

  #realloc(id: number, newSize: number, event: number): void {
    const old = this.#positions[id] as number;
    if (old === 0) {
      this.#skipped++;
      return;
    }
    const size = newSize === 0 ? 1 : newSize;
    this.#asked(size);
    const oldSize = this.#sizes[id] as number;
    const { allocator } = this.#target;
    if (this.#options.verify) this.#verifyBlock(event, id, old, oldSize);
    let pos: number;
    let before: number;
    try {
      before = performance.now();
      pos = allocator.realloc(old, size);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#failures++;
      if (this.#options.verify) this.#verifyBlock(event, id, old, oldSize);
      return;
    }
    this.#time(performance.now() - before);
    this.#positions[id] = pos;
    this.#map?.remove(old, oldSize);
    this.#target.left(old);
    this.#grown(id, pos, size, oldSize);
    if (!this.#options.verify) return;
    this.#verifyBlock(event, id, pos, Math.min(size, oldSize));
    writeTag(allocator.view(pos, size), id);
  }

  #free(id: number, event: number): void {
    const pos = this.#positions[id] as number;
    if (pos === 0) {
      this.#skipped++;
      return;
    }
    const size = this.#sizes[id] as number;
    if (this.#options.verify) this.#verifyBlock(event, id, pos, size);
    const { allocator, isHeap } = this.#target;
    const before = performance.now();
    if (isHeap) allocator.free(pos);
    else allocator.dealloc(pos);
    this.#time(performance.now() - before);
    this.#target.left(pos);
    this.#map?.remove(pos, size);
    this.#positions[id] = 0;
    this.#requested -= size;
    this.#blocks--;
  }

  #asked(size: number): void {
    const power = size < 2 ** 31 ? 31 - Math.clz32(size) : Math.floor(Math.log2(size));
    this.#requests[power] = (this.#requests[power] as number) + 1;
  }

  #time(ms: number): void {
    const ns = Math.max(0, (ms - this.#clockMs) * 1e6);
    this.#histogram.add(ns);
    this.#windowCalls++;
    this.#windowNs += ns;
    if (ns > this.#windowMax) this.#windowMax = ns;
  }

  /** The block of `id` is now `size` bytes at `pos`. */
  #grown(id: number, pos: number, size: number, oldSize: number): void {
    this.#sizes[id] = size;
    this.#requested += size - oldSize;
    if (this.#requested > this.#peakRequested) this.#peakRequested = this.#requested;
    const end = pos + size - this.#start;
    if (end > this.#span) this.#span = end;
    this.#target.came(pos);
    this.#map?.add(pos, size);
  }

  #sample(event: number): void {
    const { used, largestFree } = this.#target.stats();
    const calls = this.#windowCalls;
    this.#samples.push({
      event,
      requested: this.#requested,
      used,
      span: this.#span,
      largestFree,
      nsPerCall: calls === 0 ? 0 : round(this.#windowNs / calls),
      nsMax: round(this.#windowMax),
    });
    this.#windowCalls = 0;
    this.#windowNs = 0;
    this.#windowMax = 0;
  }

  #verifyBlock(event: number, id: number, pos: number, size: number): void {
    const bytes = this.#target.allocator.view(pos, size);
    const at = findTagFault(bytes, id);
    if (at >= 0) throw this.#corrupted(event, id, pos, `byte ${at} of ${size} has changed`);
  }

  #verifyAll(event: number): void {
    this.#positions.forEach((pos, id) => {
      if (pos !== 0) this.#verifyBlock(event, id, pos, this.#sizes[id] as number);
    });
  }

  #corrupted(event: number, id: number, pos: number, what: string): AllocError {
    const { kind } = this.#target;
    return new AllocError(
      'ERR_CORRUPTED',
      `${kind}: block ${pos} (id ${id} of the trace) at event ${event}: ${what}`,
    );
  }

  #report(events: number): ReplayReport {
    const histogram = this.#histogram;
    const { trace } = this.#options;
    return {
      ...(trace === undefined ? {} : { trace }),
      kind: this.#target.kind,
      events,
      failures: this.#failures,
      seconds: histogram.sum / 1e9,
      nsPerEvent: histogram.count === 0 ? 0 : round(histogram.sum / histogram.count),
      p50: round(histogram.percentile(0.5)),
      p99: round(histogram.percentile(0.99)),
      p999: round(histogram.percentile(0.999)),
      max: round(histogram.max),
      peakRequested: this.#peakRequested,
      peakUsed: this.#target.peakUsed(),
      peakSpan: this.#span,
      samples: this.#samples,
      complete: events === this.#trace.events,
      verified: this.#options.verify,
      calls: histogram.count,
      nsTrimmed: round(histogram.meanOfQuickest(0.999)),
      skipped: this.#skipped,
      rangeBytes: this.#target.rangeBytes,
      blocksLeft: this.#blocks,
      fragmentation: this.#span === 0 ? 0 : Math.max(0, 1 - this.#peakRequested / this.#span),
      latency: histogram.buckets(),
      sizes: [...this.#requests]
        .map((requests, power): [number, number] => [2 ** power, requests])
        .filter(([, requests]) => requests > 0),
      clockNs: round(this.#clockMs * 1e6),
      ...(this.#map === undefined ? {} : { map: this.#map.finish() }),
    };
  }
}

/** One decimal of a nanosecond is more than the clock knows. */
function round(ns: number): number {
  return Math.round(ns * 10) / 10;
}
