//! Handles, the last thread that lets go, and what is refused when.

use std::sync::Arc;

use heapwright_heap::{
    heap::{Geometry, HeapConfig, HeapEngine, HeapError, Mapping, geometry},
    registry::{self, HeapId},
};

use crate::{heap_of, registered, script::Script};

#[test]
fn a_handle_names_one_heap_for_ever() {
    let (id, first) = registered(1 << 20, 2);
    assert_eq!(registry::attach(id).err(), Some(HeapError::InvalidParam), "it is not shared yet");
    first.share().unwrap();
    let second = registry::attach(id).unwrap();
    assert!(Arc::ptr_eq(first.engine(), second.engine()));
    drop(first);
    assert!(registry::find(id).is_ok());
    drop(second);
    assert_eq!(registry::attach(id).err(), Some(HeapError::Closed));
    let others: Vec<_> = (0..20).map(|_| registered(1 << 20, 1)).collect();
    assert!(others.iter().all(|(other, _)| *other != id));
    assert_eq!(registry::attach(id).err(), Some(HeapError::Closed));
}

#[test]
fn refuses_handles_that_were_never_issued() {
    let (id, _attachment) = registered(1 << 20, 1);
    for forged in [
        HeapId { generation: 0, ..id },
        HeapId { generation: id.generation + 1, ..id },
        HeapId { generation: u32::MAX, ..id },
        HeapId { index: u32::MAX, generation: 1 },
    ] {
        assert_eq!(registry::attach(forged).err(), Some(HeapError::InvalidParam), "{forged:?}");
    }
}

#[test]
fn refuses_sizes_and_thread_counts_that_no_heap_has() {
    let make = |size, max_threads| {
        HeapEngine::map(&HeapConfig { size, max_threads, huge_pages: false, populate: false }).err()
    };
    assert_eq!(make(0, 1), Some(HeapError::InvalidParam));
    assert_eq!(make((1 << 20) - 1, 1), Some(HeapError::InvalidParam));
    assert_eq!(make(1 << 20, 0), Some(HeapError::InvalidParam));
    assert_eq!(make((64 << 30) + 1, 1), Some(HeapError::Capacity { limit: 64 << 30 }));
    assert_eq!(make(usize::MAX, 1), Some(HeapError::Capacity { limit: 64 << 30 }));
    assert_eq!(make(1 << 20, 1025), Some(HeapError::Capacity { limit: 1024 }));
    assert_eq!(make(64 << 30, 1024), None);
}

#[test]
fn leaves_no_state_bit_behind_when_it_is_shared() {
    let mut script = Script::new(heap_of(1 << 20, 2));
    let blocks: Vec<_> = (1..200).map(|i| script.alloc(i * 16).unwrap()).collect();
    let large = script.alloc(100_000).unwrap();
    script.share();
    let geometry = *script.heap.engine().geometry();
    let bits = geometry.state_bits..geometry.state_bytes;
    let meta = script.heap.engine().meta();
    assert!(bits.step_by(4).all(|word| meta.word(word) == 0));
    assert_eq!(script.heap.check(), Ok(blocks.len() + 1));
    blocks.into_iter().chain([large]).for_each(|p| script.free(p).unwrap());
    assert_eq!(script.heap.check(), Ok(0));
}

#[test]
fn rounds_a_size_up() {
    let heap = heap_of((1 << 20) + 1, 1);
    assert_eq!(heap.engine().geometry().size, (1 << 20) + (64 << 10));
    assert_eq!(heap.stats().unwrap().size, (1 << 20) + (64 << 10));
}

#[test]
fn works_over_memory_that_somebody_else_made() {
    let geometry = Geometry::new(4 << 20, 2).unwrap();
    let mut data = vec![0_u64; geometry.size / 8];
    let mut meta = vec![0_u64; geometry.meta_size / 8];
    let over = |memory: &mut Vec<u64>| {
        let base = std::ptr::NonNull::new(memory.as_mut_ptr().cast()).unwrap();
        // SAFETY: the vectors outlive the heap below, and are not touched otherwise meanwhile.
        Arc::new(unsafe { Mapping::provided(base, memory.len() * 8) })
    };
    let engine = HeapEngine::over(geometry, over(&mut data), over(&mut meta)).unwrap();
    let script = Script::new(Arc::new(engine).attach().unwrap());
    let blocks: Vec<_> = (1..400).map(|size| script.alloc(size * 20).unwrap()).collect();
    let p = script.heap.alloc_zeroed(300_000, 16).unwrap();
    assert!(script.holds(p, 300_000, 0));
    assert_eq!(script.heap.check(), Ok(400));
    blocks.into_iter().for_each(|p| script.free(p).unwrap());
    assert_eq!(script.heap.trim(), Ok(0), "there is no system to give it to");
    script.heap.destroy();
    drop(script);
    assert!(data.iter().all(|&word| word == 0));
}

#[test]
fn makes_a_heap_resident_when_asked() {
    let config = HeapConfig { size: 4 << 20, max_threads: 1, huge_pages: true, populate: true };
    let heap = Arc::new(HeapEngine::map(&config).unwrap()).attach().unwrap();
    assert_eq!(heap.engine().data().resident_bytes(), Some(4 << 20));
}

#[test]
fn a_function_that_was_kept_finds_nothing_after_the_end() {
    let mut script = Script::new(heap_of(1 << 20, 2));
    script.alloc(64).unwrap();
    let meta = Arc::clone(script.heap.engine().meta());
    let tops = |area: usize| {
        (0..128).all(|class| {
            [geometry::AT, geometry::FT]
                .iter()
                .all(|table| meta.word(area + (table + class) * 4) == geometry::POISON as i32)
        }) && meta.word(area + geometry::POISON * 4 - 4) == 0
            && meta.word(area + geometry::ALIVE * 4) == 0
    };
    assert!(!tops(0));
    script.share();
    assert!(tops(0), "the area of the exclusive heap");
    let area = script.heap.engine().geometry().area(0, true);
    assert!(!tops(area));
    drop(script);
    assert!(tops(area));
}

#[test]
fn an_area_that_is_used_again_has_another_number() {
    let mut first = Script::new(heap_of(1 << 20, 2));
    first.share();
    let engine = Arc::clone(first.heap.engine());
    let number =
        |slot: usize| engine.meta().word(engine.geometry().area(slot, true) + geometry::ALIVE * 4);
    let mut seen = vec![number(0)];
    for _ in 0..5 {
        let second = engine.attach().unwrap();
        assert_eq!(second.slot(), 1);
        seen.push(number(1));
        drop(second);
        assert_eq!(number(1), 0);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    assert!(seen[0] > 0);
}
