//! What can go wrong at the store seam, as facts.

use crate::id::{DbId, Generation, Token, Txid};

/// The fence of a step is not the head's: another generation owns the database, or the generation
/// was sealed. Nothing was read and nothing was written.
///
/// Fatal: retrying cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "fence mismatch on {db}: expected generation {} at or after txid {expected_txid}, \
     the head is at generation {} txid {actual_txid}{}",
    .expected.0.0, .actual.0.0, if *.sealed { " (sealed)" } else { "" }
)]
pub struct HeadFenceMismatch {
    /// The database.
    pub db: DbId,
    /// What the step carried.
    pub expected: (Generation, Token),
    /// The txid the step was built on.
    pub expected_txid: Txid,
    /// What the head has.
    pub actual: (Generation, Token),
    /// The head's txid.
    pub actual_txid: Txid,
    /// Whether the head is sealed.
    pub sealed: bool,
}

/// A limit of the store. The same on every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of one commit.
    CommitBytes,
    /// Pages of one read.
    PagesPerRead,
    /// Pages of one database.
    DatabasePages,
    /// Bytes of a snapshot of in-memory state.
    SnapshotBytes,
    /// Bytes of a component.
    ComponentBytes,
    /// Bytes of a kind's settings.
    ManifestBytes,
    /// Bytes of a pin's name.
    PinNameBytes,
    /// The store has no room left.
    StoreFull,
}

/// Why a step of the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The fence is not the head's. Nothing was done.
    #[error(transparent)]
    Fenced(#[from] HeadFenceMismatch),
    /// There is no such database. Only `create` makes one.
    #[error("database {0} does not exist")]
    DatabaseMissing(DbId),
    /// Surely not applied. Sending the step again may succeed.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// May have been applied. The verdict must be read before anything else is done.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Over a limit. Nothing was done; the same step will fail again.
    #[error("refused: {limit:?}, {actual} over the limit of {max}")]
    Refused {
        /// Which limit.
        limit: Limit,
        /// What was asked for.
        actual: u64,
        /// What is allowed.
        max: u64,
    },
    /// Stored bytes do not match their checksum, or a page within the page count has no row.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The state as of this commit is below the floor: retention has given it up.
    #[error("history of {db} as of txid {txid} is gone: it is kept from txid {floor} on")]
    HistoryGone {
        /// The database.
        db: DbId,
        /// What was asked for.
        txid: Txid,
        /// The oldest state that is kept.
        floor: Txid,
    },
    /// There is no such commit (yet).
    #[error("database {db} has no commit {txid}")]
    NoCommit {
        /// The database.
        db: DbId,
        /// What was asked for.
        txid: Txid,
    },
    /// Another database has this one as its base: it cannot be destroyed before that one.
    #[error("database {0} has forks; destroy them first")]
    HasForks(DbId),
    /// The store was closed: by shutdown, or this part of it by a failed sync, until the process
    /// restarts. Not applied.
    #[error("store is closed")]
    Closed,
}
