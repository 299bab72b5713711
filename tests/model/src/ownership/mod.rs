//! Ownership of a database, the fate of commits, and the answers that reach callers (D1-D5, D12,
//! the gate, the orderly end).
//!
//! One database, several hosts, one store. Steps travel as letters: a letter may arrive late, twice
//! or never, and its answer may be lost. Reads of the head (judgement, verdict, confirmation) are
//! one atomic question each: that an answer to them is lost or late only means that it is asked
//! later.
//!
//! ```text
//! host     idle ── takes over ──> taking ── owned, or the head has our token ──> serving ──┐
//!            ^                      │ superseded                                   │  ^     │ sealed
//!            ├──────────────────────┴──── sealed, fenced, lost a commit, crashed ──┘  │     │ with an
//!            └── the head is another's ── waiting for its heir ── still the head's ───┘ <───┘ heir
//!
//! letter   sent ──> executed (in the store's open group) ──> answered ──> delivered
//!            │          └── store crash ──> lost               │
//!            └── sender stops waiting: it still arrives, some day, or never
//! ```
//! A call is one action: the guest runs, may write, and its answer waits in front of the gate. The
//! answers that callers got are kept outside of the hosts, as a client would.

mod actions;
mod properties;
mod store;

pub use properties::names;
pub use store::{Answer, Books, Leaves, Owner, Place, Step};

use crate::machine::{Machine, Protocol, as_each_machine};

/// How far the machine may go. Every number is a bound of the exhaustive search.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts that want to run the actor.
    pub hosts: usize,
    /// Attempts to take over, the first boot included.
    pub attempts: u8,
    /// Calls that write.
    pub writes: u8,
    /// Calls that only read.
    pub reads: u8,
    /// Answers that a sender stops waiting for.
    pub timeouts: u8,
    /// Letters that arrive twice.
    pub copies: u8,
    /// Commits that surely did not arrive.
    pub refusals: u8,
    /// Hosts that die.
    pub host_crashes: u8,
    /// Generations that end in order.
    pub seals: u8,
    /// Whether a generation that ends may appoint its heir.
    pub heirs: bool,
    /// Times that the store dies with an open group. With none, every step is durable immediately.
    pub store_crashes: u8,
    /// How often one step is sent before its deadline.
    pub sends: u8,
    /// Answers of one generation in front of the gate.
    pub gated: usize,
}

/// The machine.
pub type Ownership = Machine<Size>;

impl Ownership {
    /// Whether steps are executed in groups that become durable later.
    fn groups(&self) -> bool {
        self.size.store_crashes > 0
    }
}

/// A set of writes: bit n is write n. A call makes at most one.
pub type Writes = u8;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What the store has on disk: all that questions see.
    pub durable: Books,
    /// What it will have when its open group is synced.
    pub open: Option<Books>,
    /// Steps on their way, in order, so that equal worlds are equal.
    pub letters: Vec<Letter>,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The answers that callers got.
    pub told: Told,
    /// Generations that a session has believed to own, as bits.
    pub held: u8,
    /// What must never happen and leaves no other trace.
    pub breaches: Breaches,
    /// What is left of the bounds.
    pub left: Left,
}

/// A step on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// What the store shall do.
    pub step: Step,
    /// How far it came.
    pub place: Place,
    /// The host that waits for its answer. `None`: none does any more.
    pub awaited: Option<usize>,
}

/// One host and the actor's life in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Nothing runs here.
    Idle,
    /// An attempt to take over is on its way.
    Taking {
        /// The owner that was judged sealed, dead or a ghost.
        replaces: Owner,
        /// Random value of this attempt.
        token: u8,
        /// How often it was sent.
        sends: u8,
        /// For the properties: what was acknowledged when it was first sent.
        acknowledged: Writes,
    },
    /// A generation runs.
    Serving(Session),
    /// A generation was sealed here, and its heir has not begun.
    Waiting(Heir),
}

/// A generation that may begin where its predecessor was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heir {
    /// Its fence.
    pub owner: Owner,
    /// The last commit.
    pub durable: u8,
}

