//! The two mappings of a heap, and the only raw accesses to them.
//!
//! The data mapping is what JavaScript sees as the heap; the metadata mapping holds magazines, page map
//! and state map, and is seen by the TypeScript half of this package only. Both are written by JavaScript
//! at any time, so no reference into them is ever made: metadata is read and written through relaxed
//! atomics, data through raw copies.
//!
//! Invariants:
//! 1. Every access is checked against the length of the mapping, whatever it was computed from.
//! 2. A mapping lives as long as its `Arc`: the engine holds one, and so does every buffer over it.
//!
//! Not here: what the words mean (`geometry.rs`, `magazine.rs`, `state.rs`).

use std::{
    fmt,
    ptr::{self, NonNull},
    sync::atomic::{AtomicI32, AtomicU8, Ordering},
};

use heapwright_core::align_down;
use heapwright_region::{Advice, Placement, Region, RegionError, page_size};

/// From this size on, zeroing gives whole pages back to the system instead of writing them.
const ZERO_BY_DECOMMIT_MIN: usize = 128 << 10;

/// What the base of a data mapping is aligned to: the largest alignment that a heap offers.
const DATA_ALIGN: usize = 2 << 20;

/// A range of memory that Rust and JavaScript both use.
pub struct Mapping {
    base: NonNull<u8>,
    length: usize,
    /// `None` where the runtime made the memory (a `SharedArrayBuffer`).
    region: Option<Region>,
}

