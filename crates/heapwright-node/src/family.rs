//! What the classes of all kinds share: their entry in the environment's table, their life cycle, and the
//! raw callbacks that do not depend on the unit.
//!
//! An allocator lives in the table of its environment, named by a handle; the `#[napi]` class is no more
//! than the owner of that handle, so that a raw callback reaches the allocator without the class. A panic
//! inside a call is caught here, where it is known whose it was: that allocator is poisoned, and every
//! later call on it answers `ERR_INTERNAL` with the cause.
//!
//! Not here: the operations themselves (`bytes.rs`, `pages.rs`, `id.rs`).

use std::{
    alloc::Layout,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    rc::{Rc, Weak},
};

use heapwright_heap::{AnyMirror, Outcome, Refusal as HeapRefusal, Stats, live_table::Block};
#[cfg(feature = "two-level")]
use heapwright_heap::{BuddyMirror, SlabCacheMirror, TwoLevelMirror};
use napi::sys;

use crate::{
    buffer::{self, BUFFER_BYTES_MAX, RawValue},
    error::{Answer, Refusal},
    raw::{self, Environment, integer, number},
};

/// Units of `stats` in the control block, in this order.
const STATS_LENGTH: usize = 10;

/// Constants of the seam that TypeScript needs.
#[expect(clippy::cast_precision_loss, reason = "small, and exact")]
pub(crate) const LAYOUT: &[(&str, f64)] = &[("STATS_LENGTH", STATS_LENGTH as f64)];

/// What a mirrored byte allocator can do.
pub(crate) trait ByteMirror: AnyMirror {
    fn alloc(&mut self, size: usize, align: usize) -> Outcome<usize>;
    fn alloc_zeroed(&mut self, size: usize, align: usize) -> Outcome<usize>;
    fn dealloc(&mut self, pos: usize, size: Option<usize>, align: Option<usize>) -> Outcome;
    fn realloc(&mut self, pos: usize, new_size: usize) -> Outcome<usize>;
    fn lookup(&self, pos: usize) -> Outcome<(Block, usize)>;
    fn alloc_many(&mut self, size: usize, align: usize, count: usize) -> Outcome<Vec<usize>>;
    fn dealloc_many(&mut self, positions: &[usize]) -> Result<(), (usize, HeapRefusal)>;
    /// The bytes in one piece that a first block of `layout` needs where that is more than the block; else 0.
    fn set_bytes(&self, layout: Layout) -> usize;
    /// Block size, live blocks and bytes held of each size class that never gives back what it holds.
    fn held_classes(&self) -> Vec<[usize; 3]>;
}

/// What a mirrored page allocator can do.
pub(crate) trait AnyPageMirror: AnyMirror {
    fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize>;
    fn alloc_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize>;
    fn dealloc(&mut self, pos: usize, count: Option<usize>) -> Outcome;
    fn lookup(&self, pos: usize) -> Outcome<Block>;
}

/// What a mirrored id allocator can do.
pub(crate) trait AnyIdMirror: AnyMirror {
    fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize>;
    fn alloc_fixed(&mut self, id: usize) -> Outcome;
    fn dealloc(&mut self, start: usize, count: Option<usize>) -> Outcome;
    fn is_allocated(&self, id: usize) -> Outcome<bool>;
}

/// An open allocator.
pub(crate) enum Mirrored {
    Bytes(Box<dyn ByteMirror>),
    Pages(Box<dyn AnyPageMirror>),
    Ids(Box<dyn AnyIdMirror>),
    /// Pages by binary buddies in sections.
    #[cfg(feature = "two-level")]
    Buddy(Box<BuddyMirror>),
    /// Slots over pages that the program brings.
    #[cfg(feature = "two-level")]
    SlabCache(Box<SlabCacheMirror>),
    /// Bytes and pages at once.
    #[cfg(feature = "two-level")]
    TwoLevel(Box<TwoLevelMirror>),
}

impl Mirrored {
    fn any(&self) -> &dyn AnyMirror {
        match self {
            Self::Bytes(mirror) => &**mirror,
            Self::Pages(mirror) => &**mirror,
            Self::Ids(mirror) => &**mirror,
            #[cfg(feature = "two-level")]
            Self::Buddy(mirror) => &**mirror,
            #[cfg(feature = "two-level")]
            Self::SlabCache(mirror) => &**mirror,
            #[cfg(feature = "two-level")]
            Self::TwoLevel(mirror) => &**mirror,
        }
    }

