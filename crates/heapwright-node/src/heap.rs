//! The Heap's seam: the class that owns one thread's attachment, and the raw callbacks of its slow path.
//!
//! JavaScript pops and pushes magazines by itself (`src/magazine.ts`); what is here runs when one is empty
//! or full, or for anything unusual. An attachment lives in the table of its environment, so the
//! environment's end lets go of every heap that the program did not close, whether finalizers run first,
//! later or never.
//!
//! A panic inside a call, and damage that the engine finds in its metadata, poison the heap for all its
//! threads: every later call answers `ERR_INTERNAL` with the cause.
//!
//! Not here: the engine (`heapwright-heap`).

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    rc::{Rc, Weak},
    sync::Arc,
};

use heapwright_heap::{
    heap::{
        Attachment, Geometry, HeapConfig, HeapEngine, HeapError, HeapResult, Mapping, Stack,
        geometry as layout,
    },
    registry::{self, HeapId},
};
use napi::{Env, sys};
use napi_derive::napi;

use crate::{
    buffer::{self, Backend, RawValue},
    error::{Answer, Refusal},
    family::Kept,
    raw::{self, Environment, Numbers, integer, number},
};

/// Flag of the constructor: ask for large pages.
const FLAG_HUGE_PAGES: u32 = 1;
/// Flag of the constructor: make every page resident.
const FLAG_POPULATE: u32 = 2;

/// Constants of the seam that TypeScript needs.
#[expect(clippy::cast_precision_loss, reason = "small, and exact")]
pub(crate) const LAYOUT: &[(&str, f64)] = &[
    ("HEAP_AREA_BYTES", layout::AREA_BYTES as f64),
    ("HEAP_ALLOCS", layout::ALLOCS as f64),
    ("HEAP_AT", layout::AT as f64),
    ("HEAP_CLASSES_MAX", layout::CLASSES_MAX as f64),
    ("HEAP_COUNT", layout::COUNT as f64),
    ("HEAP_FT", layout::FT as f64),
    ("HEAP_HAZARD", layout::HAZARD as f64),
    ("HEAP_LARGE", layout::CLASS_LARGE as f64),
    ("HEAP_CLASS_MASK", layout::CLASS_MASK as f64),
    ("HEAP_MODE_PUBLIC", layout::MODE_PUBLIC as f64),
    ("HEAP_MODE_MASK", layout::MODE_MASK as f64),
    ("HEAP_OWNER_MASK", layout::OWNER_MASK as f64),
    ("HEAP_OWNER_SHIFT", layout::OWNER_SHIFT as f64),
    ("HEAP_QUIET_FREES", layout::QUIET_FREES as f64),
    ("HEAP_OUTBOX", layout::OUTBOX as f64),
    ("HEAP_OUTBOX_MAX", layout::OUTBOX_MAX as f64),
    ("HEAP_POISON", layout::POISON as f64),
    ("HEAP_PT", layout::PT as f64),
    ("HEAP_S2C", layout::S2C as f64),
    ("HEAP_STATE_MARK", layout::STATE_MARK as f64),
    ("HEAP_LOW", layout::LOW as f64),
    ("HEAP_SEEN", layout::SEEN as f64),
    ("HEAP_POOL_LOW", layout::POOL_LOW as f64),
    ("HEAP_MARKS", layout::MARKS as f64),
    ("HEAP_SMALL_MAX", ((layout::S2C_WORDS - 1) * layout::GRANULE_BYTES) as f64),
];

/// A heap in the table of an environment.
pub(crate) struct OpenHeap {
    // Let go of first: it may use the memory that the runtime keeps for it.
    state: State,
    /// Buffers of the runtime that the heap uses.
    kept: Vec<Kept>,
}

enum State {
    /// Memory of the runtime's own is to come by `provide`.
    Awaiting { geometry: Geometry, populated: bool },
    /// A heap over such memory, to which this thread is attached once `provide` keeps that memory here too: until
    /// then its creator may let it go at any moment, and nothing here may touch it.
    Joining(Arc<HeapEngine>),
    /// Open, or destroyed and not let go of yet.
    Open(Attachment),
}

