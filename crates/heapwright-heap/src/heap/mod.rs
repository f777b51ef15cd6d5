//! The engine behind `Heap`: blocks for many threads, every free checked.
//!
//! ```text
//!  JavaScript    pops and pushes a magazine's stacks, marks the state map    (no call into Rust)
//!                      │ empty, full, or anything unusual
//!                      ▼
//!  Attachment    refill · flush · alloc · free · realloc · …                 (one thread's part in a heap)
//!                      │ slots of 72 classes            │ runs of pages above 32 KiB
//!                      ▼                                ▼
//!  GlobalAllocator     slabs of this thread's CPU       buddy pages           (heapwright-two-level)
//! ```
//!
//! A block is a number: its offset in the data mapping, a multiple of 16, never 0, for page 0 is withheld.
//! Nothing about a block is kept in its bytes, so whatever a program writes, the engine stays whole.
//!
//! Invariants (`check` tests them):
//! 1. A slot is live, in one magazine, in one outbox, or free in its slab. Live is state 1 of the state map; in an
//!    outbox is the mark of its thread, in a magazine that or state 0; taken or free is what the slab says.
//! 2. A magazine holds only slots of slabs that its thread owns; see `recover.rs` for why.
//! 3. The page map says of every page of a slab the slab's class and owner, of the first page of a run
//!    that it is one, and 0 of all others.
//! 4. What is read from the metadata mapping is checked before it is used: damage there poisons the heap,
//!    and can neither fault nor reach outside of it.
//!
//! - `geometry.rs`: the layout that TypeScript shares. `memory.rs`: the mappings. `state.rs`,
//!   `page_map.rs`: the two maps. `residency.rs`: what may be resident. `../magazine.rs`: the stacks.
//! - `alloc.rs`, `free.rs`, `realloc.rs`, `batch.rs`: the operations.
//! - `look.rs`: lookup, statistics, the list of live blocks. `check.rs`: all invariants.
//! - `recover.rs`: threads that come, go and die. `../registry.rs`: the heaps of the process.

mod alloc;
mod batch;
mod check;
mod free;
pub mod geometry;
mod look;
mod memory;
mod page_map;
mod publish;
mod realloc;
mod recover;
mod residency;
mod state;
pub(crate) mod sync;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use heapwright_region::RegionError;
use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator, SizeClass};

pub use self::{
    alloc::ALIGN_MAX,
    geometry::Geometry,
    look::{BlockInfo, ClassRow, HeapStats},
    memory::Mapping,
};
use self::{
    geometry::PAGE_BYTES, page_map::PageMap, recover::Members, state::StateMap, sync::lock,
};
pub use crate::magazine::Stack;
use crate::magazine::{Corrupt, Limits, Magazines};

/// Why the heap refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeapError {
    /// A value that can never be served.
    InvalidParam,
    /// Above what a heap manages.
    Capacity {
        /// The most that it manages.
        limit: usize,
    },
    /// A valid request that cannot be met now.
    NoMemory {
        /// In bytes.
        requested: usize,
        /// In bytes; a request of that size would be served.
        largest_free: usize,
        /// Where the system refused: its errno; else 0.
        errno: i32,
    },
    /// No live block starts there.
    NotAllocated,
    /// The heap was closed or destroyed.
    Closed,
    /// The heap found damage in its own metadata, or a panic left it in doubt.
    Poisoned,
}

/// The result of an operation on a heap. After an error the heap is as it was.
pub type HeapResult<T = ()> = Result<T, HeapError>;

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidParam => "invalid parameter",
            Self::Capacity { .. } => "above what a heap manages",
            Self::NoMemory { .. } => "out of memory",
            Self::NotAllocated => "not allocated",
            Self::Closed => "closed",
            Self::Poisoned => "poisoned",
        })
    }
}

impl std::error::Error for HeapError {}

/// What a new heap is like.
#[derive(Clone, Copy, Debug)]
pub struct HeapConfig {
    /// Bytes, from 1 MiB to 64 GiB, rounded up to 64 KiB.
    pub size: usize,
    /// Threads at once, from 1 to 1024.
    pub max_threads: usize,
    /// Ask for large pages.
    pub huge_pages: bool,
    /// Make every page resident now.
    pub populate: bool,
}

