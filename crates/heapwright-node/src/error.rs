//! Refusals and their status codes: the only mapping from Rust to what TypeScript throws.
//!
//! A call that is refused throws nothing here: it leaves the index of its code in `control[0]` and the
//! values of its message in the slots behind, and TypeScript builds the `AllocError`. A throw from Rust
//! would cost some 4.6 µs.
//!
//! Not here: the texts of the messages (`src/errors.ts`).

use heapwright_core::AllocError;

use crate::raw::Control;

/// The codes by status, `''` for success. `src/native.ts` holds the same list and compares it at load.
pub(crate) const STATUS_CODES: [&str; 12] = [
    "",
    "ERR_INVALID_PARAM",
    "ERR_MEMORY_OVERLAP",
    "ERR_NO_MEMORY",
    "ERR_NOT_ALLOCATED",
    "ERR_CLOSED",
    "ERR_SIZE_MISMATCH",
    "ERR_CAPACITY",
    "ERR_FEATURE_DISABLED",
    "ERR_UNSUPPORTED",
    "ERR_CORRUPTED",
    "ERR_INTERNAL",
];

/// Why a native call was refused, with the values that its message names.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(dead_code, reason = "which refusals occur depends on the features compiled in")]
pub(crate) enum Refusal {
    /// A value that can never be served.
    InvalidParam,
    /// A range over `[start, start + size)`, which is managed already.
    MemoryOverlap { start: f64, size: f64 },
    /// A valid request that cannot be met now; `errno` is that of the system call, or 0.
    NoMemory { requested: f64, largest_free: f64, errno: i32 },
    /// No live block starts there.
    NotAllocated,
    /// Before `init`, or after `close`.
    Closed,
    /// The block is live with another size (count) or alignment: these.
    SizeMismatch { size: f64, align: f64 },
    /// Above what the kind manages: `limit`.
    Capacity { limit: f64 },
    /// This build left the kind out.
    FeatureDisabled,
    /// What the kind or the runtime cannot do at all.
    Unsupported,
    /// Damage that the program did to a block.
    Corrupted,
    /// A caught panic, or an allocator that one has poisoned; the text is `lastInternalError()`.
    Internal,
}

/// What a native call gives: its results are in the control block.
pub(crate) type Answer<T = ()> = Result<T, Refusal>;

impl Refusal {
    /// The index of this refusal's code in [`STATUS_CODES`].
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::InvalidParam => 1,
            Self::MemoryOverlap { .. } => 2,
            Self::NoMemory { .. } => 3,
            Self::NotAllocated => 4,
            Self::Closed => 5,
            Self::SizeMismatch { .. } => 6,
            Self::Capacity { .. } => 7,
            Self::FeatureDisabled => 8,
            Self::Unsupported => 9,
            Self::Corrupted => 10,
            Self::Internal => 11,
        }
    }

    /// Writes the status and the values of the message into the control block.
    #[cold]
    pub(crate) fn report(&self, control: &Control) {
        control.set(0, f64::from(self.status()));
        match *self {
            Self::MemoryOverlap { start, size } => {
                control.set(1, start);
                control.set(2, size);
            }
            Self::NoMemory { requested, largest_free, errno } => {
                control.set(1, requested);
                control.set(2, largest_free);
                control.set(3, f64::from(errno));
            }
            Self::SizeMismatch { size, align } => {
                control.set(1, size);
                control.set(2, align);
            }
            Self::Capacity { limit } => control.set(1, limit),
            _ => {}
        }
    }
}

/// For calls whose message needs no more than the variant.
impl From<AllocError> for Refusal {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::InvalidParam => Self::InvalidParam,
            AllocError::MemoryOverlap => Self::MemoryOverlap { start: 0.0, size: 0.0 },
            AllocError::NoMemory => Self::NoMemory { requested: 0.0, largest_free: 0.0, errno: 0 },
            AllocError::NotAllocated => Self::NotAllocated,
            _ => Self::Internal,
        }
    }
}
