//! The live table of allocators without a control mapping: start → size and alignment of every live block.
//! It decides every free.
//!
//! ```text
//!  slots   ┌───────┬───────┬───────┬───────┬───────┐     home = hash(start), a multiply and a shift
//!          │ start │       │ start │ start │       │     a block lies at its home or, if that is taken,
//!          │ words │ empty │ words │ words │ empty │     in the next free slot behind it
//!          └───────┴───────┴───────┴───────┴───────┘
//!  words = size << 8 │ mark │ log2(align)
//! ```
//!
//! Open addressing with linear probing, at most 7/8 full, doubled when that is reached. A removal
//! shifts the blocks behind it back, so there are no tombstones and a lookup never gets slower with
//! age. An entry is 16 bytes: 18.3 to 36.6 bytes for each live block, once there are more than a few.
//! What a wrapped crate would be told by its caller (size, alignment, liveness) is read from here.
//!
//! Invariants ([`LiveTable::check`]):
//! 1. `slots.len()` is a power of two, and at least one slot is empty.
//! 2. A slot is empty iff its second word is 0: no block has size 0.
//! 3. No slot between a block's home and the block itself is empty.
//! 4. No two slots hold the same start.
//!
//! Not here: bytes in a mirror, whose control mapping holds the records (`control_table`).

use std::collections::TryReserveError;

/// Slots of a table that holds nothing.
const CAPACITY_MIN: usize = 16;
/// Above this many slots, an emptied table gives its memory back.
const CAPACITY_KEPT_MAX: usize = 1 << 12;
/// 2^64 divided by the golden ratio: spreads starts that differ by any power of two.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

const ALIGN_MASK: u64 = 0x3f;
const MARK_BIT: u64 = 0x40;
const SIZE_SHIFT: u32 = 8;

/// The largest size that an entry holds; far above 2^53, which bounds every range.
pub const SIZE_MAX: usize = (1 << (64 - SIZE_SHIFT)) - 1;

const _: () = assert!(SIZE_MAX as u64 >= 1 << 53, "every range fits");
const _: () = assert!(size_of::<Slot>() == 16, "the documents say 16 bytes");

/// What is known of a live block besides its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// As it was asked for, in the unit of the allocator: bytes, pages or ids.
    pub size: usize,
    /// As it was asked for: a power of two.
    pub align: usize,
}

/// The place of a live block in the table, until the table is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(usize);

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u64,
    words: u64,
}

impl Slot {
    const EMPTY: Self = Self { start: 0, words: 0 };

    #[inline]
    fn new(start: usize, block: Block) -> Self {
        debug_assert!(block.size > 0);
        debug_assert!(block.size <= SIZE_MAX);
        debug_assert!(block.align.is_power_of_two());
        let align = u64::from(block.align.trailing_zeros());
        Self { start: start as u64, words: ((block.size as u64) << SIZE_SHIFT) | align }
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.words == 0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "made of a usize by `new`")]
    fn start(self) -> usize {
        self.start as usize
    }

    #[inline]
    fn block(self) -> Block {
        Block { size: (self.words >> SIZE_SHIFT) as usize, align: 1 << (self.words & ALIGN_MASK) }
    }
}

/// The table of live blocks of one allocator.
///
/// # Examples
///
/// ```
/// use heapwright_heap::live_table::{Block, LiveTable};
///
/// let mut live = LiveTable::new();
/// live.reserve(1)?;
/// live.insert(0x1000, Block { size: 64, align: 16 });
/// assert!(live.find(0x1001).is_none());
/// let position = live.find(0x1000).unwrap();
/// assert_eq!(live.remove(position), Block { size: 64, align: 16 });
/// # Ok::<(), std::collections::TryReserveError>(())
/// ```
#[derive(Debug)]
pub struct LiveTable {
    slots: Vec<Slot>,
    len: usize,
    /// Blocks that fit before the table must grow; 0 before the first one.
    limit: usize,
    /// 64 minus log2 of the number of slots.
    shift: u32,
}

impl Default for LiveTable {
    fn default() -> Self {
        Self::new()
    }
}

