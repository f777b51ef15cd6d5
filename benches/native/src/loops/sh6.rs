//! B9: the pattern of sh6bench, written anew. Sizes grow and shrink; when a thread's buffer of pointers is full, its
//! bottom half is freed in order and its top half in reverse.

use std::sync::Barrier;
use std::time::Instant;

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::Line;
use crate::sequence::sh6_call;

/// Pointers that a thread holds before it frees them.
const BUFFER: usize = 10_000;

/// `calls=` calls split over `threads=` threads; reports nanoseconds of wall time per block.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let threads = options.number("threads", 1)?;
    let calls = options.number("calls", 10_000)? / threads;
    let steps = sh6_call();
    let per_call: usize = steps.iter().map(|&(_, blocks)| blocks).sum();
    let start_line = Barrier::new(threads + 1);
    let start = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![std::ptr::null_mut::<u8>(); BUFFER];
                start_line.wait();
                work::<P>(&mut buffer, &steps, calls);
            });
        }
        start_line.wait();
        Instant::now()
    });
    let nanos = start.elapsed().as_secs_f64() * 1e9;
    Line::new(&format!("T={threads}"), "ns", &[nanos / (per_call * calls * threads) as f64])
        .print();
    Ok(())
}

#[inline(never)]
fn work<P: Malloc>(buffer: &mut [*mut u8], steps: &[(usize, usize)], calls: usize) {
    let mut filled = 0;
    for _ in 0..calls {
        for &(size, blocks) in steps {
            for _ in 0..blocks {
                let p = P::malloc(size);
                // SAFETY: size is at least 1; nobody else has the block.
                unsafe { p.write(size as u8) };
                // SAFETY: the last of `size` bytes.
                unsafe { p.add(size - 1).write(filled as u8) };
                buffer[filled] = p;
                filled += 1;
                if filled == buffer.len() {
                    release::<P>(buffer);
                    filled = 0;
                }
            }
        }
    }
    release::<P>(&buffer[..filled]);
}

#[inline(never)]
fn release<P: Malloc>(blocks: &[*mut u8]) {
    let (bottom, top) = blocks.split_at(blocks.len() / 2);
    for &block in bottom.iter().chain(top.iter().rev()) {
        // SAFETY: every entry is a live block, and the two halves are apart.
        unsafe { P::free(block) };
    }
}
