//! This process's own lease: until when no other process can have judged it dead.
//!
//! ```text
//!  sign of life sent            near its end                         lease over: others may
//!   │                            │<──────────── margin ────────────>│ take the actors over
//!   ├──────── calls begin ───────┤ a sign of life is tried first:
//!   0                          3/4  no answer ──> calls are refused  1
//! ```
//! The fence protects the data in any case. The lease bounds how old an answer can be that this
//! process gives while it cannot reach the store.
//!
//! Invariant: the lease counts from *before* the last accepted sign of life was sent, on this
//! process's monotonic clock. Others count from when they see it, which is later.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::StoreError;
use tokio::time::{Instant, timeout};

use crate::limits::{LEASE_MARGIN_PART, LEASE_RENEWED_WITHIN};

/// The lease of this process.
pub(super) struct Lease {
    time: Duration,
    /// Before the last accepted sign of life was sent.
    beaten: Mutex<Instant>,
    /// Of the requests that find the lease near its end, one tries to renew it. When the last
    /// attempt failed.
    renewing: tokio::sync::Mutex<Option<Instant>>,
}

impl Lease {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, beaten: Mutex::new(Instant::now()), renewing: tokio::sync::Mutex::default() }
    }

    /// How long a process may show no sign of life.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// How long ago the last accepted sign of life was sent.
    pub(super) fn age(&self) -> Duration {
        self.beaten.lock().elapsed()
    }

    /// Records a sign of life that the store has accepted.
    pub(super) fn beaten(&self, sent: Instant) {
        let mut beaten = self.beaten.lock();
        *beaten = sent.max(*beaten);
    }

    /// Whether so much of the lease is over that a call may not begin.
    pub(super) fn is_near_its_end(&self) -> bool {
        self.age() >= self.time - self.time / LEASE_MARGIN_PART
    }

    /// Tries `beat` once for all requests that wait here, for a bounded time. Returns whether the
    /// lease is good now.
    pub(super) async fn renewed_by<B>(&self, beat: impl FnOnce() -> B) -> bool
    where
        B: Future<Output = Result<(), StoreError>>,
    {
        // The lock is async: it is held over a step of the store, so that one request tries.
        let waited = timeout(LEASE_RENEWED_WITHIN * 2, self.renewing.lock()).await;
        let Ok(mut failed) = waited else { return false };
        if !self.is_near_its_end() {
            return true;
        }
        if failed.is_some_and(|failed| failed.elapsed() < LEASE_RENEWED_WITHIN) {
            return false;
        }
        // A sign of life that the store has just taken is enough, however short the lease is.
        let renewed = matches!(timeout(LEASE_RENEWED_WITHIN, beat()).await, Ok(Ok(())));
        *failed = (!renewed).then(Instant::now);
        renewed
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_store_that_does_not_answer_ends_the_lease_before_its_time() {
        let lease = Lease::new(Duration::from_secs(6));
        assert!(!lease.is_near_its_end());
        let ago = |time| *lease.beaten.lock() = Instant::now().checked_sub(time).expect("later");
        ago(Duration::from_millis(4_600));
        assert!(lease.is_near_its_end());
        let begun = Instant::now();
        assert!(!lease.renewed_by(pending).await);
        assert!(begun.elapsed() >= LEASE_RENEWED_WITHIN);
        // Those that come then do not wait for another attempt.
        let begun = Instant::now();
        assert!(!lease.renewed_by(pending).await);
        assert!(begun.elapsed() < LEASE_RENEWED_WITHIN);
        tokio::time::sleep(LEASE_RENEWED_WITHIN).await;
        let renewed = lease.renewed_by(|| async {
            lease.beaten(Instant::now());
            Ok(())
        });
        assert!(renewed.await);
        assert!(!lease.is_near_its_end());
    }

    #[test]
    fn an_older_sign_of_life_does_not_count() {
        let lease = Lease::new(Duration::from_secs(4));
        let now = Instant::now();
        lease.beaten(now);
        lease.beaten(now.checked_sub(Duration::from_secs(3)).expect("later"));
        assert!(lease.age() < Duration::from_secs(3));
    }
}
