//! What must hold in every state, and what must happen in some, so that the rest says something.

use stateright::Property;

use super::store::{Place, Step};
use super::{Ending, Host, Ownership, Size, World};

/// Names of the properties that variants violate.
pub mod names {
    /// No acknowledged commit is lost.
    pub const ACKNOWLEDGED_IS_KEPT: &str = "an acknowledged write is in the store";
    /// No call gets the answer `not committed` that was committed.
    pub const REFUSED_IS_NOT_KEPT: &str = "a write told as not committed is not in the store";
    /// A resend is one commit.
    pub const ONCE: &str = "a write is committed once";
    /// No answer reaches its caller before it is durable.
    pub const HEARD_IS_DURABLE: &str = "an answer rests on durable commits only";
    /// No answer of a former owner reaches its caller.
    pub const HEARD_IS_OWNED: &str = "nothing is heard of a generation fenced before the call";
    /// An answer shows what others were answered before its call.
    pub const HEARD_IS_FRESH: &str = "an answer shows all that was acknowledged before its call";
    /// One owner per (generation, token).
    pub const ONE_OWNER: &str = "a generation has one owner";
    /// A takeover replaces what was judged.
    pub const JUDGED: &str = "a takeover replaces only the owner that was judged";
    /// No commit of an older generation.
    pub const OWN_COMMITS: &str = "a commit is applied under its own generation only";
    /// No seal of an older generation.
    pub const OWN_SEALS: &str = "a head is sealed by its own generation only";
    /// No page for an older generation.
    pub const OWN_READS: &str = "pages are given to the owner only";
    /// A healthy owner is not killed.
    pub const HEALTHY: &str = "a fence ends only a session that has lost its database";
    /// A snapshot that is called current is.
    pub const CURRENT: &str = "a current snapshot is the state of the database";
}

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Ownership>> {
    let mut all = must_hold();
    all.extend(must_happen());
    if size.seals > 0 {
        all.extend(must_happen_to_seals());
    }
    if size.heirs {
        all.extend(must_happen_to_heirs());
    }
    all
}

fn must_hold() -> Vec<Property<Ownership>> {
    vec![
        Property::always(names::ACKNOWLEDGED_IS_KEPT, |_, world: &World| {
            world.told.committed & !world.durable.all_writes() == 0
        }),
        Property::always(names::REFUSED_IS_NOT_KEPT, |_, world: &World| {
            world.told.refused & world.durable.all_writes() == 0
        }),
        Property::always(names::ONCE, |_, world: &World| {
            let mut seen = 0;
            world.durable.log.iter().all(|row| {
                let first = row.writes & seen == 0;
                seen |= row.writes;
                first
            })
        }),
        Property::always(names::HEARD_IS_DURABLE, |_, world: &World| !world.breaches.heard_early),
        Property::always(names::HEARD_IS_OWNED, |_, world: &World| !world.breaches.heard_fenced),
        Property::always(names::HEARD_IS_FRESH, |_, world: &World| !world.breaches.heard_stale),
        Property::always(names::ONE_OWNER, |_, world: &World| !world.breaches.two_owners),
        Property::always(names::JUDGED, |_, world: &World| !world.breaches.unjudged),
        Property::always(names::OWN_COMMITS, |_, world: &World| !world.breaches.foreign_commit),
        Property::always(names::OWN_SEALS, |_, world: &World| !world.breaches.foreign_seal),
        Property::always(names::OWN_READS, |_, world: &World| !world.breaches.foreign_read),
        Property::always(names::HEALTHY, |_, world: &World| !world.breaches.healthy_ended),
        Property::always(names::CURRENT, |_, world: &World| !world.breaches.wrong_snapshot),
    ]
}

