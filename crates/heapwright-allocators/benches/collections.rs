//! The collections of the seed (B4) in each byte family, beside the bare crate and the system allocator.
//!
//! | row | what it does |
//! | --- | --- |
//! | `vec_push_3M` | 3,000,000 numbers pushed into one vector |
//! | `vec_rand_free_25K_512B` | 25,000 vectors of 512 bytes made, then freed in random order |
//! | `vec_rand_free_7500_4160B` | 7,500 vectors of 4,160 bytes, likewise |
//! | `btree_map_50K` | 50,000 insertions and removals in a `BTreeMap` of byte strings; only with feature `nightly` |
//! | `hash_map_50K` | the same in a `hashbrown` map |
//! | `random_replace_100K` | 100,000 live blocks of 16 to 527 bytes, one at random replaced, 1,000,000 times |
//!
//! Ours and bare go through the same counted handle, so the ratio is that of the wrapper alone; the mirror
//! and the live table are measured with the mirror. All sides run in this process, in turns, and the least
//! time counts. Buddies take seconds for the second row: the crate's free walks a list.
//!
//! Run it with `cargo bench -p heapwright-allocators --bench collections`, and with
//! `cargo +nightly bench -p heapwright-allocators --bench collections --features nightly` for `BTreeMap`;
//! `-- tlsf slab` behind it leaves out the family that takes a minute.
#![cfg_attr(feature = "nightly", feature(allocator_api, btreemap_alloc))]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and fails by panicking"
)]

use std::{alloc::Layout, cell::RefCell, hint::black_box, ptr::NonNull, rc::Rc, time::Instant};

use allocator_api2::{
    alloc::{AllocError, Allocator, Global},
    vec::Vec as RegionVec,
};
use hashbrown::{DefaultHashBuilder, HashMap};
use heapwright_allocators::{
    AllocatorRc, BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_testkit::Prng;

const POOL_SIZE: usize = 256 << 20;

/// What every side is for the workloads: both traits where there are two.
#[cfg(not(feature = "nightly"))]
trait Home: Allocator + Clone {}
#[cfg(not(feature = "nightly"))]
impl<A: Allocator + Clone> Home for A {}
#[cfg(feature = "nightly")]
trait Home: Allocator + std::alloc::Allocator + Clone {}
#[cfg(feature = "nightly")]
impl<A: Allocator + std::alloc::Allocator + Clone> Home for A {}

/// A bare crate.
trait Crate {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;
    /// # Safety
    ///
    /// 1. `pos` is a live block of this layout.
    unsafe fn deallocate(&mut self, pos: NonNull<u8>, layout: Layout);
}

impl Crate for buddy_system_allocator::Heap<32> {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.alloc(layout).ok()
    }
    unsafe fn deallocate(&mut self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: bullet 1.
        unsafe { self.dealloc(pos, layout) };
    }
}

impl Crate for rlsf::Tlsf<'static, u32, u32, 28, 32> {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        rlsf::Tlsf::allocate(self, layout)
    }
    unsafe fn deallocate(&mut self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: bullet 1.
        unsafe { rlsf::Tlsf::deallocate(self, pos, layout.align()) };
    }
}

impl Crate for slab_allocator::Heap {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let address = slab_allocator::Heap::allocate(self, layout).ok()?;
        NonNull::new(std::ptr::with_exposed_provenance_mut(address))
    }
    unsafe fn deallocate(&mut self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: bullet 1.
        unsafe { slab_allocator::Heap::deallocate(self, pos.addr().get(), layout) };
    }
}

/// A bare crate behind the same kind of handle as ours. Its pool is never released.
struct Bare<C>(Rc<RefCell<C>>);

impl<C> Clone for Bare<C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<C: Crate> Bare<C> {
    fn allocate_block(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        let pos = if layout.size() == 0 {
            layout.dangling_ptr()
        } else {
            self.0.borrow_mut().allocate(layout)?
        };
        Some(NonNull::slice_from_raw_parts(pos, layout.size()))
    }

    /// # Safety
    ///
    /// 1. `pos` is a live block of this layout.
    unsafe fn deallocate_block(&self, pos: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: bullet 1.
            unsafe { self.0.borrow_mut().deallocate(pos, layout) };
        }
    }
}

