//! How a step is sent again: growing pauses, up to a deadline. The one place that sleeps.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::StoreError;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

/// Sends again until a deadline.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    /// Tries for `limit` from now on.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: RETRY_PAUSE_MIN }
    }

    /// Waits before the next attempt. `false` at once if that would be past the deadline.
    pub(crate) async fn pause(&mut self) -> bool {
        if Instant::now() + self.pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        true
    }

    /// One answer of the store, or `Unknown` at the deadline: the step was sent, so it may have
    /// been applied.
    pub(crate) async fn ask<T>(
        &self,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout_at(self.deadline, step)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unknown("no answer before the deadline".into())))
    }
}

/// A pause between two steps of background work.
pub(crate) async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Whether a question that changes nothing may be asked again.
pub(crate) fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => true,
        StoreError::Fenced(_)
        | StoreError::DatabaseMissing(_)
        | StoreError::Refused { .. }
        | StoreError::Corrupt(_)
        | StoreError::HistoryGone { .. }
        | StoreError::NoCommit { .. }
        | StoreError::HasForks(_)
        | StoreError::Closed => false,
    }
}
