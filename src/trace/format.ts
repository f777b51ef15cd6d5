/**
 * @file The trace format HWT1: bytes to events and back.
 *
 * ```text
 * [gzip] "HWT1" event*        event = op varint...         varint = LEB128, at most 8 bytes
 *   0 id size         alloc            2 id newSize   realloc: the block keeps its id
 *   1 id              free             3 id size align  aligned alloc
 *                                      4 id size      zeroed alloc
 * ```
 *
 * A trace stays in its own bytes: {@link readTrace} checks every event once and keeps the unpacked
 * bytes, and whoever walks it decodes again, at a few nanoseconds an event. So a trace costs 4 to 5
 * bytes per event, where columns of numbers would cost 13 and objects 60.
 *
 * Invariants of every {@link Trace} made here:
 * 1. Ids are dense and in order of birth: the n-th birth has id n - 1.
 * 2. A free or a realloc names an id that is live at that point.
 * 3. Sizes and the sum of live bytes are safe integers; alignments are powers of two up to 1 GiB.
 *
 * Memory: unpacked bytes are limited to {@link TRACE_BYTES_MAX} (or `limitBytes`), and reading needs
 * at most 10 times the unpacked size while it works, 1 time afterwards. Input that unpacks to more is
 * refused when the limit is met, not when memory is gone.
 *
 * Not here: recording (`record.ts`), replaying (`replay.ts`), logs of other tools (`import.ts`).
 */
import { types } from 'node:util';
import { constants, gunzipSync, gzipSync } from 'node:zlib';

import { AllocError, describe, failure, invalidType } from '../errors.ts';
import {
  copyOptions,
  isBooleanOrLeftOut,
  isNumber,
  isNumberOrLeftOut,
  natural,
  positive,
} from '../options.ts';

/** One event of a trace, as an object: what iterating a {@link Trace} yields. */
export type TraceEvent =
  | { op: 'alloc'; id: number; size: number; align?: number; zeroed?: boolean }
  | { op: 'realloc'; id: number; size: number }
  | { op: 'free'; id: number };

/** A checked allocation trace. Iterating it yields its events from the first on, every time. */
export interface Trace extends Iterable<TraceEvent> {
  /** How many events there are. */
  readonly events: number;
  /** How many blocks are born. */
  readonly ids: number;
  /** The largest sum of the sizes of live blocks, in bytes. */
  readonly peakBytes: number;
}

/** Largest unpacked trace that {@link readTrace} accepts by default: 256 MiB, some 60 million events. */
export const TRACE_BYTES_MAX: number = 256 * 1024 * 1024;

/** Largest alignment that an event may ask for: 1 GiB, as everywhere in heapwright. */
const ALIGN_MAX = 2 ** 30;
/** 8 groups of 7 bits reach 2^56; the value is checked against 2^53 afterwards. */
const VARINT_BYTES_MAX = 8;

/** The first byte of every event. */
export const OP = { alloc: 0, free: 1, realloc: 2, allocAligned: 3, allocZeroed: 4 } as const;

const OPERANDS = ['id and size', 'id', 'id and size', 'id, size and align', 'id and size'] as const;

/** Walks the events of checked HWT1 bytes, one at a time, without making objects. */
export class TraceCursor {
  /** Offset of the next event, counted from the magic. */
  offset = 4;
  /** One of {@link OP}. */
  op = 0;
  id = 0;
  /** 0 for a free. */
  size = 0;
  /** 0 but for an aligned alloc. */
  align = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Decodes the next event into the fields; false at the end. */
  next(): boolean {
    const start = this.offset;
    if (start >= this.#bytes.length) return false;
    const op = this.#bytes[start] as number;
    if (op > OP.allocZeroed) throw damaged(start, `${op} is no operation (0 to 4)`);
    this.op = op;
    this.offset = start + 1;
    this.id = this.#varint(start);
    this.size = op === OP.free ? 0 : this.#varint(start);
    this.align = op === OP.allocAligned ? this.#varint(start) : 0;
    return true;
  }

  #varint(event: number): number {
    const bytes = this.#bytes;
    const start = this.offset;
    let at = start;
    let byte = bytes[at] as number;
    if (byte < 0x80) {
      this.offset = at + 1;
      return byte;
    }
    let value = 0;
    let unit = 1;
    for (;;) {
      if (at >= bytes.length) {
        const op = bytes[event] as number;
        throw damaged(
          bytes.length,
          `the trace ends within the event at byte ${event} (${OPERANDS[op] ?? 'its operands'})`,
        );
      }
      if (at - start >= VARINT_BYTES_MAX) {
        throw damaged(start, `a number of more than ${VARINT_BYTES_MAX} bytes`);
      }
      byte = bytes[at++] as number;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) break;
      unit *= 128;
    }
    if (value > Number.MAX_SAFE_INTEGER) throw damaged(start, 'a number above 2^53 - 1');
    this.offset = at;
    return value;
  }
}

