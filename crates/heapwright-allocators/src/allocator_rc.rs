//! A byte allocator as a home for collections: `Vec`, `Box` and maps whose memory lies in a region.
//!
//! [`AllocatorRc`] is a counted handle. It implements `Allocator` of `allocator-api2` 0.2 (feature
//! `allocator_api`, stable Rust; `hashbrown` takes it) and that of `core` (feature `nightly`; `BTreeMap` takes
//! it). Every collection holds a clone, and the last clone drops first the allocator, then the memory: a
//! collection cannot outlive its region, and a region cannot outlive its collections.
//!
//! What differs from the seed's type of this name:
//! - the memory is owned, not remembered by address, so dropping the pool first is not possible;
//! - a request for no bytes gets a dangling pointer that is aligned, and its free does nothing; the seed
//!   answers 1 whatever the alignment, and frees it.
//!
//! A collection writes into every block that the allocator answers with, so what a [`ByteAllocator`] of
//! your own answers must be what it promises: a live block of the layout, in the memory that it was given.
//!
//! Growing and shrinking go the way that the traits give them: allocate, copy, free.

use alloc::{
    alloc::{Layout, alloc, dealloc},
    boxed::Box,
    rc::Rc,
    vec::Vec,
};
use core::{any::Any, cell::RefCell, fmt, ptr::NonNull};

use heapwright_core::{AllocError, AllocResult, ByteAllocator, align_up};

/// What the memory of a handle is a multiple of, start and size: enough for every family.
const MEMORY_ALIGN: usize = 4096;
/// The slab family wants its first range to be a multiple of this.
const MEMORY_UNIT: usize = 0x8000;

/// A counted handle of a byte allocator and of the memory that it manages.
///
/// # Examples
///
/// ```
/// use allocator_api2::vec::Vec;
/// use heapwright_allocators::{AllocatorRc, TlsfByteAllocator};
///
/// let region = AllocatorRc::new(TlsfByteAllocator::new(), 1 << 20).unwrap();
/// let mut numbers = Vec::new_in(region.clone());
/// numbers.extend(0..1000_u32);
/// assert!(region.with(|tlsf| heapwright_allocators::ByteAllocator::used_bytes(tlsf)) >= 4000);
/// drop(region); // The vector keeps the region alive.
/// assert_eq!(numbers.iter().sum::<u32>(), 499_500);
/// ```
pub struct AllocatorRc<A: ByteAllocator> {
    inner: Rc<Inner<A>>,
}

/// Fields drop in this order: the allocator before its memory.
struct Inner<A> {
    allocator: RefCell<A>,
    memory: RefCell<Vec<Memory>>,
    _owner: Option<Box<dyn Any>>,
}