fn must_happen() -> Vec<Property<Ownership>> {
    vec![
        Property::sometimes("two generations have commits", |_, world: &World| {
            let generations = world.durable.log.iter().map(|row| row.generation);
            generations.clone().min() != generations.max()
        }),
        Property::sometimes("two sessions serve, one of them fenced", |_, world: &World| {
            world.hosts.iter().filter(|host| matches!(host, Host::Serving(_))).count() > 1
        }),
        Property::sometimes("a takeover was applied and its answer is lost", |_, world: &World| {
            world.hosts.iter().any(|host| match host {
                Host::Taking { token, .. } => world.durable.owner.token == *token,
                Host::Idle | Host::Serving(_) | Host::Waiting(_) => false,
            })
        }),
        Property::sometimes(
            "two attempts to replace one owner are on their way",
            |_, world: &World| {
                let mut replaced = world.letters.iter().filter_map(|letter| match letter.step {
                    Step::TakeOver { replaces, .. } => Some(replaces),
                    Step::Commit { .. } | Step::Seal { .. } => None,
                });
                let first = replaced.next();
                first.is_some() && replaced.any(|other| Some(other) == first)
            },
        ),
        Property::sometimes("a commit was sent again and is in the store", |_, world: &World| {
            in_flight(world).any(|(session_durable, writes, sends)| {
                let row = world.durable.log.get(usize::from(session_durable));
                sends > 1 && row.is_some_and(|row| row.writes == writes)
            })
        }),
        Property::sometimes("a commit of a fenced generation is late", |_, world: &World| {
            world.letters.iter().any(|letter| match letter.step {
                Step::Commit { owner, .. } => {
                    letter.place == Place::Sent && owner.generation < world.durable.owner.generation
                }
                Step::TakeOver { .. } | Step::Seal { .. } => false,
            })
        }),
        Property::sometimes("a caller is told that its write was not kept", |_, world: &World| {
            world.told.refused != 0
        }),
        Property::sometimes("writes of two calls are one commit", |_, world: &World| {
            world.durable.log.iter().any(|row| row.writes.count_ones() > 1)
        }),
        Property::sometimes(
            "reads and writes of two generations were heard",
            |_, world: &World| {
                let heard = |row: &super::store::Row| row.writes & world.told.committed != 0;
                let mut generations = world.durable.log.iter().filter(|row| heard(row));
                let first = generations.next().map(|row| row.generation);
                first.is_some() && generations.any(|row| Some(row.generation) != first)
            },
        ),
    ]
}

fn must_happen_to_seals() -> Vec<Property<Ownership>> {
    vec![
        Property::sometimes("a sealed head waits for its next owner", |_, world: &World| {
            world.durable.sealed && world.durable.snapshot.is_some()
        }),
        Property::sometimes("a seal is late", |_, world: &World| {
            world.letters.iter().any(|letter| match letter.step {
                Step::Seal { owner, .. } => owner.generation < world.durable.owner.generation,
                Step::TakeOver { .. } | Step::Commit { .. } => false,
            })
        }),
        Property::sometimes("an orderly end waits for a commit", |_, world: &World| {
            world.hosts.iter().any(|host| match host {
                Host::Serving(session) => {
                    matches!(session.ending, Ending::Stopped { .. }) && session.flight.is_some()
                }
                Host::Idle | Host::Taking { .. } | Host::Waiting(_) => false,
            })
        }),
    ]
}

fn must_happen_to_heirs() -> Vec<Property<Ownership>> {
    vec![
        Property::sometimes("an heir begins with commits", |_, world: &World| {
            world.hosts.iter().any(|host| match host {
                Host::Serving(session) => {
                    // No generation but an heir begins with pages cached before.
                    session.first.is_some() && session.cached.is_some() && session.durable > 0
                }
                Host::Idle | Host::Taking { .. } | Host::Waiting(_) => false,
            })
        }),
        Property::sometimes("an heir was replaced before it began", |_, world: &World| {
            world.hosts.iter().any(|host| match host {
                Host::Waiting(heir) => heir.owner.generation < world.durable.owner.generation,
                Host::Idle | Host::Taking { .. } | Host::Serving(_) => false,
            })
        }),
    ]
}

/// Commits without a verdict: the txid before, what they write, how often they were sent.
fn in_flight(world: &World) -> impl Iterator<Item = (u8, u8, u8)> {
    world.hosts.iter().filter_map(|host| match host {
        Host::Serving(session) => {
            session.flight.map(|flight| (session.durable, flight.writes, flight.sends))
        }
        Host::Idle | Host::Taking { .. } | Host::Waiting(_) => None,
    })
}
