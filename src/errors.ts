/**
 * @file The one error class, its codes, and the sentences that its messages are made of.
 *
 * Two sorts of failure: a value of the wrong JavaScript type is a `TypeError` with code
 * `ERR_INVALID_ARG_TYPE`, as in Node; everything else is an {@link AllocError}. A message gives the
 * value and the limit, and reads on after the name: `align must be a power of two, got 24`.
 *
 * Invariant: building a message never calls code of the program. A value is described by its type,
 * never by its `toString`, `valueOf` or a property.
 *
 * Not here: the checks themselves (`options.ts`); what a native status means (`native.ts`).
 */

/** Every code of an {@link AllocError}; `docs/errors.md` has a line for each. */
export type AllocErrorCode =
  | 'ERR_INVALID_PARAM'
  | 'ERR_MEMORY_OVERLAP'
  | 'ERR_NO_MEMORY'
  | 'ERR_NOT_ALLOCATED'
  | 'ERR_CLOSED'
  | 'ERR_SIZE_MISMATCH'
  | 'ERR_CAPACITY'
  | 'ERR_FEATURE_DISABLED'
  | 'ERR_UNSUPPORTED'
  | 'ERR_NO_BINDING'
  | 'ERR_CORRUPTED'
  | 'ERR_INTERNAL';

/** What an error carries beside its code and message. */
export interface AllocErrorDetails {
  readonly requested?: number;
  readonly largestFree?: number;
  readonly cause?: unknown;
}

/**
 * Every failure of an allocator. After any throw the allocator is exactly as it was.
 *
 * A wrong JavaScript type is a `TypeError` with code `ERR_INVALID_ARG_TYPE` instead.
 */
export class AllocError extends Error {
  /** Stable; what a program should look at. */
  readonly code: AllocErrorCode;
  /** `ERR_NO_MEMORY` only: the bytes (pages, ids) asked for. */
  declare readonly requested?: number;
  /** `ERR_NO_MEMORY` only: the largest request that would succeed now, at alignment 1. */
  declare readonly largestFree?: number;

  /** @internal */
  constructor(code: AllocErrorCode, message: string, details: AllocErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.requested !== undefined) this.requested = details.requested;
    if (details.largestFree !== undefined) this.largestFree = details.largestFree;
  }

  /** `AllocError`, also where a bundler renames classes. */
  override get name(): string {
    return 'AllocError';
  }
}

/** A new {@link AllocError}; the caller throws it. */
export function failure(
  code: AllocErrorCode,
  message: string,
  details?: AllocErrorDetails,
): AllocError {
  return new AllocError(code, message, details);
}

/** A new `TypeError` with code `ERR_INVALID_ARG_TYPE`; the caller throws it. */
export function invalidType(
  name: string,
  expected: string,
  value: unknown,
): TypeError & { readonly code: 'ERR_INVALID_ARG_TYPE' } {
  const error = new TypeError(`${name} must be ${expected}, got ${describe(value)}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' as const });
}

/** A value in a message, without calling any code of the program. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value.length > 40
        ? `the string ${JSON.stringify(value.slice(0, 40))}…`
        : `the string ${JSON.stringify(value)}`;
    case 'bigint': {
      // A BigInt of a million digits would take its time to print.
      const small = BigInt.asIntN(128, value) === value;
      return small ? `the BigInt ${value}n` : 'a BigInt of more than 128 bits';
    }
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value);
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'symbol':
      return 'a symbol';
    case 'function':
      return 'a function';
    default:
      return value === null ? 'null' : 'an object';
  }
}

/** An address as people read it in a debugger: `0x101040`. */
export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
