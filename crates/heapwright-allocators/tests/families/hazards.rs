//! What the wrapped crates do wrong, row by row of the hazards document, as far as it can be seen here.
//!
//! Rows that need to know which blocks are live (a second free, a wrong size) belong to the live table,
//! which decides every free before these wrappers hear of it; they are tested there.

use heapwright_allocators::{
    AllocError, BaseAllocator, BitmapIdAllocator, BitmapPageAllocator, BuddyByteAllocator,
    ByteAllocator, IdAllocator, PageAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_region::Region;

use crate::support::{Ours, Pool, Subject, layout};

const PAGE: usize = 4096;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

/// `init` of a range that must be refused, and so is never touched.
fn refused_init(allocator: &mut impl BaseAllocator, start: usize, size: usize) -> AllocError {
    // SAFETY: the test fails if the range is accepted.
    unsafe { allocator.init(start, size) }.unwrap_err()
}

/// `add_memory` of a range that must be refused, and so is never touched.
fn refused_add(allocator: &mut impl BaseAllocator, start: usize, size: usize) -> AllocError {
    // SAFETY: the test fails if the range is accepted.
    unsafe { allocator.add_memory(start, size) }.unwrap_err()
}

fn refused_dealloc(allocator: &mut impl ByteAllocator, pos: usize, size: usize) -> AllocError {
    let pos = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(pos)).unwrap();
    // SAFETY: the test fails if the block is accepted.
    unsafe { allocator.dealloc(pos, layout(size, 1)) }.unwrap_err()
}

fn pages_at(start: usize, count: usize) -> BitmapPageAllocator {
    let mut pages = BitmapPageAllocator::new(PAGE).unwrap();
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { pages.init(start, count * PAGE) }.unwrap();
    pages
}

/// BU5, BU6, BU7, BU10, SL1, SL7, TL6, AX10, AX12 and rule 5: what every byte family refuses.
fn refuses_what_it_cannot_manage<A: ByteAllocator + Default>() {
    let pool = Pool::aligned(128 * KIB);
    let mut ours = A::default();
    assert_eq!(ours.alloc(layout(8, 8)), Err(AllocError::NoMemory), "before init");
    assert_eq!(refused_dealloc(&mut ours, pool.start(), 8), AllocError::NotAllocated);
    assert_eq!(refused_add(&mut ours, pool.start(), 64 * KIB), AllocError::NoMemory);
    assert_eq!((ours.total_bytes(), ours.used_bytes(), ours.available_bytes()), (0, 0, 0));
    for (start, size) in [
        (0, 64 * KIB),                 // Address 0.
        (pool.start(), 0),             // Nothing.
        (pool.start(), 7),             // Not one word.
        (usize::MAX - 32_767, 32_768), // Up to the end of the address space.
        (usize::MAX - 4095, 64 * KIB), // Wraps around.
        (1 << 62, 1 << 62),            // No memory is there.
    ] {
        assert_eq!(
            refused_init(&mut ours, start, size),
            AllocError::InvalidParam,
            "{start:#x}+{size}"
        );
    }
    assert_eq!(ours.total_bytes(), 0, "a refused range changes nothing");
    // SAFETY: the pool is ours, and lives to the end of this function.
    unsafe { ours.init(pool.start(), 64 * KIB) }.unwrap();
    assert_eq!(refused_init(&mut ours, pool.start(), 64 * KIB), AllocError::InvalidParam, "twice");
    for (offset, size) in [(0, 64 * KIB), (4 * KIB, 4 * KIB), (60 * KIB, 32 * KIB)] {
        let refusal = refused_add(&mut ours, pool.start() + offset, size);
        assert_eq!(refusal, AllocError::MemoryOverlap, "{offset}+{size}");
    }
    assert_eq!(ours.total_bytes(), 64 * KIB);
    assert_eq!(ours.alloc(layout(0, 8)), Err(AllocError::InvalidParam), "BU11");
    for size in [1 << 20, 1 << 31, 1 << 40, isize::MAX as usize - 4096] {
        assert_eq!(ours.alloc(layout(size, 1)), Err(AllocError::NoMemory), "{size}");
    }
    assert_eq!(ours.alloc(layout(1, 1 << 40)), Err(AllocError::NoMemory));
    let block = ours.alloc(layout(64, 8)).unwrap();
    let used = ours.used_bytes();
    // BU5, SL7: foreign; one byte past the range.
    for pos in [pool.start() + 64 * KIB, pool.start() + 128 * KIB, 4096] {
        assert_eq!(refused_dealloc(&mut ours, pos, 64), AllocError::NotAllocated);
    }
    assert_eq!(ours.used_bytes(), used);
    // SAFETY: the block is live, with this layout.
    unsafe { ours.dealloc(block, layout(64, 8)) }.unwrap();
    assert_eq!(
        refused_dealloc(&mut ours, pool.start(), 64),
        AllocError::NotAllocated,
        "none is live"
    );
    assert_eq!(ours.used_bytes(), 0);
}

