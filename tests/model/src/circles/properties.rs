//! What calls must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::actions::{arrive, give_back};
use super::{Circles, Size, Stage, World};
use crate::Variant;

/// Names of the properties that variants violate.
pub mod names {
    /// No circle stays.
    pub const OPENED: &str = "a circle of calls is opened";
    /// What has begun is not taken back.
    pub const BEGUN: &str = "no call is refused that has begun";
    /// One is enough.
    pub const ONE: &str = "one call of a circle gives way";
    /// Nothing else is refused.
    pub const REAL: &str = "a call is refused only for a circle that was there";
}

/// Rounds of all probes that are left alone.
const ROUNDS_MAX: u32 = 40;

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Circles>> {
    let mut all = vec![
        Property::always(names::OPENED, |model: &Circles, world: &World| opens(model, world)),
        Property::always(names::BEGUN, |_, world: &World| !world.breaches.begun),
        Property::always(names::ONE, |_, world: &World| !world.breaches.both),
        Property::always(names::REAL, |_, world: &World| !world.breaches.unreal),
        Property::sometimes("a circle has two actors", |_, world: &World| {
            world.opened.iter().any(|(calls, _)| calls.count_ones() == 2)
        }),
        Property::sometimes("two probes look at one circle", |_, world: &World| {
            let found =
                |call: &super::Call| call.probe.as_ref().is_some_and(|probe| probe.was_real);
            world.calls.iter().filter(|call| found(call)).count() > 1
        }),
        Property::sometimes("an answer is late, its actor calls back", |_, world: &World| {
            world.calls.iter().any(|call| {
                let back = |other: &super::Call| (other.from, other.to) == (call.to, call.from);
                let open = |other: &super::Call| other.stage == Stage::Queued;
                call.stage == Stage::Ended
                    && world.calls.iter().any(|other| back(other) && open(other))
            })
        }),
    ];
    if size.actors > 2 {
        all.push(Property::sometimes("a circle has three actors", |_, world: &World| {
            world.opened.iter().any(|(calls, _)| calls.count_ones() == 3)
        }));
    }
    if size.calls > 2 {
        all.push(Property::sometimes("a circle has a call that has begun", |_, world: &World| {
            world.opened.iter().any(|(calls, _)| {
                world
                    .calls
                    .iter()
                    .enumerate()
                    .any(|(at, call)| calls & (1 << at) != 0 && call.stage == Stage::Begun)
            })
        }));
    }
    if size.timeouts > 0 {
        all.push(Property::sometimes("a circle ends before it is opened", |_, world: &World| {
            world.timeouts == 0
                && world.calls.iter().any(|call| {
                    call.probe.as_ref().is_some_and(|probe| probe.was_real)
                        && call.stage == Stage::Begun
                })
        }));
    }
    all
}

/// Whether no circle is left when probes have ended, while no actor does anything more.
fn opens(model: &Circles, world: &World) -> bool {
    if !has_circle(world) {
        return true;
    }
    let mut alone = world.clone();
    for call in &mut alone.calls {
        call.noted |= model.checks.make(Variant::HookNoted);
    }
    for _ in 0..ROUNDS_MAX {
        while let Some(call) = alone.letters.pop() {
            arrive(&mut alone, call);
        }
        for call in 0..alone.calls.len() {
            if matches!(alone.calls[call].stage, Stage::Ended | Stage::Refused) {
                give_back(&mut alone, call);
            }
            model.look(&mut alone, call);
        }
        if !has_circle(&alone) {
            return true;
        }
    }
    false
}

/// Whether actors wait for each other.
fn has_circle(world: &World) -> bool {
    let next = |actor: usize| {
        let call = world.actors[actor].waits.filter(|call| world.is_waited_for(*call))?;
        Some(world.calls[call].to)
    };
    (0..world.actors.len()).any(|first| {
        let mut at = next(first);
        for _ in 0..world.actors.len() {
            match at {
                Some(actor) if actor == first => return true,
                Some(actor) => at = next(actor),
                None => return false,
            }
        }
        false
    })
}
