//! Looking at a heap: the block around an address, figures, and the list of live blocks.

use super::{
    Attachment, HeapEngine, HeapError, HeapResult,
    geometry::{CLASS_LARGE, GRANULE_BYTES, PAGE_BYTES, STATE_LIVE},
    get, lock,
    recover::Members,
};

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Where it starts.
    pub start: usize,
    /// Bytes that may be used.
    pub usable: usize,
    /// Its class number, [`CLASS_LARGE`] for a run of pages.
    pub class: usize,
}

/// Figures of a heap, exact at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes managed.
    pub size: usize,
    /// Bytes of pages that were handed out, or populated, since they were last given back to the system
    /// (`residency.rs`).
    pub committed: usize,
    /// Bytes of live blocks, as usable.
    pub used: usize,
    /// The most that `used` was.
    pub used_peak: usize,
    /// Live blocks.
    pub blocks: usize,
    /// Bytes in magazines.
    pub cached: usize,
    /// A request of that size would be served.
    pub largest_free: usize,
    /// Threads attached.
    pub threads: usize,
    /// Another thread has ever attached.
    pub shared: bool,
    /// Blocks ever allocated; those of pools as far as JavaScript has added them up.
    pub allocs: usize,
    /// Blocks ever freed.
    pub frees: usize,
    /// Calls into Rust.
    pub crossings: usize,
    /// Requests that found no memory.
    pub failures: usize,
}

/// Figures of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassRow {
    /// Bytes of a block.
    pub size: usize,
    /// Live blocks.
    pub blocks: usize,
    /// Slabs.
    pub slabs: usize,
    /// Blocks in magazines.
    pub cached: usize,
}

impl Attachment {
    /// The live block that holds `p`.
    ///
    /// # Time Complexity
    ///
    /// Constant for slots, `O(log runs)` for runs of pages.
    ///
    /// # Errors
    ///
    /// [`HeapError::NotAllocated`] where no live block holds it; closed, poisoned.
    pub fn lookup(&self, p: usize) -> HeapResult<BlockInfo> {
        let engine = self.open()?;
        let block = engine.block_at(p).ok_or(HeapError::NotAllocated)?;
        if engine.state.is_live(&engine.meta, block.start) {
            Ok(block)
        } else {
            Err(HeapError::NotAllocated)
        }
    }

    /// Figures of the whole heap.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slabs, and in the live blocks where other threads are attached, or left blocks in this one's
    /// outbox: what their magazines hold is known from the state map alone.
    ///
    /// # Errors
    ///
    /// Closed, poisoned.
    pub fn stats(&self) -> HeapResult<HeapStats> {
        let engine = self.open()?;
        let members = engine.read_members();
        let counters = &engine.counters;
        let taken = (get(&counters.taken_blocks), get(&counters.taken_bytes));
        engine.high_water(self.slot());
        let dead = if self.has_all_dead(&members) {
            let cached = self.magazines().cached();
            cached.map_err(|corrupt| self.corrupt(corrupt))?
        } else {
            engine
                .dead_slots()
                .into_iter()
                .zip(engine.sizes.iter())
                .fold((0, 0), |(blocks, bytes), (dead, size)| (blocks + dead, bytes + dead * size))
        };
        // Other threads may be inside: never below zero.
        let used = taken.1.saturating_sub(dead.1);
        let blocks = taken.0.saturating_sub(dead.0);
        let allocs = engine.all_allocs(&members);
        engine.note_used(used);
        Ok(HeapStats {
            size: engine.geometry.size,
            committed: engine.pages.residency.touched_bytes(),
            used,
            used_peak: engine.used_peak(),
            blocks,
            cached: dead.1,
            largest_free: engine.largest_free(self.cpu()),
            threads: members.count(),
            shared: members.was_joined(),
            allocs,
            frees: allocs.saturating_sub(blocks),
            crossings: get(&counters.crossings),
            failures: get(&counters.failures),
        })
    }

    /// Whether this thread's magazines hold all slots that are out of their slabs and not live.
    fn has_all_dead(&self, members: &Members) -> bool {
        members.is_alone() && self.magazines().outbox_len() == 0
    }

    /// Figures by class.
    ///
    /// # Errors
    ///
    /// Closed, poisoned.
    pub fn class_rows(&self) -> HeapResult<Vec<ClassRow>> {
        let engine = self.open()?;
        let members = engine.read_members();
        let dead = if self.has_all_dead(&members) {
            let depth = |class| {
                let magazines = self.magazines();
                super::Stack::ALL.into_iter().map(|stack| magazines.depth(stack, class)).sum()
            };
            let depths: Result<Vec<usize>, _> = (1..=engine.sizes.len()).map(depth).collect();
            depths.map_err(|corrupt| self.corrupt(corrupt))?
        } else {
            engine.dead_slots()
        };
        let stats = engine.global.class_stats(None);
        let row = |(stats, cached): (&heapwright_two_level::ClassStats, usize)| ClassRow {
            size: stats.object_size,
            blocks: stats.active.saturating_sub(cached),
            slabs: stats.slabs,
            cached,
        };
        Ok(stats.iter().zip(dead).map(row).collect())
    }

    /// Every live block in ascending order, as start and usable bytes.
    ///
    /// # Time Complexity
    ///
    /// `O(n log n)` for `n` blocks out of their slabs.
    ///
    /// # Errors
    ///
    /// Closed, poisoned; [`HeapError::NoMemory`] for the list.
    pub fn live_blocks(&self) -> HeapResult<Vec<(usize, usize)>> {
        let engine = self.open()?;
        let mut live = Vec::new();
        let mut short = false;
        let mut note = |block| {
            short = short || live.try_reserve(1).is_err();
            if !short {
                live.push(block);
            }
        };
        engine.global.for_each_taken_slot(None, &mut |p, size| {
            if engine.state.get(&engine.meta, p) == STATE_LIVE {
                note((p, size));
            }
        });
        lock(&engine.large).iter().for_each(|(&p, &pages)| note((p, pages * PAGE_BYTES)));
        if short {
            return Err(self.no_memory(size_of_val(live.as_slice())));
        }
        live.sort_unstable();
        Ok(live)
    }
}

impl HeapEngine {
    /// The block that holds `p`, live or not: a slot or a run of pages.
    pub(super) fn block_at(&self, p: usize) -> Option<BlockInfo> {
        if p >= self.geometry.size {
            return None;
        }
        if let Some(slab) = self.global.slab_at(p) {
            let usable = self.sizes[slab.class.index()];
            let class = slab.class.index() + 1;
            return (slab.slot < slab.slots).then_some(BlockInfo {
                start: slab.slot_start,
                usable,
                class,
            });
        }
        let large = lock(&self.large);
        let (&start, &pages) = large.range(..=p).next_back()?;
        let usable = pages * PAGE_BYTES;
        (p - start < usable).then_some(BlockInfo { start, usable, class: CLASS_LARGE })
    }

    /// Slots by class that are out of their slabs and not live: in magazines and outboxes.
    fn dead_slots(&self) -> Vec<usize> {
        let mut dead = vec![0; self.sizes.len()];
        let mut class = 0;
        self.global.for_each_taken_slot(None, &mut |p, size| {
            if self.state.get(&self.meta, p) != STATE_LIVE {
                // Slots come slab by slab, so the class is nearly always that of the last one.
                if self.sizes[class] != size {
                    class = self.sizes.partition_point(|&other| other < size);
                }
                dead[class] += 1;
            }
        });
        dead
    }
}

const _: () = assert!(GRANULE_BYTES == 16);