// SAFETY: the memory behind `base` is only reached through the methods below, which use atomics or raw
// copies that promise nothing about concurrent writers; `Region` is `Send` itself.
unsafe impl Send for Mapping {}
// SAFETY: as above; every method takes `&self`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes, zero, committed as touched.
    ///
    /// # Errors
    ///
    /// What the system answered; nothing is mapped then.
    pub fn map(length: usize) -> Result<Self, RegionError> {
        let placement = Placement { modulus: DATA_ALIGN, residue: 0 };
        let region = Region::reserve_placed(length, placement)?;
        region.commit(0, length)?;
        Ok(Self { base: region.base(), length, region: Some(region) })
    }

    /// Uses `length` bytes at `base`, zero now, that somebody else made.
    ///
    /// # Safety
    ///
    /// 1. The bytes stay readable and writable until the mapping is dropped, and no reference into them
    ///    is made.
    /// 2. `base` is a multiple of 8.
    pub unsafe fn provided(base: NonNull<u8>, length: usize) -> Self {
        Self { base, length, region: None }
    }

    /// In bytes.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The first byte, for buffers over the mapping.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Whether the memory is a region of ours, so that pages can be given back.
    pub fn is_region(&self) -> bool {
        self.region.is_some()
    }

    /// The bytes that are resident now, where the system tells.
    pub fn resident_bytes(&self) -> Option<usize> {
        self.region.as_ref().and_then(heapwright_region::resident_bytes)
    }

    /// The address of byte `offset`, of which `length` bytes lie inside.
    #[inline]
    fn at(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset <= self.length && length <= self.length - offset, "outside of the mapping");
        self.base.as_ptr().wrapping_add(offset)
    }

    #[inline]
    fn word_at(&self, offset: usize) -> &AtomicI32 {
        debug_assert_eq!(offset % 4, 0);
        let word = self.at(offset & !3, 4).cast();
        // SAFETY: `at` proved the 4 bytes inside, the offset is a multiple of 4 and the base one of 8
        // (`map`, bullet 2 of `provided`); the mapping lives as long as `self`, and every access to
        // metadata, JavaScript's included, is an atomic or a single machine access of 4 bytes or 1.
        unsafe { AtomicI32::from_ptr(word) }
    }

    #[inline]
    fn byte_at(&self, offset: usize) -> &AtomicU8 {
        let byte = self.at(offset, 1);
        // SAFETY: as in `word_at`; a byte has no alignment.
        unsafe { AtomicU8::from_ptr(byte) }
    }

    /// The word at byte `offset`, a multiple of 4.
    #[inline]
    pub fn word(&self, offset: usize) -> i32 {
        self.word_at(offset).load(Ordering::Relaxed)
    }

    /// Sets the word at byte `offset`, a multiple of 4.
    #[inline]
    pub fn set_word(&self, offset: usize, value: i32) {
        self.word_at(offset).store(value, Ordering::Relaxed);
    }

    /// Turns the word at byte `offset`, a multiple of 4, from `from` into `to`; `false` where it is another.
    #[inline]
    pub fn exchange_word(&self, offset: usize, from: i32, to: i32) -> bool {
        let word = self.word_at(offset);
        word.compare_exchange(from, to, Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    /// The byte at `offset`.
    #[inline]
    pub fn byte(&self, offset: usize) -> u8 {
        self.byte_at(offset).load(Ordering::Acquire)
    }

    /// Sets the byte at `offset`.
    #[inline]
    pub fn set_byte(&self, offset: usize, value: u8) {
        self.byte_at(offset).store(value, Ordering::Release);
    }

    /// Turns the byte at `offset` from `from` into `to`; `false` where it is another.
    #[inline]
    pub fn exchange_byte(&self, offset: usize, from: u8, to: u8) -> bool {
        let byte = self.byte_at(offset);
        byte.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Zeroes `[offset, offset + length)`. Large ranges are given back to the system instead of written,
    /// so they take no memory until touched.
    pub fn zero(&self, offset: usize, length: usize) {
        let bytes = self.at(offset, length);
        let (mut head, mut tail) = (length, length);
        if let Some(region) = &self.region
            && length >= ZERO_BY_DECOMMIT_MIN
            && region.decommit(offset, length).is_ok()
        {
            // Whole pages read zero now; what is left are the ends that share a page with others.
            head = offset.next_multiple_of(page_size()) - offset;
            tail = length - (offset + length) % page_size();
        }
        // SAFETY: `at` proved the range inside, and `head <= length`; no references exist.
        unsafe { bytes.write_bytes(0, head) };
        // SAFETY: as above; `tail <= length`.
        unsafe { bytes.wrapping_add(tail).write_bytes(0, length - tail) };
    }

    /// Copies `length` bytes from `from` to `to`; the ranges may overlap.
    pub fn copy(&self, from: usize, to: usize, length: usize) {
        let source = self.at(from, length);
        let target = self.at(to, length);
        // SAFETY: `at` proved both ranges inside; no references exist, and raw copies promise nothing
        // about what other threads write meanwhile.
        unsafe { ptr::copy(source, target, length) };
    }

    /// Copies the words from byte `offset`, a multiple of 4, into `words`.
    #[inline]
    pub fn read_words(&self, offset: usize, words: &mut [i32]) {
        debug_assert_eq!(offset % 4, 0);
        let length = size_of_val(words);
        let source = self.at(offset & !3, length);
        // SAFETY: `at` proved the source inside, of which nobody holds a reference; `words` is a slice of
        // ours, so the two do not overlap, and any bytes are words.
        unsafe { ptr::copy_nonoverlapping(source, words.as_mut_ptr().cast(), length) };
    }

    /// Gives the whole pages of the range back to the system; whether it could.
    pub fn decommit(&self, offset: usize, length: usize) -> bool {
        self.region.as_ref().is_some_and(|region| region.decommit(offset, length).is_ok())
    }

    /// Asks for large pages where the system has them. A hint: its refusal changes nothing.
    pub fn prefer_huge_pages(&self) {
        if let Some(region) = &self.region {
            let _ = region.advise(0, align_down(self.length, page_size()), Advice::HugePages);
        }
    }

    /// Makes every page resident now.
    ///
    /// # Errors
    ///
    /// What the system answered.
    pub fn populate(&self) -> Result<(), RegionError> {
        match &self.region {
            Some(region) => region.populate(0, self.length),
            None => Ok(()),
        }
    }

    /// Makes the whole range read zero, at once for every thread, and stay accessible.
    pub fn zero_over(&self) {
        if self.region.as_ref().is_some_and(|region| region.zero_over().is_ok()) {
            return;
        }
        self.zero(0, self.length);
    }
}

impl fmt::Debug for Mapping {
    /// Shows the length only: addresses are no one's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("length", &self.length).finish_non_exhaustive()
    }
}
