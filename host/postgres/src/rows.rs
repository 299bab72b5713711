//! Rows of the server, as the depot reads them (`stockade_depot::store::rows`).

use std::error::Error;

use stockade_depot::store::rows::{self, StoredRow};
use stockade_depot::store::{PageVersion, Snapshot};
use stockade_depot::{DbId, Pgno, StoreError, page};
use tokio_postgres::types::{FromSql, Type};

pub(crate) use stockade_depot::store::rows::{
    HEAD_COLUMNS, OWNER_COLUMNS, actor, base, blob, check_floor, commit, db, flag, head, history,
    is_null, kind, limit, node, number, origin_to_sql, owner, page_count, pgno, restarts,
    start_to_sql, to_sql, txid, verdict,
};

type Read<T> = Result<T, StoreError>;

/// A row of an answer.
#[derive(Debug)]
pub(crate) struct Row(tokio_postgres::Row);

impl From<tokio_postgres::Row> for Row {
    fn from(row: tokio_postgres::Row) -> Self {
        Self(row)
    }
}

/// Any value that is not null.
struct Present;

impl FromSql<'_> for Present {
    fn from_sql(_: &Type, _: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Row {
    /// A column of a type that the schema states.
    fn get<'a, T: FromSql<'a>>(&'a self, column: usize) -> Read<T> {
        self.0.try_get(column).map_err(|error| {
            StoreError::Corrupt(format!("a stored value has another type than the schema: {error}"))
        })
    }
}

impl StoredRow for Row {
    fn is_null(&self, column: usize) -> Read<bool> {
        Ok(self.get::<Option<Present>>(column)?.is_none())
    }

    fn integer(&self, column: usize) -> Read<i64> {
        self.get(column)
    }

    fn blob(&self, column: usize) -> Read<&[u8]> {
        self.get(column)
    }

    fn text(&self, column: usize) -> Read<&str> {
        self.get(column)
    }
}

/// A text, unless it is null.
pub(crate) fn text(row: &Row, column: usize) -> Read<Option<String>> {
    row.get(column)
}

/// The handed-over state of a database, from the column `at` on; `None`: nulls.
pub(crate) fn snapshot(row: &Row, at: usize) -> Read<Option<Snapshot>> {
    if is_null(row, at)? { Ok(None) } else { rows::snapshot(row, at).map(Some) }
}

/// A page and its txid: the columns `txid, sum, bytes` from `at` on. `None`: nulls.
///
/// That the row is the page that was asked for is proved by its checksum, which covers its key.
pub(crate) fn version(row: &Row, at: usize, db: DbId, pgno: Pgno) -> Read<Option<PageVersion>> {
    if is_null(row, at)? {
        return Ok(None);
    }
    let txid = txid(row, at)?;
    let bytes = page::decode(db, pgno, txid, blob(row, at + 2)?, blob(row, at + 1)?)?;
    Ok(Some(PageVersion { pgno, txid, bytes }))
}
