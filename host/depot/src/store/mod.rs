//! The store seam: few, coarse, fenced steps, each atomic in the engine underneath.
//!
//! The fence is a condition *inside* a step, never a check beside it. What a store must do is
//! stated as tests in the contract suite, which runs on every store.
//!
//! ```text
//! ownership   who owns a database          import      a database that is filled from a file
//! pages       what its owner reads, writes directory   which actors there are
//! history     its past, and what may go    cluster     components, kinds, processes
//! due         which actors have something to do, and when
//! ```

pub mod check;
mod cluster;
mod directory;
mod due;
pub mod embedded;
mod history;
mod import;
pub mod layer;
pub mod limits;
mod ownership;
pub mod packed;
mod pages;
pub mod rows;
mod sql;

pub use check::{CheckAt, Checked, Finding, Repair};
pub use cluster::{Cluster, KindRow, NodeBeat, NodeLoad, NodeProcess, NodeProgram, NodeRow};
pub use directory::{ActorRow, ActorState, Counted, Destroyed, Directory, Wanted};
pub use due::{Due, DueActor, DueKey, DueLook, DuePage, DueWork};
pub use history::{History, Keep, Look, Superseded, VersionKey, Versions};
pub use import::{Emptied, Import};
pub use limits::{LIST_ROWS_MAX, READ_PAGES_MAX};
pub use ownership::{
    CreateStep, Created, Ownership, PreviousEnd, SealStep, Snapshot, TakenOver, TakeoverStep,
};
pub use pages::{
    Collected, CommitRow, CommitStep, Durable, PageVersion, Pages, PagesRead, StageStep, Staged,
};

/// How the names of pins begin that forks hold. A database with one cannot be destroyed.
pub const FORK_PIN_PREFIX: &str = "fork/";

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::error::{StoreError, StoreFailure, StoreFull};
use crate::id::Shard;

/// Another process that has kept a file of a store for itself, so that no other one can write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The file.
    pub file: PathBuf,
    /// The process's number on this machine.
    pub pid: u32,
    /// Where it is reached, if it is registered and tells its number.
    pub address: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is locked by process {}", self.file.display(), self.pid)?;
        self.address.as_ref().map_or(Ok(()), |address| write!(f, ", at {address}"))
    }
}

/// The engine under the depot.
///
/// Every method is one atomic step. Fenced steps compare (generation, token) of a head that is not
/// sealed, and fail with [`StoreError::Fenced`] otherwise, having done nothing.
/// When a method returns `Ok`, what it wrote is durable; reads never return a row that a failure
/// within the store's promise can take back.
#[async_trait]
pub trait Store:
    Ownership + Pages + Versions + Import + Directory + DueWork + Cluster + Send + Sync + 'static
{
    /// How many shards the store has, 1 to 256. Fixed when the store is made.
    fn shards(&self) -> u16;

    /// Whether a read crosses a network, so that many pages in one answer cost about as much as
    /// one. Asked at each takeover, to decide whether to read ahead.
    fn reads_are_remote(&self) -> bool {
        false
    }

    /// Whether the store keeps due times. One that a program of an earlier version serves does not:
    /// it refuses every step that says something of them. Does no I/O.
    fn keeps_due_work(&self) -> bool {
        true
    }

    /// Looks at a bounded part of what the store keeps outside the histories of its databases, and
    /// says what is wrong. Damage is no error and ends nothing: the answer tells where to continue.
    /// Runs beside traffic; begin with `CheckAt::default()`.
    ///
    /// # Errors
    /// The store does not answer at all.
    async fn check(&self, at: CheckAt) -> Result<Checked, StoreError> {
        let _ = at;
        Ok(Checked::default())
    }

    /// Resolves once a part of the store is given up, with the first one: see
    /// [`StoreError::Failed`]. A process that stands on the store ends then, so that another
    /// process, or the next start, serves what this one cannot. A store that gives nothing up never
    /// resolves.
    async fn failed(&self) -> StoreFailure {
        std::future::pending().await
    }

    /// Why guests' writes are refused now: see [`StoreError::Full`]. `None`: they are not. Does no
    /// I/O.
    fn full(&self) -> Option<StoreFull> {
        None
    }

    /// Another process that keeps a shard for itself: the last step that had to be written there
    /// was refused because of it. `None`: no such process is known. Does no I/O.
    fn holder(&self, shard: Shard) -> Option<Holder> {
        let _ = shard;
        None
    }

    /// Finishes what was accepted, checkpoints, and refuses everything after: `Closed`.
    async fn close(&self);
}
