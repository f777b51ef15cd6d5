//! Where everything lies in the metadata mapping of a heap: the layout that Rust and TypeScript share.
//!
//! ```text
//! ├ area ┼ page map ┼ state bits ┼ state bytes ┼ area of slot 0 ┼ … ┼ area of the last slot ┤
//!   1 MiB  4 B a page 1 bit a       1 byte a       1 MiB each
//!                     granule       granule
//! ├──── exclusive heap ──────────┤
//!        ├ shared ─┤            ├──────────────────── shared heap ──────────────────────────┤
//! ```
//!
//! The first area is that of the one thread of an exclusive heap, so that JavaScript sees all it needs as
//! one array; a shared heap has an area for each slot, and the first one is poisoned.
//!
//! The area of a slot (one thread's magazines), in words of 4 bytes:
//!
//! ```text
//! 0 ALIVE · 1 SLOT · 2 CLASSES        control words
//! 3     HAZARD                        granule that this thread frees by plain stores just now, else 0
//! 8     ALLOCS                        pops of JavaScript counted so far, as a double
//! 1024  S2C[ceil(size / 16)]          class number of a size, 1 … classes
//! 3584  AT[class]   3712  FT[class]   top of the alloc stack, of the free stack: absolute word indices
//! 3840  PT[class]                     top of the pool stack, when JavaScript has written it there
//! 3968  COUNT[class]                  what AT[class] was when ALLOCS last counted the class
//! 4096  stacks: three for each class number from 0, of 528 words, of small blocks up to 4144
//! 229376  OUTBOX: count, then blocks of other threads that this one has freed
//! ```
//!
//! A **class number** is the index of a size class plus 1; 0 is no class, [`CLASS_LARGE`] a run of pages.
//! The word below a stack's first and the word above its last are 0, and no word between them ever is: a
//! top `t` is "empty" where word `t - 1` is 0, and "full" where word `t` is 0. Class numbers 0 and
//! [`CLASS_LARGE`] are empty and full for ever, so that JavaScript falls into the slow path by itself.
//! From one stack to the next it is an odd number of cache lines, so that the bases of the stacks, where those
//! of a program with few live blocks are used, do not share a few sets of a first-level cache.

use heapwright_core::align_up;
use heapwright_region::page_size;

use crate::heap::HeapError;

/// log2 of the unit of the engine's pages.
pub const PAGE_SHIFT: usize = 12;
/// Bytes of a page of the engine.
pub const PAGE_BYTES: usize = 1 << PAGE_SHIFT;
/// log2 of a granule: the smallest block, and the alignment of all.
pub const GRANULE_SHIFT: usize = 4;
/// Bytes of a granule.
pub const GRANULE_BYTES: usize = 1 << GRANULE_SHIFT;

/// The smallest heap.
pub const SIZE_MIN: usize = 1 << 20;
/// The largest heap.
pub const SIZE_MAX: usize = 64 << 30;
/// A heap's size is a multiple of this.
pub const SIZE_UNIT: usize = 64 << 10;
/// The most threads that a heap can be told to expect.
pub const THREADS_MAX: usize = 1024;
/// Up to this size the words of a magazine are addresses, above it granule numbers.
pub const NARROW_SIZE_MAX: usize = 1 << 32;

