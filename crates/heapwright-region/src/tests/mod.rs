//! The public API: on the fake system (`fake.rs`: laws, failures), on the real one (`system.rs`),
//! random sequences on both against a model (`model.rs`), and processes that are meant to die or
//! to run out of memory (`children.rs`).

mod fake;
mod model;

#[cfg(not(miri))]
mod children;
#[cfg(not(miri))]
mod system;
