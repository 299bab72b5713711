//! What history must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::{History, Letter, Origin, Size, World};
use crate::Variant;

/// Names of the properties that variants violate.
pub mod names {
    /// A read of history is right, or says that history is gone.
    pub const HISTORY_IS_RIGHT: &str = "a historical read is what was committed, or refused";
    /// Pins hold.
    pub const PINS_HOLD: &str = "what a pin holds is whole";
    /// The head is whole.
    pub const HEAD_IS_WHOLE: &str = "the newest state is whole";
    /// Destroyed is gone.
    pub const NOTHING_IS_LEFT: &str = "a destroyed database has no rows";
    /// Import code keeps to imports.
    pub const IMPORT_KEEPS_OUT: &str = "import code never touches a finished database";
    /// Forks are asked before a destroy.
    pub const FORKS_ARE_ASKED: &str = "no destroy begins while a fork holds history";
}

/// All of them.
pub(super) fn all(_: &Size) -> Vec<Property<History>> {
    vec![
        Property::always(names::HISTORY_IS_RIGHT, |model: &History, world: &World| {
            let checked = model.checks.make(Variant::Floor);
            readable(world).all(|(database, floor, txid)| {
                let from = if checked { floor.max(1) } else { 1 };
                (from..=txid).all(|at| database.reads_right(at))
            })
        }),
        Property::always(names::PINS_HOLD, |_, world: &World| {
            readable(world).all(|(database, _, txid)| {
                (1..=txid)
                    .filter(|at| database.held() & (1 << at) != 0)
                    .all(|at| database.reads_right(at))
            })
        }),
        Property::always(names::HEAD_IS_WHOLE, |_, world: &World| {
            readable(world).all(|(database, _, txid)| database.reads_right(txid))
        }),
        Property::always(names::NOTHING_IS_LEFT, |_, world: &World| {
            world.databases.iter().all(|db| db.head.is_some() || db.row_count() == 0)
        }),
        Property::always(names::IMPORT_KEEPS_OUT, |_, world: &World| !world.import_touched),
        Property::always(names::FORKS_ARE_ASKED, |_, world: &World| !world.forks_ignored),
        Property::sometimes("history was trimmed below a floor", |_, world: &World| {
            world.databases.iter().any(|db| db.head.is_some() && db.rows != db.written)
        }),
        Property::sometimes("a pin holds history back", |_, world: &World| {
            readable(world).any(|(database, floor, txid)| {
                database.held() & (1 << floor) != 0 && floor > 1 && floor < txid
            })
        }),
        Property::sometimes("a pin goes with its database", |_, world: &World| {
            world.actor.is_some_and(|actor| actor.destroying && world.databases[actor.db].pins != 0)
        }),
        Property::sometimes(
            "the floor that was asked for has become too high",
            |_, world: &World| {
                world.letters.iter().any(|letter| match letter {
                    Letter::RaiseFloor { db, floor } => {
                        let pins = world.databases[*db].held();
                        pins != 0 && u32::from(*floor) > pins.trailing_zeros()
                    }
                    Letter::Chunk { .. } | Letter::ResetImport { .. } => false,
                })
            },
        ),
        Property::sometimes("a chunk comes after its database is gone", |_, world: &World| {
            world.letters.iter().any(|letter| match letter {
                Letter::Chunk { db, .. } => world.databases[*db].head.is_none(),
                Letter::RaiseFloor { .. } | Letter::ResetImport { .. } => false,
            })
        }),
        Property::sometimes("a destroy was interrupted half-way", |_, world: &World| {
            world.actor.is_some_and(|actor| {
                let database = &world.databases[actor.db];
                actor.destroying && world.destroyer.is_none() && database.rows != database.written
            })
        }),
        Property::sometimes("the actor has a second life", |_, world: &World| {
            world.actor.is_some_and(|actor| actor.db > 0 && !actor.destroying)
        }),
        Property::sometimes("a reset comes after its import has ended", |_, world: &World| {
            world.letters.iter().any(|letter| match letter {
                Letter::ResetImport { db } => {
                    let origin = world.databases[*db].head.map(|head| head.origin);
                    origin == Some(Origin::Imported)
                }
                Letter::Chunk { .. } | Letter::RaiseFloor { .. } => false,
            })
        }),
    ]
}

/// The database that may be read, with its floor and txid.
fn readable(world: &World) -> impl Iterator<Item = (&super::Database, u8, u8)> {
    let actor = world.actor.filter(|actor| !actor.destroying);
    actor.into_iter().filter_map(|actor| {
        let database = &world.databases[actor.db];
        database.head.map(|head| (database, head.floor, head.txid))
    })
}
