/**
 * @file Checks that what came from a file has the shape that the page is drawn from.
 *
 * Reports and snapshots are JSON that anybody may have written. A shape is a function that looks at a
 * value and throws `ERR_INVALID_PARAM` with the path of what is wrong (`parts.snapshots[0].maps[1].cells`),
 * so that neither the renderer nor the program in the page meets a value it cannot draw: no cell of 0
 * bytes, no list that is a string, no number that is none.
 *
 * Fields that a shape does not name are let through: newer versions add some.
 */
import { failure } from '../errors.ts';

/** Throws unless `value`, found at `path`, is as it must be. */
export type Shape = (value: unknown, path: string) => void;

function fault(path: string, what: string): Error {
  return failure('ERR_INVALID_PARAM', `${path} must be ${what}`);
}

/** A finite number from `min`. */
function numberFrom(min: number): Shape {
  const what = min === 0 ? 'a finite number from 0' : `a finite number from ${min}`;
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isFinite(value) || value < min)
      throw fault(path, what);
  };
}

const anyNumber: Shape = numberFrom(0);

const anyBoolean: Shape = (value, path) => {
  if (typeof value !== 'boolean') throw fault(path, 'a boolean');
};

/** A string of at most `length` letters. */
function textUpTo(length: number): Shape {
  return (value, path) => {
    if (typeof value !== 'string' || value.length > length) {
      throw fault(path, `a string of at most ${length} letters`);
    }
  };
}

/** Exactly this string. */
export function exactly(text: string): Shape {
  return (value, path) => {
    if (value !== text) throw fault(path, JSON.stringify(text));
  };
}

/** Levels of a heap map: hexadecimal digits. */
export const levels: Shape = (value, path) => {
  if (typeof value !== 'string' || value.length > 65_536 || !/^[0-9a-f]*$/u.test(value)) {
    throw fault(path, 'at most 65536 hexadecimal digits');
  }
};

/** A number, a string or a boolean. */
export const figure: Shape = (value, path) => {
  const isFigure =
    (typeof value === 'number' && Number.isFinite(value)) ||
    typeof value === 'string' ||
    typeof value === 'boolean';
  if (!isFigure) throw fault(path, 'a number, a string or a boolean');
};

/** A list of at most `length`. */
export function listOf(shape: Shape, length: number = 2 ** 22): Shape {
  return (value, path) => {
    if (!Array.isArray(value)) throw fault(path, 'an array');
    if (value.length > length)
      throw fault(path, `an array of at most ${length}, not ${value.length}`);
    for (let i = 0; i < value.length; i++) shape(value[i], `${path}[${i}]`);
  };
}

/** A pair, like `[start, count]`. */
function pairOf(first: Shape, second: Shape): Shape {
  return (value, path) => {
    if (!Array.isArray(value) || value.length !== 2) throw fault(path, 'a pair');
    first(value[0], `${path}[0]`);
    second(value[1], `${path}[1]`);
  };
}

/** An object with these fields; those whose name ends in `?` may be left out. */
function objectOf(fields: Readonly<Record<string, Shape>>): Shape {
  const entries = Object.entries(fields).map(([name, shape]) => {
    const isOptional = name.endsWith('?');
    return { key: isOptional ? name.slice(0, -1) : name, isOptional, shape };
  });
  return (value, path) => {
    if (typeof value !== 'object' || value === null) throw fault(path, 'an object');
    for (const { key, isOptional, shape } of entries) {
      const field = (value as Record<string, unknown>)[key];
      if (field === undefined && isOptional) continue;
      shape(field, `${path}.${key}`);
    }
  };
}

/** An object whose values all have one shape. */
function mapOf(shape: Shape): Shape {
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw fault(path, 'an object');
    for (const [key, field] of Object.entries(value)) shape(field, `${path}.${key.slice(0, 40)}`);
  };
}

const NAME = textUpTo(1000);
/** More orders than 2^53 pages have. */
const ORDERS_MAX = 54;

const FREE_RUNS = listOf(anyNumber, ORDERS_MAX);

/** A replay report, as far as the page shows it. */
export const REPORT_SHAPE: Shape = objectOf({
  kind: NAME,
  'trace?': NAME,
  events: anyNumber,
  failures: anyNumber,
  seconds: anyNumber,
  nsPerEvent: anyNumber,
  p50: anyNumber,
  p99: anyNumber,
  p999: anyNumber,
  max: anyNumber,
  peakRequested: anyNumber,
  peakUsed: anyNumber,
  peakSpan: anyNumber,
  samples: listOf(
    objectOf({
      event: anyNumber,
      requested: anyNumber,
      used: anyNumber,
      span: anyNumber,
      largestFree: anyNumber,
      'nsPerCall?': anyNumber,
      'nsMax?': anyNumber,
    }),
  ),
  'complete?': anyBoolean,
  'calls?': anyNumber,
  'nsTrimmed?': anyNumber,
  'rangeBytes?': anyNumber,
  'fragmentation?': anyNumber,
  'latency?': listOf(pairOf(anyNumber, anyNumber), 10_000),
  'sizes?': listOf(pairOf(numberFrom(1), anyNumber), 64),
  'map?': objectOf({
    start: anyNumber,
    cellBytes: numberFrom(1),
    frames: listOf(objectOf({ event: anyNumber, cells: levels }), 1000),
  }),
});

/** A snapshot, as far as the page shows it. */
export const SNAPSHOT_SHAPE: Shape = objectOf({
  schema: exactly('heapwright/snapshot/1'),
  kind: NAME,
  unit: NAME,
  'name?': NAME,
  ranges: listOf(objectOf({ start: anyNumber, size: anyNumber }), 10_000),
  stats: mapOf(figure),
  fragmentation: objectOf({ 'internal?': anyNumber, external: anyNumber }),
  'maps?': listOf(objectOf({ start: anyNumber, cellSize: numberFrom(1), cells: levels }), 10_000),
  'sizes?': listOf(objectOf({ from: numberFrom(1), blocks: anyNumber, size: anyNumber }), 64),
  'sections?': listOf(
    objectOf({
      start: anyNumber,
      freePages: anyNumber,
      totalPages: anyNumber,
      freeRuns: FREE_RUNS,
    }),
    10_000,
  ),
  'blocks?': objectOf({ pos: listOf(anyNumber, 2 ** 27), size: listOf(anyNumber, 2 ** 27) }),
});

const SLAB_CLASSES = listOf(
  objectOf({
    objectSize: numberFrom(1),
    slabs: anyNumber,
    objects: anyNumber,
    active: anyNumber,
    empty: anyNumber,
  }),
  1000,
);

/** A snapshot, as far as the texts of the kernel show it. */
export const KERNEL_TEXT_SHAPE: Shape = objectOf({
  schema: exactly('heapwright/snapshot/1'),
  kind: NAME,
  'pageSize?': numberFrom(1),
  'sections?': listOf(
    objectOf({ physStart: anyNumber, size: anyNumber, freeRuns: FREE_RUNS }),
    10_000,
  ),
  'cpus?': listOf(objectOf({ classes: SLAB_CLASSES }), 1000),
  'slabClasses?': SLAB_CLASSES,
  'heapClasses?': listOf(
    objectOf({ size: numberFrom(1), blocks: anyNumber, slabs: anyNumber, cached: anyNumber }),
    1000,
  ),
});