#[test]
fn byte_families_refuse_what_they_cannot_manage() {
    refuses_what_it_cannot_manage::<BuddyByteAllocator>();
    refuses_what_it_cannot_manage::<TlsfByteAllocator>();
    refuses_what_it_cannot_manage::<SlabByteAllocator>();
}

/// BU6: a range that has bytes but not one aligned word.
#[test]
fn bu6_a_range_without_a_word() {
    let mut buddy = BuddyByteAllocator::new();
    assert_eq!(refused_init(&mut buddy, 0x1001, 14), AllocError::InvalidParam);
    assert_eq!(refused_init(&mut buddy, 0x1004, 11), AllocError::InvalidParam);
    let pool = Pool::aligned(PAGE);
    // SAFETY: the pool is ours, and lives to the end of this function.
    unsafe { buddy.init(pool.start() + 1, 15) }.unwrap();
    assert_eq!((buddy.total_bytes(), buddy.largest_free(1)), (8, 8));
}

/// BU8: ranges that touch are not joined when they are added.
#[test]
fn bu8_ranges_that_touch() {
    let pool = Pool::aligned(64 * KIB);
    let mut buddy = BuddyByteAllocator::new();
    // SAFETY: the pool is ours, and lives to the end of this function.
    unsafe { buddy.init(pool.start(), 32 * KIB) }.unwrap();
    // SAFETY: as above.
    unsafe { buddy.add_memory(pool.start() + 32 * KIB, 32 * KIB) }.unwrap();
    assert_eq!(buddy.largest_free(1), 32 * KIB);
    // Asking does not join them either.
    assert_eq!(buddy.largest_free(1), 32 * KIB);
    assert_eq!(buddy.alloc(layout(64 * KIB, 1)), Err(AllocError::NoMemory));
}

/// BU9: what fits depends on the address of the range alone.
#[test]
fn bu9_large_blocks_need_an_aligned_base() {
    let pool = Pool::aligned(2 * MIB);
    for (offset, largest) in [(0, MIB), (4 * KIB, 512 * KIB), (512 * KIB, 512 * KIB)] {
        let mut buddy = BuddyByteAllocator::new();
        // SAFETY: the pool is ours, and only one allocator at a time uses it.
        unsafe { buddy.init(pool.start() + offset, MIB) }.unwrap();
        assert_eq!(buddy.largest_free(1), largest, "offset {offset}");
    }
}

/// BU11: an alignment above the size takes the whole alignment, and is counted.
#[test]
fn bu11_alignment_is_counted() {
    let pool = Pool::aligned(MIB);
    let mut buddy = Ours(BuddyByteAllocator::new());
    buddy.add(pool.start(), MIB);
    let pos = buddy.alloc(layout(1, 64 * KIB)).unwrap();
    assert_eq!(buddy.0.used_bytes(), 64 * KIB);
    buddy.dealloc(pos, layout(1, 64 * KIB));
    let pos = buddy.alloc(layout(1, 1)).unwrap();
    assert_eq!(buddy.0.used_bytes(), 8);
    buddy.dealloc(pos, layout(1, 1));
    assert_eq!((buddy.0.used_bytes(), buddy.0.largest_free(1)), (0, MIB));
}

