//! The locks of the Heap: those of the standard library, without its poisoning.
//!
//! A panic under a lock poisons the heap itself (`HeapEngine::poison`), and letting go of a poisoned heap
//! must still work, so a lock never refuses.
//!
//! ThreadSanitizer does not see into the waiting part of a standard library that was built without it,
//! and would take what a contended lock orders for a race. Under `--cfg tsan` locks spin instead.

use std::sync::{
    Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    TryLockResult,
};

/// Locks.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    spin(|| mutex.try_lock())
        .unwrap_or_else(|| mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Locks for reading.
#[inline]
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    spin(|| lock.try_read()).unwrap_or_else(|| lock.read().unwrap_or_else(PoisonError::into_inner))
}

/// Locks for writing.
#[inline]
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    spin(|| lock.try_write())
        .unwrap_or_else(|| lock.write().unwrap_or_else(PoisonError::into_inner))
}

/// Tries until it has the lock, under ThreadSanitizer only; `None` otherwise.
#[inline]
fn spin<G>(attempt: impl Fn() -> TryLockResult<G>) -> Option<G> {
    while cfg!(tsan) {
        match attempt() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}
