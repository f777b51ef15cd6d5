//! Pages and per-CPU slabs under one thread-safe roof: routing by size, alignment and CPU.
//!
//! ```text
//!                       GlobalAllocator
//!      layout fits a class │        │ anything else
//!                          ▼        ▼
//!   cpu 0: Mutex<SlabSet> ──► Mutex<PageLevel { BuddyAllocator, Descriptors }>
//!   cpu 1: Mutex<SlabSet> ──►        (pages of new slabs, pages of empty ones)
//!     ▲ pending stacks: what other CPUs freed, pushed without a lock
//! ```
//!
//! Each CPU has its own slabs and its own lock, which only threads that call themselves that CPU
//! contend for. **Lock order: CPUs by ascending index, then the page level**; no lock is held over a
//! call out but the observer's, which must not come back.
//!
//! A free of another CPU's slot takes no lock (`remote.rs`). An owner drains its pending stack on a
//! miss, before it asks for pages, and in `drain`, `trim` and `adopt`; nothing else drains.
//!
//! - `slots.rs`: blocks and slots.
//! - `slabs.rs`: making and returning slabs.
//! - `alone.rs`: blocks for a caller that has the allocator to itself: the same without a lock.
//! - `pages.rs`: runs of pages and sections.
//! - `cpus.rs`: attach, detach, adopt, drain, trim.
//! - `look.rs`: figures, walks, invariants.
//! - `page_map.rs`: page → slab.

mod alone;
mod cpus;
mod look;
mod page_map;
mod pages;
mod slabs;
mod slots;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::sync::Arc;

use heapwright_core::{AllocError, AllocResult};

pub use page_map::PAGE_MAP_BYTES;
use page_map::PageMap;

use crate::buddy::BuddyAllocator;
use crate::remote::PendingStack;
use crate::size_class::{ClassTable, SizeClass, SlotSize};
use crate::slab::{Descriptors, SlabArena, SlabSet};
use crate::sync::{AtomicU32, Mutex};

/// Index of a CPU (a thread of the Heap), from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

impl CpuId {
    /// The index as a number.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// CPUs that an allocator can have.
pub const CPUS_MAX: usize = 4096;

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
    /// Slots of the slab.
    pub slots: usize,
    /// Index of the slot that holds the address; `slots` or more in the unused tail.
    pub slot: usize,
    /// Address of that slot.
    pub slot_start: usize,
}

/// Told of every slab that comes or goes, under the lock of the CPU that does it.
///
/// `slab_added` comes before any of its slots is handed out, `slab_removed` before its pages are
/// free. It must not call the allocator.
pub trait SlabObserver: Send + Sync + core::fmt::Debug {
    /// `pages` pages from `base` are now a slab of `class` that belongs to `owner`.
    fn slab_added(&self, base: usize, pages: usize, class: SizeClass, owner: CpuId);
    /// They are a slab no longer.
    fn slab_removed(&self, base: usize, pages: usize);
    /// The slab at `base` now belongs to `owner`.
    fn owner_changed(&self, base: usize, pages: usize, owner: CpuId);
}

/// What a class needs to know about its slabs.
#[derive(Debug)]
struct Class {
    /// Slab sizes in pages, ascending.
    ladder: Vec<u32>,
    /// Index into the ladder of a CPU's first slab.
    first_rung: usize,
    /// What the base of a slab must be aligned to.
    align: usize,
}

/// What a CPU's drains have come to, from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    /// Slabs that were looked at: those on the pending stack, and no others.
    pub slabs: u64,
    /// Slots that came back.
    pub slots: u64,
    /// Slabs that had nothing pending: freed into between two steps of the drain before.
    pub in_vain: u64,
}

/// Slabs of one CPU, and whether it may take any.
#[derive(Debug)]
struct CpuSlabs {
    set: SlabSet,
    drains: Drains,
    /// Adopted by another and not attached again.
    closed: bool,
}

/// One CPU, alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Cpu {
    slabs: Mutex<CpuSlabs>,
    /// One of the `SLOT_` constants of `cpus.rs`.
    slot: AtomicU32,
}

