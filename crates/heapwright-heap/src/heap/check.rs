//! All invariants of a heap, and giving memory back to the system.

use std::collections::HashSet;

use super::{
    Attachment, HeapEngine, HeapResult,
    geometry::{MODE_MASK, MODE_PUBLIC, PAGE_BYTES, STATE_LIVE},
    lock,
    page_map::{GENERATION_MASK, LARGE_WORD, PageMap},
    publish::{class_of, owner_of},
    state::StateMap,
};
use crate::magazine::Stack;

impl Attachment {
    /// Verifies every invariant and returns the number of live blocks. While other threads are inside,
    /// what their next instruction may change is left out.
    ///
    /// # Time Complexity
    ///
    /// Linear in slabs, their slots, and touched pages.
    ///
    /// # Errors
    ///
    /// [`HeapError::Poisoned`](super::HeapError::Poisoned) where one does not hold, which poisons the heap;
    /// closed.
    pub fn check(&self) -> HeapResult<usize> {
        let engine = self.open()?;
        // Nobody attaches, lets go, or hands an outbox back meanwhile.
        let members = engine.write_members();
        let checked = self.check_all(members.is_alone());
        drop(members);
        checked.map_err(|what| engine.poison(what))
    }

    fn check_all(&self, alone: bool) -> Result<usize, String> {
        let engine = &*self.engine;
        if alone {
            engine.global.check_invariants()?;
        }
        let live_slots = engine.check_slots(alone.then_some(self.slot()))?;
        let live_runs = engine.check_runs()?;
        let cached = self.check_magazines()?;
        if alone {
            engine.check_page_map()?;
            let marked = engine.count_marked()?;
            // All slabs are this thread's own by now.
            let dead = engine.count_slots(|state| StateMap::is_held(state, self.slot()));
            let outbox = self.magazines().outbox_len();
            if dead != cached + outbox {
                return Err(format!("{dead} slots are out and dead, magazines hold {cached}"));
            }
            let blocks = live_slots + live_runs;
            if marked != blocks {
                return Err(format!("{marked} blocks are marked live, {blocks} are"));
            }
            let taken = super::get(&engine.counters.taken_blocks);
            if taken != blocks + cached + outbox {
                return Err(format!("{taken} blocks are out, {blocks} live and {cached} cached"));
            }
        }
        Ok(live_slots + live_runs)
    }

    /// Judges every entry of this thread's stacks; returns how many there are.
    fn check_magazines(&self) -> Result<usize, String> {
        let engine = &*self.engine;
        let mut seen = HashSet::new();
        for class in 1..=engine.sizes.len() {
            for stack in Stack::ALL {
                let mut damage = Ok(());
                let judged = self.magazines().for_each(stack, class, |p| {
                    if damage.is_ok() {
                        damage = self.judge_entry(class, p);
                        if !seen.insert(p) {
                            damage = Err(format!("{p:#x} is in magazines twice"));
                        }
                    }
                });
                judged.map_err(|_| format!("the stacks of class {class} were written over"))?;
                damage?;
            }
        }
        Ok(seen.len())
    }

    fn judge_entry(&self, class: usize, p: usize) -> Result<(), String> {
        let engine = &*self.engine;
        let wrong =
            |what| Err(format!("a magazine of class {class} holds {p:#x}, which is {what}"));
        if !engine.is_place(p) {
            return wrong("no place of a block");
        }
        match engine.global.slab_at(p) {
            Some(slab) if slab.class.index() + 1 != class => wrong("of another class"),
            Some(slab) if slab.owner != self.cpu() => wrong("another thread's"),
            Some(slab) if slab.slot_start != p => wrong("inside a slot"),
            Some(_) if !engine.global.is_taken(p) => wrong("free in its slab"),
            Some(_) if !StateMap::is_held(engine.state.get(&engine.meta, p), self.slot()) => {
                wrong("not held by it")
            }
            Some(_) => Ok(()),
            None => wrong("in no slab"),
        }
    }

