//! Units that are free or taken: the wrapped bitmap, our index beside it, and what is managed.
//!
//! Pages and ids are the same thing here: consecutive numbers. `bitmap-allocator` holds the truth about
//! which are free, in one of four sizes; [`RunIndex`] finds runs in it. Every change is made to both.
//!
//! | bits | crate type | bytes, when all of it is in use |
//! | --- | --- | --- |
//! | 2^16 | `BitAlloc64K` | 9 KB |
//! | 2^20 | `BitAlloc1M` | 140 KB |
//! | 2^24 | `BitAlloc16M` | 2.2 MB |
//! | 2^28 | `BitAlloc256M` | 36 MB |
//!
//! Invariants ([`UnitMap::check_invariants`]):
//! 1. A unit is free in the crate's map exactly if it is free in the index.
//! 2. Only managed units are free.
//! 3. `used` is the number of managed units that are not free.
//!
//! Not here: bytes and addresses (`bitmap.rs`), errors.

use alloc::boxed::Box;

use bitmap_allocator::{BitAlloc, BitAlloc1M, BitAlloc16M, BitAlloc64K, BitAlloc256M};
use heapwright_core::{AllocError, AllocResult};

use crate::{ranges::Ranges, run_index::RunIndex, zeroed::zeroed_box};

/// The most units of one map.
pub(crate) const UNIT_COUNT_MAX: usize = BitAlloc256M::CAP;

/// The crate's map in the size that the capacity asks for, on the heap: the largest is 36 MB.
enum Map {
    Bits64K(Box<BitAlloc64K>),
    Bits1M(Box<BitAlloc1M>),
    Bits16M(Box<BitAlloc16M>),
    Bits256M(Box<BitAlloc256M>),
}

/// Runs `$body` with the crate's map of `$map`, whatever its size.
macro_rules! with_bits {
    ($map:expr, $bits:ident => $body:expr) => {
        match $map {
            Map::Bits64K($bits) => $body,
            Map::Bits1M($bits) => $body,
            Map::Bits16M($bits) => $body,
            Map::Bits256M($bits) => $body,
        }
    };
}

impl Map {
    /// The smallest map for `capacity` units, none of them free.
    fn new(capacity: usize) -> AllocResult<Self> {
        // SAFETY, for all four: the crate's maps consist of `u16` only, and their `DEFAULT` is all zeros.
        Ok(if capacity <= BitAlloc64K::CAP {
            // SAFETY: zeros are valid (above).
            Self::Bits64K(unsafe { zeroed_box() }?)
        } else if capacity <= BitAlloc1M::CAP {
            // SAFETY: zeros are valid (above).
            Self::Bits1M(unsafe { zeroed_box() }?)
        } else if capacity <= BitAlloc16M::CAP {
            // SAFETY: zeros are valid (above).
            Self::Bits16M(unsafe { zeroed_box() }?)
        } else if capacity <= BitAlloc256M::CAP {
            // SAFETY: zeros are valid (above).
            Self::Bits256M(unsafe { zeroed_box() }?)
        } else {
            return Err(AllocError::InvalidParam);
        })
    }

    fn capacity(&self) -> usize {
        fn of<B: BitAlloc>(_: &B) -> usize {
            B::CAP
        }
        with_bits!(self, bits => of(&**bits))
    }
}

/// Units from `first` on, each free, taken, or not managed.
pub(crate) struct UnitMap {
    map: Map,
    index: RunIndex,
    managed: Ranges,
    /// The unit of the crate's bit 0.
    first: usize,
    total: usize,
    used: usize,
}

impl UnitMap {
    /// A map that can manage at least `capacity` units from `first`, and manages none.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] above [`UNIT_COUNT_MAX`], [`AllocError::NoMemory`].
    pub(crate) fn new(first: usize, capacity: usize) -> AllocResult<Self> {
        let map = Map::new(capacity)?;
        let index = RunIndex::new(first, map.capacity())?;
        Ok(Self { map, index, managed: Ranges::new(), first, total: 0, used: 0 })
    }

    /// Units that the map can manage, from [`first`](Self::first) on.
    pub(crate) fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// The lowest unit that the map can manage.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Units managed.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Units taken.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Manages the `count` units from `start`, which are free from now on.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] for none and for what the map cannot hold,
    /// [`AllocError::MemoryOverlap`].
    pub(crate) fn manage(&mut self, start: usize, count: usize) -> AllocResult {
        let key = start.checked_sub(self.first).ok_or(AllocError::InvalidParam)?;
        if count > self.capacity() || key > self.capacity() - count {
            return Err(AllocError::InvalidParam);
        }
        self.managed.check(start, count)?;
        self.managed.add(start, count);
        let position = self.index.position(start);
        self.index.manage(position, position + count);
        with_bits!(&mut self.map, bits => bits.insert(key..key + count));
        self.total += count;
        Ok(())
    }

