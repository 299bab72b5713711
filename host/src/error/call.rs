//! The error of a call: the cause, and what became of the writes that the call had handed over.
//!
//! Invariant: the advice belongs to the call. Once a failed call has handed a commit to the store,
//! its advice is `unknown-outcome`, whatever the table says, because sending the call again may
//! repeat its effects. Only a full store keeps the table's `retry`: it refused the first commit of
//! the call, so none was kept.

use std::time::Duration;

use serde_json::Value as Json;
use stockade_depot::{ActorId, Verdict};

use super::{Body, Code, HostError, Retry};

/// Why a call failed, and what became of its writes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
#[non_exhaustive]
pub struct CallError {
    /// The cause, to be matched on.
    pub cause: HostError,
    /// What became of the writes that the call had handed to the store; `None` if there were none.
    pub verdict: Option<Verdict>,
}

/// The error of a call that handed nothing over.
impl<E: Into<HostError>> From<E> for CallError {
    fn from(cause: E) -> Self {
        Self { cause: cause.into(), verdict: None }
    }
}

impl CallError {
    /// The error of a call that had begun.
    pub(crate) fn new(cause: HostError, verdict: Option<Verdict>) -> Self {
        Self { cause, verdict }
    }

    /// The same error; damage without a known actor is attributed to this one.
    #[must_use]
    pub fn of(self, actor: &ActorId) -> Self {
        Self { cause: self.cause.of(actor), ..self }
    }

    /// The cause's row in the table.
    #[must_use]
    pub fn code(&self) -> Code {
        self.cause.code()
    }

    /// What the caller should do now: the advice of the cause, unless the call had handed over a
    /// commit.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match (&self.cause, self.verdict) {
            (HostError::StoreFull { .. }, _) | (_, None) => self.cause.retry(),
            (_, Some(_)) => Retry::UnknownOutcome,
        }
    }

    /// How long to wait before trying again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.cause.retry_after()
    }

    /// The body of this error.
    #[must_use]
    pub fn body(&self) -> Body {
        let mut body = Body { retry: self.retry(), ..self.cause.body() };
        if let (Some(verdict), Json::Object(details)) = (self.verdict, &mut body.details) {
            details.insert("verdict".to_owned(), word(verdict).into());
        }
        body
    }

    /// The body for callers who are the guest's authors: with the guest's last words.
    #[must_use]
    pub fn body_for_authors(&self) -> Body {
        let mut body = self.body();
        if let (Some(crash), Json::Object(details)) = (self.cause.crash(), &mut body.details) {
            details.insert("last_words".to_owned(), crash.last_words.as_str().into());
            details.insert("backtrace".to_owned(), crash.backtrace.as_str().into());
        }
        body
    }
}

/// The word for a verdict in the body.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Committed => "committed",
        Verdict::NotCommitted => "not-committed",
        Verdict::Indeterminate => "indeterminate",
    }
}
