//! Rows as they are stored: every column, none of them judged.

use stockade_depot::StoreError;
use stockade_depot::store::rows::StoredRow as _;
use tokio_postgres::types::ToSql;

use crate::rows::{Row, Sealed, is_null};

/// `head.origin` of an import that has not finished.
const IMPORTING: i64 = 1;

/// The columns of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredHead {
    pub(super) generation: i64,
    pub(super) token: Vec<u8>,
    pub(super) owner: Vec<u8>,
    pub(super) txid: i64,
    pub(super) page_count: i64,
    pub(super) chain: Vec<u8>,
    pub(super) sealed: Sealed,
    pub(super) origin: i64,
    pub(super) floor: i64,
    pub(super) format: i64,
    pub(super) base_db: Option<Vec<u8>>,
    pub(super) base_txid: Option<i64>,
    pub(super) time_ms: i64,
    pub(super) name: Vec<u8>,
    /// The page count as of the floor, if that commit has a row.
    pub(super) floor_pages: Option<i64>,
}

impl StoredHead {
    /// From the columns of `STORED_HEAD`.
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        let blob = |at| row.blob(at).map(<[u8]>::to_vec);
        Ok(Self {
            generation: row.integer(0)?,
            token: blob(1)?,
            owner: blob(2)?,
            txid: row.integer(3)?,
            page_count: row.integer(4)?,
            chain: blob(5)?,
            sealed: Sealed::of(row, 6)?,
            origin: row.integer(7)?,
            floor: row.integer(8)?,
            format: row.integer(9)?,
            base_db: bytes(row, 10)?,
            base_txid: number(row, 11)?,
            time_ms: row.integer(12)?,
            name: blob(13)?,
            floor_pages: number(row, 14)?,
        })
    }

    /// Whether its commits may be made again, with other contents.
    pub(super) fn is_importing(&self) -> bool {
        self.origin == IMPORTING
    }

    /// Whether the last commit has a row of this database: not of an empty one, nor of a fork that has
    /// made no commit yet.
    pub(super) fn has_commit(&self) -> bool {
        self.txid != 0 && self.base_txid != Some(self.txid)
    }
}

/// Bytes that may be null.
fn bytes(row: &Row, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
    if is_null(row, at)? { Ok(None) } else { row.blob(at).map(|found| Some(found.to_vec())) }
}

/// A number that may be null.
fn number(row: &Row, at: usize) -> Result<Option<i64>, StoreError> {
    if is_null(row, at)? { Ok(None) } else { row.integer(at).map(Some) }
}

/// The directory's row of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredActor {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) shard: i64,
    pub(super) component: Vec<u8>,
    pub(super) wanted: i64,
    pub(super) restarts: i64,
    pub(super) next_due: Option<i64>,
}

impl StoredActor {
    /// From the columns of `ACTOR_OF`.
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            kind: row.text(0)?.to_owned(),
            key: row.text(1)?.to_owned(),
            shard: row.integer(2)?,
            component: row.blob(3)?.to_vec(),
            wanted: row.integer(4)?,
            restarts: row.integer(5)?,
            next_due: number(row, 6)?,
        })
    }
}

/// A handed-over state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredSnapshot {
    pub(super) generation: i64,
    pub(super) txid: i64,
    pub(super) component: Vec<u8>,
    pub(super) state: Vec<u8>,
}

impl StoredSnapshot {
    /// From the columns of `SNAPSHOT_OF`.
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            generation: row.integer(0)?,
            txid: row.integer(1)?,
            component: row.blob(2)?.to_vec(),
            state: row.blob(3)?.to_vec(),
        })
    }
}

/// Pins: which commit, and what for.
pub(super) type StoredPins = Vec<(i64, String)>;

/// From the columns of `PINS_OF`.
pub(super) fn pins(rows: &[Row]) -> Result<StoredPins, StoreError> {
    rows.iter().map(|row| Ok((row.integer(0)?, row.text(1)?.to_owned()))).collect()
}

/// The columns of `TALLY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    numbers: [i64; 7],
    chain: Option<Vec<u8>>,
}

impl Tally {
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        let mut numbers = [0; 7];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = row.integer(at)?;
        }
        Ok(Self { numbers, chain: bytes(row, 7)? })
    }

    /// Where a copy differs from its original.
    pub(super) fn difference(&self, copy: &Self) -> Option<String> {
        if self.numbers != copy.numbers {
            return Some(format!("rows {:?}, copied {:?}", self.numbers, copy.numbers));
        }
        (self.chain != copy.chain).then(|| "another last commit".to_owned())
    }
}

/// A statement's parameters that are columns of one row.
pub(super) type Columns<'a> = Vec<&'a (dyn ToSql + Sync)>;
