//! The last step of a generation, under the same verdict rules as a commit.
//!
//! A lost answer is settled by the head: sealed with our generation and token is sealed by us,
//! since no other session has the token, and so is one with the token of our heir; ours and not
//! sealed is sent again; anything else is fenced, and if a send may have been applied, it is
//! unknown whether the snapshot was handed over. The same is unknown once the head is gone.
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
        // The snapshot went with the head: whether it was handed over is unknown.
        return Some(Err((Verdict::Indeterminate, StoreError::DatabaseMissing(step.fence.db))));
    };
    match head.check(&step.fence, step.base) {
        // No other session has either token.
        Standing::Sealed(_) => Some(Ok(head)),
        Standing::Replaced(_) if is_of_heir(step, &head) => Some(Ok(head)),
        // A seal leaves no row: once the next owner has come, it is unknown whether this seal was
        // there before.
        Standing::Replaced(mismatch) => Some(Err((verdict(in_doubt), mismatch.into()))),
        Standing::Current | Standing::Ahead(_) | Standing::Behind(_) => None,
    }
}

/// The owner of the head after this step, if the seal appoints one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::Fence;
    use crate::id::{DbId, Digest, Shard, Txid};

    fn step() -> SealStep {
        let db = DbId::new(Shard(0), [1; 15]);
        SealStep {
            fence: Fence { db, generation: Generation(3), token: Token([7; 16]) },
            base: Txid(5),
            snapshot: None,
            component: Digest([4; 32]),
            heir: Some(Token([8; 16])),
        }
    }

    fn head(generation: u64, token: u8, sealed: bool) -> Head {
        let fence = Fence {
            db: step().fence.db,
            generation: Generation(generation),
            token: Token([token; 16]),
        };
        Head { sealed, ..Head::sample(fence, Txid(5)) }
    }

    fn check(head: Option<Head>, in_doubt: bool) -> Option<Result<(), Verdict>> {
        let end = judge(&step(), head, in_doubt)?;
        Some(end.map(|_| ()).map_err(|(verdict, _)| verdict))
    }

    #[test]
    fn a_seal_of_a_database_that_is_gone_stays_in_doubt() {
        for in_doubt in [false, true] {
            assert_eq!(check(None, in_doubt), Some(Err(Verdict::Indeterminate)));
        }
    }

    #[test]
    fn the_head_settles_a_seal() {
        assert_eq!(check(Some(head(3, 7, false)), true), None, "still the owner's");
        assert_eq!(check(Some(head(3, 7, true)), true), Some(Ok(())), "sealed by this step");
        assert_eq!(check(Some(head(4, 8, false)), true), Some(Ok(())), "the heir's");
        let another = || Some(head(4, 9, false));
        assert_eq!(check(another(), true), Some(Err(Verdict::Indeterminate)));
        assert_eq!(check(another(), false), Some(Err(Verdict::NotCommitted)));
    }
}
