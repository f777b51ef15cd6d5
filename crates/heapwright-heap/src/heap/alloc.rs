//! Allocation: from a magazine, from the slabs, from pages; and what is done when memory runs out.
//!
//! A request that finds nothing gives this thread's magazines back, drains what others freed, returns
//! empty slabs, those of other threads included, to the pages, and tries once more. A small request that no slab can serve then takes whole
//! pages, so that the largest free size is a promise: a request of that size is served.

use core::alloc::Layout;
use std::sync::atomic::Ordering;

use heapwright_two_level::{CpuId, SizeClass};

use super::{Attachment, HeapEngine, HeapError, HeapResult, add, geometry::PAGE_BYTES, get, lock};
use crate::magazine::Stack;

/// The largest alignment that a heap offers.
pub const ALIGN_MAX: usize = 2 << 20;

/// Where a valid request is served from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// A slot of the class with this number.
    Class(usize),
    /// Pages, aligned.
    Pages { count: usize, align: usize },
}

impl Attachment {
    /// Fills the stack of a class for JavaScript to pop from; returns how many blocks it holds now.
    ///
    /// # Time Complexity
    ///
    /// Linear in the blocks; `O(orders)` more where a slab is made.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] for a number that is no class; closed, poisoned. When there is no block
    /// even after this thread's magazines were given back: [`HeapError::NoMemory`] for a pool, 0 blocks
    /// otherwise, since [`alloc`](Self::alloc) may still find one of another class.
    pub fn refill(&self, stack: Stack, class: usize) -> HeapResult<usize> {
        let engine = self.enter()?;
        let size_class = engine.class(class)?;
        engine.mark_used(self.slot(), class);
        engine.high_water(self.slot());
        let count = self.fill(stack, class, size_class)?;
        if count > 0 {
            return Ok(count);
        }
        self.reclaim()?;
        match self.fill(stack, class, size_class)? {
            0 if matches!(stack, Stack::Pool) => Err(self.no_memory(engine.sizes[class - 1])),
            count => Ok(count),
        }
    }

    #[inline]
    fn fill(&self, stack: Stack, class: usize, size_class: SizeClass) -> HeapResult<usize> {
        let engine = &*self.engine;
        let mut taken = 0;
        let filled = self.magazines().refill(stack, class, |count, filler| {
            // What is left in the slabs may be a few; one more round makes a slab.
            for _ in 0..2 {
                if taken * 2 < count {
                    let more = count - taken;
                    taken +=
                        engine.global.take_slots(self.cpu(), size_class, more, |p| filler.push(p));
                }
            }
        });
        self.count_taken(taken, taken * engine.sizes[class - 1]);
        engine.bound_resident();
        filled.map_err(|corrupt| self.corrupt(corrupt))
    }

    pub(super) fn count_taken(&self, blocks: usize, bytes: usize) {
        add(&self.engine.counters.taken_blocks, blocks);
        add(&self.engine.counters.taken_bytes, bytes);
        // Not live yet, for all `high_water` knows.
        let estimate = &self.engine.threads[self.slot()].cached_estimate;
        estimate.store(get(estimate) + bytes, Ordering::Relaxed);
        add(&self.engine.counters.cached_estimate, bytes);
    }

    /// Allocates one block of any valid size and alignment.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] for a size of 0 or an alignment that is no power of two or above
    /// 2 MiB; [`HeapError::NoMemory`]; closed, poisoned.
    pub fn alloc(&self, size: usize, align: usize) -> HeapResult<usize> {
        let engine = self.enter()?;
        let route = engine.route(size, align)?;
        self.alloc_by(route, size, align)
    }

