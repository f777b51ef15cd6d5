//! The live table of a byte allocator: start → size and alignment of every live block, in its control
//! mappings. It decides every free.
//!
//! ```text
//!  bits      0 0 1 0 0 0 0 0 1 0 0 …        one for each place where a block can start: 1 where one does
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
//! bits are for, one a granule: 1/64 to 1/512 of the part of the range that is in use, mapped lazily.
//!
//! A free of any number costs one bit test, and only a set bit makes the record mean something. Compared
//! with a hash table there is no growth, no rehashing pause, no unpredictable branch and no cache line of
//! its own per block; `docs/mirror.md` has the measurements.
//!
//! Large pages: a crate that fills its range in order writes a header into every page, and a free of any of
//! them then misses the processor's table of pages, which 4 KiB pages fill from 12 MiB on. So before blocks
//! reach a new window of 2 MiB, [`ControlTable::look_ahead`] asks for one large page there, if nearly every
//! page of the window before holds a block. A wrong guess costs what is left of one window.
//!
//! Invariants ([`LiveSet::check`]):
//! 1. A bit is set iff a live block starts there; words of bits from `high` on are 0.
//! 2. The record of a live block is never 0.
//! 3. `len` is the number of bits set.
//!
//! What makes it work is promised by `ByteRules`, that every block starts at a multiple of a granule, and by
//! `ByteFamily`, that it has at least 8 bytes and is left alone while it is live.
//!
//! Not here: allocators without a control mapping (`live_table.rs`).

use std::{collections::TryReserveError, ptr::NonNull, sync::Arc};

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

/// A large page.
const WINDOW_BYTES: usize = 2 << 20;
/// How far into a window blocks are when the next is decided on: a crate writes ahead, and a window whose
/// first small page was touched takes no large one.
const LOOK_BYTES: usize = WINDOW_BYTES / 4 * 3;
/// Small pages are counted in this unit, whatever the system's is.
const PAGE_BYTES: usize = 4096;
/// So many pages before the decision must hold the start of a block.
const PAGES_DENSE: usize = LOOK_BYTES / PAGE_BYTES / 8 * 7;

/// The largest size that a record holds; far above 2^53, which bounds every range.
const SIZE_MAX: usize = (1 << (64 - SIZE_SHIFT)) - 1;

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

/// The live blocks of one range.
#[derive(Debug)]
pub(crate) struct ControlTable {
    /// First address of the range, as the program knows it.
    base: usize,
    /// Its first byte in the control mapping.
    control: *mut u8,
    /// First word of bits, in `bits_region`.
    words: *mut u64,
    /// Places where a block can start.
    places: usize,
    /// Bytes between two places.
    granule_log2: u32,
    /// Words of bits below which all that are not 0 lie.
    high: usize,
    len: usize,
    /// The address from which on a new highest block makes us [`look_ahead`](Self::look_ahead).
    look_at: usize,
    /// Holds the records.
    control_region: Arc<Region>,
    #[cfg_attr(not(test), expect(dead_code, reason = "keeps the memory behind `words`"))]
    bits_region: Region,
}

// SAFETY: the pointers are into two mappings that the table keeps.
unsafe impl Send for ControlTable {}

impl ControlTable {
    /// A table for the blocks in `size` bytes from `base`, which start at multiples of `granule` from
    /// there, with its records in `control`, which is as long.
    ///
    /// # Errors
    ///
    /// What the system answered when asked for the bits.
    ///
    /// # Safety
    ///
    /// 1. While a block is recorded, the first 8 bytes at its place in `control` are the table's alone.
    pub(crate) unsafe fn new(
        base: usize,
        size: usize,
        granule: usize,
        control_region: Arc<Region>,
    ) -> Result<Self, RegionError> {
        debug_assert!(control_region.size() >= size);
        debug_assert!(granule.is_power_of_two());
        debug_assert!(granule >= RECORD_BYTES);
        // What is left behind the last whole granule is too short for a block.
        let places = size / granule;
        let bits_region = Region::reserve(places.div_ceil(64).max(1) * size_of::<u64>())?;
        bits_region.commit(0, bits_region.size())?;
        #[expect(clippy::cast_ptr_alignment, reason = "a region starts at a page")]
        let words = bits_region.base().as_ptr().cast::<u64>();
        Ok(Self {
            base,
            control: control_region.base().as_ptr(),
            words,
            places,
            granule_log2: granule.trailing_zeros(),
            high: 0,
            len: 0,
            look_at: base.next_multiple_of(WINDOW_BYTES) + LOOK_BYTES,
            control_region,
            bits_region,
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
                (page..page + places).step_by(64).any(|place| self.word(place) != 0)
            };
            if (0..LOOK_BYTES / PAGE_BYTES).filter(holds_a_block).count() >= PAGES_DENSE {
                // Advice only: without large pages everything is as it was.
                let _ = self.control_region.advise(next, WINDOW_BYTES, Advice::HugePages);
            }
        }
        let reached = align_down(start, WINDOW_BYTES) + LOOK_BYTES;
        self.look_at = if reached > start { reached } else { reached + WINDOW_BYTES };
    }

