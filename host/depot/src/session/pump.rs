//! The task that sends what a session collects, one step at a time, while there is anything to
//! send.
//!
//! It is started by the publish that finds it idle, or by the end of what holds transactions back
//! (`gather.rs`), and ends when nothing is collected, so an idle session costs no task and a busy one no
//! start per commit. It ends by itself at the latest one
//! step deadline after the session died, with or without anyone waiting.
//!
//! Rule of `docs/protocol.md`: D2.

use std::sync::Arc;

use super::Shared;
use super::pipeline::{Large, LargeCommit, Taken, Written, finish_step};
use super::verdict::StepEnd;
use crate::cause::{Cause, Verdict};
use crate::eager;
use crate::error::{Limit, StoreError};
use crate::id::PageCount;
use crate::page::PAGE_SIZE;
use crate::parallel::INLINE_PAGES_MAX;
use crate::store::{Collected, CommitStep, Durable};
use crate::tally::change;

/// Pages that a publish sends on the guest's thread: hashing and packing takes the guest's time,
/// about 10 us each.
const SENT_AT_ONCE_PAGES_MAX: usize = 8;
const SENT_AT_ONCE_BYTES_MAX: u64 = (SENT_AT_ONCE_PAGES_MAX * PAGE_SIZE) as u64;

/// See [`crate::Session::publish`].
pub(super) fn publish(shared: &Arc<Shared>, written: Written, page_count: PageCount) {
    let max = shared.limits().database_pages_max;
    let step_pages_max = shared.limits().step_pages_max();
    let is_small =
        matches!(&written, Written::Pages(pages) if pages.len() <= SENT_AT_ONCE_PAGES_MAX);
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
        if let Some(share) = shared.share.get() {
            let grown = change(pipeline.page_count.0.into(), page_count.0.into());
            share.pages.add(grown);
        }
        pipeline.accept(written, page_count, step_pages_max);
        !pipeline.gathers && !std::mem::replace(&mut pipeline.pumping, true)
    };
    if start {
        start_pump(shared, is_small);
    }
}

/// Sends what was held back (`gather.rs`), if anything was.
pub(super) fn send_gathered(shared: &Arc<Shared>) {
    let (start, bytes) = {
        let mut pipeline = shared.pipeline.lock();
        (pipeline.end_gathering(), pipeline.collected_bytes())
    };
    if start {
        start_pump(shared, bytes <= SENT_AT_ONCE_BYTES_MAX);
    }
}

fn start_pump(shared: &Arc<Shared>, is_small: bool) {
    let pumping = pump(Arc::clone(shared));
    if is_small {
        // The thread that publishes sends it, so that the store works on it while the guest
        // continues: a task may get no thread until the guest is done.
        eager::run(&shared.parts.runtime, pumping);
    } else {
        shared.parts.runtime.spawn(pumping);
    }
}

