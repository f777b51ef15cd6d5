//! Pages and ids answer exactly as the bare bitmap does, at every density, alignment and base.
//!
//! Two oracles: the crate itself, driven as the seed drives it, wherever the base is aligned so that its
//! answers mean the same; and a plain vector searched from the lowest page up, for every other base and for
//! ranges with gaps.

use bitmap_allocator::{BitAlloc, BitAlloc1M, BitAlloc64K};
use heapwright_allocators::{
    AllocError, BaseAllocator, BitmapIdAllocator, BitmapPageAllocator, IdAllocator, PageAllocator,
};
use heapwright_testkit::{Generator, Mix, Op, Prng, Sizes, prng, scaled};

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;

/// What both page allocators and id allocators do, in units.
trait Units {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize>;
    fn dealloc(&mut self, start: usize, count: usize);
    fn longest(&self, align: usize) -> usize;
    fn check(&self);
}

impl Units for BitmapPageAllocator {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        self.alloc_pages(count, align * PAGE).ok().map(|pos| pos / PAGE)
    }
    fn dealloc(&mut self, start: usize, count: usize) {
        self.dealloc_pages(start * PAGE, count).unwrap();
    }
    fn longest(&self, align: usize) -> usize {
        if align == 1 {
            self.largest_free_run()
        } else {
            self.largest_free_run_aligned(align * PAGE)
        }
    }
    fn check(&self) {
        self.check_invariants().unwrap();
    }
}

impl Units for BitmapIdAllocator {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        self.alloc_id(count, align).ok()
    }
    fn dealloc(&mut self, start: usize, count: usize) {
        self.dealloc_id(start, count).unwrap();
    }
    fn longest(&self, align: usize) -> usize {
        if align == 1 { self.largest_free_run() } else { self.largest_free_run_aligned(align) }
    }
    fn check(&self) {
        self.check_invariants().unwrap();
    }
}

/// The crate as the seed uses it, but for its answer to one page with an alignment (AX1).
struct Bare<B>(Box<B>, usize);

impl<B: BitAlloc> Bare<B> {
    fn new(first: usize, count: usize) -> Self {
        // On the heap from the start: the larger maps do not fit a stack.
        let mut bits = Box::<B>::default();
        bits.insert(0..count);
        Self(bits, first)
    }
}

impl<B: BitAlloc> Units for Bare<B> {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        let key = if count == 1 && align == 1 {
            self.0.alloc()
        } else {
            self.0.alloc_contiguous(None, count, align.ilog2() as usize)
        };
        key.map(|key| key + self.1)
    }
    fn dealloc(&mut self, start: usize, count: usize) {
        assert!(if count == 1 {
            self.0.dealloc(start - self.1)
        } else {
            self.0.dealloc_contiguous(start - self.1, count)
        });
    }
    fn longest(&self, _: usize) -> usize {
        unreachable!("the crate cannot say")
    }
    fn check(&self) {}
}

/// The lowest run of free units, by looking at every one.
struct Plain {
    first: usize,
    free: Vec<bool>,
    /// Starts and ends, ascending. No run spans two of them.
    ranges: Vec<(usize, usize)>,
}

impl Plain {
    fn new(first: usize, len: usize, ranges: &[(usize, usize)]) -> Self {
        let mut free = vec![false; len];
        for &(start, count) in ranges {
            free[start..start + count].fill(true);
        }
        let mut ranges: Vec<_> =
            ranges.iter().map(|&(start, count)| (start, start + count)).collect();
        ranges.sort_unstable();
        Self { first, free, ranges }
    }

    fn find(&self, count: usize, align: usize) -> Option<usize> {
        self.ranges.iter().find_map(|&(from, to)| self.find_in(from, to, count, align))
    }

