//! The region on the fake system: the laws that it must keep as a caller, every placement, and a
//! failure at every call of every method.

use crate::os::fake::FakeOs;
use crate::{Access, Advice, Placement, Region, RegionError, resident_bytes};

const PAGE: usize = 4096;

/// The byte at `offset`: the fake's pages are real memory whatever their access.
fn peek(region: &Region<FakeOs>, offset: usize) -> u8 {
    assert!(offset < region.size());
    // SAFETY: the assertion above keeps the address inside the region.
    let byte = unsafe { region.base().add(offset) };
    // SAFETY: initialized memory of the fake, used by this thread alone.
    unsafe { byte.read() }
}

/// Sets `len` bytes from `offset`.
fn poke(region: &Region<FakeOs>, offset: usize, len: usize, byte: u8) {
    assert!(offset + len <= region.size());
    // SAFETY: the assertion above keeps the address inside the region.
    let start = unsafe { region.base().add(offset) };
    // SAFETY: memory of the fake, used by this thread alone.
    unsafe { start.write_bytes(byte, len) };
}

/// A method of a region, with its arguments.
type Method = fn(&Region<FakeOs>) -> Result<(), RegionError>;

/// Every method once, over a region of eight pages with some of its bytes in use.
const METHODS: [(&str, Method); 8] = [
    ("commit", |region| region.commit(0, 8 * PAGE)),
    ("decommit", |region| region.decommit(0, 4 * PAGE)),
    ("protect", |region| region.protect(PAGE, PAGE, Access::Read)),
    ("advise", |region| region.advise(0, 8 * PAGE, Advice::HugePages)),
    ("advise", |region| region.advise(0, 8 * PAGE, Advice::DontNeed)),
    ("commit", |region| region.populate(0, 8 * PAGE)),
    ("replace", Region::zero_over),
    ("resident_pages", |region| resident_bytes(region).map(drop).ok_or(RegionError::new("", 0))),
];

#[test]
fn releases_all_that_it_reserved() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 1, None).unwrap();
    assert_eq!(region.size(), PAGE);
    assert_eq!(os.mapped_pages(), 3);
    drop(region);
    assert_eq!(os.mapped_pages(), 0);
}

#[test]
fn places_the_base_for_every_modulus_residue_and_skew() {
    let moduli = if cfg!(miri) { 12..=13 } else { 12..=20 };
    for modulus in moduli.map(|shift| 1_usize << shift) {
        for skew in [0, 1, 2, 7, 255] {
            for residue in [0, PAGE, modulus / 2, modulus - PAGE, 5 * modulus + PAGE] {
                let residue = residue / PAGE * PAGE;
                let os = FakeOs::new(PAGE, skew);
                let placement = Placement { modulus, residue };
                let region = Region::reserve_on(os.clone(), 3 * PAGE, Some(placement)).unwrap();
                let base = region.base().addr().get();
                assert_eq!(base % modulus, residue % modulus, "{placement:?}, skew {skew}");
                assert_eq!(os.mapped_pages(), 5, "{placement:?}, skew {skew}");
                assert_eq!(os.access_at(base - 1), Some(Access::None));
                assert_eq!(os.access_at(base + region.size()), Some(Access::None));
                drop(region);
                assert_eq!(os.mapped_pages(), 0, "{placement:?}, skew {skew}");
            }
        }
    }
}

#[test]
fn leaves_nothing_mapped_when_a_call_of_the_constructor_fails() {
    let placement = Some(Placement { modulus: 64 * PAGE, residue: 9 * PAGE });
    let os = FakeOs::new(PAGE, 3);
    drop(Region::reserve_on(os.clone(), 4 * PAGE, placement).unwrap());
    // The reservation, the head, the tail; then the drop.
    assert_eq!(os.calls(), ["reserve", "release", "release", "release"]);
    for passing in 0..3 {
        let os = FakeOs::new(PAGE, 3);
        os.fail(passing, 1, libc::EAGAIN);
        let error = Region::reserve_on(os.clone(), 4 * PAGE, placement).unwrap_err();
        assert_eq!(error.errno, libc::EAGAIN);
        assert_eq!(error.call, ["reserve", "release", "release"][passing]);
        assert_eq!(os.mapped_pages(), 0, "call {passing} failed");
    }
}

