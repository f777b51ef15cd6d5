//! Real threads on the real engine: what the sanitizers run, and acceptance test A10.
//!
//! Under ThreadSanitizer (`docs/verification.md`) every unordered access of the engine's own atomics and of
//! the tags in the blocks is reported; alone it finds lost slabs, double owners and stranded frees.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::cast_possible_truncation, reason = "CPUs are few")]

use core::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::{
    Arc, Barrier, Mutex, MutexGuard, TryLockError,
    atomic::{AtomicU8, AtomicUsize, Ordering},
    mpsc,
};
use std::thread;

use heapwright_core::AllocError;
use heapwright_testkit::{Prng, Sizes, prng, scaled};
use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};

const START: usize = 0x10_0000;

fn engine(table: ClassTable, cpus: usize, pages: usize) -> Arc<GlobalAllocator> {
    let engine = GlobalAllocator::new(table, cpus, 4096).unwrap();
    engine.add_region(START, pages * 4096, START).unwrap();
    Arc::new(engine)
}

/// Locks without the part of the standard library that ThreadSanitizer cannot see into.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::WouldBlock) => thread::yield_now(),
            Err(TryLockError::Poisoned(_)) => panic!("another thread has failed"),
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// Nothing is live, nothing is lost.
fn at_rest(engine: &GlobalAllocator) {
    engine.check_invariants().unwrap();
    for cpu in 0..engine.cpus() {
        engine.trim(CpuId(cpu as u16));
    }
    engine.check_invariants().unwrap();
    assert_eq!(engine.allocated_bytes(), 0);
}

/// A block, with its size, that a thread left for another.
type Slot = Mutex<Option<(usize, usize)>>;

