//! What due work must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::actions::Action;
use super::{COPY, Due, Letter, OWN, Size, TRIES_MAX, Word, World};

/// Names of the properties that variants violate.
pub mod names {
    /// No alarm is forgotten.
    pub const NEVER_LATE: &str = "an alarm that is due is due in the directory";
    /// The directory says what the rows say.
    pub const DUE_TIME: &str = "a due time is that of the newest commit";
    /// A wake for nothing is not repeated.
    pub const QUIET: &str = "an actor that has woken for nothing is not woken again";
    /// Tries are counted before they are made.
    pub const COUNTED: &str = "a handler begins only when its try is in the store";
    /// Tries end.
    pub const LIMITED: &str = "an alarm is tried no more often than its limit";
    /// What was set stays.
    pub const KEPT: &str = "an alarm that was set stays until it has run";
    /// Copies rest.
    pub const COPIES_REST: &str = "no alarm of another database runs";
}

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Due>> {
    let mut all = must_hold();
    all.extend(must_happen());
    if size.meddles > 0 {
        all.push(Property::sometimes("a rewrite comes after a commit", |_, world: &World| {
            world.letters.iter().any(
                |letter| matches!(letter, Letter::Settle { txid, .. } if *txid < world.head.txid),
            )
        }));
    }
    if size.orders > 0 {
        all.push(Property::sometimes("an alarm of a copy was put on", |_, world: &World| {
            world.head.rows.alarms[COPY].is_some_and(|row| row.here)
        }));
    }
    if size.runs > u8::from(size.crashes == 0) {
        all.extend(must_happen_to_runs());
    }
    if size.runs > TRIES_MAX {
        all.push(Property::sometimes("an alarm is parked", |_, world: &World| {
            world.head.rows.alarms[OWN].is_some_and(|row| row.next.is_none())
        }));
    }
    all
}

fn must_hold() -> Vec<Property<Due>> {
    vec![
        Property::always(names::NEVER_LATE, |_, world: &World| {
            let due = world.head.due;
            world.head.rows.earliest().is_none_or(|at| due.is_some_and(|due| due <= at))
        }),
        Property::always(names::DUE_TIME, |_, world: &World| {
            world.meddled || world.head.due == world.head.rows.earliest()
        }),
        Property::always(names::QUIET, is_quiet),
        Property::always(names::COUNTED, |_, world: &World| !world.breaches.uncounted),
        Property::always(names::LIMITED, |_, world: &World| world.begun <= TRIES_MAX),
        Property::always(names::KEPT, |_, world: &World| {
            let wanted = world.head.rows.wanted;
            wanted == 0 || world.head.rows.alarms[OWN].is_some_and(|row| row.set == wanted)
        }),
        Property::always(names::COPIES_REST, |_, world: &World| !world.breaches.copy),
    ]
}

fn must_happen() -> Vec<Property<Due>> {
    vec![
        Property::sometimes("transactions become one commit", |_, world: &World| {
            world.session.is_some_and(|session| {
                session.in_flight.is_some() && matches!(session.accepted, Some(Word::Is(_)))
            })
        }),
        Property::sometimes("a commit is late, its generation gone", |_, world: &World| {
            world.letters.iter().any(|letter| {
                matches!(letter, Letter::Commit { generation, .. }
                    if *generation < world.head.generation)
            })
        }),
    ]
}

fn must_happen_to_runs() -> Vec<Property<Due>> {
    vec![
        Property::sometimes("a handler has set its own alarm again", |_, world: &World| {
            world.session.is_some_and(|session| {
                let set = session.rows.alarms[OWN].map(|row| row.set);
                session.run.is_some_and(|run| run.begun && set.is_some_and(|set| set > run.set))
            })
        }),
        Property::sometimes("a counted try was never begun", |_, world: &World| {
            world.session.is_none()
                && world.head.rows.alarms[OWN]
                    .is_some_and(|row| world.begun_of[usize::from(row.set)] < row.attempts)
        }),
    ]
}

/// Whether the next generation, with no other step about, leaves a right due time.
fn is_quiet(model: &Due, world: &World) -> bool {
    if world.session.is_some() || world.head.due.is_none() {
        return true;
    }
    let mut alone = World { letters: Vec::new(), ..world.clone() };
    model.act(&mut alone, Action::TakeOver);
    if alone.session.is_some_and(|session| model.may_settle(&alone, &session)) {
        model.act(&mut alone, Action::Settle);
        model.act(&mut alone, Action::Arrive(0));
    }
    alone.head.due == alone.head.rows.earliest()
}
