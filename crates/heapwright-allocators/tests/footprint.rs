//! What 1 TiB of simulated pages costs: less than 96 MiB, and in an optimized build less than 0.2 s.
//!
//! In a binary of its own, because it looks at the memory of the whole process.
#![cfg(all(feature = "bitmap", feature = "page-alloc-1t", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use heapwright_allocators::{BaseAllocator, BitmapPageAllocator, PageAllocator};
use heapwright_testkit::{Prng, prng, scaled};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * PAGE
}

#[test]
fn one_tebibyte_of_pages_is_cheap() {
    // A sanitizer's shadow memory would be measured with it.
    if std::env::var_os("HEAPWRIGHT_SANITIZER").is_some() {
        return;
    }
    let before = resident_bytes();
    let started = Instant::now();
    let mut pages = BitmapPageAllocator::new(PAGE).unwrap();
    // SAFETY: pages are numbers here; nothing is touched.
    unsafe { pages.init(0x1000_0000, 1 << 40) }.unwrap();
    let elapsed = started.elapsed();
    let cost = resident_bytes() - before;
    eprintln!("1 TiB of pages: {elapsed:?}, {} KiB resident", cost / 1024);
    assert!(cost < 64 * MIB, "{cost} bytes");
    if !cfg!(debug_assertions) {
        assert!(elapsed < Duration::from_millis(200), "{elapsed:?}");
    }
    assert_eq!(pages.largest_free_run(), 1 << 28);

    // In use all over, it stays below the limit.
    let mut prng = Prng::new(prng::seed(0x1_71b));
    let mut runs = Vec::new();
    for _ in 0..scaled(100_000, 3_000_000) {
        let pos = 0x1000_0000 + prng.below(1 << 28) * PAGE;
        if pages.alloc_pages_at(pos, 1, PAGE).is_ok() {
            runs.push(pos);
        }
    }
    let run = pages.alloc_pages(16, 1 << 30).unwrap();
    assert!(run.is_multiple_of(1 << 30));
    let own = runs.capacity() * size_of::<usize>();
    let cost = resident_bytes() - before - own;
    eprintln!("{} pages taken at random: {} KiB resident", runs.len(), cost / 1024);
    assert!(cost < 96 * MIB, "{cost} bytes");
    assert!(pages.largest_free_run() < 1 << 28);
    for pos in runs {
        pages.dealloc_pages(pos, 1).unwrap();
    }
    pages.dealloc_pages(run, 16).unwrap();
    assert_eq!((pages.used_pages(), pages.largest_free_run()), (0, 1 << 28));
}
