//! Which actors there are, and the removal of one.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::{ActorId, DbId, Digest, Generation, Shard};

/// What the directory knows about an actor. It says what exists, not which process runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorRow {
    /// Its name.
    pub actor: ActorId,
    /// Its database.
    pub db: DbId,
    /// The component that its last generation ran.
    pub component: Digest,
    /// The state that the operator wants.
    pub wanted: Wanted,
    /// Ends by trap in a row, as counted by takeovers: since the last orderly end, reset, new
    /// component or generation that had worked well.
    pub restarts: u32,
}

/// The state that the operator wants of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It may run.
    Present,
    /// It is being destroyed: calls and creation are refused until it is gone.
    Destroying,
}

/// An actor with the head of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorState {
    /// The directory's row.
    pub row: ActorRow,
    /// The database's head.
    pub head: Head,
    /// The generation whose snapshot the store keeps, if it keeps one. A sealed head of another
    /// generation was sealed without one.
    pub handed_over: Option<Generation>,
}

/// How many actors of a kind a part of a shard has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The number of actors.
    pub actors: u64,
    /// Pages of their databases.
    pub pages: u64,
    /// The key to continue after; `None`: there is nothing after it.
    pub next: Option<String>,
}

/// Progress of a destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// Rows remain: send the step again.
    More {
        /// Rows deleted by this step.
        rows: u64,
    },
    /// Head and directory row are gone: nothing of the actor is left.
    Gone,
}

/// The lists of actors, and the steps of a destroy.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Actors of `kind` (all kinds if `None`) after `after` in (kind, key) order, at most `max`
    /// (bounded by [`super::LIST_ROWS_MAX`]).
    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError>;
    /// Counts the actors of a kind in one shard with a key after `after`, at most
    /// [`super::limits::COUNT_ROWS_MAX`]. Steps in flight are not counted.
    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError>;
    /// Actors that are being destroyed, at most `max` (bounded by [`super::LIST_ROWS_MAX`]). Cheap,
    /// however many actors there are.
    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError>;
    /// Deletes some rows of an actor that this fence owns and that is `Destroying`, in one bounded
    /// fenced step; head and directory row go last, together. `Unavailable` if it is not marked,
    /// `HasForks` (as for the takeover that marks it) if another database has it as its base.
    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError>;
    /// Rows that the store still has for a database, over all tables. After a destroy: 0.
    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError>;
}
