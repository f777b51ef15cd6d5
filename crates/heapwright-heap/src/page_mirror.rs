//! A page allocator with a live table beside it, over addresses with or without memory behind them.
//!
//! A page allocator never touches the pages that it manages, so it needs no control mapping: it is given
//! the program's own addresses, up to 2^53. What the mirror adds for bytes, the judging of every call
//! from a live table, is the same here; so is the data mapping, where the program wants one.
//!
//! Invariants ([`AnyMirror::check`]):
//! 1. The pages of live blocks are exactly the pages that the family counts as used.
//! 2. Room in the table is made before the family is called.
//! 3. All ranges lie within the capacity from the start of the first: that which the program named, else
//!    that of the family.
//!
//! Not here: bytes (`mirror.rs`), ids (`id_mirror.rs`).

use heapwright_core::PageFamily;

use crate::{
    any_mirror::AnyMirror,
    arena::{ALIGN_MAX, Arena, ControlPlacement, Memory},
    ledger::{Ledger, Span, Stats, Totals},
    live_table::Block,
    refusal::{Outcome, Refusal},
};

/// A page allocator behind a live table.
#[derive(Debug)]
pub struct PageMirror<F> {
    family: F,
    ledger: Ledger,
    arenas: Vec<Arena>,
    memory: Memory,
    capacity_bytes: Option<usize>,
}

impl<F: PageFamily> PageMirror<F> {
    /// Puts `family`, which manages nothing yet, behind a live table. All ranges must lie within
    /// `capacity_bytes` from the start of the first, or within what the family can hold.
    pub fn new(family: F, memory: Memory, capacity_bytes: Option<usize>) -> Self {
        Self { family, ledger: Ledger::default(), arenas: Vec::new(), memory, capacity_bytes }
    }

    /// The wrapped allocator, to look at.
    pub fn family(&self) -> &F {
        &self.family
    }

    fn manage(&mut self, start: usize, size: usize, first: bool) -> Outcome {
        if start == 0 {
            return Err(Refusal::InvalidParam);
        }
        let span = Span { start, size };
        let held = self.family.capacity().saturating_mul(self.family.page_size());
        let limit = self.capacity_bytes.map_or(held, |bytes| bytes.min(held));
        self.ledger.judge_span(span, self.family.page_size(), limit, first)?;
        if let Some(base) = self.ledger.spans().first()
            && (start < base.start || span.end() - base.start > limit)
        {
            return Err(Refusal::Capacity { limit });
        }
        self.arenas
            .try_reserve(1)
            .map_err(|_| self.ledger.fail(Refusal::NoMemory { requested: size, errno: 0 }))?;
        let arena = Arena::map(start, size, ControlPlacement::None, self.memory)
            .map_err(|error| self.ledger.fail(Refusal::of_system(&error, size)))?;
        let added = if first {
            // SAFETY: a page family keeps nothing in the range, so it need not be memory at all.
            unsafe { self.family.init(start, size) }
        } else {
            // SAFETY: as above.
            unsafe { self.family.add_memory(start, size) }
        };
        added.map_err(|error| self.ledger.fail(Refusal::of(error, size)))?;
        self.arenas.push(arena);
        self.ledger.add_span(span);
        Ok(())
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.family.page_size()
    }

    /// Count and alignment of a request, checked.
    #[inline]
    fn judge_request(&self, count: usize, align: usize) -> Outcome {
        let align_is_right =
            align.is_power_of_two() && align >= self.family.page_size() && align <= ALIGN_MAX;
        if count == 0 || !align_is_right { Err(Refusal::InvalidParam) } else { Ok(()) }
    }

