//! Magazines: one thread's stacks of free blocks, in native memory that JavaScript pops and pushes.
//!
//! Every size class has three stacks. `alloc` pops from the *alloc stack* and `free` pushes to the *free
//! stack*, which trade places when the first is empty; a pool of one size has a *pool stack* of its own,
//! whose top JavaScript keeps in a field and writes back before it calls. Only an empty or a full stack
//! calls Rust: [`Magazines::refill`] fills one from the slabs, [`Magazines::flush`] hands the older half
//! of one back, or moves blocks from the one to the other. Layout and sentinels: `heap/geometry.rs`.
//!
//! A stack of a class starts with a few blocks of capacity and doubles at every refill, up to a bound in
//! bytes: a thread that allocates little holds little back. A refill brings a bounded number of blocks, however
//! many the stack has room for.
//!
//! Invariants:
//! 1. Stacks hold slots of slabs that the thread owns, and each slot once; all of them are dead in the
//!    state map. So what a thread holds follows from slabs and state map alone, if it dies.
//! 2. Nothing read from the area is believed: a top outside of its stack is [`Corrupt`], and entries are
//!    judged by the slabs when they are handed back.
//!
//! Not here: where blocks come from and go to (`heap/mod.rs`).

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use crate::heap::{
    Mapping,
    geometry::{
        ALIVE, ALLOCS, AREA_BYTES, AT, CLASSES, CLASSES_MAX, COUNT, FT, Geometry, LOW, LOW_NONE,
        OUTBOX, OUTBOX_MAX, POISON, POOL_LOW, PT, S2C, S2C_WORDS, SEEN, SLOT, STACK_BASE,
        STACK_BLANK, STACK_BYTES, STACKS, stack_capacity, stack_place, stack_stride,
    },
};

/// What a stack starts with: this many blocks, or bytes worth of them, and at least two.
const START_BLOCKS: usize = 64;
const START_BYTES: usize = 16 << 10;

/// A stack may hold this many bytes of blocks, or this part of the heap if that is less.
const LIMIT_BYTES: usize = STACK_BYTES;
const LIMIT_PART: usize = 128;

/// The most blocks of a refill. A thread whose blocks others free takes no more out of its slabs than that, however
/// many the stack has room for.
const REFILL_MAX: usize = 511;

/// Words that are read from an area at a time.
const READ_WORDS: usize = 512;

/// The words of a thread's area contradict each other: something has written there that should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// Which stack of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Popped by `alloc`.
    Alloc,
    /// Pushed by `free`.
    Free,
    /// Of a pool.
    Pool,
}

impl Stack {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Alloc, Self::Free, Self::Pool];

    const fn tops(self) -> usize {
        match self {
            Self::Alloc => AT,
            Self::Free => FT,
            Self::Pool => PT,
        }
    }
}

/// What Rust knows of a thread's magazines and JavaScript does not see: the capacity of each stack.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Of the alloc and the free stack alike, by class number. 0: not used yet.
    pair: Box<[AtomicU16]>,
    /// Of the pool stack.
    pool: Box<[AtomicU16]>,
    /// COUNT of the class when its free stack filled its alloc stack up last; 0: after a refill.
    filled_up: Box<[AtomicUsize]>,
}

impl Default for Limits {
    fn default() -> Self {
        let zeros = || (0..CLASSES_MAX).map(|_| AtomicU16::new(0)).collect();
        let words = || (0..CLASSES_MAX).map(|_| AtomicUsize::new(0)).collect();
        Self { pair: zeros(), pool: zeros(), filled_up: words() }
    }
}

impl Limits {
    fn of(&self, stack: Stack) -> &[AtomicU16] {
        if stack == Stack::Pool { &self.pool } else { &self.pair }
    }

    #[inline]
    fn get(&self, stack: Stack, class: usize) -> usize {
        usize::from(self.of(stack)[class].load(Ordering::Relaxed))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a stack has fewer words than that")]
    fn set(&self, stack: Stack, class: usize, limit: usize) {
        debug_assert!(limit <= stack_capacity(class));
        self.of(stack)[class].store(limit as u16, Ordering::Relaxed);
    }
}

/// Writes the blocks of a refill downwards, so that the first is popped first.
#[derive(Debug)]
pub(crate) struct Filler<'a> {
    magazines: Magazines<'a>,
    next: usize,
    base: usize,
}

