//! Which slab a page belongs to: a flat table for each section, read without a lock.
//!
//! An entry is the [`SlabId`] of the slab around the page, or 0. Sections are only ever added; a
//! reader takes the first one from a fixed place and finds others by bisection in the snapshot that
//! the addition of the newest one left, so nothing that a reader may hold is changed.
//!
//! Not here: who may change an entry (the maker and the returner of a slab).

use std::sync::{Arc, OnceLock};

use heapwright_core::AllocResult;

use crate::buddy::SECTIONS_MAX;
use crate::slab::SlabId;
use crate::sync::{AtomicU32, Ordering, halves};

/// Bytes of the page map for each page.
pub const PAGE_MAP_BYTES: usize = size_of::<u32>();

#[derive(Debug)]
struct MapSection {
    start: usize,
    slabs: Box<[AtomicU32]>,
}

impl MapSection {
    /// The entry of the page at `pos` and those behind it.
    #[inline]
    fn entries_from(&self, pos: usize, page_shift: u32) -> Option<&[AtomicU32]> {
        // An address before the section wraps around, far beyond its end.
        self.slabs.get(pos.wrapping_sub(self.start) >> page_shift..)
    }

    #[inline]
    fn entry(&self, pos: usize, page_shift: u32) -> Option<&AtomicU32> {
        self.slabs.get(pos.wrapping_sub(self.start) >> page_shift)
    }
}

/// The sections of one moment, ascending by address.
type Snapshot = Box<[Arc<MapSection>]>;

#[derive(Debug)]
pub(crate) struct PageMap {
    page_shift: u32,
    first: OnceLock<Arc<MapSection>>,
    /// Sections that there are, as far as readers are concerned.
    count: AtomicU32,
    /// `snapshots[n - 1]`: the first `n` sections, ascending by address.
    snapshots: Box<[OnceLock<Snapshot>]>,
}

/// Entries of a new section, before it is published.
#[derive(Debug)]
pub(crate) struct Entries(Box<[AtomicU32]>);

impl PageMap {
    pub(crate) fn new(page_shift: u32) -> Self {
        Self {
            page_shift,
            first: OnceLock::new(),
            count: AtomicU32::new(0),
            snapshots: (0..SECTIONS_MAX).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Memory for the entries of `pages` pages.
    pub(crate) fn prepare(pages: usize) -> AllocResult<Entries> {
        Ok(Entries(halves(pages)?))
    }

    /// Adds a section. One caller at a time, at most [`SECTIONS_MAX`] times.
    pub(crate) fn publish(&self, start: usize, entries: Entries) {
        let section = Arc::new(MapSection { start, slabs: entries.0 });
        let count = self.count.load(Ordering::Relaxed) as usize;
        let mut sections = match count.checked_sub(1) {
            Some(last) => self.snapshots[last].get().map_or_else(Vec::new, |all| all.to_vec()),
            None => Vec::new(),
        };
        let at = sections.partition_point(|other| other.start < start);
        sections.insert(at, Arc::clone(&section));
        let _ = self.first.set(section);
        let _ = self.snapshots[count].set(sections.into_boxed_slice());
        // Truncation cannot happen: at most SECTIONS_MAX.
        self.count.store(count as u32 + 1, Ordering::Release);
    }

    /// A section around `pos` that is not the first one, or that one still.
    #[cold]
    fn section_elsewhere(&self, pos: usize) -> Option<&MapSection> {
        let count = self.count.load(Ordering::Acquire) as usize;
        let sections = self.snapshots.get(count.checked_sub(1)?)?.get()?;
        let at = sections.partition_point(|section| section.start <= pos);
        Some(&sections[at.checked_sub(1)?])
    }

    /// The slab around `pos`.
    #[inline]
    pub(crate) fn slab(&self, pos: usize) -> Option<SlabId> {
        let entry = match self.first.get()?.entry(pos, self.page_shift) {
            Some(entry) => entry,
            None => self.section_elsewhere(pos)?.entry(pos, self.page_shift)?,
        };
        SlabId::from_link(entry.load(Ordering::Acquire))
    }

    /// Writes the entries of the `pages` pages from `base`, which lie in one section.
    pub(crate) fn set(&self, base: usize, pages: usize, id: Option<SlabId>) {
        let first = self.first.get().and_then(|first| first.entries_from(base, self.page_shift));
        let elsewhere = || self.section_elsewhere(base)?.entries_from(base, self.page_shift);
        let Some(entries) = first.or_else(elsewhere) else { return };
        for entry in entries.iter().take(pages) {
            entry.store(SlabId::to_link(id), Ordering::Release);
        }
    }
}
