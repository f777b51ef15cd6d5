//! A byte for every page of a section and two words for every 64, outside the pages themselves.
//!
//! ```text
//! states: a byte for each page
//!
//! 0x00         none of these: free with others of its group, or inner page of a run
//! 0x01 + n     a free run of 2^n pages, 64 or more, begins here
//! 0x40 + n     a live run of n pages begins here; n = 0: a long one
//! 0x60 + n     a slab of n pages begins here; n = 0: a long one
//! 0xc0 + d     as 0x00; d is six bits of the length of the long run around it
//!
//! groups: two words for each 64 pages
//!
//! free         bit i: page i is free, and no free run of 64 pages or more has it
//! list         next group · previous group · rank
//! ```
//!
//! A run of 32 pages or more writes its length into the bytes of its first inner pages, lowest digit
//! first. Zero is right for what was never used, so fresh zeroed memory stays untouched until a run
//! begins there. What is live at a page follows from one byte, so every page can be judged at any time
//! (HAZARDS BT3); what is free in a group follows from one word, with no merge to be made.
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

/// No group: the end of a list.
pub(crate) const NO_GROUP: u32 = (1 << LINK_BITS) - 1;

/// Bits of the number of a group, of which a section has at most two more than its pages need.
const LINK_BITS: u32 = 28;

const _: () = assert!(SECTION_PAGES_MAX / 64 + 2 < NO_GROUP as usize);

/// Bytes of metadata for each page of a [`BuddyAllocator`](crate::BuddyAllocator), rounded up.
pub const PAGE_META_BYTES: usize = size_of::<u8>() + size_of::<[u64; 2]>().div_ceil(64);

const FREE: u8 = 0x01;
const LIVE: u8 = 0x40;
const SLAB: u8 = 0x60;
const DIGIT: u8 = 0xc0;
const LENGTH_MASK: u8 = 0x1f;

/// Pages of the longest run that one byte tells of.
pub(crate) const SHORT_MAX: u32 = LENGTH_MASK as u32;

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
    /// A free run of `1 << order` pages.
    Free(Order),
    /// A live run of that many pages.
    Live(u32, RunKind),
}

/// The states of one section's pages and the words of their groups.
#[derive(Debug)]
pub(crate) struct PageTable {
    states: Box<[u8]>,
    groups: Box<[[u64; 2]]>,
}

const WORD: usize = 0;
const LIST: usize = 1;

const PREV_SHIFT: u32 = 32;
const RANK_SHIFT: u32 = 60;
const LINK_MASK: u64 = NO_GROUP as u64;

const _: () = assert!(PREV_SHIFT >= LINK_BITS && RANK_SHIFT >= PREV_SHIFT + LINK_BITS);

impl PageTable {
    /// Tables for `pages` pages in `groups` groups, none free and none live.
    pub(crate) fn new(pages: usize, groups: usize) -> AllocResult<Self> {
        Ok(Self { states: zeros(pages)?, groups: zeros(groups)? })
    }

    /// Length and kind of the live run that begins at `page`.
    #[inline]
    pub(crate) fn live(&self, page: u32) -> Option<(u32, RunKind)> {
        let state = self.states[page as usize];
        let kind = match state & !LENGTH_MASK {
            LIVE => RunKind::Pages,
            SLAB => RunKind::Slab,
            _ => return None,
        };
        match u32::from(state & LENGTH_MASK) {
            0 => Some((self.long(page), kind)),
            pages => Some((pages, kind)),
        }
    }

    /// Clears the live run that begins at `page`, if it is a short one and no slab; returns its length. None
    /// begins outside of the table.
    #[inline]
    pub(crate) fn take_short(&mut self, page: usize) -> Option<u32> {
        let state = self.states.get_mut(page)?;
        let pages = state.wrapping_sub(LIVE);
        (1..=LENGTH_MASK).contains(&pages).then(|| {
            *state = 0;
            pages.into()
        })
    }

    /// The length of the long run at `page`. (One of 2^30 pages is written as 0.)
    #[cold]
    fn long(&self, page: u32) -> u32 {
        let digits = &self.states[page as usize + 1..][..DIGITS as usize];
        let pages =
            digits.iter().rev().fold(0, |all, &d| (all << DIGIT_BITS) | u32::from(d & !DIGIT));
        if pages == 0 { 1 << 30 } else { pages }
    }

    /// Writes that a live run begins at `page`.
    #[inline]
    pub(crate) fn set_live(&mut self, page: u32, pages: u32, kind: RunKind) {
        let tag = if kind == RunKind::Pages { LIVE } else { SLAB };
        self.states[page as usize] = if pages > SHORT_MAX {
            self.set_long(page, pages);
            tag
        } else {
            // Truncation cannot happen: a short length.
            tag + pages as u8
        };
    }

    /// Writes that neither a live run nor a large free one begins at `page`.
    #[inline]
    pub(crate) fn clear(&mut self, page: u32) {
        self.states[page as usize] = 0;
    }

    #[cold]
    fn set_long(&mut self, page: u32, mut pages: u32) {
        for digit in &mut self.states[page as usize + 1..][..DIGITS as usize] {
            // Truncation is meant: the low bits.
            *digit = DIGIT | pages as u8;
            pages >>= DIGIT_BITS;
        }
    }

