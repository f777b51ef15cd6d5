/**
 * @file What a refused call must look like: exact class, exact code, values in the message, and an
 * allocator that is exactly as it was.
 */
import { expect } from 'vitest';
import { AllocError } from '../../index.ts';
import type { AllocErrorCode, BaseAllocator } from '../../index.ts';

/** What `call` throws; fails the test when it does not. */
export function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error(`expected a throw from ${call}`);
}

/** Expects an `AllocError` with `code`, and a message that matches. */
export function expectRefusal(
  code: AllocErrorCode,
  message: RegExp,
  call: () => unknown,
): AllocError {
  const error = thrownBy(call);
  expect(error).toBeInstanceOf(AllocError);
  const refusal = error as AllocError;
  expect(`${refusal.code}: ${refusal.message}`).toMatch(
    new RegExp(`^${code}: .*(?:${message.source})`, 'su'),
  );
  return refusal;
}

/** Expects a `TypeError` with `ERR_INVALID_ARG_TYPE` that names the argument. */
export function expectWrongType(name: string, call: () => unknown): void {
  const error = thrownBy(call) as TypeError & { code?: string };
  expect(error).toBeInstanceOf(TypeError);
  expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
  expect(error.message).toContain(name);
}

/** The statistics without `failures`, which count refusals for want of memory. */
export function state(allocator: BaseAllocator): object {
  const { failures: _, ...rest } = allocator.stats();
  return rest;
}

/** As {@link expectRefusal}, and nothing may have changed. */
export function expectUnchanged(
  allocator: BaseAllocator,
  code: AllocErrorCode,
  message: RegExp,
  call: () => unknown,
): AllocError {
  const before = state(allocator);
  const error = expectRefusal(code, message, call);
  expect(state(allocator)).toEqual(before);
  allocator.check();
  return error;
}