// SAFETY: blocks stay where they are, and the pool is never released.
unsafe impl<C: Crate> Allocator for Bare<C> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate_block(layout).ok_or(AllocError)
    }
    unsafe fn deallocate(&self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { self.deallocate_block(pos, layout) };
    }
}

// SAFETY: as above.
#[cfg(feature = "nightly")]
unsafe impl<C: Crate> std::alloc::Allocator for Bare<C> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, std::alloc::AllocError> {
        self.allocate_block(layout).ok_or(std::alloc::AllocError)
    }
    unsafe fn deallocate(&self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { self.deallocate_block(pos, layout) };
    }
}

/// The system allocator, which both traits know under different names.
#[derive(Clone, Copy)]
struct System;

// SAFETY: everything is the global allocator's.
unsafe impl Allocator for System {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate(layout)
    }
    unsafe fn deallocate(&self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { Global.deallocate(pos, layout) };
    }
}

// SAFETY: as above.
#[cfg(feature = "nightly")]
unsafe impl std::alloc::Allocator for System {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, std::alloc::AllocError> {
        std::alloc::Global.allocate(layout)
    }
    unsafe fn deallocate(&self, pos: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { std::alloc::Global.deallocate(pos, layout) };
    }
}

fn vec_push(home: &impl Home) {
    let mut numbers = RegionVec::new_in(home.clone());
    for number in 0..3_000_000_u32 {
        numbers.push(number);
    }
    black_box(&numbers);
}

fn vec_rand_free(home: &impl Home, count: usize, size: usize) {
    let mut prng = Prng::new(4);
    let mut blocks: Vec<_> = (0..count)
        .map(|_| {
            let mut block = RegionVec::<u8, _>::with_capacity_in(size, home.clone());
            block.push(1);
            block
        })
        .collect();
    prng.shuffle(&mut blocks);
    drop(black_box(blocks));
}

#[cfg(feature = "nightly")]
fn btree_map(home: &impl Home) {
    let mut prng = Prng::new(5);
    let mut map = std::collections::BTreeMap::new_in(home.clone());
    for step in 0..50_000_u32 {
        if prng.chance(4, 5) {
            let mut key = std::vec::Vec::new_in(home.clone());
            key.extend_from_slice(&prng.next_u64().to_be_bytes());
            map.insert(key, step);
        } else {
            map.pop_first();
        }
    }
    black_box(&map);
}

fn hash_map(home: &impl Home) {
    let mut prng = Prng::new(5);
    let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), home.clone());
    for step in 0..50_000_u64 {
        let number = prng.below(20_000);
        if prng.chance(4, 5) {
            let mut text = RegionVec::new_in(home.clone());
            text.extend_from_slice(&step.to_be_bytes());
            map.insert(number, text);
        } else {
            map.remove(&number);
        }
    }
    black_box(&map);
}

fn random_replace(home: &impl Home) {
    let mut prng = Prng::new(777);
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let make = |prng: &mut Prng| {
        let size = prng.between(16, 527);
        let block = Allocator::allocate(home, layout(size)).unwrap().cast::<u8>();
        // SAFETY: the block is at least 16 bytes long.
        unsafe { block.write(1) };
        (block, size)
    };
    let mut ring: Vec<_> = (0..100_000).map(|_| make(&mut prng)).collect();
    for _ in 0..1_000_000 {
        let slot = prng.below(ring.len());
        let (block, size) = ring[slot];
        // SAFETY: the block is live, with this layout.
        unsafe { Allocator::deallocate(home, block, layout(size)) };
        ring[slot] = make(&mut prng);
    }
    for (block, size) in ring {
        // SAFETY: the block is live, with this layout.
        unsafe { Allocator::deallocate(home, block, layout(size)) };
    }
}

type Workload<H> = (&'static str, fn(&H));

fn workloads<H: Home>() -> Vec<Workload<H>> {
    vec![
        ("vec_push_3M", |home| vec_push(home)),
        ("vec_rand_free_25K_512B", |home| vec_rand_free(home, 25_000, 512)),
        ("vec_rand_free_7500_4160B", |home| vec_rand_free(home, 7_500, 4160)),
        #[cfg(feature = "nightly")]
        ("btree_map_50K", |home| btree_map(home)),
        ("hash_map_50K", |home| hash_map(home)),
        ("random_replace_100K", |home| random_replace(home)),
    ]
}

fn time_ms<H>(home: &H, workload: fn(&H)) -> f64 {
    let start = Instant::now();
    workload(home);
    start.elapsed().as_secs_f64() * 1e3
}

/// Whether the families named on the command line, all if none is, include this one.
fn is_wanted(family: &str) -> bool {
    let mut named =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == family)
}

