//! The search index: where is the first free run of `n` units at a multiple of an alignment?
//!
//! ```text
//!   tree    ┌───────────────── root ─────────────────┐     each node: free prefix, free suffix,
//!           ├──────── 2 ───────┐          ┌──── 3 ───┤     longest free run, best alignment of
//!   leaf    chunk 0   chunk 1  …                    …      a free unit
//!   bits    ████░░██░ ░░░░░░░░ one bit a unit, set = not free, 512 units = 8 words = one cache line
//! ```
//!
//! The wrapped crate answers the same question by walking unit by unit. Here a request is first tried on
//! the lowest few runs, which costs nothing but a look at words; only then the tree is asked, which knows at
//! its root that a request must fail, and otherwise leads to the first run that is long enough.
//!
//! The tree is lazy. An allocation or a free sets bits and puts its chunk on a list; the summaries of
//! listed chunks and their ancestors are brought up to date when the tree is asked. So one unit costs two
//! stores, whatever the size of the map.
//!
//! Zeroed memory means *free*, and a node of zeros means *untouched*: its summary follows from `limit`
//! alone. An index of 2^28 units therefore commits nothing until units are taken.
//!
//! Invariants ([`RunIndex::check_invariants`]):
//! 1. Every position from `limit` on, and every one before the first unit, counts as not free.
//! 2. A leaf that is not listed has the summary of its bits; an inner node none of whose leaves is listed
//!    has the summary of its children.
//! 3. A chunk is listed once, and its bit in `listed_bits` is set.
//!
//! Positions count from a multiple of the chunk length at or below the first unit of the range, so that a
//! position is a multiple of any alignment up to a chunk exactly when its unit is.
//!
//! Not here: which units are allocated, which are no one's; the wrapped crate's own bitmap.

use alloc::{boxed::Box, vec::Vec};
use core::cell::RefCell;

use heapwright_core::AllocResult;

use crate::zeroed::zeroed_slice;

/// Units in a chunk, a leaf of the tree.
pub(crate) const CHUNK_LEN: usize = 512;
const WORD_LEN: usize = u64::BITS as usize;
const CHUNK_WORDS: usize = CHUNK_LEN / WORD_LEN;
const WORD_LOG2: u32 = WORD_LEN.ilog2();

/// Runs that are tried before the tree is asked. The wrapped crate spends more on each of them than
/// this index does, so a search that ends here is never slower, and one that goes on has lost little.
const RUNS_TRIED_FIRST: usize = 8;

/// Bits of a word whose position is a multiple of 2^i.
const ALIGNED_BITS: [u64; WORD_LOG2 as usize] = [
    !0,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
];

/// What a node knows about its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    /// Free positions at its low end.
    prefix: usize,
    /// Free positions at its high end.
    suffix: usize,
    /// The longest run of free positions inside.
    longest: usize,
    /// One more than the largest `k` for which a free unit is a multiple of 2^k; 0 if none is free.
    aligned: u32,
}

/// A node in memory: prefix, suffix, longest, and `aligned` with [`KNOWN`]. All zero: untouched.
type Node = [u32; 4];

/// Set in the last word of a node that has been written.
const KNOWN: u32 = 1 << 31;

/// The lazy part of the index.
struct Tree {
    /// The root is 1, the children of `i` are `2i` and `2i + 1`.
    nodes: Box<[Node]>,
    /// Chunks whose bits have changed since their leaf was written.
    listed: Vec<u32>,
    listed_bits: Box<[u64]>,
    /// Nothing became free since the root was written: what it excludes is still impossible.
    root_bounds: bool,
}

/// The free runs of one range of units.
pub(crate) struct RunIndex {
    /// One bit a position, set if it is not free.
    taken: Box<[u64]>,
    /// Leaves of the tree, a power of two.
    leaf_count: usize,
    /// The unit of position 0, a multiple of [`CHUNK_LEN`] at or below the first of the range.
    origin: usize,
    /// One more than the highest position of the range.
    limit: usize,
    tree: RefCell<Tree>,
}

