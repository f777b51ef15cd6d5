//! Both levels and several CPUs against the shadow oracle, single-threaded and step by step.
//! Threads are in `tests/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::alloc::Layout;
use std::sync::{Arc, Mutex};

use heapwright_core::AllocError::{InvalidParam, MemoryOverlap, NoMemory, NotAllocated};
use heapwright_testkit::{Generator, Mix, Op, Prng, ShadowAllocator, Sizes, prng, scaled};

use super::*;

const PAGE: usize = 4096;
const START: usize = 0x10_0000;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn allocator(table: ClassTable, cpus: usize, pages: usize) -> GlobalAllocator {
    let allocator = GlobalAllocator::new(table, cpus, PAGE).unwrap();
    allocator.add_region(START, pages * PAGE, START).unwrap();
    allocator
}

fn trim_all(allocator: &GlobalAllocator) -> usize {
    (0..allocator.cpus()).map(|cpu| allocator.trim(CpuId(cpu as u16))).sum()
}

#[test]
fn routes_by_size_and_alignment() {
    let kernel = allocator(ClassTable::kernel(), 1, 256);
    let slot = kernel.alloc(CpuId(0), layout(2048, 2048)).unwrap();
    assert!(kernel.slab_at(slot).is_some());
    for pages in [layout(2049, 8), layout(8, 4096), layout(100_000, 1)] {
        let run = kernel.alloc(CpuId(0), pages).unwrap();
        assert!(kernel.slab_at(run).is_none());
        assert_eq!(kernel.run_at(run), Some(pages.size().div_ceil(PAGE)));
        assert_eq!(run % pages.align(), 0);
        kernel.dealloc(CpuId(0), run).unwrap();
    }
    kernel.check_invariants().unwrap();
}

#[test]
fn one_object_of_2048_bytes_fits_in_the_smallest_range() {
    // BS9.
    let small = allocator(ClassTable::kernel(), 1, 1);
    assert_eq!(small.alloc(CpuId(0), layout(2048, 8)), Ok(START));
    assert_eq!(small.alloc(CpuId(0), layout(2048, 8)), Ok(START + 2048));
    assert_eq!(small.alloc(CpuId(0), layout(2048, 8)), Err(NoMemory));
    small.check_invariants().unwrap();
}

#[test]
fn refuses_cpus_and_regions_that_cannot_be() {
    assert_eq!(GlobalAllocator::new(ClassTable::kernel(), 0, PAGE).err(), Some(InvalidParam));
    assert_eq!(GlobalAllocator::new(ClassTable::kernel(), 4097, PAGE).err(), Some(InvalidParam));
    assert_eq!(GlobalAllocator::new(ClassTable::kernel(), 1, 100).err(), Some(InvalidParam));
    let two = allocator(ClassTable::kernel(), 2, 16);
    assert_eq!(two.alloc(CpuId(2), layout(8, 8)), Err(InvalidParam));
    assert_eq!(two.alloc(CpuId(2), layout(9000, 8)), Err(InvalidParam));
    assert_eq!(two.alloc(CpuId(0), layout(0, 8)), Err(InvalidParam));
    assert_eq!(two.dealloc(CpuId(2), START), Err(InvalidParam));
    assert_eq!(two.add_region(START + PAGE, PAGE, 0), Err(MemoryOverlap));
    assert_eq!(two.add_region(START, 100, 0), Err(InvalidParam));
    for (from, to) in [(0, 0), (2, 0), (0, 2)] {
        assert_eq!(two.adopt(CpuId(from), CpuId(to)), Err(InvalidParam));
    }
}

