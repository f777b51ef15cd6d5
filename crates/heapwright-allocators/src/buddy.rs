//! Bytes by buddies: `buddy_system_allocator::Heap` behind the core traits.
//!
//! The crate rounds every request up to a power of two, keeps one list of free blocks per power in the
//! first word of each block, splits on the way down and merges on the way up. A free looks for its buddy
//! by walking the list of that order, so its cost grows with the number of free blocks of the size
//! freed; this family keeps that cost on purpose, because it *is* the crate.
//!
//! What the wrapper adds:
//! - ranges are checked before the crate hears of them: none empty, none twice, none at address 0;
//! - the crate gets every request already rounded, so its answer is the same and its own count of
//!   requested bytes cannot underflow when a block changes its size within one order;
//! - [`BuddyByteAllocator::largest_free`], which the crate cannot say.
//!
//! Which large blocks fit depends on the real addresses of a range. Whoever places the range decides:
//! the mirror puts it congruent to the address that the program asked for, so that nothing hangs on
//! where the operating system happened to put the mapping.
//!
//! Two ranges that touch are not joined when they are added, but a later free merges over the seam,
//! because the crate finds buddies by address alone. A caller who does not want that leaves a gap.

use core::{alloc::Layout, fmt, mem::MaybeUninit, ptr, ptr::NonNull};

use buddy_system_allocator::Heap;
use heapwright_core::{
    AllocError, AllocResult, BaseAllocator, ByteAllocator, ByteFamily, align_up, is_aligned,
};

use crate::ranges::Ranges;

/// Orders 0 to 47: blocks of up to 128 TiB, more than a process can map. Below 2 GiB the crate behaves
/// exactly as the seed's `Heap<32>` does.
const ORDER_COUNT: usize = 48;

/// The smallest block: a free one holds the link of its list.
const BLOCK_SIZE_MIN: usize = size_of::<usize>();

/// An allocator of bytes by binary buddies.
///
/// # Examples
///
/// ```
/// use core::alloc::Layout;
/// use heapwright_allocators::{BaseAllocator, BuddyByteAllocator, ByteAllocator};
///
/// let mut memory = vec![0_u64; 8192];
/// let start = memory.as_mut_ptr().expose_provenance();
/// let mut buddy = BuddyByteAllocator::new();
/// unsafe { buddy.init(start, 65536) }.unwrap();
///
/// let layout = Layout::from_size_align(1000, 8).unwrap();
/// let block = buddy.alloc(layout).unwrap();
/// assert_eq!(buddy.used_bytes(), 1024);
/// unsafe { buddy.dealloc(block, layout) }.unwrap();
/// assert_eq!(buddy.used_bytes(), 0);
/// ```
pub struct BuddyByteAllocator {
    inner: Heap<ORDER_COUNT>,
    ranges: Ranges,
}

impl BuddyByteAllocator {
    /// An allocator that manages nothing yet.
    pub const fn new() -> Self {
        Self { inner: Heap::new(), ranges: Ranges::new() }
    }

    /// The bytes that a block of `layout` really takes, all of them usable: the next power of two,
    /// at least the alignment, at least a word.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    #[inline]
    pub fn usable_size(&self, layout: Layout) -> usize {
        block_size(layout)
    }

    /// The largest size for which a request with alignment `align` succeeds now; 0 if none does.
    ///
    /// # Time Complexity
    ///
    /// `O(orders)`. No memory is written, no list walked.
    pub fn largest_free(&self, align: usize) -> usize {
        let total = self.inner.stats_total_bytes();
        let mut copy = MaybeUninit::<Heap<ORDER_COUNT>>::uninit();
        // SAFETY: both sides are whole values of one type, and `copy` is a fresh local.
        unsafe { ptr::copy_nonoverlapping(&raw const self.inner, copy.as_mut_ptr(), 1) };
        // SAFETY: the bytes are those of a `Heap`, which owns nothing and has no destructor. What is done
        // with the copy below changes its list heads only, so the memory still fits the original.
        let copy = unsafe { copy.assume_init_mut() };
        let top = total.checked_ilog2().map_or(0, |order| order as usize).min(ORDER_COUNT - 1);
        // From the top down, every request that fails changes nothing, and the first that succeeds finds
        // its own order non-empty: it takes the head of that list and splits nothing.
        let largest = (BLOCK_SIZE_MIN.ilog2() as usize..=top)
            .rev()
            .map(|order| 1_usize << order)
            .find(|&size| {
                Layout::from_size_align(size, 1).is_ok_and(|layout| copy.alloc(layout).is_ok())
            });
        largest.filter(|&size| align <= size).unwrap_or(0)
    }

