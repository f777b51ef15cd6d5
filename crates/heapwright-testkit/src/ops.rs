//! The operation generator: seeded sequences of allocations, frees and changes of size.
//!
//! A [`Generator`] hands out operations on numbered blocks. It believes that every operation succeeds;
//! when the allocator under test refuses an allocation, the driver says so with
//! [`refused`](Generator::refused), and the number is free again. Numbers are small and used again, so
//! that a driver can keep its blocks in a `Vec`.
//!
//! The sequence goes through phases: in one, twice as many blocks are born as die, in the next it is the
//! other way round. So an allocator sees full, fragmented and nearly empty states again and again.

use crate::prng::Prng;

/// One operation of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Allocate block `key`, which is not live.
    Alloc {
        /// The number of the block.
        key: usize,
        /// Its size, from 1.
        size: usize,
        /// Its alignment, a power of two.
        align: usize,
    },
    /// Free block `key`, which is live.
    Free {
        /// The number of the block.
        key: usize,
    },
    /// Give block `key`, which is live, another size.
    Realloc {
        /// The number of the block.
        key: usize,
        /// Its new size, from 1.
        size: usize,
    },
}

/// How sizes are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Sizes {
    /// Every size from the first to the second alike.
    Uniform(usize, usize),
    /// Every power of two from the first to the second alike, and within it every size alike: many small
    /// blocks, few large ones, as programs have.
    LogUniform(usize, usize),
    /// One of a list.
    OneOf(&'static [usize]),
}

impl Sizes {
    /// Draws one size.
    ///
    /// # Panics
    ///
    /// If the range or list is empty, or begins at 0.
    pub fn draw(&self, prng: &mut Prng) -> usize {
        match *self {
            Self::Uniform(low, high) => prng.between(low, high),
            Self::LogUniform(low, high) => {
                assert!(low > 0, "a size is at least 1");
                let order = prng.between(low.ilog2() as usize, high.ilog2() as usize);
                let from = (1_usize << order).max(low);
                let to = ((2_usize << order) - 1).min(high);
                prng.between(from, to)
            }
            Self::OneOf(list) => list[prng.below(list.len())],
        }
    }
}

/// What a sequence is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// How sizes are drawn.
    pub sizes: Sizes,
    /// The largest alignment, as a power of two: 0 asks for alignment 1 only.
    pub align_log2_max: usize,
    /// In how many of 100 allocations an alignment is drawn at all; the others ask for `align_usual`.
    pub align_percent: usize,
    /// The alignment of all other allocations.
    pub align_usual: usize,
    /// How many of 100 operations change a size.
    pub realloc_percent: usize,
    /// The most blocks alive at a time.
    pub live_max: usize,
    /// Operations before growing turns into shrinking, or back.
    pub phase_len: usize,
}

impl Mix {
    /// Blocks of 1 to 1,024 bytes, 10 % changes of size, alignments up to 256.
    pub const fn small() -> Self {
        Self {
            sizes: Sizes::LogUniform(1, 1024),
            align_log2_max: 8,
            align_percent: 20,
            align_usual: 8,
            realloc_percent: 10,
            live_max: 4096,
            phase_len: 3000,
        }
    }

    /// Blocks of 1 byte to 64 KiB, 10 % changes of size, alignments up to 16 KiB.
    pub const fn wide() -> Self {
        Self {
            sizes: Sizes::LogUniform(1, 65_536),
            align_log2_max: 14,
            align_percent: 15,
            align_usual: 16,
            realloc_percent: 10,
            live_max: 2048,
            phase_len: 2000,
        }
    }

    /// Runs of 1 to 600 pages or ids, no changes of size, alignments up to 64.
    pub const fn runs() -> Self {
        Self {
            sizes: Sizes::LogUniform(1, 600),
            align_log2_max: 6,
            align_percent: 25,
            align_usual: 1,
            realloc_percent: 0,
            live_max: 3000,
            phase_len: 2500,
        }
    }

    /// The same mix with another limit of blocks alive.
    #[must_use]
    pub const fn with_live_max(mut self, live_max: usize) -> Self {
        self.live_max = live_max;
        self
    }

    /// The same mix with other sizes.
    #[must_use]
    pub const fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }
}

