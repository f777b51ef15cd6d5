//! A global allocator that can be pointed at one of the bare allocators.
//!
//! Stable Rust's `Vec` takes no allocator and `BTreeMap` neither, so the collections of B4 are given theirs here: while a
//! bare allocator is set, every allocation of the process goes to it. A free goes where its address lies, so that
//! what was made before is given back to the system's allocator. All paths pay the same two branches.
//!
//! Only one thread allocates while a bare allocator is set; the loops of B4 start none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::arena::Arena;
use crate::bare::Bare;

/// The global allocator of the program.
#[derive(Debug)]
pub(crate) struct Switch;

struct Target {
    active: AtomicBool,
    inner: UnsafeCell<Option<(Box<dyn Bare>, Option<Arena>)>>,
}

// SAFETY: `inner` is written by `set` and read under `active`, both on the one thread that runs B4.
unsafe impl Sync for Target {}

static TARGET: Target = Target { active: AtomicBool::new(false), inner: UnsafeCell::new(None) };

/// Sends all further allocations to `bare`; without an arena every free goes there as well.
pub(crate) fn set(bare: Box<dyn Bare>, arena: Option<Arena>) {
    // SAFETY: B4 runs on one thread, and nothing is active yet.
    unsafe { *TARGET.inner.get() = Some((bare, arena)) };
    TARGET.active.store(true, Ordering::Relaxed);
}

/// Sends allocations to the system again, and gives the bare allocator back.
pub(crate) fn clear() {
    TARGET.active.store(false, Ordering::Relaxed);
}

// SAFETY: every call is passed on to one allocator, a free to the one that served the block.
unsafe impl GlobalAlloc for Switch {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if TARGET.active.load(Ordering::Relaxed) {
            // SAFETY: active means set, and only this thread is in it: a bare allocator does not allocate.
            if let Some((bare, _)) = unsafe { &mut *TARGET.inner.get() } {
                return bare.alloc(layout) as *mut u8;
            }
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: set once before the loop; only one thread uses it.
        if let Some((bare, Some(arena))) = unsafe { &mut *TARGET.inner.get() }
            && arena.contains(p as usize)
        {
            // SAFETY: what lies in the arena came from the bare allocator.
            return unsafe { bare.free(p as usize, layout) };
        }
        // SAFETY: everything else came from the system.
        unsafe { System.dealloc(p, layout) }
    }
}
