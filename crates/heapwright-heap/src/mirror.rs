//! The mirror: a byte allocator whose metadata no view covers, with every call judged before it.
//!
//! ```text
//!  alloc(size, align)                                dealloc(pos, size?, align?)
//!    │ values, state                                   │ values, state
//!    │ room in the live table                          │ live table: does a block start here? as said?
//!    ▼                                                 ▼
//!  crate on the control mapping ── address ──► pos     crate, told what the table says
//! ```
//!
//! The wrapped crate runs on the control mapping of each range (`arena.rs`) and believes that it is the
//! memory. What it answers is translated by one constant into the address that the program knows; what
//! the program writes there goes to the data mapping, which the crate never sees. So the crate behaves
//! exactly as it would alone, and nothing that the program does can damage it.
//!
//! Invariants ([`AnyMirror::check`]):
//! 1. Every live block of the crate is in the live table, and no other.
//! 2. The crate is told a size and an alignment only as it was told them when the block was made:
//!    those of the table or, for a block that shrank where the crate could not, those of `kept`.
//! 3. Recording what the crate did cannot fail.
//! 4. The family is dropped before the ledger, and both before the arenas.
//!
//! Not here: pages and ids (`page_mirror.rs`, `id_mirror.rs`); which crate is wrapped.

use std::{alloc::Layout, collections::HashMap, ptr, ptr::NonNull, sync::Arc};

use heapwright_core::{AllocError, ByteFamily};

use crate::{
    any_mirror::AnyMirror,
    arena::{ALIGN_MAX, Arena, ControlPlacement, Memory, copy_data},
    control_table::{ControlTable, ControlTables, Taken},
    ledger::{Ledger, LiveSet as _, RANGE_END_MAX, Span, Stats, Totals},
    live_table::Block,
    refusal::{Outcome, Refusal},
};

/// What a kind of byte allocator demands of its ranges.
#[derive(Clone, Copy, Debug)]
pub struct ByteRules {
    /// What start and size of every range are multiples of.
    pub unit: usize,
    /// What the size of the first range is a multiple of.
    pub first_size_unit: usize,
    /// The most bytes in all ranges together.
    pub limit: usize,
    /// Where control mappings go.
    pub placement: ControlPlacement,
    /// What every block starts at a multiple of: a power of two from 8. A block that does not poisons.
    pub granule: usize,
}

impl ByteRules {
    /// Ranges of whole pages of 4 KiB, placed as a buddy needs it, without a limit.
    pub const BUDDY: Self = Self {
        unit: 4096,
        first_size_unit: 4096,
        limit: usize::MAX,
        placement: ControlPlacement::Natural,
        granule: 8,
    };
    /// Ranges of whole pages of 4 KiB, without a limit. Blocks are multiples of 32 bytes with a header of 16.
    pub const TLSF: Self =
        Self { placement: ControlPlacement::Aligned, granule: 16, ..Self::BUDDY };
    /// As a buddy; the first range in units of 32 KiB, 4 GiB together. The smallest class has 64 bytes.
    pub const SLAB: Self =
        Self { first_size_unit: 32 << 10, limit: 4 << 30, granule: 64, ..Self::BUDDY };
}

/// A byte allocator behind a mirror.
///
/// # Examples
///
/// See `docs/mirror.md`.
#[derive(Debug)]
pub struct Mirror<F> {
    family: F,
    ledger: Ledger<ControlTables>,
    /// Sizes that the crate believes in, of blocks that shrank in the table alone.
    kept: HashMap<usize, usize>,
    arenas: Vec<Arena>,
    rules: ByteRules,
    memory: Memory,
}

impl<F: ByteFamily> Mirror<F> {
    /// Puts `family`, which manages nothing yet, behind a mirror.
    pub fn new(family: F, rules: ByteRules, memory: Memory) -> Self {
        Self {
            family,
            ledger: Ledger::default(),
            kept: HashMap::new(),
            arenas: Vec::new(),
            rules,
            memory,
        }
    }

    /// Whether a note beside the live bit tells how a block is freed.
    const NOTED: bool = F::DEALLOC_AT_MAX > 0;

    /// The wrapped allocator, to look at.
    pub fn family(&self) -> &F {
        &self.family
    }

