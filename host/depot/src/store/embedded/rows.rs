//! Rows of SQLite as the depot reads them (`store::rows`), each compared with its key (`asked`): an
//! index may lead to another row than the one that was asked for.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::error::StoreError;
use crate::fence::{Head, OwnerRow};
use crate::id::{ActorId, DbId};
use crate::store::rows::{self, StoredRow};
use crate::store::{ActorState, KindRow, Snapshot};

pub(super) use crate::store::rows::{
    OWNER_COLUMNS, asked, base, blob, check_floor, commit, db, due, history, is_null, limit, node,
    number, origin_to_sql, owner, page_count, pgno, restarts, start_to_sql, to_sql, txid, verdict,
    wanted,
};

type Read<T> = Result<T, StoreError>;

impl StoredRow for Row<'_> {
    fn is_null(&self, column: usize) -> Read<bool> {
        Ok(self.get_ref(column)? == ValueRef::Null)
    }

    fn integer(&self, column: usize) -> Read<i64> {
        Ok(self.get(column)?)
    }

    fn blob(&self, column: usize) -> Read<&[u8]> {
        match self.get_ref(column)? {
            ValueRef::Blob(bytes) => Ok(bytes),
            _ => Err(rows::out_of_range("value")),
        }
    }

    fn text(&self, column: usize) -> Read<&str> {
        match self.get_ref(column)? {
            ValueRef::Text(text) => {
                std::str::from_utf8(text).map_err(|_| rows::out_of_range("text"))
            }
            _ => Err(rows::out_of_range("value")),
        }
    }
}

/// The owner of the head of the database `of`.
pub(super) fn owner_of(row: &Row<'_>, of: DbId) -> Read<OwnerRow> {
    let owner = owner(row)?;
    asked("head", &of, &owner.fence.db)?;
    Ok(owner)
}

/// The head of the database `of`, from the column `at` on.
pub(super) fn head(row: &Row<'_>, at: usize, of: DbId) -> Read<Head> {
    asked("head", &of, &db(row, at)?)?;
    rows::head(row, at)
}

/// The row of `actor`, as [`actor`] reads it.
pub(super) fn actor_of(row: &Row<'_>, of: &ActorId) -> Read<ActorState> {
    let state = actor(row)?;
    asked("directory", of, &state.row.actor)?;
    Ok(state)
}

/// A directory row, the head after it, and whose snapshot is kept.
pub(super) fn actor(row: &Row<'_>) -> Read<ActorState> {
    let state = rows::actor(row)?;
    if state.handed_over.is_some() {
        let found = db(row, rows::ACTOR_COLUMNS + rows::HEAD_COLUMNS + 1)?;
        asked("snapshot", &state.row.db, &found)?;
    }
    Ok(state)
}

/// The handed-over state of a database.
pub(super) fn snapshot(row: &Row<'_>, of: DbId) -> Read<Snapshot> {
    asked("snapshot", &of, &db(row, 0)?)?;
    rows::snapshot(row, 1)
}

/// The kind `of` that name.
pub(super) fn kind_of(row: &Row<'_>, of: &str) -> Read<KindRow> {
    let kind = rows::kind(row)?;
    asked("kind", &of, &kind.kind.as_str())?;
    Ok(kind)
}

/// A kind, and the name that it was found by.
pub(super) fn kind_listed(row: &Row<'_>) -> Read<KindRow> {
    let by: String = row.get(4)?;
    kind_of(row, &by)
}
