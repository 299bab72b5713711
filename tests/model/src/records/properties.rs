//! What records must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::{ACTOR, CALLEE, FORK, Letter, Outcome, Record, Records, Size, World};

/// Names of the properties that variants violate.
pub mod names {
    /// Never twice.
    pub const ONCE: &str = "what a caller wants is done once at most";
    /// Never is never.
    pub const NEVER: &str = "a call that was settled as never does not run";
    /// Answers are the caller's own.
    pub const OWN_ANSWER: &str = "an answer from a record is that of the same call";
}

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Records>> {
    let mut all = vec![
        Property::always(names::ONCE, |_, world: &World| {
            world.callees.iter().all(|callee| {
                let effects: Vec<u8> = callee.effects.iter().map(|(effect, _)| *effect).collect();
                (1..effects.len()).all(|at| !effects[..at].contains(&effects[at]))
            })
        }),
        Property::always(names::NEVER, |_, world: &World| !world.breaches.never),
        Property::always(names::OWN_ANSWER, |_, world: &World| !world.breaches.other),
        Property::sometimes("a call comes again after it was done", |_, world: &World| {
            any_record(world, |record| matches!(record.outcome, Outcome::Done(_)))
        }),
    ];
    if size.settles > 0 {
        all.push(Property::sometimes("a call comes after it was settled", |_, world: &World| {
            any_record(world, |record| record.outcome == Outcome::Never)
        }));
        all.push(Property::sometimes("a call is made again, and is done", |_, world: &World| {
            world.left.again == 0 && !world.callees[CALLEE].effects.is_empty()
        }));
    }
    if size.forks > 0 {
        all.push(Property::sometimes("a fork has records of its base", |_, world: &World| {
            world.callees.get(FORK).is_some_and(|fork| {
                fork.records.iter().any(|record| record.name == CALLEE) && !fork.effects.is_empty()
            })
        }));
    }
    if size.time > 0 {
        all.push(Property::sometimes(
            "a call comes after its record is gone",
            |_, world: &World| {
                let callee = &world.callees[CALLEE];
                callee.records.is_empty() && !callee.effects.is_empty()
            },
        ));
    }
    if size.plain {
        all.push(Property::sometimes("a call was begun and never ended", |_, world: &World| {
            let idle = world.callees[CALLEE].running.is_none();
            idle && any_record(world, |record| record.outcome == Outcome::Begun)
        }));
    }
    if size.by_actor > 1 {
        all.push(Property::sometimes("two generations have called", |_, world: &World| {
            let of = |generation| {
                world.letters.iter().any(|letter| {
                    matches!(letter, Letter::Call(call)
                        if (call.principal, call.id.of) == (ACTOR, generation))
                })
            };
            of(1) && of(2)
        }));
    }
    all
}

fn any_record(world: &World, is: impl Fn(&Record) -> bool) -> bool {
    world.callees.iter().flat_map(|callee| &callee.records).any(is)
}
