//! What the program writes and what the crate writes never meet; the mirror behaves as the bare crate would.

use std::{alloc::Layout, ptr::NonNull, sync::Arc};

use heapwright_allocators::{BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator};
use heapwright_core::ByteFamily;
use heapwright_heap::{AnyMirror as _, ByteRules, Mirror, arena::Memory};
use heapwright_region::{Placement, Region, resident_bytes};
use heapwright_testkit::{
    Generator, Mix, Op,
    prng::{Prng, seed},
    scaled,
};

use crate::{START, buddy, data, fill, holds, mirror, slab, tlsf};

const SIZE: usize = 1 << 20;

/// A6: random bytes over everything that the program can reach, beside an untouched twin.
fn is_not_impressed_by_random_writes<F: ByteFamily>(make: impl Fn() -> Mirror<F>) {
    let (mut mirror, mut twin) = (make(), make());
    let base = seed(0xa6);
    let mut random = Prng::new(base);
    let mut generator = Generator::new(base, Mix::small().with_live_max(500));
    let mut live = std::collections::HashMap::new();
    let bytes = data(&mirror, START);
    for _ in 0..scaled(1500, 10_000) {
        for _ in 0..64 {
            let offset = random.below(SIZE / 8) * 8;
            let noise = random.next_u64().to_ne_bytes();
            // SAFETY: inside the data mapping, which is all that a program can reach.
            unsafe { bytes.wrapping_add(offset).copy_from(noise.as_ptr(), 8) };
        }
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                let answer = mirror.alloc(size, align);
                assert_eq!(answer, twin.alloc(size, align));
                match answer {
                    Ok(pos) => drop(live.insert(key, pos)),
                    Err(_) => generator.refused(key),
                }
            }
            Op::Free { key } => {
                let pos = live.remove(&key).unwrap();
                assert_eq!(mirror.dealloc(pos, None, None), Ok(()));
                twin.dealloc(pos, None, None).unwrap();
            }
            Op::Realloc { key, size } => {
                let old = live[&key];
                let answer = mirror.realloc(old, size);
                assert_eq!(answer, twin.realloc(old, size));
                if let Ok(pos) = answer {
                    live.insert(key, pos);
                }
            }
        }
    }
    assert_eq!(mirror.check(), Ok(live.len()));
    assert_eq!(mirror.stats(), twin.stats());
}

#[test]
fn random_writes_change_no_answer() {
    is_not_impressed_by_random_writes(|| buddy(SIZE));
    is_not_impressed_by_random_writes(|| tlsf(SIZE));
    is_not_impressed_by_random_writes(|| slab(SIZE));
}

/// The same operations on the family alone, in memory of the same residue, give the same offsets.
fn answers_as_the_family_alone<F: ByteFamily>(make: impl Fn() -> F, rules: ByteRules) {
    let region =
        Region::reserve_placed(SIZE, Placement { modulus: 1 << 30, residue: START }).unwrap();
    region.commit(0, SIZE).unwrap();
    let base = region.base().expose_provenance().get();
    let mut alone = make();
    // SAFETY: the region is the family's alone and is dropped after it.
    unsafe { alone.init(base, SIZE) }.unwrap();
    let mut ours = mirror(make(), rules, SIZE);
    let mut generator = Generator::new(seed(0xe5), Mix { realloc_percent: 0, ..Mix::wide() });
    let mut live = std::collections::HashMap::new();
    for _ in 0..scaled(20_000, 1_000_000) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                let layout = Layout::from_size_align(size, align).unwrap();
                let expected = alone.alloc(layout).ok();
                let pos = ours.alloc(size, align).ok();
                assert_eq!(pos, expected.map(|block| block.addr().get() - base + START));
                match expected {
                    Some(block) => drop(live.insert(key, (block, layout))),
                    None => generator.refused(key),
                }
            }
            Op::Free { key } => {
                let (block, layout): (NonNull<u8>, Layout) = live.remove(&key).unwrap();
                ours.dealloc(block.addr().get() - base + START, None, None).unwrap();
                // SAFETY: live, and allocated with that layout.
                unsafe { alone.dealloc(block, layout) }.unwrap();
            }
            Op::Realloc { .. } => unreachable!("this mix has none"),
        }
        assert_eq!(ours.stats().unwrap().used, alone.used_bytes());
    }
}

#[test]
fn the_mirror_changes_no_answer() {
    answers_as_the_family_alone(BuddyByteAllocator::new, ByteRules::BUDDY);
    answers_as_the_family_alone(TlsfByteAllocator::new, ByteRules::TLSF);
    answers_as_the_family_alone(SlabByteAllocator::new, ByteRules::SLAB);
}

/// BU9: what fits depends on `start` alone, not on where the system put the mapping.
#[test]
fn a_buddy_serves_its_whole_range_wherever_it_is_mapped() {
    for start in [1 << 20, 1 << 30, 3 << 20] {
        for _ in 0..8 {
            let mut mirror = Mirror::new(BuddyByteAllocator::new(), ByteRules::BUDDY, Memory::None);
            mirror.init(start, 1 << 20).unwrap();
            assert_eq!(mirror.alloc(1 << 20, 1 << 20), Ok(start));
        }
    }
    let mut odd = Mirror::new(BuddyByteAllocator::new(), ByteRules::BUDDY, Memory::None);
    odd.init((1 << 20) + 4096, 1 << 20).unwrap();
    assert_eq!(odd.largest_free(), 1 << 19);
}

