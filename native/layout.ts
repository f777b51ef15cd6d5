/**
 * @file Constants of the native seam. DO NOT EDIT DIRECTLY: written by `scripts/build.mjs` from what the
 * binary declares, so that Rust is the only source.
 */

export const LAYOUT_VERSION = 1;
export const CONTROL_LENGTH = 64;
export const WINDOW_BYTES_MAX = 4294967296;
export const STATS_LENGTH = 10;
export const STATUS_CODES: readonly string[] = [
  '',
  'ERR_INVALID_PARAM',
  'ERR_MEMORY_OVERLAP',
  'ERR_NO_MEMORY',
  'ERR_NOT_ALLOCATED',
  'ERR_CLOSED',
  'ERR_SIZE_MISMATCH',
  'ERR_CAPACITY',
  'ERR_FEATURE_DISABLED',
  'ERR_UNSUPPORTED',
  'ERR_CORRUPTED',
  'ERR_INTERNAL',
];
