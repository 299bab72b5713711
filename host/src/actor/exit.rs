//! How a generation ended: recorded once, shown to operators.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use stockade_depot::store::ActorState;
use stockade_depot::{ActorId, DbId, Fence, Generation, Reason};

use crate::error::Crash;

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The history line of the end.
    pub db: DbId,
    /// The generation that ended.
    pub generation: Generation,
    /// Why its handles were revoked.
    pub reason: Reason,
    /// The outcome of the in-memory state.
    pub snapshot: SnapshotOutcome,
    /// Whether the store has accepted its seal.
    pub sealed: bool,
    /// Whether a call of the generation was answered well, and the answer was delivered.
    pub proven: bool,
    /// What else an operator should know: a trap's text, a hook's error, the fatal cause.
    pub message: Option<String>,
    /// How the instance died, if it did.
    pub crash: Option<Arc<Crash>>,
}

impl Exit {
    /// Whether this is the end of the given generation.
    #[must_use]
    pub fn is_of(&self, fence: &Fence) -> bool {
        (self.db, self.generation) == (fence.db, fence.generation)
    }

    /// Writes the one log record of the end: of a guest that died with its last words.
    pub fn log(&self, actor: &ActorId) {
        let Self { generation, reason, sealed, snapshot, message, crash, .. } = self;
        let (generation, cause) = (generation.0, message.as_deref());
        let last_words = crash.as_ref().map(|crash| crash.last_words.as_str());
        let backtrace = crash.as_ref().map(|crash| crash.backtrace.as_str());
        if matches!(reason, Reason::Trapped | Reason::Budget) || crash.is_some() {
            tracing::warn!(
                %actor, generation, %reason, sealed, %snapshot, cause, last_words, backtrace,
                "generation crashed"
            );
        } else {
            tracing::info!(
                %actor, generation, %reason, sealed, %snapshot, cause, "generation ended"
            );
        }
    }
}

/// A generation that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit.
    pub exit: Exit,
    /// The actor as its seal left it, if sealed: its next generation may begin from here, once.
    pub left: Option<Box<ActorState>>,
}

impl From<Exit> for Ended {
    /// The end of a generation that was not sealed.
    fn from(exit: Exit) -> Self {
        Self { exit, left: None }
    }
}

/// The outcome of a generation's in-memory state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SnapshotOutcome {
    /// Handed over with the seal.
    Taken {
        /// The size of the state.
        bytes: usize,
        /// SQL calls that the hook made after SQL was revoked: each was answered `revoked`, so the
        /// state handed over may be incomplete.
        #[serde(skip_serializing_if = "is_zero")]
        late_sql: u64,
    },
    /// The component has none, or had nothing to hand over.
    None,
    /// A state was expected, and there is none.
    Missed {
        /// The reason.
        why: String,
    },
}

impl fmt::Display for SnapshotOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { bytes, .. } => write!(f, "{bytes} bytes"),
            Self::None => f.write_str("none"),
            Self::Missed { why } => write!(f, "missed: {why}"),
        }
    }
}

/// Takes a reference because serde asks by reference.
fn is_zero(count: &u64) -> bool {
    *count == 0
}
