//! What the store does with a step: one atomic action, the fence a condition inside it.

use super::{Breaches, Ownership, Writes};
use crate::Variant;

/// The owner of a database. Generation 0: there is no head yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Only ever rises.
    pub generation: u8,
    /// Random value of the attempt that took it.
    pub token: u8,
}

/// The rows of one database: its head, snapshot and commit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Books {
    /// The head's owner.
    pub owner: Owner,
    /// Whether the owner's epoch is closed.
    pub sealed: bool,
    /// In-memory state that a sealed generation handed over.
    pub snapshot: Option<Snapshot>,
    /// Row n is the commit with txid n + 1.
    pub log: Vec<Row>,
}

/// A row of the commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The generation that made it.
    pub generation: u8,
    /// What it wrote: its content hash.
    pub writes: Writes,
}

/// Stored in-memory state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The generation that made it.
    pub generation: u8,
    /// The head's txid at its seal.
    pub txid: u8,
    /// The writes that the instance knew of.
    pub knows: Writes,
}

/// What a seal leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leaves {
    /// In-memory state, for the successor.
    Snapshot(Writes),
    /// The token of the next generation, for the host that knows it.
    Heir(u8),
}

/// A fenced step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// D4, and D6 for generation 0: generation + 1 with a fresh token, if the owner is `replaces`.
    TakeOver {
        /// The owner that was judged.
        replaces: Owner,
        /// Of this attempt.
        token: u8,
    },
    /// D2: one more row, if the owner and the txid are what the session has.
    Commit {
        /// The session's fence.
        owner: Owner,
        /// The txid before it.
        base: u8,
        /// What it writes.
        writes: Writes,
    },
    /// D5: closes the owner's epoch and stores its state, under the same conditions; or appoints
    /// its heir, and stores no state.
    Seal {
        /// The session's fence.
        owner: Owner,
        /// The txid, which it does not move.
        base: u8,
        /// What is left for the next generation.
        leaves: Leaves,
    },
}

/// What the store says to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The takeover was applied.
    Owned {
        /// The new owner.
        owner: Owner,
        /// The head's txid.
        txid: u8,
        /// The snapshot, if it is current.
        handed: Option<Writes>,
    },
    /// Commit or seal was applied.
    Done,
    /// Nothing was done, because the head is this owner's.
    Refused(Owner),
}

/// How far a letter came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// On its way.
    Sent,
    /// In the store's open group, answered when that is synced.
    Executed(Answer),
    /// The answer is on its way back.
    Answered(Answer),
    /// The store died over it.
    Lost,
}

/// The generation that a seal of `owner` appoints.
#[must_use]
pub(super) fn heir_of(owner: Owner, token: u8) -> Owner {
    Owner { generation: owner.generation + 1, token }
}

impl Books {
    /// The head's txid.
    #[must_use]
    pub fn txid(&self) -> u8 {
        u8::try_from(self.log.len()).expect("BUG: a handful of commits")
    }

    /// All writes up to `txid`.
    #[must_use]
    pub fn writes(&self, txid: u8) -> Writes {
        self.log[..usize::from(txid)].iter().fold(0, |all, row| all | row.writes)
    }

    /// All writes.
    #[must_use]
    pub fn all_writes(&self) -> Writes {
        self.writes(self.txid())
    }
}

impl Ownership {
    /// Whether two owners are the same, as far as the protocol looks.
    pub(super) fn same(&self, one: Owner, other: Owner) -> bool {
        one.generation == other.generation
            && (one.token == other.token || !self.checks.make(Variant::Token))
    }

    /// Whether `owner` owns the database and its epoch is open.
    pub(super) fn owns(&self, books: &Books, owner: Owner) -> bool {
        self.same(books.owner, owner) && !books.sealed
    }

    /// Executes one step.
    pub(super) fn execute(&self, books: &mut Books, step: Step, breaches: &mut Breaches) -> Answer {
        match step {
            Step::TakeOver { replaces, token } => {
                let judged = self.same(books.owner, replaces);
                if !judged && self.checks.make(Variant::TakeoverCondition) {
                    return Answer::Refused(books.owner);
                }
                breaches.unjudged |= books.owner != replaces;
                let replaced = books.owner.generation;
                books.owner = Owner { generation: replaced + 1, token };
                books.sealed = false;
                let handed = self.current_snapshot(books, replaced);
                Answer::Owned { owner: books.owner, txid: books.txid(), handed }
            }
            Step::Commit { owner, base, writes } => {
                let owns = self.owns(books, owner);
                if (!owns && self.checks.make(Variant::CommitFence)) || books.txid() != base {
                    return Answer::Refused(books.owner);
                }
                breaches.foreign_commit |= books.owner != owner || books.sealed;
                books.log.push(Row { generation: owner.generation, writes });
                Answer::Done
            }
            Step::Seal { owner, base, leaves } => {
                let owns = self.owns(books, owner);
                if (!owns && self.checks.make(Variant::SealFence)) || books.txid() != base {
                    return Answer::Refused(books.owner);
                }
                breaches.foreign_seal |= books.owner != owner;
                match leaves {
                    Leaves::Snapshot(knows) => {
                        books.sealed = true;
                        let generation = owner.generation;
                        books.snapshot = Some(Snapshot { generation, txid: base, knows });
                    }
                    Leaves::Heir(token) => {
                        books.owner = heir_of(books.owner, token);
                        books.snapshot = None;
                    }
                }
                Answer::Done
            }
        }
    }

    /// D5: the stored snapshot, if the generation that was replaced made it with its seal and
    /// nothing was committed since.
    fn current_snapshot(&self, books: &Books, replaced: u8) -> Option<Writes> {
        let snapshot = books.snapshot?;
        let current = snapshot.generation == replaced && snapshot.txid == books.txid();
        (current || !self.checks.make(Variant::SnapshotCurrent)).then_some(snapshot.knows)
    }
}
