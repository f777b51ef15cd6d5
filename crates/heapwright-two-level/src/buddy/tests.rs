//! The page level against the shadow oracle, with all invariants after every step.

use heapwright_core::AllocError::{InvalidParam, MemoryOverlap, NoMemory, NotAllocated};
use heapwright_testkit::{Generator, Mix, Op, Prng, ShadowAllocator, Sizes, prng, scaled};

use super::*;

const PAGE: usize = 4096;
const START: usize = 0x10_0000;

fn pages_of(count: usize) -> BuddyAllocator {
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START, count * PAGE, START).unwrap();
    pages
}

#[test]
fn hands_out_and_takes_back_one_page() {
    let mut pages = pages_of(1);
    assert_eq!(pages.alloc_pages(1, PAGE), Ok(START));
    assert_eq!(pages.alloc_pages(1, PAGE), Err(NoMemory));
    assert_eq!(pages.allocated_bytes(), PAGE);
    pages.dealloc_pages(START, 1).unwrap();
    assert_eq!(pages.dealloc_pages(START, 1), Err(NotAllocated));
    assert_eq!(pages.free_pages(), 1);
    pages.check_invariants().unwrap();
}

#[test]
fn merges_when_the_second_buddy_is_freed() {
    let mut pages = pages_of(256);
    let first = pages.alloc_pages(1, PAGE).unwrap();
    let second = pages.alloc_pages(1, PAGE).unwrap();
    assert_eq!(first ^ second, PAGE);
    pages.dealloc_pages(first, 1).unwrap();
    let runs = |pages: &BuddyAllocator| pages.managed_sections()[0].free_runs.clone();
    assert_eq!(runs(&pages), [1, 1, 1, 1, 1, 1, 1, 1, 0]);
    pages.dealloc_pages(second, 1).unwrap();
    assert_eq!(runs(&pages), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_run_may_span_adjacent_buddies() {
    // 1 MiB to 5 MiB: buddies of 1, 2 and 1 MiB, and yet one run of 4 MiB.
    let mut pages = pages_of(1024);
    assert_eq!(pages.largest_free_pages(), 1024);
    let all = pages.alloc_pages(1024, PAGE).unwrap();
    assert_eq!((all, pages.free_pages()), (START, 0));
    pages.dealloc_pages(all, 1024).unwrap();
    assert_eq!(pages.alloc_pages(1025, PAGE), Err(NoMemory));
    // Aligned within the stretch, where no buddy is as large as the alignment asks.
    let aligned = pages.alloc_pages(512, 4 << 20).err();
    assert_eq!(aligned, Some(NoMemory));
    assert_eq!(pages.alloc_pages(200, 4 << 20), Ok(4 << 20));
    pages.check_invariants().unwrap();
}

#[test]
fn gives_the_unused_tail_back() {
    let mut pages = pages_of(8);
    let run = pages.alloc_pages(5, PAGE).unwrap();
    assert_eq!(pages.free_pages(), 3);
    let rest = (pages.alloc_pages(1, PAGE).unwrap(), pages.alloc_pages(2, PAGE).unwrap());
    assert_eq!(rest, (run + 5 * PAGE, run + 6 * PAGE));
    pages.dealloc_pages(run, 5).unwrap();
    pages.dealloc_pages(rest.0, 1).unwrap();
    pages.dealloc_pages(rest.1, 2).unwrap();
    assert_eq!(pages.largest_free_pages(), 8);
}

#[test]
fn alignment_is_absolute_and_costs_nothing() {
    // BS4, BT2: one page at 64 KiB, again and again, from a range that is not so aligned.
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START + 5 * PAGE, 256 * PAGE, 0).unwrap();
    for _ in 0..100 {
        let page = pages.alloc_pages(1, 1 << 16).unwrap();
        assert_eq!(page % (1 << 16), 0);
        assert_eq!(pages.allocated_bytes(), PAGE);
        pages.dealloc_pages(page, 1).unwrap();
        assert_eq!(pages.allocated_bytes(), 0);
    }
    pages.check_invariants().unwrap();
}

#[test]
fn what_is_free_in_a_group_merges_with_other_groups() {
    // 1 MiB to 5 MiB, in groups of 64 pages; runs of every length across and within them.
    for length in [1, 2, 3, 31, 32, 33, 63, 64, 65, 100, 128, 200, 511] {
        let mut pages = pages_of(1024);
        let fresh = pages.managed_sections();
        let mut runs = Vec::new();
        while let Ok(run) = pages.alloc_pages(length, PAGE) {
            runs.push(run);
        }
        pages.check_invariants().unwrap();
        assert_eq!(pages.free_pages(), 1024 - runs.len() * length);
        if length == 1 {
            assert_eq!(runs.len(), 1024);
        }
        let (even, odd): (Vec<_>, Vec<_>) = runs.iter().partition(|&&run| (run / PAGE) & 1 == 0);
        for run in even.into_iter().chain(odd) {
            pages.dealloc_pages(run, length).unwrap();
            assert_eq!(pages.dealloc_pages(run, length), Err(NotAllocated));
            pages.check_invariants().unwrap();
        }
        assert_eq!(pages.managed_sections(), fresh);
    }
}

#[test]
fn takes_a_run_of_just_the_size_before_it_splits_another() {
    let mut pages = pages_of(256);
    let all = pages.alloc_pages(64, PAGE).unwrap();
    pages.resize_pages(all, 64, 1).unwrap();
    let last = pages.alloc_pages_at(all + 60 * PAGE, 3, PAGE).unwrap();
    // Free in the group: 1 + 2 + 4 + 8 + 16 + 16 + 8 + 4 from the front, and one page at the end.
    let single = [all + PAGE, all + 63 * PAGE];
    let got = [pages.alloc_pages(1, PAGE).unwrap(), pages.alloc_pages(1, PAGE).unwrap()];
    assert_eq!(got, single);
    assert_eq!(pages.alloc_pages(2, PAGE), Ok(all + 2 * PAGE));
    assert_eq!(pages.alloc_pages(16, PAGE), Ok(all + 16 * PAGE));
    assert_eq!(pages.alloc_pages(3, PAGE), Ok(all + 4 * PAGE));
    assert_eq!(pages.alloc_pages(1, PAGE), Ok(all + 7 * PAGE));
    pages.check_invariants().unwrap();
    pages.dealloc_pages(last, 3).unwrap();
    pages.check_invariants().unwrap();
}

#[test]
fn looks_at_stretches_in_groups_only_if_they_are_few() {
    // 17 stretches of three pages in groups of their own, then 16: the largest buddies have two pages.
    for (stretches, largest) in [(17, 2), (16, 3)] {
        let mut pages = pages_of(64 * 17);
        let all = pages.alloc_pages_at(START, 64 * 17, PAGE).unwrap();
        pages.dealloc_pages(all, 64 * 17).unwrap();
        for group in 0..17 {
            let start = START + group * 64 * PAGE;
            if group < stretches {
                pages.alloc_pages_at(start, 4, PAGE).unwrap();
                pages.alloc_pages_at(start + 7 * PAGE, 57, PAGE).unwrap();
            } else {
                pages.alloc_pages_at(start, 64, PAGE).unwrap();
            }
        }
        assert_eq!(pages.largest_free_pages(), largest);
        assert_eq!(pages.alloc_pages(3, PAGE).is_ok(), largest == 3);
        assert!(pages.alloc_pages(2, PAGE).is_ok());
        pages.check_invariants().unwrap();
    }
}

#[test]
fn no_address_within_a_page_is_one_however_large_pages_are() {
    let page = 1 << 40;
    let mut pages = BuddyAllocator::new(page).unwrap();
    pages.add_region(page, 5 * page, 0).unwrap();
    let run = pages.alloc_pages(2, page).unwrap();
    for within in [1, 2, 4096, 1 << 38, page - 1, page] {
        assert_eq!(pages.dealloc_run(run + within), Err(NotAllocated));
        assert_eq!(pages.dealloc_pages(run + within, 2), Err(NotAllocated));
        assert_eq!(pages.run_at(run + within), None);
    }
    assert_eq!(pages.dealloc_run(usize::MAX), Err(NotAllocated));
    pages.dealloc_run(run).unwrap();
    assert_eq!(pages.free_pages(), 5);
}

#[test]
fn slabs_come_back_to_the_pages_below_the_highest_one() {
    let mut pages = pages_of(512);
    let slabs: Vec<_> = (0..30).map(|_| pages.alloc_slab(3, PAGE).unwrap()).collect();
    assert!(slabs.is_sorted());
    let high = slabs[29] + 3 * PAGE;
    for &slab in slabs.iter().step_by(2) {
        pages.dealloc_slab(slab, 3).unwrap();
    }
    for _ in 0..15 {
        let again = pages.reuse_for_slab(2, PAGE).unwrap();
        assert!(again + 2 * PAGE <= high);
        pages.check_invariants().unwrap();
    }
    assert_eq!(pages.reuse_for_slab(2, PAGE), None);
    while let Some(again) = pages.reuse_for_slab(1, PAGE) {
        assert!(again + PAGE <= high);
    }
    assert_eq!(pages.slab_pages(), 90);
    pages.check_invariants().unwrap();
}

#[test]
fn refuses_parameters_that_can_never_be_served() {
    assert_eq!(BuddyAllocator::new(0).err(), Some(InvalidParam));
    assert_eq!(BuddyAllocator::new(3000).err(), Some(InvalidParam));
    let mut pages = pages_of(16);
    assert_eq!(pages.alloc_pages(0, PAGE), Err(InvalidParam));
    assert_eq!(pages.alloc_pages(1, 0), Err(InvalidParam));
    assert_eq!(pages.alloc_pages(1, 24), Err(InvalidParam));
    assert_eq!(pages.alloc_pages(usize::MAX, PAGE), Err(NoMemory));
    assert_eq!(pages.alloc_pages(1, 1 << 63), Err(NoMemory));
    // BS3: checked before anything is taken.
    assert_eq!(pages.alloc_pages_at(START, 1, 0), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START, 1, 24), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START + 1, 1, 1), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START - PAGE, 1, PAGE), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START, 17, PAGE), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START + PAGE, 1, 2 * PAGE), Err(InvalidParam));
    assert_eq!(pages.alloc_pages_at(START, usize::MAX, PAGE), Err(InvalidParam));
    assert_eq!(pages.allocated_bytes(), 0);
}

