//! CPUs that come and go: attach, detach, adopt; drain and trim.
//!
//! A CPU is *free* (nobody's), *held* (a thread attached it), or *orphaned* (its thread is gone, its
//! slabs wait for the next `attach`). Slots are taken by compare-exchange (HAZARDS CC7).

use heapwright_core::{AllocError, AllocResult};

use super::{Cpu, CpuId, CpuSlabs, GlobalAllocator};
use crate::size_class::SizeClass;
use crate::slab::{ListState, SlabId, SlabState};
use crate::sync::{MutexGuard, Ordering, lock};

pub(super) const SLOT_FREE: u32 = 0;
pub(super) const SLOT_HELD: u32 = 1;
pub(super) const SLOT_ORPHANED: u32 = 2;

impl GlobalAllocator {
    /// Takes a CPU that no thread holds, an orphaned one with its slabs first; `None`: all are held.
    ///
    /// # Time Complexity
    ///
    /// `O(cpus)`.
    pub fn attach(&self) -> Option<CpuId> {
        [SLOT_ORPHANED, SLOT_FREE].into_iter().find_map(|wanted| {
            let taken = |cpu: &Cpu| {
                cpu.slot
                    .compare_exchange(wanted, SLOT_HELD, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            };
            let index = self.cpus.iter().position(taken)?;
            self.reopen(index);
            // Truncation cannot happen: at most CPUS_MAX.
            Some(CpuId(index as u16))
        })
    }

    /// Undoes an adoption: the CPU may have slabs again, and frees come to its own stack.
    fn reopen(&self, index: usize) {
        let mut slabs = lock(&self.cpus[index].slabs);
        if slabs.closed {
            self.commons.pending[index].open();
            slabs.closed = false;
        }
    }

    /// Lets go of `cpu`. Its slabs stay with it, and others may free into them, until the next
    /// `attach` takes it.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if it is not held.
    pub fn detach(&self, cpu: CpuId) -> AllocResult {
        let slot = &self.cpu(cpu)?.slot;
        let bare = lock(&self.cpu(cpu)?.slabs).set.is_empty();
        let next = if bare { SLOT_FREE } else { SLOT_ORPHANED };
        match slot.compare_exchange(SLOT_HELD, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(AllocError::InvalidParam),
        }
    }

    /// `from` goes away: `to` owns its slabs, and what was freed into them is drained. What others
    /// still free into them comes to `to`. `from` is free to be attached again, and refuses to
    /// allocate until then.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slabs of `from`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for CPUs that are not there, the same one twice, or one that was
    /// adopted itself.
    pub fn adopt(&self, from: CpuId, to: CpuId) -> AllocResult {
        if from == to {
            return Err(AllocError::InvalidParam);
        }
        let (mut old, mut new) = self.lock_two(from, to)?;
        if old.closed || new.closed {
            return Err(AllocError::InvalidParam);
        }
        old.closed = true;
        let chain = self.commons.pending[from.index()].close(to);
        let mut adopted: Vec<SlabId> = Vec::new();
        old.set.for_each(&self.commons.arena, |id, _| adopted.push(id));
        for &id in &adopted {
            self.change_owner(&mut old, &mut new, id, to);
        }
        drop(old);
        // A slab of the chain may be returned by this, never one that is still queued.
        self.drain_chain(to, &mut new, chain);
        // A free that is about to queue its slab is taken now; the queueing is then for nothing.
        for id in adopted {
            let slab = self.commons.arena.get(id);
            let ours = slab.owner() == to && self.commons.map.slab(slab.base()) == Some(id);
            if ours && slab.state().list != ListState::None {
                self.collect(&mut new, id, slab);
            }
        }
        self.cpus[from.index()].slot.store(SLOT_FREE, Ordering::Release);
        Ok(())
    }

    /// The locks of two CPUs, taken in the one order.
    fn lock_two(
        &self,
        from: CpuId,
        to: CpuId,
    ) -> AllocResult<(MutexGuard<'_, CpuSlabs>, MutexGuard<'_, CpuSlabs>)> {
        let (from_cpu, to_cpu) = (self.cpu(from)?, self.cpu(to)?);
        Ok(if from < to {
            let first = lock(&from_cpu.slabs);
            (first, lock(&to_cpu.slabs))
        } else {
            let first = lock(&to_cpu.slabs);
            (lock(&from_cpu.slabs), first)
        })
    }

    fn change_owner(&self, old: &mut CpuSlabs, new: &mut CpuSlabs, id: SlabId, to: CpuId) {
        old.set.remove(&self.commons.arena, id);
        let slab = self.commons.arena.get(id);
        slab.set_state(SlabState { owner: to, ..slab.state() });
        new.set.insert(&self.commons.arena, id);
        if let Some(observer) = &self.commons.observer {
            observer.owner_changed(slab.base(), slab.shape().pages as usize, to);
        }
    }

    /// Takes back what other CPUs freed of `cpu`'s; returns how many slots.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slabs that were freed into.
    pub fn drain(&self, cpu: CpuId) -> usize {
        let Ok(slot) = self.cpu(cpu) else { return 0 };
        self.drain_into(cpu, &mut lock(&slot.slabs)).slots
    }

    /// Drains, then gives the empty slabs of `cpu` back; returns pages. A slab that a free is just
    /// about to queue stays until the next time.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slabs that were freed into and those that are empty.
    pub fn trim(&self, cpu: CpuId) -> usize {
        let Ok(slot) = self.cpu(cpu) else { return 0 };
        let mut slabs = lock(&slot.slabs);
        let drained = self.drain_into(cpu, &mut slabs).pages;
        let empty = slabs.set.empty_slabs(&self.commons.arena);
        drained + empty.into_iter().map(|id| self.return_slab(&mut slabs, id)).sum::<usize>()
    }

    /// Empty slabs of one class that `cpu` keeps.
    pub fn empty_slabs(&self, cpu: CpuId, class: SizeClass) -> usize {
        let (Ok(slot), true) = (self.cpu(cpu), class.index() < self.table.len()) else { return 0 };
        lock(&slot.slabs).set.class(class).empties() as usize
    }

    /// As [`trim`](Self::trim) for one class, without draining.
    pub fn trim_class(&self, cpu: CpuId, class: SizeClass) -> usize {
        let (Ok(slot), true) = (self.cpu(cpu), class.index() < self.table.len()) else { return 0 };
        let mut slabs = lock(&slot.slabs);
        let empty = slabs.set.empty_slabs_of(&self.commons.arena, class);
        empty.into_iter().map(|id| self.return_slab(&mut slabs, id)).sum()
    }
}