    fn find_in(&self, from: usize, to: usize, count: usize, align: usize) -> Option<usize> {
        let mut start = (self.first + from).next_multiple_of(align) - self.first;
        while start + count <= to {
            match self.free[start..start + count].iter().rposition(|&free| !free) {
                None => return Some(start),
                // Every start up to here would run into the same taken unit.
                Some(taken) => {
                    start = (self.first + start + taken + 1).next_multiple_of(align) - self.first;
                }
            }
        }
        None
    }
}

impl Units for Plain {
    fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        let start = self.find(count, align)?;
        self.free[start..start + count].fill(false);
        Some(self.first + start)
    }
    fn dealloc(&mut self, start: usize, count: usize) {
        self.free[start - self.first..][..count].fill(true);
    }
    fn longest(&self, align: usize) -> usize {
        let mut best = 0;
        let mut run = 0;
        for (index, &free) in self.free.iter().enumerate().rev() {
            if self.ranges.iter().any(|&(_, end)| end == index + 1) {
                run = 0;
            }
            run = if free { run + 1 } else { 0 };
            if (self.first + index).is_multiple_of(align) {
                best = best.max(run);
            }
        }
        best
    }
    fn check(&self) {}
}

/// Drives both through one sequence and compares every answer.
fn compare(
    ours: &mut impl Units,
    oracle: &mut impl Units,
    mix: Mix,
    seed: u64,
    steps: usize,
    ask: bool,
) {
    let mut generator = Generator::new(seed, mix);
    let mut runs: Vec<Option<(usize, usize)>> = Vec::new();
    let mut served = 0;
    for step in 0..steps {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                runs.resize(runs.len().max(key + 1), None);
                let start = ours.alloc(size, align);
                assert_eq!(
                    start,
                    oracle.alloc(size, align),
                    "step {step}: {size} units, align {align}"
                );
                runs[key] = start.map(|start| (start, size));
                match start {
                    Some(_) => served += 1,
                    None => generator.refused(key),
                }
            }
            Op::Free { key } => {
                let (start, count) = runs[key].take().unwrap();
                ours.dealloc(start, count);
                oracle.dealloc(start, count);
            }
            Op::Realloc { .. } => {}
        }
        if ask && step % 64 == 0 {
            for align in [1, 2, 16, 512, 1024] {
                assert_eq!(
                    ours.longest(align),
                    oracle.longest(align),
                    "step {step}, align {align}"
                );
            }
        }
        if step == steps / 2 {
            ours.check();
        }
    }
    assert!(served > steps / 5);
    ours.check();
    for op in generator.drain() {
        let Op::Free { key } = op else { unreachable!() };
        let (start, count) = runs[key].take().unwrap();
        ours.dealloc(start, count);
        oracle.dealloc(start, count);
    }
    ours.check();
}

fn pages_of(start: usize, count: usize) -> BitmapPageAllocator {
    let mut pages = BitmapPageAllocator::new(PAGE).unwrap();
    manage(&mut pages, true, start, count * PAGE);
    pages
}

fn ids_of(start: usize, count: usize) -> BitmapIdAllocator {
    let mut ids = BitmapIdAllocator::new();
    manage(&mut ids, true, start, count);
    ids
}

fn manage(allocator: &mut impl BaseAllocator, is_first: bool, start: usize, size: usize) {
    let managed = if is_first {
        // SAFETY: pages and ids are numbers here; nothing is touched.
        unsafe { allocator.init(start, size) }
    } else {
        // SAFETY: as above.
        unsafe { allocator.add_memory(start, size) }
    };
    managed.unwrap();
}

/// Mostly single units, so that the space fills up with holes.
const SINGLES: Mix = Mix {
    sizes: Sizes::OneOf(&[1, 1, 1, 1, 1, 1, 1, 2, 3, 16]),
    align_log2_max: 10,
    align_percent: 10,
    align_usual: 1,
    realloc_percent: 0,
    live_max: 50_000,
    phase_len: 4000,
};
/// Runs around the lengths of words and chunks.
const EDGES: Mix = Mix {
    sizes: Sizes::OneOf(&[1, 2, 63, 64, 65, 128, 511, 512, 513, 1024, 1025, 2000]),
    align_log2_max: 11,
    align_percent: 40,
    align_usual: 1,
    realloc_percent: 0,
    live_max: 400,
    phase_len: 700,
};

