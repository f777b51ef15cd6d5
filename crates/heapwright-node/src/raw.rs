//! Environments, their control block and handles, and the raw callbacks that answer through it.
//!
//! A call per allocation must not pay for argument conversion, so it has no arguments: TypeScript
//! writes operands into the **control block**, a few `f64` in native memory, calls, and reads
//! `control[0]` (the status) and the results behind it. Such a call costs 7 ns; a `#[napi]` method
//! costs 165 or more.
//!
//! Everything an environment owns hangs on its [`Environment`], found by the `napi_env` that every
//! callback is given. Allocators are named by **handles**: an index and a generation in one `u32`, so
//! that a number kept after `close` meets no other allocator.
//!
//! Invariants:
//! 1. An `Environment` is used on its own thread only, and never while JavaScript runs.
//! 2. No panic leaves a raw callback: [`enter`] catches it and answers `ERR_INTERNAL`.
//! 3. No borrow of a table is held over a call into Node-API (a runtime may run finalizers inside it).
//!
//! Not here: what the callbacks do (one file per kind); buffers (`buffer.rs`).

use std::{
    any::Any,
    cell::{Cell, RefCell, UnsafeCell},
    ffi::{CStr, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    rc::Rc,
    sync::{Arc, Once},
};

use napi::sys;

use crate::{
    buffer::Backend,
    error::{Answer, Refusal},
    family::Family,
    heap::OpenHeap,
};

/// Elements of the control block.
pub(crate) const CONTROL_LENGTH: usize = 64;

/// The largest integer that a JavaScript number holds exactly together with its neighbors.
pub(crate) const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Constants of the seam that TypeScript needs; `native/layout.ts` is made of them.
#[expect(clippy::cast_precision_loss, reason = "small, and exact")]
pub(crate) const LAYOUT: &[(&str, f64)] = &[("CONTROL_LENGTH", CONTROL_LENGTH as f64)];

/// The memory of a control block, shared with the ArrayBuffer over it.
pub(crate) struct ControlMemory(UnsafeCell<[f64; CONTROL_LENGTH]>);

// SAFETY: the cells are reached through raw pointers on the environment's thread only; other threads
// do no more than drop the `Arc` in a finalizer.
unsafe impl Send for ControlMemory {}
// SAFETY: as above.
unsafe impl Sync for ControlMemory {}

impl ControlMemory {
    /// The first element.
    pub(crate) fn as_ptr(&self) -> *mut f64 {
        self.0.get().cast()
    }
}

/// Operands and results of the calls of one environment.
pub(crate) struct Control {
    elements: Cell<*mut f64>,
    memory: Arc<ControlMemory>,
}

impl Control {
    fn new() -> Self {
        let memory = Arc::new(ControlMemory(UnsafeCell::new([0.0; CONTROL_LENGTH])));
        Self { elements: Cell::new(memory.as_ptr()), memory }
    }

    /// The native memory behind the block, as long as [`redirect`](Self::redirect) was not called.
    pub(crate) fn memory(&self) -> &Arc<ControlMemory> {
        &self.memory
    }

    /// Moves the block to `elements`: an ArrayBuffer of the runtime's own, where external ones are banned.
    ///
    /// # Safety
    ///
    /// 1. [`CONTROL_LENGTH`] elements at `elements` stay valid as long as the environment lives.
    pub(crate) unsafe fn redirect(&self, elements: *mut f64) {
        self.elements.set(elements);
    }

    /// Whether the block was moved, to `elements`.
    pub(crate) fn is_redirected_to(&self, elements: *const f64) -> bool {
        ptr::eq(self.elements.get(), elements) && !ptr::eq(self.memory.as_ptr(), elements)
    }

    /// Element `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> f64 {
        assert!(index < CONTROL_LENGTH);
        // SAFETY: `index` is inside, by the assertion; `redirect` or `new` guarantee the memory, and
        // nothing else runs on this thread meanwhile (invariant 1).
        unsafe { self.elements.get().wrapping_add(index).read() }
    }

    /// Sets element `index`.
    #[inline]
    pub(crate) fn set(&self, index: usize, value: f64) {
        assert!(index < CONTROL_LENGTH);
        // SAFETY: as in `get`.
        unsafe { self.elements.get().wrapping_add(index).write(value) }
    }

    /// Element `index` as an integer from 0 to 2^53 - 1, the only numbers that name sizes and places.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidParam`] for every other number.
    #[inline]
    pub(crate) fn integer(&self, index: usize) -> Answer<usize> {
        integer(self.get(index))
    }

    /// Element `index` as an integer, or `None` where it is -1: an argument left out.
    ///
    /// # Errors
    ///
    /// As [`integer`](Self::integer).
    #[inline]
    #[expect(clippy::float_cmp, reason = "exactly -1 is meant")]
    pub(crate) fn optional(&self, index: usize) -> Answer<Option<usize>> {
        let value = self.get(index);
        if value == -1.0 { Ok(None) } else { integer(value).map(Some) }
    }

    /// Sets element `index` to an integer that is known to be safe.
    #[inline]
    pub(crate) fn set_integer(&self, index: usize, value: usize) {
        self.set(index, number(value));
    }
}

