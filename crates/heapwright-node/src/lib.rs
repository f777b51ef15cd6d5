//! The Node-API addon of heapwright: translation between JavaScript and Rust, and no algorithm.
//!
//! The seam has two sorts of calls. What runs once per allocation is a **raw callback** without
//! arguments that answers through the control block (`raw.rs`); what runs once per allocator is an
//! ordinary `#[napi]` class or function. `src/native.ts` declares both by hand for TypeScript, for the
//! generated typings cannot see the raw ones.
//!
//! Invariants:
//! 1. No panic crosses: `#[napi(catch_unwind)]` on every export, `catch_unwind` in every raw callback,
//!    finalizer and hook.
//! 2. No real address leaves: numbers are places in the range that the program named.
//! 3. The library stays mapped once loaded, for finalizers may run after the last environment ended.
//!
//! Not here: allocators (`heapwright-allocators`, `heapwright-heap`), checks of JavaScript types
//! (`src/options.ts`).

#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, unused_imports, unused_macros, reason = "what only a left-out kind uses")
)]

#[cfg(feature = "bitmap")]
mod bitmap;
#[cfg(feature = "buddy")]
mod buddy;
mod buffer;
#[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab", feature = "two-level"))]
mod bytes;
mod error;
mod family;
mod heap;
#[cfg(feature = "bitmap")]
mod id;
#[cfg(any(feature = "bitmap", feature = "two-level"))]
mod pages;
mod raw;
#[cfg(feature = "slab")]
mod slab;
#[cfg(feature = "tlsf")]
mod tlsf;
#[cfg(feature = "two-level")]
mod two_level;

use std::fmt::Write as _;

use napi::{Env, JsValue as _, bindgen_prelude::Object};
use napi_derive::napi;

use crate::{
    buffer::{Backend, RawValue},
    error::STATUS_CODES,
};

/// Raised by whatever changes the meaning of the seam; `src/native.ts` refuses a binary of another one.
const LAYOUT_VERSION: u32 = 1;

/// Cargo features compiled in, in the order of the manifest.
const FEATURES: &[(&str, bool)] = &[
    ("full", cfg!(feature = "full")),
    ("buddy", cfg!(feature = "buddy")),
    ("tlsf", cfg!(feature = "tlsf")),
    ("slab", cfg!(feature = "slab")),
    ("bitmap", cfg!(feature = "bitmap")),
    ("two-level", cfg!(feature = "two-level")),
    ("page-alloc-256m", cfg!(feature = "page-alloc-256m")),
    ("page-alloc-4g", cfg!(feature = "page-alloc-4g")),
    ("page-alloc-64g", cfg!(feature = "page-alloc-64g")),
    ("page-alloc-1t", cfg!(feature = "page-alloc-1t")),
];

/// Constants of the seam, gathered from the files that own them.
const LAYOUT: &[&[(&str, f64)]] = &[raw::LAYOUT, buffer::LAYOUT, family::LAYOUT, heap::LAYOUT];

/// Pins the library, opens the environment and registers the raw callbacks.
///
/// # Errors
///
/// What Node-API answers when it cannot make a function.
#[napi(module_exports)]
pub fn module_exports(mut exports: Object<'_>, env: Env) -> napi::Result<()> {
    // Failing to pin is no reason not to load: the linker's `-z nodelete` does the same.
    let _ = heapwright_region::pin_library(module_exports as *const ());
    raw::open_environment(env.raw());
    let (raw_env, raw_exports) = (env.raw(), exports.raw());
    raw::raw_callbacks!(raw_env, raw_exports;
        c"ping" => ping,
        c"allocatorStats" => family::allocator_stats,
        c"allocatorCheck" => family::allocator_check,
    );
    if std::env::var_os("HEAPWRIGHT_TEST_HOOKS").is_some_and(|value| value == "1") {
        raw::raw_callbacks!(raw_env, raw_exports; c"poisonForTest" => family::poison_for_test);
    }
    #[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab", feature = "two-level"))]
    register_bytes(raw_env, raw_exports)?;
    #[cfg(feature = "two-level")]
    two_level::register(raw_env, raw_exports)?;
    #[cfg(any(feature = "bitmap", feature = "two-level"))]
    raw::raw_callbacks!(raw_env, raw_exports;
        c"pageAlloc" => pages::page_alloc,
        c"pageAllocAt" => pages::page_alloc_at,
        c"pageDealloc" => pages::page_dealloc,
        c"pageLookup" => pages::page_lookup,
    );
    #[cfg(feature = "bitmap")]
    raw::raw_callbacks!(raw_env, raw_exports;
        c"idAlloc" => id::id_alloc,
        c"idAllocFixed" => id::id_alloc_fixed,
        c"idDealloc" => id::id_dealloc,
        c"idIsAllocated" => id::id_is_allocated,
    );
    register_heap(raw_env, raw_exports)?;
    exports.set("layoutVersion", LAYOUT_VERSION)
}

fn register_heap(env: napi::sys::napi_env, exports: napi::sys::napi_value) -> napi::Result<()> {
    raw::raw_callbacks!(env, exports;
        c"heapRefill" => heap::refill,
        c"heapFlush" => heap::flush,
        c"heapPoolRefill" => heap::pool_refill,
        c"heapPoolFlush" => heap::pool_flush,
        c"heapOutbox" => heap::outbox,
        c"heapSettle" => heap::settle,
        c"heapAlloc" => heap::alloc,
        c"heapAllocZeroed" => heap::alloc_zeroed,
        c"heapFree" => heap::free,
        c"heapRealloc" => heap::realloc,
        c"heapLookup" => heap::lookup,
        c"heapStats" => heap::stats,
        c"heapCheck" => heap::check,
        c"heapTrim" => heap::trim,
        c"heapShare" => heap::share,
    );
    raw::raw_callbacks!(env, exports; numbers:
        c"heapAllocMany" => heap::alloc_many,
        c"heapFreeMany" => heap::free_many,
    );
    Ok(())
}

