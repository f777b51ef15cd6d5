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

mod buffer;
mod error;
mod raw;

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
const LAYOUT: &[&[(&str, f64)]] = &[raw::LAYOUT, buffer::LAYOUT];

/// Pins the library, opens the environment and registers the raw callbacks.
#[napi(module_exports)]
pub fn module_exports(mut exports: Object<'_>, env: Env) -> napi::Result<()> {
    // Failing to pin is no reason not to load: the linker's `-z nodelete` does the same.
    let _ = heapwright_region::pin_library(module_exports as *const ());
    raw::open_environment(env.raw());
    let (raw_env, raw_exports) = (env.raw(), exports.raw());
    raw::raw_callbacks!(raw_env, raw_exports; c"ping" => ping);
    exports.set("layoutVersion", LAYOUT_VERSION)
}

/// Does nothing: what a crossing costs.
#[expect(clippy::unnecessary_wraps, reason = "every raw callback has this type")]
fn ping(_: &raw::Environment) -> error::Answer {
    Ok(())
}

/// The control block of this environment.
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
