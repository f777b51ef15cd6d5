//! The native yardsticks of the benchmark suite: what a binding without heapwright costs.
//!
//! Two bindings of glibc's `malloc` and `free`. The lean one is what an expert would write: two callbacks without
//! arguments that take and answer through a control block (7 ns a call). The idiomatic one is a `#[napi]` class, as
//! the documentation of napi-rs shows it. Beside them the refills of B10, in three forms of call.
//!
//! The addresses here are real ones, which JavaScript could not write through; so both bindings write the 4 bytes
//! that every loop of the suite writes, in native code, which is the cheaper place.
//!
//! Not for any use but the suite: nothing is checked, one thread only.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of JavaScript stand for sizes and addresses"
)]
#![expect(clippy::cast_precision_loss, reason = "addresses are below 2^48")]
#![expect(clippy::cast_sign_loss, reason = "sizes and addresses are positive")]

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use napi::bindgen_prelude::{Float64Array, Object, Uint32Array};
use napi::{Env, JsValue as _, sys};
use napi_derive::napi;

static CONTROL: AtomicPtr<f64> = AtomicPtr::new(ptr::null_mut());
static MAGAZINE: AtomicPtr<u32> = AtomicPtr::new(ptr::null_mut());

/// Tells where operands and results lie: `control` (2 numbers at least) and `magazine` (256 at least).
///
/// Both must be views over buffers of their own that live as long as the process; the bench's module keeps them.
#[napi]
pub fn attach(mut control: Float64Array, mut magazine: Uint32Array) {
    // SAFETY: the memory is only remembered here, as an address.
    let control = unsafe { control.as_mut() };
    CONTROL.store(control.as_mut_ptr(), Ordering::Relaxed);
    // SAFETY: as above.
    let magazine = unsafe { magazine.as_mut() };
    MAGAZINE.store(magazine.as_mut_ptr(), Ordering::Relaxed);
}

#[inline]
fn operand() -> f64 {
    let control = CONTROL.load(Ordering::Relaxed);
    // SAFETY: `attach` stored the address of a buffer that the bench's module keeps alive.
    unsafe { control.read() }
}

#[inline]
fn answer(value: f64) {
    let control = CONTROL.load(Ordering::Relaxed);
    // SAFETY: as in `operand`.
    unsafe { control.write(value) }
}

#[inline]
fn malloc_and_touch(size: usize) -> usize {
    // SAFETY: malloc accepts every size.
    let p = unsafe { libc::malloc(size) };
    if !p.is_null() {
        // SAFETY: a block of malloc has at least 16 bytes, aligned to 16.
        unsafe { p.cast::<u32>().write(size as u32) };
    }
    p as usize
}

#[inline]
fn free_address(address: usize) {
    // SAFETY: the bench frees only what `malloc_and_touch` answered, once.
    unsafe { libc::free(address as *mut libc::c_void) }
}

/// Writes `count` numbers into the magazine, as a refill does.
#[inline]
fn refill_magazine(count: usize) {
    let magazine = MAGAZINE.load(Ordering::Relaxed);
    for i in 0..count.min(256) {
        // SAFETY: `attach` was given at least 256 elements, and i < 256.
        let slot = unsafe { magazine.add(i) };
        // SAFETY: as above; the bench's module keeps the buffer alive.
        unsafe { slot.write((i as u32) << 4) };
    }
}

unsafe extern "C" fn nothing(_: sys::napi_env, _: sys::napi_callback_info) -> sys::napi_value {
    ptr::null_mut()
}

unsafe extern "C" fn control_malloc(
    _: sys::napi_env,
    _: sys::napi_callback_info,
) -> sys::napi_value {
    answer(malloc_and_touch(operand() as usize) as f64);
    ptr::null_mut()
}

unsafe extern "C" fn control_free(_: sys::napi_env, _: sys::napi_callback_info) -> sys::napi_value {
    free_address(operand() as usize);
    ptr::null_mut()
}

unsafe extern "C" fn control_refill(
    _: sys::napi_env,
    _: sys::napi_callback_info,
) -> sys::napi_value {
    refill_magazine(operand() as usize);
    ptr::null_mut()
}

/// Registers the callbacks without arguments.
///
/// # Errors
///
/// What Node-API answers when it cannot make a function.
#[napi(module_exports)]
pub fn module_exports(exports: Object<'_>, env: Env) -> napi::Result<()> {
    let calls: [(&CStr, sys::napi_callback); 4] = [
        (c"nothing", Some(nothing)),
        (c"controlMalloc", Some(control_malloc)),
        (c"controlFree", Some(control_free)),
        (c"controlRefill", Some(control_refill)),
    ];
    for (name, call) in calls {
        let mut function = ptr::null_mut();
        // SAFETY: `env` is alive, `name` is a C string of that length, the result is a local.
        let status = unsafe {
            sys::napi_create_function(
                env.raw(),
                name.as_ptr(),
                name.count_bytes().cast_signed(),
                call,
                ptr::null_mut(),
                &raw mut function,
            )
        };
        napi::check_status!(status, "cannot make {name:?}")?;
        // SAFETY: `exports` is the module's object, `function` was made above.
        let status = unsafe {
            sys::napi_set_named_property(env.raw(), exports.raw(), name.as_ptr(), function)
        };
        napi::check_status!(status, "cannot export {name:?}")?;
    }
    Ok(())
}

/// A refill by arguments: an ordinary function of napi-rs.
#[napi]
pub fn argument_refill(count: f64, class: f64) -> f64 {
    refill_magazine(count as usize);
    class
}

/// The idiomatic binding: a class with a method per operation.
#[napi]
#[derive(Debug, Default)]
pub struct IdiomaticHeap {
    live: u32,
}

#[napi]
impl IdiomaticHeap {
    /// An empty heap.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allocates `size` bytes and writes four of them.
    #[napi]
    pub fn alloc(&mut self, size: f64) -> f64 {
        self.live += 1;
        malloc_and_touch(size as usize) as f64
    }

    /// Gives a block back.
    #[napi]
    pub fn free(&mut self, address: f64) {
        self.live -= 1;
        free_address(address as usize);
    }

    /// A refill by a method.
    #[napi]
    pub fn refill(&mut self, count: f64) {
        refill_magazine(count as usize);
    }

    /// Blocks not given back.
    #[napi(getter)]
    pub fn live(&self) -> u32 {
        self.live
    }
}
