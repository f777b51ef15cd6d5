//! Pages that stop being private: the owner frees by plain stores, another thread frees the same block.

use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

use heapwright_heap::heap::{
    HeapError,
    geometry::{CLASS_MASK, MARKS, MODE_MASK, MODE_PUBLIC, PAGE_BYTES, STATE_DEAD},
};
use heapwright_testkit::{Prng, prng};

use crate::{
    heap_of,
    script::{Script, Stop},
    torture,
};

/// A block in each of the first pages of many classes, none of which another thread has freed in.
fn a_block_a_page(owner: &Script) -> Vec<usize> {
    let mut blocks = Vec::new();
    for size in [16, 48, 64, 112, 160, 256, 320, 512, 640, 1024, 1536, 2048] {
        let mut pages = std::collections::BTreeMap::new();
        while pages.len() < 8 {
            let p = owner.alloc(size).unwrap();
            pages.entry(p / PAGE_BYTES).or_insert(p);
        }
        blocks.extend(pages.into_values());
    }
    blocks
}

fn mode(owner: &Script, p: usize) -> i32 {
    let engine = owner.heap.engine();
    engine.meta().word(engine.geometry().page_map + p / PAGE_BYTES * 4) & MODE_MASK
}

#[test]
fn a_page_is_private_until_another_thread_frees_in_it() {
    let mut owner = Script::new(heap_of(8 << 20, 2));
    owner.share();
    let engine = std::sync::Arc::clone(owner.heap.engine());
    let other = Script::new(engine.attach().unwrap());
    let (p, q) = (owner.alloc(64).unwrap(), owner.alloc(64).unwrap());
    assert_eq!(mode(&owner, p), if heapwright_region::process_barrier() { 0 } else { MODE_PUBLIC });
    owner.free(p).unwrap();
    assert_eq!(other.free(p), Err(Stop::Refused(HeapError::NotAllocated)));
    assert_eq!(other.free(q), Ok(()));
    assert_eq!(mode(&owner, q), MODE_PUBLIC);
    assert_eq!(owner.free(q), Err(Stop::Refused(HeapError::NotAllocated)));
    assert_eq!(other.free(q), Err(Stop::Refused(HeapError::NotAllocated)));
    drop(other);
    assert_eq!(owner.heap.check(), Ok(0));
    // New pages of the class are public at once, those of other classes are not.
    let class =
        |p: usize| engine.meta().word(engine.geometry().page_map + p / PAGE_BYTES * 4) & CLASS_MASK;
    let later: Vec<_> = (0..2000).map(|_| owner.alloc(64).unwrap()).collect();
    let p = *later.last().unwrap();
    assert_eq!((class(p), mode(&owner, p)), (class(q), MODE_PUBLIC));
    let p = owner.alloc(1000).unwrap();
    assert_eq!(mode(&owner, p) == 0, heapwright_region::process_barrier());
}

#[test]
fn a_slab_is_not_taken_from_an_owner_in_the_middle_of_a_free() {
    if !heapwright_region::process_barrier() {
        return; // There are no private pages then.
    }
    let mut owner = Script::new(heap_of(8 << 20, 2));
    owner.share();
    let engine = std::sync::Arc::clone(owner.heap.engine());
    let thief = Script::new(engine.attach().unwrap());
    let blocks = owner.heap.alloc_many(64, 64).unwrap();
    owner.heap.free_many(&blocks).unwrap();
    // Its slab is empty, and its owner frees a block of it again: between the two looks.
    let p = blocks[10];
    assert_eq!(mode(&owner, p), 0);
    owner.set_hazard(p);
    let trimmed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            thief.heap.trim().unwrap();
            trimmed.store(1, Ordering::SeqCst);
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(trimmed.load(Ordering::SeqCst), 0, "the slab went from under its owner");
        owner.set_hazard(0);
    });
    assert_eq!(trimmed.load(Ordering::SeqCst), 1);
    drop(thief);
    assert_eq!(owner.heap.check(), Ok(0));
}