impl Filler<'_> {
    /// The next block.
    #[inline]
    pub(crate) fn push(&mut self, p: usize) {
        debug_assert!(self.next > self.base);
        if self.next > self.base {
            self.next -= 1;
            self.magazines.set(self.next, self.magazines.geometry.entry_of(p));
        }
    }
}

/// The magazines of one thread, for the duration of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Magazines<'a> {
    memory: &'a Mapping,
    geometry: &'a Geometry,
    limits: &'a Limits,
    /// Sizes by class index.
    sizes: &'a [usize],
    /// Byte offset of the area.
    area: usize,
}

impl<'a> Magazines<'a> {
    /// The magazines in the area at byte `area` of the metadata.
    #[inline]
    pub(crate) fn new(
        memory: &'a Mapping,
        geometry: &'a Geometry,
        limits: &'a Limits,
        sizes: &'a [usize],
        area: usize,
    ) -> Self {
        Self { memory, geometry, limits, sizes, area }
    }

    /// Prepares the area of `slot` for a thread that attaches: every stack is empty. `alive` is not 0, and
    /// none that the area had before: a function that an earlier thread kept knows its time is over.
    pub(crate) fn open(&self, slot: usize, alive: i32, class_of_granules: impl Fn(usize) -> usize) {
        self.memory.zero(self.area, AREA_BYTES);
        self.set(SLOT, word(slot));
        self.set(CLASSES, word(self.sizes.len()));
        for granules in 0..S2C_WORDS {
            self.set(S2C + granules, word(class_of_granules(granules)));
        }
        // Class numbers without a class are empty and full for ever.
        self.poison();
        (1..=self.sizes.len()).for_each(|class| self.reset(class));
        self.set(ALIVE, alive);
    }

    /// Makes every stack empty and full at once, so that a function of the hot path that a program kept
    /// finds nothing to do.
    fn poison(&self) {
        for class in 0..CLASSES_MAX {
            for stack in Stack::ALL {
                self.set(stack.tops() + class, word(POISON));
            }
        }
    }

    /// Ends the use of this area by its own thread, or for one that is gone: no stack is of use any more,
    /// and what was in them is zero.
    pub(crate) fn close(&self) {
        self.mark_dead();
        self.poison();
        let stacks = STACKS * 4;
        self.memory.zero(self.area + stacks, AREA_BYTES - stacks);
    }

    /// Makes the stacks of `class`, all of which are empty, as small as they were at first.
    pub(crate) fn reset(&self, class: usize) {
        let limit = self.limit_start(class);
        for (index, stack) in Stack::ALL.into_iter().enumerate() {
            let base = stack_base(class, index);
            self.set(base - 1, 0);
            self.bound(base, 0, limit);
            self.limits.set(stack, class, limit);
            self.set(stack.tops() + class, word(base));
        }
        self.set(COUNT + class, self.get(AT + class));
        self.set(LOW + class, LOW_NONE);
        self.set(SEEN + class, 0);
        self.set(POOL_LOW + class, self.get(PT + class));
    }

    /// Moves the upper sentinel of the stack at `base` from capacity `old` to `limit`.
    #[inline]
    fn bound(&self, base: usize, old: usize, limit: usize) {
        (base + old..base + limit).for_each(|index| self.set(index, STACK_BLANK));
        self.set(base + limit, 0);
    }

    /// Adds what was popped from the alloc stack of `class` since this was last asked to ALLOCS. To be
    /// called before anything else than a pop moves its top, and after.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "at most the words of a stack")]
    fn count_pops(&self, class: usize) {
        let pops = self.pops(class);
        if pops > 0 {
            self.set_allocs(self.allocs() + pops as f64);
        }
    }

    /// The top of the alloc stack of `class` when it was last moved other than by a pop. (JavaScript writes it
    /// when the stacks trade places.)
    #[inline]
    fn counted(&self, class: usize) -> usize {
        self.get(COUNT + class).cast_unsigned() as usize
    }

    /// Pops from the alloc stack of `class` that ALLOCS does not have yet.
    #[inline]
    fn pops(&self, class: usize) -> usize {
        let pops = self.get(COUNT + class).wrapping_sub(self.get(AT + class));
        // Whatever the words say, no stack has more.
        usize::try_from(pops).map_or(0, |pops| pops.min(stack_capacity(class)))
    }

