//! Random sequences of every method, on the fake system and on the real one, against a model that
//! knows for each page whether it may be read and written, and the byte that fills it.

use heapwright_testkit::prng::{Prng, seed};

use crate::os::Os;
use crate::os::fake::FakeOs;
use crate::{Access, Advice, Placement, Region};

const PAGES: usize = 24;
const STEPS: usize = if cfg!(miri) { 60 } else { 4_000 };

/// What the model knows of a page.
#[derive(Clone, Copy, Debug)]
struct Page {
    access: Access,
    byte: u8,
}

struct Model<O: Os> {
    region: Region<O>,
    page: usize,
    pages: [Page; PAGES],
}

impl<O: Os> Model<O> {
    fn new(os: O, prng: &mut Prng) -> Self {
        let page = os.page_size();
        let modulus = page << prng.below(6);
        let placement = Placement { modulus, residue: prng.below(64) * page };
        let region = Region::reserve_on(os, PAGES * page, Some(placement)).unwrap();
        assert_eq!(region.base().addr().get() % modulus, placement.residue % modulus);
        Self { region, page, pages: [Page { access: Access::None, byte: 0 }; PAGES] }
    }

    /// Fills page `index`.
    fn fill(&mut self, index: usize, byte: u8) {
        // SAFETY: the model has PAGES pages, and so has the region.
        let start = unsafe { self.region.base().add(index * self.page) };
        // SAFETY: the caller has seen that the page is writable.
        unsafe { start.write_bytes(byte, self.page) };
        self.pages[index].byte = byte;
    }

    /// Does one random thing to the region and to the model.
    fn step(&mut self, prng: &mut Prng) {
        let size = PAGES * self.page;
        let offset = prng.below(size);
        let len = prng.below(size - offset + 1);
        let end = offset + len;
        let outward = if len == 0 { 0..0 } else { offset / self.page..end.div_ceil(self.page) };
        // Empty where the start is past the end.
        let inward = offset.div_ceil(self.page)..end / self.page;
        match prng.below(9) {
            0 => {
                self.region.commit(offset, len).unwrap();
                self.update(outward, Some(Access::ReadWrite), None);
            }
            1 => {
                self.region.populate(offset, len).unwrap();
                self.update(outward, Some(Access::ReadWrite), None);
            }
            2 => {
                self.region.decommit(offset, len).unwrap();
                self.update(inward, None, Some(0));
            }
            3 => {
                self.region.advise(offset, len, Advice::DontNeed).unwrap();
                self.update(inward, None, Some(0));
            }
            4 => {
                self.region.advise(offset, len, Advice::WillNeed).unwrap();
            }
            5 => {
                let access = if prng.chance(1, 2) { Access::None } else { Access::Read };
                self.region.protect(offset, len, access).unwrap();
                self.update(inward, Some(access), None);
            }
            6 if prng.chance(1, 8) => {
                self.region.zero_over().unwrap();
                self.update(0..PAGES, Some(Access::ReadWrite), Some(0));
            }
            _ => {
                let index = prng.below(PAGES);
                if self.pages[index].access == Access::ReadWrite {
                    self.fill(index, prng.next_u32().to_le_bytes()[0]);
                }
            }
        }
    }

    fn update(&mut self, pages: std::ops::Range<usize>, access: Option<Access>, byte: Option<u8>) {
        for index in pages {
            let page = &mut self.pages[index];
            page.access = access.unwrap_or(page.access);
            page.byte = byte.unwrap_or(page.byte);
        }
    }

    /// Compares the first and the last byte of every page that may be read.
    fn check(&self) {
        for (index, page) in self.pages.iter().enumerate() {
            if page.access == Access::None {
                continue;
            }
            for offset in [index * self.page, (index + 1) * self.page - 1] {
                // SAFETY: the offset is below the size of the region.
                let byte = unsafe { self.region.base().add(offset) };
                // SAFETY: the page is readable, or the model is wrong and the test dies.
                let byte = unsafe { byte.read() };
                assert_eq!(byte, page.byte, "page {index}");
            }
        }
    }
}

#[test]
fn agrees_with_the_model_on_the_fake_system() {
    let mut prng = Prng::new(seed(0x5EED_0001));
    let os = FakeOs::new(4096, 5);
    let mut model = Model::new(os.clone(), &mut prng);
    let base = model.region.base().addr().get();
    for _ in 0..STEPS {
        model.step(&mut prng);
        model.check();
        for (index, page) in model.pages.iter().enumerate() {
            assert_eq!(os.access_at(base + index * 4096), Some(page.access), "page {index}");
        }
        assert_eq!(os.access_at(base - 1), Some(Access::None));
        assert_eq!(os.access_at(base + PAGES * 4096), Some(Access::None));
    }
    drop(model);
    assert_eq!(os.mapped_pages(), 0);
}

#[cfg(not(miri))]
#[test]
fn agrees_with_the_model_on_the_real_system() {
    let mut prng = Prng::new(seed(0x5EED_0002));
    for _ in 0..4 {
        let mut model = Model::new(crate::os::SystemOs, &mut prng);
        for _ in 0..STEPS {
            model.step(&mut prng);
            model.check();
        }
    }
}