#[test]
fn rounds_a_region_inward_and_withholds_address_zero() {
    // BS1, BS2.
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    assert_eq!(pages.add_region(START + 1, 2 * PAGE - 2, 0), Err(InvalidParam));
    assert_eq!(pages.add_region(START, PAGE - 1, 0), Err(InvalidParam));
    assert_eq!(pages.add_region(usize::MAX - 100, 200, 0), Err(InvalidParam));
    assert_eq!(pages.add_region(0, PAGE, 0), Err(InvalidParam));
    assert_eq!(pages.add_region(START, PAGE, usize::MAX), Err(InvalidParam));
    pages.add_region(START + 1, 40_960, 7).unwrap();
    let section = &pages.managed_sections()[0];
    assert_eq!((section.start, section.total_pages), (START + PAGE, 9));
    assert_eq!(section.phys_start, 7 + PAGE - 1);
    pages.add_region(0, 2 * PAGE, 0).unwrap();
    assert_eq!(pages.managed_sections()[1].start, PAGE);
    pages.check_invariants().unwrap();
}

#[test]
fn regions_must_not_overlap_but_may_touch() {
    let mut pages = pages_of(16);
    let end = START + 16 * PAGE;
    for (start, count) in [(START, 16), (START - PAGE, 2), (end - PAGE, 2), (START + PAGE, 1)] {
        assert_eq!(pages.add_region(start, count * PAGE, 0), Err(MemoryOverlap));
    }
    assert_eq!(pages.add_region(START - PAGE, 100 * PAGE, 0), Err(MemoryOverlap));
    pages.add_region(end, 16 * PAGE, 0).unwrap();
    pages.add_region(START - 16 * PAGE, 16 * PAGE, 0).unwrap();
    // BU8's like: touching regions stay apart, a run never spans two.
    assert_eq!(pages.largest_free_pages(), 16);
    assert_eq!(pages.total_pages(), 48);
    pages.check_invariants().unwrap();
}

