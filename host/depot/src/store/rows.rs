//! Rows of a driver as values of the depot, and back: one reading for every store. Nothing stored is
//! trusted to be in range.
//!
//! ```text
//! head.name     16 bytes, `ActorId::name_hash` of the actor that the database belongs to
//! head.format   1: the chain starts from zeros; 2: from a hash of name and database
//!               (`chain::Start`); 3 and 4: the same, and the database has had due work; anything
//!               else is of a later program, and is not served
//! ```
//! The columns of a head, an owner, a directory row and a commit row are those of the `sql_*!` macros
//! of this package, in their order.

use crate::broken::{self, Variant};
use crate::chain::Start;
use crate::error::StoreError;
use crate::fence::{Fence, Head, Origin, OwnerRow};
use crate::id::{
    ActorId, DbId, Digest, Generation, NameHash, NodeSession, PageCount, Pgno, Token, Txid,
};
use crate::store::{
    ActorRow, ActorState, CommitRow, DueActor, History, KindRow, NodeLoad, NodeProcess, NodeRow,
    Snapshot, Wanted,
};

type Read<T> = Result<T, StoreError>;

/// Columns of `sql_head!`.
pub const HEAD_COLUMNS: usize = 14;
/// Columns of `sql_actor!`.
pub const ACTOR_COLUMNS: usize = 6;
/// Columns of `sql_owner!`.
pub const OWNER_COLUMNS: usize = 6;

/// A row as a driver has it. Columns count from 0.
///
/// Each method fails with `Corrupt` if the value has another type than the schema states.
pub trait StoredRow {
    /// Whether a value is null, whatever its type.
    ///
    /// # Errors
    /// There is no such column.
    fn is_null(&self, column: usize) -> Result<bool, StoreError>;
    /// A number that is not null.
    ///
    /// # Errors
    /// `Corrupt`.
    fn integer(&self, column: usize) -> Result<i64, StoreError>;
    /// Bytes that are not null.
    ///
    /// # Errors
    /// `Corrupt`.
    fn blob(&self, column: usize) -> Result<&[u8], StoreError>;
    /// A text that is not null.
    ///
    /// # Errors
    /// `Corrupt`.
    fn text(&self, column: usize) -> Result<&str, StoreError>;
    /// Whether the head of `db` is sealed, from its column. A store whose databases move between
    /// servers has more states of a head than these two.
    ///
    /// # Errors
    /// `Corrupt`; `Elsewhere` if the head is not this server's.
    fn sealed(&self, column: usize, _db: DbId) -> Result<bool, StoreError> {
        yes(self.integer(column)?)
    }
}

fn yes(number: i64) -> Read<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(out_of_range("flag")),
    }
}

/// A stored value that cannot be.
#[must_use]
pub fn out_of_range(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} is out of range"))
}

/// A number as a store keeps it.
///
/// # Errors
/// `Corrupt` above `i64::MAX`.
pub fn to_sql(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| out_of_range("number"))
}

/// A count of rows or bytes as a store takes it.
#[must_use]
pub fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count or version.
///
/// # Errors
/// `Corrupt`, as for each of these.
pub fn number(row: &impl StoredRow, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.integer(column)?).map_err(|_| out_of_range("number"))
}

fn small(row: &impl StoredRow, column: usize) -> Read<u32> {
    u32::try_from(row.integer(column)?).map_err(|_| out_of_range("count"))
}

fn bytes<const N: usize>(row: &impl StoredRow, column: usize) -> Read<[u8; N]> {
    row.blob(column)?.try_into().map_err(|_| out_of_range("key or hash"))
}

/// Bytes of a column, without a copy.
///
/// # Errors
/// `Corrupt`.
pub fn blob(row: &impl StoredRow, column: usize) -> Result<&[u8], StoreError> {
    row.blob(column)
}

/// Whether a column is null.
///
/// # Errors
/// `Corrupt`.
pub fn is_null(row: &impl StoredRow, column: usize) -> Result<bool, StoreError> {
    row.is_null(column)
}

/// A commit's number.
///
/// # Errors
/// `Corrupt`.
pub fn txid(row: &impl StoredRow, column: usize) -> Result<Txid, StoreError> {
    number(row, column).map(Txid)
}

/// A page's number.
///
/// # Errors
/// `Corrupt`.
pub fn pgno(row: &impl StoredRow, column: usize) -> Result<Pgno, StoreError> {
    small(row, column).map(Pgno)
}

