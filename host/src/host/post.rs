//! Messages of actors: the way from the slot of the sender to that of the receiver, and the one
//! translation of what comes of a parcel.
//!
//! ```text
//!  router/outbox ── Parcel ──> here: queue of the receiver ──> Said
//!                      └─────> with peers: `Far`, which finds the process
//! ```
//! Invariant: "not done" and "gone" are said only by the advice of the table; whatever else happens may
//! have been done.

use std::sync::Arc;

use stockade_depot::{ActorId, Txid};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Host;
use crate::error::{Body, CallError, Code, Retry};
use crate::limits::PARCEL_WITHIN;
use crate::messages::{Parcel, Said, Undelivered};
use crate::router::request::Work;

impl Host {
    /// Takes a parcel to its receiver.
    pub(super) async fn deliver(&self, to: &ActorId, parcel: &Parcel) -> Result<Said, Undelivered> {
        tracing::trace!(from = %parcel.from, %to, "a parcel");
        let until = Instant::now() + PARCEL_WITHIN;
        let answered = async {
            match self.inner.far.get() {
                Some(far) if self.has_peers() => far.deliver(to, parcel, until).await,
                Some(_) | None => {
                    let said = self.deliver_here(to, parcel.clone()).await;
                    said.map_err(|error| error.body())
                }
            }
        };
        let answered = tokio::time::timeout_at(until, answered).await;
        let silent =
            || Undelivered::Unknown("the receiver has not answered in its time".to_owned());
        let said = answered.map_err(|_| silent())?;
        said.map_err(|body| undelivered(body, parcel))
    }

    /// Takes a parcel to its receiver in this process.
    ///
    /// # Errors
    /// As a call; `ActorMissing` if the database that it is for is gone.
    #[doc(hidden)]
    pub async fn deliver_here(&self, to: &ActorId, parcel: Parcel) -> Result<Said, CallError> {
        let program = self.shared().kinds.current(to.kind()).await?;
        let limits = Arc::clone(&program.limits);
        let (reply, heard) = oneshot::channel();
        let work = Work::Parcel { parcel, program, reply };
        self.hear(&limits, to, Txid(0), work, heard).await
    }
}

/// A row of the table, as the sender sees it.
fn undelivered(body: Body, parcel: &Parcel) -> Undelivered {
    let missing = Code::ActorMissing;
    let is_missing = (missing.group(), missing.name()) == (body.group.as_str(), body.code.as_str());
    match body.retry {
        Retry::UnknownOutcome => Undelivered::Unknown(body.message),
        _ if is_missing && parcel.asks.to().is_some() => Undelivered::Gone,
        Retry::Retry | Retry::Reroute | Retry::Fix | Retry::Never => {
            Undelivered::NotDone(body.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use stockade_depot::{DbId, Reason, Verdict};

    use super::*;
    use crate::error::HostError;
    use crate::messages::{Asked, Conversation, Sender};

    fn parcel(asks: Asked) -> Parcel {
        let actor = ActorId::new("kind", "key").expect("a name");
        Parcel { from: Sender::of(DbId([1; 16]), &actor), asks: Arc::new(asks) }
    }

    fn translated(error: HostError, verdict: Option<Verdict>, asks: Asked) -> Undelivered {
        undelivered(CallError::new(error, verdict).body(), &parcel(asks))
    }

    #[test]
    fn only_what_surely_was_not_done_is_said_to_be_so() {
        let open = || Asked::Open { question: 1 };
        let close = || Asked::Close { to: DbId([2; 16]), conversation: Conversation([3; 16]) };
        let actor = || ActorId::new("kind", "key").expect("a name");
        let missing = || HostError::ActorMissing { actor: actor() };
        assert_eq!(translated(missing(), None, close()), Undelivered::Gone);
        assert!(matches!(translated(missing(), None, open()), Undelivered::NotDone(_)));
        let full = || HostError::Overloaded { what: "queued calls", max: 1 };
        assert!(matches!(translated(full(), None, close()), Undelivered::NotDone(_)));
        let ended = HostError::Ended { reason: Reason::Shutdown, cause: "cause".to_owned() };
        let verdict = Some(Verdict::Indeterminate);
        assert!(matches!(translated(ended, verdict, close()), Undelivered::Unknown(_)));
    }
}