/// `value` as an integer from 0 to 2^53 - 1 (`-0` is 0).
///
/// # Errors
///
/// [`Refusal::InvalidParam`] for every other number.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits wherever Node runs")]
#[expect(clippy::cast_sign_loss, reason = "the comparison refuses what the cast changed")]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and refused above")]
#[expect(clippy::float_cmp, reason = "an integer is meant exactly")]
pub(crate) fn integer(value: f64) -> Answer<usize> {
    let whole = value as u64;
    if whole as f64 == value && whole <= SAFE_INTEGER_MAX {
        Ok(whole as usize)
    } else {
        Err(Refusal::InvalidParam)
    }
}

/// `value` as a number: exact up to 2^53, which nothing that heapwright counts exceeds.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn number(value: usize) -> f64 {
    value as f64
}

/// What one environment (one thread's instance of the addon) owns.
pub(crate) struct Environment {
    env: sys::napi_env,
    /// Operands and results.
    pub(crate) control: Control,
    /// Keeps the ArrayBuffer of a redirected control block; null where there is none.
    pub(crate) control_buffer: Cell<sys::napi_ref>,
    /// How buffers over native memory come about here; probed at the first question.
    pub(crate) backend: Cell<Option<Backend>>,
    /// The open allocators of the wrapped families.
    pub(crate) families: RefCell<HandleTable<Family>>,
    /// The heaps that this thread has open.
    pub(crate) heaps: RefCell<HandleTable<OpenHeap>>,
    /// Whether the environment is being torn down.
    pub(crate) ending: Cell<bool>,
    /// The text behind the last `ERR_INTERNAL`.
    pub(crate) last_internal_error: RefCell<String>,
}

impl Environment {
    fn new(env: sys::napi_env) -> Self {
        Self {
            env,
            control: Control::new(),
            control_buffer: Cell::new(ptr::null_mut()),
            backend: Cell::new(None),
            families: RefCell::default(),
            heaps: RefCell::default(),
            ending: Cell::new(false),
            last_internal_error: RefCell::new(String::new()),
        }
    }

    /// The Node-API environment.
    pub(crate) fn raw(&self) -> sys::napi_env {
        self.env
    }

    /// Remembers what went wrong inside, for `lastInternalError()`.
    #[cold]
    pub(crate) fn internal_error(&self, text: impl Into<String>) -> Refusal {
        *self.last_internal_error.borrow_mut() = text.into();
        Refusal::Internal
    }

    /// Leaves the outcome of a call in `control[0]` and behind.
    #[inline]
    pub(crate) fn answer(&self, outcome: Answer) {
        match outcome {
            Ok(()) => self.control.set(0, 0.0),
            Err(refusal) => refusal.report(&self.control),
        }
    }
}

