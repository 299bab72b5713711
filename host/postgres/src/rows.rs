//! Rows of the server, as the depot reads them (`stockade_depot::store::rows`).

use std::error::Error;

use stockade_depot::store::rows::{self, StoredRow};
use stockade_depot::store::{PageVersion, Snapshot};
use stockade_depot::{ActorId, DbId, Pgno, StoreError, page};
use tokio_postgres::types::{FromSql, Type};

pub(crate) use stockade_depot::store::rows::{
    ACTOR_COLUMNS, HEAD_COLUMNS, OWNER_COLUMNS, actor, base, blob, check_floor, commit, db, due,
    flag, head, history, is_null, kind, limit, node, number, origin_to_sql, out_of_range, owner,
    page_count, pgno, restarts, start_to_sql, to_sql, txid, verdict,
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

/// What `head.sealed` says. From [`Sealed::Moved`] on the head is not this server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sealed {
    /// A generation holds the head.
    Held,
    /// It was sealed.
    Free,
    /// It was taken in order to move it.
    Moving,
    /// It is at a peer.
    Moved,
    /// It is a copy that is not valid yet.
    Arriving,
}

impl Sealed {
    /// From its column.
    pub(crate) fn of(row: &Row, column: usize) -> Read<Self> {
        Ok(match row.integer(column)? {
            0 => Self::Held,
            1 => Self::Free,
            2 => Self::Moving,
            3 => Self::Moved,
            4 => Self::Arriving,
            _ => return Err(out_of_range("state of a head")),
        })
    }
}

/// A database that a step has not found here. Whether it is anywhere is asked for then.
pub(crate) fn away(db: DbId) -> StoreError {
    StoreError::Elsewhere { shard: db.shard(), primary: None }
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

    fn sealed(&self, column: usize, db: DbId) -> Read<bool> {
        match Sealed::of(self, column)? {
            Sealed::Held => Ok(false),
            // No owner is left, and any process may take it over.
            Sealed::Free | Sealed::Moving => Ok(true),
            Sealed::Moved | Sealed::Arriving => Err(away(db)),
        }
    }
}

/// Whose owner a row of `sql_owner!` names.
pub(crate) fn owner_db(row: &Row) -> Read<DbId> {
    db(row, OWNER_COLUMNS - 2)
}

/// The name in a row of an actor.
pub(crate) fn actor_name(row: &Row) -> Read<ActorId> {
    ActorId::existing(row.text(0)?, row.text(1)?)
        .map_err(|error| StoreError::Corrupt(format!("a stored actor's name: {error}")))
}

/// The state of a head among the columns of `sql_head!`.
pub(crate) fn sealed(row: &Row) -> Read<Sealed> {
    Sealed::of(row, 7)
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
