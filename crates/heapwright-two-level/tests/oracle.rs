//! The published `buddy-slab-allocator` 0.6.1 as an oracle, where semantics coincide.
//!
//! They do in which class serves a layout, in what a page costs (power-of-two counts), in how many pages a section has, and in what the slab protocol answers. They do not in
//! which address is chosen, in runs that are no power of two (theirs keep the tail), in slab sizes and
//! in what a bad free does: there the tests of this crate stand alone.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use core::alloc::Layout;

use heapwright_testkit::{Generator, Mix, Op, Sizes, prng, scaled};
use heapwright_two_level::{BuddyAllocator, ClassTable, SlabAlloc, SlabAllocator};

const PAGE: usize = 4096;

fn memory(size: usize) -> &'static mut [u8] {
    // The oracle keeps its metadata in the region; a test ends soon.
    vec![0u8; size].leak()
}

/// The oracle over a fresh region, and ours over exactly the pages that it manages.
fn both(size: usize) -> (buddy_slab_allocator::BuddyAllocator<PAGE>, BuddyAllocator) {
    let mut oracle = buddy_slab_allocator::BuddyAllocator::<PAGE>::new();
    #[expect(unsafe_code, reason = "the oracle asks for it")]
    // SAFETY: leaked memory that nobody else has.
    unsafe {
        assert!(oracle.init(memory(size)).is_ok());
    }
    let section = oracle.section(0).unwrap();
    let mut ours = BuddyAllocator::new(PAGE).unwrap();
    ours.add_region(section.start, section.size, 0).unwrap();
    (oracle, ours)
}

#[test]
fn serves_every_layout_from_the_same_class() {
    let table = ClassTable::kernel();
    for size in 1..=4096 {
        for align_log2 in 0..14 {
            let layout = Layout::from_size_align(size, 1 << align_log2).unwrap();
            let theirs = buddy_slab_allocator::SizeClass::from_layout(layout);
            let ours = table.class_of(layout);
            assert_eq!(
                ours.map(|class| table.size(class)),
                theirs.map(buddy_slab_allocator::SizeClass::size)
            );
        }
    }
}

#[test]
fn counts_the_same_pages_after_every_step() {
    let (mut oracle, mut ours) = both(16 << 20);
    assert_eq!(ours.total_pages(), oracle.total_pages());
    assert_eq!(ours.managed_bytes(), oracle.managed_bytes());
    let mix = Mix {
        realloc_percent: 0,
        phase_len: 300,
        ..Mix::runs().with_sizes(Sizes::OneOf(&[1, 1, 1, 2, 4, 8, 16])).with_live_max(400)
    };
    let mut generator = Generator::new(prng::seed(0x0004_ac1e), mix);
    let mut live: Vec<Option<(usize, usize, usize)>> = Vec::new();
    for step in 0..scaled(4000, 200_000) {
        match generator.next_op() {
            Op::Alloc { key, size, .. } => {
                // Its buddies are counted from the start of the section (BT2), so larger alignments
                // may be out of its reach.
                let theirs = oracle.alloc_pages(size, PAGE);
                let own = ours.alloc_pages(size, PAGE);
                // With so much room neither has an excuse.
                let (Ok(theirs), Ok(own)) = (&theirs, &own) else {
                    panic!("step {step}: {size} pages: theirs {theirs:?}, ours {own:?}")
                };
                let (theirs, own) = (*theirs, *own);
                live.resize(live.len().max(key + 1), None);
                live[key] = Some((theirs, own, size));
            }
            Op::Free { key } => {
                let (theirs, own, size) = live[key].take().unwrap();
                oracle.dealloc_pages(theirs, size);
                ours.dealloc_pages(own, size).unwrap();
            }
            Op::Realloc { .. } => unreachable!("the mix has none"),
        }
        assert_eq!(ours.free_pages(), oracle.free_pages(), "step {step}");
        assert_eq!(ours.allocated_bytes(), oracle.allocated_bytes(), "step {step}");
    }
}

#[test]
fn is_exhausted_by_as_many_single_pages() {
    let (mut oracle, mut ours) = both(4 << 20);
    let theirs = (0..2000).take_while(|_| oracle.alloc_pages(1, PAGE).is_ok()).count();
    let own = (0..2000).take_while(|_| ours.alloc_pages(1, PAGE).is_ok()).count();
    assert_eq!(own, theirs);
    assert_eq!(own, ours.total_pages());
}

#[test]
fn follows_the_slab_protocol() {
    use buddy_slab_allocator::{SlabAllocResult, SlabDeallocResult};
    for class in ClassTable::kernel().classes() {
        let size = ClassTable::kernel().size(class);
        let layout = Layout::from_size_align(size, 8).unwrap();
        let mut oracle = buddy_slab_allocator::SlabAllocator::<PAGE>::new();
        let mut ours = SlabAllocator::new(PAGE).unwrap();
        let Ok(SlabAllocResult::NeedsSlab { size_class, pages }) = oracle.alloc(layout) else {
            panic!("the oracle has no slab yet")
        };
        let Ok(SlabAlloc::NeedsSlab { size_class: own_class, pages: own_pages }) =
            ours.alloc(layout)
        else {
            panic!("ours has no slab yet")
        };
        assert_eq!(own_class.index(), size_class.index());
        let bytes = pages * PAGE;
        let region = memory(4 * bytes);
        let base = region.as_mut_ptr() as usize;
        let base = base.next_multiple_of(bytes);
        oracle.add_slab(size_class, base, bytes, 0);
        ours.add_slab(own_class, own_pages * PAGE, own_pages).unwrap();
        let Ok(SlabAllocResult::Allocated(theirs)) = oracle.alloc(layout) else {
            panic!("the oracle has a slab")
        };
        let Ok(SlabAlloc::Allocated(own)) = ours.alloc(layout) else { panic!("ours has a slab") };
        // The last empty slab of a class stays with both.
        assert!(matches!(oracle.dealloc(theirs, layout), SlabDeallocResult::Done));
        assert_eq!(ours.dealloc(own), Ok(heapwright_two_level::SlabDealloc::Done));
    }
}
