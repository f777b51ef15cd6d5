//! Bytes by slabs: `ax_slab_allocator::Heap` behind the core traits.
//!
//! Seven classes of 64 to 4,096 bytes, each with one list of free blocks; larger requests go to a buddy
//! allocator inside the crate. A class whose list is empty takes a *set* from that buddy: 64 blocks at
//! once, 4 KiB for the smallest class and 256 KiB for the largest. **Sets never go back.** After everything
//! was freed, the bytes of all sets are available to their own class only; [`SlabByteAllocator::classes`]
//! shows how many each class holds, and [`SlabByteAllocator::largest_free`] takes it into account.
//!
//! What the wrapper adds:
//! - a request of at most 4,096 bytes with a larger alignment goes to the buddy, where the crate would
//!   answer with a misaligned block;
//! - ranges that the crate would answer with a panic are refused, ranges given twice are noticed;
//! - truthful statistics: the crate counts sets twice, in their class and in the buddy.
//!
//! Invariants:
//! 1. `classes[i]` counts the live blocks of class `i` and the blocks of its sets. The crate takes a set
//!    exactly when all blocks are live, so both follow from allocations and frees.
//! 2. `pages` names the class of every page of a set, and of no other page. Sets are whole pages, and as the
//!    crate's buddy aligns what it serves to its size, every block of a set tells where the set starts.
//!
//! A free asks `pages` for the class: a byte a page stays in the cache, where anything that lies beside the
//! block does not, and which list a block goes to is a jump that the processor has to guess until it knows.

use alloc::{boxed::Box, vec::Vec};
use core::{alloc::Layout, fmt, mem::MaybeUninit, ptr, ptr::NonNull};

use heapwright_core::{
    AllocError, AllocResult, BaseAllocator, ByteAllocator, ByteFamily, align_down, is_aligned,
};
use slab_allocator::Heap;

use crate::{ranges::Ranges, zeroed::zeroed_slice};

/// The number of classes: 64, 128, 256, 512, 1,024, 2,048 and 4,096 bytes.
pub const SLAB_CLASS_COUNT: usize = 7;

/// Blocks in a set.
const SET_LEN: usize = 64;
/// The smallest class.
const CLASS_SIZE_MIN: usize = 64;
/// The largest class.
const CLASS_SIZE_MAX: usize = CLASS_SIZE_MIN << (SLAB_CLASS_COUNT - 1);
/// What the start of every range and the size of every added one is a multiple of.
const PAGE_SIZE: usize = 4096;
/// What the size of the first range is a multiple of.
const HEAP_SIZE_UNIT: usize = 0x8000;
/// The largest block of the crate's buddy, whose orders end at 31.
const BUDDY_SIZE_MAX: usize = 1 << 31;

const _: () = assert!(CLASS_SIZE_MAX == 4096);
const _: () = assert!(CLASS_SIZE_MIN * SET_LEN == PAGE_SIZE);

/// The class of each size up to [`CLASS_SIZE_MAX`], by the number of whole smallest blocks below it. A look at
/// one line that stays in the cache; counting leading zeros takes several steps on common processors.
const CLASS_OF: [u8; CLASS_SIZE_MAX / CLASS_SIZE_MIN] = {
    let mut classes = [0; CLASS_SIZE_MAX / CLASS_SIZE_MIN];
    let mut index = 1;
    while index < classes.len() {
        // The class whose blocks are the first with more than `index` smallest blocks.
        classes[index] = classes[index / 2] + 1;
        index += 1;
    }
    classes
};

/// What one class holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabClassUse {
    /// Bytes of a block.
    pub block_size: usize,
    /// Blocks that are live.
    pub blocks_live: usize,
    /// Bytes of all sets of this class, which it never gives back.
    pub held_bytes: usize,
}

/// What one class has.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// Blocks that are live.
    live: usize,
    /// Blocks of all sets.
    capacity: usize,
}

/// Where a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Class(usize),
    Buddy(Layout),
}

/// The pages of one range.
struct Pages {
    /// Address of the first.
    start: usize,
    /// The class of each, from 1; 0 for what is part of no set.
    classes: Box<[u8]>,
}

impl Pages {
    /// All pages of a range, none of them part of a set.
    fn new(start: usize, size: usize) -> AllocResult<Self> {
        if size < PAGE_SIZE {
            return Err(AllocError::InvalidParam);
        }
        // SAFETY: zero is a `u8` (bullet 1), and there is a page (bullet 2).
        let classes = unsafe { zeroed_slice(size / PAGE_SIZE) }?;
        Ok(Self { start, classes })
    }

