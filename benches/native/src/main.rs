//! The loops of the benchmark suite over native allocators, a process per peer.
//!
//! `heapwright-bench-native B3 peer=glibc form=A ring=10 steps=10000000` runs one loop over one allocator and
//! prints one JSON line per case; `benches/run.ts` starts it once per peer and round, beside the same loop in
//! JavaScript. `heapwright-bench-native sequence B3 …` prints what a generator yields, for the test that both
//! sides run the same thing; built without the feature `peers` the program can do nothing else, and has no
//! dependency. `heapwright-bench-native linked` prints where each peer's functions lie, for the test that the
//! peers are really four allocators.
//!
//! Not here: any judgment. Medians, ratios and targets are made in `benches/run.ts`.
#![expect(clippy::print_stdout, reason = "the results go to standard output")]
#![expect(clippy::print_stderr, reason = "usage errors go to standard error")]
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds here stay far below 2^52")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the generators are defined by truncation, the seed of a byte too"
)]
#![cfg_attr(
    feature = "peers",
    expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to 8 or more, as asked for")
)]
#![cfg_attr(
    feature = "peers",
    expect(clippy::multiple_unsafe_ops_per_block, reason = "a call and the cast of its result")
)]

mod options;
mod sequence;

#[cfg(feature = "peers")]
mod arena;
#[cfg(feature = "peers")]
mod bare;
#[cfg(feature = "peers")]
mod bare_two_level;
#[cfg(feature = "peers")]
mod loops;
#[cfg(feature = "peers")]
mod ours;
#[cfg(feature = "peers")]
mod peer;
#[cfg(feature = "peers")]
mod report;
#[cfg(feature = "peers")]
mod switch;

use std::process::ExitCode;

use options::Options;

/// Every allocation of a collection (B4) goes where the process was told to send it.
#[cfg(feature = "peers")]
#[global_allocator]
static GLOBAL: switch::Switch = switch::Switch;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(command) = words.next() else {
        eprintln!("usage: heapwright-bench-native <B1..B18 | sequence | linked> [key=value …]");
        return ExitCode::from(2);
    };
    let answer = Options::parse(words).and_then(|options| run(&command, &options));
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("heapwright-bench-native {command}: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &str, options: &Options) -> Result<(), String> {
    if command == "sequence" {
        print!("{}", sequence::print(options)?);
        return Ok(());
    }
    #[cfg(feature = "peers")]
    return loops::run(command, options);
    #[cfg(not(feature = "peers"))]
    Err("this build has no peers; build with the default features".to_owned())
}
