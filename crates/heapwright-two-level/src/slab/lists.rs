//! The slabs of one CPU and class, on three lists with an explicit state.
//!
//! A slab's list is written in the slab (HAZARDS RF2: never guessed from counters) and follows from
//! the slots that its owner may hand out: *full* none, *empty* all, *partial* some. Slots that were
//! freed remotely count only once they are drained. Lists are doubly linked through word 2 of the
//! descriptors; new members go to the front.
//!
//! Everything here happens under the lock of the CPU.

use super::arena::{Slab, SlabArena, SlabId, SlabState};

/// Which list a slab is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListState {
    /// None: it is being made or returned.
    None = 0,
    /// Some slots are available.
    Partial = 1,
    /// No slot is available.
    Full = 2,
    /// Every slot is available.
    Empty = 3,
}

impl ListState {
    /// The state that `bits`, written by us, stand for.
    #[inline]
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Self::Partial,
            2 => Self::Full,
            3 => Self::Empty,
            _ => Self::None,
        }
    }

    /// The list that a slab with so many available slots belongs on.
    #[inline]
    pub(crate) fn of(available: u32, slots: u32) -> Self {
        if available == 0 {
            Self::Full
        } else if available == slots {
            Self::Empty
        } else {
            Self::Partial
        }
    }

    /// The three real lists.
    pub(crate) const ALL: [Self; 3] = [Self::Partial, Self::Full, Self::Empty];
}

/// Heads and lengths of the lists of one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassLists {
    heads: [u32; 3],
    counts: [u32; 3],
}

impl ClassLists {
    #[inline]
    pub(crate) fn head(&self, list: ListState) -> Option<SlabId> {
        SlabId::from_link(self.heads[list as usize - 1])
    }

    #[inline]
    pub(crate) fn count(&self, list: ListState) -> u32 {
        self.counts[list as usize - 1]
    }

    /// All slabs of the class.
    pub(crate) fn slabs(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn push(&mut self, arena: &SlabArena, id: SlabId, slab: Slab<'_>, list: ListState) {
        let head = self.head(list);
        slab.set_links(SlabId::to_link(head), 0);
        if let Some(head) = head {
            let head = arena.get(head);
            head.set_links(head.links().0, id.0);
        }
        self.heads[list as usize - 1] = id.0;
        self.counts[list as usize - 1] += 1;
    }

    fn remove(&mut self, arena: &SlabArena, slab: Slab<'_>, list: ListState) {
        let (next, prev) = slab.links();
        if let Some(next) = SlabId::from_link(next) {
            let next = arena.get(next);
            next.set_links(next.links().0, prev);
        }
        if let Some(prev) = SlabId::from_link(prev) {
            let prev = arena.get(prev);
            prev.set_links(next, prev.links().1);
        } else {
            self.heads[list as usize - 1] = next;
        }
        self.counts[list as usize - 1] -= 1;
    }

    /// Writes `state`, whose list may not be the slab's list so far, and moves the slab there.
    #[inline]
    pub(crate) fn put(
        &mut self,
        arena: &SlabArena,
        id: SlabId,
        slab: Slab<'_>,
        from: ListState,
        state: SlabState,
    ) {
        slab.set_state(state);
        if from == state.list {
            return;
        }
        if from != ListState::None {
            self.remove(arena, slab, from);
        }
        if state.list != ListState::None {
            self.push(arena, id, slab, state.list);
        }
    }

    /// The slabs on one list, front first. `f` may take the slab it is given off the list.
    pub(crate) fn for_each(
        &self,
        arena: &SlabArena,
        list: ListState,
        mut f: impl FnMut(SlabId, Slab<'_>),
    ) {
        let mut next = self.head(list);
        while let Some(id) = next {
            let slab = arena.get(id);
            next = SlabId::from_link(slab.links().0);
            f(id, slab);
        }
    }

    /// Tests that links, states and lengths agree. `Err`: what is wrong.
    pub(crate) fn check(&self, arena: &SlabArena) -> Result<(), String> {
        for list in ListState::ALL {
            let (mut next, mut prev, mut seen) = (self.head(list), 0, 0);
            while let Some(id) = next {
                let slab = arena.get(id);
                let state = slab.state();
                if state.list != list || ListState::of(state.available, slab.shape().slots) != list
                {
                    return Err(format!("slab {id:?} is on {list:?} with {state:?}"));
                }
                if slab.links().1 != prev {
                    return Err(format!("slab {id:?} has a wrong link on {list:?}"));
                }
                seen += 1;
                if seen > self.count(list) {
                    return Err(format!("list {list:?} is too long"));
                }
                (prev, next) = (id.0, SlabId::from_link(slab.links().0));
            }
            if seen != self.count(list) {
                return Err(format!(
                    "list {list:?} has {seen} slabs, {} counted",
                    self.count(list)
                ));
            }
        }
        Ok(())
    }
}
