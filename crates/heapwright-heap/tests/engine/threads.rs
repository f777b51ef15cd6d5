//! Threads on one heap: hand-over, churn, death at any step, double free, destroy (A9-A12).

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use heapwright_heap::{
    heap::{HeapEngine, HeapError, geometry::OUTBOX_MAX},
    registry,
};
use heapwright_testkit::{Prng, prng};

use crate::{
    heap_of, held, registered,
    script::{Script, Stop},
    torture,
};

/// A shared heap and its creator.
fn shared(size: usize, max_threads: usize) -> (Arc<HeapEngine>, Script) {
    let mut script = Script::new(heap_of(size, max_threads));
    script.share();
    (Arc::clone(script.heap.engine()), script)
}

fn tag_of(p: usize) -> u8 {
    (p >> 4) as u8 ^ (p >> 12) as u8 | 1
}

/// A block that nobody else may touch: writes its tag, or judges it.
fn judge_tag(script: &Script, p: usize, size: usize) {
    assert!(script.holds(p, size.min(32), tag_of(p)), "{p:#x} was written by another");
    script.write(p, size.min(32), 0);
}

fn assert_clean(script: &Script, live: usize) {
    let checked = script.heap.check();
    assert_eq!(checked, Ok(live), "{:?}", script.heap.engine().poisoned_by());
}

#[test]
fn threads_hand_blocks_to_each_other() {
    let seed = prng::seed(91);
    for round in 0..torture(1, 3) as u64 {
        let (engine, script) = shared(64 << 20, 16);
        let workers = 8;
        let exchange: Arc<Vec<_>> =
            Arc::new((0..1000).map(|_| Mutex::new(None::<(usize, usize)>)).collect());
        let operations = torture(60_000, 5_000_000 / workers);
        thread::scope(|scope| {
            for worker in 0..workers as u64 {
                let (engine, exchange) = (&engine, &exchange);
                scope.spawn(move || {
                    let script = Script::new(engine.attach().unwrap());
                    let mut rng = Prng::new(seed + round * 100 + worker);
                    for _ in 0..operations {
                        let size = if rng.chance(1, 500) {
                            1 + rng.below(100_000)
                        } else {
                            16 + rng.below(512)
                        };
                        let p = script.alloc(size).unwrap();
                        script.write(p, size.min(32), tag_of(p));
                        let place = &exchange[rng.below(exchange.len())];
                        let old = held(place).replace((p, size));
                        if let Some((p, size)) = old {
                            judge_tag(&script, p, size);
                            script.free(p).unwrap();
                        }
                    }
                });
            }
        });
        for place in exchange.iter() {
            if let Some((p, size)) = held(place).take() {
                judge_tag(&script, p, size);
                script.free(p).unwrap();
            }
        }
        let stats = script.heap.stats().unwrap();
        assert_eq!((stats.used, stats.blocks, stats.threads), (0, 0, 1));
        assert_clean(&script, 0);
    }
}

#[test]
fn counts_what_waits_in_the_last_outbox_as_freed() {
    let (engine, script) = shared(4 << 20, 2);
    let other = Script::new(engine.attach().unwrap());
    let blocks: Vec<_> = (0..10).map(|_| other.alloc(64).unwrap()).collect();
    blocks.iter().for_each(|&p| script.free(p).unwrap());
    drop(other);
    let stats = script.heap.stats().unwrap();
    assert_eq!((stats.threads, stats.blocks, stats.used), (1, 0, 0));
    assert_eq!((stats.allocs, stats.frees), (10, 10));
    let rows = script.heap.class_rows().unwrap();
    assert!(rows.iter().all(|row| row.blocks == 0));
    assert_clean(&script, 0);
}

fn up_and_down(script: &Script, count: usize) {
    let blocks: Vec<_> = (0..count).map(|_| script.alloc(64).unwrap()).collect();
    blocks.iter().for_each(|&p| script.free(p).unwrap());
}

