//! B5: the free scan. Pairs of 64-byte blocks; the even ones are freed, then the odd ones, whose buddies are then all on
//! the free list.

use std::alloc::Layout;
use std::time::Instant;

use crate::bare::{Bare, open};
use crate::options::Options;
use crate::report::Line;

/// `pairs=` pairs over `peer=`; reports nanoseconds per free.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let pairs = options.number("pairs", 100)?;
    let mut bare = open(options.text("peer", "buddy_system_allocator"), 64 << 20, true)?.bare;
    let layout = Layout::from_size_align(64, 8).map_err(|error| error.to_string())?;
    let mut blocks = vec![0; pairs * 2];
    let mut samples = Vec::new();
    // Small counts are over in microseconds: repeat, so that a pass is long enough to be timed.
    let repeats = (20_000 / pairs).max(1);
    for pass in 0..=options.number("passes", 5)? {
        let mut nanos = 0.0;
        for _ in 0..repeats {
            fill(bare.as_mut(), &mut blocks, layout)?;
            let start = Instant::now();
            free_every_other(bare.as_mut(), &blocks, layout);
            nanos += start.elapsed().as_secs_f64() * 1e9;
        }
        if pass > 0 {
            samples.push(nanos / (repeats * pairs * 2) as f64);
        }
    }
    Line::new(&format!("{pairs} pairs"), "ns", &samples).print();
    Ok(())
}

#[inline(never)]
fn fill(bare: &mut dyn Bare, blocks: &mut [usize], layout: Layout) -> Result<(), String> {
    for (i, block) in blocks.iter_mut().enumerate() {
        *block = bare.alloc(layout);
        if *block == 0 {
            return Err("out of memory".to_owned());
        }
        // SAFETY: a block of 64 bytes in mapped memory.
        unsafe { (*block as *mut u32).write(i as u32) };
    }
    Ok(())
}

#[inline(never)]
fn free_every_other(bare: &mut dyn Bare, blocks: &[usize], layout: Layout) {
    for &block in blocks.iter().step_by(2).chain(blocks.iter().skip(1).step_by(2)) {
        // SAFETY: each block is live and freed once: the even ones, then the odd ones.
        unsafe { bare.free(block, layout) };
    }
}
