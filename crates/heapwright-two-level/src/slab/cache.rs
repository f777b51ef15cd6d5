//! The slab level alone: slots over pages that the caller brings.
//!
//! It asks nobody for memory. `alloc` answers [`SlabAlloc::NeedsSlab`] when no slot of the class is
//! free; the caller brings pages by `add_slab` and asks again. `dealloc` answers
//! [`SlabDealloc::FreeSlab`] when a slab became empty and the class has another empty one: those
//! pages are the caller's again. So at most one empty slab of each class stays.
//!
//! Slabs may lie anywhere, so pages are found through a hash map; under [`GlobalAllocator`] it is a
//! flat page map.
//!
//! [`GlobalAllocator`]: crate::GlobalAllocator

use core::alloc::Layout;
use std::collections::HashMap;

use heapwright_core::{AllocError, AllocResult};

use super::arena::{Descriptors, Shape, Slab, SlabArena, SlabId};
use super::set::{ClassStats, SlabSet};
use super::slots::SlotBit;
use crate::global::CpuId;
use crate::remote;
use crate::size_class::{ClassTable, SizeClass, SlotSize};

/// What an allocation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabAlloc {
    /// The address of a slot.
    Allocated(usize),
    /// No slot is free: bring `pages` pages by [`SlabAllocator::add_slab`] and ask again.
    NeedsSlab {
        /// The class that has no slot.
        size_class: SizeClass,
        /// Pages of a slab of that class.
        pages: usize,
    },
}

/// What a free came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabDealloc {
    /// The slot is free.
    Done,
    /// The slot is free, and so is its whole slab, which is the caller's again.
    FreeSlab {
        /// Address of the slab.
        base: usize,
        /// Its pages.
        pages: usize,
    },
}

/// Slots of nine classes, 8 … 2048, over pages that the caller brings.
///
/// # Examples
///
/// ```
/// use core::alloc::Layout;
/// use heapwright_two_level::{SlabAlloc, SlabAllocator, SlabDealloc};
///
/// let mut slots = SlabAllocator::new(4096)?;
/// let layout = Layout::new::<[u8; 100]>();
/// let SlabAlloc::NeedsSlab { size_class, pages } = slots.alloc(layout)? else { panic!() };
/// slots.add_slab(size_class, 0x10_0000, pages)?;
/// assert_eq!(slots.alloc(layout)?, SlabAlloc::Allocated(0x10_0000));
/// assert_eq!(slots.dealloc(0x10_0000)?, SlabDealloc::Done);
/// # Ok::<(), heapwright_core::AllocError>(())
/// ```
#[derive(Debug)]
pub struct SlabAllocator {
    table: ClassTable,
    page_size: usize,
    /// Pages of a slab, by class.
    pages: Vec<u32>,
    sizes: Vec<SlotSize>,
    arena: SlabArena,
    descriptors: Descriptors,
    slabs: SlabSet,
    /// Page number to slab, for every page of every slab.
    by_page: HashMap<usize, SlabId>,
}

/// The one owner there is.
const OWNER: CpuId = CpuId(0);

