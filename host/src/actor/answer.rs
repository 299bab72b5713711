//! One answer: the outcome of a guest's call, and the reply that passes the gate.

use std::sync::Arc;
use std::time::Instant;

use stockade_depot::{Generation, Txid};

use super::bill::{Bill, micros};
use super::results::Results;
use crate::error::{CallError, HostError, damage};
use crate::typed::Method;
use stockade_depot::gate::Waiting;

/// The outcome of a guest's call, not yet delivered.
pub struct Answer<T> {
    /// The value, or why there is none. The generation continues.
    pub outcome: Result<T, HostError>,
    /// What must happen before the answer may leave.
    pub waiting: Waiting,
    /// The cost of the call, the gate excepted.
    pub bill: Bill,
}

/// An answer that has passed the gate.
#[derive(Debug)]
pub struct Heard<T> {
    /// The value.
    pub value: T,
    /// The generation that answered.
    pub generation: Generation,
    /// The newest durable commit when the answer left.
    pub txid: Txid,
    /// The cost of the call.
    pub bill: Bill,
}

/// A method's results.
pub struct Called {
    /// The method that ran.
    pub method: Arc<Method>,
    /// Its results.
    pub results: Results,
}

impl<T> Answer<T> {
    /// Waits in front of the gate. Returns what may be reported then.
    pub async fn heard<U>(
        self,
        generation: Generation,
        queue_us: u64,
        shape: impl FnOnce(T) -> U,
    ) -> Result<Heard<U>, CallError> {
        let Answer { outcome, waiting, mut bill } = self;
        let since = Instant::now();
        let passed = waiting.pass().await;
        bill.queue_us = queue_us;
        bill.gate_us = micros(since.elapsed());
        match (passed, outcome) {
            (Ok(txid), Ok(value)) => Ok(Heard { value: shape(value), generation, txid, bill }),
            (Ok(_), Err(error)) => {
                let verdict = waiting.verdict().await;
                // SQL reports only that it was revoked.
                let damaged = waiting.cause().filter(|cause| damage(cause).is_some());
                Err(damaged.map_or_else(
                    || CallError::new(error, verdict),
                    |cause| CallError::of_death(&cause, verdict),
                ))
            }
            (Err(cause), _) => Err(CallError::of_death(&cause, waiting.verdict().await)),
        }
    }
}
