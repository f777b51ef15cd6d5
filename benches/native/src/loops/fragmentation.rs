//! B16: how much of 128 MiB can be used, and what random churn leaves resident.
//!
//! `useful` fills the arena with random sizes until a request is refused: the sum of the sizes over the arena. The C
//! peers have no arena that could be full; for them only the second case is run. `churn` fills to 100 MiB, then five
//! times frees 90 % of the blocks at random and refills with other sizes: resident bytes over live bytes.

use std::alloc::Layout;

use crate::bare::{Bare, open};
use crate::options::Options;
use crate::report::{Line, resident_bytes};
use crate::sequence::{Mix, SEED_SLOT, below, next_x};

const ARENA: usize = 128 << 20;
const LIVE: usize = 100 << 20;

struct Held {
    bare: Box<dyn Bare>,
    blocks: Vec<(usize, Layout)>,
    live: usize,
}

/// Both cases over `peer=`.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let name = options.text("peer", "rlsf");
    if name != "glibc" && name != "mimalloc" {
        let mut held = Held { bare: open(name, ARENA, false)?.bare, blocks: Vec::new(), live: 0 };
        held.fill(&mut Mix::new(0), ARENA)?;
        let useful = held.live as f64 / ARENA as f64 * 100.0;
        Line::new("useful", "%", &[useful]).print();
        if name == "buddy-slab-allocator" {
            return Ok(()); // It lives once a process.
        }
    }
    churn(name)
}

fn churn(name: &str) -> Result<(), String> {
    let before = resident_bytes();
    // The bookkeeping of the loop is reserved and touched first: it is not the allocator's.
    let mut blocks = vec![(1, Layout::new::<u64>()); 1 << 20];
    blocks.clear();
    let own = resident_bytes() - before;
    let mut held = Held { bare: open(name, 2 * ARENA, false)?.bare, blocks, live: 0 };
    held.fill(&mut Mix::new(1), LIVE)?;
    let mut x = SEED_SLOT;
    for round in 0..5 {
        held.blocks.retain(|&(p, layout)| {
            x = next_x(x);
            let keep = below(x, 10) == 0;
            if !keep {
                // SAFETY: a live block, forgotten as it is freed.
                unsafe { held.bare.free(p, layout) };
                held.live -= layout.size();
            }
            keep
        });
        held.fill(&mut Mix::new(2 + round), LIVE)?;
    }
    let resident = resident_bytes() - before - own;
    Line::new("RSS / live", "ratio", &[resident as f64 / held.live as f64]).print();
    Ok(())
}

impl Held {
    /// Allocates and writes blocks until `limit` bytes are live or one is refused.
    fn fill(&mut self, mix: &mut Mix, limit: usize) -> Result<(), String> {
        while self.live < limit {
            let layout =
                Layout::from_size_align(mix.size(), 8).map_err(|error| error.to_string())?;
            let p = self.bare.alloc(layout);
            if p == 0 {
                return Ok(());
            }
            // SAFETY: a block of `size` bytes in mapped memory.
            unsafe { (p as *mut u8).write_bytes(1, layout.size()) };
            self.live += layout.size();
            self.blocks.push((p, layout));
        }
        Ok(())
    }
}
