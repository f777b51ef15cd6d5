//! What every mirrored allocator keeps beside the wrapped one: ranges, live blocks, counters, state.
//!
//! It judges ranges before they are added and frees before they happen (HAZARDS section 0): the wrapped
//! allocator is called only with values that are recorded here. The unit is the allocator's own, bytes,
//! pages or ids, except that ranges of pages are in bytes.
//!
//! Invariants:
//! 1. No two ranges overlap, none ends above 2^53.
//! 2. `allocs - frees` is the number of live blocks; `requested` is the sum of their sizes.
//! 3. A poisoned ledger refuses everything, for ever.
//!
//! Not here: the wrapped allocator, and any memory.

use std::collections::TryReserveError;

use crate::{
    live_table::{Block, LiveTable, Position},
    refusal::{Outcome, Refusal},
};

/// No range ends above this: what a JavaScript number counts exactly.
pub const RANGE_END_MAX: usize = 1 << 53;

/// What the system says when memory for the live table is short.
const ENOMEM: i32 = 12;

/// A range that is managed, as the program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First address or id.
    pub start: usize,
    /// In bytes or ids.
    pub size: usize,
}

impl Span {
    /// One past the last address or id.
    pub fn end(self) -> usize {
        self.start + self.size
    }
}

/// Statistics of an allocator, in its own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Managed.
    pub total: usize,
    /// Granted to live blocks, rounding included.
    pub used: usize,
    /// Asked for by live blocks.
    pub requested: usize,
    /// `total - used`.
    pub available: usize,
    /// The largest request (alignment 1) that succeeds now.
    pub largest_free: usize,
    /// Live blocks.
    pub blocks: usize,
    /// Allocations since `init`.
    pub allocs: usize,
    /// Frees since `init`.
    pub frees: usize,
    /// Requests that could not be met.
    pub failures: usize,
    /// The highest `used` so far.
    pub peak_used: usize,
}

/// What judges a free: which blocks are live, and how they were asked for.
///
/// Two forms: [`LiveTable`] for allocators without a control mapping, and `control_table` for those with
/// one.
pub(crate) trait LiveSet {
    /// The place of a live block, until the set is changed.
    type Position: Copy;

    /// Live blocks.
    fn len(&self) -> usize;

    /// Whether a block's slack is known where its size is not: what is granted beyond what was asked for.
    fn counts_slack(&self) -> bool {
        false
    }

    /// Makes room for `additional` more blocks, so that as many inserts cannot fail.
    ///
    /// # Errors
    ///
    /// Out of memory; the set is as it was then.
    fn reserve(&mut self, additional: usize) -> Result<(), TryReserveError>;

    /// Records a block for which there is room and that is not live.
    fn insert(&mut self, start: usize, block: Block);

    /// Where the block that starts at `start` is recorded, if it is live.
    fn find(&self, start: usize) -> Option<Self::Position>;

    /// The live block at `position`.
    fn block(&self, position: Self::Position) -> Block;

    /// Forgets the live block at `position`.
    fn remove(&mut self, position: Self::Position);

    /// Gives the live block at `position` another size.
    fn set_size(&mut self, position: Self::Position, size: usize);

    /// Marks the live block at `position`; `false` if it was marked. A batch finds repetitions with it.
    fn mark(&mut self, position: Self::Position) -> bool;

    /// Takes the mark of the live block at `position` away.
    fn unmark(&mut self, position: Self::Position);

    /// Gives memory back if no block is left.
    fn release_if_empty(&mut self) {}

    /// Every live block with its start, ascending.
    ///
    /// # Errors
    ///
    /// Out of memory for the list.
    fn sorted(&self) -> Result<Vec<(usize, Block)>, TryReserveError>;

    /// Tests the invariants.
    ///
    /// # Errors
    ///
    /// A sentence about the first one that does not hold.
    fn check(&self) -> Result<(), String>;
}