#[test]
fn any_number_of_regions_up_to_the_limit() {
    // BS13.
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    for index in 0..SECTIONS_MAX {
        pages.add_region(START + index * 2 * PAGE, PAGE, 0).unwrap();
    }
    assert_eq!(pages.add_region(START - PAGE, PAGE, 0), Err(InvalidParam));
    for _ in 0..SECTIONS_MAX {
        pages.alloc_pages(1, PAGE).unwrap();
    }
    assert_eq!(pages.alloc_pages(1, PAGE), Err(NoMemory));
}

#[test]
fn loses_no_page_when_alternate_ones_are_freed() {
    // BS5: 32 MiB, every other page.
    let mut pages = pages_of(8192);
    let all: Vec<_> = (0..8192).map(|_| pages.alloc_pages(1, PAGE).unwrap()).collect();
    for &pos in all.iter().step_by(2) {
        pages.dealloc_pages(pos, 1).unwrap();
    }
    assert_eq!(pages.free_pages(), 4096);
    pages.check_invariants().unwrap();
    for &pos in all.iter().skip(1).step_by(2) {
        pages.dealloc_pages(pos, 1).unwrap();
    }
    assert_eq!(pages.managed_sections()[0].free_pages, 8192);
    let run = pages.alloc_pages(4096, PAGE).unwrap();
    pages.dealloc_pages(run, 4096).unwrap();
    pages.check_invariants().unwrap();
}