/// See [`crate::Session::collect_leftovers`].
pub(super) fn collect_leftovers(shared: &Arc<Shared>) {
    let start = {
        let mut pipeline = shared.pipeline.lock();
        pipeline.leftovers = true;
        !std::mem::replace(&mut pipeline.pumping, true)
    };
    if start {
        shared.parts.runtime.spawn(pump(Arc::clone(shared)));
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
    while let Some(work) = next_work(&shared).await {
        match work {
            Work::Commit(step) => {
                let step = Arc::new(step);
                let end = settle_step(&shared, &step).await;
                finish(&shared, &step, None, end);
            }
            Work::Large(commit) => {
                let (step, end) = shared.settle_large(&commit).await;
                finish(&shared, &step, Some(&commit.pages), end);
            }
            Work::Collect => collect(&shared).await,
        }
        shared.step_done();
    }
    abandoned.0 = None;
    shared.news.notify_waiters();
}

/// Ends the session if the pump is dropped in the middle: the runtime shuts down, or the pump
/// panicked. No caller must wait for a verdict that will never come.
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

/// What a pump does next.
enum Work {
    Commit(CommitStep),
    Large(LargeCommit),
    /// Only when there is nothing to send, and never while a caller waits for the session's end:
    /// leftovers can wait for the next generation.
    Collect,
}

/// What is collected, as a step with its hashes; `None` stops the pump.
async fn next_work(shared: &Shared) -> Option<Work> {
    let taken = {
        let mut pipeline = shared.pipeline.lock();
        let taken = if shared.death.is_fatal() {
            None
        } else {
            pipeline.take_step(shared.fence, shared.parts.node)
        };
        let collects = pipeline.leftovers && !pipeline.sealing && !shared.death.is_dead();
        pipeline.pumping = taken.is_some() || collects;
        if taken.is_none() && collects {
            return Some(Work::Collect);
        }
        taken?
    };
    // What was collected has left the pipeline: there is room for threads that wait in prepare.
    shared.news.notify_waiters();
    let (step, chain) = match taken {
        Taken::Small(step, chain) => (step, chain),
        Taken::Large(commit) => return Some(Work::Large(commit)),
    };
    if step.pages.len() <= INLINE_PAGES_MAX {
        return Some(Work::Commit(finish_step(step, chain)));
    }
    let hashing = shared.parts.runtime.spawn_blocking(move || finish_step(step, chain));
    let hashed = hashing.await;
    Some(Work::Commit(
        hashed.expect("BUG: the runtime ends after its tasks, and hashing cannot panic"),
    ))
}

/// One step of deleting what large commits of earlier generations left behind. Whatever a failure
/// leaves is for the next generation, except that a lost fence is news.
async fn collect(shared: &Shared) {
    let answer = shared.retry().ask(shared.parts.store.collect_stages(shared.fence)).await;
    shared.pipeline.lock().leftovers = matches!(answer, Ok(Collected { more: true, .. }));
    match answer {
        Ok(Collected { rows: 0, .. }) => {}
        Ok(Collected { rows, more }) => {
            tracing::debug!(db = %shared.fence.db, rows, more, "leftovers of large commits deleted");
            tokio::task::yield_now().await;
        }
        Err(error) => match Cause::of_answer(&error) {
            Some(cause) => shared.die(cause, "collection of leftovers"),
            None => tracing::debug!(db = %shared.fence.db, %error, "leftovers are left"),
        },
    }
}

/// Sends a step until there is a verdict. If the store reports success earlier, on a thread of its
/// own, the waiting callers learn it there.
async fn settle_step(shared: &Arc<Shared>, step: &Arc<CommitStep>) -> StepEnd {
    let tell = || -> Durable {
        let (shared, step) = (Arc::clone(shared), Arc::clone(step));
        Box::new(move || durable(&shared, &step, None))
    };
    shared.settle_step(step, &tell).await
}

/// Marks the step in flight as durable. The first report counts; later ones, and one of a step that
/// was judged lost in the meantime, change nothing.
fn durable(shared: &Shared, step: &CommitStep, large: Option<&Large>) {
    let txid = step.base.next();
    {
        let mut pipeline = shared.pipeline.lock();
        if !pipeline.awaits_verdict(step.base) {
            return;
        }
        // The cache first: a reader that no longer finds a page in flight must find it there, or
        // in the store, but never its older version.
        match large {
            None => shared.cache.add_commit(txid, step.page_count, &step.pages),
            Some(large) => shared.cache.add_large_commit(txid, step.page_count, large.pgnos()),
        }
        pipeline.step_durable(step);
    }
    shared.news.notify_waiters();
}

/// Writes the verdict down, and ends the session if it is a bad one.
fn finish(shared: &Shared, step: &CommitStep, large: Option<&Large>, end: StepEnd) {
    let pages = large.map_or(step.pages.len(), |large| large.pgnos().len());
    let during = || format!("commit {} of {pages} pages", step.base.next());
    match end {
        StepEnd::Durable | StepEnd::DurableThenFenced(_) => durable(shared, step, large),
        StepEnd::Lost(verdict, ref error) => {
            shared.pipeline.lock().step_lost(verdict, error.clone());
        }
    }
    match end {
        StepEnd::Durable => {}
        StepEnd::DurableThenFenced(mismatch) => shared.die(Cause::Fenced(mismatch), &during()),
        StepEnd::Lost(verdict, error) => shared.die(Cause::of_lost(verdict, error), &during()),
    }
}
