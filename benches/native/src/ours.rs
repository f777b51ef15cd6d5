//! Our own engines behind the traits of the loops: the families with their mirror and live table, the two levels.
//!
//! The families answer places in a range that they were told; a constant takes a place to the byte behind it. All that
//! protects a program is on: every free is judged by the live table before the crate hears of it.

use std::alloc::Layout;

use heapwright_allocators::{
    BitmapPageAllocator, BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator,
};
use heapwright_heap::arena::Memory;
use heapwright_heap::{AnyMirror, ByteRules, Mirror, PageMirror};
use heapwright_two_level::{BuddyAllocator, ClassTable, CpuId, GlobalAllocator};

use crate::arena::Arena;
use crate::bare::{Bare, Opened};
use crate::loops::bitmap::Pages;

const PAGE: usize = 4096;
/// Where the ranges of the families start, as a program would name it.
const START: usize = 1 << 32;

/// A byte family behind its mirror.
struct Family<M> {
    mirror: M,
    /// From a place in the range to the address behind it.
    shift: usize,
}

/// The calls of a byte mirror that the loops make.
trait ByteMirror: AnyMirror {
    fn alloc(&mut self, layout: Layout) -> Option<usize>;
    fn dealloc(&mut self, pos: usize) -> bool;
}

impl<F> ByteMirror for Mirror<F>
where
    Self: AnyMirror,
    F: heapwright_core::ByteFamily,
{
    #[inline]
    fn alloc(&mut self, layout: Layout) -> Option<usize> {
        Mirror::alloc(self, layout.size(), layout.align()).ok()
    }

    #[inline]
    fn dealloc(&mut self, pos: usize) -> bool {
        Mirror::dealloc(self, pos, None, None).is_ok()
    }
}

/// Makes the family that `name` means over `size` bytes.
pub(crate) fn open_family(name: &str, size: usize, populate: bool) -> Result<Opened, String> {
    match name {
        "tlsf (ours)" => open_mirror(
            Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, Memory::Mapped),
            size,
            populate,
        ),
        "buddy (ours)" => open_mirror(
            Mirror::new(BuddyByteAllocator::new(), ByteRules::BUDDY, Memory::Mapped),
            size,
            populate,
        ),
        _ => open_mirror(
            Mirror::new(SlabByteAllocator::new(), ByteRules::SLAB, Memory::Mapped),
            size,
            populate,
        ),
    }
}

fn open_mirror(
    mut mirror: impl ByteMirror + 'static,
    size: usize,
    populate: bool,
) -> Result<Opened, String> {
    mirror.init(START, size).map_err(|refusal| format!("{refusal:?}"))?;
    let first =
        mirror.arenas().first().and_then(|arena| arena.data_at(START)).ok_or("no data mapping")?;
    if populate {
        for offset in (0..size).step_by(PAGE) {
            // SAFETY: the data mapping has `size` bytes, and no block is there yet.
            unsafe { first.add(offset).write_volatile(0) };
        }
    }
    let shift = (first as usize).wrapping_sub(START);
    let range = first as usize..first as usize + size;
    Ok(Opened { bare: Box::new(Family { mirror, shift }), range: Some(range) })
}

impl<M: ByteMirror> Bare for Family<M> {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        self.mirror.alloc(layout).map_or(0, |pos| pos.wrapping_add(self.shift))
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, _layout: Layout) {
        let freed = self.mirror.dealloc(p.wrapping_sub(self.shift));
        debug_assert!(freed);
    }
}

/// The two-level engine with one CPU, on the arena's own addresses.
pub(crate) struct TwoLevel(GlobalAllocator, CpuId);

impl TwoLevel {
    /// Gives it the arena; `table` is the kernel's nine classes or the Heap's fine ones.
    pub(crate) fn over(arena: Arena, table: ClassTable) -> Result<Self, String> {
        let name = |error| format!("two-level: {error:?}");
        let global = GlobalAllocator::new(table, 1, PAGE).map_err(name)?;
        global.add_region(arena.start(), arena.size(), arena.start()).map_err(name)?;
        Ok(Self(global, CpuId(0)))
    }
}

impl Bare for TwoLevel {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.alloc_mut(self.1, layout).unwrap_or(0)
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, _layout: Layout) {
        let freed = self.0.dealloc_mut(self.1, p);
        debug_assert!(freed.is_ok());
    }
}

/// The bitmap of pages with its live table, without memory.
pub(crate) struct MirroredBitmap(PageMirror<BitmapPageAllocator>);

impl MirroredBitmap {
    /// A map of `pages` pages.
    pub(crate) fn new(pages: usize) -> Result<Self, String> {
        let family = BitmapPageAllocator::with_capacity(PAGE, pages)
            .map_err(|error| format!("{error:?}"))?;
        let mut mirror = PageMirror::new(family, Memory::None, None);
        mirror.init(START, pages * PAGE).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(Self(mirror))
    }
}

impl Pages for MirroredBitmap {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        self.0.alloc(count, align * PAGE).ok().map(|pos| (pos - START) / PAGE)
    }

    fn take(&mut self, page: usize) {
        let taken = self.0.alloc_at(START + page * PAGE, 1, PAGE);
        debug_assert!(taken.is_ok());
    }

    fn free(&mut self, page: usize, count: usize) {
        let freed = self.0.dealloc(START + page * PAGE, Some(count));
        debug_assert!(freed.is_ok());
    }
}

/// The page level of the two-level engine.
pub(crate) struct BuddyPages(BuddyAllocator);

impl BuddyPages {
    /// A section of `pages` pages.
    pub(crate) fn new(pages: usize) -> Result<Self, String> {
        let mut buddy = BuddyAllocator::new(PAGE).map_err(|error| format!("{error:?}"))?;
        buddy.add_region(START, pages * PAGE, START).map_err(|error| format!("{error:?}"))?;
        Ok(Self(buddy))
    }
}

impl Pages for BuddyPages {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        self.0.alloc_pages(count, align * PAGE).ok().map(|pos| (pos - START) / PAGE)
    }

    fn take(&mut self, page: usize) {
        let taken = self.0.alloc_pages_at(START + page * PAGE, 1, PAGE);
        debug_assert!(taken.is_ok());
    }

    fn free(&mut self, page: usize, count: usize) {
        let freed = self.0.dealloc_pages(START + page * PAGE, count);
        debug_assert!(freed.is_ok());
    }
}
