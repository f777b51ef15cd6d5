//! The classes behind `kind: 'two-level'`, `'buddy-pages'` and `'slab-cache'`, and what only they can do.
//!
//! Bytes and pages go through the raw callbacks of `bytes.rs` and `pages.rs`, on the handle; those speak
//! for CPU 0. Here are sections with their physical addresses, CPUs, and the slab level alone. Operands
//! and results are in the control block; `h` is the handle in `control[0]`.
//!
//! Not here: the operations (`heapwright-heap`, `heapwright-two-level`).

use std::alloc::Layout;

use heapwright_heap::{
    AnyMirror, BuddyMirror, Outcome, Refusal as HeapRefusal, SlabCacheMirror, TwoLevelMirror,
    live_table::Block,
};
use heapwright_two_level::{ClassStats, ManagedSection, SlabAlloc, SlabDealloc};
use napi::{Env, Error, sys};

use crate::{
    buffer::{self, RawValue},
    error::{Answer, Refusal},
    family::{AnyPageMirror, ByteMirror, Mirrored, family_class, translate_with, with_mirrored},
    raw::{self, Environment, integer, number},
};

impl AnyPageMirror for BuddyMirror {
    fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        Self::alloc(self, count, align)
    }

    fn alloc_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize> {
        Self::alloc_at(self, base, count, align)
    }

    fn dealloc(&mut self, pos: usize, count: Option<usize>) -> Outcome {
        Self::dealloc(self, pos, count)
    }

    fn lookup(&self, pos: usize) -> Outcome<Block> {
        Self::lookup(self, pos)
    }
}

impl AnyPageMirror for TwoLevelMirror {
    fn alloc(&mut self, count: usize, align: usize) -> Outcome<usize> {
        self.alloc_pages(count, align)
    }

    fn alloc_at(&mut self, base: usize, count: usize, align: usize) -> Outcome<usize> {
        self.alloc_pages_at(base, count, align)
    }

    fn dealloc(&mut self, pos: usize, count: Option<usize>) -> Outcome {
        self.dealloc_pages(pos, count)
    }

    fn lookup(&self, pos: usize) -> Outcome<Block> {
        self.lookup_pages(pos)
    }
}

impl ByteMirror for TwoLevelMirror {
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

    fn set_bytes(&self, _: Layout) -> usize {
        0
    }

    fn held_classes(&self) -> Vec<[usize; 3]> {
        Vec::new()
    }
}

fn refused(what: &str) -> Error {
    Error::from_reason(format!("{what} was not checked"))
}

fn two_level(env: Env, cpus: f64, page_size: f64, memory: bool) -> napi::Result<Mirrored> {
    let cpus = integer(cpus).map_err(|_| refused("the number of CPUs"))?;
    let page_size = integer(page_size).map_err(|_| refused("the page size"))?;
    let memory = buffer::memory(env, memory)?;
    let mirror = TwoLevelMirror::new(cpus, page_size, memory)
        .map_err(|_| refused("the page size or the number of CPUs"))?;
    Ok(Mirrored::TwoLevel(Box::new(mirror)))
}

fn buddy_pages(env: Env, page_size: f64, memory: bool) -> napi::Result<Mirrored> {
    let page_size = integer(page_size).map_err(|_| refused("the page size"))?;
    let memory = buffer::memory(env, memory)?;
    let mirror = BuddyMirror::new(page_size, memory).map_err(|_| refused("the page size"))?;
    Ok(Mirrored::Buddy(Box::new(mirror)))
}

fn slab_cache(_: Env, page_size: f64) -> napi::Result<Mirrored> {
    let page_size = integer(page_size).map_err(|_| refused("the page size"))?;
    let mirror = SlabCacheMirror::new(page_size).map_err(|_| refused("the page size"))?;
    Ok(Mirrored::SlabCache(Box::new(mirror)))
}

family_class! {
    /// Owns a two-level engine with its live table.
    NativeTwoLevel, new(cpus: f64, page_size: f64, memory: bool) => two_level,
    totals: total_bytes used_bytes available_bytes
}

