//! B6: contiguous pages in a bitmap of 1 M pages, ours beside the bare `bitmap-allocator`.
//!
//! Maps: empty; a checkerboard (every other page taken, the even or the odd ones); 90 % taken at random.
//! Requests: 1, 2, 16 and 512 pages, aligned to a page or to 2 MiB. One round is a request and, if it
//! was met, its free. In the rows marked *churn* a page at random is freed and taken again before every
//! request, on both sides, so that our index has something to bring up to date.
//!
//! Both sides run in this process, in turns, and the least time of 21 short turns counts; only the ratio
//! means anything. Targets: at most 0.001 where a contiguous request meets a checkerboard, at most 2
//! elsewhere. It does not show: maps of other sizes, several threads.
//!
//! Run it with `cargo bench -p heapwright-allocators --bench b06_contiguous_pages`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and fails by panicking"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bitmap_allocator::{BitAlloc, BitAlloc1M};
use heapwright_allocators::{BaseAllocator, BitmapPageAllocator, PageAllocator};
use heapwright_testkit::Prng;

const PAGE: usize = 4096;
const COUNT: usize = BitAlloc1M::CAP;
const BASE: usize = 1 << 30;
const TURNS: usize = 21;
const TURN_NS_MIN: u128 = 1_000_000;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Empty,
    EvenTaken,
    OddTaken,
    Random,
}

/// Both sides in the same state.
struct Pair {
    ours: BitmapPageAllocator,
    bare: Box<BitAlloc1M>,
    taken: Vec<usize>,
}

impl Pair {
    fn new(state: State) -> Self {
        let mut ours = BitmapPageAllocator::new(PAGE).unwrap();
        // SAFETY: pages are numbers here; nothing is touched.
        unsafe { ours.init(BASE, COUNT * PAGE) }.unwrap();
        let mut bare = Box::<BitAlloc1M>::default();
        bare.insert(0..COUNT);
        let mut prng = Prng::new(6);
        let taken: Vec<usize> = (0..COUNT)
            .filter(|page| match state {
                State::Empty => false,
                State::EvenTaken => page % 2 == 0,
                State::OddTaken => page % 2 == 1,
                State::Random => prng.chance(9, 10),
            })
            .collect();
        for &page in &taken {
            ours.alloc_pages_at(BASE + page * PAGE, 1, PAGE).unwrap();
            bare.remove(page..page + 1);
        }
        Self { ours, bare, taken }
    }
}

/// Nanoseconds a round, over at least [`TURN_NS_MIN`].
fn turn(mut round: impl FnMut()) -> f64 {
    let (mut rounds, mut total) = (0_u32, Duration::ZERO);
    let mut batch = 1;
    while total.as_nanos() < TURN_NS_MIN {
        let start = Instant::now();
        for _ in 0..batch {
            round();
        }
        total += start.elapsed();
        rounds += batch;
        batch = (batch * 2).min(1 << 16);
    }
    total.as_secs_f64() * 1e9 / f64::from(rounds)
}

fn measure(pair: &mut Pair, count: usize, align: usize, churn: bool) -> (f64, f64) {
    let mut best = (f64::MAX, f64::MAX);
    for side in [0, 1, 1, 0].into_iter().cycle().take(2 * TURNS) {
        let mut prng = Prng::new(66);
        let mut page_at_random = || pair.taken[prng.below(pair.taken.len())];
        if side == 0 {
            let ours = &mut pair.ours;
            best.0 = best.0.min(turn(|| {
                if churn {
                    let pos = BASE + page_at_random() * PAGE;
                    ours.dealloc_pages(pos, 1).unwrap();
                    ours.alloc_pages_at(pos, 1, PAGE).unwrap();
                }
                if let Ok(pos) = black_box(ours.alloc_pages(count, align * PAGE)) {
                    ours.dealloc_pages(pos, count).unwrap();
                }
            }));
        } else {
            let bare = &mut pair.bare;
            best.1 = best.1.min(turn(|| {
                if churn {
                    let page = page_at_random();
                    bare.dealloc(page);
                    bare.remove(page..page + 1);
                }
                let found = if count == 1 && align == 1 {
                    bare.alloc()
                } else {
                    bare.alloc_contiguous(None, count, align.ilog2() as usize)
                };
                if let Some(page) = black_box(found) {
                    if count == 1 {
                        bare.dealloc(page)
                    } else {
                        bare.dealloc_contiguous(page, count)
                    };
                }
            }));
        }
    }
    best
}

fn main() {
    println!("B6: bitmap of {COUNT} pages, ns per request and free; at most 0.001 / 2 is asked");
    println!(
        "{:28} {:>6} {:>6} {:>12} {:>12} {:>10}",
        "map", "pages", "align", "ours", "bare", "ratio"
    );
    let (mut missed, mut cases) = (0, 0);
    for (name, state, churn) in [
        ("empty", State::Empty, false),
        ("checkerboard, odd free", State::EvenTaken, false),
        ("checkerboard, even free", State::OddTaken, false),
        ("checkerboard, odd, churn", State::EvenTaken, true),
        ("90 % random", State::Random, false),
        ("90 % random, churn", State::Random, true),
    ] {
        let mut pair = Pair::new(state);
        for count in [1, 2, 16, 512] {
            for align in [1, 512] {
                let (ours, bare) = measure(&mut pair, count, align, churn);
                let ratio = ours / bare;
                let board = matches!(state, State::EvenTaken | State::OddTaken);
                // With churn an aligned request costs the crate no more than a few hundred churns.
                let target = if board && count > 1 && (align == 1 || !churn) { 0.001 } else { 2.0 };
                let verdict = if ratio <= target { "" } else { "  MISSED" };
                missed += usize::from(ratio > target);
                cases += 1;
                let align = if align == 1 { "page" } else { "2 MiB" };
                println!(
                    "{name:28} {count:6} {align:>6} {ours:12.1} {bare:12.1} {ratio:10.6}{verdict}"
                );
            }
        }
        pair.ours.check_invariants().unwrap();
    }
    println!("{} passed, {missed} failed", cases - missed);
}
