//! Slabs: runs of pages cut into slots of one size, with all metadata elsewhere.
//!
//! - `arena.rs`: descriptors, their bitmaps, and where they live.
//! - `slots.rs`: which slots are live, available or pending.
//! - `lists.rs`: the slabs of one CPU and class by state.
//! - `set.rs`: all slabs of one CPU.
//! - `cache.rs`: [`SlabAllocator`], the slab level alone.
//!
//! Not here: frees by other CPUs (`remote.rs`), where pages come from (`global`).

mod arena;
mod cache;
mod lists;
mod set;
mod slots;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use arena::slab_meta_bytes;
pub(crate) use arena::{
    Descriptors, PENDING, QUEUED, Shape, Slab, SlabArena, SlabId, SlabState, bitmap_words,
    valid_bits,
};
pub use cache::{SlabAlloc, SlabAllocator, SlabDealloc};
pub(crate) use lists::ListState;
pub use set::ClassStats;
pub(crate) use set::SlabSet;
pub(crate) use slots::{SlotBit, search_from};