/// A number of pages.
///
/// # Errors
/// `Corrupt`.
pub fn page_count(row: &impl StoredRow, column: usize) -> Result<PageCount, StoreError> {
    small(row, column).map(PageCount)
}

/// A database's id.
///
/// # Errors
/// `Corrupt`.
pub fn db(row: &impl StoredRow, column: usize) -> Result<DbId, StoreError> {
    bytes(row, column).map(DbId)
}

/// Where a database's older pages are: two columns, both null or both set.
///
/// # Errors
/// `Corrupt`.
pub fn base(row: &impl StoredRow, column: usize) -> Result<Option<(DbId, Txid)>, StoreError> {
    if row.is_null(column)? {
        return Ok(None);
    }
    Ok(Some((db(row, column)?, txid(row, column + 1)?)))
}

/// A yes or no.
///
/// # Errors
/// `Corrupt`.
pub fn flag(row: &impl StoredRow, column: usize) -> Result<bool, StoreError> {
    yes(row.integer(column)?)
}

/// How a chain's start is kept, in `head.format`, of a database without due work.
#[must_use]
pub fn start_to_sql(start: Start) -> i64 {
    match start {
        Start::Zeros => 1,
        Start::Name => 2,
    }
}

/// What a chain starts from, and whether there has been due work. Refuses a database of another
/// format.
fn start(row: &impl StoredRow, column: usize, db: DbId) -> Read<(Start, bool)> {
    match row.integer(column)? {
        1 => Ok((Start::Zeros, false)),
        2 => Ok((Start::Name, false)),
        3 => Ok((Start::Zeros, true)),
        4 => Ok((Start::Name, true)),
        found => Err(StoreError::Corrupt(format!(
            "database {db} has format {found}, this program reads formats 1 to 4"
        ))),
    }
}

/// The owner of a head, from the first columns.
///
/// # Errors
/// `Corrupt`.
pub fn owner(row: &impl StoredRow) -> Result<OwnerRow, StoreError> {
    let db = db(row, 4)?;
    start(row, 5, db)?;
    let fence = Fence { db, generation: Generation(number(row, 0)?), token: Token(bytes(row, 1)?) };
    Ok(OwnerRow { fence, txid: txid(row, 2)?, sealed: row.sealed(3, db)? })
}

/// How an origin is kept.
#[must_use]
pub fn origin_to_sql(origin: Origin) -> i64 {
    match origin {
        Origin::Native => 0,
        Origin::Importing => 1,
        Origin::Imported => 2,
    }
}

/// A head, from the column `at` on.
///
/// # Errors
/// `Corrupt`.
pub fn head(row: &impl StoredRow, at: usize) -> Result<Head, StoreError> {
    let db = db(row, at)?;
    let (start, due_work) = start(row, at + 13, db)?;
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
        sealed: row.sealed(at + 7, db)?,
        origin: match row.integer(at + 8)? {
            0 => Origin::Native,
            1 => Origin::Importing,
            2 => Origin::Imported,
            _ => return Err(out_of_range("origin")),
        },
        floor: txid(row, at + 9)?,
        base: base(row, at + 10)?,
        name: NameHash(bytes(row, at + 12)?),
        start,
        due_work,
    })
}

/// A directory row, the head after it, and the generation whose snapshot is kept. The head is that of
/// the row's database, and of the actor by its name.
///
/// # Errors
/// `Corrupt`.
pub fn actor(row: &impl StoredRow) -> Result<ActorState, StoreError> {
    let actor = ActorId::existing(row.text(0)?, row.text(1)?)
        .map_err(|error| StoreError::Corrupt(format!("a stored actor's name: {error}")))?;
    let row_of = ActorRow {
        actor,
        db: db(row, 2)?,
        component: Digest(bytes(row, 3)?),
        wanted: wanted(row, 4)?,
        restarts: small(row, 5)?,
    };
    let head = head(row, ACTOR_COLUMNS)?;
    asked("head", &row_of.db, &head.fence.db)?;
    head.check_name(&row_of.actor)?;
    let last = ACTOR_COLUMNS + HEAD_COLUMNS;
    let handed_over = if row.is_null(last)? { None } else { Some(Generation(number(row, last)?)) };
    Ok(ActorState { row: row_of, head, handed_over })
}

/// Refuses a row that is not the one that was asked for.
///
/// # Errors
/// `Corrupt`.
pub fn asked<T: PartialEq>(what: &str, asked: &T, found: &T) -> Result<(), StoreError> {
    if asked == found {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("a {what} row was found in the place of another")))
}