/// What Rust keeps of one thread beside its area.
#[derive(Debug, Default)]
struct Thread {
    limits: Limits,
    /// A bit for each class number whose magazines were ever used.
    used_classes: [AtomicUsize; 2],
    /// Bytes in this thread's magazines when `high_water` last looked.
    cached_estimate: AtomicUsize,
    /// When its public pages may be private again.
    quiet: publish::Quiet,
}

/// Counters of the whole heap. They are written with relaxed atomics: exact at rest.
#[derive(Debug, Default)]
struct Counters {
    /// Blocks and bytes out of slabs and pages: live, in magazines and in outboxes.
    taken_blocks: AtomicUsize,
    taken_bytes: AtomicUsize,
    /// Sum of `Thread::cached_estimate`.
    cached_estimate: AtomicUsize,
    /// `taken_bytes` at most since `high_water` last looked, as far as it went down.
    taken_high: AtomicUsize,
    used_peak: AtomicUsize,
    /// Blocks allocated here, not popped from stacks.
    allocs: AtomicUsize,
    /// Blocks popped from stacks by threads that have let go.
    allocs_of_the_gone: AtomicUsize,
    crossings: AtomicUsize,
    failures: AtomicUsize,
}

fn add(counter: &AtomicUsize, by: usize) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn take_away(counter: &AtomicUsize, by: usize) {
    counter.fetch_sub(by, Ordering::Relaxed);
}

