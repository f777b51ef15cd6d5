//! The oracle: a map of live blocks that judges every answer of an allocator.
//!
//! It knows the managed ranges and the live blocks, and nothing about how an allocator works. An answer
//! that breaks a rule comes back as a sentence that names the block and the rule.
//!
//! Rules for an allocation: the block lies in one managed range, starts at a multiple of its alignment,
//! and shares no byte with a live block. Rules for a free: the block is live, and size and alignment
//! are those it was allocated with.
//!
//! Addresses, page numbers and ids are all judged alike: the unit is whatever the caller uses throughout.

use std::collections::BTreeMap;

/// A live block, without its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its size, in the unit of the caller.
    pub size: usize,
    /// What its start is a multiple of.
    pub align: usize,
}

/// The ranges and live blocks that an allocator ought to have.
///
/// # Examples
///
/// ```
/// use heapwright_testkit::ShadowAllocator;
///
/// let mut shadow = ShadowAllocator::new();
/// shadow.add_range(0x1000, 0x1000).unwrap();
/// shadow.alloc(0x1000, 64, 16).unwrap();
/// assert!(shadow.alloc(0x1020, 64, 16).is_err()); // Overlaps the first block.
/// shadow.free(0x1000, 64, 16).unwrap();
/// assert!(shadow.free(0x1000, 64, 16).is_err()); // A second free.
/// ```
#[derive(Clone, Debug, Default)]
pub struct ShadowAllocator {
    ranges: BTreeMap<usize, usize>,
    live: BTreeMap<usize, Block>,
    live_size: usize,
}

impl ShadowAllocator {
    /// An oracle that manages nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the range `[start, start + size)`. Ranges that touch stay apart: no block may span two.
    ///
    /// # Errors
    ///
    /// If the range is empty, wraps around, or overlaps another.
    pub fn add_range(&mut self, start: usize, size: usize) -> Result<(), String> {
        let end = end_of(start, size)?;
        if let Some((&other, &other_size)) = self.ranges.range(..end).next_back()
            && other + other_size > start
        {
            return Err(format!("range {start:#x}+{size:#x} overlaps {other:#x}+{other_size:#x}"));
        }
        self.ranges.insert(start, size);
        Ok(())
    }

    /// Judges an allocation, and records it if it is right.
    ///
    /// # Errors
    ///
    /// The rule that the block breaks.
    pub fn alloc(&mut self, start: usize, size: usize, align: usize) -> Result<(), String> {
        let end = end_of(start, size)?;
        if align == 0 || !start.is_multiple_of(align) {
            return Err(format!("block {start:#x}+{size:#x} is not aligned to {align:#x}"));
        }
        match self.ranges.range(..=start).next_back() {
            Some((&range, &range_size)) if end <= range + range_size => {}
            _ => return Err(format!("block {start:#x}+{size:#x} is not inside one range")),
        }
        if let Some((&other, block)) = self.live.range(..end).next_back()
            && other + block.size > start
        {
            let other_size = block.size;
            return Err(format!(
                "block {start:#x}+{size:#x} overlaps the live block {other:#x}+{other_size:#x}"
            ));
        }
        self.live.insert(start, Block { size, align });
        self.live_size += size;
        Ok(())
    }

    /// Judges a free, and records it if it is right.
    ///
    /// # Errors
    ///
    /// If no live block starts there, or its size or alignment is another.
    pub fn free(&mut self, start: usize, size: usize, align: usize) -> Result<(), String> {
        match self.live.get(&start) {
            None => Err(format!("block {start:#x}+{size:#x} is not live")),
            Some(&block) if block != (Block { size, align }) => Err(format!(
                "block {start:#x} was allocated as {block:?}, and is freed as {size:#x} aligned to {align:#x}"
            )),
            Some(_) => {
                self.live.remove(&start);
                self.live_size -= size;
                Ok(())
            }
        }
    }

    /// Judges a change of size, with or without a move, and records it if it is right. The old block may
    /// overlap the new one.
    ///
    /// # Errors
    ///
    /// The rule that is broken; the old block is still recorded then.
    pub fn realloc(
        &mut self,
        start: usize,
        new_start: usize,
        new_size: usize,
    ) -> Result<(), String> {
        let Some(block) = self.live.remove(&start) else {
            return Err(format!("block {start:#x} is not live"));
        };
        self.live_size -= block.size;
        let judged = self.alloc(new_start, new_size, block.align);
        if judged.is_err() {
            self.live.insert(start, block);
            self.live_size += block.size;
        }
        judged
    }

    /// The live block that starts at `start`.
    pub fn block(&self, start: usize) -> Option<Block> {
        self.live.get(&start).copied()
    }

    /// The start of the live block that holds `pos`, and the block.
    pub fn block_around(&self, pos: usize) -> Option<(usize, Block)> {
        let (&start, &block) = self.live.range(..=pos).next_back()?;
        (pos < start + block.size).then_some((start, block))
    }

