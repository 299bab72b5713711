//! The look for actors that are due: nodes that share the work, actors that cannot wake, one that
//! ends each process that starts it.
//!
//! ```text
//!  one node looks: a few rows by time, behind the last row seen ──> wakes, each for one database
//!  any node looks for what is overdue by a lease                        │
//!                     runs ── nothing is due <──────────────────────────┤
//!                     refuses: the row stays <──────────────────────────┤
//!                     its process dies: a crash, counted by the next <──┘
//! ```
//! A look returns one row. The first actor refuses, the second ends its process, the third one is
//! sound. Of three nodes the first may stop looking without dying, and the last has a clock that is
//! ahead. Times are numbers of a clock that any action may find later; a lease is one.

mod actions;
mod properties;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// The node whose clock is ahead.
pub const AHEAD: usize = 2;
/// Crashes after which an actor's breaker holds its due work.
pub const CRASHES_MAX: u8 = 2;
/// When the sound actor is due.
pub const DUE: u8 = 1;

/// How far the machine may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Looks.
    pub looks: u8,
    /// Nodes that are started again.
    pub restarts: u8,
    /// Actors that are destroyed.
    pub destroys: u8,
    /// How far the clock goes.
    pub time: u8,
    /// Wakes on their way at a time.
    pub letters: usize,
}

/// The machine.
pub type Sweep = Machine<Size>;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store's clock.
    pub time: u8,
    /// The nodes; the first that lives looks for all.
    pub nodes: [Node; 3],
    /// The actors, in the order of their due times.
    pub actors: [Actor; 3],
    /// Wakes on their way, in order.
    pub letters: Vec<Letter>,
    /// What should not have happened.
    pub breaches: Breaches,
    /// What is left of the bounds; those that are not counted down stay.
    pub left: Size,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Whether it lives.
    pub lives: bool,
    /// It renews its lease and does not look.
    pub rests: bool,
    /// Behind which row it looks next.
    pub behind: usize,
}

/// An actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// What a wake comes to.
    pub temper: Temper,
    /// Whether it exists.
    pub exists: bool,
    /// When it is due.
    pub due: Option<u8>,
    /// Its owner died with due work begun.
    pub owner_died: bool,
    /// Crashes that were counted.
    pub crashes: u8,
    /// Processes that it has ended.
    pub ended: u8,
}

/// What a wake comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temper {
    /// It runs its due work.
    Sound,
    /// Its kind is not there.
    Refuses,
    /// Its process dies.
    Kills,
}

/// A wake on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// Which node runs the actor.
    pub node: usize,
    /// Which actor.
    pub actor: usize,
}

/// What should not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// An actor has run before its time.
    pub early: bool,
    /// A wake has made an actor.
    pub made: bool,
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        let actor = |temper, due| Actor {
            temper,
            exists: true,
            due: Some(due),
            owner_died: false,
            crashes: 0,
            ended: 0,
        };
        World {
            time: 0,
            nodes: [Node { lives: true, rests: false, behind: 0 }; 3],
            actors: [actor(Temper::Refuses, 0), actor(Temper::Kills, 0), actor(Temper::Sound, DUE)],
            letters: Vec::new(),
            breaches: Breaches::default(),
            left: *self,
        }
    }
}