#[test]
fn the_peak_knows_what_a_thread_had_before_it_looks_or_lets_go() {
    let (engine, script) = shared(4 << 20, 2);
    let other = Script::new(engine.attach().unwrap());
    let peak = || script.heap.stats().unwrap().used_peak;
    up_and_down(&script, 60);
    assert!(peak() >= 60 * 64);
    // All that it has is in its magazines by now.
    let _ = peak();
    up_and_down(&other, 62);
    drop(other);
    assert!(peak() >= 62 * 64);
}

#[test]
fn the_peak_knows_what_an_outbox_ended() {
    let (engine, script) = shared(4 << 20, 2);
    let other = Script::new(engine.attach().unwrap());
    up_and_down(&script, 60);
    let blocks: Vec<_> = (0..=OUTBOX_MAX + 1).map(|_| other.alloc(64).unwrap()).collect();
    // From now on its page is public.
    script.free(blocks[0]).unwrap();
    let _ = (other.heap.stats().unwrap(), script.heap.stats().unwrap());
    let own: Vec<_> = (0..50).map(|_| script.alloc(64).unwrap()).collect();
    let live = (blocks.len() - 1 + own.len()) * 64;
    blocks[1..].iter().for_each(|&p| script.free(p).unwrap());
    own.iter().for_each(|&p| script.free(p).unwrap());
    let said = script.heap.stats().unwrap().used_peak;
    assert!(said >= live, "{said} said, {live} live");
}

#[test]
fn a_consumer_does_not_make_the_producer_grow() {
    let (engine, producer) = shared(64 << 20, 4);
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(2);
    let slabs = |script: &Script| -> usize {
        script.heap.class_rows().unwrap().iter().map(|row| row.slabs).sum()
    };
    let done = Arc::new(Barrier::new(2));
    let mut early = 0;
    thread::scope(|scope| {
        let consumer_done = Arc::clone(&done);
        let engine = &engine;
        scope.spawn(move || {
            let consumer = Script::new(engine.attach().unwrap());
            for blocks in receive {
                blocks.into_iter().for_each(|p| consumer.free(p).unwrap());
                consumer.heap.flush_outbox().unwrap();
                consumer_done.wait();
            }
        });
        for round in 0..torture(60, 200) {
            send.send((0..3000).map(|_| producer.alloc(64).unwrap()).collect()).unwrap();
            done.wait();
            if round == 3 {
                early = slabs(&producer);
            }
        }
        assert!(slabs(&producer) <= early + 1, "{} slabs, {early} at first", slabs(&producer));
        drop(send);
    });
    assert_clean(&producer, 0);
}

#[test]
fn of_two_threads_that_free_one_block_one_succeeds() {
    let (engine, owner) = shared(4 << 20, 4);
    let rounds = torture(3000, 100_000);
    let block = AtomicUsize::new(0);
    let wins = AtomicUsize::new(0);
    let barrier = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let script = Script::new(engine.attach().unwrap());
                for _ in 0..rounds {
                    barrier.wait();
                    match script.free(block.load(Ordering::Acquire)) {
                        Ok(()) => drop(wins.fetch_add(1, Ordering::Relaxed)),
                        Err(stop) => assert_eq!(stop, Stop::Refused(HeapError::NotAllocated)),
                    }
                    barrier.wait();
                }
            });
        }
        for round in 0..rounds {
            let size = if round % 8 == 0 { 50_000 } else { 16 + round % 500 };
            block.store(owner.alloc(size).unwrap(), Ordering::Release);
            barrier.wait();
            barrier.wait();
            assert_eq!(wins.swap(0, Ordering::Relaxed), 1);
        }
    });
    assert_eq!(owner.heap.stats().unwrap().used, 0);
    assert_clean(&owner, 0);
}

