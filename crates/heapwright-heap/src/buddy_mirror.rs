//! `kind: 'buddy-pages'`: the page level of the two-level engine behind a live table.
//!
//! Invariants ([`AnyMirror::check`]):
//! 1. The live runs of the engine are exactly the blocks of the live table, page for page.
//! 2. Room in the table is made before the engine is called.
//!
//! Not here: how runs are found (`heapwright-two-level`).

use heapwright_core::AllocResult;
use heapwright_two_level::{BuddyAllocator, ManagedSection};

use crate::{
    any_mirror::AnyMirror,
    arena::{ALIGN_MAX, Arena, Memory},
    ledger::{Span, Stats, Totals},
    live_table::Block,
    refusal::{Outcome, Refusal},
    sections::Sections,
};

/// A [`BuddyAllocator`] behind a live table.
#[derive(Debug)]
pub struct BuddyMirror {
    pages: BuddyAllocator,
    sections: Sections,
}

impl BuddyMirror {
    /// An allocator that manages nothing yet, over pages of `page_size` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](heapwright_core::AllocError::InvalidParam) if that is no power of two.
    pub fn new(page_size: usize, memory: Memory) -> AllocResult<Self> {
        Ok(Self { pages: BuddyAllocator::new(page_size)?, sections: Sections::new(memory) })
    }

    /// Manages `[start, start + size)`, whose physical addresses begin at `phys_start`; the first range
    /// (`first`) or one more.
    ///
    /// # Errors
    ///
    /// As [`AnyMirror::init`] and [`AnyMirror::add_memory`].
    pub fn add_region(
        &mut self,
        start: usize,
        size: usize,
        phys_start: usize,
        first: bool,
    ) -> Outcome {
        let page_size = self.pages.page_size();
        let pages = &mut self.pages;
        self.sections.manage(Span { start, size }, phys_start, page_size, first, || {
            pages.add_region(start, size, phys_start)
        })
    }

    /// Takes a run by `take`, once the request has been judged, and records it.
    fn alloc_by(
        &mut self,
        count: usize,
        align: usize,
        take: impl FnOnce(&mut BuddyAllocator) -> AllocResult<usize>,
    ) -> Outcome<usize> {
        judge_request(count, align, self.pages.page_size())?;
        self.sections.ledger.ready()?;
        self.sections.ledger.make_room(1, count)?;
        let pos = take(&mut self.pages)
            .map_err(|error| self.sections.ledger.fail(Refusal::of(error, count)))?;
        let used = self.used_pages();
        self.sections.ledger.born(pos, Block { size: count, align }, used);
        Ok(pos)
    }