#[test]
fn pages_answer_as_the_crate() {
    let first = prng::seed(0x9a9e5);
    for seed in first..first + scaled(2, 8) as u64 {
        for mix in [Mix::runs(), SINGLES, EDGES, Mix::runs().with_live_max(100)] {
            let count = 60_000;
            compare(
                &mut pages_of(GIB, count),
                &mut Bare::<BitAlloc64K>::new(GIB / PAGE, count),
                mix,
                seed,
                scaled(2_500, 100_000),
                false,
            );
        }
        // A map with little room: requests are refused again and again.
        compare(
            &mut pages_of(4 * GIB, 3000),
            &mut Bare::<BitAlloc64K>::new(4 * GIB / PAGE, 3000),
            EDGES,
            seed,
            scaled(2_500, 100_000),
            false,
        );
        compare(
            &mut pages_of(8 * GIB, 1 << 20),
            &mut Bare::<BitAlloc1M>::new(8 * GIB / PAGE, 1 << 20),
            Mix::runs().with_sizes(Sizes::LogUniform(1, 20_000)),
            seed,
            scaled(400, 50_000),
            false,
        );
    }
}

#[test]
fn ids_answer_as_the_crate() {
    let first = prng::seed(0x1d5);
    for seed in first..first + scaled(2, 8) as u64 {
        for mix in [Mix::runs(), SINGLES, EDGES] {
            compare(
                &mut ids_of(0, 65_536),
                &mut Bare::<BitAlloc64K>::new(0, 65_536),
                mix,
                seed,
                scaled(2_500, 100_000),
                false,
            );
        }
    }
}

#[test]
fn any_base_is_answered_lowest_first_by_absolute_alignment() {
    let mut prng = Prng::new(prng::seed(0xba5e));
    for round in 0..scaled(12, 100) {
        let first = 1 + prng.below(1 << 20);
        let count = prng.between(1, 5000);
        let mix = if round % 2 == 0 { EDGES } else { SINGLES };
        let seed = prng.next_u64();
        compare(
            &mut pages_of(first * PAGE, count),
            &mut Plain::new(first, count, &[(0, count)]),
            mix.with_live_max(200),
            seed,
            1500,
            true,
        );
        compare(
            &mut ids_of(first, count),
            &mut Plain::new(first, count, &[(0, count)]),
            mix.with_live_max(200),
            seed,
            1500,
            true,
        );
    }
}

#[test]
fn added_ranges_stay_apart_and_gaps_stay_out() {
    let mut prng = Prng::new(prng::seed(0xadd));
    for _ in 0..scaled(10, 100) {
        let first = 1 + prng.below(10_000);
        // Starts and counts, the first at 0, in an order that also fills gaps later.
        let mut ranges = vec![(0, prng.between(1, 700))];
        let mut end = ranges[0].1;
        for _ in 0..4 {
            // Half of them touch the range before.
            let start = end + if prng.chance(1, 2) { 0 } else { prng.below(1500) };
            let count = prng.between(1, 1500);
            ranges.push((start, count));
            end = start + count;
        }
        prng.shuffle(&mut ranges[1..]);
        let mut pages = BitmapPageAllocator::with_capacity(PAGE, end).unwrap();
        let mut ids = BitmapIdAllocator::with_capacity(end).unwrap();
        for (index, &(start, count)) in ranges.iter().enumerate() {
            let (pos, id) = ((first + start) * PAGE, first + start);
            manage(&mut pages, index == 0, pos, count * PAGE);
            manage(&mut ids, index == 0, id, count);
            pages.check();
            ids.check();
            // In between, the lists of changed chunks and the known nodes are put to the test.
            assert_eq!(
                pages.longest(1),
                Plain::new(first, end, &ranges[..=index]).longest(1),
                "{ranges:?} {index}"
            );
        }
        let managed: usize = ranges.iter().map(|&(_, count)| count).sum();
        assert_eq!((pages.total_pages(), ids.size()), (managed, managed));
        let mix = EDGES.with_live_max(100);
        let seed = prng.next_u64();
        let mut plain = Plain::new(first, end, &ranges);
        compare(&mut pages, &mut plain, mix, seed, 1000, true);
        compare(&mut ids, &mut plain, mix, seed, 1000, true);
        for unit in first..first + end + 10 {
            let free = plain.free.get(unit - first).copied().unwrap_or(false);
            if !free {
                assert_eq!(pages.dealloc_pages(unit * PAGE, 1), Err(AllocError::NotAllocated));
                assert_eq!(ids.dealloc_id(unit, 1), Err(AllocError::NotAllocated));
                assert!(!ids.is_allocated(unit));
            }
        }
    }
}

