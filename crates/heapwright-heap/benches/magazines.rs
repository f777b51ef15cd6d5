//! What a crossing of the Heap costs in Rust: refill and flush per slot, and B3 over the engine.
//!
//! - `refill + flush`: one class, stacks as they are full grown; slots come back in the order in which they
//!   were handed out, or shuffled, as a program frees them.
//! - `remote`: the same, freed by another thread through its outbox and drained by the owner.
//! - `B3`: random replacement (PERFORMANCE section 2), forms A and B, with a Rust model of the JavaScript
//!   fast path. It shows the engine behind magazines, not JavaScript: the figures that count are those of
//!   `benches/b03-random-replace.bench.ts`. Crossings per million steps are the same in both.
//!
//! `cargo bench -p heapwright-heap --bench magazines`. Minima of several rounds, in ns; one process.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::cast_precision_loss, reason = "counts below 2^53")]

use std::{sync::Arc, time::Instant};

use heapwright_heap::heap::{
    Attachment, HeapConfig, HeapEngine, Mapping, Stack,
    geometry::{AT, COUNT, FT, Geometry, OUTBOX, OUTBOX_MAX, S2C},
};

fn heap_of(size: usize) -> Attachment {
    let config = HeapConfig { size, max_threads: 2, huge_pages: false, populate: false };
    let engine = HeapEngine::map(&config).expect("a heap");
    Arc::new(engine).attach().expect("a slot")
}

/// The JavaScript side of one thread, as fast as Rust can be over a mapping that checks its bounds.
struct Fast {
    heap: Attachment,
    meta: Arc<Mapping>,
    geometry: Geometry,
    area: usize,
}

impl Fast {
    fn new(heap: Attachment) -> Self {
        let geometry = *heap.engine().geometry();
        let area = geometry.area(heap.slot(), heap.engine().is_shared());
        Self { meta: Arc::clone(heap.engine().meta()), heap, geometry, area }
    }

    #[inline]
    fn get(&self, index: usize) -> usize {
        self.meta.word(self.area + index * 4).cast_unsigned() as usize
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "addresses below 2^32 and word indices")]
    fn set(&self, index: usize, value: usize) {
        self.meta.set_word(self.area + index * 4, (value as u32).cast_signed());
    }

    #[inline]
    fn flip(&self, p: usize) -> i32 {
        let word = self.geometry.state_bits + (p >> 9) * 4;
        let mask = 1 << ((p >> 4) & 31);
        let state = self.meta.word(word);
        self.meta.set_word(word, state ^ mask);
        state & mask
    }

    #[inline]
    fn alloc(&self, size: usize) -> usize {
        let class = self.get(S2C + ((size + 15) >> 4));
        loop {
            let top = self.get(AT + class) - 1;
            let p = self.get(top);
            if p != 0 {
                self.set(AT + class, top);
                self.flip(p);
                return p;
            }
            let free = self.get(FT + class);
            if self.get(free - 1) == 0 {
                self.heap.refill(Stack::Alloc, class).expect("memory");
            } else {
                self.trade(class);
            }
        }
    }

    #[inline]
    fn free(&self, p: usize) {
        let class = self.meta.word(self.geometry.page_map + (p >> 12) * 4).cast_unsigned() as usize;
        loop {
            let top = self.get(FT + class);
            if self.get(top) != 0 {
                assert!(self.flip(p) != 0, "{p:#x} is not live");
                self.set(top, p);
                self.set(FT + class, top + 1);
                return;
            }
            if self.get(self.get(AT + class) - 1) == 0 {
                self.trade(class);
            } else {
                self.heap.flush(Stack::Free, class).expect("open");
            }
        }
    }

    /// As JavaScript does it: no crossing.
    fn trade(&self, class: usize) {
        let (alloc, free) = (self.get(AT + class), self.get(FT + class));
        self.set(AT + class, free);
        self.set(FT + class, alloc);
        self.set(COUNT + class, free);
    }
}

fn step(x: u32, multiplier: u32, increment: u32) -> u32 {
    x.wrapping_mul(multiplier).wrapping_add(increment)
}

