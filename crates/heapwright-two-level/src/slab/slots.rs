//! Slots of one slab: two bitmaps, and the only atomic that decides a free.
//!
//! | freed | available | the slot is |
//! | --- | --- | --- |
//! | 0 | 0 | live: in a user's hands |
//! | 1 | 1 | free: its owner may hand it out |
//! | 1 | 0 | pending: freed by another CPU, not drained yet |
//! | 0 | 1 | never |
//!
//! *Every* free, the owner's as well as a remote one, sets the freed bit by `fetch_or`; whoever
//! finds it set has lost (HAZARDS CC5, RF5). The available bits belong to the owner alone. What is
//! pending follows from both, so nothing is counted that could be wrong (RF4).
//!
//! Where no other CPU can free (`SHARED` is false: there is one CPU only, or the allocator is borrowed for
//! writing) the same steps are plain loads and stores: two atomics less for each pair.
//!
//! Not here: who queues the slab after a remote free; see `remote.rs`.

use super::arena::{Slab, SlabState, bitmap_words};
use crate::sync::{AtomicU64, Ordering};

/// A slot, by bitmap word and bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotBit {
    pub(crate) word: usize,
    pub(crate) mask: u64,
}

impl SlotBit {
    #[inline]
    pub(crate) fn of(slot: usize) -> Self {
        Self { word: slot / 64, mask: 1 << (slot % 64) }
    }
}

