//! Buddy allocator over pages: runs are split on the way down and merged on the way up.
//!
//! It manages addresses and never touches the pages behind them. Every page has an entry outside the
//! managed range (`page_meta.rs`), and every 64 share a word that tells which are free (`bits.rs`); groups of
//! 64 pages form doubly linked lists by what they have, so a merge unlinks its buddy without a search. A
//! request for `count` pages splits a small run of a fitting order and gives the unused tail back at once,
//! so what is used is what was asked for.
//!
//! Invariants (`check_invariants` tests them after every step of the model test):
//! 1. Sections do not overlap, and every run lies in one section.
//! 2. Within a section, those of `section`.
//!
//! Not here: locking (the caller holds `&mut self`); any access to the pages themselves.

mod bits;
mod section;
#[cfg(test)]
mod tests;

use heapwright_core::{AllocError, AllocResult, align_down, align_up, is_aligned};

use section::Section;
pub(crate) use section::Zone;

use crate::page_meta::{ORDERS, Order, PageState, RunKind, SECTION_PAGES_MAX, SHORT_MAX};

/// Sections that an allocator can have.
pub const SECTIONS_MAX: usize = 1024;

/// One section of a page allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedSection {
    /// Address of the first page.
    pub start: usize,
    /// Bytes.
    pub size: usize,
    /// Physical address of `start`.
    pub phys_start: usize,
    /// Pages.
    pub total_pages: usize,
    /// Pages that are free.
    pub free_pages: usize,
    /// Free runs by order: index = log2(pages).
    pub free_runs: Vec<usize>,
}

/// Pages by binary buddies in several sections.
///
/// # Examples
///
/// ```
/// use heapwright_two_level::BuddyAllocator;
///
/// let mut pages = BuddyAllocator::new(4096)?;
/// pages.add_region(0x10_0000, 1 << 20, 0x10_0000)?;
/// let run = pages.alloc_pages(3, 4096)?;
/// assert_eq!(pages.allocated_bytes(), 3 * 4096); // The tail costs nothing.
/// pages.dealloc_pages(run, 3)?;
/// # Ok::<(), heapwright_core::AllocError>(())
/// ```
#[derive(Debug)]
pub struct BuddyAllocator {
    page_shift: u32,
    /// In order of addition.
    sections: Vec<Section>,
    /// Indices into `sections`, ascending by address.
    by_address: Vec<usize>,
    total_pages: usize,
    free_pages: usize,
    /// Where the newest slab ends; 0 before there is one.
    slab_end: usize,
    /// Slabs lie below, but for those that had to go elsewhere; what is free above was never a slab's.
    slab_high: usize,
}

/// Where a new section goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Address of the first page.
    pub(crate) first: usize,
    pub(crate) pages: u32,
    phys: usize,
    /// Index into `by_address`.
    at: usize,
}

/// A live run, by section and page.
#[derive(Clone, Copy, Debug)]
struct Run {
    section: usize,
    page: u32,
    pages: u32,
    kind: RunKind,
}

impl BuddyAllocator {
    /// An allocator without a section.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `page_size` is no power of two.
    pub fn new(page_size: usize) -> AllocResult<Self> {
        if !page_size.is_power_of_two() {
            return Err(AllocError::InvalidParam);
        }
        Ok(Self {
            page_shift: page_size.trailing_zeros(),
            sections: Vec::new(),
            by_address: Vec::new(),
            total_pages: 0,
            free_pages: 0,
            slab_end: 0,
            slab_high: 0,
        })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        1 << self.page_shift
    }

