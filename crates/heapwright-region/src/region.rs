//! One reservation and its states.
//!
//! ```text
//!     mapping                                                            mapping + size + 2 pages
//!        ├── guard page ──┬────────── base .. base + size ─────────┬── guard page ──┤
//!            never        │ reserved, committed or decommitted,    │    never
//!            accessible   │ page by page                           │    accessible
//! ```
//!
//! `reserve_placed` asks the system for more than it needs, keeps the part whose base has the
//! residue asked for, and gives the rest back. Pages are the system's; whoever manages smaller
//! units may pass any range: what gives access is rounded outward to whole pages, what takes
//! access or bytes away is rounded inward, so no byte outside the range named is ever lost.
//!
//! Invariants:
//! 1. `base - page` to `base + size + page` is mapped from construction to drop.
//! 2. The first and the last page of that are never accessible.
//! 3. `base` and `size` are multiples of the page, `size` is not 0, `base` is at least a page.
//!
//! Not here: the state of each page (the system has it), and any access to the bytes.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use heapwright_core::{align_down, align_up};

use crate::RegionError;
use crate::os::{Os, SystemOs};

/// Where the base of a region has to lie: `base ≡ residue (mod modulus)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// In bytes; a power of two, from the page size.
    pub modulus: usize,
    /// In bytes; a multiple of the page size. What is above the modulus is ignored.
    pub residue: usize,
}

/// What may be done with the bytes of a page. There is no way to execute them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: an access is a fatal signal.
    None,
    /// Loads; a store is a fatal signal.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// What pages are used for. A hint, but for [`Advice::DontNeed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Large pages are worth their memory here.
    HugePages,
    /// Only small pages, so that decommit gives back what it names.
    NoHugePages,
    /// The range is about to be used.
    WillNeed,
    /// The bytes are not needed: they read zero from now on, as after [`Region::decommit`].
    DontNeed,
}

/// A range of address space with an inaccessible page on either side, released by its drop.
///
/// Every method takes `&self` and may be called from any thread. None of them dereferences the
/// range, so none of them can fault; a raw pointer into the range that somebody else uses is that
/// somebody's `unsafe` block, and must know what the region's owner decommits and protects.
pub struct Region<O: Os = SystemOs> {
    os: O,
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: `base` is an address, never dereferenced here; the system calls may come from any
// thread, and only the drop, which has the region to itself, unmaps.
unsafe impl<O: Os> Send for Region<O> {}
// SAFETY: as above; the system orders concurrent calls on one range.
unsafe impl<O: Os> Sync for Region<O> {}

impl Region {
    /// Reserves `size` bytes, rounded up to whole pages, wherever the system likes.
    ///
    /// # Time Complexity
    ///
    /// A few system calls, whatever the size: no memory is charged until it is touched.
    ///
    /// # Errors
    ///
    /// EINVAL for a size of 0, else what the system answered; nothing is mapped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use heapwright_region::Region;
    ///
    /// let region = Region::reserve(1 << 30)?;
    /// region.commit(0, 4096)?;
    /// // SAFETY: the first page is committed, and nobody else knows its address.
    /// unsafe { region.base().write(7) };
    /// # Ok::<(), heapwright_region::RegionError>(())
    /// ```
    pub fn reserve(size: usize) -> Result<Self, RegionError> {
        Self::reserve_on(SystemOs, size, None)
    }

    /// Reserves `size` bytes, rounded up to whole pages, with a base of the residue asked for.
    ///
    /// # Time Complexity
    ///
    /// A few system calls. For their duration `modulus` more bytes of address space are taken.
    ///
    /// # Errors
    ///
    /// EINVAL for a size of 0, a modulus that is no power of two or below the page, or a residue
    /// that is no multiple of the page; else what the system answered. Nothing is mapped then.
    pub fn reserve_placed(size: usize, placement: Placement) -> Result<Self, RegionError> {
        Self::reserve_on(SystemOs, size, Some(placement))
    }
}

impl<O: Os> Region<O> {
    /// Reserves on the system given: what the other two constructors do on the real one.
    ///
    /// # Errors
    ///
    /// As [`Region::reserve_placed`].
    pub fn reserve_on(
        os: O,
        size: usize,
        placement: Option<Placement>,
    ) -> Result<Self, RegionError> {
        let page = os.page_size();
        let Placement { modulus, residue } =
            placement.unwrap_or(Placement { modulus: page, residue: 0 });
        if size == 0 || !modulus.is_power_of_two() || modulus < page || residue % page != 0 {
            return Err(RegionError::invalid("reserve"));
        }
        let residue = residue & (modulus - 1);
        let total = align_up(size, page).and_then(|size| {
            // One guard page on either side, and up to `modulus - page` bytes to reach the residue.
            size.checked_add(page)?.checked_add(modulus)
        });
        let Some(total) = total.filter(|&total| isize::try_from(total).is_ok()) else {
            return Err(RegionError::out_of_memory("reserve"));
        };
        let size = align_down(size + page - 1, page);

        let mapping = os.reserve(total)?;
        let first = mapping.addr().get() + page;
        // The distance from the first candidate to the next address of this residue.
        let skip = residue.wrapping_sub(first) & (modulus - 1);
        debug_assert!(skip <= modulus - page);
        debug_assert_eq!(skip % page, 0);
        // SAFETY: skip + page ≤ modulus < total, so this stays inside the mapping.
        let base = unsafe { mapping.add(page + skip) };
        let tail_offset = skip + size + 2 * page;
        let tail = total - tail_offset;
        // SAFETY: tail_offset ≤ total by the sum above; one past the end at most.
        let tail_base = unsafe { mapping.add(tail_offset) };

        if skip != 0 {
            // SAFETY: the head was reserved above, lies below the guard page, and nobody knows it.
            if let Err(error) = unsafe { os.release(mapping, skip) } {
                // SAFETY: reserved above and shown to nobody.
                unsafe { release_or_empty(&os, mapping, total) };
                return Err(error);
            }
        }
        let region = Self { os, base, size };
        if tail != 0 {
            // SAFETY: the tail was reserved above, lies past the guard page, and nobody knows it.
            if let Err(error) = unsafe { region.os.release(tail_base, tail) } {
                // SAFETY: reserved above, no part of `region`, and shown to nobody.
                unsafe { release_or_empty(&region.os, tail_base, tail) };
                return Err(error);
            }
        }
        Ok(region)
    }

