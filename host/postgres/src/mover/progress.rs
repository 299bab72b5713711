//! What a move reports while it runs, and in the end.

use stockade_depot::DbId;

/// What a move has done, in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Databases that have moved.
    pub databases: u64,
    /// Pages that were copied, some more than once.
    pub pages: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// How often a database was taken again, since a process took it over during the copy's end.
    pub retaken: u64,
    /// Whether the shard was there already.
    pub was_there: bool,
}

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveStep {
    /// Source and target say that the shard is moving.
    Begun,
    /// The target has an empty copy.
    Claimed(DbId),
    /// The commits so far are copied, while the database is in use.
    Copied(DbId),
    /// The database has no owner and takes no commit.
    Taken(DbId),
    /// The target has the whole database, which is not valid yet.
    Complete(DbId),
    /// The source has given the database away.
    Moved(DbId),
    /// The target serves the database.
    Arrived(DbId),
    /// The source has no rows of the database but those that lead to the target.
    Disposed(DbId),
    /// The source has given the shard away.
    Gone,
    /// The target has the shard.
    Here,
}

/// What a move reports after each step. Called by the mover between two steps: it must not take long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step.
    pub step: MoveStep,
    /// What has been done so far.
    pub moved: Moved,
}
