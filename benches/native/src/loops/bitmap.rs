//! B6: contiguous pages out of a map of one million: empty, a checkerboard, and 90 % full at random.
//!
//! Each request is undone at once, so that every one sees the same map. A request that fails is timed like one that
//! succeeds: on a checkerboard all but single pages fail, and the peer needs milliseconds to say so.

use std::time::Instant;

use bitmap_allocator::{BitAlloc, BitAlloc1M};

use crate::options::Options;
use crate::ours::{BuddyPages, MirroredBitmap};
use crate::report::Line;
use crate::sequence::{SEED_SLOT, next_x};

const PAGES: usize = 1 << 20;
const PAGE: usize = 4096;

/// What the workload asks of a page allocator, in pages.
pub(crate) trait Pages {
    /// `count` contiguous pages, the first a multiple of `align`; `None` when there are none.
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize>;
    /// Exactly that page.
    fn take(&mut self, page: usize);
    /// Gives them back.
    fn free(&mut self, page: usize, count: usize);
}

struct Bare(Box<BitAlloc1M>);

impl Pages for Bare {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        if count == 1 && align == 1 {
            self.0.alloc()
        } else {
            self.0.alloc_contiguous(None, count, align.trailing_zeros() as usize)
        }
    }

    fn take(&mut self, page: usize) {
        self.0.remove(page..page + 1);
    }

    fn free(&mut self, page: usize, count: usize) {
        if count == 1 {
            self.0.dealloc(page);
        } else {
            self.0.dealloc_contiguous(page, count);
        }
    }
}

/// `state=` is `empty`, `checkerboard` or `random`; all sizes and both alignments are run.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut pages: Box<dyn Pages> = match options.text("peer", "bitmap-allocator") {
        "bitmap-allocator" => {
            let mut map = Box::new(BitAlloc1M::DEFAULT);
            map.insert(0..PAGES);
            Box::new(Bare(map))
        }
        "bitmap (ours)" => Box::new(MirroredBitmap::new(PAGES)?),
        "buddy-pages (ours)" => Box::new(BuddyPages::new(PAGES)?),
        other => return Err(format!("no page allocator is called {other}")),
    };
    let state = options.text("state", "empty");
    occupy(pages.as_mut(), state)?;
    for count in [1, 2, 16, 512] {
        for align in [PAGE, 2 << 20] {
            let samples =
                requests(pages.as_mut(), count, align / PAGE, options.number("passes", 3)?);
            let name = if align == PAGE { "" } else { ", 2 MiB" };
            Line::new(&format!("{state}, {count} pages{name}"), "ns", &samples).print();
        }
    }
    Ok(())
}

fn occupy(pages: &mut dyn Pages, state: &str) -> Result<(), String> {
    let mut x = SEED_SLOT;
    for page in 0..PAGES {
        x = next_x(x);
        let taken = match state {
            "empty" => false,
            "checkerboard" => page % 2 == 0,
            "random" => !(x >> 16).is_multiple_of(10),
            other => return Err(format!("no state is called {other}")),
        };
        if taken {
            pages.take(page);
        }
    }
    Ok(())
}

/// Nanoseconds per request and its undoing, in passes of at least 20 ms or 64 requests.
fn requests(pages: &mut dyn Pages, count: usize, align: usize, passes: usize) -> Vec<f64> {
    let mut samples = Vec::with_capacity(passes);
    for _ in 0..passes {
        let start = Instant::now();
        let mut done = 0_usize;
        loop {
            for _ in 0..4 {
                if let Some(page) = pages.alloc(count, align) {
                    pages.free(page, count);
                }
            }
            done += 4;
            let nanos = start.elapsed().as_secs_f64() * 1e9;
            if nanos > 2e7 {
                samples.push(nanos / done as f64);
                break;
            }
        }
    }
    samples
}
