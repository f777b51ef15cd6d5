//! What mirror and live table cost: each wrapped family against its bare crate, in one process.
//!
//!     cargo bench -p heapwright-heap --bench mirror_cost
//!
//! Three rows of B4 (`PERFORMANCE.md`): 25 K blocks of 512 B and 7500 of 4160 B, allocated in order and freed
//! in shuffled order; and random replacement among 100 K live blocks of 16 to 527 bytes. As in the collections
//! that those rows come from, the blocks are not written. A second ratio is that of the same loops with four
//! bytes of every block written, in the crate's own memory on the bare side and in the data mapping on ours:
//! it has the cache and TLB misses of a second mapping in it. Sides alternate A B B A, and the fastest round
//! of each counts. The target is a first ratio of 1.5 at most; the exit code tells whether it is met.
//!
//! What it does not show: crossings from JavaScript, `allocZeroed`, `realloc`, tail latency.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::cast_precision_loss, reason = "nanoseconds in a table")]
#![expect(clippy::cast_possible_truncation, reason = "indices and random bits, all small enough")]
#![expect(clippy::cast_ptr_alignment, reason = "blocks are aligned to 8")]

use std::{alloc::Layout, hint::black_box, ptr, ptr::NonNull, time::Instant};

use heapwright_allocators::{BuddyByteAllocator, SlabByteAllocator, TlsfByteAllocator};
use heapwright_core::ByteFamily;
use heapwright_heap::{AnyMirror, ByteRules, Mirror, arena::Memory};
use heapwright_region::{Placement, Region};
use heapwright_testkit::Prng;

const RANGE: usize = 256 << 20;
const START: usize = 1 << 30;
const RATIO_MAX: f64 = 1.5;

/// An allocator as the loops see it.
trait Target {
    fn alloc(&mut self, size: usize) -> usize;
    fn free(&mut self, pos: usize, size: usize);
    fn write(&mut self, pos: usize, value: u32);
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a small size")
}

/// Memory for a bare crate, placed as the mirror places its control mapping.
fn region() -> Region {
    let region = Region::reserve_placed(RANGE, Placement { modulus: 1 << 30, residue: 0 })
        .expect("address space");
    region.commit(0, RANGE).expect("memory");
    region
}

macro_rules! bare {
    ($name:ident, $inner:ty, $this:ident, $layout:ident, $pos:ident,
     alloc $alloc:expr, free $free:expr) => {
        struct $name {
            inner: $inner,
            _region: Region,
        }

        impl Target for $name {
            #[inline]
            fn alloc(&mut self, size: usize) -> usize {
                let ($this, $layout) = (&mut self.inner, layout(size));
                $alloc
            }

            #[inline]
            fn free(&mut self, pos: usize, size: usize) {
                let ($this, $layout, $pos) = (&mut self.inner, layout(size), pos);
                $free
            }

            #[inline]
            fn write(&mut self, pos: usize, value: u32) {
                let block = ptr::with_exposed_provenance_mut::<u32>(pos);
                // SAFETY: the loops write into live blocks of at least 16 bytes.
                unsafe { block.write(value) };
            }
        }
    };
}

fn pointer(pos: usize) -> NonNull<u8> {
    NonNull::new(ptr::with_exposed_provenance_mut(pos)).expect("a block is not at 0")
}

bare!(BareBuddy, buddy_system_allocator::Heap<32>, this, layout, pos,
    alloc this.alloc(layout).expect("room").expose_provenance().get(),
    // SAFETY: the loops free live blocks with the size they were allocated with.
    free unsafe { this.dealloc(pointer(pos), layout) });
bare!(BareTlsf, rlsf::Tlsf<'static, u32, u32, 28, 32>, this, layout, pos,
    alloc this.allocate(layout).expect("room").expose_provenance().get(),
    // SAFETY: the loops free live blocks with the size they were allocated with.
    free unsafe { this.deallocate(pointer(pos), layout.align()) });
bare!(BareSlab, slab_allocator::Heap, this, layout, pos,
    alloc this.allocate(layout).expect("room"),
    // SAFETY: the loops free live blocks with the size they were allocated with.
    free unsafe { this.deallocate(pos, layout) });

fn bare_buddy() -> BareBuddy {
    let region = region();
    let mut inner = buddy_system_allocator::Heap::new();
    // SAFETY: the region is this heap's alone, and is dropped after it.
    unsafe { inner.init(region.base().expose_provenance().get(), RANGE) };
    BareBuddy { inner, _region: region }
}

fn bare_tlsf() -> BareTlsf {
    let region = region();
    let mut inner = rlsf::Tlsf::new();
    let pool = NonNull::slice_from_raw_parts(region.base(), RANGE);
    // SAFETY: the region is this heap's alone, and is dropped after it.
    unsafe { inner.insert_free_block_ptr(pool) }.expect("a pool");
    BareTlsf { inner, _region: region }
}

fn bare_slab() -> BareSlab {
    let region = region();
    // SAFETY: the region is this heap's alone, and is dropped after it.
    let inner =
        unsafe { slab_allocator::Heap::new(region.base().expose_provenance().get(), RANGE) };
    BareSlab { inner, _region: region }
}

struct Mirrored<F> {
    mirror: Mirror<F>,
    data: *mut u8,
}

impl<F: ByteFamily> Mirrored<F> {
    fn new(family: F, rules: ByteRules) -> Self {
        let mut mirror = Mirror::new(family, rules, Memory::Mapped);
        mirror.init(START, RANGE).expect("a range");
        let data = mirror.arenas()[0].data_at(START).expect("memory");
        Self { mirror, data }
    }
}

impl<F: ByteFamily> Target for Mirrored<F> {
    #[inline]
    fn alloc(&mut self, size: usize) -> usize {
        self.mirror.alloc(size, 8).expect("room")
    }