/// ns per slot of taking `count` blocks of `size` through the alloc stack, and of giving them back.
fn local(size: usize, count: usize, shuffled: bool) -> (f64, f64) {
    let fast = Fast::new(heap_of(256 << 20));
    let class = fast.get(S2C + size.div_ceil(16));
    let mut best = (f64::MAX, f64::MAX);
    let mut blocks = Vec::with_capacity(count);
    for round in 0..60 {
        let (mut spent, mut spent_giving) = (0.0, 0.0);
        blocks.clear();
        while blocks.len() < count {
            let start = Instant::now();
            let filled = fast.heap.refill(Stack::Alloc, class).expect("memory");
            spent += start.elapsed().as_secs_f64();
            for _ in 0..filled {
                let top = fast.get(AT + class) - 1;
                blocks.push(fast.get(top));
                fast.set(AT + class, top);
            }
        }
        if shuffled {
            let mut x = 12345 + round;
            for index in (1..blocks.len()).rev() {
                x = step(x, 1_664_525, 1_013_904_223);
                blocks.swap(index, x as usize % (index + 1));
            }
        }
        for &p in &blocks {
            let mut top = fast.get(FT + class);
            if fast.get(top) == 0 {
                // As long as the alloc stack is empty the two would only trade places.
                let alloc = fast.get(AT + class);
                fast.set(alloc, p);
                fast.set(AT + class, alloc + 1);
                let start = Instant::now();
                fast.heap.flush(Stack::Free, class).expect("open");
                spent_giving += start.elapsed().as_secs_f64();
                fast.set(AT + class, alloc);
                top = fast.get(FT + class);
            }
            fast.set(top, p);
            fast.set(FT + class, top + 1);
        }
        let per_slot = |spent: f64| spent * 1e9 / count as f64;
        best = (best.0.min(per_slot(spent)), best.1.min(per_slot(spent_giving)));
    }
    best
}

/// ns per block that another thread frees, and that the owner takes again.
fn remote(count: usize) -> f64 {
    let owner = heap_of(256 << 20);
    owner.share().expect("open");
    let other = owner.engine().attach().expect("a slot");
    let meta = Arc::clone(owner.engine().meta());
    let geometry = *owner.engine().geometry();
    let area = geometry.area(other.slot(), true);
    let mut best = f64::MAX;
    for _ in 0..40 {
        let blocks = owner.alloc_many(64, count).expect("memory");
        let mut spent = 0.0;
        for part in blocks.chunks(OUTBOX_MAX) {
            for (index, &p) in part.iter().enumerate() {
                meta.set_byte(geometry.state_bytes + p / 16, 2);
                meta.set_word(area + (OUTBOX + 1 + index) * 4, geometry.entry_of(p));
            }
            meta.set_word(area + OUTBOX * 4, part.len().try_into().expect("small"));
            let start = Instant::now();
            other.flush_outbox().expect("open");
            spent += start.elapsed().as_secs_f64();
        }
        best = best.min(spent * 1e9 / count as f64);
    }
    best
}

/// ns per step of random replacement, and crossings per million steps.
fn random_replacement(bits: u32, drifting: bool) -> (f64, usize) {
    let fast = Fast::new(heap_of(1 << 30));
    let slots = 1usize << bits;
    let (mut x, mut y) = (12345_u32, 777_u32);
    let mut next = || {
        x = step(x, 1_664_525, 1_013_904_223);
        let slot = (x >> 6) as usize & (slots - 1);
        if drifting {
            y = step(y, 22_695_477, 1);
            (slot, 16 + ((y >> 20) & 511) as usize)
        } else {
            (slot, 16 + ((x >> 8) & 511) as usize)
        }
    };
    let mut ring: Vec<usize> = (0..slots).map(|_| fast.alloc(next().1)).collect();
    let data = Arc::clone(fast.heap.engine().data());
    let steps = 2_000_000_u32;
    let mut best = f64::MAX;
    let mut crossings = 0;
    for _ in 0..5 {
        let before = fast.heap.stats().expect("open").crossings;
        let start = Instant::now();
        for _ in 0..steps {
            let (slot, size) = next();
            fast.free(ring[slot]);
            let p = fast.alloc(size);
            ring[slot] = p;
            data.set_byte(p, 1);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(steps));
        crossings = fast.heap.stats().expect("open").crossings - before;
    }
    assert_eq!(fast.heap.check().expect("whole"), slots);
    (best, crossings / (steps as usize / 1_000_000))
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    if std::env::args().any(|argument| argument == "profile") {
        for _ in 0..200 {
            local(64, 1000, false);
        }
        return;
    }
    println!("refill + flush, ns per slot");
    for size in [16, 64, 256, 1024] {
        for count in [1000, 30_000] {
            let (ordered, shuffled) = (local(size, count, false), local(size, count, true));
            let show = |(take, give): (f64, f64)| format!("{take:5.2} + {give:5.2}");
            let (ordered, shuffled) = (show(ordered), show(shuffled));
            println!("  {size:5} B, {count:6} live: in order {ordered}, shuffled {shuffled}");
        }
    }
    println!("  outbox, 64 B, 30000 live: {:.2}", remote(30_000));
    println!("random replacement, ns per step (crossings per million steps)");
    for drifting in [false, true] {
        let form = if drifting { 'B' } else { 'A' };
        for bits in [10, 15, 20] {
            let (time, crossings) = random_replacement(bits, drifting);
            println!("  form {form}, 2^{bits}: {time:6.2} ({crossings})");
        }
    }
}
