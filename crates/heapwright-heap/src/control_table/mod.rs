//! The live table of a byte allocator: start → size and alignment of every live block, in its control
//! mappings. It decides every free.
//!
//! ```text
//!  marks     0 0 1 0 0 0 0 0 1 0 0 …        one for each place where a block can start: not 0 where one does
//!                │             │
//!  control   ┌───┼──┬──────────┼───┬──────
//!  mapping   │hdr│size·align   │hdr│size·align …     the first word of each live block's payload: its record
//!            └───┴──┴──────────┴───┴──────
//! ```
//!
//! In the control mapping the payload of a live block is nobody's: the crate leaves it alone until the
//! free, and the program's bytes are in the data mapping. So its first word holds how the block was asked
//! for, on the very cache line that the crate touches in the same call, at no cost in memory. Whether a
//! block starts at an address at all must not be read there, for it may be anything; that is what the
//! marks are for, one a granule, 1/64 or 1/128 of the part of the range that is in use, mapped lazily.
//!
//! A mark is a bit or, for a family that frees small blocks by their address alone, a *note*: a byte that is one
//! more than the block's slack, what is granted beyond what was asked for. Such a family only stores to a block
//! when it frees it, and the processor does not wait for a store. So a free does not read the record either:
//! with the slack, bytes asked for follow from bytes used. A slack that does not fit, a block that was resized,
//! and a free that names size or alignment are matters for the record.
//!
//! A free of any number costs one look at a mark, and only a mark makes the record mean something. Compared
//! with a hash table there is no growth, no rehashing pause, no unpredictable branch and no cache line of
//! its own per block; `docs/mirror.md` has the measurements.
//!
//! A crate puts its first block anywhere, often near the end, and a range can be far larger than memory. So
//! that nobody reads marks that were never written, a byte for each *stretch* of 512 KiB says whether a block
//! has ever started there, and another byte the same of 4,096 stretches: whoever asks for all blocks of 64 TiB
//! reads 32 KiB, and then what was in use. The common insert looks at one byte, which is as good as always
//! set; bytes of neighbors lie on one cache line.
//!
//! Large pages: a crate that fills its range in order writes a header into every page, and a free of any of
//! them then misses the processor's table of pages, which 4 KiB pages fill from 12 MiB on. So before blocks
//! reach a new window of 2 MiB, [`ControlTable::look_ahead`] asks for one large page there, if nearly every
//! page of the window before holds a block. A wrong guess costs what is left of one window.
//!
//! Invariants ([`LiveSet::check`]):
//! 1. A mark is not 0 iff a live block starts there.
//! 2. The record of a live block is never 0.
//! 3. A note from 1 to 254 is one more than the block's slack; that of any other live block is 255.
//! 4. Marks of a stretch whose byte is 0 are 0, and so are the bytes of stretches whose group's byte is 0.
//!    (Nobody looks there; the ledger would count more blocks than it finds.)
//!
//! What makes it work is promised by `ByteRules`, that every block starts at a multiple of a granule, and by
//! `ByteFamily`, that it has at least 8 bytes and is left alone while it is live.
//!
//! Not here: allocators without a control mapping (`live_table.rs`).

use std::{collections::TryReserveError, ops::Range, ptr::NonNull, sync::Arc};

use heapwright_core::align_down;
use heapwright_region::{Advice, Region, RegionError};

use crate::{
    ledger::LiveSet,
    live_table::Block,
    refusal::{Outcome, Refusal},
};

/// Bytes of a record: the least that a block has, and starts at a multiple of.
const RECORD_BYTES: usize = 8;

const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

/// Notes are bytes.
const NOTES_PER_WORD_LOG2: u32 = size_of::<u64>().ilog2();
/// The most slack that a note holds; it is one more than the slack, for 0 says that no block is there.
const NOTE_SLACK_MAX: u8 = 253;
/// The note of a block of which its record must be asked.
const NOTE_RECORD: u8 = u8::MAX;

const _: () = assert!(NOTE_SLACK_MAX + 1 < NOTE_RECORD);

/// A large page.
const WINDOW_BYTES: usize = 2 << 20;
/// How far into a window blocks are when the next is decided on: a crate writes ahead, and a window whose
/// first small page was touched takes no large one.
const LOOK_BYTES: usize = WINDOW_BYTES / 4 * 3;
/// Small pages are counted in this unit, whatever the system's is.
const PAGE_BYTES: usize = 4096;
/// So many pages before the decision must hold the start of a block.
const PAGES_DENSE: usize = LOOK_BYTES / PAGE_BYTES / 8 * 7;

