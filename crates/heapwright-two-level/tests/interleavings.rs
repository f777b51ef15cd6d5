//! Acceptance test A19: the remote-free protocol as a model, every interleaving of it.
//!
//! This is the specification that `remote.rs` is read against. A handful of threads run the steps of
//! the protocol, each step one atomic access; a depth-first search with a set of seen states visits
//! every order of them. The allocator is reduced to one slab of three slots (and the slab that takes
//! over its descriptor when it is returned), two pending stacks, and who owns what.
//!
//! Steps of a remote free: set the bit · look at the flag · raise the flag · read the owner · push.
//! Steps of the owner: take the chain · unqueue · collect · return if empty · reuse. Exit: adopt.
//!
//! What must hold in every state at rest:
//! 1. No bit is set in a slab that nobody looks at (CC1, RF1, RF4).
//! 2. A slab is on at most one stack, once (CC3).
//! 3. Nobody frees a slot twice with success (CC5, RF5).
//! 4. No freer changes a slab that was returned and reused, but for one empty queueing (CC2, RF3).
//! 5. A slab is returned only if every slot is available (RF2).
//!
//! Each fault is the mistake of a row of HAZARDS; a search that does not find it is worthless.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::cast_possible_truncation, reason = "slabs and CPUs of the model are a handful")]

use std::collections::HashSet;

/// A mistake to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    None,
    /// RF1: the owner drains only slabs that are not full.
    FullSlabsAreNotDrained,
    /// RF2: the list is guessed: a slab counts pending slots as available, undrained.
    PendingCountsAsAvailable,
    /// RF3 (CC2): a slab is returned without raising its flag, and reuse lowers it.
    ReturnedWithoutTheFlag,
    /// RF3 (CC2): the freer counts in the slab after its bit is visible.
    CounterAfterTheBit,
    /// RF4: the flag is lowered after the bits were taken.
    FlagLoweredLast,
    /// RF5: the winner is not decided by the bit.
    BitIsNotJudged,
    /// CC3: the first bit is judged for each word, not for the slab.
    QueuedByWord,
    /// CC4: the link is read after the flag was lowered.
    LinkReadLate,
    /// CC6: adoption leaves no mark on the stack.
    NoMark,
}

const SLOTS: u8 = 3;
const ALL: u8 = (1 << SLOTS) - 1;
/// Slot 2 lies in another bitmap word than slots 0 and 1.
const WORD_OF: [u8; 3] = [0b011, 0b011, 0b100];
const NONE: u8 = u8::MAX;
/// A stack that was closed in favor of the other CPU.
const MARK: u8 = 0xfe;

