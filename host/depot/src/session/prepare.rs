//! The place to refuse a transaction: SQLite can still roll it back.

use std::sync::Arc;

use super::{Shared, pump};
use crate::cause::{Cause, PrepareError};
use crate::id::PageCount;
use crate::limits::bytes_of_pages;

impl Shared {
    /// See [`crate::Session::prepare`].
    pub(super) fn prepare(
        self: &Arc<Self>,
        bytes: u64,
        page_count: PageCount,
    ) -> Result<(), PrepareError> {
        self.death.check().map_err(PrepareError::Dead)?;
        let limits = self.limits();
        let grown = {
            let pipeline = self.pipeline.lock();
            if pipeline.sealing {
                return Err(PrepareError::Dead(Cause::Sealed));
            }
            page_count.0.saturating_sub(pipeline.page_count.0)
        };
        // A database that is over a lowered limit may still change, only not grow.
        let max = limits.database_pages_max;
        let share_is_over = || self.share.get().is_some_and(|share| share.is_over(grown));
        if grown > 0 && (page_count.0 > max || share_is_over()) {
            return Err(PrepareError::DatabaseFull { page_count, max });
        }
        // Pages that a growing transaction leaves out are part of the commit too.
        let bytes = bytes.max(bytes_of_pages(u64::from(grown)));
        if bytes > limits.commit_bytes_max {
            return Err(PrepareError::CommitTooLarge { bytes, max: limits.commit_bytes_max });
        }
        if self.has_room(bytes) {
            return Ok(());
        }
        pump::send_gathered(self);
        self.wait_for(|| self.has_room(bytes))
    }

    /// Waits until no transaction is on its way that does not fit into one step: there is one of
    /// them at a time, so that what they hold on disk is bounded.
    pub(super) fn room_for_large(self: &Arc<Self>) -> Result<(), PrepareError> {
        self.death.check().map_err(PrepareError::Dead)?;
        let free = || !self.pipeline.lock().has_large();
        if free() {
            return Ok(());
        }
        pump::send_gathered(self);
        self.wait_for(free)
    }

    /// Whether a transaction may join what is collected. It always may when nothing is: a step is
    /// never larger than one commit, one step of the store or the pipeline, whichever is smallest,
    /// unless it is a single transaction.
    fn has_room(&self, bytes: u64) -> bool {
        let limits = self.limits();
        let collected = self.pipeline.lock().collected_bytes();
        let max = limits.pipeline_bytes_max.min(limits.commit_bytes_max).min(limits.step_bytes_max);
        collected == 0 || collected.saturating_add(bytes) <= max
    }

    /// Waits as long as the pipeline gets on.
    fn wait_for(&self, ready: impl Fn() -> bool + Send + Sync) -> Result<(), PrepareError> {
        let _place = self.parts.parking.enter().ok_or(PrepareError::Overloaded)?;
        let interrupts = self.interrupts();
        let mut outcome = Err(PrepareError::Unavailable);
        self.parts.parker.park(Box::pin(async {
            outcome = tokio::select! {
                biased;
                end = self.wait_ended(interrupts) => Err(end.map_or(
                    PrepareError::Interrupted,
                    PrepareError::Dead,
                )),
                () = self.until(&ready) => Ok(()),
                () = self.stuck() => Err(PrepareError::Unavailable),
            };
        }));
        outcome
    }

    async fn until(&self, ready: &(impl Fn() -> bool + Send + Sync)) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if ready() {
                return;
            }
            news.await;
        }
    }

    /// Resolves when no step has ended for the time that one may take.
    async fn stuck(&self) {
        loop {
            let before = self.steps_done();
            tokio::time::sleep(self.limits().step_deadline).await;
            if self.steps_done() == before {
                return;
            }
        }
    }
}
