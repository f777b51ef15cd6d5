//! Changing the size of a block: in place where class or pages allow, else by a move.

use super::{
    Attachment, HeapError, HeapResult, add,
    alloc::Route,
    geometry::{GRANULE_BYTES, PAGE_BYTES},
    lock, take_away,
};

impl Attachment {
    /// Changes the size of the block at `p` to `size`, and returns where it is now. What both sizes hold
    /// keeps its bytes.
    ///
    /// A block stays where it is if its class serves the new size, or if it is smaller by less than half:
    /// moving costs more than that. A run of pages grows and shrinks in place where its neighbors allow.
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
        if self.fits_in_place(p, old.usable, route, size) {
            engine.high_water(self.slot());
            return Ok(p);
        }
        let moved = match self.alloc_by(route, size, GRANULE_BYTES) {
            Ok(moved) => moved,
            // A smaller block is not to be had, but the old one is large enough.
            Err(HeapError::NoMemory { .. }) if size <= old.usable => return Ok(p),
            Err(error) => return Err(error),
        };
        engine.data.copy(p, moved, size.min(old.usable));
        let _members = engine.is_shared().then(|| engine.read_members());
        if let Err(error) = self.free_one(p) {
            // Another thread freed it meanwhile: the new block must not stay behind.
            self.free_one(moved)?;
            return Err(error);
        }
        engine.high_water(self.slot());
        Ok(moved)
    }

    fn fits_in_place(&self, p: usize, usable: usize, route: Route, size: usize) -> bool {
        let engine = &*self.engine;
        let Route::Pages { count, .. } = route else {
            return size <= usable && size > usable / 2;
        };
        let mut large = lock(&engine.large);
        let Some(pages) = large.get_mut(&p) else { return false };
        if count == *pages {
            return true;
        }
        if engine.global.resize_pages(p, *pages, count).is_err() {
            return false;
        }
        let old = std::mem::replace(pages, count);
        drop(large);
        if count > old {
            engine.pages.touch(p, count);
            add(&engine.counters.taken_bytes, (count - old) * PAGE_BYTES);
        } else {
            take_away(&engine.counters.taken_bytes, (old - count) * PAGE_BYTES);
        }
        true
    }
}