#[test]
fn one_of_two_frees_wins_while_the_page_becomes_public() {
    let mut rng = Prng::new(prng::seed(77));
    for _ in 0..torture(8, 300) {
        let mut owner = Script::new(heap_of(32 << 20, 2));
        owner.share();
        let engine = std::sync::Arc::clone(owner.heap.engine());
        let blocks = a_block_a_page(&owner);
        let kept = owner.heap.check().unwrap() - blocks.len();
        let delays: Vec<_> = blocks.iter().map(|_| rng.below(80) as i32 - 40).collect();
        let start = Barrier::new(2);
        let at = [AtomicUsize::new(0), AtomicUsize::new(0)];
        // Both threads go through the blocks side by side, one of them a little late.
        let race = |script: &Script, me: usize| -> Vec<bool> {
            start.wait();
            let mut won = Vec::new();
            for (index, (&p, &delay)) in blocks.iter().zip(&delays).enumerate() {
                at[me].store(index + 1, Ordering::SeqCst);
                while at[1 - me].load(Ordering::SeqCst) <= index {
                    std::hint::spin_loop();
                }
                let late = if me == 0 { delay } else { -delay };
                (0..late).for_each(|_| std::hint::spin_loop());
                match script.free(p) {
                    Ok(()) => won.push(true),
                    Err(Stop::Refused(HeapError::NotAllocated)) => won.push(false),
                    Err(other) => panic!("{other:?}"),
                }
            }
            won
        };
        let (mine, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| {
                let other = Script::new(engine.attach().unwrap());
                race(&other, 1)
            });
            (race(&owner, 0), theirs.join().unwrap())
        });
        for ((p, mine), theirs) in blocks.iter().zip(mine).zip(theirs) {
            assert_ne!(mine, theirs, "{p:#x} was freed {}", if mine { "twice" } else { "never" });
        }
        assert_eq!(owner.heap.check(), Ok(kept), "{:?}", engine.poisoned_by());
    }
}

/// An owner that allocates and frees, and two threads that free whatever they see of it, at any time: each
/// block is freed once. `others` threads are attached and do nothing. `between` is called before the owner's free of block `index` of `round`, and after the last.
fn is_robbed(
    seed: u64,
    others: usize,
    rounds: usize,
    count: usize,
    size: impl Fn(&mut Prng) -> usize,
    between: impl Fn(&Script, usize, usize, usize),
) {
    let mut owner = Script::new(heap_of(8 << 20, 3 + others));
    owner.share();
    let engine = std::sync::Arc::clone(owner.heap.engine());
    let others: Vec<_> = (0..others).map(|_| engine.attach().unwrap()).collect();
    // What the owner has live, and stale addresses.
    let shown: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    let stolen = AtomicUsize::new(0);
    let stop = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thief in 0..2 {
            let (engine, shown, stolen, stop) = (&engine, &shown, &stolen, &stop);
            scope.spawn(move || {
                let mut rng = Prng::new(seed + thief);
                let script = Script::new(engine.attach().unwrap());
                while stop.load(Ordering::Relaxed) == 0 {
                    let p = shown[rng.below(shown.len())].load(Ordering::Relaxed);
                    if p != 0 && script.free(p).is_ok() {
                        stolen.fetch_add(1, Ordering::Relaxed);
                    }
                    (0..rng.below(100)).for_each(|_| std::hint::spin_loop());
                }
            });
        }
        let mut rng = Prng::new(seed + 9);
        let (mut freed, mut made) = (0, 0);
        for round in 0..rounds {
            let size = size(&mut rng);
            for place in &shown {
                place.store(owner.alloc(size).unwrap(), Ordering::Relaxed);
                made += 1;
            }
            for (index, place) in shown.iter().enumerate() {
                between(&owner, round, index, size);
                freed += usize::from(owner.free(place.load(Ordering::Relaxed)).is_ok());
            }
            between(&owner, round, count, size);
        }
        stop.store(1, Ordering::Relaxed);
        while engine.poisoned_by().is_none()
            && owner.heap.stats().unwrap().threads > 1 + others.len()
        {
            std::thread::yield_now();
        }
        assert_eq!(freed + stolen.load(Ordering::Relaxed), made, "{:?}", engine.poisoned_by());
    });
    drop(others);
    assert_eq!(owner.heap.check(), Ok(0), "{:?}", engine.poisoned_by());
}

#[test]
fn a_block_is_freed_once_while_its_slab_comes_and_goes() {
    let size = |rng: &mut Prng| 16 << rng.below(8);
    is_robbed(prng::seed(78), 0, torture(300, 20_000), 64, size, |owner, round, index, _| {
        if round % 4 == 0 && index == 64 {
            // Empty slabs go, and their pages come back as another class.
            owner.heap.trim().unwrap();
        }
    });
}

