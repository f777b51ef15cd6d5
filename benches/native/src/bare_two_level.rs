//! `buddy-slab-allocator`, the published two-level allocator, as a peer. It lives once a process and takes its CPUs
//! and its locks from a platform interface, which this file implements with two CPUs (a thread says which one it is) and a
//! plain spin lock.
#![expect(
    clippy::used_underscore_binding,
    reason = "the macro that implements an interface passes every parameter on, also those that are not used"
)]

use std::alloc::Layout;
use std::cell::Cell;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use ax_sync::interface::{AcquireResult, ContextState, LockMetadata, SpinOps};
use buddy_slab_allocator::interface::BuddySlabIf;
use buddy_slab_allocator::{GlobalAllocator, PerCpuSlab, SlabPoolTrait, SlabTrait};

use crate::arena::Arena;
use crate::bare::Bare;

const PAGE_SIZE: usize = 4096;

static CPUS: [PerCpuSlab<PAGE_SIZE>; 2] = [PerCpuSlab::new(0), PerCpuSlab::new(1)];
static GLOBAL: GlobalAllocator<PAGE_SIZE> = GlobalAllocator::new();
static POOL: TwoCpus = TwoCpus;

thread_local! {
    /// The CPU that this thread is.
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread CPU `cpu`.
pub(crate) fn set_cpu(cpu: usize) {
    CPU.set(cpu);
}

struct TwoCpus;

impl SlabPoolTrait for TwoCpus {
    fn current_slab(&self) -> &dyn SlabTrait {
        &CPUS[CPU.get()]
    }

    fn owner_slab(&self, cpu: usize) -> &dyn SlabTrait {
        &CPUS[cpu]
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

impl BuddySlab {
    /// A block from the slabs of this thread's CPU, or 0.
    #[inline]
    pub(crate) fn alloc_shared(layout: Layout) -> usize {
        GLOBAL.alloc(layout).map_or(0, |p| p.as_ptr() as usize)
    }

    /// Frees a block of any CPU.
    ///
    /// # Safety
    ///
    /// - `p` is a live block, allocated with `layout`.
    #[inline]
    pub(crate) unsafe fn free_shared(p: usize, layout: Layout) {
        if let Some(p) = NonNull::new(p as *mut u8) {
            // SAFETY: the caller promises a live block of this layout.
            unsafe { GLOBAL.dealloc(p, layout) }
        }
    }
}

impl Bare for BuddySlab {
    #[inline]
    fn alloc(&mut self, layout: Layout) -> usize {
        Self::alloc_shared(layout)
    }

    #[inline]
    unsafe fn free(&mut self, p: usize, layout: Layout) {
        // SAFETY: the caller promises a live block of this layout.
        unsafe { Self::free_shared(p, layout) }
    }
}