impl RunIndex {
    /// An index for the `len` units from `first`, all of them free.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub(crate) fn new(first: usize, len: usize) -> AllocResult<Self> {
        debug_assert!(len > 0);
        let lead = first % CHUNK_LEN;
        let chunk_count = (lead + len).div_ceil(CHUNK_LEN);
        let leaf_count = chunk_count.next_power_of_two();
        let mut listed = Vec::new();
        listed.try_reserve_exact(chunk_count).map_err(|_| heapwright_core::AllocError::NoMemory)?;
        let mut index = Self {
            // SAFETY: zero is a valid `u64` (1); there is at least one chunk (2).
            taken: unsafe { zeroed_slice(chunk_count * CHUNK_WORDS) }?,
            leaf_count,
            origin: first - lead,
            limit: lead + len,
            tree: RefCell::new(Tree {
                // SAFETY: zeros are a valid `[u32; 4]` (1); there is at least one leaf (2).
                nodes: unsafe { zeroed_slice(2 * leaf_count) }?,
                listed,
                // SAFETY: zero is a valid `u64` (1); there is at least one chunk (2).
                listed_bits: unsafe { zeroed_slice(chunk_count.div_ceil(WORD_LEN)) }?,
                root_bounds: false,
            }),
        };
        if lead > 0 {
            index.take(0, lead);
        }
        Ok(index)
    }

    /// The position of `unit`.
    #[inline]
    pub(crate) fn position(&self, unit: usize) -> usize {
        unit - self.origin
    }

    /// The unit at `position`.
    #[inline]
    pub(crate) fn unit(&self, position: usize) -> usize {
        position + self.origin
    }

    /// Marks `[start, end)` as not free.
    #[inline]
    pub(crate) fn take(&mut self, start: usize, end: usize) {
        self.list_chunks(start, end);
        for_each_word(start, end, |word, bits| self.taken[word] |= bits);
    }

    /// Marks `[start, end)` as free.
    #[inline]
    pub(crate) fn give(&mut self, start: usize, end: usize) {
        self.tree.get_mut().root_bounds = false;
        self.list_chunks(start, end);
        for_each_word(start, end, |word, bits| self.taken[word] &= !bits);
    }

    /// Marks one position as not free.
    #[inline]
    pub(crate) fn take_one(&mut self, position: usize) {
        self.list_chunk(position / CHUNK_LEN);
        self.taken[position / WORD_LEN] |= 1 << (position % WORD_LEN);
    }

    /// Marks one position as free.
    #[inline]
    pub(crate) fn give_one(&mut self, position: usize) {
        self.tree.get_mut().root_bounds = false;
        self.list_chunk(position / CHUNK_LEN);
        self.taken[position / WORD_LEN] &= !(1 << (position % WORD_LEN));
    }

    /// Whether `position`, which is below the limit, is free.
    #[inline]
    pub(crate) fn is_free(&self, position: usize) -> bool {
        self.taken[position / WORD_LEN] & (1 << (position % WORD_LEN)) == 0
    }

    /// Whether all of `[start, end)`, which is below the limit and not empty, is free.
    #[inline]
    pub(crate) fn is_run_free(&self, start: usize, end: usize) -> bool {
        self.next_taken(start, end) == end
    }

    /// Whether none of `[start, end)`, which is below the limit and not empty, is free.
    #[inline]
    pub(crate) fn is_run_taken(&self, start: usize, end: usize) -> bool {
        self.next_free(start, end) == end
    }

    /// The lowest position of a free run of `count` whose unit is a multiple of 2^`align_log2`.
    /// `next_free` is the wrapped crate's own way to skip what is not free: the lowest free position at
    /// or above the one given.
    ///
    /// # Time Complexity
    ///
    /// `O(log n)` for alignment 1 and for one unit, plus the chunks changed since the last search. Else
    /// linear at worst in the runs that are long enough but lie wrong, at a few nanoseconds each.
    pub(crate) fn find(
        &self,
        count: usize,
        align_log2: u32,
        next_free: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut tree = self.tree.borrow_mut();
        if tree.root_bounds && !self.root_allows(&tree, count, align_log2) {
            return None;
        }
        let mut position = 0;
        for _ in 0..RUNS_TRIED_FIRST {
            let free = match self.word_free(position) {
                Some(free) => free,
                None => next_free(position)?,
            };
            let base = self.align_up(free, align_log2)?;
            let end = base.checked_add(count).filter(|&end| end <= self.limit)?;
            let taken = self.next_taken(base, end);
            if taken == end {
                return Some(base);
            }
            position = taken + 1;
            if position >= self.limit {
                return None;
            }
        }
        self.refresh(&mut tree);
        if !self.root_allows(&tree, count, align_log2) {
            return None;
        }
        let search = Search { index: self, tree: &tree, count, align_log2 };
        if align_log2 == 0 {
            search.first_run()
        } else {
            search.first_aligned(1, 0, self.leaf_count)
        }
    }

    /// The longest free run.
    ///
    /// # Time Complexity
    ///
    /// Constant, plus the chunks changed since the last search.
    pub(crate) fn longest(&self) -> usize {
        let mut tree = self.tree.borrow_mut();
        self.refresh(&mut tree);
        self.summary(&tree, 1, 0, self.leaf_count).longest
    }

    /// Tests invariants 1 to 3 against the bits.
    pub(crate) fn check_invariants(&self) -> Result<(), &'static str> {
        let mut tree = self.tree.borrow_mut();
        for (chunk, &bits) in tree.listed_bits.iter().enumerate() {
            let listed = tree.listed.iter().filter(|&&other| other as usize / WORD_LEN == chunk);
            if listed.fold(0, |set, &other| set | (1 << (other as usize % WORD_LEN))) != bits {
                return Err("a chunk is listed twice or without its bit");
            }
        }
        self.refresh(&mut tree);
        for chunk in 0..self.limit.div_ceil(CHUNK_LEN) {
            if self.summary(&tree, self.leaf_count + chunk, chunk, 1) != self.summarize(chunk) {
                return Err("a leaf differs from its bits");
            }
        }
        let mut span = self.leaf_count;
        for node in 1..self.leaf_count {
            if node.is_power_of_two() {
                span = self.leaf_count / node;
            }
            let chunk = (node - self.leaf_count / span) * span;
            if self.summary(&tree, node, chunk, span) != self.join(&tree, node, chunk, span) {
                return Err("a node differs from its children");
            }
        }
        Ok(())
    }

    /// Whether the root, if it is up to date or a bound, leaves room for such a run.
    #[inline]
    fn root_allows(&self, tree: &Tree, count: usize, align_log2: u32) -> bool {
        let root = self.summary(tree, 1, 0, self.leaf_count);
        root.longest >= count && root.aligned > align_log2
    }

    /// The lowest position from `position` on whose unit is a multiple of 2^`align_log2`.
    #[inline]
    fn align_up(&self, position: usize, align_log2: u32) -> Option<usize> {
        let mask = (1_usize << align_log2) - 1;
        Some((self.unit(position).checked_add(mask)? & !mask) - self.origin)
    }

    /// The lowest free position from `position` on in the same word.
    #[inline]
    fn word_free(&self, position: usize) -> Option<usize> {
        let word = position / WORD_LEN;
        let free = !self.taken[word] & (!0 << (position % WORD_LEN));
        let found = word * WORD_LEN + free.trailing_zeros() as usize;
        (free != 0 && found < self.limit).then_some(found)
    }

    /// The lowest position in `[start, end)` that is not free, or `end`.
    #[inline]
    fn next_taken(&self, start: usize, end: usize) -> usize {
        next_set(&self.taken, 0, start, end)
    }

    /// The lowest position in `[start, end)` that is free, or `end`.
    #[inline]
    fn next_free(&self, start: usize, end: usize) -> usize {
        next_set(&self.taken, !0, start, end)
    }

    #[inline]
    fn list_chunk(&mut self, chunk: usize) {
        let tree = self.tree.get_mut();
        let bit = 1 << (chunk % WORD_LEN);
        if tree.listed_bits[chunk / WORD_LEN] & bit == 0 {
            tree.listed_bits[chunk / WORD_LEN] |= bit;
            debug_assert!(tree.listed.len() < tree.listed.capacity(), "room for every chunk");
            tree.listed.push(narrow(chunk));
        }
    }

    #[inline]
    fn list_chunks(&mut self, start: usize, end: usize) {
        for chunk in start / CHUNK_LEN..=(end - 1) / CHUNK_LEN {
            self.list_chunk(chunk);
        }
    }

    /// Brings the leaves of all listed chunks and their ancestors up to date, one level at a time.
    fn refresh(&self, tree: &mut Tree) {
        tree.root_bounds = true;
        if tree.listed.is_empty() {
            return;
        }
        let mut changed = core::mem::take(&mut tree.listed);
        changed.sort_unstable();
        changed.retain(|&chunk| {
            let chunk = chunk as usize;
            tree.listed_bits[chunk / WORD_LEN] &= !(1 << (chunk % WORD_LEN));
            tree.store(self.leaf_count + chunk, self.summarize(chunk))
        });
        let mut span = 1;
        while span < self.leaf_count && !changed.is_empty() {
            // `changed` holds the numbers of nodes on their level; halved, those of their parents.
            for number in &mut changed {
                *number /= 2;
            }
            changed.dedup();
            span *= 2;
            changed.retain(|&number| {
                let number = number as usize;
                let node = self.leaf_count / span + number;
                tree.store(node, self.join(tree, node, number * span, span))
            });
        }
        changed.clear();
        tree.listed = changed;
    }

    /// The summary of `node`, whose `span` chunks begin at `chunk`.
    #[inline]
    fn summary(&self, tree: &Tree, node: usize, chunk: usize, span: usize) -> Summary {
        let [prefix, suffix, longest, aligned] = tree.nodes[node];
        if aligned & KNOWN != 0 {
            return Summary {
                prefix: prefix as usize,
                suffix: suffix as usize,
                longest: longest as usize,
                aligned: aligned & !KNOWN,
            };
        }
        // Untouched: free as far as the limit.
        let (start, len) = (chunk * CHUNK_LEN, span * CHUNK_LEN);
        let free = self.limit.saturating_sub(start).min(len);
        Summary {
            prefix: free,
            suffix: if free == len { len } else { 0 },
            longest: free,
            aligned: best_alignment(self.unit(start), free),
        }
    }

    /// The summary of a node from those of its children.
    fn join(&self, tree: &Tree, node: usize, chunk: usize, span: usize) -> Summary {
        let half = span / 2;
        let left = self.summary(tree, 2 * node, chunk, half);
        let right = self.summary(tree, 2 * node + 1, chunk + half, half);
        let len = half * CHUNK_LEN;
        Summary {
            prefix: if left.prefix == len { len + right.prefix } else { left.prefix },
            suffix: if right.suffix == len { len + left.suffix } else { right.suffix },
            longest: left.longest.max(right.longest).max(left.suffix + right.prefix),
            aligned: left.aligned.max(right.aligned),
        }
    }

    /// The summary of a chunk from its bits.
    fn summarize(&self, chunk: usize) -> Summary {
        let start = chunk * CHUNK_LEN;
        let mut words = [0_u64; CHUNK_WORDS];
        words.copy_from_slice(&self.taken[chunk * CHUNK_WORDS..][..CHUNK_WORDS]);
        if self.limit < start + CHUNK_LEN {
            for (index, word) in words.iter_mut().enumerate() {
                let kept = self.limit.saturating_sub(start + index * WORD_LEN).min(WORD_LEN);
                *word |= if kept == WORD_LEN { 0 } else { !0 << kept };
            }
        }
        let (mut run, mut longest, mut prefix) = (0, 0, None);
        for &word in &words {
            if word == 0 {
                run += WORD_LEN;
                continue;
            }
            run += word.trailing_zeros() as usize;
            prefix.get_or_insert(run);
            longest = longest.max(run);
            if word.count_zeros() as usize > longest {
                longest = longest.max(longest_zero_run(word));
            }
            run = word.leading_zeros() as usize;
        }
        Summary {
            prefix: prefix.unwrap_or(run),
            suffix: run,
            longest: longest.max(run),
            aligned: self.chunk_alignment(chunk, &words),
        }
    }

    /// [`Summary::aligned`] of a chunk.
    fn chunk_alignment(&self, chunk: usize, words: &[u64; CHUNK_WORDS]) -> u32 {
        if words[0] & 1 == 0 {
            return 1 + self.unit(chunk * CHUNK_LEN).trailing_zeros();
        }
        let mut best = 0;
        let mut free = 0;
        for (index, word) in words.iter().enumerate() {
            free |= !word;
            if word & 1 == 0 {
                best = best.max(1 + WORD_LOG2 + index.trailing_zeros());
            }
        }
        if best > 0 {
            return best;
        }
        let found = ALIGNED_BITS.iter().rposition(|bits| free & bits != 0);
        found.map_or(0, |align_log2| 1 + narrow(align_log2))
    }
}

