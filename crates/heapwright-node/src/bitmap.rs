//! The class behind `kind: 'bitmap'`.
//!
//! Its operations are the raw callbacks of `pages.rs`, on the handle.

use heapwright_allocators::BitmapPageAllocator;
use heapwright_core::PageFamily;
use heapwright_heap::{Outcome, PageMirror, live_table::Block};
use napi::{Env, Error};

use crate::{
    buffer,
    family::{AnyPageMirror, Mirrored, family_class},
    raw::integer,
};

impl<F: PageFamily> AnyPageMirror for PageMirror<F> {
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

/// `capacity_bytes` 0 stands for the smallest map that holds the first range.
fn mirrored(env: Env, page_size: f64, memory: bool, capacity_bytes: f64) -> napi::Result<Mirrored> {
    let refused = |what: &str| Error::from_reason(format!("{what} was not checked"));
    let page_size = integer(page_size).map_err(|_| refused("the page size"))?;
    let capacity_bytes = integer(capacity_bytes).map_err(|_| refused("the capacity"))?;
    let capacity_pages = capacity_bytes.checked_div(page_size).unwrap_or_default();
    let family = BitmapPageAllocator::with_capacity(page_size, capacity_pages)
        .map_err(|_| refused("the page size or the capacity"))?;
    let memory = buffer::memory(env, memory)?;
    let capacity_bytes = Some(capacity_bytes).filter(|&bytes| bytes > 0);
    Ok(Mirrored::Pages(Box::new(PageMirror::new(family, memory, capacity_bytes))))
}

family_class! {
    /// Owns a `BitmapPageAllocator` with its live table.
    NativeBitmap, new(page_size: f64, memory: bool, capacity_bytes: f64) => mirrored,
    totals: total_pages used_pages available_pages
}
