//! B4: the collections of the seed's own benchmark, and random replacement, over the bare crates.
//!
//! `vec_rand_free` allocates blocks of one size and frees them in shuffled order; `vec_push_3M` grows one vector;
//! `btree_map_50K` builds a map of string keys, walks it and drops it; `replace_100K` is B3's loop over 100,000 blocks.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::bare::{Bare, Opened, open};
use crate::options::Options;
use crate::report::Line;
use crate::sequence::{SEED_SIZE, SEED_SLOT, below, next_x, next_y, shuffle};
use crate::switch;

/// One `case=` over one `peer=`; milliseconds, but nanoseconds per pair for the replacement.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let name = options.text("peer", "glibc");
    let opened = open(name, 64 << 20, true)?;
    let passes = options.number("passes", 3)?;
    let case = options.text("case", "free-25K");
    let (samples, unit) = match case {
        "free-25K" => (shuffled_free(opened.bare, 25_000, 512, passes)?, "ms"),
        "free-7500" => (shuffled_free(opened.bare, 7500, 4160, passes)?, "ms"),
        "replace-100K" => {
            (replace(opened.bare, options.number("steps", 1_000_000)?, passes)?, "ns")
        }
        "vec-push-3M" => (global(opened, passes, vec_push), "ms"),
        "btree-map-50K" => (global(opened, passes, btree_map), "ms"),
        other => return Err(format!("no case is called {other}")),
    };
    Line::new(case, unit, &samples).print();
    Ok(())
}

/// A collection is gone through for at least this long, in ms: a few passes of 0.2 ms find caches and the
/// processor's clock cold.
const MILLIS_MIN: f64 = 500.0;

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Whether `samples`, in ms, are enough: as many as were asked for, and time enough for the processor to be warm.
fn are_enough(samples: &[f64], passes: usize) -> bool {
    samples.len() >= passes && samples.iter().sum::<f64>() >= MILLIS_MIN
}

#[inline(never)]
fn shuffled_free(
    mut bare: Box<dyn Bare>,
    count: usize,
    size: usize,
    passes: usize,
) -> Result<Vec<f64>, String> {
    let layout = Layout::from_size_align(size, 8).map_err(|error| error.to_string())?;
    let order = shuffle(count);
    let mut blocks = vec![0; count];
    let mut samples = Vec::new();
    for pass in 0.. {
        let start = Instant::now();
        for (i, block) in blocks.iter_mut().enumerate() {
            *block = bare.alloc(layout);
            if *block == 0 {
                return Err("out of memory".to_owned());
            }
            // SAFETY: a block of at least 512 bytes in mapped memory.
            unsafe { (*block as *mut u32).write(i as u32) };
        }
        for &at in &order {
            // SAFETY: `order` is a permutation, so each live block is freed once.
            unsafe { bare.free(blocks[at as usize], layout) };
        }
        if pass > 0 {
            samples.push(millis(start));
        }
        // The bare buddy needs seconds a pass; one is enough to see it.
        if are_enough(&samples, passes) || samples.iter().sum::<f64>() > 4000.0 {
            break;
        }
    }
    Ok(samples)
}

#[inline(never)]
fn replace(mut bare: Box<dyn Bare>, steps: usize, passes: usize) -> Result<Vec<f64>, String> {
    const LIVE: usize = 100_000;
    let (mut x, mut y) = (SEED_SLOT, SEED_SIZE);
    let layout = |size: usize| Layout::from_size_align(size, 8).map_err(|error| error.to_string());
    let mut blocks = vec![(0, layout(16)?); LIVE];
    for block in &mut blocks {
        y = next_y(y);
        let layout = layout(16 + ((y >> 20) & 511) as usize)?;
        *block = (bare.alloc(layout), layout);
    }
    let mut samples = Vec::new();
    let mut steps = steps;
    for pass in 0..=passes {
        let start = Instant::now();
        let mut done = 0;
        while done < steps {
            x = next_x(x);
            y = next_y(y);
            let layout = layout(16 + ((y >> 20) & 511) as usize)?;
            let block = &mut blocks[below(x, LIVE)];
            // SAFETY: every entry is a live block with its layout; this one is replaced at once.
            unsafe { bare.free(block.0, block.1) };
            let p = bare.alloc(layout);
            if p == 0 {
                return Err("out of memory".to_owned());
            }
            // SAFETY: a block of at least 16 bytes in mapped memory.
            unsafe { (p as *mut u8).write(done as u8) };
            *block = (p, layout);
            done += 1;
            if done.is_multiple_of(1024) && pass == 0 && start.elapsed().as_secs_f64() > 0.5 {
                steps = done; // 40 µs a pair: the crate sets how many there is time for.
            }
        }
        if pass > 0 {
            samples.push(start.elapsed().as_secs_f64() * 1e9 / steps as f64);
        }
    }
    Ok(samples)
}

/// Runs `collection` with every allocation sent to the allocator; glibc is the system's without a switch.
fn global(opened: Opened, passes: usize, collection: fn() -> usize) -> Vec<f64> {
    let mut samples = Vec::new();
    if opened.range.is_some() {
        switch::set(opened);
    }
    for pass in 0.. {
        let start = Instant::now();
        std::hint::black_box(switch::during(collection));
        if pass > 0 {
            samples.push(millis(start));
        }
        if are_enough(&samples, passes) {
            break;
        }
    }
    samples
}

fn vec_push() -> usize {
    let mut x = SEED_SLOT;
    let mut numbers = Vec::new();
    for _ in 0..3_000_000 {
        x = next_x(x);
        numbers.push(x);
    }
    numbers.iter().fold(0, |sum, &number| sum ^ number as usize)
}

fn btree_map() -> usize {
    let mut x = SEED_SLOT;
    let mut map = BTreeMap::new();
    for _ in 0..50_000 {
        x = next_x(x);
        map.insert(format!("key_{x}"), x);
    }
    map.iter().filter(|(key, value)| key.ends_with(&value.to_string())).count()
}
