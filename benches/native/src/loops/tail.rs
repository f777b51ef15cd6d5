//! B18: the tail. Every operation of random replacement is timed by the cycle counter, over memory touched before. 2^16
//! blocks are live among as many holes: twice as many are allocated first, and every second one is freed.
//!
//! What is not the allocator's is kept out of the figures, for every peer alike: which block is freed is read from the
//! loop's own table before the clock starts, and a tenth as many operations run untimed first, so that no page of metadata
//! is touched for the first time under the clock. `faults` says how many were all the same.
//!
//! Latencies go into a histogram of 32 buckets per power of two. The empty loop is timed the same way: its maximum is
//! what interrupts and the hypervisor do to any loop.

use std::alloc::Layout;
use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::bare::{Bare, open};
use crate::options::Options;
use crate::report::{Line, minor_faults};
use crate::sequence::{Form, Replace};

const LOG2: u32 = 16;
/// Seconds after which the loop stops: a bare buddy among holes needs tens of microseconds an operation.
const SECONDS_MAX: u64 = 5;

struct Histogram {
    buckets: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: vec![0; 64 * 32], total: 0, max: 0 }
    }

    #[inline]
    fn add(&mut self, ticks: u64) {
        self.buckets[bucket(ticks)] += 1;
        self.total += 1;
        self.max = self.max.max(ticks);
    }

    /// The upper edge of the bucket that holds the `share`-th smallest value.
    #[expect(clippy::cast_sign_loss, reason = "the share is positive")]
    fn quantile(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return edge(index) as f64;
            }
        }
        self.max as f64
    }
}

fn bucket(ticks: u64) -> usize {
    if ticks < 32 {
        return ticks as usize;
    }
    let log2 = ticks.ilog2();
    (log2 as usize - 4) * 32 + ((ticks >> (log2 - 5)) & 31) as usize
}

fn edge(index: usize) -> u64 {
    if index < 32 {
        return index as u64;
    }
    let log2 = index / 32 + 4;
    ((32 + (index % 32) as u64 + 1) << (log2 - 5)) - 1
}

/// The cycle counter, after everything before it is done.
#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { _mm_lfence() };
    // SAFETY: as above.
    unsafe { _rdtsc() }
}

/// `steps=` operations over `peer=`; p50, p99.99 and the maximum, for allocation and free together.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let steps = options.number("steps", 10_000_000)?;
    let scale = nanos_per_tick();
    let name = options.text("peer", "rlsf");
    let (histogram, faults) = if name == "empty loop" {
        let before = minor_faults();
        (empty(steps), minor_faults() - before)
    } else {
        let mut bare = open(name, 64 << 20, true)?.bare;
        operations(bare.as_mut(), steps)?
    };
    let (p50, p9999) = (histogram.quantile(0.5), histogram.quantile(0.9999));
    Line::new("p50", "ns", &[p50 * scale]).print();
    Line::new("p99.99", "ns", &[p9999 * scale]).with("over_p50", p9999 / p50).print();
    Line::new("max", "ns", &[histogram.max as f64 * scale]).with("faults", faults as f64).print();
    Ok(())
}

/// Nanoseconds of a tick of the cycle counter, measured over 20 ms.
fn nanos_per_tick() -> f64 {
    let _ = __cpuid(0);
    let (start, first) = (Instant::now(), ticks());
    while start.elapsed().as_millis() < 20 {}
    start.elapsed().as_secs_f64() * 1e9 / (ticks() - first) as f64
}

#[inline(never)]
fn empty(steps: usize) -> Histogram {
    let mut histogram = Histogram::new();
    for _ in 0..steps {
        let start = ticks();
        histogram.add(ticks() - start);
    }
    histogram
}

/// Latencies of `steps` operations, and the page faults among them.
#[inline(never)]
fn operations(bare: &mut dyn Bare, steps: usize) -> Result<(Histogram, i64), String> {
    let mut sequence = Replace::new(Form::B, LOG2);
    let layout = |size: usize| Layout::from_size_align(size, 8).map_err(|error| error.to_string());
    let mut ring = Vec::with_capacity(1 << LOG2);
    let mut holes = Vec::with_capacity(1 << LOG2);
    for _ in 0..1 << LOG2 {
        for blocks in [&mut ring, &mut holes] {
            let layout = layout(sequence.step().1)?;
            blocks.push((bare.alloc(layout), layout));
        }
    }
    for (p, layout) in holes {
        // SAFETY: a live block with its layout, freed once.
        unsafe { bare.free(p, layout) };
    }
    let mut histogram = Histogram::new();
    let mut before = 0;
    let (warm, start) = (steps / 20, Instant::now());
    let mut end = start + Duration::from_secs(SECONDS_MAX / 5);
    let mut i = 0;
    let mut timed = false;
    while i < steps / 2 {
        if !timed && (i == warm || (i.is_multiple_of(1024) && Instant::now() > end)) {
            (timed, histogram, before, i) = (true, Histogram::new(), minor_faults(), 0);
            end = Instant::now() + Duration::from_secs(SECONDS_MAX);
        }
        let (slot, size) = sequence.step();
        let layout = layout(size)?;
        let block = &mut ring[slot];
        let (old, old_layout) = black_box(*block);
        let start = ticks();
        // SAFETY: every entry is a live block with its layout; this one is replaced at once.
        unsafe { bare.free(old, old_layout) };
        let middle = ticks();
        let p = bare.alloc(layout);
        let done = ticks();
        if p == 0 {
            return Err("out of memory".to_owned());
        }
        // SAFETY: a block of at least 16 bytes in mapped memory.
        unsafe { (p as *mut u8).write(i as u8) };
        *block = (p, layout);
        histogram.add(middle - start);
        histogram.add(done - middle);
        i += 1;
        if timed && i.is_multiple_of(1024) && Instant::now() > end {
            break;
        }
    }
    Ok((histogram, minor_faults() - before))
}