/// A stretch of addresses, from one multiple of its length to the next. Large pages are decided on where
/// one begins.
const STRETCH_BYTES: usize = 1 << STRETCH_LOG2;
const STRETCH_LOG2: u32 = 19;
/// Stretches in a group.
const GROUP_STRETCHES: usize = 4096;

const _: () = assert!(WINDOW_BYTES.is_multiple_of(STRETCH_BYTES));
const _: () = assert!(LOOK_BYTES.is_multiple_of(STRETCH_BYTES));

/// The largest size that a record holds; far above 2^53, which bounds every range.
const SIZE_MAX: usize = (1 << (64 - SIZE_SHIFT)) - 1;

/// Words of marks begin at a multiple of this.
const CACHE_LINE_BYTES: usize = 64;

const ALIGN_MASK: u64 = 0x3f;
const MARK_BIT: u64 = 0x40;
const KEPT_BIT: u64 = 0x80;
const FLAGS_MASK: u64 = MARK_BIT | KEPT_BIT;
const SIZE_SHIFT: u32 = 8;

const _: () = assert!(SIZE_MAX as u64 >= 1 << 53, "every range fits");
const _: () = assert!(ALIGN_MASK | FLAGS_MASK == (1 << SIZE_SHIFT) - 1, "the parts are apart");

/// A [`Block`] in one word, with two flags: `size << 8 | kept | mark | log2(align)`. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
struct Record(u64);

impl Record {
    #[inline]
    fn new(block: Block) -> Self {
        debug_assert!(block.size > 0);
        debug_assert!(block.size <= SIZE_MAX);
        debug_assert!(block.align.is_power_of_two());
        let align = u64::from(block.align.trailing_zeros());
        Self(((block.size as u64) << SIZE_SHIFT) | align)
    }

    /// Whether this is the word of no block.
    #[inline]
    fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn block(self) -> Block {
        Block { size: (self.0 >> SIZE_SHIFT) as usize, align: 1 << (self.0 & ALIGN_MASK) }
    }

    /// The same block with another size; the flags stay.
    #[inline]
    fn with_size(self, size: usize) -> Self {
        let flags = self.0 & FLAGS_MASK;
        Self(Self::new(Block { size, ..self.block() }).0 | flags)
    }

    /// Whether a batch has met the block already.
    #[inline]
    fn is_marked(self) -> bool {
        self.0 & MARK_BIT != 0
    }

    #[inline]
    fn with_mark(self, marked: bool) -> Self {
        Self(if marked { self.0 | MARK_BIT } else { self.0 & !MARK_BIT })
    }

    /// Whether the crate holds the block under another size than this.
    #[inline]
    fn is_kept(self) -> bool {
        self.0 & KEPT_BIT != 0
    }

    #[inline]
    fn with_kept(self, kept: bool) -> Self {
        Self(if kept { self.0 | KEPT_BIT } else { self.0 & !KEPT_BIT })
    }
}

/// The note of a block with that much slack; `None` for a block of which its record must be asked.
#[inline]
fn note_of(slack: Option<usize>) -> u8 {
    match slack {
        #[expect(clippy::cast_possible_truncation, reason = "the guard compares it")]
        Some(slack) if slack <= NOTE_SLACK_MAX as usize => slack as u8 + 1,
        _ => NOTE_RECORD,
    }
}

/// The live blocks of one range.
#[derive(Debug)]
pub(crate) struct ControlTable {
    /// First address of the range, as the program knows it.
    base: usize,
    /// Its first byte in the control mapping.
    control: *mut u8,
    /// First word of bits or notes, in `marks_region`.
    words: *mut u64,
    /// Places where a block can start.
    places: usize,
    /// Bytes between two places.
    granule_log2: u32,
    /// Places that one word of marks stands for: 64 by bits, 8 by notes.
    word_places_log2: u32,
    /// A byte for each stretch, in `marks_region`: not 0 once a block has started there. It points to where
    /// the byte of address 0 would be.
    touched: *mut u8,
    /// A byte for each group of stretches, the first of them that of `base`, in `marks_region`.
    touched_groups: *mut u8,
    /// The address from which on the first block of a stretch makes us [`look_ahead`](Self::look_ahead).
    look_at: usize,
    /// Holds the records.
    control_region: Arc<Region>,
    #[cfg_attr(not(test), expect(dead_code, reason = "keeps the memory behind `words`"))]
    marks_region: Region,
}

