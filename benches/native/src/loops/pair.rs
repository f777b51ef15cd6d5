//! B1: the pair. Allocate, write 4 bytes, free; one size, then 64 sizes in turn.

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::{Line, measure};

/// `size=64` runs one size, `size=0` the sizes 16..=1024 in steps of 16, round robin.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let steps = options.number("steps", 20_000_000)?;
    let size = options.number("size", 64)?;
    let samples = if size == 0 {
        measure(options, steps, || many_sizes::<P>(steps))?
    } else {
        measure(options, steps, || one_size::<P>(steps, size))?
    };
    Line::new(if size == 0 { "16..1024" } else { "64" }, "ns", &samples).print();
    Ok(())
}

/// B10: the loop that fills an array with `batch` blocks and frees them, per block: what a refill costs in C.
pub(crate) fn run_floor<P: Malloc>(options: &Options) -> Result<(), String> {
    let batch = options.number("batch", 64)?;
    let rounds = options.number("steps", 4_000_000)? / batch;
    let mut blocks = vec![std::ptr::null_mut::<u8>(); batch];
    let samples = measure(options, rounds * batch, || refill_and_flush::<P>(&mut blocks, rounds))?;
    Line::new(&batch.to_string(), "ns", &samples).print();
    Ok(())
}

#[inline(never)]
fn one_size<P: Malloc>(steps: usize, size: usize) -> usize {
    let mut sink = 0_usize;
    for i in 0..steps {
        let p = P::malloc(size);
        // SAFETY: the block has at least 16 bytes and is 16-byte aligned; nobody else has it.
        unsafe { p.cast::<u32>().write(i as u32) };
        sink = sink.wrapping_add(p as usize);
        // SAFETY: p came from this allocator two lines above.
        unsafe { P::free(p) };
    }
    sink
}

#[inline(never)]
fn many_sizes<P: Malloc>(steps: usize) -> usize {
    let mut sink = 0_usize;
    let mut size = 16;
    for i in 0..steps {
        let p = P::malloc(size);
        // SAFETY: the block has at least 16 bytes and is 16-byte aligned; nobody else has it.
        unsafe { p.cast::<u32>().write(i as u32) };
        sink = sink.wrapping_add(p as usize);
        // SAFETY: p came from this allocator above.
        unsafe { P::free(p) };
        size = if size == 1024 { 16 } else { size + 16 };
    }
    sink
}

#[inline(never)]
fn refill_and_flush<P: Malloc>(blocks: &mut [*mut u8], rounds: usize) -> usize {
    let mut sink = 0_usize;
    for _ in 0..rounds {
        for block in blocks.iter_mut() {
            *block = P::malloc(64);
        }
        for &block in blocks.iter() {
            sink = sink.wrapping_add(block as usize);
            // SAFETY: the loop above filled every entry with a fresh block.
            unsafe { P::free(block) };
        }
    }
    sink
}