#[test]
fn a_remote_free_is_dead_at_once_and_comes_back_when_drained() {
    let two = allocator(ClassTable::kernel(), 2, 64);
    let block = two.alloc(CpuId(0), layout(64, 8)).unwrap();
    assert!(two.is_taken(block));
    two.dealloc(CpuId(1), block).unwrap();
    assert!(!two.is_taken(block));
    // RF5: a second free, by anyone, finds the bit set.
    assert_eq!(two.dealloc(CpuId(1), block), Err(NotAllocated));
    assert_eq!(two.dealloc(CpuId(0), block), Err(NotAllocated));
    let stats = two.class_stats(Some(CpuId(0)))[3];
    assert_eq!((stats.active, stats.pending_remote, stats.partial), (0, 1, 1));
    two.check_invariants().unwrap();
    // Another slot is handed out meanwhile: nothing drains but a miss.
    assert_ne!(two.alloc(CpuId(0), layout(64, 8)), Ok(block));
    assert_eq!(two.drain(CpuId(0)), 1);
    assert_eq!(two.drain(CpuId(0)), 0);
    assert_eq!(two.alloc(CpuId(0), layout(64, 8)), Ok(block));
    two.check_invariants().unwrap();
}

#[test]
fn a_miss_drains_before_it_asks_for_pages() {
    let two = allocator(ClassTable::kernel(), 2, 64);
    let blocks: Vec<_> = (0..64).map(|_| two.alloc(CpuId(0), layout(64, 8)).unwrap()).collect();
    let pages = two.allocated_bytes();
    for &block in &blocks {
        two.dealloc(CpuId(1), block).unwrap();
    }
    for _ in 0..64 {
        two.alloc(CpuId(0), layout(64, 8)).unwrap();
    }
    assert_eq!(two.allocated_bytes(), pages);
    two.check_invariants().unwrap();
}

#[test]
fn every_slab_with_remote_frees_is_drained_full_or_partial() {
    // RF1, RF2 and A10: CPU 0 allocates, CPU 1 frees everything.
    let two = allocator(ClassTable::kernel(), 2, 4096);
    let mut held = Vec::new();
    for _ in 0..scaled(200, 2000) {
        let blocks: Vec<_> =
            (0..3000).map(|_| two.alloc(CpuId(0), layout(64, 8)).unwrap()).collect();
        held.push(two.class_stats(None)[3].slabs);
        for block in blocks {
            two.dealloc(CpuId(1), block).unwrap();
        }
    }
    two.check_invariants().unwrap();
    let (third, last) = (held[2], *held.last().unwrap());
    assert!(last <= third + 1, "{third} slabs became {last}");
}

#[test]
fn an_owner_frees_into_a_slab_with_pending_frees() {
    // RF2: a remote free pending on a full slab, then the owner frees all the rest.
    let two = allocator(ClassTable::kernel(), 2, 64);
    let blocks: Vec<_> = (0..16).map(|_| two.alloc(CpuId(0), layout(512, 8)).unwrap()).collect();
    two.dealloc(CpuId(1), blocks[0]).unwrap();
    for &block in &blocks[1..] {
        two.dealloc(CpuId(0), block).unwrap();
        two.check_invariants().unwrap();
    }
    // The slab with the pending free is neither lost nor returned.
    assert_eq!(two.class_stats(None)[6].pending_remote, 1);
    assert_eq!(two.drain(CpuId(0)), 1);
    two.check_invariants().unwrap();
    trim_all(&two);
    assert_eq!(two.allocated_bytes(), 0);
}

#[test]
fn adoption_moves_slabs_and_late_frees() {
    let three = allocator(ClassTable::kernel(), 3, 64);
    let blocks: Vec<_> = (0..70).map(|_| three.alloc(CpuId(0), layout(512, 8)).unwrap()).collect();
    three.dealloc(CpuId(2), blocks[0]).unwrap();
    three.adopt(CpuId(0), CpuId(1)).unwrap();
    three.check_invariants().unwrap();
    assert_eq!(three.class_stats(Some(CpuId(0)))[6].slabs, 0);
    assert_eq!(three.class_stats(Some(CpuId(1)))[6].slabs, 3);
    assert_eq!(three.class_stats(Some(CpuId(1)))[6].pending_remote, 0);
    assert_eq!(three.slab_at(blocks[5]).unwrap().owner, CpuId(1));
    // The CPU is gone, whatever anyone thinks.
    assert_eq!(three.alloc(CpuId(0), layout(8, 8)), Err(InvalidParam));
    assert_eq!(three.adopt(CpuId(0), CpuId(1)), Err(InvalidParam));
    assert_eq!(three.adopt(CpuId(1), CpuId(0)), Err(InvalidParam));
    three.dealloc(CpuId(1), blocks[1]).unwrap();
    three.dealloc(CpuId(0), blocks[2]).unwrap();
    three.dealloc(CpuId(2), blocks[3]).unwrap();
    assert_eq!(three.drain(CpuId(1)), 2);
    three.check_invariants().unwrap();
    for &block in &blocks[4..] {
        three.dealloc(CpuId(2), block).unwrap();
    }
    trim_all(&three);
    assert_eq!(three.allocated_bytes(), 0);
    three.check_invariants().unwrap();
}

