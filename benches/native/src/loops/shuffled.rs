//! B3, variant: four million blocks of 64 bytes, written once, then freed in shuffled order.

use std::time::Instant;

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::Line;
use crate::sequence::shuffle;

/// Reports allocation and free apart.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let count = options.number("steps", 4_000_000)?;
    let order = shuffle(count);
    let mut blocks = vec![std::ptr::null_mut::<u8>(); count];
    let (mut allocs, mut frees) = (Vec::new(), Vec::new());
    for pass in 0..=options.number("passes", 3)? {
        let start = Instant::now();
        let sink = fill::<P>(&mut blocks);
        let middle = Instant::now();
        drain::<P>(&blocks, &order);
        if pass > 0 {
            // The first pass faults the pages in; it is the warm-up.
            allocs.push((middle - start).as_secs_f64() * 1e9 / count as f64);
            frees.push(middle.elapsed().as_secs_f64() * 1e9 / count as f64);
        }
        std::hint::black_box(sink);
    }
    Line::new("alloc", "ns", &allocs).print();
    Line::new("shuffled free", "ns", &frees).print();
    Ok(())
}

#[inline(never)]
fn fill<P: Malloc>(blocks: &mut [*mut u8]) -> usize {
    let mut sink = 0_usize;
    for (i, block) in blocks.iter_mut().enumerate() {
        let p = P::malloc(64);
        // SAFETY: the block has 64 bytes, 16-byte aligned; nobody else has it.
        unsafe { p.cast::<u32>().write(i as u32) };
        sink = sink.wrapping_add(p as usize);
        *block = p;
    }
    sink
}

#[inline(never)]
fn drain<P: Malloc>(blocks: &[*mut u8], order: &[u32]) {
    for &at in order {
        // SAFETY: `order` is a permutation, so each block is freed once.
        unsafe { P::free(blocks[at as usize]) };
    }
}
