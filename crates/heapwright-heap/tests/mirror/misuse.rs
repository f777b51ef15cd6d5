//! Every way to ask a mirrored allocator for something wrong: the exact refusal, and nothing changed.

use heapwright_allocators::{
    BitmapIdAllocator, BitmapPageAllocator, BuddyByteAllocator, TlsfByteAllocator,
};
use heapwright_core::ByteFamily;
use heapwright_heap::{
    AnyMirror as _, ByteRules, IdMirror, Mirror, PageMirror, RANGE_END_MAX, Refusal, Stats,
    arena::Memory,
};

use crate::{START, buddy, fill, holds, slab, tlsf};

/// Statistics without the count of failures, which may grow.
fn settled<F: ByteFamily>(mirror: &Mirror<F>) -> Stats {
    assert!(mirror.check().is_ok());
    Stats { failures: 0, ..mirror.stats().unwrap() }
}

fn refuses_every_invalid_free<F: ByteFamily>(mut mirror: Mirror<F>) {
    let block = mirror.alloc(100, 16).unwrap();
    let gone = mirror.alloc(100, 16).unwrap();
    mirror.dealloc(gone, None, None).unwrap();
    let before = settled(&mirror);
    let end = START + (1 << 20);
    for pos in
        (block - 64..block + 256).chain([0, 1, 4096, START - 8, end, end + 8, gone, usize::MAX])
    {
        if pos == block {
            continue;
        }
        assert_eq!(mirror.dealloc(pos, None, None), Err(Refusal::NotAllocated), "{pos:#x}");
        assert_eq!(mirror.realloc(pos, 10), Err(Refusal::NotAllocated), "{pos:#x}");
        assert_eq!(mirror.lookup(pos), Err(Refusal::NotAllocated), "{pos:#x}");
    }
    let mismatch = Err(Refusal::SizeMismatch { size: 100, align: 16 });
    for (size, align) in [
        (Some(99), None),
        (Some(0), None),
        (Some(1 << 40), None),
        (None, Some(8)),
        (None, Some(0)),
        (Some(100), Some(32)),
        (Some(112), Some(16)),
    ] {
        assert_eq!(mirror.dealloc(block, size, align), mismatch);
    }
    assert_eq!(settled(&mirror), before);
    mirror.dealloc(block, Some(100), Some(16)).unwrap();
    assert_eq!(mirror.stats().unwrap().used, 0);
}

#[test]
fn every_invalid_free_is_refused() {
    refuses_every_invalid_free(buddy(1 << 20));
    refuses_every_invalid_free(tlsf(1 << 20));
    refuses_every_invalid_free(slab(1 << 20));
}

/// A5: every offset of the range, and some around it.
#[test]
fn of_all_offsets_only_the_live_blocks_can_be_freed() {
    let mut mirror = tlsf(1 << 20);
    let mut blocks: Vec<_> = (0..200)
        .map(|index| mirror.alloc(1 + index * 13 % 3000, 1 << (index % 9)).unwrap())
        .collect();
    blocks.sort_unstable();
    let before = settled(&mirror);
    for pos in START - 64..START + (1 << 20) + 4096 {
        if blocks.binary_search(&pos).is_err() {
            assert_eq!(mirror.dealloc(pos, None, None), Err(Refusal::NotAllocated));
        }
    }
    assert_eq!(settled(&mirror), before);
    for pos in blocks.drain(..) {
        mirror.dealloc(pos, None, None).unwrap();
    }
    assert_eq!(mirror.stats().unwrap().used, 0);
}

#[test]
fn values_that_no_allocator_serves_are_invalid() {
    let mut mirror = tlsf(1 << 20);
    let before = settled(&mirror);
    for (size, align) in [
        (0, 8),
        (8, 0),
        (8, 3),
        (8, 24),
        (8, 1 << 31),
        (8, usize::MAX),
        (usize::MAX, 8),
        (isize::MAX as usize + 1, 1),
    ] {
        assert_eq!(mirror.alloc(size, align), Err(Refusal::InvalidParam), "{size} {align}");
        assert_eq!(mirror.alloc_zeroed(size, align), Err(Refusal::InvalidParam));
        assert_eq!(mirror.alloc_many(size, align, 2), Err(Refusal::InvalidParam));
    }
    assert_eq!(mirror.alloc_many(8, 8, 1 << 51), Err(Refusal::InvalidParam));
    let block = mirror.alloc(8, 8).unwrap();
    assert_eq!(mirror.realloc(block, 0), Err(Refusal::InvalidParam));
    mirror.dealloc(block, None, None).unwrap();
    assert_eq!(mirror.stats().unwrap().failures, 0);
    assert_eq!(Stats { allocs: 0, frees: 0, peak_used: 0, ..settled(&mirror) }, before);
}

