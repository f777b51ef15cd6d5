//! `kind: 'two-level'`: the whole two-level engine behind a live table, used by one thread step by step.
//!
//! The CPUs are simulated: every call names the one that makes it. A block that another CPU frees is
//! dead at once, here as in the engine; its slot comes back when the owner drains.
//!
//! Invariants ([`AnyMirror::check`]):
//! 1. The taken slots and the live runs of the engine are exactly the blocks of the live table.
//! 2. `granted` is the sum of what those blocks may use.
//! 3. Room in the table is made before the engine is called.
//!
//! Not here: how blocks are found (`heapwright-two-level`).

use std::alloc::Layout;

use heapwright_core::{AllocResult, align_up};
use heapwright_two_level::{ClassStats, ClassTable, CpuId, GlobalAllocator, ManagedSection};

use crate::{
    any_mirror::AnyMirror,
    arena::{ALIGN_MAX, Arena, Memory},
    buddy_mirror::judge_request,
    ledger::{Span, Stats, Totals},
    live_table::{Block, Position},
    refusal::{Outcome, Refusal},
    sections::Sections,
};

/// The CPU that calls without a CPU speak for.
const FIRST: CpuId = CpuId(0);

/// A [`GlobalAllocator`] behind a live table.
#[derive(Debug)]
pub struct TwoLevelMirror {
    engine: GlobalAllocator,
    sections: Sections,
    /// CPUs that were adopted by another.
    gone: Vec<bool>,
    /// Bytes that the live blocks may use.
    granted: usize,
}

impl TwoLevelMirror {
    /// An engine of `cpus` CPUs that manages nothing yet, over pages of `page_size` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](heapwright_core::AllocError::InvalidParam) for no or too many CPUs, or a page
    /// size that is no power of two.
    pub fn new(cpus: usize, page_size: usize, memory: Memory) -> AllocResult<Self> {
        Ok(Self {
            engine: GlobalAllocator::new(ClassTable::kernel(), cpus, page_size)?,
            sections: Sections::new(memory),
            gone: vec![false; cpus],
            granted: 0,
        })
    }

    /// Manages `[start, start + size)`, whose physical addresses begin at `phys_start`; the first range
    /// (`first`) or one more.
    ///
    /// # Errors
    ///
    /// As [`AnyMirror::init`] and [`AnyMirror::add_memory`].
    pub fn add_region(
        &mut self,
        start: usize,
        size: usize,
        phys_start: usize,
        first: bool,
    ) -> Outcome {
        let engine = &self.engine;
        let span = Span { start, size };
        self.sections.manage(span, phys_start, engine.page_size(), first, || {
            engine.add_region(start, size, phys_start)
        })
    }

    /// The CPU of that index, if it is there and was not adopted.
    fn cpu(&self, index: usize) -> Outcome<CpuId> {
        match self.gone.get(index) {
            Some(false) => Ok(CpuId(u16::try_from(index).map_err(|_| Refusal::InvalidParam)?)),
            Some(true) => Err(Refusal::Closed),
            None => Err(Refusal::InvalidParam),
        }
    }

    /// Bytes that the live block at `pos` may use.
    #[inline]
    fn usable(&self, pos: usize) -> usize {
        match self.engine.slab_at(pos) {
            Some(slab) => self.engine.table().size(slab.class),
            None => self.engine.run_at(pos).unwrap_or_default() * self.engine.page_size(),
        }
    }

    /// Allocates `size` bytes at a multiple of `align` on behalf of CPU `cpu`.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for what can never be served and a CPU that is not there;
    /// [`Refusal::Closed`] also for one that was adopted; [`Refusal::NoMemory`].
    #[inline]
    pub fn alloc_on(&mut self, cpu: usize, size: usize, align: usize) -> Outcome<usize> {
        let layout = layout_of(size, align)?;
        self.sections.ledger.ready()?;
        let cpu = self.cpu(cpu)?;
        self.sections.ledger.make_room(1, size)?;
        let pos = self.take(cpu, layout, size)?;
        self.record(pos, Block { size, align });
        Ok(pos)
    }

