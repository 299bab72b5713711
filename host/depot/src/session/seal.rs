//! The last step of a generation, under the same verdict rules as a commit.
//!
//! A lost answer is settled by the head: sealed with our generation and token is sealed by us,
//! since nobody else has the token, and so is one with the token of our heir; ours and not sealed
//! is sent again; anything else is fenced, and if a send may have been applied, nobody knows whether
//! the snapshot was handed over.
//!
//! Rule of `docs/protocol.md`: D5.

use super::Shared;
use super::verdict::may_be_applied;
use crate::broken::{self, Variant};
use crate::cause::{Cause, SealError, Verdict};
use crate::error::StoreError;
use crate::fence::{Head, Standing};
use crate::id::{Generation, Token};
use crate::retry::{Retry, is_transient};
use crate::store::SealStep;

/// See [`crate::Session::seal`] and [`crate::Session::seal_for_heir`].
pub(super) async fn seal(
    shared: &Shared,
    snapshot: Option<Vec<u8>>,
    heir: Option<Token>,
) -> Result<Head, SealError> {
    let bytes = u64::try_from(snapshot.as_ref().map_or(0, Vec::len)).unwrap_or(u64::MAX);
    let max = shared.limits().snapshot_bytes_max;
    if bytes > max {
        return Err(SealError::SnapshotTooLarge { bytes, max });
    }
    begin(shared, snapshot.is_some())?;
    drain(shared).await?;
    let step = SealStep {
        fence: shared.fence,
        base: shared.pipeline.lock().durable_txid,
        snapshot,
        component: shared.component,
        heir,
    };
    match settle(shared, &step).await {
        Ok(head) => {
            shared.die(Cause::Sealed, "seal");
            Ok(head)
        }
        Err((verdict, error)) => {
            let cause = Cause::of_lost(verdict, error);
            shared.die(cause.clone(), "seal");
            Err(SealError::Dead(cause))
        }
    }
}

/// From here on nothing is accepted. Only one seal may begin.
fn begin(shared: &Shared, with_snapshot: bool) -> Result<(), SealError> {
    let mut pipeline = shared.pipeline.lock();
    if with_snapshot && pipeline.has_dropped() {
        return Err(SealError::SnapshotStale);
    }
    if std::mem::replace(&mut pipeline.sealing, true) {
        drop(pipeline);
        return Err(SealError::Dead(fatal_cause(shared).unwrap_or(Cause::Sealed)));
    }
    Ok(())
}

/// Why there is nothing to seal any more, if that is so.
fn fatal_cause(shared: &Shared) -> Option<Cause> {
    if !shared.death.is_fatal() {
        return None;
    }
    let lost = shared.pipeline.lock().lost_cause();
    Some(lost.or_else(|| shared.death.cause()).expect("BUG: dead without a cause"))
}

/// Waits until everything accepted is durable.
async fn drain(shared: &Shared) -> Result<(), SealError> {
    loop {
        let news = shared.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        if let Some(cause) = fatal_cause(shared) {
            return Err(SealError::Dead(cause));
        }
        if !shared.pipeline.lock().pumping || broken::is_off(Variant::Join) {
            return Ok(());
        }
        news.await;
    }
}

async fn settle(shared: &Shared, step: &SealStep) -> Result<Head, (Verdict, StoreError)> {
    let store = shared.depot.store();
    let mut retry = Retry::new(shared.limits().step_deadline, shared.depot.random());
    let mut sent_before = false;
    let mut in_doubt = false;
    loop {
        let mut error = match retry.ask(store.seal(step.clone())).await {
            Ok(head) => return Ok(head),
            Err(error) => error,
        };
        in_doubt |= may_be_applied(&error) || names_heir(step, &error);
        let refused = !is_transient(&error);
        if in_doubt || (sent_before && refused) {
            match retry.ask(store.verdict(step.fence.db, step.base)).await {
                Ok((Some(head), _)) => match head.check(&step.fence, step.base) {
                    // Nobody else has either token.
                    Standing::Sealed(_) => return Ok(head),
                    Standing::Replaced(_) if is_of_heir(step, &head) => return Ok(head),
                    // A seal leaves no row: once the next owner has come, nobody can tell whether
                    // ours was there before.
                    Standing::Replaced(mismatch) => {
                        return Err((verdict(in_doubt), StoreError::Fenced(mismatch)));
                    }
                    Standing::Current | Standing::Ahead(_) | Standing::Behind(_)
                        if refused && !matches!(error, StoreError::Fenced(_)) =>
                    {
                        return Err((verdict(in_doubt), error));
                    }
                    Standing::Current | Standing::Ahead(_) | Standing::Behind(_) => {}
                },
                Ok((None, _)) => {
                    let missing = StoreError::DatabaseMissing(step.fence.db);
                    return Err((Verdict::NotCommitted, missing));
                }
                Err(verdict_error) if !is_transient(&verdict_error) => {
                    return Err((verdict(in_doubt), verdict_error));
                }
                Err(verdict_error) => error = verdict_error,
            }
        } else if refused {
            return Err((verdict(in_doubt), error));
        }
        sent_before = true;
        if !retry.pause().await {
            return Err((verdict(in_doubt), error));
        }
    }
}

/// Who owns the head after this step, if it appoints somebody.
fn heir_of(step: &SealStep) -> Option<(Generation, Token)> {
    step.heir.map(|token| (step.fence.generation.next(), token))
}

/// Whether a head is the heir's that this step appoints.
fn is_of_heir(step: &SealStep, head: &Head) -> bool {
    step.heir.is_some_and(|token| head.is_made_by(step.fence.db, token))
}

/// Whether the step was refused because a copy of it was applied.
fn names_heir(step: &SealStep, error: &StoreError) -> bool {
    matches!(error, StoreError::Fenced(mismatch) if Some(mismatch.actual) == heir_of(step))
}

fn verdict(in_doubt: bool) -> Verdict {
    if in_doubt { Verdict::Indeterminate } else { Verdict::NotCommitted }
}
