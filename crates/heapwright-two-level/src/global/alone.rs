//! Blocks for a caller that has the whole allocator borrowed for writing.
//!
//! What `slots.rs` does under locks and by atomic read-modify-writes is done here by plain loads and
//! stores: nobody else can look. Every free is judged by the same two bits. What happens once in many
//! calls (a drain, an adopted CPU) goes the common way. In the calls that come back to these two nothing is
//! left to be done but to answer: so they have to save no register, and slots and runs pay for themselves only.

use core::alloc::Layout;

use heapwright_core::{AllocError, AllocResult};

use super::{CpuId, GlobalAllocator};
use crate::remote;
use crate::size_class::{ALIGN_OF_ALL, SizeClass};
use crate::slab::{SlabId, SlotBit};
use crate::sync::get_mut;

impl GlobalAllocator {
    /// As [`alloc`](Self::alloc), without a lock.
    ///
    /// # Time Complexity
    ///
    /// As [`alloc`](Self::alloc).
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::alloc::Layout;
    /// # use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};
    /// let mut allocator = GlobalAllocator::new(ClassTable::kernel(), 1, 4096)?;
    /// allocator.add_region(0x10_0000, 1 << 20, 0x10_0000)?;
    /// let p = allocator.alloc_mut(CpuId(0), Layout::new::<u64>())?;
    /// allocator.dealloc_mut(CpuId(0), p)?;
    /// assert!(allocator.dealloc_mut(CpuId(0), p).is_err());
    /// # Ok::<(), heapwright_core::AllocError>(())
    /// ```
    #[inline]
    pub fn alloc_mut(&mut self, cpu: CpuId, layout: Layout) -> AllocResult<usize> {
        let (done, pos) = match self.table.class_of_size(layout) {
            None => self.alloc_run_mut(cpu, layout),
            Some(class) if layout.align() <= ALIGN_OF_ALL => {
                self.alloc_slot_mut(cpu, layout, class)
            }
            Some(_) => self.alloc_aligned_mut(cpu, layout),
        };
        done.map(|()| pos)
    }

    /// As [`alloc_mut`](Self::alloc_mut), by way of the alignment. This one and those below answer in two
    /// registers, for the sake of calls that come last.
    #[inline(never)]
    fn alloc_aligned_mut(&mut self, cpu: CpuId, layout: Layout) -> (AllocResult, usize) {
        match self.table.class_of(layout) {
            Some(class) => self.alloc_slot_mut(cpu, layout, class),
            None => self.alloc_run_mut(cpu, layout),
        }
    }

    /// A slot of `class`.
    #[expect(clippy::inline_always, reason = "a call costs a twentieth of it")]
    #[inline(always)]
    fn alloc_slot_mut(
        &mut self,
        cpu: CpuId,
        layout: Layout,
        class: SizeClass,
    ) -> (AllocResult, usize) {
        let commons = &self.commons;
        if layout.size() > 0
            && let Some(own) = self.cpus.get_mut(cpu.index())
            && let set = &mut get_mut(&mut own.slabs).set
            && let Some((slab, slot)) = set.take_one::<false>(&commons.arena, class)
        {
            return (Ok(()), slab.base() + slot * commons.slots[class.index()].bytes());
        }
        self.alloc_mut_slowly(cpu, layout, class)
    }

    /// Makes a slab for what no slab of the CPU has.
    #[inline(never)]
    fn alloc_mut_slowly(
        &mut self,
        cpu: CpuId,
        layout: Layout,
        class: SizeClass,
    ) -> (AllocResult, usize) {
        in_registers(self.alloc_with_slab(cpu, layout, class))
    }