impl LiveTable {
    /// A table without blocks, and without memory until the first one.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), len: 0, limit: 0, shift: 63 }
    }

    /// Live blocks.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no block is live.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the table occupies.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// Makes room for `additional` more blocks, so that as many [`insert`](Self::insert)s cannot fail.
    ///
    /// # Time Complexity
    ///
    /// Constant if there is room, else linear in the blocks: amortized constant.
    ///
    /// # Errors
    ///
    /// Out of memory; the table is as it was then.
    #[inline]
    pub fn reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        match self.len.checked_add(additional) {
            Some(needed) if needed <= self.limit => Ok(()),
            needed => self.grow(needed.unwrap_or(usize::MAX)),
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) -> Result<(), TryReserveError> {
        // At least twice what there is, and at most 7/8 full afterwards.
        let wanted = needed.saturating_add(needed / 7 + 1).max(self.slots.len().saturating_mul(2));
        let capacity = wanted.max(CAPACITY_MIN).checked_next_power_of_two().unwrap_or(usize::MAX);
        let mut larger = Vec::new();
        larger.try_reserve_exact(capacity)?;
        larger.resize(capacity, Slot::EMPTY);
        let old = std::mem::replace(&mut self.slots, larger);
        self.limit = capacity - capacity / 8;
        self.shift = 64 - capacity.trailing_zeros();
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            self.put(slot);
        }
        Ok(())
    }

    /// Where a block that starts at `start` belongs.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves the bits of an index")]
    fn home(&self, start: u64) -> usize {
        (start.wrapping_mul(HASH_FACTOR) >> self.shift) as usize
    }

    #[inline]
    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut index = self.home(slot.start);
        while !self.slots[index].is_empty() {
            debug_assert_ne!(self.slots[index].start, slot.start);
            index = (index + 1) & mask;
        }
        self.slots[index] = slot;
    }

    /// Records a block for which [`reserve`](Self::reserve) made room and that is not live.
    ///
    /// # Time Complexity
    ///
    /// Constant on average.
    ///
    /// # Panics
    ///
    /// Where no room was reserved.
    #[inline]
    pub fn insert(&mut self, start: usize, block: Block) {
        assert!(self.len < self.limit, "room was reserved");
        self.put(Slot::new(start, block));
        self.len += 1;
    }

    /// Where the block that starts at `start` is recorded, if it is live.
    ///
    /// # Time Complexity
    ///
    /// Constant on average.
    #[inline]
    pub fn find(&self, start: usize) -> Option<Position> {
        if self.len == 0 {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut index = self.home(start as u64);
        loop {
            let slot = self.slots[index];
            if slot.is_empty() {
                return None;
            }
            if slot.start == start as u64 {
                return Some(Position(index));
            }
            index = (index + 1) & mask;
        }
    }

    /// The block at `position`.
    #[inline]
    pub fn block(&self, position: Position) -> Block {
        self.slots[position.0].block()
    }

    /// The block that starts at `start`, if it is live.
    #[inline]
    pub fn get(&self, start: usize) -> Option<Block> {
        self.find(start).map(|position| self.block(position))
    }

    /// Forgets the block at `position`, and answers with it.
    ///
    /// # Time Complexity
    ///
    /// Constant on average: the blocks behind it up to the next empty slot are looked at.
    #[inline]
    pub fn remove(&mut self, position: Position) -> Block {
        let mask = self.slots.len() - 1;
        let removed = self.slots[position.0].block();
        let mut hole = position.0;
        let mut index = hole;
        loop {
            index = (index + 1) & mask;
            let slot = self.slots[index];
            if slot.is_empty() {
                break;
            }
            // The block may move back to the hole unless its home lies behind the hole.
            let displacement = index.wrapping_sub(self.home(slot.start)) & mask;
            let gap = index.wrapping_sub(hole) & mask;
            if displacement >= gap {
                self.slots[hole] = slot;
                hole = index;
            }
        }
        self.slots[hole] = Slot::EMPTY;
        self.len -= 1;
        removed
    }

    /// Gives the memory of a large table back if no block is left.
    #[inline]
    pub fn release_if_empty(&mut self) {
        if self.len == 0 && self.slots.len() > CAPACITY_KEPT_MAX {
            *self = Self::new();
        }
    }

    /// Gives the block at `position` another size; the mark stays.
    #[inline]
    pub fn set_size(&mut self, position: Position, size: usize) {
        debug_assert!(size > 0);
        debug_assert!(size <= SIZE_MAX);
        let slot = &mut self.slots[position.0];
        slot.words = ((size as u64) << SIZE_SHIFT) | (slot.words & ((1 << SIZE_SHIFT) - 1));
    }

    /// Marks the block at `position`; `false` if it was marked. A batch finds repetitions with it.
    #[inline]
    pub fn mark(&mut self, position: Position) -> bool {
        let slot = &mut self.slots[position.0];
        let fresh = slot.words & MARK_BIT == 0;
        slot.words |= MARK_BIT;
        fresh
    }

    /// Takes the mark of the block at `position` away.
    #[inline]
    pub fn unmark(&mut self, position: Position) {
        self.slots[position.0].words &= !MARK_BIT;
    }

    /// Every live block with its start, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Block)> {
        self.slots.iter().filter(|slot| !slot.is_empty()).map(|slot| (slot.start(), slot.block()))
    }

    /// Every live block with its start, ascending.
    ///
    /// # Time Complexity
    ///
    /// `O(n log n)`.
    ///
    /// # Errors
    ///
    /// Out of memory for the copy.
    pub fn sorted(&self) -> Result<Vec<(usize, Block)>, TryReserveError> {
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(self.len)?;
        blocks.extend(self.iter());
        blocks.sort_unstable_by_key(|&(start, _)| start);
        Ok(blocks)
    }

    /// Tests the invariants.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slots.
    ///
    /// # Errors
    ///
    /// A sentence about the first one that does not hold.
    pub fn check(&self) -> Result<(), String> {
        if self.slots.is_empty() {
            return if self.len == 0 { Ok(()) } else { Err("blocks without slots".into()) };
        }
        if !self.slots.len().is_power_of_two() || self.len > self.limit {
            return Err(format!("{} blocks in {} slots", self.len, self.slots.len()));
        }
        let occupied = self.iter().count();
        if occupied != self.len {
            return Err(format!("{occupied} slots are occupied by {} blocks", self.len));
        }
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty()) {
            // A second slot of that start, or one out of reach, would not be the one that is found.
            if self.find(slot.start()) != Some(Position(index)) {
                return Err(format!("the block {:#x} is recorded where none finds it", slot.start));
            }
            if slot.words & MARK_BIT != 0 {
                return Err(format!("the block {:#x} is still marked by a batch", slot.start));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use heapwright_testkit::prng::{Prng, seed};

    use super::*;

    fn block(size: usize) -> Block {
        Block { size, align: 8 }
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut live = LiveTable::new();
        assert!(live.find(0).is_none());
        live.reserve(2).unwrap();
        live.insert(0, block(1));
        live.insert(4096, Block { size: SIZE_MAX, align: 1 << 30 });
        assert_eq!(live.get(0), Some(block(1)));
        assert_eq!(live.get(4096), Some(Block { size: SIZE_MAX, align: 1 << 30 }));
        assert_eq!(live.get(8), None);
        assert_eq!(live.get(usize::MAX), None);
        live.check().unwrap();
    }

    #[test]
    fn keeps_mark_and_size_apart() {
        let mut live = LiveTable::new();
        live.reserve(1).unwrap();
        live.insert(64, Block { size: 5, align: 1 << 20 });
        let position = live.find(64).unwrap();
        assert!(live.mark(position));
        assert!(!live.mark(position));
        live.set_size(position, SIZE_MAX);
        assert_eq!(live.block(position), Block { size: SIZE_MAX, align: 1 << 20 });
        live.unmark(position);
        assert!(live.mark(position));
    }

    #[test]
    fn gives_its_memory_back_when_the_last_of_many_goes() {
        let mut live = LiveTable::new();
        live.reserve(100_000).unwrap();
        assert!(live.memory_bytes() >= 100_000 * 16);
        live.insert(8, block(8));
        let position = live.find(8).unwrap();
        live.remove(position);
        live.release_if_empty();
        assert_eq!(live.memory_bytes(), 0);
        live.reserve(1).unwrap();
        live.insert(8, block(8));
        live.check().unwrap();
    }

    #[test]
    fn refuses_room_that_no_machine_has() {
        let mut live = LiveTable::new();
        live.reserve(1).unwrap();
        live.insert(8, block(8));
        assert!(live.reserve(usize::MAX).is_err());
        assert!(live.reserve(1 << 60).is_err());
        assert_eq!(live.get(8), Some(block(8)));
        live.check().unwrap();
    }

    /// Against a `BTreeMap`, with starts that collide: multiples of one large power of two, and neighbors.
    #[test]
    fn agrees_with_a_map_after_every_step() {
        let mut random = Prng::new(seed(0x11fe));
        let steps = if cfg!(miri) { 300 } else { 60_000 };
        for stride in [1, 8, 4096, 1 << 20, 1 << 36] {
            let mut live = LiveTable::new();
            let mut oracle = BTreeMap::new();
            for step in 0..steps {
                let start = random.below(400) * stride;
                match (live.find(start), oracle.remove(&start)) {
                    (Some(position), Some(expected)) => {
                        assert_eq!(live.block(position), expected);
                        assert_eq!(live.remove(position), expected);
                        live.release_if_empty();
                    }
                    (None, None) => {
                        let made =
                            Block { size: random.below(1 << 40) + 1, align: 1 << random.below(31) };
                        live.reserve(1).unwrap();
                        live.insert(start, made);
                        oracle.insert(start, made);
                    }
                    (found, expected) => panic!("{start}: {found:?} against {expected:?}"),
                }
                assert_eq!(live.len(), oracle.len());
                if step % 64 == 0 {
                    live.check().unwrap();
                    let expected: Vec<_> =
                        oracle.iter().map(|(&start, &made)| (start, made)).collect();
                    assert_eq!(live.sorted().unwrap(), expected);
                }
            }
        }
    }
}
