/**
 * @file Sizes as people write them: `MiB(64)`.
 *
 * Binary units only, each returning bytes. A fraction is fine where the result is a whole number of
 * bytes (`KiB(1.5)` is 1536); anything else is an error here, before it becomes a wrong size.
 */
import { failure, invalidType } from './errors.ts';

function scale(n: number, unit: number, name: string): number {
  if (typeof n !== 'number') throw invalidType('n', 'a number', n);
  const bytes = n * unit + 0;
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw failure(
      'ERR_INVALID_PARAM',
      `${name}(n) must be a whole number of bytes below 2^53, got n = ${n}`,
    );
  }
  return bytes;
}

/**
 * `n` kibibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export function KiB(n: number): number {
  return scale(n, 2 ** 10, 'KiB');
}

/**
 * `n` mebibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024 ** 2`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export function MiB(n: number): number {
  return scale(n, 2 ** 20, 'MiB');
}

/**
 * `n` gibibytes in bytes.
 *
 * @param n - From 0.
 * @returns `n * 1024 ** 3`.
 * @throws {@link AllocError} `ERR_INVALID_PARAM` where that is no safe integer from 0.
 */
export function GiB(n: number): number {
  return scale(n, 2 ** 30, 'GiB');
}
