//! Changing the size of a block: in place where class or pages allow, else by a move.

use super::{
    Attachment, HeapError, HeapResult, add,
    geometry::{GRANULE_BYTES, PAGE_BYTES},
    lock, take_away,
};

impl Attachment {
    /// Changes the size of the block at `p` to `size`, and returns where it is now. What both sizes hold
    /// keeps its bytes.
    ///
    /// A block stays where it is wherever that is possible: a slot that is large enough, and a run of pages
    /// that shrinks, which gives back its tail, or grows where its neighbors allow.
    ///
    /// # Time Complexity
    ///
    /// Constant in place, linear in the smaller size for a move.
    ///
    /// # Errors
    ///
    /// [`HeapError::NotAllocated`], [`HeapError::InvalidParam`] for a size of 0, [`HeapError::NoMemory`]: the
    /// old block is as it was. Closed, poisoned.
    pub fn realloc(&self, p: usize, size: usize) -> HeapResult<usize> {
        let engine = self.enter()?;
        let route = engine.route(size, GRANULE_BYTES)?;
        if !engine.is_place(p) || !engine.state.is_live(&engine.meta, p) {
            return Err(HeapError::NotAllocated);
        }
        let block = engine.block_at(p).filter(|block| block.start == p);
        let Some(old) = block else {
            return Err(engine.poison(format!("the state map said that {p:#x} was live")));
        };
        engine.keep_high_water();
        if self.fits_in_place(p, old.usable, size) {
            return Ok(p);
        }
        let moved = self.alloc_by(route, size, GRANULE_BYTES)?;
        engine.data.copy(p, moved, size.min(old.usable));
        engine.keep_high_water();
        let _members = engine.is_shared().then(|| engine.read_members());
        if let Err(error) = self.free_one(p) {
            // Another thread freed it meanwhile: the new block must not stay behind.
            self.free_one(moved)?;
            return Err(error);
        }
        Ok(moved)
    }

    fn fits_in_place(&self, p: usize, usable: usize, size: usize) -> bool {
        let engine = &*self.engine;
        let count = size.div_ceil(PAGE_BYTES);
        let mut large = lock(&engine.large);
        let Some(pages) = large.get_mut(&p) else { return size <= usable };
        if count == *pages {
            return true;
        }
        if engine.global.resize_pages(p, *pages, count).is_err() {
            return false;
        }
        let old = std::mem::replace(pages, count);
        drop(large);
        if count > old {
            engine.pages.residency.touch(p, count);
            engine.bound_resident();
            add(&engine.counters.taken_bytes, (count - old) * PAGE_BYTES);
        } else {
            take_away(&engine.counters.taken_bytes, (old - count) * PAGE_BYTES);
        }
        true
    }
}