#[test]
fn a_free_names_a_whole_live_run() {
    // BS6, BS7, BT1.
    let mut pages = pages_of(16);
    let run = pages.alloc_pages(4, PAGE).unwrap();
    assert_eq!(pages.run_at(run), Some(4));
    assert_eq!(pages.dealloc_pages(run, 1), Err(InvalidParam));
    assert_eq!(pages.dealloc_pages(run, 5), Err(InvalidParam));
    for pos in [run + PAGE, run + 1, run - PAGE, START - PAGE, 0, usize::MAX, run + 16 * PAGE] {
        assert_eq!(pages.dealloc_pages(pos, 1), Err(NotAllocated), "{pos:#x}");
        assert_eq!(pages.run_at(pos), None);
    }
    pages.check_invariants().unwrap();
    pages.dealloc_pages(run, 4).unwrap();
    assert_eq!(pages.dealloc_pages(run, 4), Err(NotAllocated));
}

#[test]
fn a_slab_is_no_run_of_pages() {
    let mut pages = pages_of(16);
    let slab = pages.alloc_slab(4, PAGE).unwrap();
    assert_eq!(pages.run_at(slab), None);
    assert_eq!(pages.dealloc_pages(slab, 4), Err(NotAllocated));
    assert_eq!(pages.resize_pages(slab, 4, 2), Err(NotAllocated));
    assert_eq!(pages.slab_pages(), 4);
    pages.dealloc_slab(slab, 4).unwrap();
}

#[test]
fn lowmem_judges_the_target_alone() {
    // BT3: a section across 4 GiB of physical address, at an odd offset.
    let boundary = 1 << 32;
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START, 64 * PAGE, boundary - 23 * PAGE).unwrap();
    pages.check_invariants().unwrap();
    let mut low = 0;
    while let Ok(pos) = pages.alloc_pages_lowmem(1, PAGE) {
        assert!(pages.virt_to_phys(pos).unwrap() + PAGE <= boundary);
        low += 1;
        pages.check_invariants().unwrap();
    }
    assert_eq!(low, 23);
    assert_eq!(pages.largest_free_pages_lowmem(), 0);
    assert_eq!(pages.free_pages(), 41);
    // A run may lie across the boundary where it is asked for by address.
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START, 64 * PAGE, boundary - 23 * PAGE).unwrap();
    let across = pages.alloc_pages_at(START + 20 * PAGE, 10, PAGE).unwrap();
    pages.check_invariants().unwrap();
    pages.dealloc_pages(across, 10).unwrap();
    pages.check_invariants().unwrap();
    assert_eq!(pages.free_pages(), 64);
    // Requests without need of low memory spare it.
    let high = pages.alloc_pages(16, PAGE).unwrap();
    assert!(pages.virt_to_phys(high).unwrap() >= boundary);
}

#[test]
fn translates_by_a_constant_offset_for_each_section() {
    let mut pages = pages_of(4);
    pages.add_region(START + 8 * PAGE, 4 * PAGE, 0x4000_0000).unwrap();
    assert_eq!(pages.virt_to_phys(START + 5), Some(START + 5));
    assert_eq!(pages.virt_to_phys(START + 9 * PAGE + 1), Some(0x4000_0000 + PAGE + 1));
    assert_eq!(pages.virt_to_phys(START + 4 * PAGE), None);
    assert_eq!(pages.virt_to_phys(START - 1), None);
    assert_eq!(pages.virt_to_phys(START + 12 * PAGE), None);
}

