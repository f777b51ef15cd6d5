//! Statistics and `largest_free` tell the truth at random moments.
//!
//! A truthful `largest_free`: a request of that size succeeds, one byte more fails, and asking changes
//! nothing: the sequence goes on as that of a twin that was never asked.

use std::ptr::NonNull;

use crate::support::{Ours, Pool, Subject, layout};
use heapwright_allocators::{
    AllocError, BuddyByteAllocator, ByteAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_core::ByteFamily;
use heapwright_testkit::{Generator, Mix, Op, Prng, ShadowAllocator, Sizes, prng, scaled};
use rlsf::BlockInfo;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn assert_largest_is_true<A: ByteFamily>(ours: &mut Ours<A>, align: usize) {
    let largest = ours.0.largest_free(align);
    assert_eq!(ours.0.largest_free(align), largest, "asking twice gives the same answer");
    assert!(largest <= ours.0.available_bytes());
    assert_eq!(ours.alloc(layout(largest + 1, align)), None, "{largest} + 1, align {align}");
    if largest > 0 {
        let pos = ours.alloc(layout(largest, align));
        let pos = pos.unwrap_or_else(|| panic!("{largest}, align {align}"));
        assert_eq!(pos % align, 0);
        ours.dealloc(pos, layout(largest, align));
    }
}

fn tell_the_truth<A: ByteFamily + Default>(
    mix: Mix,
    seed: u64,
    pool_size: usize,
    taken_by_sets: bool,
) {
    let (pool, twin_pool) = (Pool::aligned(pool_size), Pool::aligned(pool_size));
    let (mut ours, mut twin) = (Ours(A::default()), Ours(A::default()));
    for (start, allocator) in [(pool.start(), &mut ours), (twin_pool.start(), &mut twin)] {
        allocator.add(start, pool_size / 2);
        allocator.add(start + pool_size / 4 * 3, pool_size / 4);
    }
    assert_eq!(ours.0.total_bytes(), pool_size / 4 * 3);
    let mut prng = Prng::new(!seed);
    let mut generator = Generator::new(seed, mix);
    let mut blocks: Vec<Option<(usize, usize, usize)>> = Vec::new();
    let mut asked = 0;
    for step in 0..scaled(15_000, 200_000) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                blocks.resize(blocks.len().max(key + 1), None);
                let fits = ours.0.largest_free(align) >= size;
                let offset = ours.alloc(layout(size, align)).map(|pos| pos - pool.start());
                let twin_offset =
                    twin.alloc(layout(size, align)).map(|pos| pos - twin_pool.start());
                assert_eq!(offset, twin_offset, "step {step}: asking changes nothing");
                // A slab class may be empty though a larger one is not.
                assert!(offset.is_none() || fits, "step {step}");
                assert!(taken_by_sets || offset.is_some() == fits, "step {step}");
                blocks[key] = offset.map(|offset| (offset, size, align));
                if offset.is_none() {
                    generator.refused(key);
                }
            }
            Op::Free { key } => {
                let (offset, size, align) = blocks[key].take().unwrap();
                ours.dealloc(pool.start() + offset, layout(size, align));
                twin.dealloc(twin_pool.start() + offset, layout(size, align));
            }
            Op::Realloc { .. } => {}
        }
        assert_eq!(ours.0.used_bytes() + ours.0.available_bytes(), ours.0.total_bytes());
        if prng.chance(1, 20) && !taken_by_sets {
            // A set, once taken, stays: trying a request would change the slab family for good.
            assert_largest_is_true(&mut ours, 1 << prng.below(16));
            asked += 1;
        }
    }
    if !taken_by_sets {
        assert!(asked > 100);
    }
    for align in [1, 4096] {
        assert_largest_is_true(&mut ours, align);
    }
}

const LARGE: Mix = Mix::wide().with_sizes(Sizes::LogUniform(1024, 1 << 18)).with_live_max(100);

#[test]
fn buddy_tells_the_truth() {
    let seed = prng::seed(0xb0);
    tell_the_truth::<BuddyByteAllocator>(Mix::small(), seed, 256 * KIB, false);
    tell_the_truth::<BuddyByteAllocator>(LARGE, seed, 4 * MIB, false);
}

#[test]
fn tlsf_tells_the_truth() {
    let seed = prng::seed(0x715f);
    tell_the_truth::<TlsfByteAllocator>(Mix::small(), seed, 256 * KIB, false);
    tell_the_truth::<TlsfByteAllocator>(LARGE, seed, 4 * MIB, false);
}