/// What a worker that may die at any step had: only what it had finished counts.
fn work_until_killed(script: &Script, rng: &mut Prng, given: &Mutex<Vec<usize>>) {
    let mut own: Vec<usize> = Vec::new();
    loop {
        let stopped = match rng.below(10) {
            0..5 => script.alloc(16 + rng.below(600)).map(|p| own.push(p)),
            5..8 if !own.is_empty() => {
                let index = rng.below(own.len());
                // Whether it is freed at the end is not known if we die within.
                let p = own.swap_remove(index);
                script.free(p)
            }
            8 if !own.is_empty() => {
                let index = rng.below(own.len());
                held(given).push(own.swap_remove(index));
                Ok(())
            }
            _ => {
                let taken = held(given).pop();
                taken.map_or(Ok(()), |p| script.free(p))
            }
        };
        match stopped {
            Ok(()) => {}
            Err(Stop::Killed) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_is_lost_when_threads_die_at_any_step() {
    let seed = prng::seed(4);
    // What is live when its thread dies stays live: some 30 KiB a death.
    let (engine, survivor) = shared(torture(64, 512) << 20, 8);
    let given = Mutex::new(Vec::new());
    let deaths = torture(300, 3000);
    let left = AtomicUsize::new(deaths);
    thread::scope(|scope| {
        for worker in 0..3 {
            let (engine, given, left) = (&engine, &given, &left);
            scope.spawn(move || {
                let mut rng = Prng::new(seed + worker);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let script = Script::new(engine.attach().unwrap());
                    script.kill_after(rng.below(3000));
                    work_until_killed(&script, &mut rng, given);
                    let slot = script.abandon();
                    // The environment's hook, on a thread that knows nothing of the script.
                    assert!(!engine.detach(slot));
                }
            });
        }
    });
    assert_eq!(survivor.heap.stats().unwrap().threads, 1);
    // Whatever is live now, a survivor can free it: nothing is stuck in a dead thread's hands.
    let live = survivor.heap.live_blocks().unwrap();
    assert_clean(&survivor, live.len());
    for (p, _) in live {
        survivor.free(p).unwrap();
    }
    survivor.heap.trim().unwrap();
    let stats = survivor.heap.stats().unwrap();
    assert_eq!((stats.used, stats.cached, stats.committed), (0, 0, 0));
    assert_clean(&survivor, 0);
}

#[test]
fn checks_while_others_are_inside() {
    let seed = prng::seed(7);
    let (engine, script) = shared(16 << 20, 4);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..2 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let script = Script::new(engine.attach().unwrap());
                let mut rng = Prng::new(seed + worker);
                while !stop.load(Ordering::Relaxed) {
                    let size = if rng.chance(1, 2) { 33_000 } else { 1 + rng.below(2000) };
                    let p = script.alloc(size).unwrap();
                    let p = script.heap.realloc(p, 40_000).unwrap();
                    script.free(p).unwrap();
                }
            });
        }
        for _ in 0..torture(2000, 100_000) {
            if let Err(error) = script.heap.check() {
                stop.store(true, Ordering::Relaxed);
                panic!("{error:?}: {:?}", engine.poisoned_by());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_clean(&script, 0);
}

#[test]
fn a_thousand_threads_come_and_go() {
    let seed = prng::seed(6);
    let (engine, survivor) = shared(64 << 20, 5);
    let first = survivor.heap.stats().unwrap().largest_free;
    let given = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (engine, given) = (&engine, &given);
            scope.spawn(move || {
                let mut rng = Prng::new(seed + worker);
                for _ in 0..torture(50, 250) {
                    let script = Script::new(engine.attach().unwrap());
                    let blocks: Vec<_> = (0..rng.below(300))
                        .map(|_| script.alloc(1 + rng.below(9000)).unwrap())
                        .collect();
                    let (kept, handed) = blocks.split_at(blocks.len() / 2);
                    kept.iter().for_each(|&p| script.free(p).unwrap());
                    held(given).extend_from_slice(handed);
                    let others: Vec<_> = {
                        let mut given = held(given);
                        let half = given.len() / 2;
                        given.drain(..half).collect()
                    };
                    others.into_iter().for_each(|p| script.free(p).unwrap());
                }
            });
        }
    });
    held(&given).drain(..).for_each(|p| survivor.free(p).unwrap());
    survivor.heap.trim().unwrap();
    let stats = survivor.heap.stats().unwrap();
    assert_eq!((stats.used, stats.largest_free), (0, first));
    assert_clean(&survivor, 0);
}

