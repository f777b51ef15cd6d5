//! The mirror from outside, with the real families in it.
//!
//! `random.rs` drives every family through seeded sequences against the shadow oracle; `misuse.rs` names every
//! way to ask for something wrong; `isolation.rs` shows that the two mappings do not know of each other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod isolation;
mod misuse;
mod random;

use heapwright_allocators::{BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator};
use heapwright_core::ByteFamily;
use heapwright_heap::{AnyMirror as _, ByteRules, Mirror, arena::Memory};

/// The smallest address that the tests use, congruent to nothing in particular.
const START: usize = 0x1234_5000;

fn mirror<F: ByteFamily>(family: F, rules: ByteRules, size: usize) -> Mirror<F> {
    let mut mirror = Mirror::new(family, rules, Memory::Mapped);
    mirror.init(START, size).unwrap();
    mirror
}

fn buddy(size: usize) -> Mirror<BuddyByteAllocator> {
    mirror(BuddyByteAllocator::new(), ByteRules::BUDDY, size)
}

fn tlsf(size: usize) -> Mirror<TlsfByteAllocator> {
    mirror(TlsfByteAllocator::new(), ByteRules::TLSF, size)
}

fn slab(size: usize) -> Mirror<SlabByteAllocator> {
    mirror(SlabByteAllocator::new(), ByteRules::SLAB, size)
}

/// The bytes of a block, as JavaScript would see them.
fn data<F: ByteFamily>(mirror: &Mirror<F>, pos: usize) -> *mut u8 {
    mirror.arenas().iter().find_map(|arena| arena.data_at(pos)).unwrap()
}

/// Fills the bytes of a block with a tag.
fn fill<F: ByteFamily>(mirror: &Mirror<F>, pos: usize, size: usize, tag: u8) {
    // SAFETY: the block is live, and its data lies in the data mapping.
    unsafe { data(mirror, pos).write_bytes(tag, size) };
}

/// Whether the first `size` bytes of a block are `tag`.
fn holds<F: ByteFamily>(mirror: &Mirror<F>, pos: usize, size: usize, tag: u8) -> bool {
    let bytes = data(mirror, pos);
    // SAFETY: the block is live, and its data lies in the data mapping.
    (0..size).all(|index| unsafe { bytes.wrapping_add(index).read() } == tag)
}
