//! An id allocator with a live table beside it.
//!
//! Ids are bare numbers: an old copy of an id that was freed and handed out again names its new owner,
//! and a free of it succeeds (HAZARDS AX14). What can be refused is refused from the live table.
//!
//! Invariants ([`AnyMirror::check`]):
//! 1. The ids of live blocks are exactly those that the family counts as used.
//! 2. Room in the table is made before the family is called.
//!
//! Not here: bytes (`mirror.rs`), pages (`page_mirror.rs`).

use heapwright_core::IdFamily;

use crate::{
    any_mirror::AnyMirror,
    arena::ALIGN_MAX,
    ledger::{Ledger, Span, Stats, Totals},
    live_table::Block,
    refusal::{Outcome, Refusal},
};

/// An id allocator behind a live table.
#[derive(Debug)]
pub struct IdMirror<F> {
    family: F,
    ledger: Ledger,
}

impl<F: IdFamily> IdMirror<F> {
    /// Puts `family`, which manages nothing yet, behind a live table.
    pub fn new(family: F) -> Self {
        Self { family, ledger: Ledger::default() }
    }

    /// The wrapped allocator, to look at.
    pub fn family(&self) -> &F {
        &self.family
    }

    fn manage(&mut self, start: usize, size: usize, first: bool) -> Outcome {
        let span = Span { start, size };
        let limit = self.family.capacity();
        self.ledger.judge_span(span, 1, limit, first)?;
        if let Some(base) = self.ledger.spans().first()
            && (start < base.start || span.end() - base.start > limit)
        {
            return Err(Refusal::Capacity { limit });
        }
        let added = if first {
            // SAFETY: ids are no memory.
            unsafe { self.family.init(start, size) }
        } else {
            // SAFETY: as above.
            unsafe { self.family.add_memory(start, size) }
        };
        added.map_err(|error| self.ledger.fail(Refusal::of(error, size)))?;
        self.ledger.add_span(span);
        Ok(())
    }

    /// Allocates `count` consecutive ids, the first a multiple of `align`.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a count of 0 and an alignment that is no power of two or above
    /// [`ALIGN_MAX`]; [`Refusal::Closed`]; [`Refusal::NoMemory`].
    pub fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        if count == 0 || !align.is_power_of_two() || align > ALIGN_MAX {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.ready()?;
        self.ledger.make_room(1, count)?;
        if count > self.family.available() {
            return Err(self.ledger.fail(Refusal::NoMemory { requested: count, errno: 0 }));
        }
        let id = self
            .family
            .alloc_id(count, align)
            .map_err(|error| self.ledger.fail(Refusal::of(error, count)))?;
        self.ledger.born(id, Block { size: count, align }, self.family.used());
        Ok(id)
    }

    /// Takes exactly `id`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`]; [`Refusal::InvalidParam`] where it is not managed; [`Refusal::NoMemory`] where
    /// it is taken.
    pub fn alloc_fixed(&mut self, id: usize) -> Outcome {
        self.ledger.ready()?;
        if !self.ledger.spans().iter().any(|span| span.start <= id && id < span.end()) {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.make_room(1, 1)?;
        self.family.alloc_fixed_id(id).map_err(|error| self.ledger.fail(Refusal::of(error, 1)))?;
        self.ledger.born(id, Block { size: 1, align: 1 }, self.family.used());
        Ok(())
    }

    /// Frees the ids from `start`; a `count` given must be the one recorded.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    pub fn dealloc(&mut self, start: usize, count: Option<usize>) -> Outcome {
        if count == Some(0) {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.ready()?;
        let (position, block) = self.ledger.judge(start, count, None)?;
        if self.family.dealloc_id(start, block.size).is_err() {
            self.ledger.poison("the id allocator does not know a live id");
            return Err(Refusal::Internal);
        }
        self.ledger.died(position);
        Ok(())
    }

    /// Whether `id` is taken, alone or among others; `false` for what is not managed.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::Internal`].
    pub fn is_allocated(&self, id: usize) -> Outcome<bool> {
        self.ledger.ready()?;
        Ok(self.family.is_allocated(id))
    }

    fn totals(&self) -> Totals {
        Totals {
            total: self.family.size(),
            used: self.family.used(),
            largest_free: self.largest_free(),
        }
    }
}

impl<F: IdFamily> AnyMirror for IdMirror<F> {
    fn init(&mut self, start: usize, size: usize) -> Outcome {
        self.manage(start, size, true)
    }

    fn add_memory(&mut self, start: usize, size: usize) -> Outcome {
        self.manage(start, size, false)
    }

    fn spans(&self) -> &[Span] {
        self.ledger.spans()
    }

    fn stats(&self) -> Outcome<Stats> {
        self.ledger.ready()?;
        Ok(self.ledger.stats(self.totals()))
    }

    fn largest_free(&self) -> usize {
        self.family.largest_free(1)
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
        let blocks = self.ledger.check(totals, 1, |_, block| block.size)?;
        let requested = self.ledger.stats(totals).requested;
        if requested != totals.used {
            return Err(format!("{requested} ids are live, {} are used", totals.used));
        }
        self.family.check()?;
        for (start, block) in self.ledger.live.iter() {
            if !self.family.is_allocated(start) || !self.family.is_allocated(start + block.size - 1)
            {
                return Err(format!("the ids from {start} are live and not taken"));
            }
        }
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.ledger.poisoned()
    }
}
