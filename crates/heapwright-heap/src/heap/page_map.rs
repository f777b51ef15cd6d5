//! The page map: what block class a page holds, for JavaScript's eyes.
//!
//! The word of a page of a slab is the class number, the mode of the page (`publish.rs`), the slot of the slab's
//! owner and a generation. The word of the first page of a live run is [`CLASS_LARGE`]. Every other word is 0: no block starts there
//! that JavaScript may free by itself. The engine tells of its slabs through [`SlabObserver`].
//! Which pages were ever handed out is noted beside it (`residency.rs`).

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

use heapwright_region::process_barrier;
use heapwright_two_level::{CpuId, SizeClass, SlabObserver};

use crate::heap::{
    geometry::{
        AREA_BYTES, CLASS_LARGE, CLASS_MASK, GENERATION_SHIFT, GENERATIONS, GRANULE_SHIFT,
        Geometry, HAZARD, MODE_MASK, MODE_PUBLIC, OWNER_SHIFT, PAGE_BYTES, PAGE_SHIFT,
    },
    memory::Mapping,
    publish::owner_of,
    residency::Residency,
};

/// The generation bits of a word.
pub(super) const GENERATION_MASK: i32 = ((GENERATIONS - 1) << GENERATION_SHIFT).cast_signed();

/// The word of the first page of a live run.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "7 bits")]
pub(super) const LARGE_WORD: i32 = CLASS_LARGE as i32;

/// The page map of one heap.
#[derive(Debug)]
pub(super) struct PageMap {
    memory: Arc<Mapping>,
    offset: usize,
    /// Which pages may be resident.
    pub(super) residency: Residency,
    /// By owner, a bit for each class number: new pages are public.
    public: Box<[[AtomicU64; 2]]>,
    /// By owner: the generation of new words.
    generations: Box<[AtomicU32]>,
    /// Offset of the area of slot 0 of a shared heap.
    areas: usize,
    /// The system has the barrier that a private page needs. Looked up once: asking is the barrier itself.
    has_barrier: AtomicBool,
    /// Threads that return slabs of others just now.
    returning_others: AtomicUsize,
}

impl PageMap {
    /// The map of a new heap.
    pub(super) fn new(memory: Arc<Mapping>, geometry: &Geometry) -> Self {
        Self {
            memory,
            offset: geometry.page_map,
            residency: Residency::new(geometry.size),
            public: (0..geometry.max_threads).map(|_| Default::default()).collect(),
            generations: (0..geometry.max_threads).map(|_| AtomicU32::new(0)).collect(),
            areas: geometry.areas,
            has_barrier: AtomicBool::new(false),
            returning_others: AtomicUsize::new(0),
        }
    }

    /// The word of the page that holds `p`.
    #[inline]
    pub(super) fn word(&self, p: usize) -> i32 {
        self.memory.word(self.offset + (p >> PAGE_SHIFT) * 4)
    }

    /// Turns the word of the page of `p` from `from` into `to`; `false` where it is another.
    pub(super) fn exchange(&self, p: usize, from: i32, to: i32) -> bool {
        self.memory.exchange_word(self.offset + (p >> PAGE_SHIFT) * 4, from, to)
    }

    /// Slabs of `class` that `owner` makes from now on have public pages.
    pub(super) fn share_class(&self, class: usize, owner: usize) {
        self.public[owner][class / 64].fetch_or(1 << (class % 64), Ordering::Relaxed);
    }

    /// Makes the public pages of the slabs of `class` that `owner` has private again, and those that it makes
    /// from now on private. For `owner` itself, while no page becomes public.
    ///
    /// A thread that has seen one of them public and claims a block there looks at the word again afterwards: it
    /// is another one, of another generation, so that it cannot be taken for the one seen when the page is
    /// public once more.
    pub(super) fn make_private(&self, class: usize, owner: usize) {
        self.public[owner][class / 64].fetch_and(!(1 << (class % 64)), Ordering::Relaxed);
        self.generations[owner].fetch_add(1, Ordering::Relaxed);
        let own = word_of(class, owner);
        let private = own | self.generation(owner);
        self.residency.for_each_touched(|p| {
            let word = self.word(p);
            if word & !GENERATION_MASK == own | MODE_PUBLIC {
                // Unless somebody takes the slab away meanwhile.
                self.exchange(p, word, private);
            }
        });
        // The next free of this thread looks at a state: not before others can see the words.
        fence(Ordering::SeqCst);
    }

    /// The generation bits of new words of `owner`.
    fn generation(&self, owner: usize) -> i32 {
        let generation = self.generations[owner].load(Ordering::Relaxed) % GENERATIONS;
        generation.cast_signed() << GENERATION_SHIFT
    }

