//! B15: what the first touch of a large block costs, through `malloc`.

use std::time::Instant;

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::Line;

/// `mib=` MiB: allocated, a byte of every 4 KiB written, freed, twice over; milliseconds per GiB.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let bytes = options.number("mib", 1024)? << 20;
    let scale = (1_u64 << 30) as f64 / bytes as f64;
    let (mut touch, mut free) = (Vec::new(), Vec::new());
    for _ in 0..options.number("passes", 2)? {
        let start = Instant::now();
        let p = P::malloc(bytes);
        if p.is_null() {
            return Err("out of memory".to_owned());
        }
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: offset < bytes, the size of the block.
            unsafe { p.add(offset).write_volatile(1) };
        }
        touch.push(start.elapsed().as_secs_f64() * 1e3 * scale);
        let start = Instant::now();
        // SAFETY: p came from this allocator above.
        unsafe { P::free(p) };
        free.push(start.elapsed().as_secs_f64() * 1e3 * scale);
    }
    Line::new("first touch, 4 KiB pages", "ms/GiB", &touch).print();
    Line::new("decommit", "ms/GiB", &free).print();
    Ok(())
}
