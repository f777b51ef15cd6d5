//! One section of pages: its free lists by zone and order, split and merge.
//!
//! Buddies are told by the absolute page number, so every alignment is absolute. A section is cut in
//! two zones where its physical addresses pass 4 GiB; a free run lies in one zone, so a low run is
//! found without a search. Zones are lists only: a live run may span both.
//!
//! A request that no buddy holds may still fit a stretch of adjacent ones (a section is rarely as
//! aligned as it is large). The stretches around the largest buddies are looked at, if those are few.
//!
//! Invariants (`check` tests them):
//! 1. No two buddies of one order and zone are both free.
//! 2. A run is on the list of its zone and order iff its first page is `Free`, and then exactly once.
//! 3. `free_pages` is the sum over all lists; runs, free and live, cover the section without a gap.
//!
//! Not here: which section serves a request, and what a caller may do; see `mod.rs`.

use core::ops::Range;

use heapwright_core::AllocResult;

use crate::page_meta::{NO_PAGE, ORDERS, Order, PageState, PageTable, RunKind};

/// Which physical addresses a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Wholly below 4 GiB.
    Low = 0,
    /// The rest.
    High = 1,
}

/// Stretches of several buddies that are looked at for one request.
const SPANS_MAX: u32 = 16;

/// Free runs of one order.
#[derive(Clone, Copy, Debug)]
struct FreeList {
    head: u32,
    count: u32,
}

/// Free lists of one zone.
#[derive(Debug)]
struct FreeLists {
    orders: [FreeList; ORDERS],
    /// Bit `order` is set iff that list has a page.
    nonempty: u32,
}

impl FreeLists {
    const EMPTY: Self =
        Self { orders: [FreeList { head: NO_PAGE, count: 0 }; ORDERS], nonempty: 0 };
}

/// One contiguous range of pages. Pages are counted from its start.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) start: usize,
    pub(crate) pages: u32,
    pub(crate) phys_start: usize,
    /// Absolute number of the first page.
    first: usize,
    /// Pages before this one lie wholly below 4 GiB of physical address.
    low_pages: u32,
    table: PageTable,
    zones: [FreeLists; 2],
    pub(crate) free_pages: u32,
}

impl Section {
    /// A section that is all free.
    pub(crate) fn new(
        start: usize,
        pages: u32,
        phys_start: usize,
        page_shift: u32,
    ) -> AllocResult<Self> {
        const LOW_END: u64 = 1 << 32;
        let low = LOW_END.saturating_sub(phys_start as u64) >> page_shift;
        let mut section = Self {
            start,
            pages,
            phys_start,
            first: start >> page_shift,
            low_pages: u32::try_from(low).unwrap_or(u32::MAX).min(pages),
            table: PageTable::new(pages as usize)?,
            zones: [FreeLists::EMPTY, FreeLists::EMPTY],
            free_pages: pages,
        };
        section.insert_range(0..pages);
        Ok(section)
    }

    #[inline]
    fn zone_of(&self, page: u32) -> Zone {
        if page < self.low_pages { Zone::Low } else { Zone::High }
    }

    /// What begins at `page`.
    #[inline]
    pub(crate) fn state(&self, page: u32) -> PageState {
        self.table.state(page)
    }

    #[inline]
    fn link(&mut self, page: u32, order: Order) {
        let zone = self.zone_of(page);
        self.link_in(zone, page, order);
    }

    #[inline]
    fn link_in(&mut self, zone: Zone, page: u32, order: Order) {
        debug_assert_eq!(self.zone_of(page), zone);
        let lists = &mut self.zones[zone as usize];
        lists.nonempty |= 1 << order;
        let list = &mut lists.orders[order as usize];
        list.count += 1;
        let next = core::mem::replace(&mut list.head, page);
        self.table.set_free(page, order, next);
    }

    /// Takes a free run off its list. The caller writes its state.
    #[inline]
    fn unlink(&mut self, zone: Zone, page: u32, order: Order) {
        debug_assert_eq!(self.table.state(page), PageState::Free(order));
        debug_assert_eq!(self.zone_of(page), zone);
        let (next, prev) = self.table.links(page);
        if next != NO_PAGE {
            self.table.set_prev(next, prev);
        }
        let lists = &mut self.zones[zone as usize];
        let list = &mut lists.orders[order as usize];
        list.count -= 1;
        if prev != NO_PAGE {
            self.table.set_next(prev, next);
            return;
        }
        list.head = next;
        if next == NO_PAGE {
            lists.nonempty &= !(1 << order);
        }
    }

