//! The contract on Unix: `mmap`, `mprotect`, `madvise`, `mincore`, `munmap` by way of `libc`.
//!
//! Linux is what is tested. Elsewhere `MADV_DONTNEED` does not zero (macOS), so decommit maps
//! fresh pages over the range, and the calls that only Linux has are left out.
//!
//! Not here: any bookkeeping. The kernel knows the state of its pages, and asking it to do a thing
//! twice is harmless.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Os;
use crate::{Access, Advice, RegionError};

/// Pages whose residency one `mincore` answers: 64 MiB of 4 KiB pages, a buffer of 16 KiB.
const MINCORE_PAGES: usize = 16 << 10;

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;
const PRIVATE_ANONYMOUS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// The operating system that this process runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixOs;

/// The refusal of `call` with the errno of this thread.
fn last_error(call: &'static str) -> RegionError {
    RegionError::new(call, io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
}

/// `Ok` if a call that answers 0 or -1 answered 0.
fn check(call: &'static str, answer: c_int) -> Result<(), RegionError> {
    if answer == 0 { Ok(()) } else { Err(last_error(call)) }
}

/// Maps `size` bytes of anonymous memory, over `at` if it is given.
///
/// # Safety
///
/// - With `at`, the range was reserved by this `Os`, is not yet released, and nobody holds a
///   reference to its bytes.
unsafe fn map(
    at: Option<NonNull<u8>>,
    size: usize,
    protection: c_int,
) -> Result<NonNull<u8>, RegionError> {
    let (hint, fixed) = match at {
        Some(base) => (base.as_ptr().cast::<c_void>(), libc::MAP_FIXED),
        None => (null_mut(), 0),
    };
    // SAFETY: without MAP_FIXED the kernel picks pages that nobody has; with it the range is the
    // caller's own (this function's contract).
    let base = unsafe { libc::mmap(hint, size, protection, PRIVATE_ANONYMOUS | fixed, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(last_error("mmap"));
    }
    NonNull::new(base.cast()).ok_or_else(|| {
        // A kernel with `vm.mmap_min_addr = 0` might answer 0, which is a reserved value here.
        // SAFETY: the range was mapped above and nobody else has seen it.
        unsafe { libc::munmap(base, size) };
        RegionError::new("mmap", libc::ENOMEM)
    })
}

/// Passes `advice` to the kernel.
///
/// # Safety
///
/// - The range was reserved by this `Os` and is not yet released.
/// - If `advice` discards the bytes, nobody holds a reference to them.
unsafe fn madvise(base: NonNull<u8>, size: usize, advice: c_int) -> Result<(), RegionError> {
    // SAFETY: the range is the caller's own (this function's contract).
    check("madvise", unsafe { libc::madvise(base.as_ptr().cast(), size, advice) })
}

/// Keeps the pages out of forked children (HAZARDS NB21); a kernel that does not know how is left
/// alone.
///
/// # Safety
///
/// - The range was reserved by this `Os` and is not yet released.
unsafe fn keep_from_children(base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: DONTFORK discards nothing; the range is the caller's own.
    match unsafe { madvise(base, size, libc::MADV_DONTFORK) } {
        Err(error) if error.errno != libc::EINVAL => return Err(error),
        _ => {}
    }
    let _ = (base, size);
    Ok(())
}

/// Makes committed pages resident by a write to each that changes nothing.
///
/// # Safety
///
/// - The range was reserved by this `Os`, is not yet released, and is committed.
unsafe fn touch(base: NonNull<u8>, size: usize, page: usize) {
    for offset in (0..size).step_by(page) {
        // SAFETY: `offset` is below `size`, and the range is one mapping.
        let byte = unsafe { base.add(offset) };
        // SAFETY: an `AtomicU8` has no alignment and the page is committed (this function's
        // contract), so the reference is valid while it is used.
        let byte = unsafe { AtomicU8::from_ptr(byte.as_ptr()) };
        // A write that can lose no other thread's byte: of 0 over 0. A byte that is not 0 lies in a page
        // that is resident already. (An OR with 0 would do too, but compilers turn it into a load.)
        let _ = byte.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

// SAFETY: law 1 and 2 are those of mmap and munmap, law 6 that of MAP_FIXED, which replaces the
// pages under the lock that page faults take.
unsafe impl Os for UnixOs {
    fn page_size(&self) -> usize {
        static PAGE_SIZE: OnceLock<usize> = OnceLock::new();
        *PAGE_SIZE.get_or_init(|| {
            // SAFETY: sysconf takes no pointer.
            let answer = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(answer).unwrap_or(0);
            assert!(size.is_power_of_two(), "the page size of the system is no power of two");
            size
        })
    }

    fn reserve(&self, size: usize) -> Result<NonNull<u8>, RegionError> {
        // SAFETY: no address is given.
        let base = unsafe { map(None, size, libc::PROT_NONE) }?;
        // SAFETY: the range was just reserved.
        if let Err(error) = unsafe { keep_from_children(base, size) } {
            // SAFETY: the range was just reserved, and nobody else has seen it.
            unsafe { self.release(base, size) }?;
            return Err(error);
        }
        Ok(base)
    }

    unsafe fn release(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        // SAFETY: the caller passes a range of its own that nobody uses any more.
        check("munmap", unsafe { libc::munmap(base.as_ptr().cast(), size) })
    }

    unsafe fn commit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        // SAFETY: giving access harms no one; the range is the caller's own.
        unsafe { self.protect(base, size, Access::ReadWrite) }
    }

    unsafe fn decommit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: nobody holds a reference to the bytes (the caller's contract).
        return unsafe { madvise(base, size, libc::MADV_DONTNEED) };
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        // SAFETY: the caller's contract is the one of `replace`.
        return unsafe { self.replace(base, size) };
    }

    unsafe fn protect(
        &self,
        base: NonNull<u8>,
        size: usize,
        access: Access,
    ) -> Result<(), RegionError> {
        let protection = match access {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => READ_WRITE,
        };
        // SAFETY: nobody holds a reference that `access` forbids (the caller's contract).
        check("mprotect", unsafe { libc::mprotect(base.as_ptr().cast(), size, protection) })
    }

    unsafe fn advise(
        &self,
        base: NonNull<u8>,
        size: usize,
        advice: Advice,
    ) -> Result<(), RegionError> {
        let advice = match advice {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Advice::HugePages => libc::MADV_HUGEPAGE,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Advice::NoHugePages => libc::MADV_NOHUGEPAGE,
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Advice::HugePages | Advice::NoHugePages => return Ok(()),
            Advice::WillNeed => libc::MADV_WILLNEED,
            // SAFETY: the caller's contract for this advice is the one of `decommit`.
            Advice::DontNeed => return unsafe { self.decommit(base, size) },
        };
        // SAFETY: none of the advices left discards bytes; the range is the caller's own.
        unsafe { madvise(base, size, advice) }
    }

    unsafe fn populate(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the advice changes no byte; the range is the caller's own.
        match unsafe { madvise(base, size, libc::MADV_POPULATE_WRITE) } {
            // A kernel before 5.14.
            Err(error) if error.errno == libc::EINVAL => {}
            answer => return answer,
        }
        // SAFETY: the range is committed (the caller's contract).
        unsafe { touch(base, size, self.page_size()) };
        Ok(())
    }

    unsafe fn replace(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        // SAFETY: the range is the caller's own and nobody holds a reference to its bytes.
        let replaced = unsafe { map(Some(base), size, READ_WRITE) }?;
        debug_assert_eq!(replaced, base);
        // SAFETY: the range was just mapped. A refusal here is no failure of the replacement: the
        // pages are new, and a forked child would see its own zero copies.
        let _ = unsafe { keep_from_children(base, size) };
        Ok(())
    }

    unsafe fn resident_pages(&self, base: NonNull<u8>, size: usize) -> Option<usize> {
        let page = self.page_size();
        let mut state = vec![0_u8; MINCORE_PAGES.min(size / page)];
        let mut resident = 0;
        for offset in (0..size).step_by(MINCORE_PAGES * page) {
            let len = (size - offset).min(MINCORE_PAGES * page);
            // SAFETY: `offset` is below `size`, and the range is one mapping.
            let chunk = unsafe { base.add(offset) };
            // SAFETY: `state` has a byte for each of the `len / page` pages; mincore reads no
            // byte of the range itself.
            let answer = unsafe { libc::mincore(chunk.as_ptr().cast(), len, state.as_mut_ptr()) };
            check("mincore", answer).ok()?;
            resident += state[..len / page].iter().filter(|&&state| state & 1 != 0).count();
        }
        Some(resident)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn touching_makes_resident_and_changes_nothing() {
        let page = UnixOs.page_size();
        let base = UnixOs.reserve(8 * page).unwrap();
        // SAFETY: reserved above, released at the end.
        unsafe { UnixOs.commit(base, 8 * page) }.unwrap();
        // SAFETY: committed above.
        unsafe { base.write(7) };
        // SAFETY: committed above.
        unsafe { touch(base, 4 * page, page) };
        // SAFETY: reserved above.
        assert_eq!(unsafe { UnixOs.resident_pages(base, 8 * page) }, Some(4));
        // SAFETY: committed above.
        assert_eq!(unsafe { base.read() }, 7);
        // SAFETY: nobody else knows the range.
        unsafe { UnixOs.release(base, 8 * page) }.unwrap();
        // SAFETY: the kernel only looks, and refuses what is not mapped.
        assert_eq!(unsafe { UnixOs.resident_pages(base, 8 * page) }, None);
    }
}
