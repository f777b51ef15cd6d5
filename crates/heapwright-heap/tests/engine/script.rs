//! The fast path of `src/magazine.ts` in Rust, word for word over the same metadata.
//!
//! A [`Script`] is one thread's JavaScript: it pops and pushes, and calls the engine where the TypeScript
//! half would. It can be **killed** before any of its steps (`kill_after`), as `worker.terminate()` might
//! at its worst: everything it had in mind is lost, and only native memory tells.

use std::{
    cell::Cell,
    sync::atomic::{Ordering, compiler_fence},
};

use heapwright_heap::heap::{
    Attachment, HeapError, Stack,
    geometry::{
        ALIVE, ALLOCS, AT, CLASS_LARGE, CLASS_MASK, COUNT, FT, GRANULE_BYTES, Geometry, HAZARD,
        LOW, MODE_MASK, MODE_PUBLIC, OUTBOX, OUTBOX_MAX, OWNER_MASK, OWNER_SHIFT, PAGE_BYTES,
        POOL_LOW, PT, S2C, SEEN, STATE_CROWD, STATE_DEAD, STATE_LIVE, mark_of,
    },
};

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The heap refused.
    Refused(HeapError),
    /// The thread was killed.
    Killed,
}

impl From<HeapError> for Stop {
    fn from(error: HeapError) -> Self {
        Self::Refused(error)
    }
}

pub(crate) type Run<T = ()> = Result<T, Stop>;

/// One thread's JavaScript.
pub(crate) struct Script {
    pub(crate) heap: Attachment,
    geometry: Geometry,
    shared: bool,
    area: usize,
    alive: usize,
    steps_left: Cell<usize>,
}

const SMALL_MAX: usize = 32 << 10;

impl Script {
    pub(crate) fn new(heap: Attachment) -> Self {
        let geometry = *heap.engine().geometry();
        let shared = heap.engine().is_shared();
        let area = geometry.area(heap.slot(), shared);
        let alive = heap.engine().meta().word(area + ALIVE * 4);
        let alive = usize::try_from(alive).unwrap();
        assert_ne!(alive, 0);
        Self { heap, geometry, shared, area, alive, steps_left: Cell::new(usize::MAX) }
    }

    /// Lets `steps` more steps happen, then none.
    pub(crate) fn kill_after(&self, steps: usize) {
        self.steps_left.set(steps);
    }

    /// Becomes a script of a shared heap.
    pub(crate) fn share(&mut self) {
        self.heap.share().unwrap();
        self.shared = true;
        self.area = self.geometry.area(self.heap.slot(), true);
        self.alive = self.at(ALIVE);
    }

    /// Forgets everything without letting go: what a killed thread leaves behind.
    pub(crate) fn abandon(self) -> usize {
        let slot = self.heap.slot();
        // What `drop` would do is exactly what a killed thread does not.
        let _ = std::mem::ManuallyDrop::new(self.heap);
        slot
    }

    fn step(&self) -> Run {
        match self.steps_left.get() {
            0 => Err(Stop::Killed),
            usize::MAX => Ok(()),
            left => {
                self.steps_left.set(left - 1);
                Ok(())
            }
        }
    }

    fn at(&self, index: usize) -> usize {
        let word = self.heap.engine().meta().word(self.area + index * 4);
        word.cast_unsigned() as usize
    }

    fn put(&self, index: usize, value: usize) -> Run {
        self.step()?;
        let word = u32::try_from(value).unwrap().cast_signed();
        self.heap.engine().meta().set_word(self.area + index * 4, word);
        Ok(())
    }

    fn page_word(&self, p: usize) -> usize {
        let offset = self.geometry.page_map + p / PAGE_BYTES * 4;
        self.heap.engine().meta().word(offset).cast_unsigned() as usize
    }

    fn byte_of(&self, p: usize) -> usize {
        self.geometry.state_bytes + p / GRANULE_BYTES
    }

    fn bit_of(&self, p: usize) -> (usize, i32) {
        let granule = p / GRANULE_BYTES;
        (self.geometry.state_bits + granule / 32 * 4, 1 << (granule % 32))
    }

    pub(crate) fn is_live(&self, p: usize) -> bool {
        let meta = self.heap.engine().meta();
        if self.shared {
            return meta.byte(self.byte_of(p)) == STATE_LIVE;
        }
        let (word, mask) = self.bit_of(p);
        meta.word(word) & mask != 0
    }

    fn set_live(&self, p: usize) -> Run {
        self.step()?;
        let meta = self.heap.engine().meta();
        if self.shared {
            meta.set_byte(self.byte_of(p), STATE_LIVE);
        } else {
            let (word, mask) = self.bit_of(p);
            meta.set_word(word, meta.word(word) | mask);
        }
        Ok(())
    }

    pub(crate) fn class_of(&self, size: usize) -> usize {
        self.at(S2C + size.div_ceil(16))
    }

    /// Empty and full, as JavaScript tests them.
    fn is_empty(&self, top: usize) -> bool {
        self.at(top - 1) == 0
    }

    fn is_full(&self, top: usize) -> bool {
        self.at(top) == 0
    }