    fn any_mut(&mut self) -> &mut dyn AnyMirror {
        match self {
            Self::Bytes(mirror) => &mut **mirror,
            Self::Pages(mirror) => &mut **mirror,
            Self::Ids(mirror) => &mut **mirror,
            #[cfg(feature = "two-level")]
            Self::Buddy(mirror) => &mut **mirror,
            #[cfg(feature = "two-level")]
            Self::SlabCache(mirror) => &mut **mirror,
            #[cfg(feature = "two-level")]
            Self::TwoLevel(mirror) => &mut **mirror,
        }
    }
}

/// An open allocator in the table of its environment.
pub(crate) struct Family {
    // Dropped first: it may use the memory that the runtime keeps for it.
    mirrored: Mirrored,
    /// Buffers of the runtime that the allocator uses.
    kept: Vec<Kept>,
}

/// A value of JavaScript that must not be collected.
pub(crate) struct Kept {
    pub(crate) environment: Weak<Environment>,
    pub(crate) reference: sys::napi_ref,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // An environment that is ending drops its references itself.
        if let Some(environment) = self.environment.upgrade()
            && !environment.ending.get()
        {
            // SAFETY: the reference was made in this environment, which is alive, and is deleted once.
            unsafe { sys::napi_delete_reference(environment.raw(), self.reference) };
        }
    }
}

/// Why the mirror refused, with what TypeScript needs for the message.
#[cold]
fn translate(refusal: HeapRefusal, mirror: &dyn AnyMirror) -> Refusal {
    translate_with(refusal, || mirror.largest_free())
}

/// As [`translate`], where the largest request depends on the call.
pub(crate) fn translate_with(
    refusal: HeapRefusal,
    largest_free: impl FnOnce() -> usize,
) -> Refusal {
    match refusal {
        HeapRefusal::InvalidParam => Refusal::InvalidParam,
        HeapRefusal::MemoryOverlap { start, size } => {
            Refusal::MemoryOverlap { start: number(start), size: number(size) }
        }
        HeapRefusal::NoMemory { requested, errno } => Refusal::NoMemory {
            requested: number(requested),
            largest_free: number(largest_free()),
            errno,
        },
        HeapRefusal::NotAllocated => Refusal::NotAllocated,
        HeapRefusal::Closed => Refusal::Closed,
        HeapRefusal::SizeMismatch { size, align } => {
            Refusal::SizeMismatch { size: number(size), align: number(align) }
        }
        HeapRefusal::Capacity { limit } => Refusal::Capacity { limit: number(limit) },
        HeapRefusal::Unsupported => Refusal::Unsupported,
        _ => Refusal::Internal,
    }
}

/// Runs `body` on the open allocator of `handle`, catching panics: they poison that allocator.
fn with_family<R>(
    environment: &Environment,
    handle: f64,
    body: impl FnOnce(&mut Family) -> Answer<R>,
) -> Answer<R> {
    let mut table = environment.families.borrow_mut();
    let family = table.get_mut(handle)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| body(family)));
    match outcome {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Refusal::Internal)) => {
            let cause = family.mirrored.any().poisoned().unwrap_or("an invariant does not hold");
            Err(environment.internal_error(cause))
        }
        Ok(Err(refusal)) => Err(refusal),
        Err(payload) => {
            let cause = raw::panic_text(&*payload);
            family.mirrored.any_mut().poison(&cause);
            Err(environment.internal_error(cause))
        }
    }
}

/// As [`with_family`], on whatever the allocator's unit is.
pub(crate) fn with_any<R>(
    environment: &Environment,
    handle: f64,
    body: impl FnOnce(&mut dyn AnyMirror) -> Outcome<R>,
) -> Answer<R> {
    with_family(environment, handle, |family| {
        let mirror = family.mirrored.any_mut();
        body(mirror).map_err(|refusal| translate(refusal, mirror))
    })
}