impl LiveSet for LiveTable {
    type Position = Position;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        Self::reserve(self, additional)
    }

    fn insert(&mut self, start: usize, block: Block) {
        Self::insert(self, start, block);
    }

    fn find(&self, start: usize) -> Option<Position> {
        Self::find(self, start)
    }

    fn block(&self, position: Position) -> Block {
        Self::block(self, position)
    }

    fn remove(&mut self, position: Position) {
        Self::remove(self, position);
    }

    fn set_size(&mut self, position: Position, size: usize) {
        Self::set_size(self, position, size);
    }

    fn mark(&mut self, position: Position) -> bool {
        Self::mark(self, position)
    }

    fn unmark(&mut self, position: Position) {
        Self::unmark(self, position);
    }

    fn release_if_empty(&mut self) {
        Self::release_if_empty(self);
    }

    fn sorted(&self) -> Result<Vec<(usize, Block)>, TryReserveError> {
        Self::sorted(self)
    }

    fn check(&self) -> Result<(), String> {
        Self::check(self)
    }
}

/// What one wrapped allocator reports of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) total: usize,
    pub(crate) used: usize,
    pub(crate) largest_free: usize,
}

/// Ranges, live blocks, counters and state of one allocator.
#[derive(Debug, Default)]
pub(crate) struct Ledger<L = LiveTable> {
    pub(crate) live: L,
    spans: Vec<Span>,
    counters: Counters,
    poison: Option<Box<str>>,
    /// Whether calls are served: there is a range, and nothing is poisoned.
    serving: bool,
}

/// What is counted at every call.
///
/// The order is deliberate: no call changes two neighbors. Else the compiler loads both as one vector, which
/// the processor cannot take from the store of one of them by the call before: it then waits until all
/// earlier stores, the misses among them, have left the core.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Counters {
    /// Asked for by live blocks; where the live set counts slack, less what is granted to them, and so at most
    /// 0, modulo 2^64.
    requested: usize,
    failures: usize,
    allocs: usize,
    peak_used: usize,
    frees: usize,
}

impl<L: LiveSet> Ledger<L> {
    /// The managed ranges, in order of addition.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether calls are served.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`] before `init`, [`Refusal::Internal`] once poisoned.
    #[inline]
    pub(crate) fn ready(&self) -> Outcome {
        if self.serving { Ok(()) } else { self.not_ready() }
    }

    #[cold]
    fn not_ready(&self) -> Outcome {
        Err(if self.poison.is_some() { Refusal::Internal } else { Refusal::Closed })
    }

    /// Refuses everything from now on; the first cause stays.
    pub(crate) fn poison(&mut self, cause: &str) {
        self.poison.get_or_insert_with(|| cause.into());
        self.serving = false;
    }

    /// Why everything is refused, if it is.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Judges `[start, start + size)` before it is added; both must be multiples of `unit`.
    ///
    /// # Errors
    ///
    /// In this order: [`Refusal::InvalidParam`] for a range that can never be managed, or for a second
    /// `init` (`first`); [`Refusal::Internal`] once poisoned; [`Refusal::Closed`] for an addition before
    /// `init`; [`Refusal::Capacity`] above `limit` together; [`Refusal::MemoryOverlap`].
    pub(crate) fn judge_span(
        &mut self,
        span: Span,
        unit: usize,
        limit: usize,
        first: bool,
    ) -> Outcome {
        let end = span.start.checked_add(span.size).ok_or(Refusal::InvalidParam)?;
        if span.size == 0
            || end > RANGE_END_MAX
            || !span.start.is_multiple_of(unit)
            || !span.size.is_multiple_of(unit)
        {
            return Err(Refusal::InvalidParam);
        }
        if self.poison.is_some() {
            return Err(Refusal::Internal);
        }
        match (first, self.spans.is_empty()) {
            (true, false) => return Err(Refusal::InvalidParam),
            (false, true) => return Err(Refusal::Closed),
            _ => {}
        }
        let managed: usize = self.spans.iter().map(|other| other.size).sum();
        if managed + span.size > limit {
            return Err(Refusal::Capacity { limit });
        }
        if let Some(other) =
            self.spans.iter().find(|other| other.start < end && span.start < other.end())
        {
            return Err(Refusal::MemoryOverlap { start: other.start, size: other.size });
        }
        self.spans.try_reserve(1).map_err(|_| self.short_of_memory(span.size))
    }

