//! A store of two primaries between which shards move while their actors are in use: the rules of D13 of
//! `docs/protocol.md`, over a bad network, each of them with a switch.
//!
//! ```text
//! depot ── router ──┬─ network ──> primary a: rows of shards, databases     held    one database
//!             map   └─ network ──> primary b: the same                      primary what it says and keeps
//! mover ── network ──> both                                                 router  where a step goes
//!                                                                           mover   moves a shard
//! ```
//! What moves is real: each database is an embedded store of its own, and a copy of it is made by doing
//! again, at their times, the steps that have made it. So a copy that lacks a step is another database,
//! and the judge sees it. The statements of `stockade-postgres` are tested on servers; here it is what
//! they say.

mod held;
pub(crate) mod mover;
mod primary;
pub(crate) mod router;

use std::sync::Arc;

use stockade_depot::{DbId, Shard, Store};

use crate::journal::Journal;
use crate::seeds::Rule;
pub(crate) use primary::{At, Primary};

/// Shards of the store. All are at the first primary in the beginning.
pub(crate) const SHARDS: u8 = 2;

/// A rule of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardRule {
    /// That something is absent, and that it is made, has the primary's own row as a condition.
    OwnRow,
    /// Until the source has given the shard away, the target finds absent only what the source sends
    /// it.
    Coming,
    /// The source gives a shard away once it is empty.
    Empty,
    /// The verdict on a commit follows its database.
    VerdictFollows,
    /// A database is given away only if it is what was copied.
    Compared,
    /// A copy is valid once the source has given the database away.
    Arriving,
    /// A copy takes the writes of the mover that has claimed it last.
    Claimed,
    /// A copy that was another mover's is not emptied before that one's hold at the source has ended.
    Held,
    /// Pins go along.
    Pins,
    /// What a mover does is for the move that it is part of.
    Version,
}

impl ShardRule {
    /// Those that are missed soon.
    pub const ALL: [Self; 6] = [
        Self::OwnRow,
        Self::Coming,
        Self::VerdictFollows,
        Self::Compared,
        Self::Arriving,
        Self::Pins,
    ];
    /// Those that only two movers in a short moment need: hundreds of seeds do not meet it.
    pub const RARE: [Self; 4] = [Self::Empty, Self::Claimed, Self::Held, Self::Version];
}

impl Rule for ShardRule {
    fn name(self) -> &'static str {
        match self {
            Self::OwnRow => "own-row",
            Self::Coming => "coming",
            Self::Empty => "empty",
            Self::VerdictFollows => "verdict-follows",
            Self::Compared => "compared",
            Self::Arriving => "arriving",
            Self::Claimed => "claimed",
            Self::Held => "held",
            Self::Pins => "pins",
            Self::Version => "version",
        }
    }
}

/// Where a shard is, as a primary says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardState {
    Here,
    Leaving,
    Gone,
    Coming,
}

/// What a primary says of a shard. Its peer is the other primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: ShardState,
    pub(crate) version: u64,
}

/// The number of the other primary.
pub(crate) fn other(at: usize) -> usize {
    1 - at
}

/// Both primaries.
pub(crate) struct Primaries {
    pub(crate) both: [Arc<Primary>; 2],
}

impl Primaries {
    /// Empty ones.
    pub(crate) fn new(journal: &Arc<Journal>, off: Option<ShardRule>) -> Arc<Self> {
        let primary = |name, state| Primary::new(name, state, journal, off);
        let both = [primary("a", ShardState::Here), primary("b", ShardState::Gone)];
        Arc::new(Self { both })
    }

    /// The store of a database, past everything. None: no primary has it.
    pub(crate) async fn keeper(&self, db: DbId) -> Option<Arc<dyn Store>> {
        for primary in &self.both {
            if let Some(store) = primary.keeps(db).await {
                return Some(store);
            }
        }
        None
    }

    /// The primary that a shard is at, or is leaving.
    pub(crate) async fn source(&self, shard: Shard) -> usize {
        let row = self.both[0].row(shard).await;
        usize::from(!matches!(row.state, ShardState::Here | ShardState::Leaving))
    }

    /// Whether a shard is on its way.
    pub(crate) async fn moves(&self, shard: Shard) -> bool {
        let mut rows = [self.both[0].row(shard).await, self.both[1].row(shard).await];
        rows.sort_by_key(|row| row.state == ShardState::Gone);
        !matches!(rows.map(|row| row.state), [ShardState::Here, ShardState::Gone])
    }
}
