//! Rows of SQLite as values of the depot, and back. Nothing stored is trusted to be in range, or to
//! be what was asked for: each row is compared with its key (`asked`), and a head with the name of
//! the actor that it is read for.
//!
//! ```text
//! head.name     16 bytes, `ActorId::name_hash` of the actor that the database belongs to
//! head.format   1: the chain starts from zeros; 2: from a hash of name and database
//!               (`chain::Start`); anything else is of a later program, and is not served
//! ```

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::broken::{self, Variant};
use crate::chain::Start;
use crate::error::StoreError;
use crate::fence::{Fence, Head, Origin, OwnerRow};
use crate::id::{
    ActorId, DbId, Digest, Generation, NameHash, NodeSession, PageCount, Pgno, Token, Txid,
};
use crate::store::{
    ActorRow, ActorState, CommitRow, History, KindRow, NodeLoad, NodeProcess, NodeRow, Snapshot,
    Wanted,
};

type Read<T> = Result<T, StoreError>;

/// Columns of `sql::head!`.
const HEAD_COLUMNS: usize = 14;
/// Columns of `sql::actor!`.
const ACTOR_COLUMNS: usize = 6;

fn out_of_range(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} is out of range"))
}

/// Refuses a row that is not the one that was asked for. An index leads to rows of `kind` and
/// `snapshot` only; of tables that keep their rows in their key it cannot fail today, and states
/// what their statements promise.
pub(super) fn asked<T: PartialEq>(what: &str, asked: &T, found: &T) -> Read<()> {
    if asked == found {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("a {what} row was found in the place of another")))
}

/// A number as SQLite keeps it.
pub(super) fn to_sql(number: u64) -> Read<i64> {
    i64::try_from(number).map_err(|_| out_of_range("number"))
}

/// A count of rows or bytes as SQLite takes it.
pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count or version.
pub(super) fn number(row: &Row<'_>, column: usize) -> Read<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| out_of_range("number"))
}

fn small(row: &Row<'_>, column: usize) -> Read<u32> {
    u32::try_from(row.get::<_, i64>(column)?).map_err(|_| out_of_range("count"))
}

fn bytes<const N: usize>(row: &Row<'_>, column: usize) -> Read<[u8; N]> {
    blob(row, column)?.try_into().map_err(|_| out_of_range("key or hash"))
}

/// Bytes of a column, without a copy.
pub(super) fn blob<'a>(row: &'a Row<'_>, column: usize) -> Read<&'a [u8]> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(out_of_range("value")),
    }
}

/// Whether a column is null.
pub(super) fn is_null(row: &Row<'_>, column: usize) -> Read<bool> {
    Ok(row.get_ref(column)? == ValueRef::Null)
}

/// A commit's number.
pub(super) fn txid(row: &Row<'_>, column: usize) -> Read<Txid> {
    number(row, column).map(Txid)
}

/// A page's number.
pub(super) fn pgno(row: &Row<'_>, column: usize) -> Read<Pgno> {
    small(row, column).map(Pgno)
}

/// A number of pages.
pub(super) fn page_count(row: &Row<'_>, column: usize) -> Read<PageCount> {
    small(row, column).map(PageCount)
}

/// A database's id.
pub(super) fn db(row: &Row<'_>, column: usize) -> Read<DbId> {
    bytes(row, column).map(DbId)
}

/// Where a database's older pages are: two columns, both null or both set.
pub(super) fn base(row: &Row<'_>, column: usize) -> Read<Option<(DbId, Txid)>> {
    if is_null(row, column)? {
        return Ok(None);
    }
    Ok(Some((db(row, column)?, txid(row, column + 1)?)))
}

fn flag(row: &Row<'_>, column: usize) -> Read<bool> {
    match row.get::<_, i64>(column)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(out_of_range("flag")),
    }
}

/// How a chain's start is kept, in `head.format`.
pub(super) fn start_to_sql(start: Start) -> i64 {
    match start {
        Start::Zeros => 1,
        Start::Name => 2,
    }
}