/// One descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slab {
    /// Bit set: not in a user's hands.
    freed: u8,
    /// Bit set: the owner may hand it out.
    available: u8,
    queued: bool,
    next: u8,
    owner: u8,
    live: bool,
    /// Lives that the descriptor has had; a freer that writes into a later one is a bug.
    life: u8,
    /// Writes of freers into a life that was not theirs.
    stray: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Thread {
    script: Vec<Action>,
    /// Index into the script, and step within the action.
    at: usize,
    step: u8,
    /// Registers.
    cpu: u8,
    chain: u8,
    life: u8,
    head: u8,
    late_next: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// Free `slot` of slab `slab` as another CPU.
    Free { slab: u8, slot: u8 },
    /// CPU `cpu` drains, and returns what is empty.
    Drain { cpu: u8 },
    /// A returned descriptor becomes a slab of CPU `cpu`, all slots live.
    Reuse { slab: u8, cpu: u8 },
    /// CPU `from` exits; the other one adopts.
    Adopt { from: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    slabs: Vec<Slab>,
    /// Head of each CPU's stack: a slab, `NONE` or `MARK`.
    stacks: [u8; 2],
    threads: Vec<Thread>,
    /// Successful frees of each (slab, life, slot).
    successes: Vec<(u8, u8, u8)>,
    error: Option<&'static str>,
    /// Whose turn holds a CPU's lock: drains and adoptions exclude each other.
    locks: [u8; 2],
    /// CPUs that were adopted: nobody drains them any more.
    gone: [bool; 2],
}

impl World {
    fn new(slabs: usize, live_slots: u8, scripts: &[&[Action]]) -> Self {
        let slab = Slab {
            freed: ALL & !live_slots,
            available: ALL & !live_slots,
            queued: false,
            next: NONE,
            owner: 0,
            live: true,
            life: 0,
            stray: 0,
        };
        let thread = |script: &&[Action]| Thread {
            script: script.to_vec(),
            at: 0,
            step: 0,
            cpu: NONE,
            chain: NONE,
            life: 0,
            head: NONE,
            late_next: false,
        };
        Self {
            slabs: vec![slab; slabs],
            stacks: [NONE; 2],
            threads: scripts.iter().map(thread).collect(),
            successes: Vec::new(),
            error: None,
            locks: [NONE; 2],
            gone: [false; 2],
        }
    }

    fn fail(&mut self, what: &'static str) {
        self.error.get_or_insert(what);
    }

    /// One step of thread `index`; `false` if it cannot run now.
    fn step(&mut self, index: usize, fault: Fault) -> bool {
        let thread = &self.threads[index];
        let Some(&action) = thread.script.get(thread.at) else { return false };
        match action {
            Action::Free { slab, slot } => self.free(index, slab, slot, fault),
            Action::Drain { cpu } => return self.drain(index, cpu, fault),
            Action::Reuse { slab, cpu } => return self.reuse(index, slab, cpu, fault),
            Action::Adopt { from } => return self.adopt(index, from, fault),
        }
        true
    }

    fn done(&mut self, index: usize) {
        let thread = &mut self.threads[index];
        thread.at += 1;
        thread.step = 0;
        thread.cpu = NONE;
        thread.chain = NONE;
    }

    fn free(&mut self, index: usize, id: u8, slot: u8, fault: Fault) {
        let bit = 1 << slot;
        match self.threads[index].step {
            0 => {
                let slab = &mut self.slabs[id as usize];
                self.threads[index].life = slab.life;
                let before = slab.freed;
                slab.freed |= bit;
                if before & bit != 0 && fault != Fault::BitIsNotJudged {
                    self.done(index);
                    return;
                }
                let life = slab.life;
                self.successes.push((id, life, slot));
                let word = WORD_OF[slot as usize];
                let pending = before & !slab.available & word;
                if fault == Fault::QueuedByWord && pending != 0 {
                    self.done(index);
                    return;
                }
                self.threads[index].step = if fault == Fault::QueuedByWord { 3 } else { 1 };
            }
            1 => {
                if fault == Fault::CounterAfterTheBit {
                    let slab = &mut self.slabs[id as usize];
                    if slab.life != self.threads[index].life || !slab.live {
                        slab.stray += 1;
                    }
                }
                if self.slabs[id as usize].queued {
                    self.done(index);
                } else {
                    self.threads[index].step = 2;
                }
            }
            2 => {
                if std::mem::replace(&mut self.slabs[id as usize].queued, true) {
                    self.done(index);
                } else {
                    self.threads[index].step = 3;
                }
            }
            3 => {
                self.slabs[id as usize].queued = true;
                self.threads[index].cpu = self.slabs[id as usize].owner;
                self.threads[index].step = 4;
            }
            4 => {
                let head = self.stacks[self.threads[index].cpu as usize];
                if head == MARK {
                    self.threads[index].cpu ^= 1;
                    return;
                }
                self.threads[index].head = head;
                self.slabs[id as usize].next = head;
                self.threads[index].step = 5;
            }
            _ => {
                // Compare-exchange.
                let cpu = self.threads[index].cpu as usize;
                if self.stacks[cpu] == self.threads[index].head {
                    self.stacks[cpu] = id;
                    self.done(index);
                } else {
                    self.threads[index].step = 4;
                }
            }
        }
    }

    fn drain(&mut self, index: usize, cpu: u8, fault: Fault) -> bool {
        match self.threads[index].step {
            0 => {
                if self.locks[cpu as usize] != NONE {
                    return false;
                }
                self.locks[cpu as usize] = index as u8;
                self.threads[index].step = 1;
            }
            1 => {
                if self.stacks[cpu as usize] == MARK {
                    self.threads[index].chain = NONE;
                } else {
                    self.threads[index].chain =
                        std::mem::replace(&mut self.stacks[cpu as usize], NONE);
                }
                self.threads[index].step = 2;
            }
            _ => {
                let id = self.threads[index].chain;
                if id == NONE {
                    self.locks[cpu as usize] = NONE;
                    self.done(index);
                } else {
                    self.drain_one(index, cpu, id, fault);
                }
            }
        }
        true
    }

    /// Steps 2 to 6 of a drain, for the top slab of the chain.
    fn drain_one(&mut self, index: usize, cpu: u8, id: u8, fault: Fault) {
        let slab = &mut self.slabs[id as usize];
        let thread = &mut self.threads[index];
        match thread.step {
            2 => {
                thread.late_next = fault == Fault::LinkReadLate;
                thread.head = slab.next;
                if fault == Fault::FlagLoweredLast {
                    slab.available |= slab.freed;
                    thread.step = 3;
                    return;
                }
                thread.step = 3;
            }
            3 => {
                slab.queued = false;
                thread.step = if fault == Fault::FlagLoweredLast { 5 } else { 4 };
            }
            4 => {
                if slab.owner != cpu {
                    // Passed on: raised again, and pushed to whoever owns it now, in one step.
                    let owner = slab.owner;
                    if !std::mem::replace(&mut slab.queued, true) {
                        let to =
                            if self.stacks[owner as usize] == MARK { owner ^ 1 } else { owner };
                        self.slabs[id as usize].next = self.stacks[to as usize];
                        self.stacks[to as usize] = id;
                    }
                    self.next(index, id);
                    return;
                }
                let full = slab.available == 0;
                if !(fault == Fault::FullSlabsAreNotDrained && full) {
                    slab.available |= slab.freed;
                }
                thread.step = 5;
            }
            _ => {
                let empty = match fault {
                    Fault::PendingCountsAsAvailable => {
                        (slab.available | slab.freed).count_ones() + 1 >= u32::from(SLOTS)
                    }
                    _ => slab.available == ALL,
                };
                if empty && slab.live && slab.owner == cpu {
                    let returned = fault == Fault::ReturnedWithoutTheFlag
                        || !std::mem::replace(&mut slab.queued, true);
                    if returned {
                        if slab.freed != ALL {
                            self.fail("a slab with a live block was returned");
                        }
                        self.slabs[id as usize].live = false;
                    }
                }
                self.next(index, id);
            }
        }
    }

    fn next(&mut self, index: usize, id: u8) {
        let thread = &mut self.threads[index];
        thread.chain = if thread.late_next { self.slabs[id as usize].next } else { thread.head };
        thread.step = 2;
    }

    fn reuse(&mut self, index: usize, id: u8, cpu: u8, fault: Fault) -> bool {
        let slab = &mut self.slabs[id as usize];
        if self.threads[index].step == 0 {
            if slab.live {
                return false;
            }
            slab.freed = 0;
            slab.available = 0;
            slab.owner = cpu;
            slab.life += 1;
            slab.live = true;
            self.threads[index].step = 1;
            if fault == Fault::ReturnedWithoutTheFlag {
                // The link and the flag are set up anew, whatever a late freer did to them.
                slab.next = NONE;
            }
        } else {
            slab.queued = false;
            self.done(index);
        }
        true
    }

    fn adopt(&mut self, index: usize, from: u8, fault: Fault) -> bool {
        let to = from ^ 1;
        match self.threads[index].step {
            0 => {
                if self.locks != [NONE; 2] {
                    return false;
                }
                self.locks = [index as u8; 2];
                self.threads[index].step = 1;
            }
            1 => {
                let mark = if fault == Fault::NoMark { NONE } else { MARK };
                let chain = std::mem::replace(&mut self.stacks[from as usize], mark);
                self.gone[from as usize] = true;
                for slab in &mut self.slabs {
                    if slab.live && slab.owner == from {
                        slab.owner = to;
                    }
                }
                self.threads[index].chain = chain;
                self.threads[index].step = 2;
            }
            _ => {
                let id = self.threads[index].chain;
                if id != NONE {
                    self.drain_one(index, to, id, fault);
                    return true;
                }
                // The adopted slabs' words once more.
                for slab in &mut self.slabs {
                    if slab.live && slab.owner == to {
                        slab.available |= slab.freed;
                    }
                }
                self.locks = [NONE; 2];
                self.done(index);
            }
        }
        true
    }

    /// What must hold in every state.
    fn check(&mut self) {
        let mut seen = HashSet::new();
        for head in self.stacks {
            let (mut id, mut length) = (head, 0);
            while id != NONE && id != MARK {
                if !seen.insert(id) {
                    self.fail("a slab is queued twice");
                    return;
                }
                length += 1;
                if length > self.slabs.len() {
                    self.fail("a pending stack has no end");
                    return;
                }
                id = self.slabs[id as usize].next;
            }
        }
        let mut successes = self.successes.clone();
        successes.sort_unstable();
        if successes.windows(2).any(|pair| pair[0] == pair[1]) {
            self.fail("a block was freed twice with success");
        }
        if self.slabs.iter().any(|slab| slab.stray > 0) {
            self.fail("a freer wrote into a slab that was returned");
        }
    }

    /// What must hold when no thread can run.
    fn check_at_rest(&mut self, blocked: bool) {
        if blocked
            && self.threads.iter().any(|thread| {
                matches!(
                    thread.script.get(thread.at),
                    Some(Action::Drain { .. } | Action::Adopt { .. })
                )
            })
        {
            self.fail("a lock is never given back");
        }
        let mut queued = HashSet::new();
        for cpu in 0..2 {
            let mut id = self.stacks[cpu];
            while id != NONE && id != MARK {
                queued.insert((id, cpu as u8));
                id = self.slabs[id as usize].next;
            }
        }
        for id in 0..self.slabs.len() as u8 {
            let slab = &self.slabs[id as usize];
            let looked_at = (0..2).any(|cpu| !self.gone[cpu] && queued.contains(&(id, cpu as u8)));
            if !slab.live {
                if looked_at {
                    self.fail("a stack holds what is no slab");
                    return;
                }
                continue;
            }
            if slab.freed & !slab.available != 0 && !looked_at {
                self.fail("a slab has remote bits that nobody looks at");
                return;
            }
            if slab.queued != looked_at {
                self.fail("the flag of a slab disagrees with the stacks");
                return;
            }
        }
    }
}

/// Visits every interleaving; the first error found, and the states seen.
fn explore(world: World, fault: Fault) -> (Option<&'static str>, usize) {
    let mut seen = HashSet::new();
    let mut pending = vec![world];
    while let Some(world) = pending.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let mut moved = false;
        for index in 0..world.threads.len() {
            let mut next = world.clone();
            if next.step(index, fault) {
                moved = true;
                next.check();
                if next.error.is_some() {
                    return (next.error, seen.len());
                }
                pending.push(next);
            }
        }
        if !moved {
            let mut end = world;
            let blocked = end.threads.iter().any(|thread| thread.at < thread.script.len());
            end.check_at_rest(blocked);
            if end.error.is_some() {
                return (end.error, seen.len());
            }
        }
    }
    (None, seen.len())
}

