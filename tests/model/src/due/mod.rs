//! Due work of one actor: rows in its database, their earliest time in the directory, and tries.
//!
//! ```text
//!  transactions ──> accepted (rows, what is said of the due time) ── one step ──> head: txid, rows
//!     set, cancel, count, end      merged while a step is in flight            directory: due time
//!
//!  count (attempts + 1, next try) ──> durable ──> the handler begins ──> ends well, ends badly, dies
//!    └─> given back: the handler will not begin
//! ```
//! Two alarms: one that the actor sets, and one whose row came with a copy of another database. Times
//! are numbers that only differ: any alarm may fire at any moment, so what clocks decide is left out.
//! Steps travel as letters, and arrive when their generation is gone.

mod actions;
mod properties;
mod runs;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// The alarm that the actor sets.
pub const OWN: usize = 0;
/// The alarm that came with a copy.
pub const COPY: usize = 1;
/// Tries of an alarm before it is parked.
pub const TRIES_MAX: u8 = 2;
/// Numbers of sets, 0 included.
pub const SETS: usize = 5;

/// When a try that was counted is followed by the next one.
pub const NEXT_TRY: u8 = 3;

/// How far the machine may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Generations.
    pub generations: u8,
    /// Transactions of the guest.
    pub transactions: u8,
    /// Those that are taken back by a savepoint, or refused.
    pub taken_back: u8,
    /// Runs of handlers.
    pub runs: u8,
    /// Generations that end without a word.
    pub crashes: u8,
    /// Due times that are written without a reason.
    pub meddles: u8,
    /// Orders of an operator to try an alarm again.
    pub orders: u8,
}

/// The machine.
pub type Due = Machine<Size>;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What is committed.
    pub head: Head,
    /// The generation that lives.
    pub session: Option<Session>,
    /// Steps on their way, in order.
    pub letters: Vec<Letter>,
    /// The due time was written without a reason, and nothing has been said of it since.
    pub meddled: bool,
    /// Handlers that have begun since the actor's alarm was set from outside, or ended well.
    pub begun: u8,
    /// Handlers that have begun, by the number of the set.
    pub begun_of: [u8; SETS],
    /// The number of the next set.
    pub next_set: u8,
    /// What should not have happened.
    pub breaches: Breaches,
    /// What is left of the bounds; those that are not counted down stay.
    pub left: Size,
}

/// The head and the directory's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The generation that owns it.
    pub generation: u8,
    /// The newest commit.
    pub txid: u8,
    /// The rows as of that.
    pub rows: Rows,
    /// The due time.
    pub due: Option<u8>,
}

/// The actor's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rows {
    /// The alarms.
    pub alarms: [Option<Row>; 2],
    /// For the properties: the newest set that was neither cancelled nor has ended well; 0: none.
    pub wanted: u8,
}

/// An alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// The number of its set.
    pub set: u8,
    /// When it is tried next; `None`: it is parked.
    pub next: Option<u8>,
    /// Tries that were counted.
    pub attempts: u8,
    /// Whether it was set in this database.
    pub here: bool,
}

/// A generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its number.
    pub generation: u8,
    /// Its newest durable commit.
    pub txid: u8,
    /// Rows as of the newest transaction.
    pub rows: Rows,
    /// The due time in the directory, as far as it knows.
    pub known: Option<u8>,
    /// What accepted transactions say that are not sent.
    pub accepted: Option<Word>,
    /// Whether a step is in flight, and what it says.
    pub in_flight: Option<Word>,
    /// What a refused transaction has left: only where a check is off.
    pub leftover: Option<Word>,
    /// The run of an alarm.
    pub run: Option<Run>,
}

/// What a transaction says of the due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// It has touched no due work.
    Untouched,
    /// Nothing is due, or something at a time.
    Is(Option<u8>),
}

/// The run of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Which alarm.
    pub alarm: usize,
    /// The number of its set.
    pub set: u8,
    /// Its tries, this one included.
    pub attempts: u8,
    /// When it was to be tried, before this try was counted.
    pub planned: Option<u8>,
    /// Whether the handler has begun.
    pub begun: bool,
}

/// A step on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// A commit.
    Commit {
        /// Whose.
        generation: u8,
        /// The commit before it.
        base: u8,
        /// The rows.
        rows: Rows,
        /// What it says of the due time.
        word: Word,
    },
    /// A due time that was found wrong is rewritten.
    Settle {
        /// Whose.
        generation: u8,
        /// The commit as of which the owner has looked.
        txid: u8,
        /// The due time.
        due: Option<u8>,
    },
    /// A due time in a step of its own: only where a check is off.
    Say {
        /// Whose.
        generation: u8,
        /// The due time.
        due: Option<u8>,
    },
}

/// What should not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// A handler has begun whose try is not in the store.
    pub uncounted: bool,
    /// A handler has begun for an alarm of another database.
    pub copy: bool,
}

impl Rows {
    /// When the first alarm of this database is tried that is not parked.
    #[must_use]
    pub fn earliest(&self) -> Option<u8> {
        let rows = self.alarms.iter().flatten();
        rows.filter(|row| row.here).filter_map(|row| row.next).min()
    }
}

impl Session {
    /// Whether everything that was accepted is durable.
    pub(super) fn at_rest(&self) -> bool {
        self.accepted.is_none() && self.in_flight.is_none()
    }
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        let copy = Row { set: 0, next: Some(1), attempts: 0, here: false };
        World {
            head: Head {
                generation: 0,
                txid: 0,
                rows: Rows { alarms: [None, Some(copy)], wanted: 0 },
                due: None,
            },
            session: None,
            letters: Vec::new(),
            meddled: false,
            begun: 0,
            begun_of: [0; SETS],
            next_set: 1,
            breaches: Breaches::default(),
            left: *self,
        }
    }
}