    /// What holds the class of the page of `address`, if it lies in the range.
    #[inline]
    fn at(&self, address: usize) -> Option<&u8> {
        self.classes.get(address.wrapping_sub(self.start) / PAGE_SIZE)
    }
}

/// An allocator of bytes by classes of equal blocks.
///
/// # Examples
///
/// ```
/// use core::alloc::Layout;
/// use heapwright_allocators::{BaseAllocator, ByteAllocator, SlabByteAllocator};
///
/// let memory = std::alloc::Layout::from_size_align(0x10000, 4096).unwrap();
/// let start = unsafe { std::alloc::alloc(memory) };
/// let mut slab = SlabByteAllocator::new();
/// unsafe { slab.init(start.expose_provenance(), 0x10000) }.unwrap();
///
/// let layout = Layout::from_size_align(100, 8).unwrap();
/// let block = slab.alloc(layout).unwrap();
/// assert_eq!(slab.used_bytes(), 128);
/// assert_eq!(slab.classes()[1].held_bytes, 64 * 128);
/// unsafe { slab.dealloc(block, layout) }.unwrap();
/// assert_eq!(slab.used_bytes(), 0);
/// # unsafe { std::alloc::dealloc(start, memory) };
/// ```
pub struct SlabByteAllocator {
    inner: Option<Heap>,
    ranges: Ranges,
    classes: [Class; SLAB_CLASS_COUNT],
    pages: Vec<Pages>,
    total_bytes: usize,
    used_bytes: usize,
}

impl SlabByteAllocator {
    /// An allocator that manages nothing yet.
    pub const fn new() -> Self {
        Self {
            inner: None,
            ranges: Ranges::new(),
            classes: [Class { live: 0, capacity: 0 }; SLAB_CLASS_COUNT],
            pages: Vec::new(),
            total_bytes: 0,
            used_bytes: 0,
        }
    }

    /// The bytes that a block of `layout` really takes, all of them usable.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    #[inline]
    pub fn usable_size(&self, layout: Layout) -> usize {
        match place(layout) {
            Some(Place::Class(class)) => class_size(class),
            Some(Place::Buddy(rounded)) => rounded.size(),
            // No such block can exist; what the rounding would give.
            None => layout.size().next_power_of_two().max(layout.align()),
        }
    }

    /// The bytes that the class of `layout` needs in one piece before it can serve a first block; `None`
    /// for what goes to the buddy. A refusal should name them: 1,024 bytes need a set of 65,536.
    ///
    /// # Time Complexity
    ///
    /// Constant.
    pub fn set_bytes(&self, layout: Layout) -> Option<usize> {
        match place(layout)? {
            Place::Class(class) => Some(class_size(class) * SET_LEN),
            Place::Buddy(_) => None,
        }
    }

    /// What each class holds, the smallest first.
    pub fn classes(&self) -> [SlabClassUse; SLAB_CLASS_COUNT] {
        core::array::from_fn(|class| {
            let Class { live, capacity } = self.classes[class];
            SlabClassUse {
                block_size: class_size(class),
                blocks_live: live,
                held_bytes: capacity * class_size(class),
            }
        })
    }

    /// The largest size for which a request with alignment `align` succeeds now; 0 if none does. A smaller
    /// request can still fail: its class may be empty, and no set be left for it.
    ///
    /// # Time Complexity
    ///
    /// `O(orders + classes)`. No memory is written, no list walked.
    pub fn largest_free(&self, align: usize) -> usize {
        let buddy = self.largest_buddy_block();
        if buddy > CLASS_SIZE_MAX && align <= buddy {
            return buddy;
        }
        (0..SLAB_CLASS_COUNT)
            .rev()
            .find(|&class| {
                let Class { live, capacity } = self.classes[class];
                live < capacity || class_size(class) * SET_LEN <= buddy
            })
            .map(class_size)
            .filter(|&size| align <= size)
            .unwrap_or(0)
    }