    /// Manages the whole pages within `[start, start + size)`; address 0 is withheld. The physical
    /// address of `start` is `phys_start`, and the offset between both is constant.
    ///
    /// All metadata that the section can ever need is reserved here, and committed as it is touched.
    ///
    /// # Time Complexity
    ///
    /// `O(orders + sections)`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if no page remains, if the end does not fit the address space, or
    /// above [`SECTION_PAGES_MAX`] pages or [`SECTIONS_MAX`] sections;
    /// [`AllocError::MemoryOverlap`] where it overlaps a section; [`AllocError::NoMemory`] if the
    /// metadata cannot be had.
    pub fn add_region(&mut self, start: usize, size: usize, phys_start: usize) -> AllocResult {
        let place = self.judge_region(start, size, phys_start)?;
        let section = Section::new(place.first, place.pages, place.phys, self.page_shift)?;
        if self.sections.is_empty() {
            self.slab_high = place.first;
        }
        self.by_address.insert(place.at, self.sections.len());
        self.sections.push(section);
        self.total_pages += place.pages as usize;
        self.free_pages += place.pages as usize;
        Ok(())
    }

    /// Says what `add_region` would do, and changes nothing.
    pub(crate) fn judge_region(
        &self,
        start: usize,
        size: usize,
        phys_start: usize,
    ) -> AllocResult<Place> {
        let (first, pages) = self.whole_pages(start, size)?;
        let bytes = pages << self.page_shift;
        let phys = phys_start.checked_add(first - start).ok_or(AllocError::InvalidParam)?;
        phys.checked_add(bytes).ok_or(AllocError::InvalidParam)?;
        let at = self.by_address.partition_point(|&index| self.sections[index].start < first);
        if self.by_address.get(at).is_some_and(|&index| self.sections[index].start < first + bytes)
            || at > 0 && self.end_of(self.by_address[at - 1]) > first
        {
            return Err(AllocError::MemoryOverlap);
        }
        if self.sections.len() == SECTIONS_MAX || pages > SECTION_PAGES_MAX {
            return Err(AllocError::InvalidParam);
        }
        // Truncation cannot happen: at most 2^30 pages.
        Ok(Place { first, pages: pages as u32, phys, at })
    }

    /// The whole pages within `[start, start + size)`, without address 0.
    fn whole_pages(&self, start: usize, size: usize) -> AllocResult<(usize, usize)> {
        let page_size = self.page_size();
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        let first = align_up(start.max(1), page_size).ok_or(AllocError::InvalidParam)?;
        let last = align_down(end, page_size);
        if last <= first {
            return Err(AllocError::InvalidParam);
        }
        Ok((first, (last - first) >> self.page_shift))
    }

    /// Pages that `size` bytes need, which fit an `isize`.
    #[inline]
    pub(crate) fn pages_for(&self, size: usize) -> usize {
        // No overflow: a page has at most 2^63 bytes.
        (size + (self.page_size() - 1)) >> self.page_shift
    }

    fn end_of(&self, index: usize) -> usize {
        let section = &self.sections[index];
        section.start + ((section.pages as usize) << self.page_shift)
    }

    /// The section around `pos`.
    #[inline]
    fn section_of(&self, pos: usize) -> Option<usize> {
        if let [only] = &*self.sections {
            let bytes = (only.pages as usize) << self.page_shift;
            return (pos.wrapping_sub(only.start) < bytes).then_some(0);
        }
        self.section_of_many(pos)
    }

    #[inline(never)]
    fn section_of_many(&self, pos: usize) -> Option<usize> {
        let at = self.by_address.partition_point(|&index| self.sections[index].start <= pos);
        let index = *self.by_address.get(at.checked_sub(1)?)?;
        (pos < self.end_of(index)).then_some(index)
    }

    /// The page of `section` at `pos`, which lies in it.
    fn page_at(&self, section: usize, pos: usize) -> u32 {
        // Truncation cannot happen: a section has at most 2^30 pages.
        ((pos - self.sections[section].start) >> self.page_shift) as u32
    }

    fn pos_of(&self, section: usize, page: u32) -> usize {
        self.sections[section].start + ((page as usize) << self.page_shift)
    }

    /// The order that a buddy must have to serve `count` pages at multiples of `align` bytes, and that
    /// of the alignment alone.
    #[inline]
    fn orders_for(&self, count: usize, align: usize) -> AllocResult<(Order, Order)> {
        if count == 0 || !align.is_power_of_two() {
            return Err(AllocError::InvalidParam);
        }
        let align_order = align.trailing_zeros().saturating_sub(self.page_shift);
        // log2 of the count, rounded up; what wraps has the highest bit.
        let order = align_order.max((count.wrapping_mul(2).wrapping_sub(1) | 1).ilog2());
        if (order as usize) < ORDERS { Ok((order, align_order)) } else { Err(AllocError::NoMemory) }
    }