impl Tree {
    /// Writes a node; whether it has changed.
    #[inline]
    fn store(&mut self, node: usize, summary: Summary) -> bool {
        let Summary { prefix, suffix, longest, aligned } = summary;
        let stored = [narrow(prefix), narrow(suffix), narrow(longest), aligned | KNOWN];
        core::mem::replace(&mut self.nodes[node], stored) != stored
    }
}

/// One question to the tree.
struct Search<'a> {
    index: &'a RunIndex,
    tree: &'a Tree,
    count: usize,
    align_log2: u32,
}

impl Search<'_> {
    /// The first run of `count` positions anywhere; the root says that there is one.
    fn first_run(&self) -> Option<usize> {
        let Self { index, tree, count, .. } = *self;
        let (mut node, mut chunk, mut span) = (1, 0, index.leaf_count);
        while span > 1 {
            span /= 2;
            let middle = chunk + span;
            let left = index.summary(tree, 2 * node, chunk, span);
            if left.longest >= count {
                node *= 2;
                continue;
            }
            let right = index.summary(tree, 2 * node + 1, middle, span);
            if left.suffix + right.prefix >= count {
                return Some(middle * CHUNK_LEN - left.suffix);
            }
            node = 2 * node + 1;
            chunk = middle;
        }
        self.scan(chunk)
    }

    /// The first aligned run that *begins* in the `span` chunks of `node`, from `chunk` on.
    fn first_aligned(&self, node: usize, chunk: usize, span: usize) -> Option<usize> {
        let Self { index, tree, count, align_log2 } = *self;
        let summary = index.summary(tree, node, chunk, span);
        if summary.aligned <= align_log2 {
            return None;
        }
        if summary.longest < count {
            // Only a run that goes on into the next node can be long enough.
            let end = (chunk + span) * CHUNK_LEN;
            let base = index.align_up(end - summary.suffix, align_log2)?;
            return (base < end && self.fits(base)).then_some(base);
        }
        if span == 1 {
            return self.scan(chunk);
        }
        let half = span / 2;
        self.first_aligned(2 * node, chunk, half)
            .or_else(|| self.first_aligned(2 * node + 1, chunk + half, half))
    }

    /// The first aligned run that begins in `chunk`, by its bits.
    fn scan(&self, chunk: usize) -> Option<usize> {
        let index = self.index;
        let chunk_end = ((chunk + 1) * CHUNK_LEN).min(index.limit);
        let mut position = chunk * CHUNK_LEN;
        while position < chunk_end {
            let free = index.next_free(position, chunk_end);
            let base = index.align_up(free, self.align_log2)?;
            let end = base.checked_add(self.count).filter(|&end| end <= index.limit)?;
            if base >= chunk_end {
                return None;
            }
            let taken = index.next_taken(base, end);
            if taken == end {
                return Some(base);
            }
            position = taken + 1;
        }
        None
    }

    fn fits(&self, base: usize) -> bool {
        base.checked_add(self.count)
            .is_some_and(|end| end <= self.index.limit && self.index.is_run_free(base, end))
    }
}