    pub(crate) fn alloc(&self, size: usize) -> Run<usize> {
        if size == 0 || size > SMALL_MAX {
            self.step()?;
            return Ok(self.heap.alloc(size, GRANULE_BYTES)?);
        }
        let class = self.class_of(size);
        for _ in 0..2 {
            let top = self.at(AT + class);
            if !self.is_empty(top) {
                return self.pop(AT, class);
            }
            if !self.provide(class)? {
                return Ok(self.heap.alloc(size, GRANULE_BYTES)?);
            }
        }
        panic!("a refill brought nothing");
    }

    fn pop(&self, tops: usize, class: usize) -> Run<usize> {
        let top = self.at(tops + class) - 1;
        let p = self.geometry.block_of(u32::try_from(self.at(top)).unwrap().cast_signed());
        self.put(tops + class, top)?;
        self.set_live(p)?;
        Ok(p)
    }

    /// Fills the alloc stack of a class; `false` where there is no memory for a slab.
    fn provide(&self, class: usize) -> Run<bool> {
        let (alloc_top, free_top) = (self.at(AT + class), self.at(FT + class));
        if !self.is_empty(free_top) {
            self.swap(class, alloc_top, free_top)?;
            return Ok(true);
        }
        self.step()?;
        match self.heap.refill(Stack::Alloc, class) {
            Ok(count) => Ok(count > 0),
            Err(error) => Err(error.into()),
        }
    }

    fn swap(&self, class: usize, alloc_top: usize, free_top: usize) -> Run {
        let pops = self.at(COUNT + class).wrapping_sub(alloc_top);
        let allocs = self.at(ALLOCS) as u64 | ((self.at(ALLOCS + 1) as u64) << 32);
        let allocs = (f64::from_bits(allocs) + pops as f64).to_bits();
        self.put(ALLOCS, (allocs & 0xffff_ffff) as usize)?;
        self.put(ALLOCS + 1, (allocs >> 32) as usize)?;
        self.put(AT + class, free_top)?;
        self.put(FT + class, alloc_top)?;
        self.put(COUNT + class, free_top)?;
        self.put(LOW + class, self.at(LOW + class).min(self.at(SEEN + class)))?;
        self.put(SEEN + class, 0)
    }

    fn make_room(&self, class: usize) -> Run {
        let (alloc_top, free_top) = (self.at(AT + class), self.at(FT + class));
        if self.is_empty(alloc_top) {
            return self.swap(class, alloc_top, free_top);
        }
        self.step()?;
        Ok(self.heap.flush(Stack::Free, class)?)
    }

    /// Frees as [`free`](Self::free) does, but `word` is what this thread read of the page map long ago, and
    /// `between` happens after the claim and before the second look.
    pub(crate) fn free_late(&self, p: usize, word: usize, between: impl FnOnce()) -> Run {
        self.free_shared(p, word, between)
    }

    /// The page map's word for a public page of the class of `size` that this thread owns.
    pub(crate) fn own_word(&self, size: usize) -> usize {
        self.class_of(size) | MODE_PUBLIC as usize | (self.heap.slot() << OWNER_SHIFT)
    }

    pub(crate) fn free(&self, p: usize) -> Run {
        if p >= self.geometry.size || !p.is_multiple_of(GRANULE_BYTES) || !self.is_live(p) {
            self.step()?;
            return Ok(self.heap.free(p)?);
        }
        if self.shared {
            self.free_shared(p, self.page_word(p), || ())
        } else {
            self.free_exclusive(p)
        }
    }

    fn free_exclusive(&self, p: usize) -> Run {
        let class = self.page_word(p);
        if self.is_full(self.at(FT + class)) {
            if class == 0 || class == CLASS_LARGE {
                self.step()?;
                return Ok(self.heap.free(p)?);
            }
            self.make_room(class)?;
        }
        let top = self.at(FT + class);
        let (word, mask) = self.bit_of(p);
        let meta = self.heap.engine().meta();
        self.step()?;
        meta.set_word(word, meta.word(word) & !mask);
        self.put(top, self.geometry.entry_of(p).cast_unsigned() as usize)?;
        self.put(FT + class, top + 1)
    }