/// Bytes of a thread's area. Touched only where it is used.
pub const AREA_BYTES: usize = 1 << 20;
/// Word: a number of this attachment, never 0, while it lives.
pub const ALIVE: usize = 0;
/// Word: the slot.
pub const SLOT: usize = 1;
/// Word: how many classes there are.
pub const CLASSES: usize = 2;
/// Word: the granule whose state this thread may be changing by a plain store, in this very moment; else 0.
pub const HAZARD: usize = 3;
/// Two words: a double, the pops of JavaScript that were counted.
pub const ALLOCS: usize = 8;
/// Words: class number of a size in granules.
pub const S2C: usize = 1024;
/// Words of [`S2C`]: up to 32 KiB.
pub const S2C_WORDS: usize = 2049;
/// Words: the fewest entries that the alloc and the free stack held together at any time between the last look
/// of the engine and the last trade of places, as far as known; [`LOW_NONE`] without a trade.
pub const LOW: usize = 3200;
/// What stands in [`LOW`] when the stacks did not trade places since.
pub const LOW_NONE: i32 = i32::MAX;
/// Words: entries of the free stack that it held all the time since that look or trade.
pub const SEEN: usize = 3328;
/// Words: the lowest top of the pool stack since that look, as far as JavaScript told.
pub const POOL_LOW: usize = 3456;
/// Words: tops of the alloc stacks.
pub const AT: usize = 3584;
/// Words: tops of the free stacks.
pub const FT: usize = 3712;
/// Words: tops of the pool stacks.
pub const PT: usize = 3840;
/// Words: tops of the alloc stacks when their pops were last counted.
pub const COUNT: usize = 3968;
/// Words for each class number of these tables.
pub const CLASSES_MAX: usize = 128;
/// A top that is empty and full at once, for an area that is no longer to be used.
pub const POISON: usize = 512;
/// Word: where the stacks begin.
pub const STACKS: usize = 4096;
/// The most entries of a stack of most classes ...
const STACK_CAPACITY: usize = 511;
/// ... and the bytes of blocks that every stack has room for.
pub const STACK_BYTES: usize = 64 << 10;
/// Words from the place of a stack to its first entry: a cache line, whose last word is the lower sentinel.
pub const STACK_BASE: usize = 16;
/// Words of a cache line.
const LINE_WORDS: usize = 16;
/// What stands in a word of a stack that no entry was in yet: anything but 0.
pub const STACK_BLANK: i32 = 1;
/// Stacks of a class.
pub const STACKS_PER_CLASS: usize = 3;
/// Word: blocks in the outbox; they follow.
pub const OUTBOX: usize = 229_376;
/// Blocks that the outbox holds.
pub const OUTBOX_MAX: usize = 127;
/// The class number of a run of pages.
pub const CLASS_LARGE: usize = 127;
/// The class number in a page map word.
pub const CLASS_MASK: i32 = 0x7f;
/// In a page map word of a shared heap: a thread that does not own the slab waits for its owner to see that
/// plain stores end here (`publish.rs`).
pub const MODE_CLOSING: i32 = 1 << 7;
/// In a page map word of a shared heap: states on this page change by atomics only.
pub const MODE_PUBLIC: i32 = 2 << 7;
/// Both bits of the mode; neither is set on a private page, whose owner frees by plain stores.
pub const MODE_MASK: i32 = 3 << 7;
/// The owner's slot in a page map word starts at this bit.
pub const OWNER_SHIFT: usize = 9;
/// The owner's slot in a page map word.
pub const OWNER_MASK: i32 = 0x3ff << OWNER_SHIFT;
/// In a page map word of a shared heap, from this bit on: how often its owner had made pages private again when
/// the slab was made or the page was made private, modulo [`GENERATIONS`]. Tells a public page from the same
/// one after a time as a private page.
pub const GENERATION_SHIFT: usize = 19;
/// Generations that a page map word can tell apart.
pub const GENERATIONS: u32 = 1 << 12;

/// How many frees of its own blocks on public pages a thread of a shared heap tells of at once
/// (`Attachment::settle`).
pub const QUIET_FREES: usize = 256;

/// The most entries of a stack of class number `class`. The first classes are the multiples of a granule; where
/// that is not so, it is the byte rule of the magazines that holds.
pub const fn stack_capacity(class: usize) -> usize {
    if class == 0 {
        return STACK_CAPACITY;
    }
    let blocks = STACK_BYTES / (class * GRANULE_BYTES);
    if blocks > STACK_CAPACITY + 1 { blocks } else { STACK_CAPACITY }
}

/// Words from a stack of each class to the next. A table, for whoever looks at the stacks of all classes: the
/// capacities are divisions.
const STACK_STRIDES: [usize; CLASSES_MAX] = {
    let mut strides = [0; CLASSES_MAX];
    let mut class = 0;
    while class < CLASSES_MAX {
        let lines = (STACK_BASE + stack_capacity(class) + 1).div_ceil(LINE_WORDS);
        strides[class] = (lines | 1) * LINE_WORDS;
        class += 1;
    }
    strides
};

/// Words from a stack of `class` to the next.
///
/// # Panics
///
/// From [`CLASSES_MAX`] on.
#[inline]
pub const fn stack_stride(class: usize) -> usize {
    STACK_STRIDES[class]
}

/// Words from [`STACKS`] to the first stack of each class; the last is the end of all.
const STACK_PLACES: [usize; CLASSES_MAX + 1] = {
    let mut places = [0; CLASSES_MAX + 1];
    let mut class = 0;
    while class < CLASSES_MAX {
        places[class + 1] = places[class] + STACKS_PER_CLASS * stack_stride(class);
        class += 1;
    }
    places
};

/// Word: where the stacks of `class` begin, and those of the class before it end.
///
/// # Panics
///
/// Above [`CLASSES_MAX`].
#[inline]
pub const fn stack_place(class: usize) -> usize {
    STACKS + STACK_PLACES[class]
}

/// State of a block, shared mode: not live.
pub const STATE_DEAD: u8 = 0;
/// State of a block, shared mode: live.
pub const STATE_LIVE: u8 = 1;
/// States of a block from here on, shared mode: freed, with a mark of the thread that freed it. See [`mark_of`].
pub const STATE_MARK: u8 = 2;
/// How many slots have a mark to themselves.
pub const MARKS: usize = 253;
/// The mark of all other slots.
pub const STATE_CROWD: u8 = u8::MAX;

/// The state of a block that the thread in `slot` has freed, where that takes an atomic: it is in the thread's
/// magazines if the slab is its own, else in its outbox; or the thread has yet to look whether it may keep it.
///
/// A mark of one thread alone, so that what a thread takes back is its own claim and no other's, and so that
/// a claim by mistake is known from what a dead thread held (`recover.rs`). Slots from [`MARKS`] on share
/// [`STATE_CROWD`]: their threads free by way of the engine only, one at a time, and leave no block with it.
#[expect(clippy::cast_possible_truncation, reason = "below MARKS")]
pub const fn mark_of(slot: usize) -> u8 {
    if slot < MARKS { STATE_MARK + slot as u8 } else { STATE_CROWD }
}

