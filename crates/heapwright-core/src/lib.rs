//! The vocabulary of heapwright: what can fail, what an allocator is, and layout arithmetic.
//!
//! Terms, used alike in Rust, TypeScript and the documents:
//!
//! | term | meaning |
//! | --- | --- |
//! | family / kind | one of the wrapped allocators / the string that selects a class in `createAllocator` |
//! | region | a reserved range of address space: reserved → committed → decommitted → released |
//! | section | one contiguous range given to a page allocator by `init` or `addRegion` |
//! | control mapping / data mapping | where a crate keeps its metadata / what JavaScript sees at the same offset; together the *mirror* |
//! | live table | start → size, align of every live block |
//! | page / granule | the unit of a page allocator / the smallest unit the Heap hands out |
//! | block, order | an allocated or free span; log2 of its pages (buddy) |
//! | size class, slab, slot | a size served from slabs, a run of pages cut into slots, one of them |
//! | magazine | one thread's small stack of free blocks of one class |
//! | owner, remote free, pending, drain, adopt | the CPU a slab belongs to, a free on another CPU, slabs with remote frees, taking them back, taking over a dead CPU's slabs |
//! | first level, second level (`fl`, `sl`) | TLSF's power-of-two class and its linear subdivision |
//! | handle / view | the cloneable value that names a heap to a worker / a typed array over native memory |
//!
//! No unsafe code runs here; `unsafe fn` appears in the traits alone. Not here: any allocator.

#![no_std]
#![deny(unsafe_code)]

mod error;
mod family;
mod layout;
mod traits;

pub use error::{AllocError, AllocResult};
pub use family::{ByteFamily, IdFamily, PageFamily};
pub use layout::{align_down, align_up, is_aligned};
pub use traits::{BaseAllocator, ByteAllocator, IdAllocator, PageAllocator};