    /// Allocates `count` pages at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`], [`Refusal::Closed`], [`Refusal::NoMemory`].
    #[inline]
    pub fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.alloc_by(count, align, |pages| pages.alloc_pages(count, align))
    }

    /// As [`alloc`](Self::alloc), wholly below 4 GiB of physical address.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_lowmem(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.alloc_by(count, align, |pages| pages.alloc_pages_lowmem(count, align))
    }

    /// Allocates the `count` pages at exactly `base`.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); [`Refusal::NoMemory`] where one of them is taken.
    pub fn alloc_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize> {
        self.alloc_by(count, align, |pages| pages.alloc_pages_at(base, count, align))
    }

    /// Frees the run at `pos`; a `count` given must be the one recorded.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    pub fn dealloc(&mut self, pos: usize, count: Option<usize>) -> Outcome {
        if count == Some(0) {
            return Err(Refusal::InvalidParam);
        }
        let ledger = &mut self.sections.ledger;
        ledger.ready()?;
        let (position, block) = ledger.judge(pos, count, None)?;
        if self.pages.dealloc_pages(pos, block.size).is_err() {
            ledger.poison("the buddy allocator does not know a live run");
            return Err(Refusal::Internal);
        }
        ledger.died(position);
        Ok(())
    }

    /// The live run at `pos`; its size is in pages.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`].
    pub fn lookup(&self, pos: usize) -> Outcome<Block> {
        self.sections.ledger.ready()?;
        self.sections.ledger.judge(pos, None, None).map(|(_, block)| block)
    }

    /// The physical address of `pos`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`]; [`Refusal::InvalidParam`] outside of every range.
    pub fn virt_to_phys(&self, pos: usize) -> Outcome<usize> {
        self.sections.ledger.ready()?;
        self.pages.virt_to_phys(pos).ok_or(Refusal::InvalidParam)
    }

    /// The sections, in order of addition.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`].
    pub fn managed_sections(&self) -> Outcome<Vec<ManagedSection>> {
        self.sections.ledger.ready()?;
        Ok(self.pages.managed_sections())
    }

    /// Bytes managed, and bytes of live runs.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`].
    pub fn bytes(&self) -> Outcome<(usize, usize)> {
        self.sections.ledger.ready()?;
        Ok((self.pages.managed_bytes(), self.pages.allocated_bytes()))
    }

    /// The most pages that [`alloc_lowmem`](Self::alloc_lowmem) would serve now.
    pub fn largest_free_lowmem(&self) -> usize {
        self.pages.largest_free_pages_lowmem()
    }

    fn used_pages(&self) -> usize {
        self.pages.total_pages() - self.pages.free_pages()
    }

    fn totals(&self) -> Totals {
        Totals {
            total: self.pages.total_pages(),
            used: self.used_pages(),
            largest_free: self.pages.largest_free_pages(),
        }
    }
}

/// Count and alignment of a request for pages.
///
/// # Errors
///
/// [`Refusal::InvalidParam`].
#[inline]
pub(crate) fn judge_request(count: usize, align: usize, page_size: usize) -> Outcome {
    let align_is_right = align.is_power_of_two() && align >= page_size && align <= ALIGN_MAX;
    if count == 0 || !align_is_right { Err(Refusal::InvalidParam) } else { Ok(()) }
}

impl AnyMirror for BuddyMirror {
    fn init(&mut self, start: usize, size: usize) -> Outcome {
        self.add_region(start, size, start, true)
    }

    fn add_memory(&mut self, start: usize, size: usize) -> Outcome {
        self.add_region(start, size, start, false)
    }

    fn spans(&self) -> &[Span] {
        self.sections.ledger.spans()
    }

    fn arenas(&self) -> &[Arena] {
        &self.sections.arenas
    }

    fn arena_mut(&mut self, index: usize) -> Option<&mut Arena> {
        self.sections.arenas.get_mut(index)
    }

    fn stats(&self) -> Outcome<Stats> {
        self.sections.ledger.ready()?;
        Ok(self.sections.ledger.stats(self.totals()))
    }

    fn largest_free(&self) -> usize {
        self.pages.largest_free_pages()
    }

    fn blocks(&self) -> Outcome<Vec<(usize, Block)>> {
        let ledger = &self.sections.ledger;
        ledger.ready()?;
        ledger
            .live
            .sorted()
            .map_err(|_| Refusal::NoMemory { requested: ledger.live.len(), errno: 0 })
    }

    fn check(&self) -> Result<usize, String> {
        let totals = self.totals();
        let ledger = &self.sections.ledger;
        let blocks = ledger.check(totals, self.pages.page_size(), |_, block| block.size)?;
        let mut wrong = None;
        let mut runs = 0;
        self.pages.for_each_run(&mut |pos, pages| {
            runs += 1;
            if ledger.live.get(pos).is_none_or(|block| block.size != pages) {
                wrong = Some(pos);
            }
        });
        if let Some(pos) = wrong {
            return Err(format!("the run at {pos:#x} is not the one recorded"));
        }
        if runs != blocks || ledger.stats(totals).requested != totals.used {
            return Err(format!("{runs} runs are live, {blocks} are recorded"));
        }
        self.pages.check_invariants()?;
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.sections.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.sections.ledger.poisoned()
    }
}
