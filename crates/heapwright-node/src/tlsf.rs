//! The class behind `kind: 'tlsf'`: the mirrored `TlsfByteAllocator`.
//!
//! Its operations are the raw callbacks of `bytes.rs`, on the handle.

use heapwright_allocators::TlsfByteAllocator;
use heapwright_heap::{ByteRules, Mirror};
use napi::Env;

use crate::{
    buffer,
    bytes::Held,
    family::{Mirrored, family_class},
};

impl Held for TlsfByteAllocator {}

fn mirrored(env: Env, memory: bool) -> napi::Result<Mirrored> {
    let memory = buffer::memory(env, memory)?;
    let mirror = Mirror::new(TlsfByteAllocator::new(), ByteRules::TLSF, memory);
    Ok(Mirrored::Bytes(Box::new(mirror)))
}

family_class! {
    /// Owns a mirrored `TlsfByteAllocator`.
    NativeTlsf, new(memory: bool) => mirrored,
    totals: total_bytes used_bytes available_bytes
}