#[test]
fn cpus_are_attached_detached_and_used_again() {
    let two = allocator(ClassTable::kernel(), 2, 64);
    let first = two.attach().unwrap();
    let second = two.attach().unwrap();
    assert_ne!(first, second);
    // RF8, CC7: no slot is left.
    assert_eq!(two.attach(), None);
    let block = two.alloc(first, layout(100, 8)).unwrap();
    two.detach(first).unwrap();
    assert_eq!(two.detach(first), Err(InvalidParam));
    // Its slabs wait, and others free into them.
    two.dealloc(second, block).unwrap();
    assert_eq!(two.attach(), Some(first));
    assert_eq!(two.drain(first), 1);
    two.adopt(first, second).unwrap();
    assert_eq!(two.attach(), Some(first));
    let block = two.alloc(first, layout(100, 8)).unwrap();
    two.dealloc(second, block).unwrap();
    assert_eq!(two.drain(first), 1);
    two.check_invariants().unwrap();
}

#[test]
fn slots_are_taken_and_given_in_bulk() {
    for table in [ClassTable::kernel(), ClassTable::fine()] {
        let two = allocator(table, 2, 1024);
        for class in two.table().classes() {
            let mut taken = Vec::new();
            while taken.len() < 100 {
                let more = two.take_slots(CpuId(0), class, 100 - taken.len(), |p| taken.push(p));
                assert!(more > 0);
            }
            two.check_invariants().unwrap();
            assert!(taken.iter().all(|&pos| two.is_taken(pos)));
            let mut walked = Vec::new();
            two.for_each_taken_slot(Some(CpuId(0)), &mut |pos, _| walked.push(pos));
            walked.sort_unstable();
            let mut sorted = taken.clone();
            sorted.sort_unstable();
            assert_eq!(walked, sorted);
            two.give_slots(CpuId(1), &taken[..30]).unwrap();
            two.check_invariants().unwrap();
            two.give_slots(CpuId(0), &taken[30..]).unwrap();
            two.check_invariants().unwrap();
            assert_eq!(two.give_slots(CpuId(0), &taken[..1]), Err(NotAllocated));
            trim_all(&two);
            assert_eq!(two.allocated_bytes(), 0);
        }
    }
}

#[test]
fn a_bad_slot_in_a_batch_leaves_the_others_freed() {
    let two = allocator(ClassTable::fine(), 2, 64);
    let mut taken = Vec::new();
    two.take_slots(CpuId(0), SizeClass(3), 10, |pos| taken.push(pos));
    let twice = [taken[0], taken[1], taken[1], taken[2] + 1, START - 1, taken[3]];
    assert_eq!(two.give_slots(CpuId(0), &twice), Err(NotAllocated));
    assert_eq!(two.class_stats(None)[3].active, 7);
    assert_eq!(two.give_slots(CpuId(1), &[taken[5], taken[0]]), Err(NotAllocated));
    assert_eq!(two.class_stats(None)[3].active, 6);
    two.check_invariants().unwrap();
}

#[test]
fn a_small_heap_serves_every_fine_class() {
    let heap = allocator(ClassTable::fine(), 1, 256);
    for class in heap.table().classes() {
        let size = heap.table().size(class);
        heap.alloc(CpuId(0), layout(size, 16)).unwrap();
    }
    heap.check_invariants().unwrap();
    assert!(heap.allocated_bytes() <= 256 * PAGE);
}

