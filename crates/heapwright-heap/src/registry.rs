//! The heaps of this process, by id and generation: what a handle names.
//!
//! An id is an index into one table, used again with the next generation once its heap is gone. So a
//! forged handle names nothing, a stale one a heap that is gone, and neither another heap (HAZARDS NB26).
//!
//! The table holds an engine as long as a thread is attached. The last attachment takes it out; the
//! mappings live on until the last buffer over them is gone.
//!
//! Not here: who is attached (`heap/recover.rs`).

use std::sync::{Arc, Mutex, MutexGuard};

use crate::heap::{Attachment, HeapEngine, HeapError, HeapResult, sync::lock};

/// What a handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeapId {
    /// Index into the table.
    pub index: u32,
    /// How often that index was used before.
    pub generation: u32,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    heap: Option<Arc<HeapEngine>>,
}

static HEAPS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn heaps() -> MutexGuard<'static, Vec<Entry>> {
    // Nothing panics while it is locked but an allocation that fails, before any change.
    lock(&HEAPS)
}

/// Enters a new heap and attaches its creator.
///
/// # Errors
///
/// As [`HeapEngine::attach`]; [`HeapError::Capacity`] where the table is full.
pub fn open(engine: HeapEngine) -> HeapResult<(HeapId, Attachment)> {
    let engine = Arc::new(engine);
    let attachment = engine.attach()?;
    let mut heaps = heaps();
    let free = |entry: &Entry| entry.heap.is_none() && entry.generation < u32::MAX;
    let index = heaps.iter().position(free).unwrap_or(heaps.len());
    let limit = u32::MAX as usize;
    let id = u32::try_from(index).map_err(|_| HeapError::Capacity { limit })?;
    if index == heaps.len() {
        heaps.push(Entry { generation: 0, heap: None });
    }
    let entry = &mut heaps[index];
    entry.generation += 1;
    entry.heap = Some(engine);
    Ok((HeapId { index: id, generation: entry.generation }, attachment))
}

/// Attaches the calling thread to the heap that `id` names.
///
/// # Errors
///
/// [`HeapError::InvalidParam`] for an id that was never handed out, [`HeapError::Closed`] for a heap that is
/// gone; as [`HeapEngine::attach`].
pub fn attach(id: HeapId) -> HeapResult<Attachment> {
    find(id)?.attach()
}

/// The heap that `id` names.
///
/// # Errors
///
/// As [`attach`].
pub fn find(id: HeapId) -> HeapResult<Arc<HeapEngine>> {
    let heaps = heaps();
    let entry = heaps.get(id.index as usize).ok_or(HeapError::InvalidParam)?;
    if id.generation == 0 || id.generation > entry.generation {
        return Err(HeapError::InvalidParam);
    }
    let heap = entry.heap.as_ref().filter(|_| id.generation == entry.generation);
    heap.cloned().ok_or(HeapError::Closed)
}

/// Takes out a heap that its last thread has let go of.
pub(crate) fn forget(engine: &Arc<HeapEngine>) {
    let mut heaps = heaps();
    let same =
        |entry: &&mut Entry| entry.heap.as_ref().is_some_and(|heap| Arc::ptr_eq(heap, engine));
    let forgotten = heaps.iter_mut().find(same).and_then(|entry| entry.heap.take());
    drop(heaps);
    drop(forgotten);
}

/// How many heaps are open.
pub fn count() -> usize {
    heaps().iter().filter(|entry| entry.heap.is_some()).count()
}
