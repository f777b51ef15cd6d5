//! B8: xmalloc-test. N producers fill batches of 4096 blocks of 64 bytes, N consumers free them all; a queue of at
//! most 100 batches stands between them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::peer::Malloc;
use crate::report::Line;

const BATCH: usize = 4096;
const QUEUE: usize = 100;
const SIZE: usize = 64;

struct State {
    full: VecDeque<Vec<usize>>,
    /// Emptied batches, to be filled again: the arrays themselves are not part of the measurement.
    empty: Vec<Vec<usize>>,
    stop: bool,
    freed: usize,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// `threads=` producers and as many consumers for `millis=` milliseconds; reports nanoseconds of wall time per block.
pub(crate) fn run<P: Malloc>(options: &Options) -> Result<(), String> {
    let threads = options.number("threads", 1)?;
    let duration = Duration::from_millis(options.number("millis", 5000)? as u64);
    let empty = (0..QUEUE + 2 * threads).map(|_| vec![0; BATCH]).collect();
    let queue = Queue {
        state: Mutex::new(State { full: VecDeque::new(), empty, stop: false, freed: 0 }),
        changed: Condvar::new(),
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| produce::<P>(&queue));
            scope.spawn(|| consume::<P>(&queue));
        }
        std::thread::sleep(duration);
        queue.lock().stop = true;
        queue.changed.notify_all();
    });
    let nanos = start.elapsed().as_secs_f64() * 1e9;
    let state = queue.lock();
    Line::new(&format!("N={threads}"), "ns", &[nanos / state.freed as f64]).print();
    Ok(())
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: std::sync::MutexGuard<'a, State>,
    ) -> std::sync::MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

fn produce<P: Malloc>(queue: &Queue) {
    loop {
        let mut state = queue.lock();
        while !state.stop && (state.full.len() >= QUEUE || state.empty.is_empty()) {
            state = queue.wait(state);
        }
        if state.stop {
            return;
        }
        let mut batch = state.empty.pop().unwrap_or_else(|| vec![0; BATCH]);
        drop(state);
        fill::<P>(&mut batch);
        let mut state = queue.lock();
        state.full.push_back(batch);
        drop(state);
        queue.changed.notify_all();
    }
}

fn consume<P: Malloc>(queue: &Queue) {
    loop {
        let mut state = queue.lock();
        while !state.stop && state.full.is_empty() {
            state = queue.wait(state);
        }
        let Some(batch) = state.full.pop_front() else {
            return;
        };
        drop(state);
        for &block in &batch {
            // SAFETY: a producer filled the batch with live blocks and gave it away.
            unsafe { P::free(block as *mut u8) };
        }
        let mut state = queue.lock();
        state.freed += BATCH;
        state.empty.push(batch);
        drop(state);
        queue.changed.notify_all();
    }
}

#[inline(never)]
fn fill<P: Malloc>(batch: &mut [usize]) {
    for (i, block) in batch.iter_mut().enumerate() {
        let p = P::malloc(SIZE);
        for k in 0..SIZE / 4 {
            // SAFETY: k < 16, and the block has 64 bytes, 16-byte aligned.
            unsafe { p.cast::<u32>().add(k).write(i as u32) };
        }
        *block = p as usize;
    }
}