    fn manage(&mut self, start: usize, size: usize, first: bool) -> Outcome {
        if start == 0 {
            return Err(Refusal::InvalidParam);
        }
        let span = Span { start, size };
        self.ledger.judge_span(span, self.rules.unit, self.rules.limit, first)?;
        self.arenas
            .try_reserve(1)
            .and_then(|()| self.ledger.live.reserve_table())
            .map_err(|_| self.ledger.fail(Refusal::NoMemory { requested: size, errno: 0 }))?;
        let arena = Arena::map(start, size, self.rules.placement, self.memory)
            .map_err(|error| self.ledger.fail(Refusal::of_system(&error, size)))?;
        let base = arena.control_base();
        let control = Arc::clone(arena.control().ok_or(Refusal::Internal)?);
        // SAFETY: the first word of a live block is the table's, as every `ByteFamily` promises (bullet 1).
        let table =
            unsafe { ControlTable::new(start, size, self.rules.granule, control, Self::NOTED) }
                .map_err(|error| self.ledger.fail(Refusal::of_system(&error, size)))?;
        let added = if first {
            // SAFETY: the control mapping is writable, the crate's alone, and `self.arenas` keeps it
            // until the family is dropped (invariant 4).
            unsafe { self.family.init(base, size) }
        } else {
            // SAFETY: as above.
            unsafe { self.family.add_memory(base, size) }
        };
        // A range that was refused is known to no one: its mappings go with `arena`.
        added.map_err(|error| self.ledger.fail(Refusal::of(error, size)))?;
        self.arenas.push(arena);
        self.ledger.live.push(table);
        self.ledger.add_span(span);
        Ok(())
    }

    /// Allocates `size` bytes at a multiple of `align`.
    ///
    /// # Time Complexity
    ///
    /// That of the crate, plus constant on average.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a size of 0 and an alignment that is no power of two or above
    /// [`ALIGN_MAX`]; [`Refusal::Closed`]; [`Refusal::NoMemory`].
    #[inline]
    pub fn alloc(&mut self, size: usize, align: usize) -> Outcome<usize> {
        let layout = layout_of(size, align)?;
        self.ledger.ready()?;
        match self.family.alloc_usable(layout) {
            Ok((address, usable)) => self.record(address, layout, usable, self.family.used_bytes()),
            Err(error) => Err(self.ledger.fail(Refusal::of(error, size))),
        }
    }

    /// As [`alloc`](Self::alloc), and the bytes of the block are 0.
    ///
    /// # Errors
    ///
    /// As there; [`Refusal::Unsupported`] where the memory of the range has not been provided.
    pub fn alloc_zeroed(&mut self, size: usize, align: usize) -> Outcome<usize> {
        layout_of(size, align)?;
        self.ledger.ready()?;
        self.has_memory()?;
        let pos = self.alloc(size, align)?;
        if let Some(arena) = self.arenas.iter().find(|arena| arena.contains(pos)) {
            arena.zero(pos, size);
        }
        Ok(pos)
    }

    /// Frees the block at `pos`; a `size` or `align` given must be the one recorded.
    ///
    /// # Time Complexity
    ///
    /// That of the crate, plus constant on average.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    #[inline]
    pub fn dealloc(&mut self, pos: usize, size: Option<usize>, align: Option<usize>) -> Outcome {
        self.ledger.ready()?;
        if Self::NOTED {
            // What the program says of the block is compared with its record, in `dealloc_recorded`.
            if size.is_none()
                && align.is_none()
                && let Some((address, slack)) = self.ledger.live.take_noted(pos)
            {
                self.ledger.count_death(slack.wrapping_neg());
                // SAFETY: the table said that the block is live (bullet 1), and only those of such layouts have
                // a slack noted (bullet 2).
                return match unsafe { self.family.dealloc_at(address) } {
                    Ok(()) => Ok(()),
                    Err(_) => Err(self.broken("the crate does not know a live block")),
                };
            }
            return self.dealloc_recorded::<true>(pos, size, align);
        }
        self.dealloc_recorded::<false>(pos, size, align)
    }

