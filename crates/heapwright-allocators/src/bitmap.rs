//! Pages by a bitmap: `bitmap-allocator` behind the core traits.
//!
//! The crate finds one free page in constant time and a run of pages by walking page by page, from the
//! lowest up: the answer to a request is always the lowest run that fits. This family gives exactly those
//! answers, found by an index of our own (`run_index.rs`) that does not walk.
//!
//! What the wrapper adds:
//! - a request for one page honors its alignment, which the seed ignores;
//! - any base works: alignment is that of the address, bit 0 of the map is the first page of the first
//!   range, and the map is chosen at run time for the capacity asked for;
//! - ranges can be added, wherever the map still reaches;
//! - a free is checked whole before anything changes.
//!
//! The pages themselves are never touched: the range may be memory, or numbers only. Address 0 is withheld,
//! so that no page is at 0.

use core::fmt;

use heapwright_core::{
    AllocError, AllocResult, BaseAllocator, PageAllocator, PageFamily, align_down, align_up,
    is_aligned,
};

use crate::{
    ranges::Ranges,
    unit_map::{UNIT_COUNT_MAX, UnitMap},
};

/// The most pages of one allocator, as the `page-alloc-*` features of this build bound it.
pub const PAGE_COUNT_MAX: usize = if cfg!(feature = "page-alloc-1t") {
    1 << 28
} else if cfg!(feature = "page-alloc-64g") {
    1 << 24
} else if cfg!(feature = "page-alloc-4g") {
    1 << 20
} else {
    1 << 16
};

const _: () = assert!(PAGE_COUNT_MAX <= UNIT_COUNT_MAX);

/// An allocator of contiguous pages, lowest address first.
///
/// # Examples
///
/// ```
/// use heapwright_allocators::{BaseAllocator, BitmapPageAllocator, PageAllocator};
///
/// let mut pages = BitmapPageAllocator::new(4096).unwrap();
/// unsafe { pages.init(0x20_0000, 2 << 30) }.unwrap(); // Addresses only: nothing is touched.
/// let run = pages.alloc_pages(10, 4096).unwrap();
/// assert_eq!(run, 0x20_0000);
/// assert_eq!(pages.alloc_pages(1, 0x10_0000), Ok(0x30_0000));
/// pages.dealloc_pages(run, 10).unwrap();
/// assert_eq!(pages.used_pages(), 1);
/// ```
pub struct BitmapPageAllocator {
    units: Option<UnitMap>,
    /// The ranges as they were given, not rounded to pages.
    ranges: Ranges,
    /// The page size as a power of two: a division costs more than the rest of a call.
    page_log2: u32,
    capacity_pages: usize,
}

impl BitmapPageAllocator {
    /// An allocator of pages of `page_size` bytes, that manages nothing yet. Its map will be the smallest
    /// that holds the first range.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `page_size` is no power of two.
    pub fn new(page_size: usize) -> AllocResult<Self> {
        Self::with_capacity(page_size, 0)
    }

    /// The same with a map that holds at least `capacity_pages`, so that ranges can be added.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `page_size` is no power of two, or above [`PAGE_COUNT_MAX`] pages.
    pub fn with_capacity(page_size: usize, capacity_pages: usize) -> AllocResult<Self> {
        if !page_size.is_power_of_two() || capacity_pages > PAGE_COUNT_MAX {
            return Err(AllocError::InvalidParam);
        }
        let page_log2 = page_size.trailing_zeros();
        Ok(Self { units: None, ranges: Ranges::new(), page_log2, capacity_pages })
    }

    /// Pages that the map can hold, counted from [`origin`](Self::origin); 0 before `init`.
    pub fn capacity(&self) -> usize {
        self.units.as_ref().map_or(0, |units| units.capacity().min(PAGE_COUNT_MAX))
    }

    /// The lowest address that the map can hold; 0 before `init`.
    pub fn origin(&self) -> usize {
        self.units.as_ref().map_or(0, |units| units.first() << self.page_log2)
    }

    /// The largest `count` for which `alloc_pages` succeeds now with an alignment of one page.
    ///
    /// # Time Complexity
    ///
    /// Constant, plus the chunks of 512 pages changed since the last search.
    pub fn largest_free_run(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::longest_run)
    }

    /// The largest `count` for which `alloc_pages` succeeds now with an alignment of `align` bytes; 0 for
    /// an alignment that it refuses.
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

    /// Whether the page at `pos` is allocated; `false` for what is no page of ours.
    pub fn is_allocated(&self, pos: usize) -> bool {
        is_aligned(pos, self.page_size())
            && self.units.as_ref().is_some_and(|units| units.is_taken(pos >> self.page_log2))
    }

    /// Compares the crate's map with the index, page by page. For tests and `check()`.
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

    /// The whole pages of a range: first page and count.
    fn whole_pages(&self, start: usize, size: usize) -> AllocResult<(usize, usize)> {
        let page_size = self.page_size();
        let end = align_down(start.checked_add(size).ok_or(AllocError::InvalidParam)?, page_size);
        let first = align_up(start, page_size).ok_or(AllocError::InvalidParam)?;
        let first = if first == 0 { page_size } else { first };
        match end.checked_sub(first) {
            Some(bytes) if bytes > 0 => Ok((first >> self.page_log2, bytes >> self.page_log2)),
            _ => Err(AllocError::InvalidParam),
        }
    }

    /// The alignment in pages, as a power of two, if the map can serve it at all.
    #[inline]
    fn align_log2(&self, align: usize) -> AllocResult<u32> {
        let pages = align >> self.page_log2;
        if !align.is_power_of_two() || pages == 0 || pages > self.capacity().max(1) {
            return Err(AllocError::InvalidParam);
        }
        Ok(pages.trailing_zeros())
    }
}