// SAFETY: the pointers are into two mappings that the table keeps.
unsafe impl Send for ControlTable {}

impl ControlTable {
    /// A table for the blocks in `size` bytes from `base`, which start at multiples of `granule` from
    /// there, with its records in `control`, which is as long; marked by notes if `noted`, else by bits.
    ///
    /// # Errors
    ///
    /// What the system answered when asked for the marks.
    ///
    /// # Safety
    ///
    /// 1. While a block is recorded, the first 8 bytes at its place in `control` are the table's alone.
    pub(crate) unsafe fn new(
        base: usize,
        size: usize,
        granule: usize,
        control_region: Arc<Region>,
        noted: bool,
    ) -> Result<Self, RegionError> {
        debug_assert!(control_region.size() >= size);
        debug_assert!(granule.is_power_of_two());
        debug_assert!(granule >= RECORD_BYTES);
        debug_assert!(size > 0);
        // What is left behind the last whole granule is too short for a block.
        let places = size / granule;
        let word_places_log2 = if noted { NOTES_PER_WORD_LOG2 } else { u64::BITS.ilog2() };
        debug_assert!(
            base.is_multiple_of(granule << word_places_log2),
            "no word has two stretches"
        );
        let words = (places >> word_places_log2) + 1;
        let first_stretch = base >> STRETCH_LOG2;
        let stretches = ((base + size - 1) >> STRETCH_LOG2) - first_stretch + 1;
        let groups = stretches.div_ceil(GROUP_STRETCHES);
        // The bytes of stretches first: with those of a small range they share its first page of marks.
        let words_at = (groups + stretches).next_multiple_of(CACHE_LINE_BYTES);
        let marks_region = Region::reserve(words_at + words * size_of::<u64>())?;
        marks_region.commit(0, marks_region.size())?;
        let touched_groups = marks_region.base().as_ptr();
        let touched = touched_groups.wrapping_add(groups).wrapping_sub(first_stretch);
        #[expect(clippy::cast_ptr_alignment, reason = "a region starts at a page")]
        let words = touched_groups.wrapping_add(words_at).cast::<u64>();
        Ok(Self {
            base,
            control: control_region.base().as_ptr(),
            words,
            places,
            granule_log2: granule.trailing_zeros(),
            word_places_log2,
            touched,
            touched_groups,
            look_at: base.next_multiple_of(WINDOW_BYTES) + LOOK_BYTES,
            control_region,
            marks_region,
        })
    }

    /// Asks for a large page behind the window that blocks have nearly filled, if it is dense.
    #[cold]
    fn look_ahead(&mut self, start: usize) {
        let window = align_down(self.look_at, WINDOW_BYTES);
        let next = window + WINDOW_BYTES - self.base;
        let size = self.places << self.granule_log2;
        // Past the next window the question comes too late.
        if start - self.base < next && next + WINDOW_BYTES <= size {
            let places = PAGE_BYTES >> self.granule_log2;
            let first = (window - self.base) >> self.granule_log2;
            let holds_a_block = |page: &usize| {
                let page = first + page * places;
                let words = page >> self.word_places_log2..(page + places) >> self.word_places_log2;
                words.into_iter().any(|index| self.word(index) != 0)
            };
            if (0..LOOK_BYTES / PAGE_BYTES).filter(holds_a_block).count() >= PAGES_DENSE {
                // Advice only: without large pages everything is as it was.
                let _ = self.control_region.advise(next, WINDOW_BYTES, Advice::HugePages);
            }
        }
        let reached = align_down(start, WINDOW_BYTES) + LOOK_BYTES;
        self.look_at = if reached > start { reached } else { reached + WINDOW_BYTES };
    }

    /// Whether there is a note for each place, not a bit.
    #[inline]
    fn is_noted(&self) -> bool {
        self.word_places_log2 == NOTES_PER_WORD_LOG2
    }

    /// A word of marks.
    #[inline]
    fn word(&self, index: usize) -> u64 {
        debug_assert!(index <= self.places >> self.word_places_log2);
        // SAFETY: every caller's word stands for a place, or its like; `new` mapped one for the last place.
        unsafe { self.words.wrapping_add(index).read() }
    }

