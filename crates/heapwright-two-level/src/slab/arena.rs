//! Where slab descriptors live: outside the pages, in lines of 64 bytes, at stable places.
//!
//! ```text
//! word 0  base            address of the slab
//! word 1  shape           slots (32) · pages (24) · class (8)
//! word 2  links           next (32) · previous (32) among those that can serve, see `lists.rs`
//! word 3  state           available slots (32) · first word to search (8) · list (8) · owner (16)
//! word 4  pending         queued (1) · the slab below it on a pending stack (32): see `remote.rs`
//! word 5  class links     next (32) · previous (32) of its class and owner
//! word 6  available bits  one for each slot: the owner may hand it out
//!   …     freed bits      one for each slot: it is in nobody's hands (atomic)
//! ```
//!
//! A slab of up to 64 slots is exactly one line. Descriptors are named by [`SlabId`], the number of
//! their first line. Lines come from a first segment, as large as the first range needs, and from more
//! that double in size; so an id is resolved in constant time, nearly always by one look-up, memory is
//! mapped ahead and touched as used, and no descriptor ever moves or goes away. A
//! descriptor that was returned is reused only with as many bitmap words, so a word never changes its
//! meaning; word 4 lives through that.
//!
//! Words 0, 1 and the bitmaps' size are set while nobody else can know the slab. Words 2, 3, 5 and the
//! available bits are written under the owner's lock; the rest is `remote.rs`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use heapwright_core::{AllocError, AllocResult};

use super::lists::ListState;
use crate::global::CpuId;
use crate::size_class::SizeClass;
use crate::sync::{AtomicU64, LINE_WORDS, Line, Lines, Ordering};

/// log2 of the fewest lines of the first segment; a model checker pays for every atomic.
const FIRST_SHIFT: u32 = if cfg!(any(loom, shuttle)) { 3 } else { 12 };

/// Segments that there can be: ids are 32 bits.
const SEGMENTS: usize = 32 - FIRST_SHIFT as usize;

/// The last line that is mapped ahead: 1 GiB of descriptors.
const RESERVED_LINES_MAX: usize = if cfg!(any(loom, shuttle)) { 15 } else { (1 << 24) - 1 };

/// Words before the bitmaps.
pub(crate) const HEADER_WORDS: usize = 6;

const BASE: usize = 0;
const SHAPE: usize = 1;
const LINKS: usize = 2;
const STATE: usize = 3;
pub(crate) const PENDING: usize = 4;
const CLASS_LINKS: usize = 5;

/// In word 4: the slab is on a pending stack, or about to be, or is no slab.
pub(crate) const QUEUED: u64 = 1 << 32;

/// A slab, by the number of the first line of its descriptor; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlabId(pub(crate) u32);

impl SlabId {
    /// `None` for 0, which stands for no slab in links and in the page map.
    #[inline]
    pub(crate) fn from_link(link: u32) -> Option<Self> {
        (link != 0).then_some(Self(link))
    }

    /// 0 for none.
    #[inline]
    pub(crate) fn to_link(id: Option<Self>) -> u32 {
        id.map_or(0, |id| id.0)
    }
}

/// What a slab is, apart from its slots' states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) slots: u32,
    pub(crate) pages: u32,
    pub(crate) class: SizeClass,
}

/// Bitmap words for `slots` slots.
pub(crate) const fn bitmap_words(slots: u32) -> usize {
    slots.div_ceil(64) as usize
}

/// The bits of bitmap word `word` that stand for one of `slots` slots.
pub(crate) const fn valid_bits(slots: u32, word: usize) -> u64 {
    let rest = slots as usize - word * 64;
    if rest >= 64 { u64::MAX } else { (1 << rest) - 1 }
}

/// Lines of a descriptor with `words` words in each bitmap.
const fn lines_for(words: usize) -> u32 {
    // Truncation cannot happen: a slab has at most 2^32 slots.
    (HEADER_WORDS + 2 * words).div_ceil(LINE_WORDS) as u32
}