/// Runs `body` on the byte allocator that `control[0]` names.
#[inline]
pub(crate) fn with_bytes<R>(
    environment: &Environment,
    body: impl FnOnce(&mut dyn ByteMirror) -> Outcome<R>,
) -> Answer<R> {
    with_family(environment, environment.control.get(0), |family| match &mut family.mirrored {
        Mirrored::Bytes(mirror) => {
            body(&mut **mirror).map_err(|refusal| translate(refusal, &**mirror))
        }
        #[cfg(feature = "two-level")]
        Mirrored::TwoLevel(mirror) => {
            body(&mut **mirror).map_err(|refusal| translate(refusal, &**mirror))
        }
        _ => Err(Refusal::Unsupported),
    })
}

/// Runs `body` on the page allocator that `control[0]` names.
#[inline]
pub(crate) fn with_pages<R>(
    environment: &Environment,
    body: impl FnOnce(&mut dyn AnyPageMirror) -> Outcome<R>,
) -> Answer<R> {
    with_family(environment, environment.control.get(0), |family| match &mut family.mirrored {
        Mirrored::Pages(mirror) => {
            body(&mut **mirror).map_err(|refusal| translate(refusal, &**mirror))
        }
        #[cfg(feature = "two-level")]
        Mirrored::Buddy(mirror) => {
            body(&mut **mirror).map_err(|refusal| translate(refusal, &**mirror))
        }
        #[cfg(feature = "two-level")]
        Mirrored::TwoLevel(mirror) => body(&mut **mirror).map_err(|refusal| {
            let largest_free = mirror.largest_free_pages();
            translate_with(refusal, || largest_free)
        }),
        _ => Err(Refusal::Unsupported),
    })
}

/// Runs `body` on whatever `handle` names.
#[cfg(feature = "two-level")]
#[inline]
pub(crate) fn with_mirrored<R>(
    environment: &Environment,
    handle: f64,
    body: impl FnOnce(&mut Mirrored) -> Answer<R>,
) -> Answer<R> {
    with_family(environment, handle, |family| body(&mut family.mirrored))
}

/// Runs `body` on the id allocator that `control[0]` names.
#[inline]
pub(crate) fn with_ids<R>(
    environment: &Environment,
    body: impl FnOnce(&mut dyn AnyIdMirror) -> Outcome<R>,
) -> Answer<R> {
    with_family(environment, environment.control.get(0), |family| match &mut family.mirrored {
        Mirrored::Ids(mirror) => {
            body(&mut **mirror).map_err(|refusal| translate(refusal, &**mirror))
        }
        _ => Err(Refusal::Unsupported),
    })
}

/// `allocatorStats` [h] → [total, used, requested, available, largestFree, blocks, allocs, frees,
/// failures, peakUsed].
pub(crate) fn allocator_stats(environment: &Environment) -> Answer {
    let control = &environment.control;
    let stats = with_any(environment, control.get(0), |mirror| mirror.stats())?;
    let values: [usize; STATS_LENGTH] = [
        stats.total,
        stats.used,
        stats.requested,
        stats.available,
        stats.largest_free,
        stats.blocks,
        stats.allocs,
        stats.frees,
        stats.failures,
        stats.peak_used,
    ];
    for (index, value) in values.into_iter().enumerate() {
        control.set_integer(index + 1, value);
    }
    Ok(())
}

/// `allocatorCheck` [h] → [blocks].
pub(crate) fn allocator_check(environment: &Environment) -> Answer {
    let handle = environment.control.get(0);
    let mut finding = None;
    let blocks = with_any(environment, handle, |mirror| {
        // Closed and poisoned allocators answer as they do to every other call.
        mirror.stats()?;
        mirror.check().map_err(|text| {
            finding = Some(text);
            HeapRefusal::Internal
        })
    });
    if let Some(text) = finding {
        return Err(environment.internal_error(text));
    }
    environment.control.set_integer(1, blocks?);
    Ok(())
}

/// `poisonForTest` [h]: panics inside a call on that allocator. Registered only where the environment
/// variable `HEAPWRIGHT_TEST_HOOKS` is 1 when the addon is loaded.
pub(crate) fn poison_for_test(environment: &Environment) -> Answer {
    let handle = environment.control.get(0);
    with_any(environment, handle, |_| -> Outcome { panic!("a panic that a test asked for") })
}

