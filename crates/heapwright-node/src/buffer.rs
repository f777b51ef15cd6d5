//! The only place where an ArrayBuffer is made, and where one is detached.
//!
//! JavaScript sees native memory through **external** buffers: the runtime borrows our pages and
//! calls a finalizer when the last view is gone. Each buffer holds an `Arc` of what owns the memory, so
//! a view can outlive `close()` and never faults. Where a runtime bans external buffers (Electron's
//! memory cage: status 22), TypeScript makes a `SharedArrayBuffer` and we use its memory instead.
//! Nothing is ever copied unseen, as napi-rs's own constructors would (HAZARDS NB5).
//!
//! Invariants:
//! 1. A finalizer drops one `Arc`, exactly once, whether the runtime calls it or not.
//! 2. A buffer is over at least one byte, and at most [`BUFFER_BYTES_MAX`]: Node 20 refuses more than a window,
//!    Deno aborts on absurd lengths instead of refusing them.
//!
//! Not here: who owns the memory (`heapwright-heap`).

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use heapwright_heap::arena::Memory;
use napi::{
    bindgen_prelude::{FromNapiValue, ToNapiValue},
    sys,
};

use crate::{
    error::{Answer, Refusal},
    raw::{CONTROL_LENGTH, Environment},
};

/// The largest window that every runtime maps: 4 GiB.
pub(crate) const WINDOW_BYTES_MAX: usize = 1 << 32;

/// The largest buffer that was seen to work where a runtime promises more than a window: 64 GiB.
/// TypeScript asks for more than a window only where `buffer.constants.MAX_LENGTH` allows it.
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 36;

/// The errno of memory that cannot be had.
const ENOMEM: i32 = 12;

/// Constants of the seam that TypeScript needs.
#[expect(clippy::cast_precision_loss, reason = "small, and exact")]
pub(crate) const LAYOUT: &[(&str, f64)] =
    &[("WINDOW_BYTES_MAX", WINDOW_BYTES_MAX as f64), ("BUFFER_BYTES_MAX", BUFFER_BYTES_MAX as f64)];

/// How memory becomes visible to JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// External buffers over our own mappings.
    External,
    /// `SharedArrayBuffer` of the runtime; we use their memory.
    Shared,
}

/// Whatever keeps memory alive.
pub(crate) type Owner = Arc<dyn Any + Send + Sync>;

/// A value of JavaScript, passed through as it is.
#[derive(Clone, Copy, Debug)]
pub struct RawValue(pub(crate) sys::napi_value);

impl ToNapiValue for RawValue {
    unsafe fn to_napi_value(_: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        Ok(value.0)
    }
}

impl FromNapiValue for RawValue {
    unsafe fn from_napi_value(_: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        Ok(Self(value))
    }
}

/// One buffer's hold on its memory. Shared between the runtime and the call that makes the buffer: on a
/// failed creation Node runs the finalizer and Bun does not, so each side may be the one to let go.
struct Lease(Mutex<Option<Owner>>);

impl Lease {
    fn end(&self) {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(owner);
    }
}

/// The finalizer of every external ArrayBuffer. May run on any thread, also without an environment.
unsafe extern "C" fn end_lease(_: sys::napi_env, _: *mut c_void, hint: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `hint` is the `Arc` that `external` gave away for this one call.
        let lease = unsafe { Arc::from_raw(hint.cast::<Lease>().cast_const()) };
        lease.end();
    }));
}

/// Makes an ArrayBuffer over `length` bytes at `memory`, which `owner` keeps alive; `None` where the
/// runtime bans external buffers.
///
/// # Errors
///
/// [`Refusal::InvalidParam`] for no bytes, [`Refusal::Capacity`] above `limit` (at most what
/// `buffer.constants.MAX_LENGTH` says), [`Refusal::Internal`] where the runtime fails otherwise.
///
/// # Safety
///
/// 1. `length` bytes at `memory` stay mapped and accessible as long as `owner` lives.
/// 2. Nothing in Rust holds a reference into them.
pub(crate) unsafe fn external(
    environment: &Environment,
    memory: *mut u8,
    length: usize,
    limit: usize,
    owner: Owner,
) -> Answer<Option<RawValue>> {
    if length == 0 {
        return Err(Refusal::InvalidParam);
    }
    if length > limit {
        return Err(Refusal::Capacity { limit: crate::raw::number(limit) });
    }
    if backend(environment) == Backend::Shared {
        return Ok(None);
    }
    // SAFETY: both bullets are the caller's; the length was checked above.
    let (status, value) = unsafe { create_external(environment.raw(), memory, length, owner) };
    match status {
        sys::Status::napi_ok => Ok(Some(RawValue(value))),
        sys::Status::napi_no_external_buffers_allowed => {
            environment.backend.set(Some(Backend::Shared));
            Ok(None)
        }
        other => {
            Err(environment
                .internal_error(format!("no ArrayBuffer of {length} bytes: status {other}")))
        }
    }
}