    /// Adds a range that [`judge_span`](Self::judge_span) has just accepted.
    pub(crate) fn add_span(&mut self, span: Span) {
        self.spans.push(span);
        self.serving = self.poison.is_none();
    }

    fn short_of_memory(&mut self, requested: usize) -> Refusal {
        self.fail(Refusal::NoMemory { requested, errno: ENOMEM })
    }

    /// Counts `refusal` if it is one for lack of memory, and passes it on.
    #[cold]
    pub(crate) fn fail(&mut self, refusal: Refusal) -> Refusal {
        if matches!(refusal, Refusal::NoMemory { .. }) {
            self.counters.failures += 1;
        }
        refusal
    }

    /// Makes room for `count` more live blocks, for a request of `requested`.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`], counted.
    #[inline]
    pub(crate) fn make_room(&mut self, count: usize, requested: usize) -> Outcome {
        match self.live.reserve(count) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.short_of_memory(requested)),
        }
    }

    /// Records a new block for which there is room; `used` is that of the wrapped allocator now.
    #[inline]
    pub(crate) fn born(&mut self, start: usize, block: Block, used: usize) {
        self.live.insert(start, block);
        self.count_birth(block.size, used);
    }

    /// Counts a block that `live` has just recorded. Where `live` counts slack, `size` is less what is granted,
    /// modulo 2^64.
    #[inline]
    pub(crate) fn count_birth(&mut self, size: usize, used: usize) {
        self.counters.requested = self.counters.requested.wrapping_add(size);
        self.counters.allocs += 1;
        if used > self.counters.peak_used {
            self.counters.peak_used = used;
        }
    }

    /// Counts a block that `live` has just forgotten; `size` as in [`count_birth`](Self::count_birth).
    #[inline]
    pub(crate) fn count_death(&mut self, size: usize) {
        self.counters.requested = self.counters.requested.wrapping_sub(size);
        self.counters.frees += 1;
    }

    /// Counts that what is granted to one block has changed, where `live` counts slack.
    pub(crate) fn regranted(&mut self, used_before: usize, used: usize) {
        if self.live.counts_slack() {
            self.count_change(used, used_before);
        }
    }

    fn count_change(&mut self, old: usize, new: usize) {
        self.counters.requested = self.counters.requested.wrapping_sub(old).wrapping_add(new);
    }

    /// Asked for by live blocks, where that much is used.
    fn requested(&self, used: usize) -> usize {
        if self.live.counts_slack() {
            used.wrapping_add(self.counters.requested)
        } else {
            self.counters.requested
        }
    }

    /// Judges a free, or any call that names a live block.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAllocated`] where no live block starts at `start`; [`Refusal::SizeMismatch`] where it
    /// was allocated with another size or alignment than those given.
    #[inline]
    pub(crate) fn judge(
        &self,
        start: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome<(L::Position, Block)> {
        let position = self.live.find(start).ok_or(Refusal::NotAllocated)?;
        let block = self.live.block(position);
        if size.is_some_and(|size| size != block.size)
            || align.is_some_and(|align| align != block.align)
        {
            return Err(Refusal::SizeMismatch { size: block.size, align: block.align });
        }
        Ok((position, block))
    }

    /// Forgets a block that the wrapped allocator has freed.
    #[inline]
    pub(crate) fn died(&mut self, position: L::Position) {
        let size = self.live.block(position).size;
        self.live.remove(position);
        self.live.release_if_empty();
        self.count_death(size);
    }

    /// Records that a block has another size now, in place.
    pub(crate) fn resized(&mut self, position: L::Position, size: usize, used: usize) {
        let old = self.live.block(position);
        self.live.set_size(position, size);
        self.count_change(old.size, size);
        self.counters.peak_used = self.counters.peak_used.max(used);
    }

    /// Records that a block has moved and has another size now. There is room: the old one goes first.
    pub(crate) fn moved(&mut self, position: L::Position, start: usize, size: usize, used: usize) {
        let old = self.live.block(position);
        self.moved_of(position, old, start, size, used);
    }

    /// As [`moved`](Self::moved), for a block that was `old` and whose record may be gone already.
    pub(crate) fn moved_of(
        &mut self,
        position: L::Position,
        old: Block,
        start: usize,
        size: usize,
        used: usize,
    ) {
        self.live.remove(position);
        self.live.insert(start, Block { size, align: old.align });
        self.count_change(old.size, size);
        self.counters.peak_used = self.counters.peak_used.max(used);
    }

    /// Finds the blocks of a batch of frees, each of which must be live and named once.
    ///
    /// # Errors
    ///
    /// The first that is not, with [`Refusal::NotAllocated`]; or [`Refusal::NoMemory`] for the list.
    pub(crate) fn judge_batch(&mut self, starts: &[usize]) -> Result<(), (usize, Refusal)> {
        let mut offender = None;
        let mut marked = 0;
        for &start in starts {
            match self.live.find(start) {
                Some(position) if self.live.mark(position) => marked += 1,
                _ => {
                    offender = Some(start);
                    break;
                }
            }
        }
        for &start in &starts[..marked] {
            if let Some(position) = self.live.find(start) {
                self.live.unmark(position);
            }
        }
        match offender {
            Some(start) => Err((start, Refusal::NotAllocated)),
            None => Ok(()),
        }
    }

    /// The statistics, given what the wrapped allocator reports.
    pub(crate) fn stats(&self, totals: Totals) -> Stats {
        Stats {
            total: totals.total,
            used: totals.used,
            requested: self.requested(totals.used),
            available: totals.total - totals.used,
            largest_free: totals.largest_free,
            blocks: self.counters.allocs - self.counters.frees,
            allocs: self.counters.allocs,
            frees: self.counters.frees,
            failures: self.counters.failures,
            peak_used: self.counters.peak_used,
        }
    }

    /// Tests the invariants; `extent` gives the units that a block covers from its start, and `unit` how
    /// many units of a range one unit of a block is (a page's bytes; else 1).
    ///
    /// # Errors
    ///
    /// A sentence about the first one that does not hold.
    pub(crate) fn check(
        &self,
        totals: Totals,
        unit: usize,
        extent: impl Fn(usize, Block) -> usize,
    ) -> Result<usize, String> {
        self.live.check()?;
        let blocks = self.live.sorted().map_err(|error| error.to_string())?;
        let mut spans = self.spans.clone();
        spans.sort_unstable_by_key(|span| span.start);
        for (lower, upper) in spans.iter().zip(spans.iter().skip(1)) {
            if lower.end() > upper.start {
                return Err(format!("the ranges {lower:?} and {upper:?} overlap"));
            }
        }
        let (mut requested, mut granted, mut previous_end) = (0, 0, 0);
        for &(start, block) in &blocks {
            let covered = extent(start, block);
            let end = start + covered * unit;
            let index = spans.partition_point(|span| span.start <= start);
            if index == 0 || end > spans[index - 1].end() {
                return Err(format!("the block {start:#x} of {block:?} lies in no range"));
            }
            if start < previous_end {
                return Err(format!("the block {start:#x} overlaps the one before it"));
            }
            if !start.is_multiple_of(block.align) {
                return Err(format!("the block {start:#x} of {block:?} is not aligned"));
            }
            previous_end = end;
            requested += block.size;
            granted += covered;
        }
        let counted = self.requested(totals.used);
        if requested != counted {
            return Err(format!("{requested} are requested, {counted} are counted"));
        }
        if self.counters.allocs - self.counters.frees != blocks.len() {
            let (allocs, frees) = (self.counters.allocs, self.counters.frees);
            return Err(format!("{allocs} allocations and {frees} frees left {}", blocks.len()));
        }
        let managed: usize = self.spans.iter().map(|span| span.size).sum();
        let Totals { total, used, largest_free } = totals;
        if used < granted || used > total || total * unit > managed || largest_free > total - used {
            return Err(format!(
                "{granted} granted, {used} used, {total} in all of {managed}, {largest_free} free at once"
            ));
        }
        if self.counters.peak_used < used {
            return Err(format!("{used} used, but at most {} so far", self.counters.peak_used));
        }
        Ok(blocks.len())
    }
}