    fn take(&mut self, cpu: CpuId, layout: Layout, requested: usize) -> Outcome<usize> {
        self.engine
            .alloc_mut(cpu, layout)
            .map_err(|error| self.sections.ledger.fail(Refusal::of(error, requested)))
    }

    fn record(&mut self, pos: usize, block: Block) {
        self.granted += self.usable(pos);
        self.sections.ledger.born(pos, block, self.granted);
    }

    /// As [`alloc_on`](Self::alloc_on) for the first CPU.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn alloc(&mut self, size: usize, align: usize) -> Outcome<usize> {
        self.alloc_on(0, size, align)
    }

    /// As [`alloc`](Self::alloc), and the bytes of the block are 0.
    ///
    /// # Errors
    ///
    /// As there; [`Refusal::Unsupported`] where the memory of the range has not been provided.
    pub fn alloc_zeroed(&mut self, size: usize, align: usize) -> Outcome<usize> {
        layout_of(size, align)?;
        self.sections.ledger.ready()?;
        self.sections.has_memory()?;
        let pos = self.alloc(size, align)?;
        if let Some(arena) = self.sections.arena_of(pos) {
            arena.zero(pos, size);
        }
        Ok(pos)
    }

    /// Frees the block at `pos` on behalf of CPU `cpu`.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a CPU that is not there; [`Refusal::Closed`] also for one that was
    /// adopted; [`Refusal::NotAllocated`].
    pub fn dealloc_on(&mut self, cpu: usize, pos: usize) -> Outcome {
        self.sections.ledger.ready()?;
        let cpu = self.cpu(cpu)?;
        let (position, _) = self.sections.ledger.judge(pos, None, None)?;
        self.give_back(cpu, pos, position)
    }

    fn give_back(&mut self, cpu: CpuId, pos: usize, position: Position) -> Outcome {
        let usable = self.usable(pos);
        if self.engine.dealloc_mut(cpu, pos).is_err() {
            return Err(self.broken("the engine does not know a live block"));
        }
        self.granted -= usable;
        self.sections.ledger.died(position);
        Ok(())
    }

    /// Frees the block at `pos` on behalf of the first CPU, or of the block's owner once that is gone; a
    /// `size` or `align` given must be the one recorded.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`], [`Refusal::SizeMismatch`].
    #[inline]
    pub fn dealloc(&mut self, pos: usize, size: Option<usize>, align: Option<usize>) -> Outcome {
        self.sections.ledger.ready()?;
        let (position, _) = self.sections.ledger.judge(pos, size, align)?;
        self.give_back(self.freeing_cpu(pos), pos, position)
    }

    fn freeing_cpu(&self, pos: usize) -> CpuId {
        if self.gone[0] { self.engine.slab_at(pos).map_or(FIRST, |slab| slab.owner) } else { FIRST }
    }

    /// Gives the block at `pos` another size, in place where its slot or the pages behind it allow, else
    /// elsewhere, with its contents up to the smaller size and its alignment.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for a size of 0; [`Refusal::Closed`]; [`Refusal::NotAllocated`];
    /// [`Refusal::NoMemory`]; the old block is as it was then.
    pub fn realloc(&mut self, pos: usize, new_size: usize) -> Outcome<usize> {
        layout_of(new_size, 1)?;
        self.sections.ledger.ready()?;
        self.sections.has_memory()?;
        let (position, block) = self.sections.ledger.judge(pos, None, None)?;
        let layout = layout_of(new_size, block.align)?;
        let usable = self.usable(pos);
        if self.resize_in_place(pos, usable, layout) {
            self.granted = self.granted - usable + self.usable(pos);
            self.sections.ledger.resized(position, new_size, self.granted);
            return Ok(pos);
        }
        let cpu = self.cpu(0).unwrap_or_else(|_| self.freeing_cpu(pos));
        if self.gone[usize::from(cpu.0)] {
            return Err(Refusal::Closed);
        }
        let new_pos = match self.engine.alloc_mut(cpu, layout) {
            Ok(new_pos) => new_pos,
            Err(_) if new_size <= usable => {
                // It still fits where it is.
                self.sections.ledger.resized(position, new_size, self.granted);
                return Ok(pos);
            }
            Err(error) => return Err(self.sections.ledger.fail(Refusal::of(error, new_size))),
        };
        self.sections.copy(pos, new_pos, block.size.min(new_size));
        if self.engine.dealloc_mut(cpu, pos).is_err() {
            return Err(self.broken("the engine does not know a live block"));
        }
        self.granted = self.granted - usable + self.usable(new_pos);
        self.sections.ledger.moved(position, new_pos, new_size, self.granted);
        Ok(new_pos)
    }

    /// Whether the block can have the new size where it is; a run of pages is resized thereby.
    fn resize_in_place(&self, pos: usize, usable: usize, layout: Layout) -> bool {
        let class = self.engine.table().class_of(layout);
        match self.engine.slab_at(pos) {
            Some(slab) => class == Some(slab.class),
            None if class.is_some() => false,
            None => {
                let page_size = self.engine.page_size();
                let pages = layout.size().div_ceil(page_size);
                self.engine.resize_pages(pos, usable / page_size, pages).is_ok()
            }
        }
    }

    /// Allocates `count` blocks on behalf of the first CPU, all or none.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc), and [`Refusal::InvalidParam`] for a `size * count` above 2^53.
    pub fn alloc_many(&mut self, size: usize, align: usize, count: usize) -> Outcome<Vec<usize>> {
        let layout = layout_of(size, align)?;
        let requested =
            size.checked_mul(count).filter(|&all| all <= 1 << 53).ok_or(Refusal::InvalidParam)?;
        self.sections.ledger.ready()?;
        let cpu = self.cpu(0)?;
        let short = Refusal::NoMemory { requested, errno: 0 };
        if requested > self.engine.managed_bytes() {
            return Err(self.sections.ledger.fail(short));
        }
        self.sections.ledger.make_room(count, requested)?;
        let mut taken = Vec::new();
        taken.try_reserve_exact(count).map_err(|_| self.sections.ledger.fail(short))?;
        let class = self.engine.table().class_of(layout);
        let kept = class.map(|class| self.engine.empty_slabs(cpu, class));
        for _ in 0..count {
            match self.engine.alloc_mut(cpu, layout) {
                Ok(pos) => taken.push(pos),
                Err(error) => {
                    for &pos in taken.iter().rev() {
                        if self.engine.dealloc_mut(cpu, pos).is_err() {
                            return Err(self.broken("the engine does not know its newest block"));
                        }
                    }
                    // The slab that was made for this batch goes as well.
                    if let (Some(class), Some(0)) = (class, kept) {
                        self.engine.trim_class(cpu, class);
                    }
                    return Err(self.sections.ledger.fail(Refusal::of(error, requested)));
                }
            }
        }
        for &pos in &taken {
            self.record(pos, Block { size, align });
        }
        Ok(taken)
    }

    /// Frees all of `positions`, or none.
    ///
    /// # Errors
    ///
    /// The position that is not live or named twice, with [`Refusal::NotAllocated`]; [`Refusal::Closed`].
    pub fn dealloc_many(&mut self, positions: &[usize]) -> Result<(), (usize, Refusal)> {
        self.sections.ledger.ready().map_err(|refusal| (0, refusal))?;
        self.sections.ledger.judge_batch(positions)?;
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
        self.sections.ledger.ready()?;
        let (_, block) = self.sections.ledger.judge(pos, None, None)?;
        Ok((block, self.usable(pos)))
    }

    /// Takes a run by `take`, once the request has been judged, and records it.
    fn pages_by(
        &mut self,
        count: usize,
        align: usize,
        take: impl FnOnce(&GlobalAllocator) -> AllocResult<usize>,
    ) -> Outcome<usize> {
        let page_size = self.engine.page_size();
        judge_request(count, align, page_size)?;
        self.sections.ledger.ready()?;
        self.sections.ledger.make_room(1, count)?;
        let pos = take(&self.engine)
            .map_err(|error| self.sections.ledger.fail(Refusal::of(error, count)))?;
        self.record(pos, Block { size: count * page_size, align });
        Ok(pos)
    }

    /// Allocates `count` pages at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`], [`Refusal::Closed`], [`Refusal::NoMemory`].
    pub fn alloc_pages(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.pages_by(count, align, |engine| engine.alloc_pages(count, align))
    }

    /// As [`alloc_pages`](Self::alloc_pages), wholly below 4 GiB of physical address.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn alloc_pages_lowmem(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.pages_by(count, align, |engine| engine.alloc_pages_lowmem(count, align))
    }

    /// Allocates the `count` pages at exactly `base`.
    ///
    /// # Errors
    ///
    /// As there; [`Refusal::NoMemory`] where one of them is taken.
    pub fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize> {
        self.pages_by(count, align, |engine| engine.alloc_pages_at(base, count, align))
    }

    /// Frees the run of pages at `pos`; a `count` given must be the one recorded.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`] also for a slot, [`Refusal::SizeMismatch`].
    pub fn dealloc_pages(&mut self, pos: usize, count: Option<usize>) -> Outcome {
        if count == Some(0) {
            return Err(Refusal::InvalidParam);
        }
        let run = self.lookup_pages(pos)?;
        if count.is_some_and(|count| count != run.size) {
            return Err(Refusal::SizeMismatch { size: run.size, align: run.align });
        }
        self.dealloc(pos, None, None)
    }

    /// The live run of pages at `pos`; its size is in pages.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::NotAllocated`] also for a slot.
    pub fn lookup_pages(&self, pos: usize) -> Outcome<Block> {
        let (block, _) = self.lookup(pos)?;
        let size = self.engine.run_at(pos).ok_or(Refusal::NotAllocated)?;
        Ok(Block { size, align: block.align })
    }

    /// Takes back what other CPUs freed of `cpu`'s; returns how many slots.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::InvalidParam`].
    pub fn drain(&mut self, cpu: usize) -> Outcome<usize> {
        self.sections.ledger.ready()?;
        Ok(self.engine.drain(self.cpu(cpu)?))
    }

    /// Gives the empty slabs of every CPU back, once drained; returns pages.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`].
    pub fn trim(&mut self) -> Outcome<usize> {
        self.sections.ledger.ready()?;
        let cpus = (0..self.gone.len()).filter_map(|index| self.cpu(index).ok());
        Ok(cpus.map(|cpu| self.engine.trim(cpu)).sum())
    }

    /// CPU `from` goes away; `to` owns its slabs, and pending frees are drained.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for CPUs that are not there or the same one twice; [`Refusal::Closed`]
    /// also for one that was adopted.
    pub fn adopt(&mut self, from: usize, to: usize) -> Outcome {
        if from == to || from >= self.gone.len() || to >= self.gone.len() {
            return Err(Refusal::InvalidParam);
        }
        self.sections.ledger.ready()?;
        let (from_cpu, to_cpu) = (self.cpu(from)?, self.cpu(to)?);
        self.engine.adopt(from_cpu, to_cpu).map_err(|_| Refusal::Internal)?;
        self.gone[from] = true;
        Ok(())
    }

    /// Figures by class of one CPU.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`], [`Refusal::InvalidParam`].
    pub fn classes(&self, cpu: usize) -> Outcome<Vec<ClassStats>> {
        self.sections.ledger.ready()?;
        Ok(self.engine.class_stats(Some(self.cpu(cpu)?)))
    }

    /// The physical address of `pos`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`]; [`Refusal::InvalidParam`] outside of every range.
    pub fn virt_to_phys(&self, pos: usize) -> Outcome<usize> {
        self.sections.ledger.ready()?;
        self.engine.virt_to_phys(pos).ok_or(Refusal::InvalidParam)
    }

    /// The sections, in order of addition.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`].
    pub fn managed_sections(&self) -> Outcome<Vec<ManagedSection>> {
        self.sections.ledger.ready()?;
        Ok(self.engine.managed_sections())
    }

    /// Bytes managed, and bytes of pages that are not free, slabs included.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`].
    pub fn bytes(&self) -> Outcome<(usize, usize)> {
        self.sections.ledger.ready()?;
        Ok((self.engine.managed_bytes(), self.engine.allocated_bytes()))
    }

    /// The most pages that [`alloc_pages`](Self::alloc_pages) would serve now.
    pub fn largest_free_pages(&self) -> usize {
        self.engine.largest_free_pages()
    }

    /// The most pages that [`alloc_pages_lowmem`](Self::alloc_pages_lowmem) would serve now.
    pub fn largest_free_lowmem(&self) -> usize {
        self.engine.largest_free_pages_lowmem()
    }

    fn totals(&self) -> Totals {
        Totals {
            total: self.engine.managed_bytes(),
            used: self.granted,
            largest_free: self.largest_free(),
        }
    }

    #[cold]
    fn broken(&mut self, cause: &str) -> Refusal {
        self.sections.ledger.poison(cause);
        Refusal::Internal
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
    if size == 0 || align > ALIGN_MAX || align_up(size, align.max(1)).is_none() {
        return Err(Refusal::InvalidParam);
    }
    Layout::from_size_align(size, align).map_err(|_| Refusal::InvalidParam)
}

