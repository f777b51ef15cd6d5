/**
 * @file Constants of the native seam. DO NOT EDIT DIRECTLY: written by `scripts/build.mjs` from what the
 * binary declares, so that Rust is the only source.
 */

export const LAYOUT_VERSION = 1;
export const CONTROL_LENGTH = 64;
export const WINDOW_BYTES_MAX = 4294967296;
export const BUFFER_BYTES_MAX = 68719476736;
export const STATS_LENGTH = 10;
export const HEAP_AREA_BYTES = 1048576;
export const HEAP_ALLOCS = 8;
export const HEAP_AT = 3584;
export const HEAP_CLASSES_MAX = 128;
export const HEAP_COUNT = 3968;
export const HEAP_FT = 3712;
export const HEAP_HAZARD = 3;
export const HEAP_LARGE = 127;
export const HEAP_CLASS_MASK = 127;
export const HEAP_MODE_PUBLIC = 256;
export const HEAP_MODE_MASK = 384;
export const HEAP_OWNER_MASK = 523776;
export const HEAP_OWNER_SHIFT = 9;
export const HEAP_QUIET_FREES = 256;
export const HEAP_OUTBOX = 229376;
export const HEAP_OUTBOX_MAX = 127;
export const HEAP_POISON = 512;
export const HEAP_PT = 3840;
export const HEAP_S2C = 1024;
export const HEAP_STATE_MARK = 2;
export const HEAP_LOW = 3200;
export const HEAP_SEEN = 3328;
export const HEAP_POOL_LOW = 3456;
export const HEAP_MARKS = 253;
export const HEAP_SMALL_MAX = 32768;
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
