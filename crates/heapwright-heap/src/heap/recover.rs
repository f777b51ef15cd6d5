//! Threads that attach, let go and die; from one thread to several.
//!
//! A thread's magazines are native memory, so whoever finds out that a thread is gone can return what it
//! held, from that memory alone and whatever its last instruction was:
//!
//! - Its magazines hold slots of its own slabs only. So what it held is every slot of its slabs that is
//!   taken and dead or marked as held by it, whatever its stack tops say: `alloc` marks a block live after
//!   popping it, `free` marks it held before pushing it.
//! - The mark of another thread on such a slot is a free: one that waits in that thread's outbox, or one that comes
//!   late, by one who has read the page map long ago, and who will look again. The slot is left alone.
//! - Blocks of others that it freed bear its mark. JavaScript writes the outbox entry before it changes
//!   the state, and is not terminated between the two, so every such block is in the outbox of the thread
//!   that claimed it and in no other, and that one hands it back, or whoever recovers it, before it looks for
//!   what was in magazines: slabs that the thread adopted may have some of these. Entries of which the state
//!   says otherwise are passed over.
//! - Its slabs go to a thread that stays (`adopt`), and with them what others free into them.
//!
//! A block that Rust itself is about to hand back is dead and taken for a moment. The members' lock keeps
//! that moment and a recovery apart: frees of shared heaps read it, attach and detach write it.

use std::sync::{Arc, atomic::Ordering};

use heapwright_two_level::CpuId;

use super::{
    Attachment, HeapEngine, HeapError, HeapResult, add, get, lock, state::StateMap, take_away,
};

/// Who is attached.
#[derive(Debug, Default)]
pub(super) struct Members {
    slots: Vec<u16>,
    joined: bool,
    closed: bool,
}

impl Members {
    /// Threads attached.
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// The slots of these threads.
    pub(super) fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// Whether at most one thread is attached.
    pub(super) fn is_alone(&self) -> bool {
        self.slots.len() <= 1
    }

    /// Whether a second thread has ever attached.
    pub(super) fn was_joined(&self) -> bool {
        self.joined
    }
}

impl HeapEngine {
    /// Attaches a thread: the creator, or, once the heap is shared, any.
    ///
    /// # Errors
    ///
    /// [`HeapError::Closed`] if the last thread has let go or the heap was destroyed,
    /// [`HeapError::Capacity`] if there is no slot; [`HeapError::InvalidParam`] for a second thread on an
    /// exclusive heap; poisoned.
    pub fn attach(self: &Arc<Self>) -> HeapResult<Attachment> {
        let mut members = self.write_members();
        if members.closed || self.is_dead() {
            return Err(HeapError::Closed);
        }
        if self.poison.get().is_some() {
            return Err(HeapError::Poisoned);
        }
        if members.count() > 0 && !self.is_shared() {
            return Err(HeapError::InvalidParam);
        }
        let cpu = self.global.attach();
        let cpu = cpu.ok_or(HeapError::Capacity { limit: self.geometry.max_threads })?;
        self.open_area(cpu.index());
        members.joined |= members.count() > 0;
        members.slots.push(cpu.0);
        Ok(Attachment { engine: Arc::clone(self), slot: cpu.0 })
    }

    /// The class number of a size in granules; 0 for none.
    fn class_of_granules(&self, granules: usize) -> usize {
        let size = granules * super::geometry::GRANULE_BYTES;
        let index = self.sizes.partition_point(|&other| other < size);
        if granules == 0 || index == self.sizes.len() { 0 } else { index + 1 }
    }

    /// Lets go of `slot`, whose thread does nothing with the heap any more, and returns whether it was the
    /// last. What it held goes back, its slabs to another thread. A slot that is not attached: nothing.
    pub fn detach(self: &Arc<Self>, slot: usize) -> bool {
        let mut members = self.write_members();
        let Some(index) = members.slots.iter().position(|&other| usize::from(other) == slot) else {
            return false;
        };
        let gone = members.slots.swap_remove(index);
        let magazines = self.magazines(slot);
        add(&self.counters.allocs_of_the_gone, whole(magazines.all_allocs()));
        let Some(&heir) = members.slots.first() else {
            magazines.close();
            members.closed = true;
            return true;
        };
        if !self.is_dead() && self.poison.get().is_none() {
            self.high_water(slot);
            // Damage has poisoned the heap: then there is nothing to save.
            let _ = self.recover(CpuId(gone), CpuId(heir));
        }
        magazines.close();
        false
    }

