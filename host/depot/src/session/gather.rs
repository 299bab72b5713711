//! Transactions that are held back, because more of them are about to follow: together they become one
//! step.
//!
//! ```text
//!  gather ── publish, publish ── the work ends, or waits ──> one step
//!                        └─ no room, close, seal ──────────> sent before that
//! ```
//! Invariants:
//! - Nothing is held back from a wait: whatever waits for durability, waits with the work that gathers,
//!   or comes after it.
//! - What is held back is accepted: it is sent at the latest when its [`Gathering`] is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use super::{Shared, pump};

/// Holds back what a session accepts. Dropping it sends that.
pub struct Gathering(Arc<Shared>);

impl Gathering {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        shared.pipeline.lock().gathers = true;
        Self(Arc::clone(shared))
    }

    /// Runs work to its end. At its first wait what was held back is sent, and nothing is held back from
    /// then on: the wait may be for just that, or long.
    pub async fn until_it_waits<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() {
                pump::send_gathered(&self.0);
            }
            polled
        })
        .await
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        pump::send_gathered(&self.0);
    }
}
