//! Every lock and atomic of this crate, so that one source builds over std, loom and shuttle.
//!
//! Metadata is large, zeroed, and touched only where it is used: [`zeros`] asks the
//! global allocator for zeroed memory, which it maps without touching, and is refused where it has
//! none (`vec!` would abort). That is the only unsafe code here.
//!
//! Not here: any protocol; see `remote.rs`.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use std::{
    alloc::{Layout, alloc_zeroed},
    ptr,
};

use heapwright_core::{AllocError, AllocResult};

/// Locks, or panics where a former panic left the state behind `mutex` in doubt (HAZARDS BS14): the
/// seam catches it and poisons the allocator for good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // ThreadSanitizer does not see into the waiting part of a standard library built without it.
    #[cfg(tsan)]
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(std::sync::TryLockError::WouldBlock) => std::thread::yield_now(),
            Err(std::sync::TryLockError::Poisoned(_)) => break,
        }
    }
    let Ok(guard) = mutex.lock() else { panic!("a former panic left this allocator in doubt") };
    guard
}

/// Orders an earlier `SeqCst` read-modify-write before a later `SeqCst` load.
///
/// In C11 the single order of `SeqCst` operations says so already, and nothing is emitted. loom
/// treats `SeqCst` accesses as acquire-release, so there it takes a fence, which loom does model.
#[inline]
pub(crate) fn order_store_before_load() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// What all bits zero are a value of.
///
/// # Safety
///
/// - That is so.
#[expect(unsafe_code, reason = "the compiler cannot tell it")]
pub(crate) unsafe trait Zeroed {}

#[expect(unsafe_code, reason = "see the trait")]
// SAFETY: plain integers.
unsafe impl Zeroed for [u32; 3] {}
#[cfg(not(any(loom, shuttle)))]
#[expect(unsafe_code, reason = "see the trait")]
// SAFETY: std guarantees that it has the representation of its integer.
unsafe impl Zeroed for AtomicU32 {}
#[cfg(not(any(loom, shuttle)))]
#[expect(unsafe_code, reason = "see the trait")]
// SAFETY: as above.
unsafe impl Zeroed for AtomicU64 {}

/// `len` zeros, mapped and not touched.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
pub(crate) fn zeros<T: Zeroed>(len: usize) -> AllocResult<Box<[T]>> {
    let layout = Layout::array::<T>(len).map_err(|_| AllocError::NoMemory)?;
    if layout.size() == 0 {
        return Ok(Box::default());
    }
    #[expect(unsafe_code, reason = "safe code cannot ask for zeros and be refused")]
    // SAFETY: the layout is not empty, as tested.
    let first = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if first.is_null() {
        return Err(AllocError::NoMemory);
    }
    let slice = ptr::slice_from_raw_parts_mut(first, len);
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: the global allocator has just given this memory with the layout of the slice, nobody
    // else has it, and `Zeroed` guarantees that zeros are values.
    Ok(unsafe { Box::from_raw(slice) })
}

/// `len` zeroed words of 64 bits, mapped and not touched.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
pub(crate) fn words(len: usize) -> AllocResult<Box<[AtomicU64]>> {
    #[cfg(any(loom, shuttle))]
    return Ok((0..len).map(|_| AtomicU64::new(0)).collect());
    #[cfg(not(any(loom, shuttle)))]
    zeros(len)
}

/// `len` zeroed words of 32 bits, mapped and not touched.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
pub(crate) fn halves(len: usize) -> AllocResult<Box<[AtomicU32]>> {
    #[cfg(any(loom, shuttle))]
    return Ok((0..len).map(|_| AtomicU32::new(0)).collect());
    #[cfg(not(any(loom, shuttle)))]
    zeros(len)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn refuses_what_no_machine_has() {
        // A box that nobody looks at may be optimized away, and its allocation with it.
        assert_eq!(black_box(words(usize::MAX / 16)).err(), Some(AllocError::NoMemory));
        assert_eq!(black_box(halves(usize::MAX)).err(), Some(AllocError::NoMemory));
    }

    #[test]
    fn starts_at_zero() {
        assert!(words(0).unwrap().is_empty());
        let words = words(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
