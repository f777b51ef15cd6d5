//! The contract with the operating system: a trait, and the laws that its implementations keep.
//!
//! A *range* below is a base address and a size, both multiples of [`Os::page_size`], the size
//! not 0, every page of it handed out by [`Os::reserve`] and not yet released. Calls with anything
//! else break the contract on the caller's side; the fake of the tests panics on them.
//!
//! Laws of every implementation:
//! 1. `reserve` hands out fresh, inaccessible pages that no one else has, never at address 0,
//!    and charges no memory for them until they are committed and touched.
//! 2. `release` takes any part of what was reserved; the pages around it stay as they are.
//! 3. `commit` makes pages readable and writable. Pages that were never written read zero; pages
//!    that hold bytes keep them.
//! 4. After `decommit` pages read zero and count no resident memory. Pages that were accessible
//!    stay accessible.
//! 5. `protect` changes what may be done with pages, never their bytes.
//! 6. `replace` puts fresh zero pages, readable and writable, over a range. No other thread can
//!    see a moment in which the range is absent.
//! 7. `populate` makes committed pages resident without changing their bytes.
//! 8. A call that fails with out-of-memory or a bad argument has changed nothing that a caller
//!    can see, or has done a prefix of the work that is harmless to do again.
//! 9. No page is ever executable, and a forked child inherits none of them where the system can
//!    arrange it.
//!
//! Implementations: `unix.rs`, the fake in `fake.rs`. Windows goes beside them: `reserve` is
//! `VirtualAlloc(MEM_RESERVE)`, but `release` frees a whole reservation only (law 2 needs
//! placeholders by `VirtualAlloc2`). A file-backed region adds `map_file`, `flush` and `lock` here.

use std::fmt::Debug;
use std::ptr::NonNull;

use crate::{Access, Advice, RegionError};

#[cfg(any(test, feature = "fake-os"))]
pub mod fake;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::UnixOs as SystemOs;

/// The system calls that a [`Region`](crate::Region) is made of. The laws are in the
/// [module documentation](self).
///
/// # Safety
///
/// An implementation keeps laws 1, 2 and 6: `Region` hands the addresses to others, who write
/// through them.
pub unsafe trait Os: Clone + Debug + Send + Sync + 'static {
    /// The size of a page in bytes: a power of two, the same at every call.
    fn page_size(&self) -> usize;

    /// Reserves `size` bytes of inaccessible address space (law 1).
    ///
    /// # Errors
    ///
    /// What the system answered; nothing is mapped then.
    fn reserve(&self, size: usize) -> Result<NonNull<u8>, RegionError>;

    /// Gives pages back for good (law 2).
    ///
    /// # Errors
    ///
    /// What the system answered; the pages are still mapped then.
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    /// - Nobody reads or writes it, now or later.
    unsafe fn release(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError>;

    /// Makes pages readable and writable (law 3).
    ///
    /// # Errors
    ///
    /// What the system answered (law 8).
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    unsafe fn commit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError>;

    /// Gives the memory of pages back and keeps their addresses (law 4).
    ///
    /// # Errors
    ///
    /// What the system answered (law 8).
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    /// - Nobody holds a reference to its bytes, which become zero.
    unsafe fn decommit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError>;

    /// Changes what may be done with pages (law 5).
    ///
    /// # Errors
    ///
    /// What the system answered (law 8).
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    /// - Nobody holds a reference that `access` would forbid to use.
    unsafe fn protect(
        &self,
        base: NonNull<u8>,
        size: usize,
        access: Access,
    ) -> Result<(), RegionError>;

    /// Tells the system what the pages are for. [`Advice::DontNeed`] zeroes them.
    ///
    /// # Errors
    ///
    /// What the system answered; a system that lacks the advice may take it as given.
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    /// - With [`Advice::DontNeed`], nobody holds a reference to its bytes.
    unsafe fn advise(
        &self,
        base: NonNull<u8>,
        size: usize,
        advice: Advice,
    ) -> Result<(), RegionError>;

    /// Makes committed pages resident (law 7).
    ///
    /// # Errors
    ///
    /// What the system answered; some pages may be resident then.
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os`, is not yet released, and is committed.
    unsafe fn populate(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError>;

    /// Puts fresh zero pages, readable and writable, over the range (law 6).
    ///
    /// # Errors
    ///
    /// What the system answered; the old pages are still there then.
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    /// - Nobody holds a reference to its bytes, which become zero.
    unsafe fn replace(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError>;

    /// How many pages of the range are resident; `None` where the system does not tell.
    ///
    /// # Safety
    ///
    /// - The range was reserved by this `Os` and is not yet released.
    unsafe fn resident_pages(&self, base: NonNull<u8>, size: usize) -> Option<usize>;
}
