//! Batches: all or nothing.

use heapwright_heap::heap::{HeapError, HeapStats};

use crate::{heap_of, script::Script};

fn comparable(stats: HeapStats) -> HeapStats {
    // What a refused call may change: how often it was called and failed, and what is cached.
    HeapStats { crossings: 0, failures: 0, cached: 0, committed: 0, used_peak: 0, ..stats }
}

#[test]
fn allocates_all_or_nothing() {
    for shared in [false, true] {
        let mut script = Script::new(heap_of(1 << 20, 2));
        if shared {
            script.share();
        }
        let some = script.heap.alloc_many(100, 1000).unwrap();
        assert_eq!(some.len(), 1000);
        assert_eq!(script.heap.check(), Ok(1000));
        let before = script.heap.stats().unwrap();
        for (size, count) in [(100, 100_000), (5_000, 1_000), (60_000, 30)] {
            let refused = script.heap.alloc_many(size, count);
            assert!(matches!(refused, Err(HeapError::NoMemory { .. })), "{size} {count}");
        }
        assert_eq!(script.heap.alloc_many(0, 3), Err(HeapError::InvalidParam));
        assert_eq!(script.heap.check(), Ok(1000));
        script.heap.trim().unwrap();
        let after = script.heap.stats().unwrap();
        assert_eq!(after.used, before.used);
        assert_eq!((after.allocs, after.frees), (before.allocs, before.frees));
        script.heap.free_many(&some).unwrap();
        let runs = script.heap.alloc_many(70_000, 5).unwrap();
        assert_eq!(script.heap.check(), Ok(5));
        script.heap.free_many(&runs).unwrap();
        assert_eq!(script.heap.check(), Ok(0));
    }
}

#[test]
fn frees_all_or_nothing() {
    for shared in [false, true] {
        let mut script = Script::new(heap_of(4 << 20, 2));
        if shared {
            script.share();
        }
        let mut blocks = script.heap.alloc_many(48, 50).unwrap();
        blocks.push(script.alloc(100_000).unwrap());
        let before = comparable(script.heap.stats().unwrap());
        for bad in [blocks[3], blocks[0] + 16, 0, 4096 * 1000, usize::MAX, blocks[50] + 4096] {
            let mut batch = blocks.clone();
            batch.push(bad);
            let refused = script.heap.free_many(&batch);
            assert_eq!(refused, Err((HeapError::NotAllocated, Some(bad))));
            assert_eq!(comparable(script.heap.stats().unwrap()), before);
            assert_eq!(script.heap.check(), Ok(51));
        }
        script.heap.free_many(&blocks).unwrap();
        assert_eq!(script.heap.free_many(&[]), Ok(()));
        assert_eq!(script.heap.check(), Ok(0));
    }
}