thread_local! {
    /// The environments of this thread; more than one where the addon was loaded twice.
    static ENVIRONMENTS: RefCell<Vec<Rc<Environment>>> = const { RefCell::new(Vec::new()) };
    /// The one used last, so that a call finds it in a nanosecond. Null, or owned by `ENVIRONMENTS`.
    static LATEST: Cell<*const Environment> = const { Cell::new(ptr::null()) };
    /// Where the last panic of this thread happened.
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `body` with the environment of `env`; `None` where there is none (it is being torn down).
#[inline]
pub(crate) fn with_environment<R>(
    env: sys::napi_env,
    body: impl FnOnce(&Environment) -> R,
) -> Option<R> {
    let latest = LATEST.get();
    if !latest.is_null() {
        // SAFETY: `ENVIRONMENTS` owns what `LATEST` points to; `forget_environment` clears both.
        let latest = unsafe { &*latest };
        if latest.env == env {
            return Some(body(latest));
        }
    }
    environment(env).map(|found| body(&found))
}

/// The environment of `env`, if it has not been torn down.
#[cold]
pub(crate) fn environment(env: sys::napi_env) -> Option<Rc<Environment>> {
    let found = ENVIRONMENTS
        .try_with(|all| all.borrow().iter().find(|candidate| candidate.env == env).cloned())
        .ok()
        .flatten()?;
    LATEST.set(Rc::as_ptr(&found));
    Some(found)
}

/// Makes the environment of `env` and hooks its end. Called once per environment, at load.
pub(crate) fn open_environment(env: sys::napi_env) -> Rc<Environment> {
    if let Some(known) = environment(env) {
        return known;
    }
    note_panics();
    let made = Rc::new(Environment::new(env));
    ENVIRONMENTS.with(|all| all.borrow_mut().push(Rc::clone(&made)));
    // SAFETY: `env` is alive, for Node-API calls us with it; the hook takes it as a bare key.
    unsafe { sys::napi_add_env_cleanup_hook(env, Some(forget_environment), env.cast()) };
    made
}

/// The cleanup hook: drops what the environment owns. Finalizers may have run before, or run later.
unsafe extern "C" fn forget_environment(env: *mut c_void) {
    let ended = catch_unwind(|| {
        LATEST.set(ptr::null());
        ENVIRONMENTS
            .try_with(|all| {
                let mut all = all.borrow_mut();
                let index = all.iter().position(|candidate| candidate.env.cast() == env)?;
                let ended = all.swap_remove(index);
                ended.ending.set(true);
                Some(ended)
            })
            .ok()
            .flatten()
    });
    // Dropped outside of the borrow: an allocator's end may look up environments.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(ended)));
}

/// Notes where each panic of this library happens, before the former hook prints it.
fn note_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
            let _ = PANIC_PLACE.try_with(|last| last.replace(place.unwrap_or_default()));
            former(info);
        }));
    });
}

/// What a panic that was just caught said, and where.
#[cold]
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    let place = PANIC_PLACE.try_with(RefCell::take).unwrap_or_default();
    format!("{said}{place}")
}

/// The body of every argument-free raw callback: finds the environment, runs `body`, catches panics,
/// answers through the control block, and returns `undefined`.
#[inline]
pub(crate) fn enter(
    env: sys::napi_env,
    body: impl FnOnce(&Environment) -> Answer,
) -> sys::napi_value {
    with_environment(env, |environment| {
        let outcome = catch_unwind(AssertUnwindSafe(|| body(environment)))
            .unwrap_or_else(|payload| Err(environment.internal_error(panic_text(&*payload))));
        environment.answer(outcome);
    });
    ptr::null_mut()
}

/// A `Float64Array` argument: memory that JavaScript may write, hence never a slice.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    elements: *mut f64,
    length: usize,
}

impl Numbers {
    /// Elements.
    pub(crate) fn length(self) -> usize {
        self.length
    }

    /// Element `index`.
    pub(crate) fn get(self, index: usize) -> f64 {
        assert!(index < self.length);
        // SAFETY: inside, by the assertion; Node-API gave the pointer for this very call.
        unsafe { self.elements.wrapping_add(index).read() }
    }

    /// Sets element `index`.
    pub(crate) fn set(self, index: usize, value: f64) {
        assert!(index < self.length);
        // SAFETY: as in `get`.
        unsafe { self.elements.wrapping_add(index).write(value) }
    }
}