/// Pages, and descriptors for the slabs made of them.
#[derive(Debug)]
struct PageLevel {
    buddy: BuddyAllocator,
    descriptors: Descriptors,
}

/// Pages and per-CPU slabs under one thread-safe roof.
///
/// # Examples
///
/// ```
/// use core::alloc::Layout;
/// use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};
///
/// let allocator = GlobalAllocator::new(ClassTable::kernel(), 2, 4096)?;
/// allocator.add_region(0x10_0000, 1 << 20, 0x10_0000)?;
/// let p = allocator.alloc(CpuId(0), Layout::new::<u64>())?;
/// allocator.dealloc(CpuId(1), p)?; // A remote free: no lock is taken.
/// assert!(allocator.dealloc(CpuId(0), p).is_err());
/// assert_eq!(allocator.drain(CpuId(0)), 1);
/// # Ok::<(), heapwright_core::AllocError>(())
/// ```
#[derive(Debug)]
pub struct GlobalAllocator {
    table: ClassTable,
    cpus: Box<[Cpu]>,
    commons: Commons,
    level: Mutex<PageLevel>,
}

/// What is reached without a lock: it is set once, or made of atomics.
#[derive(Debug)]
struct Commons {
    classes: Box<[Class]>,
    /// Slots by class; as many as a byte can name, so that no look-up needs a test.
    slots: Box<[SlotSize; 256]>,
    page_size: usize,
    arena: SlabArena,
    map: PageMap,
    /// By CPU.
    pending: Box<[PendingStack]>,
    observer: Option<Arc<dyn SlabObserver>>,
}

impl GlobalAllocator {
    /// An allocator without memory. Every CPU can be used at once; who gives CPUs to threads uses
    /// [`attach`](Self::attach).
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for 0 or more than [`CPUS_MAX`] CPUs, or a page size that is no
    /// power of two.
    pub fn new(table: ClassTable, cpus: usize, page_size: usize) -> AllocResult<Self> {
        if cpus == 0 || cpus > CPUS_MAX {
            return Err(AllocError::InvalidParam);
        }
        let buddy = BuddyAllocator::new(page_size)?;
        let mut classes = Vec::with_capacity(table.len());
        let mut slots = Box::new([SlotSize::new(8); 256]);
        for class in table.classes() {
            let ladder = table.ladder(class, page_size)?;
            slots[class.index()] = SlotSize::new(table.size(class));
            classes.push(Class {
                first_rung: table.first_rung(ladder.len()),
                ladder,
                align: table.slot_align(class).max(page_size),
            });
        }
        Ok(Self {
            cpus: (0..cpus).map(|_| Cpu::new(&table)).collect(),
            table,
            commons: Commons {
                classes: classes.into_boxed_slice(),
                slots,
                page_size,
                arena: SlabArena::new(),
                map: PageMap::new(page_size.trailing_zeros()),
                pending: (0..cpus).map(|_| PendingStack::new()).collect(),
                observer: None,
            },
            level: Mutex::new(PageLevel { buddy, descriptors: Descriptors::new() }),
        })
    }

    /// The class table.
    pub fn table(&self) -> &ClassTable {
        &self.table
    }

    /// CPUs that there are.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.commons.page_size
    }

    /// Sets who is told of slabs, before there is any.
    pub fn set_observer(&mut self, observer: Arc<dyn SlabObserver>) {
        self.commons.observer = Some(observer);
    }

    fn cpu(&self, cpu: CpuId) -> AllocResult<&Cpu> {
        self.cpus.get(cpu.index()).ok_or(AllocError::InvalidParam)
    }
}

impl Cpu {
    fn new(table: &ClassTable) -> Self {
        Self {
            slabs: Mutex::new(CpuSlabs {
                set: SlabSet::new(table),
                drains: Drains::default(),
                closed: false,
            }),
            slot: AtomicU32::new(cpus::SLOT_FREE),
        }
    }
}
