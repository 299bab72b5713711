//! Revocable handles: every guest-facing call enters through a grip, and a revoked grip lets
//! nothing in and lets no success out.
//!
//! Invariants:
//! - The first reason stays; a revocation is final.
//! - A call that entered before a revocation is answered `Revoked` when it checks on its way out.
//! - `released` resolves when the last guard is gone, so the resources of the guards may be
//!   dropped.
//!
//! ```text
//!  enter ──> Guard ──> work ──> Guard::check ──> answer
//!    │                             └─ revoked by now: Revoked(reason), the answer is lost
//!    └─ revoked: Revoked(reason)
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stockade_depot::Reason;
use tokio::sync::Notify;

/// Low byte: the reason, 0 while not revoked. The rest counts guards.
const REASON_MASK: u64 = 0xff;
const ONE_GUARD: u64 = 0x100;

/// The handle was revoked. Every later call answers the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revoked: {0}")]
pub struct Revoked(pub Reason);

/// The revocation scope of all handles of one generation. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Grip {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU64,
    /// Calls that came after the revocation.
    refused: AtomicU64,
    released: Notify,
}

/// One call inside a grip. Revocation waits for it.
#[derive(Debug)]
pub struct Guard {
    inner: Arc<Inner>,
}

impl Grip {
    /// Lets a call in.
    ///
    /// # Errors
    /// `Revoked` with the first reason, once the grip was revoked.
    #[inline]
    pub fn enter(&self) -> Result<Guard, Revoked> {
        let before = self.inner.state.fetch_add(ONE_GUARD, Ordering::AcqRel);
        let guard = Guard { inner: Arc::clone(&self.inner) };
        match reason_of(before) {
            None => Ok(guard),
            Some(reason) => {
                self.inner.refused.fetch_add(1, Ordering::Relaxed);
                Err(Revoked(reason))
            }
        }
    }

    /// Calls that came after the revocation.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }

    /// Revokes the grip. The first reason wins; returns whether this was the first.
    pub fn revoke(&self, reason: Reason) -> bool {
        let won = self
            .inner
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & REASON_MASK == 0).then_some(state | reason as u64)
            })
            .is_ok();
        self.inner.released.notify_waiters();
        won
    }

    /// Why the grip was revoked, if it was. One atomic load.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        reason_of(self.inner.state.load(Ordering::Acquire))
    }

    /// Resolves when the grip is revoked and no guard is left.
    pub async fn released(&self) {
        loop {
            let notified = self.inner.released.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let state = self.inner.state.load(Ordering::Acquire);
            if state & REASON_MASK != 0 && state < ONE_GUARD {
                return;
            }
            notified.await;
        }
    }
}

impl Guard {
    /// Must be called on the way out, before success is reported.
    ///
    /// # Errors
    /// `Revoked` if the grip was revoked since the call entered.
    #[inline]
    pub fn check(&self) -> Result<(), Revoked> {
        match reason_of(self.inner.state.load(Ordering::Acquire)) {
            None => Ok(()),
            Some(reason) => Err(Revoked(reason)),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let before = self.inner.state.fetch_sub(ONE_GUARD, Ordering::AcqRel);
        if before & REASON_MASK != 0 && before < 2 * ONE_GUARD {
            self.inner.released.notify_waiters();
        }
    }
}

#[inline]
fn reason_of(state: u64) -> Option<Reason> {
    // Nearly always: called several times in every host call.
    if state & REASON_MASK == 0 {
        return None;
    }
    let byte = u8::try_from(state & REASON_MASK).expect("BUG: masked to a byte");
    Reason::ALL.into_iter().find(|reason| *reason as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let grip = Grip::default();
        assert!(grip.enter().is_ok());
        assert!(grip.revoke(Reason::Fenced));
        assert!(!grip.revoke(Reason::Shutdown));
        assert_eq!(grip.refused(), 0);
        assert_eq!(grip.enter().map(|_| ()), Err(Revoked(Reason::Fenced)));
        assert_eq!(grip.refused(), 1, "late calls are counted");
        assert_eq!(grip.reason(), Some(Reason::Fenced));
    }

    #[test]
    fn a_call_inside_learns_of_it_on_its_way_out() {
        let grip = Grip::default();
        let guard = grip.enter().expect("alive");
        grip.revoke(Reason::Slept);
        assert_eq!(guard.check(), Err(Revoked(Reason::Slept)));
    }

    #[tokio::test]
    async fn released_waits_for_the_last_guard() {
        let grip = Grip::default();
        let guard = grip.enter().expect("alive");
        grip.revoke(Reason::Slept);
        let waiting = tokio::spawn({
            let grip = grip.clone();
            async move { grip.released().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(guard);
        waiting.await.expect("join");
    }
}
