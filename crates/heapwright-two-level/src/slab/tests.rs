//! The slab level alone against the shadow oracle, with all invariants after every step.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::alloc::Layout;

use heapwright_core::AllocError::{InvalidParam, MemoryOverlap, NotAllocated};
use heapwright_testkit::{Generator, Mix, Op, Prng, ShadowAllocator, Sizes, prng, scaled};

use super::*;
use crate::{BuddyAllocator, SizeClass};

const PAGE: usize = 4096;
const START: usize = 0x10_0000;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Allocates, with slabs from `pages` where they are needed.
fn alloc(slots: &mut SlabAllocator, pages: &mut BuddyAllocator, layout: Layout) -> usize {
    loop {
        match slots.alloc(layout).unwrap() {
            SlabAlloc::Allocated(pos) => return pos,
            SlabAlloc::NeedsSlab { size_class, pages: count } => {
                let base = pages.alloc_pages(count, count * PAGE).unwrap();
                slots.add_slab(size_class, base, count).unwrap();
            }
        }
    }
}

fn dealloc(slots: &mut SlabAllocator, pages: &mut BuddyAllocator, pos: usize) {
    if let SlabDealloc::FreeSlab { base, pages: count } = slots.dealloc(pos).unwrap() {
        pages.dealloc_pages(base, count).unwrap();
    }
}

fn both(count: usize) -> (SlabAllocator, BuddyAllocator) {
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START, count * PAGE, 0).unwrap();
    (SlabAllocator::new(PAGE).unwrap(), pages)
}

#[test]
fn asks_for_a_slab_and_serves_from_it() {
    let mut slots = SlabAllocator::new(PAGE).unwrap();
    let needs = SlabAlloc::NeedsSlab { size_class: SizeClass(8), pages: 4 };
    assert_eq!(slots.alloc(layout(2048, 1)), Ok(needs));
    slots.add_slab(SizeClass(8), START, 4).unwrap();
    for slot in 0..8 {
        assert_eq!(slots.alloc(layout(2048, 1)), Ok(SlabAlloc::Allocated(START + slot * 2048)));
    }
    assert_eq!(slots.alloc(layout(2048, 1)), Ok(needs));
    slots.check_invariants().unwrap();
}

#[test]
fn hands_a_slab_back_when_another_is_empty_already() {
    let mut slots = SlabAllocator::new(PAGE).unwrap();
    for slab in 0..2 {
        slots.add_slab(SizeClass(6), START + slab * PAGE, 1).unwrap();
    }
    let all: Vec<_> = (0..16)
        .map(|_| match slots.alloc(layout(512, 8)).unwrap() {
            SlabAlloc::Allocated(pos) => pos,
            SlabAlloc::NeedsSlab { .. } => panic!("two slabs hold 16"),
        })
        .collect();
    let freed: Vec<_> = all.iter().map(|&pos| slots.dealloc(pos).unwrap()).collect();
    let handed_back: Vec<_> = freed.iter().filter(|&&what| what != SlabDealloc::Done).collect();
    assert_eq!(handed_back.len(), 1);
    assert!(matches!(freed[15], SlabDealloc::FreeSlab { pages: 1, .. }));
    assert_eq!(slots.class_stats()[6].empty, 1);
    // BT4: the last one stays until it is asked for.
    let mut trimmed = 0;
    slots.trim(&mut |_, pages| trimmed += pages);
    assert_eq!(trimmed, 1);
    assert_eq!(slots.class_stats()[6].slabs, 0);
    slots.check_invariants().unwrap();
}

#[test]
fn refuses_slabs_and_sizes_that_cannot_be() {
    assert_eq!(SlabAllocator::new(1000).err(), Some(InvalidParam));
    let mut slots = SlabAllocator::new(PAGE).unwrap();
    for bad in [layout(0, 1), layout(2049, 1), layout(8, 4096)] {
        assert_eq!(slots.alloc(bad), Err(InvalidParam));
    }
    assert_eq!(slots.add_slab(SizeClass(9), START, 1), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), START, 0), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), START, 5), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), START, usize::MAX), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), 0, 1), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), START + 8, 1), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(8), START + PAGE, 4), Err(InvalidParam));
    assert_eq!(slots.add_slab(SizeClass(0), usize::MAX - PAGE + 1, 1), Err(InvalidParam));
    slots.add_slab(SizeClass(8), START, 4).unwrap();
    assert_eq!(slots.add_slab(SizeClass(0), START + 3 * PAGE, 1), Err(MemoryOverlap));
    slots.add_slab(SizeClass(0), START + 4 * PAGE, 1).unwrap();
    slots.check_invariants().unwrap();
}