/// What TypeScript is told of a refusal.
#[cold]
fn translate(environment: &Environment, engine: Option<&HeapEngine>, error: HeapError) -> Refusal {
    match error {
        HeapError::InvalidParam => Refusal::InvalidParam,
        HeapError::Capacity { limit } => Refusal::Capacity { limit: number(limit) },
        HeapError::NoMemory { requested, largest_free, errno } => Refusal::NoMemory {
            requested: number(requested),
            largest_free: number(largest_free),
            errno,
        },
        HeapError::NotAllocated => Refusal::NotAllocated,
        HeapError::Closed => Refusal::Closed,
        _ => {
            let cause = engine.and_then(HeapEngine::poisoned_by);
            environment.internal_error(cause.unwrap_or("an invariant does not hold"))
        }
    }
}

/// Runs `body` on the open heap of `handle`, catching panics: they poison that heap.
#[inline]
fn with_handle<R>(
    environment: &Environment,
    handle: f64,
    body: impl FnOnce(&Attachment) -> Answer<R>,
) -> Answer<R> {
    let mut table = environment.heaps.borrow_mut();
    let State::Open(attachment) = &table.get_mut(handle)?.state else {
        return Err(Refusal::Closed);
    };
    match catch_unwind(AssertUnwindSafe(|| body(attachment))) {
        Ok(answer) => answer,
        Err(payload) => {
            let error = attachment.engine().poison(raw::panic_text(&*payload));
            Err(translate(environment, Some(attachment.engine()), error))
        }
    }
}

/// Runs `body` on the open heap that `control[0]` names.
#[inline]
fn with_heap<R>(
    environment: &Environment,
    body: impl FnOnce(&Attachment) -> HeapResult<R>,
) -> Answer<R> {
    with_handle(environment, environment.control.get(0), |attachment| {
        body(attachment).map_err(|error| translate(environment, Some(attachment.engine()), error))
    })
}

/// `heapRefill` [h, class] → [n].
pub(crate) fn refill(environment: &Environment) -> Answer {
    fill(environment, Stack::Alloc)
}

/// `heapPoolRefill` [h, class] → [n].
pub(crate) fn pool_refill(environment: &Environment) -> Answer {
    fill(environment, Stack::Pool)
}

#[inline]
fn fill(environment: &Environment, stack: Stack) -> Answer {
    let control = &environment.control;
    let class = control.integer(1)?;
    let count = with_heap(environment, |heap| heap.refill(stack, class))?;
    control.set_integer(1, count);
    Ok(())
}

/// `heapFlush` [h, class].
pub(crate) fn flush(environment: &Environment) -> Answer {
    let class = environment.control.integer(1)?;
    with_heap(environment, |heap| heap.flush(Stack::Free, class))
}

/// `heapPoolFlush` [h, class].
pub(crate) fn pool_flush(environment: &Environment) -> Answer {
    let class = environment.control.integer(1)?;
    with_heap(environment, |heap| heap.flush(Stack::Pool, class))
}

/// `heapOutbox` [h].
pub(crate) fn outbox(environment: &Environment) -> Answer {
    with_heap(environment, Attachment::flush_outbox)
}

/// `heapSettle` [h, class].
pub(crate) fn settle(environment: &Environment) -> Answer {
    let class = environment.control.integer(1)?;
    with_heap(environment, |heap| heap.settle(class))
}

/// `heapAlloc` [h, size, align] → [p].
pub(crate) fn alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    let p = with_heap(environment, |heap| heap.alloc(size, align))?;
    control.set_integer(1, p);
    Ok(())
}

/// `heapAllocZeroed` [h, size, align] → [p].
pub(crate) fn alloc_zeroed(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    let p = with_heap(environment, |heap| heap.alloc_zeroed(size, align))?;
    control.set_integer(1, p);
    Ok(())
}

/// `heapFree` [h, p].
pub(crate) fn free(environment: &Environment) -> Answer {
    let p = environment.control.integer(1)?;
    with_heap(environment, |heap| heap.free(p))
}

/// `heapRealloc` [h, p, newSize] → [p'].
pub(crate) fn realloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (p, size) = (control.integer(1)?, control.integer(2)?);
    let moved = with_heap(environment, |heap| heap.realloc(p, size))?;
    control.set_integer(1, moved);
    Ok(())
}

/// `heapLookup` [h, p] → [start, usable, class].
pub(crate) fn lookup(environment: &Environment) -> Answer {
    let control = &environment.control;
    let p = control.integer(1)?;
    let block = with_heap(environment, |heap| heap.lookup(p))?;
    control.set_integer(1, block.start);
    control.set_integer(2, block.usable);
    control.set_integer(3, block.class);
    Ok(())
}

