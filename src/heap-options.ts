/**
 * @file The options of a heap: their types, defaults and limits.
 *
 * Not here: anything that needs the binding.
 */
import { failure, invalidType } from './errors.ts';
import { copyOptions, isBooleanOrLeftOut, isNumber, natural, positive } from './options.ts';

/** How a debug heap watches its blocks. */
export interface HeapDebugOptions {
  /** Guarded bytes on both sides of each block; default 64, rounded up to 16. */
  redZone?: number;
  /** Freed blocks up to so many bytes are kept back and watched; default 1 MiB. */
  quarantineBytes?: number;
  /** Remember where each block was allocated and freed; default true. */
  stacks?: boolean;
}

/** What a heap is made of. */
export interface HeapOptions {
  /** Bytes reserved, from 1 MiB to 64 GiB, rounded up to 64 KiB; committed as touched. */
  size: number;
  /** For statistics, channels and inspection. */
  name?: string;
  /** Red zones, poison, quarantine, allocation stacks; slow. */
  debug?: boolean | HeapDebugOptions;
  /** Ask for huge pages. */
  hugePages?: boolean;
  /** Commit and touch everything now. */
  populate?: boolean;
  /** Threads at once, the creator's included. Default 64, up to 1024. */
  maxThreads?: number;
}

/** The options, judged, with their defaults. */
export interface HeapSettings {
  readonly size: number;
  readonly name: string;
  readonly debug: Required<HeapDebugOptions> | undefined;
  readonly hugePages: boolean;
  readonly populate: boolean;
  readonly maxThreads: number;
}

const SIZE_MIN = 2 ** 20;
const SIZE_MAX = 2 ** 36;
const SIZE_UNIT = 2 ** 16;
const THREADS_MAX = 1024;

let unnamed = 0;

/** Judges the options of a new heap: types, then values. */
export function heapSettings(options: unknown): HeapSettings {
  if (options === undefined) throw invalidType('options', 'an object', options);
  const o = copyOptions(options, 'options', [
    'size',
    'name',
    'debug',
    'hugePages',
    'populate',
    'maxThreads',
  ]);
  const { size, name, hugePages, populate, maxThreads = 64 } = o;
  isNumber(size, 'size');
  isNumber(maxThreads, 'maxThreads');
  isBooleanOrLeftOut(hugePages, 'hugePages');
  isBooleanOrLeftOut(populate, 'populate');
  if (name !== undefined && typeof name !== 'string') throw invalidType('name', 'a string', name);
  const debug = debugSettings(o['debug']);
  const bytes = positive(size, 'size');
  if (bytes < SIZE_MIN) {
    throw failure('ERR_INVALID_PARAM', `size must be at least ${SIZE_MIN} (1 MiB), got ${bytes}`);
  }
  if (bytes > SIZE_MAX) {
    throw failure('ERR_CAPACITY', `size must be at most ${SIZE_MAX} (64 GiB), got ${bytes}`);
  }
  const threads = positive(maxThreads, 'maxThreads');
  if (threads > THREADS_MAX) {
    throw failure('ERR_CAPACITY', `maxThreads must be at most ${THREADS_MAX}, got ${threads}`);
  }
  return {
    size: Math.ceil(bytes / SIZE_UNIT) * SIZE_UNIT,
    name: name ?? `heap-${(unnamed += 1)}`,
    debug,
    hugePages: hugePages ?? false,
    populate: populate ?? false,
    maxThreads: threads,
  };
}

function debugSettings(value: unknown): Required<HeapDebugOptions> | undefined {
  if (value === undefined || value === false) return undefined;
  if (value !== true && (typeof value !== 'object' || value === null)) {
    throw invalidType('debug', 'a boolean or an object', value);
  }
  const o = copyOptions(value === true ? {} : value, 'debug', [
    'redZone',
    'quarantineBytes',
    'stacks',
  ]);
  const { redZone = 64, quarantineBytes = SIZE_MIN, stacks } = o;
  isNumber(redZone, 'debug.redZone');
  isNumber(quarantineBytes, 'debug.quarantineBytes');
  isBooleanOrLeftOut(stacks, 'debug.stacks');
  const zone = natural(redZone, 'debug.redZone');
  if (zone > SIZE_UNIT) {
    throw failure('ERR_INVALID_PARAM', `debug.redZone must be at most ${SIZE_UNIT}, got ${zone}`);
  }
  return {
    redZone: Math.ceil(zone / 16) * 16,
    quarantineBytes: natural(quarantineBytes, 'debug.quarantineBytes'),
    stacks: stacks ?? true,
  };
}
