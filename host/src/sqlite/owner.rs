//! Whether this generation still owns its database, and which fault the file layer reports.
//!
//! In exclusive mode SQLite serves cached pages without asking the VFS, so the question is asked
//! here: before every statement, between batches, from the progress handler, on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stockade_depot::{Reason, Session};
use stockade_vfs::{Fault, Handle};

use super::error::{SqlError, SqlLimit};
use super::meter::Meter;
use crate::grip::Grip;

/// The two causes that end all SQL of a generation: its grip and its session.
#[derive(Clone)]
pub(super) struct Owner {
    session: Session,
    handle: Arc<Handle>,
    grip: Grip,
    /// Whether the statement that runs has rolled a transaction back.
    rolled_back: Arc<AtomicBool>,
}

impl Owner {
    pub(super) fn new(handle: &Arc<Handle>, grip: Grip) -> Self {
        let rolled_back = Arc::default();
        Self { session: handle.session().clone(), handle: Arc::clone(handle), grip, rolled_back }
    }

    /// From SQLite's hook: notes that a transaction is rolled back.
    pub(super) fn note_rollback(&self) {
        self.rolled_back.store(true, Ordering::Relaxed);
    }

    /// Whether a transaction was rolled back since the statement began.
    pub(super) fn has_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Relaxed)
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn grip(&self) -> &Grip {
        &self.grip
    }

    /// Two atomic loads.
    #[inline]
    pub(super) fn is_alive(&self) -> bool {
        !self.session.is_dead() && self.grip.reason().is_none()
    }

    /// # Errors
    /// `Revoked`, with the grip's reason if it has one, else with the session's cause.
    #[inline]
    pub(super) fn alive(&self) -> Result<(), SqlError> {
        if self.is_alive() { Ok(()) } else { Err(self.revoked()) }
    }

    /// Begins a statement: forgets what an earlier one left. A successful statement may leave a
    /// fault, too, if it was a rollback.
    #[inline]
    pub(super) fn forget_fault(&self) {
        if let Some(fault) = self.handle.take_fault() {
            self.end_if_torn(&fault, false);
        }
        self.rolled_back.store(false, Ordering::Relaxed);
    }

    /// A file operation that fails in the middle of a transaction leaves the tables right, but what
    /// FTS5 and its kind keep in memory may be from before the rollback: such a connection may call
    /// its own tables malformed. So the generation ends, and the next one opens the database again.
    /// Commits accepted before run to their verdict, since the session is closed, not killed.
    #[cold]
    fn end_if_torn(&self, fault: &Fault, in_transaction: bool) {
        let tears = match fault {
            Fault::Unavailable(_)
            | Fault::Overloaded
            | Fault::Interrupted
            | Fault::ScratchFailed(_) => true,
            // Refusals that SQLite answers with a plain rollback; and the end itself.
            Fault::CommitTooLarge { .. }
            | Fault::DatabaseFull { .. }
            | Fault::ScratchFull { .. }
            | Fault::PipelineFull
            | Fault::Dead(_) => false,
        };
        if tears && (in_transaction || self.has_rolled_back()) && self.is_alive() {
            tracing::warn!(fence = ?self.session.fence(), %fault, "a transaction was torn");
            self.handle.close(Reason::Storage);
        }
    }

    /// The typed fault behind SQLite's last error, if the file layer has one. `in_transaction`:
    /// SQLite is inside a transaction after the error.
    pub(super) fn fault(&self, meter: &Meter, in_transaction: bool) -> Option<SqlError> {
        if !self.is_alive() {
            return Some(self.revoked());
        }
        let fault = self.handle.take_fault()?;
        self.end_if_torn(&fault, in_transaction);
        if !self.is_alive() {
            return Some(self.revoked());
        }
        Some(match fault {
            Fault::Dead(cause) => SqlError::Revoked(cause.reason()),
            Fault::CommitTooLarge { max, .. } => SqlError::CommitTooLarge(max),
            Fault::DatabaseFull { .. } => SqlError::Full,
            Fault::ScratchFull { .. } => SqlError::LimitExceeded(SqlLimit::ScratchBytes),
            Fault::ScratchFailed(words) => SqlError::Other(format!("scratch file: {words}")),
            Fault::Unavailable(_) | Fault::PipelineFull | Fault::Overloaded => {
                SqlError::Unavailable
            }
            Fault::Interrupted => meter.check().err().unwrap_or(SqlError::Interrupted),
        })
    }

    #[cold]
    fn revoked(&self) -> SqlError {
        let reason = self
            .grip
            .reason()
            .or_else(|| self.session.cause().map(|cause| cause.reason()))
            .unwrap_or(Reason::Storage);
        SqlError::Revoked(reason)
    }
}
