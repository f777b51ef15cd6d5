//! The class behind `kind: 'buddy'`: the mirrored `BuddyByteAllocator`.
//!
//! Its operations are the raw callbacks of `bytes.rs`, on the handle.

use heapwright_allocators::BuddyByteAllocator;
use heapwright_heap::{ByteRules, Mirror};
use napi::Env;

use crate::{
    buffer,
    bytes::Held,
    family::{Mirrored, family_class},
};

impl Held for BuddyByteAllocator {}

fn mirrored(env: Env, memory: bool) -> napi::Result<Mirrored> {
    let memory = buffer::memory(env, memory)?;
    let mirror = Mirror::new(BuddyByteAllocator::new(), ByteRules::BUDDY, memory);
    Ok(Mirrored::Bytes(Box::new(mirror)))
}

family_class! {
    /// Owns a mirrored `BuddyByteAllocator`.
    NativeBuddy, new(memory: bool) => mirrored,
    totals: total_bytes used_bytes available_bytes
}
