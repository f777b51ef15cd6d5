//! One range of a mirrored allocator: its control mapping and its data mapping.
//!
//! ```text
//!  what the program says       start ├───────────────────────┤ start + size
//!                                    │  one constant apart   │
//!  control mapping    guard ▒▒▒▒├──headers─lists────────────┤▒▒▒▒ guard     the crate's, never in a view
//!  data mapping       guard ▒▒▒▒├──the program's bytes──────┤▒▒▒▒ guard     JavaScript's, never the crate's
//! ```
//!
//! Both mappings are readable and writable from the start, and take no memory until touched: the system
//! charges nothing for untouched pages of a mapping without a reservation in swap. A byte at offset `n`
//! of the program's range is byte `n` of either mapping. The control base is congruent to `start` modulo
//! the largest alignment offered, and for a buddy modulo the largest power of two that fits the range,
//! so a crate that computes with real addresses splits as if it ran at `start` (HAZARDS MI2). The data
//! base is [`DATA_SKEW`] away from that residue, for the cache's sake. Guard pages keep two control
//! mappings from touching (MI1).
//!
//! Invariants:
//! 1. The control mapping is unmapped after the crate that uses it is dropped: `Mirror` drops its
//!    family first.
//! 2. The data mapping lives as long as any buffer over it: each holds the same `Arc`.
//! 3. No reference into either mapping is ever made: raw pointers only, as JavaScript writes there.
//!
//! Not here: which blocks are live (`ledger.rs`).

use std::{fmt, ptr, ptr::NonNull, sync::Arc};

use heapwright_region::{Placement, Region, RegionError, page_size};

/// The largest alignment that any kind offers.
pub const ALIGN_MAX: usize = 1 << 30;

/// From this size on, zeroing gives whole pages back to the system instead of writing them.
const ZERO_BY_DECOMMIT_MIN: usize = 128 << 10;

/// From this size on, the pages of a block that a crate has copied are given back.
const FORGET_MIN: usize = 1 << 20;

/// How far the data mapping is from being congruent to the control mapping.
///
/// The level-1 cache of AMD's Zen finds a line by a hash of address bits 12 to 27 (Lipp et al., "Take A
/// Way", 2020), under which two lines at one offset of two congruent mappings cannot be told apart: the
/// crate's header and the program's first byte of one block would evict each other at every call. One of
/// these bits differs now, the highest, so that data keeps every alignment up to this one.
const DATA_SKEW: usize = 1 << 27;

const _: () = assert!(DATA_SKEW < ALIGN_MAX, "else it would be no skew");

/// Where the bytes behind a range come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// There are none: only addresses are managed.
    None,
    /// A mapping of our own.
    Mapped,
    /// The runtime makes them and [`Arena::provide`]s them.
    Provided,
}

/// How the control mapping of a kind is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlacement {
    /// The crate keeps nothing in the memory that it manages.
    None,
    /// Congruent modulo [`ALIGN_MAX`].
    Aligned,
    /// Congruent modulo the larger of that and the largest power of two in the range: for buddies.
    Natural,
}

enum Data {
    None,
    Mapped(Arc<Region>),
    Awaited,
    Provided(NonNull<u8>),
}

/// One range with its mappings.
pub struct Arena {
    start: usize,
    size: usize,
    control: Option<Arc<Region>>,
    /// Address of `control`, its provenance exposed.
    control_base: usize,
    data: Data,
}

impl fmt::Debug for Arena {
    /// Shows no address but the program's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("start", &self.start)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

// SAFETY: the one field that is not `Send` by itself is the pointer of `provide`, whose caller promises
// that the bytes stay as long as the arena, on whatever thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Maps what the range `[start, start + size)` needs. `start` is a multiple of the page of the system
    /// where there is a control mapping.
    ///
    /// # Time Complexity
    ///
    /// A few system calls, whatever the size.
    ///
    /// # Errors
    ///
    /// What the system answered; nothing is mapped then.
    pub fn map(
        start: usize,
        size: usize,
        control: ControlPlacement,
        memory: Memory,
    ) -> Result<Self, RegionError> {
        let modulus = match control {
            ControlPlacement::None => None,
            ControlPlacement::Aligned => Some(ALIGN_MAX),
            ControlPlacement::Natural => Some(ALIGN_MAX.max(1 << size.max(1).ilog2())),
        };
        let control = modulus.map(|modulus| Self::reserve(start, size, modulus)).transpose()?;
        let control = control.map(Arc::new);
        let data_residue = if control.is_some() { start.wrapping_add(DATA_SKEW) } else { start };
        let data = match memory {
            Memory::None => Data::None,
            Memory::Mapped => Data::Mapped(Arc::new(Self::reserve(data_residue, size, ALIGN_MAX)?)),
            Memory::Provided => Data::Awaited,
        };
        let control_base =
            control.as_ref().map_or(0, |region| region.base().expose_provenance().get());
        Ok(Self { start, size, control, control_base, data })
    }