#[cfg(any(feature = "buddy", feature = "tlsf", feature = "slab", feature = "two-level"))]
fn register_bytes(env: napi::sys::napi_env, exports: napi::sys::napi_value) -> napi::Result<()> {
    raw::raw_callbacks!(env, exports;
        c"byteAlloc" => bytes::byte_alloc,
        c"byteAllocZeroed" => bytes::byte_alloc_zeroed,
        c"byteDealloc" => bytes::byte_dealloc,
        c"byteRealloc" => bytes::byte_realloc,
        c"byteLookup" => bytes::byte_lookup,
        c"heldClasses" => bytes::held_classes,
    );
    raw::raw_callbacks!(env, exports; numbers:
        c"byteAllocMany" => bytes::byte_alloc_many,
        c"byteDeallocMany" => bytes::byte_dealloc_many,
    );
    Ok(())
}

/// Does nothing: what a crossing costs.
#[expect(clippy::unnecessary_wraps, reason = "every raw callback has this type")]
fn ping(_: &raw::Environment) -> error::Answer {
    Ok(())
}

/// The control block of this environment.
///
/// # Errors
///
/// Where the runtime makes no ArrayBuffer at all, or the environment is ending.
#[napi(catch_unwind, ts_return_type = "ArrayBuffer")]
pub fn control_block(env: Env) -> napi::Result<RawValue> {
    raw::with_environment(env.raw(), buffer::control_block)
        .and_then(Result::ok)
        .ok_or_else(|| napi::Error::from_reason("no control block"))
}

/// How memory becomes visible here: `external` or `shared`.
#[napi(catch_unwind, ts_return_type = "'external' | 'shared'")]
pub fn backend(env: Env) -> &'static str {
    match raw::with_environment(env.raw(), buffer::backend) {
        Some(Backend::External) => "external",
        Some(Backend::Shared) | None => "shared",
    }
}

/// Detaches an ArrayBuffer that `wrap` made; `false` for anything that cannot be detached.
#[napi(catch_unwind)]
pub fn detach(env: Env, #[napi(ts_arg_type = "ArrayBuffer")] buffer: RawValue) -> bool {
    raw::with_environment(env.raw(), |environment| buffer::detach(environment, buffer))
        .unwrap_or_default()
}

/// Cargo features compiled in.
#[napi(catch_unwind)]
pub fn features() -> Vec<&'static str> {
    FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect()
}

/// The live blocks of an allocator as (pos, size, align) triples, ascending; status in the control block.
#[napi(catch_unwind, ts_return_type = "Float64Array | null")]
pub fn live_blocks(env: Env, handle: f64) -> Option<RawValue> {
    raw::with_environment(env.raw(), |environment| family::live_blocks(environment, handle))
        .flatten()
}

/// Rows of (size, live blocks, slabs, cached blocks), one for each class of a heap; status in the control
/// block.
#[napi(catch_unwind, ts_return_type = "Float64Array | null")]
pub fn heap_class_stats(env: Env, handle: f64) -> Option<RawValue> {
    heap::class_stats(env, handle)
}

/// Live blocks of a heap as (address, usable bytes) pairs, ascending; status in the control block.
#[napi(catch_unwind, ts_return_type = "Float64Array | null")]
pub fn heap_live(env: Env, handle: f64) -> Option<RawValue> {
    heap::live(env, handle)
}

/// This thread's attachment to the heap that id and generation name; `null` with a status.
#[napi(catch_unwind)]
pub fn heap_attach(env: Env, id: f64, generation: f64) -> Option<heap::NativeHeap> {
    heap::NativeHeap::attached(env, id, generation)
}

/// The size classes of a CPU, or of a slab cache: 8 numbers each (objectSize, slabs, objects, active,
/// partial, full, empty, pendingRemote); status in the control block.
#[cfg(feature = "two-level")]
#[napi(catch_unwind, ts_return_type = "Float64Array | null")]
pub fn slab_classes(env: Env, handle: f64, cpu: f64) -> Option<RawValue> {
    raw::with_environment(env.raw(), |environment| {
        two_level::slab_classes(environment, handle, cpu)
    })
    .flatten()
}

/// The sections of an allocator, one after the other: start, size, physStart, totalPages, freePages, the
/// number of orders, and so many counts of free runs; status in the control block.
#[cfg(feature = "two-level")]
#[napi(catch_unwind, ts_return_type = "Float64Array | null")]
pub fn managed_sections(env: Env, handle: f64) -> Option<RawValue> {
    raw::with_environment(env.raw(), |environment| two_level::managed_sections(environment, handle))
        .flatten()
}

/// What the last `ERR_INTERNAL` of this environment was about.
#[napi(catch_unwind)]
pub fn last_internal_error(env: Env) -> String {
    raw::with_environment(env.raw(), |environment| environment.last_internal_error.borrow().clone())
        .unwrap_or_default()
}

/// The constants of the seam as JSON; `scripts/build.mjs` makes `native/layout.ts` of it.
#[napi(catch_unwind)]
pub fn layout() -> String {
    let mut json = format!("{{\"LAYOUT_VERSION\":{LAYOUT_VERSION}");
    for (name, value) in LAYOUT.iter().copied().flatten() {
        // Writing to a String does not fail.
        let _ = write!(json, ",\"{name}\":{value}");
    }
    let _ = write!(json, ",\"STATUS_CODES\":{STATUS_CODES:?}}}");
    json
}
