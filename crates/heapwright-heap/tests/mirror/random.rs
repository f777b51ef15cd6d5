//! Seeded sequences through the mirror, judged after every step (A1 through the mirror).

use std::collections::HashMap;

use heapwright_allocators::{BitmapIdAllocator, BitmapPageAllocator};
use heapwright_core::ByteFamily;
use heapwright_heap::{AnyMirror as _, IdMirror, Mirror, PageMirror, Refusal, arena::Memory};
use heapwright_testkit::{Generator, Mix, Op, ShadowAllocator, prng::seed, scaled};

use crate::{START, buddy, fill, holds, slab, tlsf};

/// Seeds of a run, and operations of each.
fn rounds() -> (u64, usize) {
    (scaled(2, 16) as u64, scaled(12_000, 2_000_000))
}

/// What the driver knows of a block.
struct Live {
    pos: usize,
    size: usize,
    align: usize,
    tag: u8,
}

struct Driver<F> {
    mirror: Mirror<F>,
    shadow: ShadowAllocator,
    live: HashMap<usize, Live>,
    next_tag: u8,
}

impl<F: ByteFamily> Driver<F> {
    fn new(mirror: Mirror<F>) -> Self {
        let mut shadow = ShadowAllocator::new();
        for span in mirror.spans() {
            shadow.add_range(span.start, span.size).unwrap();
        }
        Self { mirror, shadow, live: HashMap::new(), next_tag: 0 }
    }

    fn tag(&mut self) -> u8 {
        self.next_tag = self.next_tag.wrapping_add(1);
        self.next_tag
    }

    /// Does `op`; `false` where an allocation was refused.
    fn step(&mut self, op: Op) -> bool {
        match op {
            Op::Alloc { key, size, align } => {
                let zeroed = key % 7 == 0;
                let made = if zeroed {
                    self.mirror.alloc_zeroed(size, align)
                } else {
                    self.mirror.alloc(size, align)
                };
                let Ok(pos) = made else {
                    assert_eq!(made, Err(Refusal::NoMemory { requested: size, errno: 0 }));
                    return false;
                };
                self.shadow.alloc(pos, size, align).unwrap();
                assert!(!zeroed || holds(&self.mirror, pos, size, 0), "zeroed memory is zero");
                let tag = self.tag();
                fill(&self.mirror, pos, size, tag);
                self.live.insert(key, Live { pos, size, align, tag });
            }
            Op::Free { key } => {
                let Live { pos, size, align, tag } = self.live.remove(&key).unwrap();
                assert!(holds(&self.mirror, pos, size, tag), "nobody else wrote there");
                self.mirror.dealloc(pos, Some(size), Some(align)).unwrap();
                self.shadow.free(pos, size, align).unwrap();
                assert_eq!(self.mirror.dealloc(pos, None, None), Err(Refusal::NotAllocated));
            }
            Op::Realloc { key, size } => {
                let block = self.live.get_mut(&key).unwrap();
                match self.mirror.realloc(block.pos, size) {
                    Ok(pos) => {
                        self.shadow.realloc(block.pos, pos, size).unwrap();
                        let kept = size.min(block.size);
                        assert!(holds(&self.mirror, pos, kept, block.tag), "contents move along");
                        fill(&self.mirror, pos, size, block.tag);
                        (block.pos, block.size) = (pos, size);
                    }
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::NoMemory { requested: size, errno: 0 });
                        assert!(size > block.size, "a block can always shrink");
                        assert!(holds(&self.mirror, block.pos, block.size, block.tag));
                    }
                }
            }
        }
        true
    }

    fn compare(&mut self) {
        assert_eq!(self.mirror.check(), Ok(self.live.len()));
        let stats = self.mirror.stats().unwrap();
        assert_eq!(stats.blocks, self.shadow.len());
        assert_eq!(stats.requested, self.shadow.live_size());
        let expected: Vec<_> =
            self.shadow.blocks().map(|(pos, block)| (pos, block.size, block.align)).collect();
        let found: Vec<_> = self.mirror.blocks().unwrap();
        let found: Vec<_> =
            found.into_iter().map(|(pos, block)| (pos, block.size, block.align)).collect();
        assert_eq!(found, expected);
        self.largest_free_is_true();
    }

    /// A request of that size succeeds and one of a byte more fails.
    fn largest_free_is_true(&mut self) {
        let largest = self.mirror.largest_free();
        assert!(self.mirror.alloc(largest + 1, 1).is_err(), "{} would fit, too", largest + 1);
        if largest > 0 {
            let pos = self.mirror.alloc(largest, 1).unwrap();
            self.mirror.dealloc(pos, None, None).unwrap();
        }
    }

    fn run(&mut self, seed: u64, mix: Mix, operations: usize) {
        let mut generator = Generator::new(seed, mix);
        for step in 0..operations {
            let op = generator.next_op();
            if !self.step(op)
                && let Op::Alloc { key, .. } = op
            {
                generator.refused(key);
            }
            if step % 4000 == 0 {
                self.compare();
            }
        }
        self.compare();
        for op in generator.drain() {
            self.step(op);
        }
        self.compare();
        let stats = self.mirror.stats().unwrap();
        assert_eq!((stats.used, stats.requested, stats.blocks), (0, 0, 0));
        assert_eq!(stats.allocs, stats.frees);
    }
}

