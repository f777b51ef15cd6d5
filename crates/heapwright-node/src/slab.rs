//! The class behind `kind: 'slab'`: the mirrored `SlabByteAllocator`.
//!
//! Its operations are the raw callbacks of `bytes.rs`, on the handle. The crate never gives the sets of a
//! class back; `heldClasses` shows what each holds.

use std::alloc::Layout;

use heapwright_allocators::SlabByteAllocator;
use heapwright_heap::{ByteRules, Mirror};
use napi::Env;

use crate::{
    buffer,
    bytes::Held,
    family::{Mirrored, family_class},
};

impl Held for SlabByteAllocator {
    fn set_bytes(&self, layout: Layout) -> usize {
        Self::set_bytes(self, layout).unwrap_or_default()
    }

    fn held_classes(&self) -> Vec<[usize; 3]> {
        self.classes().map(|class| [class.block_size, class.blocks_live, class.held_bytes]).to_vec()
    }
}

fn mirrored(env: Env, memory: bool) -> napi::Result<Mirrored> {
    let memory = buffer::memory(env, memory)?;
    let mirror = Mirror::new(SlabByteAllocator::new(), ByteRules::SLAB, memory);
    Ok(Mirrored::Bytes(Box::new(mirror)))
}

family_class! {
    /// Owns a mirrored `SlabByteAllocator`.
    NativeSlab, new(memory: bool) => mirrored,
    totals: total_bytes used_bytes available_bytes
}
