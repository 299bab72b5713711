//! Whether this generation still owns its database, and what the file layer says went wrong.
//!
//! In exclusive mode SQLite serves cached pages without asking the VFS, so the question is asked
//! here: before every statement, between batches, from the progress handler, on the way out.

use std::sync::Arc;

use stockade_depot::{Cause, Reason, Session};
use stockade_vfs::{Fault, Handle};

use super::error::{SqlError, SqlLimit};
use super::meter::Meter;
use crate::grip::Grip;

/// What ends all SQL of a generation: its grip and its session.
#[derive(Clone)]
pub(super) struct Owner {
    session: Session,
    handle: Arc<Handle>,
    grip: Grip,
}

impl Owner {
    pub(super) fn new(handle: &Arc<Handle>, grip: Grip) -> Self {
        Self { session: handle.session().clone(), handle: Arc::clone(handle), grip }
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

    /// Forgets what an earlier statement left.
    #[inline]
    pub(super) fn forget_fault(&self) {
        let _ = self.handle.take_fault();
    }

    /// The typed fault behind SQLite's last error, if the file layer has one.
    pub(super) fn fault(&self, meter: &Meter) -> Option<SqlError> {
        if !self.is_alive() {
            return Some(self.revoked());
        }
        Some(match self.handle.take_fault()? {
            Fault::Dead(cause) => SqlError::Revoked(reason_of(&cause)),
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
            .or_else(|| self.session.cause().as_ref().map(reason_of))
            .unwrap_or(Reason::Storage);
        SqlError::Revoked(reason)
    }
}

/// The reason that guests are told for the end of a session.
pub fn reason_of(cause: &Cause) -> Reason {
    match cause {
        Cause::Fenced(_) => Reason::Fenced,
        Cause::CommitLost { .. } | Cause::Corrupt(_) | Cause::Unconfirmed(_) => Reason::Storage,
        Cause::Gone(_) => Reason::Destroyed,
        Cause::Closed(reason) => *reason,
        // Only a generation that goes to sleep is sealed while nobody revoked it.
        Cause::Sealed => Reason::Slept,
    }
}
