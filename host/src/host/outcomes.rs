//! What became of a call: the question of its caller, and the answer.
//!
//! ```text
//!  recorded as     asked                     settled
//!  ok, err         committed                 committed
//!  begun           partial                   partial
//!  never           never                     never
//!  nothing         expired, or not seen      expired, or never from now on
//! ```
//! Invariant: `Never` is said only of a call that every copy of the request will be refused for, as
//! long as its id is not too old, and after that because it is.

use serde_json::Value as Json;
use stockade_depot::{ActorId, Generation, StoreError, Txid};

use super::Host;
use super::info::SqlReply;
use crate::actor::identified::is_expired;
use crate::actor::statements::Script;
use crate::calls::CallKey;
use crate::error::{CallError, HostError};
use crate::limits::CALL_RECORDS_MAX;
use crate::sqlite::Recorded;

/// What became of a call that has an id.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has been done, and everything that it wrote is kept. Of a `transactional` method that has
    /// answered the error case of its `result`, that is nothing.
    Committed {
        /// Its answer, unless that was too large to be kept.
        answer: Option<KeptAnswer>,
    },
    /// It has begun and has not ended: some of its commits may be kept. Never said of a `transactional`
    /// method.
    Partial,
    /// It has not run and never will.
    Never,
    /// Nothing is recorded of it: it has not run, and may still come. Of an id without a time, it may
    /// also have run so long ago that its record is gone.
    NotSeen,
    /// The time in its id is so long ago that its record is gone, if there was one. It will not run.
    Expired,
}

/// The answer of a call, as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAnswer {
    /// As JSON.
    pub json: Json,
    /// Whether it is the error case of a `result`.
    pub is_err: bool,
}

/// The answer to the question what became of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeReply {
    /// What became of it.
    pub outcome: Outcome,
    /// The generation that answered.
    pub generation: Generation,
    /// The newest durable commit when the answer left: it has what the call has committed.
    pub txid: Txid,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Partial => "partial",
            Self::Never => "never",
            Self::NotSeen => "not-seen",
            Self::Expired => "expired",
        }
    }
}

impl Host {
    /// [`ActorHandle::outcome`](super::ActorHandle::outcome), and its `settle`.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub async fn outcome(
        &self,
        actor: &ActorId,
        key: &CallKey,
        settle: bool,
    ) -> Result<OutcomeReply, CallError> {
        if settle {
            self.keeps_records()?;
        }
        let clock = self.shared().ground.clock.clone();
        let script = Script::Outcome {
            actor: actor.clone(),
            key: key.clone(),
            settle,
            clock: clock.clone(),
        };
        let SqlReply { rows, generation, txid, .. } = self.operate(actor, script, Txid(0)).await?;
        let (recorded, full) = Recorded::read(&rows)
            .ok_or_else(|| HostError::Internal("the answer to a question".to_owned()))?;
        if full {
            return Err(HostError::CallRecordsFull { max: CALL_RECORDS_MAX.unsigned_abs() }.into());
        }
        let outcome = match recorded {
            Recorded::Done { is_error, answer } => Outcome::Committed {
                answer: answer
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .map(|json| KeptAnswer { json, is_err: is_error }),
            },
            Recorded::Begun => Outcome::Partial,
            Recorded::Never => Outcome::Never,
            Recorded::Absent if is_expired(key, clock.now_ms()) => Outcome::Expired,
            Recorded::Absent => Outcome::NotSeen,
        };
        Ok(OutcomeReply { outcome, generation, txid })
    }

    /// Whether the store takes the commit that begins an actor's records: one that says when due work is.
    ///
    /// # Errors
    /// `Store`: nothing was done.
    pub(super) fn keeps_records(&self) -> Result<(), HostError> {
        if self.shared().depot.store().keeps_due_work() {
            return Ok(());
        }
        let why =
            "the node that has the store is of a version without records of calls: upgrade it";
        Err(HostError::Store(StoreError::Unavailable(why.to_owned())))
    }
}
