//! How large a fleet is, and what befalls it.

use super::load::Server;

/// Through which nodes callers reach actors whose node was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Any, as a balancer picks it.
    Any,
    /// All through this one.
    One(usize),
}

/// A fleet.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its nodes.
    pub nodes: usize,
    /// Its actors, all of them awake.
    pub actors: usize,
    /// The nodes that are lost at the same time. They are the last ones.
    pub lost: usize,
    /// Actors that may be awake on one node.
    pub awake_max: usize,
    /// The time in which all actors are begun, in milliseconds.
    pub begin_ms: u64,
    /// How often each actor is called, in milliseconds.
    pub call_every_ms: u64,
    /// Where callers go when nodes were lost.
    pub front: Front,
    /// The server of the store.
    pub server: Server,
}

impl Size {
    /// What `make simulate-fleet` runs.
    pub const LARGE: Self = Self {
        nodes: 100,
        actors: 100_000,
        lost: 10,
        awake_max: 1_500,
        begin_ms: 20_000,
        call_every_ms: 30_000,
        front: Front::Any,
        server: Server { workers: 16, takeover_us: 600 },
    };

    /// A fleet for `make test`.
    pub const SMALL: Self = Self {
        nodes: 10,
        actors: 1_000,
        lost: 1,
        awake_max: 150,
        begin_ms: 2_000,
        call_every_ms: 5_000,
        front: Front::Any,
        server: Server { workers: 4, takeover_us: 600 },
    };

    /// Few nodes on a server so slow that takeovers pile up: all actors of the lost node are asked for
    /// at one other node.
    pub const BURST: Self = Self {
        nodes: 4,
        awake_max: 1_000,
        front: Front::One(0),
        server: Server { workers: 2, takeover_us: 20_000 },
        ..Self::SMALL
    };

    /// Nodes with room for few more actors than they have: all actors of the lost node are asked for at
    /// one other node, which has no room for them.
    pub const CROWDED: Self = Self { front: Front::One(0), ..Self::SMALL };
}