/// The raw call. On a failure nothing is left pending and the lease has ended.
///
/// # Safety
///
/// As [`external`].
unsafe fn create_external(
    env: sys::napi_env,
    memory: *mut u8,
    length: usize,
    owner: Owner,
) -> (sys::napi_status, sys::napi_value) {
    let lease = Arc::new(Lease(Mutex::new(Some(owner))));
    let hint = Arc::into_raw(Arc::clone(&lease));
    let mut value = ptr::null_mut();
    // SAFETY: the caller's bullets cover the memory; `hint` is given away to `end_lease`, which
    // takes it back once; the result is a local.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(
            env,
            memory.cast(),
            length,
            Some(end_lease),
            hint.cast_mut().cast(),
            &raw mut value,
        )
    };
    if status != sys::Status::napi_ok {
        // Should the finalizer never come, the 50 bytes of the lease stay behind, but not the memory.
        lease.end();
        clear_exception(env);
    }
    (status, value)
}

/// Drops a pending exception: refusals travel by status.
fn clear_exception(env: sys::napi_env) {
    let mut exception = ptr::null_mut();
    // SAFETY: `env` is alive; without a pending exception the result is `undefined`.
    unsafe { sys::napi_get_and_clear_last_exception(env, &raw mut exception) };
}

/// The backend of this environment: probed once, by making an external buffer. The environment variable
/// `HEAPWRIGHT_FORCE_NO_EXTERNAL=1` is the hidden switch of the tests: it answers as Electron does.
pub(crate) fn backend(environment: &Environment) -> Backend {
    if let Some(known) = environment.backend.get() {
        return known;
    }
    let forced = std::env::var_os("HEAPWRIGHT_FORCE_NO_EXTERNAL").is_some_and(|value| value == "1");
    let found = if forced { Backend::Shared } else { probe(environment) };
    environment.backend.set(Some(found));
    found
}

fn probe(environment: &Environment) -> Backend {
    let memory = Arc::clone(environment.control.memory());
    let elements = memory.as_ptr().cast();
    // SAFETY: the control memory lives as long as its `Arc`, and is only reached by raw pointers.
    let (status, _) = unsafe { create_external(environment.raw(), elements, 8, memory) };
    // The buffer is left to the collector: once any buffer was detached, V8 looks for that at every access
    // to every typed array of the isolate: B1 and B3 measure 1.3 to 1.4 times the time for the Heap.
    if status == sys::Status::napi_ok { Backend::External } else { Backend::Shared }
}

/// The ArrayBuffer over the control block.
///
/// # Errors
///
/// [`Refusal::Internal`] where the runtime makes no ArrayBuffer at all.
pub(crate) fn control_block(environment: &Environment) -> Answer<RawValue> {
    let memory = Arc::clone(environment.control.memory());
    let elements = memory.as_ptr().cast();
    let length = CONTROL_LENGTH * size_of::<f64>();
    // SAFETY: the control memory lives as long as its `Arc`, and is only reached by raw pointers.
    let made = unsafe { external(environment, elements, length, WINDOW_BYTES_MAX, memory) }?;
    if let Some(value) = made {
        return Ok(value);
    }
    own_control_block(environment)
}

/// The control block where external buffers are banned: one ArrayBuffer of the runtime, for good.
fn own_control_block(environment: &Environment) -> Answer<RawValue> {
    let env = environment.raw();
    let known = environment.control_buffer.get();
    if !known.is_null() {
        let mut value = ptr::null_mut();
        // SAFETY: the reference was made below in this environment, and is never deleted.
        let status = unsafe { sys::napi_get_reference_value(env, known, &raw mut value) };
        if status == sys::Status::napi_ok && !value.is_null() {
            return Ok(RawValue(value));
        }
        return Err(environment.internal_error("the control block is gone"));
    }
    let length = CONTROL_LENGTH * size_of::<f64>();
    let (mut elements, mut value) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: `env` is alive and the results are locals.
    let status =
        unsafe { sys::napi_create_arraybuffer(env, length, &raw mut elements, &raw mut value) };
    if status != sys::Status::napi_ok {
        return Err(environment.internal_error("the runtime makes no ArrayBuffer"));
    }
    // The reference is never deleted: it keeps the buffer for as long as the environment lives.
    environment.control_buffer.set(reference(environment, RawValue(value))?);
    // SAFETY: the reference above keeps the memory, `detach` spares it, and the buffer never leaves
    // `src/native.ts`, so nobody else detaches it.
    unsafe { environment.control.redirect(elements.cast()) };
    Ok(RawValue(value))
}

