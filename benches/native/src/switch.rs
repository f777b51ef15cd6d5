//! A global allocator that can be pointed at one of the bare allocators.
//!
//! Stable Rust's `Vec` and `BTreeMap` take no allocator, so the collections of B4 are given theirs here: while a bare
//! allocator is set, every allocation of the process goes to it. A free goes where its address lies, so that what was
//! made before is given back to the system's allocator. What a bare allocator allocates itself (a live table) is the
//! system's. All paths pay the same few instructions.
//!
//! Only one thread allocates while a bare allocator is set; the loops of B4 start none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bare::Opened;

/// The global allocator of the program.
#[derive(Debug)]
pub(crate) struct Switch;

struct Target {
    /// Whether allocations go to `inner`; not while it is at work.
    active: AtomicBool,
    inner: UnsafeCell<Option<Opened>>,
}

// SAFETY: `inner` is written by `set` and used under `active`, both on the one thread that runs B4.
unsafe impl Sync for Target {}

static TARGET: Target = Target { active: AtomicBool::new(false), inner: UnsafeCell::new(None) };

/// From now on `opened` is what [`during`] sends allocations to.
pub(crate) fn set(opened: Opened) {
    // SAFETY: B4 runs on one thread, and nothing is active.
    unsafe { *TARGET.inner.get() = Some(opened) };
}

/// Runs `collection` with every allocation sent to the allocator that is set, if one is. What `collection`
/// allocates, it gives back: afterwards the system is asked again, for frees too.
pub(crate) fn during<T: Copy>(collection: impl FnOnce() -> T) -> T {
    // SAFETY: B4 runs on one thread, and nothing is active.
    let is_set = unsafe { (*TARGET.inner.get()).is_some() };
    TARGET.active.store(is_set, Ordering::Relaxed);
    let result = collection();
    TARGET.active.store(false, Ordering::Relaxed);
    result
}

// SAFETY: every call is passed on to one allocator, a free to the one that served the block.
unsafe impl GlobalAlloc for Switch {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if TARGET.active.load(Ordering::Relaxed) {
            TARGET.active.store(false, Ordering::Relaxed);
            // SAFETY: active means set, and that the allocator is not at work: this thread alone uses it.
            let inner = unsafe { &mut *TARGET.inner.get() };
            let p = inner.as_mut().map_or(0, |opened| opened.bare.alloc(layout));
            TARGET.active.store(true, Ordering::Relaxed);
            return p as *mut u8;
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if TARGET.active.load(Ordering::Relaxed) {
            TARGET.active.store(false, Ordering::Relaxed);
            // SAFETY: as in `alloc`.
            let inner = unsafe { &mut *TARGET.inner.get() };
            let served = match inner {
                Some(Opened { bare, range: Some(range) }) if range.contains(&(p as usize)) => {
                    // SAFETY: what lies in the range came from the bare allocator.
                    unsafe { bare.free(p as usize, layout) };
                    true
                }
                _ => false,
            };
            TARGET.active.store(true, Ordering::Relaxed);
            if served {
                return;
            }
        }
        // SAFETY: everything else came from the system.
        unsafe { System.dealloc(p, layout) }
    }
}