    /// Frees the block at `pos` by its record.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    #[inline]
    fn dealloc_recorded<const NOTED: bool>(
        &mut self,
        pos: usize,
        size: Option<usize>,
        align: Option<usize>,
    ) -> Outcome {
        // From here on the block is nobody's: nothing below can fail but by a bug, which poisons.
        let Taken { address, block, is_kept } = self.ledger.live.take::<NOTED>(pos, size, align)?;
        if is_kept {
            return self.dealloc_kept(pos, address, block);
        }
        // SAFETY: a layout of this alignment was made of this size or of a larger one: by `alloc` or, when
        // the block was resized, by its family (`ByteFamily::resize`) or, where that failed, for `kept`.
        let layout = unsafe { Layout::from_size_align_unchecked(block.size, block.align) };
        self.ledger.count_death(Self::counted(block.size, self.family.usable_size(layout)));
        // SAFETY: the table said that the block is live (bullet 1) and how the crate knows it (bullet 2).
        match unsafe { self.family.dealloc_live(address, layout) } {
            Ok(()) => Ok(()),
            Err(_) => Err(self.broken("the crate does not know a live block")),
        }
    }

    /// Frees a block that the crate holds under another size than `block`, which the table has forgotten.
    #[cold]
    fn dealloc_kept(&mut self, pos: usize, address: NonNull<u8>, block: Block) -> Outcome {
        let size = self.kept.remove(&pos);
        let layout = size.and_then(|size| Layout::from_size_align(size, block.align).ok());
        let Some(layout) = layout else {
            return Err(self.broken("nobody knows how the crate holds a live block"));
        };
        self.ledger.count_death(Self::counted(block.size, self.family.usable_size(layout)));
        // SAFETY: the table said that the block is live (bullet 1), `kept` how the crate knows it (bullet 2).
        match unsafe { self.family.dealloc_live(address, layout) } {
            Ok(()) => Ok(()),
            Err(_) => Err(self.broken("the crate does not know a live block")),
        }
    }

    /// What a block of `size` adds to the ledger's count of bytes requested.
    #[inline]
    fn counted(size: usize, usable: usize) -> usize {
        if Self::NOTED { size.wrapping_sub(usable) } else { size }
    }

    /// Records the block of `usable` bytes that the crate has just made at `address`; where the program knows it.
    #[inline]
    fn record(
        &mut self,
        address: NonNull<u8>,
        layout: Layout,
        usable: usize,
        used: usize,
    ) -> Outcome<usize> {
        let block = Block { size: layout.size(), align: layout.align() };
        let counted = Self::counted(block.size, usable);
        let live = &mut self.ledger.live;
        let pos = if Self::NOTED {
            let is_small = block.size.max(block.align) <= F::DEALLOC_AT_MAX;
            live.insert_at::<true>(address, block, is_small.then_some(counted.wrapping_neg()))
        } else {
            live.insert_at::<false>(address, block, None)
        };
        let Some(pos) = pos else {
            return Err(self.broken("the crate answered with an address of no range"));
        };
        self.ledger.count_birth(counted, used);
        Ok(pos)
    }

    /// Gives the block at `pos` another size, in place or elsewhere, with its contents up to the smaller
    /// size and its alignment.
    ///
    /// # Time Complexity
    ///
    /// That of the crate, plus linear in the smaller size where the block moves.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a size of 0; [`Refusal::Closed`]; [`Refusal::NotAllocated`];
    /// [`Refusal::NoMemory`]; the old block is as it was then.
    pub fn realloc(&mut self, pos: usize, new_size: usize) -> Outcome<usize> {
        layout_of(new_size, 1)?;
        self.ledger.ready()?;
        self.has_memory()?;
        let (place, block) = self.ledger.judge(pos, None, None)?;
        if new_size == block.size {
            return Ok(pos);
        }
        let is_kept = place.is_kept();
        let layout = self.crate_layout(pos, block, is_kept)?;
        let address = self.control_address(place.range, pos)?;
        let used_before = self.family.used_bytes();
        // SAFETY: the table says that the block is live (bullet 1) and how the crate knows it (bullet 2).
        match unsafe { self.family.resize(address, layout, new_size) } {
            Ok(new_address) => {
                let (range, new_pos) = self.program_address(new_address)?;
                if is_kept {
                    self.kept.remove(&pos);
                }
                let used = self.family.used_bytes();
                if new_pos == pos {
                    self.ledger.live.set_kept(place, false);
                    self.ledger.resized(place, new_size, used);
                } else {
                    // What the crate holds at the old place is no record any more; the new one is written
                    // after the pages around it were given back.
                    self.move_contents(place.range, pos, range, new_pos, block.size.min(new_size));
                    self.ledger.moved_of(place, block, new_pos, new_size, used);
                }
                self.ledger.regranted(used_before, used);
                Ok(new_pos)
            }
            Err(AllocError::NoMemory) if new_size <= layout.size() => {
                // The block shrinks (or grows back) inside the size under which the crate holds it.
                if self.kept.try_reserve(1).is_err() {
                    let refusal = Refusal::NoMemory { requested: new_size, errno: 0 };
                    return Err(self.ledger.fail(refusal));
                }
                self.ledger.live.set_kept(place, true);
                self.ledger.resized(place, new_size, self.family.used_bytes());
                self.kept.insert(pos, layout.size());
                Ok(pos)
            }
            Err(error) => Err(self.ledger.fail(Refusal::of(error, new_size))),
        }
    }

