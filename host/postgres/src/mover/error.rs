//! Why a shard has not moved, or not all of it.

use stockade_depot::{DbId, Shard, StoreError};

/// Why a move ended before its end. What had moved by then has moved; the same command continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The store has fewer shards.
    #[error("there is no shard {shard}: the store has shards 0 to {}", shards.saturating_sub(1))]
    NoSuchShard {
        /// What was asked for.
        shard: u16,
        /// How many there are.
        shards: u16,
    },
    /// A process of a former program is registered, which would make actors in a shard that has gone.
    #[error(
        "the process at {address} is stockade {version}, which knows of no moves: stop it first; one \
         that was killed is forgotten after its lease"
    )]
    Former {
        /// Where callers reach it.
        address: String,
        /// The version of its program.
        version: String,
    },
    /// No primary of this process has the name.
    #[error("no primary is called {name:?}: this process knows {}", known.join(", "))]
    UnknownPrimary {
        /// What was asked for, or what the shard's row names.
        name: String,
        /// The primaries that this process knows.
        known: Vec<String>,
    },
    /// The shard is on its way to another primary.
    #[error("shard {shard} is moving to {to:?}: finish that move first (`--to {to}`)")]
    InProgress {
        /// The shard.
        shard: Shard,
        /// Where it is moving to.
        to: String,
    },
    /// No primary says that it has the shard, or two say so.
    #[error("the primaries disagree about shard {shard}: {what}")]
    Disagree {
        /// The shard.
        shard: Shard,
        /// What they say.
        what: String,
    },
    /// A database was taken over again and again, or new ones came faster than they moved.
    #[error(
        "shard {shard} is busy: {} after {tries} tries; run it again",
        db.map_or("new actors came".to_owned(), |db| format!("database {db} was taken over"))
    )]
    Busy {
        /// The shard.
        shard: Shard,
        /// The database; `None`: new ones.
        db: Option<DbId>,
        /// How often it was tried.
        tries: u32,
    },
    /// A copy is not what was copied, twice in a row. Nothing of the database has moved.
    #[error("the copy of database {db} differs from it: {what}")]
    Differs {
        /// The database.
        db: DbId,
        /// Where.
        what: String,
    },
    /// A database has more pins than a mover compares. Nothing of it has moved.
    #[error("database {db} has over {max} pins")]
    Pins {
        /// The database.
        db: DbId,
        /// What is allowed.
        max: u32,
    },
    /// A primary failed, or could not be reached.
    #[error("primary {primary}: {error}; run it again to continue")]
    Store {
        /// Its name.
        primary: String,
        /// What it, or the way there, says.
        error: StoreError,
    },
}

impl MoveError {
    /// Whether trying again soon may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Store { error, .. } => {
                matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_))
            }
            Self::NoSuchShard { .. }
            | Self::Former { .. }
            | Self::UnknownPrimary { .. }
            | Self::InProgress { .. }
            | Self::Disagree { .. }
            | Self::Busy { .. }
            | Self::Differs { .. }
            | Self::Pins { .. } => false,
        }
    }
}
