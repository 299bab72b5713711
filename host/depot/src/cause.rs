//! Why a session is dead, and what its operations answer: facts on which the caller decides.
//!
//! The cause of death is one thing, the verdict of one commit another: a session can die fenced
//! although its last commit is durable.

use crate::error::{HeadFenceMismatch, StoreError, StoreFailure};
use crate::fence::Head;
use crate::id::{DbId, PageCount};
use crate::reason::Reason;
use crate::store::ActorState;

/// The verdict of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The commit is durable.
    Committed,
    /// The commit was not applied and never will be.
    NotCommitted,
    /// The store stayed away past the deadline: the outcome is unknown.
    Indeterminate,
}

/// Why a session refuses. The first cause is kept and never changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Another generation owns the database. A commit that ends so was not applied.
    #[error(transparent)]
    Fenced(HeadFenceMismatch),
    /// An accepted commit (or the seal) did not become durable.
    #[error("commit lost ({verdict:?}): {error}")]
    CommitLost {
        /// The verdict.
        verdict: Verdict,
        /// The last answer of the store.
        error: StoreError,
    },
    /// The store's bytes are wrong.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The database was destroyed.
    #[error("database {0} is gone")]
    Gone(DbId),
    /// The store under the process has given up a part of itself, of this database or of others:
    /// the whole process retires. What had not been sent is dropped.
    #[error(transparent)]
    Failed(StoreFailure),
    /// The host closed the session.
    #[error("closed: {0}")]
    Closed(Reason),
    /// The session ended in order, with its seal.
    #[error("sealed")]
    Sealed,
    /// `confirm` alone answers this: the store could not be asked in time. The session lives on,
    /// but the answers that wait for this confirmation must not leave.
    #[error("ownership not confirmed: {0}")]
    Unconfirmed(StoreError),
}

impl Cause {
    /// The verdict on a commit that this cause gives, as an answer of `durable`.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::CommitLost { verdict, .. } => *verdict,
            Self::Fenced(_)
            | Self::Corrupt(_)
            | Self::Gone(_)
            | Self::Failed(_)
            | Self::Closed(_)
            | Self::Sealed
            | Self::Unconfirmed(_) => Verdict::NotCommitted,
        }
    }

    /// The reason with which the generation's handles are revoked.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Fenced(_) | Self::CommitLost { error: StoreError::Fenced(_), .. } => {
                Reason::Fenced
            }
            Self::CommitLost { .. } | Self::Corrupt(_) | Self::Failed(_) | Self::Unconfirmed(_) => {
                Reason::Storage
            }
            Self::Gone(_) => Reason::Destroyed,
            Self::Closed(reason) => *reason,
            // Only a generation that goes to sleep is sealed without having been revoked.
            Self::Sealed => Reason::Slept,
        }
    }

    /// Whether accepted commits are given up. The death of a closed or sealed session is not fatal:
    /// its accepted commits run to their verdict.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Closed(_) | Self::Sealed | Self::Unconfirmed(_) => false,
            Self::Fenced(_)
            | Self::CommitLost { .. }
            | Self::Corrupt(_)
            | Self::Gone(_)
            | Self::Failed(_) => true,
        }
    }

    /// The cause of a lost commit.
    pub(crate) fn of_lost(verdict: Verdict, error: StoreError) -> Self {
        match (verdict, error) {
            (Verdict::NotCommitted, StoreError::Fenced(mismatch)) => Self::Fenced(mismatch),
            (Verdict::NotCommitted, StoreError::Corrupt(what)) => Self::Corrupt(what),
            (Verdict::NotCommitted, StoreError::DatabaseMissing(db)) => Self::Gone(db),
            (verdict, error) => Self::CommitLost { verdict, error },
        }
    }

    /// The cause of death for an answer of the store to a read or a confirmation; `None` if the
    /// answer is not fatal.
    pub(crate) fn of_answer(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Fenced(mismatch) => Some(Self::Fenced(*mismatch)),
            StoreError::Corrupt(what) => Some(Self::Corrupt(what.clone())),
            StoreError::DatabaseMissing(db) => Some(Self::Gone(*db)),
            StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::Refused { .. }
            | StoreError::HistoryGone { .. }
            | StoreError::NoCommit { .. }
            | StoreError::HasForks(_)
            | StoreError::Elsewhere { .. }
            | StoreError::Full(_)
            | StoreError::Failed(_)
            | StoreError::Closed => None,
        }
    }
}

/// Why a page was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The session is dead.
    #[error(transparent)]
    Dead(Cause),
    /// The database has no such page (or it is page 0). SQLite expects zeros and a short read.
    #[error("past the end")]
    PastEnd,
    /// The store did not answer in time. The session lives; the same read may succeed later.
    #[error("read: {0}")]
    Unavailable(StoreError),
    /// Too many threads of the process wait for pages already.
    #[error("too many reads are waiting")]
    Overloaded,
    /// [`crate::Session::interrupt`] ended the wait.
    #[error("interrupted")]
    Interrupted,
}

/// Why a transaction may not be committed. SQLite can still roll it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The session is dead.
    #[error(transparent)]
    Dead(Cause),
    /// Over `commit_bytes_max`.
    #[error("commit of {bytes} bytes is over the limit of {max}")]
    CommitTooLarge {
        /// Bytes of the transaction.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// Over `database_pages_max`, or over what all databases of its kind may have together.
    #[error("database of {} pages is over the limit of {max}", .page_count.0)]
    DatabaseFull {
        /// Pages that the database would have.
        page_count: PageCount,
        /// What is allowed.
        max: u32,
    },
    /// The pipeline stayed full until the deadline.
    #[error("the pipeline stayed full")]
    Unavailable,
    /// The pipeline is full and too many threads of the process wait already.
    #[error("too many commits are waiting")]
    Overloaded,
    /// [`crate::Session::interrupt`] ended the wait.
    #[error("interrupted")]
    Interrupted,
}

/// Why a session was not sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nothing was done: the caller may seal with a smaller snapshot, or none.
    #[error("snapshot of {bytes} bytes is over the limit of {max}")]
    SnapshotTooLarge {
        /// Bytes of the snapshot.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// Nothing was done: a transaction was dropped because the session was closed already, so the
    /// snapshot may tell of data that do not exist. The caller may seal without it.
    #[error("a transaction was dropped before the snapshot was made")]
    SnapshotStale,
    /// The session is dead, or died of the seal.
    #[error(transparent)]
    Dead(Cause),
}

/// Why a database was not opened, made or destroyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// `create` only: the actor exists, with this state.
    #[error("actor {} exists", .0.row.actor)]
    Exists(Box<ActorState>),
    /// Another attempt won; routing finds the winner. Nothing was changed.
    #[error("superseded by generation {}", .winner.fence.generation)]
    Superseded {
        /// The head as it is.
        winner: Box<Head>,
    },
    /// There is no such database. Only `create` makes one.
    #[error("database {0} does not exist")]
    DatabaseMissing(DbId),
    /// An import of this database has not finished.
    #[error("database {0} is being imported")]
    Importing(DbId),
    /// The actor is being destroyed.
    #[error("the actor is being destroyed")]
    Destroying,
    /// The store failed. After `Unknown` the step may have been applied: the next caller that looks
    /// finds a head whose named owner does not run it, and may replace that owner.
    #[error(transparent)]
    Store(StoreError),
}
