//! Bytes by two-level segregated fit: `rlsf::Tlsf` behind the core traits.
//!
//! ```text
//!  block   ┌────────┬──────────────┬───────────────────────┬─────────┐
//!          │ header │ padding      │ payload               │ rounding│   a multiple of 32 bytes
//!          └────────┴──────────────┴───────────────────────┴─────────┘
//!           16 bytes  only if the   ▲ `pos`
//!                     alignment is 32 or more
//! ```
//!
//! Free blocks hang on one of 28 x 32 lists by size. A request takes the head of the first non-empty list
//! whose *every* block is large enough, so allocation and free take constant time, and the largest
//! request that succeeds can be up to 1/32 smaller than the largest free block.
//!
//! What the wrapper adds:
//! - a range below 64 bytes is refused instead of ignored, a range given twice is noticed;
//! - statistics count whole blocks, header and padding included, so that `available_bytes` promises nothing
//!   that headers hold;
//! - [`TlsfByteAllocator::largest_free`], which follows the crate's fitting rule exactly.
//!
//! A pool above the first-level limit of 8 GiB is cut by the crate into pools of 8 GiB, each with a
//! sentinel of 32 bytes; no block spans two of them.

use core::{
    alloc::Layout, cell::Cell, fmt, marker::PhantomData, mem::MaybeUninit, ptr, ptr::NonNull,
};

use heapwright_core::{
    AllocError, AllocResult, BaseAllocator, ByteAllocator, ByteFamily, align_down, align_up,
};
use rlsf::{GRANULARITY, Tlsf};

use crate::ranges::Ranges;

/// First-level lists: sizes of 2^5 to 2^33.
const FIRST_LEVEL_COUNT: usize = 28;
/// Second-level lists of each first-level list.
const SECOND_LEVEL_COUNT: usize = 32;

/// The seed's geometry.
type Inner = Tlsf<'static, u32, u32, FIRST_LEVEL_COUNT, SECOND_LEVEL_COUNT>;

/// Header of a used block.
const HEADER_SIZE: usize = GRANULARITY / 2;
/// The smallest pool: one free block and the sentinel.
const POOL_SIZE_MIN: usize = GRANULARITY * 2;
/// The largest pool that the crate does not cut.
const POOL_SIZE_MAX: usize = GRANULARITY << FIRST_LEVEL_COUNT;

const _: () = assert!(GRANULARITY == 32, "the comments and the lists are those of a 64-bit target");

/// An allocator of bytes in constant time.
///
/// # Examples
///
/// ```
/// use core::alloc::Layout;
/// use heapwright_allocators::{BaseAllocator, ByteAllocator, TlsfByteAllocator};
///
/// let mut memory = vec![0_u64; 8192];
/// let start = memory.as_mut_ptr().expose_provenance();
/// let mut tlsf = TlsfByteAllocator::new();
/// unsafe { tlsf.init(start, 65536) }.unwrap();
///
/// let layout = Layout::from_size_align(1000, 8).unwrap();
/// let block = tlsf.alloc(layout).unwrap();
/// assert_eq!(tlsf.usable_size(layout), 1008);
/// assert_eq!(tlsf.used_bytes(), 1024);
/// unsafe { tlsf.dealloc(block, layout) }.unwrap();
/// assert_eq!(tlsf.used_bytes(), 0);
/// ```
pub struct TlsfByteAllocator {
    inner: Inner,
    ranges: Ranges,
    total_bytes: usize,
    used_bytes: usize,
    /// `largest_free` writes to free blocks and puts them back: not from two threads at once.
    not_sync: PhantomData<Cell<()>>,
}

impl TlsfByteAllocator {
    /// An allocator that manages nothing yet.
    pub const fn new() -> Self {
        Self {
            inner: Tlsf::new(),
            ranges: Ranges::new(),
            total_bytes: 0,
            used_bytes: 0,
            not_sync: PhantomData,
        }
    }

    /// The bytes of a block of `layout` that may be used, from its start: the size asked for, plus what
    /// rounding the whole block to 32 bytes leaves behind it.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    #[inline]
    pub fn usable_size(&self, layout: Layout) -> usize {
        // With padding the payload starts at a multiple of 32, without it 16 bytes after one.
        let lead = if layout.align() < GRANULARITY { HEADER_SIZE } else { 0 };
        (layout.size() + lead).next_multiple_of(GRANULARITY) - lead
    }

