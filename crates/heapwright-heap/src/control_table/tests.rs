//! The control table against a map, and what it touches.

use std::collections::BTreeMap;

use heapwright_region::Placement;
use heapwright_testkit::prng::{Prng, seed};

use super::*;

/// A table over memory of its own; one of notes where the granule is that of slabs.
fn tables(base: usize, size: usize, granule: usize) -> (ControlTables, Arc<Region>) {
    let residue = base & (WINDOW_BYTES - 1);
    let placement = Placement { modulus: WINDOW_BYTES, residue };
    let control = Arc::new(Region::reserve_placed(size, placement).unwrap());
    control.commit(0, size).unwrap();
    // SAFETY: nobody else writes there while a block is recorded.
    let table =
        unsafe { ControlTable::new(base, size, granule, Arc::clone(&control), granule == 64) }
            .unwrap();
    (ControlTables { tables: vec![table] }, control)
}

fn block(size: usize) -> Block {
    Block { size, align: 8 }
}

#[test]
fn keeps_size_alignment_and_flags_apart() {
    for size in [1, 255, 1 << 52, SIZE_MAX] {
        for align in [1, 8, 1 << 30] {
            let block = Block { size, align };
            let record = Record::new(block);
            assert!(!record.is_none());
            assert!(!record.is_kept() && !record.is_marked());
            let flagged = record.with_mark(true).with_kept(true);
            assert_eq!(flagged.block(), block);
            assert_eq!(flagged.with_size(7).block(), Block { size: 7, align });
            assert!(flagged.with_size(7).is_kept() && flagged.with_size(7).is_marked());
            assert_eq!(flagged.with_mark(false).with_kept(false), record);
        }
    }
}

#[test]
fn finds_what_was_inserted_and_nothing_else() {
    let (mut live, _control) = tables(4096, 1 << 20, 8);
    assert!(live.find(4096).is_none());
    live.insert(4096, block(1));
    live.insert(8192, Block { size: 1 << 52, align: 1 << 30 });
    live.insert(4096 + (1 << 20) - 8, block(8));
    assert_eq!(live.block(live.find(4096).unwrap()), block(1));
    let place = live.find(8192).unwrap();
    assert_eq!(live.block(place), Block { size: 1 << 52, align: 1 << 30 });
    for stranger in
        [0, 4088, 4097, 4100, 4104, 1 << 20, (1 << 20) + 4096, 1 << 60, usize::MAX, usize::MAX - 7]
    {
        assert!(live.find(stranger).is_none(), "{stranger}");
    }
    live.remove(place);
    assert!(live.find(8192).is_none());
    live.check().unwrap();
}

#[test]
fn is_not_misled_by_what_a_crate_leaves_behind() {
    let (mut live, control) = tables(4096, 8192, 8);
    #[expect(clippy::cast_ptr_alignment, reason = "a region starts at a page")]
    let words = control.base().as_ptr().cast::<u64>();
    for index in 0..1024 {
        // SAFETY: inside the region; no block is live.
        unsafe { words.wrapping_add(index).write(u64::MAX) };
    }
    assert!((0..20_000).all(|start| live.find(start).is_none()));
    live.insert(4104, block(16));
    assert_eq!((0..20_000).filter(|&start| live.find(start).is_some()).collect::<Vec<_>>(), [4104]);
    assert_eq!(live.sorted().unwrap(), [(4104, block(16))]);
}

/// A note is believed only where a live block starts and the note holds its slack.
#[test]
fn takes_by_a_note_what_is_live_and_was_noted() {
    let (base, granule) = (1 << 20, 64);
    let (mut live, control) = tables(base, 1 << 20, granule);
    let address =
        |start: usize| control.base().map_addr(|first| first.checked_add(start - base).unwrap());
    let starts = (base..).step_by(granule);
    for (start, slack) in starts.zip([Some(0), Some(1), Some(253), Some(254), Some(512), None]) {
        assert!(live.take_noted(start).is_none());
        assert_eq!(live.insert_at::<true>(address(start), block(7), slack), Some(start));
        for stranger in [start - granule, start + 1, start + 8, start + granule, 0, usize::MAX] {
            assert!(live.take_noted(stranger).is_none());
        }
        live.check().unwrap();
        assert_eq!(live.sorted().unwrap(), [(start, block(7))]);
        let noted = slack.filter(|&slack| slack <= 253);
        assert_eq!(live.take_noted(start), noted.map(|slack| (address(start), slack)));
        if noted.is_none() {
            assert_eq!(live.take::<true>(start, None, None).unwrap().block, block(7));
        }
        assert!(live.take_noted(start).is_none());
        assert_eq!(live.len(), 0);
    }
    // What has another size or is kept under one is known by its record alone.
    live.insert_at::<true>(address(base), block(7), Some(57));
    let place = live.find(base).unwrap();
    live.set_size(place, 6);
    assert!(live.take_noted(base).is_none());
    assert_eq!(live.take::<true>(base, None, None).unwrap().block, block(6));
}

#[test]
fn touches_no_more_than_its_blocks() {
    let (mut live, control) = tables(0, 1 << 34, 8);
    for index in 0..1000 {
        live.insert(index * 64, block(1));
    }
    let resident = |region: &Region| heapwright_region::resident_bytes(region).unwrap();
    let page = heapwright_region::page_size();
    // One for the marks and one for the bytes of stretches.
    assert!(resident(&live.tables[0].marks_region) <= 2 * page);
    assert!(resident(&control) <= 16 * 4096);
}