/// The scenarios: slabs, live slots, and what each of up to three threads does in at most five actions.
fn scenarios() -> Vec<(usize, u8, Vec<Vec<Action>>)> {
    use Action::{Adopt, Drain, Free, Reuse};
    let free = |slot| Free { slab: 0, slot };
    let drain = Drain { cpu: 0 };
    vec![
        // Push, push, drain; then once more, for what came late.
        (1, 0b011, vec![vec![free(0)], vec![free(1)], vec![drain, drain]]),
        // Two bitmap words.
        (1, 0b101, vec![vec![free(0)], vec![free(2)], vec![drain]]),
        (1, 0b111, vec![vec![free(0), free(1)], vec![free(2)], vec![drain, drain]]),
        // Two frees of one block.
        (1, 0b001, vec![vec![free(0)], vec![free(0)], vec![drain]]),
        // Drained, emptied, returned, and reused by the other CPU while a freer is still under way.
        (
            1,
            0b011,
            vec![
                vec![free(0)],
                vec![free(1)],
                vec![drain, drain, Reuse { slab: 0, cpu: 1 }, Drain { cpu: 1 }],
            ],
        ),
        // In its next life it is freed into as well.
        (
            1,
            0b011,
            vec![
                vec![free(0)],
                vec![free(1)],
                vec![drain, Reuse { slab: 0, cpu: 1 }, free(2), Drain { cpu: 1 }],
            ],
        ),
        // Two slabs on one stack.
        (
            2,
            0b011,
            vec![
                vec![free(0), Free { slab: 1, slot: 0 }],
                vec![Free { slab: 1, slot: 1 }, free(1)],
                vec![drain, drain],
            ],
        ),
        // The owner exits; the other CPU adopts and drains.
        (1, 0b011, vec![vec![free(0)], vec![free(1)], vec![Adopt { from: 0 }, Drain { cpu: 1 }]]),
        (
            2,
            0b011,
            vec![
                vec![free(0), Free { slab: 1, slot: 1 }],
                vec![drain, Adopt { from: 0 }],
                vec![Drain { cpu: 1 }],
            ],
        ),
        // Full slabs.
        (1, 0b111, vec![vec![free(0)], vec![free(1)], vec![drain]]),
    ]
}

