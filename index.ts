/**
 * Off-heap memory for Node.js, managed by real Rust allocators.
 *
 * The families ({@link createAllocator}) are the published crates, exact to the block: for those who
 * study allocators or simulate a kernel. `Heap` is this package's own engine: for those who need
 * memory. Whatever is done to either, a mistake is a typed {@link AllocError}, never a crash.
 *
 * @packageDocumentation
 */
export { AllocError } from './src/errors.ts';
export type { AllocErrorCode } from './src/errors.ts';
export { GiB, KiB, MiB } from './src/units.ts';
export { createAllocator, features, withFeatures } from './src/create-allocator.ts';
export type {
  BitmapOptions,
  BuddyPagesOptions,
  FeatureFlag,
  Features,
  IdOptions,
  PageOptions,
  RangeOptions,
  TwoLevelOptions,
} from './src/create-allocator.ts';
export type { AllocatorKind, AllocatorStats, BaseAllocator, ManagedRange } from './src/family.ts';
export type { ByteAllocator, ByteOptions } from './src/byte-family.ts';
export type { PageAllocator } from './src/page-family.ts';
export { BuddyByteAllocator } from './src/buddy.ts';
export { TlsfByteAllocator } from './src/tlsf.ts';
export { SlabByteAllocator } from './src/slab.ts';
export type { SlabHolding } from './src/slab.ts';
export { BitmapPageAllocator } from './src/bitmap.ts';
export type { BitmapAllocatorOptions } from './src/bitmap.ts';
export { BitmapIdAllocator } from './src/id.ts';
export { readTrace, writeTrace } from './src/trace/format.ts';
export type { Trace, TraceEvent } from './src/trace/format.ts';
export { record } from './src/trace/record.ts';
export type { Recording } from './src/trace/record.ts';
export { replay } from './src/trace/replay.ts';
export type { ReplayOptions, ReplayReport, ReplaySample } from './src/trace/replay.ts';
export type { HeapMap, MapFrame } from './src/trace/occupancy.ts';
export type { HeapLike, TraceTarget } from './src/trace/target.ts';
export { snapshot } from './src/inspect/snapshot.ts';
export type {
  Snapshot,
  SnapshotMap,
  SnapshotOptions,
  SnapshotSection,
  SnapshotSizes,
  SnapshotSlabClass,
} from './src/inspect/snapshot.ts';
export { toBuddyinfo, toSlabinfo } from './src/inspect/kernel-text.ts';
export { renderReport } from './src/inspect/html.ts';
export type { ReportParts } from './src/inspect/html.ts';
export { GlobalAllocator } from './src/two-level.ts';
export type { CpuAllocator, GlobalAllocatorOptions } from './src/two-level.ts';
export { BuddyAllocator } from './src/buddy-pages.ts';
export type { BuddyAllocatorOptions } from './src/buddy-pages.ts';
export type { ManagedSection, RegionPlace } from './src/sections.ts';
export { SlabAllocator } from './src/slab-cache.ts';
export type {
  SlabAllocResult,
  SlabCacheOptions,
  SlabClassStats,
  SlabDeallocResult,
} from './src/slab-cache.ts';
export { Heap } from './src/heap.ts';
export type { HeapHandle } from './src/heap.ts';
export type { HeapDebugOptions, HeapOptions } from './src/heap-options.ts';
export type { HeapClassStats, HeapStats, Leak } from './src/heap-engine.ts';
export type { Pool } from './src/pool.ts';
// For its effect alone: gives `heap.publish()` its way to the socket of `heapwright top`.
import './src/inspect/publish.ts';
