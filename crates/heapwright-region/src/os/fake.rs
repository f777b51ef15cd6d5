//! An operating system for tests: it records the state of every page, judges every call by the
//! laws of the [contract](super), and fails when told to.
//!
//! Its pages are real bytes from the global allocator, so that what is built on a region can be
//! run on it, under Miri too. It cannot stop anybody from touching an inaccessible page; it knows
//! the access of each page and tells ([`FakeOs::access_at`]).
//!
//! Clones share one state: keep a clone, hand the other to [`Region::reserve_on`](crate::Region),
//! and look at what is left when the region is gone.
//!
//! Not here: anything that belongs in a build without tests.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Os;
use crate::{Access, Advice, RegionError};

/// A page of the fake: what may be done with it, and whether it counts as resident.
#[derive(Clone, Copy, Debug)]
struct Page {
    access: Access,
    resident: bool,
    /// The key of its allocation.
    owner: usize,
}

/// What the global allocator gave for one `reserve`, until its last page is released or the last
/// clone of the system is gone.
#[derive(Debug)]
struct Allocation {
    base: NonNull<u8>,
    layout: Layout,
    pages: usize,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: `reserve` allocated it with this layout; nobody else frees it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

// SAFETY: the allocation belongs to the state, whose lock orders every use of it.
unsafe impl Send for Allocation {}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<usize, Page>,
    allocations: BTreeMap<usize, Allocation>,
    calls: Vec<&'static str>,
    /// Calls that succeed before the failures begin; how many fail then; with which errno.
    failure: Option<(usize, usize, i32)>,
}

/// An operating system that obeys, records and judges.
#[derive(Clone, Debug)]
pub struct FakeOs {
    page_size: usize,
    /// Pages by which the bases that it hands out miss a round address.
    skew: usize,
    state: Arc<Mutex<State>>,
}

impl FakeOs {
    /// A system with pages of `page_size` bytes whose reservations begin `skew` pages after a
    /// multiple of 1 MiB, so that placement has something to do.
    ///
    /// # Panics
    ///
    /// If `page_size` is no power of two.
    pub fn new(page_size: usize, skew: usize) -> Self {
        assert!(page_size.is_power_of_two());
        Self { page_size, skew, state: Arc::default() }
    }

    /// Lets `passing` calls succeed from now, then fails `failing` calls with `errno`.
    pub fn fail(&self, passing: usize, failing: usize, errno: i32) {
        self.state().failure = Some((passing, failing, errno));
    }

