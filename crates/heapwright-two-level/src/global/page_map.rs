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
    bytes: usize,
    slabs: Box<[AtomicU32]>,
}

impl MapSection {
    #[inline]
    fn entry(&self, pos: usize, page_shift: u32) -> Option<&AtomicU32> {
        let offset = pos.wrapping_sub(self.start);
        if offset < self.bytes { self.slabs.get(offset >> page_shift) } else { None }
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
        let bytes = entries.0.len() << self.page_shift;
        let section = Arc::new(MapSection { start, bytes, slabs: entries.0 });
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

    #[inline]
    fn entry(&self, pos: usize) -> Option<&AtomicU32> {
        let first = self.first.get()?;
        first.entry(pos, self.page_shift).or_else(|| self.entry_elsewhere(pos))
    }

    #[cold]
    fn entry_elsewhere(&self, pos: usize) -> Option<&AtomicU32> {
        let count = self.count.load(Ordering::Acquire) as usize;
        let sections = self.snapshots.get(count.checked_sub(1)?)?.get()?;
        let at = sections.partition_point(|section| section.start <= pos);
        sections[at.checked_sub(1)?].entry(pos, self.page_shift)
    }

    /// The slab around `pos`.
    #[inline]
    pub(crate) fn slab(&self, pos: usize) -> Option<SlabId> {
        SlabId::from_link(self.entry(pos)?.load(Ordering::Acquire))
    }

    /// Writes the entries of the `pages` pages from `base`, which lie in one section.
    pub(crate) fn set(&self, base: usize, pages: usize, id: Option<SlabId>) {
        for page in 0..pages {
            if let Some(entry) = self.entry(base + (page << self.page_shift)) {
                entry.store(SlabId::to_link(id), Ordering::Release);
            }
        }
    }
}
