//! A wrong program frees a block late, from what it read of the page map before the slab went to a
//! thread that dies in the middle of that free: the free succeeds once, and the heap lives on.

use std::sync::Arc;

use heapwright_heap::heap::{
    HeapError,
    geometry::{GRANULE_BYTES, MODE_MASK, MODE_PUBLIC, PAGE_BYTES, STATE_DEAD, STATE_LIVE},
};

use crate::{
    heap_of,
    script::{Script, Stop},
};

/// Who takes the dead thread's slabs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heir {
    /// The thread in the middle of its free.
    Itself,
    /// Another one.
    Another,
}

/// Frees a block of a dying thread, whose page says `owner` owned it when the freer last looked.
fn frees_late(heir: Heir, owner: impl Fn(&Script, &Script) -> usize) {
    let mut first = Script::new(heap_of(4 << 20, 4));
    first.share();
    let engine = Arc::clone(first.heap.engine());
    let second = Script::new(engine.attach().unwrap());
    // The thread that attached first inherits.
    let (late, other) = match heir {
        Heir::Itself => (&first, &second),
        Heir::Another => (&second, &first),
    };
    let dying = Script::new(engine.attach().unwrap());
    let blocks: Vec<_> = (0..20).map(|_| dying.alloc(64).unwrap()).collect();
    // In its magazines, and never anybody else's.
    blocks[10..].iter().for_each(|&p| dying.free(p).unwrap());
    let slot = dying.abandon();
    for &p in &blocks[..10] {
        let freed = late
            .free_late(p, owner(late, other), || assert!(p != blocks[4] || !engine.detach(slot)));
        assert_eq!(freed, Ok(()), "{heir:?}: {:?}", engine.poisoned_by());
        for script in [late, other] {
            assert_eq!(script.free(p), Err(Stop::Refused(HeapError::NotAllocated)));
        }
    }
    // Nothing is handed out twice, nothing is missing.
    let mut again: Vec<_> = (0..3000).map(|_| late.alloc(64).unwrap()).collect();
    again.extend((0..3000).map(|_| other.alloc(64).unwrap()));
    again.sort_unstable();
    again.dedup();
    assert_eq!(again.len(), 6000);
    assert_eq!(late.heap.check(), Ok(6000), "{:?}", engine.poisoned_by());
    again.into_iter().for_each(|p| late.free(p).unwrap());
    match heir {
        Heir::Itself => drop(second),
        Heir::Another => drop(first),
    }
}

#[test]
fn of_a_block_that_was_the_freers_own() {
    for heir in [Heir::Itself, Heir::Another] {
        frees_late(heir, |late, _| late.own_word(64));
    }
}

#[test]
fn of_a_block_that_was_anothers() {
    for heir in [Heir::Itself, Heir::Another] {
        frees_late(heir, |_, other| other.own_word(64));
    }
}

/// Sets the state of `p` as its owner's plain store does, whose look at it was before.
fn store(script: &Script, p: usize, state: u8) {
    let engine = script.heap.engine();
    engine.meta().set_byte(engine.geometry().state_bytes + p / GRANULE_BYTES, state);
}

/// The block was live when it was claimed, but its dying owner was about to free it by a plain store. The page is
/// the freer's by the time of its second look, and looks as it did at first; the block is in no hands any more.
#[test]
fn of_a_block_that_its_owner_freed_before_it_died() {
    let mut late = Script::new(heap_of(4 << 20, 2));
    late.share();
    let engine = Arc::clone(late.heap.engine());
    let dying = Script::new(engine.attach().unwrap());
    let blocks: Vec<_> = (0..20).map(|_| dying.alloc(64).unwrap()).collect();
    let p = blocks[4];
    let slot = dying.abandon();
    let freed = late.free_late(p, late.own_word(64), || {
        store(&late, p, STATE_DEAD);
        assert!(!engine.detach(slot));
    });
    assert_eq!(freed, Err(Stop::Refused(HeapError::NotAllocated)));
    let again: Vec<_> = (0..3000).map(|_| late.alloc(64).unwrap()).collect();
    assert_eq!(late.heap.check(), Ok(3019), "{:?}", engine.poisoned_by());
    again.into_iter().for_each(|p| late.free(p).unwrap());
}

/// Between the claim and the second look the owner's plain store frees the block, it is handed out once more, and
/// a third thread frees it: that free is the third thread's, whatever the late one does then.
#[test]
fn of_a_block_that_another_frees_meanwhile() {
    if !heapwright_region::process_barrier() {
        return; // There are no plain stores then.
    }
    let mut owner = Script::new(heap_of(4 << 20, 3));
    owner.share();
    let engine = Arc::clone(owner.heap.engine());
    let [late, other] = [(); 2].map(|()| Script::new(engine.attach().unwrap()));
    let blocks: Vec<_> = (0..20).map(|_| owner.alloc(64).unwrap()).collect();
    let p = blocks[4];
    let word = || engine.meta().word(engine.geometry().page_map + p / PAGE_BYTES * 4);
    other.free(blocks[0]).unwrap();
    let seen = word().cast_unsigned() as usize;
    assert_eq!(word() & MODE_MASK, MODE_PUBLIC);
    owner.heap.make_private(owner.class_of(64)).unwrap();
    assert_eq!(word() & MODE_MASK, 0);
    let freed = late.free_late(p, seen, || {
        store(&owner, p, STATE_DEAD);
        store(&owner, p, STATE_LIVE);
        // By Rust, which makes the page public, and by the fast path.
        other.free(blocks[1]).unwrap();
        other.free(p).unwrap();
    });
    let refused = Err(Stop::Refused(HeapError::NotAllocated));
    assert_eq!(freed, refused);
    for script in [&owner, &late, &other] {
        assert_eq!(script.free(p), refused);
    }
    drop((late, other));
    assert_eq!(owner.heap.check(), Ok(17), "{:?}", engine.poisoned_by());
}
