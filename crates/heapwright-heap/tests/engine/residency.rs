//! Resident memory: bounded where blocks that survive lie scattered, untouched where a program comes back for
//! what it freed.

use heapwright_heap::heap::{HeapConfig, HeapEngine};
use heapwright_testkit::{Prng, prng::seed};

use crate::{heap_of, script::Script};

/// A live block: where, how long, and what its first and last byte say.
type Block = (usize, usize, u8);

/// Sizes below a power of two from 2^6 to 2^15, itself chosen at random.
fn size(prng: &mut Prng) -> usize {
    let log = 6 + prng.below(10);
    1 + prng.below(1 << log)
}

fn fill(script: &Script, prng: &mut Prng, blocks: &mut Vec<Block>, limit: usize) {
    let mut live: usize = blocks.iter().map(|&(_, size, _)| size).sum();
    while live < limit {
        let size = size(prng);
        let p = script.alloc(size).unwrap();
        let tag = prng.below(256) as u8;
        for page in (p..p + size).step_by(4096).chain([p + size - 1]) {
            script.write(page, 1, tag);
        }
        blocks.push((p, size, tag));
        live += size;
    }
}

fn free(script: &Script, blocks: impl IntoIterator<Item = Block>) {
    for (p, size, tag) in blocks {
        for page in (p..p + size).step_by(4096).chain([p + size - 1]) {
            assert!(script.holds(page, 1, tag), "{p:#x} of {size} bytes at {page:#x}");
        }
        script.free(p).unwrap();
    }
}

#[test]
fn survivors_do_not_make_it_grow() {
    let seed = seed(0xb16);
    for shared in [false, true] {
        let mut prng = Prng::new(seed);
        let mut script = Script::new(heap_of(256 << 20, 2));
        if shared {
            script.share();
        }
        let live = 80 << 20;
        let mut blocks = Vec::new();
        fill(&script, &mut prng, &mut blocks, live);
        for _ in 0..5 {
            let (kept, freed) = blocks.into_iter().partition(|_| prng.below(10) == 0);
            blocks = kept;
            free(&script, freed);
            fill(&script, &mut prng, &mut blocks, live);
            let stats = script.heap.stats().unwrap();
            // A sixteenth more than was allocated at most, which slabs with holes make a tenth more than is
            // live. Without the rule it is a quarter and more.
            assert!(stats.committed < live + live / 6, "{stats:?}");
            assert_eq!(script.heap.check(), Ok(blocks.len()));
        }
        free(&script, blocks);
    }
}

#[test]
fn what_was_freed_stays_for_who_comes_back() {
    let mut prng = Prng::new(1);
    let script = Script::new(heap_of(128 << 20, 1));
    let mut committed = Vec::new();
    for _ in 0..3 {
        let mut same = Prng::new(2);
        let mut blocks = Vec::new();
        fill(&script, &mut same, &mut blocks, 60 << 20);
        committed.push(script.heap.stats().unwrap().committed);
        while !blocks.is_empty() {
            let block = blocks.swap_remove(prng.below(blocks.len()));
            free(&script, [block]);
        }
    }
    let resident = script.heap.engine().data().resident_bytes().unwrap();
    assert!(resident > committed[0] - (4 << 20), "{resident} of {committed:?}");
    assert!(committed[2] < committed[0] + committed[0] / 16 + (4 << 20), "{committed:?}");
    assert!(script.heap.trim().unwrap() > committed[0] - (4 << 20));
}

#[test]
fn a_populated_heap_keeps_its_pages() {
    let config = HeapConfig { size: 64 << 20, max_threads: 1, huge_pages: false, populate: true };
    let engine = std::sync::Arc::new(HeapEngine::map(&config).unwrap());
    let script = Script::new(engine.attach().unwrap());
    let whole = script.heap.engine().data().resident_bytes().unwrap();
    let mut prng = Prng::new(3);
    let mut blocks = Vec::new();
    for _ in 0..6 {
        fill(&script, &mut prng, &mut blocks, 25 << 20);
        let (kept, freed) = blocks.into_iter().partition(|_| prng.below(10) == 0);
        blocks = kept;
        free(&script, freed);
    }
    assert_eq!(script.heap.engine().data().resident_bytes(), Some(whole));

    // What is committed is what is resident, and a trim gives back all that is free of it.
    assert_eq!(script.heap.stats().unwrap().committed, whole);
    assert_eq!(script.heap.check(), Ok(blocks.len()));
    free(&script, blocks);
    let trimmed = script.heap.trim().unwrap();
    assert_eq!(trimmed, whole - script.heap.stats().unwrap().committed);
    assert!(trimmed >= whole - 4096, "{trimmed} of {whole}");
    assert_eq!(script.heap.check(), Ok(0));
}