/// A generation and its open database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its fence.
    pub owner: Owner,
    /// The last durable commit it knows of.
    pub durable: u8,
    /// Of the call that it was begun for, until that runs.
    pub first: Option<First>,
    /// Its heir, if it was one and a variant keeps what is good for one life.
    pub kept: Option<Heir>,
    /// What its SQLite has; `None` until the first page was read.
    pub cached: Option<Writes>,
    /// Accepted, not sent.
    pub collected: Writes,
    /// The one commit in flight.
    pub flight: Option<Flight>,
    /// Answers in front of the gate.
    pub gated: Vec<Gated>,
    /// Set by the first fatal cause.
    pub dead: bool,
    /// How far its orderly end is.
    pub ending: Ending,
}

/// The call that a generation is begun for. It began before the store was asked for the fence, so
/// what won the fence confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct First {
    /// For the properties: the fence did not hold then.
    pub fenced: bool,
    /// For the properties: what was acknowledged then.
    pub acknowledged: Writes,
}

/// A commit without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// What it writes: its content hash.
    pub writes: Writes,
    /// How often it was sent.
    pub sends: u8,
    /// Whether a send may have been applied, or may still be.
    pub doubt: bool,
}

/// An answer that has not reached its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gated {
    /// The call's own write; 0 for a call that only reads.
    pub wrote: Writes,
    /// What it has seen of its own generation that was not durable then.
    pub rests_on: Writes,
    /// Whether the store has confirmed the fence since the call began.
    pub confirmed: bool,
    /// For the properties: the generation was already fenced when the call began.
    pub began_fenced: bool,
    /// For the properties: it does not show a write that was acknowledged before the call began.
    pub stale: bool,
}

/// Steps of an orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Calls are taken.
    Running,
    /// SQL is revoked; the snapshot is what the instance knew then.
    Stopped {
        /// In-memory state.
        snapshot: Writes,
    },
    /// The seal is on its way.
    Sealing {
        /// What it leaves.
        leaves: Leaves,
        /// How often it was sent.
        sends: u8,
    },
}

/// The answers that callers got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// Writes that were acknowledged.
    pub committed: Writes,
    /// Writes whose callers got the answer "not kept".
    pub refused: Writes,
}

/// What must never happen, noted by the action that does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// Two sessions believed to own one generation.
    pub two_owners: bool,
    /// A generation was replaced that no host had judged.
    pub unjudged: bool,
    /// A commit of a generation was applied under another one.
    pub foreign_commit: bool,
    /// A head was sealed by another generation than its own.
    pub foreign_seal: bool,
    /// Pages were given to a generation that is not the owner.
    pub foreign_read: bool,
    /// An answer left that rests on what is not durable.
    pub heard_early: bool,
    /// An answer left whose generation was fenced before the call began.
    pub heard_fenced: bool,
    /// An answer left that misses what was acknowledged before its call began.
    pub heard_stale: bool,
    /// A fence has ended a session that still owned its database.
    pub healthy_ended: bool,
    /// A snapshot was handed over as current and is not the database's state.
    pub wrong_snapshot: bool,
}

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// The token of the next attempt.
    pub next_token: u8,
    /// The number of the next write.
    pub next_write: u8,
    /// Reads.
    pub reads: u8,
    /// Timeouts.
    pub timeouts: u8,
    /// Copies.
    pub copies: u8,
    /// Refusals.
    pub refusals: u8,
    /// Host crashes.
    pub host_crashes: u8,
    /// Seals.
    pub seals: u8,
    /// Store crashes.
    pub store_crashes: u8,
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        World {
            durable: Books::default(),
            open: None,
            letters: Vec::new(),
            hosts: vec![Host::Idle; self.hosts],
            told: Told::default(),
            held: 0,
            breaches: Breaches::default(),
            left: Left {
                next_token: 1,
                next_write: 0,
                reads: self.reads,
                timeouts: self.timeouts,
                copies: self.copies,
                refusals: self.refusals,
                host_crashes: self.host_crashes,
                seals: self.seals,
                store_crashes: self.store_crashes,
            },
        }
    }
}