    /// The largest free block of the crate's buddy.
    fn largest_buddy_block(&self) -> usize {
        let Some(inner) = &self.inner else { return 0 };
        let mut copy = MaybeUninit::<Heap>::uninit();
        // SAFETY: both sides are whole values of one type, and `copy` is a fresh local.
        unsafe { ptr::copy_nonoverlapping(ptr::from_ref(inner), copy.as_mut_ptr(), 1) };
        // SAFETY: the bytes are those of a `Heap`, which has no destructor. Requests above 4,096 bytes,
        // and only those are made below, neither read nor write the class lists of the copy; what its
        // buddy does changes the copy's list heads only, so the memory still fits the original.
        let copy = unsafe { copy.assume_init_mut() };
        let top = self.total_bytes.min(BUDDY_SIZE_MAX);
        let mut size = top.checked_ilog2().map_or(0, |order| 1_usize << order);
        // From the top down, every request that fails changes nothing, and the first that succeeds finds
        // its own order non-empty: it takes the head of that list and splits nothing.
        while size > CLASS_SIZE_MAX {
            let layout = Layout::from_size_align(size, 1);
            if layout.is_ok_and(|layout| copy.allocate(layout).is_ok()) {
                return size;
            }
            size /= 2;
        }
        self.page_left()
    }

    /// [`PAGE_SIZE`] if the crate's buddy has a page left, when it has nothing larger; else 0. All ranges
    /// and all requests of the buddy are whole pages, so there is nothing smaller.
    fn page_left(&self) -> usize {
        let classes = self.classes();
        let held: usize = classes.iter().map(|class| class.held_bytes).sum();
        let live: usize = classes.iter().map(|class| class.blocks_live * class.block_size).sum();
        let large = self.used_bytes - live;
        if self.total_bytes - held - large >= PAGE_SIZE { PAGE_SIZE } else { 0 }
    }

    /// Judges a range; what it answers is to be pushed to `pages`, which has room for it then.
    fn check_range(&mut self, start: usize, size: usize, unit: usize) -> AllocResult<Pages> {
        if start == 0 || !is_aligned(start, PAGE_SIZE) || !is_aligned(size, unit) {
            return Err(AllocError::InvalidParam);
        }
        self.ranges.check(start, size)?;
        self.pages.try_reserve(1).map_err(|_| AllocError::NoMemory)?;
        Pages::new(start, size)
    }

    /// The class of the block at `address`; `None` if the crate's buddy serves it.
    #[inline]
    fn class_at(&self, address: usize) -> Option<usize> {
        let class = match self.pages.first()?.at(address) {
            Some(class) => *class,
            None => self.class_behind(address)?,
        };
        usize::from(class).checked_sub(1)
    }

    /// What stands for the page of `address` in any range but the first.
    #[cold]
    fn class_behind(&self, address: usize) -> Option<u8> {
        self.pages.iter().skip(1).find_map(|pages| pages.at(address)).copied()
    }

    /// Serves a request of more than the largest class from the crate's buddy.
    #[cold]
    fn alloc_large(&mut self, layout: Layout) -> AllocResult<(NonNull<u8>, usize)> {
        let Some(Place::Buddy(rounded)) = place(layout) else { return Err(AllocError::NoMemory) };
        let inner = self.inner.as_mut().ok_or(AllocError::NoMemory)?;
        let address = inner.allocate(rounded).map_err(|_| AllocError::NoMemory)?;
        let pos =
            NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or(AllocError::NoMemory)?;
        self.used_bytes += rounded.size();
        Ok((pos, rounded.size()))
    }

    /// Notes the set of `class` that the crate has taken to serve the block at `address`.
    #[cold]
    fn note_set(&mut self, address: usize, class: usize) {
        self.classes[class].capacity += SET_LEN;
        let set_bytes = class_size(class) * SET_LEN;
        let set = align_down(address, set_bytes);
        for pages in &mut self.pages {
            let first = set.wrapping_sub(pages.start) / PAGE_SIZE;
            if let Some(set) = pages.classes.get_mut(first..first + set_bytes / PAGE_SIZE) {
                debug_assert!(set.iter().all(|&page| page == 0));
                #[expect(clippy::cast_possible_truncation, reason = "there are seven classes")]
                set.fill(class as u8 + 1);
                return;
            }
        }
        debug_assert!(false, "a set lies in one range");
    }
}

impl Default for SlabByteAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SlabByteAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabByteAllocator")
            .field("total_bytes", &self.total_bytes)
            .field("used_bytes", &self.used_bytes)
            .field("classes", &self.classes())
            .finish_non_exhaustive()
    }
}

