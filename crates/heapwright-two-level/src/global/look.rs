//! Looking: figures, walks and invariants. Exact at rest (HAZARDS CC14).

use std::collections::HashSet;

use super::{CpuId, Drains, GlobalAllocator};
use crate::remote;
use crate::slab::{ClassStats, Slab, SlabId};
use crate::sync::lock;

impl GlobalAllocator {
    /// Figures by class, of one CPU or of all together.
    ///
    /// # Time Complexity
    ///
    /// Linear in the slabs.
    pub fn class_stats(&self, cpu: Option<CpuId>) -> Vec<ClassStats> {
        let bare = |class| ClassStats { object_size: self.table.size(class), ..Default::default() };
        let mut sums: Vec<ClassStats> = self.table.classes().map(bare).collect();
        self.for_each_cpu(cpu, |_, slabs| {
            for (class, sum) in self.table.classes().zip(&mut sums) {
                sum.add(&slabs.set.stats(&self.commons.arena, &self.table, class));
            }
        });
        sums
    }

    /// Every slot that is handed out, those freed remotely excluded, slab by slab: `f(pos, size)`.
    /// `f` must not call the allocator.
    pub fn for_each_taken_slot(&self, owner: Option<CpuId>, f: &mut dyn FnMut(usize, usize)) {
        self.for_each_cpu(owner, |_, slabs| {
            slabs.set.for_each(&self.commons.arena, |_, slab| {
                let size = self.table.size(slab.shape().class);
                slab.for_each_live(|slot| f(slab.base() + slot * size, size));
            });
        });
    }

    /// What the drains of `cpu` have come to; all 0 for one that is not there.
    pub fn drains(&self, cpu: CpuId) -> Drains {
        self.cpus.get(cpu.index()).map_or_else(Drains::default, |slot| lock(&slot.slabs).drains)
    }

    /// Whether `cpu` could hand out a slot of the class, with what is pending but without new pages.
    pub fn has_slots(&self, cpu: CpuId, class: crate::SizeClass) -> bool {
        let Some(slot) = self.cpus.get(cpu.index()).filter(|_| class.index() < self.table.len())
        else {
            return false;
        };
        let slabs = lock(&slot.slabs);
        let mut found = slabs.set.serving(class).is_some();
        if !found {
            slabs.set.for_each(&self.commons.arena, |_, slab| {
                found |= slab.shape().class == class && slab.count_pending() > 0;
            });
        }
        found
    }

    fn for_each_cpu(&self, cpu: Option<CpuId>, mut f: impl FnMut(CpuId, &super::CpuSlabs)) {
        for (index, slot) in self.cpus.iter().enumerate() {
            // Truncation cannot happen: at most CPUS_MAX.
            let id = CpuId(index as u16);
            if cpu.is_none_or(|wanted| wanted == id) {
                f(id, &lock(&slot.slabs));
            }
        }
    }

    /// Tests every invariant of both levels; only looks. At rest only.
    ///
    /// # Time Complexity
    ///
    /// Linear in slabs, their slots and runs.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut queued: HashSet<SlabId> = HashSet::new();
        for stack in &self.commons.pending {
            let mut twice = false;
            remote::for_each_queued(stack, &self.commons.arena, |id| twice |= !queued.insert(id));
            if twice {
                return Err("a slab is on two pending stacks".into());
            }
        }
        let mut damage = Ok(());
        let (mut slabs_pages, mut seen) = (0, 0);
        self.for_each_cpu(None, |cpu, slabs| {
            let mut note = |result: Result<(), String>| {
                if damage.is_ok() {
                    damage = result.map_err(|what| format!("cpu {}: {what}", cpu.0));
                }
            };
            note(slabs.set.check(&self.commons.arena));
            if slabs.closed && !slabs.set.is_empty() {
                note(Err("it was adopted and has slabs".into()));
            }
            slabs.set.for_each(&self.commons.arena, |id, slab| {
                slabs_pages += slab.shape().pages as usize;
                seen += usize::from(queued.contains(&id));
                note(self.check_slab(cpu, id, slab, queued.contains(&id)));
            });
        });
        damage?;
        if seen != queued.len() {
            return Err("a pending stack holds what is no slab".into());
        }
        let level = lock(&self.level);
        level.buddy.check_invariants()?;
        if level.buddy.slab_pages() == slabs_pages {
            Ok(())
        } else {
            Err(format!("{} pages are slabs', slabs have {slabs_pages}", level.buddy.slab_pages()))
        }
    }

    fn check_slab(
        &self,
        cpu: CpuId,
        id: SlabId,
        slab: Slab<'_>,
        queued: bool,
    ) -> Result<(), String> {
        let (base, shape) = (slab.base(), slab.shape());
        if slab.owner() != cpu {
            return Err(format!("the slab at {base:#x} belongs to {:?}", slab.owner()));
        }
        if remote::is_queued(slab) != queued {
            return Err(format!("the flag of the slab at {base:#x} is wrong"));
        }
        if slab.count_pending() > 0 && !queued {
            return Err(format!("the slab at {base:#x} has remote frees that nobody looks at"));
        }
        let pages = (0..shape.pages as usize).map(|page| base + page * self.commons.page_size);
        if pages.into_iter().any(|pos| self.commons.map.slab(pos) != Some(id)) {
            return Err(format!("the page map does not know the slab at {base:#x}"));
        }
        Ok(())
    }
}
