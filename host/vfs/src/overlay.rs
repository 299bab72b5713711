//! The pages that a transaction has written so far, found by page number.
//!
//! Most transactions write one to a handful of pages: those are searched one by one, without an
//! index and with one allocation. Larger ones get an index. What does not fit into memory goes to a
//! file, page by page; a page stays where it is until the transaction ends.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;

use stockade_depot::{LargePages, PAGE_SIZE, PageBytes, PageCount, Pgno};

use crate::fault::Fault;
use crate::scratch::Budget;
use crate::spill::{Spill, Spilled, Stored};

/// Pages up to which a search from the front beats an index.
const SCAN_MAX: usize = 8;

/// What every page is that SQLite left out.
static ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Written pages, each once, in the order of their first write.
#[derive(Default)]
pub(crate) struct Overlay {
    pages: Vec<(Pgno, Stored)>,
    /// Places in `pages`. Empty up to [`SCAN_MAX`] pages.
    index: HashMap<u32, usize, BuildHasherDefault<PgnoHasher>>,
    spill: Option<Spill>,
}

/// A finished transaction.
pub(crate) enum Finished {
    /// In memory, in no particular order.
    Pages(Vec<(Pgno, PageBytes)>),
    /// Too large for that.
    Large(Arc<dyn LargePages>),
}

impl Overlay {
    /// The last version of a page that was written.
    pub(crate) fn get(&self, pgno: Pgno) -> io::Result<Option<PageBytes>> {
        match self.place(pgno).map(|place| &self.pages[place].1) {
            None => Ok(None),
            Some(Stored::Memory(page)) => Ok(Some(page.clone())),
            Some(Stored::Disk(slot)) => {
                let spill = self.spill.as_ref().expect("BUG: a page on disk without its file");
                spill.read(*slot).map(Some)
            }
        }
    }

    /// Replaces or adds a page. A refusal, which only a file can give, changes nothing.
    pub(crate) fn put(&mut self, pgno: Pgno, page: PageBytes) -> Result<(), Fault> {
        debug_assert_eq!(page.len(), PAGE_SIZE);
        if let Some(place) = self.place(pgno) {
            match (&mut self.pages[place].1, &self.spill) {
                (Stored::Disk(slot), Some(spill)) => return spill.replace(*slot, &page),
                (stored, _) => *stored = Stored::Memory(page),
            }
            return Ok(());
        }
        let stored = match &mut self.spill {
            Some(spill) => Stored::Disk(spill.add(&page)?),
            None => Stored::Memory(page),
        };
        self.push(pgno, stored);
        Ok(())
    }

    /// A page of zeros that was never written: it costs no memory.
    pub(crate) fn put_zeros(&mut self, pgno: Pgno) {
        if self.place(pgno).is_none() {
            self.push(pgno, Stored::Memory(PageBytes::from_static(&ZERO_PAGE)));
        }
    }

    fn push(&mut self, pgno: Pgno, stored: Stored) {
        self.pages.push((pgno, stored));
        if self.pages.len() == SCAN_MAX + 1 {
            self.build_index();
        } else if self.pages.len() > SCAN_MAX {
            self.index.insert(pgno.0, self.pages.len() - 1);
        }
    }

    /// Puts pages that come from now on into a file.
    pub(crate) fn start_spill(&mut self, budget: &Arc<Budget>) -> Result<(), Fault> {
        if self.spill.is_none() {
            self.spill = Some(Spill::new(budget)?);
        }
        Ok(())
    }

    /// Whether new pages go to a file.
    pub(crate) fn spills(&self) -> bool {
        self.spill.is_some()
    }

    /// Drops what lies above `count`.
    pub(crate) fn truncate(&mut self, count: PageCount) {
        let spill = &mut self.spill;
        self.pages.retain(|(pgno, stored)| {
            let keep = pgno.0 <= count.0;
            if let (false, Stored::Disk(slot), Some(spill)) = (keep, stored, spill.as_mut()) {
                spill.free(*slot);
            }
            keep
        });
        self.index.clear();
        if self.pages.len() > SCAN_MAX {
            self.build_index();
        }
    }

    /// How many pages were written.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// How many of them lie above `count`.
    pub(crate) fn len_above(&self, count: PageCount) -> usize {
        self.pages.iter().filter(|(pgno, _)| pgno.0 > count.0).count()
    }

    /// Ends the transaction with its pages.
    pub(crate) fn finish(self) -> Finished {
        if let Some(spill) = self.spill {
            return Finished::Large(Arc::new(Spilled::new(self.pages, spill)));
        }
        let in_memory = self.pages.into_iter().filter_map(|(pgno, stored)| match stored {
            Stored::Memory(page) => Some((pgno, page)),
            Stored::Disk(_) => None,
        });
        Finished::Pages(in_memory.collect())
    }

