//! Metadata written over: an error that poisons, never a fault, and nothing outside of the heap is touched.

use heapwright_heap::heap::{
    HeapError, Stack,
    geometry::{AT, FT, OUTBOX, PT, STACKS, stack_place, stack_stride},
};
use heapwright_testkit::{Prng, prng};

use crate::{heap_of, script::Script, torture};

#[test]
fn finds_tops_that_are_none() {
    for (table, stack) in [(AT, Stack::Alloc), (FT, Stack::Free), (PT, Stack::Pool)] {
        for top in [0, 1, -1, i32::MAX, i32::MIN, STACKS as i32, 1 << 20] {
            let script = Script::new(heap_of(1 << 20, 1));
            let p = script.alloc(64).unwrap();
            let class = script.class_of(64);
            script.scribble(table + class, top);
            assert_eq!(
                script.heap.flush(stack, class),
                Err(HeapError::Poisoned),
                "{stack:?} {top}"
            );
            assert!(script.heap.engine().poisoned_by().is_some());
            assert_eq!(script.heap.free(p), Err(HeapError::Poisoned));
            assert_eq!(script.heap.alloc(1 << 16, 16), Err(HeapError::Poisoned));
        }
    }
}

#[test]
fn finds_entries_that_are_no_blocks() {
    for entry in [1, 16, 4096 + 8, 0x7fff_fff0, -16, 0x10_0000] {
        let script = Script::new(heap_of(1 << 20, 1));
        let blocks: Vec<_> = (0..200).map(|_| script.alloc(64).unwrap()).collect();
        blocks.iter().take(60).for_each(|&p| script.free(p).unwrap());
        let class = script.class_of(64);
        let first = stack_place(class);
        (first..first + 2 * stack_stride(class)).for_each(|index| script.scribble(index, entry));
        assert_eq!(script.heap.trim(), Err(HeapError::Poisoned), "{entry:#x}");
    }
}

#[test]
fn passes_over_outbox_entries_that_are_none() {
    let mut script = Script::new(heap_of(1 << 20, 2));
    script.share();
    let p = script.alloc(64).unwrap();
    script.scribble(OUTBOX, 4);
    for (index, entry) in [p as i32, 7, -1, 0].into_iter().enumerate() {
        script.scribble(OUTBOX + 1 + index, entry);
    }
    script.heap.flush_outbox().unwrap();
    assert_eq!(script.heap.check(), Ok(1), "the block was not freed");
    script.scribble(OUTBOX, 4096);
    assert_eq!(script.heap.flush_outbox(), Err(HeapError::Poisoned));
}

#[test]
fn survives_any_word_anywhere_in_its_area() {
    let mut rng = Prng::new(prng::seed(8));
    for _ in 0..torture(400, 10_000) {
        let mut script = Script::new(heap_of(1 << 20, 2));
        if rng.chance(1, 2) {
            script.share();
        }
        let mut blocks: Vec<_> =
            (0..100).map(|_| script.alloc(1 + rng.below(2000)).unwrap()).collect();
        for _ in 0..40 {
            script.free(blocks.swap_remove(rng.below(blocks.len()))).unwrap();
        }
        for _ in 0..=rng.below(20) {
            let index = match rng.below(4) {
                0 => rng.below(128) + AT,
                1 => rng.below(384) + AT,
                2 => STACKS + rng.below(stack_place(73) - STACKS),
                _ => OUTBOX + rng.below(200),
            };
            script.scribble(index, rng.next_u32().cast_signed() >> rng.below(32));
        }
        // Whatever comes of these is an answer.
        for _ in 0..50 {
            let class = 1 + rng.below(72);
            let _ = script.heap.refill(Stack::Alloc, class);
            let _ = script.heap.refill(Stack::Pool, class);
            let _ = script.heap.flush(Stack::Free, class);
            let _ = script.heap.flush(Stack::Pool, class);
            let _ = script.heap.alloc(1 + rng.below(5000), 16);
            let _ = script.heap.free(16 * rng.below(1 << 16));
        }
        let _ = script.heap.flush_outbox();
        let _ = script.heap.stats();
        let _ = script.heap.class_rows();
        let _ = script.heap.check();
        let _ = script.heap.trim();
        let _ = script.heap.share();
    }
}

#[test]
fn refuses_class_numbers_that_are_none() {
    let script = Script::new(heap_of(1 << 20, 1));
    for class in [0, 73, 127, 128, usize::MAX] {
        assert_eq!(script.heap.refill(Stack::Alloc, class), Err(HeapError::InvalidParam));
        assert_eq!(script.heap.flush(Stack::Free, class), Err(HeapError::InvalidParam));
    }
    assert_eq!(script.heap.check(), Ok(0));
}
