//! Sizes served from slabs, the class that serves a request, and how many pages its slabs have.
//!
//! Two tables: [`ClassTable::kernel`], the nine powers of two of the seed, and
//! [`ClassTable::fine`], for the Heap. Metadata lies outside the slabs, so a slab's only waste is the
//! rest behind its last slot. Each class has a *ladder* of slab sizes in pages: the first slab of a
//! class on a CPU takes the lowest rung, later ones climb, and when the pages of a rung cannot be had
//! a lower one is tried.
//!
//! Not here: slabs; see `slab`.

use core::alloc::Layout;

use heapwright_core::{AllocError, AllocResult};

/// Index of a size class in its [`ClassTable`], from 0 upwards with the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(pub u8);

impl SizeClass {
    /// The index as a number.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How the slabs of a table grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// As many pages as give 32 slots, from 1 to 4; always the same.
    Kernel,
    /// From one page to 64 KiB, above 8 KiB of size to 128 KiB.
    Fine,
}

/// The sizes of a slab allocator, ascending.
#[derive(Clone, Debug)]
pub struct ClassTable {
    sizes: Vec<u32>,
    /// Class by size in units of 8 bytes, rounded up.
    by_size: Vec<u8>,
    /// The largest alignment served from slabs.
    align_max: usize,
    growth: Growth,
}

/// Sizes are looked up in units of this many bytes.
const UNIT: usize = 8;

/// What the slots of every class are aligned to.
pub(crate) const ALIGN_OF_ALL: usize = UNIT;

impl ClassTable {
    /// Nine classes, the powers of two from 8 to 2048, in slabs of 1 to 4 pages.
    pub fn kernel() -> Self {
        Self::new((3..=11).map(|shift| 1 << shift).collect(), 2048, Growth::Kernel)
    }

    /// 72 classes from 16 B to 32 KiB: every multiple of 16 up to 128 B, then eight to the doubling,
    /// so that from 128 B up a class is at most 12.5 % above the last. Slabs grow to 128 KiB.
    pub fn fine() -> Self {
        let mut sizes: Vec<u32> = (1..=8).map(|step| step * 16).collect();
        for shift in 7..15 {
            sizes.extend((9..=16).map(|step| step << (shift - 3)));
        }
        Self::new(sizes, 4096, Growth::Fine)
    }

