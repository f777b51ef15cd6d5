//! All slabs of one CPU.
//!
//! At most one empty slab of a class is kept; the next one that becomes empty is *surplus* and goes
//! back (HAZARDS BT4). Partial slabs serve first, then the empty one.
//!
//! Everything here happens under the lock of the CPU.

use super::arena::{Slab, SlabArena, SlabId, SlabState, bitmap_words};
use super::lists::{ClassLists, ListState};
use super::slots::{Sharing, SlotBit};
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
    sharing: Sharing,
}

impl SlabSet {
    /// A set without a slab; `sharing`: whether other CPUs free into its slabs.
    pub(crate) fn new(table: &ClassTable, sharing: Sharing) -> Self {
        Self { classes: vec![ClassLists::default(); table.len()].into_boxed_slice(), sharing }
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
        let lists = self.class(class);
        lists.head(ListState::Partial).or_else(|| lists.head(ListState::Empty))
    }

    /// Takes the lowest slot of the slab that serves `class`; returns its slab and index.
    #[inline]
    pub(crate) fn take_one<'a>(
        &mut self,
        arena: &'a SlabArena,
        class: SizeClass,
    ) -> Option<(Slab<'a>, usize)> {
        let id = self.serving(class)?;
        let slab = arena.get(id);
        let mut state = slab.state();
        let slots = slab.shape().slots;
        let slot = slab.take_one(self.sharing, bitmap_words(slots), &mut state);
        self.settle(arena, class, id, slab, slots, state);
        Some((slab, slot))
    }

    /// Takes up to `max` slots of one slab.
    #[inline]
    pub(crate) fn take_many(
        &mut self,
        arena: &SlabArena,
        class: SizeClass,
        id: SlabId,
        max: usize,
        out: impl FnMut(usize),
    ) -> usize {
        let slab = arena.get(id);
        let mut state = slab.state();
        let slots = slab.shape().slots;
        let count = slab.take_many(self.sharing, bitmap_words(slots), &mut state, max, out);
        self.settle(arena, class, id, slab, slots, state);
        count
    }

    /// Frees slots of a slab of this CPU.
    #[inline]
    pub(crate) fn give(
        &mut self,
        arena: &SlabArena,
        id: SlabId,
        slab: Slab<'_>,
        bit: SlotBit,
    ) -> Given {
        let shape = slab.shape();
        let mut state = slab.state();
        let won = slab.give_local(self.sharing, bitmap_words(shape.slots), &mut state, bit);
        let surplus = self.settle(arena, shape.class, id, slab, shape.slots, state);
        Given { won, surplus }
    }

    /// Makes pending slots available; returns how many, and whether the slab is surplus.
    pub(crate) fn collect(
        &mut self,
        arena: &SlabArena,
        id: SlabId,
        slab: Slab<'_>,
    ) -> (usize, bool) {
        let shape = slab.shape();
        let mut state = slab.state();
        let drained = remote::collect(slab, &mut state);
        (drained, self.settle(arena, shape.class, id, slab, shape.slots, state))
    }

    /// Puts the slab on the list that its available slots say; returns whether it is surplus.
    #[inline]
    fn settle(
        &mut self,
        arena: &SlabArena,
        class: SizeClass,
        id: SlabId,
        slab: Slab<'_>,
        slots: u32,
        mut state: SlabState,
    ) -> bool {
        let from = state.list;
        state.list = ListState::of(state.available, slots);
        let lists = &mut self.classes[class.index()];
        lists.put(arena, id, slab, from, state);
        state.list == ListState::Empty && lists.count(ListState::Empty) > 1
    }

    /// Takes in a slab that is on no list.
    pub(crate) fn insert(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        let shape = slab.shape();
        debug_assert_eq!(slab.state().list, ListState::None);
        self.settle(arena, shape.class, id, slab, shape.slots, slab.state());
    }

    /// Takes the slab off its list.
    pub(crate) fn remove(&mut self, arena: &SlabArena, id: SlabId) {
        let slab = arena.get(id);
        let from = slab.state();
        let state = SlabState { list: ListState::None, ..from };
        self.classes[slab.shape().class.index()].put(arena, id, slab, from.list, state);
    }

    /// Every slab, class by class. `f` may remove the one it is given from a copy of the set only.
    pub(crate) fn for_each<'a>(&self, arena: &'a SlabArena, mut f: impl FnMut(SlabId, Slab<'a>)) {
        for lists in &self.classes {
            for list in ListState::ALL {
                lists.for_each(arena, list, |id, _| f(id, arena.get(id)));
            }
        }
    }

    /// The empty slabs, and no others.
    pub(crate) fn empty_slabs(&self, arena: &SlabArena) -> Vec<SlabId> {
        let mut empty = Vec::new();
        for lists in &self.classes {
            lists.for_each(arena, ListState::Empty, |id, _| empty.push(id));
        }
        empty
    }

    /// The empty slabs of one class.
    pub(crate) fn empty_slabs_of(&self, arena: &SlabArena, class: SizeClass) -> Vec<SlabId> {
        let mut empty = Vec::new();
        self.class(class).for_each(arena, ListState::Empty, |id, _| empty.push(id));
        empty
    }

    /// Figures of one class.
    pub(crate) fn stats(
        &self,
        arena: &SlabArena,
        table: &ClassTable,
        class: SizeClass,
    ) -> ClassStats {
        let lists = self.class(class);
        let mut stats = ClassStats {
            object_size: table.size(class),
            slabs: lists.slabs() as usize,
            partial: lists.count(ListState::Partial) as usize,
            full: lists.count(ListState::Full) as usize,
            empty: lists.count(ListState::Empty) as usize,
            ..ClassStats::default()
        };
        for list in ListState::ALL {
            lists.for_each(arena, list, |_, slab| {
                let shape = slab.shape();
                let pending = slab.count_pending();
                stats.pages += shape.pages as usize;
                stats.objects += shape.slots as usize;
                stats.pending_remote += pending;
                stats.active += shape.slots as usize - slab.state().available as usize - pending;
            });
        }
        stats
    }

    /// Tests lists and bitmaps. `Err`: what is wrong.
    pub(crate) fn check(&self, arena: &SlabArena) -> Result<(), String> {
        for (class, lists) in self.classes.iter().enumerate() {
            lists.check(arena).map_err(|what| format!("class {class}: {what}"))?;
            for list in ListState::ALL {
                let mut damage = Ok(());
                lists.for_each(arena, list, |id, slab| {
                    if damage.is_ok() {
                        damage = slab.check();
                    }
                    if slab.shape().class.index() != class {
                        damage = Err(format!("slab {id:?} of another class"));
                    }
                });
                damage?;
            }
        }
        Ok(())
    }
}
