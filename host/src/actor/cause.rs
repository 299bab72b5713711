//! What a caller is told when the session under its call has died: the cause, and the verdict of
//! its own writes.

use stockade_depot::{ActorId, Cause, OpenError, Reason, StoreError, Verdict};

use crate::error::HostError;

/// The error of a call whose answer may not leave. `verdict`: what became of its own writes, `None`
/// if it had none.
#[must_use]
pub fn error_of(cause: &Cause, verdict: Option<Verdict>) -> HostError {
    if let Some(what) = damage(cause) {
        return HostError::Corrupt { actor: None, what: what.to_owned(), verdict };
    }
    match cause {
        Cause::Fenced(mismatch) => HostError::Fenced { mismatch: *mismatch, verdict },
        Cause::CommitLost { error: StoreError::Full(full), .. }
            if matches!(verdict, None | Some(Verdict::NotCommitted)) =>
        {
            HostError::StoreFull { full: full.clone(), verdict }
        }
        Cause::Failed(failure) => match verdict {
            Some(verdict) => HostError::CommitLost { verdict, cause: failure.to_string() },
            None => HostError::Store(StoreError::Failed(failure.clone())),
        },
        Cause::CommitLost { error: error @ StoreError::Failed(_), .. } if verdict.is_none() => {
            HostError::Store(error.clone())
        }
        Cause::CommitLost { error, .. } => match verdict {
            Some(verdict) => HostError::CommitLost { verdict, cause: error.to_string() },
            // Another call's commit: this one wrote nothing and may be repeated.
            None => HostError::Ended { reason: Reason::Storage, verdict, cause: error.to_string() },
        },
        Cause::Unconfirmed(error) => match verdict {
            None => HostError::from(error.clone()),
            Some(_) => {
                HostError::Ended { reason: Reason::Storage, verdict, cause: error.to_string() }
            }
        },
        Cause::Corrupt(_) | Cause::Gone(_) | Cause::Closed(_) | Cause::Sealed => {
            HostError::Ended { reason: cause.reason(), verdict, cause: cause.to_string() }
        }
    }
}

/// What is damaged, if that is the cause: the next generation meets it as well.
#[must_use]
pub fn damage(cause: &Cause) -> Option<&str> {
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

/// Why no generation could be started.
#[must_use]
pub fn error_of_open(error: OpenError, actor: &ActorId) -> HostError {
    match error {
        OpenError::Exists(_) | OpenError::Superseded { .. } => {
            HostError::Superseded { actor: actor.clone() }
        }
        OpenError::DatabaseMissing(_) => HostError::ActorMissing { actor: actor.clone() },
        OpenError::Destroying => HostError::Destroying { actor: actor.clone() },
        OpenError::Importing(_) => HostError::Importing { actor: actor.clone() },
        OpenError::Store(error) => HostError::from(error),
    }
}

/// The error of a call that ran and failed, with the verdict of its writes. Errors from before the
/// guest ran have none.
#[must_use]
pub fn with_verdict(error: HostError, of_call: Option<Verdict>) -> HostError {
    match error {
        HostError::Trapped { crash, .. } => HostError::Trapped { crash, verdict: of_call },
        HostError::BudgetExhausted { which, .. } => {
            HostError::BudgetExhausted { which, verdict: of_call }
        }
        HostError::ReplyTooLarge { bytes, max, .. } => {
            HostError::ReplyTooLarge { bytes, max, verdict: of_call }
        }
        HostError::Overloaded { what, max, .. } => {
            HostError::Overloaded { what, max, verdict: of_call }
        }
        HostError::Sql { error, .. } => HostError::Sql { error, verdict: of_call },
        HostError::Corrupt { actor, what, .. } => {
            HostError::Corrupt { actor, what, verdict: of_call }
        }
        HostError::Ended { reason, cause, .. } => {
            HostError::Ended { reason, verdict: of_call, cause }
        }
        other => other,
    }
}