#[test]
fn resizes_in_place_or_not_at_all() {
    let mut pages = pages_of(16);
    let run = pages.alloc_pages_at(START, 4, PAGE).unwrap();
    pages.resize_pages(run, 4, 9).unwrap();
    assert_eq!(pages.run_at(run), Some(9));
    let next = pages.alloc_pages_at(START + 10 * PAGE, 1, PAGE).unwrap();
    assert_eq!(pages.resize_pages(run, 9, 11), Err(NoMemory));
    assert_eq!(pages.resize_pages(run, 9, usize::MAX), Err(NoMemory));
    assert_eq!(pages.resize_pages(run, 9, 17), Err(NoMemory));
    assert_eq!(pages.resize_pages(run, 9, 0), Err(InvalidParam));
    assert_eq!(pages.resize_pages(run, 8, 7), Err(InvalidParam));
    assert_eq!(pages.resize_pages(run + PAGE, 8, 7), Err(NotAllocated));
    pages.resize_pages(run, 9, 10).unwrap();
    pages.resize_pages(run, 10, 1).unwrap();
    assert_eq!(pages.allocated_bytes(), 2 * PAGE);
    pages.dealloc_pages(run, 1).unwrap();
    pages.dealloc_pages(next, 1).unwrap();
    assert_eq!(pages.largest_free_pages(), 16);
    pages.check_invariants().unwrap();
}

#[test]
fn a_huge_section_touches_no_metadata_that_it_does_not_use() {
    let mut pages = BuddyAllocator::new(PAGE).unwrap();
    pages.add_region(START, 1 << 40, START).unwrap();
    let run = pages.alloc_pages(1 << 20, PAGE).unwrap();
    pages.dealloc_pages(run, 1 << 20).unwrap();
    pages.check_invariants().unwrap();
    assert_eq!(pages.add_region(1 << 50, (SECTION_PAGES_MAX + 1) * PAGE, 0), Err(InvalidParam));
}

#[test]
fn every_offset_but_the_live_runs_is_refused() {
    // A5, pages: 1 MiB by bytes.
    let mut pages = pages_of(256);
    let mut shadow = ShadowAllocator::new();
    shadow.add_range(START, 256 * PAGE).unwrap();
    let mut random = Prng::new(prng::seed(5));
    for _ in 0..40 {
        let count = random.between(1, 9);
        if let Ok(pos) = pages.alloc_pages(count, PAGE) {
            shadow.alloc(pos, count * PAGE, PAGE).unwrap();
        }
    }
    let victims: Vec<_> = shadow.blocks().step_by(2).collect();
    for (pos, block) in victims {
        pages.dealloc_pages(pos, block.size / PAGE).unwrap();
        shadow.free(pos, block.size, block.align).unwrap();
    }
    let before = pages.managed_sections();
    for pos in START - 64..START + 256 * PAGE + 4096 {
        if shadow.block(pos).is_none() {
            assert_eq!(pages.dealloc_pages(pos, 1), Err(NotAllocated), "{pos:#x}");
        }
    }
    assert_eq!(pages.managed_sections(), before);
    for (pos, block) in shadow.blocks() {
        pages.dealloc_pages(pos, block.size / PAGE).unwrap();
    }
    assert_eq!(pages.free_pages(), 256);
}

/// One geometry of the model test: sections as (first page, pages, physical page).
struct Geometry {
    page_size: usize,
    sections: &'static [(usize, usize, usize)],
}