#[test]
fn a_valid_request_that_cannot_be_met_is_out_of_memory_and_counted() {
    let mut mirror = tlsf(1 << 20);
    for size in [1 << 20, 1 << 30, (1 << 53) - 1] {
        let refusal = Err(Refusal::NoMemory { requested: size, errno: 0 });
        assert_eq!(mirror.alloc(size, 8), refusal);
        assert_eq!(mirror.alloc_zeroed(size, 8), refusal);
    }
    assert!(mirror.alloc(8, 1 << 30).is_err());
    assert_eq!(mirror.stats().unwrap().failures, 7);
}

#[test]
fn ranges_are_judged_before_anything_is_mapped() {
    let mut mirror = tlsf(1 << 20);
    assert_eq!(mirror.init(START + (1 << 30), 4096), Err(Refusal::InvalidParam), "a second init");
    for (start, size) in [
        (0, 4096),
        (4096, 0),
        (4097, 4096),
        (4096, 4097),
        (usize::MAX & !4095, 4096),
        (usize::MAX & !4095, 8192),
        (RANGE_END_MAX, 4096),
    ] {
        assert_eq!(mirror.add_memory(start, size), Err(Refusal::InvalidParam), "{start} {size}");
    }
    let overlap = Err(Refusal::MemoryOverlap { start: START, size: 1 << 20 });
    assert_eq!(mirror.add_memory(START, 4096), overlap);
    assert_eq!(mirror.add_memory(START - 4096, 8192), overlap);
    assert_eq!(mirror.add_memory(START + (1 << 20) - 4096, 4096), overlap);
    mirror.add_memory(START + (1 << 20), 4096).unwrap();
    assert_eq!(mirror.spans().len(), 2);
    assert!(mirror.check().is_ok());
}

#[test]
fn a_range_that_the_system_cannot_map_leaves_its_errno() {
    let mut mirror = tlsf(1 << 20);
    let refused = mirror.add_memory(1 << 50, 1 << 50);
    assert_eq!(refused, Err(Refusal::NoMemory { requested: 1 << 50, errno: 12 }));
    assert_eq!(mirror.stats().unwrap().failures, 1);
    assert_eq!(mirror.spans().len(), 1);
}

/// 16 TiB: a look at all of the range, or at all of its marks, would not end.
fn is_looked_over_at_once<F: ByteFamily>(family: F, rules: ByteRules) {
    let size = 1 << 44;
    let mut mirror = Mirror::new(family, rules, Memory::None);
    mirror.init(START, size).unwrap();
    let pos = mirror.alloc(1, 1).unwrap();
    let others = [20, 30, 43].map(|log2| mirror.alloc(1 << log2, 4096));
    let live = 1 + others.iter().flatten().count();
    assert_eq!(mirror.check(), Ok(live));
    assert!(mirror.blocks().unwrap().iter().any(|&(start, block)| (start, block.size) == (pos, 1)));
    assert_eq!(mirror.stats().unwrap().blocks, live);
    for pos in others.into_iter().flatten().chain([pos]) {
        mirror.dealloc(pos, None, None).unwrap();
    }
    assert_eq!((mirror.check(), mirror.blocks()), (Ok(0), Ok(vec![])));
}

#[test]
fn a_range_far_larger_than_memory_is_looked_over_at_once() {
    // A sanitizer's runtime needs most of the addresses itself.
    if std::env::var_os("HEAPWRIGHT_SANITIZER").is_some() {
        return;
    }
    is_looked_over_at_once(BuddyByteAllocator::new(), ByteRules::BUDDY);
    is_looked_over_at_once(TlsfByteAllocator::new(), ByteRules::TLSF);
}

