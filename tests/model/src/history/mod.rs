//! What may be deleted, and when: retention, pins, destroy, create, import (D6, D10, D11).
//!
//! One actor, whose database may be destroyed and made again; a db id is never used twice. Versions
//! of two pages are sets of txids, so what a read finds is the newest member that is not above the
//! txid asked for.
//!
//! ```text
//! directory   absent ── create ──> native ────────────┐
//!                │                                    ├── destroy: marked by a takeover,
//!                └── import ──> importing ──> imported┘     rows in steps, head and row last
//!                                  │  ^
//!                                  └──┘ reset, on condition of `importing`
//! ```
//! Late here are chunks of a stage, the raising of the floor, and the reset of an import.

mod actions;
mod properties;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// Pages of the database.
pub const PAGES: usize = 2;

/// How far the machine may go.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Lives of the actor: databases that are made.
    pub databases: usize,
    /// Commits of each database.
    pub commits: u8,
    /// Generations of each database.
    pub generations: u8,
    /// Pins that are set, those of forks among them.
    pub pins: u8,
    /// Chunks of stages that are never committed.
    pub chunks: u8,
    /// Letters on their way at a time.
    pub letters: usize,
    /// Imports.
    pub imports: u8,
    /// Destroyers that die half-way.
    pub crashes: u8,
}

/// The machine.
pub type History = Machine<Size>;

/// A set of txids: bit n is txid n.
pub type Txids = u16;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The database that the actor's name leads to, and whether it is being destroyed.
    pub actor: Option<Actor>,
    /// Every database that was ever made.
    pub databases: Vec<Database>,
    /// The process that destroys, and the generation it has taken.
    pub destroyer: Option<u8>,
    /// Steps on their way, in order.
    pub letters: Vec<Letter>,
    /// Import code has wiped a database whose import had ended.
    pub import_touched: bool,
    /// A destroy was begun while a fork held history.
    pub forks_ignored: bool,
    /// What is left of the bounds.
    pub left: Left,
}

/// The directory's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Its database.
    pub db: usize,
    /// Calls and creation are refused until it is gone.
    pub destroying: bool,
}

/// One database: rows of the store, and what was ever written to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    /// Head, if there is one.
    pub head: Option<Head>,
    /// Committed versions that are kept, per page.
    pub rows: [Txids; PAGES],
    /// Staged rows that no commit names, per page.
    pub staged: [u8; PAGES],
    /// Commits that pins of operators hold.
    pub pins: Txids,
    /// Commits that forks hold, by pins of their own.
    pub forks: Txids,
    /// For the properties: versions that were ever committed, per page.
    pub written: [Txids; PAGES],
}

/// The head row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The generation that owns it.
    pub generation: u8,
    /// The newest commit.
    pub txid: u8,
    /// History below is gone, or may go.
    pub floor: u8,
    /// How it came to be.
    pub origin: Origin,
}

/// How a database came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Made empty.
    Native,
    /// An import is under way: no caller opens the database.
    Importing,
    /// Made by an import that has ended.
    Imported,
}

/// A step on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// A chunk of a stage.
    Chunk {
        /// To which database.
        db: usize,
        /// Whose.
        generation: u8,
        /// Which page.
        page: usize,
    },
    /// The floor shall be raised to what retention found when it looked.
    RaiseFloor {
        /// Of which database.
        db: usize,
        /// To where.
        floor: u8,
    },
    /// An import starts over.
    ResetImport {
        /// Of which database.
        db: usize,
    },
}

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Pins.
    pub pins: u8,
    /// Chunks.
    pub chunks: u8,
    /// Imports.
    pub imports: u8,
    /// Crashes.
    pub crashes: u8,
}

impl Database {
    /// The newest version of `page` among `versions` that is not above `at`.
    pub(crate) fn newest(versions: [Txids; PAGES], page: usize, at: u8) -> Option<u8> {
        (1..=at).rev().find(|txid| versions[page] & (1 << txid) != 0)
    }

    /// Whether every page as of `at` is what was committed.
    #[must_use]
    pub fn reads_right(&self, at: u8) -> bool {
        (0..PAGES)
            .all(|page| Self::newest(self.rows, page, at) == Self::newest(self.written, page, at))
    }

    /// Commits that any pin or fork holds.
    pub(crate) fn held(&self) -> Txids {
        self.pins | self.forks
    }

    /// Rows that the store has for it, over all tables.
    #[must_use]
    pub fn row_count(&self) -> u32 {
        let pages: u32 = self.rows.iter().map(|rows| rows.count_ones()).sum();
        let staged: u32 = self.staged.iter().map(|rows| u32::from(*rows)).sum();
        pages + staged + self.held().count_ones()
    }
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        World {
            actor: None,
            databases: Vec::new(),
            destroyer: None,
            letters: Vec::new(),
            import_touched: false,
            forks_ignored: false,
            left: Left {
                pins: self.pins,
                chunks: self.chunks,
                imports: self.imports,
                crashes: self.crashes,
            },
        }
    }
}
