//! A1: random operations on every family, judged by the shadow oracle after each one.
//!
//! Blocks of bytes carry a tag in every byte up to 64 and in their last one, written when they are born and
//! compared when they die. At full size (`HEAPWRIGHT_TORTURE=1`): 16 seeds x 2,000,000 operations a kind.

use heapwright_allocators::{
    BaseAllocator, BitmapIdAllocator, BitmapPageAllocator, BuddyByteAllocator, IdAllocator,
    PageAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_core::ByteFamily;
use heapwright_testkit::{Generator, Mix, Op, ShadowAllocator, prng, scaled};

use crate::support::{Ours, Pool, Subject, layout};

const STEPS_BETWEEN_CHECKS: usize = 10_000;

/// A block of bytes of the program.
#[derive(Clone, Copy, Debug)]
struct Block {
    pos: usize,
    size: usize,
    align: usize,
    tag: u8,
}

impl Block {
    /// The bytes of the block that carry the tag.
    fn tagged(self) -> impl Iterator<Item = usize> {
        (0..self.size.min(64)).chain([self.size - 1]).map(move |offset| self.pos + offset)
    }

    fn write(self) {
        for pos in self.tagged() {
            // SAFETY: the block is live, and `pos` lies inside.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(pos).write(self.tag) };
        }
    }

    fn check(self) {
        for pos in self.tagged() {
            // SAFETY: the block is live, and `pos` lies inside.
            let found = unsafe { std::ptr::with_exposed_provenance::<u8>(pos).read() };
            assert_eq!(found, self.tag, "{self:?}");
        }
    }
}

fn fuzz_bytes<A: ByteFamily + Default>(regains: bool) {
    let first = prng::seed(0xa1);
    for seed in first..first + scaled(1, 16) as u64 {
        // Small blocks in a crowded pool, then all sizes in one with room.
        for (mix, pool_size) in [(Mix::small(), 1 << 19), (Mix::wide(), 1 << 23)] {
            let pool = Pool::aligned(pool_size);
            let mut ours = Ours(A::default());
            let mut shadow = ShadowAllocator::new();
            for (offset, size) in [(0, pool_size / 2), (pool_size / 4 * 3, pool_size / 4)] {
                ours.add(pool.start() + offset, size);
                shadow.add_range(pool.start() + offset, size).unwrap();
            }
            let largest_at_first = ours.0.largest_free(1);
            let mut generator = Generator::new(seed, mix);
            let mut blocks: Vec<Option<Block>> = Vec::new();
            for step in 0..scaled(20_000, 1_000_000) {
                match generator.next_op() {
                    Op::Alloc { key, size, align } => {
                        blocks.resize(blocks.len().max(key + 1), None);
                        if let Some(pos) = ours.alloc(layout(size, align)) {
                            shadow.alloc(pos, size, align).unwrap();
                            let block = Block {
                                pos,
                                size,
                                align,
                                tag: seed.to_le_bytes()[0] ^ key.to_le_bytes()[0],
                            };
                            block.write();
                            blocks[key] = Some(block);
                        } else {
                            generator.refused(key);
                        }
                    }
                    Op::Free { key } => {
                        let block = blocks[key].take().unwrap();
                        block.check();
                        shadow.free(block.pos, block.size, block.align).unwrap();
                        ours.dealloc(block.pos, layout(block.size, block.align));
                    }
                    Op::Realloc { key, size } => {
                        let block = blocks[key].unwrap();
                        block.check();
                        if let Some(pos) = ours.alloc(layout(size, block.align)) {
                            shadow.alloc(pos, size, block.align).unwrap();
                            shadow.free(block.pos, block.size, block.align).unwrap();
                            ours.dealloc(block.pos, layout(block.size, block.align));
                            let block = Block { pos, size, ..block };
                            block.write();
                            blocks[key] = Some(block);
                        }
                    }
                }
                if step % STEPS_BETWEEN_CHECKS == 0 {
                    assert!(ours.0.used_bytes() >= shadow.live_size());
                    assert_eq!(
                        ours.0.used_bytes() + ours.0.available_bytes(),
                        shadow.managed_size()
                    );
                    assert!(ours.0.largest_free(1) <= shadow.largest_gap(1));
                }
            }
            for op in generator.drain() {
                let Op::Free { key } = op else { unreachable!() };
                let block = blocks[key].take().unwrap();
                block.check();
                shadow.free(block.pos, block.size, block.align).unwrap();
                ours.dealloc(block.pos, layout(block.size, block.align));
            }
            assert!(shadow.is_empty());
            assert_eq!(ours.0.used_bytes(), 0);
            // A7: everything merges again, but for the sets of slabs (SL5).
            if regains {
                assert_eq!(ours.0.largest_free(1), largest_at_first);
            }
        }
    }
}

#[test]
fn buddy_withstands_random_operations() {
    fuzz_bytes::<BuddyByteAllocator>(true);
}

#[test]
fn tlsf_withstands_random_operations() {
    fuzz_bytes::<TlsfByteAllocator>(true);
}

#[test]
fn slab_withstands_random_operations() {
    fuzz_bytes::<SlabByteAllocator>(false);
}

/// What pages and ids have in common here.
struct Units<A> {
    allocator: A,
    alloc: fn(&mut A, usize, usize) -> Option<usize>,
    dealloc: fn(&mut A, usize, usize),
    used_and_longest: fn(&A) -> (usize, usize),
    check: fn(&A) -> Result<(), &'static str>,
}

fn fuzz_units<A>(make: impl Fn() -> Units<A>, first_unit: usize, count: usize) {
    let first = prng::seed(0xa1);
    for seed in first..first + scaled(1, 16) as u64 {
        let mut units = make();
        let mut shadow = ShadowAllocator::new();
        shadow.add_range(first_unit, count).unwrap();
        // Changes of size are a free and an allocation elsewhere.
        let mut generator = Generator::new(seed, Mix { realloc_percent: 10, ..Mix::runs() });
        let mut runs: Vec<Option<(usize, usize, usize)>> = Vec::new();
        for step in 0..scaled(20_000, 2_000_000) {
            match generator.next_op() {
                Op::Alloc { key, size, align } => {
                    runs.resize(runs.len().max(key + 1), None);
                    let start = (units.alloc)(&mut units.allocator, size, align);
                    match start {
                        Some(start) => shadow.alloc(start, size, align).unwrap(),
                        None => generator.refused(key),
                    }
                    runs[key] = start.map(|start| (start, size, align));
                }
                Op::Free { key } => {
                    let (start, size, align) = runs[key].take().unwrap();
                    shadow.free(start, size, align).unwrap();
                    (units.dealloc)(&mut units.allocator, start, size);
                }
                Op::Realloc { key, size: new_size } => {
                    let (start, size, align) = runs[key].unwrap();
                    if let Some(moved) = (units.alloc)(&mut units.allocator, new_size, align) {
                        shadow.alloc(moved, new_size, align).unwrap();
                        shadow.free(start, size, align).unwrap();
                        (units.dealloc)(&mut units.allocator, start, size);
                        runs[key] = Some((moved, new_size, align));
                    }
                }
            }
            if step % STEPS_BETWEEN_CHECKS == 0 {
                let (used, longest) = (units.used_and_longest)(&units.allocator);
                assert_eq!((used, longest), (shadow.live_size(), shadow.largest_gap(1)));
                (units.check)(&units.allocator).unwrap();
            }
        }
        for op in generator.drain() {
            let Op::Free { key } = op else { unreachable!() };
            let (start, size, _) = runs[key].take().unwrap();
            (units.dealloc)(&mut units.allocator, start, size);
        }
        assert_eq!((units.used_and_longest)(&units.allocator), (0, count));
        (units.check)(&units.allocator).unwrap();
    }
}

#[test]
fn pages_withstand_random_operations() {
    const PAGE: usize = 4096;
    fuzz_units(
        || {
            let mut allocator = BitmapPageAllocator::new(PAGE).unwrap();
            // SAFETY: pages are numbers here; nothing is touched.
            unsafe { allocator.init(12_345 * PAGE, 50_000 * PAGE) }.unwrap();
            Units {
                allocator,
                alloc: |pages, count, align| {
                    pages.alloc_pages(count, align * PAGE).ok().map(|pos| pos / PAGE)
                },
                dealloc: |pages, start, count| pages.dealloc_pages(start * PAGE, count).unwrap(),
                used_and_longest: |pages| (pages.used_pages(), pages.largest_free_run()),
                check: BitmapPageAllocator::check_invariants,
            }
        },
        12_345,
        50_000,
    );
}

#[test]
fn ids_withstand_random_operations() {
    fuzz_units(
        || {
            let mut allocator = BitmapIdAllocator::new();
            // SAFETY: ids are numbers; nothing is touched.
            unsafe { allocator.init(0, 40_000) }.unwrap();
            Units {
                allocator,
                alloc: |ids, count, align| ids.alloc_id(count, align).ok(),
                dealloc: |ids, start, count| ids.dealloc_id(start, count).unwrap(),
                used_and_longest: |ids| (ids.used(), ids.largest_free_run()),
                check: BitmapIdAllocator::check_invariants,
            }
        },
        0,
        40_000,
    );
}