#[test]
fn gives_the_memory_back_when_even_the_release_is_refused() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 4 * PAGE, None).unwrap();
    region.populate(0, 4 * PAGE).unwrap();
    os.fail(0, 1, libc::ENOMEM);
    drop(region);
    assert_eq!(os.calls().last(), Some(&"decommit"));
    // Only the addresses are lost: the four pages and both guards.
    assert_eq!(os.mapped_pages(), 6);
}

#[test]
fn reports_the_errno_of_every_method_and_changes_nothing() {
    for errno in [libc::ENOMEM, libc::EIO, libc::EPERM] {
        for (call, method) in METHODS {
            let os = FakeOs::new(PAGE, 1);
            let region = Region::reserve_on(os.clone(), 8 * PAGE, None).unwrap();
            region.commit(0, 2 * PAGE).unwrap();
            poke(&region, PAGE, 1, 7);
            let mapped = os.mapped_pages();
            os.fail(0, 1, errno);
            let error = method(&region).unwrap_err();
            if call != "resident_pages" {
                assert_eq!(error, RegionError::new(call, errno));
            }
            assert_eq!(os.mapped_pages(), mapped, "{call}");
            assert_eq!(os.access_at(region.base().addr().get()), Some(Access::ReadWrite));
            assert_eq!(os.access_at(region.base().addr().get() + 2 * PAGE), Some(Access::None));
            assert_eq!(peek(&region, PAGE), 7, "{call}");
            method(&region).unwrap();
            drop(region);
            assert_eq!(os.mapped_pages(), 0, "{call}");
        }
    }
}

#[test]
fn populates_only_after_it_has_committed() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 8 * PAGE, None).unwrap();
    os.fail(1, 1, libc::ENOMEM);
    assert_eq!(
        region.populate(PAGE, 2 * PAGE).unwrap_err(),
        RegionError::new("populate", libc::ENOMEM)
    );
    assert_eq!(os.calls()[1..], ["commit", "populate"]);
    region.populate(PAGE, 2 * PAGE).unwrap();
    assert_eq!(resident_bytes(&region), Some(2 * PAGE));
}

#[test]
fn gives_access_outward_and_takes_it_inward() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 8 * PAGE, None).unwrap();
    let base = region.base().addr().get();
    let accesses = || (0..8).map(|page| os.access_at(base + page * PAGE).unwrap());

    region.commit(PAGE - 1, 2).unwrap();
    assert_eq!(accesses().filter(|&access| access == Access::ReadWrite).count(), 2);
    region.commit(0, 8 * PAGE).unwrap();
    region.protect(1, 2 * PAGE, Access::None).unwrap();
    assert!(accesses().eq((0..8).map(|page| match page {
        1 => Access::None,
        _ => Access::ReadWrite,
    })));
    region.protect(PAGE, 1, Access::ReadWrite).unwrap();
    assert!(accesses().all(|access| access == Access::ReadWrite));

    poke(&region, 0, 8 * PAGE, 7);
    region.decommit(1, 2 * PAGE).unwrap();
    region.advise(5 * PAGE - 1, PAGE + 1, Advice::DontNeed).unwrap();
    for page in 0..8 {
        assert_eq!(
            peek(&region, page * PAGE),
            if page == 1 || page == 5 { 0 } else { 7 },
            "page {page}"
        );
    }
}

#[test]
fn asks_the_system_for_nothing_when_no_page_is_meant() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 8 * PAGE, None).unwrap();
    for offset in [0, 1, PAGE, 8 * PAGE] {
        region.commit(offset, 0).unwrap();
        region.populate(offset, 0).unwrap();
        region.decommit(offset, 0).unwrap();
        region.protect(offset, 0, Access::None).unwrap();
        region.advise(offset, 0, Advice::WillNeed).unwrap();
    }
    region.decommit(1, PAGE - 1).unwrap();
    region.protect(1, 2 * PAGE - 2, Access::Read).unwrap();
    assert_eq!(os.calls(), ["reserve"]);
}

