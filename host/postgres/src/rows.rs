//! Rows of the server as values of the depot, and back. Nothing stored is trusted to be in range, or
//! to belong to the name that it is read for.
//!
//! ```text
//! head.name     16 bytes, `ActorId::name_hash` of the actor that the database belongs to
//! head.format   1: the chain starts from zeros; 2: from a hash of name and database (`chain::Start`);
//!               anything else is of a later program, and is not served
//! ```

use stockade_depot::chain::Start;
use stockade_depot::store::{
    ActorRow, ActorState, CommitRow, History, KindRow, NodeLoad, NodeProcess, NodeRow, PageVersion,
    Snapshot, Wanted,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Generation, Head, HeadFenceMismatch, NameHash, NodeSession,
    Origin, PageCount, Pgno, StoreError, Token, Txid, page,
};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

type Read<T> = Result<T, StoreError>;

/// Columns of `head!`.
pub(crate) const HEAD_COLUMNS: usize = 14;
/// Columns of `actor!`.
const ACTOR_COLUMNS: usize = 6;

fn out_of_range(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} is out of range"))
}

/// A number as the server keeps it.
pub(crate) fn to_sql(number: u64) -> Read<i64> {
    i64::try_from(number).map_err(|_| out_of_range("number"))
}

/// A count of rows as the server takes it.
pub(crate) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A column of a type that the schema states.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Read<T> {
    row.try_get(column).map_err(|error| {
        StoreError::Corrupt(format!("a stored value has another type than the schema: {error}"))
    })
}

/// A count or version.
pub(crate) fn number(row: &Row, column: usize) -> Read<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| out_of_range("number"))
}

fn small(row: &Row, column: usize) -> Read<u32> {
    u32::try_from(get::<i64>(row, column)?).map_err(|_| out_of_range("count"))
}

fn bytes<const N: usize>(row: &Row, column: usize) -> Read<[u8; N]> {
    blob(row, column)?.try_into().map_err(|_| out_of_range("key or hash"))
}

/// Bytes of a column, without a copy.
pub(crate) fn blob(row: &Row, column: usize) -> Read<&[u8]> {
    get(row, column)
}

/// Whether a column of numbers is null.
pub(crate) fn is_null(row: &Row, column: usize) -> Read<bool> {
    Ok(get::<Option<i64>>(row, column)?.is_none())
}

/// A commit's number.
pub(crate) fn txid(row: &Row, column: usize) -> Read<Txid> {
    number(row, column).map(Txid)
}

/// A page's number.
pub(crate) fn pgno(row: &Row, column: usize) -> Read<Pgno> {
    small(row, column).map(Pgno)
}

/// A number of pages.
pub(crate) fn page_count(row: &Row, column: usize) -> Read<PageCount> {
    small(row, column).map(PageCount)
}

/// A database's id.
pub(crate) fn db(row: &Row, column: usize) -> Read<DbId> {
    bytes(row, column).map(DbId)
}

/// Where a database's older pages are: two columns, both null or both set.
pub(crate) fn base(row: &Row, column: usize) -> Read<Option<(DbId, Txid)>> {
    if is_null(row, column + 1)? {
        return Ok(None);
    }
    Ok(Some((db(row, column)?, txid(row, column + 1)?)))
}

/// A yes or no.
pub(crate) fn flag(row: &Row, column: usize) -> Read<bool> {
    match get::<i64>(row, column)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(out_of_range("flag")),
    }
}

/// How a chain's start is kept, in `head.format`.
pub(crate) fn start_to_sql(start: Start) -> i64 {
    match start {
        Start::Zeros => 1,
        Start::Name => 2,
    }
}

/// What a chain starts from. Refuses a database of another format.
fn start(row: &Row, column: usize, db: DbId) -> Read<Start> {
    match get::<i64>(row, column)? {
        1 => Ok(Start::Zeros),
        2 => Ok(Start::Name),
        found => Err(StoreError::Corrupt(format!(
            "database {db} has format {found}, this program reads formats 1 and 2"
        ))),
    }
}

/// What a head says about its owner: the columns of `fence!`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    owner: (Generation, Token),
    pub(crate) txid: Txid,
    sealed: bool,
}

impl Holder {
    /// How many columns it has, which are the first ones.
    pub(crate) const COLUMNS: usize = 6;

    /// From the first columns, and of which database.
    pub(crate) fn from_row(row: &Row) -> Read<(DbId, Self)> {
        let db = db(row, 4)?;
        start(row, 5, db)?;
        let holder = Self {
            owner: (Generation(number(row, 0)?), Token(bytes(row, 1)?)),
            txid: txid(row, 2)?,
            sealed: flag(row, 3)?,
        };
        Ok((db, holder))
    }

