//! Whose file it is, and how far it has come: one row in each file, read by SQL and in raw pages.
//!
//! ```text
//! table own, its only row:        the page of that row, as it lies in a file or a log
//!   0   8  "STKDmark"               0   1  13: a leaf of a table
//!   8  16  id of the store          3   2  1: number of rows
//!  24   1  which file               8   2  where the row begins: its length, its rowid 1,
//!  25   8  epoch, big-endian               2, the type of a blob of 33 bytes, the blob
//! ```
//!
//! The epoch is the file's high-water mark: it only grows, by one at a time, so a log and its file
//! must meet in it (see `look`).

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row};

use crate::store::sql;

/// What a mark begins with.
const MAGIC: &[u8; 8] = b"STKDmark";
/// Bytes of a mark.
const MARK_BYTES: usize = 33;
/// A row with a mark: its length, its rowid, the length of its header, the type of its column.
const ROW: [u8; 4] = [35, 1, 2, 12 + 2 * 33];
/// The first byte of a leaf of a table.
const LEAF: u8 = 13;
/// Number of `global.db` among the files; the others have their shard's.
const GLOBAL: u8 = u8::MAX;

/// Which file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which(u8);

impl Which {
    /// The file with what is not in a shard.
    pub(super) const GLOBAL: Self = Self(GLOBAL);

    /// The file of a shard: there are at most 64.
    pub(super) fn shard(shard: u8) -> Self {
        Self(shard)
    }

    /// As a column of a table holds it.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// The file's name in the store's directory.
    pub(super) fn name(self) -> String {
        match self.0 {
            GLOBAL => "global.db".to_owned(),
            shard => format!("shard-{shard:02}.db"),
        }
    }
}

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) store: [u8; 16],
    pub(super) which: Which,
    pub(super) epoch: u64,
}

impl Mark {
    /// The mark of a file, if it has one yet.
    ///
    /// # Errors
    /// `FromSqlConversionFailure` if the row is none.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        let there = conn.query_row(sql::TABLE_EXISTS, ["own"], |_| Ok(())).optional()?;
        if there.is_none() {
            return Ok(None);
        }
        let mark = |row: &Row<'_>| {
            let damaged = || {
                let (kind, what) = (row.get_ref(0).map(|it| it.data_type()), "not a mark");
                Error::FromSqlConversionFailure(0, kind.unwrap_or(Type::Null), what.into())
            };
            row.get_ref(0)?.as_blob().ok().and_then(Self::from_bytes).ok_or_else(damaged)
        };
        conn.query_row(sql::OWN_GET, [], mark).optional()
    }

    /// The mark in a page, if it is the page of one. No page with content of actors is taken for
    /// it: their rows have more columns, and an overflow page begins with the number of the next
    /// one, which would have to be above 13 << 24.
    pub(super) fn in_page(page: &[u8]) -> Option<Self> {
        if *page.first()? != LEAF || page.get(3..5)? != [0, 1] {
            return None;
        }
        let &[high, low] = page.get(8..10)? else { return None };
        let row = usize::from(u16::from_be_bytes([high, low]));
        let mark = row + ROW.len();
        if page.get(row..mark)? != ROW {
            return None;
        }
        Self::from_bytes(page.get(mark..mark + MARK_BYTES)?)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (store, rest) = rest.split_first_chunk()?;
        let (which, epoch) = rest.split_first()?;
        Some(Self {
            store: *store,
            which: Which(*which),
            epoch: u64::from_be_bytes(epoch.try_into().ok()?),
        })
    }

    /// As the row has it.
    pub(super) fn to_bytes(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(&self.store);
        bytes[24] = self.which.0;
        bytes[25..].copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }

    /// What is wrong with it in the place of `expected`, whatever the epochs.
    pub(super) fn strange_to(self, expected: (Which, Option<[u8; 16]>)) -> Option<String> {
        let (which, store) = expected;
        if store.is_some_and(|store| store != self.store) {
            return Some(format!("it is {} of another store", self.which.name()));
        }
        (self.which != which).then(|| format!("it is {} of this store", self.which.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark { store: [7; 16], which: Which::shard(3), epoch: 0x0102_0304_0506_0708 }
    }

    #[test]
    fn its_bytes_are_pinned() {
        let bytes = mark().to_bytes();
        assert_eq!(&bytes[..8], b"STKDmark");
        assert_eq!(bytes[8..24], [7; 16]);
        assert_eq!(bytes[24..], [3, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Mark::from_bytes(&bytes), Some(mark()));
        assert_eq!(Mark::from_bytes(&bytes[1..]), None);
        assert_eq!(Which::GLOBAL.name(), "global.db");
        assert_eq!(Which::shard(3).name(), "shard-03.db");
    }

    #[test]
    fn it_is_found_in_the_page_that_sqlite_makes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        for page_bytes in [512, 2048, 65_536] {
            let conn = Connection::open(&path).unwrap();
            let set_up = format!("PRAGMA page_size = {page_bytes}; {}", sql::OWN_SCHEMA);
            conn.execute_batch(&set_up).unwrap();
            conn.execute(sql::OWN_PUT, [&mark().to_bytes()[..]]).unwrap();
            let later = Mark { epoch: 9, ..mark() };
            conn.execute(sql::OWN_SET, [&later.to_bytes()[..]]).unwrap();
            drop(conn);
            let bytes = std::fs::read(&path).unwrap();
            let found: Vec<_> = bytes.chunks(page_bytes).filter_map(Mark::in_page).collect();
            assert_eq!(found, [later]);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_strange_is_named() {
        let own = (Which::shard(3), Some([7; 16]));
        assert_eq!(mark().strange_to(own), None);
        let of = |expected| mark().strange_to(expected).unwrap();
        assert_eq!(of((Which::shard(2), Some([7; 16]))), "it is shard-03.db of this store");
        assert_eq!(of((Which::GLOBAL, None)), "it is shard-03.db of this store");
        assert_eq!(of((Which::shard(3), Some([8; 16]))), "it is shard-03.db of another store");
    }
}