#[test]
fn refuses_ranges_outside_the_region() {
    let os = FakeOs::new(PAGE, 0);
    let region = Region::reserve_on(os.clone(), 8 * PAGE, None).unwrap();
    for (offset, len) in
        [(0, 8 * PAGE + 1), (8 * PAGE, 1), (8 * PAGE + 1, 0), (usize::MAX, 2), (1, usize::MAX)]
    {
        for (call, refusal) in [
            ("commit", region.commit(offset, len)),
            ("decommit", region.decommit(offset, len)),
            ("protect", region.protect(offset, len, Access::None)),
            ("protect", region.protect(offset, len, Access::ReadWrite)),
            ("advise", region.advise(offset, len, Advice::WillNeed)),
            ("populate", region.populate(offset, len)),
        ] {
            assert_eq!(refusal, Err(RegionError::new(call, libc::EINVAL)), "{offset} {len}");
        }
    }
    assert_eq!(os.calls(), ["reserve"]);
}

#[test]
fn refuses_reservations_that_cannot_be() {
    let os = FakeOs::new(PAGE, 0);
    let placed = |modulus, residue| {
        Region::reserve_on(os.clone(), PAGE, Some(Placement { modulus, residue })).unwrap_err()
    };
    let invalid = RegionError::new("reserve", libc::EINVAL);
    assert_eq!(Region::reserve_on(os.clone(), 0, None).unwrap_err(), invalid);
    for modulus in [0, 1, PAGE / 2, 3 * PAGE, usize::MAX] {
        assert_eq!(placed(modulus, 0), invalid, "modulus {modulus}");
    }
    for residue in [1, PAGE / 2, PAGE + 1, usize::MAX] {
        assert_eq!(placed(2 * PAGE, residue), invalid, "residue {residue}");
    }
    let too_large = RegionError::new("reserve", libc::ENOMEM);
    assert!(too_large.is_out_of_memory());
    for size in [usize::MAX, usize::MAX - 2 * PAGE, usize::MAX / 2, usize::MAX / 2 - 2 * PAGE] {
        assert_eq!(Region::reserve_on(os.clone(), size, None).unwrap_err(), too_large);
    }
    assert_eq!(placed(1 << (usize::BITS - 1), 0), too_large);
    assert!(os.calls().is_empty());
}

#[test]
fn works_with_every_page_size() {
    for shift in [12, 14, 16] {
        let page = 1 << shift;
        let os = FakeOs::new(page, 1);
        let placement = Placement { modulus: 8 * page, residue: 3 * page };
        let region = Region::reserve_on(os.clone(), page + 1, Some(placement)).unwrap();
        assert_eq!(region.size(), 2 * page);
        assert_eq!(region.base().addr().get() % (8 * page), 3 * page);
        // What the engine manages is 4 KiB: it may be less than a page of the system.
        region.commit(4096, 4096).unwrap();
        region.decommit(0, 4096).unwrap();
        region.zero_over().unwrap();
        drop(region);
        assert_eq!(os.mapped_pages(), 0);
    }
}

#[test]
#[should_panic(expected = "release: a page is not mapped")]
fn the_fake_finds_a_second_release() {
    use crate::os::Os as _;
    let os = FakeOs::new(PAGE, 0);
    let base = os.reserve(PAGE).unwrap();
    // SAFETY: reserved above and shown to nobody.
    unsafe { os.release(base, PAGE) }.unwrap();
    // SAFETY: none; the fake judges before it touches anything.
    let _ = unsafe { os.release(base, PAGE) };
}

#[test]
#[should_panic(expected = "populate: a page is not committed")]
fn the_fake_finds_a_populate_of_what_is_only_reserved() {
    use crate::os::Os as _;
    let os = FakeOs::new(PAGE, 0);
    let base = os.reserve(PAGE).unwrap();
    // SAFETY: none; the fake judges before it touches anything.
    let _ = unsafe { os.populate(base, PAGE) };
}

#[test]
fn errors_name_the_call_and_the_errno() {
    let text = |errno| RegionError::new("mmap", errno).to_string();
    assert_eq!(text(libc::ENOMEM), "mmap failed: ENOMEM (12)");
    assert_eq!(text(9999), "mmap failed: errno 9999");
    for errno in [libc::ENOMEM, libc::ENOSPC, libc::EDQUOT, libc::EFBIG, libc::EMFILE] {
        assert!(RegionError::new("mmap", errno).is_out_of_memory());
    }
    for errno in [libc::EINVAL, libc::EIO, libc::EACCES, 0] {
        assert!(!RegionError::new("mmap", errno).is_out_of_memory());
    }
}