    #[inline]
    fn set_word(&mut self, index: usize, word: u64) {
        debug_assert!(index <= self.places >> self.word_places_log2);
        // SAFETY: as in `word`.
        unsafe { self.words.wrapping_add(index).write(word) };
    }

    /// The note of a place; 0 where no block starts.
    #[inline]
    fn note(&self, place: usize) -> u8 {
        debug_assert!(self.is_noted());
        debug_assert!(place < self.places);
        // SAFETY: every caller's place is below `places`, for each of which `new` mapped a byte.
        unsafe { self.words.cast::<u8>().wrapping_add(place).read() }
    }

    #[inline]
    fn set_note(&mut self, place: usize, note: u8) {
        debug_assert!(self.is_noted());
        debug_assert!(place < self.places);
        // SAFETY: as in `note`.
        unsafe { self.words.cast::<u8>().wrapping_add(place).write(note) };
    }

    /// Whether a block starts at `place`.
    #[inline]
    fn is_live<const NOTED: bool>(&self, place: usize) -> bool {
        if NOTED {
            return self.note(place) != 0;
        }
        self.word(place / 64) & (1 << (place % 64)) != 0
    }

    /// Marks `place`, where no block has started so far.
    #[inline]
    fn set_live<const NOTED: bool>(&mut self, place: usize, note: u8) {
        debug_assert!(!self.is_live::<NOTED>(place));
        debug_assert!(note != 0);
        if NOTED {
            return self.set_note(place, note);
        }
        let word = self.word(place / 64);
        self.set_word(place / 64, word | (1 << (place % 64)));
    }

    /// Where the control mapping has the block `offset` bytes into the range.
    #[inline]
    fn control_at(&self, offset: usize) -> *mut u8 {
        debug_assert!(self.place_of(offset).is_some());
        self.control.wrapping_add(offset)
    }