/// BM1, BM2, BM3, BM4: frees of what is not allocated change nothing, not even in part.
#[test]
fn bm1_to_bm4_frees_are_checked_whole() {
    let mut ids = BitmapIdAllocator::with_capacity(1000).unwrap();
    // SAFETY: ids are numbers; nothing is touched.
    unsafe { ids.init(100, 50) }.unwrap();
    for id in [0, 99, 150, 65_636, 1 << 40, usize::MAX - 1] {
        assert_eq!(ids.dealloc_id(id, 1), Err(AllocError::NotAllocated), "{id}");
        assert!(!ids.is_allocated(id));
    }
    assert_eq!(ids.dealloc_id(120, 1), Err(AllocError::NotAllocated), "managed, never handed out");
    assert_eq!(ids.dealloc_id(usize::MAX, 2), Err(AllocError::InvalidParam));
    assert_eq!(ids.dealloc_id(100, 0), Err(AllocError::InvalidParam));
    assert_eq!(ids.alloc_id(10, 1), Ok(100));
    for (start, count) in [(105, 10), (95, 10), (99, 12), (100, 1000), (109, 2)] {
        assert_eq!(ids.dealloc_id(start, count), Err(AllocError::NotAllocated), "{start}+{count}");
        assert_eq!(ids.used(), 10);
    }
    assert!((100..110).all(|id| ids.is_allocated(id)));
    ids.dealloc_id(100, 10).unwrap();
    assert_eq!(ids.dealloc_id(100, 10), Err(AllocError::NotAllocated), "a second free");
    ids.check_invariants().unwrap();
}

/// BM5, BM9, AX8, AX9: sizes and alignments that no map can serve.
#[test]
fn bm5_bm9_impossible_sizes_and_alignments() {
    let mut pages = pages_at(GIB, 1000);
    assert_eq!(pages.alloc_pages(0, PAGE), Err(AllocError::InvalidParam));
    assert_eq!(pages.alloc_pages_at(GIB, 0, PAGE), Err(AllocError::InvalidParam));
    assert_eq!(pages.dealloc_pages(GIB, 0), Err(AllocError::InvalidParam));
    for align in [0, 1, 24, PAGE - 1, PAGE / 2, 3 * PAGE, 65_536 * PAGE * 2, 1 << 63] {
        assert_eq!(pages.alloc_pages(1, align), Err(AllocError::InvalidParam), "align {align}");
        assert_eq!(pages.alloc_pages(2, align), Err(AllocError::InvalidParam), "align {align}");
        assert_eq!(
            pages.alloc_pages_at(GIB, 1, align),
            Err(AllocError::InvalidParam),
            "align {align}"
        );
        assert_eq!(pages.largest_free_run_aligned(align), 0);
    }
    for (base, count) in [
        (GIB - PAGE, 1),        // Below.
        (GIB + 1000 * PAGE, 1), // Above.
        (GIB + 999 * PAGE, 2),  // Over the end.
        (GIB + 1, 1),           // No page.
        (0, 1),
        (GIB, usize::MAX),
        (1 << 63, 1 << 60),
    ] {
        assert_eq!(pages.alloc_pages_at(base, count, PAGE), Err(AllocError::InvalidParam));
    }
    assert_eq!(pages.alloc_pages(1001, PAGE), Err(AllocError::NoMemory));
    assert_eq!(pages.alloc_pages(usize::MAX, PAGE), Err(AllocError::NoMemory));
    assert_eq!((pages.used_pages(), pages.largest_free_run()), (0, 1000));

    let mut ids = BitmapIdAllocator::new();
    // SAFETY: ids are numbers; nothing is touched.
    unsafe { ids.init(5, 1000) }.unwrap();
    assert_eq!(ids.alloc_id(0, 1), Err(AllocError::InvalidParam));
    for align in [0, 3, 131_072, 1 << 63] {
        assert_eq!(ids.alloc_id(1, align), Err(AllocError::InvalidParam), "align {align}");
    }
    assert_eq!(ids.alloc_fixed_id(4), Err(AllocError::InvalidParam));
    assert_eq!(ids.alloc_fixed_id(1005), Err(AllocError::InvalidParam));
    ids.alloc_fixed_id(5).unwrap();
    assert_eq!(ids.alloc_fixed_id(5), Err(AllocError::NoMemory));
}

