//! The attempts of one request, one after the other, until one ends with something for its caller.
//!
//! Invariants:
//! - There is another attempt only where the one before says that nothing was done.
//! - No pause begins that would not end before the time for attempts is over.

use axum::response::Response;
use stockade_depot::ActorId;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::reply::Refusal;
use super::attempt::Ended;
use stockade::error::{Code, HostError};
use stockade::host::{Attempts, Place};

/// Where a request has been, and until when it is tried.
pub(super) struct Tries<'a> {
    actor: &'a ActorId,
    /// What is asked for.
    what: &'static str,
    pub(super) made: Attempts,
    until: Instant,
}

impl<'a> Tries<'a> {
    pub(super) fn of(actor: &'a ActorId, what: &'static str, until: Instant) -> Self {
        Self { actor, what, made: Attempts::default(), until }
    }

    /// `None`: it is time for the next attempt.
    pub(super) async fn after(&mut self, ended: Ended) -> Result<Option<Response>, Refusal> {
        let (refusal, now) = match ended {
            Ended::Answered(answer) => return Ok(Some(answer)),
            Ended::Refused(refusal) => return Err(refusal),
            Ended::NotDone { refusal, now } => (refusal, now),
        };
        if !now {
            let pause = self.made.next_pause();
            if Instant::now() + pause >= self.until {
                return Err(refusal);
            }
            tracing::debug!(actor = %self.actor, what = self.what, ?refusal, "trying again");
            sleep(pause).await;
        }
        Ok(None)
    }
}

/// Where the actor is, if that is found in time.
pub(super) async fn found(
    looking: impl Future<Output = Result<Place, HostError>>,
    until: Instant,
) -> Result<Place, Refusal> {
    let found = timeout_at(until, looking).await;
    let found = found.map_err(|_| Refusal::new(Code::DeadlinePassed, "no time left to look"))?;
    Ok(found?)
}