#[test]
fn every_offset_but_the_live_slots_is_refused() {
    // A5, slabs: every class, by bytes.
    let (mut slots, mut pages) = both(256);
    let mut live = Vec::new();
    for class in 0..9 {
        for _ in 0..40 {
            live.push(alloc(&mut slots, &mut pages, layout(8 << class, 1)));
        }
    }
    for pos in live.iter().step_by(3) {
        dealloc(&mut slots, &mut pages, *pos);
    }
    let live: std::collections::BTreeSet<_> =
        live.iter().enumerate().filter(|(index, _)| index % 3 != 0).map(|(_, &pos)| pos).collect();
    let before = slots.class_stats();
    for pos in START - 64..START + 256 * PAGE + 4096 {
        if !live.contains(&pos) {
            assert_eq!(slots.dealloc(pos), Err(NotAllocated), "{pos:#x}");
        }
    }
    assert_eq!(slots.class_stats(), before);
    for pos in live {
        dealloc(&mut slots, &mut pages, pos);
    }
    slots.trim(&mut |base, count| pages.dealloc_pages(base, count).unwrap());
    assert_eq!(pages.free_pages(), 256);
}

#[test]
fn agrees_with_the_shadow_after_every_step() {
    let seed = prng::seed(0x51ab);
    for round in 0..scaled(4, 16) as u64 {
        let (mut slots, mut pages) = both(2048);
        let mut shadow = ShadowAllocator::new();
        shadow.add_range(START, 2048 * PAGE).unwrap();
        let mix = Mix {
            align_log2_max: 11,
            align_usual: 1,
            phase_len: 400,
            ..Mix::small().with_sizes(Sizes::LogUniform(1, 2048)).with_live_max(1000)
        };
        let mut generator = Generator::new(seed + round, mix);
        let mut random = Prng::new(seed + round);
        let mut live: Vec<Option<(usize, usize, usize)>> = Vec::new();
        for step in 0..scaled(2000, 20_000) {
            match generator.next_op() {
                Op::Alloc { key, size, align } => {
                    let pos = alloc(&mut slots, &mut pages, layout(size, align));
                    shadow.alloc(pos, size, align).unwrap();
                    live.resize(live.len().max(key + 1), None);
                    live[key] = Some((pos, size, align));
                }
                Op::Free { key } => {
                    let (pos, size, align) = live[key].take().unwrap();
                    dealloc(&mut slots, &mut pages, pos);
                    shadow.free(pos, size, align).unwrap();
                    assert_eq!(slots.dealloc(pos), Err(NotAllocated));
                }
                Op::Realloc { key, size } => {
                    let (pos, old, align) = live[key].take().unwrap();
                    let new = alloc(&mut slots, &mut pages, layout(size, align));
                    shadow.alloc(new, size, align).unwrap();
                    dealloc(&mut slots, &mut pages, pos);
                    shadow.free(pos, old, align).unwrap();
                    live[key] = Some((new, size, align));
                }
            }
            if random.chance(1, 200) {
                slots.trim(&mut |base, count| pages.dealloc_pages(base, count).unwrap());
            }
            slots.check_invariants().unwrap_or_else(|what| panic!("step {step}: {what}"));
            let active: usize = slots.class_stats().iter().map(|class| class.active).sum();
            assert_eq!(active, shadow.len(), "step {step}");
        }
        let mut walked = Vec::new();
        slots.for_each_taken_slot(&mut |pos, _| walked.push(pos));
        walked.sort_unstable();
        assert!(walked.iter().copied().eq(shadow.blocks().map(|(pos, _)| pos)));
    }
}

#[test]
fn works_over_other_page_sizes() {
    for page_size in [64, 256, 512, 1024, 65536, 1 << 21] {
        let mut slots = SlabAllocator::new(page_size).unwrap();
        for class in 0..9 {
            let request = layout(8 << class, 8 << class);
            let SlabAlloc::NeedsSlab { size_class, pages } = slots.alloc(request).unwrap() else {
                panic!("there is no slab yet")
            };
            let bytes = pages * page_size;
            slots.add_slab(size_class, (class + 1) * bytes.max(1 << 23), pages).unwrap();
            for slot in 0..bytes / (8 << class) {
                let expected = (class + 1) * bytes.max(1 << 23) + slot * (8 << class);
                assert_eq!(slots.alloc(request), Ok(SlabAlloc::Allocated(expected)));
            }
            assert!(matches!(slots.alloc(request), Ok(SlabAlloc::NeedsSlab { .. })));
        }
        slots.check_invariants().unwrap();
    }
}

#[test]
fn a_descriptor_is_one_line_up_to_64_slots() {
    assert_eq!(slab_meta_bytes(1), 64);
    assert_eq!(slab_meta_bytes(64), 64);
    assert_eq!(slab_meta_bytes(65), 128);
    assert_eq!(slab_meta_bytes(512), 192);
    assert_eq!(slab_meta_bytes(4096), 17 * 64);
}
