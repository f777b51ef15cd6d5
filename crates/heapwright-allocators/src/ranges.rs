//! The ranges that an allocator manages, kept apart from the crate that manages them.
//!
//! No wrapped crate notices a range that it was given before: one address then gets two owners. Here every
//! new range is compared with all earlier ones.
//!
//! Invariants: ranges are sorted by start, none is empty, none overlaps another, none wraps around.

use alloc::vec::Vec;

use heapwright_core::{AllocError, AllocResult};

/// Where the highest range ends at most, so that no sum below overflows.
const END_MAX: usize = isize::MAX as usize;

/// One managed range, `[start, end)`.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// The managed ranges of one allocator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    spans: Vec<Span>,
}

impl Ranges {
    /// No range yet.
    pub(crate) const fn new() -> Self {
        Self { spans: Vec::new() }
    }

    /// Whether no range was added yet.
    #[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab"))]
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether `pos` lies in a managed range.
    ///
    /// # Time Complexity
    ///
    /// Logarithmic in the number of ranges.
    #[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab"))]
    #[inline]
    pub(crate) fn contain(&self, pos: usize) -> bool {
        match self.spans.as_slice() {
            [only] => only.start <= pos && pos < only.end,
            spans => {
                let index = spans.partition_point(|span| span.start <= pos);
                index > 0 && pos < spans[index - 1].end
            }
        }
    }

    /// Judges the range `[start, start + size)` before it is added, and reserves the place for it.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a range that is empty or reaches too high;
    /// [`AllocError::MemoryOverlap`] where it shares a byte with another.
    pub(crate) fn check(&mut self, start: usize, size: usize) -> AllocResult {
        let end = start.checked_add(size).ok_or(AllocError::InvalidParam)?;
        if size == 0 || end > END_MAX {
            return Err(AllocError::InvalidParam);
        }
        if self.spans.iter().any(|span| span.start < end && start < span.end) {
            return Err(AllocError::MemoryOverlap);
        }
        // From here to `add` nothing may fail: the crate gets the range in between.
        self.spans.try_reserve(1).map_err(|_| AllocError::NoMemory)
    }

    /// Adds a range that [`check`](Self::check) has just accepted.
    pub(crate) fn add(&mut self, start: usize, size: usize) {
        let index = self.spans.partition_point(|span| span.start < start);
        self.spans.insert(index, Span { start, end: start + size });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab"))]
    #[test]
    fn knows_what_lies_inside() {
        let mut ranges = Ranges::new();
        assert!(!ranges.contain(100));
        for start in [300, 100, 200] {
            assert_eq!(ranges.check(start, 50), Ok(()));
            ranges.add(start, 50);
        }
        let inside = (0..400).filter(|&pos| ranges.contain(pos)).count();
        assert_eq!(inside, 150);
        assert!(ranges.contain(349));
        assert!(!ranges.contain(350));
    }

    #[test]
    fn refuses_overlaps_and_what_reaches_too_high() {
        let mut ranges = Ranges::new();
        ranges.add(1000, 100);
        for (start, size) in [(1000, 100), (999, 2), (1099, 1), (1050, 1), (900, 300)] {
            assert_eq!(ranges.check(start, size), Err(AllocError::MemoryOverlap));
        }
        for (start, size) in [(5, 0), (usize::MAX, 1), (usize::MAX, 2), (1, END_MAX)] {
            assert_eq!(ranges.check(start, size), Err(AllocError::InvalidParam));
        }
        assert_eq!(ranges.check(1100, 1), Ok(()));
        assert_eq!(ranges.check(900, 100), Ok(()));
    }
}
