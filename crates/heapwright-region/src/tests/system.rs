//! The region on the system that the tests run on.

use std::thread;

use crate::{Access, Advice, Placement, Region, RegionError, page_size, resident_bytes};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// Fills a committed range with a byte.
fn fill(region: &Region, offset: usize, len: usize, byte: u8) {
    assert!(offset + len <= region.size());
    // SAFETY: the assertion above keeps it inside the region.
    let start = unsafe { region.base().add(offset) };
    // SAFETY: the caller has committed the range and uses it from one thread at a time.
    unsafe { start.write_bytes(byte, len) };
}

/// Whether every byte of a committed range is `byte`.
fn holds(region: &Region, offset: usize, len: usize, byte: u8) -> bool {
    assert!(offset + len <= region.size());
    (offset..offset + len).all(|offset| {
        // SAFETY: the assertion above keeps it inside the region.
        let at = unsafe { region.base().add(offset) };
        // SAFETY: as in `fill`; committed pages are initialized, to zero if to nothing else.
        unsafe { at.read() == byte }
    })
}

/// The permissions of the page at `address` as the kernel has them, such as `rw-p`; `None` where
/// nothing is mapped.
fn permissions(address: usize) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let permissions = words.next()?;
        (start..end).contains(&address).then(|| permissions.to_owned())
    })
}

#[test]
fn reads_zero_after_commit_and_keeps_what_is_written() {
    let region = Region::reserve(3).unwrap();
    assert_eq!(region.size(), page_size());
    region.commit(0, 1).unwrap();
    assert!(holds(&region, 0, page_size(), 0));
    fill(&region, 0, page_size(), 7);
    region.commit(0, page_size()).unwrap();
    assert!(holds(&region, 0, page_size(), 7));
}

#[test]
fn places_the_base_for_every_modulus_up_to_a_gib() {
    let page = page_size();
    for shift in page.trailing_zeros()..=30 {
        let modulus = 1_usize << shift;
        for residue in [0, page, modulus / 4, modulus / 2, modulus - page, modulus + page] {
            let residue = residue / page * page;
            for size in [1, page, 3 * page + 1, MIB, 2 * MIB + page] {
                let region = Region::reserve_placed(size, Placement { modulus, residue }).unwrap();
                let base = region.base().addr().get();
                assert_eq!(
                    base % modulus,
                    residue % modulus,
                    "{modulus:#x} {residue:#x} {size:#x}"
                );
                assert_eq!(region.size(), size.next_multiple_of(page));
                region.commit(0, region.size()).unwrap();
                fill(&region, 0, 1, 1);
                fill(&region, region.size() - 1, 1, 1);
            }
        }
    }
}

#[test]
fn keeps_regions_apart_by_guard_pages() {
    let page = page_size();
    let regions: Vec<_> = (0..64)
        .map(|index| {
            let placement = Placement { modulus: page << (index % 8), residue: 0 };
            Region::reserve_placed((index + 1) * page, placement).unwrap()
        })
        .collect();
    let mut ranges: Vec<_> = regions
        .iter()
        .map(|region| {
            region.commit(0, region.size()).unwrap();
            let base = region.base().addr().get();
            (base, base + region.size())
        })
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 + 2 * page <= pair[1].0, "two regions touch");
    }
}

#[test]
fn is_never_executable_and_guarded_in_the_eyes_of_the_kernel() {
    let page = page_size();
    let region = Region::reserve(4 * page).unwrap();
    let base = region.base().addr().get();
    let all = |expected: [&str; 6]| {
        let seen = (0..6).map(|index| permissions(base - page + index * page).unwrap());
        assert!(seen.eq(expected));
    };
    all(["---p"; 6]);
    region.commit(page, 2 * page).unwrap();
    all(["---p", "---p", "rw-p", "rw-p", "---p", "---p"]);
    region.protect(page, page, Access::Read).unwrap();
    all(["---p", "---p", "r--p", "rw-p", "---p", "---p"]);
    region.zero_over().unwrap();
    all(["---p", "rw-p", "rw-p", "rw-p", "rw-p", "---p"]);
}

#[test]
fn decommit_zeroes_the_pages_and_gives_their_memory_back() {
    let region = Region::reserve(16 * MIB).unwrap();
    region.advise(0, 16 * MIB, Advice::NoHugePages).or_else(unless_built_without).unwrap();
    region.commit(0, 16 * MIB).unwrap();
    assert_eq!(resident_bytes(&region), Some(0));
    fill(&region, 0, 16 * MIB, 7);
    assert_eq!(resident_bytes(&region), Some(16 * MIB));
    region.decommit(MIB, 8 * MIB).unwrap();
    assert_eq!(resident_bytes(&region), Some(8 * MIB));
    assert!(holds(&region, 0, MIB, 7));
    assert!(holds(&region, MIB, 8 * MIB, 0));
    assert!(holds(&region, 9 * MIB, 7 * MIB, 7));
    fill(&region, MIB, 8 * MIB, 8);
    assert!(holds(&region, MIB, 8 * MIB, 8));
}

