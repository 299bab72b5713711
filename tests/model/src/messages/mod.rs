//! Messages: one sender, a receiver, a fork of the receiver.
//!
//! The sender's outbox is in its database, the receiver's mark in the receiver's. Between them is a
//! network that loses nothing and forgets nothing: whatever was sent may arrive now, later, again, and
//! in any order, so a former generation of the sender needs no actions of its own.
//!
//! ```text
//!  sender    outbox 1 2 ──── open (question) ───────────────> commits {name, conversation, last}
//!            conversation <── opened (question, conversation) ──┘                    receiver
//!            1 ──────────── deliver (conversation, number, row before) ──> runs it, moves the mark
//!            row deleted <── acknowledged (number) ──────────────────────────┘
//!            no conversation, outbox empty ── close (conversation) ──> mark deleted
//! ```
//! Messages are numbered in the order of sending. The receiver's data are its mark and what it has
//! handled: a restore takes both back, an undo brings both again, a fork has the mark of another name.
//! Left out: a sender that is restored or destroyed, a receiver that is destroyed, retries of what is
//! parked (they are transactions of the receiver alone), and the bounds of an outbox.

mod actions;
mod properties;
mod receiver;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// The receiver.
pub const RECEIVER: usize = 0;
/// Its fork.
pub const FORK: usize = 1;

/// How far the machine may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Messages.
    pub sends: u8,
    /// Questions of the sender.
    pub questions: u8,
    /// Questions that the receivers answer.
    pub openings: u8,
    /// Conversations that the sender closes.
    pub trims: u8,
    /// Lives of the sender or of a receiver that end without a word.
    pub crashes: u8,
    /// Messages that fail too often.
    pub failures: u8,
    /// Forks of the receiver.
    pub forks: u8,
    /// Restores of the receiver.
    pub restores: u8,
    /// Restores that are undone.
    pub undos: u8,
}

/// The machine.
pub type Messages = Machine<Size>;

/// A set of messages: bit n is message n.
pub type Set = u8;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What the sender has for each receiver.
    pub pairs: Vec<Pair>,
    /// The receiver, and its fork if there is one.
    pub receivers: Vec<Receiver>,
    /// The sender's newest question.
    pub question: u8,
    /// Everything that was ever sent.
    pub letters: Vec<Letter>,
    /// A conversation is a random number; here the next one.
    pub next_conversation: u8,
    /// The next message.
    pub next_message: u8,
    /// What should not have happened.
    pub breaches: Breaches,
    /// What is left of the bounds.
    pub left: Size,
}

/// The sender's side of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The outbox, in order.
    pub outbox: Vec<Row>,
    /// The last number that was given.
    pub last_number: u8,
    /// The conversation; 0: none.
    pub conversation: u8,
    /// The question that the sender wants an answer to; 0: none. Not durable.
    pub asked: u8,
}

/// A row of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its number.
    pub number: u8,
    /// The message.
    pub message: u8,
    /// Whether its transaction is durable.
    pub durable: bool,
    /// Whether it waits for an operator: only where a check is off.
    pub parked: bool,
}

/// A receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// The database that its name leads to.
    pub data: Data,
    /// An earlier state of it, to which it may be restored.
    pub bookmark: Option<Data>,
    /// What the last restore has put aside.
    pub aside: Option<Data>,
    /// What was ever handled under this name.
    pub ever: Set,
    /// The second commit of a message: only where a check is off.
    pub half: Option<Half>,
}

/// A receiver's database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Data {
    /// The mark of the sender.
    pub mark: Option<Mark>,
    /// Messages that were run or parked, in order.
    pub handled: Vec<u8>,
}

/// How far a receiver has come with a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The receiver that has written it.
    pub name: usize,
    /// The conversation.
    pub conversation: u8,
    /// The last number that was handled.
    pub last: u8,
}

/// What is left to commit of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// The effects are committed, the mark is not.
    Mark(u8),
    /// The sender has its acknowledgement, nothing is committed.
    Both {
        /// The message's number.
        number: u8,
        /// The message.
        message: u8,
    },
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// The sender wants a conversation.
    Open {
        /// Which receiver.
        to: usize,
        /// The number of the question.
        question: u8,
    },
    /// The receiver has one.
    Opened {
        /// Of which receiver.
        of: usize,
        /// The question.
        question: u8,
        /// The conversation.
        conversation: u8,
    },
    /// A message.
    Deliver {
        /// Which receiver.
        to: usize,
        /// The conversation that the sender knows.
        conversation: u8,
        /// The message's number.
        number: u8,
        /// The number of the row before it that was in the outbox; 0: none.
        before: u8,
        /// The message.
        message: u8,
    },
    /// The receiver knows no such conversation.
    Refused {
        /// Which receiver.
        of: usize,
        /// The conversation.
        conversation: u8,
    },
    /// The message was handled, now or before.
    Acknowledged {
        /// Of which receiver.
        of: usize,
        /// The message's number.
        number: u8,
    },
    /// The message fails: only where a check is off.
    Failed {
        /// Of which receiver.
        of: usize,
        /// The message's number.
        number: u8,
    },
    /// The sender wants no mark any more.
    Close {
        /// Which receiver.
        to: usize,
        /// The conversation.
        conversation: u8,
    },
}

/// What should not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches {
    /// A row was deleted whose message was never handled.
    pub lost: bool,
    /// A message was run before an earlier one of the outbox.
    pub overtaken: bool,
}

impl World {
    /// Sends a letter: a second copy adds nothing to one that stays on its way.
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
            pairs: vec![Pair::default(); 1 + usize::from(self.forks)],
            receivers: vec![Receiver::default()],
            question: 0,
            letters: Vec::new(),
            next_conversation: 1,
            next_message: 0,
            breaches: Breaches::default(),
            left: *self,
        }
    }
}
