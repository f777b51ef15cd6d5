//! Timing and the JSON lines that `benches/run.ts` reads.
//!
//! A line is one case of one path in one process: every pass in order, so that the reader can take the minimum and
//! see the spread. `minor`, `major` and `rss` are the process's page faults and resident bytes at its end.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::options::Options;

/// One case's result.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
}

impl Line {
    /// `samples` in `unit`, in the order they were taken.
    pub(crate) fn new(case: &str, unit: &str, samples: &[f64]) -> Self {
        let mut text = format!("{{\"case\":\"{case}\",\"unit\":\"{unit}\",\"samples\":[");
        for (i, sample) in samples.iter().enumerate() {
            let _ = write!(text, "{}{sample:.4}", if i == 0 { "" } else { "," });
        }
        text.push(']');
        Self { text }
    }

    /// One more figure beside the samples.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        let _ = write!(self.text, ",\"{name}\":{value:.4}");
        self
    }

    /// Prints the line.
    pub(crate) fn print(self) {
        let (minor, major, rss) = usage();
        println!("{},\"minor\":{minor},\"major\":{major},\"rss\":{rss}}}", self.text);
    }
}

/// Minor page faults of the process so far.
pub(crate) fn minor_faults() -> i64 {
    usage().0
}

/// (minor faults, major faults, resident bytes now).
fn usage() -> (i64, i64, usize) {
    // SAFETY: rusage is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    (usage.ru_minflt, usage.ru_majflt, resident_bytes())
}

/// Resident bytes of the process, from `/proc/self/statm`.
pub(crate) fn resident_bytes() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1).and_then(|word| word.parse().ok()))
        .unwrap_or(0);
    pages * 4096
}

/// Repeats `pass` for `warm=` milliseconds, then `passes=` times for the record.
///
/// A pass answers what it folded its pointers into; `count` is the number of operations of a pass. Nanoseconds per
/// operation of each recorded pass are returned.
pub(crate) fn measure(
    options: &Options,
    count: usize,
    mut pass: impl FnMut() -> usize,
) -> Result<Vec<f64>, String> {
    let warm = Duration::from_millis(options.number("warm", 200)? as u64);
    let passes = options.number("passes", 3)?;
    let start = Instant::now();
    while start.elapsed() < warm {
        black_box(pass());
    }
    let mut samples = Vec::with_capacity(passes);
    for _ in 0..passes {
        let start = Instant::now();
        black_box(pass());
        samples.push(start.elapsed().as_secs_f64() * 1e9 / count as f64);
    }
    Ok(samples)
}