/// `heapStats` [h] → [size, committed, used, peakUsed, blocks, cached, largestFree, threads, shared,
/// allocs, frees, crossings, failures].
pub(crate) fn stats(environment: &Environment) -> Answer {
    let stats = with_heap(environment, Attachment::stats)?;
    let values = [
        stats.size,
        stats.committed,
        stats.used,
        stats.used_peak,
        stats.blocks,
        stats.cached,
        stats.largest_free,
        stats.threads,
        usize::from(stats.shared),
        stats.allocs,
        stats.frees,
        stats.crossings,
        stats.failures,
    ];
    for (index, value) in values.into_iter().enumerate() {
        environment.control.set_integer(index + 1, value);
    }
    Ok(())
}

/// `heapCheck` [h] → [blocks].
pub(crate) fn check(environment: &Environment) -> Answer {
    let blocks = with_heap(environment, Attachment::check)?;
    environment.control.set_integer(1, blocks);
    Ok(())
}

/// `heapTrim` [h] → [bytes].
pub(crate) fn trim(environment: &Environment) -> Answer {
    let bytes = with_heap(environment, Attachment::trim)?;
    environment.control.set_integer(1, bytes);
    Ok(())
}

/// `heapShare` [h].
pub(crate) fn share(environment: &Environment) -> Answer {
    with_heap(environment, Attachment::share)
}

/// `heapAllocMany(out)` [h, size]: all or nothing.
pub(crate) fn alloc_many(environment: &Environment, out: Numbers) -> Answer {
    let size = environment.control.integer(1)?;
    let blocks = with_heap(environment, |heap| heap.alloc_many(size, out.length()))?;
    for (index, p) in blocks.into_iter().enumerate() {
        out.set(index, number(p));
    }
    Ok(())
}

/// `heapFreeMany(positions)` [h]: all or nothing; on an error `control[1]` is the position it is about.
pub(crate) fn free_many(environment: &Environment, positions: Numbers) -> Answer {
    let control = &environment.control;
    let blame = |p: f64| {
        control.set(1, p);
        Refusal::NotAllocated
    };
    let count = positions.length();
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(count).map_err(|_| Refusal::NoMemory {
        requested: number(count),
        largest_free: 0.0,
        errno: 12,
    })?;
    for index in 0..count {
        let p = positions.get(index);
        blocks.push(integer(p).map_err(|_| blame(p))?);
    }
    with_handle(environment, control.get(0), |heap| {
        heap.free_many(&blocks).map_err(|(error, offender)| match offender {
            Some(p) => blame(number(p)),
            None => translate(environment, Some(heap.engine()), error),
        })
    })
}

/// Answers a `Float64Array` of `numbers` of each item, and the status in the control block.
fn answer_numbers<T, const N: usize>(
    env: Env,
    handle: f64,
    items: impl FnOnce(&Attachment) -> HeapResult<Vec<T>>,
    numbers: impl Fn(&T) -> [usize; N],
) -> Option<RawValue> {
    raw::with_environment(env.raw(), |environment| {
        let items = with_handle(environment, handle, |heap| {
            items(heap).map_err(|error| translate(environment, Some(heap.engine()), error))
        });
        // The table is not borrowed any more: making an array may run finalizers.
        let made = items.and_then(|all| {
            let values = all.iter().flat_map(numbers).map(number);
            buffer::float64_array(environment, all.len() * N, values)
        });
        match made {
            Ok(array) => {
                environment.answer(Ok(()));
                Some(array)
            }
            Err(refusal) => {
                environment.answer(Err(refusal));
                None
            }
        }
    })
    .flatten()
}

/// Rows of (size, live blocks, slabs, cached blocks), one for each class; `null` with a status.
pub(crate) fn class_stats(env: Env, handle: f64) -> Option<RawValue> {
    answer_numbers(env, handle, Attachment::class_rows, |row| {
        [row.size, row.blocks, row.slabs, row.cached]
    })
}

/// Pairs of (address, usable bytes), ascending; `null` with a status.
pub(crate) fn live(env: Env, handle: f64) -> Option<RawValue> {
    answer_numbers(env, handle, Attachment::live_blocks, |&(p, usable)| [p, usable])
}