    #[inline]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the control base and granules are multiples of 8"
    )]
    fn record(&self, offset: usize) -> Record {
        // SAFETY: every caller's place has its mark set, so its record is ours (bullet 1 of `new`), inside
        // `control_region`, and was written by `set_record`.
        unsafe { self.control_at(offset).cast::<Record>().read() }
    }

    #[inline]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the control base and granules are multiples of 8"
    )]
    fn set_record(&mut self, offset: usize, record: Record) {
        // SAFETY: a block is live at every caller's place, so its record is ours as in `record`.
        unsafe { self.control_at(offset).cast::<Record>().write(record) };
    }

    /// The place `offset` bytes into the range, if a block can start there.
    #[inline]
    fn place_of(&self, offset: usize) -> Option<usize> {
        // What is no multiple of a granule has a bit set where no number of places has one.
        let place = offset.rotate_right(self.granule_log2);
        (place < self.places).then_some(place)
    }

    /// The place of `start`, if a block can start there.
    #[inline]
    fn place(&self, start: usize) -> Option<usize> {
        self.place_of(start.wrapping_sub(self.base))
    }

    /// How many bytes into the range `place` is.
    #[inline]
    fn offset_of(&self, place: usize) -> usize {
        place << self.granule_log2
    }

    #[inline]
    fn insert<const NOTED: bool>(&mut self, place: usize, offset: usize, record: Record, note: u8) {
        self.set_live::<NOTED>(place, note);
        self.set_record(offset, record);
        if !self.is_touched((self.base + offset) >> STRETCH_LOG2) {
            self.touch(place);
        }
    }

    /// Whether a block has ever started in `stretch`, which the range has a part of.
    #[inline]
    fn is_touched(&self, stretch: usize) -> bool {
        debug_assert!(self.stretches().contains(&stretch));
        // SAFETY: `new` mapped a byte for each stretch that the range has a part of.
        unsafe { self.touched.wrapping_add(stretch).read() != 0 }
    }

    /// Takes note of the first block of a stretch.
    #[cold]
    fn touch(&mut self, place: usize) {
        let start = self.base + self.offset_of(place);
        let stretch = start >> STRETCH_LOG2;
        let group = (stretch - self.stretches().start) / GROUP_STRETCHES;
        // SAFETY: as in `is_touched`.
        unsafe { self.touched.wrapping_add(stretch).write(1) };
        // SAFETY: `new` mapped a byte for each group of them, counted from the first.
        unsafe { self.touched_groups.wrapping_add(group).write(1) };
        if start >= self.look_at {
            self.look_ahead(start);
        }
    }

    /// The stretches that the range has a part of.
    #[inline]
    fn stretches(&self) -> Range<usize> {
        let end = self.base + self.offset_of(self.places);
        self.base >> STRETCH_LOG2..end.div_ceil(STRETCH_BYTES)
    }

    /// The stretches in which a block has ever started, ascending.
    fn touched(&self) -> impl Iterator<Item = usize> {
        let Range { start, end } = self.stretches();
        let firsts = (start..end).step_by(GROUP_STRETCHES).enumerate();
        let groups = firsts.filter(|&(group, _)| {
            // SAFETY: as in `touch`.
            unsafe { self.touched_groups.wrapping_add(group).read() != 0 }
        });
        let stretches = groups.flat_map(move |(_, first)| first..end.min(first + GROUP_STRETCHES));
        stretches.filter(|&stretch| self.is_touched(stretch))
    }

    /// The words of marks of the places in `stretch`.
    fn words_of(&self, stretch: usize) -> Range<usize> {
        let word_at = |address: usize| {
            let place = address.saturating_sub(self.base) >> self.granule_log2;
            place.min(self.places) >> self.word_places_log2
        };
        // The last word may stand for fewer places than others.
        let end = (stretch + 1) << STRETCH_LOG2;
        let is_last = end >= self.base + self.offset_of(self.places);
        word_at(stretch << STRETCH_LOG2)..word_at(end) + usize::from(is_last)
    }

    /// The place that the crate knows at `address` and how many bytes into the range it is, if a block can
    /// start there.
    #[inline]
    fn place_at(&self, address: NonNull<u8>) -> Option<(usize, usize)> {
        let offset = address.addr().get().wrapping_sub(self.control.addr());
        Some((self.place_of(offset)?, offset))
    }

    /// Judges the free of the live block at `place`, which the program knows at `start`, and forgets it.
    ///
    /// # Errors
    ///
    /// [`Refusal::SizeMismatch`]; nothing has changed then.
    #[inline]
    fn take<const NOTED: bool>(
        &mut self,
        place: usize,
        start: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome<Taken> {
        let offset = start - self.base;
        let record = self.record(offset);
        let block = record.block();
        if size.is_some_and(|size| size != block.size)
            || align.is_some_and(|align| align != block.align)
        {
            return Err(Refusal::SizeMismatch { size: block.size, align: block.align });
        }
        let address = NonNull::new(self.control_at(offset)).ok_or(Refusal::Internal)?;
        self.remove::<NOTED>(place);
        Ok(Taken { address, block, is_kept: record.is_kept() })
    }

    /// The place of the block that starts at `start`, if it is live.
    #[inline]
    fn find<const NOTED: bool>(&self, start: usize) -> Option<usize> {
        self.place(start).filter(|&place| self.is_live::<NOTED>(place))
    }

    /// Takes the block that starts at `start` off the table, if its note tells what there is to know.
    #[inline]
    fn take_noted(&mut self, start: usize) -> Option<(NonNull<u8>, usize)> {
        let offset = start.wrapping_sub(self.base);
        let place = self.place_of(offset)?;
        let slack = self.note(place).wrapping_sub(1);
        if slack > NOTE_SLACK_MAX {
            return None;
        }
        let address = NonNull::new(self.control_at(offset))?;
        self.set_note(place, 0);
        Some((address, usize::from(slack)))
    }

    /// Forgets a live block. Its record may be the crate's again and is not looked at.
    #[inline]
    fn remove<const NOTED: bool>(&mut self, place: usize) {
        debug_assert!(self.is_live::<NOTED>(place));
        if NOTED {
            return self.set_note(place, 0);
        }
        let word = self.word(place / 64);
        self.set_word(place / 64, word & !(1 << (place % 64)));
    }

    /// Live blocks, by counting them.
    fn len(&self) -> usize {
        self.places().count()
    }

    /// Where blocks start, ascending.
    fn places(&self) -> impl Iterator<Item = usize> {
        let mark_bits = 6 - self.word_places_log2;
        let is_noted = self.is_noted();
        self.touched().flat_map(|stretch| self.words_of(stretch)).flat_map(move |index| {
            let mut word = u64::from_le(self.word(index));
            std::iter::from_fn(move || {
                let mark = (word != 0).then(|| word.trailing_zeros() >> mark_bits)?;
                word &= if is_noted { !(0xff << (8 * mark)) } else { word - 1 };
                Some((index << self.word_places_log2) + mark as usize)
            })
        })
    }

    /// Every live block with its start, ascending.
    fn iter(&self) -> impl Iterator<Item = (usize, Record)> {
        let offsets = self.places().map(|place| self.offset_of(place));
        offsets.map(|offset| (self.base + offset, self.record(offset)))
    }

    fn check(&self) -> Result<(), String> {
        match self.iter().find(|(_, record)| record.is_none()) {
            Some((start, _)) => Err(format!("the block {start:#x} has no record")),
            None => Ok(()),
        }
    }
}

