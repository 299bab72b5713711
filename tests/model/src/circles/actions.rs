//! Calls: made, sent, queued, begun, ended, each with what is noted of it.

use super::{Call, Circles, Next, Probe, Stage, Work, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An actor works on something that no actor has called for.
    Start(usize),
    /// An actor calls another one: it is noted, and sent.
    Call(usize, usize),
    /// The caller's process notes a call: only where a check is off is that later.
    Note(usize),
    /// A call reaches the queue of its actor; its probe begins.
    Arrive(usize),
    /// An actor begins a call.
    Begin(usize),
    /// An actor ends what it works on.
    End(usize),
    /// The answer of a call reaches its caller, or the error.
    Return(usize),
    /// The caller's time is over, and the call has not begun.
    TimeOut(usize),
    /// A probe looks at one process.
    Look(usize),
}

impl Circles {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, actor) in world.actors.iter().enumerate() {
            if actor.work.is_none() && world.next_age < self.size.actors + self.size.starts {
                actions.push(Action::Start(at));
            }
            if actor.work.is_none() || actor.waits.is_some() {
                continue;
            }
            actions.push(Action::End(at));
            if world.calls.len() < self.size.calls {
                let chain = chain(world, at);
                let others = (0..world.actors.len()).filter(|to| !chain.contains(to));
                actions.extend(others.map(|to| Action::Call(at, to)));
            }
        }
        actions.extend((0..world.letters.len()).map(Action::Arrive));
        for (at, call) in world.calls.iter().enumerate() {
            match call.stage {
                Stage::Queued if world.actors[call.to].work.is_none() => {
                    actions.push(Action::Begin(at));
                }
                Stage::Ended | Stage::Refused => actions.push(Action::Return(at)),
                Stage::Queued | Stage::Sent | Stage::Begun | Stage::Over => {}
            }
            if world.timeouts > 0 && matches!(call.stage, Stage::Sent | Stage::Queued) {
                actions.push(Action::TimeOut(at));
            }
            if call.probe.is_some() {
                actions.push(Action::Look(at));
            }
            if !call.noted && !self.checks.make(Variant::NotedFirst) {
                actions.push(Action::Note(at));
            }
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Start(actor) => {
                world.actors[actor].work = Some(Work::Own(world.next_age));
                world.next_age += 1;
            }
            Action::Call(from, to) => self.call(world, from, to),
            Action::Note(call) => world.calls[call].noted = true,
            Action::Arrive(letter) => {
                let call = world.letters.remove(letter);
                arrive(world, call);
            }
            Action::Begin(call) => {
                world.calls[call].stage = Stage::Begun;
                let to = world.calls[call].to;
                world.actors[to].work = Some(Work::Call(call));
            }
            Action::End(actor) => {
                if let Some(Work::Call(call)) = world.actors[actor].work.take() {
                    world.calls[call].leave(Stage::Ended);
                }
            }
            Action::Return(call) => give_back(world, call),
            Action::TimeOut(call) => {
                world.timeouts -= 1;
                give_back(world, call);
            }
            Action::Look(call) => self.look(world, call),
        }
        note_reality(world);
    }

    fn call(&self, world: &mut World, from: usize, to: usize) {
        let (within, age) = match world.actors[from].work {
            Some(Work::Call(call)) => (Some(call), world.calls[call].age),
            Some(Work::Own(age)) => (None, age),
            None => return,
        };
        let is_hook = within.is_none() && from == 0;
        let noted = self.checks.make(Variant::NotedFirst)
            && (!is_hook || self.checks.make(Variant::HookNoted));
        let call = world.calls.len();
        let stage = Stage::Sent;
        world.calls.push(Call { from, to, within, age, noted, stage, probe: None });
        world.actors[from].waits = Some(call);
        world.letters.push(call);
    }
}

impl Call {
    /// The call is over for the one who has worked on it, or would have.
    pub(super) fn leave(&mut self, stage: Stage) {
        self.stage = stage;
        self.probe = None;
    }
}

/// The actors of the chain that an actor works for, itself first.
pub(super) fn chain(world: &World, actor: usize) -> Vec<usize> {
    let mut actors = vec![actor];
    let mut work = world.actors[actor].work;
    while let Some(Work::Call(call)) = work {
        let Call { from, within, .. } = world.calls[call];
        actors.push(from);
        work = within.map(Work::Call);
    }
    actors
}

/// A call reaches its actor's queue.
pub(super) fn arrive(world: &mut World, call: usize) {
    let call = &mut world.calls[call];
    if call.stage == Stage::Sent {
        call.stage = Stage::Queued;
        let probe = Probe { path: Vec::new(), next: Next::Follow, over: 0, was_real: false };
        call.probe = Some(probe);
    }
}

/// The caller waits no more.
pub(super) fn give_back(world: &mut World, call: usize) {
    world.calls[call].leave(Stage::Over);
    let from = world.calls[call].from;
    world.actors[from].waits = None;
}

/// Notes which circles that probes have found are real now.
pub(super) fn note_reality(world: &mut World) {
    for at in 0..world.calls.len() {
        let is_found = world.calls[at]
            .probe
            .as_ref()
            .is_some_and(|probe| !probe.was_real && probe.next != Next::Follow);
        if is_found {
            let circle = super::probe::circle(world, at);
            let calls = 0..world.calls.len();
            let real = calls
                .filter(|call| circle & (1 << call) != 0)
                .all(|call| world.is_waited_for(call));
            if let Some(probe) = &mut world.calls[at].probe {
                probe.was_real = real;
            }
        }
    }
}
