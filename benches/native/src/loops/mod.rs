//! One file per workload; this one routes.

mod batches;
pub(crate) mod bitmap;
mod collections;
mod first_touch;
mod fragmentation;
mod free_scan;
mod larson;
mod pair;
mod remote;
mod replace;
mod sh6;
mod shuffled;
mod tail;
mod xmalloc;

use crate::options::Options;
use crate::peer::{linked, with_peer};

/// Runs the workload `name`.
pub(crate) fn run(name: &str, options: &Options) -> Result<(), String> {
    match name {
        "B1" => with_peer!(options, P => pair::run::<P>(options)),
        "B2" => with_peer!(options, P => batches::run::<P>(options)),
        "B3" => with_peer!(options, P => replace::run::<P>(options)),
        "B3-shuffled" => with_peer!(options, P => shuffled::run::<P>(options)),
        "B4" => collections::run(options),
        "B5" => free_scan::run(options),
        "B6" => bitmap::run(options),
        "B7" => with_peer!(options, P => larson::run::<P>(options)),
        "B8" => with_peer!(options, P => xmalloc::run::<P>(options)),
        "B8-remote" => remote::run(options),
        "B9" => with_peer!(options, P => sh6::run::<P>(options)),
        "B10" => with_peer!(options, P => pair::run_floor::<P>(options)),
        "B15" => with_peer!(options, P => first_touch::run::<P>(options)),
        "B16" => fragmentation::run(options),
        "B18" => tail::run(options),
        "linked" => {
            linked();
            Ok(())
        }
        other => Err(format!("no workload is called {other}")),
    }
}
