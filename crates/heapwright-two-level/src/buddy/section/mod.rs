//! One section of pages: its free lists by zone and order, split and merge.
//!
//! Pages are taken together in groups of 64 (`bits.rs`), which begin where buddies of that size may. Within
//! a group a word tells what is free, so a split or a merge there is an operation on bits, and one list
//! entry stands for all free runs of the group: under the order of its largest one. Runs of 64 pages and
//! more are buddies of whole groups, each on the list of its order, split and merged one by one.
//!
//! Buddies are told by the absolute page number, so every alignment is absolute. A section is cut in
//! two zones where its physical addresses pass 4 GiB; a free run lies in one zone, so a low run is
//! found without a search. Zones are lists only: a live run may span both. A group that the cut divides
//! is two, one for each zone.
//!
//! A request that no buddy holds may still fit a stretch of adjacent ones (a section is rarely as
//! aligned as it is large). The stretches around the largest buddies are looked at, if those are few.
//!
//! Invariants (`check` tests them):
//! 1. No two buddies of 64 pages or more, of one order and zone, are both free; no group's word is full.
//! 2. A large free run is on the list of its zone and order iff its first page says so, and then exactly
//!    once. A group is on the list of its zone and its largest order iff its word is not 0; its rank tells
//!    which. Within a large free run all words are 0.
//! 3. Runs, free and live, cover the section without a gap.
//!
//! Not here: which section serves a request, and what a caller may do (`buddy/mod.rs`); walks and checks
//! (`look.rs`).

mod look;

use core::ops::Range;

use heapwright_core::AllocResult;

use super::bits::{
    GROUP_ORDER, GROUP_PAGES, RANK_WHOLE, Rank, bits, buddy_around, heads_of, lowest, may_grow,
    ones, rank,
};
use crate::page_meta::{NO_GROUP, ORDERS, Order, PageTable, RunKind};

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

/// Large free runs of one order, by the groups that they begin with, or groups whose largest free run is of
/// that order.
#[derive(Clone, Copy, Debug)]
struct FreeList {
    head: u32,
    count: u32,
}

/// Free lists of one zone.
#[derive(Debug)]
struct FreeLists {
    orders: [FreeList; ORDERS],
    /// Bit `order` is set iff that list is not empty.
    nonempty: u32,
}

