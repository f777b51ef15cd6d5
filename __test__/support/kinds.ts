/**
 * @file The byte kinds, and small allocators of every kind, for tests that run over all of them.
 */
import { MiB, createAllocator } from '../../index.ts';
import type {
  BitmapIdAllocator,
  BitmapPageAllocator,
  BuddyByteAllocator,
  SlabByteAllocator,
  TlsfByteAllocator,
} from '../../index.ts';

/** Kinds of bytes. */
export const BYTE_KINDS = ['buddy', 'tlsf', 'slab'] as const;

/** The name of one of them. */
export type ByteKindName = (typeof BYTE_KINDS)[number];

/** Any of their classes. */
export type Bytes = BuddyByteAllocator | TlsfByteAllocator | SlabByteAllocator;

/** An allocator of a byte kind. */
export function bytesOf(
  kind: ByteKindName,
  size = MiB(1),
  more: { start?: number; memory?: boolean } = {},
): Bytes {
  switch (kind) {
    case 'buddy':
      return createAllocator({ kind, size, ...more });
    case 'tlsf':
      return createAllocator({ kind, size, ...more });
    case 'slab':
      return createAllocator({ kind, size, ...more });
  }
}

/** Pages with memory behind them, so that every method works. */
export function pagesOf(size = MiB(1), memory = true): BitmapPageAllocator {
  return createAllocator({ kind: 'bitmap', size, memory });
}

/** Ids from 0. */
export function idsOf(size = 1000): BitmapIdAllocator {
  return createAllocator({ kind: 'id', size });
}
