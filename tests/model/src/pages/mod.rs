//! What a page is at a txid: staged commits, growth and shrinking, the page cache (D1, D7, D8).
//!
//! One database of two pages, taken over again and again by generations on two nodes. Ownership and
//! the fate of a commit are settled (`ownership`), so takeovers and commits are one action here.
//! Only the chunks of a stage and the answers to reads are late.
//!
//! ```text
//! transaction ── small ──> commit: head, commit row and page rows in one step
//!            └── large ──> chunk, chunk, .. (rows with the coming txid and a stage id)
//!                            ├──> commit: its row names the stage, and so shows the chunks
//!                            └──> given up: rolled back, refused, taken over. The rows stay
//! ```
//! Beside each commit the machine keeps what SQLite had then, and compares.

mod actions;
mod properties;
mod store;

pub use properties::names;

use crate::machine::{Machine, Protocol, as_each_machine};

/// Pages of the database at most.
pub const PAGES: usize = 2;
/// Nodes with a cache.
pub const NODES: usize = 2;
/// What a page of zeros reads as.
pub const ZEROS: u8 = 0;

/// Added to a value that was spilled before it was final.
pub const SPILLED: u8 = 100;

/// How far the machine may go.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Transactions, given up ones included.
    pub transactions: u8,
    /// Stages.
    pub stages: u8,
    /// Generations.
    pub generations: u8,
    /// Reads that are sent.
    pub reads: u8,
    /// Letters that arrive twice.
    pub copies: u8,
    /// Cache entries that are evicted.
    pub evictions: u8,
    /// Times that garbage is collected.
    pub collections: u8,
}

/// The machine.
pub type Pages = Machine<Size>;

/// What SQLite has: the pages within the count.
pub type Image = Vec<u8>;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The generation that owns the head.
    pub generation: u8,
    /// The node it runs on.
    pub node: usize,
    /// Page rows, ascending.
    pub rows: Vec<Row>,
    /// Commit rows: number n has txid n + 1.
    pub commits: Vec<Commit>,
    /// The transaction that is being staged.
    pub staging: Option<Staging>,
    /// Chunks and reads on their way, in order.
    pub letters: Vec<Letter>,
    /// Each node's cache, page by page.
    pub caches: Vec<Vec<Option<Entry>>>,
    /// A page was given to a generation that is not the owner.
    pub foreign_read: bool,
    /// What is left of the bounds.
    pub left: Left,
}

/// A version of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Which page, from 0.
    pub page: usize,
    /// The commit that wrote it, or shall.
    pub txid: u8,
    /// The stage it belongs to; 0 for none.
    pub stage: u8,
    /// Its bytes.
    pub value: u8,
}

/// A row of the commit log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// The stage whose rows are its pages; 0 for none.
    pub stage: u8,
    /// For the properties: what SQLite has after it.
    pub image: Image,
}

/// A transaction whose pages go to the store before its commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Staging {
    /// Random, of this transaction.
    pub stage: u8,
    /// What SQLite has after it.
    pub image: Image,
    /// Pages that the store has not acknowledged, as bits.
    pub waiting: u8,
}

/// A chunk or a read on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// One staged page.
    Chunk {
        /// Whose.
        generation: u8,
        /// The row it shall be.
        row: Row,
    },
    /// Only without its check: a takeover that brings pages from before it had the head's lock.
    TakeOver {
        /// The node that takes over.
        node: usize,
        /// The head's txid when the statement began.
        seen: u8,
    },
    /// A question for a page as of the session's durable txid.
    Read {
        /// Whose.
        generation: u8,
        /// The node that asks.
        node: usize,
        /// Which page.
        page: usize,
        /// As of which commit.
        at: u8,
    },
    /// Its answer.
    Answer {
        /// The node that asked.
        node: usize,
        /// Which page.
        page: usize,
        /// As of which commit.
        at: u8,
        /// The bytes.
        value: u8,
    },
}

/// A cached page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its bytes.
    pub value: u8,
    /// The newest commit for which it is known to be the page.
    pub valid_through: u8,
}

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// The value that the next transaction writes.
    pub next_value: u8,
    /// The next stage id.
    pub next_stage: u8,
    /// Reads.
    pub reads: u8,
    /// Copies.
    pub copies: u8,
    /// Evictions.
    pub evictions: u8,
    /// Collections.
    pub collections: u8,
}

impl Protocol for Size {
    as_each_machine!();

    type Letter = Letter;

    fn initial(&self) -> World {
        World {
            generation: 1,
            node: 0,
            rows: Vec::new(),
            commits: Vec::new(),
            staging: None,
            letters: Vec::new(),
            caches: vec![vec![None; PAGES]; NODES],
            foreign_read: false,
            left: Left {
                next_value: 1,
                next_stage: 1,
                reads: self.reads,
                copies: self.copies,
                evictions: self.evictions,
                collections: self.collections,
            },
        }
    }
}