/// A number of chunks or positions, of which no map has more than 2^28 and a lead below a chunk.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "asserted")]
fn narrow(number: usize) -> u32 {
    debug_assert!(u32::try_from(number).is_ok());
    number as u32
}

/// Calls `visit` with every word that `[start, end)` touches and the bits it touches there.
#[inline]
fn for_each_word(start: usize, end: usize, mut visit: impl FnMut(usize, u64)) {
    debug_assert!(start < end);
    let (first, last) = (start / WORD_LEN, (end - 1) / WORD_LEN);
    let low = !0_u64 << (start % WORD_LEN);
    let high = !0_u64 >> (WORD_LEN - 1 - (end - 1) % WORD_LEN);
    if first == last {
        visit(first, low & high);
        return;
    }
    visit(first, low);
    for word in first + 1..last {
        visit(word, !0);
    }
    visit(last, high);
}

/// The lowest position in `[start, end)` whose bit in `words`, exclusive-or `flip`, is set; or `end`.
#[inline]
fn next_set(words: &[u64], flip: u64, start: usize, end: usize) -> usize {
    debug_assert!(start < end);
    let mut index = start / WORD_LEN;
    let mut word = (words[index] ^ flip) & (!0 << (start % WORD_LEN));
    loop {
        if word != 0 {
            return end.min(index * WORD_LEN + word.trailing_zeros() as usize);
        }
        index += 1;
        if index * WORD_LEN >= end {
            return end;
        }
        word = words[index] ^ flip;
    }
}

/// The longest run of zeros in a word.
#[inline]
fn longest_zero_run(word: u64) -> usize {
    let mut ones = !word;
    let mut len = 0;
    // Each step takes one position off the high end of every run.
    while ones != 0 {
        ones &= ones << 1;
        len += 1;
    }
    len
}

/// One more than the largest `k` for which one of the `len` units from `first` is a multiple of 2^k.
#[inline]
fn best_alignment(first: usize, len: usize) -> u32 {
    match (first, len) {
        (_, 0) => 0,
        (0, _) => usize::BITS + 1,
        // The highest bit in which the units before the first and at the last differ is carried over
        // into by exactly one unit in between.
        _ => 1 + ((first - 1) ^ (first - 1 + len)).ilog2(),
    }
}
