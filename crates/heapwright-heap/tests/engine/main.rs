//! The engine of the `Heap`, driven as JavaScript drives it: `script.rs` is the fast path in Rust.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "tags, words of the area, and times"
)]
#![expect(clippy::needless_for_each, reason = "a line each, for many blocks")]

mod batches;
mod damage;
mod late_free;
mod lifecycle;
mod magazines;
mod publish;
mod residency;
mod script;
mod shadow;
mod threads;

use heapwright_heap::heap::{Attachment, HeapConfig, HeapEngine};
use heapwright_heap::registry;

/// The larger of two sizes where `HEAPWRIGHT_TORTURE=1`, else the smaller.
pub(crate) fn torture(small: usize, large: usize) -> usize {
    if std::env::var_os("HEAPWRIGHT_TORTURE").is_some_and(|value| value == "1") {
        large
    } else {
        small
    }
}

/// A heap of `size` bytes for `max_threads` threads, outside of the registry.
pub(crate) fn heap_of(size: usize, max_threads: usize) -> Attachment {
    let config = HeapConfig { size, max_threads, huge_pages: false, populate: false };
    std::sync::Arc::new(HeapEngine::map(&config).unwrap()).attach().unwrap()
}

/// The same, with a handle.
pub(crate) fn registered(size: usize, max_threads: usize) -> (registry::HeapId, Attachment) {
    let config = HeapConfig { size, max_threads, huge_pages: false, populate: false };
    registry::open(HeapEngine::map(&config).unwrap()).unwrap()
}

/// Locks; spinning under ThreadSanitizer, which does not see what happens inside a contended lock.
pub(crate) fn held<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    while cfg!(tsan) {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(_) => std::thread::yield_now(),
        }
    }
    mutex.lock().unwrap()
}
