//! How a generation ended: recorded once, shown to operators.

use serde::Serialize;
use stockade_depot::store::ActorState;
use stockade_depot::{DbId, Fence, Generation, Reason};

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The history line it wrote.
    pub db: DbId,
    /// Which life.
    pub generation: Generation,
    /// Why its handles were revoked.
    pub reason: Reason,
    /// What became of its in-memory state.
    pub snapshot: SnapshotOutcome,
    /// Whether the store has accepted its seal.
    pub sealed: bool,
    /// Whether a call of it was answered well, and heard.
    pub proven: bool,
    /// What else an operator should know: a trap's text, a hook's error, the fatal cause.
    pub message: Option<String>,
}

impl Exit {
    /// Whether it is the end of this very life.
    #[must_use]
    pub fn is_of(&self, fence: &Fence) -> bool {
        (self.db, self.generation) == (fence.db, fence.generation)
    }
}

/// A generation that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// The actor as its seal left it, if it was sealed: from here its next generation may begin, once.
    pub left: Option<Box<ActorState>>,
}

impl From<Exit> for Ended {
    /// Of one that was not sealed.
    fn from(exit: Exit) -> Self {
        Self { exit, left: None }
    }
}

/// What became of a generation's in-memory state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SnapshotOutcome {
    /// Handed over with the seal.
    Taken {
        /// Its size.
        bytes: usize,
        /// SQL calls that the hook made after SQL was revoked: each was answered `revoked`, so what
        /// it then handed over may be incomplete.
        #[serde(skip_serializing_if = "is_zero")]
        late_sql: u64,
    },
    /// The component has none, or had nothing to hand over.
    None,
    /// There should have been one, and there is not.
    Missed {
        /// Why.
        why: String,
    },
}

/// Serde asks by reference.
fn is_zero(count: &u64) -> bool {
    *count == 0
}
