//! Collections that live in a region, through `AllocatorRc`: the seed's `test_vec`, `test_vec2`,
//! `test_btree_map` and `test_alignment`.
//!
//! On stable Rust the collections are those of `allocator-api2` and `hashbrown`; with feature `nightly` those
//! of the standard library, `BTreeMap` among them.

use std::collections::BTreeMap as PlainMap;

use allocator_api2::{alloc::Allocator, boxed::Box, vec::Vec as RegionVec};
use hashbrown::{DefaultHashBuilder, HashMap};
use heapwright_allocators::{
    AllocError, AllocatorRc, BuddyByteAllocator, ByteAllocator, SlabByteAllocator,
    TlsfByteAllocator,
};
use heapwright_testkit::{Prng, prng, scaled};

use crate::support::layout;

const POOL_SIZE: usize = 128 << 20;

fn used<A: ByteAllocator>(region: &AllocatorRc<A>) -> usize {
    region.with(ByteAllocator::used_bytes)
}

fn test_vec<A: ByteAllocator>(region: &AllocatorRc<A>, prng: &mut Prng) {
    let mut numbers = RegionVec::new_in(region.clone());
    for _ in 0..scaled(100_000, 1_000_000) {
        numbers.push(prng.next_u32());
    }
    assert!(used(region) >= numbers.len() * 4);
    numbers.sort_unstable();
    assert!(numbers.is_sorted());
}

fn test_vec2<A: ByteAllocator>(
    region: &AllocatorRc<A>,
    prng: &mut Prng,
    count: usize,
    size: usize,
) {
    let mut blocks = Vec::new();
    for index in 0..count {
        let mut block = RegionVec::with_capacity_in(size, region.clone());
        block.resize(size, index.to_le_bytes()[0]);
        blocks.push((block, index.to_le_bytes()[0]));
    }
    prng.shuffle(&mut blocks);
    while let Some((block, tag)) = blocks.pop() {
        assert!(block.iter().all(|&byte| byte == tag));
    }
}

fn test_hash_map<A: ByteAllocator>(region: &AllocatorRc<A>, prng: &mut Prng) {
    let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), region.clone());
    let mut plain = PlainMap::new();
    for _ in 0..scaled(20_000, 200_000) {
        let key = prng.below(5_000) as u64;
        if prng.chance(2, 3) {
            let value = Box::new_in(prng.next_u64(), region.clone());
            plain.insert(key, *value);
            map.insert(key, value);
        } else {
            assert_eq!(map.remove(&key).map(|value| *value), plain.remove(&key));
        }
    }
    assert_eq!(map.len(), plain.len());
    assert!(plain.iter().all(|(key, value)| *map[key] == *value));
    assert!(used(region) >= map.len() * 8);
}

fn test_alignment<A: ByteAllocator>(region: &AllocatorRc<A>, prng: &mut Prng) {
    let mut blocks = Vec::new();
    for _ in 0..scaled(2_000, 50_000) {
        if prng.chance(3, 4) && blocks.len() < 300 {
            let wanted = layout(prng.between(1, 1 << 12), 1 << prng.below(13));
            let block = region.allocate(wanted).unwrap();
            assert!(block.cast::<u8>().addr().get().is_multiple_of(wanted.align()));
            assert_eq!(block.len(), wanted.size());
            blocks.push((block, wanted));
        } else if !blocks.is_empty() {
            let (block, wanted) = blocks.swap_remove(prng.below(blocks.len()));
            // SAFETY: the block is live, with this layout.
            unsafe { region.deallocate(block.cast(), wanted) };
        }
    }
    for (block, wanted) in blocks {
        // SAFETY: the block is live, with this layout.
        unsafe { region.deallocate(block.cast(), wanted) };
    }
}

fn run<A: ByteAllocator>(allocator: A) {
    let mut prng = Prng::new(prng::seed(0xc011));
    let region = AllocatorRc::new(allocator, POOL_SIZE).unwrap();
    test_vec(&region, &mut prng);
    assert_eq!(used(&region), 0);
    test_vec2(&region, &mut prng, scaled(1_000, 25_000), 512);
    assert_eq!(used(&region), 0);
    test_vec2(&region, &mut prng, scaled(200, 3_000), 4160);
    assert_eq!(used(&region), 0);
    test_hash_map(&region, &mut prng);
    assert_eq!(used(&region), 0);
    test_alignment(&region, &mut prng);
    assert_eq!(used(&region), 0);
}

#[test]
fn live_in_slabs() {
    run(SlabByteAllocator::new());
}

#[test]
fn live_in_tlsf() {
    run(TlsfByteAllocator::new());
}

#[test]
fn live_in_buddies() {
    run(BuddyByteAllocator::new());
}

