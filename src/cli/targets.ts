/**
 * @file The kinds that a trace can be replayed on, and how the command line opens them.
 *
 * Every kind here serves bytes by address; `heap` is the Heap beside the families. What this build left
 * out is not offered.
 */
import { createAllocator, features } from '../create-allocator.ts';
import { AllocError } from '../errors.ts';
import { Heap } from '../heap.ts';
import type { TraceTarget } from '../trace/target.ts';
import { CliError, usageError } from './command.ts';

/** Kinds that serve bytes, the quick ones first: buddy may take its time. */
const BYTE_KINDS = ['tlsf', 'slab', 'two-level', 'heap', 'buddy'] as const;

/** A kind of {@link BYTE_KINDS}. */
export type ByteKind = (typeof BYTE_KINDS)[number];

/** All names, for help and completion, whatever this build contains. */
export const BYTE_KIND_NAMES: readonly string[] = BYTE_KINDS;

/** Whatever a replay can be done on. */
export type OpenTarget = TraceTarget & { close(): void };

/** Sizes are rounded up to this: every kind takes its multiples. */
export const SIZE_UNIT: number = 64 * 1024;

/** The byte kinds of this build. */
export function byteKinds(): ByteKind[] {
  const { kinds } = features();
  // A Heap is no kind of createAllocator, and every build has it.
  return BYTE_KINDS.filter(
    (kind) => kind === 'heap' || (kinds as readonly string[]).includes(kind),
  );
}

/** Ranges of the slab family end here. */
const SLAB_END = 4 * 2 ** 30;

/**
 * Where a range of `size` bytes starts: at a multiple of the power of two that holds it. Binary buddies
 * then see one block, which they fill from below; a range that starts anywhere else is many blocks to
 * them, small ones at both ends, and its span would say nothing.
 */
function startOf(kind: ByteKind, size: number): number {
  const start = 2 ** Math.ceil(Math.log2(size));
  return kind === 'slab' && start + size > SLAB_END ? 2 ** 20 : start;
}

/** Opens `kind` over `size` bytes (rounded up to {@link SIZE_UNIT}). */
export function openTarget(kind: ByteKind, size: number): OpenTarget {
  const rounded = Math.ceil(size / SIZE_UNIT) * SIZE_UNIT;
  try {
    if (kind === 'heap') return new Heap({ size: rounded });
    return createAllocator({
      kind,
      start: startOf(kind, rounded),
      size: rounded,
    } as never) as OpenTarget;
  } catch (error) {
    if (!(error instanceof AllocError)) throw error;
    const { code, message } = error;
    if (code === 'ERR_INVALID_PARAM' || code === 'ERR_CAPACITY') {
      throw usageError(`${kind} cannot be made with --size ${size}: ${message}`);
    }
    throw new CliError(`${kind} cannot be made: ${message} (${code})`, 1, error);
  }
}