impl fmt::Debug for BitmapPageAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitmapPageAllocator")
            .field("page_size", &self.page_size())
            .field("total_pages", &self.total_pages())
            .field("used_pages", &self.used_pages())
            .finish_non_exhaustive()
    }
}

impl BaseAllocator for BitmapPageAllocator {
    /// Starts to manage the whole pages of `[start, start + size)`, without page 0.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a second `init`, for a range without a whole page or that wraps
    /// around, and above [`PAGE_COUNT_MAX`] pages; [`AllocError::NoMemory`] if there is none for the map.
    ///
    /// # Time Complexity
    ///
    /// Linear in the pages, a quarter of a nanosecond each: the crate sets a bit for every one.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult {
        if self.units.is_some() {
            return Err(AllocError::InvalidParam);
        }
        let (first, count) = self.whole_pages(start, size)?;
        if count > PAGE_COUNT_MAX {
            return Err(AllocError::InvalidParam);
        }
        self.ranges.check(start, size)?;
        let mut units = UnitMap::new(first, self.capacity_pages.max(count))?;
        units.manage(first, count)?;
        self.units = Some(units);
        self.ranges.add(start, size);
        Ok(())
    }

    /// Manages the whole pages of one more range.
    ///
    /// # Errors
    ///
    /// [`AllocError::MemoryOverlap`]; [`AllocError::InvalidParam`] for a range that does not lie between
    /// [`origin`](BitmapPageAllocator::origin) and the end of [`capacity`](BitmapPageAllocator::capacity);
    /// [`AllocError::NoMemory`] before `init`.
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let (first, count) = self.whole_pages(start, size)?;
        let capacity = self.capacity();
        let units = self.units.as_mut().ok_or(AllocError::NoMemory)?;
        self.ranges.check(start, size)?;
        let reach = first.checked_sub(units.first()).and_then(|key| key.checked_add(count));
        if reach.is_none_or(|reach| reach > capacity) {
            return Err(AllocError::InvalidParam);
        }
        units.manage(first, count)?;
        self.ranges.add(start, size);
        Ok(())
    }
}

impl PageAllocator for BitmapPageAllocator {
    #[inline]
    fn page_size(&self) -> usize {
        1 << self.page_log2
    }

    /// Allocates the lowest `count` contiguous pages at a multiple of `align` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for no pages, and for an alignment that is no power of two, below a
    /// page, or above what the map spans; [`AllocError::NoMemory`].
    ///
    /// # Time Complexity
    ///
    /// Constant for one page; logarithmic in the capacity, and linear in `count` at a few pages a
    /// nanosecond, for more.
    #[inline]
    fn alloc_pages(&mut self, count: usize, align: usize) -> AllocResult<usize> {
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        if self.units.is_none() {
            return Err(AllocError::NoMemory);
        }
        let align_log2 = self.align_log2(align)?;
        let units = self.units.as_mut().ok_or(AllocError::NoMemory)?;
        let first = units.take(count, align_log2).ok_or(AllocError::NoMemory)?;
        Ok(first << self.page_log2)
    }

    fn alloc_pages_at(&mut self, base: usize, count: usize, align: usize) -> AllocResult<usize> {
        if count == 0 || !align.is_power_of_two() || !is_aligned(base, align.max(self.page_size()))
        {
            return Err(AllocError::InvalidParam);
        }
        if self.units.is_none() {
            return Err(AllocError::NoMemory);
        }
        self.align_log2(align)?;
        let units = self.units.as_mut().ok_or(AllocError::NoMemory)?;
        units.take_at(base >> self.page_log2, count)?;
        Ok(base)
    }

    /// Frees `count` pages from `pos`.
    ///
    /// # Time Complexity
    ///
    /// Constant for one page, linear in `count` at a few pages a nanosecond for more.
    #[inline]
    fn dealloc_pages(&mut self, pos: usize, count: usize) -> AllocResult {
        if count == 0 {
            return Err(AllocError::InvalidParam);
        }
        if !is_aligned(pos, self.page_size()) {
            return Err(AllocError::NotAllocated);
        }
        let units = self.units.as_mut().ok_or(AllocError::NotAllocated)?;
        units.give(pos >> self.page_log2, count)
    }

    fn total_pages(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::total)
    }

    fn used_pages(&self) -> usize {
        self.units.as_ref().map_or(0, UnitMap::used)
    }

    fn available_pages(&self) -> usize {
        self.total_pages() - self.used_pages()
    }
}

impl PageFamily for BitmapPageAllocator {
    fn largest_free(&self, align: usize) -> usize {
        if align == self.page_size() {
            self.largest_free_run()
        } else {
            self.largest_free_run_aligned(align)
        }
    }

    fn capacity(&self) -> usize {
        if self.units.is_some() { Self::capacity(self) } else { PAGE_COUNT_MAX }
    }

    fn check(&self) -> Result<(), &'static str> {
        self.check_invariants()
    }
}