    /// The calls so far, by the names of the methods; those that failed too.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().calls.clone()
    }

    /// How many pages are reserved and not yet released.
    pub fn mapped_pages(&self) -> usize {
        self.state().pages.len()
    }

    /// What may be done with the page at `address`; `None` if it is not mapped.
    pub fn access_at(&self, address: usize) -> Option<Access> {
        let page = address & !(self.page_size - 1);
        self.state().pages.get(&page).map(|page| page.access)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A law that was broken poisons the lock by its panic; that panic is the test's result.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the call, and fails it if its turn has come.
    fn begin(&self, call: &'static str) -> Result<MutexGuard<'_, State>, RegionError> {
        let mut state = self.state();
        state.calls.push(call);
        match &mut state.failure {
            None | Some((_, 0, _)) => {}
            Some((passing @ 1.., _, _)) => *passing -= 1,
            Some((0, failing, errno)) => {
                *failing -= 1;
                return Err(RegionError::new(call, *errno));
            }
        }
        Ok(state)
    }

    /// Judges a range by the contract and answers the addresses of its pages.
    fn judge(
        &self,
        state: &State,
        call: &str,
        base: NonNull<u8>,
        size: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let start = base.addr().get();
        assert_eq!(start % self.page_size, 0, "{call}: the base is not at a page");
        assert_eq!(size % self.page_size, 0, "{call}: the size is not whole pages");
        assert_ne!(size, 0, "{call}: the range is empty");
        let pages = (start..start + size).step_by(self.page_size);
        for page in pages.clone() {
            assert!(state.pages.contains_key(&page), "{call}: a page is not mapped");
        }
        pages
    }

    /// Zeroes pages and sets their state.
    fn renew(&self, state: &mut State, base: NonNull<u8>, size: usize, access: Option<Access>) {
        // SAFETY: `judge` proved that every page is mapped, so the bytes are part of an allocation
        // of the state; nobody holds a reference to them (the contract of the methods that call).
        unsafe { base.write_bytes(0, size) };
        for page in (base.addr().get()..base.addr().get() + size).step_by(self.page_size) {
            if let Some(page) = state.pages.get_mut(&page) {
                page.resident = false;
                page.access = access.unwrap_or(page.access);
            }
        }
    }
}

// SAFETY: law 1: the pages come from the global allocator, which gives them to no one else until
// the last one is released (law 2). Law 6: the bytes are always there, they are only zeroed.
unsafe impl Os for FakeOs {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn reserve(&self, size: usize) -> Result<NonNull<u8>, RegionError> {
        let mut state = self.begin("reserve")?;
        assert_eq!(size % self.page_size, 0, "reserve: the size is not whole pages");
        assert_ne!(size, 0, "reserve: the range is empty");
        let skew = self.skew * self.page_size;
        let Ok(layout) = Layout::from_size_align(size + skew, (1 << 20).max(self.page_size)) else {
            return Err(RegionError::new("reserve", libc::ENOMEM));
        };
        // SAFETY: `size` is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: `skew` is below the size of the allocation.
        let base = unsafe { start.add(skew) };
        let owner = base.addr().get();
        let pages = size / self.page_size;
        state.allocations.insert(owner, Allocation { base: start, layout, pages });
        for page in (owner..owner + size).step_by(self.page_size) {
            let fresh = Page { access: Access::None, resident: false, owner };
            assert!(state.pages.insert(page, fresh).is_none(), "reserve: a page has two owners");
        }
        Ok(base)
    }

    unsafe fn release(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let mut state = self.begin("release")?;
        for address in self.judge(&state, "release", base, size) {
            let Some(page) = state.pages.remove(&address) else { continue };
            let Some(allocation) = state.allocations.get_mut(&page.owner) else { continue };
            allocation.pages -= 1;
            if allocation.pages == 0 {
                state.allocations.remove(&page.owner);
            }
        }
        Ok(())
    }

    unsafe fn commit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let mut state = self.begin("commit")?;
        for page in self.judge(&state, "commit", base, size) {
            if let Some(page) = state.pages.get_mut(&page) {
                page.access = Access::ReadWrite;
            }
        }
        Ok(())
    }

    unsafe fn decommit(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let mut state = self.begin("decommit")?;
        drop(self.judge(&state, "decommit", base, size));
        self.renew(&mut state, base, size, None);
        Ok(())
    }

    unsafe fn protect(
        &self,
        base: NonNull<u8>,
        size: usize,
        access: Access,
    ) -> Result<(), RegionError> {
        let mut state = self.begin("protect")?;
        for page in self.judge(&state, "protect", base, size) {
            if let Some(page) = state.pages.get_mut(&page) {
                page.access = access;
            }
        }
        Ok(())
    }

    unsafe fn advise(
        &self,
        base: NonNull<u8>,
        size: usize,
        advice: Advice,
    ) -> Result<(), RegionError> {
        let mut state = self.begin("advise")?;
        drop(self.judge(&state, "advise", base, size));
        if advice == Advice::DontNeed {
            self.renew(&mut state, base, size, None);
        }
        Ok(())
    }

    unsafe fn populate(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let mut state = self.begin("populate")?;
        for page in self.judge(&state, "populate", base, size) {
            if let Some(page) = state.pages.get_mut(&page) {
                assert_eq!(page.access, Access::ReadWrite, "populate: a page is not committed");
                page.resident = true;
            }
        }
        Ok(())
    }

    unsafe fn replace(&self, base: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let mut state = self.begin("replace")?;
        drop(self.judge(&state, "replace", base, size));
        self.renew(&mut state, base, size, Some(Access::ReadWrite));
        Ok(())
    }

    unsafe fn resident_pages(&self, base: NonNull<u8>, size: usize) -> Option<usize> {
        let state = self.begin("resident_pages").ok()?;
        let resident = |page: &usize| state.pages.get(page).is_some_and(|page| page.resident);
        Some(self.judge(&state, "resident_pages", base, size).filter(resident).count())
    }
}
