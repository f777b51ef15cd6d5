//! heapwright: see `Cargo.toml` for what this crate is.