    /// Writes that a large free run of `order` begins at `page`.
    #[inline]
    pub(crate) fn set_free(&mut self, page: u32, order: Order) {
        // Truncation cannot happen: an order is below 31.
        self.states[page as usize] = FREE + order as u8;
    }

    /// Whether a large free run of `order` begins at `page`; none does outside of the table.
    #[inline]
    pub(crate) fn is_free(&self, page: usize, order: Order) -> bool {
        // Truncation cannot happen: an order is below 31.
        self.states.get(page).is_some_and(|&state| state == FREE + order as u8)
    }

    /// The order of the large free run that begins at `page`.
    pub(crate) fn free_order(&self, page: u32) -> Option<Order> {
        let order = self.states[page as usize].checked_sub(FREE)?;
        (usize::from(order) < ORDERS).then_some(Order::from(order))
    }

    /// The free pages of a group, but those of large free runs.
    #[inline]
    pub(crate) fn free(&self, group: u32) -> u64 {
        self.groups[group as usize][WORD]
    }

    /// Changes the free pages of a group by `change`; returns them and the group's rank.
    #[inline]
    pub(crate) fn change_free(
        &mut self,
        group: u32,
        change: impl FnOnce(u64) -> u64,
    ) -> (u64, u32) {
        let words = &mut self.groups[group as usize];
        words[WORD] = change(words[WORD]);
        (words[WORD], (words[LIST] >> RANK_SHIFT) as u32)
    }

    /// The rank that a group is listed by; 0: it is on no list, or begins a large free run.
    pub(crate) fn rank(&self, group: u32) -> u32 {
        (self.groups[group as usize][LIST] >> RANK_SHIFT) as u32
    }

    /// The next group and the previous one on the list.
    #[inline]
    pub(crate) fn links(&self, group: u32) -> (u32, u32) {
        let list = self.groups[group as usize][LIST];
        // Truncation is meant: the fields.
        ((list & LINK_MASK) as u32, ((list >> PREV_SHIFT) & LINK_MASK) as u32)
    }

    /// Writes that `group` begins the list of `rank`, in front of `next`.
    #[inline]
    pub(crate) fn set_first(&mut self, group: u32, next: u32, rank: u32) {
        let list = (u64::from(rank) << RANK_SHIFT) | (LINK_MASK << PREV_SHIFT) | u64::from(next);
        self.groups[group as usize][LIST] = list;
        if next != NO_GROUP {
            self.set_prev(next, group);
        }
    }

    /// Writes that `group` is on no list.
    #[inline]
    pub(crate) fn set_alone(&mut self, group: u32) {
        self.groups[group as usize][LIST] = 0;
    }

    #[inline]
    pub(crate) fn set_next(&mut self, group: u32, next: u32) {
        let list = &mut self.groups[group as usize][LIST];
        *list = (*list & !LINK_MASK) | u64::from(next);
    }

    #[inline]
    pub(crate) fn set_prev(&mut self, group: u32, prev: u32) {
        let list = &mut self.groups[group as usize][LIST];
        *list = (*list & !(LINK_MASK << PREV_SHIFT)) | (u64::from(prev) << PREV_SHIFT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_every_state() {
        let mut table = PageTable::new(8, 1).unwrap();
        assert_eq!((table.live(1), table.free_order(1)), (None, None));
        for (pages, kind) in [
            (1, RunKind::Pages),
            (31, RunKind::Slab),
            (32, RunKind::Pages),
            (1 << 30, RunKind::Pages),
            ((1 << 30) - 1, RunKind::Slab),
            (0x1234_5678, RunKind::Pages),
        ] {
            table.set_live(1, pages, kind);
            assert_eq!(table.live(1), Some((pages, kind)));
            let short = kind == RunKind::Pages && pages <= SHORT_MAX;
            assert_eq!(table.take_short(1), short.then_some(pages));
            assert_eq!(table.live(1).is_none(), short);
            table.set_live(1, pages, kind);
            assert_eq!(table.free_order(1), None);
            assert!((2..8).all(|page| (table.live(page), table.free_order(page)) == (None, None)));
        }
        for order in [6, 30] {
            table.set_free(1, order);
            assert_eq!((table.live(1), table.free_order(1)), (None, Some(order)));
            assert!(table.is_free(1, order) && !table.is_free(1, 7) && !table.is_free(8, order));
        }
        table.clear(1);
        assert_eq!((table.live(1), table.free_order(1)), (None, None));
    }

    #[test]
    fn keeps_links_and_rank_apart() {
        let mut table = PageTable::new(1, 3).unwrap();
        table.set_first(1, NO_GROUP, 7);
        table.set_first(2, 1, 3);
        assert_eq!((table.links(1), table.rank(1)), ((NO_GROUP, 2), 7));
        assert_eq!((table.links(2), table.rank(2)), ((1, NO_GROUP), 3));
        table.set_next(2, 0);
        table.set_prev(1, NO_GROUP);
        assert_eq!((table.links(1), table.links(2)), ((NO_GROUP, NO_GROUP), (0, NO_GROUP)));
        assert_eq!(table.change_free(2, |free| free | 5), (5, 3));
        table.set_alone(2);
        assert_eq!((table.rank(2), table.free(2)), (0, 5));
    }
}
