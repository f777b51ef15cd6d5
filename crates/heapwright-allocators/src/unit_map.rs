//! Units that are free or taken: the wrapped bitmap, our index beside it, and what is managed.
//!
//! Pages and ids are the same thing here: consecutive numbers. `bitmap-allocator` holds the truth about
//! which are free, in one of four sizes; a [`RunIndex`] for each managed range finds runs in it. Every
//! change is made to both. No run spans two ranges, also where they touch.
//!
//! | bits | crate type | bytes, when all of it is in use |
//! | --- | --- | --- |
//! | 2^16 | `BitAlloc64K` | 9 KB |
//! | 2^20 | `BitAlloc1M` | 140 KB |
//! | 2^24 | `BitAlloc16M` | 2.2 MB |
//! | 2^28 | `BitAlloc256M` | 36 MB |
//!
//! Invariants ([`UnitMap::check_invariants`]):
//! 1. A unit is free in the crate's map exactly if it is free in the index of its range.
//! 2. Only managed units are free.
//! 3. `used` is the number of managed units that are not free.
//! 4. Ranges are sorted, none is empty, none overlaps another.
//!
//! Not here: bytes and addresses (`bitmap.rs`), errors.

use alloc::{boxed::Box, vec::Vec};

use bitmap_allocator::{BitAlloc, BitAlloc1M, BitAlloc16M, BitAlloc64K, BitAlloc256M};
use heapwright_core::{AllocError, AllocResult};

use crate::{run_index::RunIndex, zeroed::zeroed_box};

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

/// The units `[start, end)` that are managed together.
struct Range {
    start: usize,
    end: usize,
    index: RunIndex,
}