    /// Allocates `count` contiguous pages at a multiple of `align` bytes (absolute; what is below a
    /// page counts as a page). Sections are tried in order of addition, high zones before low ones.
    ///
    /// # Time Complexity
    ///
    /// `O(orders)`, after one test for each section that cannot serve. Where no buddy holds the run,
    /// a bounded number of stretches of adjacent ones is looked at, `O(orders)` each.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a count of 0 or an alignment that is no power of two;
    /// [`AllocError::NoMemory`] if no free buddy is large enough.
    ///
    /// # Examples
    ///
    /// ```
    /// # use heapwright_two_level::BuddyAllocator;
    /// # let mut pages = BuddyAllocator::new(4096)?;
    /// # pages.add_region(0x10_0000, 1 << 20, 0)?;
    /// assert_eq!(pages.alloc_pages(1, 1 << 16)? % (1 << 16), 0);
    /// # Ok::<(), heapwright_core::AllocError>(())
    /// ```
    #[inline]
    pub fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        if align.is_power_of_two()
            && let Some(pos) = self.alloc_short(count, align)
        {
            return Ok(pos);
        }
        self.take(count, align, &[Zone::High, Zone::Low], RunKind::Pages)
    }

    /// As [`alloc_pages`](Self::alloc_pages), for a power of two, where a group of the first section has the
    /// pages; `None`: it is to be asked.
    #[expect(clippy::inline_always, reason = "see `Section::take_small`")]
    #[inline(always)]
    pub(crate) fn alloc_short(&mut self, count: usize, align: usize) -> Option<usize> {
        if align > self.page_size() || !(1..=SHORT_MAX as usize).contains(&count) {
            return None;
        }
        // log2 of the count, rounded up.
        let order = (2 * count - 1).ilog2();
        let first = self.sections.first_mut()?;
        let (start, page_shift) = (first.start, self.page_shift);
        // Truncation cannot happen: the run is short.
        first.take_small(count as u32, order, Zone::High, RunKind::Pages, |page| {
            self.free_pages -= count;
            start + ((page as usize) << page_shift)
        })
    }

    /// As [`alloc_pages`](Self::alloc_pages), wholly below 4 GiB of *physical* address.
    ///
    /// # Time Complexity
    ///
    /// As [`alloc_pages`](Self::alloc_pages).
    ///
    /// # Errors
    ///
    /// As [`alloc_pages`](Self::alloc_pages).
    pub fn alloc_pages_lowmem(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        self.take(count, align, &[Zone::Low], RunKind::Pages)
    }

    /// Allocates the pages of a slab: right above all slabs there were, so that slabs of odd page counts leave
    /// no tails between them and pages are touched in the order of their addresses; else as any run.
    pub(crate) fn alloc_slab(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        let climbed = if count.is_power_of_two() { None } else { self.climb(count, align) };
        let pos = match climbed {
            Some(pos) => pos,
            None => self.take(count, align, &[Zone::High, Zone::Low], RunKind::Slab)?,
        };
        self.slab_end = pos + (count << self.page_shift);
        Ok(pos)
    }

    /// Takes pages at `slab_high`, which moves up behind them, and past a few live runs in the way.
    fn climb(&mut self, count: usize, align: usize) -> Option<usize> {
        const OBSTACLES: usize = 16;
        let index = self.section_of(self.slab_high)?;
        let pages = u32::try_from(count).ok()?;
        for _ in 0..OBSTACLES {
            let pos = align_up(self.slab_high, align)?;
            let page = self.page_at(index, pos);
            let section = &mut self.sections[index];
            let range = page..page.checked_add(pages).filter(|&end| end <= section.pages)?;
            if section.take_at(range.clone(), RunKind::Slab) {
                self.free_pages -= count;
                self.slab_high = pos + (count << self.page_shift);
                return Some(pos);
            }
            let next = section.past_obstacle(range)?;
            self.slab_high = self.pos_of(index, next);
        }
        None
    }

    /// The pages of a slab where slabs have been before, so that no page is touched for the first time while
    /// others lie idle; `None` where none of the free runs there begins with enough.
    pub(crate) fn reuse_for_slab(&mut self, count: usize, align: usize) -> Option<usize> {
        let size = count << self.page_shift;
        // A power of two leaves no tail.
        let behind = if !count.is_power_of_two() && self.slab_end + size <= self.slab_high {
            self.take_behind_last(count, align)
        } else {
            None
        };
        let pos = behind.or_else(|| {
            let (order, _) = self.orders_for(count, align).ok()?;
            let last = self.slab_high.checked_sub(1)?;
            let index = self.section_of(last)?;
            let high = self.page_at(index, last) + 1;
            let section = &mut self.sections[index];
            // Truncation cannot happen: `orders_for` has bounded the count by 2^30.
            let page = [Zone::High, Zone::Low]
                .into_iter()
                .find_map(|zone| section.take_below(count as u32, order, zone, high))?;
            self.free_pages -= count;
            Some(self.pos_of(index, page))
        })?;
        self.slab_end = pos + size;
        Some(pos)
    }

    fn take_behind_last(&mut self, count: usize, align: usize) -> Option<usize> {
        let pos = self.slab_end;
        let index = self.section_of(pos).filter(|_| is_aligned(pos, align))?;
        let page = self.page_at(index, pos);
        let end = page.checked_add(u32::try_from(count).ok()?)?;
        let section = &mut self.sections[index];
        if end > section.pages || !section.take_at(page..end, RunKind::Slab) {
            return None;
        }
        self.free_pages -= count;
        Some(pos)
    }

    #[inline(never)]
    fn take(
        &mut self,
        count: usize,
        align: usize,
        zones: &[Zone],
        kind: RunKind,
    ) -> AllocResult<usize> {
        let (order, align_order) = self.orders_for(count, align)?;
        if count > self.free_pages {
            return Err(AllocError::NoMemory);
        }
        // Truncation cannot happen: `orders_for` has bounded the count by 2^30.
        let pages = count as u32;
        for (index, section) in self.sections.iter_mut().enumerate() {
            for &zone in zones {
                if let Some(page) = section.take(pages, order, zone, kind) {
                    self.free_pages -= count;
                    return Ok(self.pos_of(index, page));
                }
            }
        }
        self.take_spanning(pages, align_order, zones, kind)
    }

    /// Where no single buddy holds the run.
    #[cold]
    fn take_spanning(
        &mut self,
        pages: u32,
        align_order: Order,
        zones: &[Zone],
        kind: RunKind,
    ) -> AllocResult<usize> {
        for (index, section) in self.sections.iter_mut().enumerate() {
            for &zone in zones {
                if let Some(page) = section.take_spanning(pages, align_order, zone, kind) {
                    self.free_pages -= pages as usize;
                    return Ok(self.pos_of(index, page));
                }
            }
        }
        Err(AllocError::NoMemory)
    }

    /// Allocates the `count` pages from exactly `base`.
    ///
    /// # Time Complexity
    ///
    /// `O(orders)` for each free run that the pages lie in, at most two of each order.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `base` is no page, no multiple of `align`, or the run does not
    /// lie in one section; [`AllocError::NoMemory`] where one of the pages is taken.
    pub fn alloc_pages_at(
        &mut self,
        base: usize,
        count: usize,
        align: usize,
    ) -> AllocResult<usize> {
        if count == 0 || !align.is_power_of_two() || !is_aligned(base, align.max(self.page_size()))
        {
            return Err(AllocError::InvalidParam);
        }
        let section = self.section_of(base).ok_or(AllocError::InvalidParam)?;
        let page = self.page_at(section, base);
        if count > (self.sections[section].pages - page) as usize {
            return Err(AllocError::InvalidParam);
        }
        // Truncation cannot happen: the run lies in the section.
        if !self.sections[section].take_at(page..page + count as u32, RunKind::Pages) {
            return Err(AllocError::NoMemory);
        }
        self.free_pages -= count;
        Ok(base)
    }

    /// The live run that begins at `pos`.
    #[inline]
    fn run_from(&self, pos: usize) -> Option<Run> {
        let section = self.section_of(pos)?;
        let page = self.sections[section].page_of(pos, self.page_shift);
        // Truncation cannot happen: a section has at most 2^30 pages.
        let page = (page < self.sections[section].pages as usize).then_some(page as u32)?;
        let (pages, kind) = self.sections[section].live(page)?;
        Some(Run { section, page, pages, kind })
    }

    /// Pages of the live run that begins at `pos`; `None` where none does.
    ///
    /// # Time Complexity
    ///
    /// `O(log sections)`.
    pub fn run_at(&self, pos: usize) -> Option<usize> {
        let run = self.run_from(pos)?;
        (run.kind == RunKind::Pages).then_some(run.pages as usize)
    }

    /// Frees the run of `count` pages at `pos`, merging upwards while the buddy is also free.
    ///
    /// # Time Complexity
    ///
    /// `O(orders)` for each power-of-two piece of the run: at most one merge per order.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if no live run begins at `pos`, [`AllocError::InvalidParam`] if
    /// it has another count; nothing has changed then.
    pub fn dealloc_pages(&mut self, pos: usize, count: usize) -> AllocResult {
        self.give(pos, count, RunKind::Pages)
    }

    /// Frees the run at `pos`, whatever its count; returns whether there is one that is no slab.
    #[inline]
    pub(crate) fn dealloc_run(&mut self, pos: usize) -> AllocResult {
        if let [only] = &mut *self.sections
            && let page = only.page_of(pos, self.page_shift)
            && only.give_short(page, |pages| self.free_pages += pages as usize)
        {
            return Ok(());
        }
        self.dealloc_any_run(pos)
    }

    #[inline(never)]
    fn dealloc_any_run(&mut self, pos: usize) -> AllocResult {
        let pages = self.run_at(pos).ok_or(AllocError::NotAllocated)?;
        self.give(pos, pages, RunKind::Pages)
    }

    /// Frees the pages of a slab.
    pub(crate) fn dealloc_slab(&mut self, pos: usize, count: usize) -> AllocResult {
        self.give(pos, count, RunKind::Slab)
    }

    fn give(&mut self, pos: usize, count: usize, kind: RunKind) -> AllocResult {
        let run = self.run_from(pos).filter(|run| run.kind == kind);
        let run = run.ok_or(AllocError::NotAllocated)?;
        if run.pages as usize != count {
            return Err(AllocError::InvalidParam);
        }
        self.sections[run.section].give(run.page, run.pages);
        self.free_pages += count;
        Ok(())
    }

    /// Makes the run of `old` pages at `pos` `new` pages long, where it is.
    ///
    /// # Time Complexity
    ///
    /// As [`alloc_pages_at`](Self::alloc_pages_at).
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if no live run begins at `pos`; [`AllocError::InvalidParam`] if it
    /// has not `old` pages, or for 0 new ones; [`AllocError::NoMemory`] if the pages behind it are not
    /// free. Nothing has changed then.
    pub fn resize_pages(&mut self, pos: usize, old: usize, new: usize) -> AllocResult {
        let run = self.run_from(pos).filter(|run| run.kind == RunKind::Pages);
        let run = run.ok_or(AllocError::NotAllocated)?;
        if run.pages as usize != old || new == 0 {
            return Err(AllocError::InvalidParam);
        }
        let length = u32::try_from(new).map_err(|_| AllocError::NoMemory)?;
        if !self.sections[run.section].resize(run.page, run.pages, length, run.kind) {
            return Err(AllocError::NoMemory);
        }
        self.free_pages = self.free_pages + old - new;
        Ok(())
    }

    /// The physical address of `pos`; `None` outside every section.
    pub fn virt_to_phys(&self, pos: usize) -> Option<usize> {
        let section = &self.sections[self.section_of(pos)?];
        Some(section.phys_start + (pos - section.start))
    }

    /// The sections, in order of addition.
    ///
    /// # Time Complexity
    ///
    /// `O(pages / 64)` at worst: one step for each group of 64 pages that is partly free, and for each
    /// run in it.
    pub fn managed_sections(&self) -> Vec<ManagedSection> {
        let section = |section: &Section| {
            let free_runs = section.free_runs();
            ManagedSection {
                start: section.start,
                size: (section.pages as usize) << self.page_shift,
                phys_start: section.phys_start,
                total_pages: section.pages as usize,
                free_pages: free_runs.iter().enumerate().map(|(order, runs)| runs << order).sum(),
                free_runs,
            }
        };
        self.sections.iter().map(section).collect()
    }

    /// The largest count that `alloc_pages(count, page_size)` would serve now, exactly. (A longer
    /// stretch of free pages may exist among smaller buddies; no request is served there.)
    ///
    /// # Time Complexity
    ///
    /// `O(sections * orders)`.
    pub fn largest_free_pages(&self) -> usize {
        self.largest(&[Zone::High, Zone::Low])
    }

    /// As [`largest_free_pages`](Self::largest_free_pages), for `alloc_pages_lowmem`.
    pub fn largest_free_pages_lowmem(&self) -> usize {
        self.largest(&[Zone::Low])
    }

    fn largest(&self, zones: &[Zone]) -> usize {
        let runs = self
            .sections
            .iter()
            .flat_map(|section| zones.iter().map(|&zone| section.largest_run(zone) as usize));
        runs.max().unwrap_or(0)
    }

    /// Every live run that is no slab: `f(pos, pages)`, section by section, ascending.
    pub fn for_each_run(&self, f: &mut dyn FnMut(usize, usize)) {
        self.for_each_state(|pos, pages, state| {
            if matches!(state, PageState::Live(_, RunKind::Pages)) {
                f(pos, pages);
            }
        });
    }

    /// Every free run, as buddies: `f(pos, pages)`, section by section, ascending.
    pub fn for_each_free_run(&self, f: &mut dyn FnMut(usize, usize)) {
        self.for_each_state(|pos, pages, state| {
            if matches!(state, PageState::Free(_)) {
                f(pos, pages);
            }
        });
    }

    fn for_each_state(&self, mut f: impl FnMut(usize, usize, PageState)) {
        for (index, section) in self.sections.iter().enumerate() {
            let walked = section.for_each_run(|page, pages, state| {
                f(self.pos_of(index, page), pages as usize, state);
            });
            debug_assert_eq!(walked, Ok(()));
        }
    }

    /// Pages of live runs that are slabs, counted one by one.
    pub(crate) fn slab_pages(&self) -> usize {
        let mut sum = 0;
        self.for_each_state(|_, pages, state| {
            if matches!(state, PageState::Live(_, RunKind::Slab)) {
                sum += pages;
            }
        });
        sum
    }

    /// Pages managed.
    pub fn total_pages(&self) -> usize {
        self.total_pages
    }

    /// Pages that are free.
    pub fn free_pages(&self) -> usize {
        self.free_pages
    }

    /// Bytes managed.
    pub fn managed_bytes(&self) -> usize {
        self.total_pages << self.page_shift
    }

    /// Bytes of live runs.
    pub fn allocated_bytes(&self) -> usize {
        (self.total_pages - self.free_pages) << self.page_shift
    }

    /// Tests every invariant; only looks.
    ///
    /// # Time Complexity
    ///
    /// `O(runs)`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        for pair in self.by_address.windows(2) {
            if self.end_of(pair[0]) > self.sections[pair[1]].start {
                return Err(format!("sections {} and {} overlap", pair[0], pair[1]));
            }
        }
        let (mut free, mut total) = (0, 0);
        for (index, section) in self.sections.iter().enumerate() {
            free += section.check().map_err(|what| format!("section {index}: {what}"))?;
            total += section.pages as usize;
        }
        if (free, total) != (self.free_pages, self.total_pages) {
            return Err("the totals differ from the sections' sums".into());
        }
        Ok(())
    }
}