fn get(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// One heap: its mappings, its allocator, and what is known of its threads.
///
/// Everything a thread does with it goes through its [`Attachment`].
#[derive(Debug)]
pub struct HeapEngine {
    geometry: Geometry,
    data: Arc<Mapping>,
    meta: Arc<Mapping>,
    /// Free pages stay as they are until `trim`: the program wants large ones, or all of them at once.
    keeps_pages: bool,
    global: GlobalAllocator,
    pages: Arc<PageMap>,
    state: StateMap,
    /// Sizes by class index.
    sizes: Box<[usize]>,
    /// Live runs: start → pages.
    large: Mutex<BTreeMap<usize, usize>>,
    threads: Box<[Thread]>,
    members: RwLock<Members>,
    /// Held while a page becomes public.
    publishing: Mutex<()>,
    /// Held by a thread without a mark of its own while it claims a block.
    crowd: Mutex<()>,
    /// Areas opened so far, plus 1: the next one's number.
    attachments: AtomicU32,
    counters: Counters,
    /// `destroy` was called.
    dead: AtomicBool,
    poison: OnceLock<String>,
}

fn system_error(error: &RegionError, requested: usize) -> HeapError {
    HeapError::NoMemory { requested, largest_free: 0, errno: error.errno }
}

/// What the engine takes for the physical address of a heap: above all that is low.
const PHYS_START: usize = 1 << 40;

impl HeapEngine {
    /// A heap over mappings of its own.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] or [`HeapError::Capacity`] for a size or thread count that no heap can
    /// have, [`HeapError::NoMemory`] with the errno where the system refuses.
    pub fn map(config: &HeapConfig) -> HeapResult<Self> {
        let geometry = Geometry::new(config.size, config.max_threads)?;
        let map = |length| Mapping::map(length).map_err(|error| system_error(&error, length));
        let (data, meta) = (map(geometry.size)?, map(geometry.meta_size)?);
        if config.huge_pages {
            data.prefer_huge_pages();
        }
        if config.populate {
            data.populate().map_err(|error| system_error(&error, geometry.size))?;
        }
        let mut engine = Self::over(geometry, Arc::new(data), Arc::new(meta))?;
        engine.keeps_pages = config.huge_pages || config.populate;
        if config.populate {
            engine.count_populated();
        }
        Ok(engine)
    }

    /// All pages of a new heap are resident, though nobody has them yet: they count, and `trim` gives them back.
    pub fn count_populated(&self) {
        self.pages.residency.touch(0, self.geometry.size / PAGE_BYTES);
    }

    /// A heap over the mappings given, all zero and of at least the lengths that `geometry` says.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] where they are too small, [`HeapError::NoMemory`] where the engine's own
    /// metadata cannot be had.
    pub fn over(geometry: Geometry, data: Arc<Mapping>, meta: Arc<Mapping>) -> HeapResult<Self> {
        if data.length() < geometry.size || meta.length() < geometry.meta_size {
            return Err(HeapError::InvalidParam);
        }
        let no_memory =
            |_| HeapError::NoMemory { requested: geometry.size, largest_free: 0, errno: 0 };
        let table = ClassTable::fine();
        let sizes = table.classes().map(|class| table.size(class)).collect();
        let mut global =
            GlobalAllocator::new(table, geometry.max_threads, PAGE_BYTES).map_err(no_memory)?;
        let pages = Arc::new(PageMap::new(Arc::clone(&meta), &geometry));
        global.set_observer(Arc::clone(&pages) as Arc<_>);
        // A heap has no low memory: one zone, so that a run may lie across the 4 GiB.
        let bytes = geometry.size - PAGE_BYTES;
        global.add_region(PAGE_BYTES, bytes, PHYS_START).map_err(no_memory)?;
        Ok(Self {
            state: StateMap::new(&geometry),
            keeps_pages: !data.is_region(),
            data,
            meta,
            global,
            pages,
            sizes,
            large: Mutex::new(BTreeMap::new()),
            threads: (0..geometry.max_threads).map(|_| Thread::default()).collect(),
            members: RwLock::new(Members::default()),
            publishing: Mutex::new(()),
            crowd: Mutex::new(()),
            attachments: AtomicU32::new(1),
            counters: Counters::default(),
            dead: AtomicBool::new(false),
            poison: OnceLock::new(),
            geometry,
        })
    }

    /// Sizes and offsets.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What JavaScript sees as the heap.
    pub fn data(&self) -> &Arc<Mapping> {
        &self.data
    }

    /// Magazines, page map and state map.
    pub fn meta(&self) -> &Arc<Mapping> {
        &self.meta
    }

    /// Whether threads share the heap: the state bytes are in use.
    pub fn is_shared(&self) -> bool {
        self.state.is_shared()
    }

    /// Ends all use of the heap for good but letting go: something is wrong inside, and this is what.
    #[cold]
    pub fn poison(&self, what: impl Into<String>) -> HeapError {
        // The first cause counts.
        let _ = self.poison.set(what.into());
        HeapError::Poisoned
    }

    /// What poisoned the heap.
    pub fn poisoned_by(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Whether `destroy` was called.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// The class of a class number.
    #[expect(clippy::cast_possible_truncation, reason = "there are 72 classes")]
    fn class(&self, number: usize) -> HeapResult<SizeClass> {
        match number {
            1.. if number <= self.sizes.len() => Ok(SizeClass((number - 1) as u8)),
            _ => Err(HeapError::InvalidParam),
        }
    }

    fn read_members(&self) -> RwLockReadGuard<'_, Members> {
        sync::read(&self.members)
    }

    fn write_members(&self) -> RwLockWriteGuard<'_, Members> {
        sync::write(&self.members)
    }

    /// Whether a block may start at `p`: a multiple of 16 inside the heap.
    fn is_place(&self, p: usize) -> bool {
        p < self.geometry.size && p.is_multiple_of(geometry::GRANULE_BYTES)
    }
}

/// One thread's part in a heap. Dropping it lets go, as [`Attachment::close`] does.
///
/// Its methods are for the thread that attached; they are safe from any, but the magazines belong to one.
#[derive(Debug)]
pub struct Attachment {
    engine: Arc<HeapEngine>,
    slot: u16,
}

impl Attachment {
    /// The heap.
    pub fn engine(&self) -> &Arc<HeapEngine> {
        &self.engine
    }

    /// The slot of this thread.
    pub fn slot(&self) -> usize {
        usize::from(self.slot)
    }

    /// Whether the heap can be used through this attachment.
    ///
    /// # Errors
    ///
    /// [`HeapError::Closed`] after `destroy`, [`HeapError::Poisoned`].
    #[inline]
    pub fn open(&self) -> HeapResult<&HeapEngine> {
        if self.engine.dead.load(Ordering::Acquire) {
            return Err(HeapError::Closed);
        }
        if self.engine.poison.get().is_some() {
            return Err(HeapError::Poisoned);
        }
        Ok(&self.engine)
    }

