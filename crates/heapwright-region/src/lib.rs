//! Address space from the operating system: reserved, committed, decommitted, released.
//!
//! ```text
//!              commit            decommit
//!   reserved ─────────► committed ───────► decommitted      (reads zero again, still accessible)
//!      │                   │   ▲──────────────┘
//!      └───────────────────┴── Drop ──► released            (guard pages go with the range)
//! ```
//!
//! A [`Region`] owns one range and the guard page on either side of it. It is the only crate of
//! heapwright that calls the system; what it needs is the trait [`os::Os`], whose laws are written
//! there, with [`os::SystemOs`] for Unix and room for Windows beside it.
//!
//! Invariants:
//! 1. The base of a region is never 0, and its neighbors on both sides are inaccessible pages of
//!    its own, so two regions never touch.
//! 2. No page is ever executable.
//! 3. A range is unmapped by the drop of its `Region` and by nothing else.
//! 4. A call that fails leaves nothing mapped that was not mapped before.
//!
//! Not here: any reference to the bytes (who dereferences [`Region::base`] answers for it),
//! allocation inside a region, and file-backed regions. Those need `map_file`, `flush` and
//! `lock` beside `reserve` in [`os::Os`], a constructor beside [`Region::reserve_placed`], and the
//! truncation handler in a module of its own; nothing else of this crate changes.

mod barrier;
mod error;
pub mod os;
mod pin;
mod region;
#[cfg(test)]
mod tests;

pub use barrier::process_barrier;
pub use error::RegionError;
pub use pin::pin_library;
pub use region::{Access, Advice, Placement, Region, page_size, resident_bytes};