    fn place(&self, pgno: Pgno) -> Option<usize> {
        if self.pages.len() <= SCAN_MAX {
            self.pages.iter().position(|(have, _)| *have == pgno)
        } else {
            self.index.get(&pgno.0).copied()
        }
    }

    fn build_index(&mut self) {
        let places = self.pages.iter().enumerate().map(|(place, (pgno, _))| (pgno.0, place));
        self.index.extend(places);
    }
}

/// Multiplies by the golden ratio: page numbers are dense, SQLite chooses them, not the guest.
#[derive(Default)]
struct PgnoHasher(u64);

impl Hasher for PgnoHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::options::VfsOptions;

    fn page(fill: u8) -> PageBytes {
        PageBytes::from(vec![fill; PAGE_SIZE])
    }

    fn budget(directory: &tempfile::TempDir, pages: u64) -> Arc<Budget> {
        let mut options = VfsOptions::new(directory.path());
        options.scratch_bytes_max = pages * 4096;
        Arc::new(Budget::new(&options))
    }

    /// An overlay that keeps `in_memory` pages in memory.
    fn put(overlay: &mut Overlay, pgno: u32, fill: u8, in_memory: usize, budget: &Arc<Budget>) {
        if overlay.len() >= in_memory {
            overlay.start_spill(budget).unwrap();
        }
        overlay.put(Pgno(pgno), page(fill)).unwrap();
    }

    fn fill_of(overlay: &Overlay, pgno: u32) -> Option<u8> {
        overlay.get(Pgno(pgno)).unwrap().map(|page| page[0])
    }

    #[test]
    fn finds_the_last_version_with_and_without_index_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let budget = budget(&directory, 1000);
        for (pages, in_memory) in [(1u32, 9), (8, 9), (9, 99), (500, 999), (8, 3), (500, 20)] {
            let mut overlay = Overlay::default();
            for pgno in (1..=pages).rev() {
                put(&mut overlay, pgno, 1, in_memory, &budget);
            }
            let on_disk = (pages as usize).saturating_sub(in_memory) as u64;
            assert_eq!(budget.used(), on_disk * 4096);
            for pgno in 1..=pages {
                put(&mut overlay, pgno, u8::try_from(pgno % 251).unwrap(), in_memory, &budget);
            }
            assert_eq!(overlay.len(), pages as usize);
            for pgno in 1..=pages {
                let expected = u8::try_from(pgno % 251).unwrap();
                assert_eq!(fill_of(&overlay, pgno), Some(expected));
            }
            assert!(fill_of(&overlay, pages + 1).is_none());
            assert_eq!(budget.used(), on_disk * 4096, "a page that is written again stays put");
            match overlay.finish() {
                Finished::Pages(all) => assert_eq!((all.len(), on_disk), (pages as usize, 0)),
                Finished::Large(source) => {
                    assert_eq!(source.pgnos().len(), pages as usize);
                    assert_eq!(source.read(Pgno(2)).unwrap(), Some(page(2)));
                    assert_eq!(source.read(Pgno(pages + 1)).unwrap(), None);
                    assert_eq!(budget.used(), on_disk * 4096);
                }
            }
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn truncate_drops_what_lies_above_and_keeps_the_rest_findable() {
        let directory = tempfile::tempdir().unwrap();
        let budget = budget(&directory, 1000);
        for (keep, in_memory) in [(0u32, 99), (3, 99), (8, 99), (9, 5), (40, 20)] {
            let mut overlay = Overlay::default();
            for pgno in 1..=50 {
                put(&mut overlay, pgno, 7, in_memory, &budget);
            }
            let used = budget.used();
            assert_eq!(overlay.len_above(PageCount(keep)), 50 - keep as usize);
            overlay.truncate(PageCount(keep));
            assert_eq!(overlay.len(), keep as usize);
            assert_eq!(fill_of(&overlay, keep).is_some(), keep > 0);
            assert!(fill_of(&overlay, keep + 1).is_none());
            for pgno in 60..70 {
                put(&mut overlay, pgno, 9, in_memory, &budget);
            }
            assert!((60..70).all(|pgno| fill_of(&overlay, pgno) == Some(9)));
            assert_eq!(budget.used(), used, "places are used again");
        }
    }

    #[test]
    fn a_file_over_the_budget_is_refused_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let budget = budget(&directory, 2);
        let mut overlay = Overlay::default();
        for pgno in 1..=3 {
            put(&mut overlay, pgno, 1, 1, &budget);
        }
        let full = Fault::ScratchFull { bytes: 3 * 4096, max: 2 * 4096 };
        assert_eq!(overlay.put(Pgno(4), page(1)), Err(full));
        assert_eq!((overlay.len(), fill_of(&overlay, 4)), (3, None));
        overlay.put(Pgno(3), page(2)).unwrap();
        assert_eq!(fill_of(&overlay, 3), Some(2));
    }
}
