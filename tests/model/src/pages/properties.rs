//! What a read must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::{Letter, Pages, Size, World};

/// Names of the properties that variants violate.
pub mod names {
    /// No page of an uncommitted stage, no hole, no old page back.
    pub const READS_ARE_COMMITTED: &str = "every commit reads as SQLite had it";
    /// A page from the cache is the newest.
    pub const CACHE_IS_CURRENT: &str = "a page served from a cache is the newest";
    /// No page for an older generation.
    pub const OWN_READS: &str = "a page is given to the owner only";
}

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Pages>> {
    let mut all = must_hold();
    all.push(Property::sometimes("a page grows back after it was cut off", |_, world: &World| {
        let counts = || world.commits.iter().map(|commit| commit.image.len());
        counts().zip(counts().skip(1)).zip(counts().skip(2)).any(|((a, b), c)| a > b && b < c)
    }));
    if size.stages > 0 {
        all.extend(must_happen_to_stages());
    }
    if size.reads > 0 {
        all.extend(must_happen_to_caches());
    }
    all
}

fn must_hold() -> Vec<Property<Pages>> {
    vec![
        Property::always(names::READS_ARE_COMMITTED, |_, world: &World| {
            world.commits.iter().zip(1..).all(|(commit, txid)| {
                commit
                    .image
                    .iter()
                    .enumerate()
                    .all(|(page, value)| world.visible(page, txid) == Some(*value))
            })
        }),
        Property::always(names::CACHE_IS_CURRENT, |model: &Pages, world: &World| {
            let cache = &world.caches[world.node];
            world.image().iter().zip(cache).all(|(value, entry)| {
                entry.is_none_or(|entry| entry.value == *value || !model.serves(world, entry))
            })
        }),
        Property::always(names::OWN_READS, |_, world: &World| !world.foreign_read),
    ]
}

fn must_happen_to_stages() -> Vec<Property<Pages>> {
    vec![
        Property::sometimes("a commit shows what was staged", |_, world: &World| {
            world.commits.iter().any(|commit| commit.stage != 0)
        }),
        Property::sometimes("a stage that was given up has left rows", |_, world: &World| {
            garbage(world)
        }),
        Property::sometimes("a chunk is late, its fence still holds", |_, world: &World| {
            let running = world.staging.as_ref().map_or(0, |staging| staging.stage);
            world.letters.iter().any(|letter| match letter {
                Letter::Chunk { generation, row } => {
                    *generation == world.generation && row.stage != running
                }
                Letter::TakeOver { .. } | Letter::Read { .. } | Letter::Answer { .. } => false,
            })
        }),
        Property::sometimes("a chunk of a fenced generation is late", |_, world: &World| {
            world.letters.iter().any(|letter| match letter {
                Letter::Chunk { generation, .. } => *generation < world.generation,
                Letter::TakeOver { .. } | Letter::Read { .. } | Letter::Answer { .. } => false,
            })
        }),
    ]
}

fn must_happen_to_caches() -> Vec<Property<Pages>> {
    vec![
        Property::sometimes(
            "an answer is older than a commit of its session",
            |_, world: &World| {
                world.letters.iter().any(|letter| match letter {
                    Letter::Answer { at, .. } => *at < world.txid(),
                    Letter::Chunk { .. } | Letter::TakeOver { .. } | Letter::Read { .. } => false,
                })
            },
        ),
        Property::sometimes("a cache has a page that is not valid any more", |_, world: &World| {
            world
                .image()
                .iter()
                .zip(&world.caches[world.node])
                .any(|(value, entry)| entry.is_some_and(|entry| entry.value != *value))
        }),
    ]
}

/// Rows that no commit will ever show.
fn garbage(world: &World) -> bool {
    world.rows.iter().any(|row| {
        let commit = world.commits.get(usize::from(row.txid - 1));
        row.stage != 0 && commit.is_some_and(|commit| commit.stage != row.stage)
    })
}
