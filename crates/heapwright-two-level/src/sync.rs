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

/// What `mutex` guards, without the lock: nobody else can have it. Panics as [`lock`] does.
#[inline]
pub(crate) fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
    let Ok(value) = mutex.get_mut() else { panic!("a former panic left this allocator in doubt") };
    value
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
// SAFETY: a plain integer.
unsafe impl Zeroed for u8 {}
#[expect(unsafe_code, reason = "see the trait")]
// SAFETY: plain integers.
unsafe impl Zeroed for [u64; 2] {}
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

/// Words of a cache line.
pub(crate) const LINE_WORDS: usize = 8;

/// A cache line of words.
pub(crate) type Line = [AtomicU64; LINE_WORDS];

/// Zeroed lines of 64 bytes at multiples of 64, mapped and not touched.
#[cfg(not(any(loom, shuttle)))]
#[derive(Debug)]
pub(crate) struct Lines {
    /// All memory, a line longer than what is used: asking for the alignment would touch all of it.
    whole: ptr::NonNull<[AtomicU64]>,
    first: ptr::NonNull<Line>,
    len: usize,
}

#[cfg(not(any(loom, shuttle)))]
#[expect(unsafe_code, reason = "the compiler does not know who owns the memory behind a pointer")]
// SAFETY: it owns its words, as a box of atomics would, which is Send.
unsafe impl Send for Lines {}
#[cfg(not(any(loom, shuttle)))]
#[expect(unsafe_code, reason = "as above")]
// SAFETY: it gives out shared references to atomics only.
unsafe impl Sync for Lines {}

#[cfg(not(any(loom, shuttle)))]
impl Lines {
    /// `len` lines.
    ///
    /// # Errors
    ///
    /// [`AllocError::NoMemory`].
    pub(crate) fn new(len: usize) -> AllocResult<Self> {
        let words = len.checked_add(1).and_then(|lines| lines.checked_mul(LINE_WORDS));
        let whole = ptr::NonNull::from(Box::leak(zeros(words.ok_or(AllocError::NoMemory)?)?));
        let start = whole.cast::<AtomicU64>();
        let skew = start.align_offset(size_of::<Line>());
        debug_assert!(skew < LINE_WORDS);
        #[expect(unsafe_code, reason = "a slice of lines cannot be cut from a slice of words")]
        // SAFETY: the skew is less than the line by which the memory is longer.
        let first = unsafe { start.add(skew) }.cast();
        Ok(Self { whole, first, len })
    }
}

#[cfg(not(any(loom, shuttle)))]
impl core::ops::Deref for Lines {
    type Target = [Line];

    #[inline]
    fn deref(&self) -> &[Line] {
        #[expect(unsafe_code, reason = "see `new`")]
        // SAFETY: `new` made room for `len` lines from `first`; they are freed with `self` only, and
        // atomics are shared by shared references.
        unsafe {
            core::slice::from_raw_parts(self.first.as_ptr(), self.len)
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
impl Drop for Lines {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "see `new`")]
        // SAFETY: `new` leaked this very box, and nobody else takes it back.
        drop(unsafe { Box::from_raw(self.whole.as_ptr()) });
    }
}

/// The same for a model checker, whose atomics are no plain words.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub(crate) struct Lines(Box<[Line]>);

#[cfg(any(loom, shuttle))]
impl Lines {
    /// `len` lines.
    #[expect(clippy::unnecessary_wraps, reason = "the signature of the real one")]
    pub(crate) fn new(len: usize) -> AllocResult<Self> {
        Ok(Self((0..len).map(|_| core::array::from_fn(|_| AtomicU64::new(0))).collect()))
    }
}

#[cfg(any(loom, shuttle))]
impl core::ops::Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.0
    }
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
        assert!(black_box(Lines::new(usize::MAX / 128)).is_err());
        assert!(black_box(Lines::new(usize::MAX)).is_err());
        assert_eq!(black_box(halves(usize::MAX)).err(), Some(AllocError::NoMemory));
    }

    #[test]
    fn starts_at_zero() {
        assert!(halves(0).unwrap().is_empty());
        let lines = Lines::new(1000).unwrap();
        assert_eq!(lines.len(), 1000);
        assert_eq!(lines.as_ptr().align_offset(64), 0);
        assert!(lines.iter().flatten().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
