//! Where slab descriptors live: outside the pages, in lines of 64 bytes, at stable places.
//!
//! ```text
//! word 0  base            address of the slab
//! word 1  shape           slots (32) · pages (24) · class (8)
//! word 2  links           next (32) · previous (32): the list of its state, see `lists.rs`
//! word 3  queued          1 while the slab is on a pending stack, or is no slab: see `remote.rs`
//! word 4  pending next    the slab below it on that stack
//! word 5  state           available slots (32) · first word to search (8) · list (8) · owner (16)
//! word 6  available bits  one for each slot: the owner may hand it out
//!   …     freed bits      one for each slot: it is in nobody's hands (atomic)
//! ```
//!
//! A slab of up to 64 slots is exactly one line. Descriptors are named by [`SlabId`], the number of
//! their first line. Lines come from segments that double in size, so an id is resolved in constant
//! time, memory is mapped ahead and touched as used, and no descriptor ever moves or goes away. A
//! descriptor that was returned is reused only with as many bitmap words, so a word never changes its
//! meaning; words 3 and 4 live through that.
//!
//! Words 0, 1 and the bitmaps' size are set while nobody else can know the slab. Words 2, 5 and the
//! available bits are written under the owner's lock; the rest is `remote.rs`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use heapwright_core::{AllocError, AllocResult};

use super::lists::ListState;
use crate::global::CpuId;
use crate::size_class::SizeClass;
use crate::sync::{AtomicU64, Ordering, words};

/// Words of a line.
const LINE_WORDS: usize = 8;

/// log2 of the lines of the first segment; a model checker pays for every atomic.
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
pub(crate) const QUEUED: usize = 3;
pub(crate) const PENDING_NEXT: usize = 4;
const STATE: usize = 5;

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

#[derive(Debug)]
struct Segment {
    words: Box<[AtomicU64]>,
    /// Words before the first 64-byte boundary.
    skew: usize,
}

impl Segment {
    fn new(lines: usize) -> AllocResult<Self> {
        let words = words((lines + 1) * LINE_WORDS)?;
        let skew = if cfg!(any(loom, shuttle)) { 0 } else { words.as_ptr().align_offset(64) };
        Ok(Self { words, skew })
    }
}

/// All descriptors.
#[derive(Debug)]
pub(crate) struct SlabArena {
    segments: [OnceLock<Segment>; SEGMENTS],
}

impl SlabArena {
    pub(crate) fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The descriptor `id`, which [`Descriptors::take`] has given out.
    #[inline]
    pub(crate) fn get(&self, id: SlabId) -> Slab<'_> {
        let segment = (id.0.ilog2() - FIRST_SHIFT) as usize;
        let line = id.0 as usize - (1 << (segment + FIRST_SHIFT as usize));
        let Some(segment) = self.segments[segment].get() else {
            unreachable!("an id is given out after its segment was made")
        };
        Slab { words: &segment.words[segment.skew + line * LINE_WORDS..] }
    }

    fn ensure(&self, segment: usize) -> AllocResult {
        let slot = self.segments.get(segment).ok_or(AllocError::NoMemory)?;
        if slot.get().is_none() {
            // The caller holds the lock of the descriptors, so nobody else sets it meanwhile.
            let _ = slot.set(Segment::new(1 << (segment + FIRST_SHIFT as usize))?);
        }
        Ok(())
    }
}

/// Which descriptors are unused. One lock guards it, that of the page level.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The next line that was never used.
    fresh: u32,
    /// Returned descriptors by bitmap words, linked through their word 2.
    returned: BTreeMap<usize, u32>,
}

impl Descriptors {
    pub(crate) fn new() -> Self {
        Self { fresh: 1 << FIRST_SHIFT, returned: BTreeMap::new() }
    }

    /// Maps memory for `lines` more lines, so that they cannot be wanting later, as far as 1 GiB goes.
    /// (Beyond that, which takes a range of some hundred GiB, it is mapped when it is needed; should that
    /// fail, the slab is not made and no page is lost.)
    pub(crate) fn reserve(&self, arena: &SlabArena, lines: usize) -> AllocResult {
        let last = (self.fresh as usize).saturating_add(lines).min(RESERVED_LINES_MAX);
        for segment in 0..=(last.ilog2() - FIRST_SHIFT) as usize {
            arena.ensure(segment)?;
        }
        Ok(())
    }

