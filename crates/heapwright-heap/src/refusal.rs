//! Why a mirrored allocator refuses: the four reasons of the seed, and those that only we know.
//!
//! `heapwright-node` maps each to the code that JavaScript sees, and adds the largest free size where
//! memory was short.

use std::fmt;

use heapwright_core::AllocError;
use heapwright_region::RegionError;

/// Why a call was refused. The allocator is exactly as it was, but for a count of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A value that can never be served.
    InvalidParam,
    /// The range overlaps this one, which is managed already.
    MemoryOverlap {
        /// First address of the other range.
        start: usize,
        /// Its size.
        size: usize,
    },
    /// A valid request that cannot be met now.
    NoMemory {
        /// What was asked for, in the unit of the allocator.
        requested: usize,
        /// Where the system refused: its errno; else 0.
        errno: i32,
    },
    /// No live block starts there.
    NotAllocated,
    /// Before `init`.
    Closed,
    /// The block is live, with another size or alignment than the caller says.
    SizeMismatch {
        /// The size recorded.
        size: usize,
        /// The alignment recorded.
        align: usize,
    },
    /// A range above what the kind manages.
    Capacity {
        /// The most that it manages, in the unit of the allocator.
        limit: usize,
    },
    /// Something that this allocator cannot do.
    Unsupported,
    /// Our own mistake, or a poisoned allocator.
    Internal,
}

/// The result of a mirrored operation.
pub type Outcome<T = ()> = Result<T, Refusal>;

impl Refusal {
    /// The refusal of a wrapped allocator, for a request of `requested`.
    pub(crate) fn of(error: AllocError, requested: usize) -> Self {
        match error {
            AllocError::InvalidParam => Self::InvalidParam,
            AllocError::NoMemory => Self::NoMemory { requested, errno: 0 },
            AllocError::NotAllocated => Self::NotAllocated,
            // Overlaps are judged before the wrapped allocator hears of a range.
            _ => Self::Internal,
        }
    }

    /// The system's refusal to map `requested` bytes.
    pub(crate) fn of_system(error: &RegionError, requested: usize) -> Self {
        Self::NoMemory { requested, errno: error.errno }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidParam => "invalid parameter",
            Self::MemoryOverlap { .. } => "memory regions overlap",
            Self::NoMemory { .. } => "out of memory",
            Self::NotAllocated => "not allocated",
            Self::Closed => "closed",
            Self::SizeMismatch { .. } => "size or alignment differ from those recorded",
            Self::Capacity { .. } => "above what the kind manages",
            Self::Unsupported => "not supported",
            Self::Internal => "internal error",
        })
    }
}

impl std::error::Error for Refusal {}
