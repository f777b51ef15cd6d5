//! Private and public pages: who may change the state of a block by a plain store.
//!
//! Nearly all blocks are freed by the thread whose slab they are in, and an atomic costs JavaScript as much as
//! all the rest of a free. So a page of a shared heap starts *private*: its owner frees by a plain load and a
//! plain store of the state byte. The first free by another thread makes the page *public*; there every
//! free, the owner's too, is a compare-exchange, and exactly one of two wins.
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
//! meanwhile. Then the block may even have been handed out and freed again: what is taken back is the mark of the
//! claiming thread (`mark_of`), so it is never the claim of another. And is it the same word, the claim stands only if
//! the mark still does. That goes for Rust on a thread's own pages too, where it names no hazard.
//!
//! A thread that is short of memory takes empty slabs from others, and who lets go gives those back that
//! another has just become the owner of. Their pages go back only after the same wait: an owner that frees a
//! block twice may be between its look at the word and its look at the state.
//!
//! Classes of an owner of which one page became public get public pages from then on: a program that hands
//! blocks from thread to thread may do so all the time. It may also do so once in a while, and then an owner
//! would pay an atomic for each of its own blocks for ever. So an owner that has freed many of its own blocks on
//! public pages, while others left the class alone, makes all pages of that class *private again*
//! ([`Attachment::settle`]): it sets their words, fences, and frees by plain stores from then on. Who claims a
//! block on the strength of what the word was before looks at it again, sees another one, and takes the claim
//! back; the generation in the word makes it another one even when the page is public again by then.
//!
//! Where the system has no such barrier, every page is public for ever. That the second look is not done
//! before the exchange is the processor's promise on x86-64, the only one that this is built for.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::{
    Attachment, HeapEngine, HeapResult,
    geometry::{
        CLASS_LARGE, CLASS_MASK, CLASSES_MAX, MARKS, MODE_CLOSING, MODE_MASK, MODE_PUBLIC,
        OWNER_MASK, OWNER_SHIFT, PAGE_SHIFT, QUIET_FREES,
    },
    lock,
};

/// The class number in a page map word.
pub(super) fn class_of(word: i32) -> usize {
    (word & CLASS_MASK).cast_unsigned() as usize
}

/// The owner's slot in a page map word.
pub(super) fn owner_of(word: i32) -> usize {
    ((word & OWNER_MASK) >> OWNER_SHIFT).cast_unsigned() as usize
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
        // Who has no mark of its own has the mark of its kind to itself from the claim to the second look.
        let _one = (slot >= MARKS).then(|| lock(&self.crowd));
        if !self.state.mark(&self.meta, p, slot) {
            return Some(false);
        }
        self.confirm(p, word, slot)
    }

    /// The second half of [`claim_seen`](Self::claim_seen), for who has claimed `p`.
    fn confirm(&self, p: usize, word: i32, slot: usize) -> Option<bool> {
        if self.pages.word(p) == word {
            return Some(self.state.take(&self.meta, p, slot));
        }
        if self.state.give_up(&self.meta, p, slot) { None } else { Some(false) }
    }

    /// Makes the page of `p` public, of which `word` was the word, and with it the pages of the same owner
    /// around it: one barrier does for all of them, and what it costs is the interrupt of a processor. Where it
    /// is another word by now, nothing may have happened: the caller looks again.
    pub(super) fn publish(&self, p: usize, word: i32) {
        let _one = lock(&self.publishing);
        // Closing: who was here before us did not finish, which only a panic explains.
        let private = word & !MODE_MASK;
        if self.pages.word(p) & !MODE_CLOSING != private {
            return;
        }
        let (class, owner) = (class_of(word), owner_of(word));
        self.pages.share_class(class, owner);
        let page = p >> PAGE_SHIFT;
        let first = page - page % WINDOW;
        let window = first..(first + WINDOW).min(self.geometry.size >> PAGE_SHIFT);
        let alike = |word: i32| {
            let small = (1..CLASS_LARGE).contains(&class_of(word));
            small && word & MODE_MASK != MODE_PUBLIC && owner_of(word) == owner
        };
        let mut closing = [0; WINDOW];
        for (page, was) in window.clone().zip(&mut closing) {
            let word = self.pages.word(page << PAGE_SHIFT);
            let private = word & !MODE_MASK;
            if alike(word)
                && (word != private
                    || self.pages.exchange(page << PAGE_SHIFT, word, private | MODE_CLOSING))
            {
                *was = private;
            }
        }
        self.pages.await_owner(owner, window.clone());
        for (page, private) in window.zip(closing) {
            if private != 0 {
                let closing = private | MODE_CLOSING;
                self.pages.exchange(page << PAGE_SHIFT, closing, private | MODE_PUBLIC);
            }
        }
        self.threads[owner].quiet.published(class, self.pops_of(owner));
    }

    /// Blocks that `slot` has popped from its stacks.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn pops_of(&self, slot: usize) -> u64 {
        self.magazines(slot).all_allocs() as u64
    }
}

