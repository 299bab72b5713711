//! Where a database lives: the map of shards, and the move of one from primary to primary (D13).
//!
//! One shard with one name in it, whose database may be destroyed and made again. Ownership is
//! settled (`ownership`), so a generation stands for its token as well. Nodes keep the map as a
//! hint; the mover is a process like any other: it may die after each step, its last step may arrive
//! later, and a second one may run beside it.
//!
//! ```text
//! shard at the source        here ── leave ──> leaving ──────────── gone ──> (clean)
//! shard at the target        gone ──── come ──> coming ──────────────── here
//!
//! head at the source         held, sealed ── take ──> moving ── decide ──> moved
//!                                  <── release ──────────┘         (the moment of the move)
//! head at the target              copy ── arrive ──> arriving ──────── help ──> sealed
//! ```
//! A step names the primary that it was sent to and, if another primary has sent it there, the
//! version under which it did: such a step is *directed*.

mod actions;
mod mover;
mod properties;
mod routing;
mod store;

pub use mover::{Mover, Taken};
pub use properties::names;
pub use routing::Task;
pub use store::{Books, Head, Sealed, Shard, State, Step};

use crate::machine::{Machine, Protocol, as_each_machine};

/// How far the machine may go.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Primaries.
    pub primaries: usize,
    /// Nodes.
    pub nodes: usize,
    /// Databases that the name has, one after the other.
    pub databases: usize,
    /// Whether the first of them is there from the beginning.
    pub born: bool,
    /// Calls and creates that begin.
    pub calls: u8,
    /// Commits.
    pub writes: u8,
    /// Pins.
    pub pins: u8,
    /// Destroys.
    pub destroys: u8,
    /// Times that a node stops waiting for an answer.
    pub timeouts: u8,
    /// Moves of the shard.
    pub moves: u8,
    /// Movers at a time.
    pub movers: usize,
    /// Movers that are started.
    pub runs: u8,
    /// Movers that die.
    pub crashes: u8,
}

/// The machine.
pub type Shards = Machine<Size>;

/// A set of commits, each with a bit of its own.
pub type Writes = u8;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What each primary has stored.
    pub primaries: Vec<Books>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The movers that run.
    pub movers: Vec<Option<Mover>>,
    /// Steps on their way, in order.
    pub letters: Vec<Letter>,
    /// The name's database: made and not destroyed, whatever primary has it.
    pub lives: Option<usize>,
    /// Commits that were ever applied.
    pub applied: Writes,
    /// What was answered to callers and operators.
    pub told: Told,
    /// What a step has broken.
    pub breaches: Breaches,
    /// What is left of the bounds.
    pub left: Left,
}

/// A node, one call at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The primary that it believes to keep the shard.
    pub hint: usize,
    /// What it is at.
    pub doing: Doing,
}

/// What a node is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Nothing.
    Idle,
    /// It waits for the answer to a step of this task.
    Asks(Task),
    /// It waits until a copy is valid, for this task; which primary said that it is moved.
    Helps(Task, usize),
    /// This primary has answered that the shard, or what it asked for, is elsewhere.
    Elsewhere(Task, usize),
    /// A generation of a database runs here.
    Serves {
        /// Which database.
        db: usize,
        /// Which generation.
        generation: u8,
        /// Commits of the database that it knows.
        txid: u32,
    },
}

/// A step on its way to a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// Who waits for the answer.
    pub awaited: Option<Party>,
    /// The primary.
    pub to: usize,
    /// The version of the move that it was sent here by, if by another primary.
    pub directed: Option<u8>,
    /// What it asks for.
    pub step: Step,
}

/// Who sends steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// A node.
    Node(usize),
    /// A mover.
    Mover(usize),
}

/// What was answered to callers and operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// Commits, as committed, unless their database is destroyed since.
    pub committed: Writes,
    /// Commits, as not committed for good.
    pub refused: Writes,
    /// Databases (as bits) whose pin was acknowledged.
    pub pinned: u8,
}

/// What a step has broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// "No such actor", and there is one.
    pub absent: bool,
    /// A create for a name that has a database.
    pub second: bool,
    /// A copy became valid that is not what the source had.
    pub copy: bool,
}

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// The database that the next create makes.
    pub next_db: usize,
    /// Calls and creates.
    pub calls: u8,
    /// Number of the next commit.
    pub next_write: u8,
    /// Pins.
    pub pins: u8,
    /// Destroys.
    pub destroys: u8,
    /// Lost answers.
    pub timeouts: u8,
    /// Movers.
    pub runs: u8,
    /// Crashes.
    pub crashes: u8,
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        let books = |at: usize| Books {
            shard: Shard { state: if at == 0 { State::Here } else { State::Gone(0) }, version: 0 },
            actor: (at == 0 && self.born).then_some(0),
            heads: (0..self.databases)
                .map(|db| (at == 0 && self.born && db == 0).then_some(Head::new(Sealed::Sealed)))
                .collect(),
            rows: vec![0; self.databases],
        };
        World {
            primaries: (0..self.primaries).map(books).collect(),
            // A node that knows nothing asks any of them.
            nodes: (0..self.nodes)
                .map(|at| Node { hint: at % self.primaries, doing: Doing::Idle })
                .collect(),
            movers: vec![None; self.movers],
            letters: Vec::new(),
            lives: self.born.then_some(0),
            applied: 0,
            told: Told::default(),
            breaches: Breaches::default(),
            left: Left {
                next_db: usize::from(self.born),
                calls: self.calls,
                next_write: 0,
                pins: self.pins,
                destroys: self.destroys,
                timeouts: self.timeouts,
                runs: self.runs,
                crashes: self.crashes,
            },
        }
    }
}