    /// The first byte. Never address 0.
    #[inline]
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// In bytes: a multiple of the page, the guard pages not counted.
    #[inline]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Makes the pages that hold `len` bytes from `offset` readable and writable.
    ///
    /// Fresh and decommitted pages read zero, committed ones keep their bytes. Nothing is touched.
    ///
    /// # Time Complexity
    ///
    /// One system call; none for a `len` of 0.
    ///
    /// # Errors
    ///
    /// EINVAL for a range outside the region, else what the system answered.
    pub fn commit(&self, offset: usize, len: usize) -> Result<(), RegionError> {
        let pages = self.outward("commit", offset, len)?;
        // SAFETY: `outward` stays inside the region, which only `drop` releases.
        self.call(pages, |os, base, size| unsafe { os.commit(base, size) })
    }

    /// Gives the memory of the whole pages inside the range back; they read zero from now on and
    /// stay accessible if they were.
    ///
    /// # Time Complexity
    ///
    /// One system call, in time that grows with the pages that were touched.
    ///
    /// # Errors
    ///
    /// EINVAL for a range outside the region, else what the system answered.
    pub fn decommit(&self, offset: usize, len: usize) -> Result<(), RegionError> {
        let pages = self.inward("decommit", offset, len)?;
        // SAFETY: `inward` stays inside the region, which only `drop` releases; the region hands
        // out no references to its bytes.
        self.call(pages, |os, base, size| unsafe { os.decommit(base, size) })
    }

    /// Changes what may be done with the range: rounded outward to whole pages when it is
    /// [`Access::ReadWrite`], inward otherwise.
    ///
    /// # Time Complexity
    ///
    /// One system call. Each change of access inside a region costs the process a mapping, of
    /// which Linux allows 65,530.
    ///
    /// # Errors
    ///
    /// EINVAL for a range outside the region, else what the system answered.
    pub fn protect(&self, offset: usize, len: usize, access: Access) -> Result<(), RegionError> {
        let pages = match access {
            Access::ReadWrite => self.outward("protect", offset, len)?,
            Access::None | Access::Read => self.inward("protect", offset, len)?,
        };
        // SAFETY: both stay inside the region, which only `drop` releases; the region hands out no
        // references to its bytes.
        self.call(pages, |os, base, size| unsafe { os.protect(base, size, access) })
    }

    /// Tells the system what the whole pages inside the range are for.
    ///
    /// # Time Complexity
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// EINVAL for a range outside the region or an advice that this kernel was built without,
    /// else what the system answered.
    pub fn advise(&self, offset: usize, len: usize, advice: Advice) -> Result<(), RegionError> {
        let pages = self.inward("advise", offset, len)?;
        // SAFETY: `inward` stays inside the region, which only `drop` releases; the region hands
        // out no references to its bytes.
        self.call(pages, |os, base, size| unsafe { os.advise(base, size, advice) })
    }

    /// Commits the pages that hold the range and makes them resident now, so that a lack of memory
    /// shows here and not at a later access.
    ///
    /// # Time Complexity
    ///
    /// `O(len)`: every page is zeroed by the system.
    ///
    /// # Errors
    ///
    /// EINVAL for a range outside the region, else what the system answered. Under overcommit in a
    /// container the answer may be a SIGKILL from the kernel's OOM killer instead.
    pub fn populate(&self, offset: usize, len: usize) -> Result<(), RegionError> {
        let pages = self.outward("populate", offset, len)?;
        self.call(pages, |os, base, size| {
            // SAFETY: `outward` stays inside the region, which only `drop` releases.
            unsafe { os.commit(base, size) }?;
            // SAFETY: as above, and the range was just committed.
            unsafe { os.populate(base, size) }
        })
    }

