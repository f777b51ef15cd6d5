//! Blocks for a caller that has the whole allocator borrowed for writing.
//!
//! What `slots.rs` does under locks and by atomic read-modify-writes is done here by plain loads and
//! stores: nobody else can look. Every free is judged by the same two bits. What happens once in many
//! calls (a drain, an adopted CPU) goes the common way.

use core::alloc::Layout;

use heapwright_core::{AllocError, AllocResult};

use super::{CpuId, GlobalAllocator};
use crate::remote;
use crate::size_class::SizeClass;
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
        let Some(class) = self.table.class_of(layout) else {
            return self.alloc_run_mut(cpu, layout);
        };
        let commons = &self.commons;
        if layout.size() > 0
            && let Some(own) = self.cpus.get_mut(cpu.index())
            && let set = &mut get_mut(&mut own.slabs).set
            && let Some((slab, slot)) = set.take_one::<false>(&commons.arena, class)
        {
            return Ok(slab.base() + slot * commons.slots[class.index()].bytes());
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

    #[inline(never)]
    fn alloc_run_mut(&mut self, cpu: CpuId, layout: Layout) -> AllocResult<usize> {
        self.cpu(cpu)?;
        let pages = self.commons.pages_for(layout.size());
        get_mut(&mut self.level).buddy.alloc_pages(pages, layout.align())
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
        let Some(own) = self.cpus.get_mut(cpu.index()) else {
            return Err(AllocError::InvalidParam);
        };
        let commons = &self.commons;
        let Some(id) = commons.map.slab(pos) else {
            return self.dealloc_run_mut(pos);
        };
        let slab = commons.arena.get(id);
        let (shape, state) = (slab.shape(), slab.packed_state());
        let slot = commons.slot_at(slab, shape, pos).ok_or(AllocError::NotAllocated)?;
        let bit = SlotBit::of(slot);
        if state.owner() != cpu {
            return self.dealloc_remote(id, bit);
        }
        let set = &mut get_mut(&mut own.slabs).set;
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