const _: () = assert!(mark_of(MARKS - 1) + 1 == STATE_CROWD);
const _: () = assert!(S2C + S2C_WORDS <= LOW);
const _: () = assert!(LOW + CLASSES_MAX <= SEEN);
const _: () = assert!(SEEN + CLASSES_MAX <= POOL_LOW);
const _: () = assert!(POOL_LOW + CLASSES_MAX <= AT);
const _: () = assert!(CLASS_LARGE < CLASSES_MAX && CLASS_LARGE <= CLASS_MASK as usize);
const _: () = assert!(HAZARD < ALLOCS);
const _: () = assert!(AT + CLASSES_MAX <= FT);
const _: () = assert!(FT + CLASSES_MAX <= PT);
const _: () = assert!(PT + CLASSES_MAX <= COUNT);
const _: () = assert!(COUNT + CLASSES_MAX <= STACKS);
// Both words that a poisoned top looks at are 0 for ever.
const _: () = assert!(POISON - 1 > ALLOCS + 1 && POISON < S2C);
const _: () = assert!(stack_stride(1) == 4144 && stack_stride(8) == 528 && stack_stride(0) == 528);
const _: () = assert!(stack_place(CLASSES_MAX) <= OUTBOX);
const _: () = assert!((OUTBOX + 1 + OUTBOX_MAX) * 4 <= AREA_BYTES);
const _: () = assert!(AREA_BYTES.is_multiple_of(64 << 10));
const _: () = assert!(THREADS_MAX - 1 <= (OWNER_MASK >> OWNER_SHIFT) as usize);
const _: () = assert!(OWNER_MASK >> GENERATION_SHIFT == 0);
const _: () = assert!((GENERATIONS as u64) << GENERATION_SHIFT == 1 << 31);

/// Sizes and byte offsets of one heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of data.
    pub size: usize,
    /// Threads at once.
    pub max_threads: usize,
    /// Bytes of metadata.
    pub meta_size: usize,
    /// Offset of the page map. It and the state bits span the next power of two of `size`: an address
    /// that is masked to that needs no other check before it is looked up.
    pub page_map: usize,
    /// Offset of the state bits.
    pub state_bits: usize,
    /// Offset of the state bytes.
    pub state_bytes: usize,
    /// Offset of the area of slot 0 of a shared heap; those of higher slots follow.
    pub areas: usize,
}

impl Geometry {
    /// The layout of a heap of `size` bytes, rounded up to [`SIZE_UNIT`].
    ///
    /// # Errors
    ///
    /// [`HeapError::InvalidParam`] below [`SIZE_MIN`] or for no threads, [`HeapError::Capacity`] above
    /// [`SIZE_MAX`] or [`THREADS_MAX`].
    pub fn new(size: usize, max_threads: usize) -> Result<Self, HeapError> {
        if size < SIZE_MIN || max_threads == 0 {
            return Err(HeapError::InvalidParam);
        }
        if size > SIZE_MAX {
            return Err(HeapError::Capacity { limit: SIZE_MAX });
        }
        if max_threads > THREADS_MAX {
            return Err(HeapError::Capacity { limit: THREADS_MAX });
        }
        let round = |length| align_up(length, page_size()).ok_or(HeapError::InvalidParam);
        let size = align_up(size, SIZE_UNIT).ok_or(HeapError::InvalidParam)?;
        let page_map = AREA_BYTES;
        let span = size.next_power_of_two();
        let state_bits = page_map + round(span / PAGE_BYTES * 4)?;
        let state_bytes = state_bits + round(span / GRANULE_BYTES / 8)?;
        let areas = state_bytes + round(size / GRANULE_BYTES)?;
        let meta_size = areas + max_threads * AREA_BYTES;
        Ok(Self { size, max_threads, meta_size, page_map, state_bits, state_bytes, areas })
    }

    /// Offset of the area of `slot`.
    #[inline]
    pub fn area(&self, slot: usize, shared: bool) -> usize {
        debug_assert!(slot < self.max_threads);
        if shared { self.areas + slot * AREA_BYTES } else { 0 }
    }

    /// Whether the words of a magazine are granule numbers rather than addresses.
    #[inline]
    pub fn is_wide(&self) -> bool {
        self.size > NARROW_SIZE_MAX
    }

    /// The word of a magazine that stands for the block at `p`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32 by construction of the heap")]
    pub fn entry_of(&self, p: usize) -> i32 {
        debug_assert!(p < self.size);
        let number = if self.is_wide() { p >> GRANULE_SHIFT } else { p };
        (number as u32).cast_signed()
    }

    /// The block that a word of a magazine stands for; any word gives a number below 2^36.
    #[inline]
    pub fn block_of(&self, entry: i32) -> usize {
        let number = entry.cast_unsigned() as usize;
        if self.is_wide() { number << GRANULE_SHIFT } else { number }
    }
}
