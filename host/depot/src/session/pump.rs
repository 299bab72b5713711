//! The task that sends what a session collects, one step at a time, while there is anything to
//! send.
//!
//! It is started by the publish that finds it idle and ends when nothing is collected, so an idle
//! session costs no task and a busy one no start per commit. It ends by itself at the latest one
//! step deadline after the session died, with or without anyone waiting.

use std::sync::Arc;

use super::Shared;
use super::pipeline::finish_step;
use super::verdict::StepEnd;
use crate::cause::{Cause, Verdict};
use crate::error::{Limit, StoreError};
use crate::id::{PageCount, Pgno};
use crate::page::PageBytes;
use crate::store::CommitStep;

/// Steps with more pages than this are hashed on a thread that may block: 1 MiB takes about half a
/// millisecond.
const HASH_INLINE_PAGES_MAX: usize = 256;

/// See [`crate::Session::publish`].
pub(super) fn publish(shared: &Arc<Shared>, pages: Vec<(Pgno, PageBytes)>, page_count: PageCount) {
    let max = shared.limits().database_pages_max;
    let start = {
        let mut pipeline = shared.pipeline.lock();
        let full = page_count.0 > max.max(pipeline.page_count.0);
        if shared.death.is_dead() || pipeline.sealing || full {
            pipeline.refuse();
            drop(pipeline);
            if full {
                die_full(shared, page_count, max);
            }
            return;
        }
        pipeline.accept(pages, page_count);
        !std::mem::replace(&mut pipeline.pumping, true)
    };
    if start {
        shared.depot.runtime().spawn(pump(Arc::clone(shared)));
    }
}

/// Prepare refuses this and publish cannot: what SQLite has committed is lost.
fn die_full(shared: &Shared, page_count: PageCount, max: u32) {
    let error = StoreError::Refused {
        limit: Limit::DatabasePages,
        actual: u64::from(page_count.0),
        max: u64::from(max),
    };
    shared.die(Cause::of_lost(Verdict::NotCommitted, error), "publish");
}

async fn pump(shared: Arc<Shared>) {
    let mut abandoned = Abandoned(Some(&shared));
    while let Some(step) = next_step(&shared).await {
        let end = shared.settle_step(&step).await;
        finish(&shared, &step, end);
    }
    abandoned.0 = None;
    shared.news.notify_waiters();
}

/// Ends the session if the pump is dropped in the middle: the runtime shuts down, or the pump
/// panicked. Nobody must wait for a verdict that nobody will find.
struct Abandoned<'a>(Option<&'a Shared>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(shared) = self.0 else { return };
        {
            let mut pipeline = shared.pipeline.lock();
            pipeline.step_lost(Verdict::Indeterminate, StoreError::Closed);
            pipeline.pumping = false;
        }
        shared.die(Cause::of_lost(Verdict::Indeterminate, StoreError::Closed), "abandoned commit");
    }
}

/// What is collected, as a step with its hashes; `None` stops the pump.
async fn next_step(shared: &Shared) -> Option<CommitStep> {
    let (step, chain) = {
        let mut pipeline = shared.pipeline.lock();
        let taken = if shared.death.is_fatal() { None } else { pipeline.take_step(shared.fence) };
        pipeline.pumping = taken.is_some();
        taken?
    };
    // What was collected has left the pipeline: there is room for who waits in prepare.
    shared.news.notify_waiters();
    if step.pages.len() <= HASH_INLINE_PAGES_MAX {
        return Some(finish_step(step, chain));
    }
    let hashing = shared.depot.runtime().spawn_blocking(move || finish_step(step, chain));
    Some(hashing.await.expect("BUG: the runtime ends after its tasks, and hashing cannot panic"))
}

/// Writes the verdict down, and ends the session if it is a bad one.
fn finish(shared: &Shared, step: &CommitStep, end: StepEnd) {
    let during = || format!("commit {} of {} pages", step.base.next(), step.pages.len());
    match end {
        StepEnd::Durable | StepEnd::DurableThenFenced(_) => {
            // The cache first: a reader that no longer finds a page in flight must find it there,
            // or in the store, but never its older version.
            shared.cache.add_commit(step.base.next(), step.page_count, &step.pages);
            shared.pipeline.lock().step_durable(step);
        }
        StepEnd::Lost(verdict, ref error) => {
            shared.pipeline.lock().step_lost(verdict, error.clone());
        }
    }
    match end {
        StepEnd::Durable => shared.news.notify_waiters(),
        StepEnd::DurableThenFenced(mismatch) => shared.die(Cause::Fenced(mismatch), &during()),
        StepEnd::Lost(verdict, error) => shared.die(Cause::of_lost(verdict, error), &during()),
    }
}