fn model(geometry: &Geometry, seed: u64) {
    let page = geometry.page_size;
    let mut pages = BuddyAllocator::new(page).unwrap();
    let mut shadow = ShadowAllocator::new();
    let mut total = 0;
    for &(first, count, phys) in geometry.sections {
        pages.add_region(first * page, count * page, phys * page).unwrap();
        shadow.add_range(first * page, count * page).unwrap();
        total += count;
    }
    let mix = Mix {
        realloc_percent: 10,
        phase_len: 200,
        ..Mix::runs().with_sizes(Sizes::LogUniform(1, total / 2 + 1)).with_live_max(total)
    };
    let mut generator = Generator::new(seed, mix);
    let mut random = Prng::new(seed ^ 0xabcd);
    let mut live: Vec<Option<(usize, usize, usize)>> = Vec::new();
    for step in 0..scaled(600, 6000) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                let align = align * page;
                let low = random.chance(1, 4);
                let largest = if low {
                    pages.largest_free_pages_lowmem()
                } else {
                    pages.largest_free_pages()
                };
                let got = if low {
                    pages.alloc_pages_lowmem(size, align)
                } else {
                    pages.alloc_pages(size, align)
                };
                // `largest` is exact where the alignment asks for nothing.
                if align == page {
                    assert_eq!(got.is_ok(), size <= largest, "step {step}: {size} of {largest}");
                }
                match got {
                    Ok(pos) => {
                        shadow.alloc(pos, size * page, align).unwrap();
                        if low {
                            assert!(pages.virt_to_phys(pos).unwrap() + size * page <= 1 << 32);
                        }
                        live.resize(live.len().max(key + 1), None);
                        live[key] = Some((pos, size, align));
                    }
                    Err(error) => {
                        assert_eq!(error, NoMemory);
                        generator.refused(key);
                    }
                }
            }
            Op::Free { key } => {
                let (pos, size, align) = live[key].take().unwrap();
                pages.dealloc_pages(pos, size).unwrap();
                shadow.free(pos, size * page, align).unwrap();
                assert_eq!(pages.dealloc_pages(pos, size), Err(NotAllocated));
            }
            Op::Realloc { key, size } => {
                let (pos, old, align) = live[key].unwrap();
                let resized = pages.resize_pages(pos, old, size);
                // It fits where it is exactly if the shadow has nothing there.
                let judged = shadow.realloc(pos, pos, size * page);
                assert_eq!(resized.is_ok(), judged.is_ok(), "step {step}: {judged:?}");
                if resized.is_ok() {
                    live[key] = Some((pos, size, align));
                }
            }
        }
        if random.chance(1, 10) {
            let &(first, count, _) = &geometry.sections[random.below(geometry.sections.len())];
            let at = (first + random.below(count)) * page;
            let length = random.between(1, 5);
            match pages.alloc_pages_at(at, length, page) {
                Ok(pos) => {
                    shadow.alloc(pos, length * page, page).unwrap();
                    shadow.free(pos, length * page, page).unwrap();
                    pages.dealloc_pages(pos, length).unwrap();
                }
                Err(NoMemory) => {
                    assert!(shadow.alloc(at, length * page, page).is_err());
                }
                Err(error) => {
                    assert_eq!(error, InvalidParam);
                    assert!(at / page + length > first + count);
                }
            }
        }
        pages.check_invariants().unwrap_or_else(|what| panic!("step {step}: {what}"));
        assert_eq!(pages.allocated_bytes(), shadow.live_size());
    }
    for (pos, size, _) in live.into_iter().flatten() {
        pages.dealloc_pages(pos, size).unwrap();
    }
    assert_eq!(pages.free_pages(), total);
    pages.check_invariants().unwrap();
    let mut fresh = BuddyAllocator::new(page).unwrap();
    for &(first, count, phys) in geometry.sections {
        fresh.add_region(first * page, count * page, phys * page).unwrap();
    }
    // A7: what was merged is what was there first.
    assert_eq!(pages.managed_sections(), fresh.managed_sections());
}

macro_rules! models {
    ($($name:ident: $page_size:expr, $sections:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let seed = prng::seed(0x2_1e7e1);
                for round in 0..scaled(4, 16) as u64 {
                    model(&Geometry { page_size: $page_size, sections: &$sections }, seed + round);
                }
            }
        )*
    };
}

models! {
    model_of_one_aligned_section: 4096, [(256, 256, 256)];
    model_of_an_odd_section: 4096, [(257, 221, 3)];
    model_of_tiny_sections: 4096, [(1, 1, 0), (3, 2, 9), (5, 1, 70)];
    model_across_four_gib: 4096, [(0x1003, 301, 0x10_0000 - 130)];
    model_of_several_sections: 16384, [(64, 128, 0x4_0000 - 50), (512, 77, 0x4_0000), (192, 64, 1)];
    model_of_pages_of_one_byte: 1, [(1000, 500, 1000)];
    model_of_many_groups: 4096, [(4096 - 70, 3001, 4096 - 70)];
    model_of_groups_across_four_gib: 4096, [(0x2021, 1500, 0x10_0000 - 700)];
}
