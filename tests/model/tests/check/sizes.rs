//! How far the machines go: what `make test` visits, and what `make model` visits.

use stockade_model::{circles, due, history, messages, ownership, pages, records, shards, sweep};

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

/// Transactions of an actor: merged, taken back, late; a due time without a reason.
pub(crate) fn saying(scale: Scale) -> due::Size {
    let more = scale.more();
    due::Size {
        generations: 3,
        transactions: 3 + more,
        taken_back: 1,
        runs: 0,
        crashes: 2,
        meddles: 1,
        orders: 0,
    }
}

/// Runs of alarms that die, and an alarm that its own handler sets again.
pub(crate) fn trying(scale: Scale) -> due::Size {
    let more = scale.more();
    due::Size {
        generations: 3 + more,
        transactions: 2 + more,
        taken_back: 0,
        runs: 3 + more,
        crashes: 2,
        meddles: 0,
        orders: 0,
    }
}

/// An operator puts alarms on again, also that of a copy.
pub(crate) fn ordering(scale: Scale) -> due::Size {
    let more = scale.more();
    due::Size {
        generations: 2,
        transactions: 1 + more,
        runs: 3,
        crashes: 1,
        orders: 1,
        ..trying(scale)
    }
}

/// Actors that are due, and nodes that look for them.
pub(crate) fn looking(scale: Scale) -> sweep::Size {
    let more = scale.more();
    sweep::Size {
        looks: 8 + 2 * more,
        restarts: 2,
        destroys: 1,
        time: 2,
        letters: 2 + usize::from(more),
    }
}

/// Two messages to one receiver, a conversation that is closed, a crash, a message that fails.
pub(crate) fn talking(scale: Scale) -> messages::Size {
    let more = scale.more();
    messages::Size {
        sends: 2,
        questions: 4,
        openings: 4,
        trims: 1 + more,
        crashes: 1,
        failures: 1,
        forks: 0,
        restores: 0,
        undos: 0,
    }
}

/// A conversation that is closed while its answers are late.
pub(crate) fn closing(scale: Scale) -> messages::Size {
    messages::Size { questions: 3, openings: 3, crashes: 0, failures: 0, ..talking(scale) }
}

/// The same with as few questions as revive it.
pub(crate) fn reviving(scale: Scale) -> messages::Size {
    messages::Size { questions: 2, openings: 2, ..closing(scale) }
}

/// As `closing`, over two generations of the sender.
pub(crate) fn renewing(scale: Scale) -> messages::Size {
    messages::Size { crashes: 1, ..closing(scale) }
}

/// The receiver is forked, and both get messages.
pub(crate) fn forking(scale: Scale) -> messages::Size {
    let more = scale.more();
    messages::Size {
        questions: 2 + more,
        openings: 3,
        trims: 1,
        crashes: 0,
        failures: 0,
        forks: 1,
        ..talking(Scale::Small)
    }
}

/// The receiver is restored, and the restore undone.
pub(crate) fn restoring(scale: Scale) -> messages::Size {
    let more = scale.more();
    messages::Size {
        trims: 0,
        openings: 3 + more,
        crashes: 0,
        failures: 0,
        restores: 1,
        undos: 1,
        ..talking(Scale::Small)
    }
}

/// Clients with keys of their own, some used twice; a fork of the callee.
pub(crate) fn keys(scale: Scale) -> records::Size {
    let more = scale.more();
    records::Size {
        wishes: 3 + more,
        principals: 2,
        arguments: 2,
        again: 0,
        settles: 0,
        by_actor: 0,
        crashes: 1,
        forks: 1,
        time: 0,
        records: 4,
        plain: false,
    }
}

/// As many records as fit, and one call more.
pub(crate) fn filling(scale: Scale) -> records::Size {
    records::Size { principals: 1, arguments: 1, forks: 0, records: 1, ..keys(scale) }
}

/// A client that asks, and makes its call again; records that end.
pub(crate) fn settling(scale: Scale) -> records::Size {
    let more = scale.more();
    records::Size {
        wishes: 2 + more,
        principals: 1,
        arguments: 1,
        again: 1,
        settles: 2,
        forks: 0,
        time: 2,
        records: 2,
        plain: false,
        ..keys(Scale::Small)
    }
}

/// The same of a method that commits step by step.
pub(crate) fn stepping(scale: Scale) -> records::Size {
    records::Size { plain: true, ..settling(scale) }
}

/// An actor that calls, over two generations.
pub(crate) fn calling(scale: Scale) -> records::Size {
    let more = scale.more();
    records::Size {
        wishes: more,
        principals: 1,
        arguments: 1,
        forks: 0,
        by_actor: 3,
        crashes: 2,
        ..keys(Scale::Small)
    }
}

/// Two actors that call each other.
pub(crate) fn pairs(scale: Scale) -> circles::Size {
    let more = scale.more();
    circles::Size { actors: 2, calls: 4 + usize::from(more), starts: 2, timeouts: 1 }
}

/// Three actors that call each other.
pub(crate) fn rings(scale: Scale) -> circles::Size {
    let more = scale.more();
    circles::Size { actors: 3, calls: 4, starts: 0, timeouts: 1 + more }
}