impl FreeLists {
    const EMPTY: Self =
        Self { orders: [FreeList { head: NO_GROUP, count: 0 }; ORDERS], nonempty: 0 };
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
    /// By zone: what makes of a page the place of its bit in all words, one group behind the other.
    skips: [u32; 2],
    table: PageTable,
    zones: [FreeLists; 2],
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
        let low_pages = u32::try_from(low).unwrap_or(u32::MAX).min(pages);
        let first = start >> page_shift;
        // Truncation is meant: pages of the first group before the section.
        let skip = first as u32 % GROUP_PAGES;
        let divided = !(low_pages + skip).is_multiple_of(GROUP_PAGES);
        let skips = [skip, skip + if divided { GROUP_PAGES } else { 0 }];
        let groups = (pages + skips[Zone::High as usize]).div_ceil(GROUP_PAGES);
        let mut section = Self {
            start,
            pages,
            phys_start,
            first,
            low_pages,
            skips,
            table: PageTable::new(pages as usize, groups as usize)?,
            zones: [FreeLists::EMPTY, FreeLists::EMPTY],
        };
        section.release_pieces(0..pages);
        Ok(section)
    }

    #[inline]
    fn zone_of(&self, page: u32) -> Zone {
        if page < self.low_pages { Zone::Low } else { Zone::High }
    }

    /// Length and kind of the live run that begins at `page`.
    #[inline]
    pub(crate) fn live(&self, page: u32) -> Option<(u32, RunKind)> {
        self.table.live(page)
    }

    /// Zone and group of `page`, and its bit in the group's word.
    #[inline]
    fn place(&self, page: u32) -> (Zone, u32, u32) {
        let zone = self.zone_of(page);
        let place = page + self.skips[zone as usize];
        (zone, place / GROUP_PAGES, place % GROUP_PAGES)
    }

    /// The page at `bit` of a group.
    #[inline]
    fn page_at(&self, zone: Zone, group: u32, bit: u32) -> u32 {
        (group * GROUP_PAGES + bit).wrapping_sub(self.skips[zone as usize])
    }

    /// How many pages of `range`, from its front, have their bits in one word.
    #[inline]
    fn room(&self, range: &Range<u32>) -> u32 {
        let (_, _, bit) = self.place(range.start);
        let pages = (GROUP_PAGES - bit).min(range.end - range.start);
        if range.start < self.low_pages { pages.min(self.low_pages - range.start) } else { pages }
    }

    /// Puts a group on the list of `order`; its rank is 0 if it begins a large run.
    #[inline]
    fn link(&mut self, zone: Zone, group: u32, order: Order, rank: Rank) {
        let lists = &mut self.zones[zone as usize];
        lists.nonempty |= 1 << order;
        let list = &mut lists.orders[order as usize];
        list.count += 1;
        let next = core::mem::replace(&mut list.head, group);
        self.table.set_first(group, next, rank);
    }

    /// Takes a group off the list of `order`. The caller writes its rank.
    #[expect(clippy::inline_always, reason = "half of it is registers saved for the call")]
    #[inline(always)]
    fn unlink(&mut self, zone: Zone, group: u32, order: Order) {
        let (next, prev) = self.table.links(group);
        if next != NO_GROUP {
            self.table.set_prev(next, prev);
        }
        let lists = &mut self.zones[zone as usize];
        let list = &mut lists.orders[order as usize];
        list.count -= 1;
        if prev != NO_GROUP {
            self.table.set_next(prev, next);
            return;
        }
        list.head = next;
        if next == NO_GROUP {
            lists.nonempty &= !(1 << order);
        }
    }

    /// Puts a group whose word has changed on the list of its rank.
    #[inline(never)]
    fn move_group(&mut self, zone: Zone, group: u32) {
        let (new, old) = (rank(self.table.free(group)), self.table.rank(group));
        if old == new {
            return;
        }
        if old > 0 {
            self.unlink(zone, group, old - 1);
        }
        if new == RANK_WHOLE {
            self.table.set_alone(group);
            self.table.change_free(group, |_| 0);
            self.merge_and_link(self.page_at(zone, group, 0), GROUP_ORDER);
        } else if new > 0 {
            self.link(zone, group, new - 1, new);
        } else {
            self.table.set_alone(group);
        }
    }

    /// Makes the pages of `mask` from `bit`, all of which are live, free.
    #[inline]
    fn set_bits(&mut self, zone: Zone, group: u32, bit: u32, mask: u64) {
        let (free, old) = self.table.change_free(group, |free| {
            debug_assert_eq!(free & mask, 0);
            free | mask
        });
        if may_grow(free, old, bit, mask) {
            self.move_group(zone, group);
        }
    }

    /// Makes the pages of `mask`, all of which are free, live.
    fn clear_bits(&mut self, zone: Zone, group: u32, mask: u64) {
        self.table.change_free(group, |free| {
            debug_assert_eq!(free & mask, mask);
            free & !mask
        });
        self.move_group(zone, group);
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

    /// Makes `pages` pages from `page` free.
    #[inline]
    fn release(&mut self, page: u32, pages: u32) {
        let (zone, group, bit) = self.place(page);
        // Whether the last page lies in the other zone.
        let divided = self.low_pages.wrapping_sub(page).wrapping_sub(1) < pages - 1;
        if bit + pages > GROUP_PAGES || divided {
            self.release_pieces(page..page + pages);
        } else {
            self.set_bits(zone, group, bit, ones(pages) << bit);
        }
    }

    /// Makes `range` free, merging every piece upwards while its buddy is free too.
    #[inline(never)]
    fn release_pieces(&mut self, mut range: Range<u32>) {
        while !range.is_empty() {
            let order = self.front_order(&range);
            if order >= GROUP_ORDER {
                self.merge_and_link(range.start, order);
                range.start += 1 << order;
                continue;
            }
            let pages = self.room(&range);
            let (zone, group, bit) = self.place(range.start);
            self.set_bits(zone, group, bit, ones(pages) << bit);
            range.start += pages;
        }
    }

    /// Makes a run of 64 pages or more free.
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
            self.unlink_large(zone, buddy, order);
            page = page.min(buddy);
            order += 1;
        }
        self.link_large(zone, page, order);
    }

    fn link_large(&mut self, zone: Zone, page: u32, order: Order) {
        let (_, group, bit) = self.place(page);
        debug_assert!(order >= GROUP_ORDER && bit == 0 && self.table.free(group) == 0);
        self.table.set_free(page, order);
        self.link(zone, group, order, 0);
    }

    fn unlink_large(&mut self, zone: Zone, page: u32, order: Order) {
        debug_assert_eq!(self.table.free_order(page), Some(order));
        let (_, group, _) = self.place(page);
        self.unlink(zone, group, order);
        self.table.clear(page);
    }

    /// Takes `count` pages from the front of a free run of at least `order`; the rest stays free.
    pub(crate) fn take(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        kind: RunKind,
    ) -> Option<u32> {
        let fitting = self.zones[zone as usize].nonempty & (u32::MAX << order);
        if fitting == 0 {
            return None;
        }
        match fitting.trailing_zeros() {
            0..GROUP_ORDER => self.take_small(count, order, zone, kind, |page| page),
            found => Some(self.take_large(count, order, zone, kind, found)),
        }
    }

    /// As [`take`](Self::take), from a group, and answers what `note` makes of the page, before anything else
    /// is done; `None` if no group of the zone has such a run.
    #[expect(
        clippy::inline_always,
        reason = "the registers that a call saves are half of its stores"
    )]
    #[inline(always)]
    pub(crate) fn take_small<T>(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        kind: RunKind,
        note: impl FnOnce(u32) -> T,
    ) -> Option<T> {
        debug_assert!(1 << order >= count);
        let lists = &self.zones[zone as usize];
        let fitting = lists.nonempty & (u32::MAX << order) & ((1 << GROUP_ORDER) - 1);
        if fitting == 0 {
            return None;
        }
        let found = fitting.trailing_zeros();
        let group = lists.orders[found as usize].head;
        let free = self.table.free(group);
        let head = lowest(free, order);
        if head == 0 {
            return None;
        }
        // The run, up to the bit behind it, which may be one too many.
        let taken = head.unbounded_shl(count).wrapping_sub(head);
        self.table.change_free(group, |free| free & !taken);
        let bit = head.trailing_zeros();
        let page = self.page_at(zone, group, bit);
        self.table.set_live(page, count, kind);
        let noted = note(page);
        let split = buddy_around(bit, found);
        if free & split == split {
            // It was one of the largest.
            self.move_group(zone, group);
        }
        Some(noted)
    }

    /// As [`take`](Self::take), from runs that lie below page `high` only, of which it looks at one for each
    /// order, or those of one group: what was freed last.
    pub(crate) fn take_below(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        high: u32,
    ) -> Option<u32> {
        let fitting = self.zones[zone as usize].nonempty & (u32::MAX << order);
        for found in bits(fitting.into()) {
            let group = self.zones[zone as usize].orders[found as usize].head;
            if found >= GROUP_ORDER {
                if self.page_at(zone, group, 0) + (1 << found) <= high {
                    return Some(self.take_large(count, order, zone, RunKind::Slab, found));
                }
                continue;
            }
            let below = (high + self.skips[zone as usize]).saturating_sub(group * GROUP_PAGES);
            if below == 0 {
                continue;
            }
            let free = self.table.free(group) & ones(below.min(GROUP_PAGES));
            let head = lowest(free, order);
            if head != 0 {
                let bit = head.trailing_zeros();
                self.clear_bits(zone, group, ones(count) << bit);
                let page = self.page_at(zone, group, bit);
                self.table.set_live(page, count, RunKind::Slab);
                return Some(page);
            }
        }
        None
    }

    /// Takes `count` pages, of order `order`, from the first free run of order `found`, a large one.
    #[inline(never)]
    fn take_large(
        &mut self,
        count: u32,
        order: Order,
        zone: Zone,
        kind: RunKind,
        found: Order,
    ) -> u32 {
        let group = self.zones[zone as usize].orders[found as usize].head;
        let page = self.page_at(zone, group, 0);
        self.unlink_large(zone, page, found);
        // The upper halves, which have no free buddy: their lower half is taken.
        let least = order.max(GROUP_ORDER);
        for half in (least..found).rev() {
            self.link_large(zone, page + (1 << half), half);
        }
        self.table.set_live(page, count, kind);
        // What is left of the lowest, as little merges with it.
        self.release_pieces(page + count..page + (1 << least));
        page
    }

    /// The large free run around `page`.
    fn large_around(&self, page: u32) -> Option<(u32, Order)> {
        for order in GROUP_ORDER..ORDERS as u32 {
            let head = (self.first + page as usize) & !((1 << order) - 1);
            // Truncation cannot happen: the head is not past `page`.
            let head = head.checked_sub(self.first)? as u32;
            if self.table.is_free(head as usize, order) {
                return Some((head, order));
            }
        }
        None
    }

    /// Where a stretch of free pages that begins at `page` goes on to, of one group or one large run; `None`
    /// if the page is not free.
    fn free_until(&self, page: u32) -> Option<u32> {
        let (_, group, bit) = self.place(page);
        match self.table.free(group) {
            0 => self.large_around(page).map(|(head, order)| head + (1 << order)),
            free => Some((free >> bit).trailing_ones()).filter(|&n| n > 0).map(|n| page + n),
        }
    }

    /// Where a stretch of free pages that ends with `page` comes from, likewise.
    fn free_since(&self, page: u32) -> Option<u32> {
        let (_, group, bit) = self.place(page);
        match self.table.free(group) {
            0 => self.large_around(page).map(|(head, _)| head),
            free => {
                let pages = (free << (GROUP_PAGES - 1 - bit)).leading_ones();
                (pages > 0).then(|| page + 1 - pages)
            }
        }
    }

    /// Whether every page of `range`, which lies in the section, is free.
    pub(crate) fn is_free(&self, range: Range<u32>) -> bool {
        self.free_front(&range) >= range.end
    }

    /// The first page of `range` that is not free, or one behind it.
    fn free_front(&self, range: &Range<u32>) -> u32 {
        let mut page = range.start;
        while page < range.end {
            let Some(end) = self.free_until(page) else { break };
            page = end;
        }
        page
    }

    /// The page behind the first live run in `range`, of which not all is free; `None` for a run that begins
    /// before it.
    pub(crate) fn past_obstacle(&self, range: Range<u32>) -> Option<u32> {
        let page = self.free_front(&range);
        self.table.live(page).map(|(count, _)| page + count)
    }

    /// Takes the free pages of `range` off the lists; what lay around them stays free.
    fn carve(&mut self, mut range: Range<u32>) {
        while !range.is_empty() {
            let (zone, group, bit) = self.place(range.start);
            if self.table.free(group) != 0 {
                let pages = self.room(&range);
                self.clear_bits(zone, group, ones(pages) << bit);
                range.start += pages;
                continue;
            }
            let Some((head, order)) = self.large_around(range.start) else {
                unreachable!("the caller has tested that the range is free")
            };
            let end = head + (1 << order);
            self.unlink_large(zone, head, order);
            self.release_pieces(head..range.start);
            self.release_pieces(range.end.min(end)..end);
            range.start = range.end.min(end);
        }
    }

    /// Takes exactly `range`, if all of it is free.
    pub(crate) fn take_at(&mut self, range: Range<u32>, kind: RunKind) -> bool {
        if !self.is_free(range.clone()) {
            return false;
        }
        self.carve(range.clone());
        self.table.set_live(range.start, range.end - range.start, kind);
        true
    }

    /// The stretch of free pages around the free page `page`, within its zone.
    fn span_around(&self, page: u32) -> Range<u32> {
        let zone = self.zone_of(page);
        let (mut start, mut end) = (page + 1, page);
        while start > 0 && self.zone_of(start - 1) == zone {
            let Some(since) = self.free_since(start - 1) else { break };
            start = since;
        }
        while end < self.pages && self.zone_of(end) == zone {
            let Some(until) = self.free_until(end) else { break };
            end = until;
        }
        start..end
    }

    /// Groups on the list of `order`.
    fn listed(&self, zone: Zone, order: Order) -> impl Iterator<Item = u32> {
        let head = self.zones[zone as usize].orders[order as usize].head;
        let some = |group: u32| (group != NO_GROUP).then_some(group);
        core::iter::successors(some(head), move |&group| some(self.table.links(group).0))
    }

    /// Bits where free runs of `order` begin in `group`, which is on its list.
    fn heads_in(&self, group: u32, order: Order) -> u64 {
        if order < GROUP_ORDER { heads_of(self.table.free(group), order) } else { 1 }
    }

    /// The stretches around the largest free buddies of a zone; none where those are too many to look at.
    fn large_spans(&self, zone: Zone) -> impl Iterator<Item = Range<u32>> {
        let order = self.zones[zone as usize].nonempty.checked_ilog2().unwrap_or(0);
        // As many as are looked at, and one more.
        let groups = || self.listed(zone, order).take(SPANS_MAX as usize + 1);
        let found = groups().map(|group| self.heads_in(group, order).count_ones()).sum::<u32>();
        let few = if found <= SPANS_MAX { usize::MAX } else { 0 };
        groups().take(few).flat_map(move |group| {
            bits(self.heads_in(group, order))
                .map(move |bit| self.span_around(self.page_at(zone, group, bit)))
        })
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

    /// The page that begins at `pos`, by its number; that is none of the section where none does.
    #[inline]
    pub(crate) fn page_of(&self, pos: usize, page_shift: u32) -> usize {
        // An address before the section wraps around, far beyond its end; what lies behind the start of a
        // page becomes high bits.
        pos.wrapping_sub(self.start).rotate_right(page_shift)
    }

    /// Frees the live run of pages that begins at `page`, if it is a short one; returns its length, by
    /// `count`, before anything else is done.
    #[inline]
    pub(crate) fn give_short(&mut self, page: usize, count: impl FnOnce(u32)) -> bool {
        let Some(pages) = self.table.take_short(page) else { return false };
        count(pages);
        // Truncation cannot happen: a section has at most 2^30 pages.
        self.release(page as u32, pages);
        true
    }

    /// Frees the live run of `count` pages that begins at `page`.
    #[inline]
    pub(crate) fn give(&mut self, page: u32, count: u32) {
        debug_assert!(self.table.live(page).is_some_and(|(pages, _)| pages == count));
        self.table.clear(page);
        self.release_pieces(page..page + count);
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
        self.table.set_live(page, new, kind);
        if new < old {
            self.release_pieces(page + new..page + old);
        }
        true
    }
}