#[test]
fn every_alignment_up_to_1_gib_is_that_of_the_address() {
    let mut mirror = Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, Memory::None);
    mirror.init((5 << 30) - 4096, 4 << 30).unwrap();
    for log2 in 0..=30 {
        let align = 1 << log2;
        let pos = mirror.alloc(100, align).unwrap();
        assert!(pos.is_multiple_of(align), "{pos:#x} for {align:#x}");
    }
}

/// The data lies at the alignment of its place up to 128 MiB, and never congruent to the control mapping,
/// which lies at the residue of `start` modulo 1 GiB: lines of one offset would share a place in the cache.
#[test]
fn data_is_aligned_as_its_place_and_shares_no_cache_place_with_control() {
    for start in [START, 1 << 27, 7 << 27, (1 << 30) + 4096] {
        let mut mirror = Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, Memory::Mapped);
        mirror.init(start, SIZE).unwrap();
        let base = data(&mirror, start).addr();
        assert_eq!(base % (1 << 27), start % (1 << 27));
        assert_ne!(base % (1 << 28), start % (1 << 28));
    }
}

#[test]
fn zeroed_blocks_are_zero_and_their_neighbors_untouched() {
    let mut mirror = tlsf(8 << 20);
    let random = &mut Prng::new(seed(0x2e0));
    for _ in 0..60 {
        let size = 1 + random.below(600 << 10);
        let before = mirror.alloc(64, 16).unwrap();
        let dirty = mirror.alloc(size, 16).unwrap();
        let after = mirror.alloc(64, 16).unwrap();
        for (pos, size) in [(before, 64), (dirty, size), (after, 64)] {
            fill(&mirror, pos, size, 0xaa);
        }
        mirror.dealloc(dirty, None, None).unwrap();
        let zeroed = mirror.alloc_zeroed(size, 16).unwrap();
        assert!(holds(&mirror, zeroed, size, 0));
        assert!(holds(&mirror, before, 64, 0xaa));
        assert!(holds(&mirror, after, 64, 0xaa));
        mirror.dealloc_many(&[before, zeroed, after]).unwrap();
    }
}

#[test]
fn a_large_block_keeps_its_contents_and_forgets_its_copy() {
    let mut mirror = tlsf(64 << 20);
    let first = mirror.alloc(4 << 20, 4096).unwrap();
    let wall = mirror.alloc(16, 16).unwrap();
    fill(&mirror, first, 4 << 20, 0x5a);
    let second = mirror.realloc(first, 12 << 20).unwrap();
    assert_ne!(second, first);
    assert!(holds(&mirror, second, 4 << 20, 0x5a));
    assert!(mirror.check().is_ok());
    mirror.dealloc_many(&[second, wall]).unwrap();
}

#[test]
fn sixteen_gib_cost_next_to_nothing_until_touched() {
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    fn grows_by_less_than_8_mib<F: ByteFamily>(mut mirror: Mirror<F>, size: usize) {
        let before = resident();
        mirror.init(1 << 20, size).unwrap();
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for {size}");
        assert!(mirror.alloc(1 << 20, 8).is_ok());
        assert!(resident().saturating_sub(before) < 8 << 20);
    }
    let memory = Memory::Mapped;
    let buddy = Mirror::new(BuddyByteAllocator::new(), ByteRules::BUDDY, memory);
    grows_by_less_than_8_mib(buddy, 16 << 30);
    grows_by_less_than_8_mib(
        Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, memory),
        16 << 30,
    );
    grows_by_less_than_8_mib(
        Mirror::new(SlabByteAllocator::new(), ByteRules::SLAB, memory),
        4 << 30,
    );
}

#[test]
fn memory_outlives_the_allocator_where_a_buffer_holds_it_but_costs_nothing() {
    let mut mirror = tlsf(SIZE);
    let block = mirror.alloc(SIZE / 2, 8).unwrap();
    fill(&mirror, block, SIZE / 2, 1);
    let buffer = Arc::clone(mirror.arenas()[0].mapping().unwrap());
    assert!(resident_bytes(&buffer).unwrap() >= SIZE / 2);
    drop(mirror);
    assert_eq!(resident_bytes(&buffer), Some(0));
    // SAFETY: the `Arc` keeps the mapping, which reads zero since the allocator ended.
    assert_eq!(unsafe { buffer.base().read() }, 0);
}

#[test]
fn memory_of_the_runtime_is_used_where_it_is_provided() {
    let mut bytes = vec![0xee_u8; SIZE];
    let mut mirror = Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, Memory::Provided);
    mirror.init(START, SIZE).unwrap();
    let refused = Err(heapwright_heap::Refusal::Unsupported);
    assert_eq!(mirror.alloc_zeroed(100, 8), refused, "the memory has not come yet");
    let first = NonNull::new(bytes.as_mut_ptr()).unwrap();
    // SAFETY: the vector outlives the mirror and is not resized.
    assert!(unsafe { mirror.arena_mut(0).unwrap().provide(first) });
    // SAFETY: as above; a second time is refused.
    assert!(!unsafe { mirror.arena_mut(0).unwrap().provide(first) });
    let block = mirror.alloc_zeroed(200 << 10, 8).unwrap();
    assert!(holds(&mirror, block, 200 << 10, 0));
    fill(&mirror, block, 100, 3);
    let moved = mirror.realloc(block, 400 << 10).unwrap();
    assert!(holds(&mirror, moved, 100, 3));
    drop(mirror);
    assert_eq!(bytes[moved - START], 3);
}
