//! Blocks and slots: taking and giving.

use core::alloc::Layout;

use heapwright_core::{AllocError, AllocResult};

use super::{CpuId, CpuSlabs, GlobalAllocator, SlabInfo};
use crate::remote;
use crate::size_class::{SizeClass, SlotSize};
use crate::slab::{ListState, Slab, SlabId, SlotBit};
use crate::sync::{MutexGuard, lock};

/// What a drain brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drained {
    /// Slots that can be handed out again.
    pub(super) slots: usize,
    /// Pages of the slabs that became surplus thereby, given back.
    pub(super) pages: usize,
}

/// Slots of one bitmap word that are freed together.
#[derive(Clone, Copy, Debug)]
struct Group {
    id: SlabId,
    bit: SlotBit,
    /// Address of the first slot of the word.
    start: usize,
    /// Slots of the word.
    slots: usize,
    size: SlotSize,
}

impl Group {
    /// The bit of the slot that begins at `pos`, if it is of this word.
    #[inline]
    fn mask_of(&self, pos: usize) -> Option<u64> {
        let offset = pos.wrapping_sub(self.start);
        if offset >= self.slots * self.size.bytes() {
            return None;
        }
        let slot = self.size.index_of(offset);
        (slot * self.size.bytes() == offset).then(|| 1 << slot)
    }
}

impl GlobalAllocator {
    /// Allocates one block: a slot where a class fits, else pages.
    ///
    /// # Time Complexity
    ///
    /// Constant, and `O(orders)` where pages are asked for.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a size of 0, a CPU that is not there or was adopted;
    /// [`AllocError::NoMemory`].
    pub fn alloc(&self, cpu: CpuId, layout: Layout) -> AllocResult<usize> {
        if layout.size() == 0 {
            return Err(AllocError::InvalidParam);
        }
        let Some(class) = self.table.class_of(layout) else {
            self.cpu(cpu)?;
            let pages = self.commons.pages_for(layout.size());
            return self.alloc_pages(pages, layout.align());
        };
        let mut slabs = lock(&self.cpu(cpu)?.slabs);
        if slabs.closed {
            return Err(AllocError::InvalidParam);
        }
        loop {
            if let Some((slab, slot)) = self.take_one(&mut slabs, class) {
                return Ok(slab.base() + slot * self.commons.slots[class.index()].bytes());
            }
            self.drain_into(cpu, &mut slabs);
            if slabs.set.serving(class).is_none() {
                self.add_slab(cpu, &mut slabs, class)?;
            }
        }
    }

    /// Hands up to `max` slots of `class` to `out`, ascending within a slab; returns how many.
    /// From the CPU's slabs while they have any, then from what is pending, else from a new slab;
    /// so 0 means that there is no memory (or no such CPU or class). `out` must not call the
    /// allocator.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slots handed out and the bitmap words passed; one atomic for each word.
    pub fn take_slots(
        &self,
        cpu: CpuId,
        class: SizeClass,
        max: usize,
        mut out: impl FnMut(usize),
    ) -> usize {
        let Ok(cpu_slabs) = self.cpu(cpu) else { return 0 };
        if class.index() >= self.table.len() {
            return 0;
        }
        let size = self.table.size(class);
        let mut slabs = lock(&cpu_slabs.slabs);
        let mut taken = self.take_available(&mut slabs, class, size, max, &mut out);
        if taken < max && self.drain_into(cpu, &mut slabs).slots > 0 {
            taken += self.take_available(&mut slabs, class, size, max - taken, &mut out);
        }
        if taken == 0 && max > 0 && !slabs.closed && self.add_slab(cpu, &mut slabs, class).is_ok() {
            taken = self.take_available(&mut slabs, class, size, max, &mut out);
        }
        taken
    }

    /// Whether other CPUs may free while one allocates.
    #[inline]
    fn shared(&self) -> bool {
        self.cpus.len() > 1
    }

    #[inline]
    fn take_one(&self, slabs: &mut CpuSlabs, class: SizeClass) -> Option<(Slab<'_>, usize)> {
        let (set, arena) = (&mut slabs.set, &self.commons.arena);
        if self.shared() {
            set.take_one::<true>(arena, class)
        } else {
            set.take_one::<false>(arena, class)
        }
    }