/// Bytes of the descriptor of a slab of `slots` slots, bitmaps included.
pub const fn slab_meta_bytes(slots: u32) -> usize {
    lines_for(bitmap_words(slots)) as usize * LINE_WORDS * 8
}

/// All descriptors.
#[derive(Debug)]
pub(crate) struct SlabArena {
    /// Lines from 0 up to a power of two.
    first: OnceLock<Lines>,
    /// Lines from `1 << (index + FIRST_SHIFT)` to twice that, where `first` has them not.
    more: [OnceLock<Lines>; SEGMENTS],
}

impl SlabArena {
    pub(crate) fn new() -> Self {
        Self { first: OnceLock::new(), more: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The descriptor `id`, which [`Descriptors::take`] has given out.
    #[inline]
    pub(crate) fn get(&self, id: SlabId) -> Slab<'_> {
        if let Some(first) = self.first.get()
            && let Some(slab) = Slab::at(first, id.0 as usize)
        {
            return slab;
        }
        self.get_elsewhere(id)
    }

    #[cold]
    fn get_elsewhere(&self, id: SlabId) -> Slab<'_> {
        let shift = id.0.ilog2();
        self.more[(shift - FIRST_SHIFT) as usize]
            .get()
            .and_then(|lines| Slab::at(lines, id.0 as usize - (1 << shift)))
            .unwrap_or_else(|| unreachable!("an id is given out after its segment was made"))
    }

    /// Maps memory for the line `last` and all before it; the first time, in one piece.
    ///
    /// The caller holds the lock of the descriptors, so nobody else sets a segment meanwhile.
    fn ensure(&self, last: u32) -> AllocResult {
        let shift = last.ilog2();
        let Some(first) = self.first.get() else {
            let _ = self.first.set(Lines::new(1 << (shift + 1).max(FIRST_SHIFT))?);
            return Ok(());
        };
        for shift in first.len().ilog2()..=shift {
            let segment = &self.more[(shift - FIRST_SHIFT) as usize];
            if segment.get().is_none() {
                let _ = segment.set(Lines::new(1 << shift)?);
            }
        }
        Ok(())
    }
}

/// Bitmap words up to which returned descriptors are found without a search.
const WORDS_FEW: usize = 16;

/// Which descriptors are unused. One lock guards it, that of the page level.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The next line that was never used.
    fresh: u32,
    /// Returned descriptors by bitmap words, linked through their word 2.
    returned: [u32; WORDS_FEW],
    /// Those of more words.
    returned_large: BTreeMap<usize, u32>,
}

impl Descriptors {
    pub(crate) fn new() -> Self {
        Self { fresh: 1, returned: [0; WORDS_FEW], returned_large: BTreeMap::new() }
    }

    /// The newest returned descriptor of `words` bitmap words, or 0.
    fn returned(&mut self, words: usize) -> &mut u32 {
        match self.returned.get_mut(words) {
            Some(link) => link,
            None => self.returned_large.entry(words).or_insert(0),
        }
    }

    /// Maps memory for `lines` more lines, so that they cannot be wanting later, as far as 1 GiB goes.
    /// (Beyond that, which takes a range of some hundred GiB, it is mapped when it is needed; should that
    /// fail, the slab is not made and no page is lost.)
    pub(crate) fn reserve(&self, arena: &SlabArena, lines: usize) -> AllocResult {
        let last = (self.fresh as usize).saturating_add(lines).min(RESERVED_LINES_MAX);
        // Truncation cannot happen: the limit is below 2^32.
        arena.ensure(last as u32)
    }