#[derive(Debug, Default)]
struct Watcher(Mutex<std::collections::BTreeMap<usize, (usize, u16)>>);

impl SlabObserver for Watcher {
    fn slab_added(&self, base: usize, pages: usize, _: SizeClass, owner: CpuId) {
        assert!(self.0.lock().unwrap().insert(base, (pages, owner.0)).is_none());
    }
    fn slab_removed(&self, base: usize, pages: usize) {
        assert_eq!(self.0.lock().unwrap().remove(&base).unwrap().0, pages);
    }
    fn owner_changed(&self, base: usize, pages: usize, owner: CpuId) {
        assert_eq!(self.0.lock().unwrap().insert(base, (pages, owner.0)).unwrap().0, pages);
    }
}

#[test]
fn the_observer_knows_every_slab() {
    let watcher = Arc::new(Watcher::default());
    let mut two = GlobalAllocator::new(ClassTable::fine(), 2, PAGE).unwrap();
    two.set_observer(Arc::<Watcher>::clone(&watcher));
    two.add_region(START, 512 * PAGE, 0).unwrap();
    let blocks: Vec<_> = (1..200)
        .map(|size| two.alloc(CpuId(size as u16 % 2), layout(size * 9, 8)).unwrap())
        .collect();
    two.adopt(CpuId(0), CpuId(1)).unwrap();
    for &block in &blocks {
        let slab = two.slab_at(block).unwrap();
        assert_eq!(watcher.0.lock().unwrap()[&slab.base], (slab.pages, slab.owner.0));
        two.dealloc(CpuId(1), block).unwrap();
    }
    trim_all(&two);
    assert!(watcher.0.lock().unwrap().is_empty());
}

#[test]
fn every_offset_but_the_live_blocks_is_refused() {
    // A5: 1 MiB by bytes, every fine class and some pages.
    let two = allocator(ClassTable::fine(), 2, 256);
    let mut live = std::collections::BTreeSet::new();
    for class in two.table().classes() {
        live.insert(two.alloc(CpuId(0), layout(two.table().size(class), 16)).unwrap());
    }
    live.insert(two.alloc(CpuId(0), layout(40_000, 16)).unwrap());
    for cpu in [0, 1] {
        for pos in START - 64..START + 256 * PAGE + 4096 {
            if !live.contains(&pos) {
                assert_eq!(two.dealloc(CpuId(cpu), pos), Err(NotAllocated), "{pos:#x}");
                assert!(!two.is_taken(pos));
            }
        }
    }
    two.check_invariants().unwrap();
    for pos in live {
        two.dealloc(CpuId(1), pos).unwrap();
    }
    trim_all(&two);
    assert_eq!(two.free_pages(), 256);
}

#[test]
fn all_memory_is_regained_in_any_order() {
    // A7.
    let mut random = Prng::new(prng::seed(7));
    let two = allocator(ClassTable::fine(), 2, 1000);
    let first = (two.largest_free_pages(), two.managed_sections());
    for _ in 0..scaled(30, 1000) {
        let mut blocks = Vec::new();
        loop {
            let size = Sizes::LogUniform(1, 100_000).draw(&mut random);
            let cpu = CpuId(random.below(2) as u16);
            match two.alloc(cpu, layout(size, 1)) {
                Ok(pos) => blocks.push(pos),
                Err(_) => break,
            }
        }
        random.shuffle(&mut blocks);
        for pos in blocks {
            two.dealloc(CpuId(random.below(2) as u16), pos).unwrap();
        }
        trim_all(&two);
        assert_eq!((two.largest_free_pages(), two.managed_sections()), first);
    }
    two.check_invariants().unwrap();
}