/// A strong reference to `value`, which keeps it from being collected.
///
/// # Errors
///
/// [`Refusal::Internal`] where the runtime makes none.
pub(crate) fn reference(environment: &Environment, value: RawValue) -> Answer<sys::napi_ref> {
    let mut reference = ptr::null_mut();
    // SAFETY: the environment is alive, `value` is a value of this call, the result is a local.
    let status =
        unsafe { sys::napi_create_reference(environment.raw(), value.0, 1, &raw mut reference) };
    if status != sys::Status::napi_ok {
        return Err(environment.internal_error("the runtime makes no reference"));
    }
    Ok(reference)
}

/// From this many elements on an array is over memory of ours: the runtime ends the process where it cannot
/// make an ArrayBuffer for want of memory.
const OWN_ELEMENTS_MAX: usize = 1 << 12;

/// A new `Float64Array` with `length` elements, the first of them `values`.
///
/// # Errors
///
/// [`Refusal::NoMemory`] where there is none for it; [`Refusal::Internal`] where the runtime makes none that large.
pub(crate) fn float64_array(
    environment: &Environment,
    length: usize,
    values: impl Iterator<Item = f64>,
) -> Answer<RawValue> {
    let env = environment.raw();
    let size = length * size_of::<f64>();
    let (mut buffer, mut array) = (ptr::null_mut(), ptr::null_mut());
    let mut status = sys::Status::napi_ok;
    if length > OWN_ELEMENTS_MAX && backend(environment) == Backend::External {
        let mut elements: Vec<f64> = Vec::new();
        elements.try_reserve_exact(length).map_err(|_| Refusal::NoMemory {
            requested: crate::raw::number(size),
            largest_free: 0.0,
            errno: ENOMEM,
        })?;
        elements.extend(values.take(length));
        elements.resize(length, 0.0);
        let memory = elements.as_mut_ptr().cast();
        // SAFETY: the elements stay where they are as long as their `Arc` lives, and nothing in Rust looks at
        // them again.
        let made =
            unsafe { external(environment, memory, size, BUFFER_BYTES_MAX, Arc::new(elements)) };
        buffer = made?.ok_or(Refusal::Unsupported)?.0;
    } else {
        let mut bytes = ptr::null_mut();
        // SAFETY: `env` is alive and the results are locals.
        status =
            unsafe { sys::napi_create_arraybuffer(env, size, &raw mut bytes, &raw mut buffer) };
        if status == sys::Status::napi_ok {
            let elements = bytes.cast::<f64>();
            for (index, value) in values.take(length).enumerate() {
                // SAFETY: `index` is below the length that the buffer was made for, and no JavaScript has
                // seen the buffer yet.
                unsafe { elements.wrapping_add(index).write(value) };
            }
        }
    }
    if status == sys::Status::napi_ok {
        let kind = sys::TypedarrayType::float64_array;
        // SAFETY: the buffer was made above and holds `length` elements.
        status =
            unsafe { sys::napi_create_typedarray(env, kind, length, buffer, 0, &raw mut array) };
    }
    if status != sys::Status::napi_ok {
        clear_exception(env);
        return Err(environment.internal_error(format!("no Float64Array of {length} elements")));
    }
    Ok(RawValue(array))
}

/// Detaches an ArrayBuffer: every view of it in this environment becomes length 0. The control block
/// is spared where its memory is the runtime's own.
pub(crate) fn detach(environment: &Environment, buffer: RawValue) -> bool {
    let env = environment.raw();
    let (mut bytes, mut length) = (ptr::null_mut(), 0);
    // SAFETY: `env` is alive, `buffer` is a value of this call, and the results are locals; anything
    // but an ArrayBuffer is refused by the runtime.
    let status =
        unsafe { sys::napi_get_arraybuffer_info(env, buffer.0, &raw mut bytes, &raw mut length) };
    let is_control = environment.control.is_redirected_to(bytes.cast());
    if status != sys::Status::napi_ok || is_control {
        return false;
    }
    // SAFETY: as above.
    let status = unsafe { sys::napi_detach_arraybuffer(env, buffer.0) };
    status == sys::Status::napi_ok
}

/// Where the bytes of an allocator of this environment come from, if it wants any.
///
/// # Errors
///
/// Where the environment is ending.
pub(crate) fn memory(env: napi::Env, wanted: bool) -> napi::Result<Memory> {
    if !wanted {
        return Ok(Memory::None);
    }
    crate::raw::with_environment(env.raw(), |environment| match backend(environment) {
        Backend::External => Memory::Mapped,
        Backend::Shared => Memory::Provided,
    })
    .ok_or_else(|| napi::Error::from_reason("the environment is ending"))
}