/// The live blocks of a byte allocator: one table for each range, in order of addition.
#[derive(Debug, Default)]
pub(crate) struct ControlTables {
    tables: Vec<ControlTable>,
}

/// The place of a live block: the index of its range, and its number there; with its record as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) range: usize,
    index: usize,
    found: Record,
}

impl Place {
    /// Whether the crate holds the block under another size than the table.
    #[inline]
    pub(crate) fn is_kept(self) -> bool {
        self.found.is_kept()
    }
}

/// A block that was taken off the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Where its crate keeps it.
    pub(crate) address: NonNull<u8>,
    /// How it was asked for.
    pub(crate) block: Block,
    /// Whether the crate holds it under another size.
    pub(crate) is_kept: bool,
}

impl ControlTables {
    /// Records the block that the crate has just made at `address`, and answers where the program knows
    /// it; `None` where no block can be. Of a block that is freed by its address alone, `slack` is noted.
    #[inline]
    pub(crate) fn insert_at<const NOTED: bool>(
        &mut self,
        address: NonNull<u8>,
        block: Block,
        slack: Option<usize>,
    ) -> Option<usize> {
        let note = note_of(slack);
        // Most allocators have one range; the others cost the first nothing.
        if let Some(first) = self.tables.first_mut()
            && let Some((place, offset)) = first.place_at(address)
        {
            first.insert::<NOTED>(place, offset, Record::new(block), note);
            return Some(first.base + offset);
        }
        self.insert_behind::<NOTED>(address, block, note)
    }

    /// As [`insert_at`](Self::insert_at), in any range but the first.
    #[cold]
    fn insert_behind<const NOTED: bool>(
        &mut self,
        address: NonNull<u8>,
        block: Block,
        note: u8,
    ) -> Option<usize> {
        self.tables.iter_mut().skip(1).find_map(|table| {
            let (place, offset) = table.place_at(address)?;
            table.insert::<NOTED>(place, offset, Record::new(block), note);
            Some(table.base + offset)
        })
    }

    /// Takes the block that starts at `start` off the table, if it is live and its note tells what there is to
    /// know: where its crate keeps it, and its slack. Nothing has changed otherwise, and [`take`](Self::take)
    /// judges the free.
    #[inline]
    pub(crate) fn take_noted(&mut self, start: usize) -> Option<(NonNull<u8>, usize)> {
        self.tables.first_mut()?.take_noted(start)
    }