    /// Moves the data of a block that the crate has moved; what the crate copied meant nothing.
    fn move_contents(
        &self,
        range: usize,
        pos: usize,
        new_range: usize,
        new_pos: usize,
        size: usize,
    ) {
        let (from, to) = (&self.arenas[range], &self.arenas[new_range]);
        if let (Some(from), Some(to)) = (from.data_at(pos), to.data_at(new_pos)) {
            // SAFETY: `size` is at most the size of either block, and each lies inside its range.
            unsafe { copy_data(from, to, size) };
        }
        to.forget_control(new_pos, size);
    }

    /// Allocates `count` blocks, all or none.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc), and [`Refusal::InvalidParam`] for a `size * count` above 2^53.
    pub fn alloc_many(&mut self, size: usize, align: usize, count: usize) -> Outcome<Vec<usize>> {
        let layout = layout_of(size, align)?;
        let requested =
            size.checked_mul(count).filter(|&all| all <= 1 << 53).ok_or(Refusal::InvalidParam)?;
        self.ledger.ready()?;
        if requested > self.family.available_bytes() {
            return Err(self.ledger.fail(Refusal::NoMemory { requested, errno: 0 }));
        }
        let mut taken = Vec::new();
        taken
            .try_reserve_exact(count)
            .map_err(|_| self.ledger.fail(Refusal::NoMemory { requested, errno: 0 }))?;
        for _ in 0..count {
            match self.family.alloc(layout) {
                Ok(address) => taken.push(address),
                Err(error) => {
                    self.undo(layout, &taken)?;
                    return Err(self.ledger.fail(Refusal::of(error, requested)));
                }
            }
        }
        let used = self.family.used_bytes();
        let usable = self.family.usable_size(layout);
        taken.into_iter().map(|address| self.record(address, layout, usable, used)).collect()
    }

    /// Gives blocks that were never recorded back to the crate, the last first.
    fn undo(&mut self, layout: Layout, taken: &[NonNull<u8>]) -> Outcome {
        for &address in taken.iter().rev() {
            // SAFETY: the crate made this block with `layout` during this call.
            if unsafe { self.family.dealloc(address, layout) }.is_err() {
                return Err(self.broken("the crate does not know the block it has just made"));
            }
        }
        Ok(())
    }

    /// Frees all of `positions`, or none.
    ///
    /// # Errors
    ///
    /// The position that is not live or named twice, with [`Refusal::NotAllocated`]; [`Refusal::Closed`].
    pub fn dealloc_many(&mut self, positions: &[usize]) -> Result<(), (usize, Refusal)> {
        self.ledger.ready().map_err(|refusal| (0, refusal))?;
        self.ledger.judge_batch(positions)?;
        for &pos in positions {
            self.dealloc(pos, None, None).map_err(|refusal| (pos, refusal))?;
        }
        Ok(())
    }

    /// The live block at `pos`, and the bytes of it that may be used.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`].
    pub fn lookup(&self, pos: usize) -> Outcome<(Block, usize)> {
        self.ledger.ready()?;
        let (place, block) = self.ledger.judge(pos, None, None)?;
        let layout = self.crate_layout(pos, block, place.is_kept())?;
        Ok((block, self.family.usable_size(layout)))
    }

    fn totals(&self) -> Totals {
        Totals {
            total: self.family.total_bytes(),
            used: self.family.used_bytes(),
            largest_free: self.family.largest_free(1),
        }
    }

    /// Whether every range has the memory that was announced.
    #[inline]
    fn has_memory(&self) -> Outcome {
        if self.arenas.iter().any(Arena::awaits_memory) {
            return Err(Refusal::Unsupported);
        }
        Ok(())
    }