/// Units from `first` on, each free, taken, or not managed.
pub(crate) struct UnitMap {
    map: Map,
    ranges: Vec<Range>,
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
        Ok(Self { map, ranges: Vec::new(), first, total: 0, used: 0 })
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
    /// [`AllocError::MemoryOverlap`], [`AllocError::NoMemory`].
    pub(crate) fn manage(&mut self, start: usize, count: usize) -> AllocResult {
        let key = start.checked_sub(self.first).ok_or(AllocError::InvalidParam)?;
        if count == 0 || count > self.capacity() || key > self.capacity() - count {
            return Err(AllocError::InvalidParam);
        }
        let end = start + count;
        let place = self.ranges.partition_point(|range| range.end <= start);
        if self.ranges.get(place).is_some_and(|range| range.start < end) {
            return Err(AllocError::MemoryOverlap);
        }
        self.ranges.try_reserve(1).map_err(|_| AllocError::NoMemory)?;
        let index = RunIndex::new(start, count)?;
        self.ranges.insert(place, Range { start, end, index });
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
            let place = self.place_of(unit)?;
            let index = &mut self.ranges[place].index;
            index.take_one(index.position(unit));
            self.used += 1;
            return Some(unit);
        }
        let (place, unit) = self.find(count, align_log2)?;
        self.mark_taken(place, unit, count);
        Some(unit)
    }

    /// Takes exactly the `count` units from `start`.
    ///
    /// # Errors
    ///
    /// [`AllocError::InvalidParam`] if they do not all lie in one range, [`AllocError::NoMemory`] if one
    /// is taken.
    pub(crate) fn take_at(&mut self, start: usize, count: usize) -> AllocResult {
        let (place, end) = self.managed_run(start, count).ok_or(AllocError::InvalidParam)?;
        let index = &self.ranges[place].index;
        if !index.is_run_free(index.position(start), index.position(end)) {
            return Err(AllocError::NoMemory);
        }
        self.mark_taken(place, start, count);
        Ok(())
    }

    /// Gives the `count` units from `start` back.
    ///
    /// # Errors
    ///
    /// [`AllocError::NotAllocated`] if they do not all lie in one range or one is not taken;
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
        let (place, end) = self.managed_run(start, count).ok_or(AllocError::NotAllocated)?;
        let index = &mut self.ranges[place].index;
        let (position, position_end) = (index.position(start), index.position(end));
        let key = start - self.first;
        if count == 1 {
            if index.is_free(position) {
                return Err(AllocError::NotAllocated);
            }
            with_bits!(&mut self.map, bits => bits.dealloc(key));
            index.give_one(position);
        } else {
            if !index.is_run_taken(position, position_end) {
                return Err(AllocError::NotAllocated);
            }
            with_bits!(&mut self.map, bits => bits.insert(key..key + count));
            index.give(position, position_end);
        }
        self.used -= count;
        Ok(())
    }

    /// Whether `unit` is managed and taken.
    #[inline]
    pub(crate) fn is_taken(&self, unit: usize) -> bool {
        self.place_of(unit).is_some_and(|place| {
            let index = &self.ranges[place].index;
            !index.is_free(index.position(unit))
        })
    }

    /// The longest free run.
    pub(crate) fn longest_run(&self) -> usize {
        self.ranges.iter().map(|range| range.index.longest()).max().unwrap_or_default()
    }

    /// The longest run that [`take`](Self::take) can have now with this alignment.
    ///
    /// # Time Complexity
    ///
    /// That of [`longest_run`](Self::longest_run) without alignment, else logarithmically many searches.
    pub(crate) fn longest_aligned_run(&self, align_log2: u32) -> usize {
        let longest = self.longest_run();
        if align_log2 == 0 {
            return longest;
        }
        let (mut fits, mut too_long) = (0, longest + 1);
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
        let mut used = 0;
        let mut end = self.first;
        for range in &self.ranges {
            if range.start < end || range.end <= range.start {
                return Err("ranges are empty or out of order");
            }
            if (end..range.start).any(|unit| self.is_free_in_map(unit)) {
                return Err("a unit that is not managed is free");
            }
            range.index.check_invariants()?;
            for unit in range.start..range.end {
                let free = self.is_free_in_map(unit);
                if free != range.index.is_free(range.index.position(unit)) {
                    return Err("the map and the index differ");
                }
                used += usize::from(!free);
            }
            end = range.end;
        }
        let key = end - self.first;
        if key < self.capacity() && with_bits!(&self.map, bits => bits.next(key)).is_some() {
            return Err("a unit that is not managed is free");
        }
        if used == self.used { Ok(()) } else { Err("the number of used units is wrong") }
    }

    fn is_free_in_map(&self, unit: usize) -> bool {
        with_bits!(&self.map, bits => bits.test(unit - self.first))
    }

    /// The lowest run that fits, and the place of its range.
    #[inline]
    fn find(&self, count: usize, align_log2: u32) -> Option<(usize, usize)> {
        self.ranges.iter().enumerate().find_map(|(place, range)| {
            let index = &range.index;
            let next_free = |position: usize| {
                // Positions before the first unit of the range are not free.
                let key = index.unit(position).max(range.start) - self.first;
                if key >= self.capacity() {
                    return None;
                }
                let free = with_bits!(&self.map, bits => bits.next(key))?;
                Some(index.position(self.first + free))
            };
            let position = index.find(count, align_log2, next_free)?;
            Some((place, index.unit(position)))
        })
    }

    #[inline]
    fn mark_taken(&mut self, place: usize, start: usize, count: usize) {
        let key = start - self.first;
        with_bits!(&mut self.map, bits => bits.remove(key..key + count));
        let index = &mut self.ranges[place].index;
        let position = index.position(start);
        index.take(position, position + count);
        self.used += count;
    }

    /// The place of the range that `unit` lies in.
    #[inline]
    fn place_of(&self, unit: usize) -> Option<usize> {
        let place = match self.ranges.as_slice() {
            [_] => 0,
            ranges => ranges.partition_point(|range| range.end <= unit),
        };
        let range = self.ranges.get(place)?;
        (range.start <= unit && unit < range.end).then_some(place)
    }

    /// The place of the range and the end of the run, if it is not empty and lies in one range.
    #[inline]
    fn managed_run(&self, start: usize, count: usize) -> Option<(usize, usize)> {
        let end = start.checked_add(count)?;
        let place = self.place_of(start)?;
        (count > 0 && end <= self.ranges[place].end).then_some((place, end))
    }
}
