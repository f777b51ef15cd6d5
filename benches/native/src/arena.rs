//! Memory for the bare crates: one anonymous mapping, aligned to 2 MiB, zero, committed as it is touched.

use std::ops::Range;
use std::ptr::NonNull;

/// Alignment of an arena.
const ALIGN: usize = 2 << 20;

/// A mapping that stays until the process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arena {
    start: NonNull<u8>,
    size: usize,
}

impl Arena {
    /// Maps `size` bytes.
    pub(crate) fn map(size: usize) -> Result<Self, String> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping touches nothing that is there.
        let raw =
            unsafe { libc::mmap(std::ptr::null_mut(), size + ALIGN, protection, flags, -1, 0) };
        if raw == libc::MAP_FAILED {
            return Err(format!("mmap of {size} bytes failed"));
        }
        let raw = raw.cast::<u8>();
        let skip = raw.align_offset(ALIGN);
        // SAFETY: skip < ALIGN, and the mapping is ALIGN bytes longer than `size`.
        let start = unsafe { raw.add(skip) };
        NonNull::new(start)
            .map(|start| Self { start, size })
            .ok_or_else(|| "mmap answered null".to_owned())
    }

    /// Touches every page, so that no fault falls into the timed part.
    pub(crate) fn populate(self) -> Self {
        for offset in (0..self.size).step_by(4096) {
            // SAFETY: offset < size, and nobody uses the arena yet.
            unsafe { self.start.as_ptr().add(offset).write_volatile(0) };
        }
        self
    }

    /// First address.
    pub(crate) fn start(self) -> usize {
        self.start.as_ptr() as usize
    }

    /// Bytes.
    pub(crate) const fn size(self) -> usize {
        self.size
    }

    /// The arena as a raw slice.
    pub(crate) const fn slice(self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.size)
    }

    /// The addresses of the arena.
    pub(crate) fn range(self) -> Range<usize> {
        self.start()..self.start() + self.size
    }
}
