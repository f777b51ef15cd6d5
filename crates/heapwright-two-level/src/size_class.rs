//! Sizes served from slabs, and the class that serves a request.

use core::alloc::Layout;

/// Index of a size class in its [`ClassTable`], from 0 upwards with the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(pub u8);

/// The sizes of a slab allocator, ascending, and how many pages the slabs of each have.
#[derive(Clone, Debug)]
pub struct ClassTable {
    sizes: Vec<usize>,
}

impl ClassTable {
    /// Nine classes, the powers of two from 8 to 2048.
    pub fn kernel() -> Self {
        unimplemented!()
    }

    /// 72 classes from 16 B to 32 KiB, every one a multiple of 16, at most 12.5 % apart from 128 B up.
    pub fn fine() -> Self {
        unimplemented!()
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Bytes of a slot of `class`.
    pub fn size(&self, class: SizeClass) -> usize {
        self.sizes[usize::from(class.0)]
    }

    /// The smallest class whose slots hold `size` bytes and start at multiples of `align`; `None`: pages.
    pub fn class_of(&self, layout: Layout) -> Option<SizeClass> {
        let _ = layout;
        unimplemented!()
    }
}
