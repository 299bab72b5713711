//! What the look must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::{CRASHES_MAX, Size, Sweep, Temper, World};

/// Names of the properties that variants violate.
pub mod names {
    /// No actor is forgotten.
    pub const WOKEN: &str = "an actor that is due and can wake is woken";
    /// One actor does not end a fleet.
    pub const ENDED: &str = "an actor ends no more processes than its breaker allows";
    /// Nothing is early.
    pub const NOT_EARLY: &str = "no due work runs before its time";
    /// Destroyed is destroyed.
    pub const NOT_MADE: &str = "no wake makes an actor";
}

/// Rounds of all nodes: each sees each actor, and those that die are started again.
const ROUNDS_MAX: u32 = 16;

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Sweep>> {
    let mut all = vec![
        Property::always(names::WOKEN, |model: &Sweep, world: &World| wakes(model, world)),
        Property::always(names::ENDED, |_, world: &World| {
            world.actors.iter().all(|actor| actor.ended <= CRASHES_MAX)
        }),
        Property::always(names::NOT_EARLY, |_, world: &World| !world.breaches.early),
        Property::always(names::NOT_MADE, |_, world: &World| !world.breaches.made),
        Property::sometimes("due work is held for its crashes", |_, world: &World| {
            world.actors.iter().any(|actor| actor.crashes >= CRASHES_MAX)
        }),
        Property::sometimes("the sound actor has run", |_, world: &World| {
            world.actors.iter().any(|actor| actor.exists && actor.due.is_none())
        }),
        Property::sometimes("the node that looks for all rests", |_, world: &World| {
            world.nodes[0].lives && world.nodes[0].rests
        }),
        Property::sometimes("two nodes wake one actor", |_, world: &World| {
            let letters = &world.letters;
            letters.windows(2).any(|pair| letters[0].actor == pair[1].actor)
        }),
    ];
    if size.destroys > 0 {
        all.push(Property::sometimes(
            "a wake comes after its actor is gone",
            |_, world: &World| {
                world.letters.iter().any(|letter| !world.actors[letter.actor].exists)
            },
        ));
    }
    all
}

/// Whether the sound actor is woken, once its time has come, by the nodes as they are.
fn wakes(model: &Sweep, world: &World) -> bool {
    let mut alone = World { letters: Vec::new(), time: super::DUE + 1, ..world.clone() };
    for _ in 0..ROUNDS_MAX {
        for at in 0..alone.nodes.len() {
            alone.nodes[at].lives = true;
            if model.may_look(&alone, at) {
                model.look(&mut alone, at);
            }
            if let Some(letter) = alone.letters.pop() {
                model.wake(&mut alone, letter);
            }
        }
    }
    let is_over = |actor: &super::Actor| actor.temper != Temper::Sound || actor.due.is_none();
    alone.actors.iter().all(is_over)
}