/// As [`enter`], for a raw callback with one `Float64Array` argument.
pub(crate) fn enter_with_numbers(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&Environment, Numbers) -> Answer,
) -> sys::napi_value {
    enter(env, |environment| body(environment, numbers_argument(env, info)?))
}

fn numbers_argument(env: sys::napi_env, info: sys::napi_callback_info) -> Answer<Numbers> {
    let mut argument = ptr::null_mut();
    let mut count = 1;
    // SAFETY: one argument is asked for, and `argument` has room for one; `info` is of this call.
    let status = unsafe {
        sys::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            &raw mut argument,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if status != sys::Status::napi_ok {
        return Err(Refusal::InvalidParam);
    }
    let (kind, elements, length) = typed_array(env, argument).ok_or(Refusal::InvalidParam)?;
    if kind != sys::TypedarrayType::float64_array {
        return Err(Refusal::InvalidParam);
    }
    Ok(Numbers { elements: elements.cast(), length })
}

/// Kind, first byte and element count of a typed array; `None` for anything else.
pub(crate) fn typed_array(
    env: sys::napi_env,
    value: sys::napi_value,
) -> Option<(sys::napi_typedarray_type, *mut c_void, usize)> {
    let mut is_typed_array = false;
    // SAFETY: `env` is alive; `value` is a value of this call; the result is a local.
    let status = unsafe { sys::napi_is_typedarray(env, value, &raw mut is_typed_array) };
    if status != sys::Status::napi_ok || !is_typed_array {
        return None;
    }
    let (mut kind, mut length, mut elements) = (0, 0, ptr::null_mut());
    // SAFETY: as above, and `value` is a typed array; what is not wanted may be null.
    let status = unsafe {
        sys::napi_get_typedarray_info(
            env,
            value,
            &raw mut kind,
            &raw mut length,
            &raw mut elements,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    (status == sys::Status::napi_ok).then_some((kind, elements, length))
}

/// Puts the raw callback `call` on `exports` as `name`; [`raw_callbacks`] makes `call`.
///
/// # Errors
///
/// What Node-API answers when it cannot make a function.
pub(crate) fn register(
    env: sys::napi_env,
    exports: sys::napi_value,
    name: &CStr,
    call: sys::napi_callback,
) -> napi::Result<()> {
    let mut function = ptr::null_mut();
    // SAFETY: `env` is alive, `name` is a C string of the length given, the result is a local.
    let status = unsafe {
        sys::napi_create_function(
            env,
            name.as_ptr(),
            name.count_bytes().cast_signed(),
            call,
            ptr::null_mut(),
            &raw mut function,
        )
    };
    napi::check_status!(status, "cannot make the function {name:?}")?;
    // SAFETY: `exports` is the module's object and `function` was made above.
    let status = unsafe { sys::napi_set_named_property(env, exports, name.as_ptr(), function) };
    napi::check_status!(status, "cannot export the function {name:?}")
}

/// Registers raw callbacks: `raw_callbacks!(env, exports; c"byteAlloc" => byte_alloc, …)`, each
/// `fn(&Environment) -> Answer`; behind `numbers:` each `fn(&Environment, Numbers) -> Answer`.
macro_rules! raw_callbacks {
    ($env:expr, $exports:expr; $($name:literal => $body:path),* $(,)?) => {$({
        unsafe extern "C" fn call(
            env: napi::sys::napi_env,
            _info: napi::sys::napi_callback_info,
        ) -> napi::sys::napi_value {
            $crate::raw::enter(env, $body)
        }
        $crate::raw::register($env, $exports, $name, Some(call))?;
    })*};
    ($env:expr, $exports:expr; numbers: $($name:literal => $body:path),* $(,)?) => {$({
        unsafe extern "C" fn call(
            env: napi::sys::napi_env,
            info: napi::sys::napi_callback_info,
        ) -> napi::sys::napi_value {
            $crate::raw::enter_with_numbers(env, info, $body)
        }
        $crate::raw::register($env, $exports, $name, Some(call))?;
    })*};
}
pub(crate) use raw_callbacks;

/// Bits of a handle that are the index; the others are the generation.
const HANDLE_INDEX_BITS: u32 = 20;
const HANDLE_INDEX_MASK: u32 = (1 << HANDLE_INDEX_BITS) - 1;
const HANDLE_GENERATION_MAX: u32 = u32::MAX >> HANDLE_INDEX_BITS;

/// The open allocators of one sort in one environment, named by handles.
///
/// A handle is an index and the generation of that index. A slot whose generations are used up is
/// retired, so no handle ever names two allocators. At most 2^20 are open at once.
#[derive(Debug)]
pub(crate) struct HandleTable<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Default for HandleTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> HandleTable<T> {
    /// Adds `entry`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Capacity`] where 2^20 are open.
    pub(crate) fn insert(&mut self, entry: T) -> Answer<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() <= HANDLE_INDEX_MASK as usize => {
                self.slots.push(Slot { generation: 0, entry: None });
                u32::try_from(self.slots.len() - 1).map_err(|_| Refusal::Internal)?
            }
            None => return Err(Refusal::Capacity { limit: f64::from(HANDLE_INDEX_MASK) + 1.0 }),
        };
        let slot = &mut self.slots[index as usize];
        slot.entry = Some(entry);
        Ok((slot.generation << HANDLE_INDEX_BITS) | index)
    }

    /// What `handle` names.
    ///
    /// # Errors
    ///
    /// [`Refusal::Closed`] where it names nothing any more, or never did.
    #[inline]
    pub(crate) fn get_mut(&mut self, handle: f64) -> Answer<&mut T> {
        let (index, generation) = Self::split(handle)?;
        match self.slots.get_mut(index) {
            Some(Slot { generation: current, entry: Some(entry) }) if *current == generation => {
                Ok(entry)
            }
            _ => Err(Refusal::Closed),
        }
    }

    /// Takes out what `handle` names; `None` where it names nothing.
    pub(crate) fn remove(&mut self, handle: u32) -> Option<T> {
        let (index, generation) = Self::split(f64::from(handle)).ok()?;
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == generation)?;
        let entry = slot.entry.take()?;
        slot.generation += 1;
        if slot.generation <= HANDLE_GENERATION_MAX {
            self.free.push(handle & HANDLE_INDEX_MASK);
        }
        Some(entry)
    }

    #[inline]
    fn split(handle: f64) -> Answer<(usize, u32)> {
        let handle = u32::try_from(integer(handle)?).map_err(|_| Refusal::Closed)?;
        Ok(((handle & HANDLE_INDEX_MASK) as usize, handle >> HANDLE_INDEX_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_safe_integers_and_nothing_else() {
        assert_eq!(integer(0.0), Ok(0));
        assert_eq!(integer(-0.0), Ok(0));
        assert_eq!(integer(9_007_199_254_740_991.0), Ok((1 << 53) - 1));
        for hostile in
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 9_007_199_254_740_992.0, 1e300]
        {
            assert_eq!(integer(hostile), Err(Refusal::InvalidParam), "{hostile}");
        }
    }

    #[test]
    fn a_handle_names_one_entry_for_ever() {
        let mut table = HandleTable::default();
        let first = table.insert('a').unwrap();
        let second = table.insert('b').unwrap();
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.remove(first), None);
        let third = table.insert('c').unwrap();
        assert_eq!(third & HANDLE_INDEX_MASK, first & HANDLE_INDEX_MASK);
        assert_eq!(table.get_mut(f64::from(first)), Err(Refusal::Closed));
        assert_eq!(table.get_mut(f64::from(second)), Ok(&mut 'b'));
        assert_eq!(table.get_mut(f64::from(third)), Ok(&mut 'c'));
        assert_eq!(table.get_mut(4_294_967_296.0), Err(Refusal::Closed));
    }

    #[test]
    fn a_slot_without_generations_left_is_retired() {
        let mut table = HandleTable::default();
        let mut handles = std::collections::HashSet::new();
        for round in 0..3 * (HANDLE_GENERATION_MAX + 1) {
            let handle = table.insert(round).unwrap();
            assert!(handles.insert(handle));
            assert_eq!(table.remove(handle), Some(round));
        }
        assert_eq!(table.slots.len(), 3);
    }
}
