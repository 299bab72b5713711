//! Translates failures of the store and its sessions into errors of the host and of calls.

use stockade_depot::import::ImportError;
use stockade_depot::{ActorId, Cause, OpenError, Reason, StoreError, Verdict};

use super::{CallError, HostError};
use crate::import::{ImportFailure, PlainError};

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(mismatch) => Self::Fenced { mismatch },
            StoreError::Corrupt(what) => Self::corrupt(what),
            StoreError::Full(full) => Self::StoreFull { full },
            other => Self::Store(other),
        }
    }
}

/// The error of work that had handed over no commit of its own when its session died.
impl From<&Cause> for HostError {
    fn from(cause: &Cause) -> Self {
        of_death(cause, None)
    }
}

impl CallError {
    /// The error of a call whose answer may not leave: its session has died. `verdict`: what became
    /// of the call's own writes, `None` if there were none.
    pub(crate) fn of_death(cause: &Cause, verdict: Option<Verdict>) -> Self {
        Self::new(of_death(cause, verdict), verdict)
    }
}

impl HostError {
    /// Why no generation could begin.
    pub(crate) fn of_open(error: OpenError, actor: &ActorId) -> Self {
        match error {
            OpenError::Exists(_) | OpenError::Superseded { .. } => {
                Self::Superseded { actor: actor.clone() }
            }
            OpenError::DatabaseMissing(_) => Self::ActorMissing { actor: actor.clone() },
            OpenError::Destroying => Self::Destroying { actor: actor.clone() },
            OpenError::Importing(_) => Self::Importing { actor: actor.clone() },
            OpenError::Store(error) => Self::from(error),
        }
    }
}

impl HostError {
    /// Why no actor was created from a file.
    pub(crate) fn of_import(failure: ImportFailure, actor: &ActorId) -> Self {
        match failure {
            ImportFailure::File(error) => Self::Import(error),
            ImportFailure::Work(error) => Self::Internal(format!("work on a file: {error}")),
            ImportFailure::Store(ImportError::Exists(_)) => {
                Self::ImportExists { actor: actor.clone() }
            }
            ImportFailure::Store(ImportError::Open(error)) => Self::of_open(error, actor),
            // A part of an import is not reported: the whole import can be repeated.
            ImportFailure::Store(ImportError::Lost(cause)) => Self::from(&cause),
            ImportFailure::Store(ImportError::Io(error)) => Self::Import(PlainError::Unreadable {
                verb: "read",
                path: "the copy".into(),
                why: error.to_string(),
            }),
        }
    }
}

/// The error that a caller gets for a death: a lost commit of the call goes before the cause.
fn of_death(cause: &Cause, verdict: Option<Verdict>) -> HostError {
    if let Some(what) = damage(cause) {
        return HostError::corrupt(what.to_owned());
    }
    match cause {
        Cause::Fenced(mismatch) => HostError::Fenced { mismatch: *mismatch },
        Cause::CommitLost { error: StoreError::Full(full), .. }
            if matches!(verdict, None | Some(Verdict::NotCommitted)) =>
        {
            HostError::StoreFull { full: full.clone() }
        }
        Cause::Failed(failure) => match verdict {
            Some(_) => HostError::CommitLost { cause: failure.to_string() },
            None => HostError::Store(StoreError::Failed(failure.clone())),
        },
        Cause::CommitLost { error: error @ StoreError::Failed(_), .. } if verdict.is_none() => {
            HostError::Store(error.clone())
        }
        Cause::CommitLost { error, .. } => match verdict {
            Some(_) => HostError::CommitLost { cause: error.to_string() },
            // Another call's commit was lost: this call wrote nothing and may be repeated.
            None => HostError::Ended { reason: Reason::Storage, cause: error.to_string() },
        },
        Cause::Unconfirmed(error) => match verdict {
            None => HostError::from(error.clone()),
            Some(_) => HostError::Ended { reason: Reason::Storage, cause: error.to_string() },
        },
        Cause::Corrupt(_) | Cause::Gone(_) | Cause::Closed(_) | Cause::Sealed => {
            HostError::Ended { reason: cause.reason(), cause: cause.to_string() }
        }
    }
}

/// The damage, if that is the cause: the next generation meets it as well.
#[must_use]
pub(crate) fn damage(cause: &Cause) -> Option<&str> {
    match cause {
        Cause::Corrupt(what)
        | Cause::CommitLost { error: StoreError::Corrupt(what), .. }
        | Cause::Unconfirmed(StoreError::Corrupt(what)) => Some(what),
        Cause::Fenced(_)
        | Cause::CommitLost { .. }
        | Cause::Unconfirmed(_)
        | Cause::Failed(_)
        | Cause::Gone(_)
        | Cause::Closed(_)
        | Cause::Sealed => None,
    }
}
