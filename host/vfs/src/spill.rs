//! Pages of a transaction that is too large for memory: slots of a file without a name, charged to
//! the database like its journals.
//!
//! Invariants:
//! - The file is charged for its slots from the first write until it is dropped: with the
//!   transaction if it was rolled back, with its commit if it was published.
//! - A slot is written only before the transaction is published, so what is read back never changes.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use stockade_depot::{LargePages, PAGE_SIZE, PageBytes, Pgno};

use crate::fault::Fault;
use crate::scratch::{self, Budget};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// A place for one page in a spill file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// A page of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Memory(PageBytes),
    Disk(Slot),
}

/// The file of one transaction.
pub(crate) struct Spill {
    budget: Arc<Budget>,
    file: File,
    slots: u32,
    free: Vec<Slot>,
}

impl Spill {
    /// An empty file.
    pub(crate) fn new(budget: &Arc<Budget>) -> Result<Self, Fault> {
        let file = budget.new_file().map_err(|error| scratch::failed(&error))?;
        Ok(Self { budget: Arc::clone(budget), file, slots: 0, free: Vec::new() })
    }

    /// Writes a page to a slot of its own. A refusal changes nothing.
    pub(crate) fn add(&mut self, page: &PageBytes) -> Result<Slot, Fault> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.budget.charge(PAGE_BYTES)?;
                self.slots += 1;
                Slot(self.slots - 1)
            }
        };
        match self.replace(slot, page) {
            Ok(()) => Ok(slot),
            Err(fault) => {
                self.free(slot);
                Err(fault)
            }
        }
    }

    /// Writes a page over the one in a slot.
    pub(crate) fn replace(&self, slot: Slot, page: &PageBytes) -> Result<(), Fault> {
        let written = self.file.write_all_at(page, u64::from(slot.0) * PAGE_BYTES);
        written.map_err(|error| scratch::failed(&error))
    }

    /// Gives a slot back for the next page.
    pub(crate) fn free(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// The page in a slot.
    pub(crate) fn read(&self, slot: Slot) -> io::Result<PageBytes> {
        let mut page = vec![0; PAGE_SIZE];
        self.file.read_exact_at(&mut page, u64::from(slot.0) * PAGE_BYTES)?;
        Ok(page.into())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.budget.refund(u64::from(self.slots) * PAGE_BYTES);
    }
}

/// A published transaction, until it is durable.
pub(crate) struct Spilled {
    pages: HashMap<Pgno, Stored>,
    spill: Spill,
}

impl Spilled {
    pub(crate) fn new(pages: Vec<(Pgno, Stored)>, spill: Spill) -> Self {
        Self { pages: pages.into_iter().collect(), spill }
    }
}

impl LargePages for Spilled {
    fn pgnos(&self) -> Vec<Pgno> {
        self.pages.keys().copied().collect()
    }

    fn read(&self, pgno: Pgno) -> io::Result<Option<PageBytes>> {
        match self.pages.get(&pgno) {
            None => Ok(None),
            Some(Stored::Memory(page)) => Ok(Some(page.clone())),
            Some(Stored::Disk(slot)) => self.spill.read(*slot).map(Some),
        }
    }
}

impl fmt::Debug for Spilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spilled").field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}
