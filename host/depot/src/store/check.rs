//! The results of a store's check of itself: in bounded looks, beside traffic, and past damage.
//!
//! ```text
//!  check(at) ──> findings, what can be listed, next place ──> check(next) ──> ... ──> no next
//! ```

use super::KindRow;
use crate::id::{ActorId, DbId};

/// Where a check continues. Only the store that returned a position can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckAt {
    /// Which of the store's parts.
    pub part: u32,
    /// The key of the last row that was looked at; empty: the part begins.
    pub after: Vec<String>,
}

/// The result of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The part that was looked at, in words.
    pub what: String,
    /// Parts that are done.
    pub done: u64,
    /// Parts in all. 0: this store has nothing to check, and lists its actors by
    /// [`Directory::actors`](super::Directory::actors) only.
    pub total: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was lost and accepted: known, and nothing that is wrong now.
    pub accepted: Vec<Finding>,
    /// Actors that were listed, with their databases.
    pub actors: Vec<(ActorId, DbId)>,
    /// Kinds that were listed: a caller that knows what settings are reads them.
    pub kinds: Vec<KindRow>,
    /// Where to continue; `None`: everything was looked at.
    pub next: Option<CheckAt>,
}

/// Something that is wrong in a store, outside the history of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The file that it is in, as it is called in the store's directory.
    pub file: Option<String>,
    /// The table that it is in, with its indexes.
    pub table: Option<String>,
    /// The actor whose row it is.
    pub actor: Option<ActorId>,
    /// What is wrong, with page and row where they are known.
    pub what: String,
}

/// The result of the repair of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The file, as it is called in the store's directory.
    pub file: String,
    /// Why the file is as it was; `None`: it was made again, and is sound.
    pub failed: Option<String>,
}