/// Ours and bare in turns, A B B A; prints and returns the worst ratio.
fn compare<O: Home, B: Home>(
    family: &str,
    ours: &O,
    bare: &B,
    turns: usize,
    system: &[f64],
) -> f64 {
    let mut worst = 0.0_f64;
    if !is_wanted(family) {
        return worst;
    }
    let rows = workloads::<O>().into_iter().zip(workloads::<B>()).zip(system);
    for (((name, on_ours), (_, on_bare)), system) in rows {
        // Random replacement over 100,000 live blocks is minutes for the buddy crate; it is left out.
        if family == "buddy" && name == "random_replace_100K" {
            println!("{name:26} {family:6} skipped: the bare crate needs 40 us a step");
            continue;
        }
        let mut least = (f64::MAX, f64::MAX);
        for _ in 0..turns {
            least.0 = least.0.min(time_ms(ours, on_ours));
            least.1 = least.1.min(time_ms(bare, on_bare));
            least.1 = least.1.min(time_ms(bare, on_bare));
            least.0 = least.0.min(time_ms(ours, on_ours));
        }
        let (ours_ms, bare_ms) = least;
        worst = worst.max(ours_ms / bare_ms);
        println!(
            "{name:26} {family:6} {ours_ms:10.3} {bare_ms:10.3} {system:10.3} {:8.3} {:10.3}",
            ours_ms / bare_ms,
            ours_ms / system
        );
    }
    worst
}

/// Memory for a bare crate, never released.
fn leaked_pool() -> *mut u8 {
    let layout = Layout::from_size_align(POOL_SIZE, 4096).unwrap();
    // SAFETY: the layout is not empty.
    let start = unsafe { std::alloc::alloc(layout) };
    assert!(!start.is_null());
    start
}

fn main() {
    println!(
        "collections, ms, least of all turns; a wrapper may cost 1.5x its crate with mirror and table"
    );
    println!(
        "{:26} {:6} {:>10} {:>10} {:>10} {:>8} {:>10}",
        "workload", "family", "ours", "bare", "system", "/ bare", "/ system"
    );
    let system: Vec<f64> = workloads::<System>()
        .into_iter()
        .map(|(_, workload)| (0..6).map(|_| time_ms(&System, workload)).fold(f64::MAX, f64::min))
        .collect();

    let mut tlsf = rlsf::Tlsf::new();
    let pool = std::ptr::slice_from_raw_parts_mut(leaked_pool(), POOL_SIZE);
    // SAFETY: the pool is given to this crate only, and never released.
    unsafe { tlsf.insert_free_block_ptr(NonNull::new(pool).unwrap()) }.unwrap();
    let bare = Bare(Rc::new(RefCell::new(tlsf)));
    let ours = AllocatorRc::new(TlsfByteAllocator::new(), POOL_SIZE).unwrap();
    let mut worst = compare("tlsf", &ours, &bare, 5, &system);

    let start = leaked_pool().expose_provenance();
    // SAFETY: as above.
    let bare = Bare(Rc::new(RefCell::new(unsafe { slab_allocator::Heap::new(start, POOL_SIZE) })));
    let ours = AllocatorRc::new(SlabByteAllocator::new(), POOL_SIZE).unwrap();
    worst = worst.max(compare("slab", &ours, &bare, 3, &system));

    let mut buddy = buddy_system_allocator::Heap::<32>::new();
    // SAFETY: as above.
    unsafe { buddy.init(leaked_pool().expose_provenance(), POOL_SIZE) };
    let bare = Bare(Rc::new(RefCell::new(buddy)));
    let ours = AllocatorRc::new(BuddyByteAllocator::new(), POOL_SIZE).unwrap();
    worst = worst.max(compare("buddy", &ours, &bare, 1, &system));

    println!("worst ratio to the bare crate: {worst:.3}");
    println!("{} passed, {} failed", usize::from(worst <= 1.5), usize::from(worst > 1.5));
}
