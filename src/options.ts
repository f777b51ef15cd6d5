/**
 * @file Argument checks: everything that comes from a program passes here, once.
 *
 * Types, then values, then state (`docs/errors.md`). A function of several arguments first calls the
 * `number…` checks of all of them, then looks at the values, and only then at the allocator, so that
 * the error of a wrong call does not depend on what state it found. Nothing here calls `valueOf` or
 * `toString`; options are copied, each property read once, from own properties onto a null prototype,
 * so that neither a getter nor a polluted prototype is met twice or by surprise.
 *
 * Not here: what only an allocator knows (is the block live, does the range overlap).
 */
import { types } from 'node:util';
import { failure, invalidType } from './errors.ts';

/** The largest alignment that any kind offers: 1 GiB. */
export const ALIGN_MAX: number = 2 ** 30;

/** No range ends above this: every address is a safe integer. */
export const RANGE_END_MAX: number = 2 ** 53;

/** The unit of byte ranges: 4 KiB. */
export const RANGE_UNIT: number = 4096;

/** Throws unless `value` is of type number. */
export function isNumber(value: unknown, name: string): asserts value is number {
  if (typeof value !== 'number') throw invalidType(name, 'a number', value);
}

/** Throws unless `value` was left out or is of type number. */
export function isNumberOrLeftOut(
  value: unknown,
  name: string,
): asserts value is number | undefined {
  if (value !== undefined && typeof value !== 'number') throw invalidType(name, 'a number', value);
}

/** Throws unless `value` was left out or is a boolean. */
export function isBooleanOrLeftOut(
  value: unknown,
  name: string,
): asserts value is boolean | undefined {
  if (value !== undefined && typeof value !== 'boolean') {
    throw invalidType(name, 'a boolean', value);
  }
}

/** Throws unless `value` can be called. */
export function isFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw invalidType(name, 'a function', value);
}

/** A safe integer from 0, with -0 made 0: an address, a position, a length. */
export function natural(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw failure(
      'ERR_INVALID_PARAM',
      `${name} must be an integer from 0 to 2^53 - 1, got ${value}`,
    );
  }
  return value + 0;
}

/** A safe integer from 1: a size or a count. */
export function positive(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw failure(
      'ERR_INVALID_PARAM',
      `${name} must be an integer from 1 to 2^53 - 1, got ${value}`,
    );
  }
  return value;
}

/** A power of two from `min` to {@link ALIGN_MAX}. */
export function alignment(value: number, name = 'align', min = 1): number {
  // Up to 2^30 the bit operators see the whole number.
  const isPowerOfTwo =
    Number.isSafeInteger(value) && value >= 1 && value <= ALIGN_MAX && (value & (value - 1)) === 0;
  if (isPowerOfTwo && value >= min) return value;
  const range = min > 1 || value > ALIGN_MAX ? ` from ${min} to 2^30 (1 GiB)` : '';
  throw failure('ERR_INVALID_PARAM', `${name} must be a power of two${range}, got ${value}`);
}

/** The bytes of `count` blocks of `size`, at most 2^53; both are safe integers from 1. */
export function totalOf(size: number, count: number): number {
  const total = size * count;
  // The product rounds: 2^53 + 1 is the same double as 2^53.
  const exact = total === 2 ** 53 ? BigInt(size) * BigInt(count) : total;
  if (exact > 2 ** 53) {
    throw failure('ERR_INVALID_PARAM', `size * count must be at most 2^53, got ${size} * ${count}`);
  }
  return total;
}

/** An array for so many positions; `undefined` where the runtime has none that long. */
export function arrayOf(length: number): Float64Array | undefined {
  try {
    return new Float64Array(length);
  } catch {
    return undefined;
  }
}

/**
 * Checks the values of one range for `init` and `addMemory`: `start` and `size` multiples of their
 * units, nothing above 2^53, and not at address 0 (where `startMin` is 1).
 */
