//! The engine beside the bare crates, in one process: `cargo bench -p heapwright-two-level`.
//!
//! B4 (shuffled frees, random replacement), B5 (free scan), B16 (useful bytes), B18 (tail), a remote free.
//! Every row says what it is compared with, in the same run; only ratios count. The suite proper, with
//! every peer in a process of its own, is `benches/`.
//!
//! Not here: the Heap's magazines, which stand before this engine.

#![expect(clippy::print_stdout, reason = "the results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds here stay far below 2^52")]
#![cfg_attr(any(loom, shuttle), expect(unused, reason = "only what std runs is timed"))]

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;
use std::time::Instant;

use heapwright_testkit::{Prng, Sizes};
use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};

const SIZE: usize = 64 << 20;

/// One allocator over memory that it may touch.
trait Bare {
    fn alloc(&mut self, layout: Layout) -> usize;
    fn free(&mut self, pos: usize, layout: Layout);
}

/// Memory for a peer that keeps its metadata there, leaked: a bench ends soon.
fn memory(size: usize) -> &'static mut [u8] {
    let words: &'static mut [u128] = vec![0u128; (size + SIZE) / 16].leak();
    let bytes = words.as_mut_ptr().cast::<u8>();
    let start = bytes.wrapping_add(bytes.align_offset(1 << 20));
    #[expect(unsafe_code, reason = "peers want raw memory")]
    // SAFETY: the leaked words are longer than `size` by more than the alignment that is skipped, and
    // nobody else has them.
    unsafe {
        core::slice::from_raw_parts_mut(start, size)
    }
}

struct TwoLevel(GlobalAllocator);

impl TwoLevel {
    fn new(table: ClassTable, cpus: usize, size: usize) -> Self {
        let engine = GlobalAllocator::new(table, cpus, 4096).expect("valid");
        engine.add_region(1 << 30, size, 0).expect("valid");
        Self(engine)
    }
}

impl Bare for TwoLevel {
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.alloc(CpuId(0), layout).unwrap_or(0)
    }
    fn free(&mut self, pos: usize, _: Layout) {
        self.0.dealloc(CpuId(0), pos).expect("live");
    }
}

struct Buddy(buddy_system_allocator::Heap<32>);

impl Buddy {
    fn new(size: usize) -> Self {
        let memory = memory(size);
        let start = memory.as_mut_ptr() as usize;
        let mut heap = buddy_system_allocator::Heap::empty();
        #[expect(unsafe_code, reason = "the crate asks for it")]
        // SAFETY: leaked memory of that size, which nobody else has.
        unsafe {
            heap.init(start, size);
        }
        Self(heap)
    }
}

impl Bare for Buddy {
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.alloc(layout).map_or(0, |block| block.as_ptr() as usize)
    }
    #[expect(unsafe_code, reason = "the crate asks for it")]
    fn free(&mut self, pos: usize, layout: Layout) {
        let block = NonNull::new(pos as *mut u8).expect("not null");
        // SAFETY: the loops free what they allocated, once, with its layout.
        unsafe { self.0.dealloc(block, layout) };
    }
}

type Tlsf = rlsf::Tlsf<'static, u32, u32, 28, 32>;

struct Rlsf(Tlsf);

impl Rlsf {
    #[expect(unsafe_code, reason = "the crate asks for uninitialized memory")]
    fn new(size: usize) -> Self {
        let memory = memory(size);
        let mut tlsf = Tlsf::new();
        // SAFETY: initialized bytes may be seen as uninitialized ones.
        let pool =
            unsafe { core::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len()) };
        tlsf.insert_free_block(pool);
        Self(tlsf)
    }
}