/// Every pattern of a few units, wherever it lies over the edges of words and chunks.
#[test]
fn a_range_added_behind_another_or_a_gap_is_seen() {
    // (pages before the first, pages of it, pages of a gap, pages added), in a map of 64 Ki pages.
    for (lead, first, gap, added) in
        [(256, 256, 16_128, 256), (0, 512, 512, 90), (0, 1024, 7, 5000)]
    {
        let mut pages = BitmapPageAllocator::with_capacity(PAGE, 60_000).unwrap();
        let start = GIB + lead * PAGE;
        manage(&mut pages, true, start, first * PAGE);
        // A search makes the tree know the old limit.
        pages.alloc_pages(1, PAGE).unwrap();
        assert_eq!(pages.largest_free_run(), first - 1);
        manage(&mut pages, false, start + (first + gap) * PAGE, added * PAGE);
        pages.check_invariants().unwrap();
        assert_eq!(pages.largest_free_run(), added.max(first - 1));
    }
}

#[test]
fn small_patterns_are_answered_exhaustively() {
    for first in [1, 60, 505, 509] {
        for pattern in 0_u32..1 << 10 {
            let mut pages = pages_of(first * PAGE, 10);
            let mut plain = Plain::new(first, 10, &[(0, 10)]);
            for bit in 0..10 {
                if pattern & (1 << bit) != 0 {
                    pages.alloc_pages_at((first + bit) * PAGE, 1, PAGE).unwrap();
                    plain.free[bit] = false;
                }
            }
            for count in 1..=10 {
                for align in [1, 2, 4, 8] {
                    let start = pages.alloc(count, align);
                    assert_eq!(start, plain.find(count, align).map(|start| first + start));
                    if let Some(start) = start {
                        pages.dealloc(start, count);
                    }
                }
            }
        }
    }
}

/// After the lowest few runs the tree answers: the same patterns behind a checkerboard.
#[test]
fn the_tree_answers_as_the_scan_does() {
    let mut prng = Prng::new(prng::seed(0x7ee));
    for _ in 0..scaled(30, 300) {
        let first = 512 * prng.below(8) + prng.below(3) * 255;
        let board = prng.between(100, 4000);
        let count = board + prng.between(1, 6000);
        let mut ids = ids_of(first, count);
        let mut plain = Plain::new(first, count, &[(0, count)]);
        for unit in
            (0..count).filter(|&unit| if unit < board { unit % 2 == 1 } else { prng.chance(1, 12) })
        {
            ids.alloc_fixed_id(first + unit).unwrap();
            plain.free[unit] = false;
        }
        for _ in 0..60 {
            let (size, align) = (prng.between(1, 40), 1 << prng.below(11));
            let start = ids.alloc(size, align);
            assert_eq!(start, plain.alloc(size, align), "{size} units, align {align}");
            if prng.chance(1, 2)
                && let Some(start) = start
            {
                ids.dealloc(start, size);
                plain.dealloc(start, size);
            }
        }
        ids.check();
    }
}