/// What a chain starts from. Refuses a database of another format.
fn start(row: &Row<'_>, column: usize, db: DbId) -> Read<Start> {
    match row.get::<_, i64>(column)? {
        1 => Ok(Start::Zeros),
        2 => Ok(Start::Name),
        found => Err(StoreError::Corrupt(format!(
            "database {db} has format {found}, this program reads formats 1 and 2"
        ))),
    }
}

/// How many columns name the owner of a head: those of `sql::fence!`, which are the first ones.
pub(super) const OWNER_COLUMNS: usize = 6;

/// The owner of a head, from the first columns.
pub(super) fn owner(row: &Row<'_>) -> Read<OwnerRow> {
    let db = db(row, 4)?;
    start(row, 5, db)?;
    let fence = Fence { db, generation: Generation(number(row, 0)?), token: Token(bytes(row, 1)?) };
    Ok(OwnerRow { fence, txid: txid(row, 2)?, sealed: flag(row, 3)? })
}

/// The owner of the head of the database `of`.
pub(super) fn owner_of(row: &Row<'_>, of: DbId) -> Read<OwnerRow> {
    let owner = owner(row)?;
    asked("head", &of, &owner.fence.db)?;
    Ok(owner)
}

/// How an origin is kept.
pub(super) fn origin_to_sql(origin: Origin) -> i64 {
    match origin {
        Origin::Native => 0,
        Origin::Importing => 1,
        Origin::Imported => 2,
    }
}

/// The head of the database `of`, from the column `at` on.
pub(super) fn head(row: &Row<'_>, at: usize, of: DbId) -> Read<Head> {
    let db = db(row, at)?;
    asked("head", &of, &db)?;
    Ok(Head {
        fence: Fence {
            db,
            generation: Generation(number(row, at + 1)?),
            token: Token(bytes(row, at + 2)?),
        },
        owner: NodeSession(bytes(row, at + 3)?),
        txid: txid(row, at + 4)?,
        page_count: page_count(row, at + 5)?,
        chain: bytes(row, at + 6)?,
        sealed: flag(row, at + 7)?,
        origin: match row.get::<_, i64>(at + 8)? {
            0 => Origin::Native,
            1 => Origin::Importing,
            2 => Origin::Imported,
            _ => return Err(out_of_range("origin")),
        },
        floor: txid(row, at + 9)?,
        base: base(row, at + 10)?,
        name: NameHash(bytes(row, at + 12)?),
        start: start(row, at + 13, db)?,
    })
}

/// The row of `actor`, as [`actor`] reads it.
pub(super) fn actor_of(row: &Row<'_>, of: &ActorId) -> Read<ActorState> {
    let state = actor(row)?;
    asked("directory", of, &state.row.actor)?;
    Ok(state)
}

/// A directory row, the head after it, and whose snapshot is kept.
pub(super) fn actor(row: &Row<'_>) -> Read<ActorState> {
    let (kind, key): (String, String) = (row.get(0)?, row.get(1)?);
    let actor = ActorId::existing(&kind, &key)
        .map_err(|error| StoreError::Corrupt(format!("a stored actor's name: {error}")))?;
    let row_of = ActorRow {
        actor,
        db: db(row, 2)?,
        component: Digest(bytes(row, 3)?),
        wanted: wanted(row, 4)?,
        restarts: small(row, 5)?,
    };
    let head = head(row, ACTOR_COLUMNS, row_of.db)?;
    head.check_name(&row_of.actor)?;
    let last = ACTOR_COLUMNS + HEAD_COLUMNS;
    let handed_over = if is_null(row, last)? {
        None
    } else {
        asked("snapshot", &row_of.db, &db(row, last + 1)?)?;
        Some(Generation(number(row, last)?))
    };
    Ok(ActorState { row: row_of, head, handed_over })
}

/// What is wanted of an actor.
pub(super) fn wanted(row: &Row<'_>, column: usize) -> Read<Wanted> {
    Ok(if flag(row, column)? { Wanted::Destroying } else { Wanted::Present })
}

