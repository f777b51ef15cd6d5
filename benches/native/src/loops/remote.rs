//! B8, the remote free alone: one thread allocates batches of 64-byte blocks, another frees all of them, both at once.
//!
//! Each side times its own batches, so that neither waiting for the other nor the queue between them counts; a sample is
//! the median of the batches of a pass, which a descheduled thread does not move. What is freed comes back to the thread
//! that allocates: its figure includes taking it back.

use std::alloc::Layout;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use heapwright_two_level::{ClassTable, CpuId, GlobalAllocator};

use crate::arena::Arena;
use crate::bare_two_level::{self, BuddySlab};
use crate::options::Options;
use crate::peer::{Malloc, with_peer};
use crate::report::Line;

const SIZE: usize = 64;
const BATCH: usize = 4096;
/// Batches under way.
const QUEUE: usize = 8;
const ARENA: usize = 64 << 20;

/// An allocator that is freed into by another thread than the one that allocates.
trait Crossing: Sync {
    /// A block for thread 0, or 0 when there is none.
    fn alloc(&self) -> usize;

    /// Frees a block on thread 1.
    ///
    /// # Safety
    ///
    /// - `p` is a live block of [`Self::alloc`].
    unsafe fn free(&self, p: usize);

    /// Called first on thread `index`.
    fn enter(&self, _index: usize) {}
}

struct Ours(GlobalAllocator);

impl Crossing for Ours {
    #[inline]
    fn alloc(&self) -> usize {
        self.0.alloc(CpuId(0), Layout::new::<[u64; SIZE / 8]>()).unwrap_or(0)
    }

    #[inline]
    unsafe fn free(&self, p: usize) {
        let freed = self.0.dealloc(CpuId(1), p);
        debug_assert!(freed.is_ok());
    }
}

struct C<P>(std::marker::PhantomData<P>);

impl<P: Malloc> Crossing for C<P> {
    #[inline]
    fn alloc(&self) -> usize {
        P::malloc(SIZE) as usize
    }

    #[inline]
    unsafe fn free(&self, p: usize) {
        // SAFETY: the caller promises a live block.
        unsafe { P::free(p as *mut u8) }
    }
}

impl Crossing for BuddySlab {
    #[inline]
    fn alloc(&self) -> usize {
        Self::alloc_shared(Layout::new::<[u64; SIZE / 8]>())
    }

    #[inline]
    unsafe fn free(&self, p: usize) {
        // SAFETY: the caller promises a live block, which `alloc` has allocated with this layout.
        unsafe { Self::free_shared(p, Layout::new::<[u64; SIZE / 8]>()) }
    }

    fn enter(&self, index: usize) {
        bare_two_level::set_cpu(index);
    }
}

/// `batches=` a pass over `peer=`; nanoseconds of a remote free, and of an allocation that takes such blocks back.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match options.text("peer", "glibc") {
        "two-level" => {
            let arena = Arena::map(ARENA)?.populate();
            let name = |error| format!("two-level: {error:?}");
            let global = GlobalAllocator::new(ClassTable::kernel(), 2, 4096).map_err(name)?;
            global.add_region(arena.start(), arena.size(), arena.start()).map_err(name)?;
            let ours = Ours(global);
            let [allocs, frees] = measure(options, &ours)?;
            let drains = ours.0.drains(CpuId(0));
            Line::new("alloc after", "ns", &allocs).print();
            Line::new("remote free", "ns", &frees)
                .with("slabs_drained", drains.slabs as f64)
                .with("slots_drained", drains.slots as f64)
                .with("slabs_drained_in_vain", drains.in_vain as f64)
                .print();
            Ok(())
        }
        "buddy-slab-allocator" => report(options, &BuddySlab::over(Arena::map(ARENA)?.populate())?),
        _ => with_peer!(options, P => report(options, &C::<P>(std::marker::PhantomData))),
    }
}

fn report(options: &Options, crossing: &impl Crossing) -> Result<(), String> {
    let [allocs, frees] = measure(options, crossing)?;
    Line::new("alloc after", "ns", &allocs).print();
    Line::new("remote free", "ns", &frees).print();
    Ok(())
}

/// Nanoseconds of an allocation and of a free, for each pass but the first.
fn measure(options: &Options, crossing: &impl Crossing) -> Result<[Vec<f64>; 2], String> {
    let batches = options.number("batches", 500)?;
    let passes = options.number("passes", 5)?;
    let (full_in, full_out) = sync_channel(QUEUE);
    let (empty_in, empty_out) = sync_channel(QUEUE);
    for _ in 0..QUEUE {
        empty_in.send(vec![0; BATCH]).map_err(|error| error.to_string())?;
    }
    let total = batches * (passes + 1);
    let (allocs, frees) = std::thread::scope(|scope| {
        let freer = scope.spawn(move || free_all(crossing, &full_out, &empty_in));
        let allocs = allocate_all(crossing, total, &full_in, &empty_out);
        drop(full_in);
        (allocs, freer.join())
    });
    let frees = frees.map_err(|_| "the freeing thread panicked".to_owned())?;
    let allocs = allocs?;
    let by_pass = |nanos: &[f64]| nanos.chunks(batches).skip(1).map(median).collect();
    Ok([by_pass(&allocs), by_pass(&frees)])
}

#[inline(never)]
fn allocate_all(
    crossing: &impl Crossing,
    batches: usize,
    full: &SyncSender<Vec<usize>>,
    empty: &Receiver<Vec<usize>>,
) -> Result<Vec<f64>, String> {
    crossing.enter(0);
    let mut nanos = Vec::with_capacity(batches);
    for i in 0..batches {
        let mut batch = empty.recv().map_err(|error| error.to_string())?;
        let start = Instant::now();
        for block in &mut batch {
            *block = crossing.alloc();
            if *block == 0 {
                return Err("out of memory: what the other thread freed does not come back".into());
            }
            // SAFETY: a block of 64 bytes in mapped memory.
            unsafe { (*block as *mut u32).write(i as u32) };
        }
        nanos.push(start.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        full.send(batch).map_err(|error| error.to_string())?;
    }
    Ok(nanos)
}

#[inline(never)]
fn free_all(
    crossing: &impl Crossing,
    full: &Receiver<Vec<usize>>,
    empty: &SyncSender<Vec<usize>>,
) -> Vec<f64> {
    crossing.enter(1);
    let mut nanos = Vec::new();
    for batch in full {
        let start = Instant::now();
        for &block in &batch {
            // SAFETY: the other thread filled the batch with live blocks and gave it away.
            unsafe { crossing.free(block) };
        }
        nanos.push(start.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        if empty.send(batch).is_err() {
            break;
        }
    }
    nanos
}

fn median(nanos: &[f64]) -> f64 {
    let mut sorted = nanos.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
