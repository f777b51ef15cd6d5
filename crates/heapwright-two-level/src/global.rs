//! Routing by size, alignment and CPU.

use core::alloc::Layout;
use std::sync::Arc;

use heapwright_core::AllocResult;

use crate::{ClassTable, SizeClass};

/// Index of a CPU (a thread of the Heap), from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

/// One slab, as the page map knows it, and the slot that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabInfo {
    /// Address of the first page.
    pub base: usize,
    /// Pages of the slab.
    pub pages: usize,
    /// Its size class.
    pub class: SizeClass,
    /// The CPU that it belongs to.
    pub owner: CpuId,
    /// Index of the slot that holds the address; past the last one in the unused tail.
    pub slot: usize,
    /// Address of that slot.
    pub slot_start: usize,
}

/// Told of every slab that comes or goes, under the lock of the CPU that does it.
///
/// `slab_added` comes before any of its slots is handed out, `slab_removed` before its pages are free.
pub trait SlabObserver: Send + Sync + core::fmt::Debug {
    /// `pages` pages from `base` are now a slab of `class` that belongs to `owner`.
    fn slab_added(&self, base: usize, pages: usize, class: SizeClass, owner: CpuId);
    /// They are a slab no longer.
    fn slab_removed(&self, base: usize, pages: usize);
    /// The slab at `base` now belongs to `owner`.
    fn owner_changed(&self, base: usize, pages: usize, owner: CpuId);
}

/// Slabs of one class; `active` are live slots, those freed remotely excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes of a slot.
    pub object_size: usize,
    /// Slabs.
    pub slabs: usize,
    /// Pages of these slabs.
    pub pages: usize,
    /// Slots of these slabs.
    pub objects: usize,
    /// Live slots.
    pub active: usize,
    /// Slabs with some slots free.
    pub partial: usize,
    /// Slabs with none free.
    pub full: usize,
    /// Slabs with all free.
    pub empty: usize,
    /// Slots freed by other CPUs and not drained yet.
    pub pending_remote: usize,
}

/// One section of a page allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedSection {
    /// Address of the first page.
    pub start: usize,
    /// Bytes.
    pub size: usize,
    /// Physical address of `start`.
    pub phys_start: usize,
    /// Pages.
    pub total_pages: usize,
    /// Pages that are free.
    pub free_pages: usize,
    /// Free runs by order.
    pub free_runs: Vec<usize>,
}

/// Pages and per-CPU slabs under one thread-safe roof.
#[derive(Debug)]
pub struct GlobalAllocator {
    table: ClassTable,
}

