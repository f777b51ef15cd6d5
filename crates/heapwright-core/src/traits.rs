//! What an allocator of bytes, pages or ids can do. Everything that can fail returns a `Result`.
//!
//! Implementations keep no promise about a caller that breaks a `# Safety` bullet; for everything
//! else, an error leaves the allocator as it was.
#![expect(unsafe_code, reason = "`unsafe fn` in a trait counts as unsafe code for the compiler")]

use core::{alloc::Layout, ptr::NonNull};

use crate::AllocResult;

/// What every allocator has: ranges that it manages.
pub trait BaseAllocator {
    /// Starts to manage `[start, start + size)`.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](crate::AllocError::InvalidParam) for a range that cannot be managed and for a
    /// second `init`.
    ///
    /// # Safety
    ///
    /// 1. An allocator that keeps metadata in its memory owns the range: it is mapped, writable, and
    ///    nothing else reads or writes it until the allocator is dropped.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult;

    /// Manages one more range, apart from all others.
    ///
    /// # Errors
    ///
    /// [`MemoryOverlap`](crate::AllocError::MemoryOverlap) where it overlaps a managed range,
    /// [`InvalidParam`](crate::AllocError::InvalidParam) where it cannot be managed,
    /// [`NoMemory`](crate::AllocError::NoMemory) before `init`.
    ///
    /// # Safety
    ///
    /// 1. As for [`init`](Self::init).
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult;
}

/// An allocator of bytes.
pub trait ByteAllocator: BaseAllocator {
    /// Allocates a block of `layout`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::AllocError::NoMemory), [`InvalidParam`](crate::AllocError::InvalidParam)
    /// for a size of 0.
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>>;

    /// Frees the block at `pos`.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`](crate::AllocError::NotAllocated) where the allocator can tell.
    ///
    /// # Safety
    ///
    /// 1. `pos` is the start of a live block of this allocator.
    /// 2. `layout` is the one that it was allocated with.
    unsafe fn dealloc(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult;

    /// Bytes managed.
    fn total_bytes(&self) -> usize;
    /// Bytes granted to live blocks, rounding included.
    fn used_bytes(&self) -> usize;
    /// Bytes not granted.
    fn available_bytes(&self) -> usize;
}

/// An allocator of pages. It never touches them.
pub trait PageAllocator: BaseAllocator {
    /// Bytes of a page, a power of two.
    fn page_size(&self) -> usize;

    /// Allocates `count` contiguous pages at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](crate::AllocError::InvalidParam), [`NoMemory`](crate::AllocError::NoMemory).
    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize>;

    /// Allocates `count` pages at exactly `base`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::AllocError::NoMemory) where one is taken,
    /// [`InvalidParam`](crate::AllocError::InvalidParam) where `base` is no page, not aligned, or the
    /// run is not wholly inside.
    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize>;

    /// Frees `count` pages from `pos`.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`](crate::AllocError::NotAllocated) if any of them is not live; nothing changed then.
    fn dealloc_pages(&mut self, pos: usize, count: usize) -> AllocResult;

    /// Pages managed.
    fn total_pages(&self) -> usize;
    /// Pages of live runs.
    fn used_pages(&self) -> usize;
    /// Pages that are free.
    fn available_pages(&self) -> usize;
}

/// An allocator of ids.
pub trait IdAllocator: BaseAllocator {
    /// Allocates `count` consecutive ids, the first a multiple of `align`.
    ///
    /// # Errors
    ///
    /// [`InvalidParam`](crate::AllocError::InvalidParam), [`NoMemory`](crate::AllocError::NoMemory).
    fn alloc_id(&mut self, count: usize, align: usize) -> AllocResult<usize>;

    /// Takes exactly `id`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::AllocError::NoMemory) if it is taken,
    /// [`InvalidParam`](crate::AllocError::InvalidParam) if it is not managed.
    fn alloc_fixed_id(&mut self, id: usize) -> AllocResult;

    /// Frees `count` ids from `start`.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`](crate::AllocError::NotAllocated) if any of them is free; nothing changed then.
    fn dealloc_id(&mut self, start: usize, count: usize) -> AllocResult;

    /// Whether `id` is taken; `false` for what is not managed.
    fn is_allocated(&self, id: usize) -> bool;

    /// Ids managed.
    fn size(&self) -> usize;
    /// Ids taken.
    fn used(&self) -> usize;
    /// Ids free.
    fn available(&self) -> usize;
}