    /// Reserves and commits `size` bytes whose base is congruent to `residue`.
    fn reserve(residue: usize, size: usize, modulus: usize) -> Result<Region, RegionError> {
        // A program's pages may be smaller than the system's; its data need not be placed exactly then.
        let residue = residue & (modulus - 1) & !(page_size() - 1);
        let region = Region::reserve_placed(size, Placement { modulus, residue })?;
        region.commit(0, size)?;
        Ok(region)
    }

    /// The first address that the program knows.
    pub fn start(&self) -> usize {
        self.start
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether `pos` lies in the range.
    #[inline]
    pub fn contains(&self, pos: usize) -> bool {
        pos.wrapping_sub(self.start) < self.size
    }

    /// The address of the control mapping, for the crate alone; 0 where there is none.
    #[inline]
    pub(crate) fn control_base(&self) -> usize {
        self.control_base
    }

    /// The control mapping, shared with the table whose records lie in it.
    pub(crate) fn control(&self) -> Option<&Arc<Region>> {
        self.control.as_ref()
    }

    /// The data mapping and what keeps it, if it is ours: what a buffer is made over.
    pub fn mapping(&self) -> Option<&Arc<Region>> {
        match &self.data {
            Data::Mapped(region) => Some(region),
            _ => None,
        }
    }

    /// Whether bytes were announced and have not come yet.
    pub fn awaits_memory(&self) -> bool {
        matches!(self.data, Data::Awaited)
    }

    /// Uses `bytes` as the data of the range; `false` where it awaits none.
    ///
    /// # Safety
    ///
    /// 1. [`size`](Self::size) bytes stay readable and writable there until the arena is dropped.
    pub unsafe fn provide(&mut self, bytes: NonNull<u8>) -> bool {
        let awaited = self.awaits_memory();
        if awaited {
            self.data = Data::Provided(bytes);
        }
        awaited
    }

    /// The byte of data at `pos`, if the range holds it and has any.
    #[inline]
    pub fn data_at(&self, pos: usize) -> Option<*mut u8> {
        let base = match &self.data {
            Data::Mapped(region) => region.base(),
            Data::Provided(bytes) => *bytes,
            Data::None | Data::Awaited => return None,
        };
        self.contains(pos).then(|| base.as_ptr().wrapping_add(pos - self.start))
    }

    /// Zeroes the data of `[pos, pos + size)`, a live block of this range. Large blocks cost no memory by it.
    ///
    /// # Time Complexity
    ///
    /// Linear in the size below 128 KiB, in the pages that are resident above.
    pub fn zero(&self, pos: usize, size: usize) {
        debug_assert!(self.contains(pos));
        debug_assert!(pos - self.start + size <= self.size);
        let Some(bytes) = self.data_at(pos) else { return };
        let mut head = size;
        let mut tail = size;
        if let Data::Mapped(region) = &self.data
            && size >= ZERO_BY_DECOMMIT_MIN
            && region.decommit(pos - self.start, size).is_ok()
        {
            // Whole pages read zero now; what is left are the ends that share a page with others.
            let offset = pos - self.start;
            head = offset.next_multiple_of(page_size()) - offset;
            tail = size - (offset + size) % page_size();
        }
        // SAFETY: the block lies inside the range, and only our caller's own thread writes its data.
        unsafe { bytes.write_bytes(0, head) };
        // SAFETY: as above; `tail <= size`.
        unsafe { bytes.wrapping_add(tail).write_bytes(0, size - tail) };
    }

    /// Gives back the control pages inside the payload `[pos, pos + size)`, into which a crate has copied
    /// bytes that mean nothing.
    pub fn forget_control(&self, pos: usize, size: usize) {
        if let Some(region) = &self.control
            && size >= FORGET_MIN
        {
            // Should it fail, the pages stay resident until the arena goes; nothing reads them.
            let _ = region.decommit(pos - self.start, size);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Data::Mapped(region) = &self.data
            && Arc::strong_count(region) > 1
        {
            // A buffer still holds the mapping. Its memory goes now, its addresses with the buffer.
            let _ = region.decommit(0, self.size);
        }
    }
}

/// Copies `size` bytes of data, overlap-safe.
///
/// # Safety
///
/// 1. `size` bytes are readable at `from` and writable at `to`.
pub(crate) unsafe fn copy_data(from: *const u8, to: *mut u8, size: usize) {
    // SAFETY: the caller's bullet; `copy` allows overlap.
    unsafe { ptr::copy(from, to, size) };
}