/// Memory of the global allocator, not touched, released when it is dropped.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl<A: ByteAllocator> AllocatorRc<A> {
    /// Gives `allocator`, which manages nothing yet, `size` bytes of memory, rounded up to 32 KiB.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for size 0, or if the allocator was initialized before;
    /// [`AllocError::NoMemory`].
    pub fn new(mut allocator: A, size: usize) -> AllocResult<Self> {
        let memory = Memory::new(align_up(size, MEMORY_UNIT).ok_or(AllocError::NoMemory)?)?;
        // SAFETY: the memory is ours alone, and `Inner` drops it after the allocator.
        unsafe { allocator.init(memory.start(), memory.layout.size()) }?;
        Ok(Self::from_inner(allocator, Vec::from([memory]), None))
    }

    /// Takes an allocator that was initialized elsewhere, and whatever owns its memory; both live until the
    /// last clone of this handle is gone.
    ///
    /// # Safety
    ///
    /// 1. All ranges of `allocator` are valid, and used by nothing else, until `owner` is dropped.
    pub unsafe fn from_parts(allocator: A, owner: impl Any) -> Self {
        Self::from_inner(allocator, Vec::new(), Some(Box::new(owner)))
    }

    /// Adds `size` bytes of memory, rounded up to 4 KiB.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for size 0; [`AllocError::NoMemory`].
    pub fn add_memory(&self, size: usize) -> AllocResult {
        let memory = Memory::new(align_up(size, MEMORY_ALIGN).ok_or(AllocError::NoMemory)?)?;
        let (start, len) = (memory.start(), memory.layout.size());
        // Kept first: from here on nothing may fail between the allocator's use and our keeping it.
        self.inner.memory.borrow_mut().push(memory);
        // SAFETY: the memory is ours alone, and `Inner` drops it after the allocator.
        let added = unsafe { self.inner.allocator.borrow_mut().add_memory(start, len) };
        if added.is_err() {
            self.inner.memory.borrow_mut().pop();
        }
        added
    }

    /// Looks at the allocator: its statistics, for example.
    pub fn with<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.inner.allocator.borrow())
    }

    fn from_inner(allocator: A, memory: Vec<Memory>, owner: Option<Box<dyn Any>>) -> Self {
        let allocator = RefCell::new(allocator);
        Self { inner: Rc::new(Inner { allocator, memory: RefCell::new(memory), _owner: owner }) }
    }

    /// A block for `layout`, with its size as length.
    fn allocate_block(&self, layout: Layout) -> AllocResult<NonNull<[u8]>> {
        let start = if layout.size() == 0 {
            layout.dangling_ptr()
        } else {
            self.inner.allocator.borrow_mut().alloc(layout)?
        };
        Ok(NonNull::slice_from_raw_parts(start, layout.size()))
    }

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// 1. The block was allocated by this handle or a clone of it, for this layout, and is live.
    unsafe fn deallocate_block(&self, start: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: bullet 1 says what `dealloc` asks for.
            let freed = unsafe { self.inner.allocator.borrow_mut().dealloc(start, layout) };
            debug_assert!(freed.is_ok(), "a live block can be freed");
        }
    }
}

impl<A: ByteAllocator> Clone for AllocatorRc<A> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<A: ByteAllocator> fmt::Debug for AllocatorRc<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, used) =
            self.with(|allocator| (allocator.total_bytes(), allocator.used_bytes()));
        f.debug_struct("AllocatorRc")
            .field("total_bytes", &total)
            .field("used_bytes", &used)
            .finish_non_exhaustive()
    }
}

impl Memory {
    fn new(size: usize) -> AllocResult<Self> {
        if size == 0 {
            return Err(AllocError::InvalidParam);
        }
        let layout =
            Layout::from_size_align(size, MEMORY_ALIGN).map_err(|_| AllocError::NoMemory)?;
        // SAFETY: the layout is not empty, as tested.
        let start = NonNull::new(unsafe { alloc(layout) }).ok_or(AllocError::NoMemory)?;
        Ok(Self { start, layout })
    }

    fn start(&self) -> usize {
        self.start.as_ptr().expose_provenance()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout, and nothing else frees it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

// SAFETY: a block stays where it is until it is freed: the allocator never moves one, and allocator and
// memory live until the last clone, which every holder of a block has, is gone. Clones share both.
#[cfg(feature = "allocator_api")]
unsafe impl<A: ByteAllocator> allocator_api2::alloc::Allocator for AllocatorRc<A> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, allocator_api2::alloc::AllocError> {
        self.allocate_block(layout).map_err(|_| allocator_api2::alloc::AllocError)
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { self.deallocate_block(ptr, layout) };
    }
}

// SAFETY: as above.
#[cfg(feature = "nightly")]
unsafe impl<A: ByteAllocator> core::alloc::Allocator for AllocatorRc<A> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, core::alloc::AllocError> {
        self.allocate_block(layout).map_err(|_| core::alloc::AllocError)
    }

    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises the same.
        unsafe { self.deallocate_block(ptr, layout) };
    }
}