    fn new(sizes: Vec<u32>, align_max: usize, growth: Growth) -> Self {
        let mut by_size = Vec::new();
        for (class, &size) in sizes.iter().enumerate() {
            // Truncation cannot happen: there are fewer than 256 classes.
            by_size.resize(size as usize / UNIT + 1, class as u8);
        }
        Self { sizes, by_size, align_max, growth }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Every class, ascending.
    pub fn classes(&self) -> impl Iterator<Item = SizeClass> + use<> {
        // Truncation cannot happen: there are fewer than 256 classes.
        (0..self.sizes.len() as u8).map(SizeClass)
    }

    /// Bytes of a slot of `class`.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    #[inline]
    pub fn size(&self, class: SizeClass) -> usize {
        self.sizes[class.index()] as usize
    }

    /// Bytes of the largest class.
    pub fn size_max(&self) -> usize {
        self.sizes.last().map_or(0, |&size| size as usize)
    }

    /// The smallest class whose slots hold `layout`; `None`: that is for pages.
    ///
    /// # Time Complexity
    ///
    /// Constant: one table look-up, and with an alignment at most 16 steps.
    #[inline]
    pub fn class_of(&self, layout: Layout) -> Option<SizeClass> {
        let class = self.class_of_size(layout)?;
        if layout.align() <= ALIGN_OF_ALL { Some(class) } else { self.aligned(class, layout) }
    }

    /// The smallest class whose slots hold `layout`'s size, whatever its alignment.
    #[inline]
    pub(crate) fn class_of_size(&self, layout: Layout) -> Option<SizeClass> {
        // No overflow: a layout's size fits an `isize`. (`div_ceil` cares for that, which takes longer.)
        let index = (layout.size() + (UNIT - 1)) >> UNIT.trailing_zeros();
        self.by_size.get(index).map(|&class| SizeClass(class))
    }

    #[inline(never)]
    fn aligned(&self, class: SizeClass, layout: Layout) -> Option<SizeClass> {
        if layout.align() > self.align_max {
            return None;
        }
        let fitting = |class: &SizeClass| self.size(*class).is_multiple_of(layout.align());
        self.classes().skip(class.index()).find(fitting)
    }

    /// What every slot of `class` is aligned to.
    pub fn slot_align(&self, class: SizeClass) -> usize {
        (1 << self.size(class).trailing_zeros()).min(self.align_max)
    }

    /// The slab sizes of `class` in pages, ascending, for pages of `page_size` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if `page_size` is no power of two.
    pub fn ladder(&self, class: SizeClass, page_size: usize) -> AllocResult<Vec<u32>> {
        if !page_size.is_power_of_two() {
            return Err(AllocError::InvalidParam);
        }
        let size = self.size(class);
        let rungs = match self.growth {
            Growth::Kernel => {
                let pages =
                    (32 * size).div_ceil(page_size).clamp(1, 4).max(size.div_ceil(page_size));
                let least = size.div_ceil(page_size);
                (0..=pages.ilog2()).map(|shift| 1 << shift).filter(|&n| n >= least).collect()
            }
            Growth::Fine => fine_ladder(size, page_size),
        };
        // Truncation cannot happen: a slab has at most 32 KiB / 1 B = 2^15 pages.
        Ok(rungs.into_iter().map(|pages: usize| pages as u32).collect())
    }

    /// Pages of the first slab that a CPU asks for: all of the kernel table's are alike.
    pub(crate) fn first_rung(&self, rungs: usize) -> usize {
        match self.growth {
            Growth::Kernel => rungs - 1,
            Growth::Fine => 0,
        }
    }
}

/// For 4, 8, 16, 32, 64 KiB (and 128 KiB above 8 KiB of size): of the page counts above half of that
/// and up to it, the one that wastes the smallest part.
fn fine_ladder(size: usize, page_size: usize) -> Vec<usize> {
    let top = if size > 8192 { 17 } else { 16 };
    // A class is small and a slab has few pages, so both fit an f64 exactly.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let waste = |pages: usize| (pages * page_size % size) as f64 / (pages * page_size) as f64;
    let mut rungs = Vec::new();
    for shift in 12..=top {
        let most = (1 << shift) / page_size;
        let best = (most / 2 + 1..=most)
            .filter(|pages| pages * page_size >= size)
            .min_by(|&a, &b| waste(a).total_cmp(&waste(b)));
        rungs.extend(best);
    }
    if rungs.is_empty() {
        rungs.push(size.div_ceil(page_size));
    }
    rungs
}

/// Slots of a slab: how large, and which one an offset lies in, without a division.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotSize {
    bytes: u32,
    reciprocal: u32,
}

/// Fraction bits of the reciprocal.
const RECIPROCAL_BITS: u32 = 32;

/// Offsets below this are exact with sizes up to 2^15: every one in a slab of up to 128 KiB.
const EXACT_BELOW: usize = 1 << 17;

impl SlotSize {
    /// Slots of 2 to 2^15 bytes.
    pub(crate) fn new(size: usize) -> Self {
        debug_assert!(size >= 2);
        debug_assert!(size <= 1 << 15);
        // Truncation cannot happen: at most 2^31, and 2^15.
        let reciprocal = (1u64 << RECIPROCAL_BITS).div_ceil(size as u64) as u32;
        Self { bytes: size as u32, reciprocal }
    }

    #[inline]
    pub(crate) fn bytes(self) -> usize {
        self.bytes as usize
    }

