//! The raw callbacks of the byte families: what runs once per allocation, and the batches.
//!
//! Operands and results are in the control block; `h` is the handle in `control[0]`, and -1 stands for a
//! size or alignment that the program left out.
//!
//! Not here: the classes (`buddy.rs`, `tlsf.rs`, `slab.rs`), the operations (`heapwright-heap`).

use std::alloc::Layout;

use heapwright_core::ByteFamily;
use heapwright_heap::{Mirror, Outcome, Refusal as HeapRefusal, live_table::Block};

use crate::{
    error::{Answer, Refusal},
    family::{ByteMirror, with_bytes},
    raw::{Environment, Numbers, integer, number},
};

/// What a family tells about memory that its crate holds in classes; nothing by default.
pub(crate) trait Held {
    /// The bytes in one piece that a first block of `layout` needs where that is more than the block; else 0.
    fn set_bytes(&self, _layout: Layout) -> usize {
        0
    }

    /// Block size, live blocks and bytes held of each class that never gives back what it holds.
    fn held_classes(&self) -> Vec<[usize; 3]> {
        Vec::new()
    }
}

impl<F: ByteFamily + Held> ByteMirror for Mirror<F> {
    fn alloc(&mut self, size: usize, align: usize) -> Outcome<usize> {
        Self::alloc(self, size, align)
    }

    fn alloc_zeroed(&mut self, size: usize, align: usize) -> Outcome<usize> {
        Self::alloc_zeroed(self, size, align)
    }

    fn dealloc(&mut self, pos: usize, size: Option<usize>, align: Option<usize>) -> Outcome {
        Self::dealloc(self, pos, size, align)
    }

    fn realloc(&mut self, pos: usize, new_size: usize) -> Outcome<usize> {
        Self::realloc(self, pos, new_size)
    }

    fn lookup(&self, pos: usize) -> Outcome<(Block, usize)> {
        Self::lookup(self, pos)
    }

    fn alloc_many(&mut self, size: usize, align: usize, count: usize) -> Outcome<Vec<usize>> {
        Self::alloc_many(self, size, align, count)
    }

    fn dealloc_many(&mut self, positions: &[usize]) -> Result<(), (usize, HeapRefusal)> {
        Self::dealloc_many(self, positions)
    }

    fn set_bytes(&self, layout: Layout) -> usize {
        self.family().set_bytes(layout)
    }

    fn held_classes(&self) -> Vec<[usize; 3]> {
        self.family().held_classes()
    }
}

/// Adds to a refusal for lack of memory what a set of that class needs, in `control[4]`.
#[cold]
fn name_set(environment: &Environment, refusal: Refusal, size: usize, align: usize) -> Refusal {
    if matches!(refusal, Refusal::NoMemory { .. }) {
        let set = Layout::from_size_align(size, align)
            .ok()
            .and_then(|layout| with_bytes(environment, |mirror| Ok(mirror.set_bytes(layout))).ok());
        environment.control.set_integer(4, set.unwrap_or_default());
    }
    refusal
}

/// `byteAlloc` [h, size, align] → [pos]
#[inline]
pub(crate) fn byte_alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    match with_bytes(environment, |mirror| mirror.alloc(size, align)) {
        Ok(pos) => {
            control.set_integer(1, pos);
            Ok(())
        }
        Err(refusal) => Err(name_set(environment, refusal, size, align)),
    }
}

/// `byteAllocZeroed` [h, size, align] → [pos]
pub(crate) fn byte_alloc_zeroed(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    let pos = with_bytes(environment, |mirror| mirror.alloc_zeroed(size, align))
        .map_err(|refusal| name_set(environment, refusal, size, align))?;
    control.set_integer(1, pos);
    Ok(())
}

/// `byteDealloc` [h, pos, size | -1, align | -1]
#[inline]
pub(crate) fn byte_dealloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let pos = control.integer(1)?;
    let (size, align) = (control.optional(2)?, control.optional(3)?);
    with_bytes(environment, |mirror| mirror.dealloc(pos, size, align))
}

/// `byteRealloc` [h, pos, newSize] → [pos]
pub(crate) fn byte_realloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (pos, new_size) = (control.integer(1)?, control.integer(2)?);
    let moved = with_bytes(environment, |mirror| mirror.realloc(pos, new_size))
        .map_err(|refusal| name_set(environment, refusal, new_size, 1))?;
    control.set_integer(1, moved);
    Ok(())
}

/// `byteLookup` [h, pos] → [size, align, usable]
pub(crate) fn byte_lookup(environment: &Environment) -> Answer {
    let control = &environment.control;
    let pos = control.integer(1)?;
    let (block, usable) = with_bytes(environment, |mirror| mirror.lookup(pos))?;
    control.set_integer(1, block.size);
    control.set_integer(2, block.align);
    control.set_integer(3, usable);
    Ok(())
}

/// `byteAllocMany(out)` [h, size, align]: fills `out`, all or nothing.
pub(crate) fn byte_alloc_many(environment: &Environment, out: Numbers) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    let taken = with_bytes(environment, |mirror| mirror.alloc_many(size, align, out.length()))
        .map_err(|refusal| name_set(environment, refusal, size, align))?;
    for (index, pos) in taken.into_iter().enumerate() {
        out.set(index, number(pos));
    }
    Ok(())
}

/// `byteDeallocMany(positions)` [h]: all or nothing; on an error `control[1]` is the position it is about.
pub(crate) fn byte_dealloc_many(environment: &Environment, positions: Numbers) -> Answer {
    let control = &environment.control;
    let mut starts = Vec::new();
    let count = positions.length();
    starts.try_reserve_exact(count).map_err(|_| Refusal::NoMemory {
        requested: number(count),
        largest_free: 0.0,
        errno: 12,
    })?;
    // Read once: JavaScript may share these numbers with another thread.
    let mut offender = None;
    for value in (0..count).map(|index| positions.get(index)) {
        match integer(value) {
            Ok(start) => starts.push(start),
            Err(refusal) => {
                control.set(1, value);
                return Err(refusal);
            }
        }
    }
    let outcome = with_bytes(environment, |mirror| {
        mirror.dealloc_many(&starts).map_err(|(start, refusal)| {
            offender = Some(start);
            refusal
        })
    });
    if let Some(start) = offender {
        control.set_integer(1, start);
    }
    outcome
}

/// `heldClasses` [h] → [count, (block size, live blocks, bytes held) each]: what a slab never gives back.
pub(crate) fn held_classes(environment: &Environment) -> Answer {
    let control = &environment.control;
    let classes = with_bytes(environment, |mirror| Ok(mirror.held_classes()))?;
    control.set_integer(1, classes.len());
    for (index, value) in classes.into_iter().flatten().enumerate() {
        control.set_integer(index + 2, value);
    }
    Ok(())
}
