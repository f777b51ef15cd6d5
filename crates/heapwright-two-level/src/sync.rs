//! Every lock and atomic of this crate, so that one source builds over std, loom and shuttle.
//!
//! Metadata is large, zeroed, and touched only where it is used: [`words`] and [`halves`] ask the
//! global allocator for zeroed memory, which it maps without touching. Turning such a slice into a
//! slice of atomics is the only unsafe code here.
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

use heapwright_core::{AllocError, AllocResult};

/// Locks, or panics where a former panic left the state behind `mutex` in doubt (HAZARDS BS14): the
/// seam catches it and poisons the allocator for good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(_) => panic!("a former panic left this allocator in doubt"),
    }
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

/// `len` zeros, mapped and not touched; `NoMemory` instead of an abort where they cannot be had.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
pub(crate) fn zeros<T: Copy + Default>(
    len: usize,
    make: impl FnOnce(usize) -> Vec<T>,
) -> AllocResult<Box<[T]>> {
    // `vec![0; len]` is the only safe way to untouched zeros, and aborts on failure: ask first.
    let mut probe: Vec<T> = Vec::new();
    probe.try_reserve_exact(len).map_err(|_| AllocError::NoMemory)?;
    drop(probe);
    Ok(make(len).into_boxed_slice())
}

macro_rules! zeroed_atomics {
    ($name:ident, $atomic:ident, $plain:ty, $what:literal) => {
        #[doc = concat!("`len` zeroed ", $what, ", mapped and not touched.")]
        ///
        /// # Errors
        ///
        /// [`AllocError::NoMemory`].
        pub(crate) fn $name(len: usize) -> AllocResult<Box<[$atomic]>> {
            #[cfg(any(loom, shuttle))]
            return Ok((0..len).map(|_| $atomic::new(0)).collect());
            #[cfg(not(any(loom, shuttle)))]
            {
                const _: () = assert!(size_of::<$atomic>() == size_of::<$plain>());
                const _: () = assert!(align_of::<$atomic>() == align_of::<$plain>());
                let plain = Box::into_raw(zeros(len, |len| vec![<$plain>::default(); len])?);
                #[expect(unsafe_code, reason = "untouched zeroed atomics cannot be had otherwise")]
                // SAFETY: `plain` was just released by `Box::into_raw` and nobody else holds it;
                // std guarantees that the atomic has the in-memory representation of the integer,
                // and the assertions above that size and alignment agree.
                let atomics = unsafe { Box::from_raw(plain as *mut [$atomic]) };
                Ok(atomics)
            }
        }
    };
}

zeroed_atomics!(words, AtomicU64, u64, "words of 64 bits");
zeroed_atomics!(halves, AtomicU32, u32, "words of 32 bits");

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_machine_has() {
        assert_eq!(words(usize::MAX / 16).err(), Some(AllocError::NoMemory));
        assert_eq!(halves(usize::MAX).err(), Some(AllocError::NoMemory));
    }

    #[test]
    fn starts_at_zero() {
        let words = words(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
