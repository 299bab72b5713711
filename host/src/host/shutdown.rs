//! The end of a host, in its order.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::Host;
use super::info::ShutdownReport;
use crate::actor::trace::ShutdownStep;

/// How long each step of the end may take that follows the generations'. 10 s: leaving and closing
/// a store takes some of its writes, and whatever it leaves undone the next process does.
const STEP_WITHIN: Duration = Duration::from_secs(10);

impl Host {
    /// Ends everything in order: intake, generations, background tasks, the store. Returns when the
    /// host has ended, by any caller; one that is given up half way is finished by the next.
    pub async fn shutdown(&self) -> ShutdownReport {
        *self.inner.ended.get_or_init(|| self.end()).await
    }

    async fn end(&self) -> ShutdownReport {
        let begun = Instant::now();
        self.close_intake();
        let unfinished = self.end_generations().await;
        let mut orderly = unfinished == 0;
        orderly &= in_time("background tasks", self.join_background()).await;
        orderly &= in_time("leaving the store", self.retire()).await;
        orderly &= in_time("closing the store", self.close_store()).await;
        // Found at the very end, by the last checkpoint or by what was written before it.
        orderly &= self.inner.store.failed().now_or_never().is_none();
        drop(self.inner.runtimes.lock().take());
        ShutdownReport { orderly, unfinished, took: begun.elapsed() }
    }

    fn close_intake(&self) {
        self.inner.ready.store(false, Ordering::Release);
        self.inner.router.close_intake();
        self.told(ShutdownStep::IntakeClosed);
    }

    async fn end_generations(&self) -> usize {
        let unfinished = self.inner.router.close(self.inner.config.limits.shutdown_max).await;
        if unfinished > 0 {
            tracing::warn!(
                unfinished,
                "generations were given up: they are taken over as they are"
            );
        }
        self.told(ShutdownStep::GenerationsEnded);
        unfinished
    }

    async fn join_background(&self) {
        let mut background = std::mem::take(&mut *self.inner.background.lock());
        background.shutdown().await;
        self.told(ShutdownStep::BackgroundJoined);
    }

    async fn retire(&self) {
        self.shared().nodes.retire().await;
        self.told(ShutdownStep::NodeRetired);
    }

    async fn close_store(&self) {
        self.inner.store.close().await;
        self.told(ShutdownStep::StoreClosed);
    }

    fn told(&self, step: ShutdownStep) {
        tracing::debug!(?step, "shutting down");
        if let Some(observer) = &self.shared().observer {
            observer.shutdown(step);
        }
    }
}

/// Whether a step of the end was done. A store that does not answer must not keep the process.
async fn in_time(what: &str, step: impl Future<Output = ()>) -> bool {
    let done = tokio::time::timeout(STEP_WITHIN, step).await.is_ok();
    if !done {
        tracing::error!(what, "not done in time; the host ends without it");
    }
    done
}
