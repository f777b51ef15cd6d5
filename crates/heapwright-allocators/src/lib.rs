//! The allocator families: published crates, unmodified, behind the traits of `heapwright-core`.
//!
//! | type | wraps | feature |
//! | --- | --- | --- |
//! | [`BuddyByteAllocator`] | `buddy_system_allocator::Heap` | `buddy` |
//! | [`TlsfByteAllocator`] | `rlsf::Tlsf` | `tlsf` |
//! | [`SlabByteAllocator`] | `ax_slab_allocator::Heap` | `slab` |
//! | [`BitmapPageAllocator`], [`BitmapIdAllocator`] | `bitmap_allocator::BitAlloc` | `bitmap` |
//! | [`AllocatorRc`] | any byte allocator, as `Allocator` of `allocator-api2` or of `core` | `allocator_api`, `nightly` |
//!
//! The same operations on the bare crate and through the wrapper give the same offsets, block for block;
//! `tests/families/exactness.rs` compares them step by step. What a wrapper adds lies around the calls: every
//! parameter is checked before anything changes, ranges never overlap, statistics count what is really
//! granted, and `largest_free` names the largest request that succeeds now. `docs/families.md` says why
//! each addition is there and what it costs.
//!
//! The byte families keep their metadata *inside* the memory they manage. Whoever calls `init` and
//! `add_memory` promises that nothing else writes there; heapwright's mirror does so by giving them memory
//! that no JavaScript view covers.
//!
//! Not here: any mapping of memory (`heapwright-region`), the live table and the mirror
//! (`heapwright-heap`), anything about JavaScript (`heapwright-node`).

#![no_std]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

extern crate alloc;

#[cfg(any(feature = "allocator_api", feature = "nightly"))]
mod allocator_rc;
#[cfg(feature = "bitmap")]
mod bitmap;
#[cfg(feature = "buddy")]
mod buddy;
#[cfg(feature = "bitmap")]
mod id;
#[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab", feature = "bitmap"))]
mod ranges;
#[cfg(feature = "bitmap")]
mod run_index;
#[cfg(feature = "slab")]
mod slab;
#[cfg(feature = "tlsf")]
mod tlsf;
#[cfg(feature = "bitmap")]
mod unit_map;
#[cfg(any(feature = "bitmap", feature = "slab"))]
mod zeroed;

#[cfg(any(feature = "allocator_api", feature = "nightly"))]
pub use allocator_rc::AllocatorRc;
#[cfg(feature = "bitmap")]
pub use bitmap::{BitmapPageAllocator, PAGE_COUNT_MAX};
#[cfg(feature = "buddy")]
pub use buddy::BuddyByteAllocator;
#[cfg(feature = "bitmap")]
pub use id::{BitmapIdAllocator, ID_COUNT_MAX};
#[cfg(feature = "slab")]
pub use slab::{SLAB_CLASS_COUNT, SlabByteAllocator, SlabClassUse};
#[cfg(feature = "tlsf")]
pub use tlsf::TlsfByteAllocator;

pub use heapwright_core::{
    AllocError, AllocResult, BaseAllocator, ByteAllocator, IdAllocator, PageAllocator,
};
