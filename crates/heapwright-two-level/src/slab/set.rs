//! All slabs of one CPU.
//!
//! At most one empty slab of a class is kept; the next one that becomes empty is *surplus* and goes
//! back (HAZARDS BT4). Partial slabs serve first, then the empty one.
//!
//! Everything here happens under the lock of the CPU, or with the whole allocator borrowed for
//! writing. `SHARED` says whether other CPUs may free meanwhile: then freed bits are changed by atomic
//! read-modify-writes, else by plain loads and stores.

use super::arena::{PackedState, Shape, Slab, SlabArena, SlabId, SlabState, bitmap_words};
use super::lists::{ClassLists, ListState};
use super::slots::{SlotBit, search_from};
use crate::remote;
use crate::size_class::{ClassTable, SizeClass};

/// Slabs of one class; `active` are live slots, those freed remotely excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes of a slot.
    pub object_size: usize,
    /// Slabs.
    pub slabs: usize,
    /// Pages of these slabs.
    pub pages: usize,
    /// Slots of these slabs.
    pub objects: usize,
    /// Live slots.
    pub active: usize,
    /// Slabs with some slots available.
    pub partial: usize,
    /// Slabs with none available.
    pub full: usize,
    /// Slabs with all available.
    pub empty: usize,
    /// Slots freed by other CPUs and not drained yet.
    pub pending_remote: usize,
}

impl ClassStats {
    /// Adds those of another CPU.
    pub(crate) fn add(&mut self, other: &Self) {
        self.slabs += other.slabs;
        self.pages += other.pages;
        self.objects += other.objects;
        self.active += other.active;
        self.partial += other.partial;
        self.full += other.full;
        self.empty += other.empty;
        self.pending_remote += other.pending_remote;
    }
}

/// What a free did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The slots that were live, of one bitmap word.
    pub(crate) won: u64,
    /// The slab is empty, and one more than is kept.
    pub(crate) surplus: bool,
}

/// The lists of every class.
#[derive(Debug)]
pub(crate) struct SlabSet {
    classes: Box<[ClassLists]>,
}

impl SlabSet {
    /// A set without a slab.
    pub(crate) fn new(table: &ClassTable) -> Self {
        Self { classes: vec![ClassLists::default(); table.len()].into_boxed_slice() }
    }

    #[inline]
    pub(crate) fn class(&self, class: SizeClass) -> &ClassLists {
        &self.classes[class.index()]
    }