/// BM8: the largest map is made on a stack that could not hold a thousandth of it.
#[test]
fn bm8_the_largest_map_needs_no_stack() {
    let maker = std::thread::Builder::new().stack_size(256 * KIB).spawn(|| {
        let mut pages = BitmapPageAllocator::with_capacity(PAGE, 1 << 28).unwrap();
        // SAFETY: pages are numbers here; nothing is touched.
        unsafe { pages.init(GIB, 64 * PAGE) }.unwrap();
        let mut ids = BitmapIdAllocator::with_capacity(1 << 28).unwrap();
        // SAFETY: ids are numbers; nothing is touched.
        unsafe { ids.init(0, 64) }.unwrap();
        (pages.capacity(), ids.capacity())
    });
    assert_eq!(maker.unwrap().join().unwrap(), (1 << 28, 1 << 28));
}

/// AX1: one page, aligned.
#[test]
fn ax1_one_page_honors_its_alignment() {
    let mut pages = pages_at(0x4000_1000, 5000);
    assert_eq!(pages.alloc_pages(1, MIB), Ok(0x4010_0000));
    assert_eq!(pages.alloc_pages(1, PAGE), Ok(0x4000_1000));
    assert_eq!(pages.alloc_pages(3, 2 * MIB), Ok(0x4020_0000));
}

/// AX2: any base, also far inside a GiB, and on no page.
#[test]
fn ax2_any_base_works() {
    for base in [PAGE, 256 * MIB, GIB - PAGE, 0x7f12_3456_7000, (1 << 53) - MIB] {
        let mut pages = pages_at(base, 100);
        assert_eq!((pages.total_pages(), pages.alloc_pages(100, PAGE)), (100, Ok(base)));
    }
    let mut pages = BitmapPageAllocator::new(PAGE).unwrap();
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { pages.init(0x1800, 3 * PAGE) }.unwrap();
    assert_eq!((pages.total_pages(), pages.alloc_pages(2, PAGE)), (2, Ok(0x2000)));
}

/// AX3, AX8: ranges that hold no page, or more than the map; `add_memory`.
#[test]
fn ax3_ax8_ranges_of_pages() {
    assert!(BitmapPageAllocator::new(0).is_err());
    assert!(BitmapPageAllocator::new(3000).is_err());
    assert!(BitmapPageAllocator::with_capacity(PAGE, (1 << 28) + 1).is_err());
    let mut pages = BitmapPageAllocator::new(PAGE).unwrap();
    assert_eq!(pages.alloc_pages(1, PAGE), Err(AllocError::NoMemory), "before init");
    assert_eq!(pages.dealloc_pages(PAGE, 1), Err(AllocError::NotAllocated));
    assert_eq!(refused_add(&mut pages, PAGE, PAGE), AllocError::NoMemory);
    for (start, size) in [
        (GIB, 0),
        (GIB, PAGE - 1),
        (GIB + 1, PAGE),
        (0, PAGE), // Page 0 is withheld, and there is no other.
        (GIB, (1 << 40) + PAGE),
        (usize::MAX - PAGE, 2 * PAGE),
    ] {
        assert_eq!(
            refused_init(&mut pages, start, size),
            AllocError::InvalidParam,
            "{start:#x}+{size}"
        );
    }
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { pages.init(0, 10 * PAGE) }.unwrap();
    assert_eq!((pages.total_pages(), pages.origin(), pages.capacity()), (9, PAGE, 65_536));
    assert_eq!(refused_init(&mut pages, GIB, PAGE), AllocError::InvalidParam, "twice");
    assert_eq!(refused_add(&mut pages, 9 * PAGE, PAGE), AllocError::MemoryOverlap);
    assert_eq!(refused_add(&mut pages, 0, 2 * PAGE), AllocError::MemoryOverlap);
    assert_eq!(refused_add(&mut pages, 65_537 * PAGE, PAGE), AllocError::InvalidParam);
    assert_eq!(refused_add(&mut pages, 65_536 * PAGE, 2 * PAGE), AllocError::InvalidParam);
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { pages.add_memory(65_536 * PAGE, PAGE) }.unwrap();
    assert_eq!((pages.total_pages(), pages.used_pages(), pages.available_pages()), (10, 0, 10));
    assert_eq!(pages.alloc_pages(9, PAGE), Ok(PAGE));
    assert_eq!(pages.alloc_pages(1, PAGE), Ok(65_536 * PAGE));
    pages.check_invariants().unwrap();
}