    #[inline]
    fn free(&mut self, pos: usize, size: usize) {
        let _ = size;
        self.mirror.dealloc(pos, None, None).expect("a live block");
    }

    #[inline]
    fn write(&mut self, pos: usize, value: u32) {
        // SAFETY: a live block lies inside the data mapping.
        unsafe { self.data.wrapping_add(pos - START).cast::<u32>().write(value) };
    }
}

/// Allocates `count` blocks of `size`, writes to each, frees them in the order given; ns a pair.
#[inline(never)]
fn shuffled<T: Target>(target: &mut T, touch: bool, size: usize, order: &[u32]) -> f64 {
    let mut blocks = vec![0; order.len()];
    let begun = Instant::now();
    for (block, &index) in blocks.iter_mut().zip(order) {
        *block = target.alloc(size);
        if touch {
            target.write(*block, index);
        }
    }
    for &index in order {
        target.free(blocks[index as usize], size);
    }
    let elapsed = begun.elapsed().as_nanos() as f64;
    black_box(&blocks);
    elapsed / order.len() as f64
}

/// Replaces a random block of a full ring by one of another size; ns a pair.
#[inline(never)]
fn replacement<T: Target>(target: &mut T, touch: bool, live: usize, steps: usize) -> f64 {
    let mut random = Prng::new(777);
    let mut ring: Vec<(usize, usize)> = (0..live)
        .map(|_| {
            let size = 16 + random.below(512);
            (target.alloc(size), size)
        })
        .collect();
    let begun = Instant::now();
    for step in 0..steps {
        let bits = random.next_u64() as usize;
        let slot = ((bits >> 32) * live) >> 32;
        let size = 16 + (bits & 511);
        let (pos, old_size) = ring[slot];
        target.free(pos, old_size);
        let new_pos = target.alloc(size);
        if touch {
            target.write(new_pos, step as u32);
        }
        ring[slot] = (new_pos, size);
    }
    let elapsed = begun.elapsed().as_nanos() as f64;
    for (pos, size) in ring {
        target.free(pos, size);
    }
    elapsed / steps as f64
}

/// One workload, run once on a fresh allocator.
#[derive(Clone, Copy)]
enum Workload {
    Shuffled { size: usize, count: usize },
    Replacement { live: usize, steps: usize },
}

impl Workload {
    fn run<T: Target>(self, touch: bool, make: &dyn Fn() -> T) -> f64 {
        let mut target = make();
        match self {
            Self::Shuffled { size, count } => {
                let mut order: Vec<u32> = (0..count as u32).collect();
                Prng::new(25).shuffle(&mut order);
                // The first pass touches fresh pages, which costs more than any allocator.
                shuffled(&mut target, touch, size, &order);
                shuffled(&mut target, touch, size, &order)
            }
            Self::Replacement { live, steps } => replacement(&mut target, touch, live, steps),
        }
    }
}

fn compare<A: Target, B: Target>(
    name: &str,
    workload: Workload,
    rounds: usize,
    bare: &dyn Fn() -> A,
    ours: &dyn Fn() -> B,
) -> bool {
    let mut fastest = [[f64::INFINITY; 2]; 2];
    for round in 0..rounds {
        for touch in [false, true] {
            for side in [round % 2, 1 - round % 2] {
                let ns =
                    if side == 0 { workload.run(touch, bare) } else { workload.run(touch, ours) };
                let best = &mut fastest[usize::from(touch)][side];
                *best = best.min(ns);
            }
        }
    }
    let [[bare_ns, our_ns], [bare_touched, our_touched]] = fastest;
    let (ratio, touched) = (our_ns / bare_ns, our_touched / bare_touched);
    let met = ratio <= RATIO_MAX;
    let verdict = if met { "" } else { "   above 1.5" };
    println!("{name:<32} {bare_ns:>10.1} {our_ns:>10.1} {ratio:>7.2} {touched:>9.2}{verdict}");
    met
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let head = "ns per alloc+free pair, minimum";
    println!("{head:<32} {:>10} {:>10} {:>7} {:>9}", "bare", "mirror", "ratio", "written");
    let small = Workload::Shuffled { size: 512, count: 25_000 };
    let large = Workload::Shuffled { size: 4160, count: 7500 };
    let ring = |steps| Workload::Replacement { live: 100_000, steps };
    let mut met = true;
    let tlsf = || Mirrored::new(TlsfByteAllocator::new(), ByteRules::TLSF);
    let slab = || Mirrored::new(SlabByteAllocator::new(), ByteRules::SLAB);
    let buddy = || Mirrored::new(BuddyByteAllocator::new(), ByteRules::BUDDY);
    if wanted("tlsf") {
        met &= compare("tlsf   25 K x 512 B", small, 41, &bare_tlsf, &tlsf);
        met &= compare("tlsf   7500 x 4160 B", large, 41, &bare_tlsf, &tlsf);
        met &= compare("tlsf   100 K live replaced", ring(1_000_000), 11, &bare_tlsf, &tlsf);
    }
    if wanted("slab") {
        met &= compare("slab   25 K x 512 B", small, 41, &bare_slab, &slab);
        met &= compare("slab   7500 x 4160 B", large, 3, &bare_slab, &slab);
        met &= compare("slab   100 K live replaced", ring(1_000_000), 11, &bare_slab, &slab);
    }
    if wanted("buddy") {
        met &= compare("buddy  25 K x 512 B", small, 2, &bare_buddy, &buddy);
        met &= compare("buddy  7500 x 4160 B", large, 3, &bare_buddy, &buddy);
        met &= compare("buddy  100 K live replaced", ring(20_000), 2, &bare_buddy, &buddy);
    }
    std::process::exit(i32::from(!met));
}