export function range(
  start: number,
  size: number,
  units: { readonly start: number; readonly size: number; readonly startMin: 0 | 1 },
): { start: number; size: number } {
  const from = natural(start, 'start');
  const length = positive(size, 'size');
  if (from < units.startMin) {
    throw failure('ERR_INVALID_PARAM', 'start must not be 0: address 0 is never handed out, got 0');
  }
  if (from % units.start !== 0) {
    throw failure('ERR_INVALID_PARAM', `start must be a multiple of ${units.start}, got ${from}`);
  }
  if (length % units.size !== 0) {
    throw failure('ERR_INVALID_PARAM', `size must be a multiple of ${units.size}, got ${length}`);
  }
  if (length > RANGE_END_MAX - from) {
    throw failure(
      'ERR_INVALID_PARAM',
      `start + size must be at most 2^53, got ${from} + ${length}`,
    );
  }
  return { start: from, size: length };
}

/** The page size of a page kind: a power of two up to 1 GiB. */
export function pageSizeOf(value: number | undefined): number {
  return value === undefined ? RANGE_UNIT : alignment(value, 'pageSize');
}

/**
 * Copies options: own enumerable properties, each read once, onto a null prototype.
 *
 * @param value - What the program passed; `undefined` stands for no options at all.
 * @param name - How the message calls it.
 * @param keys - The keys that are known.
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for anything but an object, {@link AllocError}
 * `ERR_INVALID_PARAM` for a key that is not known. What a getter throws passes through.
 */
export function copyOptions(
  value: unknown,
  name: string,
  keys: readonly string[],
): Record<string, unknown> {
  const copy = Object.create(null) as Record<string, unknown>;
  if (value === undefined) return copy;
  if (typeof value !== 'object' || value === null) throw invalidType(name, 'an object', value);
  for (const key of ownKeys(value, name)) {
    if (!keys.includes(key)) {
      throw failure(
        'ERR_INVALID_PARAM',
        `${name} has the unknown key ${JSON.stringify(key)}; known are ${keys.join(', ')}`,
      );
    }
    copy[key] = (value as Record<string, unknown>)[key];
  }
  return copy;
}

/** The own enumerable string keys; a revoked Proxy is a wrong type, not an error without a code. */
function ownKeys(value: object, name: string): string[] {
  try {
    return Object.keys(value);
  } catch (error) {
    if (error instanceof TypeError && types.isProxy(value)) {
      throw invalidType(name, 'an object with readable keys', value);
    }
    throw error;
  }
}

/**
 * Reads the positions of a batch, once, into a copy of its own.
 *
 * @param value - Any array-like of numbers. A typed array of numbers is copied at memory speed.
 * @returns The positions, each a safe integer from 0.
 */
export function positionsOf(value: unknown, name = 'positions'): Float64Array {
  const numbers = numbersOf(value, name);
  for (let index = 0; index < numbers.length; index += 1) {
    const position = numbers[index] as number;
    if (!Number.isSafeInteger(position) || position < 0) natural(position, `${name}[${index}]`);
  }
  return numbers;
}

function numbersOf(value: unknown, name: string): Float64Array {
  if (typeof value !== 'object' || value === null) {
    throw invalidType(name, 'an array of numbers', value);
  }
  if (types.isTypedArray(value)) {
    if (types.isBigInt64Array(value) || types.isBigUint64Array(value)) {
      throw invalidType(name, 'an array of numbers', value[0] ?? value);
    }
    try {
      return new Float64Array(value);
    } catch (error) {
      // Over a buffer that is detached, or was made smaller than the view.
      throw Object.assign(invalidType(name, 'an array over attached memory', value), {
        cause: error,
      });
    }
  }
  try {
    return readNumbers(value, name);
  } catch (error) {
    if (error instanceof TypeError && types.isProxy(value) && !('code' in error)) {
      throw invalidType(name, 'an array with readable elements', value);
    }
    throw error;
  }
}

/** The elements of an array-like, read once, in order. */
function readNumbers(value: object, name: string): Float64Array {
  const { length } = value as { length?: unknown };
  if (typeof length !== 'number') throw invalidType(`${name}.length`, 'a number', length);
  natural(length, `${name}.length`);
  // Grown as it is read: an array-like may claim any length.
  let numbers = new Float64Array(Math.min(length, 1024));
  for (let index = 0; index < length; index += 1) {
    const element = (value as ArrayLike<unknown>)[index];
    if (typeof element !== 'number') throw invalidType(`${name}[${index}]`, 'a number', element);
    if (index === numbers.length) {
      const grown = new Float64Array(Math.min(length, index * 2));
      grown.set(numbers);
      numbers = grown;
    }
    numbers[index] = element;
  }
  return numbers;
}