    /// A descriptor for `slots` slots, its flag raised as that of every descriptor that is no slab.
    pub(crate) fn take(&mut self, arena: &SlabArena, slots: u32) -> AllocResult<SlabId> {
        let words = bitmap_words(slots);
        let link = self.returned(words);
        if let Some(id) = SlabId::from_link(*link) {
            *link = arena.get(id).links().0;
            return Ok(id);
        }
        let lines = lines_for(words);
        let mut first = self.fresh;
        loop {
            let end = first.checked_add(lines - 1).ok_or(AllocError::NoMemory)?;
            if end.ilog2() == first.ilog2() {
                break;
            }
            // It might cross into the next segment: begin there.
            first = 1u32.checked_shl(first.ilog2() + 1).ok_or(AllocError::NoMemory)?;
        }
        arena.ensure(first)?;
        self.fresh = first.checked_add(lines).ok_or(AllocError::NoMemory)?;
        let id = SlabId(first);
        arena.get(id).line()[PENDING].store(QUEUED, Ordering::Relaxed);
        Ok(id)
    }

    /// Takes back the descriptor `id`, whose flag is raised.
    pub(crate) fn give(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        debug_assert_eq!(slab.line()[PENDING].load(Ordering::Relaxed), QUEUED);
        let link = self.returned(bitmap_words(slab.shape().slots));
        slab.set_links(*link, 0);
        *link = id.0;
    }
}

/// One descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slab<'a> {
    /// From its first line to the end of its segment; never none. (A pointer and a length stay in
    /// registers; with one field more a descriptor would be passed through memory.)
    lines: &'a [Line],
}

/// Word 3, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabState {
    pub(crate) owner: CpuId,
    pub(crate) list: ListState,
    /// No bitmap word before this one has an available slot (as far as 8 bits can tell).
    pub(crate) search: u8,
    pub(crate) available: u32,
}

/// Word 3 as it is stored, for the steps that every block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedState(u64);

const AVAILABLE_SHIFT: u32 = 32;
const SEARCH_SHIFT: u32 = 24;
const LIST_SHIFT: u32 = 16;

impl PackedState {
    #[inline]
    pub(crate) fn owner(self) -> CpuId {
        // Truncation is meant: the low bits.
        CpuId(self.0 as u16)
    }

    #[inline]
    pub(crate) fn available(self) -> u32 {
        (self.0 >> AVAILABLE_SHIFT) as u32
    }

    #[inline]
    pub(crate) fn search(self) -> u8 {
        (self.0 >> SEARCH_SHIFT) as u8
    }

    /// The same with another first word to search.
    #[inline]
    pub(crate) fn searching_from(self, search: u8) -> Self {
        Self(self.0 & !(0xff << SEARCH_SHIFT) | (u64::from(search) << SEARCH_SHIFT))
    }

    /// A partial slab after one slot was taken, and whether it is full now.
    #[inline]
    pub(crate) fn taken(self) -> (Self, bool) {
        const _: () = assert!(ListState::Full as u64 == ListState::Partial as u64 + 1);
        let state = self.0 - (1 << AVAILABLE_SHIFT);
        let full = state < 1 << AVAILABLE_SHIFT;
        (Self(state + (u64::from(full) << LIST_SHIFT)), full)
    }

    /// A partial or full slab after one slot was given back, which leaves it partial.
    #[inline]
    pub(crate) fn given(self) -> Self {
        let partial = self.0 & !(0xff << LIST_SHIFT) | ((ListState::Partial as u64) << LIST_SHIFT);
        Self(partial + (1 << AVAILABLE_SHIFT))
    }
}

#[inline]
const fn pack(next: u32, prev: u32) -> u64 {
    ((next as u64) << 32) | prev as u64
}

#[inline]
const fn unpack(links: u64) -> (u32, u32) {
    ((links >> 32) as u32, links as u32)
}

impl<'a> Slab<'a> {
    #[inline]
    fn at(lines: &'a [Line], index: usize) -> Option<Self> {
        lines.get(index..).filter(|lines| !lines.is_empty()).map(|lines| Self { lines })
    }

