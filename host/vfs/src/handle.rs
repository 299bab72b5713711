//! The way to an open database from any thread: what went wrong, interrupt, close.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rusqlite::InterruptHandle;
use stockade_depot::{Reason, Session};

use crate::context::Context;
use crate::fault::Fault;
use crate::options::VfsOptions;

/// Why a database cannot be interrupted or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It was not opened yet.
    #[error("not open")]
    NotOpen,
    /// It was opened already: a handle opens once.
    #[error("open already")]
    Open,
    /// It was closed, whether it had been open or not.
    #[error("closed: {0}")]
    Closed(Reason),
}

/// Life of a handle: it opens at most once, and closing is final.
enum Life {
    NotOpen,
    Open(InterruptHandle),
    Closed(Reason),
}

/// One database, from before it is opened until after it is closed. Shared by all that may end it.
pub struct Handle {
    context: Arc<Context>,
    life: Mutex<Life>,
}

impl Handle {
    /// The handle of a database that is about to be opened: any holder can close it first.
    #[must_use]
    pub fn new(session: Session, options: &VfsOptions) -> Arc<Self> {
        Arc::new(Self {
            context: Arc::new(Context::new(session, options)),
            life: Mutex::new(Life::NotOpen),
        })
    }

    /// The session underneath.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.context.session
    }

    /// The first fault below SQLite since the last call, or the cause of death if the session died
    /// since.
    ///
    /// Called before a statement to forget what an earlier one left (one atomic operation if there
    /// is nothing), and after it failed to learn the cause. A statement may succeed and leave a
    /// fault: a ROLLBACK whose sync was refused is repeated by SQLite.
    pub fn take_fault(&self) -> Option<Fault> {
        self.context.faults.take()
    }

    /// Pages of the database that SQLite has read from the session since the last call: its cache
    /// lacked them.
    #[must_use]
    pub fn take_pages_read(&self) -> u64 {
        match self.context.pages_read.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.context.pages_read.swap(0, Ordering::Relaxed),
        }
    }

    /// Bytes of scratch in use: journals, temporary tables, sorts.
    #[must_use]
    pub fn scratch_bytes(&self) -> u64 {
        self.context.scratch.used()
    }

    /// How many of them are in memory.
    #[must_use]
    pub fn scratch_memory_bytes(&self) -> u64 {
        self.context.scratch.in_memory()
    }

    /// Ends the statement that runs now, and the wait for the store that it may be in. Does
    /// nothing if none runs: ask `is_dead` before the next one.
    ///
    /// # Errors
    /// `NotOpen` or `Closed`.
    pub fn interrupt(&self) -> Result<(), HandleError> {
        match &*self.life.lock() {
            Life::NotOpen => Err(HandleError::NotOpen),
            Life::Closed(reason) => Err(HandleError::Closed(*reason)),
            Life::Open(statement) => {
                statement.interrupt();
                self.context.session.interrupt();
                Ok(())
            }
        }
    }

    /// Closes the session and ends the statement that runs. Idempotent, from any thread, before,
    /// during and after `open`; the first reason stays. SQLite's memory is freed when the owner of
    /// the connection drops it.
    pub fn close(&self, reason: Reason) {
        self.context.session.close(reason);
        let mut life = self.life.lock();
        if let Life::Open(statement) = &*life {
            statement.interrupt();
        }
        if !matches!(*life, Life::Closed(_)) {
            *life = Life::Closed(reason);
        }
    }

    /// Whether the database may be opened.
    pub(crate) fn may_open(&self) -> Result<(), HandleError> {
        match &*self.life.lock() {
            Life::NotOpen => Ok(()),
            Life::Open(_) => Err(HandleError::Open),
            Life::Closed(reason) => Err(HandleError::Closed(*reason)),
        }
    }

    /// `NotOpen -> Open`, unless the handle was closed in the meantime.
    pub(crate) fn opened(&self, statement: InterruptHandle) -> Result<(), HandleError> {
        let mut life = self.life.lock();
        match *life {
            Life::NotOpen => {
                *life = Life::Open(statement);
                Ok(())
            }
            Life::Open(_) => Err(HandleError::Open),
            Life::Closed(reason) => Err(HandleError::Closed(reason)),
        }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use stockade_depot::DepotLimits;

    use super::*;
    use crate::test_context::TestContext;

    fn statement() -> InterruptHandle {
        rusqlite::Connection::open_in_memory().unwrap().get_interrupt_handle()
    }

    /// Closed after the last page was read for opening: the caller gets no connection.
    #[test]
    fn what_was_closed_while_it_opened_is_not_open() {
        let test = TestContext::new(DepotLimits::default(), |_| ());
        let options = VfsOptions::new(test.directory.path());
        let handle = Handle::new(test.context.session.clone(), &options);
        assert_eq!(handle.may_open(), Ok(()));
        handle.close(Reason::Slept);
        let closed = HandleError::Closed(Reason::Slept);
        assert_eq!(handle.opened(statement()), Err(closed));
        assert_eq!((handle.may_open(), handle.interrupt()), (Err(closed), Err(closed)));
        handle.close(Reason::Shutdown);
        assert_eq!(handle.interrupt(), Err(closed), "the first reason stays");
    }
}
