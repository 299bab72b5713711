//! What messages must give, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::{FORK, Letter, Messages, RECEIVER, Size, World};

/// Names of the properties that variants violate.
pub mod names {
    /// Never twice.
    pub const ONCE: &str = "a message is handled once at most";
    /// Never lost.
    pub const HANDLED: &str = "a row leaves the outbox only once its message is handled";
    /// In order.
    pub const IN_ORDER: &str = "no message is handled before an earlier one of its outbox";
    /// Never stuck.
    pub const DELIVERED: &str = "what is in an outbox can be delivered";
}

/// Rounds that a pair which is left alone may take: a conversation that is gone, another one.
const ROUNDS_MAX: u32 = 3;

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Messages>> {
    let mut all = must_hold();
    all.extend(must_happen());
    if size.trims > 0 {
        all.push(Property::sometimes("a close is late", |_, world: &World| {
            let mark = world.receivers[RECEIVER].data.mark;
            world.letters.iter().any(|letter| {
                matches!(letter, Letter::Close { conversation, .. }
                    if mark.is_some_and(|mark| mark.conversation > *conversation))
            })
        }));
    }
    if size.failures > 0 {
        all.push(Property::sometimes("a message is parked", |_, world: &World| {
            world.left.failures == 0 && !world.receivers[RECEIVER].data.handled.is_empty()
        }));
    }
    if size.forks > 0 {
        all.push(Property::sometimes("a fork has the mark of its base", |_, world: &World| {
            let fork = world.receivers.get(FORK);
            fork.and_then(|fork| fork.data.mark).is_some_and(|mark| mark.name == RECEIVER)
        }));
        all.push(Property::sometimes(
            "a fork has a conversation of its own",
            |_, world: &World| {
                world.receivers.get(FORK).is_some_and(|fork| !fork.data.handled.is_empty())
            },
        ));
    }
    if size.restores > 0 {
        all.push(Property::sometimes(
            "a message was taken back by a restore",
            |_, world: &World| {
                world.left.restores == 0 && handled(world) != world.receivers[RECEIVER].ever
            },
        ));
    }
    if size.undos > 0 {
        all.push(Property::sometimes("a restore was undone", |_, world: &World| {
            world.left.undos == 0
        }));
    }
    all
}

fn must_hold() -> Vec<Property<Messages>> {
    vec![
        Property::always(names::ONCE, |_, world: &World| {
            world.receivers.iter().all(|receiver| {
                let handled = &receiver.data.handled;
                (1..handled.len()).all(|at| !handled[..at].contains(&handled[at]))
            })
        }),
        Property::always(names::HANDLED, |_, world: &World| !world.breaches.lost),
        Property::always(names::IN_ORDER, |_, world: &World| !world.breaches.overtaken),
        Property::always(names::DELIVERED, |model: &Messages, world: &World| {
            (0..world.receivers.len()).all(|to| delivers(model, world, to))
        }),
    ]
}

fn must_happen() -> Vec<Property<Messages>> {
    vec![
        Property::sometimes("all was delivered", |_, world: &World| {
            let empty = world.pairs.iter().all(|pair| pair.outbox.is_empty());
            world.left.sends == 0 && empty
        }),
        Property::sometimes("several rows are under way", |_, world: &World| {
            let rows = |letter: &&Letter| matches!(letter, Letter::Deliver { .. });
            world.pairs[RECEIVER].outbox.len() > 1 && world.letters.iter().filter(rows).count() > 1
        }),
        Property::sometimes("an answer to an earlier question is late", |_, world: &World| {
            world.letters.iter().any(|letter| {
                matches!(letter, Letter::Opened { of, question, .. }
                    if world.pairs[*of].asked > *question)
            })
        }),
        Property::sometimes("a receiver refuses a conversation", |_, world: &World| {
            world.letters.iter().any(|letter| matches!(letter, Letter::Refused { .. }))
        }),
        Property::sometimes("a message comes again after its mark is gone", |_, world: &World| {
            world.receivers[RECEIVER].data.mark.is_none()
                && world.letters.iter().any(|letter| matches!(letter, Letter::Deliver { .. }))
        }),
    ]
}

/// What the receiver has handled, as far as it knows.
fn handled(world: &World) -> super::Set {
    world.receivers[RECEIVER].data.handled.iter().fold(0, |set, message| set | 1 << message)
}

/// Whether the outbox for a receiver becomes empty if nothing else happens and no letter of before
/// arrives.
fn delivers(model: &Messages, world: &World, to: usize) -> bool {
    if world.pairs[to].outbox.is_empty() {
        return true;
    }
    let mut alone = World { letters: Vec::new(), ..world.clone() };
    alone.receivers[to].half = None;
    alone.question = u8::MAX;
    for _ in 0..ROUNDS_MAX {
        if alone.pairs[to].conversation == 0 {
            alone.pairs[to].asked = alone.question;
            let open = Letter::Open { to, question: alone.question };
            exchange(model, &mut alone, open);
        }
        while let Some(row) = alone.pairs[to].outbox.iter().position(|row| !row.parked) {
            let before = alone.pairs[to].outbox.len();
            let delivery = model.delivery(&alone, to, row);
            exchange(model, &mut alone, delivery);
            alone.receivers[to].commit_half(to);
            if alone.pairs[to].outbox.len() == before {
                break;
            }
        }
        if alone.pairs[to].outbox.iter().all(|row| row.parked) {
            return true;
        }
    }
    false
}

/// A letter, and its answer.
fn exchange(model: &Messages, alone: &mut World, letter: Letter) {
    if let Some(answer) = model.arrive(alone, letter) {
        model.arrive(alone, answer);
    }
}
