/**
 * @file The roll-up `index.d.ts` against the contract that external tests are written to
 * (`support/contract.d.ts`). Checked by tsc, never run: a line that does not compile is a failure.
 *
 * What we give must be what the contract promises; what the contract takes, we must take. Classes are
 * compared by their instances and constructors, since ours have private fields.
 */
import type * as Ours from '../index.d.ts';
import type * as Contract from './support/contract.d.ts';

/** Compiles exactly if `Given` can stand wherever `Promised` is expected. */
type Fits<Given extends Promised, Promised> = Given;

/** Compiles exactly if each fits the other. */
type Same<A extends B, B extends C, C = A> = [A, B, C];

/** Each line is one comparison; exported so that none of them is unused. */
export type Checks = [
  Same<Ours.AllocErrorCode, Contract.AllocErrorCode>,
  Same<Ours.AllocatorKind, Contract.AllocatorKind>,
  Same<Ours.FeatureFlag, Contract.FeatureFlag>,
  Same<Ours.TraceEvent, Contract.TraceEvent>,
  Same<Ours.AllocatorStats, Contract.AllocatorStats>,
  Same<Ours.BaseAllocator, Contract.BaseAllocator>,
  Same<Ours.ByteAllocator, Contract.ByteAllocator>,
  Same<Ours.PageAllocator, Contract.PageAllocator>,
  Same<Ours.RangeOptions, Contract.RangeOptions>,
  Same<Ours.PageOptions, Contract.PageOptions>,
  Same<Ours.BitmapOptions, Contract.BitmapOptions>,
  Same<Ours.IdOptions, Contract.IdOptions>,
  Same<Ours.TwoLevelOptions, Contract.TwoLevelOptions>,
  Same<Ours.BuddyPagesOptions, Contract.BuddyPagesOptions>,
  Same<Ours.SlabCacheOptions, Contract.SlabCacheOptions>,
  Same<Ours.ManagedSection, Contract.ManagedSection>,
  Same<Ours.SlabClassStats, Contract.SlabClassStats>,
  Same<Ours.HeapOptions, Contract.HeapOptions>,
  Same<Ours.HeapHandle, Contract.HeapHandle>,
  Fits<Ours.HeapStats, Contract.HeapStats>,
  Fits<Ours.Pool, Contract.Pool>,
  Fits<Ours.Heap, Contract.Heap>,
  Fits<Ours.CpuAllocator, Contract.CpuAllocator>,
  Fits<Ours.BuddyAllocator, Contract.BuddyAllocator>,
  Fits<Ours.SlabAllocator, Contract.SlabAllocator>,
  Fits<Ours.GlobalAllocator, Contract.GlobalAllocator>,
  Fits<Ours.AllocError, Contract.AllocError>,
  Fits<Ours.BuddyByteAllocator, Contract.BuddyByteAllocator>,
  Fits<Ours.TlsfByteAllocator, Contract.TlsfByteAllocator>,
  Fits<Ours.SlabByteAllocator, Contract.SlabByteAllocator>,
  Fits<Ours.BitmapPageAllocator, Contract.BitmapPageAllocator>,
  Fits<Ours.BitmapIdAllocator, Contract.BitmapIdAllocator>,
  Fits<Ours.Trace, Contract.Trace>,
  Fits<Ours.ReplayReport, Contract.ReplayReport>,
  Fits<Ours.Snapshot, Contract.Snapshot>,
  // Functions and constructors.
  Same<typeof Ours.KiB, typeof Contract.KiB>,
  Same<typeof Ours.MiB, typeof Contract.MiB>,
  Same<typeof Ours.GiB, typeof Contract.GiB>,
  Fits<typeof Ours.Heap, typeof Contract.Heap>,
  Fits<typeof Ours.record, typeof Contract.record>,
  Fits<typeof Ours.replay, typeof Contract.replay>,
  Fits<typeof Ours.snapshot, typeof Contract.snapshot>,
  Fits<typeof Ours.features, typeof Contract.features>,
  Fits<typeof Ours.readTrace, typeof Contract.readTrace>,
  Fits<typeof Ours.writeTrace, typeof Contract.writeTrace>,
  Fits<typeof Ours.toBuddyinfo, typeof Contract.toBuddyinfo>,
  Fits<typeof Ours.toSlabinfo, typeof Contract.toSlabinfo>,
  Fits<typeof Ours.renderReport, typeof Contract.renderReport>,
  Fits<typeof Ours.createAllocator, typeof Contract.createAllocator>,
  Fits<typeof Ours.withFeatures, typeof Contract.withFeatures>,
  Fits<typeof Ours.BuddyByteAllocator, typeof Contract.BuddyByteAllocator>,
  Fits<typeof Ours.TlsfByteAllocator, typeof Contract.TlsfByteAllocator>,
  Fits<typeof Ours.SlabByteAllocator, typeof Contract.SlabByteAllocator>,
  Fits<typeof Ours.BitmapPageAllocator, typeof Contract.BitmapPageAllocator>,
  Fits<typeof Ours.BitmapIdAllocator, typeof Contract.BitmapIdAllocator>,
  Fits<typeof Ours.BuddyAllocator, typeof Contract.BuddyAllocator>,
  Fits<typeof Ours.SlabAllocator, typeof Contract.SlabAllocator>,
  Fits<typeof Ours.GlobalAllocator, typeof Contract.GlobalAllocator>,
];