#[test]
fn a_heap_has_no_more_threads_than_it_was_told() {
    let (engine, first) = shared(1 << 20, 3);
    let second = engine.attach().unwrap();
    let third = engine.attach().unwrap();
    assert_eq!(engine.attach().err(), Some(HeapError::Capacity { limit: 3 }));
    let slot = second.slot();
    drop(second);
    assert!(!engine.detach(slot), "it has let go already");
    let again = engine.attach().unwrap();
    assert_eq!(first.heap.stats().unwrap().threads, 3);
    drop((third, again));
}

#[test]
fn destroys_while_others_run() {
    for round in 0..torture(40, 500) as u64 {
        let (id, attachment) = registered(4 << 20, 8);
        let mut script = Script::new(attachment);
        script.share();
        let started = Barrier::new(4);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for worker in 0..3 {
                let (started, stop) = (&started, &stop);
                scope.spawn(move || {
                    let script = Script::new(registry::attach(id).unwrap());
                    let mut rng = Prng::new(round * 10 + worker);
                    started.wait();
                    while !stop.load(Ordering::Relaxed) && script.is_alive() {
                        match script.alloc(16 + rng.below(40_000)) {
                            Ok(p) => {
                                script.write(p, 16, 7);
                                let freed = script.free(p);
                                assert!(matches!(
                                    freed,
                                    Ok(()) | Err(Stop::Refused(HeapError::Closed))
                                ));
                            }
                            Err(stop) => {
                                let closed = HeapError::Closed;
                                let full =
                                    matches!(stop, Stop::Refused(HeapError::NoMemory { .. }));
                                assert!(full || stop == Stop::Refused(closed), "{stop:?}");
                            }
                        }
                    }
                    assert_eq!(script.heap.stats(), Err(HeapError::Closed));
                    assert_eq!(script.heap.alloc(16, 16), Err(HeapError::Closed));
                });
            }
            started.wait();
            script.heap.destroy();
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(script.heap.free(4096), Err(HeapError::Closed));
        assert_eq!(registry::attach(id).err(), Some(HeapError::Closed));
        assert!(registry::find(id).is_ok());
        drop(script);
        assert_eq!(registry::find(id).err(), Some(HeapError::Closed));
    }
}

#[test]
fn a_creator_may_leave_before_the_others() {
    let (id, attachment) = registered(4 << 20, 4);
    let mut creator = Script::new(attachment);
    creator.share();
    let blocks: Vec<_> = (0..500).map(|index| creator.alloc(16 + index).unwrap()).collect();
    let heir = Script::new(registry::attach(id).unwrap());
    let data = Arc::clone(heir.heap.engine().data());
    drop(creator);
    assert_clean(&heir, 500);
    blocks.into_iter().for_each(|p| heir.free(p).unwrap());
    let newcomer = Script::new(registry::attach(id).unwrap());
    assert_eq!(newcomer.heap.slot(), 0, "the slot of the creator is used again");
    let p = newcomer.alloc(64).unwrap();
    heir.free(p).unwrap();
    drop(newcomer);
    assert_clean(&heir, 0);
    drop(heir);
    assert_eq!(registry::attach(id).err(), Some(HeapError::Closed));
    assert_eq!(Arc::strong_count(&data), 1, "nobody but a buffer holds the memory");
}
