//! The public API: on the fake system (`fake.rs`: laws, failures), on the real one (`system.rs`),
//! and in processes that are meant to die or to run out of memory (`children.rs`).

mod fake;

#[cfg(not(miri))]
mod children;
#[cfg(not(miri))]
mod system;
