//! How a generation ended: recorded once, shown to operators.

use serde::Serialize;
use stockade_depot::{DbId, Generation, Reason};

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
    /// Whether the store accepted the seal.
    pub sealed: bool,
    /// What else an operator should know: a trap's text, a hook's error, the fatal cause.
    pub message: Option<String>,
}

/// What became of a generation's in-memory state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum SnapshotOutcome {
    /// Handed over with the seal.
    Taken {
        /// Its size.
        bytes: usize,
    },
    /// The component has none, or had nothing to hand over.
    None,
    /// There should have been one, and there is not.
    Missed {
        /// Why.
        why: String,
    },
}