    /// Blocks that JavaScript popped from stacks, as far as it was counted.
    pub(crate) fn allocs(&self) -> f64 {
        let half = |index| u64::from(self.get(ALLOCS + index).cast_unsigned());
        f64::from_bits(half(0) | (half(1) << 32))
    }

    /// Sets what [`allocs`](Self::allocs) says.
    #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
    pub(crate) fn set_allocs(&self, count: f64) {
        let bits = count.to_bits();
        self.set(ALLOCS, (bits as u32).cast_signed());
        self.set(ALLOCS + 1, ((bits >> 32) as u32).cast_signed());
    }

    /// Blocks that JavaScript popped from stacks.
    #[expect(clippy::cast_precision_loss, reason = "at most the words of all stacks")]
    pub(crate) fn all_allocs(&self) -> f64 {
        let pops: usize = (1..=self.sizes.len()).map(|class| self.pops(class)).sum();
        self.allocs() + pops as f64
    }

    /// Moves the top of a stack other than by a pop or a push.
    #[inline]
    fn move_top(&self, stack: Stack, class: usize, top: usize) {
        // For `low_water`: the stack held no more than this from now on.
        match stack {
            Stack::Alloc => {
                self.count_pops(class);
                self.set(COUNT + class, word(top));
            }
            Stack::Free => {
                let depth = top - stack_base(class, stack_index(class, top));
                self.set(SEEN + class, word(depth));
            }
            Stack::Pool => self.set(POOL_LOW + class, word(top)),
        }
        self.set(stack.tops() + class, word(top));
    }

    /// Tells JavaScript, at its next look, that this thread has no part in the heap any more.
    pub(crate) fn mark_dead(&self) {
        self.set(ALIVE, 0);
    }

    #[inline]
    fn get(&self, index: usize) -> i32 {
        self.memory.word(self.area + index * 4)
    }

    #[inline]
    fn set(&self, index: usize, value: i32) {
        self.memory.set_word(self.area + index * 4, value);
    }

    /// The most entries that a stack of `class` may have.
    fn limit_max(&self, class: usize) -> usize {
        let bytes = LIMIT_BYTES.min(self.geometry.size / LIMIT_PART);
        (bytes / self.sizes[class - 1]).clamp(2, stack_capacity(class))
    }

    fn limit_start(&self, class: usize) -> usize {
        let few = (START_BYTES / self.sizes[class - 1]).clamp(2, START_BLOCKS);
        few.min(self.limit_max(class))
    }

    /// Where `stack` of `class` is: its top and the index of its first entry.
    #[inline]
    fn place(&self, stack: Stack, class: usize) -> Result<(usize, usize), Corrupt> {
        let top = self.get(stack.tops() + class).cast_unsigned() as usize;
        let index = stack_index(class, top);
        let right = if stack == Stack::Pool { index == 2 } else { index < 2 };
        let base = stack_base(class, index);
        let depth = top.wrapping_sub(base);
        if right && depth <= self.limits.get(stack, class) { Ok((top, base)) } else { Err(Corrupt) }
    }

    /// Entries of a stack.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where its top is none.
    #[inline]
    pub(crate) fn depth(&self, stack: Stack, class: usize) -> Result<usize, Corrupt> {
        let (top, base) = self.place(stack, class)?;
        Ok(top - base)
    }

    /// Entries that the stacks of `class` held at least, all the time since the last call for it. A hint, never
    /// an error.
    ///
    /// The alloc stack is only popped: what it holds now it held since the last trade of places. The free stack is
    /// only pushed: what it held at the last look or trade it still holds. What both held between the last look
    /// and the last trade is in [`LOW`].
    #[inline]
    pub(crate) fn low_water(&self, class: usize) -> usize {
        let at_most = |stack: Stack, top: usize, base: usize| {
            top.saturating_sub(base).min(self.limits.get(stack, class))
        };
        let top = |tops: usize| self.get(tops + class).cast_unsigned() as usize;
        let depth = |stack: Stack| {
            let top = top(stack.tops());
            at_most(stack, top, stack_base(class, stack_index(class, top)))
        };
        let count = |word: i32| usize::try_from(word).unwrap_or(0);
        let freed = depth(Stack::Free);
        let since = depth(Stack::Alloc) + count(self.get(SEEN + class)).min(freed);
        let pair = since.min(count(self.get(LOW + class)));
        let pool_top = top(PT);
        let pool = at_most(Stack::Pool, top(POOL_LOW).min(pool_top), stack_base(class, 2));
        self.set(LOW + class, LOW_NONE);
        self.set(SEEN + class, word(freed));
        self.set(POOL_LOW + class, word(pool_top));
        pair + pool
    }

