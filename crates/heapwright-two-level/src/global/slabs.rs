//! Making and returning slabs, and finding the one around an address.

use core::ops::DerefMut;

use heapwright_core::{AllocError, AllocResult};

use super::{Commons, CpuId, CpuSlabs, GlobalAllocator, PageLevel};
use crate::remote;
use crate::size_class::SizeClass;
use crate::slab::{Shape, Slab, SlabId};
use crate::sync::lock;

impl GlobalAllocator {
    /// Makes a slab of `class` for `cpu`: as many pages as fit the number of its slabs, fewer where
    /// those cannot be had.
    pub(super) fn add_slab(
        &self,
        cpu: CpuId,
        slabs: &mut CpuSlabs,
        class: SizeClass,
    ) -> AllocResult {
        self.commons.add_slab(cpu, slabs, class, || lock(&self.level))
    }

    /// Returns an empty slab to the page level, unless it is queued; returns its pages.
    pub(super) fn return_slab(&self, slabs: &mut CpuSlabs, id: SlabId) -> usize {
        self.commons.return_slab(slabs, id, || lock(&self.level))
    }
}

impl Commons {
    /// See [`GlobalAllocator::add_slab`]; `level` gives access to the pages.
    pub(super) fn add_slab<L: DerefMut<Target = PageLevel>>(
        &self,
        cpu: CpuId,
        slabs: &mut CpuSlabs,
        class: SizeClass,
        level: impl FnOnce() -> L,
    ) -> AllocResult {
        let geometry = &self.classes[class.index()];
        let wanted = geometry.first_rung + slabs.set.class(class).slabs() as usize;
        let wanted = wanted.min(geometry.ladder.len() - 1);
        let mut level = level();
        let rungs = || geometry.ladder[..=wanted].iter().rev();
        // A smaller slab on pages that were used before, rather than one on pages that never were.
        let mut place = rungs().find_map(|&pages| {
            Some((pages, level.buddy.reuse_for_slab(pages as usize, geometry.align)?))
        });
        if place.is_none() {
            place = rungs().find_map(|&pages| {
                Some((pages, level.buddy.alloc_slab(pages as usize, geometry.align).ok()?))
            });
        }
        let (pages, base) = place.ok_or(AllocError::NoMemory)?;
        let slots = self.slots[class.index()].index_of(pages as usize * self.page_size);
        let slots = u32::try_from(slots).map_err(|_| AllocError::NoMemory);
        let id = slots.and_then(|slots| Ok((slots, level.descriptors.take(&self.arena, slots)?)));
        let (slots, id) = match id {
            Ok(made) => made,
            Err(error) => {
                level.buddy.dealloc_slab(base, pages as usize)?;
                return Err(error);
            }
        };
        drop(level);
        let slab = self.arena.get(id);
        slab.set_up(base, Shape { slots, pages, class }, cpu);
        if let Some(observer) = &self.observer {
            observer.slab_added(base, pages as usize, class, cpu);
        }
        self.map.set(base, pages as usize, Some(id));
        slabs.set.insert(&self.arena, id);
        remote::admit(slab);
        Ok(())
    }

    /// See [`GlobalAllocator::return_slab`]; `level` gives access to the pages.
    pub(super) fn return_slab<L: DerefMut<Target = PageLevel>>(
        &self,
        slabs: &mut CpuSlabs,
        id: SlabId,
        level: impl FnOnce() -> L,
    ) -> usize {
        let slab = self.arena.get(id);
        if !remote::retire(slab) {
            return 0;
        }
        let (base, pages) = (slab.base(), slab.shape().pages as usize);
        slabs.set.remove(&self.arena, id);
        self.map.set(base, pages, None);
        if let Some(observer) = &self.observer {
            observer.slab_removed(base, pages);
        }
        let mut level = level();
        level.descriptors.give(&self.arena, id);
        let freed = level.buddy.dealloc_slab(base, pages);
        debug_assert_eq!(freed, Ok(()), "the pages of a slab are a live run");
        pages
    }

    /// Pages that hold `size` bytes. (A page is a power of two, which the compiler does not know.)
    #[inline]
    pub(super) fn pages_for(&self, size: usize) -> usize {
        (size >> self.page_size.trailing_zeros()) + usize::from(size & (self.page_size - 1) != 0)
    }

    /// The slab around `pos` and the slot that begins there.
    #[inline]
    pub(super) fn find(&self, pos: usize) -> Option<(SlabId, Slab<'_>, usize)> {
        let id = self.map.slab(pos)?;
        let slab = self.arena.get(id);
        Some((id, slab, self.slot_at(slab, slab.shape(), pos)?))
    }

    /// The slot of `slab` that begins at `pos`.
    #[inline]
    pub(super) fn slot_at(&self, slab: Slab<'_>, shape: Shape, pos: usize) -> Option<usize> {
        let size = self.slots[shape.class.index()];
        let offset = pos.wrapping_sub(slab.base());
        let slot = size.index_of(offset);
        (slot * size.bytes() == offset && slot < shape.slots as usize).then_some(slot)
    }
}
