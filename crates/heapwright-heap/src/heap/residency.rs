//! Which pages may be resident, and the rule that keeps their number close to what is allocated.
//!
//! *Touched* pages are those handed out since they were last given back to the system; in a heap that was populated,
//! all of them to begin with. A touched page that is free costs memory, and nothing as long as it is handed out
//! again. Where blocks that survive lie scattered, free runs are too short for what is asked for, and an
//! allocator touches ever more pages. So whoever hands out a page that was not touched looks whether touched
//! pages are more than were ever allocated at once, and a sixteenth; if so, as many free ones go back to the
//! system, and a few more, so that this stays rare.
//!
//! A program that frees and allocates again within that finds its pages as it left them: nothing is given back
//! because it was freed. That is what `trim` is for.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use super::geometry::{PAGE_BYTES, PAGE_SHIFT};

/// Touched pages may exceed the most that was allocated at once by this part of it ...
const SPARE_PART: usize = 16;

/// ... or by this many, where that is more.
const SPARE_MIN: usize = (4 << 20) / PAGE_BYTES;

/// In a small heap by this part of its pages instead.
const SPARE_PART_OF_HEAP: usize = 16;

/// What is given back beyond the excess: this part of the limit, for a walk over all runs takes time.
const BATCH_PART: usize = 64;

/// Touched pages of one heap.
#[derive(Debug)]
pub(super) struct Residency {
    touched: Box<[AtomicU64]>,
    /// Bits in `touched`.
    count: AtomicUsize,
    /// Pages allocated at most at once, as far as anybody looked.
    peak: AtomicUsize,
    /// Pages were touched since somebody looked.
    grown: AtomicBool,
    /// Where the next walk begins: what went back least recently.
    cursor: AtomicUsize,
    /// The least that touched pages may exceed the peak by.
    spare_min: usize,
}

impl Residency {
    /// Of a heap of `size` bytes, none of which was handed out.
    pub(super) fn new(size: usize) -> Self {
        let pages = size >> PAGE_SHIFT;
        Self {
            touched: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            grown: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            spare_min: SPARE_MIN.min(pages / SPARE_PART_OF_HEAP),
        }
    }

    /// The `pages` pages at `p` were handed out, or made resident.
    pub(super) fn touch(&self, p: usize, pages: usize) {
        let first = p >> PAGE_SHIFT;
        let mut fresh = 0;
        for_each_word(first..first + pages, |word, mask| {
            let before = self.touched[word].fetch_or(mask, Ordering::Relaxed);
            fresh += (mask & !before).count_ones() as usize;
        });
        if fresh > 0 {
            self.count.fetch_add(fresh, Ordering::Relaxed);
            self.grown.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the page that holds `p` is touched.
    pub(super) fn is_touched(&self, p: usize) -> bool {
        let page = p >> PAGE_SHIFT;
        (self.touched[page / 64].load(Ordering::Relaxed) >> (page % 64)) & 1 != 0
    }

    /// Calls `give_back(p, bytes)` for touched pages among `pages` free ones at `p`, run by run, until about
    /// `most` pages went, and forgets those for which it says `true`. Returns how many pages these are.
    pub(super) fn untouch(
        &self,
        p: usize,
        pages: usize,
        most: usize,
        mut give_back: impl FnMut(usize, usize) -> bool,
    ) -> usize {
        let (first, end) = (p >> PAGE_SHIFT, (p >> PAGE_SHIFT) + pages);
        let mut sum = 0;
        let mut page = first;
        while page < end && sum < most {
            if !self.is_touched(page << PAGE_SHIFT) {
                // Skips whole words of untouched pages.
                let empty = page % 64 == 0 && self.touched[page / 64].load(Ordering::Relaxed) == 0;
                page += if empty { 64 } else { 1 };
                continue;
            }
            let start = page;
            while page < end && page - start < most - sum && self.is_touched(page << PAGE_SHIFT) {
                page += 1;
            }
            if give_back(start << PAGE_SHIFT, (page - start) << PAGE_SHIFT) {
                for_each_word(start..page, |word, mask| {
                    self.touched[word].fetch_and(!mask, Ordering::Relaxed);
                });
                sum += page - start;
            }
        }
        self.count.fetch_sub(sum, Ordering::Relaxed);
        sum
    }

    /// Bytes of touched pages: what the heap may hold resident.
    pub(super) fn touched_bytes(&self) -> usize {
        self.count.load(Ordering::Relaxed) << PAGE_SHIFT
    }

    /// Calls `f` with the address of every touched page.
    pub(super) fn for_each_touched(&self, mut f: impl FnMut(usize)) {
        for (index, word) in self.touched.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                f((index * 64 + bits.trailing_zeros() as usize) << PAGE_SHIFT);
                bits &= bits - 1;
            }
        }
    }

    /// Whether pages were touched since this was last asked.
    #[inline]
    pub(super) fn take_grown(&self) -> bool {
        self.grown.load(Ordering::Relaxed) && self.grown.swap(false, Ordering::Relaxed)
    }

    /// How many pages are to go back, now that `allocated` are allocated.
    pub(super) fn excess(&self, allocated: usize) -> usize {
        let peak = self.peak.fetch_max(allocated, Ordering::Relaxed).max(allocated);
        let limit = peak + (peak / SPARE_PART).max(self.spare_min);
        let touched = self.count.load(Ordering::Relaxed);
        if touched > limit { touched - limit + limit / BATCH_PART } else { 0 }
    }

    /// Forgets what was allocated before: `allocated` pages are the most from now on.
    pub(super) fn forget_peak(&self, allocated: usize) {
        self.peak.store(allocated, Ordering::Relaxed);
    }

    /// Gives about `most` pages back. `for_each_free_run` calls its argument for every free run, start and
    /// pages, ascending, and keeps all of them free meanwhile; `give_back` as for [`untouch`](Self::untouch).
    pub(super) fn give_back(
        &self,
        most: usize,
        for_each_free_run: impl Fn(&mut dyn FnMut(usize, usize)),
        mut give_back: impl FnMut(usize, usize) -> bool,
    ) {
        // Round and round, so that no part of the heap is always the first to go.
        let cursor = self.cursor.load(Ordering::Relaxed);
        let mut left = most;
        for beyond in [true, false] {
            if left > 0 {
                for_each_free_run(&mut |start, pages| {
                    if left > 0 && (start >= cursor) == beyond {
                        left -= self.untouch(start, pages, left, &mut give_back);
                        self.cursor.store(start, Ordering::Relaxed);
                    }
                });
            }
        }
    }
}

/// Calls `f(word, mask)` for the bits `range` of a bit map in words of 64.
fn for_each_word(range: Range<usize>, mut f: impl FnMut(usize, u64)) {
    let mut bit = range.start;
    while bit < range.end {
        let low = bit % 64;
        let count = (64 - low).min(range.end - bit);
        f(bit / 64, (u64::MAX >> (64 - count)) << low);
        bit += count;
    }
}
