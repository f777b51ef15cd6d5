//! The loops of the benchmark suite over native allocators, a process per peer.
fn main() {}