/// AX4, AX5: frees that are no page, lie below the base or outside.
#[test]
fn ax4_ax5_frees_of_pages() {
    let mut pages = pages_at(GIB, 15);
    pages.alloc_pages(15, PAGE).unwrap();
    for pos in [GIB + 1, GIB - PAGE, 0, GIB + 15 * PAGE, usize::MAX & !(PAGE - 1)] {
        assert_eq!(pages.dealloc_pages(pos, 1), Err(AllocError::NotAllocated), "{pos:#x}");
    }
    assert_eq!(pages.dealloc_pages(GIB, 16), Err(AllocError::NotAllocated));
    assert_eq!(pages.used_pages(), 15);
    pages.dealloc_pages(GIB, 15).unwrap();
    assert_eq!((pages.used_pages(), pages.alloc_pages(1, PAGE)), (0, Ok(GIB)));
}

/// AX10, TL6: the smallest pool is 64 bytes, wherever it lies.
#[test]
fn ax10_the_smallest_pool() {
    let pool = Pool::aligned(PAGE);
    let mut tlsf = TlsfByteAllocator::new();
    for (offset, size) in [(0, 1), (0, 32), (0, 63), (1, 94), (31, 64)] {
        let refusal = refused_init(&mut tlsf, pool.start() + offset, size);
        assert_eq!(refusal, AllocError::InvalidParam, "{offset}+{size}");
    }
    // SAFETY: the pool is ours, and lives to the end of this function.
    unsafe { tlsf.init(pool.start(), 64) }.unwrap();
    assert_eq!((tlsf.total_bytes(), tlsf.largest_free(1)), (64, 16));
    assert!(tlsf.alloc(layout(17, 1)).is_err());
    assert!(tlsf.alloc(layout(16, 1)).is_ok());
    assert_eq!((tlsf.used_bytes(), tlsf.largest_free(1)), (32, 0));
}

/// TL6: above 8 GiB the crate cuts; no block spans a cut, and `largest_free` knows.
#[test]
fn tl6_pools_above_the_first_level_limit() {
    let region = Region::reserve(20 * GIB).unwrap();
    region.commit(0, 20 * GIB).unwrap();
    let start = region.base().as_ptr().expose_provenance();
    let mut tlsf = TlsfByteAllocator::new();
    // SAFETY: the region is ours, and is dropped after the last use of the allocator.
    unsafe { tlsf.init(start, 20 * GIB) }.unwrap();
    assert_eq!(tlsf.total_bytes(), 20 * GIB);
    let largest = 8 * GIB - 128 * MIB - 16;
    assert_eq!(tlsf.largest_free(1), largest);
    assert_eq!(tlsf.alloc(layout(largest + 1, 1)), Err(AllocError::NoMemory));
    let first = tlsf.alloc(layout(largest, 1)).unwrap();
    let second = tlsf.alloc(layout(largest, 1)).unwrap();
    for block in [first, second] {
        let offset = block.addr().get() - start;
        assert_eq!(offset / (8 * GIB), (offset + largest - 1) / (8 * GIB), "{offset:#x}");
    }
    assert_eq!(tlsf.largest_free(1), 4 * GIB - 64 * MIB - 16);
    for block in [first, second] {
        // SAFETY: the block is live, with this layout.
        unsafe { tlsf.dealloc(block, layout(largest, 1)) }.unwrap();
    }
    assert_eq!((tlsf.used_bytes(), tlsf.largest_free(1)), (0, largest));
}

