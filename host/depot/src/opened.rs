//! A database as its new owner gets it.

use crate::fence::Head;
use crate::session::Session;
use crate::store::Snapshot;

/// A database that the caller owns now.
#[derive(Debug)]
pub struct Opened {
    /// The session of the new generation.
    pub session: Session,
    /// The head that made it.
    pub head: Head,
    /// In-memory state of an earlier generation, if there is any.
    pub snapshot: Option<HandedOver>,
    /// Ends by trap since the last orderly end or reset.
    pub restarts: u32,
}

/// In-memory state that an earlier generation handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// The state.
    pub snapshot: Snapshot,
    /// Whether the state matches the present data: the generation before this one made it with its
    /// seal, nothing was committed since, and it ran the same component.
    pub current: bool,
}
