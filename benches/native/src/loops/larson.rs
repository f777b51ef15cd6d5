//! B7: larson. Each of N threads replaces blocks of 8..=1000 bytes in 5000 slots at random; after 100 x 5000 steps
//! it hands its slots to the next thread and goes on with those of the one before.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::Line;
use crate::sequence::{LARSON_SLOTS, LARSON_TURN, Larson};

/// Addresses of blocks: plain numbers, so that they can cross threads.
type Slots = Vec<usize>;

/// `threads=` threads for `millis=` milliseconds; reports million operations (a free and an alloc) per second and
/// thread.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let threads = options.number("threads", 1)?;
    let duration = Duration::from_millis(options.number("millis", 5000)? as u64);
    let stop = AtomicBool::new(false);
    let total = AtomicUsize::new(0);
    let start_line = Barrier::new(threads + 1);
    let (senders, receivers): (Vec<SyncSender<Slots>>, Vec<Receiver<Slots>>) =
        (0..threads).map(|_| sync_channel(threads)).unzip();
    let seconds = std::thread::scope(|scope| {
        for (index, inbox) in receivers.into_iter().enumerate() {
            let next = senders[(index + 1) % threads].clone();
            let (stop, total, start_line) = (&stop, &total, &start_line);
            scope.spawn(move || {
                let mut sequence = Larson::new(index as u32);
                let mut slots: Slots =
                    (0..LARSON_SLOTS).map(|_| P::malloc(sequence.step().1) as usize).collect();
                start_line.wait();
                while !stop.load(Ordering::Relaxed) {
                    let done = turn::<P>(&mut slots, &mut sequence, stop);
                    total.fetch_add(done, Ordering::Relaxed);
                    if next.send(slots).is_err() {
                        return;
                    }
                    match inbox.recv() {
                        Ok(handed) => slots = handed,
                        Err(_) => return,
                    }
                }
                for &slot in &slots {
                    // SAFETY: whoever holds the slots holds their live blocks.
                    unsafe { P::free(slot as *mut u8) };
                }
            });
        }
        drop(senders);
        start_line.wait();
        let start = Instant::now();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        start.elapsed().as_secs_f64()
    });
    let rate = total.load(Ordering::Relaxed) as f64 / seconds / 1e6 / threads as f64;
    Line::new(&format!("N={threads}"), "Mops/s", &[rate]).print();
    Ok(())
}

/// Up to [`LARSON_TURN`] steps; looks every 5000 steps whether to stop.
#[inline(never)]
fn turn<P: Malloc>(slots: &mut [usize], sequence: &mut Larson, stop: &AtomicBool) -> usize {
    let mut done = 0;
    while done < LARSON_TURN && !stop.load(Ordering::Relaxed) {
        for i in 0..LARSON_SLOTS {
            let (slot, size) = sequence.step();
            let slot = &mut slots[slot];
            // SAFETY: every slot is a live block; this one is replaced at once.
            unsafe { P::free(*slot as *mut u8) };
            let p = P::malloc(size);
            // SAFETY: the block has at least 8 bytes; nobody else has it.
            unsafe { p.write(i as u8) };
            *slot = p as usize;
        }
        done += LARSON_SLOTS as usize;
    }
    done
}