family_class! {
    /// Owns a buddy page allocator with its live table.
    NativeBuddyPages, new(page_size: f64, memory: bool) => buddy_pages,
    totals: total_pages used_pages available_pages
}

family_class! {
    /// Owns a slab allocator with its live table.
    NativeSlabCache, new(page_size: f64) => slab_cache,
    totals: total_bytes used_bytes available_bytes
}

/// Registers the raw callbacks of this file.
///
/// # Errors
///
/// What Node-API answers when it cannot make a function.
pub(crate) fn register(env: sys::napi_env, exports: sys::napi_value) -> napi::Result<()> {
    raw::raw_callbacks!(env, exports;
        c"regionAdd" => region_add,
        c"pageAllocLowmem" => page_alloc_lowmem,
        c"virtToPhys" => virt_to_phys,
        c"engineBytes" => engine_bytes,
        c"cpuAlloc" => cpu_alloc,
        c"cpuDealloc" => cpu_dealloc,
        c"cpuDrain" => cpu_drain,
        c"engineTrim" => engine_trim,
        c"engineAdopt" => engine_adopt,
        c"slabAlloc" => slab_alloc,
        c"slabAdd" => slab_add,
        c"slabDealloc" => slab_dealloc,
    );
    Ok(())
}

/// Runs `body` on the two-level engine that `control[0]` names.
fn with_engine<R>(
    environment: &Environment,
    body: impl FnOnce(&mut TwoLevelMirror) -> Outcome<R>,
) -> Answer<R> {
    with_mirrored(environment, environment.control.get(0), |mirrored| match mirrored {
        Mirrored::TwoLevel(mirror) => {
            body(mirror).map_err(|refusal| translate(refusal, mirror.as_ref()))
        }
        _ => Err(Refusal::Unsupported),
    })
}

/// Runs `body` on the slab cache that `control[0]` names.
fn with_slab_cache<R>(
    environment: &Environment,
    body: impl FnOnce(&mut SlabCacheMirror) -> Outcome<R>,
) -> Answer<R> {
    with_mirrored(environment, environment.control.get(0), |mirrored| match mirrored {
        Mirrored::SlabCache(mirror) => {
            body(mirror).map_err(|refusal| translate(refusal, mirror.as_ref()))
        }
        _ => Err(Refusal::Unsupported),
    })
}

fn translate(refusal: HeapRefusal, mirror: &dyn AnyMirror) -> Refusal {
    translate_with(refusal, || mirror.largest_free())
}

/// What both kinds with sections can do.
trait SectionMirror {
    fn add_region(&mut self, start: usize, size: usize, phys: usize, first: bool) -> Outcome;
    fn alloc_lowmem(&mut self, count: usize, align: usize) -> Outcome<usize>;
    fn largest_free(&self) -> usize;
    fn largest_free_lowmem(&self) -> usize;
    fn virt_to_phys(&self, pos: usize) -> Outcome<usize>;
    fn managed_sections(&self) -> Outcome<Vec<ManagedSection>>;
    fn bytes(&self) -> Outcome<(usize, usize)>;
}

macro_rules! section_mirror {
    ($mirror:ident, $alloc_lowmem:ident) => {
        impl SectionMirror for $mirror {
            fn add_region(
                &mut self,
                start: usize,
                size: usize,
                phys: usize,
                first: bool,
            ) -> Outcome {
                Self::add_region(self, start, size, phys, first)
            }
            fn alloc_lowmem(&mut self, count: usize, align: usize) -> Outcome<usize> {
                Self::$alloc_lowmem(self, count, align)
            }
            fn largest_free(&self) -> usize {
                AnyMirror::largest_free(self)
            }
            fn largest_free_lowmem(&self) -> usize {
                Self::largest_free_lowmem(self)
            }
            fn virt_to_phys(&self, pos: usize) -> Outcome<usize> {
                Self::virt_to_phys(self, pos)
            }
            fn managed_sections(&self) -> Outcome<Vec<ManagedSection>> {
                Self::managed_sections(self)
            }
            fn bytes(&self) -> Outcome<(usize, usize)> {
                Self::bytes(self)
            }
        }
    };
}