/// Ranges far above the 2 GiB of the seed's `Heap<32>`.
#[test]
fn a_buddy_of_sixteen_gibibytes() {
    let region = Region::reserve(33 * GIB).unwrap();
    region.commit(0, 33 * GIB).unwrap();
    let start = region.base().as_ptr().expose_provenance().next_multiple_of(16 * GIB);
    let mut buddy = BuddyByteAllocator::new();
    // SAFETY: the region is ours, and is dropped after the last use of the allocator.
    unsafe { buddy.init(start, 16 * GIB) }.unwrap();
    assert_eq!((buddy.total_bytes(), buddy.largest_free(1)), (16 * GIB, 16 * GIB));
    let block = buddy.alloc(layout(5 * GIB, 1)).unwrap();
    assert_eq!((buddy.used_bytes(), buddy.largest_free(1)), (8 * GIB, 8 * GIB));
    // SAFETY: the block is live, with this layout.
    unsafe { buddy.dealloc(block, layout(5 * GIB, 1)) }.unwrap();
    assert_eq!(buddy.largest_free(1), 16 * GIB);
}

/// SL1: what the crate asserts about ranges.
#[test]
fn sl1_ranges_of_slabs() {
    let pool = Pool::aligned(256 * KIB);
    let mut slab = SlabByteAllocator::new();
    for (offset, size) in
        [(1, 32 * KIB), (2048, 32 * KIB), (0, 28 * KIB), (0, 36 * KIB), (0, 32 * KIB + 1)]
    {
        let refusal = refused_init(&mut slab, pool.start() + offset, size);
        assert_eq!(refusal, AllocError::InvalidParam, "{offset}+{size}");
    }
    // SAFETY: the pool is ours, and lives to the end of this function.
    unsafe { slab.init(pool.start(), 32 * KIB) }.unwrap();
    for (offset, size) in [(64 * KIB + 8, 4 * KIB), (64 * KIB, 2 * KIB), (64 * KIB, 0)] {
        let refusal = refused_add(&mut slab, pool.start() + offset, size);
        assert_eq!(refusal, AllocError::InvalidParam, "{offset}+{size}");
    }
    // SAFETY: as above.
    unsafe { slab.add_memory(pool.start() + 64 * KIB, 4 * KIB) }.unwrap();
    assert_eq!(slab.total_bytes(), 36 * KIB);
}

/// SL2: small blocks with a large alignment are aligned, and freed where they came from.
#[test]
fn sl2_large_alignments_go_to_the_buddy() {
    let pool = Pool::aligned(4 * MIB);
    let mut slab = Ours(SlabByteAllocator::new());
    slab.add(pool.start(), 4 * MIB);
    for size in [1, 64, 4096] {
        for shift in 13..21 {
            let wanted = layout(size, 1 << shift);
            let pos = slab.alloc(wanted).unwrap();
            assert!(pos.is_multiple_of(1 << shift), "{size} bytes, align {}", 1 << shift);
            assert_eq!(slab.0.used_bytes(), 1 << shift);
            slab.dealloc(pos, wanted);
        }
    }
    assert_eq!((slab.0.used_bytes(), slab.0.largest_free(1)), (0, 4 * MIB));
    assert!(slab.0.classes().iter().all(|class| class.held_bytes == 0));
}

/// SL5, SL6: sets stay with their class, and are shown; totals are those of the ranges.
#[test]
fn sl5_sl6_what_classes_hold() {
    let pool = Pool::aligned(64 * KIB);
    let mut slab = Ours(SlabByteAllocator::new());
    slab.add(pool.start(), 64 * KIB);
    let blocks: Vec<_> = std::iter::from_fn(|| slab.alloc(layout(64, 8))).collect();
    assert_eq!(blocks.len(), 1024);
    assert_eq!((slab.0.used_bytes(), slab.0.available_bytes()), (64 * KIB, 0));
    for pos in blocks {
        slab.dealloc(pos, layout(64, 8));
    }
    assert_eq!((slab.0.total_bytes(), slab.0.available_bytes()), (64 * KIB, 64 * KIB));
    assert_eq!(slab.alloc(layout(8192, 8)), None, "all bytes are available, to 64-byte blocks");
    assert_eq!(slab.0.largest_free(1), 64);
    assert_eq!(slab.0.classes()[0].held_bytes, 64 * KIB);
}
