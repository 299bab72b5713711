//! One answer: what a guest's call left behind, and what is heard of it behind the gate.

use std::sync::Arc;
use std::time::Instant;

use stockade_depot::{Generation, Txid};

use super::bill::{Bill, micros};
use super::results::Results;
use crate::error::{CallError, HostError, damage};
use crate::typed::Method;
use stockade_depot::gate::Waiting;

/// What a guest's call left behind, not yet heard.
pub struct Answer<T> {
    /// The value, or why there is none. The generation goes on.
    pub outcome: Result<T, HostError>,
    /// What must happen before it may leave.
    pub waiting: Waiting,
    /// What it has cost, the gate excepted.
    pub bill: Bill,
}

/// An answer that has passed the gate.
#[derive(Debug)]
pub struct Heard<T> {
    /// What was answered.
    pub value: T,
    /// The life that answered.
    pub generation: Generation,
    /// The newest durable commit when it left.
    pub txid: Txid,
    /// What it has cost.
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
    /// Waits in front of the gate. What it then is may be told.
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
                // SQL only says that it was revoked.
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