section_mirror!(BuddyMirror, alloc_lowmem);
section_mirror!(TwoLevelMirror, alloc_pages_lowmem);

/// The allocator with sections among `mirrored`, if it is one.
fn sections(mirrored: &mut Mirrored) -> Answer<&mut dyn SectionMirror> {
    match mirrored {
        Mirrored::Buddy(mirror) => Ok(&mut **mirror),
        Mirrored::TwoLevel(mirror) => Ok(&mut **mirror),
        _ => Err(Refusal::Unsupported),
    }
}

/// Runs `body` on the allocator with sections that `handle` names.
fn with_sections<R>(
    environment: &Environment,
    handle: f64,
    body: impl FnOnce(&mut dyn SectionMirror) -> Outcome<R>,
) -> Answer<R> {
    with_mirrored(environment, handle, |mirrored| {
        let mirror = sections(mirrored)?;
        body(mirror).map_err(|refusal| translate_with(refusal, || mirror.largest_free()))
    })
}

/// `regionAdd` [h, start, size, physStart, -, first ? 1 : 0]
fn region_add(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (start, size, phys) = (control.integer(1)?, control.integer(2)?, control.integer(3)?);
    let first = control.integer(5)? == 1;
    with_sections(environment, control.get(0), |mirror| mirror.add_region(start, size, phys, first))
}

/// `pageAllocLowmem` [h, count, align] → [pos]; `largestFree` of a refusal is that of low memory.
fn page_alloc_lowmem(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (count, align) = (control.integer(1)?, control.integer(2)?);
    let pos = with_mirrored(environment, control.get(0), |mirrored| {
        let mirror = sections(mirrored)?;
        mirror
            .alloc_lowmem(count, align)
            .map_err(|refusal| translate_with(refusal, || mirror.largest_free_lowmem()))
    })?;
    control.set_integer(1, pos);
    Ok(())
}

/// `virtToPhys` [h, pos] → [physical address]
fn virt_to_phys(environment: &Environment) -> Answer {
    let control = &environment.control;
    let pos = control.integer(1)?;
    let phys = with_sections(environment, control.get(0), |mirror| mirror.virt_to_phys(pos))?;
    control.set_integer(1, phys);
    Ok(())
}

/// `engineBytes` [h] → [bytes managed, bytes of pages that are not free]
fn engine_bytes(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (managed, allocated) = with_sections(environment, control.get(0), |mirror| mirror.bytes())?;
    control.set_integer(1, managed);
    control.set_integer(2, allocated);
    Ok(())
}

/// `cpuAlloc` [h, cpu, size, align] → [pos]
fn cpu_alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (cpu, size, align) = (control.integer(1)?, control.integer(2)?, control.integer(3)?);
    let pos = with_engine(environment, |engine| engine.alloc_on(cpu, size, align))?;
    control.set_integer(1, pos);
    Ok(())
}

/// `cpuDealloc` [h, cpu, pos]
fn cpu_dealloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (cpu, pos) = (control.integer(1)?, control.integer(2)?);
    with_engine(environment, |engine| engine.dealloc_on(cpu, pos))
}

/// `cpuDrain` [h, cpu] → [slots that came back]
fn cpu_drain(environment: &Environment) -> Answer {
    let control = &environment.control;
    let cpu = control.integer(1)?;
    let drained = with_engine(environment, |engine| engine.drain(cpu))?;
    control.set_integer(1, drained);
    Ok(())
}

/// `engineTrim` [h] → [pages given back]
fn engine_trim(environment: &Environment) -> Answer {
    let pages = with_engine(environment, TwoLevelMirror::trim)?;
    environment.control.set_integer(1, pages);
    Ok(())
}