    /// Gives this thread's magazines back, and every free page to the system; returns the bytes of pages
    /// given back now.
    ///
    /// # Time Complexity
    ///
    /// Linear in free runs, and in the pages given back.
    ///
    /// # Errors
    ///
    /// Closed, poisoned.
    pub fn trim(&self) -> HeapResult<usize> {
        let engine = self.enter()?;
        self.reclaim()?;
        let residency = &engine.pages.residency;
        let mut pages = 0;
        engine.global.for_each_free_run(&mut |start, count| {
            let give_back = |p, bytes| engine.data.decommit(p, bytes);
            pages += residency.untouch(start, count, usize::MAX, give_back);
        });
        residency.forget_peak(engine.global.allocated_bytes() / PAGE_BYTES);
        Ok(pages * PAGE_BYTES)
    }
}

impl HeapEngine {
    /// Judges every slot that is out of its slab; returns how many are live. Where one thread is alone,
    /// none bears the mark of another.
    fn check_slots(&self, alone: Option<usize>) -> Result<usize, String> {
        let mut live = 0;
        let mut damage = Ok(());
        self.global.for_each_taken_slot(None, &mut |p, _| {
            let state = self.state.get(&self.meta, p);
            live += usize::from(state == STATE_LIVE);
            if state > STATE_LIVE && alone.is_some_and(|slot| !StateMap::is_held(state, slot)) {
                damage = Err(format!("the state of {p:#x} is {state}"));
            }
        });
        damage.map(|()| live)
    }

    fn count_slots(&self, wanted: impl Fn(u8) -> bool) -> usize {
        let mut count = 0;
        self.global.for_each_taken_slot(None, &mut |p, _| {
            count += usize::from(wanted(self.state.get(&self.meta, p)));
        });
        count
    }

    /// Judges every run of pages; returns how many are live.
    fn check_runs(&self) -> Result<usize, String> {
        let large = lock(&self.large);
        for (&p, &pages) in &*large {
            if self.global.run_at(p) != Some(pages) {
                return Err(format!("no run of {pages} pages starts at {p:#x}"));
            }
            if self.pages.word(p) != LARGE_WORD {
                return Err(format!("the page map does not know the run at {p:#x}"));
            }
        }
        let live = large.keys().filter(|&&p| self.state.is_live(&self.meta, p)).count();
        Ok(live)
    }

    /// Compares the page map with slabs and runs, on the pages that were ever used.
    fn check_page_map(&self) -> Result<(), String> {
        let large = lock(&self.large);
        let mut used = 0;
        let mut damage = Ok(());
        self.pages.residency.for_each_touched(|p| {
            let word = self.pages.word(p) & !GENERATION_MASK;
            let slab = self.global.slab_at(p);
            let expected = match slab {
                Some(slab) => PageMap::slab_word(slab.class, slab.owner),
                None if large.contains_key(&p) => LARGE_WORD,
                None => 0,
            };
            used += slab.map_or_else(|| large.get(&p).copied().unwrap_or(0), |_| 1);
            // Nobody is about to make a page public now, and only pages of slabs in shared heaps are.
            let public = slab.is_some() && self.is_shared() && word & MODE_MASK == MODE_PUBLIC;
            let mode = if public { MODE_PUBLIC } else { 0 };
            if word != expected | mode {
                let (class, owner) = (class_of(word), owner_of(word));
                damage = Err(format!("the page map says class {class} of {owner} at {p:#x}"));
            }
        });
        damage?;
        let allocated = self.global.allocated_bytes() / PAGE_BYTES;
        if used == allocated {
            Ok(())
        } else {
            Err(format!("{allocated} pages are allocated, {used} of them were ever touched"))
        }
    }

    /// Granules that are live by the state map. Each that is not dead must be the start of a block.
    fn count_marked(&self) -> Result<usize, String> {
        let mut count = 0;
        let mut damage = Ok(());
        self.pages.residency.for_each_touched(|page| {
            self.state.for_each_marked(&self.meta, page, |p, state| {
                count += usize::from(state == STATE_LIVE);
                let start = self.block_at(p).map(|block| block.start);
                if start != Some(p)
                    || (self.global.slab_at(p).is_some() && !self.global.is_taken(p))
                {
                    damage = Err(format!("{p:#x} is marked {state} and is no block"));
                }
            });
        });
        damage.map(|()| count)
    }
}