    /// Returns what the thread of `gone` held, and gives its slabs to `heir`. The caller holds the members'
    /// lock for writing.
    fn recover(&self, gone: CpuId, heir: CpuId) -> HeapResult {
        self.give_outbox(gone)?;
        let mut cached = Vec::new();
        let mut bytes = 0;
        self.global.for_each_taken_slot(Some(gone), &mut |p, size| {
            if StateMap::is_held(self.state.get(&self.meta, p), gone.index()) {
                cached.push(p);
                bytes += size;
            }
        });
        self.state.set_dead(&self.meta, &cached);
        if self.global.give_slots(gone, &cached).is_err() {
            return Err(self.poison(format!("slot {} held a free slot", gone.0)));
        }
        take_away(&self.counters.taken_blocks, cached.len());
        take_away(&self.counters.taken_bytes, bytes);
        let thread = &self.threads[gone.index()];
        let estimate = thread.cached_estimate.swap(0, Ordering::Relaxed);
        take_away(&self.counters.cached_estimate, estimate);
        thread.used_classes.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        // The heir runs, may have made private what is its own by now, and what is empty goes back.
        match self.pages.return_others(|| self.global.adopt(gone, heir)) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.poison(format!("slot {} cannot be adopted", gone.0))),
        }
    }

    /// Blocks popped from stacks and allocated here, by all threads there ever were.
    pub(super) fn all_allocs(&self, members: &Members) -> usize {
        let popped = |&slot: &u16| whole(self.magazines(usize::from(slot)).all_allocs());
        let popped: usize = members.slots.iter().map(popped).sum();
        let gone = get(&self.counters.allocs_of_the_gone);
        popped.wrapping_add(get(&self.counters.allocs)).wrapping_add(gone)
    }

    /// Prepares the area of `slot`.
    fn open_area(&self, slot: usize) {
        let alive = self.attachments.fetch_add(1, Ordering::Relaxed) & i32::MAX.cast_unsigned();
        let alive = alive.cast_signed().max(1);
        self.magazines(slot).open(slot, alive, |granules| self.class_of_granules(granules));
        self.threads[slot].quiet.reset();
    }
}

/// A count that JavaScript keeps as a double; nothing where it is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(count: f64) -> usize {
    (count as u64).min(1 << 53) as usize
}

impl Attachment {
    /// Turns an exclusive heap into a shared one. For the one thread that is attached, before anybody else
    /// can be: no window, for the caller is the owner (HAZARDS CC10).
    ///
    /// # Errors
    ///
    /// Closed, poisoned.
    pub fn share(&self) -> HeapResult {
        let engine = self.enter()?;
        if engine.is_shared() {
            return Ok(());
        }
        let _members = engine.write_members();
        self.flush_all()?;
        let old = self.magazines();
        engine.global.for_each_taken_slot(None, &mut |p, _| {
            engine.state.move_to_byte(&engine.meta, p);
        });
        for &p in lock(&engine.large).keys() {
            engine.state.move_to_byte(&engine.meta, p);
        }
        engine.state.share();
        engine.pages.share();
        // The area of a shared heap's slot, from now on; whoever still has the old one finds nothing.
        engine.open_area(self.slot());
        self.magazines().set_allocs(old.allocs());
        old.close();
        Ok(())
    }

    /// Ends the heap for every thread: its data read zero from now on, every call is refused.
    pub fn destroy(&self) {
        let engine = &*self.engine;
        if engine.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        let members = engine.read_members();
        for &slot in &members.slots {
            engine.magazines(usize::from(slot)).mark_dead();
        }
        engine.data.zero_over();
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.engine.detach(self.slot()) {
            crate::registry::forget(&self.engine);
        }
    }
}
