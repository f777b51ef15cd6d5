//! What the mirror asks of a wrapped allocator beyond the traits of the seed.
//!
//! The mirror (`heapwright-heap`) is generic over these, so it depends on no family; the families
//! (`heapwright-allocators`) implement them, so they depend on no mirror.
#![expect(unsafe_code, reason = "`unsafe fn` in a trait counts as unsafe code for the compiler")]

use core::{alloc::Layout, ptr::NonNull};

use crate::{AllocError, AllocResult, ByteAllocator, IdAllocator, PageAllocator};

/// A byte allocator that can live in a mirror.
///
/// Every block starts at a multiple of 8 and has at least 8 bytes. While it is live, the allocator neither
/// reads nor writes its payload, but for copying it in [`resize`](Self::resize): the mirror keeps its own
/// record in the first 8 bytes, and may give whole pages of the payload back to the system.
pub trait ByteFamily: ByteAllocator {
    /// Up to this size and alignment, a block's address is all that [`dealloc_at`](Self::dealloc_at) needs; 0
    /// where a free needs the layout. Where it is not 0, `used_bytes` is the sum of the usable sizes.
    const DEALLOC_AT_MAX: usize = 0;

    /// The bytes of a block of `layout` that may be used, from its start: at least the size asked for.
    fn usable_size(&self, layout: Layout) -> usize;

    /// The largest size for which a request with alignment `align` succeeds now; 0 if none does.
    fn largest_free(&self, align: usize) -> usize;

    /// As [`alloc`](ByteAllocator::alloc), with the [`usable_size`](Self::usable_size) of the block.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    fn alloc_usable(&mut self, layout: Layout) -> AllocResult<(NonNull<u8>, usize)> {
        self.alloc(layout).map(|pos| (pos, self.usable_size(layout)))
    }

    /// As [`dealloc`](ByteAllocator::dealloc), for a caller that knows what is live: what `dealloc` tests of a
    /// position before it believes its caller may be left out.
    ///
    /// # Errors
    ///
    /// As there, if any.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    unsafe fn dealloc_live(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: the caller's bullets are the same.
        unsafe { self.dealloc(pos, layout) }
    }

    /// Frees the block at `pos`, whatever its layout was, without a look at the block.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] where [`DEALLOC_AT_MAX`](Self::DEALLOC_AT_MAX) is 0, or where the allocator
    /// can tell.
    ///
    /// # Safety
    ///
    /// 1. `pos` is the start of a live block of this allocator.
    /// 2. Neither size nor alignment of its layout is above [`DEALLOC_AT_MAX`](Self::DEALLOC_AT_MAX).
    #[inline]
    unsafe fn dealloc_at(&mut self, pos: NonNull<u8>) -> AllocResult {
        let _ = pos;
        Err(AllocError::NotAllocated)
    }

    /// Gives the block at `pos` another size, in place or elsewhere, with its alignment kept. What the
    /// block holds need not move with it: the mirror moves its data itself.
    ///
    /// As given here, a block stays where it is while its usable size stays the same. That is right for a
    /// family that knows its blocks by their usable size and alignment alone.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for size 0, [`AllocError::NoMemory`]; the old block is as it was then.
    ///
    /// # Safety
    ///
    /// 1. `pos` is the start of a live block of this allocator.
    /// 2. `layout` is the one that it was allocated with, its size that of the last `resize`.
    unsafe fn resize(
        &mut self,
        pos: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> AllocResult<NonNull<u8>> {
        let new_layout = Layout::from_size_align(new_size, layout.align())
            .map_err(|_| AllocError::InvalidParam)?;
        if new_size > 0 && self.usable_size(new_layout) == self.usable_size(layout) {
            return Ok(pos);
        }
        let new_pos = self.alloc(new_layout)?;
        // SAFETY: the caller's bullets 1 and 2.
        if let Err(error) = unsafe { self.dealloc(pos, layout) } {
            // SAFETY: the block was allocated with this layout a moment ago.
            unsafe { self.dealloc(new_pos, new_layout) }?;
            return Err(error);
        }
        Ok(new_pos)
    }
}

/// A page allocator that the live table can stand beside.
pub trait PageFamily: PageAllocator {
    /// The largest count for which a request aligned to `align` bytes succeeds now; 0 if none does.
    fn largest_free(&self, align: usize) -> usize;

    /// The pages that it can hold, counted from the start of the first range; before `init`, the most that
    /// a first range may have.
    fn capacity(&self) -> usize;

    /// Tests its own invariants.
    ///
    /// # Errors
    ///
    /// The one that does not hold.
    fn check(&self) -> Result<(), &'static str>;
}

/// An id allocator that the live table can stand beside.
pub trait IdFamily: IdAllocator {
    /// The largest count for which a request aligned to `align` ids succeeds now; 0 if none does.
    fn largest_free(&self, align: usize) -> usize;

    /// The ids that it can hold, counted from the first of the first range; before `init`, the most that a
    /// first range may have.
    fn capacity(&self) -> usize;

    /// Tests its own invariants.
    ///
    /// # Errors
    ///
    /// The one that does not hold.
    fn check(&self) -> Result<(), &'static str>;
}
