//! Random schedules of larger cases over the real engine, replayed from a seed:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p heapwright-two-level --release --test shuttle_remote`.

#![cfg(shuttle)]

mod races;

use core::alloc::Layout;
use std::sync::Arc;

use heapwright_testkit::{Prng, prng, scaled};
use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};
use shuttle::{Runner, scheduler::RandomScheduler, sync::Mutex, thread};

fn spawn(body: Box<dyn FnOnce() -> usize + Send>) -> Box<dyn FnOnce() -> usize> {
    let thread = thread::spawn(body);
    Box::new(move || thread.join().unwrap())
}

fn random(iterations: usize, body: impl Fn() + Send + Sync + 'static) {
    let seed = prng::seed(0x5_4077_1e);
    let scheduler = RandomScheduler::new_from_seed(seed, iterations);
    Runner::new(scheduler, shuttle::Config::default()).run(body);
}

macro_rules! races {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            random(scaled(3_000, 100_000), || races::$name(spawn));
        }
    )*};
}

races!(
    push_push_drain,
    two_remote_frees_of_one_block,
    owner_and_remote_free_of_one_block,
    return_and_reuse,
    adoption,
    alloc_against_free
);

/// Three CPUs allocate, hand over, free each other's blocks, trim; one exits. Nothing is lost.
#[test]
fn a_crowd() {
    let rounds = scaled(300, 20_000);
    let seeds = std::sync::atomic::AtomicU64::new(prng::seed(0xc0_3d));
    random(rounds, move || {
        let seed = seeds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let engine = Arc::new(GlobalAllocator::new(ClassTable::kernel(), 3, 4096).unwrap());
        engine.add_region(0x10_0000, 4 * 4096, 0).unwrap();
        let shared = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..3)
            .map(|cpu| {
                let (engine, shared) = (Arc::clone(&engine), Arc::clone(&shared));
                thread::spawn(move || work(&engine, &shared, CpuId(cpu), seed))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        engine.check_invariants().unwrap();
        for block in shared.lock().unwrap().drain(..) {
            engine.dealloc(CpuId(1), block).unwrap();
        }
        engine.check_invariants().unwrap();
        for cpu in 0..3 {
            engine.trim(CpuId(cpu));
        }
        engine.check_invariants().unwrap();
        assert_eq!(engine.allocated_bytes(), 0);
    });
}

fn work(engine: &GlobalAllocator, shared: &Mutex<Vec<usize>>, cpu: CpuId, seed: u64) {
    let mut random = Prng::new(seed * 3 + u64::from(cpu.0));
    for _ in 0..12 {
        match random.below(6) {
            0..=2 => {
                let layout = Layout::from_size_align(1024 << random.below(2), 8).unwrap();
                if let Ok(block) = engine.alloc(cpu, layout) {
                    shared.lock().unwrap().push(block);
                }
            }
            3 | 4 => {
                let block = shared.lock().unwrap().pop();
                if let Some(block) = block {
                    engine.dealloc(cpu, block).unwrap();
                    assert!(!engine.is_taken(block) || engine.slab_at(block).is_some());
                }
            }
            _ => {
                engine.trim(cpu);
            }
        }
    }
    if cpu.0 == 0 {
        engine.adopt(cpu, CpuId(2)).unwrap();
    }
}
