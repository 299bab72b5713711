//! Pages of a transaction that is too large to be handed over in memory.

use std::collections::HashMap;
use std::fmt;
use std::io;

use crate::id::Pgno;
use crate::page::PageBytes;

/// Pages that a transaction has written, read back as often as needed until the transaction is
/// durable or lost; then the source is dropped.
///
/// Called from any thread, several at a time. The answers never change.
pub trait LargePages: fmt::Debug + Send + Sync + 'static {
    /// The page numbers, each once, in any order.
    fn pgnos(&self) -> Vec<Pgno>;
    /// One page; `None` if the source has no such page.
    ///
    /// # Errors
    /// Those of the file with the pages. A transaction that cannot be read back is lost.
    fn read(&self, pgno: Pgno) -> io::Result<Option<PageBytes>>;
}

/// Pages that are in memory after all: few, but their commit brings many zeros.
#[derive(Debug)]
pub(crate) struct InMemory(HashMap<Pgno, PageBytes>);

impl InMemory {
    pub(crate) fn new(pages: Vec<(Pgno, PageBytes)>) -> Self {
        Self(pages.into_iter().collect())
    }
}

impl LargePages for InMemory {
    fn pgnos(&self) -> Vec<Pgno> {
        self.0.keys().copied().collect()
    }

    fn read(&self, pgno: Pgno) -> io::Result<Option<PageBytes>> {
        Ok(self.0.get(&pgno).cloned())
    }
}