    /// The word of bits that holds the place's.
    #[inline]
    fn word(&self, place: usize) -> u64 {
        debug_assert!(place < self.places);
        // SAFETY: every caller's place is below `places`, for which `new` mapped the words.
        unsafe { self.words.wrapping_add(place / 64).read() }
    }

    #[inline]
    fn set_word(&mut self, place: usize, word: u64) {
        debug_assert!(place < self.places);
        // SAFETY: as in `word`.
        unsafe { self.words.wrapping_add(place / 64).write(word) };
    }

    /// Where the control mapping has the block at `place`.
    #[inline]
    fn control_at(&self, place: usize) -> *mut u8 {
        debug_assert!(place < self.places);
        self.control.wrapping_add(place << self.granule_log2)
    }

    #[inline]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the control base and granules are multiples of 8"
    )]
    fn record(&self, place: usize) -> Record {
        // SAFETY: every caller's place has its bit set, so its record is ours (bullet 1 of `new`), inside
        // `control_region`, and was written by `set_record`.
        unsafe { self.control_at(place).cast::<Record>().read() }
    }

    #[inline]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the control base and granules are multiples of 8"
    )]
    fn set_record(&mut self, place: usize, record: Record) {
        // SAFETY: a block is live at every caller's place, so its record is ours as in `record`.
        unsafe { self.control_at(place).cast::<Record>().write(record) };
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

    /// Where the program knows the block at `place`.
    #[inline]
    fn start_of(&self, place: usize) -> usize {
        self.base + (place << self.granule_log2)
    }

    #[inline]
    fn insert(&mut self, place: usize, record: Record) {
        let word = self.word(place);
        let bit = 1 << (place % 64);
        debug_assert!(word & bit == 0);
        self.set_word(place, word | bit);
        self.set_record(place, record);
        if place / 64 >= self.high {
            self.high = place / 64 + 1;
            let start = self.start_of(place);
            if start >= self.look_at {
                self.look_ahead(start);
            }
        }
        self.len += 1;
    }

    /// The place of the block that starts at `start`, if it is live.
    #[inline]
    fn find(&self, start: usize) -> Option<usize> {
        let place = self.place(start)?;
        (self.word(place) & (1 << (place % 64)) != 0).then_some(place)
    }

    /// Forgets a live block. Its record may be the crate's again and is not looked at.
    #[inline]
    fn remove(&mut self, place: usize) {
        let word = self.word(place);
        let bit = 1 << (place % 64);
        debug_assert!(word & bit != 0);
        self.set_word(place, word & !bit);
        self.len -= 1;
    }

    /// Every live block with its start, ascending.
    fn iter(&self) -> impl Iterator<Item = (usize, Record)> {
        (0..self.high).flat_map(move |index| {
            let mut word = self.word(index * 64);
            let places = std::iter::from_fn(move || {
                let place = (word != 0).then(|| index * 64 + word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(place)
            });
            places.map(|place| (self.start_of(place), self.record(place)))
        })
    }

    fn check(&self) -> Result<(), String> {
        let counted = self.iter().count();
        if counted != self.len {
            return Err(format!("{counted} bits are set for {} blocks", self.len));
        }
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
    /// it; `None` where no block can be.
    #[inline]
    pub(crate) fn insert_at(&mut self, address: NonNull<u8>, block: Block) -> Option<usize> {
        for table in &mut self.tables {
            let offset = address.addr().get().wrapping_sub(table.control.addr());
            if let Some(place) = table.place_of(offset) {
                table.insert(place, Record::new(block));
                return Some(table.start_of(place));
            }
        }
        None
    }

    /// Judges the free of `start` and forgets the block.
    ///
    /// # Errors
    ///
    /// As those of `Ledger::judge`; nothing has changed then.
    #[inline]
    pub(crate) fn take(
        &mut self,
        start: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome<Taken> {
        for table in &mut self.tables {
            let Some(place) = table.find(start) else { continue };
            let record = table.record(place);
            let block = record.block();
            if size.is_some_and(|size| size != block.size)
                || align.is_some_and(|align| align != block.align)
            {
                return Err(Refusal::SizeMismatch { size: block.size, align: block.align });
            }
            let address = NonNull::new(table.control_at(place)).ok_or(Refusal::Internal)?;
            table.remove(place);
            return Ok(Taken { address, block, is_kept: record.is_kept() });
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
        let record = table.record(index).with_kept(kept);
        table.set_record(index, record);
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

    fn len(&self) -> usize {
        self.tables.iter().map(|table| table.len).sum()
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
        table.insert(place, Record::new(block));
    }

    #[inline]
    fn find(&self, start: usize) -> Option<Place> {
        let mut tables = self.tables.iter().enumerate();
        tables.find_map(|(range, table)| {
            let index = table.find(start)?;
            Some(Place { range, index, found: table.record(index) })
        })
    }

    #[inline]
    fn block(&self, place: Place) -> Block {
        place.found.block()
    }

    #[inline]
    fn remove(&mut self, Place { range, index, .. }: Place) {
        self.tables[range].remove(index);
    }

    fn set_size(&mut self, Place { range, index, .. }: Place, size: usize) {
        let table = &mut self.tables[range];
        let record = table.record(index).with_size(size);
        table.set_record(index, record);
    }

    fn mark(&mut self, Place { range, index, .. }: Place) -> bool {
        let table = &mut self.tables[range];
        let record = table.record(index);
        table.set_record(index, record.with_mark(true));
        !record.is_marked()
    }

    fn unmark(&mut self, Place { range, index, .. }: Place) {
        let table = &mut self.tables[range];
        let record = table.record(index).with_mark(false);
        table.set_record(index, record);
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
mod tests {
    use std::collections::BTreeMap;

    use heapwright_region::Placement;
    use heapwright_testkit::prng::{Prng, seed};

    use super::*;

    /// A table over memory of its own.
    fn tables(base: usize, size: usize, granule: usize) -> (ControlTables, Arc<Region>) {
        let residue = base & (WINDOW_BYTES - 1);
        let placement = Placement { modulus: WINDOW_BYTES, residue };
        let control = Arc::new(Region::reserve_placed(size, placement).unwrap());
        control.commit(0, size).unwrap();
        // SAFETY: nobody else writes there while a block is recorded.
        let table =
            unsafe { ControlTable::new(base, size, granule, Arc::clone(&control)) }.unwrap();
        (ControlTables { tables: vec![table] }, control)
    }

    fn block(size: usize) -> Block {
        Block { size, align: 8 }
    }

    #[test]
    fn keeps_size_alignment_and_flags_apart() {
        for size in [1, 255, 1 << 52, SIZE_MAX] {
            for align in [1, 8, 1 << 30] {
                let block = Block { size, align };
                let record = Record::new(block);
                assert!(!record.is_none());
                assert!(!record.is_kept() && !record.is_marked());
                let flagged = record.with_mark(true).with_kept(true);
                assert_eq!(flagged.block(), block);
                assert_eq!(flagged.with_size(7).block(), Block { size: 7, align });
                assert!(flagged.with_size(7).is_kept() && flagged.with_size(7).is_marked());
                assert_eq!(flagged.with_mark(false).with_kept(false), record);
            }
        }
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let (mut live, _control) = tables(4096, 1 << 20, 8);
        assert!(live.find(4096).is_none());
        live.insert(4096, block(1));
        live.insert(8192, Block { size: 1 << 52, align: 1 << 30 });
        live.insert(4096 + (1 << 20) - 8, block(8));
        assert_eq!(live.block(live.find(4096).unwrap()), block(1));
        let place = live.find(8192).unwrap();
        assert_eq!(live.block(place), Block { size: 1 << 52, align: 1 << 30 });
        for stranger in [
            0,
            4088,
            4097,
            4100,
            4104,
            1 << 20,
            (1 << 20) + 4096,
            1 << 60,
            usize::MAX,
            usize::MAX - 7,
        ] {
            assert!(live.find(stranger).is_none(), "{stranger}");
        }
        live.remove(place);
        assert!(live.find(8192).is_none());
        live.check().unwrap();
    }

    #[test]
    fn is_not_misled_by_what_a_crate_leaves_behind() {
        let (mut live, control) = tables(4096, 8192, 8);
        #[expect(clippy::cast_ptr_alignment, reason = "a region starts at a page")]
        let words = control.base().as_ptr().cast::<u64>();
        for index in 0..1024 {
            // SAFETY: inside the region; no block is live.
            unsafe { words.wrapping_add(index).write(u64::MAX) };
        }
        assert!((0..20_000).all(|start| live.find(start).is_none()));
        live.insert(4104, block(16));
        assert_eq!(
            (0..20_000).filter(|&start| live.find(start).is_some()).collect::<Vec<_>>(),
            [4104]
        );
        assert_eq!(live.sorted().unwrap(), [(4104, block(16))]);
    }

    #[test]
    fn touches_no_more_than_its_blocks() {
        let (mut live, control) = tables(0, 1 << 34, 8);
        for index in 0..1000 {
            live.insert(index * 64, block(1));
        }
        let resident = |region: &Region| heapwright_region::resident_bytes(region).unwrap();
        assert!(resident(&live.tables[0].bits_region) <= 4096);
        assert!(resident(&control) <= 16 * 4096);
    }

    /// Blocks a page apart may make up to one window more resident than they touch, wide ones nothing.
    #[test]
    fn asks_for_large_pages_where_they_will_be_filled() {
        for (stride, more_max) in [(544, WINDOW_BYTES), (4096, WINDOW_BYTES), (1 << 16, 0)] {
            let base = (5 << 20) + 4096 * 3;
            let (mut live, control) = tables(base, 64 << 20, 16);
            let mut pages = std::collections::BTreeSet::new();
            for start in (base..base + (33 << 20)).step_by(stride) {
                live.insert(start, block(16));
                pages.insert(start / 4096);
                if pages.len() % 256 == 1 {
                    let resident = heapwright_region::resident_bytes(&control).unwrap();
                    let touched = pages.len() * heapwright_region::page_size();
                    assert!(resident <= touched + more_max, "{resident} for {touched}");
                }
            }
            live.check().unwrap();
        }
    }

    /// Against a `BTreeMap`, over places near each other and far apart.
    #[test]
    fn agrees_with_a_map_after_every_step() {
        let mut random = Prng::new(seed(0x11fe));
        let steps = if cfg!(miri) { 300 } else { 60_000 };
        for (base, range, granule, stride) in [
            (4096, 4096, 8, 8),
            (4096, 8192, 16, 16),
            (1 << 20, 400 << 6, 64, 64),
            (1 << 21, 400 << 12, 64, 4096),
            (1 << 50, 1 << 27, 8, 1 << 18),
        ] {
            let (mut live, control) = tables(base, range, granule);
            let mut oracle = BTreeMap::new();
            for step in 0..steps {
                let start = base + random.below(400) * stride;
                match (live.find(start), oracle.remove(&start)) {
                    (Some(place), Some(expected)) => {
                        assert_eq!(live.block(place), expected);
                        let Block { size, align } = expected;
                        let mismatch = Err(Refusal::SizeMismatch { size, align });
                        let taken = |taken: Taken| (taken.address, taken.block, taken.is_kept);
                        assert_eq!(live.take(start, Some(size + 1), None).map(taken), mismatch);
                        assert_eq!(live.take(start, None, Some(align << 1)).map(taken), mismatch);
                        let address = control.base().map_addr(|first| {
                            first.checked_add(start - base).expect("no mapping wraps around")
                        });
                        assert_eq!(
                            live.take(start, Some(size), Some(align)).map(taken),
                            Ok((address, expected, false))
                        );
                        assert_eq!(
                            live.take(start, None, None).map(taken),
                            Err(Refusal::NotAllocated)
                        );
                    }
                    (None, None) => {
                        let bits = random.below(53);
                        let size = 1 + random.below(1 << bits);
                        let made = Block { size, align: 1 << random.below(31) };
                        let address = control.base().map_addr(|first| {
                            first.checked_add(start - base).expect("no mapping wraps around")
                        });
                        assert_eq!(live.insert_at(address, made), Some(start));
                        oracle.insert(start, made);
                        let inside = 1 + random.below(granule - 1);
                        assert!(live.find(start + inside).is_none());
                    }
                    (found, expected) => panic!("{start}: {found:?} against {expected:?}"),
                }
                assert_eq!(live.len(), oracle.len());
                if step % 1024 == 0 {
                    live.check().unwrap();
                    let expected: Vec<_> =
                        oracle.iter().map(|(&start, &made)| (start, made)).collect();
                    assert_eq!(live.sorted().unwrap(), expected);
                }
            }
        }
    }
}
