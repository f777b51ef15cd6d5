//! The families are exact: the same operations on the bare crate and through the wrapper give the same
//! offsets, block for block, refusals included.
//!
//! Both sides get memory of the same size and alignment, cut into the same ranges. After every operation
//! the two answers are compared as offsets. Changes of size are an allocation, then a free, as the core
//! traits have no other; what `TlsfByteAllocator::realloc` does is compared in a test of its own.

use crate::support::{
    Ours, Pool, Subject, bare_buddy::BareBuddy, bare_slab::BareSlab, bare_tlsf::BareTlsf, layout,
};
use heapwright_allocators::{
    BuddyByteAllocator, ByteAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_testkit::{Generator, Mix, Op, ShadowAllocator, Sizes, prng, scaled};

/// Offsets and sizes of the ranges in a pool. Gaps between them keep a buddy from merging over seams.
struct Geometry {
    pool_size: usize,
    ranges: &'static [(usize, usize)],
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const ONE_SMALL: Geometry = Geometry { pool_size: 64 * KIB, ranges: &[(0, 64 * KIB)] };
const ONE_LARGE: Geometry = Geometry { pool_size: 16 * MIB, ranges: &[(0, 16 * MIB)] };
/// Not a power of two, not at the start of the pool.
const ONE_ODD: Geometry =
    Geometry { pool_size: 4 * MIB, ranges: &[(36 * KIB, 3 * MIB + 32 * KIB)] };
/// Three ranges, the second below the first.
const SEVERAL: Geometry = Geometry {
    pool_size: 8 * MIB,
    ranges: &[(2 * MIB, MIB), (64 * KIB, 512 * KIB), (5 * MIB + 4 * KIB, 2 * MIB + 8 * KIB)],
};
/// Ranges of whole bytes, for the crates that round them themselves.
const UNALIGNED: Geometry =
    Geometry { pool_size: 2 * MIB, ranges: &[(3, 777_777), (MIB + 17, 500_001)] };

/// Drives both sides through one sequence and compares every answer.
fn compare(
    ours: &mut impl Subject,
    bare: &mut impl Subject,
    geometry: &Geometry,
    mix: Mix,
    seed: u64,
    steps: usize,
) {
    let (pool, twin) = (Pool::aligned(geometry.pool_size), Pool::aligned(geometry.pool_size));
    let mut shadow = ShadowAllocator::new();
    for &(offset, size) in geometry.ranges {
        ours.add(pool.start() + offset, size);
        bare.add(twin.start() + offset, size);
        shadow.add_range(pool.start() + offset, size).unwrap();
    }
    let mut generator = Generator::new(seed, mix);
    let mut blocks: Vec<Option<(usize, usize, usize)>> = Vec::new();
    let both_alloc = |ours: &mut dyn Subject, bare: &mut dyn Subject, size, align, step| {
        let offset = ours.alloc(layout(size, align)).map(|pos| pos - pool.start());
        let expected = bare.alloc(layout(size, align)).map(|pos| pos - twin.start());
        assert_eq!(offset, expected, "step {step}: size {size}, align {align}");
        offset
    };
    let both_dealloc = |ours: &mut dyn Subject, bare: &mut dyn Subject, offset, size, align| {
        ours.dealloc(pool.start() + offset, layout(size, align));
        bare.dealloc(twin.start() + offset, layout(size, align));
    };
    let (mut served, mut refused) = (0_usize, 0_usize);
    let mut step = 0;
    let mut tail: Vec<Op> = Vec::new();
    loop {
        let op = if step < steps {
            generator.next_op()
        } else {
            if step == steps {
                tail = generator.drain();
            }
            let Some(op) = tail.pop() else { break };
            op
        };
        match op {
            Op::Alloc { key, size, align } => {
                if blocks.len() <= key {
                    blocks.resize(key + 1, None);
                }
                if let Some(offset) = both_alloc(ours, bare, size, align, step) {
                    served += 1;
                    shadow.alloc(pool.start() + offset, size, align).unwrap();
                    blocks[key] = Some((offset, size, align));
                } else {
                    refused += 1;
                    generator.refused(key);
                }
            }
            Op::Free { key } => {
                let (offset, size, align) = blocks[key].take().unwrap();
                shadow.free(pool.start() + offset, size, align).unwrap();
                both_dealloc(ours, bare, offset, size, align);
            }
            Op::Realloc { key, size: new_size } => {
                let (offset, size, align) = blocks[key].unwrap();
                if let Some(new_offset) = both_alloc(ours, bare, new_size, align, step) {
                    shadow.alloc(pool.start() + new_offset, new_size, align).unwrap();
                    shadow.free(pool.start() + offset, size, align).unwrap();
                    both_dealloc(ours, bare, offset, size, align);
                    blocks[key] = Some((new_offset, new_size, align));
                }
            }
        }
        step += 1;
    }
    // Slabs in a crowded pool refuse most: their sets stay with the first classes.
    assert!(served > steps / 10, "the sequence allocates: {served} served, {refused} refused");
    assert!(shadow.is_empty());
}

/// One test for each family and geometry; the first seed is that of `HEAPWRIGHT_SEED`.
macro_rules! exact {
    ($($name:ident: $ours:ty, $bare:ty, $geometry:expr, $mix:expr;)*) => {$(
        #[test]
        fn $name() {
            let first = prng::seed(0x5eed);
            for seed in first..first + scaled(3, 16) as u64 {
                let mut ours = Ours(<$ours>::new());
                let mut bare = <$bare>::default();
                compare(&mut ours, &mut bare, &$geometry, $mix, seed, scaled(20_000, 300_000));
                assert_eq!(ours.0.used_bytes(), 0, "everything was freed");
                assert_eq!(ours.0.available_bytes(), ours.0.total_bytes());
            }
        }
    )*};
}

/// Blocks that fill a pool of 64 KiB now and then.
const CROWDED: Mix = Mix::small().with_live_max(700);
/// Few large blocks, so that requests are refused again and again.
const LARGE: Mix = Mix::wide().with_sizes(Sizes::LogUniform(1024, 1 << 20)).with_live_max(60);

exact! {
    buddy_small_pool: BuddyByteAllocator, BareBuddy, ONE_SMALL, CROWDED;
    buddy_large_pool: BuddyByteAllocator, BareBuddy, ONE_LARGE, Mix::wide();
    buddy_odd_range: BuddyByteAllocator, BareBuddy, ONE_ODD, LARGE;
    buddy_several_ranges: BuddyByteAllocator, BareBuddy, SEVERAL, Mix::wide();
    buddy_unaligned_ranges: BuddyByteAllocator, BareBuddy, UNALIGNED, Mix::small();
    tlsf_small_pool: TlsfByteAllocator, BareTlsf, ONE_SMALL, CROWDED;
    tlsf_large_pool: TlsfByteAllocator, BareTlsf, ONE_LARGE, Mix::wide();
    tlsf_odd_range: TlsfByteAllocator, BareTlsf, ONE_ODD, LARGE;
    tlsf_several_ranges: TlsfByteAllocator, BareTlsf, SEVERAL, Mix::wide();
    tlsf_unaligned_ranges: TlsfByteAllocator, BareTlsf, UNALIGNED, Mix::small();
    slab_small_pool: SlabByteAllocator, BareSlab, ONE_SMALL, CROWDED;
    slab_large_pool: SlabByteAllocator, BareSlab, ONE_LARGE, Mix::wide();
    slab_odd_range: SlabByteAllocator, BareSlab, ONE_ODD, LARGE;
    slab_several_ranges: SlabByteAllocator, BareSlab, SEVERAL, Mix::wide();
}

/// A byte that tells blocks apart.
fn tag(key: usize) -> u8 {
    key.to_le_bytes()[0]
}

/// `realloc` is the crate's own: same places, same contents.
#[test]
fn tlsf_realloc_is_the_crates() {
    let seed = prng::seed(0xa110c);
    let (pool, twin) = (Pool::aligned(2 * MIB), Pool::aligned(2 * MIB));
    let mut ours = Ours(TlsfByteAllocator::new());
    let mut bare = BareTlsf::default();
    ours.add(pool.start(), pool.size());
    bare.add(twin.start(), twin.size());
    let mut generator = Generator::new(seed, Mix { realloc_percent: 40, ..Mix::wide() });
    let mut blocks: Vec<Option<(usize, usize, usize)>> = Vec::new();
    let mut changed = 0;
    for step in 0..scaled(30_000, 500_000) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                blocks.resize(blocks.len().max(key + 1), None);
                let offset = ours.alloc(layout(size, align)).map(|pos| pos - pool.start());
                assert_eq!(offset, bare.alloc(layout(size, align)).map(|pos| pos - twin.start()));
                blocks[key] = offset.map(|offset| (offset, size, align));
                match offset {
                    None => generator.refused(key),
                    Some(offset) => {
                        let first =
                            std::ptr::with_exposed_provenance_mut::<u8>(pool.start() + offset);
                        // SAFETY: both blocks were just allocated, and each is at least one byte long.
                        unsafe { first.write(tag(key)) };
                    }
                }
            }
            Op::Free { key } => {
                let (offset, size, align) = blocks[key].take().unwrap();
                ours.dealloc(pool.start() + offset, layout(size, align));
                bare.dealloc(twin.start() + offset, layout(size, align));
            }
            Op::Realloc { key, size: new_size } => {
                let (offset, size, align) = blocks[key].unwrap();
                let at = |start: usize| {
                    std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(start))
                        .unwrap()
                };
                // SAFETY: the block is live, with this layout.
                let moved = unsafe {
                    ours.0.realloc(at(pool.start() + offset), layout(size, align), new_size)
                };
                // SAFETY: the block is live, with this alignment.
                let expected = unsafe {
                    bare.0.reallocate(at(twin.start() + offset), layout(new_size, align))
                };
                let moved = moved.ok().map(|pos| pos.addr().get() - pool.start());
                assert_eq!(
                    moved,
                    expected.map(|pos| pos.addr().get() - twin.start()),
                    "step {step}"
                );
                if let Some(new_offset) = moved {
                    assert_eq!(pool.bytes()[new_offset], tag(key), "the contents move along");
                    blocks[key] = Some((new_offset, new_size, align));
                    changed += usize::from(new_offset != offset);
                }
            }
        }
    }
    assert!(changed > 100, "{changed} blocks moved");
    for (offset, size, align) in blocks.into_iter().flatten() {
        ours.dealloc(pool.start() + offset, layout(size, align));
    }
    assert_eq!(ours.0.used_bytes(), 0);
}
