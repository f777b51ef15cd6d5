//! A wrong program frees a block late, from what it read of the page map before the slab went to a
//! thread that dies in the middle of that free: the free succeeds once, and the heap lives on.

use std::sync::Arc;

use heapwright_heap::heap::HeapError;

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