/// An actor that is due, from the column `from` on: kind, key, database, due time.
///
/// # Errors
/// `Corrupt`.
pub fn due(row: &impl StoredRow, from: usize) -> Result<DueActor, StoreError> {
    let actor = ActorId::existing(row.text(from)?, row.text(from + 1)?)
        .map_err(|error| StoreError::Corrupt(format!("a stored actor's name: {error}")))?;
    Ok(DueActor { actor, db: db(row, from + 2)?, at: row.integer(from + 3)? })
}

/// What is wanted of an actor.
///
/// # Errors
/// `Corrupt`.
pub fn wanted(row: &impl StoredRow, column: usize) -> Result<Wanted, StoreError> {
    Ok(if flag(row, column)? { Wanted::Destroying } else { Wanted::Present })
}

/// The restart counter.
///
/// # Errors
/// `Corrupt`.
pub fn restarts(row: &impl StoredRow, column: usize) -> Result<u32, StoreError> {
    small(row, column)
}

/// The handed-over state of a database, from the column `at` on.
///
/// # Errors
/// `Corrupt`.
pub fn snapshot(row: &impl StoredRow, at: usize) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        generation: Generation(number(row, at)?),
        txid: txid(row, at + 1)?,
        component: Digest(bytes(row, at + 2)?),
        state: row.blob(at + 3)?.to_vec(),
    })
}

/// A commit row of the database `of`, from the column `at` on.
///
/// # Errors
/// `Corrupt`, also for a row of another database.
pub fn commit(row: &impl StoredRow, at: usize, of: DbId) -> Result<CommitRow, StoreError> {
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
///
/// # Errors
/// `Corrupt`, also for rows of another database or commit.
pub fn verdict(
    row: &impl StoredRow,
    of: DbId,
    txid: Txid,
) -> Result<(Head, Option<CommitRow>), StoreError> {
    let head = head(row, 0)?;
    asked("head", &of, &head.fence.db)?;
    if row.is_null(HEAD_COLUMNS)? {
        return Ok((head, None));
    }
    let written = commit(row, HEAD_COLUMNS, of)?;
    asked("commit", &txid, &written.txid)?;
    Ok((head, Some(written)))
}

/// Refuses the state as of `at` if the floor in `column` is above it.
///
/// # Errors
/// `HistoryGone`; `Corrupt`.
pub fn check_floor(
    row: &impl StoredRow,
    column: usize,
    db: DbId,
    at: Txid,
) -> Result<(), StoreError> {
    let floor = txid(row, column)?;
    let gone = at < floor && !broken::is_off(Variant::Floor);
    if gone { Err(StoreError::HistoryGone { db, txid: at, floor }) } else { Ok(()) }
}

/// How much history there is.
///
/// # Errors
/// `Corrupt`.
pub fn history(row: &impl StoredRow) -> Result<History, StoreError> {
    let (head, floor) = (txid(row, 0)?, txid(row, 1)?);
    let oldest = if row.is_null(2)? { floor } else { txid(row, 2)? };
    Ok(History { head, floor, oldest })
}

/// A kind.
///
/// # Errors
/// `Corrupt`.
pub fn kind(row: &impl StoredRow) -> Result<KindRow, StoreError> {
    Ok(KindRow {
        kind: row.text(0)?.to_owned(),
        component: Digest(bytes(row, 1)?),
        manifest: row.text(2)?.to_owned(),
        version: number(row, 3)?,
    })
}

/// A registered process.
///
/// # Errors
/// `Corrupt`.
pub fn node(row: &impl StoredRow) -> Result<NodeRow, StoreError> {
    let format = |column| i32::try_from(row.integer(column)?).map_err(|_| out_of_range("format"));
    let process = if row.is_null(3)? {
        None
    } else {
        let formats = (format(5)?, format(6)?);
        Some(NodeProcess { pid: small(row, 3)?, version: row.text(4)?.to_owned(), formats })
    };
    let session = NodeSession(bytes(row, 0)?);
    let (address, counter) = (row.text(1)?.to_owned(), number(row, 2)?);
    let peers = if row.is_null(7)? { None } else { Some(row.text(7)?.to_owned()) };
    let draining = !row.is_null(8)? && row.integer(8)? != 0;
    let load = if row.is_null(9)? {
        None
    } else {
        Some(NodeLoad {
            awake: number(row, 9)?,
            awake_max: number(row, 10)?,
            guest_bytes: number(row, 11)?,
            guest_bytes_max: number(row, 12)?,
            cpu_permille: number(row, 13)?,
        })
    };
    Ok(NodeRow { session, address, counter, process, peers, draining, load })
}
