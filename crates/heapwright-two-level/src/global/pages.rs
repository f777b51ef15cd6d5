//! Sections and runs of pages. See `buddy` for what each call does; here it takes the lock.

use heapwright_core::AllocResult;

use super::GlobalAllocator;
use super::page_map::PageMap;
use crate::buddy::ManagedSection;
use crate::size_class::SizeClass;
use crate::slab::{bitmap_words, slab_meta_bytes};
use crate::sync::lock;

impl GlobalAllocator {
    /// Manages the whole pages within `[start, start + size)`; address 0 is withheld. The physical
    /// address of `start` is `phys_start`.
    ///
    /// Metadata for the worst case is mapped here and touched as it is used.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::add_region`](crate::BuddyAllocator::add_region).
    pub fn add_region(&self, start: usize, size: usize, phys_start: usize) -> AllocResult {
        let mut level = lock(&self.level);
        let place = level.buddy.judge_region(start, size, phys_start)?;
        let pages = place.pages as usize;
        let entries = PageMap::prepare(pages)?;
        level.descriptors.reserve(&self.commons.arena, self.descriptor_lines(pages))?;
        level.buddy.add_region(start, size, phys_start)?;
        self.commons.map.publish(place.first, entries);
        Ok(())
    }

    /// Lines of descriptors that slabs over `pages` pages have at most.
    fn descriptor_lines(&self, pages: usize) -> usize {
        let lines_per_page = |(class, rung): (SizeClass, u32)| {
            let slots = rung as usize * self.commons.page_size / self.table.size(class);
            let slots = u32::try_from(slots).unwrap_or(u32::MAX);
            debug_assert!(bitmap_words(slots) > 0);
            (slab_meta_bytes(slots) / 64).div_ceil(rung as usize)
        };
        let rungs = self
            .table
            .classes()
            .zip(&self.commons.classes)
            .flat_map(|(class, known)| known.ladder.iter().map(move |&n| (class, n)));
        pages.saturating_mul(rungs.map(lines_per_page).max().unwrap_or(0))
    }

    /// Allocates `count` pages at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::alloc_pages`](crate::BuddyAllocator::alloc_pages).
    pub fn alloc_pages(&self, count: usize, align: usize) -> AllocResult<usize> {
        lock(&self.level).buddy.alloc_pages(count, align)
    }

    /// Allocates the `count` pages from exactly `base`.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::alloc_pages_at`](crate::BuddyAllocator::alloc_pages_at).
    pub fn alloc_pages_at(&self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        lock(&self.level).buddy.alloc_pages_at(base, count, align)
    }

    /// Allocates `count` pages wholly below 4 GiB of physical address.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::alloc_pages`](crate::BuddyAllocator::alloc_pages).
    pub fn alloc_pages_lowmem(&self, count: usize, align: usize) -> AllocResult<usize> {
        lock(&self.level).buddy.alloc_pages_lowmem(count, align)
    }

    /// Frees the run of exactly `count` pages at `pos`, which is no slab.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::dealloc_pages`](crate::BuddyAllocator::dealloc_pages).
    pub fn dealloc_pages(&self, pos: usize, count: usize) -> AllocResult {
        lock(&self.level).buddy.dealloc_pages(pos, count)
    }

    /// Grows or shrinks a run where it is.
    ///
    /// # Errors
    ///
    /// As [`BuddyAllocator::resize_pages`](crate::BuddyAllocator::resize_pages).
    pub fn resize_pages(&self, pos: usize, old: usize, new: usize) -> AllocResult {
        lock(&self.level).buddy.resize_pages(pos, old, new)
    }

    /// Pages of the live run (no slab) that begins at `pos`.
    pub fn run_at(&self, pos: usize) -> Option<usize> {
        lock(&self.level).buddy.run_at(pos)
    }

    /// The physical address of `pos`; `None` outside every section.
    pub fn virt_to_phys(&self, pos: usize) -> Option<usize> {
        lock(&self.level).buddy.virt_to_phys(pos)
    }

    /// Every live run of pages that is no slab: `f(pos, pages)`. `f` must not call the allocator.
    pub fn for_each_page_run(&self, f: &mut dyn FnMut(usize, usize)) {
        lock(&self.level).buddy.for_each_run(f);
    }

    /// Every free run of pages, as buddies: `f(start, pages)`. `f` must not call the allocator.
    pub fn for_each_free_run(&self, f: &mut dyn FnMut(usize, usize)) {
        lock(&self.level).buddy.for_each_free_run(f);
    }

    /// The largest `count` that `alloc_pages(count, page_size)` would serve now.
    pub fn largest_free_pages(&self) -> usize {
        lock(&self.level).buddy.largest_free_pages()
    }

    /// As [`largest_free_pages`](Self::largest_free_pages), for `alloc_pages_lowmem`.
    pub fn largest_free_pages_lowmem(&self) -> usize {
        lock(&self.level).buddy.largest_free_pages_lowmem()
    }

    /// Pages that are free.
    pub fn free_pages(&self) -> usize {
        lock(&self.level).buddy.free_pages()
    }

    /// Bytes managed.
    pub fn managed_bytes(&self) -> usize {
        lock(&self.level).buddy.managed_bytes()
    }

    /// Bytes of pages that are not free, slabs included.
    pub fn allocated_bytes(&self) -> usize {
        lock(&self.level).buddy.allocated_bytes()
    }

    /// The sections, in order of addition.
    pub fn managed_sections(&self) -> Vec<ManagedSection> {
        lock(&self.level).buddy.managed_sections()
    }
}
