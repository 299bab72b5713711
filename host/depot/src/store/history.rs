//! The past of a database: states that can still be read, and what of them may go.

use async_trait::async_trait;

use super::{CommitRow, PageVersion};
use crate::error::StoreError;
use crate::id::{DbId, Pgno, Txid};

/// Names a page version: which page, and the commit that wrote it.
pub type VersionKey = (Pgno, Txid);

/// What retention keeps of a database's history. A state older than both bounds may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Commits below the newest one.
    pub commits_min: u64,
    /// Milliseconds for which a state stays readable after it was replaced. The store keeps at
    /// least [`super::limits::COMMIT_ROWS_MS_MIN`].
    pub age_ms_min: u64,
}

/// How much history a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The newest commit.
    pub head: Txid,
    /// The oldest state that can be read.
    pub floor: Txid,
    /// The oldest commit row. Below the floor: there is something to trim.
    pub oldest: Txid,
}

/// A page version that no read can reach any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Superseded {
    /// The database.
    pub db: DbId,
    /// The place in the store. Rows that lie close together cost least if they are deleted
    /// together.
    pub place: i64,
}

/// The result of a look for superseded page versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Rows looked at, at most.
    pub looked: u64,
    /// The versions that may go.
    pub superseded: Vec<Superseded>,
    /// The last row that was looked at; `None`: there is nothing after it.
    pub next: Option<VersionKey>,
}

/// Reads of the past, and retention. None has a fence.
///
/// Versions are immutable: a read of a state below the floor is `HistoryGone`, checked in the
/// snapshot of that read. Each step of retention carries its own condition: any process may send
/// it at any time, again or immediately.
#[async_trait]
pub trait Versions: Send + Sync + 'static {
    /// Pages as of `at` with `pgno >= from`, ascending, at most `max` (bounded by
    /// [`super::READ_PAGES_MAX`]), for export and verify.
    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError>;
    /// Commit rows with `txid > after`, ascending, at most `max` (bounded by
    /// [`super::LIST_ROWS_MAX`]).
    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError>;
    /// Pages with `pgno > after` that commit `txid` wrote, ascending, at most `max` (bounded by
    /// [`super::READ_PAGES_MAX`]): what its hashes are made of.
    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError>;
    /// How much history there is. `None`: no such database.
    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError>;
    /// Raises the floor as far as `keep` allows, by at most [`super::limits::FLOOR_COMMITS_MAX`]
    /// commits: never above the head or the oldest pin. Age is the time for which the store, as
    /// this process has it open, has known a commit: no label and no clock of another machine
    /// shortens it.
    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError>;
    /// What a committed row at or below the floor supersedes, or what lies beyond the page count as
    /// of the floor, among the next [`super::limits::TRIM_ROWS_MAX`] page versions after `after`.
    async fn superseded(&self, db: DbId, after: VersionKey) -> Result<Look, StoreError>;
    /// Deletes those of `rows` that are superseded still; all of them are of one shard. Returns how
    /// many.
    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError>;
    /// Deletes at most [`super::limits::TRIM_ROWS_MAX`] commit rows below `below` and the floor,
    /// oldest first; returns how many. Commit rows tell what is left to do, so they go when all
    /// page versions have gone.
    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError>;
    /// Keeps the floor at or below `txid`. `HistoryGone` if it is above already, `NoCommit` above
    /// the head, `DatabaseMissing` also while it is being destroyed or imported. The
    /// same pin twice is one pin.
    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError>;
    /// Removes a pin. A missing pin is no error.
    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError>;
}
