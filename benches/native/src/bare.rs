//! The bare crates, glibc beside them, and ours, behind one trait: allocators of bytes over one arena.
//!
//! Every call goes through a `&mut` and a layout, the way the crates are used in a kernel. They answer an address; it
//! is a real one (the arena's), so the loops write to what they get, whoever served it.

use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;

use heapwright_two_level::ClassTable;

use crate::arena::Arena;
use crate::bare_two_level::BuddySlab;
use crate::ours;

/// An allocator over an arena.
pub(crate) trait Bare {
    /// A block, or 0 when there is none.
    fn alloc(&mut self, layout: Layout) -> usize;

    /// Gives a block back.
    ///
    /// # Safety
    ///
    /// - `p` is a live block of this allocator, allocated with `layout`.
    unsafe fn free(&mut self, p: usize, layout: Layout);
}

/// An allocator and the addresses that it hands out; none for those that take their memory from the system.
pub(crate) struct Opened {
    /// The allocator.
    pub(crate) bare: Box<dyn Bare>,
    /// Where its blocks lie.
    pub(crate) range: Option<Range<usize>>,
}

/// Makes the allocator that `peer=` names over `size` bytes; `populate` touches them first.
pub(crate) fn open(name: &str, size: usize, populate: bool) -> Result<Opened, String> {
    match name {
        "glibc" => return Ok(Opened { bare: Box::new(Glibc), range: None }),
        "mimalloc" => {
            return Ok(Opened {
                bare: Box::new(C::<crate::peer::Mimalloc>::default()),
                range: None,
            });
        }
        "tlsf (ours)" | "buddy (ours)" | "slab (ours)" => {
            return ours::open_family(name, size, populate);
        }
        _ => {}
    }
    let arena = Arena::map(size)?;
    let arena = if populate { arena.populate() } else { arena };
    let bare: Box<dyn Bare> = match name {
        "buddy_system_allocator" => Box::new(Buddy::over(arena)),
        "rlsf" => Box::new(Tlsf::over(arena)),
        "ax_slab_allocator" => Box::new(Slab::over(arena)),
        "buddy-slab-allocator" => Box::new(BuddySlab::over(arena)?),
        "talc" => Box::new(Talc::over(arena)?),
        "two-level" => Box::new(ours::TwoLevel::over(arena, ClassTable::kernel())?),
        "two-level, fine classes (ours)" => {
            Box::new(ours::TwoLevel::over(arena, ClassTable::fine())?)
        }
        other => return Err(format!("no allocator is called {other}")),
    };
    Ok(Opened { bare, range: Some(arena.range()) })
}

fn address(p: Option<NonNull<u8>>) -> usize {
    p.map_or(0, |p| p.as_ptr() as usize)
}

/// The system's allocator.
#[derive(Debug)]
struct Glibc;

impl Bare for Glibc {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        if layout.align() <= 16 {
            // SAFETY: malloc accepts every size.
            return unsafe { libc::malloc(layout.size()) } as usize;
        }
        // SAFETY: a layout's alignment is a power of two, and above 16 a multiple of the pointer size.
        unsafe { libc::memalign(layout.align(), layout.size()) as usize }
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, _layout: Layout) {
        // SAFETY: the caller promises a live block.
        unsafe { libc::free(p as *mut libc::c_void) }
    }
}

/// A C peer, alignments up to 16 only.
#[derive(Debug)]
struct C<P>(std::marker::PhantomData<P>);

impl<P> Default for C<P> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<P: crate::peer::Malloc> Bare for C<P> {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        P::malloc(layout.size()) as usize
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, _layout: Layout) {
        // SAFETY: the caller promises a live block.
        unsafe { P::free(p as *mut u8) }
    }
}

/// `buddy_system_allocator::Heap`.
struct Buddy(buddy_system_allocator::Heap<32>);

impl Buddy {
    fn over(arena: Arena) -> Self {
        let mut heap = buddy_system_allocator::Heap::new();
        // SAFETY: the arena is mapped for good, and only this heap uses it.
        unsafe { heap.init(arena.start(), arena.size()) };
        Self(heap)
    }
}

impl Bare for Buddy {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        address(self.0.alloc(layout).ok())
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        if let Some(p) = NonNull::new(p as *mut u8) {
            // SAFETY: the caller promises a live block of this layout.
            unsafe { self.0.dealloc(p, layout) }
        }
    }
}

/// `rlsf::Tlsf` with the parameters of the seed.
struct Tlsf(rlsf::Tlsf<'static, u32, u32, 28, 32>);

impl Tlsf {
    fn over(arena: Arena) -> Self {
        let mut tlsf = rlsf::Tlsf::new();
        // SAFETY: the arena is mapped for good, and only this allocator uses it.
        let _ = unsafe { tlsf.insert_free_block_ptr(arena.slice()) };
        Self(tlsf)
    }
}

impl Bare for Tlsf {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        address(self.0.allocate(layout))
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        if let Some(p) = NonNull::new(p as *mut u8) {
            // SAFETY: the caller promises a live block of this alignment.
            unsafe { self.0.deallocate(p, layout.align()) }
        }
    }
}

/// `ax_slab_allocator::Heap`.
struct Slab(slab_allocator::Heap);

impl Slab {
    fn over(arena: Arena) -> Self {
        // SAFETY: the arena is mapped for good, and only this heap uses it.
        Self(unsafe { slab_allocator::Heap::new(arena.start(), arena.size()) })
    }
}

impl Bare for Slab {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.allocate(layout).unwrap_or(0)
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        // SAFETY: the caller promises a live block of this layout.
        unsafe { self.0.deallocate(p, layout) };
    }
}

/// `talc::Talc`, failing when its one span is used up.
struct Talc(talc::Talc<talc::ErrOnOom>);

impl Talc {
    fn over(arena: Arena) -> Result<Self, String> {
        let mut talc = talc::Talc::new(talc::ErrOnOom);
        let span =
            talc::Span::new(arena.start() as *mut u8, (arena.start() + arena.size()) as *mut u8);
        // SAFETY: the arena is mapped for good, and only this allocator uses it.
        unsafe { talc.claim(span) }.map_err(|()| "talc refused the arena".to_owned())?;
        Ok(Self(talc))
    }
}

impl Bare for Talc {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        // SAFETY: every layout of the loops has a size from 1.
        address(unsafe { self.0.malloc(layout) }.ok())
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        if let Some(p) = NonNull::new(p as *mut u8) {
            // SAFETY: the caller promises a live block of this layout.
            unsafe { self.0.free(p, layout) }
        }
    }
}