    /// How the crate knows the block at `pos`.
    #[inline]
    fn crate_layout(&self, pos: usize, block: Block, is_kept: bool) -> Outcome<Layout> {
        let size =
            if is_kept { *self.kept.get(&pos).ok_or(Refusal::Internal)? } else { block.size };
        Layout::from_size_align(size, block.align).map_err(|_| Refusal::Internal)
    }

    /// Where the crate keeps the block that the program knows at `pos`, in the range of that index.
    fn control_address(&self, range: usize, pos: usize) -> Outcome<NonNull<u8>> {
        let arena = &self.arenas[range];
        let address = arena.control_base().wrapping_add(pos - arena.start());
        NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or(Refusal::Internal)
    }

    /// Where the program knows the block that the crate keeps at `address`, behind the index of its range.
    #[inline]
    fn program_address(&mut self, address: NonNull<u8>) -> Outcome<(usize, usize)> {
        let address = address.addr().get();
        for (range, arena) in self.arenas.iter().enumerate() {
            let offset = address.wrapping_sub(arena.control_base());
            if offset < arena.size() {
                return Ok((range, arena.start() + offset));
            }
        }
        Err(self.broken("the crate answered with an address of no range"))
    }

    #[cold]
    fn broken(&mut self, cause: &str) -> Refusal {
        self.ledger.poison(cause);
        Refusal::Internal
    }
}

impl<F: ByteFamily> AnyMirror for Mirror<F> {
    fn init(&mut self, start: usize, size: usize) -> Outcome {
        if !size.is_multiple_of(self.rules.first_size_unit) {
            return Err(Refusal::InvalidParam);
        }
        self.manage(start, size, true)
    }

    fn add_memory(&mut self, start: usize, size: usize) -> Outcome {
        self.manage(start, size, false)
    }

    fn spans(&self) -> &[Span] {
        self.ledger.spans()
    }

    fn arenas(&self) -> &[Arena] {
        &self.arenas
    }

    fn arena_mut(&mut self, index: usize) -> Option<&mut Arena> {
        self.arenas.get_mut(index)
    }

    fn stats(&self) -> Outcome<Stats> {
        self.ledger.ready()?;
        Ok(self.ledger.stats(self.totals()))
    }

    fn largest_free(&self) -> usize {
        self.family.largest_free(1)
    }

    fn blocks(&self) -> Outcome<Vec<(usize, Block)>> {
        self.ledger.ready()?;
        let requested = self.ledger.live.len();
        self.ledger.live.sorted().map_err(|_| Refusal::NoMemory { requested, errno: 0 })
    }

    fn check(&self) -> Result<usize, String> {
        let blocks = self.ledger.check(self.totals(), 1, |start, block| {
            self.crate_layout(start, block, self.kept.contains_key(&start))
                .map_or(usize::MAX >> 1, |layout| self.family.usable_size(layout))
        })?;
        let kept = self.ledger.live.kept_count();
        if kept != self.kept.len() {
            return Err(format!("{kept} blocks are kept, {} have a size for it", self.kept.len()));
        }
        let is_right = |&(block, slack): &(Block, usize)| {
            Layout::from_size_align(block.size, block.align)
                .is_ok_and(|layout| self.family.usable_size(layout) == block.size + slack)
        };
        if let Some((block, slack)) = self.ledger.live.noted().find(|noted| !is_right(noted)) {
            return Err(format!("a slack of {slack} is noted for {block:?}"));
        }
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.ledger.poisoned()
    }
}

/// Size and alignment as a layout.
///
/// # Errors
///
/// [`Refusal::InvalidParam`] for a size of 0 or above what an address can span, and for an alignment that
/// is no power of two or above [`ALIGN_MAX`].
#[inline]
fn layout_of(size: usize, align: usize) -> Outcome<Layout> {
    // Where a size is below any range's end, rounding it up cannot overflow: the compiler leaves that out.
    if size.wrapping_sub(1) >= RANGE_END_MAX || align > ALIGN_MAX {
        return extreme_layout(size, align);
    }
    Layout::from_size_align(size, align).map_err(|_| Refusal::InvalidParam)
}

/// As [`layout_of`], whatever the size.
#[cold]
fn extreme_layout(size: usize, align: usize) -> Outcome<Layout> {
    if size == 0 || align > ALIGN_MAX {
        return Err(Refusal::InvalidParam);
    }
    Layout::from_size_align(size, align).map_err(|_| Refusal::InvalidParam)
}