#[test]
fn every_schedule_passes() {
    let mut states = 0;
    for (slabs, live, scripts) in scenarios() {
        let scripts: Vec<&[Action]> = scripts.iter().map(Vec::as_slice).collect();
        let (error, seen) = explore(World::new(slabs, live, &scripts), Fault::None);
        assert_eq!(error, None, "{scripts:?}");
        states += seen;
    }
    println!("A19: {states} states, all pass");
    assert!(states > 5_000, "the search visits only {states} states");
}

macro_rules! planted {
    ($($name:ident: $fault:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let found = scenarios().into_iter().find_map(|(slabs, live, scripts)| {
                    let scripts: Vec<&[Action]> = scripts.iter().map(Vec::as_slice).collect();
                    explore(World::new(slabs, live, &scripts), Fault::$fault).0
                });
                println!("{:?}: {found:?}", Fault::$fault);
                assert!(found.is_some(), "the planted fault was not found");
            }
        )*
    };
}

planted! {
    finds_rf1_full_slabs_that_are_not_drained: FullSlabsAreNotDrained;
    finds_rf2_lists_guessed_from_counters: PendingCountsAsAvailable;
    finds_rf3_a_return_without_the_flag: ReturnedWithoutTheFlag;
    finds_rf3_a_counter_after_the_bit: CounterAfterTheBit;
    finds_rf4_a_flag_that_is_lowered_last: FlagLoweredLast;
    finds_rf5_a_bit_that_is_not_judged: BitIsNotJudged;
    finds_cc3_a_slab_queued_by_word: QueuedByWord;
    finds_cc4_a_link_that_is_read_late: LinkReadLate;
    finds_cc6_a_stack_without_a_mark: NoMark;
}
