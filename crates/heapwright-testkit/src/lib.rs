//! What the tests share: a shadow oracle, an operation generator and a seeded PRNG.
//!
//! A random test draws its operations from [`ops::Generator`], carries them out on the allocator under
//! test, and shows every answer to [`shadow::ShadowAllocator`], which is too dumb to be wrong: a map of
//! live blocks and a list of managed ranges. The seed comes from [`prng::seed`], which prints it and
//! takes it back through `HEAPWRIGHT_SEED`, so that every failure can be replayed.
//!
//! Not here: anything that ships. This crate is a development dependency only.

#![deny(unsafe_code)]

pub mod ops;
pub mod prng;
pub mod shadow;

pub use ops::{Generator, Mix, Op, Sizes};
pub use prng::Prng;
pub use shadow::{Block, ShadowAllocator};

/// Whether the full sizes of a torture run are asked for, by `HEAPWRIGHT_TORTURE=1`.
pub fn is_torture() -> bool {
    std::env::var_os("HEAPWRIGHT_TORTURE").is_some_and(|value| value == "1")
}

/// `full` in a torture run, `quick` otherwise; a hundredth of that under Miri, which interprets.
pub fn scaled(quick: usize, full: usize) -> usize {
    if cfg!(miri) {
        return quick.div_ceil(100);
    }
    if is_torture() { full } else { quick }
}
