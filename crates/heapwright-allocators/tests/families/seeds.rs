//! The samples of the seed, in the seed's order, on this crate.
//!
//! What is written differently: everything that can fail returns a `Result`; ranges are memory of our own,
//! where the seed's samples name addresses of a kernel.

use allocator_api2::alloc::Allocator;
use heapwright_allocators::{
    AllocResult, AllocatorRc, BaseAllocator, BitmapPageAllocator, BuddyByteAllocator,
    ByteAllocator, PageAllocator, SlabByteAllocator, TlsfByteAllocator,
};

use crate::support::{Pool, layout};

const PAGE_SIZE: usize = 4096;
const MEM_BASE: usize = 0x1000;
const MEM_SIZE: usize = 8 * 1024 * 1024;
const POOL_SIZE: usize = 64 * 1024 * 1024;

/// README, example 1: TLSF manages 1 MiB, a block is written and freed. So for every byte family.
#[test]
fn readme_byte_allocation() {
    fn run(mut allocator: impl ByteAllocator) {
        let pool = Pool::aligned(1024 * 1024);
        // SAFETY: the pool is ours and lives longer than the allocator uses it.
        unsafe { allocator.init(pool.start(), pool.size()) }.unwrap();
        let block = allocator.alloc(layout(1024, 16)).unwrap();
        assert!(block.addr().get().is_multiple_of(16));
        // SAFETY: the block is 1,024 bytes long and aligned to 16.
        unsafe { block.cast::<u32>().write(0xdead_beef) };
        // SAFETY: as above.
        assert_eq!(unsafe { block.cast::<u32>().read() }, 0xdead_beef);
        assert!(allocator.used_bytes() >= 1024);
        // SAFETY: the block is live, with this layout.
        unsafe { allocator.dealloc(block, layout(1024, 16)) }.unwrap();
        assert_eq!(allocator.used_bytes(), 0);
        assert_eq!(allocator.available_bytes(), allocator.total_bytes());
    }
    run(TlsfByteAllocator::new());
    run(BuddyByteAllocator::new());
    run(SlabByteAllocator::new());
}

/// README, example 2: 2 GiB of pages from 2 MiB on.
#[test]
fn readme_page_allocation() {
    let mut allocator = BitmapPageAllocator::new(PAGE_SIZE).unwrap();
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { allocator.init(0x20_0000, 2 * 1024 * 1024 * 1024) }.unwrap();
    assert_eq!(allocator.total_pages(), 524_288);
    let address = allocator.alloc_pages(10, PAGE_SIZE).unwrap();
    assert!(address.is_multiple_of(PAGE_SIZE));
    assert_eq!(allocator.used_pages(), 10);
    allocator.dealloc_pages(address, 10).unwrap();
    assert_eq!(allocator.used_pages(), 0);
}

#[test]
fn test_page_allocation() -> AllocResult {
    let mut allocator = BitmapPageAllocator::new(PAGE_SIZE)?;
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { allocator.init(0x1000, PAGE_SIZE) }?;
    let address = allocator.alloc_pages(1, PAGE_SIZE)?;
    assert_eq!(address, 0x1000);
    assert!(allocator.alloc_pages(1, PAGE_SIZE).is_err(), "there was one page");
    allocator.dealloc_pages(address, 1)
}

#[test]
fn test_multi_page_allocation() -> AllocResult {
    let mut allocator = BitmapPageAllocator::new(PAGE_SIZE)?;
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { allocator.init(MEM_BASE, MEM_SIZE) }?;
    let address = allocator.alloc_pages(4, PAGE_SIZE)?;
    assert!(address.is_multiple_of(PAGE_SIZE));
    assert!((MEM_BASE..MEM_BASE + MEM_SIZE).contains(&address));
    allocator.dealloc_pages(address, 4)
}

