//! The four native allocators of the suite behind one trait, called as C calls them.
//!
//! All four are linked side by side (mimalloc, jemalloc and snmalloc under prefixed names), none replaces another;
//! `linked` proves it. `free` gets the pointer alone, as in C: snmalloc's Rust entry wants a size but, built without
//! its checks, does not look at it.

use libc::c_void;

/// An allocator of the C kind.
pub(crate) trait Malloc: Copy + Send + Sync + 'static {
    /// The name in `peer=`.
    const NAME: &'static str;

    /// `size` bytes, 16-byte aligned; null when there are none.
    fn malloc(size: usize) -> *mut u8;

    /// Gives a block back.
    ///
    /// # Safety
    ///
    /// - `p` came from [`Self::malloc`] and was not freed since.
    unsafe fn free(p: *mut u8);

    /// Where `malloc` and `free` lie: peers that share an address are one peer.
    fn entries() -> (usize, usize);
}

/// glibc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glibc;

impl Malloc for Glibc {
    const NAME: &'static str = "glibc";

    #[inline]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: malloc accepts every size; null is passed on.
        unsafe { libc::malloc(size) }.cast()
    }

    #[inline]
    unsafe fn free(p: *mut u8) {
        // SAFETY: the caller's promise is free's only precondition.
        unsafe { libc::free(p.cast::<c_void>()) }
    }

    fn entries() -> (usize, usize) {
        (libc::malloc as *const () as usize, libc::free as *const () as usize)
    }
}

/// mimalloc, version 3.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mimalloc;

impl Malloc for Mimalloc {
    const NAME: &'static str = "mimalloc";

    #[inline]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: mi_malloc accepts every size; null is passed on.
        unsafe { libmimalloc_sys::mi_malloc(size) }.cast()
    }

    #[inline]
    unsafe fn free(p: *mut u8) {
        // SAFETY: the caller's promise is mi_free's only precondition.
        unsafe { libmimalloc_sys::mi_free(p.cast()) }
    }

    fn entries() -> (usize, usize) {
        (
            libmimalloc_sys::mi_malloc as *const () as usize,
            libmimalloc_sys::mi_free as *const () as usize,
        )
    }
}

/// jemalloc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jemalloc;

impl Malloc for Jemalloc {
    const NAME: &'static str = "jemalloc";

    #[inline]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: malloc accepts every size; null is passed on.
        unsafe { tikv_jemalloc_sys::malloc(size) }.cast()
    }

    #[inline]
    unsafe fn free(p: *mut u8) {
        // SAFETY: the caller's promise is free's only precondition.
        unsafe { tikv_jemalloc_sys::free(p.cast()) }
    }

    fn entries() -> (usize, usize) {
        (
            tikv_jemalloc_sys::malloc as *const () as usize,
            tikv_jemalloc_sys::free as *const () as usize,
        )
    }
}

/// snmalloc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snmalloc;

impl Malloc for Snmalloc {
    const NAME: &'static str = "snmalloc";

    #[inline]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: 16 is a power of two; null is passed on.
        unsafe { snmalloc_sys::sn_rust_alloc(16, size) }.cast()
    }

    #[inline]
    unsafe fn free(p: *mut u8) {
        // SAFETY: the caller promises a live block; without the feature `check` the size is not read.
        let _ = unsafe { snmalloc_sys::sn_rust_dealloc(p.cast(), 16, 16) };
    }

    fn entries() -> (usize, usize) {
        (
            snmalloc_sys::sn_rust_alloc as *const () as usize,
            snmalloc_sys::sn_rust_dealloc as *const () as usize,
        )
    }
}

/// Runs `$body` with `$P` standing for the peer that `peer=` names.
macro_rules! with_peer {
    ($options:expr, $P:ident => $body:expr) => {
        match $options.text("peer", "glibc") {
            "glibc" => {
                type $P = $crate::peer::Glibc;
                $body
            }
            "mimalloc" => {
                type $P = $crate::peer::Mimalloc;
                $body
            }
            "jemalloc" => {
                type $P = $crate::peer::Jemalloc;
                $body
            }
            "snmalloc" => {
                type $P = $crate::peer::Snmalloc;
                $body
            }
            "tcmalloc" => {
                type $P = $crate::peer::Glibc;
                $crate::peer::require_tcmalloc()?;
                $body
            }
            other => Err(format!("no peer is called {other}")),
        }
    };
}
pub(crate) use with_peer;

/// tcmalloc stands in for glibc's `malloc` when it is preloaded; a misspelt name only warns, so it is looked for.
pub(crate) fn require_tcmalloc() -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if maps.contains("libtcmalloc") {
        Ok(())
    } else {
        Err("no libtcmalloc is preloaded".to_owned())
    }
}

/// A JSON line per peer: its name, where its functions lie, and the address of a block.
pub(crate) fn linked() {
    fn line<P: Malloc>() {
        let p = P::malloc(64);
        let (malloc, free) = P::entries();
        println!(
            "{{\"peer\":\"{}\",\"malloc\":{malloc},\"free\":{free},\"block\":{},\"served\":{}}}",
            P::NAME,
            p as usize,
            !p.is_null()
        );
        if !p.is_null() {
            // SAFETY: p is the live block of the line above.
            unsafe { P::free(p) };
        }
    }
    line::<Glibc>();
    line::<Mimalloc>();
    line::<Jemalloc>();
    line::<Snmalloc>();
}