impl GlobalAllocator {
    /// An allocator without memory: `cpus` from 1, `page_size` a power of two.
    pub fn new(table: ClassTable, cpus: usize, page_size: usize) -> AllocResult<Self> {
        let _ = (cpus, page_size);
        Ok(Self { table })
    }
    /// The class table.
    pub fn table(&self) -> &ClassTable {
        &self.table
    }
    /// CPUs that there can be.
    pub fn cpus(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        unimplemented!()
    }
    /// Sets who is told of slabs. Before the first region.
    pub fn set_observer(&mut self, observer: Arc<dyn SlabObserver>) {
        let _ = observer;
        unimplemented!()
    }
    /// Manages `[start, start + size)`, rounded inward to pages.
    pub fn add_region(&self, start: usize, size: usize, phys_start: usize) -> AllocResult {
        let _ = (start, size, phys_start);
        unimplemented!()
    }
    /// Allocates one block.
    pub fn alloc(&self, cpu: CpuId, layout: Layout) -> AllocResult<usize> {
        let _ = (cpu, layout);
        unimplemented!()
    }
    /// Frees one block, a slot or a run of pages.
    pub fn dealloc(&self, cpu: CpuId, pos: usize) -> AllocResult {
        let _ = (cpu, pos);
        unimplemented!()
    }
    /// Hands up to `max` slots of `class` to `out`, ascending within a slab; 0 only when out of memory.
    pub fn take_slots(&self, cpu: CpuId, class: SizeClass, max: usize, out: impl FnMut(usize)) -> usize {
        let _ = (cpu, class, max, out);
        unimplemented!()
    }
    /// Takes slots back. One that is free already: `NotAllocated` at the end, the others are freed.
    pub fn give_slots(&self, cpu: CpuId, slots: &[usize]) -> AllocResult {
        let _ = (cpu, slots);
        unimplemented!()
    }
    /// The slab around `pos`, without a lock.
    pub fn slab_at(&self, pos: usize) -> Option<SlabInfo> {
        let _ = pos;
        unimplemented!()
    }
    /// Whether `pos` is the start of a slot that is handed out, without a lock.
    pub fn is_taken(&self, pos: usize) -> bool {
        let _ = pos;
        unimplemented!()
    }
    /// Allocates `count` pages at a multiple of `align` bytes.
    pub fn alloc_pages(&self, count: usize, align: usize) -> AllocResult<usize> {
        let _ = (count, align);
        unimplemented!()
    }
    /// Allocates `count` pages at `base`.
    pub fn alloc_pages_at(&self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        let _ = (base, count, align);
        unimplemented!()
    }
    /// Allocates `count` pages wholly below 4 GiB of physical address.
    pub fn alloc_pages_lowmem(&self, count: usize, align: usize) -> AllocResult<usize> {
        let _ = (count, align);
        unimplemented!()
    }
    /// Frees the run of exactly `count` pages at `pos`.
    pub fn dealloc_pages(&self, pos: usize, count: usize) -> AllocResult {
        let _ = (pos, count);
        unimplemented!()
    }
    /// Grows or shrinks a run in place.
    pub fn resize_pages(&self, pos: usize, old: usize, new: usize) -> AllocResult {
        let _ = (pos, old, new);
        unimplemented!()
    }
    /// Pages of the live run (not a slab) that starts at `pos`.
    pub fn run_at(&self, pos: usize) -> Option<usize> {
        let _ = pos;
        unimplemented!()
    }
    /// Takes a CPU that no thread holds, with the slabs that a detached one left; `None`: all are held.
    pub fn attach(&self) -> Option<CpuId> {
        unimplemented!()
    }
    /// Lets go of `cpu`, whose slabs stay with it until the next `attach` takes it.
    pub fn detach(&self, cpu: CpuId) -> AllocResult {
        let _ = cpu;
        unimplemented!()
    }
    /// `from` goes away; `to` owns its slabs, its pending frees are drained. `from` can be attached anew.
    pub fn adopt(&self, from: CpuId, to: CpuId) -> AllocResult {
        let _ = (from, to);
        unimplemented!()
    }
    /// Takes back what other CPUs freed of `cpu`'s; returns how many slots.
    pub fn drain(&self, cpu: CpuId) -> usize {
        let _ = cpu;
        unimplemented!()
    }
    /// Drains, then gives the empty slabs of `cpu` back; returns pages.
    pub fn trim(&self, cpu: CpuId) -> usize {
        let _ = cpu;
        unimplemented!()
    }
    /// Every slot that is handed out, those freed remotely excluded. `f(pos, size)`.
    pub fn for_each_taken_slot(&self, owner: Option<CpuId>, f: &mut dyn FnMut(usize, usize)) {
        let _ = (owner, f);
        unimplemented!()
    }
    /// Every live run of pages that is no slab. `f(pos, pages)`.
    pub fn for_each_page_run(&self, f: &mut dyn FnMut(usize, usize)) {
        let _ = f;
        unimplemented!()
    }
    /// Every free run of pages, as buddies. `f(start, pages)`.
    pub fn for_each_free_run(&self, f: &mut dyn FnMut(usize, usize)) {
        let _ = f;
        unimplemented!()
    }
    /// The largest `count` that `alloc_pages(count, page_size)` would serve now.
    pub fn largest_free_pages(&self) -> usize {
        unimplemented!()
    }
    /// Pages that are free.
    pub fn free_pages(&self) -> usize {
        unimplemented!()
    }
    /// Per class, of one CPU or of all.
    pub fn class_stats(&self, cpu: Option<CpuId>) -> Vec<ClassStats> {
        let _ = cpu;
        unimplemented!()
    }
    /// Bytes managed.
    pub fn managed_bytes(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of pages that are not free, slabs included.
    pub fn allocated_bytes(&self) -> usize {
        unimplemented!()
    }
    /// The sections, in order of addition.
    pub fn managed_sections(&self) -> Vec<ManagedSection> {
        unimplemented!()
    }
    /// Tests every invariant; only looks. At rest only.
    pub fn check_invariants(&self) -> Result<(), String> {
        unimplemented!()
    }
}