    /// The live blocks, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, Block)> {
        self.live.iter().map(|(&start, &block)| (start, block))
    }

    /// The managed ranges, start and size, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.ranges.iter().map(|(&start, &size)| (start, size))
    }

    /// The number of live blocks.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no block is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The size of all live blocks together, as requested.
    pub fn live_size(&self) -> usize {
        self.live_size
    }

    /// The size of all ranges together.
    pub fn managed_size(&self) -> usize {
        self.ranges.values().sum()
    }

    /// The longest gap between live blocks whose start is a multiple of `align`: what a perfect
    /// allocator without headers could hand out.
    ///
    /// # Time Complexity
    ///
    /// Linear in the live blocks.
    pub fn largest_gap(&self, align: usize) -> usize {
        let mut largest = 0;
        for (range, range_size) in self.ranges() {
            let mut cursor = range;
            let ends = self.live.range(range..range + range_size);
            for (gap_end, next) in ends
                .map(|(&start, block)| (start, start + block.size))
                .chain([(range + range_size, range + range_size)])
            {
                let aligned = cursor.next_multiple_of(align);
                largest = largest.max(gap_end.saturating_sub(aligned));
                cursor = next;
            }
        }
        largest
    }
}

fn end_of(start: usize, size: usize) -> Result<usize, String> {
    match start.checked_add(size) {
        Some(end) if size > 0 => Ok(end),
        Some(_) => Err(format!("{start:#x}+0 is empty")),
        None => Err(format!("{start:#x}+{size:#x} wraps around")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_range() -> ShadowAllocator {
        let mut shadow = ShadowAllocator::new();
        shadow.add_range(0x1000, 0x1000).unwrap();
        shadow
    }

    #[test]
    fn accepts_what_a_right_allocator_does() {
        let mut shadow = one_range();
        shadow.alloc(0x1000, 0x800, 0x1000).unwrap();
        shadow.alloc(0x1800, 0x800, 0x800).unwrap();
        assert_eq!((shadow.len(), shadow.live_size()), (2, 0x1000));
        shadow.free(0x1000, 0x800, 0x1000).unwrap();
        shadow.alloc(0x1000, 1, 1).unwrap();
        assert_eq!(shadow.largest_gap(1), 0x7ff);
        assert_eq!(shadow.largest_gap(0x400), 0x400);
    }

    #[test]
    fn refuses_blocks_that_overlap_leave_the_range_or_are_not_aligned() {
        let mut shadow = one_range();
        shadow.alloc(0x1100, 0x100, 1).unwrap();
        for (start, size, align) in [
            (0x1100, 0x100, 1), // The same.
            (0x11ff, 1, 1),     // Its last byte.
            (0x1000, 0x101, 1), // Its first byte.
            (0x1000, 0x800, 1), // Around it.
            (0x0fff, 2, 1),     // Over the start of the range.
            (0x1fff, 2, 1),     // Over its end.
            (0x3000, 1, 1),     // Outside.
            (0x1008, 8, 16),    // Not aligned.
            (0x1000, 0, 1),     // Empty.
            (usize::MAX, 2, 1), // Wraps around.
        ] {
            assert!(shadow.alloc(start, size, align).is_err(), "{start:#x}+{size:#x}");
        }
        assert_eq!(shadow.len(), 1);
    }

    #[test]
    fn refuses_frees_of_what_is_not_live_or_differs() {
        let mut shadow = one_range();
        shadow.alloc(0x1000, 64, 16).unwrap();
        assert!(shadow.free(0x1001, 64, 16).is_err());
        assert!(shadow.free(0x1000, 65, 16).is_err());
        assert!(shadow.free(0x1000, 64, 8).is_err());
        shadow.free(0x1000, 64, 16).unwrap();
        assert!(shadow.free(0x1000, 64, 16).is_err());
        assert!(shadow.is_empty());
    }

    #[test]
    fn lets_a_block_move_over_itself_and_keeps_it_if_the_move_is_wrong() {
        let mut shadow = one_range();
        shadow.alloc(0x1100, 0x100, 16).unwrap();
        shadow.alloc(0x1300, 0x100, 16).unwrap();
        shadow.realloc(0x1100, 0x1080, 0x200).unwrap();
        assert!(shadow.realloc(0x1080, 0x1280, 0x100).is_err());
        assert_eq!(shadow.block(0x1080), Some(Block { size: 0x200, align: 16 }));
        assert_eq!(shadow.block_around(0x127f).map(|(start, _)| start), Some(0x1080));
        assert_eq!(shadow.block_around(0x1280), None);
        assert_eq!(shadow.live_size(), 0x300);
    }

    #[test]
    fn keeps_ranges_that_touch_apart() {
        let mut shadow = one_range();
        shadow.add_range(0x2000, 0x1000).unwrap();
        assert!(shadow.add_range(0x2fff, 2).is_err());
        assert!(shadow.add_range(0x0, 0x1001).is_err());
        assert!(shadow.alloc(0x1fff, 2, 1).is_err());
        shadow.alloc(0x1fff, 1, 1).unwrap();
        shadow.alloc(0x2000, 1, 1).unwrap();
        assert_eq!(shadow.managed_size(), 0x2000);
        assert_eq!(shadow.ranges().count(), 2);
    }
}