#[test]
fn slab_tells_the_truth() {
    let seed = prng::seed(0x51ab);
    tell_the_truth::<SlabByteAllocator>(Mix::small(), seed, 256 * KIB, true);
    tell_the_truth::<SlabByteAllocator>(LARGE, seed, 4 * MIB, true);
}

/// The truth about slabs, where a trial takes a set for good: a fresh allocator for every trial.
#[test]
fn slab_tells_the_truth_at_every_moment_of_a_replayed_sequence() {
    let seed = prng::seed(0x51ac);
    let steps = 600;
    for stop in (0..steps).step_by(7) {
        for more in [0, 1] {
            let pool = Pool::aligned(256 * KIB);
            let mut ours = Ours(SlabByteAllocator::new());
            ours.add(pool.start(), pool.size());
            let mut generator =
                Generator::new(seed, Mix::wide().with_sizes(Sizes::LogUniform(1, 20_000)));
            let mut blocks: Vec<Option<(usize, usize, usize)>> = Vec::new();
            for _ in 0..stop {
                match generator.next_op() {
                    Op::Alloc { key, size, align } => {
                        blocks.resize(blocks.len().max(key + 1), None);
                        let pos = ours.alloc(layout(size, align));
                        blocks[key] = pos.map(|pos| (pos, size, align));
                        if pos.is_none() {
                            generator.refused(key);
                        }
                    }
                    Op::Free { key } => {
                        let (pos, size, align) = blocks[key].take().unwrap();
                        ours.dealloc(pos, layout(size, align));
                    }
                    Op::Realloc { .. } => {}
                }
            }
            let align = 1 << (stop % 15);
            let largest = ours.0.largest_free(align);
            if largest + more > 0 {
                let served = ours.alloc(layout(largest + more, align)).is_some();
                assert_eq!(served, more == 0, "step {stop}: {largest} + {more}, align {align}");
            }
        }
    }
}

/// TLSF counts whole blocks: the sum is that of the crate's own walk, after every step.
#[test]
fn tlsf_counts_what_the_crate_walks_over() {
    let seed = prng::seed(0xacc);
    let (pool, twin) = (Pool::aligned(512 * KIB), Pool::aligned(512 * KIB));
    let mut ours = Ours(TlsfByteAllocator::new());
    ours.add(pool.start(), pool.size());
    let mut bare = crate::support::bare_tlsf::BareTlsf::default();
    bare.add(twin.start(), twin.size());
    let whole = NonNull::new(std::ptr::slice_from_raw_parts_mut(
        std::ptr::with_exposed_provenance_mut::<u8>(twin.start()),
        twin.size(),
    ))
    .unwrap();
    let mut generator = Generator::new(seed, Mix::wide().with_live_max(150));
    let mut blocks: Vec<Option<(usize, usize, usize)>> = Vec::new();
    for _ in 0..scaled(8_000, 100_000) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                blocks.resize(blocks.len().max(key + 1), None);
                let offset = ours.alloc(layout(size, align)).map(|pos| pos - pool.start());
                assert_eq!(offset, bare.alloc(layout(size, align)).map(|pos| pos - twin.start()));
                blocks[key] = offset.map(|offset| (offset, size, align));
                if offset.is_none() {
                    generator.refused(key);
                }
            }
            Op::Free { key } => {
                let (offset, size, align) = blocks[key].take().unwrap();
                ours.dealloc(pool.start() + offset, layout(size, align));
                bare.dealloc(twin.start() + offset, layout(size, align));
            }
            Op::Realloc { .. } => {}
        }
        // SAFETY: `whole` is the one pool of this allocator.
        let walked = unsafe { bare.0.iter_blocks(whole) };
        let used: usize = walked.filter(BlockInfo::is_occupied).map(|block| block.size()).sum();
        assert_eq!(ours.0.used_bytes(), used);
    }
}

/// `usable_size` is what the crate really leaves to the block: its next neighbor begins right behind.
#[test]
fn every_byte_of_the_usable_size_belongs_to_the_block() {
    fn check<A: ByteFamily + Default>(unit: usize) {
        let pool = Pool::aligned(8 * MIB);
        let mut ours = Ours(A::default());
        ours.add(pool.start(), pool.size());
        let mut prng = Prng::new(prng::seed(0x05a));
        let mut spans = Vec::new();
        for _ in 0..400 {
            let (size, align) = (prng.between(1, 9000), 1 << prng.below(14));
            let usable = ours.0.usable_size(layout(size, align));
            assert!(usable >= size && usable < (2 * size.max(align)).max(unit));
            if let Some(pos) = ours.alloc(layout(size, align)) {
                spans.push((pos, pos + usable));
            }
        }
        assert!(spans.len() > 100);
        spans.sort_unstable();
        assert!(spans.is_sorted_by(|a, b| a.1 <= b.0), "usable bytes overlap");
        assert!(spans.last().unwrap().1 <= pool.start() + pool.size());
    }
    check::<BuddyByteAllocator>(9);
    check::<TlsfByteAllocator>(33);
    check::<SlabByteAllocator>(65);
}