    /// The heap is shared from now on: pages may be private where the system has the barrier that this needs.
    /// For one thread, before there is another.
    pub(super) fn share(&self) {
        let has_barrier = process_barrier();
        self.has_barrier.store(has_barrier, Ordering::Relaxed);
        if !has_barrier {
            self.share_all();
        }
    }

    /// Whether pages may be private.
    pub(super) fn has_barrier(&self) -> bool {
        self.has_barrier.load(Ordering::Relaxed)
    }

    /// Makes the pages of all slabs public, now and in future. For one thread, before there is another.
    fn share_all(&self) {
        for classes in self.public.iter().flatten() {
            classes.store(u64::MAX, Ordering::Relaxed);
        }
        self.residency.for_each_touched(|p| {
            let word = self.word(p);
            if word != 0 && word != LARGE_WORD {
                self.set(p, word | MODE_PUBLIC);
            }
        });
    }

    /// Waits until `owner` is not changing a state on `pages` by a plain store. Their words tell it by now that
    /// they are not its private ones.
    pub(super) fn await_owner(&self, owner: usize, pages: Range<usize>) {
        let ordered = process_barrier();
        debug_assert!(ordered, "pages are private only where there is a barrier");
        let hazard = || self.memory.word(self.areas + owner * AREA_BYTES + HAZARD * 4);
        // What it names next it looks up after the barrier.
        let named = hazard();
        if named != 0
            && pages.contains(&(named.cast_unsigned() as usize >> (PAGE_SHIFT - GRANULE_SHIFT)))
        {
            while hazard() == named {
                thread::yield_now();
            }
        }
        if cfg!(not(target_arch = "x86_64")) {
            // Stores may be seen out of order: what came before the hazard's end is to be seen, too.
            let _ordered = process_barrier();
        }
    }

    /// Runs `f`, which may return slabs whose owners are other threads.
    pub(super) fn return_others<R>(&self, f: impl FnOnce() -> R) -> R {
        self.returning_others.fetch_add(1, Ordering::SeqCst);
        let result = f();
        self.returning_others.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn set(&self, p: usize, word: i32) {
        self.memory.set_word(self.offset + (p >> PAGE_SHIFT) * 4, word);
    }

    /// What the word of a page of a slab says beside its mode and generation.
    pub(super) fn slab_word(class: SizeClass, owner: CpuId) -> i32 {
        word_of(usize::from(class.0) + 1, owner.index())
    }

    /// A run of `pages` pages at `p` is live now.
    pub(super) fn run_added(&self, p: usize, pages: usize) {
        self.residency.touch(p, pages);
        self.set(p, LARGE_WORD);
    }

    /// The run at `p` is live no longer.
    pub(super) fn run_removed(&self, p: usize) {
        self.set(p, 0);
    }
}

impl SlabObserver for PageMap {
    fn slab_added(&self, base: usize, pages: usize, class: SizeClass, owner: CpuId) {
        self.residency.touch(base, pages);
        let mut word = Self::slab_word(class, owner) | self.generation(owner.index());
        let number = usize::from(class.0) + 1;
        let public = self.public[owner.index()][number / 64].load(Ordering::Relaxed);
        if public & (1 << (number % 64)) != 0 {
            word |= MODE_PUBLIC;
        }
        (0..pages).for_each(|page| self.set(base + page * PAGE_BYTES, word));
    }

    fn slab_removed(&self, base: usize, pages: usize) {
        let mut owner = None;
        for page in 0..pages {
            let p = base + page * PAGE_BYTES;
            // Its owner may be making it private.
            let mut word = self.word(p);
            while !self.exchange(p, word, 0) {
                word = self.word(p);
            }
            if word & MODE_MASK != MODE_PUBLIC {
                owner = Some(owner_of(word));
            }
        }
        // Where its owner removes a slab it cannot be in the middle of a free.
        if let Some(owner) = owner
            && self.returning_others.load(Ordering::SeqCst) != 0
        {
            let first = base >> PAGE_SHIFT;
            self.await_owner(owner, first..first + pages);
        }
    }

    fn owner_changed(&self, base: usize, pages: usize, owner: CpuId) {
        for page in 0..pages {
            let p = base + page * PAGE_BYTES;
            let class = self.word(p) & CLASS_MASK;
            // Threads that saw the page public may be about to change a state on it.
            let word = word_of(class.cast_unsigned() as usize, owner.index());
            self.set(p, word | MODE_PUBLIC | self.generation(owner.index()));
        }
    }
}

/// What the word of a page of a slab of class number `class` says beside its mode and generation.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "19 bits")]
const fn word_of(class: usize, owner: usize) -> i32 {
    (class | (owner << OWNER_SHIFT)) as i32
}
