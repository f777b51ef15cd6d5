//! What the integration tests share: memory to manage, and the bare crates behind one small trait.

use std::{alloc::Layout, ptr::NonNull};

use heapwright_allocators::ByteAllocator;

/// Zeroed memory at a multiple of `align`, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pool {
    pub(crate) fn new(size: usize, align: usize) -> Self {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: no pool is empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        Self { start: NonNull::new(start).unwrap(), layout }
    }

    /// A pool whose start is a multiple of the power of two that holds it: two of them are alike to an
    /// allocator that splits by address.
    pub(crate) fn aligned(size: usize) -> Self {
        Self::new(size, size.next_power_of_two().max(4096))
    }

    pub(crate) fn start(&self) -> usize {
        self.start.as_ptr().expose_provenance()
    }

    pub(crate) fn size(&self) -> usize {
        self.layout.size()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the pool is that long, zeroed at first, and nobody writes while a test looks.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

pub(crate) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// One allocator, ours or bare, over real memory.
pub(crate) trait Subject {
    /// The start of a new block.
    fn alloc(&mut self, layout: Layout) -> Option<usize>;
    /// Frees a live block.
    fn dealloc(&mut self, pos: usize, layout: Layout);
    /// Manages one more range.
    fn add(&mut self, start: usize, size: usize);
}

/// A wrapper of ours, or another allocator behind the core traits.
#[derive(Debug)]
pub(crate) struct Ours<A>(pub(crate) A);

impl<A: ByteAllocator> Subject for Ours<A> {
    fn alloc(&mut self, layout: Layout) -> Option<usize> {
        self.0.alloc(layout).ok().map(|pos| pos.addr().get())
    }

    fn dealloc(&mut self, pos: usize, layout: Layout) {
        let pos = NonNull::new(std::ptr::with_exposed_provenance_mut(pos)).unwrap();
        // SAFETY: the drivers free what they allocated, with the layout of then.
        unsafe { self.0.dealloc(pos, layout) }.unwrap();
    }

    fn add(&mut self, start: usize, size: usize) {
        let added = if self.0.total_bytes() == 0 {
            // SAFETY: the drivers give away each range of their pool once, and the pool lives longer.
            unsafe { self.0.init(start, size) }
        } else {
            // SAFETY: as above.
            unsafe { self.0.add_memory(start, size) }
        };
        added.unwrap();
    }
}

pub(crate) mod bare_buddy {
    use super::*;

    /// The crate as the seed uses it.
    #[derive(Debug, Default)]
    pub(crate) struct BareBuddy(pub(crate) buddy_system_allocator::Heap<32>);

    impl Subject for BareBuddy {
        fn alloc(&mut self, layout: Layout) -> Option<usize> {
            self.0.alloc(layout).ok().map(|pos| pos.addr().get())
        }

        fn dealloc(&mut self, pos: usize, layout: Layout) {
            let pos = NonNull::new(std::ptr::with_exposed_provenance_mut(pos)).unwrap();
            // SAFETY: the drivers free what they allocated, with the layout of then.
            unsafe { self.0.dealloc(pos, layout) };
        }

        fn add(&mut self, start: usize, size: usize) {
            // SAFETY: the drivers give away each range of their pool once, and the pool lives longer.
            unsafe { self.0.add_to_heap(start, start + size) };
        }
    }
}

pub(crate) mod bare_tlsf {
    use super::*;

    /// The crate as the seed uses it.
    #[derive(Debug, Default)]
    pub(crate) struct BareTlsf(pub(crate) rlsf::Tlsf<'static, u32, u32, 28, 32>);

    impl Subject for BareTlsf {
        fn alloc(&mut self, layout: Layout) -> Option<usize> {
            self.0.allocate(layout).map(|pos| pos.addr().get())
        }

        fn dealloc(&mut self, pos: usize, layout: Layout) {
            let pos = NonNull::new(std::ptr::with_exposed_provenance_mut(pos)).unwrap();
            // SAFETY: the drivers free what they allocated, with the layout of then.
            unsafe { self.0.deallocate(pos, layout.align()) };
        }

        fn add(&mut self, start: usize, size: usize) {
            let pool = std::ptr::slice_from_raw_parts_mut(
                std::ptr::with_exposed_provenance_mut(start),
                size,
            );
            // SAFETY: the drivers give away each range of their pool once, and the pool lives longer.
            unsafe { self.0.insert_free_block_ptr(NonNull::new(pool).unwrap()) }.unwrap();
        }
    }
}

pub(crate) mod bare_slab {
    use super::*;

    /// The crate as the seed uses it, but for requests of at most 4,096 bytes with a larger alignment: the
    /// crate answers those with misaligned blocks (SL2), so they are made as our wrapper makes them.
    #[derive(Default)]
    pub(crate) struct BareSlab(pub(crate) Option<slab_allocator::Heap>);

    impl std::fmt::Debug for BareSlab {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("BareSlab")
        }
    }

    fn mended(layout: Layout) -> Layout {
        if layout.size() <= 4096 && layout.align() > 4096 {
            super::layout(4097, layout.align())
        } else {
            layout
        }
    }

    impl Subject for BareSlab {
        fn alloc(&mut self, layout: Layout) -> Option<usize> {
            self.0.as_mut().unwrap().allocate(mended(layout)).ok()
        }

        fn dealloc(&mut self, pos: usize, layout: Layout) {
            // SAFETY: the drivers free what they allocated, with the layout of then.
            unsafe { self.0.as_mut().unwrap().deallocate(pos, mended(layout)) };
        }

        fn add(&mut self, start: usize, size: usize) {
            match &mut self.0 {
                // SAFETY: the drivers give away each range of their pool once, and the pool lives longer.
                None => self.0 = Some(unsafe { slab_allocator::Heap::new(start, size) }),
                // SAFETY: as above.
                Some(heap) => unsafe { heap.add_memory(start, size) },
            }
        }
    }
}