impl AnyMirror for TwoLevelMirror {
    fn init(&mut self, start: usize, size: usize) -> Outcome {
        self.add_region(start, size, start, true)
    }

    fn add_memory(&mut self, start: usize, size: usize) -> Outcome {
        self.add_region(start, size, start, false)
    }

    fn spans(&self) -> &[Span] {
        self.sections.ledger.spans()
    }

    fn arenas(&self) -> &[Arena] {
        &self.sections.arenas
    }

    fn arena_mut(&mut self, index: usize) -> Option<&mut Arena> {
        self.sections.arenas.get_mut(index)
    }

    fn stats(&self) -> Outcome<Stats> {
        self.sections.ledger.ready()?;
        Ok(self.sections.ledger.stats(self.totals()))
    }

    /// While a page is free, the largest run of pages: any slot can then be had from a new slab of as
    /// few pages as hold it. Else the largest class of which the first CPU has a slot.
    fn largest_free(&self) -> usize {
        if self.gone[0] {
            return 0;
        }
        let pages = self.engine.largest_free_pages() * self.engine.page_size();
        let table = self.engine.table();
        let slots = table.classes().filter(|&class| self.engine.has_slots(FIRST, class));
        pages.max(slots.last().map_or(0, |class| table.size(class)))
    }

    fn blocks(&self) -> Outcome<Vec<(usize, Block)>> {
        let ledger = &self.sections.ledger;
        ledger.ready()?;
        ledger
            .live
            .sorted()
            .map_err(|_| Refusal::NoMemory { requested: ledger.live.len(), errno: 0 })
    }

    fn check(&self) -> Result<usize, String> {
        let totals = Totals { largest_free: 0, ..self.totals() };
        let ledger = &self.sections.ledger;
        let blocks = ledger.check(totals, 1, |pos, _| self.usable(pos))?;
        let (mut taken, mut granted, mut wrong) = (0, 0, None);
        let mut seen = |pos: usize, usable: usize| {
            taken += 1;
            granted += usable;
            if ledger.live.get(pos).is_none_or(|block| block.size > usable) {
                wrong = Some(pos);
            }
        };
        self.engine.for_each_taken_slot(None, &mut seen);
        let page_size = self.engine.page_size();
        self.engine.for_each_page_run(&mut |pos, pages| seen(pos, pages * page_size));
        if let Some(pos) = wrong {
            return Err(format!("the block at {pos:#x} is not the one recorded"));
        }
        if taken != blocks || granted != self.granted {
            return Err(format!("{taken} blocks of {granted} bytes are taken, {blocks} recorded"));
        }
        self.engine.check_invariants()?;
        Ok(blocks)
    }

    fn poison(&mut self, cause: &str) {
        self.sections.ledger.poison(cause);
    }

    fn poisoned(&self) -> Option<&str> {
        self.sections.ledger.poisoned()
    }
}