/// The restart counter.
pub(super) fn restarts(row: &Row<'_>, column: usize) -> Read<u32> {
    small(row, column)
}

/// The handed-over state of a database.
pub(super) fn snapshot(row: &Row<'_>, of: DbId) -> Read<Snapshot> {
    asked("snapshot", &of, &db(row, 0)?)?;
    Ok(Snapshot {
        generation: Generation(number(row, 1)?),
        txid: txid(row, 2)?,
        component: Digest(bytes(row, 3)?),
        state: blob(row, 4)?.to_vec(),
    })
}

/// A commit row of a database, from the column `at` on.
pub(super) fn commit(row: &Row<'_>, at: usize, of: DbId) -> Read<CommitRow> {
    asked("commit", &of, &db(row, at)?)?;
    Ok(CommitRow {
        txid: txid(row, at + 1)?,
        generation: Generation(number(row, at + 2)?),
        page_count: page_count(row, at + 3)?,
        content: bytes(row, at + 4)?,
        chain: bytes(row, at + 5)?,
        time_ms: number(row, at + 6)?,
    })
}

/// The head of a database and its commit row `txid`, if there is one.
pub(super) fn verdict(row: &Row<'_>, of: DbId, txid: Txid) -> Read<(Head, Option<CommitRow>)> {
    let head = head(row, 0, of)?;
    if is_null(row, HEAD_COLUMNS)? {
        return Ok((head, None));
    }
    let written = commit(row, HEAD_COLUMNS, of)?;
    asked("commit", &txid, &written.txid)?;
    Ok((head, Some(written)))
}

/// Refuses the state as of `at` if the floor in `column` is above it.
pub(super) fn check_floor(row: &Row<'_>, column: usize, db: DbId, at: Txid) -> Read<()> {
    let floor = txid(row, column)?;
    let gone = at < floor && !broken::is_off(Variant::Floor);
    if gone { Err(StoreError::HistoryGone { db, txid: at, floor }) } else { Ok(()) }
}

/// How much history there is.
pub(super) fn history(row: &Row<'_>) -> Read<History> {
    let (head, floor) = (txid(row, 0)?, txid(row, 1)?);
    let oldest = if is_null(row, 2)? { floor } else { txid(row, 2)? };
    Ok(History { head, floor, oldest })
}

/// The kind `of` that name.
pub(super) fn kind_of(row: &Row<'_>, of: &str) -> Read<KindRow> {
    let kind = kind(row)?;
    asked("kind", &of, &kind.kind.as_str())?;
    Ok(kind)
}

/// A kind, and the name that it was found by.
pub(super) fn kind_listed(row: &Row<'_>) -> Read<KindRow> {
    let by: String = row.get(4)?;
    kind_of(row, &by)
}

/// A kind.
fn kind(row: &Row<'_>) -> Read<KindRow> {
    Ok(KindRow {
        kind: row.get(0)?,
        component: Digest(bytes(row, 1)?),
        manifest: row.get(2)?,
        version: number(row, 3)?,
    })
}

/// A registered process.
pub(super) fn node(row: &Row<'_>) -> Read<NodeRow> {
    let process = match row.get::<_, Option<u32>>(3)? {
        None => None,
        Some(pid) => {
            let formats = (row.get(5)?, row.get(6)?);
            Some(NodeProcess { pid, version: row.get(4)?, formats })
        }
    };
    let load = match row.get::<_, Option<i64>>(9)? {
        None => None,
        Some(_) => Some(NodeLoad {
            awake: number(row, 9)?,
            awake_max: number(row, 10)?,
            guest_bytes: number(row, 11)?,
            guest_bytes_max: number(row, 12)?,
            cpu_permille: number(row, 13)?,
        }),
    };
    Ok(NodeRow {
        session: NodeSession(bytes(row, 0)?),
        address: row.get(1)?,
        counter: number(row, 2)?,
        process,
        peers: row.get(7)?,
        draining: row.get::<_, Option<i64>>(8)?.is_some_and(|draining| draining != 0),
        load,
    })
}