/**
 * The blocks of a trace while it is read or written: who lives, with how many bytes.
 *
 * Every method answers what is wrong with the step, or `''`; nothing has changed then.
 */
export class Lifetimes {
  /** Births so far; the next id. */
  ids = 0;
  /** Live blocks now. */
  live = 0;
  requestedBytes = 0;
  peakBytes = 0;
  /** Size of each id; -1 once it is freed. */
  #sizes = new Float64Array(256);

  birth(id: number, size: number): string {
    if (id !== this.ids) return `id ${id} is born out of order: the next is ${this.ids}`;
    const sum = this.requestedBytes + size;
    if (sum > Number.MAX_SAFE_INTEGER) return 'more than 2^53 - 1 bytes live at once';
    if (id >= this.#sizes.length) {
      const grown = new Float64Array(this.#sizes.length * 2);
      grown.set(this.#sizes);
      this.#sizes = grown;
    }
    this.#sizes[id] = size;
    this.ids = id + 1;
    this.live++;
    this.requestedBytes = sum;
    if (sum > this.peakBytes) this.peakBytes = sum;
    return '';
  }

  resize(id: number, size: number): string {
    const old = id < this.ids ? (this.#sizes[id] as number) : -1;
    if (old < 0) return `id ${id} is not live: freed before, or not born yet`;
    const sum = this.requestedBytes - old + size;
    if (sum > Number.MAX_SAFE_INTEGER) return 'more than 2^53 - 1 bytes live at once';
    this.#sizes[id] = size;
    this.requestedBytes = sum;
    if (sum > this.peakBytes) this.peakBytes = sum;
    return '';
  }

  death(id: number): string {
    const old = id < this.ids ? (this.#sizes[id] as number) : -1;
    if (old < 0) return `id ${id} is not live: freed before, or not born yet`;
    this.#sizes[id] = -1;
    this.live--;
    this.requestedBytes -= old;
    return '';
  }
}

/** Says what is wrong with an alignment, or `''`. */
export function alignFault(align: number): string {
  const good = align >= 1 && align <= ALIGN_MAX && (align & (align - 1)) === 0;
  return good ? '' : `align must be a power of two up to 2^30, got ${align}`;
}

/** A checked trace over its own unpacked, canonical bytes. */
export class PackedTrace implements Trace {
  readonly events: number;
  readonly ids: number;
  readonly peakBytes: number;
  readonly #bytes: Uint8Array;

  /** @internal Whoever calls this has checked `bytes` already, or just written them. */
  constructor(bytes: Uint8Array, events: number, ids: number, peakBytes: number) {
    this.#bytes = bytes;
    this.events = events;
    this.ids = ids;
    this.peakBytes = peakBytes;
  }

  /** A cursor before the first event. */
  cursor(): TraceCursor {
    return new TraceCursor(this.#bytes);
  }

  /** The unpacked bytes themselves, not to be written to. */
  packed(): Uint8Array {
    return this.#bytes;
  }

  *[Symbol.iterator](): Generator<TraceEvent, void, undefined> {
    const cursor = this.cursor();
    while (cursor.next()) yield eventOf(cursor);
  }

  get [Symbol.toStringTag](): string {
    return 'Trace';
  }
}

function eventOf(cursor: TraceCursor): TraceEvent {
  const { id, size } = cursor;
  switch (cursor.op) {
    case OP.free:
      return { op: 'free', id };
    case OP.realloc:
      return { op: 'realloc', id, size };
    case OP.allocAligned:
      return { op: 'alloc', id, size, align: cursor.align };
    case OP.allocZeroed:
      return { op: 'alloc', id, size, zeroed: true };
    default:
      return { op: 'alloc', id, size };
  }
}

/**
 * Reads a trace in HWT1, gzipped or not, and checks all of it.
 *
 * @param bytes - The file. It is copied; later writes to it do not reach the trace.
 * @param options - `limitBytes`: the largest unpacked size accepted, by default 256 MiB.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming the byte offset, where the input is damaged,
 * truncated, inconsistent or larger than the limit. Offsets count from the start of the *unpacked*
 * trace, unless the message says that the gzip stream itself is damaged.
 * @remarks About 15 ns per event. Memory: see the head of this file.
 */
export function readTrace(bytes: Uint8Array, options?: { limitBytes?: number }): Trace {
  if (!types.isUint8Array(bytes)) throw invalidType('bytes', 'a Uint8Array', bytes);
  const { limitBytes: limit } = copyOptions(options, 'options', ['limitBytes']);
  isNumberOrLeftOut(limit, 'options.limitBytes');
  const limitBytes = limit === undefined ? TRACE_BYTES_MAX : positive(limit, 'options.limitBytes');
  const gzipped = bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!gzipped && bytes.length > limitBytes) {
    throw damaged(limitBytes, `the trace is larger than the limit of ${limitBytes} bytes`);
  }
  return checkTrace(gzipped ? unpack(bytes, limitBytes) : bytes.slice());
}

/** Checks unpacked bytes from end to end and wraps them. */
function checkTrace(bytes: Uint8Array): PackedTrace {
  for (let at = 0; at < 4; at++) {
    if (at >= bytes.length) throw damaged(at, 'the trace ends within its magic "HWT1"');
    if (bytes[at] !== 'HWT1'.charCodeAt(at)) throw damaged(at, 'no trace: the magic is not "HWT1"');
  }
  const cursor = new TraceCursor(bytes);
  const lifetimes = new Lifetimes();
  let events = 0;
  for (let start = cursor.offset; cursor.next(); start = cursor.offset) {
    let fault: string;
    if (cursor.op === OP.free) fault = lifetimes.death(cursor.id);
    else if (cursor.op === OP.realloc) fault = lifetimes.resize(cursor.id, cursor.size);
    else {
      fault = lifetimes.birth(cursor.id, cursor.size);
      if (cursor.op === OP.allocAligned && fault === '') fault = alignFault(cursor.align);
    }
    if (fault !== '') throw damaged(start, fault);
    events++;
  }
  return new PackedTrace(bytes, events, lifetimes.ids, lifetimes.peakBytes);
}

/** Any trace as a {@link PackedTrace}: a foreign iterable is written down once, and so checked. */
export function packTrace(trace: Trace): PackedTrace {
  if (trace instanceof PackedTrace) return trace;
  if (typeof trace !== 'object' || trace === null || !(Symbol.iterator in trace)) {
    throw invalidType('trace', 'a Trace', trace);
  }
  return checkTrace(encodeEvents(trace));
}

// ---------------------------------------------------------------- gzip

/** Time after which the search for the damaged byte is given up and a range is named instead. */
const BISECT_MS_MAX = 1000;

function unpack(bytes: Uint8Array, limitBytes: number): Uint8Array {
  try {
    const { buffer, engine } = gunzipSync(bytes, {
      maxOutputLength: limitBytes,
      info: true,
    } as never) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    if (engine.bytesWritten < bytes.length) {
      throw damagedGzip(engine.bytesWritten, 'bytes follow the end of the stream');
    }
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
  } catch (error) {
    if (error instanceof AllocError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw damaged(limitBytes, `the trace unpacks to more than the limit of ${limitBytes} bytes`);
    }
    if (code === 'Z_BUF_ERROR') {
      throw damagedGzip(bytes.length, 'the stream ends before it is complete', error);
    }
    const [offset, exact] = firstBadByte(bytes, limitBytes);
    throw damagedGzip(offset, exact ? message : `${message} (at that byte or later)`, error);
  }
}

/**
 * The length of the longest prefix of a damaged gzip stream that still unpacks, by bisection: zlib
 * tells what is wrong, but not where.
 */
function firstBadByte(bytes: Uint8Array, limitBytes: number): [offset: number, exact: boolean] {
  const deadline = performance.now() + BISECT_MS_MAX;
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    if (performance.now() > deadline) return [good, false];
    const middle = (good + bad) >>> 1;
    try {
      gunzipSync(bytes.subarray(0, middle), {
        maxOutputLength: limitBytes,
        finishFlush: constants.Z_SYNC_FLUSH,
      });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return [good, true];
}

function damaged(offset: number, reason: string): AllocError {
  return failure('ERR_INVALID_PARAM', `trace is damaged at byte ${offset}: ${reason}`);
}

function damagedGzip(offset: number, reason: string, cause?: unknown): AllocError {
  return failure(
    'ERR_INVALID_PARAM',
    `trace is damaged at byte ${offset} of the gzip stream: ${reason}`,
    { cause },
  );
}

// ---------------------------------------------------------------- writing

/** Appends events to growing HWT1 bytes. Checks nothing: the caller has a {@link Lifetimes}. */
export class TraceEncoder {
  #bytes = new Uint8Array(4096);
  #length = 4;

  constructor() {
    this.#bytes.set([0x48, 0x57, 0x54, 0x31]);
  }

  alloc(id: number, size: number): void {
    this.#event(OP.alloc, id);
    this.#varint(size);
  }

  allocAligned(id: number, size: number, align: number): void {
    this.#event(OP.allocAligned, id);
    this.#varint(size);
    this.#varint(align);
  }

  allocZeroed(id: number, size: number): void {
    this.#event(OP.allocZeroed, id);
    this.#varint(size);
  }

  realloc(id: number, size: number): void {
    this.#event(OP.realloc, id);
    this.#varint(size);
  }

  free(id: number): void {
    this.#event(OP.free, id);
  }

  /** The bytes so far, as an array of their own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #event(op: number, id: number): void {
    // An event is at most 1 + 3 * 8 bytes; one check here serves its operands too.
    if (this.#length + 32 > this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[this.#length++] = op;
    this.#varint(id);
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 2 ** 31) {
      this.#bytes[this.#length++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }
}

/**
 * Writes events as HWT1.
 *
 * @param events - A {@link Trace}, or any iterable of events that obeys the same rules.
 * @param options - `gzip`: pack the result (default false). The same events give the same bytes.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` naming the event (counted from 0) that is out of order
 * or cannot be written: HWT1 has no event that is aligned *and* zeroed. `TypeError` for what is no event.
 */
export function writeTrace(events: Iterable<TraceEvent>, options?: { gzip?: boolean }): Uint8Array {
  const { gzip } = copyOptions(options, 'options', ['gzip']);
  isBooleanOrLeftOut(gzip, 'options.gzip');
  if (typeof events !== 'object' || events === null || !(Symbol.iterator in events)) {
    throw invalidType('events', 'an iterable of events', events);
  }
  const bytes = encodeEvents(events);
  if (gzip !== true) return bytes;
  const packed = gzipSync(bytes, { level: 9 });
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.length);
}

function encodeEvents(events: Iterable<TraceEvent>): Uint8Array {
  const encoder = new TraceEncoder();
  const lifetimes = new Lifetimes();
  let index = 0;
  for (const event of events) {
    const fault = encodeEvent(encoder, lifetimes, event, index);
    if (fault !== '')
      throw failure('ERR_INVALID_PARAM', `event ${index} cannot be written: ${fault}`);
    index++;
  }
  return encoder.finish();
}

function encodeEvent(
  encoder: TraceEncoder,
  lifetimes: Lifetimes,
  event: TraceEvent,
  index: number,
): string {
  if (typeof event !== 'object' || event === null) {
    throw invalidType(`events[${index}]`, 'an event', event);
  }
  // Each property is read once: an event may be a proxy or have getters.
  const { op, id } = event;
  checkNumber(id, 'id', index);
  if (op === 'free') {
    const fault = lifetimes.death(id);
    if (fault === '') encoder.free(id);
    return fault;
  }
  if (op !== 'alloc' && op !== 'realloc') {
    return `op must be 'alloc', 'realloc' or 'free', got ${describe(op)}`;
  }
  const { size } = event;
  checkNumber(size, 'size', index);
  if (op === 'realloc') {
    const fault = lifetimes.resize(id, size);
    if (fault === '') encoder.realloc(id, size);
    return fault;
  }
  const { align, zeroed } = event;
  if (align !== undefined) {
    checkNumber(align, 'align', index);
    const fault = alignFault(align);
    if (fault !== '') return fault;
  }
  if (zeroed !== undefined && typeof zeroed !== 'boolean') {
    throw invalidType(`events[${index}].zeroed`, 'a boolean', zeroed);
  }
  if (align !== undefined && zeroed === true) {
    return 'HWT1 has no event that is both aligned and zeroed';
  }
  const fault = lifetimes.birth(id, size);
  if (fault !== '') return fault;
  if (align !== undefined) encoder.allocAligned(id, size, align);
  else if (zeroed === true) encoder.allocZeroed(id, size);
  else encoder.alloc(id, size);
  return '';
}

function checkNumber(value: unknown, name: string, index: number): asserts value is number {
  isNumber(value, `events[${index}].${name}`);
  natural(value, `events[${index}].${name}`);
}