fn attach(environment: &Rc<Environment>, id: f64, generation: f64) -> Answer<NativeHeap> {
    let part = |value| {
        let value = integer(value)?;
        u32::try_from(value).map_err(|_| Refusal::InvalidParam)
    };
    let id = HeapId { index: part(id)?, generation: part(generation)? };
    let engine = registry::find(id).map_err(|error| translate(environment, None, error))?;
    // Not by anybody who guesses: a handle is given out when the heap becomes shared.
    if !engine.is_shared() {
        return Err(Refusal::InvalidParam);
    }
    if !engine.data().is_region() {
        return NativeHeap::open(environment, State::Joining(engine), Some(id));
    }
    let attached = engine.attach();
    let attachment = attached.map_err(|error| translate(environment, Some(&engine), error))?;
    NativeHeap::open(environment, State::Open(attachment), Some(id))
}

/// Owns one thread's attachment to a heap.
#[napi]
#[expect(missing_debug_implementations, reason = "JavaScript inspects its own class")]
pub struct NativeHeap {
    environment: Weak<Environment>,
    handle: Cell<Option<u32>>,
    /// The handle as it was, for JavaScript.
    number: u32,
    id: Cell<HeapId>,
    slot: Cell<usize>,
    geometry: Geometry,
}

/// What a heap that could not be made is told to be.
const NO_GEOMETRY: Geometry = Geometry {
    size: 0,
    max_threads: 0,
    meta_size: 0,
    page_map: 0,
    state_bits: 0,
    state_bytes: 0,
    areas: 0,
};

const NO_ID: HeapId = HeapId { index: 0, generation: 0 };

impl NativeHeap {
    fn open(environment: &Rc<Environment>, state: State, id: Option<HeapId>) -> Answer<Self> {
        let (geometry, slot) = match &state {
            State::Awaiting { geometry, .. } => (*geometry, 0),
            State::Joining(engine) => (*engine.geometry(), 0),
            State::Open(attachment) => (*attachment.engine().geometry(), attachment.slot()),
        };
        let open = OpenHeap { state, kept: Vec::new() };
        let handle = environment.heaps.borrow_mut().insert(open)?;
        Ok(Self {
            environment: Rc::downgrade(environment),
            handle: Cell::new(Some(handle)),
            number: handle,
            id: Cell::new(id.unwrap_or(NO_ID)),
            slot: Cell::new(slot),
            geometry,
        })
    }

    fn create(
        environment: &Rc<Environment>,
        size: f64,
        max_threads: f64,
        flags: u32,
    ) -> Answer<Self> {
        let (size, max_threads) = (integer(size)?, integer(max_threads)?);
        let refuse = |error| translate(environment, None, error);
        let populate = flags & FLAG_POPULATE != 0;
        if buffer::backend(environment) == Backend::Shared {
            let geometry = Geometry::new(size, max_threads).map_err(refuse)?;
            // TypeScript makes the memory, and touches all of it.
            let state = State::Awaiting { geometry, populated: populate };
            return Self::open(environment, state, None);
        }
        let config =
            HeapConfig { size, max_threads, huge_pages: flags & FLAG_HUGE_PAGES != 0, populate };
        let engine = HeapEngine::map(&config).map_err(refuse)?;
        let (id, attachment) = registry::open(engine).map_err(refuse)?;
        Self::open(environment, State::Open(attachment), Some(id))
    }

    /// This thread's attachment to the heap that id and generation name; `None` with a status.
    pub(crate) fn attached(env: Env, id: f64, generation: f64) -> Option<Self> {
        let environment = raw::environment(env.raw())?;
        match attach(&environment, id, generation) {
            Ok(heap) => {
                environment.answer(Ok(()));
                Some(heap)
            }
            Err(refusal) => {
                environment.answer(Err(refusal));
                None
            }
        }
    }