    /// Whether this CPU has no slab at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(|lists| lists.slabs() == 0)
    }

    /// The slab to take slots from: a partial one, else the empty one.
    #[inline]
    pub(crate) fn serving(&self, class: SizeClass) -> Option<SlabId> {
        self.class(class).serving()
    }

    /// Takes the lowest slot of the slab that serves `class`; returns its slab and index.
    #[inline]
    pub(crate) fn take_one<'a, const SHARED: bool>(
        &mut self,
        arena: &'a SlabArena,
        class: SizeClass,
    ) -> Option<(Slab<'a>, usize)> {
        let lists = &mut self.classes[class.index()];
        let Some(id) = lists.partial() else { return take_from_empty::<SHARED>(lists, arena) };
        let slab = arena.get(id);
        if slab.shape().slots > 64 {
            return Some(take_one_of_many::<SHARED>(lists, slab));
        }
        let slot = slab.take_from_word::<SHARED>();
        let (state, full) = slab.packed_state().taken();
        slab.set_packed_state(state);
        lists.pop_if(full, slab);
        Some((slab, slot))
    }

    /// Takes up to `max` slots of one slab.
    #[inline]
    pub(crate) fn take_many<const SHARED: bool>(
        &mut self,
        arena: &SlabArena,
        class: SizeClass,
        id: SlabId,
        max: usize,
        out: impl FnMut(usize),
    ) -> usize {
        let slab = arena.get(id);
        let mut state = slab.state();
        let words = bitmap_words(slab.shape().slots);
        let count = slab.take_many::<SHARED>(words, &mut state, max, out);
        settle(&mut self.classes[class.index()], arena, id, slab, state);
        count
    }

    /// Frees one slot of a slab of this CPU, whose shape and state are those given.
    #[inline]
    pub(crate) fn give_one<const SHARED: bool>(
        &mut self,
        arena: &SlabArena,
        (id, slab): (SlabId, Slab<'_>),
        shape: Shape,
        state: PackedState,
        bit: SlotBit,
    ) -> Given {
        if shape.slots > 64 {
            return self.give_one_of_many::<SHARED>(arena, (id, slab), shape, bit);
        }
        let won = Slab::give_word::<SHARED>(slab.only_words(), bit);
        if won == 0 {
            return Given { won, surplus: false };
        }
        let lists = &mut self.classes[shape.class.index()];
        let given = state.given();
        if given.available() == shape.slots {
            return Given { won, surplus: empty_out(lists, arena, id, slab, given.available()) };
        }
        slab.set_packed_state(given);
        lists.push_if(state.available() == 0, arena, id, slab);
        Given { won, surplus: false }
    }

    /// The same where the slab has several bitmap words: apart, so that it costs the other path no register.
    #[inline(never)]
    fn give_one_of_many<const SHARED: bool>(
        &mut self,
        arena: &SlabArena,
        (id, slab): (SlabId, Slab<'_>),
        shape: Shape,
        bit: SlotBit,
    ) -> Given {
        let state = slab.packed_state();
        let won = slab.give_local::<SHARED>(shape.slots, bit);
        if won == 0 {
            return Given { won, surplus: false };
        }
        let lists = &mut self.classes[shape.class.index()];
        let search = state.search().min(search_from(bit.word));
        let given = state.given().searching_from(search);
        if given.available() == shape.slots {
            return Given { won, surplus: empty_out(lists, arena, id, slab, given.available()) };
        }
        slab.set_packed_state(given);
        lists.push_if(state.available() == 0, arena, id, slab);
        Given { won, surplus: false }
    }

    /// Frees slots of a slab of this CPU.
    #[inline]
    pub(crate) fn give<const SHARED: bool>(
        &mut self,
        arena: &SlabArena,
        id: SlabId,
        slab: Slab<'_>,
        bit: SlotBit,
    ) -> Given {
        let shape = slab.shape();
        let mut state = slab.state();
        let won = slab.give_local::<SHARED>(shape.slots, bit);
        state.available += won.count_ones();
        state.search = state.search.min(search_from(bit.word));
        let lists = &mut self.classes[shape.class.index()];
        Given { won, surplus: settle(lists, arena, id, slab, state) }
    }

    /// Makes pending slots available; returns how many, and whether the slab is surplus.
    pub(crate) fn collect(
        &mut self,
        arena: &SlabArena,
        id: SlabId,
        slab: Slab<'_>,
    ) -> (usize, bool) {
        let mut state = slab.state();
        let drained = remote::collect(slab, &mut state);
        let lists = &mut self.classes[slab.shape().class.index()];
        (drained, settle(lists, arena, id, slab, state))
    }

    /// Takes in a slab that is in no state yet.
    pub(crate) fn insert(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        debug_assert_eq!(slab.state().list, ListState::None);
        let lists = &mut self.classes[slab.shape().class.index()];
        lists.join(arena, id, slab);
        settle(lists, arena, id, slab, slab.state());
    }

    /// Takes the slab off all lists.
    pub(crate) fn remove(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        let from = slab.state();
        let state = SlabState { list: ListState::None, ..from };
        let lists = &mut self.classes[slab.shape().class.index()];
        lists.put(arena, id, slab, from.list, state);
        lists.leave(arena, slab);
    }

    /// Every slab, class by class. `f` may remove the one it is given from a copy of the set only.
    pub(crate) fn for_each<'a>(&self, arena: &'a SlabArena, mut f: impl FnMut(SlabId, Slab<'a>)) {
        for lists in &self.classes {
            lists.for_each(arena, &mut f);
        }
    }

    /// The empty slabs, and no others.
    pub(crate) fn empty_slabs(&self, arena: &SlabArena) -> Vec<SlabId> {
        let mut empty = Vec::new();
        for lists in &self.classes {
            lists.for_each_empty(arena, |id| empty.push(id));
        }
        empty
    }

    /// The empty slabs of one class.
    pub(crate) fn empty_slabs_of(&self, arena: &SlabArena, class: SizeClass) -> Vec<SlabId> {
        let mut empty = Vec::new();
        self.class(class).for_each_empty(arena, |id| empty.push(id));
        empty
    }

    /// Figures of one class.
    pub(crate) fn stats(
        &self,
        arena: &SlabArena,
        table: &ClassTable,
        class: SizeClass,
    ) -> ClassStats {
        let mut stats = ClassStats { object_size: table.size(class), ..ClassStats::default() };
        self.class(class).for_each(arena, |_, slab| {
            let shape = slab.shape();
            let (available, list) = (slab.state().available, slab.state().list);
            let pending = slab.count_pending();
            stats.slabs += 1;
            stats.pages += shape.pages as usize;
            stats.objects += shape.slots as usize;
            stats.pending_remote += pending;
            stats.active += shape.slots as usize - available as usize - pending;
            stats.partial += usize::from(list == ListState::Partial);
            stats.full += usize::from(list == ListState::Full);
            stats.empty += usize::from(list == ListState::Empty);
        });
        stats
    }

    /// Tests lists and bitmaps. `Err`: what is wrong.
    pub(crate) fn check(&self, arena: &SlabArena) -> Result<(), String> {
        for (class, lists) in self.classes.iter().enumerate() {
            lists.check(arena).map_err(|what| format!("class {class}: {what}"))?;
            let mut damage = Ok(());
            lists.for_each(arena, |id, slab| {
                if damage.is_ok() {
                    damage = slab.check();
                }
                if slab.shape().class.index() != class {
                    damage = Err(format!("slab {id:?} of another class"));
                }
            });
            damage?;
        }
        Ok(())
    }
}

/// Takes a slot of the partial slab in front, which has several bitmap words: apart, so that it costs the
/// other path no register.
#[inline(never)]
fn take_one_of_many<'a, const SHARED: bool>(
    lists: &mut ClassLists,
    slab: Slab<'a>,
) -> (Slab<'a>, usize) {
    let state = slab.packed_state();
    let words = bitmap_words(slab.shape().slots);
    let (slot, search) = slab.take_from_words::<SHARED>(words, state.search());
    let (state, full) = state.searching_from(search).taken();
    slab.set_packed_state(state);
    lists.pop_if(full, slab);
    (slab, slot)
}