impl BaseAllocator for SlabByteAllocator {
    /// Starts to manage `[start, start + size)`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a second `init`, for a `start` that is 0 or no multiple of 4,096, for
    /// a `size` that is 0 or no multiple of 32,768, and for a range that wraps around.
    unsafe fn init(&mut self, start: usize, size: usize) -> AllocResult {
        if !self.ranges.is_empty() {
            return Err(AllocError::InvalidParam);
        }
        let pages = self.check_range(start, size, HEAP_SIZE_UNIT)?;
        // SAFETY: the caller gives us the range (bullet 1); `check_range` tested what the crate asserts.
        self.inner = Some(unsafe { Heap::new(start, size) });
        self.ranges.add(start, size);
        self.pages.push(pages);
        self.total_bytes = size;
        Ok(())
    }

    /// Manages one more range.
    ///
    /// # Errors
    ///
    /// As for `init`, with a `size` that is a multiple of 4,096; [`AllocError::MemoryOverlap`];
    /// [`AllocError::NoMemory`] before `init`.
    unsafe fn add_memory(&mut self, start: usize, size: usize) -> AllocResult {
        let pages = self.check_range(start, size, PAGE_SIZE)?;
        let inner = self.inner.as_mut().ok_or(AllocError::NoMemory)?;
        // SAFETY: the caller gives us the range (bullet 1); `check_range` tested what the crate asserts and
        // found it to be no part of a range given before.
        unsafe { inner.add_memory(start, size) };
        self.ranges.add(start, size);
        self.pages.push(pages);
        self.total_bytes += size;
        Ok(())
    }
}

impl ByteAllocator for SlabByteAllocator {
    /// Allocates a block of `layout`.
    ///
    /// # Time Complexity
    ///
    /// Constant up to 4,096 bytes, but for the request that makes a set, which writes a link into each of
    /// its 64 blocks; `O(orders)` above.
    #[inline]
    fn alloc(&mut self, layout: Layout) -> AllocResult<NonNull<u8>> {
        self.alloc_usable(layout).map(|(pos, _)| pos)
    }

    /// Frees the block at `pos`.
    ///
    /// # Time Complexity
    ///
    /// Constant up to 4,096 bytes; above, linear in the free blocks of the size freed, as in the buddy
    /// family.
    #[inline]
    unsafe fn dealloc(&mut self, pos: NonNull<u8>, layout: Layout) -> AllocResult {
        let address = pos.addr().get();
        let request = match self.class_at(address) {
            Some(class) => {
                let live = &mut self.classes[class].live;
                if *live == 0 || !is_aligned(address, class_size(class)) {
                    return Err(AllocError::NotAllocated);
                }
                debug_assert_eq!(place(layout), Some(Place::Class(class)));
                *live -= 1;
                Layout::from_size_align(class_size(class), 1)
            }
            None => match place(layout) {
                Some(Place::Buddy(rounded))
                    if self.used_bytes >= rounded.size()
                        && self.ranges.contain(address)
                        && is_aligned(address, rounded.size()) =>
                {
                    Ok(rounded)
                }
                _ => return Err(AllocError::NotAllocated),
            },
        };
        // Neither can fail: a class is a size, and there is a heap where there is a live block.
        let request = request.map_err(|_| AllocError::NotAllocated)?;
        let inner = self.inner.as_mut().ok_or(AllocError::NotAllocated)?;
        self.used_bytes -= request.size();
        // SAFETY: `pos` is a live block allocated with `layout` (bullets 1 and 2), which the crate serves
        // where it serves `request`: of a block, it knows the class, or the size that `alloc` asked for.
        unsafe { inner.deallocate(address, request) };
        Ok(())
    }

    fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes not granted. What free blocks of a class hold is counted, though it can serve that class
    /// only; [`SlabByteAllocator::largest_free`] tells what can be had at once.
    fn available_bytes(&self) -> usize {
        self.total_bytes - self.used_bytes
    }
}

/// Bytes of a block of `class`.
#[inline]
const fn class_size(class: usize) -> usize {
    CLASS_SIZE_MIN << class
}

/// The class that serves `layout`; `None` if the crate's buddy does.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align());
    CLASS_OF.get((size - 1) / CLASS_SIZE_MIN).map(|&class| usize::from(class))
}

/// Where the crate serves `layout`, as a request that it serves rightly; `None` where no block is large
/// enough.
#[inline]
fn place(layout: Layout) -> Option<Place> {
    if let Some(class) = class_of(layout) {
        return Some(Place::Class(class));
    }
    let size = layout.size().max(layout.align());
    // A size above 4,096 alone sends a request to the buddy, whatever the alignment (SL2).
    let rounded = size.next_power_of_two();
    if rounded > BUDDY_SIZE_MAX {
        return None;
    }
    Layout::from_size_align(rounded, 1).ok().map(Place::Buddy)
}