    /// The slot around `offset` bytes from the start of the slab.
    #[inline]
    pub(crate) fn index_of(self, offset: usize) -> usize {
        if offset < EXACT_BELOW {
            ((offset as u64 * u64::from(self.reciprocal)) >> RECIPROCAL_BITS) as usize
        } else {
            self.index_far(offset)
        }
    }

    #[cold]
    fn index_far(self, offset: usize) -> usize {
        offset / self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn kernel_sizes_are_the_nine_powers_of_two() {
        let table = ClassTable::kernel();
        let sizes: Vec<_> = table.classes().map(|class| table.size(class)).collect();
        assert_eq!(sizes, [8, 16, 32, 64, 128, 256, 512, 1024, 2048]);
        assert_eq!(table.class_of(layout(2048, 2048)), Some(SizeClass(8)));
        assert_eq!(table.class_of(layout(2049, 1)), None);
        assert_eq!(table.class_of(layout(8, 4096)), None);
        assert_eq!(table.class_of(layout(1, 64)), Some(SizeClass(3)));
    }

    #[test]
    fn fine_sizes_are_close_and_multiples_of_16() {
        let table = ClassTable::fine();
        assert_eq!(table.len(), 72);
        assert_eq!(table.size_max(), 32768);
        let sizes: Vec<_> = table.classes().map(|class| table.size(class)).collect();
        for pair in sizes.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[1].is_multiple_of(16));
            assert!(pair[1] <= 128 || (pair[1] - pair[0]) * 8 <= pair[0], "{pair:?}");
        }
    }

    #[test]
    fn finds_the_smallest_class_that_holds_a_layout() {
        for table in [ClassTable::kernel(), ClassTable::fine()] {
            for size in 1..=table.size_max() {
                for align in [1, 8, 16, 64, 2048] {
                    let dumb = table.classes().find(|&class| {
                        table.size(class) >= size && table.size(class).is_multiple_of(align)
                    });
                    assert_eq!(table.class_of(layout(size, align)), dumb, "{size} {align}");
                }
            }
        }
    }

    #[test]
    fn index_agrees_with_the_division() {
        for table in [ClassTable::kernel(), ClassTable::fine()] {
            for class in table.classes() {
                let size = table.size(class);
                let slots = SlotSize::new(size);
                let samples = (0..1 << 18).chain((1 << 17) - 70_000..(1 << 17) + 10);
                for offset in samples.step_by(if size > 64 { 7 } else { 3 }) {
                    assert_eq!(slots.index_of(offset), offset / size, "{size} {offset}");
                }
                for slot in 0..(1 << 24) / size {
                    assert_eq!(slots.index_of(slot * size), slot);
                    assert_eq!(slots.index_of(slot * size + size - 1), slot);
                }
            }
        }
    }

    #[test]
    fn ladders_climb_and_hold_a_slot() {
        for table in [ClassTable::kernel(), ClassTable::fine()] {
            for class in table.classes() {
                for page_size in [256, 512, 4096, 16384, 65536, 1 << 21] {
                    let ladder = table.ladder(class, page_size).unwrap();
                    assert!(!ladder.is_empty());
                    assert!(ladder.is_sorted_by(|a, b| a < b), "{ladder:?}");
                    assert!(ladder.iter().all(|&n| n as usize * page_size >= table.size(class)));
                }
            }
        }
    }

    #[test]
    fn kernel_slabs_have_one_to_four_pages_and_no_waste() {
        let table = ClassTable::kernel();
        let pages =
            table.classes().map(|class| *table.ladder(class, 4096).unwrap().last().unwrap());
        assert!(pages.eq([1, 1, 1, 1, 1, 2, 4, 4, 4]));
    }

    #[test]
    fn grown_fine_slabs_waste_little() {
        let table = ClassTable::fine();
        for class in table.classes() {
            let bytes = *table.ladder(class, 4096).unwrap().last().unwrap() as usize * 4096;
            let waste = bytes % table.size(class);
            assert!(waste * 40 <= bytes, "{} wastes {waste} of {bytes}", table.size(class));
        }
    }
}
