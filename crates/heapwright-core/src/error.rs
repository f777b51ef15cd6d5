//! The four ways in which an allocator refuses.

use core::fmt;

/// Why an allocator refused. After any error the allocator is exactly as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllocError {
    /// A size, count, alignment or range that can never be served.
    InvalidParam,
    /// A range that overlaps one already managed.
    MemoryOverlap,
    /// A valid request for which no free block is large enough now.
    NoMemory,
    /// A free of something that is not the start of a live block.
    NotAllocated,
}

/// The result of every operation that can fail.
pub type AllocResult<T = ()> = Result<T, AllocError>;

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidParam => "invalid parameter",
            Self::MemoryOverlap => "memory regions overlap",
            Self::NoMemory => "out of memory",
            Self::NotAllocated => "not allocated",
        })
    }
}

impl core::error::Error for AllocError {}
