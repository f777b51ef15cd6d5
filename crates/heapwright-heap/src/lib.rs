//! What stands between the wrapped allocators and JavaScript, and the engine of the `Heap`.
//!
//! | file | what it is |
//! | --- | --- |
//! | `control_table/`, `live_table.rs` | start → size, alignment of every live block: in a control mapping; without one |
//! | `ledger.rs` | ranges, live table, counters and state of one allocator; judges every range and free |
//! | `arena.rs` | the control and data mapping of one range |
//! | `mirror.rs`, `page_mirror.rs`, `id_mirror.rs` | a byte, page or id allocator behind all that |
//! | `sections.rs`, `buddy_mirror.rs`, `slab_cache_mirror.rs`, `two_level_mirror.rs` | the two-level engine, and its levels alone, behind the same |
//! | `refusal.rs` | why a call was refused |
//! | `heap/` | the engine of the `Heap`: one attachment for each thread |
//! | `magazine.rs` | stacks of free blocks that JavaScript pops and pushes |
//! | `registry.rs` | the heaps of the process, by handle |
//!
//! Not here: the wrapped allocators (`heapwright-allocators` implements the traits of `heapwright-core`
//! that this crate asks for), system calls (`heapwright-region`), anything about JavaScript.

mod any_mirror;
pub mod arena;
mod buddy_mirror;
mod control_table;
pub mod heap;
mod id_mirror;
mod ledger;
pub mod live_table;
mod magazine;
mod mirror;
mod page_mirror;
mod refusal;
pub mod registry;
mod sections;
mod slab_cache_mirror;
mod two_level_mirror;

pub use any_mirror::AnyMirror;
pub use buddy_mirror::BuddyMirror;
pub use id_mirror::IdMirror;
pub use ledger::{RANGE_END_MAX, Span, Stats};
pub use mirror::{ByteRules, Mirror};
pub use page_mirror::PageMirror;
pub use refusal::{Outcome, Refusal};
pub use slab_cache_mirror::SlabCacheMirror;
pub use two_level_mirror::TwoLevelMirror;