    /// From a whole head.
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            owner: (head.fence.generation, head.fence.token),
            txid: head.txid,
            sealed: head.sealed,
        }
    }

    /// Whether `fence` holds and the head has not lost the commit `known` that its owner has seen.
    pub(crate) fn check(&self, fence: &Fence, known: Txid) -> Read<()> {
        if self.owner == (fence.generation, fence.token) && !self.sealed && known <= self.txid {
            return Ok(());
        }
        Err(self.mismatch(fence, known).into())
    }

    /// The fact that a step failed on this head.
    pub(crate) fn mismatch(&self, fence: &Fence, expected_txid: Txid) -> HeadFenceMismatch {
        HeadFenceMismatch {
            db: fence.db,
            expected: (fence.generation, fence.token),
            expected_txid,
            actual: self.owner,
            actual_txid: self.txid,
            sealed: self.sealed,
        }
    }
}

/// How an origin is kept.
pub(crate) fn origin_to_sql(origin: Origin) -> i64 {
    match origin {
        Origin::Native => 0,
        Origin::Importing => 1,
        Origin::Imported => 2,
    }
}

/// A head, from the column `at` on.
pub(crate) fn head(row: &Row, at: usize) -> Read<Head> {
    let db = db(row, at)?;
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
        origin: match get::<i64>(row, at + 8)? {
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

/// A directory row, the head after it, and whose snapshot is kept.
pub(crate) fn actor(row: &Row) -> Read<ActorState> {
    let (kind, key): (&str, &str) = (get(row, 0)?, get(row, 1)?);
    let actor = ActorId::existing(kind, key)
        .map_err(|error| StoreError::Corrupt(format!("a stored actor's name: {error}")))?;
    let row_of = ActorRow {
        actor,
        db: db(row, 2)?,
        component: Digest(bytes(row, 3)?),
        wanted: wanted(row, 4)?,
        restarts: small(row, 5)?,
    };
    let head = head(row, ACTOR_COLUMNS)?;
    head.check_name(&row_of.actor)?;
    let handed_over: Option<i64> = get(row, ACTOR_COLUMNS + HEAD_COLUMNS)?;
    let handed_over = match handed_over {
        Some(_) => Some(Generation(number(row, ACTOR_COLUMNS + HEAD_COLUMNS)?)),
        None => None,
    };
    Ok(ActorState { row: row_of, head, handed_over })
}

/// What is wanted of an actor.
pub(crate) fn wanted(row: &Row, column: usize) -> Read<Wanted> {
    Ok(if flag(row, column)? { Wanted::Destroying } else { Wanted::Present })
}

/// The restart counter.
pub(crate) fn restarts(row: &Row, column: usize) -> Read<u32> {
    small(row, column)
}

/// The handed-over state of a database, from the column `at` on; `None`: nulls.
pub(crate) fn snapshot(row: &Row, at: usize) -> Read<Option<Snapshot>> {
    if is_null(row, at)? {
        return Ok(None);
    }
    Ok(Some(Snapshot {
        generation: Generation(number(row, at)?),
        txid: txid(row, at + 1)?,
        component: Digest(bytes(row, at + 2)?),
        state: blob(row, at + 3)?.to_vec(),
    }))
}

/// A commit row of a database, from the column `at` on.
pub(crate) fn commit(row: &Row, at: usize) -> Read<CommitRow> {
    Ok(CommitRow {
        txid: txid(row, at)?,
        generation: Generation(number(row, at + 1)?),
        page_count: page_count(row, at + 2)?,
        content: bytes(row, at + 3)?,
        chain: bytes(row, at + 4)?,
        time_ms: number(row, at + 5)?,
    })
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

/// Refuses the state as of `at` if the floor in `column` is above it.
pub(crate) fn check_floor(row: &Row, column: usize, db: DbId, at: Txid) -> Read<()> {
    let floor = txid(row, column)?;
    if at < floor { Err(StoreError::HistoryGone { db, txid: at, floor }) } else { Ok(()) }
}

/// How much history there is.
pub(crate) fn history(row: &Row) -> Read<History> {
    let (head, floor) = (txid(row, 0)?, txid(row, 1)?);
    let oldest = if is_null(row, 2)? { floor } else { txid(row, 2)? };
    Ok(History { head, floor, oldest })
}

/// A kind.
pub(crate) fn kind(row: &Row) -> Read<KindRow> {
    Ok(KindRow {
        kind: get(row, 0)?,
        component: Digest(bytes(row, 1)?),
        manifest: get(row, 2)?,
        version: number(row, 3)?,
    })
}

/// A registered process.
pub(crate) fn node(row: &Row) -> Read<NodeRow> {
    let process = if is_null(row, 3)? {
        None
    } else {
        let format = |column| -> Read<i32> {
            i32::try_from(get::<i64>(row, column)?).map_err(|_| out_of_range("format"))
        };
        let formats = (format(5)?, format(6)?);
        Some(NodeProcess { pid: small(row, 3)?, version: get(row, 4)?, formats })
    };
    let load = if is_null(row, 9)? {
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
    Ok(NodeRow {
        session: NodeSession(bytes(row, 0)?),
        address: get(row, 1)?,
        counter: number(row, 2)?,
        process,
        peers: get(row, 7)?,
        draining: get::<Option<i64>>(row, 8)?.is_some_and(|draining| draining != 0),
        load,
    })
}
