//! Many blocks at once, all or nothing.

use super::{Attachment, HeapError, HeapResult, add, alloc::Route};

impl Attachment {
    /// Allocates `count` blocks of `size` bytes.
    ///
    /// # Time Complexity
    ///
    /// Linear in the count.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); no block was allocated then.
    pub fn alloc_many(&self, size: usize, count: usize) -> HeapResult<Vec<usize>> {
        let engine = self.enter()?;
        let align = super::geometry::GRANULE_BYTES;
        let route = engine.route(size, align)?;
        let mut blocks = Vec::new();
        if blocks.try_reserve_exact(count).is_err() {
            return Err(self.no_memory(size.saturating_mul(count)));
        }
        if let Route::Class(class) = route {
            self.take_directly(class, count, &mut blocks)?;
        }
        while blocks.len() < count {
            match self.alloc_by(route, size, align) {
                Ok(p) => blocks.push(p),
                Err(error) => {
                    let _members = engine.is_shared().then(|| engine.read_members());
                    blocks.iter().try_for_each(|&p| self.free_one(p))?;
                    // They were never anybody's. May go below 0: the sum of all counts does not.
                    super::take_away(&engine.counters.allocs, blocks.len());
                    return Err(error);
                }
            }
        }
        engine.high_water(self.slot());
        Ok(blocks)
    }

    /// Takes up to `count` slots past the magazines.
    fn take_directly(&self, class: usize, count: usize, blocks: &mut Vec<usize>) -> HeapResult {
        let engine = &*self.engine;
        let size_class = engine.class(class)?;
        while blocks.len() < count {
            let first = blocks.len();
            let taken =
                engine.global.take_slots(self.cpu(), size_class, count - first, |p| blocks.push(p));
            add(&engine.counters.allocs, taken);
            add(&engine.counters.taken_blocks, taken);
            add(&engine.counters.taken_bytes, taken * engine.sizes[class - 1]);
            blocks[first..].iter().for_each(|&p| engine.state.set_live(&engine.meta, p));
            engine.bound_resident();
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Frees all of `blocks`.
    ///
    /// # Errors
    ///
    /// The first that is not the start of a live block, or is there for the second time, with
    /// [`HeapError::NotAllocated`]; none was freed then. Without a block: closed, poisoned, and
    /// [`HeapError::NoMemory`] for a list of them.
    pub fn free_many(&self, blocks: &[usize]) -> Result<(), (HeapError, Option<usize>)> {
        let engine = self.enter().map_err(|error| (error, None))?;
        let mut slots = Vec::new();
        if slots.try_reserve_exact(blocks.len()).is_err() {
            return Err((self.no_memory(size_of_val(blocks)), None));
        }
        let _members = engine.is_shared().then(|| engine.read_members());
        let claim = |&p: &usize| engine.is_place(p) && engine.claim(p, self.slot());
        if let Some(bad) = blocks.iter().position(|p| !claim(p)) {
            // Those before it were live, and are ours alone until they are live again.
            blocks[..bad].iter().for_each(|&p| engine.state.set_live(&engine.meta, p));
            return Err((HeapError::NotAllocated, Some(blocks[bad])));
        }
        engine.keep_high_water();
        self.give_many(blocks, slots).map_err(|error| (error, None))
    }

    /// Hands dead blocks back, slots in one go. There is room for all of them in `slots`.
    fn give_many(&self, blocks: &[usize], mut slots: Vec<usize>) -> HeapResult {
        let engine = &*self.engine;
        let mut bytes = 0;
        for &p in blocks {
            match engine.slot_size(p) {
                Some(size) => {
                    bytes += size;
                    slots.push(p);
                }
                None => self.give_back(p)?,
            }
        }
        if engine.global.give_slots(self.cpu(), &slots).is_err() {
            return Err(engine.poison("the state map said that a free slot was live"));
        }
        super::take_away(&engine.counters.taken_blocks, slots.len());
        super::take_away(&engine.counters.taken_bytes, bytes);
        Ok(())
    }
}