    /// Allocates `count` contiguous pages at a multiple of `align` bytes.
    ///
    /// # Time Complexity
    ///
    /// That of the family, plus constant on average.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a count of 0 and an alignment that is no power of two, below the page
    /// or above [`ALIGN_MAX`]; [`Refusal::Closed`]; [`Refusal::NoMemory`].
    pub fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.judge_request(count, align)?;
        self.ledger.ready()?;
        self.ledger.make_room(1, count)?;
        if count > self.family.available_pages() {
            return Err(self.ledger.fail(Refusal::NoMemory { requested: count, errno: 0 }));
        }
        let pos = self
            .family
            .alloc_pages(count, align)
            .map_err(|error| self.ledger.fail(Refusal::of(error, count)))?;
        self.ledger.born(pos, Block { size: count, align }, self.family.used_pages());
        Ok(pos)
    }

    /// Allocates the `count` pages at exactly `base`.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); [`Refusal::InvalidParam`] also for a base that is no page, not aligned,
    /// or where the pages do not lie in one range; [`Refusal::NoMemory`] where one is taken.
    pub fn alloc_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize> {
        self.judge_request(count, align)?;
        if !base.is_multiple_of(align) {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.ready()?;
        let end = count
            .checked_mul(self.family.page_size())
            .and_then(|size| base.checked_add(size))
            .ok_or(Refusal::InvalidParam)?;
        if !self.ledger.spans().iter().any(|span| span.start <= base && end <= span.end()) {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.make_room(1, count)?;
        let pos = self
            .family
            .alloc_pages_at(base, count, align)
            .map_err(|error| self.ledger.fail(Refusal::of(error, count)))?;
        self.ledger.born(pos, Block { size: count, align }, self.family.used_pages());
        Ok(pos)
    }

    /// Frees the pages from `pos`; a `count` given must be the one recorded.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    pub fn dealloc(&mut self, pos: usize, count: Option<usize>) -> Outcome {
        if count == Some(0) {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.ready()?;
        let (position, block) = self.ledger.judge(pos, count, None)?;
        if self.family.dealloc_pages(pos, block.size).is_err() {
            self.ledger.poison("the page allocator does not know a live block");
            return Err(Refusal::Internal);
        }
        self.ledger.died(position);
        Ok(())
    }

    /// The live block at `pos`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`].
    pub fn lookup(&self, pos: usize) -> Outcome<Block> {
        self.ledger.ready()?;
        self.ledger.judge(pos, None, None).map(|(_, block)| block)
    }

    fn totals(&self) -> Totals {
        Totals {
            total: self.family.total_pages(),
            used: self.family.used_pages(),
            largest_free: self.largest_free(),
        }
    }
}

impl<F: PageFamily> AnyMirror for PageMirror<F> {
    fn init(&mut self, start: usize, size: usize) -> Outcome {
        self.manage(start, size, true)
    }

    fn add_memory(&mut self, start: usize, size: usize) -> Outcome {
        self.manage(start, size, false)
    }

    fn spans(&self) -> &[Span] {
        self.ledger.spans()
    }

    fn arenas(&self) -> &[Arena] {
        &self.arenas
    }

    fn arena_mut(&mut self, index: usize) -> Option<&mut Arena> {
        self.arenas.get_mut(index)
    }

    fn stats(&self) -> Outcome<Stats> {
        self.ledger.ready()?;
        Ok(self.ledger.stats(self.totals()))
    }

    fn largest_free(&self) -> usize {
        self.family.largest_free(self.family.page_size())
    }

    fn blocks(&self) -> Outcome<Vec<(usize, Block)>> {
        self.ledger.ready()?;
        self.ledger
            .live
            .sorted()
            .map_err(|_| Refusal::NoMemory { requested: self.ledger.live.len(), errno: 0 })
    }

    fn check(&self) -> Result<usize, String> {
        let totals = self.totals();
        let blocks = self.ledger.check(totals, self.page_size(), |_, block| block.size)?;
        let requested = self.ledger.stats(totals).requested;
        if requested != totals.used {
            return Err(format!("{requested} pages are live, {} are used", totals.used));
        }
        self.family.check()?;
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.ledger.poisoned()
    }
}
