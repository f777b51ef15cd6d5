//! `buddy-slab-allocator`, the published two-level allocator, as a peer. It lives once a process and takes its CPUs
//! and its locks from a platform interface, which this file implements with one CPU and a plain spin lock.

use std::alloc::Layout;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use ax_sync::interface::{AcquireResult, ContextState, LockMetadata, SpinOps};
use buddy_slab_allocator::interface::BuddySlabIf;
use buddy_slab_allocator::{GlobalAllocator, PerCpuSlab, SlabPoolTrait, SlabTrait};

use crate::arena::Arena;
use crate::bare::Bare;

const PAGE_SIZE: usize = 4096;

static CPU: PerCpuSlab<PAGE_SIZE> = PerCpuSlab::new(0);
static GLOBAL: GlobalAllocator<PAGE_SIZE> = GlobalAllocator::new();
static POOL: OneCpu = OneCpu;

struct OneCpu;

impl SlabPoolTrait for OneCpu {
    fn current_slab(&self) -> &dyn SlabTrait {
        &CPU
    }

    fn owner_slab(&self, _cpu: usize) -> &dyn SlabTrait {
        &CPU
    }
}

struct Platform;

#[ax_crate_interface::impl_interface]
impl BuddySlabIf for Platform {
    fn virt_to_phys(vaddr: usize) -> usize {
        vaddr
    }

    fn slab_pool() -> &'static dyn SlabPoolTrait {
        &POOL
    }
}

struct Locks;

#[ax_crate_interface::impl_interface]
impl SpinOps for Locks {
    fn acquire(
        locked: &AtomicBool,
        _metadata: &LockMetadata,
        _lock_addr: usize,
        _context: u8,
        _subclass: u32,
        _caller: &'static Location<'static>,
    ) -> ContextState {
        while locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        ContextState::new(0, 0)
    }

    fn try_acquire(
        locked: &AtomicBool,
        _metadata: &LockMetadata,
        _lock_addr: usize,
        _context: u8,
        _subclass: u32,
        _caller: &'static Location<'static>,
    ) -> AcquireResult {
        AcquireResult::new(!locked.swap(true, Ordering::Acquire), ContextState::new(0, 0))
    }

    fn release(locked: &AtomicBool, _lock_addr: usize, _context: u8, _state: ContextState) {
        locked.store(false, Ordering::Release);
    }

    fn force_release(locked: &AtomicBool, _lock_addr: usize, _context: u8) {
        locked.store(false, Ordering::Release);
    }

    fn is_locked(locked: &AtomicBool) -> bool {
        locked.load(Ordering::Relaxed)
    }
}

/// The process's one instance.
pub(crate) struct BuddySlab;

impl BuddySlab {
    /// Gives it the arena.
    pub(crate) fn over(arena: Arena) -> Result<Self, String> {
        // SAFETY: the arena is mapped for good, zero, and only this allocator uses it.
        let bytes = unsafe { &mut *arena.slice().as_ptr() };
        // SAFETY: as above.
        unsafe { GLOBAL.init(bytes) }
            .map_err(|error| format!("buddy-slab-allocator: {error:?}"))?;
        Ok(Self)
    }
}

impl Bare for BuddySlab {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        GLOBAL.alloc(layout).map_or(0, |p| p.as_ptr() as usize)
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        if let Some(p) = NonNull::new(p as *mut u8) {
            // SAFETY: the caller promises a live block of this layout.
            unsafe { GLOBAL.dealloc(p, layout) }
        }
    }
}
