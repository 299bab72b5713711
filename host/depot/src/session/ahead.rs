//! Whether the misses of a session are a scan, and how many pages its next question asks for.
//!
//! Nothing here is about what a page holds. Pages read ahead obey what every read obeys: one fenced
//! question, as of one txid, kept by the cache only if no commit has overtaken it (see `cache.rs`).
//!
//! ```text
//! miss, close behind the one before   four of them are a scan: the question grows to 4 pages,
//!                                     then twice as many each time that half of them were hit
//! miss elsewhere                      one page; the third in a row ends the scan
//! ```
//! SQLite walks the leaves of a tree in order; they lie roughly so in the file.

use crate::id::Pgno;
use crate::limits::{SCAN_GAP_MAX, SCAN_MISSES_MIN, SCAN_PAGES_MIN, SCAN_STRAYS_MAX};

/// What a session remembers of its misses.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// After the last page of the last question that belonged to the scan.
    next: u32,
    /// Misses in ascending order, while nothing is read ahead.
    misses: u32,
    /// Pages of the last question, if it read ahead.
    window: u32,
    /// Pages that the last question read ahead, and how many of them were asked for since.
    asked: u32,
    hits: u32,
    /// Misses elsewhere since the last hit.
    strays: u32,
    /// Pages that the scan has gone through.
    passed: usize,
}

impl Ahead {
    /// A page is not cached: how many pages to ask for from it on, at least 1 and at most `max`.
    pub(super) fn miss(&mut self, pgno: Pgno, max: u32) -> u32 {
        let gap = self.window.max(SCAN_GAP_MAX);
        let follows = pgno.0 >= self.next && pgno.0 - self.next < gap;
        if self.window == 0 {
            self.misses = if follows { self.misses + 1 } else { 1 };
            self.next = pgno.0.saturating_add(1);
            if self.misses < SCAN_MISSES_MIN || max < 2 {
                return 1;
            }
            return self.ask(pgno, SCAN_PAGES_MIN.min(max));
        }
        if !follows {
            self.strays += 1;
            if self.strays > SCAN_STRAYS_MAX {
                self.end(pgno);
            }
            return 1;
        }
        if self.hits < self.asked.div_ceil(2) {
            self.end(pgno);
            return 1;
        }
        self.ask(pgno, self.window.saturating_mul(2).min(max))
    }

    /// The question of `window` pages from `pgno` on reads `asked` ahead: the others are at hand.
    pub(super) fn asks(&mut self, asked: usize) {
        self.asked = u32::try_from(asked).unwrap_or(u32::MAX);
    }

    /// A page that was read ahead is asked for. How many pages the scan has gone through.
    pub(super) fn hit(&mut self) -> usize {
        self.hits = self.hits.saturating_add(1);
        self.strays = 0;
        self.passed = self.passed.saturating_add(1);
        self.passed
    }

    /// Pages that the scan has gone through; 0 if there is none.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// Ends the scan: the next one has to show itself again, from `pgno` on.
    pub(super) fn end(&mut self, pgno: Pgno) {
        *self = Self { next: pgno.0.saturating_add(1), misses: 1, ..Self::default() };
    }

    fn ask(&mut self, pgno: Pgno, window: u32) -> u32 {
        self.next = pgno.0.saturating_add(window);
        self.window = window;
        (self.asked, self.hits, self.strays) = (window.saturating_sub(1), 0, 0);
        self.passed = self.passed.saturating_add(1);
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The questions of a session that reads `pages` and keeps what it has read.
    fn check(pages: impl IntoIterator<Item = u32>, expected: &[(u32, u32)]) {
        let mut ahead = Ahead::default();
        let (mut kept, mut fresh) = (Vec::new(), Vec::new());
        let mut asked = Vec::new();
        for pgno in pages {
            if let Some(at) = fresh.iter().position(|known| *known == pgno) {
                fresh.swap_remove(at);
                kept.push(pgno);
                ahead.hit();
            } else if !kept.contains(&pgno) {
                let window = ahead.miss(Pgno(pgno), 32);
                asked.push((pgno, window));
                kept.push(pgno);
                fresh.extend(pgno + 1..pgno + window);
            }
        }
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_scan_asks_for_twice_as_much_each_time() {
        let asked = [(1, 1), (2, 1), (3, 1), (4, 4), (8, 8), (16, 16), (32, 32), (64, 32)];
        check(1..=95, &asked);
    }

    #[test]
    fn pages_here_and_there_are_asked_for_alone() {
        let pages = [9, 40, 41, 2, 3, 4, 90, 30, 31, 32, 8, 7, 6, 5];
        check(pages, &pages.map(|pgno| (pgno, 1)));
    }

    #[test]
    fn a_page_elsewhere_is_asked_for_alone_and_the_scan_goes_on() {
        let pages = (1..=7).chain([500]).chain(8..=15).chain([3000, 90]).chain(16..=20);
        let alone = [(1, 1), (2, 1), (3, 1)];
        let asked = [(4, 4), (500, 1), (8, 8), (3000, 1), (90, 1), (16, 16)];
        check(pages, &[&alone[..], &asked].concat());
    }

    #[test]
    fn a_scan_that_stops_leaves_nothing() {
        let pages = (1..=5).chain([500, 90, 700, 8, 9]);
        let asked = [1, 2, 3].map(|pgno| (pgno, 1)).to_vec();
        let rest = [(4, 4), (500, 1), (90, 1), (700, 1), (8, 1), (9, 1)];
        check(pages, &[asked, rest.to_vec()].concat());
    }

    #[test]
    fn pages_that_nobody_wanted_end_it() {
        // Of 5, 6 and 7, only 6: one of three.
        check([1, 2, 3, 4, 6, 8, 9], &[(1, 1), (2, 1), (3, 1), (4, 4), (8, 1), (9, 1)]);
    }
}
