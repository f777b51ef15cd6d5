//! What only looks at a section: its runs, its counts, its invariants.

use super::{Section, Zone};
use crate::buddy::bits::{GROUP_ORDER, ones, order_at, rank};
use crate::page_meta::{NO_GROUP, ORDERS, Order, PageState};

impl Section {
    /// Free runs by order, both zones, up to the largest order that the section could hold.
    pub(crate) fn free_runs(&self) -> Vec<usize> {
        let orders = self.pages.ilog2() as usize + 1;
        let mut runs = [0; ORDERS];
        for zone in [Zone::Low, Zone::High] {
            for order in 0..GROUP_ORDER {
                for group in self.listed(zone, order) {
                    self.for_each_in_group(zone, group, |_, order| runs[order as usize] += 1);
                }
            }
            let lists = &self.zones[zone as usize].orders;
            for order in GROUP_ORDER as usize..ORDERS {
                runs[order] += lists[order].count as usize;
            }
        }
        runs[..orders].to_vec()
    }

    /// The free runs of a group's word, ascending: `f(page, order)`.
    fn for_each_in_group(&self, zone: Zone, group: u32, mut f: impl FnMut(u32, Order)) {
        let free = self.table.free(group);
        let mut rest = free;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            let Some(order) = order_at(free, bit) else { unreachable!("the bit is set") };
            f(self.page_at(zone, group, bit), order);
            rest &= !(ones(1 << order) << bit);
        }
    }

    /// What begins at `page`, where a run ends or the section begins; `None`, which is damage: nothing.
    fn state(&self, page: u32) -> Option<PageState> {
        if let Some((pages, kind)) = self.table.live(page) {
            return Some(PageState::Live(pages, kind));
        }
        let (_, group, bit) = self.place(page);
        let order = order_at(self.table.free(group), bit).or_else(|| self.table.free_order(page));
        order.map(PageState::Free)
    }

    /// Every run, ascending: `f(page, pages, state)`. Stops where nothing begins, which is damage.
    pub(crate) fn for_each_run(&self, mut f: impl FnMut(u32, u32, PageState)) -> Result<(), u32> {
        let mut page = 0;
        while page < self.pages {
            let state = self.state(page).ok_or(page)?;
            let pages = match state {
                PageState::Free(order) => 1 << order,
                PageState::Live(pages, _) => pages,
            };
            f(page, pages, state);
            page += pages;
        }
        if page == self.pages { Ok(()) } else { Err(page) }
    }

    /// Tests the invariants; only looks. Returns how many pages are free.
    pub(crate) fn check(&self) -> Result<usize, String> {
        let mut free = 0;
        // Of the runs in words, and by zone and order the large ones.
        let (mut loose, mut large) = (0u64, [[0u32; ORDERS]; 2]);
        let mut damage = Ok(());
        let covered = self.for_each_run(|page, pages, state| {
            if let PageState::Free(order) = state {
                free += pages as usize;
                if order < GROUP_ORDER {
                    loose += u64::from(pages);
                } else {
                    large[self.zone_of(page) as usize][order as usize] += 1;
                }
            }
            if damage.is_ok() {
                damage = self.check_run(page, pages, state);
            }
        });
        if let Err(page) = covered {
            return Err(format!("no run begins at page {page}, where one must"));
        }
        damage?;
        for (zone, large) in [Zone::Low, Zone::High].into_iter().zip(&large) {
            loose = loose.wrapping_sub(self.check_lists(zone, large)?);
        }
        if loose == 0 { Ok(free) } else { Err("the words of listed groups are wrong".into()) }
    }

    fn check_run(&self, page: u32, pages: u32, state: PageState) -> Result<(), String> {
        let order = match state {
            PageState::Free(order) if order >= GROUP_ORDER => order,
            PageState::Free(_) => return Ok(()),
            PageState::Live(..) => {
                let mut range = page..page + pages;
                while !range.is_empty() {
                    let (_, group, bit) = self.place(range.start);
                    let room = self.room(&range);
                    if (self.table.free(group) >> bit) & ones(room) != 0 {
                        return Err(format!("a page from {page} is live and free"));
                    }
                    range.start += room;
                }
                return Ok(());
            }
        };
        let absolute = self.first + page as usize;
        if !absolute.is_multiple_of(1 << order) {
            return Err(format!("free page {page} is not aligned to its order {order}"));
        }
        if self.zone_of(page) != self.zone_of(page + ((1 << order) - 1)) {
            return Err(format!("free page {page} of order {order} lies in both zones"));
        }
        let (_, group, _) = self.place(page);
        if self.table.free(group) != 0 || self.table.rank(group) != 0 {
            return Err(format!("page {page} is free twice"));
        }
        let buddy = (absolute ^ (1 << order)).wrapping_sub(self.first);
        if self.table.is_free(buddy, order) && self.zone_of(buddy as u32) == self.zone_of(page) {
            return Err(format!("buddies {page} and {buddy} of order {order} are both free"));
        }
        Ok(())
    }

    /// Tests the lists of a zone, whose large runs are `large` by order; returns the free pages in words.
    fn check_lists(&self, zone: Zone, large: &[u32; ORDERS]) -> Result<u64, String> {
        let lists = &self.zones[zone as usize];
        let mut loose = 0;
        for order in 0..ORDERS as u32 {
            let list = &lists.orders[order as usize];
            if (list.head != NO_GROUP) != ((lists.nonempty >> order) & 1 == 1) {
                return Err(format!("the mask of order {order} is wrong"));
            }
            let (mut prev, mut seen) = (NO_GROUP, 0);
            for group in self.listed(zone, order) {
                let free = self.table.free(group);
                let right = if order < GROUP_ORDER {
                    rank(free) == order + 1 && self.table.rank(group) == order + 1
                } else {
                    self.table.free_order(self.page_at(zone, group, 0)) == Some(order)
                };
                if !right || self.table.links(group).1 != prev {
                    return Err(format!("group {group} is wrongly on the list of order {order}"));
                }
                loose += u64::from(free.count_ones());
                seen += 1;
                if seen > list.count {
                    return Err(format!("the list of order {order} is too long"));
                }
                prev = group;
            }
            if seen != list.count || order >= GROUP_ORDER && seen != large[order as usize] {
                return Err(format!("the list of order {order} has {seen} entries"));
            }
        }
        Ok(loose)
    }
}
