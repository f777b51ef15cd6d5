//! The slabs of one CPU and class: which of them serve, and all of them.
//!
//! A slab's state is written in the slab (HAZARDS RF2: never guessed from counters) and follows from
//! the slots that its owner may hand out: *full* none, *empty* all, *partial* some. Slots that were
//! freed remotely count only once they are drained.
//!
//! Partial and empty slabs are each on a list, linked through word 2 of the descriptor, the newest in
//! front. A full slab is on neither: a slab that fills up or gets its first slot back, which under
//! random replacement is nearly every operation, touches no other slab but the one in front. Every
//! slab, full ones too, is on the list of its class (word 5), which changes only as slabs come and go.
//!
//! Everything here happens under the lock of the CPU.

use core::hint::select_unpredictable;

use super::arena::{Slab, SlabArena, SlabId, SlabState};

/// What a slab can serve, and thereby which list it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListState {
    /// It is being made or returned.
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
}

/// Heads of the lists of one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassLists {
    /// The newest partial slab.
    partial: u32,
    /// The newest empty slab.
    empty: u32,
    /// The newest of all.
    all: u32,
    /// How many there are.
    slabs: u32,
    /// How many of them are empty.
    empties: u32,
}

impl ClassLists {
    /// The slab to take slots from: a partial one, else an empty one.
    #[inline]
    pub(crate) fn serving(&self) -> Option<SlabId> {
        SlabId::from_link(if self.partial == 0 { self.empty } else { self.partial })
    }

    /// The partial slab to take slots from.
    #[inline]
    pub(crate) fn partial(&self) -> Option<SlabId> {
        SlabId::from_link(self.partial)
    }

    /// Takes the partial slab in front off its list if `full`.
    #[inline]
    pub(crate) fn pop_if(&mut self, full: bool, slab: Slab<'_>) {
        self.partial = select_unpredictable(full, slab.links().0, self.partial);
    }

    /// Puts a slab that was `full` in front of the partial ones; it is one of them already if not.
    #[inline]
    pub(crate) fn push_if(&mut self, full: bool, arena: &SlabArena, id: SlabId, slab: Slab<'_>) {
        if full {
            self.push(arena, id, slab, ListState::Partial);
        }
    }

    /// Slabs that are empty.
    pub(crate) fn empties(&self) -> u32 {
        self.empties
    }

    /// All slabs of the class.
    pub(crate) fn slabs(&self) -> u32 {
        self.slabs
    }

    #[inline]
    fn head_mut(&mut self, list: ListState) -> Option<&mut u32> {
        match list {
            ListState::Partial => Some(&mut self.partial),
            ListState::Empty => Some(&mut self.empty),
            ListState::None | ListState::Full => None,
        }
    }

    #[inline]
    fn push(&mut self, arena: &SlabArena, id: SlabId, slab: Slab<'_>, list: ListState) {
        let Some(head) = self.head_mut(list) else { return };
        let next = core::mem::replace(head, id.0);
        slab.set_links(next, 0);
        if let Some(next) = SlabId::from_link(next) {
            let next = arena.get(next);
            next.set_links(next.links().0, id.0);
        }
    }

    #[inline]
    fn remove(&mut self, arena: &SlabArena, id: SlabId, slab: Slab<'_>, list: ListState) {
        let Some(head) = self.head_mut(list) else { return };
        let (next, prev) = slab.links();
        if *head == id.0 {
            // The link back of the one that comes to the front means nothing from now on.
            *head = next;
            return;
        }
        if let Some(next) = SlabId::from_link(next) {
            let next = arena.get(next);
            next.set_links(next.links().0, prev);
        }
        let Some(prev) = SlabId::from_link(prev) else {
            unreachable!("only the slab in front has none before it")
        };
        let prev = arena.get(prev);
        prev.set_links(next, prev.links().1);
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
        self.remove(arena, id, slab, from);
        self.push(arena, id, slab, state.list);
        self.empties += u32::from(state.list == ListState::Empty);
        self.empties -= u32::from(from == ListState::Empty);
    }

