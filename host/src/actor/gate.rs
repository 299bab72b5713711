//! The gate: nothing is heard before it is durable and still owned.
//!
//! An answer leaves when (a) every commit made before it is durable and (b) the store has confirmed
//! the fence by an answer to a request that was sent after the call began. A durable commit of the
//! call itself is such an answer; a call without one asks the store.
//!
//! ```text
//!  Gate::enter ── guest runs, commits are accepted ── Gate::pass ──> durable(marks) ──> answer
//!                                                            └─ no commit of its own: confirm
//! ```

use stockade_depot::{Cause, Mark, Session, Txid, Verdict};

/// Held by one call from its begin to its answer.
#[derive(Debug)]
pub struct Gate {
    session: Session,
    entered: Mark,
    durable_before: Txid,
}

impl Gate {
    /// To be made before the guest runs.
    #[must_use]
    pub fn enter(session: &Session) -> Self {
        let durable_before = session.durable_txid();
        Self { session: session.clone(), entered: session.mark(), durable_before }
    }

    /// To be asked when the guest has answered; its answer may leave when `Waiting::pass` is `Ok`.
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
        let txid = self.gate.session.durable(self.left).await?;
        if !self.committed {
            self.gate.session.confirm().await?;
        }
        Ok(txid)
    }

    /// What became of the call's own writes; `None` if it handed over none.
    #[must_use]
    pub fn verdict(&self, passed: Result<(), &Cause>) -> Option<Verdict> {
        match passed {
            _ if !self.committed => None,
            Ok(()) => Some(Verdict::Committed),
            Err(cause) => match cause.verdict() {
                // A call may have made several commits: earlier ones may be durable.
                Verdict::NotCommitted
                    if self.gate.session.durable_txid() != self.gate.durable_before =>
                {
                    Some(Verdict::Indeterminate)
                }
                verdict => Some(verdict),
            },
        }
    }
}
