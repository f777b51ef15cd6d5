//! Large zeroed memory that is not touched: the operating system zeroes a page when it is first written.
//!
//! A value built as a local and then boxed would pass through the stack, where `BitAlloc256M` (36 MB) has
//! no room; a loop that writes zeros would commit every page.

use alloc::{
    alloc::{Layout, alloc_zeroed},
    boxed::Box,
};
use core::ptr;

use heapwright_core::{AllocError, AllocResult};

/// A boxed value of all zero bytes.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
///
/// # Safety
///
/// 1. A `T` of zero bytes only is a valid value.
#[cfg(feature = "bitmap")]
pub(crate) unsafe fn zeroed_box<T>() -> AllocResult<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout is not empty, as asserted.
    let memory = unsafe { alloc_zeroed(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(AllocError::NoMemory);
    }
    // SAFETY: the global allocator has just made this memory for a `T`, and its zero bytes are one
    // (bullet 1).
    Ok(unsafe { Box::from_raw(memory) })
}

/// A boxed slice of `len` values of all zero bytes.
///
/// # Errors
///
/// [`AllocError::NoMemory`].
///
/// # Safety
///
/// 1. A `T` of zero bytes only is a valid value.
/// 2. `len` is not 0.
pub(crate) unsafe fn zeroed_slice<T>(len: usize) -> AllocResult<Box<[T]>> {
    const { assert!(size_of::<T>() > 0) };
    let layout = Layout::array::<T>(len).map_err(|_| AllocError::NoMemory)?;
    // SAFETY: the layout is not empty: bullet 2, and as asserted.
    let memory = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(AllocError::NoMemory);
    }
    // SAFETY: the global allocator has just made this memory for `len` values of `T`, and its zero bytes
    // are that (bullet 1).
    Ok(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(memory, len)) })
}