    /// Adds a slab that is in no state yet to all of the class.
    pub(crate) fn join(&mut self, arena: &SlabArena, id: SlabId, slab: Slab<'_>) {
        let next = core::mem::replace(&mut self.all, id.0);
        slab.set_class_links(next, 0);
        if let Some(next) = SlabId::from_link(next) {
            let next = arena.get(next);
            next.set_class_links(next.class_links().0, id.0);
        }
        self.slabs += 1;
    }

    /// Undoes [`join`](Self::join).
    pub(crate) fn leave(&mut self, arena: &SlabArena, slab: Slab<'_>) {
        let (next, prev) = slab.class_links();
        if let Some(next) = SlabId::from_link(next) {
            let next = arena.get(next);
            next.set_class_links(next.class_links().0, prev);
        }
        if let Some(prev) = SlabId::from_link(prev) {
            let prev = arena.get(prev);
            prev.set_class_links(next, prev.class_links().1);
        } else {
            self.all = next;
        }
        self.slabs -= 1;
    }

    /// All slabs of the class, the newest first. `f` may make the slab it is given leave.
    pub(crate) fn for_each<'a>(&self, arena: &'a SlabArena, mut f: impl FnMut(SlabId, Slab<'a>)) {
        let mut next = SlabId::from_link(self.all);
        while let Some(id) = next {
            let slab = arena.get(id);
            next = SlabId::from_link(slab.class_links().0);
            f(id, slab);
        }
    }

    /// The empty slabs. `f` must not change what it is given.
    pub(crate) fn for_each_empty(&self, arena: &SlabArena, mut f: impl FnMut(SlabId)) {
        let mut next = SlabId::from_link(self.empty);
        while let Some(id) = next {
            next = SlabId::from_link(arena.get(id).links().0);
            f(id);
        }
    }

    /// Tests that links, states and lengths agree. `Err`: what is wrong.
    pub(crate) fn check(&self, arena: &SlabArena) -> Result<(), String> {
        let mut counts = [0u32; 4];
        let (mut next, mut prev, mut seen) = (self.all, 0, 0);
        while let Some(id) = SlabId::from_link(next) {
            let slab = arena.get(id);
            let state = slab.state();
            if state.list == ListState::None
                || ListState::of(state.available, slab.shape().slots) != state.list
            {
                return Err(format!("slab {id:?} has {state:?}"));
            }
            if slab.class_links().1 != prev {
                return Err(format!("slab {id:?} has a wrong link among all"));
            }
            counts[state.list as usize] += 1;
            seen += 1;
            if seen > self.slabs {
                return Err("the list of all slabs is too long".into());
            }
            (prev, next) = (id.0, slab.class_links().0);
        }
        if seen != self.slabs || counts[ListState::Empty as usize] != self.empties {
            return Err(format!("{counts:?} slabs by state, {self:?} counted"));
        }
        check_list(arena, ListState::Partial, self.partial, counts[1])?;
        check_list(arena, ListState::Empty, self.empty, counts[3])
    }
}

/// Tests one list: its members and their links.
fn check_list(arena: &SlabArena, list: ListState, head: u32, count: u32) -> Result<(), String> {
    let (mut next, mut prev, mut seen) = (head, 0, 0);
    while let Some(id) = SlabId::from_link(next) {
        let slab = arena.get(id);
        if slab.state().list != list {
            return Err(format!("slab {id:?} is on {list:?} with {:?}", slab.state()));
        }
        if seen > 0 && slab.links().1 != prev {
            return Err(format!("slab {id:?} has a wrong link on {list:?}"));
        }
        seen += 1;
        if seen > count {
            return Err(format!("list {list:?} is too long"));
        }
        (prev, next) = (id.0, slab.links().0);
    }
    if seen == count { Ok(()) } else { Err(format!("{seen} slabs on {list:?}, not {count}")) }
}