    /// As [`alloc`](Self::alloc), with every byte of the block 0.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_zeroed(&self, size: usize, align: usize) -> HeapResult<usize> {
        let p = self.alloc(size, align)?;
        let usable = self.engine.block_at(p).map_or(size, |block| block.usable);
        // Always: a program may write anywhere in the heap, also where no block was ever.
        self.engine.data.zero(p, usable);
        Ok(p)
    }

    /// Allocates, and marks the block as live.
    pub(super) fn alloc_by(&self, route: Route, size: usize, align: usize) -> HeapResult<usize> {
        if let Some(p) = self.try_alloc(route)? {
            return Ok(p);
        }
        self.reclaim()?;
        if let Some(p) = self.try_alloc(route)? {
            return Ok(p);
        }
        if let Route::Class(class) = route {
            // No slab of this class can be had. What is left may hold the block all the same: whole
            // pages, or a slot of a larger class.
            let pages = Route::Pages { count: size.div_ceil(PAGE_BYTES), align };
            let larger = (class + 1..=self.engine.sizes.len())
                .filter(|&other| self.engine.can_serve(self.cpu(), other, align))
                .map(Route::Class);
            for fallback in [pages].into_iter().chain(larger) {
                if let Some(p) = self.try_alloc(fallback)? {
                    return Ok(p);
                }
            }
        }
        Err(self.no_memory(size))
    }

    fn try_alloc(&self, route: Route) -> HeapResult<Option<usize>> {
        let engine = &*self.engine;
        match route {
            Route::Class(class) => {
                let size_class = engine.class(class)?;
                engine.mark_used(self.slot(), class);
                let magazines = self.magazines();
                let popped = magazines.pop(class).map_err(|corrupt| self.corrupt(corrupt))?;
                let p = match popped {
                    Some(p) => Some(p),
                    None if self.fill(Stack::Alloc, class, size_class)? == 0 => None,
                    None => magazines.pop(class).map_err(|corrupt| self.corrupt(corrupt))?,
                };
                let Some(p) = p else { return Ok(None) };
                if !engine.is_cached_slot(p, size_class) {
                    return Err(engine.poison(format!("a magazine of class {class} held {p:#x}")));
                }
                engine.state.set_live(&engine.meta, p);
                Ok(Some(p))
            }
            Route::Pages { count, align } => {
                let Ok(p) = engine.global.alloc_pages(count, align.max(PAGE_BYTES)) else {
                    return Ok(None);
                };
                {
                    // Together, for whoever checks meanwhile.
                    let mut large = lock(&engine.large);
                    large.insert(p, count);
                    engine.pages.run_added(p, count);
                }
                engine.bound_resident();
                engine.state.set_live(&engine.meta, p);
                add(&engine.counters.taken_blocks, 1);
                add(&engine.counters.taken_bytes, count * PAGE_BYTES);
                add(&engine.counters.allocs, 1);
                Ok(Some(p))
            }
        }
    }

    /// Gives this thread's caches back, and what can be returned to the pages with them.
    ///
    /// # Errors
    ///
    /// [`HeapError::Poisoned`] where the magazines were written over.
    pub(super) fn reclaim(&self) -> HeapResult {
        self.flush_all()?;
        self.hand_outbox()?;
        self.engine.global.trim(self.cpu());
        if self.engine.is_shared() {
            // Others may be idle and sit on what was freed into their slabs.
            let members = self.engine.read_members();
            self.engine.pages.return_others(|| {
                for &slot in members.slots() {
                    self.engine.global.trim(CpuId(slot));
                }
            });
        }
        Ok(())
    }

    /// The error for a request that failed.
    #[cold]
    pub(super) fn no_memory(&self, requested: usize) -> HeapError {
        add(&self.engine.counters.failures, 1);
        let largest_free = self.engine.largest_free(self.cpu());
        HeapError::NoMemory { requested, largest_free, errno: 0 }
    }
}

impl HeapEngine {
    /// Judges a request.
    pub(super) fn route(&self, size: usize, align: usize) -> HeapResult<Route> {
        if size == 0 || !align.is_power_of_two() || align > ALIGN_MAX {
            return Err(HeapError::InvalidParam);
        }
        let layout = Layout::from_size_align(size, align).map_err(|_| HeapError::InvalidParam)?;
        Ok(match self.global.table().class_of(layout) {
            Some(class) => Route::Class(usize::from(class.0) + 1),
            None => Route::Pages { count: size.div_ceil(PAGE_BYTES), align },
        })
    }

    /// Whether `cpu` has a slot of `class` that starts at a multiple of `align`.
    fn can_serve(&self, cpu: CpuId, class: usize, align: usize) -> bool {
        let layout = Layout::from_size_align(self.sizes[class - 1], align);
        layout.is_ok_and(|layout| {
            self.global.table().class_of(layout).is_some_and(|found| {
                usize::from(found.0) + 1 == class && self.global.has_slots(cpu, found)
            })
        })
    }

    /// Whether `p` can have come from a magazine of `class`: a slot of that class, handed out and dead.
    fn is_cached_slot(&self, p: usize, class: SizeClass) -> bool {
        self.is_place(p)
            && !self.state.is_live(&self.meta, p)
            && self.global.slab_at(p).is_some_and(|slab| {
                slab.class == class && slab.slot_start == p && slab.slot < slab.slots
            })
    }

    /// Bytes that were live at most.
    pub(super) fn used_peak(&self) -> usize {
        get(&self.counters.used_peak)
    }

    /// Takes note that `used` bytes are live.
    pub(super) fn note_used(&self, used: usize) {
        self.counters.used_peak.fetch_max(used, Ordering::Relaxed);
    }
}
