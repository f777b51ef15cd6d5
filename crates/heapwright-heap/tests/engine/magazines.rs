//! What magazines hold, when they call the engine, and what is known of them in between.

use heapwright_testkit::{Prng, prng::seed};

use crate::{heap_of, script::Script};

fn crossings(script: &Script) -> usize {
    script.heap.stats().unwrap().crossings
}

/// Allocates `count` blocks and frees them in order.
fn batch(script: &Script, size: usize, count: usize) {
    let blocks: Vec<_> = (0..count).map(|_| script.alloc(size).unwrap()).collect();
    blocks.into_iter().for_each(|p| script.free(p).unwrap());
}

#[test]
fn batches_of_64_kib_stay_in_the_magazines() {
    for (size, count) in [(16, 4000), (16, 7000), (32, 1600), (48, 1300), (64, 1600), (128, 800)] {
        let script = Script::new(heap_of(64 << 20, 1));
        (0..40).for_each(|_| batch(&script, size, count));
        let before = crossings(&script);
        (0..10).for_each(|_| batch(&script, size, count));
        // At most one a round: where the free stack fills the alloc stack up.
        let after = crossings(&script) - before;
        assert!(after <= 10, "{after} calls for 10 times {count} blocks of {size}");
        assert_eq!(script.heap.check(), Ok(0));
    }
}

#[test]
fn magazines_hold_no_more_than_64_kib_a_stack() {
    let script = Script::new(heap_of(64 << 20, 1));
    for size in [16, 32, 112, 128, 1024, 16384] {
        (0..10).for_each(|_| batch(&script, size, (1 << 20) / size));
        let cached = script.heap.stats().unwrap().cached;
        assert!(cached <= 2 * (64 << 10), "{cached} bytes of blocks of {size}");
        script.heap.trim().unwrap();
        assert_eq!(script.heap.stats().unwrap().cached, 0);
    }
    // In a small heap a 128th of it.
    let script = Script::new(heap_of(1 << 20, 1));
    (0..20).for_each(|_| batch(&script, 16, 10_000));
    assert!(script.heap.stats().unwrap().cached <= 2 * (8 << 10));
}

#[test]
fn a_program_in_balance_calls_once_in_a_while() {
    let mut prng = Prng::new(seed(0xba1));
    for size in [16, 64, 528] {
        let script = Script::new(heap_of(64 << 20, 1));
        let mut blocks: Vec<_> = (0..20_000).map(|_| script.alloc(size).unwrap()).collect();
        // As many in the magazines as go into them.
        (0..8000).for_each(|_| script.free(blocks.pop().unwrap()).unwrap());
        let before = crossings(&script);
        for _ in 0..200_000 {
            let index = prng.below(blocks.len());
            script.free(blocks[index]).unwrap();
            blocks[index] = script.alloc(size).unwrap();
        }
        let after = crossings(&script) - before;
        assert!(after <= 4, "{after} calls for blocks of {size}");
    }
}

#[test]
fn the_peak_knows_that_a_flush_emptied_the_free_stack() {
    let script = Script::new(heap_of(64 << 20, 1));
    (0..8).for_each(|_| batch(&script, 64, 3000));
    let mut blocks: Vec<_> = (0..5000).map(|_| script.alloc(64).unwrap()).collect();
    // The free stack is nearly full when somebody looks; then it is full, and the alloc stack filled up from it.
    blocks.drain(4000..).for_each(|p| script.free(p).unwrap());
    let others: Vec<_> = (0..500).map(|_| script.alloc(80).unwrap()).collect();
    let _ = script.heap.stats().unwrap();
    blocks.drain(3900..).for_each(|p| script.free(p).unwrap());
    blocks.extend((0..1000).map(|_| script.alloc(64).unwrap()));
    let live = blocks.len() * 64 + others.len() * 80;
    blocks.drain(4000..).for_each(|p| script.free(p).unwrap());
    let said = script.heap.stats().unwrap().used_peak;
    assert!(said >= live, "{said} said, {live} live");
}