    /// The largest aligned piece at the front of `range` that lies in one zone.
    fn front_order(&self, range: &Range<u32>) -> Order {
        let room = if range.start < self.low_pages && range.end > self.low_pages {
            self.low_pages - range.start
        } else {
            range.end - range.start
        };
        let absolute = self.first + range.start as usize;
        let aligned = absolute.trailing_zeros().min(ORDERS as u32 - 1);
        aligned.min(room.ilog2())
    }

    /// Makes `range` free without merging: its neighbors are known to be live, or none.
    fn insert_range(&mut self, mut range: Range<u32>) {
        while !range.is_empty() {
            let order = self.front_order(&range);
            self.link(range.start, order);
            range.start += 1 << order;
        }
    }

    /// Makes `range`, which is not empty, free, merging every piece upwards while its buddy is free too.
    #[inline]
    fn release_range(&mut self, mut range: Range<u32>) {
        self.free_pages += range.end - range.start;
        loop {
            let order = self.front_order(&range);
            self.merge_and_link(range.start, order);
            range.start += 1 << order;
            if range.is_empty() {
                return;
            }
        }
    }

    #[inline]
    fn merge_and_link(&mut self, mut page: u32, mut order: Order) {
        let zone = self.zone_of(page);
        while (order as usize) < ORDERS - 1 {
            // A buddy outside the section wraps or lies beyond the table, and is not free.
            let buddy = (self.first + page as usize) ^ (1 << order);
            let buddy = buddy.wrapping_sub(self.first);
            if !self.table.is_free(buddy, order) {
                break;
            }
            // Truncation cannot happen: it is a page of the table.
            let buddy = buddy as u32;
            if self.zone_of(buddy) != zone {
                break;
            }
            self.unlink(zone, buddy, order);
            self.table.set_state(buddy, PageState::Inner);
            page = page.min(buddy);
            order += 1;
        }
        self.link_in(zone, page, order);
    }

    /// Takes `count` pages from the front of a free run of at least `order`; the rest stays free.
    #[inline]
    pub(crate) fn take(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        kind: RunKind,
    ) -> Option<u32> {
        debug_assert!(1 << order >= count);
        let fitting = self.zones[zone as usize].nonempty & (u32::MAX << order);
        if fitting == 0 {
            return None;
        }
        Some(self.take_first(count, order, zone, kind, fitting.trailing_zeros()))
    }

    /// As [`take`](Self::take), from runs that lie below page `high` only, of which it looks at one for each
    /// order: the one freed last.
    pub(crate) fn take_below(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        high: u32,
    ) -> Option<u32> {
        let lists = &self.zones[zone as usize];
        let found = (order..ORDERS as u32).find(|&found| {
            let page = lists.orders[found as usize].head;
            lists.nonempty & (1 << found) != 0 && page + (1 << found) <= high
        })?;
        Some(self.take_first(count, order, zone, RunKind::Slab, found))
    }

    /// Takes `count` pages, of order `order`, from the first free run of order `found`.
    #[inline]
    fn take_first(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        kind: RunKind,
        mut found: Order,
    ) -> u32 {
        let page = self.zones[zone as usize].orders[found as usize].head;
        self.unlink(zone, page, found);
        self.table.set_state(page, PageState::Live(count, kind));
        self.free_pages -= count;
        // The upper halves, which have no free buddy: their lower half is taken.
        while found > order {
            found -= 1;
            self.link_in(zone, page + (1 << found), found);
        }
        if count != 1 << order {
            self.insert_range(page + count..page + (1 << order));
        }
        page
    }

    /// The free run around `page`.
    fn covering(&self, page: u32) -> Option<(u32, Order)> {
        for order in 0..ORDERS as u32 {
            let head = (self.first + page as usize) & !((1 << order) - 1);
            // Truncation cannot happen: the head is not past `page`.
            let head = head.checked_sub(self.first)? as u32;
            match self.table.state(head) {
                PageState::Free(found) if found == order => return Some((head, order)),
                _ => {}
            }
        }
        None
    }

    /// Whether every page of `range`, which lies in the section, is free.
    pub(crate) fn is_free(&self, range: Range<u32>) -> bool {
        let mut page = range.start;
        while page < range.end {
            let Some((head, order)) = self.covering(page) else { return false };
            page = head + (1 << order);
        }
        true
    }

