//! The raw callbacks of pages.
//!
//! Operands and results are in the control block; `h` is the handle in `control[0]`, and -1 stands for a
//! count that the program left out. Sizes of ranges and alignments are bytes, counts are pages.
//!
//! Not here: the classes (`bitmap.rs`, `two_level.rs`), the operations (`heapwright-heap`).

use crate::{error::Answer, family::with_pages, raw::Environment};

/// `pageAlloc` [h, count, align] → [pos]
#[inline]
pub(crate) fn page_alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (count, align) = (control.integer(1)?, control.integer(2)?);
    let pos = with_pages(environment, |mirror| mirror.alloc(count, align))?;
    control.set_integer(1, pos);
    Ok(())
}

/// `pageAllocAt` [h, base, count, align] → [pos]
pub(crate) fn page_alloc_at(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (base, count, align) = (control.integer(1)?, control.integer(2)?, control.integer(3)?);
    let pos = with_pages(environment, |mirror| mirror.alloc_at(base, count, align))?;
    control.set_integer(1, pos);
    Ok(())
}

/// `pageDealloc` [h, pos, count | -1]
#[inline]
pub(crate) fn page_dealloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (pos, count) = (control.integer(1)?, control.optional(2)?);
    with_pages(environment, |mirror| mirror.dealloc(pos, count))
}

/// `pageLookup` [h, pos] → [count, align]
pub(crate) fn page_lookup(environment: &Environment) -> Answer {
    let control = &environment.control;
    let pos = control.integer(1)?;
    let block = with_pages(environment, |mirror| mirror.lookup(pos))?;
    control.set_integer(1, block.size);
    control.set_integer(2, block.align);
    Ok(())
}