    fn check_range(&mut self, start: usize, size: usize) -> AllocResult {
        self.ranges.check(start, size)?;
        if start == 0 {
            return Err(AllocError::InvalidParam);
        }
        let first = align_up(start, BLOCK_SIZE_MIN).ok_or(AllocError::InvalidParam)?;
        match first.checked_add(BLOCK_SIZE_MIN) {
            Some(end) if end <= start + size => Ok(()),
            _ => Err(AllocError::InvalidParam),
        }
    }
}

impl Default for BuddyByteAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BuddyByteAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuddyByteAllocator")
            .field("total_bytes", &self.total_bytes())
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

impl BaseAllocator for BuddyByteAllocator {
    /// Starts to manage the whole words of `[start, start + size)`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a second `init`, for address 0, and for a range that wraps around
    /// or has no whole word.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult {
        if !self.ranges.is_empty() {
            return Err(AllocError::InvalidParam);
        }
        self.check_range(start, size)?;
        // SAFETY: the caller gives us the range (bullet 1), and `check_range` found it to be no part of
        // one given before.
        unsafe { self.inner.init(start, size) };
        self.ranges.add(start, size);
        Ok(())
    }

    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        self.check_range(start, size)?;
        if self.ranges.is_empty() {
            return Err(AllocError::NoMemory);
        }
        // SAFETY: as in `init`.
        unsafe { self.inner.add_to_heap(start, start + size) };
        self.ranges.add(start, size);
        Ok(())
    }
}

impl ByteAllocator for BuddyByteAllocator {
    /// Allocates a block of `layout`.
    ///
    /// # Time Complexity
    ///
    /// `O(orders)`.
    #[inline]
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        if layout.size() == 0 {
            return Err(AllocError::InvalidParam);
        }
        let rounded = rounded_layout(layout).ok_or(AllocError::NoMemory)?;
        self.inner.alloc(rounded).map_err(|()| AllocError::NoMemory)
    }

    /// Frees the block at `pos`, merging upwards while the buddy is also free.
    ///
    /// # Time Complexity
    ///
    /// Linear in the free blocks of the size freed: the crate walks their list to find the buddy.
    #[inline]
    unsafe fn dealloc(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult {
        let rounded = rounded_layout(layout).ok_or(AllocError::NotAllocated)?;
        let address = pos.addr().get();
        if !self.ranges.contain(address)
            || !is_aligned(address, rounded.size())
            || self.inner.stats_alloc_actual() < rounded.size()
        {
            return Err(AllocError::NotAllocated);
        }
        // SAFETY: `pos` is a live block allocated with `layout` (bullets 1 and 2), which `alloc` rounded
        // to the same layout as here.
        unsafe { self.inner.dealloc(pos, rounded) };
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.inner.stats_total_bytes()
    }

    fn used_bytes(&self) -> usize {
        self.inner.stats_alloc_actual()
    }

    fn available_bytes(&self) -> usize {
        self.inner.stats_total_bytes() - self.inner.stats_alloc_actual()
    }
}

/// The crate's own rounding.
#[inline]
fn block_size(layout: Layout) -> usize {
    layout.size().next_power_of_two().max(layout.align()).max(BLOCK_SIZE_MIN)
}

/// `layout` as a block of the crate; `None` where no order is large enough.
#[inline]
fn rounded_layout(layout: Layout) -> Option<Layout> {
    let size = block_size(layout);
    if size >= 1 << ORDER_COUNT {
        return None;
    }
    Layout::from_size_align(size, 1).ok()
}

impl ByteFamily for BuddyByteAllocator {
    #[inline]
    fn usable_size(&self, layout: Layout) -> usize {
        Self::usable_size(self, layout)
    }

    fn largest_free(&self, align: usize) -> usize {
        Self::largest_free(self, align)
    }
}
