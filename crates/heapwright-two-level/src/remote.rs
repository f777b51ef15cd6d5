//! Frees by other CPUs: one atomic bit for each block, one push for each slab, never a lock.
//!
//! ```text
//!   any CPU                                    the owner, under its lock
//!   ───────                                    ─────────────────────────
//!   free  1  freed |= bit        (one RMW)     drain  1  chain = stack.swap(empty)
//!         2  queued?  done       (a load)      each   2  next  = slab.pending.swap(0)
//!         3  raise it; was it? done                      (the link, and the flag lowered)
//!         4  push the slab                            3  available |= freed & !available
//! ```
//!
//! Rules, numbered as in HAZARDS section 4:
//! - **CC1, CC3, CC4** Step 1 comes before steps 2 and 3 of a free, step 2 before step 3 of a drain,
//!   all sequentially consistent: so either the free finds the flag lowered and queues the slab, or
//!   the drain finds the bit. One flag for the whole slab. Flag and link are one word: whoever raises
//!   the flag owns the link, and the drain reads the link as it lowers the flag. An empty drain is
//!   harmless.
//! - **CC2** A freer touches the slab after its bit is visible (steps 2 to 4), when the owner may have
//!   drained, emptied and returned it. Chosen rule: *descriptors are never unmapped, and a slab is
//!   returned only by who raises its flag* ([`retire`]); the flag stays raised while the descriptor is
//!   no slab, and reuse lowers it last ([`admit`]). So a late freer either finds the flag raised and
//!   leaves, or finds the next slab there and queues it once for nothing: to the owner it reads, who
//!   drains nothing. A slab that is queued, or about to be, is thereby never returned. No counter, no
//!   second atomic for each block.
//! - **CC5** See `slots.rs`: the bit itself decides.
//! - **CC6** An adopted CPU's stack holds a mark that names the adopter; a push follows it. A drain that
//!   meets a slab of another owner passes it on.
//! - **CC8** Push and swap-all only: no ABA.
//! - **CC11** Step 1 of a free releases, step 3 of a drain acquires.
//!
//! Honest limit: an *invalid* free that races with the return of the very slab it names is judged
//! against whatever slab has that descriptor by then. Bitmap words never change their meaning
//! (`arena.rs`), so it is at worst a valid free of another block of that slab.

use crate::global::CpuId;
use crate::slab::{PENDING, QUEUED, Slab, SlabArena, SlabId, SlabState, SlotBit};
use crate::slab::{bitmap_words, search_from, valid_bits};
use crate::sync::{AtomicU64, Ordering, order_store_before_load};

/// Marks a stack as closed; the low bits name the adopter.
const CLOSED: u64 = 1 << 63;

/// The slabs of one CPU that others have freed into. Alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct PendingStack {
    /// 0, the top slab, or `CLOSED` and the adopter.
    head: AtomicU64,
}

