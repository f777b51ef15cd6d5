//! The class behind `kind: 'id'`, and the raw callbacks of ids.
//!
//! Operands and results are in the control block; `h` is the handle in `control[0]`, and -1 stands for a
//! count that the program left out.

use heapwright_allocators::BitmapIdAllocator;
use heapwright_core::IdFamily;
use heapwright_heap::{IdMirror, Outcome};
use napi::Env;

use crate::{
    error::Answer,
    family::{AnyIdMirror, Mirrored, family_class, with_ids},
    raw::Environment,
};

impl<F: IdFamily> AnyIdMirror for IdMirror<F> {
    fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        Self::alloc(self, count, align)
    }

    fn alloc_fixed(&mut self, id: usize) -> Outcome {
        Self::alloc_fixed(self, id)
    }

    fn dealloc(&mut self, start: usize, count: Option<usize>) -> Outcome {
        Self::dealloc(self, start, count)
    }

    fn is_allocated(&self, id: usize) -> Outcome<bool> {
        Self::is_allocated(self, id)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the other kinds, which can fail")]
fn mirrored(_: Env) -> napi::Result<Mirrored> {
    Ok(Mirrored::Ids(Box::new(IdMirror::new(BitmapIdAllocator::new()))))
}

family_class! {
    /// Owns a `BitmapIdAllocator` with its live table.
    NativeId, new() => mirrored,
    totals: size used available
}

/// `idAlloc` [h, count, align] → [id]
#[inline]
pub(crate) fn id_alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (count, align) = (control.integer(1)?, control.integer(2)?);
    let id = with_ids(environment, |mirror| mirror.alloc(count, align))?;
    control.set_integer(1, id);
    Ok(())
}

/// `idAllocFixed` [h, id]
pub(crate) fn id_alloc_fixed(environment: &Environment) -> Answer {
    let id = environment.control.integer(1)?;
    with_ids(environment, |mirror| mirror.alloc_fixed(id))
}

/// `idDealloc` [h, start, count | -1]
#[inline]
pub(crate) fn id_dealloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (start, count) = (control.integer(1)?, control.optional(2)?);
    with_ids(environment, |mirror| mirror.dealloc(start, count))
}

/// `idIsAllocated` [h, id] → [0 | 1]
pub(crate) fn id_is_allocated(environment: &Environment) -> Answer {
    let control = &environment.control;
    let id = control.integer(1)?;
    let taken = with_ids(environment, |mirror| mirror.is_allocated(id))?;
    control.set(1, f64::from(u8::from(taken)));
    Ok(())
}