impl Bare for Rlsf {
    fn alloc(&mut self, layout: Layout) -> usize {
        self.0.allocate(layout).map_or(0, |block| block.as_ptr() as usize)
    }
    #[expect(unsafe_code, reason = "the crate asks for it")]
    fn free(&mut self, pos: usize, layout: Layout) {
        let block = NonNull::new(pos as *mut u8).expect("not null");
        // SAFETY: the loops free what they allocated, once, with its layout.
        unsafe { self.0.deallocate(block, layout.align()) };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("small")
}

/// The smallest of `rounds` timings, in ns.
fn best(rounds: usize, mut body: impl FnMut() -> u128) -> f64 {
    (0..rounds).map(|_| body()).min().unwrap_or(0) as f64
}

/// B4: allocate `count` blocks, free them shuffled.
fn shuffled(bare: &mut dyn Bare, count: usize, size: usize, rounds: usize) -> f64 {
    let mut random = Prng::new(4);
    best(rounds, || {
        let mut blocks = Vec::with_capacity(count);
        let start = Instant::now();
        for _ in 0..count {
            blocks.push(bare.alloc(layout(size)));
        }
        let allocated = start.elapsed().as_nanos();
        random.shuffle(&mut blocks);
        let start = Instant::now();
        for &pos in &blocks {
            bare.free(black_box(pos), layout(size));
        }
        allocated + start.elapsed().as_nanos()
    })
}

/// B4: random replacement at `live` blocks of 16 … 527 bytes, ns for each pair.
fn replacement(bare: &mut dyn Bare, live: usize, steps: usize) -> f64 {
    let mut random = Prng::new(7);
    let sizes = Sizes::Uniform(16, 527);
    let mut blocks: Vec<_> = (0..live)
        .map(|_| {
            let layout = layout(sizes.draw(&mut random));
            (bare.alloc(layout), layout)
        })
        .collect();
    let pair = best(30, || {
        let start = Instant::now();
        for _ in 0..steps / 10 {
            let slot = &mut blocks[random.below(live)];
            bare.free(slot.0, slot.1);
            let layout = layout(sizes.draw(&mut random));
            *slot = (black_box(bare.alloc(layout)), layout);
        }
        start.elapsed().as_nanos()
    });
    for (pos, layout) in blocks {
        bare.free(pos, layout);
    }
    pair / (steps / 10) as f64
}

/// B5: `pairs` blocks of 64 bytes twice, the even ones freed, then the odd ones; ns for each free.
fn free_scan(bare: &mut dyn Bare, pairs: usize, rounds: usize) -> f64 {
    best(rounds, || {
        let blocks: Vec<_> = (0..2 * pairs).map(|_| bare.alloc(layout(64))).collect();
        let start = Instant::now();
        for &pos in blocks.iter().step_by(2).chain(blocks.iter().skip(1).step_by(2)) {
            bare.free(black_box(pos), layout(64));
        }
        start.elapsed().as_nanos()
    }) / (2 * pairs) as f64
}

/// B16: fill until refused with sizes whose powers of two are alike; the useful part.
fn useful(bare: &mut dyn Bare, size: usize) -> f64 {
    let mut random = Prng::new(16);
    let mut live = 0;
    loop {
        let top = random.between(6, 15);
        let layout = layout(random.between(1, (1 << top) - 1));
        if bare.alloc(layout) == 0 {
            return live as f64 / size as f64;
        }
        live += layout.size();
    }
}

/// B18: the largest latency of `steps` operations, in ns, and the median.
fn tail(bare: &mut dyn Bare, steps: usize) -> (f64, f64) {
    let mut random = Prng::new(18);
    let mut blocks = vec![(0, layout(1)); 20_000];
    let mut times = Vec::with_capacity(steps);
    for step in 0..steps {
        let index = if step < blocks.len() { step } else { random.below(blocks.len()) };
        let layout = layout(random.between(16, 1024));
        let start = Instant::now();
        if blocks[index].0 != 0 {
            bare.free(blocks[index].0, blocks[index].1);
        }
        blocks[index] = (bare.alloc(layout), layout);
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    (times[steps - 1] as f64, times[steps / 2] as f64)
}

/// ns for a free of another CPU's slot, and for the drain of one.
fn remote(count: usize) -> (f64, f64) {
    let engine = TwoLevel::new(ClassTable::kernel(), 2, SIZE).0;
    let blocks: Vec<_> =
        (0..count).map(|_| engine.alloc(CpuId(0), layout(64)).expect("room")).collect();
    let start = Instant::now();
    for &pos in &blocks {
        engine.dealloc(CpuId(1), black_box(pos)).expect("live");
    }
    let free = start.elapsed().as_nanos() as f64 / count as f64;
    let start = Instant::now();
    assert_eq!(engine.drain(CpuId(0)), count);
    (free, start.elapsed().as_nanos() as f64 / count as f64)
}

/// ns for a slot taken and given in batches of `batch`.
fn bulk(batch: usize, cpus: usize) -> f64 {
    let engine = TwoLevel::new(ClassTable::fine(), cpus, SIZE).0;
    let class = engine.table().class_of(layout(64)).expect("a class");
    let mut slots = Vec::with_capacity(batch);
    let rounds = 20_000 / batch;
    best(300, || {
        let start = Instant::now();
        for _ in 0..rounds {
            slots.clear();
            engine.take_slots(CpuId(0), class, batch, |pos| slots.push(pos));
            engine.give_slots(CpuId(0), &slots).expect("live");
        }
        start.elapsed().as_nanos()
    }) / (rounds * batch) as f64
}

fn main() {
    let kernel = || TwoLevel::new(ClassTable::kernel(), 1, SIZE);
    let fine = || TwoLevel::new(ClassTable::fine(), 1, SIZE);
    let slow = std::env::args().any(|argument| argument == "--full");
    for (name, count, size) in [("25 K x 512 B", 25_000, 512), ("7500 x 4160 B", 7500, 4160)] {
        let ours = shuffled(&mut kernel(), count, size, 25);
        let rlsf = shuffled(&mut Rlsf::new(SIZE), count, size, 25);
        println!("B4 {name}: ours {:.3} ms, rlsf {:.3} ms", ours / 1e6, rlsf / 1e6);
        if slow {
            let bare = shuffled(&mut Buddy::new(SIZE), count, size, 1);
            println!("B4 {name}: bare buddy {:.1} ms, ours 1/{:.0}", bare / 1e6, bare / ours);
        }
    }
    let rlsf = replacement(&mut Rlsf::new(SIZE), 100_000, 1_000_000);
    for (name, mut ours) in [("kernel", kernel()), ("fine", fine())] {
        let ours = replacement(&mut ours, 100_000, 1_000_000);
        println!(
            "B4 replacement, {name}: ours {ours:.1} ns, rlsf {rlsf:.1} ns, ratio {:.2}",
            ours / rlsf
        );
    }
    let few = free_scan(&mut kernel(), 100, 200);
    let many = free_scan(&mut kernel(), 100_000, 25);
    println!("B5 per free: {few:.1} ns at 100, {many:.1} ns at 100 K, ratio {:.2}", many / few);
    let ours = free_scan(&mut kernel(), 5000, 20);
    let bare = free_scan(&mut Buddy::new(SIZE), 5000, 1);
    println!("B5 at 5000: {ours:.1} ns, bare buddy {bare:.0} ns, ratio {:.5}", ours / bare);
    let large = 128 << 20;
    println!(
        "B16 useful: kernel {:.3}",
        useful(&mut TwoLevel::new(ClassTable::kernel(), 1, large), large)
    );
    println!(
        "B16 useful: fine {:.3}",
        useful(&mut TwoLevel::new(ClassTable::fine(), 1, large), large)
    );
    println!("B16 useful: rlsf {:.3}", useful(&mut Rlsf::new(large), large));
    println!("B16 useful: bare buddy {:.3}", useful(&mut Buddy::new(large), large));
    let (max, median) = tail(&mut fine(), 1_000_000);
    println!("B18 ours: max {max:.0} ns, median {median:.0} ns");
    let (max, median) = tail(&mut Buddy::new(SIZE), if slow { 200_000 } else { 30_000 });
    println!("B18 bare buddy: max {max:.0} ns, median {median:.0} ns");
    let (free, drain) = remote(200_000);
    println!("remote free {free:.1} ns, drain {drain:.2} ns a slot");
    for (batch, cpus) in [(32, 1), (64, 1), (32, 64), (64, 64)] {
        println!(
            "bulk of {batch}, {cpus} CPUs: {:.2} ns for a slot taken and given",
            bulk(batch, cpus)
        );
    }
}
