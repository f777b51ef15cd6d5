//! Freeing: flushed magazines, single blocks, and what other threads' blocks wait for in the outbox.
//!
//! A free is won in the state map first: of any number of callers one turns the block dead, and only that
//! one hands it back. Handing back a block of a shared heap happens under the members' read lock, so that
//! no dead thread is recovered between the two steps (`recover.rs`).

use std::sync::atomic::Ordering;

use heapwright_two_level::CpuId;

use super::{
    Attachment, HeapEngine, HeapError, HeapResult, geometry::PAGE_BYTES, lock, publish::class_of,
    take_away,
};
use crate::magazine::Stack;

impl Attachment {
    /// Makes room on a full stack: hands the older half back to the slabs. A free stack whose alloc stack
    /// is empty trades places with it instead; one whose alloc stack is half empty fills that up.
    ///
    /// # Time Complexity
    ///
    /// Linear in the blocks handed back.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] for a number that is no class; closed, poisoned.
    pub fn flush(&self, stack: Stack, class: usize) -> HeapResult {
        let engine = self.enter()?;
        engine.class(class)?;
        engine.mark_used(self.slot(), class);
        engine.high_water(self.slot());
        let mut blocks = Vec::new();
        let flushed = self.magazines().flush(stack, class, false, &mut blocks);
        flushed.map_err(|corrupt| self.corrupt(corrupt))?;
        self.give_cached(class, &blocks)
    }

    /// Hands back what a magazine of `class` held.
    pub(super) fn give_cached(&self, class: usize, blocks: &[usize]) -> HeapResult {
        let engine = &*self.engine;
        if blocks.is_empty() {
            return Ok(());
        }
        if let Some(p) = engine.state.find_live(&engine.meta, engine.geometry.size, blocks) {
            return Err(engine.poison(format!("a magazine of class {class} held {p:#x}")));
        }
        engine.state.set_dead(&engine.meta, blocks);
        if engine.global.give_slots(self.cpu(), blocks).is_err() {
            return Err(engine.poison(format!("a magazine of class {class} held a free slot")));
        }
        let bytes = blocks.len() * engine.sizes[class - 1];
        take_away(&engine.counters.taken_blocks, blocks.len());
        take_away(&engine.counters.taken_bytes, bytes);
        // They were not live for `high_water` either.
        let estimate = &engine.threads[self.slot()].cached_estimate;
        let cached = super::get(estimate);
        estimate.store(cached - cached.min(bytes), Ordering::Relaxed);
        take_away(&engine.counters.cached_estimate, cached.min(bytes));
        Ok(())
    }

    /// Gives all magazines of this thread back; they are as small as at first then.
    pub(super) fn flush_all(&self) -> HeapResult {
        let engine = &*self.engine;
        engine.high_water(self.slot());
        let magazines = self.magazines();
        let mut blocks = Vec::new();
        for class in 1..=engine.sizes.len() {
            blocks.clear();
            let flushed = magazines.flush_class(class, &mut blocks);
            flushed.map_err(|corrupt| self.corrupt(corrupt))?;
            self.give_cached(class, &blocks)?;
            magazines.reset(class);
        }
        Ok(())
    }

    /// Frees the block at `p`.
    ///
    /// # Errors
    ///
    /// [`HeapError::NotAllocated`] unless a live block starts there; closed, poisoned.
    pub fn free(&self, p: usize) -> HeapResult {
        let engine = self.enter()?;
        engine.keep_high_water();
        let _members = engine.is_shared().then(|| engine.read_members());
        self.free_one(p)
    }

    /// Frees one block; the caller holds the members' lock where the heap is shared.
    pub(super) fn free_one(&self, p: usize) -> HeapResult {
        let engine = &*self.engine;
        if !engine.is_place(p) || !engine.claim(p, self.slot()) {
            return Err(HeapError::NotAllocated);
        }
        self.give_back(p)
    }

    /// Hands one dead block back, a slot or a run of pages.
    pub(super) fn give_back(&self, p: usize) -> HeapResult {
        let engine = &*self.engine;
        let Some(size) = engine.slot_size(p) else { return engine.give_run(p) };
        if engine.global.give_slots(self.cpu(), &[p]).is_err() {
            return Err(engine.poison(format!("the state map said that {p:#x} was live")));
        }
        take_away(&engine.counters.taken_blocks, 1);
        take_away(&engine.counters.taken_bytes, size);
        Ok(())
    }

    /// Hands the outbox back: blocks of other threads that this one has freed.
    ///
    /// # Errors
    ///
    /// Closed, poisoned.
    pub fn flush_outbox(&self) -> HeapResult {
        self.enter()?.high_water(self.slot());
        self.hand_outbox()
    }

    pub(super) fn hand_outbox(&self) -> HeapResult {
        let engine = &*self.engine;
        if !engine.is_shared() {
            return Ok(());
        }
        let _members = engine.read_members();
        engine.give_outbox(self.cpu())
    }
}

impl HeapEngine {
    /// Hands back the outbox of a thread, which is the caller's or dead. The caller holds the members'
    /// lock.
    pub(super) fn give_outbox(&self, cpu: CpuId) -> HeapResult {
        let mut blocks = Vec::new();
        if self.magazines(cpu.index()).take_outbox(&mut blocks).is_err() {
            return Err(self.poison(format!("the outbox of slot {} was written over", cpu.0)));
        }
        let mut bytes = 0;
        let mut runs = Vec::new();
        blocks.retain(|&p| {
            // The state decides: what bears no mark of this thread is passed over.
            if !self.is_place(p) || !self.state.take_from_outbox(&self.meta, p, cpu.index()) {
                return false;
            }
            // The page map's word: the slab's descriptor is looked up once, by those who need it.
            if let Some(size) = self.slot_size(p) {
                bytes += size;
                true
            } else {
                runs.push(p);
                false
            }
        });
        if self.global.give_slots(cpu, &blocks).is_err() {
            return Err(self.poison(format!("the outbox of slot {} held a free slot", cpu.0)));
        }
        take_away(&self.counters.taken_blocks, blocks.len());
        take_away(&self.counters.taken_bytes, bytes);
        runs.into_iter().try_for_each(|p| self.give_run(p))
    }

    /// Bytes of the slot at `p`, which is taken; `None` where a run of pages starts there.
    #[inline]
    pub(super) fn slot_size(&self, p: usize) -> Option<usize> {
        let class = class_of(self.pages.word(p));
        self.sizes.get(class.wrapping_sub(1)).copied()
    }

    /// Hands back the run of pages at `p`, which is dead.
    fn give_run(&self, p: usize) -> HeapResult {
        let removed = lock(&self.large).remove(&p);
        let Some(pages) = removed else {
            return Err(self.poison(format!("the state map said that {p:#x} was live")));
        };
        self.pages.run_removed(p);
        if self.global.dealloc_pages(p, pages).is_err() {
            return Err(self.poison(format!("the run at {p:#x} was not allocated")));
        }
        take_away(&self.counters.taken_blocks, 1);
        take_away(&self.counters.taken_bytes, pages * PAGE_BYTES);
        Ok(())
    }
}