declare const ours: typeof Ours;

/** The class follows from `kind`. */
export const kinds: [
  Ours.ByteAllocator,
  Ours.BuddyByteAllocator,
  Ours.TlsfByteAllocator,
  Ours.SlabByteAllocator,
  Ours.BitmapPageAllocator,
  Ours.BitmapIdAllocator,
  Ours.GlobalAllocator,
  Ours.BuddyAllocator,
  Ours.SlabAllocator,
] = [
  ours.createAllocator({ size: 4096 }),
  ours.createAllocator({ kind: 'buddy', size: 4096 }),
  ours.createAllocator({ kind: 'tlsf', size: 4096, start: 4096, memory: false }),
  ours.createAllocator({ kind: 'slab', size: 32_768 }),
  ours.createAllocator({ kind: 'bitmap', size: 4096, pageSize: 4096, capacityBytes: 4096 }),
  ours.createAllocator({ kind: 'id', size: 4096 }),
  ours.createAllocator({ kind: 'two-level', size: 4096, cpus: 4, physStart: 0 }),
  ours.createAllocator({ kind: 'buddy-pages', size: 4096 }),
  ours.createAllocator({ kind: 'slab-cache' }),
];

/** Our snapshots and reports say more than the contract's; what takes them takes what we give. */
export const texts = (target: Ours.Heap, trace: Ours.Trace): string[] => [
  ours.toBuddyinfo(ours.snapshot(target)),
  ours.toSlabinfo(ours.snapshot(target, { blocks: true })),
  ours.renderReport({
    reports: [ours.replay(trace, target)],
    snapshots: [ours.snapshot(target)],
    title: 'All of them',
  }),
];

/** What must not compile. */
export const mistakes = [
  // @ts-expect-error A kind that there is not.
  ours.createAllocator({ kind: 'heap', size: 4096 }),
  // @ts-expect-error A byte kind has no page size.
  ours.createAllocator({ kind: 'tlsf', size: 4096, pageSize: 4096 }),
  // @ts-expect-error Ids have no memory.
  ours.createAllocator({ kind: 'id', size: 4096, memory: true }),
  // @ts-expect-error A size is due.
  ours.createAllocator({ kind: 'buddy' }),
  // @ts-expect-error Sizes are numbers.
  ours.createAllocator({ kind: 'buddy', size: 4096n }),
  // @ts-expect-error A flag that there is not.
  ours.withFeatures('heap'),
];