    /// Takes `count` units, the first a multiple of 2^`align_log2`: the lowest run there is.
    ///
    /// # Time Complexity
    ///
    /// Constant for one unit without alignment. Else that of [`RunIndex::find`], and linear in `count`
    /// at a few units a nanosecond.
    #[inline]
    pub(crate) fn take(&mut self, count: usize, align_log2: u32) -> Option<usize> {
        if count == 1 && align_log2 == 0 {
            let key = with_bits!(&mut self.map, bits => bits.alloc())?;
            let unit = self.first + key;
            self.index.take_one(self.index.position(unit));
            self.used += 1;
            return Some(unit);
        }
        let unit = self.find(count, align_log2)?;
        self.mark_taken(unit, count);
        Some(unit)
    }

    /// Takes exactly the `count` units from `start`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if one of them is not managed, [`AllocError::NoMemory`] if one is
    /// taken.
    pub(crate) fn take_at(&mut self, start: usize, count: usize) -> AllocResult {
        let end = self.managed_end(start, count).ok_or(AllocError::InvalidParam)?;
        if !self.index.is_run_free(self.index.position(start), self.index.position(end)) {
            return Err(AllocError::NoMemory);
        }
        self.mark_taken(start, count);
        Ok(())
    }

    /// Gives the `count` units from `start` back.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if one of them is not managed or not taken;
    /// [`AllocError::InvalidParam`] for none and where the run wraps around. Nothing has changed then.
    ///
    /// # Time Complexity
    ///
    /// Linear in `count`, at a few units a nanosecond.
    #[inline]
    pub(crate) fn give(&mut self, start: usize, count: usize) -> AllocResult {
        if count == 0 || start.checked_add(count).is_none() {
            return Err(AllocError::InvalidParam);
        }
        let end = self.managed_end(start, count).ok_or(AllocError::NotAllocated)?;
        let (position, position_end) = (self.index.position(start), self.index.position(end));
        let key = start - self.first;
        if count == 1 {
            if self.index.is_free(position) {
                return Err(AllocError::NotAllocated);
            }
            with_bits!(&mut self.map, bits => bits.dealloc(key));
            self.index.give_one(position);
        } else {
            if !self.index.is_run_taken(position, position_end) {
                return Err(AllocError::NotAllocated);
            }
            with_bits!(&mut self.map, bits => bits.insert(key..key + count));
            self.index.give(position, position_end);
        }
        self.used -= count;
        Ok(())
    }

    /// Whether `unit` is managed and taken.
    #[inline]
    pub(crate) fn is_taken(&self, unit: usize) -> bool {
        self.managed.contain(unit) && !self.index.is_free(self.index.position(unit))
    }

    /// The longest free run.
    pub(crate) fn longest_run(&self) -> usize {
        self.index.longest()
    }

    /// The longest run that [`take`](Self::take) can have now with this alignment.
    ///
    /// # Time Complexity
    ///
    /// Logarithmically many searches.
    pub(crate) fn longest_aligned_run(&self, align_log2: u32) -> usize {
        let mut fits = 0;
        let mut too_long = self.longest_run() + 1;
        // What fits, fits shorter too: `fits` always succeeds, `too_long` never.
        while too_long - fits > 1 {
            let count = fits.midpoint(too_long);
            if self.find(count, align_log2).is_some() { fits = count } else { too_long = count }
        }
        fits
    }

    /// Tests invariants 1 to 3, and those of the index.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub(crate) fn check_invariants(&self) -> Result<(), &'static str> {
        self.index.check_invariants()?;
        let mut used = 0;
        let reach = (0..self.capacity()).rev().find(|&key| self.managed.contain(self.first + key));
        for key in 0..reach.map_or(0, |key| key + 1) {
            let unit = self.first + key;
            let free = with_bits!(&self.map, bits => bits.test(key));
            if free != self.index.is_free(self.index.position(unit)) {
                return Err("the map and the index differ");
            }
            let managed = self.managed.contain(unit);
            if free && !managed {
                return Err("a unit that is not managed is free");
            }
            used += usize::from(managed && !free);
        }
        if used == self.used { Ok(()) } else { Err("the number of used units is wrong") }
    }

    #[inline]
    fn find(&self, count: usize, align_log2: u32) -> Option<usize> {
        let lead = self.index.position(self.first);
        let next_free = |position: usize| {
            let key = position.saturating_sub(lead);
            if key >= self.capacity() {
                return None;
            }
            with_bits!(&self.map, bits => bits.next(key)).map(|key| key + lead)
        };
        let position = self.index.find(count, align_log2, next_free)?;
        Some(self.index.unit(position))
    }

    #[inline]
    fn mark_taken(&mut self, start: usize, count: usize) {
        let key = start - self.first;
        with_bits!(&mut self.map, bits => bits.remove(key..key + count));
        let position = self.index.position(start);
        self.index.take(position, position + count);
        self.used += count;
    }

    /// The end of the run, if it is not empty and all of it is managed.
    #[inline]
    fn managed_end(&self, start: usize, count: usize) -> Option<usize> {
        let end = start.checked_add(count)?;
        (count > 0 && self.managed.contain_run(start, end)).then_some(end)
    }
}