    /// A descriptor for `slots` slots, its flag raised as that of every descriptor that is no slab.
    pub(crate) fn take(&mut self, arena: &SlabArena, slots: u32) -> AllocResult<SlabId> {
        let words = bitmap_words(slots);
        if let Some(link) = self.returned.get_mut(&words)
            && let Some(id) = SlabId::from_link(*link)
        {
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
            // It would cross into the next segment: begin there.
            first = 1u32.checked_shl(first.ilog2() + 1).ok_or(AllocError::NoMemory)?;
        }
        arena.ensure((first.ilog2() - FIRST_SHIFT) as usize)?;
        self.fresh = first.checked_add(lines).ok_or(AllocError::NoMemory)?;
        let id = SlabId(first);
        arena.get(id).words[QUEUED].store(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Takes back the descriptor `id`, whose flag is raised.
    pub(crate) fn give(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        debug_assert_eq!(slab.words[QUEUED].load(Ordering::Relaxed), 1);
        let link = self.returned.entry(bitmap_words(slab.shape().slots)).or_insert(0);
        slab.set_links(*link, 0);
        *link = id.0;
    }
}

/// One descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slab<'a> {
    /// From its first word to the end of its segment.
    pub(crate) words: &'a [AtomicU64],
}

/// Word 5, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabState {
    pub(crate) owner: CpuId,
    pub(crate) list: ListState,
    /// No bitmap word before this one has an available slot (as far as 8 bits can tell).
    pub(crate) search: u8,
    pub(crate) available: u32,
}

impl<'a> Slab<'a> {
    /// Makes it a slab of `owner` with every slot available, on no list. The flag stays raised.
    pub(crate) fn set_up(self, base: usize, shape: Shape, owner: CpuId) {
        debug_assert!(shape.pages < 1 << 24);
        let packed = (u64::from(shape.slots) << 32)
            | (u64::from(shape.pages) << 8)
            | u64::from(shape.class.0);
        self.words[BASE].store(base as u64, Ordering::Relaxed);
        self.words[SHAPE].store(packed, Ordering::Relaxed);
        self.set_links(0, 0);
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
        self.words[BASE].load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn shape(self) -> Shape {
        let packed = self.words[SHAPE].load(Ordering::Relaxed);
        Shape {
            slots: (packed >> 32) as u32,
            pages: (packed >> 8) as u32 & 0xff_ffff,
            class: SizeClass(packed as u8),
        }
    }

    /// Next and previous on its list.
    #[inline]
    pub(crate) fn links(self) -> (u32, u32) {
        let packed = self.words[LINKS].load(Ordering::Relaxed);
        ((packed >> 32) as u32, packed as u32)
    }

    #[inline]
    pub(crate) fn set_links(self, next: u32, prev: u32) {
        self.words[LINKS].store((u64::from(next) << 32) | u64::from(prev), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn state(self) -> SlabState {
        let packed = self.words[STATE].load(Ordering::Acquire);
        SlabState {
            owner: CpuId(packed as u16),
            list: ListState::from_bits((packed >> 16) as u8),
            search: (packed >> 24) as u8,
            available: (packed >> 32) as u32,
        }
    }

    #[inline]
    pub(crate) fn set_state(self, state: SlabState) {
        let packed = (u64::from(state.available) << 32)
            | (u64::from(state.search) << 24)
            | (u64::from(state.list as u8) << 16)
            | u64::from(state.owner.0);
        self.words[STATE].store(packed, Ordering::Release);
    }

    /// The CPU that it belongs to. Stable only under that CPU's lock.
    #[inline]
    pub(crate) fn owner(self) -> CpuId {
        CpuId(self.words[STATE].load(Ordering::Acquire) as u16)
    }

    /// Available bits, of `words` words.
    #[inline]
    pub(crate) fn available(self, words: usize) -> &'a [AtomicU64] {
        &self.words[HEADER_WORDS..HEADER_WORDS + words]
    }

    /// Freed bits, of `words` words.
    #[inline]
    pub(crate) fn freed(self, words: usize) -> &'a [AtomicU64] {
        &self.words[HEADER_WORDS + words..HEADER_WORDS + 2 * words]
    }
}
