//! The two-level engine: buddy pages under per-CPU slabs, with lock-free remote frees.
//!
//! Three allocators over address ranges, none of which touches the memory it manages:
//!
//! - [`BuddyAllocator`]: pages in several sections, split and merged in `O(orders)`.
//! - [`SlabAllocator`]: slots of nine sizes over pages that the caller brings.
//! - [`GlobalAllocator`]: both, thread-safe, with a set of slabs for each CPU.
//!
//! All metadata lies outside the ranges, sized for the worst case when a range is added and
//! committed as it is touched (`docs/two-level.md` says how many bytes). Every free is judged: one
//! that names no live block is an error and changes nothing.
//!
//! Layers, each over those before it: `sync` (locks, atomics, zeroed metadata) · `page_meta`,
//! `size_class` · `buddy` · `slab` · `remote` (frees by other CPUs) · `global`.
//!
//! The only unsafe code is in `sync.rs`: untouched zeroed atomics.

#![deny(unsafe_code)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "metadata is packed into words; every cast says beside it what bounds its value"
)]

mod buddy;
mod global;
mod page_meta;
mod remote;
mod size_class;
mod slab;
mod sync;

pub use buddy::{BuddyAllocator, ManagedSection, SECTIONS_MAX};
pub use global::{
    CPUS_MAX, CpuId, Drains, GlobalAllocator, PAGE_MAP_BYTES, SlabInfo, SlabObserver,
};
pub use page_meta::{PAGE_META_BYTES, SECTION_PAGES_MAX};
pub use size_class::{ClassTable, SizeClass};
pub use slab::{ClassStats, SlabAlloc, SlabAllocator, SlabDealloc, slab_meta_bytes};