    /// Runs `body` with the environment and leaves its outcome in the control block.
    fn answering<R>(&self, body: impl FnOnce(&Environment) -> Answer<R>) -> Option<R> {
        let environment = self.environment.upgrade()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&environment)))
            .unwrap_or_else(|payload| Err(environment.internal_error(raw::panic_text(&*payload))));
        match outcome {
            Ok(result) => {
                environment.answer(Ok(()));
                Some(result)
            }
            Err(refusal) => {
                environment.answer(Err(refusal));
                None
            }
        }
    }

    /// A buffer over part of one of the mappings.
    fn window(
        &self,
        offset: f64,
        length: f64,
        select: impl FnOnce(&HeapEngine) -> &Arc<Mapping>,
    ) -> Option<RawValue> {
        self.answering(|environment| {
            let (offset, length) = (integer(offset)?, integer(length)?);
            let mapping = with_handle(environment, f64::from(self.number), |heap| {
                let open = heap.open();
                let engine =
                    open.map_err(|error| translate(environment, Some(heap.engine()), error))?;
                let mapping = Arc::clone(select(engine));
                let end = offset.checked_add(length);
                if end.is_none_or(|end| end > mapping.length()) {
                    return Err(Refusal::InvalidParam);
                }
                if mapping.is_region() { Ok(mapping) } else { Err(Refusal::Unsupported) }
            })?;
            let bytes = mapping.base().as_ptr().wrapping_add(offset);
            // SAFETY: offset and length were found inside the mapping, which its `Arc` keeps; the engine
            // reaches it by raw pointers and atomics only.
            unsafe { buffer::external(environment, bytes, length, layout::SIZE_MAX, mapping) }
        })
        .flatten()
    }

    /// Uses the runtime's own memory: opens a heap that awaits it, or attaches to the one whose memory it is.
    fn take_memory(&self, environment: &Environment, data: RawValue, metadata: RawValue) -> Answer {
        let data_bytes = bytes_of(environment, data)?;
        let meta_bytes = bytes_of(environment, metadata)?;
        let keep = |value| {
            let reference = buffer::reference(environment, value)?;
            Answer::Ok(Kept { environment: self.environment.clone(), reference })
        };
        let kept = [keep(data)?, keep(metadata)?];
        let mut table = environment.heaps.borrow_mut();
        let open = table.get_mut(f64::from(self.number))?;
        match &open.state {
            State::Awaiting { geometry, populated } => {
                if data_bytes.1 < geometry.size || meta_bytes.1 < geometry.meta_size {
                    return Err(Refusal::InvalidParam);
                }
                // SAFETY: `kept` keeps the bytes as long as any attachment of this thread, and every other
                // thread's keeps them by its own `provide`. TypeScript made the buffers for this; a
                // SharedArrayBuffer cannot be detached, and its memory is aligned to 8.
                let data = unsafe { Mapping::provided(data_bytes.0, geometry.size) };
                // SAFETY: as above.
                let meta = unsafe { Mapping::provided(meta_bytes.0, geometry.meta_size) };
                let engine = HeapEngine::over(*geometry, Arc::new(data), Arc::new(meta));
                if let (Ok(engine), true) = (&engine, *populated) {
                    engine.count_populated();
                }
                let (id, attachment) = engine
                    .and_then(registry::open)
                    .map_err(|error| translate(environment, None, error))?;
                self.id.set(id);
                self.slot.set(attachment.slot());
                open.state = State::Open(attachment);
            }
            State::Joining(engine) => {
                // The same bytes, as long as a thread has the heap; and if none has, it is not attached to.
                let same = engine.data().base() == data_bytes.0
                    && engine.meta().base() == meta_bytes.0
                    && data_bytes.1 >= engine.geometry().size
                    && meta_bytes.1 >= engine.geometry().meta_size;
                if !same {
                    return Err(Refusal::InvalidParam);
                }
                let attached = engine.attach();
                let attachment =
                    attached.map_err(|error| translate(environment, Some(engine), error))?;
                self.slot.set(attachment.slot());
                open.state = State::Open(attachment);
            }
            State::Open(_) => return Err(Refusal::InvalidParam),
        }
        open.kept.extend(kept);
        Ok(())
    }

    fn let_go(&self, destroy: bool) {
        let Some(handle) = self.handle.take() else { return };
        let Some(environment) = self.environment.upgrade() else { return };
        let open = environment.heaps.borrow_mut().remove(handle);
        // Outside of the borrow.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(OpenHeap { state: State::Open(attachment), .. }) = &open
                && destroy
            {
                attachment.destroy();
            }
            drop(open);
        }));
    }
}