#[test]
fn a_slab_ends_at_4_gib_and_counts_in_units_of_32_kib() {
    let mut mirror =
        Mirror::new(heapwright_allocators::SlabByteAllocator::new(), ByteRules::SLAB, Memory::None);
    assert_eq!(mirror.init(4096, 36 << 10), Err(Refusal::InvalidParam));
    let limit = 4 << 30;
    assert_eq!(mirror.init(4096, limit + (32 << 10)), Err(Refusal::Capacity { limit }));
    mirror.init(4096, 1 << 30).unwrap();
    assert_eq!(mirror.add_memory(8 << 30, 4 << 30), Err(Refusal::Capacity { limit }));
    mirror.add_memory(8 << 30, 4096).unwrap();
}

#[test]
fn nothing_is_served_before_init_and_after_poison() {
    let mut mirror = Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, Memory::None);
    assert_eq!(mirror.alloc(8, 8), Err(Refusal::Closed));
    assert_eq!(mirror.dealloc(8, None, None), Err(Refusal::Closed));
    assert_eq!(mirror.add_memory(4096, 4096), Err(Refusal::Closed));
    assert_eq!(mirror.stats(), Err(Refusal::Closed));
    assert_eq!(mirror.largest_free(), 0);
    mirror.init(4096, 4096).unwrap();
    let block = mirror.alloc(8, 8).unwrap();
    mirror.poison("the first cause");
    mirror.poison("a later one");
    assert_eq!(mirror.poisoned(), Some("the first cause"));
    assert_eq!(mirror.alloc(8, 8), Err(Refusal::Internal));
    assert_eq!(mirror.dealloc(block, None, None), Err(Refusal::Internal));
    assert_eq!(mirror.dealloc_many(&[block]), Err((0, Refusal::Internal)));
    assert_eq!(mirror.realloc(block, 9), Err(Refusal::Internal));
    assert_eq!(mirror.init(1 << 30, 4096), Err(Refusal::Internal));
    assert_eq!(mirror.add_memory(1 << 30, 4096), Err(Refusal::Internal));
    assert_eq!(mirror.blocks(), Err(Refusal::Internal));
}

fn batches_are_all_or_nothing<F: ByteFamily>(mut mirror: Mirror<F>) {
    let before = mirror.stats().unwrap();
    assert!(mirror.alloc_many(1000, 8, 2000).is_err());
    assert_eq!(Stats { failures: 0, ..before }, settled(&mirror));
    let blocks = mirror.alloc_many(100, 32, 50).unwrap();
    assert_eq!(mirror.check(), Ok(50));
    let full = settled(&mirror);
    for offender in [blocks[3], blocks[3] + 1, 0, START - 8] {
        let mut batch = blocks.clone();
        batch.insert(40, offender);
        assert_eq!(mirror.dealloc_many(&batch), Err((offender, Refusal::NotAllocated)));
        assert_eq!(settled(&mirror), full);
    }
    mirror.dealloc_many(&blocks).unwrap();
    assert_eq!(mirror.stats().unwrap().blocks, 0);
    assert_eq!(mirror.alloc_many(8, 8, 0), Ok(Vec::new()));
    mirror.dealloc_many(&[]).unwrap();
}

#[test]
fn a_batch_happens_whole_or_not_at_all() {
    batches_are_all_or_nothing(buddy(1 << 20));
    batches_are_all_or_nothing(tlsf(1 << 20));
    batches_are_all_or_nothing(slab(1 << 20));
}

fn shrinks_in_a_full_range<F: ByteFamily>(mut mirror: Mirror<F>) {
    let size = mirror.largest_free();
    let block = mirror.alloc(size, 8).unwrap();
    fill(&mirror, block, size, 7);
    while mirror.largest_free() > 0 {
        let rest = mirror.largest_free();
        mirror.alloc(rest, 1).unwrap();
    }
    let mut pos = block;
    for new_size in [size - 1, size / 2 + 1, size, 1, size / 3, 17] {
        let Ok(moved) = mirror.realloc(pos, new_size) else {
            panic!("{new_size} of {size} is a smaller block");
        };
        pos = moved;
        assert_eq!(mirror.lookup(pos).unwrap().0.size, new_size);
        assert!(mirror.check().is_ok());
    }
    assert!(holds(&mirror, pos, 1, 7));
    mirror.dealloc(pos, Some(17), Some(8)).unwrap();
    assert!(mirror.check().is_ok());
}

