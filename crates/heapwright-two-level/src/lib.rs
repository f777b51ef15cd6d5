//! The two-level engine: buddy pages under per-CPU slabs, with lock-free remote frees.
#![deny(unsafe_code)]

mod global;
mod size_class;

pub use global::{ClassStats, CpuId, GlobalAllocator, ManagedSection, SlabInfo, SlabObserver};
pub use size_class::{ClassTable, SizeClass};
