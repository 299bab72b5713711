//! The pages that a transaction has written so far, found by page number.
//!
//! Most transactions write one to a handful of pages: those are searched one by one, without an
//! index and with one allocation. Larger ones get an index.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use stockade_depot::{PAGE_SIZE, PageBytes, PageCount, Pgno};

/// Pages up to which a search from the front beats an index.
const SCAN_MAX: usize = 8;

/// Written pages, each once, in the order of their first write.
#[derive(Default)]
pub(crate) struct Overlay {
    pages: Vec<(Pgno, PageBytes)>,
    /// Places in `pages`. Empty up to [`SCAN_MAX`] pages.
    index: HashMap<u32, usize, BuildHasherDefault<PgnoHasher>>,
}

impl Overlay {
    /// The last version written of a page.
    pub(crate) fn get(&self, pgno: Pgno) -> Option<&PageBytes> {
        self.place(pgno).map(|place| &self.pages[place].1)
    }

    /// Replaces or adds a page.
    pub(crate) fn put(&mut self, pgno: Pgno, bytes: PageBytes) {
        debug_assert_eq!(bytes.len(), PAGE_SIZE);
        if let Some(place) = self.place(pgno) {
            self.pages[place].1 = bytes;
            return;
        }
        self.pages.push((pgno, bytes));
        if self.pages.len() == SCAN_MAX + 1 {
            self.build_index();
        } else if self.pages.len() > SCAN_MAX {
            self.index.insert(pgno.0, self.pages.len() - 1);
        }
    }

    /// Drops what lies above `count`.
    pub(crate) fn truncate(&mut self, count: PageCount) {
        self.pages.retain(|(pgno, _)| pgno.0 <= count.0);
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

    /// The pages, in no particular order.
    pub(crate) fn into_pages(self) -> Vec<(Pgno, PageBytes)> {
        self.pages
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

    fn page(fill: u8) -> PageBytes {
        PageBytes::from(vec![fill; PAGE_SIZE])
    }

    #[test]
    fn finds_the_last_version_with_and_without_an_index() {
        for pages in [1u32, 8, 9, 500] {
            let mut overlay = Overlay::default();
            for pgno in (1..=pages).rev() {
                overlay.put(Pgno(pgno), page(1));
            }
            for pgno in 1..=pages {
                overlay.put(Pgno(pgno), page(u8::try_from(pgno % 251).unwrap()));
            }
            assert_eq!(overlay.len(), pages as usize);
            for pgno in 1..=pages {
                let expected = u8::try_from(pgno % 251).unwrap();
                assert_eq!(overlay.get(Pgno(pgno)).unwrap()[0], expected);
            }
            assert!(overlay.get(Pgno(pages + 1)).is_none());
            assert_eq!(overlay.into_pages().len(), pages as usize);
        }
    }

    #[test]
    fn truncate_drops_what_lies_above_and_keeps_the_rest_findable() {
        for keep in [0u32, 3, 8, 9, 40] {
            let mut overlay = Overlay::default();
            for pgno in 1..=50 {
                overlay.put(Pgno(pgno), page(7));
            }
            assert_eq!(overlay.len_above(PageCount(keep)), 50 - keep as usize);
            overlay.truncate(PageCount(keep));
            assert_eq!(overlay.len(), keep as usize);
            assert_eq!(overlay.get(Pgno(keep)).is_some(), keep > 0);
            assert!(overlay.get(Pgno(keep + 1)).is_none());
            overlay.put(Pgno(60), page(9));
            assert_eq!(overlay.get(Pgno(60)).unwrap()[0], 9);
        }
    }
}