    /// Blocks and bytes in all stacks, those of the pools as JavaScript last wrote them.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where a top is none.
    pub(crate) fn cached(&self) -> Result<(usize, usize), Corrupt> {
        let (mut blocks, mut bytes) = (0, 0);
        for (index, size) in self.sizes.iter().enumerate() {
            for stack in Stack::ALL {
                let depth = self.depth(stack, index + 1)?;
                blocks += depth;
                bytes += depth * size;
            }
        }
        Ok((blocks, bytes))
    }

    /// Fills `stack` of `class`, which is empty, from `take`: `take(n, filler)` pushes at most `n` blocks in
    /// ascending order. They will be popped in that order.
    ///
    /// An alloc stack is filled by trading places with the free stack, if that holds anything.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where the tops are none.
    #[inline]
    pub(crate) fn refill(
        &self,
        stack: Stack,
        class: usize,
        take: impl FnOnce(usize, &mut Filler<'a>),
    ) -> Result<usize, Corrupt> {
        let (top, base) = self.place(stack, class)?;
        if top != base {
            return Ok(top - base);
        }
        let old = self.limits.get(stack, class);
        let mut other = None;
        if stack != Stack::Pool {
            let (free_top, free_base) = self.place(Stack::Free, class)?;
            if free_base == base {
                return Err(Corrupt);
            }
            if free_top != free_base {
                self.trade(class, top, free_top);
                return Ok(free_top - free_base);
            }
            other = Some(free_base);
        }
        let limit = self.grow(stack, class, old);
        if limit != old {
            // Both stacks of a pair: they are empty, and trade places.
            [Some(base), other].into_iter().flatten().for_each(|base| self.bound(base, old, limit));
        }
        let wanted = limit.min(REFILL_MAX);
        let end = base + wanted;
        let mut filler = Filler { magazines: *self, next: end, base };
        take(wanted, &mut filler);
        let next = filler.next;
        let count = end - next;
        if count < wanted {
            // A short fill, where memory runs out: down to the base.
            for index in 0..count {
                self.set(base + index, self.get(next + index));
            }
        }
        self.move_top(stack, class, base + count);
        self.limits.filled_up[class].store(0, Ordering::Relaxed);
        Ok(count)
    }

    /// The capacity for the next fill: what the stack started with, then twice as much each time.
    #[inline]
    fn grow(&self, stack: Stack, class: usize, old: usize) -> usize {
        let limit = (2 * old).min(self.limit_max(class)).max(old);
        self.limits.set(stack, class, limit);
        limit
    }

    fn trade(&self, class: usize, alloc_top: usize, free_top: usize) {
        self.set(LOW + class, self.get(LOW + class).min(self.get(SEEN + class)));
        self.set(SEEN + class, 0);
        self.move_top(Stack::Alloc, class, free_top);
        self.set(FT + class, word(alloc_top));
    }

    /// Pops one block as JavaScript does, after the stacks have traded places if need be.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where a top is none.
    pub(crate) fn pop(&self, class: usize) -> Result<Option<usize>, Corrupt> {
        let (mut top, base) = self.place(Stack::Alloc, class)?;
        if top == base {
            let (free_top, free_base) = self.place(Stack::Free, class)?;
            if free_top == free_base || free_base == base {
                return Ok(None);
            }
            self.trade(class, top, free_top);
            top = free_top;
        }
        let p = self.geometry.block_of(self.get(top - 1));
        self.set(AT + class, word(top - 1));
        Ok(Some(p))
    }

    /// Takes the older half of a stack out of it, or all, into `out`.
    ///
    /// Unless `all` is asked for, a free stack whose alloc stack is empty trades places with it instead, and one
    /// whose alloc stack is no more than half full fills that up: a program that frees many blocks at once and
    /// allocates as many again finds them all. If the two have not traded places by the next time, that
    /// program does not need what they hold; it would come back here all the time, as its free stack is full
    /// before its alloc stack is empty.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where a top is none.
    #[inline]
    pub(crate) fn flush(
        &self,
        stack: Stack,
        class: usize,
        all: bool,
        out: &mut Vec<usize>,
    ) -> Result<(), Corrupt> {
        let (top, base) = self.place(stack, class)?;
        let depth = top - base;
        if stack == Stack::Free && !all {
            let (alloc_top, alloc_base) = self.place(Stack::Alloc, class)?;
            if alloc_top == alloc_base && alloc_base != base {
                self.trade(class, alloc_top, top);
                return Ok(());
            }
            let limit = self.limits.get(Stack::Alloc, class);
            let room = limit - (alloc_top - alloc_base);
            let filled_up = &self.limits.filled_up[class];
            let traded = filled_up.load(Ordering::Relaxed) != self.counted(class);
            if alloc_base != base && room >= limit.div_ceil(2) && traded {
                // What was freed last is allocated first.
                let count = room.min(depth);
                self.copy(top - count, alloc_top, count);
                self.move_top(Stack::Alloc, class, alloc_top + count);
                self.move_top(Stack::Free, class, top - count);
                filled_up.store(self.counted(class), Ordering::Relaxed);
                return Ok(());
            }
        }
        let count = if all { depth } else { depth.div_ceil(2) };
        self.read(base, count, out);
        self.copy(base + count, base, depth - count);
        self.move_top(stack, class, top - count);
        Ok(())
    }

    /// Copies `count` words of the area.
    #[inline]
    fn copy(&self, from: usize, to: usize, count: usize) {
        let byte = |index: usize| self.area + index * 4;
        self.memory.copy(byte(from), byte(to), count * 4);
    }

    /// Appends the blocks of `count` words from `first` to `out`.
    #[inline]
    fn read(&self, first: usize, count: usize, out: &mut Vec<usize>) {
        out.reserve(count);
        let mut words = [0; READ_WORDS];
        for start in (0..count).step_by(READ_WORDS) {
            let words = &mut words[..(count - start).min(READ_WORDS)];
            self.memory.read_words(self.area + (first + start) * 4, words);
            out.extend(words.iter().map(|&entry| self.geometry.block_of(entry)));
        }
    }

    /// Takes everything out of all stacks of `class`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where a top is none.
    pub(crate) fn flush_class(&self, class: usize, out: &mut Vec<usize>) -> Result<(), Corrupt> {
        Stack::ALL.into_iter().try_for_each(|stack| self.flush(stack, class, true, out))
    }

    /// Every entry of a stack, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where its top is none.
    pub(crate) fn for_each(
        &self,
        stack: Stack,
        class: usize,
        mut f: impl FnMut(usize),
    ) -> Result<(), Corrupt> {
        let (top, base) = self.place(stack, class)?;
        let mut blocks = Vec::new();
        self.read(base, top - base, &mut blocks);
        blocks.into_iter().for_each(&mut f);
        Ok(())
    }

    /// Blocks in the outbox, as far as its count is one.
    pub(crate) fn outbox_len(&self) -> usize {
        (self.get(OUTBOX).cast_unsigned() as usize).min(OUTBOX_MAX)
    }

    /// Empties the outbox into `out`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] where its count is none.
    pub(crate) fn take_outbox(&self, out: &mut Vec<usize>) -> Result<(), Corrupt> {
        let count = self.get(OUTBOX).cast_unsigned() as usize;
        if count > OUTBOX_MAX {
            return Err(Corrupt);
        }
        self.read(OUTBOX + 1, count, out);
        self.set(OUTBOX, 0);
        Ok(())
    }
}

/// The first entry of stack `index` of `class`.
#[inline]
const fn stack_base(class: usize, index: usize) -> usize {
    stack_place(class) + index * stack_stride(class) + STACK_BASE
}

/// Which stack of `class` a top is of; three for none.
#[inline]
fn stack_index(class: usize, top: usize) -> usize {
    let words = top.wrapping_sub(stack_base(class, 0));
    let stride = stack_stride(class);
    (1..=3).filter(|stacks| words >= stacks * stride).count()
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "word indices and counts are below 2^18")]
#[expect(clippy::cast_possible_wrap, reason = "as above")]
const fn word(value: usize) -> i32 {
    value as i32
}
