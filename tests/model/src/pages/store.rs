//! What the store answers to a read, and what it writes for a commit.

use super::{Commit, Image, Row, World, ZEROS};

impl World {
    /// The head's txid.
    #[must_use]
    pub fn txid(&self) -> u8 {
        u8::try_from(self.commits.len()).expect("BUG: a handful of commits")
    }

    /// What SQLite has at the head.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        self.commits.last().map_or(&[], |commit| &commit.image)
    }

    /// The page as of `at`: its newest visible version. A row with a stage id is visible only if
    /// the commit of its txid names that stage.
    #[must_use]
    pub fn visible(&self, page: usize, at: u8) -> Option<u8> {
        let shown = |row: &&Row| {
            let commit = self.commits.get(usize::from(row.txid - 1));
            row.page == page
                && row.txid <= at
                && (row.stage == 0 || commit.is_some_and(|commit| commit.stage == row.stage))
        };
        self.rows.iter().filter(shown).max_by_key(|row| row.txid).map(|row| row.value)
    }

    /// Writes a row. The key is (page, txid, stage): the same chunk again changes nothing.
    pub(super) fn write(&mut self, row: Row) {
        let key = |row: &Row| (row.page, row.txid, row.stage);
        self.rows.retain(|old| key(old) != key(&row));
        self.rows.push(row);
        self.rows.sort_unstable();
    }

    /// D2: head, commit row and the rows that are not staged, in one step.
    pub(super) fn commit(&mut self, stage: u8, image: Image, pages: &[usize]) {
        let txid = self.txid() + 1;
        if stage == 0 {
            for &page in pages {
                self.write(Row { page, txid, stage, value: image[page] });
            }
        }
        self.commits.push(Commit { stage, image });
    }

    /// D7: deletes rows of stages that no commit can name any more.
    pub(super) fn collect(&mut self) {
        let commits = &self.commits;
        self.rows.retain(|row| {
            let commit = commits.get(usize::from(row.txid - 1));
            row.stage == 0 || commit.is_none_or(|commit| commit.stage == row.stage)
        });
    }
}

/// What SQLite has after a transaction that writes `value` to `pages` and leaves `count` pages:
/// pages that grew and were not written read as zeros.
pub(super) fn after(before: &[u8], count: usize, pages: &[usize], value: u8) -> Image {
    (0..count)
        .map(|page| match before.get(page) {
            _ if pages.contains(&page) => value,
            Some(&old) => old,
            None => ZEROS,
        })
        .collect()
}