impl Slab<'_> {
    /// Hands the lowest available slot out of the only bitmap word, which has one.
    ///
    /// The caller holds the owner's lock and writes the state.
    #[inline]
    pub(crate) fn take_from_word<const SHARED: bool>(self) -> usize {
        let (available, freed) = self.only_words();
        let bits = available.load(Ordering::Relaxed);
        debug_assert_ne!(bits, 0);
        available.store(bits & bits.wrapping_sub(1), Ordering::Relaxed);
        hand_out::<SHARED>(freed, bits & bits.wrapping_neg());
        bits.trailing_zeros() as usize
    }

    /// The same of one of `words` bitmap words; returns the word to search from next time, too.
    #[inline]
    pub(crate) fn take_from_words<const SHARED: bool>(
        self,
        words: usize,
        search: u8,
    ) -> (usize, u8) {
        let available = self.available(words);
        let mut word = usize::from(search);
        let bits = loop {
            let bits = available[word].load(Ordering::Relaxed);
            if bits != 0 {
                break bits;
            }
            word += 1;
        };
        available[word].store(bits & bits.wrapping_sub(1), Ordering::Relaxed);
        hand_out::<SHARED>(&self.freed(words)[word], bits & bits.wrapping_neg());
        (word * 64 + bits.trailing_zeros() as usize, search_from(word))
    }

    /// Hands up to `max` available slots out, ascending; returns how many.
    ///
    /// The caller holds the owner's lock and writes `state` back.
    #[inline]
    pub(crate) fn take_many<const SHARED: bool>(
        self,
        words: usize,
        state: &mut SlabState,
        max: usize,
        mut out: impl FnMut(usize),
    ) -> usize {
        let available = self.available(words);
        let count = max.min(state.available as usize);
        let mut left = count;
        let mut word = usize::from(state.search);
        while left > 0 {
            let bits = available[word].load(Ordering::Relaxed);
            if bits == 0 {
                word += 1;
                continue;
            }
            let mut rest = bits;
            if bits.count_ones() as usize <= left {
                available[word].store(0, Ordering::Relaxed);
                hand_out::<SHARED>(&self.freed(words)[word], bits);
                left -= bits.count_ones() as usize;
                while rest != 0 {
                    out(word * 64 + rest.trailing_zeros() as usize);
                    rest &= rest - 1;
                }
                continue;
            }
            for _ in 0..left {
                rest &= rest - 1;
            }
            available[word].store(rest, Ordering::Relaxed);
            let mut taken = bits ^ rest;
            hand_out::<SHARED>(&self.freed(words)[word], taken);
            left = 0;
            while taken != 0 {
                out(word * 64 + taken.trailing_zeros() as usize);
                taken &= taken - 1;
            }
        }
        state.search = search_from(word);
        // Truncation cannot happen: at most `available`.
        state.available -= count as u32;
        count
    }

    /// The owner frees slots: those of `bit` that were live, which are available now.
    ///
    /// The caller holds the owner's lock and writes the state.
    #[inline]
    pub(crate) fn give_local<const SHARED: bool>(self, slots: u32, bit: SlotBit) -> u64 {
        let words = bitmap_words(slots);
        let word = (&self.available(words)[bit.word], &self.freed(words)[bit.word]);
        Self::give_word::<SHARED>(word, bit)
    }

    /// The same, with the word of available bits and that of freed ones found.
    #[inline]
    pub(crate) fn give_word<const SHARED: bool>(
        (available, freed): (&AtomicU64, &AtomicU64),
        bit: SlotBit,
    ) -> u64 {
        let before = if SHARED {
            freed.fetch_or(bit.mask, Ordering::Relaxed)
        } else {
            let before = freed.load(Ordering::Relaxed);
            freed.store(before | bit.mask, Ordering::Relaxed);
            before
        };
        let won = bit.mask & !before;
        available.store(available.load(Ordering::Relaxed) | won, Ordering::Relaxed);
        won
    }

    /// Whether the slot is in a user's hands.
    pub(crate) fn is_live(self, bit: SlotBit) -> bool {
        let words = bitmap_words(self.shape().slots);
        self.freed(words)[bit.word].load(Ordering::Relaxed) & bit.mask == 0
    }

    /// Every live slot, ascending.
    pub(crate) fn for_each_live(self, mut f: impl FnMut(usize)) {
        let slots = self.shape().slots;
        let words = bitmap_words(slots);
        for (word, freed) in self.freed(words).iter().enumerate() {
            let mut live = !freed.load(Ordering::Acquire) & super::arena::valid_bits(slots, word);
            while live != 0 {
                f(word * 64 + live.trailing_zeros() as usize);
                live &= live - 1;
            }
        }
    }

    /// Slots that are pending.
    pub(crate) fn count_pending(self) -> usize {
        let words = bitmap_words(self.shape().slots);
        let pending =
            self.freed(words).iter().zip(self.available(words)).map(|(freed, available)| {
                freed.load(Ordering::Relaxed) & !available.load(Ordering::Relaxed)
            });
        pending.map(|bits| bits.count_ones() as usize).sum()
    }

    /// Tests bitmaps and counts against each other. `Err`: what is wrong.
    pub(crate) fn check(self) -> Result<(), String> {
        let (slots, state) = (self.shape().slots, self.state());
        let words = bitmap_words(slots);
        let mut available = 0;
        for word in 0..words {
            let bits = self.available(words)[word].load(Ordering::Relaxed);
            let freed = self.freed(words)[word].load(Ordering::Acquire);
            if (bits | freed) & !super::arena::valid_bits(slots, word) != 0 {
                return Err(format!("the slab at {:#x} has bits beyond its slots", self.base()));
            }
            if bits & !freed != 0 {
                return Err(format!("the slab at {:#x} has a live slot available", self.base()));
            }
            if bits != 0 && word < usize::from(state.search) {
                return Err(format!("the slab at {:#x} searches too late", self.base()));
            }
            available += bits.count_ones();
        }
        if available != state.available {
            return Err(format!(
                "the slab at {:#x} counts {state:?}, not {available}",
                self.base()
            ));
        }
        Ok(())
    }
}

/// Clears the freed bits of slots that are handed out.
#[inline]
fn hand_out<const SHARED: bool>(freed: &AtomicU64, mask: u64) {
    let before = if SHARED {
        freed.fetch_and(!mask, Ordering::Relaxed)
    } else {
        let before = freed.load(Ordering::Relaxed);
        freed.store(before & !mask, Ordering::Relaxed);
        before
    };
    debug_assert_eq!(before & mask, mask, "an available slot is free");
}

/// The search word, as far as 8 bits can tell.
#[inline]
pub(crate) fn search_from(word: usize) -> u8 {
    word.min(255) as u8
}
