//! One entry of 12 bytes for every page of a section, outside the pages themselves.
//!
//! ```text
//! word 0  next page on the free list     (heads of free runs only)
//! word 1  previous page on the free list (heads of free runs only)
//! word 2  state: 0 = inner page · free head: order · live head: pages and kind
//! ```
//!
//! Zero means "inner page", so fresh zeroed memory is right and stays untouched until a run begins
//! there. A state is decoded from one word, so every page can be judged at any time (HAZARDS BT3).
//!
//! Not here: what makes a run free or live; see `buddy`.

use heapwright_core::AllocResult;

use crate::sync::zeros;

/// log2 of the pages of a buddy.
pub(crate) type Order = u32;

/// Orders that there are: 0 … 30.
pub(crate) const ORDERS: usize = 31;

/// Pages that one section can have.
pub const SECTION_PAGES_MAX: usize = 1 << 30;

/// No page: the end of a list.
pub(crate) const NO_PAGE: u32 = u32::MAX;

const _: () = assert!(SECTION_PAGES_MAX == 1 << (ORDERS - 1));
const _: () = assert!(SECTION_PAGES_MAX < NO_PAGE as usize);

/// Bytes of metadata for each page of a [`BuddyAllocator`](crate::BuddyAllocator).
pub const PAGE_META_BYTES: usize = 12;

const TAG_FREE: u32 = 1 << 30;
const TAG_LIVE: u32 = 2 << 30;
const TAG_SLAB: u32 = 3 << 30;
const TAG_MASK: u32 = 3 << 30;

/// What a live run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// Pages that a caller asked for.
    Pages,
    /// The pages of a slab; no caller frees them as pages.
    Slab,
}

/// What begins at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageState {
    /// Nothing: the page lies inside a run.
    Inner,
    /// A free run of `1 << order` pages.
    Free(Order),
    /// A live run of that many pages. (A run of 2^30 pages is stored as 0.)
    Live(u32, RunKind),
}

/// The entries of one section.
#[derive(Debug)]
pub(crate) struct PageTable {
    entries: Box<[[u32; 3]]>,
}

const NEXT: usize = 0;
const PREV: usize = 1;
const STATE: usize = 2;

impl PageTable {
    /// Entries for `pages` pages, all inner.
    pub(crate) fn new(pages: usize) -> AllocResult<Self> {
        const _: () = assert!(size_of::<[u32; 3]>() == PAGE_META_BYTES);
        Ok(Self { entries: zeros(pages)? })
    }

    #[inline]
    pub(crate) fn state(&self, page: u32) -> PageState {
        let word = self.entries[page as usize][STATE];
        let low = word & !TAG_MASK;
        match word & TAG_MASK {
            TAG_FREE => PageState::Free(low),
            TAG_LIVE => PageState::Live(decode_pages(low), RunKind::Pages),
            TAG_SLAB => PageState::Live(decode_pages(low), RunKind::Slab),
            _ => PageState::Inner,
        }
    }

    #[inline]
    pub(crate) fn set_state(&mut self, page: u32, state: PageState) {
        self.entries[page as usize][STATE] = match state {
            PageState::Inner => 0,
            PageState::Free(order) => TAG_FREE | order,
            PageState::Live(pages, RunKind::Pages) => TAG_LIVE | (pages & !TAG_MASK),
            PageState::Live(pages, RunKind::Slab) => TAG_SLAB | (pages & !TAG_MASK),
        };
    }

    /// Whether a free run of `order` begins at `page`; none does outside of the table.
    #[inline]
    pub(crate) fn is_free(&self, page: usize, order: Order) -> bool {
        self.entries.get(page).is_some_and(|entry| entry[STATE] == TAG_FREE | order)
    }

    /// The next page and the previous one on the free list.
    #[inline]
    pub(crate) fn links(&self, page: u32) -> (u32, u32) {
        let entry = &self.entries[page as usize];
        (entry[NEXT], entry[PREV])
    }

    /// Makes `page` the head of a free run, in front of `next` on its list.
    #[inline]
    pub(crate) fn set_free(&mut self, page: u32, order: Order, next: u32) {
        self.entries[page as usize] = [next, NO_PAGE, TAG_FREE | order];
        if next != NO_PAGE {
            self.entries[next as usize][PREV] = page;
        }
    }

    #[inline]
    pub(crate) fn set_next(&mut self, page: u32, next: u32) {
        self.entries[page as usize][NEXT] = next;
    }

    #[inline]
    pub(crate) fn set_prev(&mut self, page: u32, prev: u32) {
        self.entries[page as usize][PREV] = prev;
    }
}

/// 30 bits hold 1 … 2^30, since no run has 0 pages.
const fn decode_pages(low: u32) -> u32 {
    if low == 0 { 1 << 30 } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_every_state() {
        let mut table = PageTable::new(2).unwrap();
        assert_eq!(table.state(0), PageState::Inner);
        for state in [
            PageState::Free(0),
            PageState::Free(30),
            PageState::Live(1, RunKind::Pages),
            PageState::Live(1 << 30, RunKind::Pages),
            PageState::Live((1 << 30) - 1, RunKind::Slab),
            PageState::Inner,
        ] {
            table.set_state(1, state);
            assert_eq!(table.state(1), state);
            assert_eq!(table.is_free(1, 30), state == PageState::Free(30));
        }
    }
}