#[test]
fn a_block_shrinks_where_no_other_would_fit() {
    shrinks_in_a_full_range(buddy(1 << 20));
    shrinks_in_a_full_range(slab(1 << 20));
}

#[test]
fn pages_are_refused_as_bytes_are() {
    let family = BitmapPageAllocator::with_capacity(4096, 1 << 18).unwrap();
    let mut pages = PageMirror::new(family, Memory::None, Some(1 << 30));
    assert_eq!(pages.alloc(1, 4096), Err(Refusal::Closed));
    assert_eq!(pages.init(4096, 2 << 30), Err(Refusal::Capacity { limit: 1 << 30 }));
    pages.init(1 << 52, 1 << 20).unwrap();
    for (count, align) in [(0, 4096), (1, 0), (1, 8), (1, 4097), (1, 3 << 12), (1, 1 << 31)] {
        assert_eq!(pages.alloc(count, align), Err(Refusal::InvalidParam), "{count} {align}");
    }
    for count in [257, 1 << 40, usize::MAX] {
        let refusal = Err(Refusal::NoMemory { requested: count, errno: 0 });
        assert_eq!(pages.alloc(count, 4096), refusal);
    }
    let run = pages.alloc_at((1 << 52) + 8192, 4, 4096).unwrap();
    for (base, count, refusal) in [
        (run, 1, Refusal::NoMemory { requested: 1, errno: 0 }),
        (run + 1, 1, Refusal::InvalidParam),
        (1 << 51, 1, Refusal::InvalidParam),
        ((1 << 52) + (1 << 20) - 4096, 2, Refusal::InvalidParam),
        (1 << 52, usize::MAX, Refusal::InvalidParam),
    ] {
        assert_eq!(pages.alloc_at(base, count, 4096), Err(refusal), "{base:#x}+{count}");
    }
    for pos in [0, 4096, run + 4096, run - 4096, run + 1, usize::MAX] {
        assert_eq!(pages.dealloc(pos, None), Err(Refusal::NotAllocated), "{pos:#x}");
    }
    assert_eq!(pages.dealloc(run, Some(0)), Err(Refusal::InvalidParam));
    let mismatch = Err(Refusal::SizeMismatch { size: 4, align: 4096 });
    assert_eq!(pages.dealloc(run, Some(1)), mismatch);
    assert_eq!(pages.dealloc(run, Some(usize::MAX)), mismatch);
    for start in [(1 << 52) - (1 << 20), (1 << 52) + (1 << 30)] {
        let refused = pages.add_memory(start, 1 << 20);
        assert_eq!(refused, Err(Refusal::Capacity { limit: 1 << 30 }), "{start:#x}");
    }
    assert_eq!(pages.check(), Ok(1));
    pages.dealloc(run, Some(4)).unwrap();
}

#[test]
fn ids_are_refused_as_bytes_are() {
    let mut ids = IdMirror::new(BitmapIdAllocator::new());
    assert_eq!(ids.alloc(1, 1), Err(Refusal::Closed));
    assert_eq!(ids.init(0, (1 << 28) + 1), Err(Refusal::Capacity { limit: 1 << 28 }));
    ids.init(0, 100).unwrap();
    assert_eq!(ids.alloc(1, 1), Ok(0), "id 0 is an id");
    assert_eq!(ids.alloc_fixed(0), Err(Refusal::NoMemory { requested: 1, errno: 0 }));
    assert_eq!(ids.alloc_fixed(100), Err(Refusal::InvalidParam));
    assert_eq!(ids.alloc_fixed(usize::MAX), Err(Refusal::InvalidParam));
    assert_eq!(ids.alloc(3, 4), Ok(4));
    assert_eq!(ids.dealloc(5, None), Err(Refusal::NotAllocated), "inside a block");
    assert_eq!(ids.dealloc(4, Some(2)), Err(Refusal::SizeMismatch { size: 3, align: 4 }));
    assert_eq!(ids.is_allocated(6), Ok(true));
    assert_eq!(ids.is_allocated(1 << 60), Ok(false));
    assert_eq!(ids.alloc(0, 1), Err(Refusal::InvalidParam));
    assert_eq!(ids.alloc(1, 3), Err(Refusal::InvalidParam));
    assert_eq!(ids.check(), Ok(2));
}