    #[inline]
    fn take_available(
        &self,
        slabs: &mut CpuSlabs,
        class: SizeClass,
        size: usize,
        max: usize,
        out: &mut impl FnMut(usize),
    ) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(id) = slabs.set.serving(class) else { break };
            let base = self.commons.arena.get(id).base();
            let (set, arena, left) = (&mut slabs.set, &self.commons.arena, max - taken);
            let hand = |slot| out(base + slot * size);
            taken += if self.shared() {
                set.take_many::<true>(arena, class, id, left, hand)
            } else {
                set.take_many::<false>(arena, class, id, left, hand)
            };
        }
        taken
    }

    /// Frees one block: the slot or the run of pages that begins at `pos`.
    ///
    /// # Time Complexity
    ///
    /// Constant; `O(orders)` for pages. A slot of another CPU: one atomic, and one push for each slab.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] unless a live block begins there, [`AllocError::InvalidParam`] for
    /// a CPU that is not there.
    pub fn dealloc(&self, cpu: CpuId, pos: usize) -> AllocResult {
        self.cpu(cpu)?;
        let Some((id, slab, slot)) = self.commons.find(pos) else { return self.dealloc_run(pos) };
        let won = self.give_group(cpu, &mut None, id, slab, SlotBit::of(slot));
        if won { Ok(()) } else { Err(AllocError::NotAllocated) }
    }

    /// Frees the run of pages that begins at `pos`; that of a slab is none.
    fn dealloc_run(&self, pos: usize) -> AllocResult {
        lock(&self.level).buddy.dealloc_run(pos)
    }

    /// Takes slots back: those of `cpu`'s own slabs at once, those of others by a remote free.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slots; one atomic for each run of slots of one bitmap word, one push for each
    /// slab of another CPU.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if one of them was not live; nothing changed for that one, all
    /// others are freed. [`AllocError::InvalidParam`] for a CPU that is not there.
    pub fn give_slots(&self, cpu: CpuId, slots: &[usize]) -> AllocResult {
        self.cpu(cpu)?;
        let mut guard = None;
        let mut group: Option<Group> = None;
        let mut all_won = true;
        for &pos in slots {
            // Most come in the order in which they were handed out: the next slot of the same word.
            if let Some(open) = &mut group
                && let Some(mask) = open.mask_of(pos)
            {
                all_won &= open.bit.mask & mask == 0;
                open.bit.mask |= mask;
                continue;
            }
            let Some((id, slab, slot)) = self.commons.find(pos) else {
                all_won = false;
                continue;
            };
            let bit = SlotBit::of(slot);
            let shape = slab.shape();
            let size = self.commons.slots[shape.class.index()];
            let first = slot / 64 * 64;
            let slots = (shape.slots as usize - first).min(64);
            let group_start = slab.base() + first * size.bytes();
            if let Some(done) = group.replace(Group { id, bit, start: group_start, slots, size }) {
                all_won &= self.give_group(
                    cpu,
                    &mut guard,
                    done.id,
                    self.commons.arena.get(done.id),
                    done.bit,
                );
            }
        }
        if let Some(done) = group {
            all_won &= self.give_group(
                cpu,
                &mut guard,
                done.id,
                self.commons.arena.get(done.id),
                done.bit,
            );
        }
        if all_won { Ok(()) } else { Err(AllocError::NotAllocated) }
    }

    /// Frees slots of one bitmap word; returns whether every one of them was live.
    #[inline]
    fn give_group<'a>(
        &'a self,
        cpu: CpuId,
        guard: &mut Option<MutexGuard<'a, CpuSlabs>>,
        id: SlabId,
        slab: Slab<'_>,
        bit: SlotBit,
    ) -> bool {
        if slab.owner() == cpu {
            let slabs = guard.get_or_insert_with(|| lock(&self.cpus[cpu.index()].slabs));
            // Owned still, and a slab still, now that nobody can adopt it or return it?
            let state = slab.state();
            if state.owner == cpu && state.list != ListState::None {
                let (set, arena) = (&mut slabs.set, &self.commons.arena);
                let given = if self.shared() {
                    set.give::<true>(arena, id, slab, bit)
                } else {
                    set.give::<false>(arena, id, slab, bit)
                };
                if given.surplus {
                    self.return_slab(slabs, id);
                }
                return given.won == bit.mask;
            }
        }
        remote::free(&self.commons.pending, id, slab, bit) == bit.mask
    }

    /// Drains the pending stack of `cpu`, whose lock is held.
    pub(super) fn drain_into(&self, cpu: CpuId, slabs: &mut CpuSlabs) -> Drained {
        if slabs.closed {
            return Drained::default();
        }
        self.drain_chain(cpu, slabs, self.commons.pending[cpu.index()].take_all())
    }

    /// Drains the slabs of a chain that was taken off a stack.
    pub(super) fn drain_chain(
        &self,
        cpu: CpuId,
        slabs: &mut CpuSlabs,
        mut chain: Option<SlabId>,
    ) -> Drained {
        let mut drained = Drained::default();
        while let Some(id) = chain {
            let slab = self.commons.arena.get(id);
            chain = remote::unqueue(slab);
            if slab.owner() != cpu {
                // Pushed by one who read the owner before an adoption: pass it on.
                remote::enqueue(&self.commons.pending, id, slab);
                continue;
            }
            let one = self.collect(slabs, id, slab);
            slabs.drains.slabs += 1;
            slabs.drains.slots += one.slots as u64;
            slabs.drains.in_vain += u64::from(one.slots == 0);
            drained.slots += one.slots;
            drained.pages += one.pages;
        }
        drained
    }

    /// Makes the pending slots of one slab available, and returns the slab if it is surplus.
    pub(super) fn collect(&self, slabs: &mut CpuSlabs, id: SlabId, slab: Slab<'_>) -> Drained {
        let (slots, surplus) = slabs.set.collect(&self.commons.arena, id, slab);
        let pages = if surplus { self.return_slab(slabs, id) } else { 0 };
        Drained { slots, pages }
    }

    /// The slab around `pos`, without a lock. `None`: no slab is there.
    ///
    /// # Time Complexity
    ///
    /// Constant; `O(log sections)` outside the first section.
    #[inline]
    pub fn slab_at(&self, pos: usize) -> Option<SlabInfo> {
        let slab = self.commons.arena.get(self.commons.map.slab(pos)?);
        let (shape, base) = (slab.shape(), slab.base());
        let size = self.commons.slots[shape.class.index()];
        let slot = size.index_of(pos.wrapping_sub(base));
        Some(SlabInfo {
            base,
            pages: shape.pages as usize,
            class: shape.class,
            owner: slab.owner(),
            slots: shape.slots as usize,
            slot,
            slot_start: base + slot * size.bytes(),
        })
    }

    /// Whether `pos` is the start of a slot that is handed out, without a lock.
    pub fn is_taken(&self, pos: usize) -> bool {
        self.commons.find(pos).is_some_and(|(_, slab, slot)| slab.is_live(SlotBit::of(slot)))
    }
}