impl PendingStack {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    /// Pushes unless the stack is closed. `Err`: the adopter. The caller has raised the slab's flag.
    fn push(&self, id: SlabId, slab: Slab<'_>) -> Result<(), CpuId> {
        // Most often the stack is empty; if not, the exchange says what is there.
        let mut head = 0;
        loop {
            if head & CLOSED != 0 {
                // Truncation cannot happen: a mark holds a CPU's 16 bits.
                return Err(CpuId(head as u16));
            }
            // The flag is raised, so others only raise it again, which changes nothing.
            slab.line()[PENDING].store(QUEUED | head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                u64::from(id.0),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all; the stack is open, and only its owner calls this.
    pub(crate) fn take_all(&self) -> Option<SlabId> {
        link(self.head.swap(0, Ordering::AcqRel))
    }

    /// Whether there is something to take.
    pub(crate) fn is_waiting(&self) -> bool {
        self.head.load(Ordering::Relaxed) != 0
    }

    /// Takes all and leaves the mark: what is pushed from now on goes to `adopter`.
    pub(crate) fn close(&self, adopter: CpuId) -> Option<SlabId> {
        link(self.head.swap(CLOSED | u64::from(adopter.0), Ordering::AcqRel))
    }

    /// Takes the mark away: the CPU is back.
    pub(crate) fn open(&self) {
        let mark = self.head.swap(0, Ordering::AcqRel);
        debug_assert!(mark == 0 || mark & CLOSED != 0);
    }
}

fn link(head: u64) -> Option<SlabId> {
    debug_assert_eq!(head & CLOSED, 0);
    // Truncation cannot happen: without the mark the head is a link of 32 bits.
    SlabId::from_link(head as u32)
}

/// Frees the slots of `bit` from another CPU; returns those that were live.
#[inline]
pub(crate) fn free(stacks: &[PendingStack], id: SlabId, slab: Slab<'_>, bit: SlotBit) -> u64 {
    let words = bitmap_words(slab.shape().slots);
    let before = slab.freed(words)[bit.word].fetch_or(bit.mask, Ordering::SeqCst);
    let won = bit.mask & !before;
    if won != 0 {
        order_store_before_load();
        enqueue(stacks, id, slab);
    }
    won
}

/// Puts the slab on its owner's stack, unless it is on one.
pub(crate) fn enqueue(stacks: &[PendingStack], id: SlabId, slab: Slab<'_>) {
    let pending = &slab.line()[PENDING];
    if pending.load(Ordering::SeqCst) & QUEUED != 0
        || pending.fetch_or(QUEUED, Ordering::SeqCst) & QUEUED != 0
    {
        return;
    }
    let mut cpu = slab.owner();
    while let Err(adopter) = stacks[usize::from(cpu.0)].push(id, slab) {
        cpu = adopter;
    }
}

/// Takes the top slab of a chain off; returns what lies below. Its flag is lowered.
pub(crate) fn unqueue(slab: Slab<'_>) -> Option<SlabId> {
    let next = link(slab.line()[PENDING].swap(0, Ordering::SeqCst));
    order_store_before_load();
    next
}

/// Makes what is pending available; returns how many slots. The owner's lock is held.
pub(crate) fn collect(slab: Slab<'_>, state: &mut SlabState) -> usize {
    let slots = slab.shape().slots;
    let words = bitmap_words(slots);
    let mut drained = 0;
    for (word, (freed, available)) in
        slab.freed(words).iter().zip(slab.available(words)).enumerate()
    {
        let before = available.load(Ordering::Relaxed);
        let pending = freed.load(Ordering::SeqCst) & !before & valid_bits(slots, word);
        if pending != 0 {
            available.store(before | pending, Ordering::Relaxed);
            state.search = state.search.min(search_from(word));
            drained += pending.count_ones();
        }
    }
    state.available += drained;
    drained as usize
}

/// Claims an empty slab for its return by raising its flag; `false`: it is queued, leave it.
pub(crate) fn retire(slab: Slab<'_>) -> bool {
    slab.line()[PENDING].fetch_or(QUEUED, Ordering::SeqCst) & QUEUED == 0
}

/// Lowers the flag of a slab that is ready for use: the last step of making it.
pub(crate) fn admit(slab: Slab<'_>) {
    slab.line()[PENDING].store(0, Ordering::SeqCst);
}

/// Whether the slab is on a stack, or about to be.
pub(crate) fn is_queued(slab: Slab<'_>) -> bool {
    slab.line()[PENDING].load(Ordering::Relaxed) & QUEUED != 0
}

/// Every slab on an open stack, for tests at rest: nothing is taken.
pub(crate) fn for_each_queued(stack: &PendingStack, arena: &SlabArena, mut f: impl FnMut(SlabId)) {
    let head = stack.head.load(Ordering::Acquire);
    let mut next = if head & CLOSED == 0 { link(head) } else { None };
    while let Some(id) = next {
        f(id);
        next = link(arena.get(id).line()[PENDING].load(Ordering::Relaxed));
    }
}
