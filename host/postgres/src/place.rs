//! Where a shard is, as a primary's own row of it says.
//!
//! ```text
//! here ── begin ──► leaving to X ── the last database has moved ──► gone to X
//! gone ── begin ──► coming from Y ── Y says gone ──► here
//! ```
//! The two rows of a move have one version: the number of moves of the shard that were begun.
//!
//! Rule D13 of `docs/protocol.md`.
//!
//! Invariant: that something is absent counts only in one snapshot with a row of the shard: an actor with
//! one that says here or leaving, a database with one that says here, both with one that says coming in
//! the very version in which the primary that the shard comes from has sent the caller here.

use stockade_depot::store::rows::StoredRow as _;
use stockade_depot::{Shard, StoreError};

use crate::rows::{self, Row};

/// Where a shard is, for one primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// The primary keeps it.
    Here,
    /// The primary keeps it, but for what has moved to the peer already.
    Leaving,
    /// The peer keeps it, or has kept it.
    Gone,
    /// The peer keeps it, but for what has moved here already.
    Coming,
}

impl ShardState {
    /// As its column says.
    pub(crate) fn of(number: i64) -> Result<Self, StoreError> {
        Ok(match number {
            0 => Self::Here,
            1 => Self::Leaving,
            2 => Self::Gone,
            3 => Self::Coming,
            _ => return Err(rows::out_of_range("state of a shard")),
        })
    }

    /// As its column says it.
    pub(crate) fn to_sql(self) -> i64 {
        match self {
            Self::Here => 0,
            Self::Leaving => 1,
            Self::Gone => 2,
            Self::Coming => 3,
        }
    }

    /// Whether an actor that is not found here by its name is not there at all, for a caller that was
    /// led here. One that was made at the peer has left the row of its former database here.
    pub(crate) fn is_here(self, version: u64, led: Led) -> bool {
        match self {
            Self::Here | Self::Leaving => true,
            Self::Gone => false,
            Self::Coming => led.0 == Some(version),
        }
    }

    /// Whether a database that is not found here by its id is not there at all, for a caller that was
    /// led here. One that was made at the peer has left nothing here.
    pub(crate) fn has_all(self, version: u64, led: Led) -> bool {
        match self {
            Self::Here => true,
            Self::Leaving | Self::Gone => false,
            Self::Coming => led.0 == Some(version),
        }
    }
}

/// The version of the move that has led a step to a primary, in the words of the primary that the
/// shard leaves or has left; none: the step comes by the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Led(pub(crate) Option<u64>);

impl Led {
    /// For a statement; no version is -1.
    pub(crate) fn to_sql(self) -> Result<i64, StoreError> {
        self.0.map_or(Ok(-1), rows::to_sql)
    }
}

/// A primary's row of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) state: ShardState,
    pub(crate) peer: Option<String>,
    pub(crate) version: u64,
}

impl Place {
    /// From the columns `state, peer, version` from `at` on.
    pub(crate) fn of(row: &Row, at: usize) -> Result<Self, StoreError> {
        Ok(Self {
            state: state(row, at)?,
            peer: rows::text(row, at + 1)?,
            version: rows::number(row, at + 2)?,
        })
    }

    /// Whether it is in this state with this peer, by this move.
    pub(crate) fn is(&self, state: ShardState, peer: &str, version: u64) -> bool {
        self.state == state && self.peer.as_deref() == Some(peer) && self.version == version
    }

    /// See [`ShardState::is_here`].
    pub(crate) fn is_here(&self, led: Led) -> bool {
        self.state.is_here(self.version, led)
    }

    /// See [`ShardState::has_all`].
    pub(crate) fn has_all(&self, led: Led) -> bool {
        self.state.has_all(self.version, led)
    }
}

/// The state of a shard, from its column.
pub(crate) fn state(row: &Row, column: usize) -> Result<ShardState, StoreError> {
    ShardState::of(row.integer(column)?)
}

/// A shard without a row.
pub(crate) fn no_row(shard: Shard) -> StoreError {
    StoreError::Corrupt(format!("the store has no row of shard {shard}"))
}

/// What a primary says of a shard of which it keeps, or gets, a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    /// Which shard.
    pub shard: Shard,
    /// The primary.
    pub primary: String,
    /// Where the shard is, for this primary.
    pub state: ShardState,
    /// The other primary, if it moves.
    pub peer: Option<String>,
    /// Moves of it that were begun.
    pub version: u64,
}

impl ShardRow {
    /// What `primary` says in a row of `sql::shards::SHARDS`.
    pub(crate) fn of(row: &Row, primary: &str) -> Result<Self, StoreError> {
        let number = u8::try_from(rows::number(row, 0)?);
        let shard = Shard(number.map_err(|_| rows::out_of_range("shard"))?);
        let Place { state, peer, version } = Place::of(row, 1)?;
        Ok(Self { shard, primary: primary.to_owned(), state, peer, version })
    }

    /// Whether the primary keeps the shard, or gets it.
    pub(crate) fn concerns(&self) -> bool {
        self.state != ShardState::Gone
    }
}
