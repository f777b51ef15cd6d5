//! The state map: which blocks are live, as JavaScript writes it and Rust judges it.
//!
//! A heap that one thread uses has a bit for each granule of 16 bytes; a heap that threads share has a
//! byte, so that one atomic exchange can decide between two threads that free one block; where only the
//! owner frees, it needs none (`publish.rs`). Both maps are in the metadata mapping; `share` fills the bytes from the bits, once.
//!
//! A byte is not live in two ways: **dead**, as every slot in its slab is, or **marked** by the thread that freed
//! it. If the slab is that thread's own, the block is in one of its magazines, else in its outbox; unless the
//! thread has yet to confirm its claim (`publish.rs`).
//!
//! Not here: which numbers are starts of blocks at all (`judge.rs`).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::heap::{
    geometry::{GRANULE_SHIFT, Geometry, PAGE_BYTES, STATE_CROWD, STATE_DEAD, STATE_LIVE, mark_of},
    memory::Mapping,
};

/// The state map of one heap. Every `p` is a multiple of 16 below the heap's size.
#[derive(Debug)]
pub(super) struct StateMap {
    bits: usize,
    bytes: usize,
    shared: AtomicBool,
}

impl StateMap {
    /// The map of an exclusive heap.
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            bits: geometry.state_bits,
            bytes: geometry.state_bytes,
            shared: AtomicBool::new(false),
        }
    }

    /// Whether the bytes are in use.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// Switches to the bytes, in which `live` was told of every live block before.
    pub(super) fn share(&self) {
        self.shared.store(true, Ordering::Release);
    }

    /// Moves the state of `p` from its bit to its byte. No bit is left, so a function of the exclusive path that a
    /// program kept finds nothing live, whatever the page map says by then.
    pub(super) fn move_to_byte(&self, memory: &Mapping, p: usize) {
        let (word, mask) = self.word_of(p);
        let state = memory.word(word);
        memory.set_word(word, state & !mask);
        memory.set_byte(self.bytes + (p >> GRANULE_SHIFT), u8::from(state & mask != 0));
    }

    #[inline]
    fn word_of(&self, p: usize) -> (usize, i32) {
        let granule = p >> GRANULE_SHIFT;
        (self.bits + (granule >> 5) * 4, 1 << (granule & 31))
    }

    #[inline]
    fn bit(&self, memory: &Mapping, p: usize) -> bool {
        let (word, mask) = self.word_of(p);
        memory.word(word) & mask != 0
    }

    /// What the map says of `p`.
    #[inline]
    pub(super) fn get(&self, memory: &Mapping, p: usize) -> u8 {
        if self.is_shared() {
            memory.byte(self.bytes + (p >> GRANULE_SHIFT))
        } else {
            u8::from(self.bit(memory, p))
        }
    }

    /// Whether a live block starts at `p`, if any does.
    #[inline]
    pub(super) fn is_live(&self, memory: &Mapping, p: usize) -> bool {
        self.get(memory, p) == STATE_LIVE
    }

    /// The first of `blocks` that is live, or that is no place below `end` where a block may start.
    pub(super) fn find_live(
        &self,
        memory: &Mapping,
        end: usize,
        blocks: &[usize],
    ) -> Option<usize> {
        let place = |p: usize| p < end && p.is_multiple_of(1 << GRANULE_SHIFT);
        let dead = |&p: &usize| {
            place(p)
                && if self.is_shared() {
                    memory.byte(self.bytes + (p >> GRANULE_SHIFT)) != STATE_LIVE
                } else {
                    !self.bit(memory, p)
                }
        };
        blocks.iter().copied().find(|p| !dead(p))
    }

    /// Whether a slot of a slab of `owner`, which is taken and of which the map says `state`, is in
    /// `owner`'s hands: in its magazines, or on the way there; or in its outbox, where `owner` has adopted the
    /// slab since.
    #[inline]
    pub(super) fn is_held(state: u8, owner: usize) -> bool {
        state == STATE_DEAD || state == mark_of(owner)
    }

    /// Marks slots that go back to their slabs, and that their owner held, as dead.
    #[inline]
    pub(super) fn set_dead(&self, memory: &Mapping, blocks: &[usize]) {
        if self.is_shared() {
            for &p in blocks {
                memory.set_byte(self.bytes + (p >> GRANULE_SHIFT), STATE_DEAD);
            }
        }
    }

    /// Marks `p`, which the caller holds, as live.
    #[inline]
    pub(super) fn set_live(&self, memory: &Mapping, p: usize) {
        if self.is_shared() {
            memory.set_byte(self.bytes + (p >> GRANULE_SHIFT), STATE_LIVE);
        } else {
            let (word, mask) = self.word_of(p);
            memory.set_word(word, memory.word(word) | mask);
        }
    }

    /// Turns `p` from live to dead in the map of an exclusive heap; `false` where it is not live.
    #[inline]
    pub(super) fn claim(&self, memory: &Mapping, p: usize) -> bool {
        debug_assert!(!self.is_shared());
        let (word, mask) = self.word_of(p);
        let state = memory.word(word);
        memory.set_word(word, state & !mask);
        state & mask != 0
    }

    /// Turns `p` from live to marked by `slot`; `false` where it is not live.
    pub(super) fn mark(&self, memory: &Mapping, p: usize, slot: usize) -> bool {
        memory.exchange_byte(self.bytes + (p >> GRANULE_SHIFT), STATE_LIVE, mark_of(slot))
    }

    /// Undoes [`mark`](Self::mark) of `slot`'s; `false` where the owner has freed the block, whoever has it now.
    pub(super) fn give_up(&self, memory: &Mapping, p: usize, slot: usize) -> bool {
        memory.exchange_byte(self.bytes + (p >> GRANULE_SHIFT), mark_of(slot), STATE_LIVE)
    }

    /// Turns `p` from marked by `slot` to dead; `false` where it is not.
    pub(super) fn take(&self, memory: &Mapping, p: usize, slot: usize) -> bool {
        memory.exchange_byte(self.bytes + (p >> GRANULE_SHIFT), mark_of(slot), STATE_DEAD)
    }

    /// The same, without an atomic, for the thread of `slot` where `p` is in its outbox, or after that thread's end:
    /// nobody else changes its mark on a page that was public when it confirmed the claim.
    pub(super) fn take_from_outbox(&self, memory: &Mapping, p: usize, slot: usize) -> bool {
        let byte = self.bytes + (p >> GRANULE_SHIFT);
        let mark = mark_of(slot);
        let marked = mark != STATE_CROWD && memory.byte(byte) == mark;
        if marked {
            memory.set_byte(byte, STATE_DEAD);
        }
        marked
    }

    /// Calls `f` for every granule of the page at `page` (a multiple of 4096) that is not dead.
    pub(super) fn for_each_marked(
        &self,
        memory: &Mapping,
        page: usize,
        mut f: impl FnMut(usize, u8),
    ) {
        // One word of the map at a time: 32 granules of bits, 4 of bytes.
        let shared = self.is_shared();
        let granules = if shared { 4 } else { 32 };
        let first = page >> GRANULE_SHIFT;
        for group in (first..first + (PAGE_BYTES >> GRANULE_SHIFT)).step_by(granules) {
            let word = if shared { self.bytes + group } else { self.bits + group / 8 };
            if memory.word(word) == 0 {
                continue;
            }
            for granule in group..group + granules {
                let p = granule << GRANULE_SHIFT;
                let state = self.get(memory, p);
                if state != STATE_DEAD {
                    f(p, state);
                }
            }
        }
    }
}