impl Attachment {
    /// Tells that this thread has freed [`QUIET_FREES`] blocks of its own, the last of class number `class`, on
    /// public pages. Once others have left that class alone for long enough, its pages are private again.
    /// Advice: whether anything was done does not matter.
    ///
    /// # Time Complexity
    ///
    /// Constant most of the time; linear in the pages in use once in a while, for as many frees before.
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`](super::HeapError::InvalidParam) for a number that is no class; closed,
    /// poisoned.
    pub fn settle(&self, class: usize) -> HeapResult {
        let engine = self.enter()?;
        engine.class(class)?;
        let quiet = &engine.threads[self.slot()].quiet;
        let pages = engine.pages.residency.touched_bytes() >> PAGE_SHIFT;
        if engine.is_shared() && quiet.is_due(class, pages) {
            self.make_private(class)?;
        }
        Ok(())
    }

    /// Makes the pages of this thread's slabs of class number `class` private, where the system has the barrier
    /// that this needs.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    #[doc(hidden)]
    pub fn make_private(&self, class: usize) -> HeapResult {
        let engine = self.open()?;
        engine.class(class)?;
        if engine.is_shared() && engine.pages.has_barrier() {
            let _one = lock(&engine.publishing);
            engine.pages.make_private(class, self.slot());
            let pops = engine.pops_of(self.slot());
            engine.threads[self.slot()].quiet.made_private(class, pops);
        }
        Ok(())
    }
}

/// Pages that become public together: those of 2 MiB.
const WINDOW: usize = 512;

/// How long other threads must leave a class alone before its pages are made private, in calls of
/// [`Attachment::settle`]; at first, and at most.
const PATIENCE: u16 = 4;
const PATIENCE_MAX: u16 = 1 << 12;

/// So many pops of a thread between two changes of the mode are worth their cost: a barrier, and two looks at
/// the pages.
const WORTH_POPS: u64 = 1 << 14;

/// A page is looked at in the time that this part of an atomic free takes.
const PAGES_PER_FREE: usize = 4;

/// What one thread knows of the public pages of its classes, by class number.
#[derive(Debug)]
pub(super) struct Quiet {
    /// Calls of `settle` since a page became public.
    calls: [AtomicU16; CLASSES_MAX],
    /// Calls to wait for.
    patience: [AtomicU16; CLASSES_MAX],
    /// The thread's pops when its pages were made private; 0 when they were not.
    since: [AtomicU64; CLASSES_MAX],
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            calls: [const { AtomicU16::new(0) }; CLASSES_MAX],
            patience: [const { AtomicU16::new(PATIENCE) }; CLASSES_MAX],
            since: [const { AtomicU64::new(0) }; CLASSES_MAX],
        }
    }
}

impl Quiet {
    /// Another thread has the slot now, and counts its pops from 0.
    pub(super) fn reset(&self) {
        self.calls.iter().for_each(|calls| calls.store(0, Ordering::Relaxed));
        self.patience.iter().for_each(|patience| patience.store(PATIENCE, Ordering::Relaxed));
        self.since.iter().for_each(|since| since.store(0, Ordering::Relaxed));
    }

    /// A call of `settle`, while `pages` pages are in use: whether to make the pages private now.
    fn is_due(&self, class: usize, pages: usize) -> bool {
        let calls = self.calls[class].load(Ordering::Relaxed).saturating_add(1);
        self.calls[class].store(calls, Ordering::Relaxed);
        calls >= self.patience[class].load(Ordering::Relaxed)
            && usize::from(calls) * QUIET_FREES * PAGES_PER_FREE >= pages
    }

    /// The pages of `class` are private, after `pops` pops of their owner.
    fn made_private(&self, class: usize, pops: u64) {
        self.calls[class].store(0, Ordering::Relaxed);
        self.since[class].store(pops.max(1), Ordering::Relaxed);
    }

    /// A page of `class` has become public, and pages of other classes with it, after `pops` pops of their
    /// owner: waits longer the next time if this one was not worth it.
    fn published(&self, class: usize, pops: u64) {
        let since = self.since[class].load(Ordering::Relaxed);
        if since != 0 {
            let patience = self.patience[class].load(Ordering::Relaxed);
            let worth = pops.saturating_sub(since) >= WORTH_POPS;
            let next = if worth { patience / 2 } else { patience.saturating_mul(2) };
            self.patience[class].store(next.clamp(PATIENCE, PATIENCE_MAX), Ordering::Relaxed);
        }
        self.calls.iter().for_each(|calls| calls.store(0, Ordering::Relaxed));
        self.since.iter().for_each(|since| since.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize},
        },
        thread,
        time::Duration,
    };

    use heapwright_two_level::{CpuId, SizeClass, SlabObserver};

    use super::*;
    use crate::heap::{
        Attachment, Geometry, Mapping,
        geometry::{GENERATION_SHIFT, GRANULE_SHIFT, HAZARD, STATE_DEAD, STATE_LIVE},
        page_map::PageMap,
    };

    /// A heap of 1 MiB that two threads may have.
    fn engine() -> HeapEngine {
        let geometry = Geometry::new(1 << 20, 3).unwrap();
        let map = |length| Arc::new(Mapping::map(length).unwrap());
        let (data, meta) = (map(geometry.size), map(geometry.meta_size));
        HeapEngine::over(geometry, data, meta).unwrap()
    }

    /// A shared heap of 1 MiB that two threads have.
    fn two_threads() -> (Attachment, Attachment) {
        attach_two(&Arc::new(engine()))
    }

    fn attach_two(engine: &Arc<HeapEngine>) -> (Attachment, Attachment) {
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

    /// A thread of a wrong program is stopped between its claim by way of Rust and its second look. Meanwhile the
    /// owner's plain store frees the block, it is handed out once more, and `other` frees it by the fast path.
    #[test]
    fn a_late_claim_takes_nobody_elses_back() {
        let engine = Arc::new(engine());
        let (owner, other) = attach_two(&engine);
        let late = engine.attach().unwrap();
        let [p, q] = [(); 2].map(|()| owner.alloc(64, 16).unwrap());
        other.free(q).unwrap();
        let seen = engine.pages.word(p);
        assert_eq!(seen & MODE_MASK, MODE_PUBLIC);
        assert!(engine.state.mark(&engine.meta, p, late.slot()));
        engine.state.set_dead(&engine.meta, &[p]);
        engine.state.set_live(&engine.meta, p);
        assert!(engine.state.mark(&engine.meta, p, other.slot()));
        engine.pages.exchange(p, seen, seen ^ (1 << GENERATION_SHIFT));
        assert_eq!(engine.confirm(p, seen, late.slot()), Some(false));
        assert!(!engine.claim(p, late.slot()), "two frees of one block");
    }

    /// A mark of many is that of one at a time.
    #[test]
    fn who_has_no_mark_of_its_own_waits_for_its_likes() {
        let (owner, other) = two_threads();
        let engine = Arc::clone(owner.engine());
        let [p, q] = [(); 2].map(|()| owner.alloc(64, 16).unwrap());
        other.free(q).unwrap();
        let claimed = AtomicBool::new(false);
        let claiming = lock(&engine.crowd);
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(engine.claim(p, MARKS + 1));
                claimed.store(true, Ordering::SeqCst);
            });
            thread::sleep(Duration::from_millis(50));
            assert!(!claimed.load(Ordering::SeqCst), "claimed while another did");
            assert!(engine.state.is_live(&engine.meta, p));
            drop(claiming);
        });
        assert!(claimed.load(Ordering::SeqCst));
        assert_eq!(engine.state.get(&engine.meta, p), STATE_DEAD);
    }

    /// The page map, and an heir that turns every page private as soon as it is the heir's. Whenever a page
    /// of these goes, the heir is in the middle of freeing a block there.
    #[derive(Debug)]
    struct HastyHeir {
        pages: Arc<PageMap>,
        meta: Arc<Mapping>,
        hazard: usize,
        adopting: AtomicBool,
        removed: AtomicUsize,
        /// Slabs that were gone before the heir was done.
        too_soon: AtomicUsize,
    }

    impl SlabObserver for HastyHeir {
        fn slab_added(&self, base: usize, pages: usize, class: SizeClass, owner: CpuId) {
            self.pages.slab_added(base, pages, class, owner);
        }

        fn slab_removed(&self, base: usize, pages: usize) {
            let private = self.pages.word(base) & MODE_MASK == 0;
            if !private || !self.adopting.load(Ordering::Relaxed) {
                return self.pages.slab_removed(base, pages);
            }
            self.removed.fetch_add(1, Ordering::Relaxed);
            self.meta.set_word(self.hazard, i32::try_from(base >> GRANULE_SHIFT).unwrap());
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(50));
                    self.meta.set_word(self.hazard, 0);
                });
                self.pages.slab_removed(base, pages);
                let named = self.meta.word(self.hazard) != 0;
                self.too_soon.fetch_add(usize::from(named), Ordering::Relaxed);
            });
        }

        fn owner_changed(&self, base: usize, pages: usize, owner: CpuId) {
            self.adopting.store(true, Ordering::Relaxed);
            self.pages.owner_changed(base, pages, owner);
            self.pages.make_private(class_of(self.pages.word(base)), owner.index());
        }
    }

    /// Who adopts a dead thread's slabs for another gives empty ones back, while the other runs.
    #[test]
    fn an_adopted_slab_stays_until_its_heir_has_looked() {
        if !heapwright_region::process_barrier() {
            return;
        }
        let mut engine = engine();
        let observer = Arc::new(HastyHeir {
            pages: Arc::clone(&engine.pages),
            meta: Arc::clone(&engine.meta),
            hazard: engine.geometry.area(0, true) + HAZARD * 4,
            adopting: AtomicBool::new(false),
            removed: AtomicUsize::new(0),
            too_soon: AtomicUsize::new(0),
        });
        engine.global.set_observer(Arc::clone(&observer) as Arc<_>);
        let (heir, gone) = attach_two(&Arc::new(engine));
        assert_eq!(heir.slot(), 0);
        let blocks: Vec<_> = (0..1000).map(|_| gone.alloc(64, 16).unwrap()).collect();
        for p in blocks {
            heir.free(p).unwrap();
        }
        drop(gone);
        assert!(observer.removed.load(Ordering::Relaxed) > 0, "nothing was given back");
        assert_eq!(observer.too_soon.load(Ordering::Relaxed), 0);
        assert_eq!(heir.check(), Ok(0));
    }

    #[test]
    fn a_thread_does_not_inherit_the_patience_of_its_slot() {
        if !heapwright_region::process_barrier() {
            return;
        }
        let (first, other) = two_threads();
        let engine = Arc::clone(first.engine());
        let class = 4;
        for _ in 0..3 {
            let p = other.alloc(64, 16).unwrap();
            first.free(p).unwrap();
            assert_eq!(class_of(engine.pages.word(p)), class);
            other.make_private(class).unwrap();
        }
        let slot = other.slot();
        let patience =
            |slot: usize| engine.threads[slot].quiet.patience[class].load(Ordering::Relaxed);
        assert!(patience(slot) > PATIENCE);
        drop(other);
        let next = engine.attach().unwrap();
        assert_eq!((next.slot(), patience(slot)), (slot, PATIENCE));
        assert_eq!(engine.threads[slot].quiet.since[class].load(Ordering::Relaxed), 0);
    }
}