    /// The page behind the first live run in `range`, of which not all is free; `None` for a run that begins
    /// before it.
    pub(crate) fn past_obstacle(&self, range: Range<u32>) -> Option<u32> {
        let mut page = range.start;
        while page < range.end {
            let Some((head, order)) = self.covering(page) else { break };
            page = head + (1 << order);
        }
        match self.table.state(page) {
            PageState::Live(count, _) => Some(page + count),
            _ => None,
        }
    }

    /// Takes the free pages of `range` off the lists; what lay around them stays free.
    fn carve(&mut self, range: Range<u32>) {
        let mut page = range.start;
        while page < range.end {
            let Some((head, order)) = self.covering(page) else {
                unreachable!("the caller has tested that the range is free")
            };
            let end = head + (1 << order);
            self.unlink(self.zone_of(head), head, order);
            self.table.set_state(head, PageState::Inner);
            self.insert_range(head..page);
            self.insert_range(range.end.min(end)..end);
            page = end;
        }
        self.free_pages -= range.end - range.start;
    }

    /// Takes exactly `range`, if all of it is free.
    pub(crate) fn take_at(&mut self, range: Range<u32>, kind: RunKind) -> bool {
        if !self.is_free(range.clone()) {
            return false;
        }
        self.carve(range.clone());
        self.table.set_state(range.start, PageState::Live(range.end - range.start, kind));
        true
    }

    /// The stretch of free pages around the free run at `page`, within its zone.
    fn span_around(&self, page: u32, order: Order) -> Range<u32> {
        let zone = self.zone_of(page);
        let (mut start, mut end) = (page, page + (1 << order));
        while start > 0 && self.zone_of(start - 1) == zone {
            let Some((head, _)) = self.covering(start - 1) else { break };
            start = head;
        }
        while end < self.pages && self.zone_of(end) == zone {
            let Some((head, order)) = self.covering(end) else { break };
            end = head + (1 << order);
        }
        start..end
    }

    /// The stretches around the largest free buddies of a zone; none where those are too many to look at.
    fn large_spans(&self, zone: Zone) -> impl Iterator<Item = Range<u32>> {
        let lists = &self.zones[zone as usize];
        let order = lists.nonempty.checked_ilog2().unwrap_or(0);
        let few = lists.orders[order as usize].count <= SPANS_MAX;
        let head = if few { lists.orders[order as usize].head } else { NO_PAGE };
        let first = (head != NO_PAGE).then_some(head);
        let pages = core::iter::successors(first, |&page| {
            Some(self.table.links(page).0).filter(|&next| next != NO_PAGE)
        });
        pages.map(move |page| self.span_around(page, order))
    }

    /// Takes a run that no buddy holds from a stretch of several, around one of the largest.
    ///
    /// `O(orders)` for each of at most [`SPANS_MAX`] stretches.
    pub(crate) fn take_spanning(
        &mut self,
        count: u32,
        align_order: Order,
        zone: Zone,
        kind: RunKind,
    ) -> Option<u32> {
        let found = self.large_spans(zone).find_map(|span| {
            let absolute = (self.first + span.start as usize).next_multiple_of(1 << align_order);
            let start = absolute - self.first;
            // Truncation cannot happen: the end is within the section.
            (start + count as usize <= span.end as usize).then_some(start as u32)
        })?;
        let taken = self.take_at(found..found + count, kind);
        debug_assert!(taken, "a stretch is free");
        Some(found)
    }

    /// Pages of the largest run that the zone would serve.
    pub(crate) fn largest_run(&self, zone: Zone) -> u32 {
        let buddy =
            self.zones[zone as usize].nonempty.checked_ilog2().map_or(0, |order| 1 << order);
        self.large_spans(zone)
            .map(|span| span.end - span.start)
            .max()
            .map_or(buddy, |n| n.max(buddy))
    }

    /// Frees the live run of pages that begins at `page`; returns its length. `None`: none begins there.
    #[inline]
    pub(crate) fn give_run(&mut self, page: u32) -> Option<u32> {
        let PageState::Live(pages, RunKind::Pages) = self.table.state(page) else { return None };
        self.give(page, pages);
        Some(pages)
    }

    /// Frees the live run of `count` pages that begins at `page`.
    #[inline]
    pub(crate) fn give(&mut self, page: u32, count: u32) {
        debug_assert!(matches!(self.table.state(page), PageState::Live(n, _) if n == count));
        self.table.set_state(page, PageState::Inner);
        self.release_range(page..page + count);
    }