/// The rules of TLSF in figures: 98.44 % of 1 MiB (TL7), and what a set costs a slab (SL3, SL5).
#[test]
fn known_figures() {
    let pool = Pool::aligned(MIB);
    let mut tlsf = Ours(TlsfByteAllocator::new());
    tlsf.add(pool.start(), MIB);
    // The block of 1 MiB - 32 lies on the list from 1 MiB - 16 KiB; 16 bytes of it are the header.
    assert_eq!(tlsf.0.largest_free(1), MIB - 16 * KIB - 16);
    assert_eq!(tlsf.0.largest_free(4096), MIB - 16 * KIB - 4096);

    let pool = Pool::aligned(32 * KIB);
    let mut slab = Ours(SlabByteAllocator::new());
    slab.add(pool.start(), 32 * KIB);
    assert_eq!(slab.alloc(layout(1024, 8)), None);
    assert_eq!(slab.0.set_bytes(layout(1024, 8)), Some(64 * KIB));
    let pos = slab.alloc(layout(512, 8)).unwrap();
    assert_eq!(slab.0.largest_free(1), 512);
    slab.dealloc(pos, layout(512, 8));
    assert_eq!(slab.0.used_bytes(), 0);
    assert_eq!(slab.0.available_bytes(), 32 * KIB);
    assert_eq!(slab.0.largest_free(1), 512, "the set stays with its class");
    assert_eq!(slab.0.classes()[3].held_bytes, 32 * KIB);
    assert_eq!(slab.0.classes()[3].blocks_live, 0);
}

/// `resize` keeps the books right, keeps a block in place while its usable size stays the same, and leaves
/// everything as it was when it fails.
#[test]
fn resize_keeps_the_books() {
    fn check<A: ByteFamily + Default>() {
        let pool = Pool::aligned(MIB);
        let mut ours = Ours(A::default());
        ours.add(pool.start(), MIB);
        let mut prng = Prng::new(prng::seed(0x5126));
        let mut shadow = ShadowAllocator::new();
        shadow.add_range(pool.start(), MIB).unwrap();
        let mut blocks = Vec::new();
        let (mut stayed, mut failed) = (0, 0);
        for _ in 0..scaled(4_000, 50_000) {
            let (size, align) = (prng.between(1, 9_000), 1 << prng.below(9));
            if blocks.len() < 60 {
                if let Some(pos) = ours.alloc(layout(size, align)) {
                    shadow.alloc(pos, size, align).unwrap();
                    blocks.push((pos, size, align));
                }
                continue;
            }
            let index = prng.below(blocks.len());
            let (pos, old_size, align) = blocks[index];
            if prng.chance(1, 4) {
                shadow.free(pos, old_size, align).unwrap();
                ours.dealloc(pos, layout(old_size, align));
                blocks.swap_remove(index);
                continue;
            }
            // Now and then more than there is.
            let size = if prng.chance(1, 20) { 2 * MIB } else { size };
            let used = ours.0.used_bytes();
            let at = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(pos)).unwrap();
            // SAFETY: the block is live, with this layout.
            match unsafe { ours.0.resize(at, layout(old_size, align), size) } {
                Ok(moved) => {
                    let moved = moved.addr().get();
                    shadow.realloc(pos, moved, size).unwrap();
                    blocks[index] = (moved, size, align);
                    let same = ours.0.usable_size(layout(size, align))
                        == ours.0.usable_size(layout(old_size, align));
                    assert!(!same || moved == pos, "a block of the same usable size stays");
                    stayed += usize::from(moved == pos);
                }
                Err(error) => {
                    assert_eq!((error, ours.0.used_bytes()), (AllocError::NoMemory, used));
                    failed += 1;
                }
            }
            let (pos, size, align) = blocks[index];
            let at = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(pos)).unwrap();
            // SAFETY: the block is live, with this layout.
            let refused = unsafe { ours.0.resize(at, layout(size, align), 0) };
            assert_eq!(refused, Err(AllocError::InvalidParam));
        }
        assert!(failed > 20 && stayed > 100, "{failed} failed, {stayed} stayed");
        for (pos, size, align) in blocks {
            ours.dealloc(pos, layout(size, align));
        }
        assert_eq!(ours.0.used_bytes(), 0);
    }
    check::<BuddyByteAllocator>();
    check::<TlsfByteAllocator>();
    check::<SlabByteAllocator>();
}