#[test]
fn test_specific_address_allocation() -> AllocResult {
    let mut allocator = BitmapPageAllocator::new(PAGE_SIZE)?;
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { allocator.init(MEM_BASE, MEM_SIZE) }?;
    let align = 2 * 1024 * 1024;
    let target = MEM_BASE.next_multiple_of(align);
    let address = allocator.alloc_pages_at(target, 2, align)?;
    assert_eq!(address, target);
    assert!(allocator.alloc_pages_at(target, 1, PAGE_SIZE).is_err(), "it is taken");
    allocator.dealloc_pages(address, 2)
}

#[test]
fn fragmentation_handling() {
    const HEAP_SIZE: usize = 4 * 1024 * 1024;
    let memory = Pool::aligned(HEAP_SIZE);
    let mut allocator = BuddyByteAllocator::new();
    // SAFETY: the pool is ours and lives longer than the allocator uses it.
    unsafe { allocator.init(memory.start(), memory.size()) }.unwrap();
    let small = layout(4096, 4096);
    let blocks: Vec<_> = (0..100).map(|_| allocator.alloc(small).unwrap()).collect();
    for &block in blocks.iter().skip(1).step_by(2) {
        // SAFETY: the block is live, with this layout.
        unsafe { allocator.dealloc(block, small) }.unwrap();
    }
    let large = layout(1024 * 1024, 1024 * 1024);
    let block = allocator.alloc(large).expect("1 MiB is left beside the fragments");
    for &block in blocks.iter().step_by(2) {
        // SAFETY: the block is live, with this layout.
        unsafe { allocator.dealloc(block, small) }.unwrap();
    }
    // SAFETY: the block is live, with this layout.
    unsafe { allocator.dealloc(block, large) }.unwrap();
    assert_eq!(allocator.used_bytes(), 0);
    assert_eq!(allocator.largest_free(1), HEAP_SIZE, "everything has merged again");
}

/// Tests 4 and 5 of the seed: `AllocatorRc` over slabs and over TLSF.
#[test]
fn test_basic_allocation() {
    fn run(allocator: impl ByteAllocator) {
        let region = AllocatorRc::new(allocator, POOL_SIZE).unwrap();
        let number = core::alloc::Layout::new::<u32>();
        let block = region.allocate(number).unwrap().cast::<u32>();
        // SAFETY: the block was made for a `u32`.
        unsafe { block.write(0xdead_beef) };
        // SAFETY: as above.
        assert_eq!(unsafe { block.read() }, 0xdead_beef);
        assert!(region.with(ByteAllocator::used_bytes) >= 4);
        // SAFETY: the block is live, with this layout.
        unsafe { region.deallocate(block.cast(), number) };
        assert_eq!(region.with(ByteAllocator::used_bytes), 0);
    }
    run(SlabByteAllocator::new());
    run(TlsfByteAllocator::new());
    run(BuddyByteAllocator::new());
}

/// Ranges added later serve what the first cannot, for every byte family.
#[test]
fn add_memory() {
    fn run(mut allocator: impl ByteAllocator) {
        let (first, second) = (Pool::aligned(64 * 1024), Pool::aligned(1024 * 1024));
        // SAFETY: the pool is ours and lives longer than the allocator uses it.
        unsafe { allocator.init(first.start(), first.size()) }.unwrap();
        let large = layout(500_000, 8);
        assert!(allocator.alloc(large).is_err());
        // SAFETY: as above.
        unsafe { allocator.add_memory(second.start(), second.size()) }.unwrap();
        assert_eq!(allocator.total_bytes(), first.size() + second.size());
        let block = allocator.alloc(large).unwrap();
        let inside = second.start()..second.start() + second.size();
        assert!(inside.contains(&block.addr().get()));
        // SAFETY: the block is live, with this layout.
        unsafe { allocator.dealloc(block, large) }.unwrap();
        assert_eq!(allocator.used_bytes(), 0);
    }
    run(TlsfByteAllocator::new());
    run(BuddyByteAllocator::new());
    run(SlabByteAllocator::new());
}