    fn alloc_with_slab(
        &mut self,
        cpu: CpuId,
        layout: Layout,
        class: SizeClass,
    ) -> AllocResult<usize> {
        let own = self.cpus.get_mut(cpu.index()).ok_or(AllocError::InvalidParam)?;
        let slabs = get_mut(&mut own.slabs);
        let commons = &self.commons;
        if layout.size() > 0 && !slabs.closed && !commons.pending[cpu.index()].is_waiting() {
            commons.add_slab(cpu, slabs, class, || get_mut(&mut self.level))?;
            if let Some((slab, slot)) = slabs.set.take_one::<false>(&commons.arena, class) {
                return Ok(slab.base() + slot * commons.slots[class.index()].bytes());
            }
        }
        self.alloc(cpu, layout)
    }

    /// A run of pages.
    #[inline(never)]
    fn alloc_run_mut(&mut self, cpu: CpuId, layout: Layout) -> (AllocResult, usize) {
        if cpu.index() < self.cpus.len() {
            let buddy = &mut get_mut(&mut self.level).buddy;
            let pages = buddy.pages_for(layout.size());
            if let Some(pos) = buddy.alloc_short(pages, layout.align()) {
                return (Ok(()), pos);
            }
        }
        self.alloc_run_slowly(cpu, layout)
    }

    #[inline(never)]
    fn alloc_run_slowly(&mut self, cpu: CpuId, layout: Layout) -> (AllocResult, usize) {
        let pages = self.commons.pages_for(layout.size());
        in_registers(match self.cpu(cpu) {
            Ok(_) => get_mut(&mut self.level).buddy.alloc_pages(pages, layout.align()),
            Err(error) => Err(error),
        })
    }

    /// As [`dealloc`](Self::dealloc), without a lock or, for a block of the same CPU, an atomic.
    ///
    /// # Time Complexity
    ///
    /// As [`dealloc`](Self::dealloc).
    ///
    /// # Errors
    ///
    /// As [`dealloc`](Self::dealloc).
    #[inline]
    pub fn dealloc_mut(&mut self, cpu: CpuId, pos: usize) -> AllocResult {
        if cpu.index() >= self.cpus.len() {
            return Err(AllocError::InvalidParam);
        }
        match self.commons.map.slab(pos) {
            Some(id) => self.dealloc_slot_mut(cpu, pos, id),
            None => self.dealloc_run_mut(pos),
        }
    }

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn dealloc_slot_mut(&mut self, cpu: CpuId, pos: usize, id: SlabId) -> AllocResult {
        let commons = &self.commons;
        let slab = commons.arena.get(id);
        let (shape, state) = (slab.shape(), slab.packed_state());
        let slot = commons.slot_at(slab, shape, pos).ok_or(AllocError::NotAllocated)?;
        let bit = SlotBit::of(slot);
        if state.owner() != cpu {
            return self.dealloc_remote(id, bit);
        }
        let set = &mut get_mut(&mut self.cpus[cpu.index()].slabs).set;
        let given = set.give_one::<false>(&commons.arena, (id, slab), shape, state, bit);
        if given.surplus {
            self.return_surplus(cpu, id);
        }
        if given.won == 0 { Err(AllocError::NotAllocated) } else { Ok(()) }
    }

    #[inline(never)]
    fn dealloc_remote(&self, id: SlabId, bit: SlotBit) -> AllocResult {
        let slab = self.commons.arena.get(id);
        let won = remote::free(&self.commons.pending, id, slab, bit);
        if won == 0 { Err(AllocError::NotAllocated) } else { Ok(()) }
    }

    #[inline(never)]
    fn dealloc_run_mut(&mut self, pos: usize) -> AllocResult {
        get_mut(&mut self.level).buddy.dealloc_run(pos)
    }

    #[cold]
    fn return_surplus(&mut self, cpu: CpuId, id: SlabId) {
        let slabs = get_mut(&mut self.cpus[cpu.index()].slabs);
        self.commons.return_slab(slabs, id, || get_mut(&mut self.level));
    }
}

fn in_registers(answer: AllocResult<usize>) -> (AllocResult, usize) {
    match answer {
        Ok(pos) => (Ok(()), pos),
        Err(error) => (Err(error), 0),
    }
}
