//! What must end a process, or run it out of something: each in a process of its own.
//!
//! A test here calls [`in_child`], which runs the same test again in a child process with a
//! variable set; there the body runs, and the parent judges how the child ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use crate::{Access, Placement, Region, page_size};

const MIB: usize = 1 << 20;
const MARK: &str = "HEAPWRIGHT_REGION_CHILD";

/// Runs `body` in a child, by the name of the test that calls; `None` is the answer in the child
/// itself, if the body returns.
fn in_child(test: &str, body: impl FnOnce()) -> Option<ExitStatus> {
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        limit(libc::RLIMIT_CORE, 0);
        body();
        return None;
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--test-threads", "1"])
        .env(MARK, test)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("running 1 test"), "no test of the name {name}: {printed}");
    Some(output.status)
}

/// Asserts that `body` ends a child by SIGSEGV (SIGBUS where the system says so).
fn faults(test: &str, body: impl FnOnce()) {
    if let Some(status) = in_child(test, body) {
        assert!(
            matches!(status.signal(), Some(libc::SIGSEGV | libc::SIGBUS)),
            "the child ended with {status} instead of a fault"
        );
    }
}

/// Asserts that `body` returns in a child.
fn passes(test: &str, body: impl FnOnce()) {
    if let Some(status) = in_child(test, body) {
        assert!(status.success(), "the child ended with {status}");
    }
}

/// Sets a limit of this process.
fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: setrlimit reads the structure, which lives until it returns.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Pages of address space and of memory that this process has.
fn statm() -> (usize, usize) {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse::<usize>().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

/// A region of four committed pages.
fn region() -> Region {
    let region = Region::reserve(4 * page_size()).unwrap();
    region.commit(0, region.size()).unwrap();
    region
}

/// Reads the byte at `offset` from the base, inside the region or not.
fn read(region: &Region, offset: isize) -> u8 {
    // SAFETY: none: the page is inaccessible, and the fault is what the test is about.
    unsafe { region.base().as_ptr().wrapping_offset(offset).read_volatile() }
}

/// Writes the byte at `offset` from the base, inside the region or not.
fn write(region: &Region, offset: isize) {
    // SAFETY: as in `read`.
    unsafe { region.base().as_ptr().wrapping_offset(offset).write_volatile(1) };
}

#[test]
fn a_read_before_the_region_faults() {
    faults("a_read_before_the_region_faults", || {
        let region = region();
        read(&region, 0);
        read(&region, -1);
    });
}

#[test]
fn a_write_at_the_far_end_of_the_guard_before_faults() {
    faults("a_write_at_the_far_end_of_the_guard_before_faults", || {
        let region = region();
        write(&region, 0);
        write(&region, -page_size().cast_signed());
    });
}

#[test]
fn a_read_past_the_region_faults() {
    faults("a_read_past_the_region_faults", || {
        let region = region();
        read(&region, region.size().cast_signed() - 1);
        read(&region, region.size().cast_signed());
    });
}

#[test]
fn a_write_past_a_placed_region_faults() {
    faults("a_write_past_a_placed_region_faults", || {
        let placement = Placement { modulus: MIB, residue: 3 * page_size() };
        let region = Region::reserve_placed(page_size(), placement).unwrap();
        region.commit(0, page_size()).unwrap();
        write(&region, page_size().cast_signed() - 1);
        write(&region, 2 * page_size().cast_signed() - 1);
    });
}

#[test]
fn a_read_of_a_page_that_is_only_reserved_faults() {
    faults("a_read_of_a_page_that_is_only_reserved_faults", || {
        let region = Region::reserve(4 * page_size()).unwrap();
        region.commit(0, page_size()).unwrap();
        read(&region, 0);
        read(&region, page_size().cast_signed());
    });
}

#[test]
fn a_write_to_a_page_protected_for_reading_faults() {
    faults("a_write_to_a_page_protected_for_reading_faults", || {
        let region = region();
        region.protect(0, page_size(), Access::Read).unwrap();
        read(&region, 0);
        write(&region, 0);
    });
}

#[test]
fn a_forked_child_does_not_inherit_the_region() {
    passes("a_forked_child_does_not_inherit_the_region", || {
        let region = region();
        write(&region, 0);
        let zeroed = self::region();
        zeroed.zero_over().unwrap();
        write(&zeroed, 0);
        for region in [&region, &zeroed] {
            // SAFETY: the child calls nothing that needs another thread: it reads one byte and
            // ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: signal takes no pointer of ours; the default action ends the child.
                unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
                read(region, 0);
                // SAFETY: ends the child at once, without the parent's exit handlers.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: waitpid writes the status, which lives until it returns.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFSIGNALED(status), "the forked child read the region");
        }
    });
}

#[test]
fn a_limit_of_address_space_is_an_error() {
    passes("a_limit_of_address_space_is_an_error", || {
        let taken = statm().0 * page_size();
        limit(libc::RLIMIT_AS, (taken + 256 * MIB) as u64);
        let error = Region::reserve(1024 * MIB).unwrap_err();
        assert_eq!((error.call, error.errno), ("mmap", libc::ENOMEM));
        assert!(error.is_out_of_memory());
        let before = statm().0;
        // The modulus counts while the constructor runs.
        let placement = Placement { modulus: 1024 * MIB, residue: 0 };
        assert!(Region::reserve_placed(MIB, placement).unwrap_err().is_out_of_memory());
        assert_eq!(statm().0, before, "a failed reservation left something mapped");
        let region = Region::reserve(64 * MIB).unwrap();
        region.commit(0, 64 * MIB).unwrap();
        write(&region, 64 * MIB.cast_signed() - 1);
    });
}

#[test]
fn the_limit_of_mappings_is_an_error() {
    passes("the_limit_of_mappings_is_an_error", || {
        let page = page_size();
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        // A sanitizer's own allocator ends the process when it cannot map.
        if limit > 1 << 20 || std::env::var_os("HEAPWRIGHT_SANITIZER").is_some() {
            return;
        }
        let region = Region::reserve(2 * (limit + 2) * page).unwrap();
        let refused = (0..=limit).find_map(|index| region.commit(2 * index * page, 1).err());
        let error = refused.unwrap();
        assert_eq!((error.call, error.errno), ("mprotect", libc::ENOMEM));
        assert!(error.is_out_of_memory());
        // What is there goes on working, and the drop makes room again.
        write(&region, 0);
        drop(region);
        write(&self::region(), 0);
    });
}

#[test]
fn a_large_reservation_leaves_the_process_small() {
    passes("a_large_reservation_leaves_the_process_small", || {
        let before = statm();
        let region = Region::reserve(64 << 30).unwrap();
        region.commit(0, 64 << 30).unwrap();
        let after = statm();
        assert!(after.0 - before.0 >= (64 << 30) / page_size());
        assert!((after.1 - before.1) * page_size() < MIB, "64 GiB of nothing are resident");
        drop(region);
        assert!(statm().0 <= before.0 + 16, "the drop left addresses behind");
    });
}

#[test]
fn the_memory_of_the_process_falls_with_decommit() {
    passes("the_memory_of_the_process_falls_with_decommit", || {
        let region = Region::reserve(64 * MIB).unwrap();
        let before = statm().1;
        region.populate(0, 64 * MIB).unwrap();
        let full = statm().1;
        assert!((full - before) * page_size() >= 63 * MIB);
        region.decommit(0, 64 * MIB).unwrap();
        assert!((full - statm().1) * page_size() >= 63 * MIB);
    });
}