#[test]
fn zero_over_replaces_everything_and_stays_accessible() {
    let region = Region::reserve(4 * MIB).unwrap();
    region.commit(0, 2 * MIB).unwrap();
    fill(&region, 0, 2 * MIB, 7);
    region.protect(0, MIB, Access::None).unwrap();
    let base = region.base();
    region.zero_over().unwrap();
    assert_eq!(region.base(), base);
    assert_eq!(resident_bytes(&region), Some(0));
    assert!(holds(&region, 0, 4 * MIB, 0));
    fill(&region, 0, 4 * MIB, 1);
    region.zero_over().unwrap();
    assert!(holds(&region, 0, 4 * MIB, 0));
}

#[test]
fn zero_over_never_leaves_a_gap_for_other_threads() {
    let page = page_size();
    let region = Region::reserve(64 * page).unwrap();
    region.commit(0, 64 * page).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..20_000_usize {
                let offset = round % 64 * page;
                // SAFETY: the offset is inside the region; committed and replaced pages are
                // accessible; the byte is touched by this thread alone, atomically.
                let byte = unsafe { region.base().add(offset) };
                // SAFETY: as above.
                let byte = unsafe { std::sync::atomic::AtomicU8::from_ptr(byte.as_ptr()) };
                byte.store(7, std::sync::atomic::Ordering::Relaxed);
            }
        });
        while !writer.is_finished() {
            region.zero_over().unwrap();
        }
    });
    region.zero_over().unwrap();
    assert!(holds(&region, 0, 64 * page, 0));
}

#[test]
fn populate_makes_pages_resident_and_keeps_their_bytes() {
    let region = Region::reserve(8 * MIB).unwrap();
    region.advise(0, 8 * MIB, Advice::NoHugePages).or_else(unless_built_without).unwrap();
    region.populate(0, 2 * MIB).unwrap();
    assert_eq!(resident_bytes(&region), Some(2 * MIB));
    fill(&region, 0, 2 * MIB, 7);
    region.populate(0, 4 * MIB).unwrap();
    assert_eq!(resident_bytes(&region), Some(4 * MIB));
    assert!(holds(&region, 0, 2 * MIB, 7));
    assert!(holds(&region, 2 * MIB, 2 * MIB, 0));
}

#[test]
fn takes_every_advice() {
    let region = Region::reserve(8 * MIB).unwrap();
    region.commit(0, 8 * MIB).unwrap();
    fill(&region, 0, 8 * MIB, 7);
    for advice in [Advice::HugePages, Advice::NoHugePages, Advice::WillNeed] {
        region.advise(0, 8 * MIB, advice).or_else(unless_built_without).unwrap();
        assert!(holds(&region, 0, 8 * MIB, 7), "{advice:?} is a hint");
    }
    region.advise(0, 8 * MIB, Advice::DontNeed).unwrap();
    assert!(holds(&region, 0, 8 * MIB, 0));
}

/// A kernel built without huge pages refuses advice about them.
fn unless_built_without(error: RegionError) -> Result<(), RegionError> {
    if error == RegionError::new("madvise", libc::EINVAL) { Ok(()) } else { Err(error) }
}

#[test]
fn reserves_far_more_than_there_is_memory_for_nothing() {
    for size in [16 * GIB, 64 * GIB] {
        let region = Region::reserve_placed(size, Placement { modulus: GIB, residue: 0 }).unwrap();
        region.commit(0, size).unwrap();
        assert_eq!(resident_bytes(&region), Some(0));
        region.advise(0, size, Advice::NoHugePages).or_else(unless_built_without).unwrap();
        for offset in [0, size / 2, size - 1] {
            fill(&region, offset, 1, 7);
        }
        assert_eq!(resident_bytes(&region), Some(3 * page_size()));
    }
}

#[test]
fn serves_many_threads_at_once() {
    let region = Region::reserve(64 * MIB).unwrap();
    let rounds = 50;
    thread::scope(|scope| {
        for thread in 0..8 {
            let region = &region;
            scope.spawn(move || {
                let offset = thread * 8 * MIB;
                for _ in 0..rounds {
                    region.commit(offset, 64 << 10).unwrap();
                    assert!(holds(region, offset, 64 << 10, 0));
                    fill(region, offset, 64 << 10, 7);
                    region.decommit(offset, 64 << 10).unwrap();
                }
            });
        }
    });
    assert_eq!(resident_bytes(&region), Some(0));
}

#[test]
fn tells_its_size_and_no_address() {
    let region = Region::reserve(page_size()).unwrap();
    assert_eq!(format!("{region:?}"), format!("Region {{ size: {}, .. }}", page_size()));
}
