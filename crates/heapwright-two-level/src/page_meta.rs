//! One byte and two links for every page of a section, outside the pages themselves.
//!
//! ```text
//! states: a byte for each page
//!
//! 0x00         inner page of a run
//! 0x01 + n     a free run of 2^n pages begins here
//! 0x40 + n     a live run of n pages begins here; n = 0: a long one
//! 0x60 + n     a slab of n pages begins here; n = 0: a long one
//! 0xc0 + d     inner page too; d is six bits of the length of the long run around it
//!
//! links: two words for each page, used by the heads of free runs only
//!
//! next, previous page on the free list
//! ```
//!
//! A run of 32 pages or more writes its length into the bytes of its first inner pages, lowest digit
//! first. Zero means "inner page", so fresh zeroed memory is right and stays untouched until a run
//! begins there. What begins at a page follows from one byte, so every page can be judged at any time
//! (HAZARDS BT3); and whether a buddy is free is read from a line that tells of 64 pages.
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

const _: () = assert!(SECTION_PAGES_MAX == 1 << (ORDERS - 1));

/// No page: the end of a list.
pub(crate) const NO_PAGE: u32 = u32::MAX;

const _: () = assert!(SECTION_PAGES_MAX < NO_PAGE as usize);

/// Bytes of metadata for each page of a [`BuddyAllocator`](crate::BuddyAllocator).
pub const PAGE_META_BYTES: usize = size_of::<u8>() + size_of::<[u32; 2]>();

const FREE: u8 = 0x01;
const LIVE: u8 = 0x40;
const SLAB: u8 = 0x60;
const DIGIT: u8 = 0xc0;
const LENGTH_MASK: u8 = 0x1f;

/// Bits of a digit, and digits of a length.
const DIGIT_BITS: u32 = 6;
const DIGITS: u32 = 5;

const _: () = assert!(ORDERS < LIVE as usize);
const _: () = assert!(1 << (DIGIT_BITS * DIGITS) == SECTION_PAGES_MAX);
const _: () = assert!(DIGITS < LENGTH_MASK as u32 + 1);

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
    /// A live run of that many pages.
    Live(u32, RunKind),
}

/// The states and links of one section's pages.
#[derive(Debug)]
pub(crate) struct PageTable {
    states: Box<[u8]>,
    links: Box<[[u32; 2]]>,
}

const NEXT: usize = 0;
const PREV: usize = 1;

impl PageTable {
    /// Tables for `pages` pages, all inner.
    pub(crate) fn new(pages: usize) -> AllocResult<Self> {
        Ok(Self { states: zeros(pages)?, links: zeros(pages)? })
    }

    #[inline]
    pub(crate) fn state(&self, page: u32) -> PageState {
        let state = self.states[page as usize];
        let kind = match state & !LENGTH_MASK {
            0 => {
                let order = Order::from(state.wrapping_sub(FREE));
                return if state == 0 { PageState::Inner } else { PageState::Free(order) };
            }
            LIVE => RunKind::Pages,
            SLAB => RunKind::Slab,
            _ => return PageState::Inner,
        };
        match u32::from(state & LENGTH_MASK) {
            0 => PageState::Live(self.long(page), kind),
            pages => PageState::Live(pages, kind),
        }
    }

    /// The length of the long run at `page`. (One of 2^30 pages is written as 0.)
    #[cold]
    fn long(&self, page: u32) -> u32 {
        let digits = &self.states[page as usize + 1..][..DIGITS as usize];
        let pages =
            digits.iter().rev().fold(0, |all, &d| (all << DIGIT_BITS) | u32::from(d & !DIGIT));
        if pages == 0 { 1 << 30 } else { pages }
    }

    #[inline]
    pub(crate) fn set_state(&mut self, page: u32, state: PageState) {
        self.states[page as usize] = match state {
            PageState::Inner => 0,
            // Truncation cannot happen: an order is below 31, a short length below 32.
            PageState::Free(order) => FREE + order as u8,
            PageState::Live(pages, kind) => {
                let tag = if kind == RunKind::Pages { LIVE } else { SLAB };
                if pages > u32::from(LENGTH_MASK) {
                    self.set_long(page, pages);
                    tag
                } else {
                    tag + pages as u8
                }
            }
        };
    }

    #[cold]
    fn set_long(&mut self, page: u32, mut pages: u32) {
        for digit in &mut self.states[page as usize + 1..][..DIGITS as usize] {
            // Truncation is meant: the low bits.
            *digit = DIGIT | pages as u8;
            pages >>= DIGIT_BITS;
        }
    }

    /// Whether a free run of `order` begins at `page`; none does outside of the table.
    #[inline]
    pub(crate) fn is_free(&self, page: usize, order: Order) -> bool {
        // Truncation cannot happen: an order is below 31.
        self.states.get(page).is_some_and(|&state| state == FREE + order as u8)
    }

    /// The next page and the previous one on the free list.
    #[inline]
    pub(crate) fn links(&self, page: u32) -> (u32, u32) {
        let links = &self.links[page as usize];
        (links[NEXT], links[PREV])
    }

    /// Makes `page` the head of a free run, in front of `next` on its list.
    #[inline]
    pub(crate) fn set_free(&mut self, page: u32, order: Order, next: u32) {
        // Truncation cannot happen: an order is below 31.
        self.states[page as usize] = FREE + order as u8;
        self.links[page as usize] = [next, NO_PAGE];
        if next != NO_PAGE {
            self.set_prev(next, page);
        }
    }

    #[inline]
    pub(crate) fn set_next(&mut self, page: u32, next: u32) {
        self.links[page as usize][NEXT] = next;
    }

    #[inline]
    pub(crate) fn set_prev(&mut self, page: u32, prev: u32) {
        self.links[page as usize][PREV] = prev;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_every_state() {
        let mut table = PageTable::new(8).unwrap();
        assert_eq!(table.state(0), PageState::Inner);
        for state in [
            PageState::Free(0),
            PageState::Free(30),
            PageState::Live(1, RunKind::Pages),
            PageState::Live(31, RunKind::Slab),
            PageState::Live(32, RunKind::Pages),
            PageState::Live(1 << 30, RunKind::Pages),
            PageState::Live((1 << 30) - 1, RunKind::Slab),
            PageState::Live(0x1234_5678, RunKind::Pages),
            PageState::Inner,
        ] {
            table.set_state(1, state);
            assert_eq!(table.state(1), state);
            assert_eq!(table.is_free(1, 30), state == PageState::Free(30));
            assert!((2..8).all(|page| table.state(page) == PageState::Inner));
        }
    }
}