    fn free_shared(&self, p: usize, word: usize, between: impl FnOnce()) -> Run {
        let meta = self.heap.engine().meta();
        let (class, owner) =
            (word & CLASS_MASK as usize, (word & OWNER_MASK as usize) >> OWNER_SHIFT);
        let public = word & MODE_MASK as usize == MODE_PUBLIC as usize;
        let entry = self.geometry.entry_of(p).cast_unsigned() as usize;
        let mark = mark_of(self.heap.slot());
        if class == 0 || class == CLASS_LARGE || public && mark == STATE_CROWD {
            self.step()?;
            return Ok(self.heap.free(p)?);
        }
        if owner == self.heap.slot() {
            if self.is_full(self.at(FT + class)) {
                self.make_room(class)?;
            }
            if !public {
                // Not one that is closing: its owner's plain stores have ended.
                let private = word & MODE_MASK as usize == 0;
                if private && self.free_private(p, word, class, entry)? {
                    return Ok(());
                }
                self.step()?;
                return Ok(self.heap.free(p)?);
            }
            self.step()?;
            if !meta.exchange_byte(self.byte_of(p), STATE_LIVE, mark) {
                return Err(HeapError::NotAllocated.into());
            }
            between();
            if self.page_word(p) != word || meta.byte(self.byte_of(p)) != mark {
                // Freed and reborn as another class since: not ours to push.
                meta.exchange_byte(self.byte_of(p), mark, STATE_LIVE);
                return Ok(self.heap.free(p)?);
            }
            let top = self.at(FT + class);
            self.put(top, entry)?;
            return self.put(FT + class, top + 1);
        }
        if !public {
            self.step()?;
            return Ok(self.heap.free(p)?);
        }
        if self.at(OUTBOX) >= OUTBOX_MAX {
            self.step()?;
            self.heap.flush_outbox()?;
        }
        // The entry first: whoever is killed after the exchange has it on record.
        let count = self.at(OUTBOX);
        self.put(OUTBOX + 1 + count, entry)?;
        self.put(OUTBOX, count + 1)?;
        self.step()?;
        if !meta.exchange_byte(self.byte_of(p), STATE_LIVE, mark) {
            self.put(OUTBOX, count)?;
            return Err(HeapError::NotAllocated.into());
        }
        between();
        if self.page_word(p) == word && meta.byte(self.byte_of(p)) == mark {
            return Ok(());
        }
        // Another slab since.
        meta.exchange_byte(self.byte_of(p), mark, STATE_LIVE);
        self.put(OUTBOX, count)?;
        Ok(self.heap.free(p)?)
    }

    /// As if this thread were in the middle of freeing `p`; 0: of nothing.
    pub(crate) fn set_hazard(&self, p: usize) {
        let meta = self.heap.engine().meta();
        meta.set_word(self.area + HAZARD * 4, (p / GRANULE_BYTES) as i32);
    }

    /// By plain loads and stores, unless the page turns out not to be private. No worker is terminated in
    /// the middle of it: V8 looks for that at function entries and loop ends only.
    fn free_private(&self, p: usize, word: usize, class: usize, entry: usize) -> Run<bool> {
        self.step()?;
        let meta = self.heap.engine().meta();
        self.set_hazard(p);
        // JavaScript's compilers keep the order of these two, processors need not.
        compiler_fence(Ordering::SeqCst);
        let live = self.page_word(p) == word && meta.byte(self.byte_of(p)) == STATE_LIVE;
        if live {
            meta.set_byte(self.byte_of(p), STATE_DEAD);
            let top = self.at(FT + class);
            meta.set_word(self.area + top * 4, entry as u32 as i32);
            meta.set_word(self.area + (FT + class) * 4, (top + 1) as i32);
        }
        compiler_fence(Ordering::SeqCst);
        self.set_hazard(0);
        Ok(live)
    }

    /// Pops from the pool stack of the class of `size`, whose top this script keeps in native memory.
    pub(crate) fn pool_alloc(&self, size: usize) -> Run<usize> {
        let class = self.class_of(size);
        if self.is_empty(self.at(PT + class)) {
            self.step()?;
            self.heap.refill(Stack::Pool, class)?;
        }
        let low = self.at(POOL_LOW + class).min(self.at(PT + class) - 1);
        self.put(POOL_LOW + class, low)?;
        self.pop(PT, class)
    }

    /// Pushes onto the pool stack; exclusive heaps only.
    pub(crate) fn pool_free(&self, size: usize, p: usize) -> Run {
        assert!(!self.shared);
        let class = self.class_of(size);
        if !self.is_live(p) || self.page_word(p) != class {
            return Err(HeapError::NotAllocated.into());
        }
        if self.is_full(self.at(PT + class)) {
            self.step()?;
            self.heap.flush(Stack::Pool, class)?;
        }
        let top = self.at(PT + class);
        let (word, mask) = self.bit_of(p);
        let meta = self.heap.engine().meta();
        self.step()?;
        meta.set_word(word, meta.word(word) & !mask);
        self.put(top, self.geometry.entry_of(p).cast_unsigned() as usize)?;
        self.put(PT + class, top + 1)
    }

    /// Whether this thread's part in the heap has ended, as JavaScript sees it.
    pub(crate) fn is_alive(&self) -> bool {
        self.at(ALIVE) == self.alive
    }

    /// Writes a word of the area, as something broken might.
    pub(crate) fn scribble(&self, index: usize, value: i32) {
        self.heap.engine().meta().set_word(self.area + index * 4, value);
    }

    /// Data of a block, byte by byte, for tags.
    pub(crate) fn write(&self, p: usize, length: usize, tag: u8) {
        (p..p + length).for_each(|at| self.heap.engine().data().set_byte(at, tag));
    }

    /// Whether every byte of a block is `tag`.
    pub(crate) fn holds(&self, p: usize, length: usize, tag: u8) -> bool {
        (p..p + length).all(|at| self.heap.engine().data().byte(at) == tag)
    }
}
