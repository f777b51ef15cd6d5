//! The tests of the families, through their public API, beside the bare crates. One binary.
//!
//! Random tests print their seed and take it back through `HEAPWRIGHT_SEED`; `HEAPWRIGHT_TORTURE=1` runs
//! them at full size.
#![cfg(all(
    feature = "buddy",
    feature = "tlsf",
    feature = "slab",
    feature = "bitmap",
    feature = "allocator_api"
))]
#![cfg_attr(feature = "nightly", feature(allocator_api, btreemap_alloc))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounting;
mod collections;
mod exactness;
mod fuzz;
mod hazards;
mod pages;
mod seeds;
mod support;