/// First byte and length of a `Uint8Array` argument.
fn bytes_of(environment: &Environment, value: RawValue) -> Answer<(NonNull<u8>, usize)> {
    let (kind, elements, length) =
        raw::typed_array(environment.raw(), value.0).ok_or(Refusal::InvalidParam)?;
    let elements = NonNull::new(elements.cast::<u8>()).ok_or(Refusal::InvalidParam)?;
    if kind != sys::TypedarrayType::uint8_array || !elements.addr().get().is_multiple_of(8) {
        return Err(Refusal::InvalidParam);
    }
    Ok((elements, length))
}

#[napi]
impl NativeHeap {
    /// Makes a heap, or one that awaits memory where external buffers are banned; status in the control
    /// block.
    ///
    /// # Errors
    ///
    /// Where the environment is ending.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, size: f64, max_threads: f64, flags: u32) -> napi::Result<Self> {
        let environment = raw::environment(env.raw())
            .ok_or_else(|| napi::Error::from_reason("the environment is ending"))?;
        match Self::create(&environment, size, max_threads, flags) {
            Ok(heap) => {
                environment.answer(Ok(()));
                Ok(heap)
            }
            Err(refusal) => {
                environment.answer(Err(refusal));
                Ok(Self {
                    environment: Weak::new(),
                    handle: Cell::new(None),
                    number: u32::MAX,
                    id: Cell::new(NO_ID),
                    slot: Cell::new(0),
                    geometry: NO_GEOMETRY,
                })
            }
        }
    }

    /// What raw callbacks know the attachment by.
    #[napi(getter, catch_unwind)]
    pub fn handle(&self) -> u32 {
        self.number
    }

    /// What other threads know the heap by.
    #[napi(getter, catch_unwind)]
    pub fn id(&self) -> u32 {
        self.id.get().index
    }

    /// With the id: which of the heaps that had it.
    #[napi(getter, catch_unwind)]
    pub fn generation(&self) -> u32 {
        self.id.get().generation
    }

    /// This thread's slot.
    #[napi(getter, catch_unwind)]
    pub fn slot(&self) -> f64 {
        number(self.slot.get())
    }

    /// Bytes of data.
    #[napi(getter, catch_unwind)]
    pub fn size(&self) -> f64 {
        number(self.geometry.size)
    }

    /// Bytes of metadata.
    #[napi(getter, catch_unwind)]
    pub fn meta_size(&self) -> f64 {
        number(self.geometry.meta_size)
    }

    /// Where the page map is in the metadata.
    #[napi(getter, catch_unwind)]
    pub fn page_map_offset(&self) -> f64 {
        number(self.geometry.page_map)
    }

    /// Where the state bits are.
    #[napi(getter, catch_unwind)]
    pub fn bits_offset(&self) -> f64 {
        number(self.geometry.state_bits)
    }

    /// Where the state bytes are.
    #[napi(getter, catch_unwind)]
    pub fn bytes_offset(&self) -> f64 {
        number(self.geometry.state_bytes)
    }

    /// Where the area of slot 0 of a shared heap is.
    #[napi(getter, catch_unwind)]
    pub fn areas_offset(&self) -> f64 {
        number(self.geometry.areas)
    }

    /// A buffer over part of the data; `null` where there is none, status in the control block.
    #[napi(catch_unwind, ts_return_type = "ArrayBuffer | null")]
    pub fn data(&self, offset: f64, length: f64) -> Option<RawValue> {
        self.window(offset, length, HeapEngine::data)
    }

    /// A buffer over part of the metadata; `null` where there is none, status in the control block.
    #[napi(catch_unwind, ts_return_type = "ArrayBuffer | null")]
    pub fn meta(&self, offset: f64, length: f64) -> Option<RawValue> {
        self.window(offset, length, HeapEngine::meta)
    }

    /// Uses the runtime's own memory as that of the heap, or, on a thread that joins one, attaches to it and
    /// keeps that memory for as long as this thread has the heap; status in the control block.
    #[napi(catch_unwind)]
    pub fn provide(
        &self,
        #[napi(ts_arg_type = "Uint8Array")] data: RawValue,
        #[napi(ts_arg_type = "Uint8Array")] metadata: RawValue,
    ) {
        self.answering(|environment| self.take_memory(environment, data, metadata));
    }

    /// This thread lets go. Idempotent.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.let_go(false);
    }

    /// Ends the heap for every thread, and lets go. Idempotent.
    #[napi(catch_unwind)]
    pub fn destroy(&self) {
        self.let_go(true);
    }
}

impl Drop for NativeHeap {
    fn drop(&mut self) {
        self.let_go(false);
    }
}