/// Four threads replace blocks in slots that they swap with each other; every block is tagged by a byte
/// for each granule, so that two owners of one granule are seen at once.
#[test]
fn blocks_handed_over_have_one_owner() {
    let threads = 4;
    let pages = 4096;
    let engine = engine(ClassTable::fine(), threads, pages);
    let tags: Arc<Vec<AtomicU8>> =
        Arc::new((0..pages * 4096 / 16).map(|_| AtomicU8::new(0)).collect());
    let slots: Arc<Vec<Slot>> = Arc::new((0..1000).map(|_| Mutex::new(None)).collect());
    let seed = prng::seed(0x57_2e55);
    let steps = scaled(20_000, 1_500_000);
    let workers: Vec<_> = (0..threads)
        .map(|index| {
            let (engine, tags, slots) =
                (Arc::clone(&engine), Arc::clone(&tags), Arc::clone(&slots));
            thread::spawn(move || {
                let cpu = engine.attach().unwrap();
                let mut random = Prng::new(seed + index as u64);
                for _ in 0..steps {
                    replace(&engine, &tags, &slots, cpu, &mut random);
                }
                cpu
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    for slot in slots.iter() {
        if let Some((pos, size)) = lock(slot).take() {
            release(&engine, &tags, CpuId(0), pos, size);
        }
    }
    at_rest(&engine);
}

type Slots = [Mutex<Option<(usize, usize)>>];

fn granules(tags: &[AtomicU8], pos: usize, size: usize) -> &[AtomicU8] {
    &tags[(pos - START) / 16..(pos - START + size).div_ceil(16)]
}

fn release(engine: &GlobalAllocator, tags: &[AtomicU8], cpu: CpuId, pos: usize, size: usize) {
    for tag in granules(tags, pos, size) {
        // Relaxed: ordering must come from the engine.
        assert_eq!(tag.swap(0, Ordering::Relaxed), 1, "a block has two owners");
    }
    engine.dealloc(cpu, pos).unwrap();
}

fn replace(
    engine: &GlobalAllocator,
    tags: &[AtomicU8],
    slots: &Slots,
    cpu: CpuId,
    random: &mut Prng,
) {
    let size = Sizes::LogUniform(16, 3000).draw(random);
    let block = engine.alloc(cpu, layout(size)).ok().map(|pos| (pos, size));
    if let Some((pos, size)) = block {
        for tag in granules(tags, pos, size) {
            assert_eq!(tag.swap(1, Ordering::Relaxed), 0, "a block has two owners");
        }
    }
    let old = std::mem::replace(&mut *lock(&slots[random.below(slots.len())]), block);
    if let Some((pos, size)) = old {
        release(engine, tags, cpu, pos, size);
    }
    if random.chance(1, 500) {
        engine.trim(cpu);
    }
}

/// All threads free the same blocks at once: each free has exactly one winner.
#[test]
fn every_free_has_one_winner() {
    let threads = 3;
    for _ in 0..scaled(50, 2000) {
        let engine = engine(ClassTable::kernel(), threads, 64);
        let blocks: Arc<Vec<usize>> =
            Arc::new((0..200).map(|_| engine.alloc(CpuId(0), layout(64)).unwrap()).collect());
        let wins = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(threads));
        let workers: Vec<_> = (0..threads)
            .map(|cpu| {
                let (engine, blocks) = (Arc::clone(&engine), Arc::clone(&blocks));
                let (wins, barrier) = (Arc::clone(&wins), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    for &block in blocks.iter() {
                        match engine.dealloc(CpuId(cpu as u16), block) {
                            Ok(()) => {
                                wins.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => assert_eq!(error, AllocError::NotAllocated),
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(wins.load(Ordering::Relaxed), blocks.len());
        at_rest(&engine);
    }
}

/// A10: one thread only allocates, another only frees; slabs do not pile up.
#[test]
fn producer_and_consumer_hold_no_more_slabs_at_the_end() {
    let engine = engine(ClassTable::kernel(), 2, 8192);
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(0);
    let consumer = {
        let engine = Arc::clone(&engine);
        thread::spawn(move || {
            for batch in receive {
                for block in batch {
                    engine.dealloc(CpuId(1), block).unwrap();
                }
            }
        })
    };
    let mut held: BTreeMap<usize, usize> = BTreeMap::new();
    for round in 0..200 {
        let batch: Vec<_> =
            (0..3000).map(|_| engine.alloc(CpuId(0), layout(64)).unwrap()).collect();
        held.insert(round, engine.class_stats(Some(CpuId(0)))[3].slabs);
        send.send(batch).unwrap();
        // The consumer has the last batch by now, and has freed all of those before it.
    }
    drop(send);
    consumer.join().unwrap();
    let (early, last) = (held[&3], held[&199]);
    // One batch may be in the consumer's hands, and is not back yet.
    let batch_slabs = 3000usize.div_ceil(64);
    assert!(last <= early.max(2 * batch_slabs) + 1, "{early} slabs became {last}");
    at_rest(&engine);
}

/// Threads come and go while others free into their slabs; survivors adopt.
#[test]
fn slabs_of_threads_that_end_are_adopted() {
    let engine = engine(ClassTable::fine(), 4, 4096);
    let home = engine.attach().unwrap();
    let seed = prng::seed(0xad_0b7);
    let shared: Arc<Mutex<Vec<usize>>> = Arc::default();
    for round in 0..scaled(60, 3000) {
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let (engine, shared) = (Arc::clone(&engine), Arc::clone(&shared));
                let mut random = Prng::new(seed + round as u64 * 7 + index);
                thread::spawn(move || {
                    let cpu = engine.attach().unwrap();
                    for _ in 0..200 {
                        if random.chance(3, 5) {
                            let size = random.between(1, 4000);
                            if let Ok(block) = engine.alloc(cpu, layout(size)) {
                                lock(&shared).push(block);
                            }
                        } else {
                            let block = lock(&shared).pop();
                            if let Some(block) = block {
                                engine.dealloc(cpu, block).unwrap();
                            }
                        }
                    }
                    if random.chance(1, 2) {
                        engine.adopt(cpu, home).unwrap();
                    } else {
                        engine.detach(cpu).unwrap();
                    }
                })
            })
            .collect();
        // The adopter is busy with its own blocks meanwhile.
        for _ in 0..100 {
            if let Ok(block) = engine.alloc(home, layout(100)) {
                lock(&shared).push(block);
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
        engine.check_invariants().unwrap();
        while lock(&shared).len() > 300 {
            let block = lock(&shared).remove(0);
            engine.dealloc(home, block).unwrap();
        }
    }
    for block in lock(&shared).drain(..) {
        engine.dealloc(home, block).unwrap();
    }
    at_rest(&engine);
}

/// Magazines in bulk, as the Heap uses the engine: slots taken here are given back there.
#[test]
fn bulk_takes_and_gives_across_threads() {
    let engine = engine(ClassTable::fine(), 2, 8192);
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(4);
    let rounds = scaled(300, 20_000);
    let giver = {
        let engine = Arc::clone(&engine);
        thread::spawn(move || {
            for batch in receive {
                engine.give_slots(CpuId(1), &batch).unwrap();
            }
        })
    };
    let mut random = Prng::new(prng::seed(0xb0_1c));
    for _ in 0..rounds {
        let class = engine.table().classes().nth(random.below(60)).unwrap();
        let mut batch = Vec::new();
        engine.take_slots(CpuId(0), class, 64, |pos| batch.push(pos));
        assert!(!batch.is_empty(), "out of memory, though all is freed elsewhere");
        if random.chance(1, 3) {
            engine.give_slots(CpuId(0), &batch).unwrap();
        } else {
            send.send(batch).unwrap();
        }
    }
    drop(send);
    giver.join().unwrap();
    at_rest(&engine);
}
