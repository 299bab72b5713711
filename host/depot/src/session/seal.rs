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
use crate::retry::{Asking, Settle, is_transient};
use crate::store::{CommitRow, SealStep};

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
    let mut sending = Sending { shared, step, in_doubt: false };
    match shared.retry().until_settled(&mut sending).await {
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

struct Sending<'a> {
    shared: &'a Shared,
    step: SealStep,
    /// A send may have been applied, or may still be on its way.
    in_doubt: bool,
}

impl Settle for Sending<'_> {
    type Answer = Head;
    type Seen = (Option<Head>, Option<CommitRow>);
    type End = Result<Head, (Verdict, StoreError)>;

    fn send(&mut self) -> Asking<'_, Head> {
        self.shared.parts.store.seal(self.step.clone())
    }

    fn answered(&mut self, head: Head) -> Result<Self::End, StoreError> {
        Ok(Ok(head))
    }

    fn is_open(&mut self, error: &StoreError, sent_before: bool) -> bool {
        self.in_doubt |= may_be_applied(error) || names_heir(&self.step, error);
        self.in_doubt || (sent_before && !is_transient(error))
    }

    fn look(&self) -> Asking<'_, Self::Seen> {
        self.shared.parts.store.verdict(self.step.fence.db, self.step.base)
    }

    fn seen(&mut self, (head, _): Self::Seen, _: &StoreError) -> Option<Self::End> {
        judge(&self.step, head, self.in_doubt)
    }

    fn given_up(&mut self, error: StoreError) -> Self::End {
        Err((verdict(self.in_doubt), error))
    }
}

/// What the head says about a seal that was sent; `None`: it is still the owner's.
fn judge(
    step: &SealStep,
    head: Option<Head>,
    in_doubt: bool,
) -> Option<Result<Head, (Verdict, StoreError)>> {
    let Some(head) = head else {
        return Some(Err((Verdict::NotCommitted, StoreError::DatabaseMissing(step.fence.db))));
    };
    match head.check(&step.fence, step.base) {
        // Nobody else has either token.
        Standing::Sealed(_) => Some(Ok(head)),
        Standing::Replaced(_) if is_of_heir(step, &head) => Some(Ok(head)),
        // A seal leaves no row: once the next owner has come, nobody can tell whether this one
        // was there before.
        Standing::Replaced(mismatch) => Some(Err((verdict(in_doubt), mismatch.into()))),
        Standing::Current | Standing::Ahead(_) | Standing::Behind(_) => None,
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
