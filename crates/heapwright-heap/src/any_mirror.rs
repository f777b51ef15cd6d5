//! What every mirrored allocator can do, whatever its unit: life cycle, statistics, inspection.

use crate::{
    arena::Arena,
    ledger::{Span, Stats},
    live_table::Block,
    refusal::Outcome,
};

/// A mirrored allocator of bytes, pages or ids.
pub trait AnyMirror {
    /// Starts to manage `[start, start + size)`, in bytes or ids.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](crate::Refusal::InvalidParam) for a range that the kind cannot manage, and for a
    /// second `init`; [`Capacity`](crate::Refusal::Capacity); [`NoMemory`](crate::Refusal::NoMemory) where
    /// the system maps no more.
    fn init(&mut self, start: usize, size: usize) -> Outcome;

    /// Manages one more range, apart from all others.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init); [`Closed`](crate::Refusal::Closed) before it;
    /// [`MemoryOverlap`](crate::Refusal::MemoryOverlap).
    fn add_memory(&mut self, start: usize, size: usize) -> Outcome;

    /// The managed ranges, in order of addition.
    fn spans(&self) -> &[Span];

    /// The ranges with their mappings, in order of addition; none where there is no memory to map.
    fn arenas(&self) -> &[Arena] {
        &[]
    }

    /// The range of that index, to give it its memory.
    fn arena_mut(&mut self, _index: usize) -> Option<&mut Arena> {
        None
    }

    /// The statistics, in the unit of the allocator.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::Refusal::Closed) before `init`, [`Internal`](crate::Refusal::Internal) once
    /// poisoned.
    fn stats(&self) -> Outcome<Stats>;

    /// The largest request (alignment 1) that succeeds now; 0 before `init`.
    fn largest_free(&self) -> usize;

    /// Every live block, ascending.
    ///
    /// # Time Complexity
    ///
    /// `O(n log n)`.
    ///
    /// # Errors
    ///
    /// As [`stats`](Self::stats); [`NoMemory`](crate::Refusal::NoMemory) for the list.
    fn blocks(&self) -> Outcome<Vec<(usize, Block)>>;

    /// Tests all invariants, and answers with the number of live blocks. Changes nothing.
    ///
    /// # Time Complexity
    ///
    /// `O(n log n)` in the live blocks.
    ///
    /// # Errors
    ///
    /// A sentence about the first one that does not hold.
    fn check(&self) -> Result<usize, String>;

    /// Refuses everything from now on, because of `cause`; the first cause stays.
    fn poison(&mut self, cause: &str);

    /// Why everything is refused, if it is.
    fn poisoned(&self) -> Option<&str>;
}
