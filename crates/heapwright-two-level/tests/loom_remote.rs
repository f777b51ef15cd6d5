//! All C11 executions of the real engine in tiny cases:
//! `RUSTFLAGS="--cfg loom" cargo test -p heapwright-two-level --release --test loom_remote`.
//!
//! Three threads at most. The cases whose locks multiply the executions bound the preemptions; the bound
//! is in the name of what runs them. `LOOM_MAX_PREEMPTIONS` overrides it.

#![cfg(loom)]

mod races;

use core::alloc::Layout;
use std::sync::Arc;

use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};
use loom::cell::UnsafeCell;

fn spawn(body: Box<dyn FnOnce() -> usize + Send>) -> Box<dyn FnOnce() -> usize> {
    let thread = loom::thread::spawn(body);
    Box::new(move || thread.join().unwrap())
}

fn bounded(preemptions: usize, race: fn(races::Spawn)) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound.get_or_insert(preemptions);
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let c2 = count.clone();
    builder.check(move || {
        c2.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        race(spawn)
    });
    println!("executions {:?}", count);
}

#[test]
fn push_push_drain() {
    bounded(3, races::push_push_drain);
}

#[test]
fn two_remote_frees_of_one_block() {
    bounded(4, races::two_remote_frees_of_one_block);
}

#[test]
fn owner_and_remote_free_of_one_block() {
    bounded(6, races::owner_and_remote_free_of_one_block);
}

#[test]
fn return_and_reuse() {
    bounded(2, races::return_and_reuse);
}

#[test]
fn adoption() {
    bounded(4, races::adoption);
}

#[test]
fn alloc_against_free() {
    bounded(4, races::alloc_against_free);
}

/// CC11: what the freer last wrote into a block comes before what its next owner does there.
#[test]
fn the_last_writes_come_before_the_reuse() {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound.get_or_insert(5);
    builder.check(|| {
        let engine = GlobalAllocator::new(ClassTable::kernel(), 2, 4096).unwrap();
        engine.add_region(0x10_0000, 4096, 0).unwrap();
        let engine = Arc::new(engine);
        let layout = Layout::from_size_align(2048, 8).unwrap();
        let blocks = [0, 1].map(|_| engine.alloc(CpuId(0), layout).unwrap());
        // loom reports any two accesses that are not ordered.
        let contents = Arc::new(UnsafeCell::new(()));
        let freer = {
            let (engine, contents) = (Arc::clone(&engine), Arc::clone(&contents));
            loom::thread::spawn(move || {
                contents.with_mut(|_| ());
                engine.dealloc(CpuId(1), blocks[0]).unwrap();
            })
        };
        if let Ok(block) = engine.alloc(CpuId(0), layout) {
            assert_eq!(block, blocks[0]);
            contents.with_mut(|_| ());
        }
        freer.join().unwrap();
    });
}
