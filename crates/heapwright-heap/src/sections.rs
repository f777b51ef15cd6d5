//! What both page-backed kinds of the two-level engine share: ranges, live blocks, data mappings.
//!
//! Their metadata never lies in the range that they manage, so there is no control mapping: they are
//! given the program's own addresses, with a data mapping beside them where the program wants bytes.
//!
//! Not here: which block is where (`buddy_mirror.rs`, `two_level_mirror.rs`).

use heapwright_core::{AllocError, AllocResult};
use heapwright_two_level::{SECTION_PAGES_MAX, SECTIONS_MAX};

use crate::{
    arena::{Arena, ControlPlacement, Memory, copy_data},
    ledger::{Ledger, RANGE_END_MAX, Span},
    refusal::{Outcome, Refusal},
};

/// What the system says when memory for metadata is short.
const ENOMEM: i32 = 12;

/// Ranges with their ledger and data.
#[derive(Debug)]
pub(crate) struct Sections {
    pub(crate) ledger: Ledger,
    pub(crate) arenas: Vec<Arena>,
    memory: Memory,
}

impl Sections {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { ledger: Ledger::default(), arenas: Vec::new(), memory }
    }

    /// Adds a range in whole pages whose physical addresses begin at `phys_start`; `add` tells the
    /// engine, after all checks and before anything is recorded.
    pub(crate) fn manage(
        &mut self,
        span: Span,
        phys_start: usize,
        page_size: usize,
        first: bool,
        add: impl FnOnce() -> AllocResult,
    ) -> Outcome {
        let Span { start, size } = span;
        let phys_end = phys_start.checked_add(size).filter(|&end| end <= RANGE_END_MAX);
        if start == 0 || phys_end.is_none() {
            return Err(Refusal::InvalidParam);
        }
        self.ledger.judge_span(span, page_size, usize::MAX, first)?;
        if size / page_size > SECTION_PAGES_MAX {
            return Err(Refusal::Capacity { limit: SECTION_PAGES_MAX.saturating_mul(page_size) });
        }
        if self.arenas.len() == SECTIONS_MAX {
            return Err(Refusal::Capacity { limit: SECTIONS_MAX });
        }
        let short = Refusal::NoMemory { requested: size, errno: ENOMEM };
        self.arenas.try_reserve(1).map_err(|_| self.ledger.fail(short))?;
        let arena = Arena::map(start, size, ControlPlacement::None, self.memory)
            .map_err(|error| self.ledger.fail(Refusal::of_system(&error, size)))?;
        add().map_err(|error| match error {
            // The metadata of the range cannot be had.
            AllocError::NoMemory => self.ledger.fail(short),
            error => self.ledger.fail(Refusal::of(error, size)),
        })?;
        self.arenas.push(arena);
        self.ledger.add_span(span);
        Ok(())
    }

    /// The range around `pos`.
    #[inline]
    pub(crate) fn arena_of(&self, pos: usize) -> Option<&Arena> {
        self.arenas.iter().find(|arena| arena.contains(pos))
    }

    /// Whether every range has the memory that was announced.
    #[inline]
    pub(crate) fn has_memory(&self) -> Outcome {
        if self.arenas.iter().any(Arena::awaits_memory) {
            return Err(Refusal::Unsupported);
        }
        Ok(())
    }

    /// Copies the data of a block that has moved; both blocks are live and at least `size` long.
    pub(crate) fn copy(&self, from: usize, to: usize, size: usize) {
        let (Some(source), Some(target)) = (self.arena_of(from), self.arena_of(to)) else { return };
        if let (Some(source), Some(target)) = (source.data_at(from), target.data_at(to)) {
            // SAFETY: `size` is at most the size of either block, and each lies inside its range.
            unsafe { copy_data(source, target, size) };
        }
    }
}
