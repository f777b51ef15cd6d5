//! The public API against the real system.

use super::*;

#[test]
fn commits_and_decommits_a_page() {
    let region = Region::reserve(1 << 20).unwrap();
    region.commit(0, 1).unwrap();
    // SAFETY: the first page is committed, and nobody else knows its address.
    unsafe { region.base().write(7) };
    region.decommit(0, page_size()).unwrap();
    // SAFETY: as above; decommitted pages stay accessible.
    assert_eq!(unsafe { region.base().read() }, 0);
}