    /// Replaces the whole range by fresh zero pages, readable and writable, at once for every
    /// thread: what `destroy()` of a heap does while views of it are still alive somewhere.
    ///
    /// The addresses stay reserved and accessible; whatever anybody writes there afterwards is
    /// ordinary memory, released with the region.
    ///
    /// # Time Complexity
    ///
    /// One or two system calls, in time that grows with the pages that were touched.
    ///
    /// # Errors
    ///
    /// What the system answered; the old bytes are still there then.
    pub fn zero_over(&self) -> Result<(), RegionError> {
        // SAFETY: the range is the region's own, which only `drop` releases; the region hands out
        // no references to its bytes.
        self.call(0..self.size, |os, base, size| unsafe { os.replace(base, size) })
    }

    /// The bytes of resident pages: see [`resident_bytes`].
    pub(crate) fn resident_bytes(&self) -> Option<usize> {
        // SAFETY: the range is the region's own, which only `drop` releases.
        let pages = unsafe { self.os.resident_pages(self.base, self.size) }?;
        Some(pages * self.os.page_size())
    }

    /// The range as offsets, if it lies inside the region.
    fn range(
        &self,
        call: &'static str,
        offset: usize,
        len: usize,
    ) -> Result<Range<usize>, RegionError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(offset..end),
            _ => Err(RegionError::invalid(call)),
        }
    }

    /// The pages that hold a byte of the range. `size` is a multiple of the page, so they lie
    /// inside the region.
    fn outward(
        &self,
        call: &'static str,
        offset: usize,
        len: usize,
    ) -> Result<Range<usize>, RegionError> {
        let range = self.range(call, offset, len)?;
        if range.is_empty() {
            return Ok(range);
        }
        let page = self.os.page_size();
        Ok(align_down(range.start, page)..align_down(range.end + page - 1, page))
    }

    /// The pages that lie wholly inside the range; none of them if it holds no whole page.
    fn inward(
        &self,
        call: &'static str,
        offset: usize,
        len: usize,
    ) -> Result<Range<usize>, RegionError> {
        let range = self.range(call, offset, len)?;
        let page = self.os.page_size();
        // start ≤ size, which is at most isize::MAX.
        Ok(align_down(range.start + page - 1, page)..align_down(range.end, page))
    }

    /// Makes the system call for `pages`, unless there are none.
    fn call(
        &self,
        pages: Range<usize>,
        call: impl FnOnce(&O, NonNull<u8>, usize) -> Result<(), RegionError>,
    ) -> Result<(), RegionError> {
        if pages.is_empty() {
            return Ok(());
        }
        debug_assert!(pages.end <= self.size);
        // SAFETY: `pages` starts inside the region, which is one mapping.
        let base = unsafe { self.base.add(pages.start) };
        call(&self.os, base, pages.end - pages.start)
    }
}

/// Releases a range that nobody uses. A system at its limit of mappings may refuse even that; the
/// memory is given back all the same then, and only the addresses are lost.
///
/// # Safety
///
/// - The range was reserved by `os`, is not yet released, and nobody uses it, now or later.
unsafe fn release_or_empty<O: Os>(os: &O, base: NonNull<u8>, size: usize) {
    // SAFETY: this function's contract is the one of `release`.
    if unsafe { os.release(base, size) }.is_err() {
        // SAFETY: as above. Nothing is left to try if this fails too.
        let _ = unsafe { os.decommit(base, size) };
    }
}

impl<O: Os> Drop for Region<O> {
    fn drop(&mut self) {
        let page = self.os.page_size();
        // SAFETY: invariant 1: the guard page below the base is mapped.
        let mapping = unsafe { self.base.sub(page) };
        // SAFETY: invariant 1 gives the range; who dereferences the base keeps the region alive
        // meanwhile (the contract of its own unsafe block).
        unsafe { release_or_empty(&self.os, mapping, self.size + 2 * page) };
    }
}

impl<O: Os> fmt::Debug for Region<O> {
    /// Shows the size only: addresses are no one's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The page size of the system in bytes: 4, 16 or 64 KiB.
///
/// # Time Complexity
///
/// Constant; the system is asked once.
#[inline]
pub fn page_size() -> usize {
    SystemOs.page_size()
}

/// The bytes of `region` that are in memory now, by whole pages; `None` where the system does not
/// tell. For tests and statistics.
///
/// # Time Complexity
///
/// `O(size)`, about 10 ns for each resident page.
pub fn resident_bytes<O: Os>(region: &Region<O>) -> Option<usize> {
    region.resident_bytes()
}