    /// The largest size for which a request with alignment `align` succeeds now; 0 if none does.
    ///
    /// # Time Complexity
    ///
    /// Linear in the number of lists, 896, at about a nanosecond each, and only down to the first list
    /// that is not empty.
    pub fn largest_free(&self, align: usize) -> usize {
        self.fit_max().saturating_sub(overhead_max(align))
    }

    /// Gives the block at `pos` another size, in place or elsewhere; the first
    /// `min(layout.size(), new_size)` bytes move with it. The crate grows into the next free block, then
    /// into the previous one, and only then looks for another place.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for size 0, [`AllocError::NoMemory`]; the old block is as it was then.
    ///
    /// # Safety
    ///
    /// 1. `pos` is the start of a live block of this allocator.
    /// 2. `layout` is the one that it was allocated with, its size that of the last `realloc`.
    pub unsafe fn realloc(
        &mut self,
        pos: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> AllocResult<NonNull<u8>> {
        if new_size == 0 {
            return Err(AllocError::InvalidParam);
        }
        let new_layout = Layout::from_size_align(new_size, layout.align())
            .map_err(|_| AllocError::InvalidParam)?;
        // SAFETY: bullets 1 and 2.
        let old_bytes = unsafe { block_bytes(pos, layout) };
        // SAFETY: bullets 1 and 2; the alignment stays the same.
        let new_pos =
            unsafe { self.inner.reallocate(pos, new_layout) }.ok_or(AllocError::NoMemory)?;
        self.used_bytes -= old_bytes;
        // SAFETY: the crate has just made this block for `new_layout`.
        self.used_bytes += unsafe { block_bytes(new_pos, new_layout) };
        Ok(new_pos)
    }

    /// The largest block size that the fitting rule can still find: the smallest size of the highest list
    /// that is not empty, or 0.
    fn fit_max(&self) -> usize {
        let free = self.total_bytes - self.used_bytes;
        if free < GRANULARITY {
            return 0;
        }
        let mut copy = MaybeUninit::<Inner>::uninit();
        // SAFETY: both sides are whole values of one type, and `copy` is a fresh local.
        unsafe { ptr::copy_nonoverlapping(&raw const self.inner, copy.as_mut_ptr(), 1) };
        // SAFETY: the bytes are those of a `Tlsf`, which owns nothing and has no destructor. The one
        // allocation that succeeds on the copy is undone below, which puts memory and lists back as
        // they were, so the memory still fits the original.
        let copy = unsafe { copy.assume_init_mut() };
        // No free block is larger than all free bytes, or than a pool without its sentinel.
        let mut size = list_size_min(free.min(POOL_SIZE_MAX - GRANULARITY));
        while size >= GRANULARITY {
            // With alignment 1 the crate looks for a block of `size` bytes, header included.
            let layout = Layout::from_size_align(size - HEADER_SIZE, 1);
            if let Some(pos) = layout.ok().and_then(|layout| copy.allocate(layout)) {
                // SAFETY: the block was allocated on this copy, with alignment 1, just now.
                unsafe { copy.deallocate(pos, 1) };
                return size;
            }
            size = list_size_min(size - GRANULARITY);
        }
        0
    }

    /// Judges a range and answers with the pool in it that the crate will make.
    fn check_range(&mut self, start: usize, size: usize) -> AllocResult<NonNull<[u8]>> {
        self.ranges.check(start, size)?;
        if start == 0 {
            return Err(AllocError::InvalidParam);
        }
        let first = align_up(start, GRANULARITY).ok_or(AllocError::InvalidParam)?;
        let end = align_down(start + size, GRANULARITY);
        if end.checked_sub(first).is_none_or(|pool_size| pool_size < POOL_SIZE_MIN) {
            return Err(AllocError::InvalidParam);
        }
        let pool = ptr::slice_from_raw_parts_mut(ptr::with_exposed_provenance_mut(start), size);
        NonNull::new(pool).ok_or(AllocError::InvalidParam)
    }

    /// Gives a checked pool to the crate.
    ///
    /// # Safety
    ///
    /// 1. `pool` is ours as [`BaseAllocator::init`] says, and no part of it was given before.
    unsafe fn insert(&mut self, pool: NonNull<[u8]>) -> AllocResult {
        let start = pool.addr().get();
        // SAFETY: bullet 1; the crate is `'static` because the range outlives this allocator.
        let inserted =
            unsafe { self.inner.insert_free_block_ptr(pool) }.ok_or(AllocError::InvalidParam)?;
        self.ranges.add(start, pool.len());
        self.total_bytes += inserted.get();
        Ok(())
    }
}

impl Default for TlsfByteAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TlsfByteAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsfByteAllocator")
            .field("total_bytes", &self.total_bytes)
            .field("used_bytes", &self.used_bytes)
            .finish_non_exhaustive()
    }
}