    /// As [`open`](Self::open), and counts a crossing.
    #[inline]
    fn enter(&self) -> HeapResult<&HeapEngine> {
        let engine = self.open()?;
        add(&engine.counters.crossings, 1);
        Ok(engine)
    }

    fn cpu(&self) -> CpuId {
        CpuId(self.slot)
    }

    #[inline]
    fn magazines(&self) -> Magazines<'_> {
        self.engine.magazines(self.slot())
    }

    #[cold]
    fn corrupt(&self, _: Corrupt) -> HeapError {
        self.engine.poison(format!("the magazines of slot {} were written over", self.slot))
    }
}

impl HeapEngine {
    #[inline]
    fn magazines(&self, slot: usize) -> Magazines<'_> {
        let limits = &self.threads[slot].limits;
        let area = self.geometry.area(slot, self.is_shared());
        Magazines::new(&self.meta, &self.geometry, limits, &self.sizes, area)
    }

    /// Records how many bytes were live at most since the last look, judged from the magazines of `slot`
    /// as if all that was popped since had been popped before anything was freed. Never too low; too
    /// high by what was allocated and freed in turn between two crossings.
    fn high_water(&self, slot: usize) {
        let thread = &self.threads[slot];
        let magazines = self.magazines(slot);
        let mut cached = 0;
        for (half, bits) in thread.used_classes.iter().enumerate() {
            let mut bits = get(bits);
            while bits != 0 {
                let class = half * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                cached += magazines.low_water(class) * self.sizes[class - 1];
            }
        }
        // Only its own thread writes it.
        let before = get(&thread.cached_estimate);
        if before == cached {
            return self.high_water_of(get(&self.counters.cached_estimate));
        }
        thread.cached_estimate.store(cached, Ordering::Relaxed);
        let counters = &self.counters;
        let sum =
            counters.cached_estimate.fetch_add(cached.wrapping_sub(before), Ordering::Relaxed);
        self.high_water_of(sum.wrapping_add(cached).wrapping_sub(before));
    }

    /// To be called before a block goes back other than by a magazine: what is taken now counts at the next look,
    /// which takes time that a single free need not.
    #[inline]
    fn keep_high_water(&self) {
        let taken = get(&self.counters.taken_bytes);
        if taken > get(&self.counters.taken_high) {
            self.counters.taken_high.fetch_max(taken, Ordering::Relaxed);
        }
    }

    fn high_water_of(&self, cached: usize) {
        let mut taken = get(&self.counters.taken_bytes);
        if get(&self.counters.taken_high) != 0 {
            taken = taken.max(self.counters.taken_high.swap(0, Ordering::Relaxed));
        }
        let used = taken.saturating_sub(cached);
        if used > get(&self.counters.used_peak) {
            self.counters.used_peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    /// Gives free pages back where more are resident than the rule of `residency.rs` allows. To be called
    /// after pages were handed out.
    #[inline]
    fn bound_resident(&self) {
        if !self.keeps_pages && self.pages.residency.take_grown() {
            self.give_excess_back();
        }
    }

    #[cold]
    fn give_excess_back(&self) {
        let residency = &self.pages.residency;
        let excess = residency.excess(self.global.allocated_bytes() / PAGE_BYTES);
        if excess > 0 {
            let give_back = |p, bytes| self.data.decommit(p, bytes);
            residency.give_back(excess, |f| self.global.for_each_free_run(f), give_back);
        }
    }

    /// Remembers that `slot` uses the magazines of class number `class`.
    fn mark_used(&self, slot: usize, class: usize) {
        let bits = &self.threads[slot].used_classes[class / 64];
        let bit = 1 << (class % 64);
        if get(bits) & bit == 0 {
            bits.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Largest request that would be served for `cpu` now.
    fn largest_free(&self, cpu: CpuId) -> usize {
        let pages = self.global.largest_free_pages() * PAGE_BYTES;
        let has_slots = |&index: &usize| {
            self.sizes[index] > pages
                && self.class(index + 1).is_ok_and(|class| self.global.has_slots(cpu, class))
        };
        let slot = (0..self.sizes.len()).rev().find(has_slots);
        slot.map_or(pages, |index| self.sizes[index])
    }
}

const _: () = assert!(Stack::ALL.len() == geometry::STACKS_PER_CLASS);
