//! A memory barrier on every thread of the process, run by one of them.
//!
//! What one thread does often and another seldom can leave its barrier to the seldom one: the frequent side
//! stores and then loads without a fence, the seldom side stores, calls [`process_barrier`], and loads. At
//! least one of the two sees the other's store, as if both had fenced.

/// Runs a full memory barrier on every running thread of this process.
///
/// # Returns
///
/// Whether it did: `false`, at once and always, where the system has no such call. Then nothing is ordered.
///
/// # Time Complexity
///
/// A system call that interrupts the other processors: microseconds.
#[must_use]
pub fn process_barrier() -> bool {
    imp::process_barrier()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::sync::OnceLock;

    /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED` of Linux 4.14.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`.
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    static REGISTERED: OnceLock<bool> = OnceLock::new();

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes no pointers and changes no memory; an unknown command is an error.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn process_barrier() -> bool {
        *REGISTERED.get_or_init(|| membarrier(REGISTER_PRIVATE_EXPEDITED))
            && membarrier(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    pub(super) fn process_barrier() -> bool {
        false
    }
}