/// AX15, first half: no bytes, any alignment.
#[test]
fn a_block_of_no_bytes_is_aligned_and_its_free_does_nothing() {
    let region = AllocatorRc::new(TlsfByteAllocator::new(), 1 << 16).unwrap();
    for shift in 0..20 {
        let nothing = layout(0, 1 << shift);
        let block = region.allocate(nothing).unwrap();
        assert_eq!(block.len(), 0);
        assert!(block.cast::<u8>().addr().get().is_multiple_of(1 << shift));
        assert_eq!(used(&region), 0);
        // SAFETY: the block is live, with this layout.
        unsafe { region.deallocate(block.cast(), nothing) };
    }
    let empty = RegionVec::<[u64; 0], _>::new_in(region.clone());
    assert!(empty.is_empty());
}

/// AX15, second half: whoever is dropped last takes the region along, and nobody before.
#[test]
fn a_collection_keeps_its_region_alive() {
    struct Owner {
        _alive: std::sync::Arc<()>,
        pool: crate::support::Pool,
    }

    let alive = std::sync::Arc::new(());
    let pool = crate::support::Pool::aligned(1 << 16);
    let mut buddy = BuddyByteAllocator::new();
    // SAFETY: the pool is ours, and its owner below keeps it.
    unsafe { heapwright_allocators::BaseAllocator::init(&mut buddy, pool.start(), pool.size()) }
        .unwrap();
    let owner = Owner { _alive: alive.clone(), pool };
    assert_eq!(owner.pool.size(), 1 << 16);
    // SAFETY: the owner holds the only range.
    let region = unsafe { AllocatorRc::from_parts(buddy, owner) };
    let mut numbers = RegionVec::new_in(region.clone());
    numbers.extend_from_slice(&[1_u32, 2, 3]);
    drop(region);
    assert_eq!(std::sync::Arc::strong_count(&alive), 2);
    assert_eq!(*numbers, [1, 2, 3]);
    drop(numbers);
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}

#[test]
fn a_full_region_refuses_and_takes_more_memory() {
    let region = AllocatorRc::new(TlsfByteAllocator::new(), 1).unwrap();
    assert_eq!(region.with(ByteAllocator::total_bytes), 0x8000, "rounded up");
    assert!(region.allocate(layout(100_000, 8)).is_err());
    assert_eq!(region.add_memory(0), Err(AllocError::InvalidParam));
    region.add_memory(200_000).unwrap();
    let block = region.allocate(layout(100_000, 8)).unwrap();
    // SAFETY: the block is live, with this layout.
    unsafe { region.deallocate(block.cast(), layout(100_000, 8)) };
    assert!(AllocatorRc::new(TlsfByteAllocator::new(), 0).is_err());
    let zeroed = region.allocate_zeroed(layout(5_000, 8)).unwrap();
    // SAFETY: the block is 5,000 bytes long and was just written.
    assert!(unsafe { zeroed.as_ref() }.iter().all(|&byte| byte == 0));
    // SAFETY: the block is live, with this layout.
    unsafe { region.deallocate(zeroed.cast(), layout(5_000, 8)) };
}

/// The standard library's own collections.
#[cfg(feature = "nightly")]
mod nightly {
    use super::*;
    use std::collections::{BTreeMap, VecDeque};

    fn test_btree_map<A: ByteAllocator>(allocator: A) {
        let mut prng = Prng::new(prng::seed(0xb7ee));
        let region = AllocatorRc::new(allocator, POOL_SIZE).unwrap();
        {
            let mut map = BTreeMap::new_in(region.clone());
            let mut plain = PlainMap::new();
            for _ in 0..scaled(20_000, 200_000) {
                let key = prng.next_u64() % 5_000;
                if prng.chance(2, 3) {
                    let mut text = std::vec::Vec::new_in(region.clone());
                    text.extend_from_slice(&key.to_le_bytes());
                    map.insert(key, text);
                    plain.insert(key, key.to_le_bytes());
                } else {
                    let removed = map.remove(&key);
                    assert_eq!(
                        removed.as_deref(),
                        plain.remove(&key).as_ref().map(|text| &text[..])
                    );
                }
            }
            assert!(map.keys().eq(plain.keys()));
            let mut queue = VecDeque::new_in(region.clone());
            queue.extend(0..1_000_u16);
            let boxed = std::boxed::Box::new_in(7_u8, region.clone());
            assert_eq!((*boxed, queue.pop_back()), (7, Some(999)));
            assert!(used(&region) > 0);
        }
        assert_eq!(used(&region), 0);
    }

    #[test]
    fn btree_map_lives_in_every_family() {
        test_btree_map(SlabByteAllocator::new());
        test_btree_map(TlsfByteAllocator::new());
        test_btree_map(BuddyByteAllocator::new());
    }
}
