//! Callers, and what befalls them and the callee.

use super::{ACTOR, CALLEE, Call, Callee, FORK, Id, KEPT, Letter, Records, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client makes a call: of which callee, as which principal, with which arguments, and
    /// whether under a key that it chooses now.
    Wish(usize, u8, u8, Key),
    /// A client asks what became of a call.
    Settle(usize),
    /// A client whose call will never run makes it again, under another id.
    Again(usize),
    /// An actor makes a call.
    ByActor,
    /// That actor commits.
    CallerCommit,
    /// The next generation of that actor begins.
    CallerCrash,
    /// A request arrives. It stays on its way.
    Arrive(usize),
    /// The callee commits what is next of its call.
    Commit(usize),
    /// The next generation of a callee begins.
    Crash(usize),
    /// The callee is forked.
    Fork,
    /// Time passes.
    Tick,
    /// A record that is old enough is deleted.
    Expire(usize),
}

/// The key of a client's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A new one.
    New,
    /// One that was used before.
    Used,
}

impl Records {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        if world.left.wishes > 0 {
            self.possible_wishes(world, actions);
        }
        for (at, letter) in world.letters.iter().enumerate() {
            actions.push(Action::Arrive(at));
            let Letter::Call(call) = letter else { continue };
            if call.principal == ACTOR {
                continue;
            }
            if world.left.settles > 0 {
                actions.push(Action::Settle(at));
            }
            if world.left.again > 0 && world.never.contains(call) {
                actions.push(Action::Again(at));
            }
        }
        if world.left.by_actor > 0 {
            actions.push(Action::ByActor);
            if world.caller.txid == 0 {
                actions.push(Action::CallerCommit);
            }
            if world.left.crashes > 0 {
                actions.push(Action::CallerCrash);
            }
        }
        for (at, callee) in world.callees.iter().enumerate() {
            if callee.running.is_some() {
                actions.push(Action::Commit(at));
                if world.left.crashes > 0 {
                    actions.push(Action::Crash(at));
                }
            }
        }
        if world.left.forks > 0 && world.callees[CALLEE].running.is_none() {
            actions.push(Action::Fork);
        }
        if world.time < self.size.time {
            actions.push(Action::Tick);
        }
        let is_old = |at: &usize| {
            let first = world.callees[*at].records.first();
            first.is_some_and(|record| record.id.first + KEPT <= world.time)
        };
        actions.extend((0..world.callees.len()).filter(is_old).map(Action::Expire));
    }

    fn possible_wishes(&self, world: &World, actions: &mut Vec<Action>) {
        for to in 0..world.callees.len() {
            for principal in 0..self.size.principals {
                for arguments in 0..self.size.arguments {
                    actions.push(Action::Wish(to, principal, arguments, Key::New));
                    // A call that differs in nothing is the same call.
                    let same = |letter: &Letter| {
                        matches!(letter, Letter::Call(call)
                            if (call.to, call.principal, call.arguments, call.id.of)
                                == (to, principal, arguments, 0))
                    };
                    if world.next_key > 0 && !world.letters.iter().any(same) {
                        actions.push(Action::Wish(to, principal, arguments, Key::Used));
                    }
                }
            }
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Wish(to, principal, arguments, key) => {
                world.left.wishes -= 1;
                let effect = effect(world);
                let id = match key {
                    Key::New => new_key(world),
                    Key::Used => Id { first: 0, of: 0, number: 0 },
                };
                world.send(Letter::Call(Call { to, id, principal, arguments, effect }));
            }
            Action::Settle(at) => {
                if let Letter::Call(call) = world.letters[at] {
                    world.left.settles -= 1;
                    world.send(Letter::Settle(call));
                }
            }
            Action::Again(at) => {
                if let Letter::Call(call) = world.letters[at] {
                    world.left.again -= 1;
                    let id = new_key(world);
                    world.send(Letter::Call(Call { id, ..call }));
                }
            }
            Action::ByActor => {
                world.left.by_actor -= 1;
                world.caller.ordinal += 1;
                let caller = world.caller;
                let of = if self.checks.make(Variant::CallGeneration) {
                    caller.generation
                } else {
                    caller.txid + 1
                };
                let id = Id { first: world.time, of, number: caller.ordinal };
                let effect = effect(world);
                let call = Call { to: CALLEE, id, principal: ACTOR, arguments: 0, effect };
                world.send(Letter::Call(call));
            }
            Action::CallerCommit => world.caller.txid += 1,
            Action::CallerCrash => {
                world.left.crashes -= 1;
                world.caller.generation += 1;
                world.caller.ordinal = 0;
            }
            Action::Arrive(letter) => match world.letters[letter] {
                Letter::Call(call) => self.called(world, call),
                Letter::Settle(call) => self.settle(world, call),
            },
            Action::Commit(at) => self.commit(world, at),
            Action::Crash(at) => {
                world.left.crashes -= 1;
                world.callees[at].running = None;
            }
            Action::Fork => {
                world.left.forks -= 1;
                let records = world.callees[CALLEE].records.clone();
                world.callees.insert(FORK, Callee { records, ..Callee::default() });
            }
            Action::Tick => world.time += 1,
            Action::Expire(at) => {
                world.callees[at].records.remove(0);
            }
        }
    }
}

fn effect(world: &mut World) -> u8 {
    world.next_effect += 1;
    world.next_effect - 1
}

fn new_key(world: &mut World) -> Id {
    world.next_key += 1;
    Id { first: world.time, of: 0, number: world.next_key - 1 }
}