    /// Judges the free of `start` and forgets the block.
    ///
    /// # Errors
    ///
    /// As those of `Ledger::judge`; nothing has changed then.
    #[inline]
    pub(crate) fn take<const NOTED: bool>(
        &mut self,
        start: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome<Taken> {
        if let Some(first) = self.tables.first_mut()
            && let Some(place) = first.find::<NOTED>(start)
        {
            return first.take::<NOTED>(place, start, size, align);
        }
        self.take_behind::<NOTED>(start, size, align)
    }

    /// As [`take`](Self::take), in any range but the first.
    #[cold]
    fn take_behind<const NOTED: bool>(
        &mut self,
        start: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome<Taken> {
        for table in self.tables.iter_mut().skip(1) {
            if let Some(place) = table.find::<NOTED>(start) {
                return table.take::<NOTED>(place, start, size, align);
            }
        }
        Err(Refusal::NotAllocated)
    }

    /// Makes room for one more range.
    ///
    /// # Errors
    ///
    /// Out of memory.
    pub(crate) fn reserve_table(&mut self) -> Result<(), TryReserveError> {
        self.tables.try_reserve(1)
    }

    /// Adds the table of a range, for which there is room.
    pub(crate) fn push(&mut self, table: ControlTable) {
        self.tables.push(table);
    }

    /// Notes whether the crate holds the block at `place` under another size than the table.
    pub(crate) fn set_kept(&mut self, Place { range, index, .. }: Place, kept: bool) {
        let table = &mut self.tables[range];
        let offset = table.offset_of(index);
        let record = table.record(offset).with_kept(kept);
        table.set_record(offset, record);
    }

    /// Every live block of which the slack is noted, with it.
    pub(crate) fn noted(&self) -> impl Iterator<Item = (Block, usize)> {
        let tables = self.tables.iter().filter(|table| table.is_noted());
        tables.flat_map(|table| {
            table.places().filter_map(|place| {
                let slack = table.note(place).wrapping_sub(1);
                let block = table.record(table.offset_of(place)).block();
                (slack <= NOTE_SLACK_MAX).then(|| (block, usize::from(slack)))
            })
        })
    }

    /// How many blocks the crate holds under another size.
    pub(crate) fn kept_count(&self) -> usize {
        self.tables
            .iter()
            .flat_map(ControlTable::iter)
            .filter(|(_, record)| record.is_kept())
            .count()
    }
}

impl LiveSet for ControlTables {
    type Position = Place;

    #[inline]
    fn counts_slack(&self) -> bool {
        self.tables.first().is_some_and(ControlTable::is_noted)
    }

    fn len(&self) -> usize {
        self.tables.iter().map(ControlTable::len).sum()
    }

    #[inline]
    fn reserve(&mut self, _additional: usize) -> Result<(), TryReserveError> {
        Ok(())
    }

    /// # Panics
    ///
    /// Where no block can start at `start`: the family broke its promise.
    #[inline]
    fn insert(&mut self, start: usize, block: Block) {
        let found = self.tables.iter_mut().find_map(|table| Some((table.place(start)?, table)));
        let (place, table) = found.expect("blocks start at multiples of a granule in a range");
        let offset = start - table.base;
        if table.is_noted() {
            table.insert::<true>(place, offset, Record::new(block), NOTE_RECORD);
        } else {
            table.insert::<false>(place, offset, Record::new(block), NOTE_RECORD);
        }
    }

    #[inline]
    fn find(&self, start: usize) -> Option<Place> {
        let mut tables = self.tables.iter().enumerate();
        tables.find_map(|(range, table)| {
            let index = if table.is_noted() {
                table.find::<true>(start)
            } else {
                table.find::<false>(start)
            }?;
            Some(Place { range, index, found: table.record(start - table.base) })
        })
    }

    #[inline]
    fn block(&self, place: Place) -> Block {
        place.found.block()
    }

    #[inline]
    fn remove(&mut self, Place { range, index, .. }: Place) {
        let table = &mut self.tables[range];
        if table.is_noted() { table.remove::<true>(index) } else { table.remove::<false>(index) }
    }

    fn set_size(&mut self, Place { range, index, .. }: Place, size: usize) {
        let table = &mut self.tables[range];
        let offset = table.offset_of(index);
        let record = table.record(offset).with_size(size);
        table.set_record(offset, record);
        if table.is_noted() {
            table.set_note(index, NOTE_RECORD);
        }
    }

    fn mark(&mut self, Place { range, index, .. }: Place) -> bool {
        let table = &mut self.tables[range];
        let offset = table.offset_of(index);
        let record = table.record(offset);
        table.set_record(offset, record.with_mark(true));
        !record.is_marked()
    }

    fn unmark(&mut self, Place { range, index, .. }: Place) {
        let table = &mut self.tables[range];
        let offset = table.offset_of(index);
        let record = table.record(offset).with_mark(false);
        table.set_record(offset, record);
    }

    fn sorted(&self) -> Result<Vec<(usize, Block)>, TryReserveError> {
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(self.len())?;
        let mut order: Vec<&ControlTable> = self.tables.iter().collect();
        order.sort_unstable_by_key(|table| table.base);
        let records = order.into_iter().flat_map(ControlTable::iter);
        blocks.extend(records.map(|(start, record)| (start, record.block())));
        Ok(blocks)
    }

    fn check(&self) -> Result<(), String> {
        for table in &self.tables {
            table.check()?;
            if let Some((start, _)) = table.iter().find(|(_, record)| record.is_marked()) {
                return Err(format!("the block {start:#x} is still marked by a batch"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
