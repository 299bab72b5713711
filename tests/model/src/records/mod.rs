//! Did it land? A callee that keeps records of calls, its fork, and callers that ask and repeat.
//!
//! ```text
//!  call (id, principal, arguments) ──> no record: runs: id, outcome and effects are one commit
//!                                  ──> a record: its answer again; another caller's: as if absent
//!  settle (id) ──> a record: what it says
//!              ──> none: commits that the call will never run, and says so
//! ```
//! Requests stay on their way: each may arrive later and again. The ids of a client are keys that it
//! chooses, those of an actor count its calls. What a call does is one effect, by which the properties
//! know it. Records are kept for one tick of the clock.

mod actions;
mod callee;
mod properties;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// The callee.
pub const CALLEE: usize = 0;
/// Its fork.
pub const FORK: usize = 1;
/// Ticks that a record is kept.
pub const KEPT: u8 = 1;
/// The principal that stands for an actor that calls.
pub const ACTOR: u8 = 9;

/// How far the machine may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// What clients want to be done.
    pub wishes: u8,
    /// Principals.
    pub principals: u8,
    /// Different arguments.
    pub arguments: u8,
    /// Calls that a client makes again, under another id.
    pub again: u8,
    /// Questions that settle.
    pub settles: u8,
    /// Calls that an actor makes.
    pub by_actor: u8,
    /// Lives of the callee, or of the actor that calls, that end without a word.
    pub crashes: u8,
    /// Forks of the callee.
    pub forks: u8,
    /// How far the clock goes.
    pub time: u8,
    /// Records that fit.
    pub records: usize,
    /// Whether methods commit step by step; else the host commits once.
    pub plain: bool,
}

/// The machine.
pub type Records = Machine<Size>;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The clock.
    pub time: u8,
    /// The callee, and its fork if there is one.
    pub callees: Vec<Callee>,
    /// The actor that calls.
    pub caller: Caller,
    /// Requests that were ever sent.
    pub letters: Vec<Letter>,
    /// The next key of a client.
    pub next_key: u8,
    /// The next effect.
    pub next_effect: u8,
    /// Calls that will never run, as their clients were answered; in order.
    pub never: Vec<Call>,
    /// What should not have happened.
    pub breaches: Breaches,
    /// What is left of the bounds; those that are not counted down stay.
    pub left: Size,
}

/// A callee.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Callee {
    /// Its records, the oldest first.
    pub records: Vec<Record>,
    /// What was done under its name, in order, and by which id.
    pub effects: Vec<(u8, Id)>,
    /// The call that it works on.
    pub running: Option<Running>,
}

/// A record of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The callee that has written it.
    pub name: usize,
    /// The call's id.
    pub id: Id,
    /// The caller.
    pub principal: u8,
    /// Method and arguments.
    pub arguments: u8,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has begun.
    Begun,
    /// It is done: the answer is that of this effect.
    Done(u8),
    /// It will never run.
    Never,
}

/// A call that a callee works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// The call.
    pub call: Call,
    /// Whether its effects are committed.
    pub done: bool,
}

/// The id of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// When it was made first.
    pub first: u8,
    /// What the caller counts by: a generation; 0: a client's key.
    pub of: u8,
    /// Its number.
    pub number: u8,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// Which callee.
    pub to: usize,
    /// Its id.
    pub id: Id,
    /// The caller.
    pub principal: u8,
    /// Method and arguments.
    pub arguments: u8,
    /// What it does.
    pub effect: u8,
}

/// An actor that calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its generation.
    pub generation: u8,
    /// Its newest commit.
    pub txid: u8,
    /// Calls of this generation.
    pub ordinal: u8,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// A call.
    Call(Call),
    /// What became of it? From now on it does not run.
    Settle(Call),
}

/// What should not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// A caller has got the answer of another call.
    pub other: bool,
    /// A call was settled as never, and has run.
    pub never: bool,
}

impl World {
    /// Sends a request: a second copy adds nothing to one that stays on its way.
    fn send(&mut self, letter: Letter) {
        if !self.letters.contains(&letter) {
            self.letters.push(letter);
        }
    }
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        World {
            time: 0,
            callees: vec![Callee::default()],
            caller: Caller { generation: 1, ..Caller::default() },
            letters: Vec::new(),
            next_key: 0,
            next_effect: 0,
            never: Vec::new(),
            breaches: Breaches::default(),
            left: *self,
        }
    }
}
