//! Ids by a bitmap: the seed ships only the trait, this is its implementation over `bitmap-allocator`.
//!
//! An id is a number in a managed range, taken or free; the lowest that fits is handed out. It is the same
//! machinery as for pages, a unit being one id. Up to 2^28 ids, from any first one; 0 is an id like any
//! other.
//!
//! An id that was given back and handed out again is the same number: an old copy of it then names the new
//! owner. Nobody below the caller can tell.

use core::fmt;

use heapwright_core::{AllocError, AllocResult, BaseAllocator, IdAllocator, IdFamily};

use crate::unit_map::{UNIT_COUNT_MAX, UnitMap};

/// The most ids of one allocator.
pub const ID_COUNT_MAX: usize = UNIT_COUNT_MAX;

/// An allocator of ids, lowest first.
///
/// # Examples
///
/// ```
/// use heapwright_allocators::{BaseAllocator, BitmapIdAllocator, IdAllocator};
///
/// let mut ports = BitmapIdAllocator::new();
/// unsafe { ports.init(49_152, 16_384) }.unwrap(); // Numbers only: nothing is touched.
/// ports.alloc_fixed_id(49_153).unwrap();
/// assert_eq!(ports.alloc_id(1, 1), Ok(49_152));
/// assert_eq!(ports.alloc_id(1, 1), Ok(49_154));
/// assert_eq!(ports.alloc_id(4, 8), Ok(49_160));
/// assert!(ports.is_allocated(49_153));
/// ```
pub struct BitmapIdAllocator {
    units: Option<UnitMap>,
    capacity: usize,
}

impl BitmapIdAllocator {
    /// An allocator that manages nothing yet. Its map will be the smallest that holds the first range.
    pub const fn new() -> Self {
        Self { units: None, capacity: 0 }
    }

    /// The same with a map that holds at least `capacity` ids, so that ranges can be added.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] above [`ID_COUNT_MAX`].
    pub const fn with_capacity(capacity: usize) -> AllocResult<Self> {
        if capacity > ID_COUNT_MAX {
            return Err(AllocError::InvalidParam);
        }
        Ok(Self { units: None, capacity })
    }

    /// Ids that the map can hold, counted from [`origin`](Self::origin); 0 before `init`.
    pub fn capacity(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::capacity)
    }

    /// The lowest id that the map can hold; 0 before `init`.
    pub fn origin(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::first)
    }

    /// The largest `count` for which `alloc_id` succeeds now with alignment 1.
    ///
    /// # Time Complexity
    ///
    /// Constant, plus the chunks of 512 ids changed since the last search.
    pub fn largest_free_run(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::longest_run)
    }

    /// The largest `count` for which `alloc_id` succeeds now with alignment `align`; 0 for an alignment
    /// that it refuses.
    ///
    /// # Time Complexity
    ///
    /// Logarithmically many searches.
    pub fn largest_free_run_aligned(&self, align: usize) -> usize {
        match (&self.units, self.align_log2(align)) {
            (Some(units), Ok(align_log2)) => units.longest_aligned_run(align_log2),
            _ => 0,
        }
    }

    /// Compares the crate's map with the index, id by id. For tests and `check()`.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    ///
    /// # Time Complexity
    ///
    /// Linear in the capacity.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.units.as_ref().map_or(Ok(()), UnitMap::check_invariants)
    }

    /// The alignment as a power of two, if the map can serve it at all.
    #[inline]
    fn align_log2(&self, align: usize) -> AllocResult<u32> {
        if !align.is_power_of_two() || align > self.capacity().max(1) {
            return Err(AllocError::InvalidParam);
        }
        Ok(align.trailing_zeros())
    }
}

impl Default for BitmapIdAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BitmapIdAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitmapIdAllocator")
            .field("size", &self.size())
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl BaseAllocator for BitmapIdAllocator {
    /// Starts to manage the `size` ids from `start`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a second `init`, for no ids, above [`ID_COUNT_MAX`], and for a range
    /// that wraps around; [`AllocError::NoMemory`] if there is none for the map.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult {
        if self.units.is_some() || size == 0 || size > ID_COUNT_MAX {
            return Err(AllocError::InvalidParam);
        }
        let mut units = UnitMap::new(start, self.capacity.max(size))?;
        units.manage(start, size)?;
        self.units = Some(units);
        Ok(())
    }

    /// Manages `size` more ids from `start`.
    ///
    /// # Errors
    ///
    /// [`AllocError::MemoryOverlap`]; [`AllocError::InvalidParam`] for ids that do not lie between
    /// [`origin`](BitmapIdAllocator::origin) and the end of [`capacity`](BitmapIdAllocator::capacity);
    /// [`AllocError::NoMemory`] before `init`.
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        if size == 0 {
            return Err(AllocError::InvalidParam);
        }
        self.units.as_mut().ok_or(AllocError::NoMemory)?.manage(start, size)
    }
}

impl IdAllocator for BitmapIdAllocator {
    /// Takes the lowest `count` consecutive ids, the first a multiple of `align`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for no ids, and for an alignment that is no power of two or above what
    /// the map spans; [`AllocError::NoMemory`].
    ///
    /// # Time Complexity
    ///
    /// Constant for one id; logarithmic in the capacity, and linear in `count` at a few ids a nanosecond,
    /// for more.
    #[inline]
    fn alloc_id(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        if self.units.is_none() {
            return Err(AllocError::NoMemory);
        }
        let align_log2 = self.align_log2(align)?;
        let units = self.units.as_mut().ok_or(AllocError::NoMemory)?;
        units.take(count, align_log2).ok_or(AllocError::NoMemory)
    }

    fn alloc_fixed_id(&mut self, id: usize) -> AllocResult {
        self.units.as_mut().ok_or(AllocError::NoMemory)?.take_at(id, 1)
    }

    /// Gives `count` ids from `start` back.
    ///
    /// # Time Complexity
    ///
    /// Constant for one id, linear in `count` at a few ids a nanosecond for more.
    #[inline]
    fn dealloc_id(&mut self, start: usize, count: usize) -> AllocResult {
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        self.units.as_mut().ok_or(AllocError::NotAllocated)?.give(start, count)
    }

    #[inline]
    fn is_allocated(&self, id: usize) -> bool {
        self.units.as_ref().is_some_and(|units| units.is_taken(id))
    }

    fn size(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::total)
    }

    fn used(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::used)
    }

    fn available(&self) -> usize {
        self.size() - self.used()
    }
}

impl IdFamily for BitmapIdAllocator {
    fn largest_free(&self, align: usize) -> usize {
        if align == 1 { self.largest_free_run() } else { self.largest_free_run_aligned(align) }
    }

    fn capacity(&self) -> usize {
        if self.units.is_some() { Self::capacity(self) } else { ID_COUNT_MAX }
    }

    fn check(&self) -> Result<(), &'static str> {
        self.check_invariants()
    }
}