macro_rules! agrees_with_the_shadow {
    ($($name:ident: $make:expr, $mix:expr;)*) => {$(
        #[test]
        fn $name() {
            let (seeds, operations) = rounds();
            let base = seed(0xa1);
            for offset in 0..seeds {
                Driver::new($make).run(base + offset, $mix, operations);
            }
        }
    )*};
}

agrees_with_the_shadow! {
    buddy_with_small_blocks: buddy(1 << 20), Mix::small().with_live_max(800);
    buddy_in_a_range_of_no_power_of_two: buddy(3 * 4096 * 37), Mix::small().with_live_max(300);
    tlsf_with_small_blocks: tlsf(1 << 20), Mix::small();
    tlsf_with_wide_blocks: tlsf(4 << 20), Mix::wide();
    tlsf_in_little_memory: tlsf(16 << 12), Mix::wide();
    slab_with_small_blocks: slab(2 << 20), Mix::small();
    slab_with_wide_blocks: slab(8 << 20), Mix::wide().with_live_max(400);
    tlsf_over_three_ranges: {
        let mut mirror = tlsf(1 << 20);
        mirror.add_memory(START + (1 << 20), 1 << 19).unwrap();
        mirror.add_memory(START - (1 << 16), 1 << 16).unwrap();
        mirror
    }, Mix::wide();
    buddy_over_ranges_that_touch: {
        let mut mirror = buddy(1 << 18);
        mirror.add_memory(START + (1 << 18), 1 << 18).unwrap();
        mirror
    }, Mix::wide().with_live_max(200);
}

#[test]
fn pages_agree_with_the_shadow() {
    let (seeds, operations) = rounds();
    let base = seed(0xa2);
    for (offset, page_size) in (0..seeds).flat_map(|offset| [(offset, 4096), (offset, 1 << 16)]) {
        let family = BitmapPageAllocator::with_capacity(page_size, 5000).unwrap();
        let mut mirror = PageMirror::new(family, Memory::None, None);
        let mut shadow = ShadowAllocator::new();
        let start = page_size * 12_345;
        for (first, count) in [(0, 3000), (3000, 500), (4000, 1000)] {
            let (first, size) = (start + first * page_size, count * page_size);
            let added = if first == start {
                mirror.init(first, size)
            } else {
                mirror.add_memory(first, size)
            };
            added.unwrap();
            shadow.add_range(first, size).unwrap();
        }
        let mut generator = Generator::new(base + offset, Mix::runs());
        let mut live = HashMap::new();
        for step in 0..operations {
            match generator.next_op() {
                Op::Alloc { key, size, align } => match mirror.alloc(size, align * page_size) {
                    Ok(pos) => {
                        shadow.alloc(pos, size * page_size, align * page_size).unwrap();
                        live.insert(key, (pos, size, align));
                    }
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::NoMemory { requested: size, errno: 0 });
                        generator.refused(key);
                    }
                },
                Op::Free { key } => {
                    let (pos, size, align) = live.remove(&key).unwrap();
                    mirror.dealloc(pos, Some(size)).unwrap();
                    shadow.free(pos, size * page_size, align * page_size).unwrap();
                    assert_eq!(mirror.dealloc(pos, None), Err(Refusal::NotAllocated));
                }
                Op::Realloc { .. } => unreachable!("this mix has none"),
            }
            if step % 5000 == 0 {
                assert_eq!(mirror.check(), Ok(live.len()));
                let stats = mirror.stats().unwrap();
                assert_eq!(stats.requested * page_size, shadow.live_size());
                assert!(mirror.alloc(stats.largest_free + 1, page_size).is_err());
                if stats.largest_free > 0 {
                    let pos = mirror.alloc(stats.largest_free, page_size).unwrap();
                    mirror.dealloc(pos, None).unwrap();
                }
            }
        }
    }
}

#[test]
fn ids_agree_with_the_shadow() {
    let (seeds, operations) = rounds();
    let base = seed(0xa3);
    for offset in 0..seeds {
        let mut mirror = IdMirror::new(BitmapIdAllocator::new());
        mirror.init(7, 5000).unwrap();
        let mut shadow = ShadowAllocator::new();
        shadow.add_range(7, 5000).unwrap();
        let mut generator = Generator::new(base + offset, Mix::runs());
        let mut live = HashMap::new();
        for step in 0..operations {
            match generator.next_op() {
                Op::Alloc { key, size, align } => match mirror.alloc(size, align) {
                    Ok(id) => {
                        shadow.alloc(id, size, align).unwrap();
                        live.insert(key, (id, size, align));
                        assert_eq!(mirror.is_allocated(id + size - 1), Ok(true));
                    }
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::NoMemory { requested: size, errno: 0 });
                        generator.refused(key);
                    }
                },
                Op::Free { key } => {
                    let (id, size, align) = live.remove(&key).unwrap();
                    mirror.dealloc(id, None).unwrap();
                    shadow.free(id, size, align).unwrap();
                    assert_eq!(mirror.is_allocated(id), Ok(false));
                }
                Op::Realloc { .. } => unreachable!("this mix has none"),
            }
            if step % 5000 == 0 {
                assert_eq!(mirror.check(), Ok(live.len()));
                assert_eq!(mirror.stats().unwrap().used, shadow.live_size());
            }
        }
    }
}
