//! `kind: 'slab-cache'`: the slab level alone behind a live table.
//!
//! It manages no range: its memory is the slabs that the program brings. So there is nothing to
//! initialize, and nothing to view.
//!
//! Invariants ([`SlabCacheMirror::check`]):
//! 1. The taken slots of the engine are exactly the blocks of the live table.
//! 2. Room in the table is made before the engine is called.
//!
//! Not here: slots and slabs (`heapwright-two-level`).

use std::alloc::Layout;

use heapwright_core::{AllocError, AllocResult};
use heapwright_two_level::{ClassStats, SizeClass, SlabAlloc, SlabAllocator, SlabDealloc};

use crate::{
    any_mirror::AnyMirror,
    ledger::{Ledger, RANGE_END_MAX, Span, Stats, Totals},
    live_table::Block,
    refusal::{Outcome, Refusal},
};

/// A [`SlabAllocator`] behind a live table.
#[derive(Debug)]
pub struct SlabCacheMirror {
    slots: SlabAllocator,
    ledger: Ledger,
    /// Bytes of the slots of live blocks.
    granted: usize,
}

impl SlabCacheMirror {
    /// A cache without a slab, over pages of `page_size` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](AllocError::InvalidParam) if that is no power of two.
    pub fn new(page_size: usize) -> AllocResult<Self> {
        Ok(Self { slots: SlabAllocator::new(page_size)?, ledger: Ledger::default(), granted: 0 })
    }

    fn ready(&self) -> Outcome {
        if self.ledger.poisoned().is_some() { Err(Refusal::Internal) } else { Ok(()) }
    }

    /// Allocates a slot, or says what slab is missing.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a size of 0 and above 2048 in size or alignment;
    /// [`Refusal::NoMemory`] for the live table only.
    pub fn alloc(&mut self, size: usize, align: usize) -> Outcome<SlabAlloc> {
        let layout = Layout::from_size_align(size, align).map_err(|_| Refusal::InvalidParam)?;
        if size == 0 || self.slots.table().class_of(layout).is_none() {
            return Err(Refusal::InvalidParam);
        }
        self.ready()?;
        self.ledger.make_room(1, size)?;
        let answer = self.slots.alloc(layout).map_err(|error| Refusal::of(error, size))?;
        if let SlabAlloc::Allocated(pos) = answer {
            self.granted += self.usable(pos);
            self.ledger.born(pos, Block { size, align }, self.granted);
        }
        Ok(answer)
    }

    fn usable(&self, pos: usize) -> usize {
        self.slots.class_at(pos).map_or(0, |class| self.slots.table().size(class))
    }

    /// Makes the `pages` pages from `base` a slab of the class with that index.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`], [`Refusal::MemoryOverlap`], [`Refusal::NoMemory`] for metadata.
    pub fn add_slab(&mut self, class: usize, base: usize, pages: usize) -> Outcome {
        let class = u8::try_from(class).map_err(|_| Refusal::InvalidParam)?;
        let bytes = pages.checked_mul(self.slots.page_size()).ok_or(Refusal::InvalidParam)?;
        if base.checked_add(bytes).is_none_or(|end| end > RANGE_END_MAX) {
            return Err(Refusal::InvalidParam);
        }
        self.ready()?;
        self.slots.add_slab(SizeClass(class), base, pages).map_err(|error| match error {
            AllocError::MemoryOverlap => {
                let (start, size) = self.slots.slab_over(base, pages).unwrap_or((base, bytes));
                Refusal::MemoryOverlap { start, size }
            }
            error => self.ledger.fail(Refusal::of(error, bytes)),
        })
    }

    /// Frees the slot at `pos`; says which slab is the program's again, if one is.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAllocated`].
    pub fn dealloc(&mut self, pos: usize) -> Outcome<SlabDealloc> {
        self.ready()?;
        let (position, _) = self.ledger.judge(pos, None, None)?;
        let usable = self.usable(pos);
        let Ok(answer) = self.slots.dealloc(pos) else {
            self.ledger.poison("the slab allocator does not know a live block");
            return Err(Refusal::Internal);
        };
        self.granted -= usable;
        self.ledger.died(position);
        Ok(answer)
    }

    /// Figures by class.
    ///
    /// # Errors
    ///
    /// [`Refusal::Internal`] once poisoned.
    pub fn classes(&self) -> Outcome<Vec<ClassStats>> {
        self.ready()?;
        Ok(self.slots.class_stats())
    }

    fn totals(&self) -> Totals {
        let classes = self.slots.class_stats();
        let with_slots = classes.iter().filter(|class| class.partial + class.empty > 0);
        Totals {
            total: classes.iter().map(|class| class.objects * class.object_size).sum(),
            used: self.granted,
            largest_free: with_slots.map(|class| class.object_size).max().unwrap_or_default(),
        }
    }
}

impl AnyMirror for SlabCacheMirror {
    fn init(&mut self, _: usize, _: usize) -> Outcome {
        Err(Refusal::Unsupported)
    }

    fn add_memory(&mut self, _: usize, _: usize) -> Outcome {
        Err(Refusal::Unsupported)
    }

    fn spans(&self) -> &[Span] {
        self.ledger.spans()
    }

    fn stats(&self) -> Outcome<Stats> {
        self.ready()?;
        Ok(self.ledger.stats(self.totals()))
    }

    fn largest_free(&self) -> usize {
        self.totals().largest_free
    }

    fn blocks(&self) -> Outcome<Vec<(usize, Block)>> {
        self.ready()?;
        let live = &self.ledger.live;
        live.sorted().map_err(|_| Refusal::NoMemory { requested: live.len(), errno: 0 })
    }

    fn check(&self) -> Result<usize, String> {
        self.ledger.live.check()?;
        let (mut taken, mut granted, mut wrong) = (0, 0, None);
        self.slots.for_each_taken_slot(&mut |pos, usable| {
            taken += 1;
            granted += usable;
            let recorded = self.ledger.live.get(pos);
            if recorded.is_none_or(|block| block.size > usable || pos % block.align != 0) {
                wrong = Some(pos);
            }
        });
        if let Some(pos) = wrong {
            return Err(format!("the block at {pos:#x} is not the one recorded"));
        }
        let blocks = self.ledger.live.len();
        if taken != blocks || granted != self.granted {
            return Err(format!("{taken} slots of {granted} bytes are taken, {blocks} recorded"));
        }
        self.slots.check_invariants()?;
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.ledger.poisoned()
    }
}