impl BaseAllocator for TlsfByteAllocator {
    /// Starts to manage `[start, start + size)`, rounded inward to multiples of 32.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a second `init`, for address 0, for a range that wraps around, and
    /// below 64 bytes after rounding.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult {
        if !self.ranges.is_empty() {
            return Err(AllocError::InvalidParam);
        }
        let pool = self.check_range(start, size)?;
        // SAFETY: the caller gives us the range (bullet 1), and `check_range` found it to be no part of
        // one given before.
        unsafe { self.insert(pool) }
    }

    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let pool = self.check_range(start, size)?;
        if self.ranges.is_empty() {
            return Err(AllocError::NoMemory);
        }
        // SAFETY: as in `init`.
        unsafe { self.insert(pool) }
    }
}

impl ByteAllocator for TlsfByteAllocator {
    /// Allocates a block of `layout`.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    #[inline]
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        if layout.size() == 0 {
            return Err(AllocError::InvalidParam);
        }
        let pos = self.inner.allocate(layout).ok_or(AllocError::NoMemory)?;
        // SAFETY: the crate has just made this block for `layout`.
        self.used_bytes += unsafe { block_bytes(pos, layout) };
        Ok(pos)
    }

    /// Frees the block at `pos` and merges it with its free neighbors.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    #[inline]
    unsafe fn dealloc(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult {
        if self.used_bytes == 0 || !self.ranges.contain(pos.addr().get()) {
            return Err(AllocError::NotAllocated);
        }
        // SAFETY: the caller's bullets are the same.
        unsafe { self.dealloc_live(pos, layout) }
    }

    /// Bytes of all pools, with a sentinel of 32 bytes in each that is never granted.
    fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Bytes of all used blocks, with their headers and padding.
    fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    fn available_bytes(&self) -> usize {
        self.total_bytes - self.used_bytes
    }
}

/// What the crate adds to a request before it looks for a block.
const fn overhead_max(align: usize) -> usize {
    align.saturating_sub(HEADER_SIZE) + HEADER_SIZE
}

/// The smallest size of the list that holds blocks of `size` bytes.
const fn list_size_min(size: usize) -> usize {
    if size < GRANULARITY {
        return 0;
    }
    let step = (1_usize << size.ilog2()) / SECOND_LEVEL_COUNT;
    align_down(size, if step < GRANULARITY { GRANULARITY } else { step })
}

/// The bytes of the whole block behind the allocation at `pos`: header, padding, payload, rounding.
///
/// Where there is padding, its last word is the address of the header; this is the layout of rlsf 0.2.3,
/// the version that `Cargo.toml` demands, and `tests/families/accounting.rs` compares the sums with the crate's own
/// walk over its blocks.
///
/// # Safety
///
/// 1. `pos` is the start of a live block of the crate, made for `layout`.
#[inline]
unsafe fn block_bytes(pos: NonNull<u8>, layout: Layout) -> usize {
    let lead = if layout.align() < GRANULARITY {
        HEADER_SIZE
    } else {
        // SAFETY: an alignment of 32 or more leaves at least 16 bytes of padding before the payload.
        let pad = unsafe { pos.cast::<usize>().sub(1) };
        // SAFETY: the crate has written the address of the header there, and the payload starts at a
        // multiple of 32, so the word before it is aligned.
        pos.addr().get() - unsafe { pad.read() }
    };
    (lead + layout.size()).next_multiple_of(GRANULARITY)
}

impl ByteFamily for TlsfByteAllocator {
    #[inline]
    fn usable_size(&self, layout: Layout) -> usize {
        Self::usable_size(self, layout)
    }

    fn largest_free(&self, align: usize) -> usize {
        Self::largest_free(self, align)
    }

    #[inline]
    unsafe fn dealloc_live(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult {
        // SAFETY: `pos` is a live block allocated with `layout` (bullets 1 and 2).
        self.used_bytes -= unsafe { block_bytes(pos, layout) };
        // SAFETY: as above; the crate needs the alignment to find the header.
        unsafe { self.inner.deallocate(pos, layout.align()) };
        Ok(())
    }

    unsafe fn resize(
        &mut self,
        pos: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> AllocResult<NonNull<u8>> {
        // SAFETY: the caller's bullets are the same.
        unsafe { self.realloc(pos, layout, new_size) }
    }
}