/// `engineAdopt` [h, from, to]
fn engine_adopt(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (from, to) = (control.integer(1)?, control.integer(2)?);
    with_engine(environment, |engine| engine.adopt(from, to))
}

/// `slabAlloc` [h, size, align] → [0, pos] or [1, class, pages]
fn slab_alloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (size, align) = (control.integer(1)?, control.integer(2)?);
    match with_slab_cache(environment, |cache| cache.alloc(size, align))? {
        SlabAlloc::Allocated(pos) => {
            control.set_integer(1, 0);
            control.set_integer(2, pos);
        }
        SlabAlloc::NeedsSlab { size_class, pages } => {
            control.set_integer(1, 1);
            control.set_integer(2, size_class.index());
            control.set_integer(3, pages);
        }
    }
    Ok(())
}

/// `slabAdd` [h, class, base, pages]
fn slab_add(environment: &Environment) -> Answer {
    let control = &environment.control;
    let (class, base, pages) = (control.integer(1)?, control.integer(2)?, control.integer(3)?);
    with_slab_cache(environment, |cache| cache.add_slab(class, base, pages))
}

/// `slabDealloc` [h, pos] → [0] or [1, base, pages]
fn slab_dealloc(environment: &Environment) -> Answer {
    let control = &environment.control;
    let pos = control.integer(1)?;
    match with_slab_cache(environment, |cache| cache.dealloc(pos))? {
        SlabDealloc::Done => control.set_integer(1, 0),
        SlabDealloc::FreeSlab { base, pages } => {
            control.set_integer(1, 1);
            control.set_integer(2, base);
            control.set_integer(3, pages);
        }
    }
    Ok(())
}

/// Numbers of a class in `slabClasses`, in this order.
const CLASS_LENGTH: usize = 8;

fn class_numbers(stats: &ClassStats) -> [usize; CLASS_LENGTH] {
    [
        stats.object_size,
        stats.slabs,
        stats.objects,
        stats.active,
        stats.partial,
        stats.full,
        stats.empty,
        stats.pending_remote,
    ]
}

/// Leaves the outcome in the control block; the numbers come back as an array of the runtime's own.
fn numbers(environment: &Environment, values: Answer<Vec<usize>>) -> Option<RawValue> {
    let made = values.and_then(|values| {
        let length = values.len();
        buffer::float64_array(environment, length, values.into_iter().map(number))
    });
    let (answer, array) = match made {
        Ok(array) => (Ok(()), Some(array)),
        Err(refusal) => (Err(refusal), None),
    };
    environment.answer(answer);
    array
}

/// `slabClasses`: the size classes of CPU `cpu`, or of a slab cache.
pub(crate) fn slab_classes(environment: &Environment, handle: f64, cpu: f64) -> Option<RawValue> {
    let classes = integer(cpu).and_then(|cpu| {
        with_mirrored(environment, handle, |mirrored| match mirrored {
            Mirrored::TwoLevel(mirror) => {
                mirror.classes(cpu).map_err(|refusal| translate(refusal, mirror.as_ref()))
            }
            Mirrored::SlabCache(mirror) => {
                mirror.classes().map_err(|refusal| translate(refusal, mirror.as_ref()))
            }
            _ => Err(Refusal::Unsupported),
        })
    });
    let flat = classes.map(|classes| classes.iter().flat_map(class_numbers).collect());
    numbers(environment, flat)
}

/// `managedSections`: the sections, one after the other.
pub(crate) fn managed_sections(environment: &Environment, handle: f64) -> Option<RawValue> {
    let sections = with_sections(environment, handle, |mirror| mirror.managed_sections());
    let flat = sections.map(|sections| sections.iter().flat_map(section_numbers).collect());
    numbers(environment, flat)
}

fn section_numbers(section: &ManagedSection) -> Vec<usize> {
    let mut row = vec![
        section.start,
        section.size,
        section.phys_start,
        section.total_pages,
        section.free_pages,
        section.free_runs.len(),
    ];
    row.extend(&section.free_runs);
    row
}