/// Takes the first slot of an empty slab, if there is one.
#[cold]
fn take_from_empty<'a, const SHARED: bool>(
    lists: &mut ClassLists,
    arena: &'a SlabArena,
) -> Option<(Slab<'a>, usize)> {
    let id = lists.serving()?;
    let slab = arena.get(id);
    let mut state = slab.state();
    let words = bitmap_words(slab.shape().slots);
    let (slot, search) = slab.take_from_words::<SHARED>(words, state.search);
    state = SlabState { search, available: state.available - 1, ..state };
    settle(lists, arena, id, slab, state);
    Some((slab, slot))
}

/// A slab's last slot came back: returns whether it is surplus.
#[cold]
fn empty_out(
    lists: &mut ClassLists,
    arena: &SlabArena,
    id: SlabId,
    slab: Slab<'_>,
    available: u32,
) -> bool {
    settle(lists, arena, id, slab, SlabState { available, search: 0, ..slab.state() })
}

/// Puts the slab on the list that its available slots say; returns whether it is surplus.
#[inline]
fn settle(
    lists: &mut ClassLists,
    arena: &SlabArena,
    id: SlabId,
    slab: Slab<'_>,
    mut state: SlabState,
) -> bool {
    let from = state.list;
    state.list = ListState::of(state.available, slab.shape().slots);
    lists.put(arena, id, slab, from, state);
    state.list == ListState::Empty && lists.empties() > 1
}
