//! Keeps a shared library mapped for the rest of the process.
//!
//! A Node addon that was loaded only in a worker is unloaded when that worker ends (HAZARDS NB15),
//! though finalizers and signal handlers of ours may still be called. The linker's `-z nodelete` says
//! the same at build time; this says it again at run time, whatever linked the library.

use std::{
    ffi::{CStr, c_void},
    mem::MaybeUninit,
};

/// Makes sure that the library that holds the function at `code` is never unmapped; `false` where the
/// loader does not know it or refuses.
pub fn pin_library(code: *const ()) -> bool {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `found` has room for the answer; any address may be asked about.
    let known = unsafe { libc::dladdr(code.cast::<c_void>(), found.as_mut_ptr()) };
    if known == 0 {
        return false;
    }
    // SAFETY: dladdr filled it in, for it answered other than 0.
    let found = unsafe { found.assume_init() };
    if found.dli_fname.is_null() {
        return false;
    }
    // SAFETY: the loader keeps the name as a C string as long as the library is loaded, and we run in it.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: `name` is a C string. With RTLD_NOLOAD nothing is run: the library is loaded already.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    !handle.is_null()
}