/// The live blocks of `handle` as (pos, size, align) triples, ascending; status in `control[0]`.
pub(crate) fn live_blocks(environment: &Environment, handle: f64) -> Option<RawValue> {
    let blocks = with_any(environment, handle, |mirror| mirror.blocks());
    let made = blocks.and_then(|blocks| {
        let triples = blocks.iter().flat_map(|&(pos, block)| [pos, block.size, block.align]);
        buffer::float64_array(environment, blocks.len() * 3, triples.map(number))
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
}

/// The owner of an allocator's place in the table: what a `#[napi]` class holds.
pub(crate) struct FamilyOwner {
    environment: Weak<Environment>,
    handle: Cell<Option<u32>>,
    /// The handle as it was, for JavaScript.
    number: u32,
}

impl FamilyOwner {
    /// Puts `mirrored` into the table of `env`.
    ///
    /// # Errors
    ///
    /// Where the environment is ending, or 2^20 allocators are open.
    pub(crate) fn open(env: napi::Env, mirrored: Mirrored) -> napi::Result<Self> {
        let environment = raw::environment(env.raw())
            .ok_or_else(|| napi::Error::from_reason("the environment is ending"))?;
        let inserted =
            environment.families.borrow_mut().insert(Family { mirrored, kept: Vec::new() });
        let handle =
            inserted.map_err(|_| napi::Error::from_reason("2^20 allocators are open already"))?;
        Ok(Self {
            environment: Rc::downgrade(&environment),
            handle: Cell::new(Some(handle)),
            number: handle,
        })
    }

    /// The handle, for raw callbacks.
    pub(crate) fn number(&self) -> u32 {
        self.number
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

    /// `init(start, size)`; status in `control[0]`.
    pub(crate) fn init(&self, start: f64, size: f64) {
        self.answering(|environment| {
            let (start, size) = (integer(start)?, integer(size)?);
            with_any(environment, f64::from(self.number), |mirror| mirror.init(start, size))
        });
    }

    /// `addMemory(start, size)`; status in `control[0]`.
    pub(crate) fn add_memory(&self, start: f64, size: f64) {
        self.answering(|environment| {
            let (start, size) = (integer(start)?, integer(size)?);
            with_any(environment, f64::from(self.number), |mirror| mirror.add_memory(start, size))
        });
    }

    /// One of the statistics, for getters; 0 and a status where there is none.
    pub(crate) fn statistic(&self, select: impl FnOnce(Stats) -> usize) -> f64 {
        self.answering(|environment| {
            let stats = with_any(environment, f64::from(self.number), |mirror| mirror.stats())?;
            Ok(number(select(stats)))
        })
        .unwrap_or_default()
    }

    /// An ArrayBuffer over `length` bytes from `offset` in the data of range `range`; `None` where external
    /// buffers are banned or where `control[0]` says why not.
    pub(crate) fn wrap(&self, range: f64, offset: f64, length: f64) -> Option<RawValue> {
        self.answering(|environment| {
            let (range, offset, length) = (integer(range)?, integer(offset)?, integer(length)?);
            let mapping = with_any(environment, f64::from(self.number), |mirror| {
                let arena = mirror.arenas().get(range).ok_or(HeapRefusal::InvalidParam)?;
                if offset.checked_add(length).is_none_or(|end| end > arena.size()) {
                    return Err(HeapRefusal::InvalidParam);
                }
                Ok(arena.mapping().cloned())
            })?;
            let Some(mapping) = mapping else { return Err(Refusal::Unsupported) };
            let bytes = mapping.base().as_ptr().wrapping_add(offset);
            // SAFETY: the offset and length were found inside the mapping, which its `Arc` keeps; the
            // mirror reaches it by raw pointers only.
            unsafe { buffer::external(environment, bytes, length, BUFFER_BYTES_MAX, mapping) }
        })
        .flatten()
    }

    /// Uses `bytes`, a `Uint8Array` of the size of range `range`, as the data of that range.
    pub(crate) fn provide(&self, range: f64, bytes: RawValue) {
        self.answering(|environment| {
            let range = integer(range)?;
            let (kind, elements, length) =
                raw::typed_array(environment.raw(), bytes.0).ok_or(Refusal::InvalidParam)?;
            let elements = NonNull::new(elements.cast::<u8>()).ok_or(Refusal::InvalidParam)?;
            if kind != sys::TypedarrayType::uint8_array {
                return Err(Refusal::InvalidParam);
            }
            let reference = buffer::reference(environment, bytes)?;
            let kept = Kept { environment: self.environment.clone(), reference };
            with_family(environment, f64::from(self.number), |family| {
                let arena =
                    family.mirrored.any_mut().arena_mut(range).ok_or(Refusal::InvalidParam)?;
                if arena.size() != length {
                    return Err(Refusal::InvalidParam);
                }
                family.kept.push(kept);
                // SAFETY: `kept` keeps the bytes as long as the allocator. TypeScript made the buffer for
                // this and lets nobody detach it: a SharedArrayBuffer cannot be detached at all.
                let taken = unsafe { arena.provide(elements) };
                if taken { Ok(()) } else { Err(Refusal::InvalidParam) }
            })
        });
    }

    /// Closes the allocator: its memory goes, but for what a buffer still holds. Idempotent.
    pub(crate) fn close(&self) {
        let Some(handle) = self.handle.take() else { return };
        let Some(environment) = self.environment.upgrade() else { return };
        let family = environment.families.borrow_mut().remove(handle);
        // Dropped outside of the borrow.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(family)));
    }
}

impl Drop for FamilyOwner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes the `#[napi]` class of a kind around a [`FamilyOwner`]: life cycle, memory and the three totals.
macro_rules! family_class {
    (
        $(#[$doc:meta])* $class:ident, new($($argument:ident: $type:ty),*) => $mirrored:expr,
        totals: $total:ident $used:ident $available:ident
    ) => {
        $(#[$doc])*
        #[napi_derive::napi]
        #[expect(missing_debug_implementations, reason = "JavaScript inspects its own class")]
        pub struct $class($crate::family::FamilyOwner);

        #[napi_derive::napi]
        impl $class {
            /// An allocator that manages nothing yet.
            ///
            /// # Errors
            ///
            /// Where the environment is ending, or 2^20 allocators are open.
            #[napi(constructor, catch_unwind)]
            pub fn new(env: napi::Env, $($argument: $type),*) -> napi::Result<Self> {
                let mirrored = $mirrored(env, $($argument),*)?;
                $crate::family::FamilyOwner::open(env, mirrored).map(Self)
            }

            /// What raw callbacks know the allocator by.
            #[napi(getter, catch_unwind)]
            pub fn handle(&self) -> u32 {
                self.0.number()
            }

            /// Starts to manage a range; status in the control block.
            #[napi(catch_unwind)]
            pub fn init(&self, start: f64, size: f64) {
                self.0.init(start, size);
            }

            /// Manages one more range; status in the control block.
            #[napi(catch_unwind)]
            pub fn add_memory(&self, start: f64, size: f64) {
                self.0.add_memory(start, size);
            }

            /// A buffer over part of a range's data; `null` where there is none, status in the control block.
            #[napi(catch_unwind, ts_return_type = "ArrayBuffer | null")]
            pub fn wrap(&self, range: f64, offset: f64, length: f64) -> Option<$crate::buffer::RawValue> {
                self.0.wrap(range, offset, length)
            }

            /// Uses the runtime's own memory as a range's data; status in the control block.
            #[napi(catch_unwind)]
            pub fn provide(
                &self,
                range: f64,
                #[napi(ts_arg_type = "Uint8Array")] bytes: $crate::buffer::RawValue,
            ) {
                self.0.provide(range, bytes);
            }

            /// Ends the allocator. Idempotent.
            #[napi(catch_unwind)]
            pub fn close(&self) {
                self.0.close();
            }

            /// What is managed; status in the control block.
            #[napi(getter, catch_unwind)]
            pub fn $total(&self) -> f64 {
                self.0.statistic(|stats| stats.total)
            }

            /// What is granted; status in the control block.
            #[napi(getter, catch_unwind)]
            pub fn $used(&self) -> f64 {
                self.0.statistic(|stats| stats.used)
            }

            /// What is not granted; status in the control block.
            #[napi(getter, catch_unwind)]
            pub fn $available(&self) -> f64 {
                self.0.statistic(|stats| stats.available)
            }
        }
    };
}
pub(crate) use family_class;