/// Where blocks have been is all that is looked at, wherever in a large range that is.
#[test]
fn looks_at_marks_only_where_blocks_have_been() {
    for granule in [8, 16, 64] {
        for (base, size) in [(4096, 1 << 34), ((5 << 20) + 4096 * 3, (1 << 34) + 4096 * 5)] {
            let (mut live, _control) = tables(base, size, granule);
            let starts = [
                base,
                base.next_multiple_of(STRETCH_BYTES) - granule,
                base.next_multiple_of(STRETCH_BYTES),
                base + (7 << 30),
                base + size - granule,
            ];
            for start in starts {
                live.insert(start, block(1));
            }
            live.check().unwrap();
            assert_eq!(live.sorted().unwrap(), starts.map(|start| (start, block(1))));
            let table = &live.tables[0];
            let words: Vec<usize> =
                table.touched().flat_map(|stretch| table.words_of(stretch)).collect();
            let word_bytes = granule << table.word_places_log2;
            assert!(words.is_sorted_by(|one, next| one < next));
            assert!(words.len() <= 4 * STRETCH_BYTES / word_bytes + 1);
            for start in starts {
                live.remove(live.find(start).unwrap());
            }
            assert_eq!((live.len(), live.sorted().unwrap()), (0, vec![]));
            live.check().unwrap();
            let marks = heapwright_region::resident_bytes(&live.tables[0].marks_region);
            assert!(marks.unwrap() <= 16 * heapwright_region::page_size());
        }
    }
}

/// Blocks a page apart may make up to one window more resident than they touch, wide ones nothing.
#[test]
fn asks_for_large_pages_where_they_will_be_filled() {
    for (stride, granule, more_max) in [
        (544, 16, WINDOW_BYTES),
        (4096, 16, WINDOW_BYTES),
        (1 << 16, 16, 0),
        (512, 64, WINDOW_BYTES),
        (1 << 16, 64, 0),
    ] {
        let base = (5 << 20) + 4096 * 3;
        let (mut live, control) = tables(base, 64 << 20, granule);
        let mut pages = std::collections::BTreeSet::new();
        for start in (base..base + (33 << 20)).step_by(stride) {
            live.insert(start, block(16));
            pages.insert(start / 4096);
            if pages.len() % 256 == 1 {
                let resident = heapwright_region::resident_bytes(&control).unwrap();
                let touched = pages.len() * heapwright_region::page_size();
                assert!(resident <= touched + more_max, "{resident} for {touched}");
            }
        }
        live.check().unwrap();
    }
}

/// Against a `BTreeMap`, over places near each other and far apart.
#[test]
fn agrees_with_a_map_after_every_step() {
    let mut random = Prng::new(seed(0x11fe));
    let steps = if cfg!(miri) { 300 } else { 60_000 };
    for (base, range, granule, stride) in [
        (4096, 4096, 8, 8),
        (4096, 8192, 16, 16),
        (1 << 20, 400 << 6, 64, 64),
        (1 << 21, 400 << 12, 64, 4096),
        (1 << 50, 1 << 27, 8, 1 << 18),
    ] {
        let (mut live, control) = tables(base, range, granule);
        let mut oracle = BTreeMap::new();
        for step in 0..steps {
            let start = base + random.below(400) * stride;
            match (live.find(start), oracle.remove(&start)) {
                (Some(place), Some(expected)) => {
                    assert_eq!(live.block(place), expected);
                    let Block { size, align } = expected;
                    let mismatch = Err(Refusal::SizeMismatch { size, align });
                    let mut take = |size, align| {
                        let taken = if granule == 64 {
                            live.take::<true>(start, size, align)
                        } else {
                            live.take::<false>(start, size, align)
                        };
                        taken.map(|taken| (taken.address, taken.block, taken.is_kept))
                    };
                    assert_eq!(take(Some(size + 1), None), mismatch);
                    assert_eq!(take(None, Some(align << 1)), mismatch);
                    let address = control.base().map_addr(|first| {
                        first.checked_add(start - base).expect("no mapping wraps around")
                    });
                    assert_eq!(take(Some(size), Some(align)), Ok((address, expected, false)));
                    assert_eq!(take(None, None), Err(Refusal::NotAllocated));
                }
                (None, None) => {
                    let bits = random.below(53);
                    let size = 1 + random.below(1 << bits);
                    let made = Block { size, align: 1 << random.below(31) };
                    let address = control.base().map_addr(|first| {
                        first.checked_add(start - base).expect("no mapping wraps around")
                    });
                    let inserted = if granule == 64 {
                        let bits = random.below(12);
                        let slack = Some(random.below(1 << bits));
                        live.insert_at::<true>(address, made, slack)
                    } else {
                        live.insert_at::<false>(address, made, None)
                    };
                    assert_eq!(inserted, Some(start));
                    oracle.insert(start, made);
                    let inside = 1 + random.below(granule - 1);
                    assert!(live.find(start + inside).is_none());
                }
                (found, expected) => panic!("{start}: {found:?} against {expected:?}"),
            }
            if step % 1024 == 0 {
                assert_eq!(live.len(), oracle.len());
                live.check().unwrap();
                let expected: Vec<_> = oracle.iter().map(|(&start, &made)| (start, made)).collect();
                assert_eq!(live.sorted().unwrap(), expected);
            }
        }
    }
}