#[test]
fn a_drain_looks_at_slabs_with_something_pending_only() {
    // 100 full slabs, two of which were freed into: RF1's cure is no walk over all of them.
    let two = allocator(ClassTable::kernel(), 2, 128);
    let blocks: Vec<_> = (0..6400).map(|_| two.alloc(CpuId(0), layout(64, 8)).unwrap()).collect();
    for slot in [0, 1, 64] {
        two.dealloc(CpuId(1), blocks[slot]).unwrap();
    }
    assert_eq!(two.drain(CpuId(0)), 3);
    assert_eq!(two.drain(CpuId(0)), 0);
    assert_eq!(two.drains(CpuId(0)), Drains { slabs: 2, slots: 3, in_vain: 0 });
    assert_eq!(two.drains(CpuId(2)), Drains::default());
}

#[test]
fn a_borrowed_allocator_refuses_the_same() {
    let mut two = allocator(ClassTable::kernel(), 2, 64);
    for bad in [layout(0, 8), layout(0, 8192)] {
        assert_eq!(two.alloc_mut(CpuId(0), bad), Err(InvalidParam));
    }
    assert_eq!(two.alloc_mut(CpuId(2), layout(8, 8)), Err(InvalidParam));
    assert_eq!(two.alloc_mut(CpuId(2), layout(9000, 8)), Err(InvalidParam));
    assert_eq!(two.dealloc_mut(CpuId(2), START), Err(InvalidParam));
    let mut live = std::collections::HashSet::new();
    for size in [8, 100, 500, 2048, 4096, 9000] {
        live.insert(two.alloc_mut(CpuId(0), layout(size, 8)).unwrap());
    }
    for pos in START - 8..START + 64 * PAGE + 8 {
        if !live.contains(&pos) {
            assert_eq!(two.dealloc_mut(CpuId(pos as u16 % 2), pos), Err(NotAllocated), "{pos:#x}");
        }
    }
    // A remote free, and one in the name of the CPU that adopts.
    let block = two.alloc_mut(CpuId(0), layout(64, 8)).unwrap();
    two.dealloc_mut(CpuId(1), block).unwrap();
    assert_eq!(two.dealloc_mut(CpuId(0), block), Err(NotAllocated));
    assert_eq!(two.dealloc_mut(CpuId(1), block), Err(NotAllocated));
    two.check_invariants().unwrap();
    two.adopt(CpuId(0), CpuId(1)).unwrap();
    assert_eq!(two.alloc_mut(CpuId(0), layout(8, 8)), Err(InvalidParam));
    for pos in live {
        two.dealloc_mut(CpuId(1), pos).unwrap();
        assert_eq!(two.dealloc_mut(CpuId(1), pos), Err(NotAllocated));
        two.check_invariants().unwrap();
    }
    trim_all(&two);
    assert_eq!(two.allocated_bytes(), 0);
}

/// One step of the model: what is live, and who may still own slabs.
struct Model {
    allocator: GlobalAllocator,
    shadow: ShadowAllocator,
    random: Prng,
    live: Vec<Option<(usize, usize, usize)>>,
    /// CPUs that were not adopted.
    open: Vec<u16>,
}

impl Model {
    fn cpu(&mut self) -> CpuId {
        CpuId(self.open[self.random.below(self.open.len())])
    }

    /// Under locks, or with all of it borrowed: both ways in one history.
    fn alloc(&mut self, cpu: CpuId, layout: Layout) -> AllocResult<usize> {
        if self.random.below(2) == 0 {
            self.allocator.alloc(cpu, layout)
        } else {
            self.allocator.alloc_mut(cpu, layout)
        }
    }

    fn dealloc(&mut self, cpu: CpuId, pos: usize) -> AllocResult {
        if self.random.below(2) == 0 {
            self.allocator.dealloc(cpu, pos)
        } else {
            self.allocator.dealloc_mut(cpu, pos)
        }
    }

