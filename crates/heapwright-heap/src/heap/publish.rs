//! Private and public pages: who may change the state of a block by a plain store.
//!
//! Nearly all blocks are freed by the thread whose slab they are in, and an atomic costs JavaScript as much as
//! all the rest of a free. So a page of a shared heap starts *private*: its owner frees by a plain load and a
//! plain store of the state byte. The first free by another thread makes the page *public*, for as long as
//! its slab lives; there every free, the owner's too, is a compare-exchange, and exactly one of two wins.
//!
//! ```text
//! owner, on a private page            another thread, once for a page
//!   HAZARD = granule                    word: private -> closing
//!   word is private?                    barrier on every thread
//!   state: live? -> dead                HAZARD of the owner on this page? wait
//!   push                                word: closing -> public
//!   HAZARD = 0                          now it may compare-exchange
//! ```
//!
//! The owner's store to HAZARD and its load of the word are not fenced; the barrier of the other side, a
//! system call that runs on every processor, stands for both fences. So either the owner sees that the page is
//! not private any more, or the other thread sees the hazard and waits for the few instructions that are
//! left. Whoever changes a state by compare-exchange looks at the word again afterwards: is it another one,
//! the slab is another too, and the change is taken back, by compare-exchange, as its owner may have stored
//! meanwhile. That goes for Rust on a thread's own pages too, where it names no hazard.
//!
//! A thread that is short of memory takes empty slabs from others. Their pages go back only after the same
//! wait: an owner that frees a block twice may be between its look at the word and its look at the state.
//!
//! Classes of an owner of which one page became public get public pages from then on: a program that hands
//! blocks from thread to thread does so all the time. Where the system has no such barrier, every page is
//! public.

use super::{
    HeapEngine,
    geometry::{
        CLASS_LARGE, CLASS_MASK, MODE_CLOSING, MODE_MASK, MODE_PUBLIC, OWNER_SHIFT, PAGE_SHIFT,
    },
    lock,
};

/// The class number in a page map word.
pub(super) fn class_of(word: i32) -> usize {
    (word & CLASS_MASK).cast_unsigned() as usize
}

/// The owner's slot in a page map word.
pub(super) fn owner_of(word: i32) -> usize {
    (word >> OWNER_SHIFT).cast_unsigned() as usize
}

impl HeapEngine {
    /// Turns `p`, a place of a block, from live to dead on behalf of `slot`; `false` where it is not live.
    /// Of several callers one wins.
    pub(super) fn claim(&self, p: usize, slot: usize) -> bool {
        if !self.is_shared() {
            return self.state.claim(&self.meta, p);
        }
        loop {
            if let Some(won) = self.claim_seen(p, self.pages.word(p), slot) {
                return won;
            }
        }
    }

    /// [`claim`](Self::claim) in a shared heap, by a thread that has seen `word` in the page map: `None` where
    /// another is there by now, and nothing has changed.
    fn claim_seen(&self, p: usize, word: i32, slot: usize) -> Option<bool> {
        if class_of(word) == 0 {
            return Some(false);
        }
        // A run of pages has no private mode, and its own thread's plain stores are this thread's.
        let own = class_of(word) == CLASS_LARGE || owner_of(word) == slot;
        if !own && word & MODE_MASK != MODE_PUBLIC {
            self.publish(p, word);
            return None;
        }
        if !self.state.claim_for_outbox(&self.meta, p) {
            return Some(false);
        }
        if self.pages.word(p) == word {
            return Some(self.state.claim_from_outbox(&self.meta, p));
        }
        if self.state.give_up_outbox(&self.meta, p) { None } else { Some(false) }
    }

    /// Makes the page of `p` public, of which `word` was the word. Where it is another one by now, nothing
    /// may have happened: the caller looks again.
    pub(super) fn publish(&self, p: usize, word: i32) {
        let _one = lock(&self.publishing);
        // Closing: who was here before us did not finish, which only a panic explains.
        let private = word & !MODE_MASK;
        let closing = private | MODE_CLOSING;
        if !self.pages.exchange(p, private, closing) && self.pages.word(p) != closing {
            return;
        }
        let owner = owner_of(word);
        self.pages.share_class(class_of(word), owner);
        let page = p >> PAGE_SHIFT;
        self.pages.await_owner(owner, page..page + 1);
        self.pages.exchange(p, closing, private | MODE_PUBLIC);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::heap::{
        Attachment, Geometry, Mapping,
        geometry::{GRANULE_SHIFT, HAZARD, STATE_DEAD, STATE_LIVE},
    };

    /// A shared heap of 1 MiB that two threads have.
    fn two_threads() -> (Attachment, Attachment) {
        let geometry = Geometry::new(1 << 20, 2).unwrap();
        let map = |length| Arc::new(Mapping::map(length).unwrap());
        let (data, meta) = (map(geometry.size), map(geometry.meta_size));
        let engine = Arc::new(HeapEngine::over(geometry, data, meta).unwrap());
        let first = engine.attach().unwrap();
        first.share().unwrap();
        (first, engine.attach().unwrap())
    }

    /// A wrong program frees a dead block of `late`'s by way of Rust, and is stopped between its look at the page
    /// map and its claim. Meanwhile the page goes to another thread, which is in the middle of freeing
    /// its own block there.
    fn claims_late(size: usize) {
        let (late, other) = two_threads();
        let engine = Arc::clone(late.engine());
        let p = late.alloc(size, 16).unwrap();
        let seen = engine.pages.word(p);
        late.free(p).unwrap();
        late.trim().unwrap();
        let mut blocks = vec![other.alloc(64, 16).unwrap()];
        while blocks.last() != Some(&p) {
            blocks.push(other.alloc(64, 16).unwrap());
        }
        assert!(engine.pages.word(p) & MODE_MASK != MODE_PUBLIC);

        // As `free` of `src/magazine.ts`: named, looked at, …
        let granule = i32::try_from(p >> GRANULE_SHIFT).unwrap();
        let hazard = engine.geometry.area(other.slot(), true) + HAZARD * 4;
        engine.meta.set_word(hazard, granule);
        assert_eq!(engine.state.get(&engine.meta, p), STATE_LIVE);
        assert_eq!(engine.claim_seen(p, seen, late.slot()), None, "two frees of one block");
        // … and dead.
        assert_eq!(engine.state.get(&engine.meta, p), STATE_LIVE);
        engine.state.set_dead(&engine.meta, &[p]);
        engine.meta.set_word(hazard, 0);
        assert!(!engine.claim(p, late.slot()));
        assert_eq!(engine.state.get(&engine.meta, p), STATE_DEAD);
    }

    #[test]
    fn a_late_claim_of_an_own_block_is_no_claim_of_anothers() {
        claims_late(64);
    }

    #[test]
    fn nor_is_one_of_a_run_of_pages() {
        claims_late(1 << 16);
    }
}