    /// Makes the live run at `page` `new` pages long, if it can stay where it is.
    pub(crate) fn resize(&mut self, page: u32, old: u32, new: u32, kind: RunKind) -> bool {
        if new > old {
            let Some(end) = page.checked_add(new).filter(|&end| end <= self.pages) else {
                return false;
            };
            if !self.is_free(page + old..end) {
                return false;
            }
            self.carve(page + old..end);
        }
        self.table.set_state(page, PageState::Live(new, kind));
        if new < old {
            self.release_range(page + new..page + old);
        }
        true
    }

    /// Free runs by order, both zones, up to the largest order that the section could hold.
    pub(crate) fn free_runs(&self) -> Vec<usize> {
        let orders = self.pages.ilog2() as usize + 1;
        (0..orders)
            .map(|order| self.zones.iter().map(|zone| zone.orders[order].count as usize).sum())
            .collect()
    }

    /// Every run, ascending: `f(page, pages, state)`. Stops where nothing begins, which is damage.
    pub(crate) fn for_each_run(&self, mut f: impl FnMut(u32, u32, PageState)) -> Result<(), u32> {
        let mut page = 0;
        while page < self.pages {
            let state = self.table.state(page);
            let pages = match state {
                PageState::Inner => return Err(page),
                PageState::Free(order) => 1 << order,
                PageState::Live(pages, _) => pages,
            };
            f(page, pages, state);
            page += pages;
        }
        if page == self.pages { Ok(()) } else { Err(page) }
    }

    /// Tests the invariants; only looks.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut free = 0u64;
        let mut counts = [[0u32; ORDERS]; 2];
        let mut damage = None;
        let covered = self.for_each_run(|page, pages, state| {
            if let PageState::Free(order) = state {
                free += u64::from(pages);
                counts[self.zone_of(page) as usize][order as usize] += 1;
                damage = damage.take().or_else(|| self.check_free(page, order).err());
            }
        });
        if let Err(page) = covered {
            return Err(format!("no run begins at page {page}, where one must"));
        }
        if let Some(damage) = damage {
            return Err(damage);
        }
        if free != u64::from(self.free_pages) {
            return Err(format!("{free} pages are free, {} are counted", self.free_pages));
        }
        for (lists, counts) in self.zones.iter().zip(&counts) {
            self.check_lists(lists, counts)?;
        }
        Ok(())
    }

    fn check_free(&self, page: u32, order: Order) -> Result<(), String> {
        let absolute = self.first + page as usize;
        if !absolute.is_multiple_of(1 << order) {
            return Err(format!("free page {page} is not aligned to its order {order}"));
        }
        if self.zone_of(page) != self.zone_of(page + ((1 << order) - 1)) {
            return Err(format!("free page {page} of order {order} lies in both zones"));
        }
        let buddy = (absolute ^ (1 << order)).wrapping_sub(self.first);
        if buddy.checked_add(1 << order).is_some_and(|end| end <= self.pages as usize) {
            let buddy = buddy as u32;
            if self.zone_of(buddy) == self.zone_of(page)
                && self.table.is_free(buddy as usize, order)
            {
                return Err(format!("buddies {page} and {buddy} of order {order} are both free"));
            }
        }
        Ok(())
    }

    fn check_lists(&self, lists: &FreeLists, counts: &[u32; ORDERS]) -> Result<(), String> {
        for order in 0..ORDERS as u32 {
            let (mut page, mut prev, mut seen) = (lists.orders[order as usize].head, NO_PAGE, 0);
            if (page != NO_PAGE) != ((lists.nonempty >> order) & 1 == 1) {
                return Err(format!("the mask of order {order} is wrong"));
            }
            while page != NO_PAGE {
                if self.table.state(page) != PageState::Free(order)
                    || self.table.links(page).1 != prev
                {
                    return Err(format!("page {page} is wrongly on the list of order {order}"));
                }
                seen += 1;
                if seen > counts[order as usize] {
                    return Err(format!("the list of order {order} is too long"));
                }
                (prev, page) = (page, self.table.links(page).0);
            }
            if seen != counts[order as usize] || seen != lists.orders[order as usize].count {
                return Err(format!(
                    "order {order} has {} free runs, not {seen}",
                    counts[order as usize]
                ));
            }
        }
        Ok(())
    }
}