#[test]
fn pages_are_private_again_when_others_leave_them_alone() {
    if !heapwright_region::process_barrier() {
        return; // There are no private pages then.
    }
    let mut owner = Script::new(heap_of(8 << 20, 2));
    owner.share();
    let engine = std::sync::Arc::clone(owner.heap.engine());
    let other = Script::new(engine.attach().unwrap());
    let blocks: Vec<_> = (0..1000).map(|_| owner.alloc(64).unwrap()).collect();
    let word = |p: usize| engine.meta().word(engine.geometry().page_map + p / PAGE_BYTES * 4);
    let class = owner.class_of(64);
    // What another thread frees makes the pages around it public, those of other classes too; new ones of
    // other classes are not.
    let around = owner.alloc(512).unwrap();
    other.free(blocks[0]).unwrap();
    let before = word(blocks[1]);
    assert_eq!((mode(&owner, blocks[1]), mode(&owner, blocks[999])), (MODE_PUBLIC, MODE_PUBLIC));
    assert_eq!(mode(&owner, around), MODE_PUBLIC);
    let apart = owner.alloc(1024).unwrap();
    assert_eq!(mode(&owner, apart), 0);
    // Once is not enough of a silence.
    (0..3).for_each(|_| owner.heap.settle(class).unwrap());
    assert_eq!(mode(&owner, blocks[1]), MODE_PUBLIC);
    owner.heap.settle(class).unwrap();
    assert_eq!((mode(&owner, blocks[1]), mode(&owner, blocks[999])), (0, 0));
    assert_eq!(mode(&owner, around), MODE_PUBLIC, "each class for itself");
    // Pages that come later, too; and a second time takes longer, as this one was not worth it.
    let later: Vec<_> = (0..1000).map(|_| owner.alloc(64).unwrap()).collect();
    assert_eq!(mode(&owner, later[999]), 0);
    other.free(blocks[1]).unwrap();
    assert_eq!(mode(&owner, blocks[1]), MODE_PUBLIC);
    assert_ne!(word(blocks[1]), before, "who saw it public before must be able to tell");
    (0..7).for_each(|_| owner.heap.settle(class).unwrap());
    assert_eq!(mode(&owner, blocks[1]), MODE_PUBLIC);
    owner.heap.settle(class).unwrap();
    assert_eq!(mode(&owner, blocks[1]), 0);
    for bad in [0, 73, 127, usize::MAX] {
        assert_eq!(owner.heap.settle(bad), Err(HeapError::InvalidParam));
    }
    blocks[2..].iter().chain(&later).for_each(|&p| owner.free(p).unwrap());
    [around, apart].into_iter().for_each(|p| owner.free(p).unwrap());
    drop(other);
    assert_eq!(owner.heap.check(), Ok(0));
}

#[test]
fn one_of_two_frees_wins_while_pages_become_public_and_private_in_turn() {
    let size = |rng: &mut Prng| 64 << rng.below(3);
    // With marks of their own, and with one of them without.
    for others in [0, MARKS - 2] {
        is_robbed(
            prng::seed(79),
            others,
            torture(200, 10_000),
            256,
            size,
            |owner, _, index, size| {
                if index % 32 == 0 {
                    owner.heap.make_private(owner.class_of(size)).unwrap();
                }
            },
        );
    }
}

#[test]
fn a_claim_on_the_strength_of_a_public_word_is_taken_back_on_a_private_page() {
    if !heapwright_region::process_barrier() {
        return;
    }
    let mut owner = Script::new(heap_of(8 << 20, 2));
    owner.share();
    let engine = std::sync::Arc::clone(owner.heap.engine());
    let blocks: Vec<_> = (0..10).map(|_| owner.alloc(64).unwrap()).collect();
    let p = blocks[1];
    let word = || engine.meta().word(engine.geometry().page_map + p / PAGE_BYTES * 4);
    let (public, named) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            let other = Script::new(engine.attach().unwrap());
            other.free(blocks[0]).unwrap();
            let seen = word().cast_unsigned() as usize;
            public.wait();
            named.wait();
            other.free_late(p, seen, || ())
        });
        public.wait();
        assert_eq!(mode(&owner, p), MODE_PUBLIC);
        owner.heap.make_private(owner.class_of(64)).unwrap();
        // The owner has named the block and found it live …
        owner.set_hazard(p);
        named.wait();
        std::thread::sleep(std::time::Duration::from_millis(100));
        // … and only now it is dead.
        let state = engine.geometry().state_bytes + p / 16;
        engine.meta().set_byte(state, STATE_DEAD);
        owner.set_hazard(0);
        let refused = Err(Stop::Refused(HeapError::NotAllocated));
        assert_eq!(late.join().unwrap(), refused, "two frees of one block");
    });
}
