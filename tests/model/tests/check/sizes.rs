//! How far the machines go: what `make test` visits, and what `make model` visits.

use stockade_model::{history, ownership, pages, shards};

/// Which bounds.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// A minute for everything.
    Small,
    /// As far as memory goes.
    Large,
}

impl Scale {
    /// What was asked for.
    pub(crate) fn asked() -> Self {
        match std::env::var("MODEL").as_deref() {
            Ok("large") => Self::Large,
            Ok(other) => panic!("MODEL={other}: only `large` is known"),
            Err(_) => Self::Small,
        }
    }

    /// One more of something, if large.
    fn more(self) -> u8 {
        match self {
            Self::Small => 0,
            Self::Large => 1,
        }
    }
}

/// Two hosts; every answer may be late or lost, every step may come twice; the store keeps each
/// step immediately.
pub(crate) fn races(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size {
        hosts: 2,
        attempts: 3,
        writes: 2,
        reads: 1,
        timeouts: 1,
        copies: 1,
        refusals: more,
        host_crashes: 1,
        seals: 0,
        heirs: false,
        store_crashes: 0,
        sends: 2,
        gated: 2,
    }
}

/// Lost answers again and again; no crash, no reads.
pub(crate) fn losses(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size {
        timeouts: 3 + more,
        reads: 0,
        copies: 0,
        refusals: 0,
        host_crashes: 0,
        ..races(scale)
    }
}

/// Commits that surely did not arrive, until their deadline; no crash.
pub(crate) fn refusals(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size { timeouts: 1 + more, copies: 0, refusals: 2, host_crashes: 0, ..races(scale) }
}

/// As `races` with orderly ends.
pub(crate) fn endings(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size { seals: 2, reads: more, refusals: 0, host_crashes: 0, ..races(scale) }
}

/// One end, with an heir that begins where it was appointed.
pub(crate) fn heirs(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size {
        seals: 1,
        heirs: true,
        refusals: 0,
        copies: more,
        host_crashes: 0,
        ..races(scale)
    }
}

/// More reads: a call that a generation is begun for is confirmed by what won the fence.
pub(crate) fn readers(scale: Scale) -> ownership::Size {
    ownership::Size { reads: 2, attempts: 2, copies: 0, host_crashes: 0, ..races(scale) }
}

/// The same over a store that executes steps in groups and dies over one.
pub(crate) fn store_crash(scale: Scale) -> ownership::Size {
    let more = scale.more();
    ownership::Size {
        store_crashes: 1,
        host_crashes: 0,
        seals: more,
        copies: 0,
        refusals: 0,
        ..races(scale)
    }
}

/// Stages that are committed, given up and taken over; no caches.
pub(crate) fn staging(scale: Scale) -> pages::Size {
    let more = scale.more();
    pages::Size {
        transactions: 3,
        stages: 2,
        generations: 2,
        reads: 0,
        copies: 1 + more,
        evictions: 0,
        collections: 1 + more,
    }
}

/// Caches of two nodes; no stages.
pub(crate) fn caching(scale: Scale) -> pages::Size {
    let more = scale.more();
    pages::Size {
        transactions: 3,
        stages: 0,
        generations: 3,
        reads: 2 + more,
        copies: 0,
        evictions: 1,
        collections: 0,
    }
}

/// Two lives of an actor, each with retention, pins, an import, a destroy that is interrupted.
pub(crate) fn lives(scale: Scale) -> history::Size {
    let more = scale.more();
    history::Size {
        databases: 2,
        commits: 3 + more,
        generations: 2,
        pins: 1,
        chunks: 1,
        letters: 2,
        imports: 1,
        crashes: 1,
    }
}

/// One move of a shard under one node, begun again after a crash; a pin beside the commit.
pub(crate) fn moving(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        primaries: 2,
        nodes: 1,
        databases: 1,
        born: true,
        calls: 2,
        writes: 1,
        pins: 1,
        destroys: 0,
        timeouts: 1,
        moves: 1,
        movers: 1,
        runs: 2 + more,
        crashes: 1,
    }
}

/// The same under two nodes, one of which knows nothing.
pub(crate) fn callers(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size { nodes: 2, pins: 0, timeouts: 0, writes: more, ..moving(Scale::Small) }
}

/// Two movers to one target, one of which may die.
pub(crate) fn movers(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        calls: 1,
        writes: 0,
        timeouts: 0,
        movers: 2,
        runs: 2 + more,
        ..moving(Scale::Small)
    }
}

/// There, back and there again.
pub(crate) fn returning(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        calls: 1 + more,
        pins: 0,
        timeouts: more,
        moves: 3,
        runs: 3,
        ..moving(Scale::Small)
    }
}

/// The actor is destroyed and made again during the move.
pub(crate) fn remaking(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        databases: 2,
        calls: 3,
        writes: 0,
        pins: 0,
        destroys: 1,
        timeouts: 0,
        movers: 1 + usize::from(more),
        ..moving(Scale::Small)
    }
}

/// Two nodes make an actor that is not there, while the shard moves there, back and there again.
pub(crate) fn making(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        nodes: 2,
        databases: 2,
        born: false,
        calls: 2 + more,
        writes: 0,
        pins: 0,
        timeouts: 0,
        moves: 3,
        runs: 3,
        crashes: 0,
        ..moving(Scale::Small)
    }
}

/// Three primaries, and two movers that do not agree where to.
pub(crate) fn targets(scale: Scale) -> shards::Size {
    let more = scale.more();
    shards::Size {
        primaries: 3,
        calls: 1,
        writes: 0,
        pins: 0,
        timeouts: 0,
        moves: 2,
        movers: 2,
        runs: 2 + more,
        crashes: 0,
        ..moving(Scale::Small)
    }
}
