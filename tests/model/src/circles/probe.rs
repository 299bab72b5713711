//! The probe of a call: it follows waits, looks at a circle again, and refuses one call of it.
//!
//! Invariants, each without one of the checks:
//! - The caller's process is asked for whom an actor waits, and later the called actor's process
//!   whether the call is still queued or begun: between the two the actor has really waited.
//! - Every probe prefers the same call of a circle.

use super::{Call, Circles, Next, Probe, Set, Stage, World};
use crate::Variant;

impl Circles {
    /// A probe looks at one process.
    pub(super) fn look(&self, world: &mut World, own: usize) {
        let Some(mut probe) = world.calls[own].probe.take() else { return };
        match probe.next {
            Next::Follow => {
                if !self.follow(world, own, &mut probe) {
                    return;
                }
            }
            Next::Again(at) => self.again(world, &mut probe, at),
            Next::Refuse(nth) => self.refuse(world, own, &mut probe, nth),
        }
        // The probe of a call that is over is dropped.
        if matches!(world.calls[own].stage, Stage::Queued | Stage::Begun) {
            world.calls[own].probe = Some(probe);
        }
    }

    /// Follows one wait. `false`: there is nothing to be found any more.
    fn follow(&self, world: &World, own: usize, probe: &mut Probe) -> bool {
        if probe.path.is_empty() && world.calls[own].stage != Stage::Queued {
            return false;
        }
        let at = probe.path.last().map_or(world.calls[own].to, |last| world.calls[*last].to);
        let seen = |call: &usize| world.calls[*call].noted && probe.over & (1 << call) == 0;
        let Some(call) = world.actors[at].waits.filter(seen) else { return false };
        let to = world.calls[call].to;
        let passed = |call: &usize| world.calls[*call].from == to;
        if to == world.calls[own].to || probe.path.iter().any(passed) {
            // A circle of others, which have probes of their own.
            return false;
        }
        probe.path.push(call);
        if waiting(world, own).contains(&to) {
            let twice = self.checks.make(Variant::LookTwice);
            probe.next = if twice { Next::Again(0) } else { Next::Refuse(0) };
        }
        true
    }

    /// Looks at a wait of the circle again.
    fn again(&self, world: &World, probe: &mut Probe, at: usize) {
        let call = probe.path[at];
        let is_there = if self.checks.make(Variant::LookCallee) {
            matches!(world.calls[call].stage, Stage::Queued | Stage::Begun)
        } else {
            world.actors[world.calls[call].from].waits == Some(call)
        };
        if !is_there {
            // It is over, or its own probe is about to begin.
            probe.over |= 1 << call;
            probe.start_over();
        } else if at + 1 < probe.path.len() {
            probe.next = Next::Again(at + 1);
        } else {
            probe.next = Next::Refuse(0);
        }
    }

    /// Refuses the nth youngest call of the circle, unless it has begun.
    fn refuse(&self, world: &mut World, own: usize, probe: &mut Probe, nth: usize) {
        let mut calls = probe.path.clone();
        calls.push(own);
        calls.sort_unstable_by_key(|call| std::cmp::Reverse((world.calls[*call].age, *call)));
        if !self.checks.make(Variant::Youngest) {
            calls = vec![own];
        }
        let call = calls[nth];
        let stage = world.calls[call].stage;
        let may = stage == Stage::Queued
            || (stage == Stage::Begun && !self.checks.make(Variant::BegunKept));
        if may {
            world.breaches.begun |= stage == Stage::Begun;
            world.breaches.unreal |= !probe.was_real;
            let circle = circle_of(world, own, &probe.path);
            let other = |(opened, refused): &(Set, usize)| *opened == circle && *refused != call;
            world.breaches.both |= world.opened.iter().any(other);
            world.opened.push((circle, call));
            world.opened.sort_unstable();
            world.calls[call].leave(Stage::Refused);
        } else if stage == Stage::Begun {
            if nth + 1 < calls.len() {
                probe.next = Next::Refuse(nth + 1);
            } else {
                probe.start_over();
            }
            return;
        }
        probe.over |= 1 << call;
        probe.start_over();
    }
}

impl Probe {
    fn start_over(&mut self) {
        self.path.clear();
        self.next = Next::Follow;
        self.was_real = false;
    }
}

/// The actors that wait for a call, its caller first.
fn waiting(world: &World, call: usize) -> Vec<usize> {
    let mut actors = Vec::new();
    let mut next = Some(call);
    while let Some(call) = next {
        let Call { from, within, .. } = world.calls[call];
        actors.push(from);
        next = within;
    }
    actors
}

/// The calls of the circle that a call's probe has found.
pub(super) fn circle(world: &World, own: usize) -> Set {
    let path = world.calls[own].probe.as_ref().map(|probe| probe.path.as_slice());
    circle_of(world, own, path.unwrap_or_default())
}

fn circle_of(world: &World, own: usize, path: &[usize]) -> Set {
    let mut calls = path.iter().fold(1 << own, |calls, call| calls | 1 << call);
    let closes = path.last().map_or(world.calls[own].from, |last| world.calls[*last].to);
    // From there the chain of the call leads to its caller.
    let mut call = own;
    while world.calls[call].from != closes
        && let Some(within) = world.calls[call].within
    {
        calls |= 1 << within;
        call = within;
    }
    calls
}
