//! What the system answered when it refused.
//!
//! Not here: what the refusal means to JavaScript (`heapwright-node` maps it to a code).

use std::fmt;

/// A refused system call: which one, and its errno.
///
/// A request that cannot be put to the system at all (an empty or overflowing range) carries the
/// errno that the system would have given, and the name of the method as `call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionError {
    /// The name of the call, as in its manual page.
    pub call: &'static str,
    /// The error number of the platform.
    pub errno: i32,
}

impl RegionError {
    /// The refusal of `call` with `errno`.
    pub const fn new(call: &'static str, errno: i32) -> Self {
        Self { call, errno }
    }

    /// A range that lies outside the region, is empty, or is not made of whole pages.
    pub(crate) const fn invalid(call: &'static str) -> Self {
        Self::new(call, libc::EINVAL)
    }

    /// A size that no address space holds.
    pub(crate) const fn out_of_memory(call: &'static str) -> Self {
        Self::new(call, libc::ENOMEM)
    }

    /// Whether the system lacked memory, address space, disk or descriptors, rather than
    /// refusing the request itself.
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(
            self.errno,
            libc::ENOMEM | libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EMFILE
        )
    }

    /// The symbol of the errno where it is one that mapping calls give, else `None`.
    pub const fn name(&self) -> Option<&'static str> {
        Some(match self.errno {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::ENOTDIR => "ENOTDIR",
            libc::EISDIR => "EISDIR",
            libc::EINVAL => "EINVAL",
            libc::ENFILE => "ENFILE",
            libc::EMFILE => "EMFILE",
            libc::EFBIG => "EFBIG",
            libc::ENOSPC => "ENOSPC",
            libc::EROFS => "EROFS",
            libc::ENOSYS => "ENOSYS",
            libc::ELOOP => "ELOOP",
            libc::EOVERFLOW => "EOVERFLOW",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EDQUOT => "EDQUOT",
            _ => return None,
        })
    }
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} failed: {name} ({})", self.call, self.errno),
            None => write!(f, "{} failed: errno {}", self.call, self.errno),
        }
    }
}

impl std::error::Error for RegionError {}