/// An endless sequence of operations.
///
/// # Examples
///
/// ```
/// use heapwright_testkit::{Generator, Mix, Op};
///
/// let mut generator = Generator::new(1, Mix::small());
/// let Op::Alloc { key, size, .. } = generator.next_op() else { unreachable!() };
/// assert!(key == 0 && (1..=1024).contains(&size));
/// generator.refused(key); // Had the allocator been out of memory.
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    prng: Prng,
    mix: Mix,
    live: Vec<usize>,
    unused: Vec<usize>,
    key_count: usize,
    step: usize,
}

impl Generator {
    /// A sequence that `seed` and `mix` determine.
    pub const fn new(seed: u64, mix: Mix) -> Self {
        Self {
            prng: Prng::new(seed),
            mix,
            live: Vec::new(),
            unused: Vec::new(),
            key_count: 0,
            step: 0,
        }
    }

    /// The next operation. The first is always an allocation.
    pub fn next_op(&mut self) -> Op {
        let growing = (self.step / self.mix.phase_len).is_multiple_of(2);
        self.step += 1;
        if !self.live.is_empty() && self.prng.chance(self.mix.realloc_percent, 100) {
            let key = self.live[self.prng.below(self.live.len())];
            return Op::Realloc { key, size: self.mix.sizes.draw(&mut self.prng) };
        }
        let birth = self.prng.chance(if growing { 2 } else { 1 }, 3);
        if self.live.is_empty() || (birth && self.live.len() < self.mix.live_max) {
            self.birth()
        } else {
            let index = self.prng.below(self.live.len());
            let key = self.live.swap_remove(index);
            self.unused.push(key);
            Op::Free { key }
        }
    }

    /// The allocation of `key`, the operation given out last, was refused: the block is not live.
    ///
    /// # Panics
    ///
    /// If the last operation was another.
    pub fn refused(&mut self, key: usize) {
        assert_eq!(self.live.pop(), Some(key), "only the last allocation can be refused");
        self.unused.push(key);
    }

    /// Frees of all blocks that are still alive, in random order.
    pub fn drain(&mut self) -> Vec<Op> {
        let mut keys = core::mem::take(&mut self.live);
        self.prng.shuffle(&mut keys);
        self.unused.extend(&keys);
        keys.into_iter().map(|key| Op::Free { key }).collect()
    }

    /// The number of blocks alive.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    fn birth(&mut self) -> Op {
        let key = self.unused.pop().unwrap_or_else(|| {
            self.key_count += 1;
            self.key_count - 1
        });
        self.live.push(key);
        let size = self.mix.sizes.draw(&mut self.prng);
        let align = if self.prng.chance(self.mix.align_percent, 100) {
            1 << self.prng.between(0, self.mix.align_log2_max)
        } else {
            self.mix.align_usual
        };
        Op::Alloc { key, size, align }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn is_determined_by_its_seed() {
        let draw = |seed| {
            let mut generator = Generator::new(seed, Mix::wide());
            (0..500).map(|_| generator.next_op()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn names_only_blocks_that_are_in_the_right_state() {
        let mix = Mix::small().with_live_max(50);
        let mut generator = Generator::new(4, mix);
        let mut live = BTreeSet::new();
        let (mut births, mut deaths, mut changes, mut most) = (0, 0, 0, 0);
        for step in 0..20_000 {
            match generator.next_op() {
                Op::Alloc { key, size, align } => {
                    births += 1;
                    assert!((1..=1024).contains(&size) && align.is_power_of_two() && align <= 256);
                    assert!(key < 50, "numbers are used again");
                    if step % 7 == 0 {
                        generator.refused(key);
                    } else {
                        assert!(live.insert(key));
                    }
                }
                Op::Free { key } => {
                    deaths += 1;
                    assert!(live.remove(&key));
                }
                Op::Realloc { key, size } => {
                    changes += 1;
                    assert!(live.contains(&key) && size > 0);
                }
            }
            most = most.max(live.len());
            assert_eq!(generator.live_count(), live.len());
        }
        assert!(births > 5_000 && deaths > 5_000 && changes > 1_500 && most == 50);
        for op in generator.drain() {
            let Op::Free { key } = op else { panic!("{op:?}") };
            assert!(live.remove(&key));
        }
        assert!(live.is_empty());
    }

    #[test]
    fn draws_every_size_of_a_range() {
        let mut prng = Prng::new(6);
        for sizes in [Sizes::Uniform(3, 9), Sizes::LogUniform(3, 9)] {
            let drawn: BTreeSet<_> = (0..2_000).map(|_| sizes.draw(&mut prng)).collect();
            assert_eq!(drawn, (3..=9).collect());
        }
        assert_eq!(Sizes::OneOf(&[7]).draw(&mut prng), 7);
    }
}