impl SlabAllocator {
    /// An allocator without a slab.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `page_size` is no power of two.
    pub fn new(page_size: usize) -> AllocResult<Self> {
        let table = ClassTable::kernel();
        let mut pages = Vec::new();
        for class in table.classes() {
            let ladder = table.ladder(class, page_size)?;
            pages.push(*ladder.last().ok_or(AllocError::InvalidParam)?);
        }
        Ok(Self {
            page_size,
            pages,
            sizes: table.classes().map(|class| SlotSize::new(table.size(class))).collect(),
            arena: SlabArena::new(),
            descriptors: Descriptors::new(),
            slabs: SlabSet::new(&table),
            by_page: HashMap::new(),
            table,
        })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The class table.
    pub fn table(&self) -> &ClassTable {
        &self.table
    }

    /// Allocates a slot for `layout`, or says what is missing.
    ///
    /// # Time Complexity
    ///
    /// Constant: at most as many steps as a slab has bitmap words.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a size of 0, or above 2048 in size or alignment.
    pub fn alloc(&mut self, layout: Layout) -> AllocResult<SlabAlloc> {
        if layout.size() == 0 {
            return Err(AllocError::InvalidParam);
        }
        let class = self.table.class_of(layout).ok_or(AllocError::InvalidParam)?;
        Ok(match self.slabs.take_one::<false>(&self.arena, class) {
            Some((slab, slot)) => SlabAlloc::Allocated(slab.base() + slot * self.table.size(class)),
            None => SlabAlloc::NeedsSlab {
                size_class: class,
                pages: self.pages[class.index()] as usize,
            },
        })
    }

    /// Makes the `pages` pages from `base` a slab of `class`.
    ///
    /// # Time Complexity
    ///
    /// Linear in the pages and in the bitmap words of the slab.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for a class that is not there, no pages or more than a slab of
    /// this class has, a base of 0 or no multiple of the slab's bytes, an end beyond the address
    /// space; [`AllocError::MemoryOverlap`] over another slab.
    pub fn add_slab(&mut self, class: SizeClass, base: usize, pages: usize) -> AllocResult {
        let most = *self.pages.get(class.index()).ok_or(AllocError::InvalidParam)?;
        let bytes = pages.checked_mul(self.page_size).ok_or(AllocError::InvalidParam)?;
        let size = self.table.size(class);
        if pages == 0 || pages > most.max(4) as usize || bytes < size {
            return Err(AllocError::InvalidParam);
        }
        if base == 0 || !base.is_multiple_of(bytes) || base.checked_add(bytes).is_none() {
            return Err(AllocError::InvalidParam);
        }
        let first = base / self.page_size;
        if (first..first + pages).any(|page| self.by_page.contains_key(&page)) {
            return Err(AllocError::MemoryOverlap);
        }
        let slots = u32::try_from(bytes / size).map_err(|_| AllocError::InvalidParam)?;
        let id = self.descriptors.take(&self.arena, slots)?;
        // Truncation cannot happen: `most` fits.
        let shape = Shape { slots, pages: pages as u32, class };
        self.arena.get(id).set_up(base, shape, OWNER);
        self.slabs.insert(&self.arena, id);
        for page in first..first + pages {
            self.by_page.insert(page, id);
        }
        remote::admit(self.arena.get(id));
        Ok(())
    }

    /// The slab around `pos` and the slot that begins there.
    fn find(&self, pos: usize) -> Option<(SlabId, Slab<'_>, usize)> {
        let id = *self.by_page.get(&(pos / self.page_size))?;
        let slab = self.arena.get(id);
        let shape = slab.shape();
        let size = self.sizes[shape.class.index()];
        let offset = pos - slab.base();
        let slot = size.index_of(offset);
        (slot * size.bytes() == offset && slot < shape.slots as usize).then_some((id, slab, slot))
    }

    /// Frees the slot at `pos`.
    ///
    /// # Time Complexity
    ///
    /// Constant; linear in the pages of a slab that is handed back.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if no live slot begins there.
    pub fn dealloc(&mut self, pos: usize) -> AllocResult<SlabDealloc> {
        let (id, _, slot) = self.find(pos).ok_or(AllocError::NotAllocated)?;
        let slab = self.arena.get(id);
        let (shape, state, bit) = (slab.shape(), slab.packed_state(), SlotBit::of(slot));
        let given = self.slabs.give_one::<false>(&self.arena, (id, slab), shape, state, bit);
        if given.won == 0 {
            return Err(AllocError::NotAllocated);
        }
        if !given.surplus {
            return Ok(SlabDealloc::Done);
        }
        let (base, pages) = self.remove(id);
        Ok(SlabDealloc::FreeSlab { base, pages })
    }

    fn remove(&mut self, id: SlabId) -> (usize, usize) {
        let slab = self.arena.get(id);
        let (base, pages) = (slab.base(), slab.shape().pages as usize);
        self.slabs.remove(&self.arena, id);
        let retired = remote::retire(slab);
        debug_assert!(retired, "nobody else frees here");
        let first = base / self.page_size;
        for page in first..first + pages {
            self.by_page.remove(&page);
        }
        self.descriptors.give(&self.arena, id);
        (base, pages)
    }

    /// Gives every empty slab back: `f(base, pages)`.
    pub fn trim(&mut self, f: &mut dyn FnMut(usize, usize)) {
        for id in self.slabs.empty_slabs(&self.arena) {
            let (base, pages) = self.remove(id);
            f(base, pages);
        }
    }

    /// The class of the live slot that begins at `pos`.
    pub fn class_at(&self, pos: usize) -> Option<SizeClass> {
        let (_, slab, slot) = self.find(pos)?;
        slab.is_live(SlotBit::of(slot)).then(|| slab.shape().class)
    }

    /// Address and bytes of the first slab that the `pages` pages from `base` touch.
    pub fn slab_over(&self, base: usize, pages: usize) -> Option<(usize, usize)> {
        let first = base / self.page_size;
        let id = (first..first.checked_add(pages)?).find_map(|page| self.by_page.get(&page))?;
        let slab = self.arena.get(*id);
        Some((slab.base(), slab.shape().pages as usize * self.page_size))
    }

    /// Figures by class.
    pub fn class_stats(&self) -> Vec<ClassStats> {
        let stats = |class| self.slabs.stats(&self.arena, &self.table, class);
        self.table.classes().map(stats).collect()
    }

    /// Every live slot: `f(pos, size)`, slab by slab.
    pub fn for_each_taken_slot(&self, f: &mut dyn FnMut(usize, usize)) {
        self.slabs.for_each(&self.arena, |_, slab| {
            let size = self.table.size(slab.shape().class);
            slab.for_each_live(|slot| f(slab.base() + slot * size, size));
        });
    }

    /// Tests every invariant; only looks.
    ///
    /// # Time Complexity
    ///
    /// `O(slabs)`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.slabs.check(&self.arena)?;
        let mut pages = 0;
        let mut damage = Ok(());
        self.slabs.for_each(&self.arena, |id, slab| {
            let first = slab.base() / self.page_size;
            let count = slab.shape().pages as usize;
            pages += count;
            if (first..first + count).any(|page| self.by_page.get(&page) != Some(&id)) {
                damage = Err(format!("the pages of slab {id:?} are another's"));
            }
            if slab.count_pending() != 0 || remote::is_queued(slab) {
                damage = Err(format!("slab {id:?} was freed into by another CPU"));
            }
        });
        damage?;
        if pages == self.by_page.len() {
            Ok(())
        } else {
            Err(format!("{} pages are mapped, slabs have {pages}", self.by_page.len()))
        }
    }
}
