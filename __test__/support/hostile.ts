/**
 * @file Values that nobody should pass: for every parameter of every method (A3).
 */
import type { AllocErrorCode } from '../../index.ts';

/** A hostile value, and what it is called in the title of a failure. */
export interface Hostile {
  readonly name: string;
  /** Made anew for each call, since some of them remember. */
  readonly make: (context: { close(): void }) => unknown;
}

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable([1, 2], {});
  revoke();
  return proxy;
};

const detached = (): Float64Array => {
  const array = new Float64Array(4);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
};

const shrunk = (): Float64Array => {
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: object,
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(64, { maxByteLength: 128 });
  const array = new Float64Array(buffer, 32, 4);
  buffer.resize(8);
  return array;
};

const thrower = (): never => {
  throw new Error('valueOf was called');
};

/** Numbers that are no safe integers from 0: `ERR_INVALID_PARAM` wherever a number is due. */
export const BAD_NUMBERS: readonly number[] = [
  NaN,
  -1,
  0.5,
  1.5,
  -0.5,
  2 ** 53,
  2 ** 53 + 2,
  2 ** 63,
  2 ** 64,
  1e308,
  Infinity,
  -Infinity,
  -(2 ** 53),
  5e-324,
  -(2 ** 31),
];

/** Numbers that are fine as such, and may or may not be fine where they are passed. */
export const ODD_NUMBERS: readonly number[] = [-0, 0, 1, 3, 2 ** 31, 2 ** 32, 2 ** 53 - 1];

/** Everything that is no number. */
export const NO_NUMBERS: readonly Hostile[] = [
  { name: '0n', make: () => 0n },
  { name: '64n', make: () => 64n },
  { name: '-1n', make: () => -1n },
  { name: '2n ** 64n', make: () => 2n ** 64n },
  { name: 'empty string', make: () => '' },
  { name: "'64'", make: () => '64' },
  { name: "'NaN'", make: () => 'NaN' },
  { name: 'null', make: () => null },
  { name: 'true', make: () => true },
  { name: 'false', make: () => false },
  { name: 'a symbol', make: () => Symbol('size') },
  { name: '[]', make: () => [] },
  { name: '[64]', make: () => [64] },
  { name: "['a']", make: () => ['a'] },
  { name: '{}', make: () => ({}) },
  { name: 'an object without prototype', make: () => Object.create(null) as object },
  { name: 'a function', make: () => thrower },
  { name: 'a Proxy', make: () => new Proxy({}, { get: thrower, ownKeys: thrower, has: thrower }) },
  { name: 'a revoked Proxy', make: revoked },
  { name: 'a throwing valueOf', make: () => ({ valueOf: thrower, toString: thrower }) },
  { name: 'a throwing toPrimitive', make: () => ({ [Symbol.toPrimitive]: thrower }) },
  { name: 'a valueOf that closes', make: (context) => ({ valueOf: () => (context.close(), 64) }) },
  { name: 'new Number(64)', make: () => new Number(64) },
  { name: 'a Date', make: () => new Date(64) },
  { name: 'a Map', make: () => new Map([[64, 64]]) },
  { name: 'an ArrayBuffer', make: () => new ArrayBuffer(64) },
  { name: 'a detached array', make: detached },
  { name: 'an array out of its buffer', make: shrunk },
  { name: 'a foreign handle', make: () => ({ heapwright: 'heap', id: 2 ** 31, generation: 1 }) },
  { name: 'a Promise', make: () => Promise.resolve(64) },
];

/** Codes that an odd but well-typed number may end in. */
export const ODD_CODES: readonly AllocErrorCode[] = [
  'ERR_INVALID_PARAM',
  'ERR_NOT_ALLOCATED',
  'ERR_NO_MEMORY',
  'ERR_SIZE_MISMATCH',
  'ERR_CAPACITY',
  'ERR_MEMORY_OVERLAP',
  'ERR_FEATURE_DISABLED',
];
