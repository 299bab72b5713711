//! Actors that call each other: chains, the waits between them, and the probe that finds a circle.
//!
//! ```text
//!  made (noted) ──> sent ──> queued ──> begun ──> ended ──> returned
//!                              │ └─ refused (a circle) ──────> returned
//!                              └─ the probe of this call begins
//!  probe   follow the waits from the called actor ──> one of the chain: look at each of them again
//!          ──> of the calls that have not begun, that of the youngest chain is refused
//! ```
//! Each actor works for a chain of its own at first, may call and may end. It works on one call at a
//! time, and waits for one. An answer takes a while to its caller, which waits until it is there.
//! A look is one read of one process. Left out: calls of one actor at the same time (`start`), callers
//! that stop waiting for a call that has begun, looks that get no answer, and the bounds of a probe.

mod actions;
mod probe;
mod properties;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// How far the machine may go.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Actors.
    pub actors: usize,
    /// Calls.
    pub calls: usize,
    /// Chains that begin at an actor that has ended its work.
    pub starts: usize,
    /// Calls whose caller stops waiting.
    pub timeouts: u8,
}

/// The machine.
pub type Circles = Machine<Size>;

/// A set of calls: bit n is call n.
pub type Set = u8;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What each actor does.
    pub actors: Vec<Actor>,
    /// Every call, in the order in which they were made.
    pub calls: Vec<Call>,
    /// Calls on their way.
    pub letters: Vec<usize>,
    /// Circles that were opened: their calls, and the one that was refused.
    pub opened: Vec<(Set, usize)>,
    /// What should not have happened.
    pub breaches: Breaches,
    /// The age of the next chain: the greater one is the younger.
    pub next_age: usize,
    /// Calls whose caller may stop waiting.
    pub timeouts: u8,
}

/// An actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// What it works on.
    pub work: Option<Work>,
    /// The call that it waits for.
    pub waits: Option<usize>,
}

/// What an actor works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// What began without a call of an actor, such as a hook, and the age of its chain.
    Own(usize),
    /// A call.
    Call(usize),
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The actor that waits.
    pub from: usize,
    /// The actor that is waited for.
    pub to: usize,
    /// The call that the caller worked on.
    pub within: Option<usize>,
    /// The age of the chain: the greater one is the younger.
    pub age: usize,
    /// Whether the caller's process knows of it.
    pub noted: bool,
    /// How far it has come.
    pub stage: Stage,
    /// The probe that was begun for it.
    pub probe: Option<Probe>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// On its way.
    Sent,
    /// In the queue of the called actor.
    Queued,
    /// The actor works on it.
    Begun,
    /// It does no longer; the answer is on its way.
    Ended,
    /// It was refused; the error is on its way.
    Refused,
    /// Its caller does not wait any more.
    Over,
}

/// How far a probe has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The calls that it has followed, from the called actor: each is made by the actor that the one
    /// before it is for.
    pub path: Vec<usize>,
    /// What it does next.
    pub next: Next,
    /// Calls that it has refused, or found refused, ended, or on their way: they may still seem to be
    /// waited for.
    pub over: Set,
    /// For the properties: since the circle was found, its actors have all waited at one moment.
    pub was_real: bool,
}

/// What a probe does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// It follows one more wait.
    Follow,
    /// It looks at a wait of the circle again.
    Again(usize),
    /// It refuses the nth youngest call.
    Refuse(usize),
}

/// What should not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// A call was refused that had begun.
    pub begun: bool,
    /// A call was refused for a circle that never was.
    pub unreal: bool,
    /// Two calls were refused for one circle.
    pub both: bool,
}

impl World {
    /// Whether an actor really waits for a call: no answer to it is on its way.
    #[must_use]
    pub fn is_waited_for(&self, call: usize) -> bool {
        let Call { from, stage, .. } = self.calls[call];
        let open = matches!(stage, Stage::Sent | Stage::Queued | Stage::Begun);
        open && self.actors[from].waits == Some(call)
    }
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = usize;

    fn initial(&self) -> World {
        World {
            actors: (0..self.actors)
                .map(|age| Actor { work: Some(Work::Own(age)), waits: None })
                .collect(),
            calls: Vec::new(),
            letters: Vec::new(),
            opened: Vec::new(),
            breaches: Breaches::default(),
            next_age: self.actors,
            timeouts: self.timeouts,
        }
    }
}
