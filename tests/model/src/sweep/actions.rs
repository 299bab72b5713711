//! Looks, wakes, and what befalls nodes and actors.

use super::{AHEAD, CRASHES_MAX, Letter, Sweep, Temper, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// A node looks for what is due.
    Look(usize),
    /// A wake reaches its node.
    Arrive(usize),
    /// The first node stops looking, and lives.
    Rest,
    /// A node is started again.
    Restart(usize),
    /// The sound actor is destroyed.
    Destroy,
}

impl Sweep {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend((0..world.letters.len()).map(Action::Arrive));
        if world.time < self.size.time {
            actions.push(Action::Tick);
        }
        for (at, node) in world.nodes.iter().enumerate() {
            let room = world.left.looks > 0 && world.letters.len() < self.size.letters;
            if room && self.may_look(world, at) {
                actions.push(Action::Look(at));
            }
            if !node.lives && world.left.restarts > 0 {
                actions.push(Action::Restart(at));
            }
        }
        if world.nodes[0].lives && !world.nodes[0].rests {
            actions.push(Action::Rest);
        }
        if world.left.destroys > 0 {
            actions.push(Action::Destroy);
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => world.time += 1,
            Action::Look(node) => {
                world.left.looks -= 1;
                self.look(world, node);
            }
            Action::Arrive(letter) => {
                let letter = world.letters.remove(letter);
                self.wake(world, letter);
            }
            Action::Rest => world.nodes[0].rests = true,
            Action::Restart(node) => {
                world.left.restarts -= 1;
                world.nodes[node].lives = true;
                world.nodes[node].behind = 0;
            }
            Action::Destroy => {
                world.left.destroys -= 1;
                let sound = world.actors.len() - 1;
                world.actors[sound].exists = false;
                world.actors[sound].due = None;
            }
        }
    }

    /// Whether a node does due work: not with a clock that is wrong.
    pub(super) fn may_look(&self, world: &World, at: usize) -> bool {
        let is_right = at != AHEAD || !self.checks.make(Variant::ClockHeld);
        world.nodes[at].lives && !world.nodes[at].rests && is_right
    }

    /// A node asks the store for the first row behind the one that it has seen last.
    pub(super) fn look(&self, world: &mut World, at: usize) {
        let clock = world.time + u8::from(at == AHEAD);
        let first = world.nodes.iter().position(|node| node.lives);
        let behind = if self.checks.make(Variant::LookBehind) { world.nodes[at].behind } else { 0 };
        let is_due = |due: u8| {
            if first == Some(at) {
                due <= clock
            } else {
                // What is overdue by more than a lease is any node's.
                due < clock && self.checks.make(Variant::OverdueAny)
            }
        };
        let due = |actor: &usize| world.actors[*actor].due.is_some_and(is_due);
        match (behind..world.actors.len()).find(due) {
            Some(actor) => {
                world.nodes[at].behind = actor + 1;
                world.letters.push(Letter { node: at, actor });
            }
            None => world.nodes[at].behind = 0,
        }
    }

    /// A wake: for a database that is there, and not if its breaker holds.
    pub(super) fn wake(&self, world: &mut World, letter: Letter) {
        let Letter { node, actor: at } = letter;
        if !world.nodes[node].lives {
            return;
        }
        let actor = &mut world.actors[at];
        if !actor.exists {
            if !self.checks.make(Variant::WakeDb) {
                actor.exists = true;
                world.breaches.made = true;
            }
            return;
        }
        let Some(due) = actor.due else { return };
        if actor.owner_died && self.checks.make(Variant::DeadCounted) {
            actor.crashes += 1;
        }
        actor.owner_died = false;
        if actor.crashes >= CRASHES_MAX {
            return;
        }
        match actor.temper {
            Temper::Sound => {
                actor.due = None;
                world.breaches.early |= due > world.time;
            }
            Temper::Refuses => {}
            Temper::Kills => {
                actor.owner_died = true;
                actor.ended += 1;
                world.nodes[node].lives = false;
            }
        }
    }
}
