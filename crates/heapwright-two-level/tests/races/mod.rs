//! Races of remote frees over the real engine, for whatever runs threads: loom, shuttle, std.
//!
//! Each function makes an engine of one page (two slots of 2,048 bytes, one bitmap word) or a few, lets
//! threads race, and tests every invariant at the end. `spawn` and `join` come from the checker.

use core::alloc::Layout;
use std::sync::Arc;

use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};

/// What runs a thread.
pub(crate) type Spawn = fn(Box<dyn FnOnce() -> usize + Send>) -> Box<dyn FnOnce() -> usize>;

const OWNER: CpuId = CpuId(0);
const OTHER: CpuId = CpuId(1);
const THIRD: CpuId = CpuId(2);

fn engine(pages: usize) -> Arc<GlobalAllocator> {
    let engine = GlobalAllocator::new(ClassTable::kernel(), 3, 4096).unwrap();
    engine.add_region(0x10_0000, pages * 4096, 0).unwrap();
    Arc::new(engine)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn at_rest(engine: &GlobalAllocator, live: usize) {
    engine.check_invariants().unwrap();
    let mut taken = 0;
    engine.for_each_taken_slot(None, &mut |_, _| taken += 1);
    assert_eq!(taken, live);
    for cpu in [OWNER, OTHER, THIRD] {
        engine.trim(cpu);
    }
    engine.check_invariants().unwrap();
    if live == 0 {
        assert_eq!(engine.allocated_bytes(), 0, "a slab was lost");
    }
}

/// Two CPUs free into one slab while its owner drains: nothing is stranded.
pub(crate) fn push_push_drain(spawn: Spawn) {
    let engine = engine(1);
    let blocks = [0, 1].map(|_| engine.alloc(OWNER, layout(2048)).unwrap());
    let threads = [(OTHER, blocks[0]), (THIRD, blocks[1])].map(|(cpu, block)| {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || usize::from(engine.dealloc(cpu, block).is_ok())))
    });
    let drained = engine.drain(OWNER);
    let freed: usize = threads.into_iter().map(|join| join()).sum();
    assert_eq!(freed, 2);
    engine.check_invariants().unwrap();
    assert_eq!(drained + engine.drain(OWNER), 2);
    at_rest(&engine, 0);
}

/// Two CPUs free one block: one succeeds.
pub(crate) fn two_remote_frees_of_one_block(spawn: Spawn) {
    let engine = engine(1);
    let block = engine.alloc(OWNER, layout(2048)).unwrap();
    let threads = [OTHER, THIRD].map(|cpu| {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || usize::from(engine.dealloc(cpu, block).is_ok())))
    });
    let freed: usize = threads.into_iter().map(|join| join()).sum();
    assert_eq!(freed, 1);
    at_rest(&engine, 0);
}

/// The owner and another CPU free one block: one succeeds (CC5).
pub(crate) fn owner_and_remote_free_of_one_block(spawn: Spawn) {
    let engine = engine(1);
    let block = engine.alloc(OWNER, layout(2048)).unwrap();
    let other = {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || usize::from(engine.dealloc(OTHER, block).is_ok())))
    };
    let own = usize::from(engine.dealloc(OWNER, block).is_ok());
    assert_eq!(own + other(), 1);
    at_rest(&engine, 0);
}

/// The slab is drained, emptied, returned and made anew by another CPU while freers are under way (CC2).
pub(crate) fn return_and_reuse(spawn: Spawn) {
    let engine = engine(1);
    let blocks = [0, 1].map(|_| engine.alloc(OWNER, layout(2048)).unwrap());
    let freer = {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || usize::from(engine.dealloc(OTHER, blocks[0]).is_ok())))
    };
    let taker = {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || {
            let freed = usize::from(engine.dealloc(THIRD, blocks[1]).is_ok());
            // Succeeds only if the owner has given the page back by now.
            if let Ok(block) = engine.alloc(THIRD, layout(2048)) {
                engine.dealloc(THIRD, block).unwrap();
            }
            freed
        }))
    };
    engine.trim(OWNER);
    assert_eq!(freer() + taker(), 2);
    engine.check_invariants().unwrap();
    at_rest(&engine, 0);
}

/// The owner goes away while others free into its slabs (CC6).
pub(crate) fn adoption(spawn: Spawn) {
    let engine = engine(1);
    let blocks = [0, 1].map(|_| engine.alloc(OWNER, layout(2048)).unwrap());
    let freer = {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || usize::from(engine.dealloc(THIRD, blocks[0]).is_ok())))
    };
    engine.adopt(OWNER, OTHER).unwrap();
    assert_eq!(freer(), 1);
    engine.check_invariants().unwrap();
    engine.dealloc(OTHER, blocks[1]).unwrap();
    at_rest(&engine, 0);
}

/// A miss drains what others freed, whenever that becomes visible.
pub(crate) fn alloc_against_free(spawn: Spawn) {
    let engine = engine(1);
    let blocks = [0, 1].map(|_| engine.alloc(OWNER, layout(2048)).unwrap());
    let freer = {
        let engine = Arc::clone(&engine);
        spawn(Box::new(move || {
            blocks.iter().filter(|&&block| engine.dealloc(OTHER, block).is_ok()).count()
        }))
    };
    let got = engine.alloc(OWNER, layout(2048));
    assert_eq!(freer(), 2);
    at_rest(&engine, usize::from(got.is_ok()));
}
