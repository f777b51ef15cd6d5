//! B2: glibc-simple. Batches of blocks of one size, every int written, freed in order of allocation or in reverse.

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::{Line, measure};

const SIZES: [usize; 3] = [16, 32, 64];
const BATCHES: [usize; 4] = [25, 100, 400, 1600];

/// Runs all 24 cases; `steps=` blocks per batch size.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let steps = options.number("steps", 2_000_000)?;
    let mut blocks = vec![std::ptr::null_mut::<u8>(); 1600];
    for size in SIZES {
        for batch in BATCHES {
            for reverse in [false, true] {
                let rounds = steps / batch;
                let blocks = &mut blocks[..batch];
                let samples = measure(options, rounds * batch, || {
                    batches::<P>(blocks, rounds, size, reverse)
                })?;
                let order = if reverse { "reverse" } else { "in order" };
                Line::new(&format!("{size} B x {batch}, {order}"), "ns", &samples).print();
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn batches<P: Malloc>(blocks: &mut [*mut u8], rounds: usize, size: usize, reverse: bool) -> usize {
    let mut sink = 0_usize;
    for round in 0..rounds {
        for block in blocks.iter_mut() {
            let p = P::malloc(size);
            let words = p.cast::<u32>();
            for k in 0..size / 4 {
                // SAFETY: k < size / 4, and the block has `size` bytes, 16-byte aligned.
                unsafe { words.add(k).write((round + k) as u32) };
            }
            sink = sink.wrapping_add(p as usize);
            *block = p;
        }
        if reverse {
            for &block in blocks.iter().rev() {
                // SAFETY: the loop above filled every entry with a fresh block.
                unsafe { P::free(block) };
            }
        } else {
            for &block in blocks.iter() {
                // SAFETY: as above.
                unsafe { P::free(block) };
            }
        }
    }
    sink
}