impl ByteFamily for SlabByteAllocator {
    /// What a class serves; `pages` names it.
    const DEALLOC_AT_MAX: usize = CLASS_SIZE_MAX;

    #[inline]
    fn usable_size(&self, layout: Layout) -> usize {
        Self::usable_size(self, layout)
    }

    fn largest_free(&self, align: usize) -> usize {
        Self::largest_free(self, align)
    }

    #[inline]
    fn alloc_usable(&mut self, layout: Layout) -> AllocResult<(NonNull<u8>, usize)> {
        if layout.size() == 0 {
            return Err(AllocError::InvalidParam);
        }
        let Some(class) = class_of(layout) else { return self.alloc_large(layout) };
        let inner = self.inner.as_mut().ok_or(AllocError::NoMemory)?;
        let address = inner.allocate(layout).map_err(|_| AllocError::NoMemory)?;
        let pos =
            NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or(AllocError::NoMemory)?;
        let Class { live, capacity } = &mut self.classes[class];
        *live += 1;
        if live > capacity {
            self.note_set(address, class);
        }
        self.used_bytes += class_size(class);
        Ok((pos, class_size(class)))
    }

    #[inline]
    unsafe fn dealloc_at(&mut self, pos: NonNull<u8>) -> AllocResult {
        let address = pos.addr().get();
        let class = self.class_at(address).ok_or(AllocError::NotAllocated)?;
        let counts = self.classes.get_mut(class).ok_or(AllocError::NotAllocated)?;
        let inner = self.inner.as_mut().ok_or(AllocError::NotAllocated)?;
        debug_assert!(counts.live > 0);
        debug_assert!(is_aligned(address, class_size(class)));
        counts.live -= 1;
        self.used_bytes -= class_size(class);
        // SAFETY: the size is at most that of the largest class, a power of two as the alignment is.
        let block = unsafe { Layout::from_size_align_unchecked(class_size(class), 1) };
        // SAFETY: `pos` is a live block (bullet 1), and its page is one of this class's sets.
        unsafe { inner.deallocate(address, block) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::alloc::{alloc_zeroed, dealloc};

    use heapwright_testkit::prng::{Prng, seed};

    use super::*;

    /// Every live block is asked for its class after every step, and at last the pages are counted.
    #[test]
    fn pages_name_the_class_of_every_live_block() {
        let memory = Layout::from_size_align(8 << 20, 2 << 20).unwrap();
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(memory) };
        let start = base.expose_provenance();
        let mut slab = SlabByteAllocator::new();
        // SAFETY: the memory is the allocator's alone until the end of the test.
        unsafe { slab.init(start + (96 << 10), 4 << 20) }.unwrap();
        // SAFETY: as above, and apart from the first range.
        unsafe { slab.add_memory(start + (6 << 20), 1 << 20) }.unwrap();
        let mut random = Prng::new(seed(0x51ab));
        let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
        for _ in 0..if cfg!(miri) { 200 } else { 4000 } {
            if live.len() > 300 || (!live.is_empty() && random.below(3) == 0) {
                let (pos, layout) = live.swap_remove(random.below(live.len()));
                // SAFETY: the block is live and was allocated with this layout.
                unsafe { slab.dealloc(pos, layout) }.unwrap();
            } else {
                let bits = random.below(14);
                let size = 1 + random.below(1 << bits);
                let layout = Layout::from_size_align(size, 1 << random.below(14)).unwrap();
                if let Ok(pos) = slab.alloc(layout) {
                    live.push((pos, layout));
                }
            }
            let counted = live.iter().fold([0; SLAB_CLASS_COUNT], |mut counted, &(pos, layout)| {
                let class = match place(layout).unwrap() {
                    Place::Class(class) => Some(class),
                    Place::Buddy(_) => None,
                };
                assert_eq!(slab.class_at(pos.addr().get()), class, "{layout:?}");
                if let Some(class) = class {
                    counted[class] += 1;
                }
                counted
            });
            assert_eq!(slab.classes().map(|class| class.blocks_live), counted);
        }
        for (class, of) in slab.classes().iter().enumerate() {
            let pages = slab.pages.iter().flat_map(|pages| pages.classes.iter());
            let pages = pages.filter(|&&page| usize::from(page) == class + 1).count();
            assert_eq!(pages * PAGE_SIZE, of.held_bytes);
            assert!(pages > 0, "the test has met every class");
        }
        drop(slab);
        // SAFETY: made above with this layout; the allocator that used it is gone.
        unsafe { dealloc(base, memory) };
    }
}
