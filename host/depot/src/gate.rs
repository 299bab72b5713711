//! The gate: no answer leaves before it is durable and its session still owns the database.
//!
//! An answer leaves when (a) every commit made before it is durable and (b) the store has confirmed
//! the fence by an answer to a request that was sent after the call began. A durable commit of the
//! call itself is such an answer, and so is the takeover of a generation that was begun for the
//! call, or the look at the head that a reserved one began with; a call without any of them asks
//! the store.
//!
//! ```text
//!  Gate::enter ── guest runs, commits are accepted ── Gate::pass ──> durable(marks) ──> answer
//!                                                            └─ neither of both: confirm
//! ```

use crate::broken::{self, Variant};
use crate::cause::{Cause, Verdict};
use crate::id::Txid;
use crate::session::{Mark, Session};

/// Held by one call from its start to its answer.
#[derive(Debug)]
pub struct Gate {
    session: Session,
    entered: Mark,
    /// By an answer to a request that was sent after the call began.
    confirmed: bool,
}

impl Gate {
    /// Called before the guest runs.
    #[must_use]
    pub fn enter(session: &Session) -> Self {
        Self { session: session.clone(), entered: session.mark(), confirmed: false }
    }

    /// As `enter`, for the call that the generation was begun for: the takeover, or the look at the
    /// head that a reserved one began with, was requested after the call began.
    #[must_use]
    pub fn enter_first(session: &Session) -> Self {
        Self { confirmed: true, ..Self::enter(session) }
    }

    /// Holds an effect that a call makes before its answer: the effect may leave when
    /// `Waiting::pass` is `Ok`. The fence is confirmed by an answer to a request that is sent after the
    /// effect was made.
    #[must_use]
    pub fn effect(session: &Session) -> Waiting {
        Self::enter(session).leave()
    }

    /// Called when the guest has answered; the answer may leave when `Waiting::pass` is `Ok`.
    #[must_use]
    pub fn leave(self) -> Waiting {
        let left = self.session.mark();
        Waiting { committed: left != self.entered, left, gate: self }
    }
}

/// An answer in front of the gate.
#[derive(Debug)]
pub struct Waiting {
    gate: Gate,
    left: Mark,
    committed: bool,
}

impl Waiting {
    /// Waits until the answer may leave. Returns the newest durable commit.
    ///
    /// # Errors
    /// The first fatal cause of the session: the answer must not leave.
    pub async fn pass(&self) -> Result<Txid, Cause> {
        let session = &self.gate.session;
        let txid = if broken::is_off(Variant::GateDurable) {
            session.durable_txid()
        } else {
            session.durable(self.left).await?
        };
        if !self.committed && !self.gate.confirmed && !broken::is_off(Variant::GateConfirm) {
            session.confirm().await?;
        }
        Ok(txid)
    }

    /// Why the session is dead, if it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.gate.session.cause()
    }

    /// The verdict on the call's own writes; `None` if it handed over none. Waits for the verdict
    /// of each, which comes at the pipeline's deadlines at the latest.
    pub async fn verdict(&self) -> Option<Verdict> {
        if !self.committed {
            return None;
        }
        let session = &self.gate.session;
        if session.durable(self.left).await.is_ok() {
            return Some(Verdict::Committed);
        }
        // Commits become durable in their order, so the first one tells whether any may be kept.
        Some(match session.durable(self.gate.entered.next()).await {
            Ok(_) => Verdict::Indeterminate,
            Err(cause) => cause.verdict(),
        })
    }
}