    /// The line with the header.
    #[inline]
    pub(crate) fn line(self) -> &'a Line {
        &self.lines[0]
    }

    /// Makes it a slab of `owner` with every slot available, on no list. The flag stays raised.
    pub(crate) fn set_up(self, base: usize, shape: Shape, owner: CpuId) {
        debug_assert!(shape.pages < 1 << 24);
        let packed = (u64::from(shape.slots) << 32)
            | (u64::from(shape.pages) << 8)
            | u64::from(shape.class.0);
        self.line()[BASE].store(base as u64, Ordering::Relaxed);
        self.line()[SHAPE].store(packed, Ordering::Relaxed);
        self.set_state(SlabState {
            owner,
            list: ListState::None,
            search: 0,
            available: shape.slots,
        });
        let words = bitmap_words(shape.slots);
        for (word, (available, freed)) in
            self.available(words).iter().zip(self.freed(words)).enumerate()
        {
            let bits = valid_bits(shape.slots, word);
            available.store(bits, Ordering::Relaxed);
            freed.store(bits, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn base(self) -> usize {
        self.line()[BASE].load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn shape(self) -> Shape {
        let packed = self.line()[SHAPE].load(Ordering::Relaxed);
        Shape {
            slots: (packed >> 32) as u32,
            pages: (packed >> 8) as u32 & 0xff_ffff,
            class: SizeClass(packed as u8),
        }
    }

    /// Next and previous on its list. (At the front the previous one means nothing.)
    #[inline]
    pub(crate) fn links(self) -> (u32, u32) {
        unpack(self.line()[LINKS].load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_links(self, next: u32, prev: u32) {
        self.line()[LINKS].store(pack(next, prev), Ordering::Relaxed);
    }

    /// Next and previous of its class and owner.
    #[inline]
    pub(crate) fn class_links(self) -> (u32, u32) {
        unpack(self.line()[CLASS_LINKS].load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_class_links(self, next: u32, prev: u32) {
        self.line()[CLASS_LINKS].store(pack(next, prev), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn packed_state(self) -> PackedState {
        PackedState(self.line()[STATE].load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn set_packed_state(self, state: PackedState) {
        self.line()[STATE].store(state.0, Ordering::Release);
    }

    #[inline]
    pub(crate) fn state(self) -> SlabState {
        let packed = self.packed_state();
        SlabState {
            owner: packed.owner(),
            list: ListState::from_bits((packed.0 >> LIST_SHIFT) as u8),
            search: packed.search(),
            available: packed.available(),
        }
    }

    #[inline]
    pub(crate) fn set_state(self, state: SlabState) {
        let packed = (u64::from(state.available) << AVAILABLE_SHIFT)
            | (u64::from(state.search) << SEARCH_SHIFT)
            | (u64::from(state.list as u8) << LIST_SHIFT)
            | u64::from(state.owner.0);
        self.set_packed_state(PackedState(packed));
    }

    /// The CPU that it belongs to. Stable only under that CPU's lock.
    #[inline]
    pub(crate) fn owner(self) -> CpuId {
        self.packed_state().owner()
    }

    /// Available and freed bits of a slab of up to 64 slots.
    #[inline]
    pub(crate) fn only_words(self) -> (&'a AtomicU64, &'a AtomicU64) {
        (&self.line()[HEADER_WORDS], &self.line()[HEADER_WORDS + 1])
    }

    /// Available bits, of `words` words.
    #[inline]
    pub(crate) fn available(self, words: usize) -> &'a [AtomicU64] {
        &self.lines.as_flattened()[HEADER_WORDS..HEADER_WORDS + words]
    }

    /// Freed bits, of `words` words.
    #[inline]
    pub(crate) fn freed(self, words: usize) -> &'a [AtomicU64] {
        &self.lines.as_flattened()[HEADER_WORDS + words..HEADER_WORDS + 2 * words]
    }
}
