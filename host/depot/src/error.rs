//! What can go wrong at the store seam, as facts.

use std::path::PathBuf;

use crate::id::{DbId, Generation, Shard, Token, Txid};

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
    /// The owner that the step carried.
    pub expected: (Generation, Token),
    /// The txid the step was built on.
    pub expected_txid: Txid,
    /// The owner that the head names.
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
}

/// A part of a store that is given up until the process restarts: what its disk holds is not known,
/// or it is not the disk's any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store file {} has failed: {cause}", file.display())]
pub struct StoreFailure {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub cause: FailureCause,
}

/// Why a file of a store is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailureCause {
    /// A commit was not written or not synced: it may be on the disk, or come and go.
    #[error("commit: {0}")]
    Commit(String),
    /// The log could not be copied into the database.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The system could not read or write the file.
    #[error("read or write: {0}")]
    Io(String),
    /// A path of the open file names nothing.
    #[error("{} was removed", .0.display())]
    Removed(PathBuf),
    /// A path of the open file names another file.
    #[error("{} was replaced", .0.display())]
    Replaced(PathBuf),
}

impl FailureCause {
    /// The word for the cause.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Checkpoint(_) => "checkpoint",
            Self::Io(_) => "io",
            Self::Removed(_) => "removed",
            Self::Replaced(_) => "replaced",
        }
    }
}

/// A store has no room for what guests write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store is full: {}, {free_bytes} bytes free", path.display())]
pub struct StoreFull {
    /// The directory whose disk is full, or the file that may not grow.
    pub path: PathBuf,
    /// What its disk has left for this process.
    pub free_bytes: u64,
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
    /// Certainly not applied. Sending the step again may succeed.
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
        /// The commit that was asked for.
        txid: Txid,
        /// The oldest state that is kept.
        floor: Txid,
    },
    /// There is no such commit (yet).
    #[error("database {db} has no commit {txid}")]
    NoCommit {
        /// The database.
        db: DbId,
        /// The commit that was asked for.
        txid: Txid,
    },
    /// Another database has this one as its base: it cannot be destroyed before that one.
    #[error("database {0} has forks; destroy them first")]
    HasForks(DbId),
    /// Another server of the store keeps this shard, or is about to. Nothing was done; the same step
    /// may succeed once the shard has moved, or in a process that knows that server.
    #[error("shard {shard} {}", elsewhere(.primary.as_deref()))]
    Elsewhere {
        /// The shard.
        shard: Shard,
        /// The server's name, if this process does not know that server.
        primary: Option<String>,
    },
    /// The store has no room. Not applied; the same step may succeed once there is room.
    #[error(transparent)]
    Full(StoreFull),
    /// This part of the store is given up until the process restarts. Not applied.
    #[error(transparent)]
    Failed(StoreFailure),
    /// The store was closed by shutdown. Not applied.
    #[error("store is closed")]
    Closed,
}

fn elsewhere(primary: Option<&str>) -> String {
    match primary {
        None => "is moving between servers of the store".to_owned(),
        Some(name) => format!(
            "is kept by the primary {name}, which this process does not know: start it with `--store` \
             for that primary too"
        ),
    }
}