    fn step(&mut self, generator: &mut Generator) {
        match generator.next_op() {
            Op::Alloc { key, size, align } => {
                let cpu = self.cpu();
                match self.alloc(cpu, layout(size, align)) {
                    Ok(pos) => {
                        self.shadow.alloc(pos, size, align).unwrap();
                        self.live.resize(self.live.len().max(key + 1), None);
                        self.live[key] = Some((pos, size, align));
                    }
                    Err(error) => {
                        assert_eq!(error, NoMemory);
                        generator.refused(key);
                    }
                }
            }
            Op::Free { key } => {
                let (pos, size, align) = self.live[key].take().unwrap();
                let cpu = self.cpu();
                self.dealloc(cpu, pos).unwrap();
                self.shadow.free(pos, size, align).unwrap();
                let cpu = self.cpu();
                assert_eq!(self.dealloc(cpu, pos), Err(NotAllocated));
            }
            Op::Realloc { key, size } => {
                let (pos, old, align) = self.live[key].unwrap();
                let cpu = self.cpu();
                let Ok(new) = self.alloc(cpu, layout(size, align)) else { return };
                self.shadow.alloc(new, size, align).unwrap();
                self.dealloc(cpu, pos).unwrap();
                self.shadow.free(pos, old, align).unwrap();
                self.live[key] = Some((new, size, align));
            }
        }
    }

    fn disturb(&mut self) {
        let cpu = self.cpu();
        match self.random.below(40) {
            0 => drop(self.allocator.trim(cpu)),
            1 => drop(self.allocator.drain(cpu)),
            2 if self.open.len() > 1 => {
                self.open.retain(|&other| other != cpu.0);
                let to = self.cpu();
                self.allocator.adopt(cpu, to).unwrap();
            }
            3 => {
                if let Some(back) = self.allocator.attach()
                    && !self.open.contains(&back.0)
                {
                    self.open.push(back.0);
                }
            }
            _ => {}
        }
    }
}

fn model(table: ClassTable, cpus: u16, sections: &[(usize, usize)], seed: u64) {
    let allocator = GlobalAllocator::new(table, cpus.into(), PAGE).unwrap();
    let mut shadow = ShadowAllocator::new();
    for &(start, pages) in sections {
        allocator.add_region(start, pages * PAGE, start).unwrap();
        shadow.add_range(start, pages * PAGE).unwrap();
    }
    let open = (0..cpus).map(|_| allocator.attach().unwrap().0).collect();
    let mut model = Model { allocator, shadow, random: Prng::new(seed), live: Vec::new(), open };
    let mix = Mix { phase_len: 300, ..Mix::wide().with_live_max(600) };
    let mut generator = Generator::new(seed, mix);
    for step in 0..scaled(1500, 15_000) {
        model.step(&mut generator);
        model.disturb();
        let checked = model.allocator.check_invariants();
        checked.unwrap_or_else(|what| panic!("step {step}: {what}"));
        let mut walked = Vec::new();
        model.allocator.for_each_taken_slot(None, &mut |pos, _| walked.push(pos));
        model.allocator.for_each_page_run(&mut |pos, _| walked.push(pos));
        walked.sort_unstable();
        assert!(walked.iter().copied().eq(model.shadow.blocks().map(|(pos, _)| pos)), "{step}");
    }
    for (pos, ..) in model.live.into_iter().flatten() {
        model.allocator.dealloc(CpuId(0), pos).unwrap();
    }
    trim_all(&model.allocator);
    assert_eq!(model.allocator.allocated_bytes(), 0);
    model.allocator.check_invariants().unwrap();
}

macro_rules! models {
    ($($name:ident: $table:expr, $cpus:expr, $sections:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let seed = prng::seed(0x91_0ba1);
                for round in 0..scaled(2, 16) as u64 {
                    model($table, $cpus, &$sections, seed + round);
                }
            }
        )*
    };
}

models! {
    model_of_one_cpu: ClassTable::kernel(), 1, [(START, 512)];
    model_of_four_cpus: ClassTable::kernel(), 4, [(START, 700)];
    model_of_two_sections: ClassTable::kernel(), 2, [(0x1000_0000, 100), (START, 411)];
    model_of_the_fine_table: ClassTable::fine(), 3, [(START + PAGE, 2000)];
    model_of_a_heap_that_is_too_small: ClassTable::fine(), 2, [(START, 64)];
}
