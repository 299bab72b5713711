//! One commit, from the first send to its verdict.
//!
//! ```text
//! send ── Ok ─────────────────────────────────────────────> committed
//!   │ ├── Unavailable (surely not applied) ──> pause, send the same bytes again
//!   │ └── Unknown, or Fenced when it was sent before ──> read head and commit row in one statement
//!   │        ├── row with our generation and content ─────> committed, for any owner of the head
//!   │        ├── no row, and the floor is above it ───────> indeterminate: the row may be trimmed
//!   │        ├── the head is not ours ────────────────────> not committed, for good
//!   │        └── the head is what the step expects ───────> send the same bytes again
//!   └── Fenced on the first send, by another owner ───────> not committed, for good
//! past the deadline: not committed if every send was refused for sure, else indeterminate
//! ```
//! A refusal alone says nothing about a step that was sent before: that step may have been applied
//! and its reply lost. With the answer "fenced" its caller would run a committed call a second
//! time. The same holds for a refusal that names ourselves as the owner: only our own step can have
//! moved the head, so a copy of it has arrived before.
//!
//! Rule of `docs/protocol.md`: D3.

use super::Shared;
use crate::broken::{self, Variant};
use crate::cause::Verdict;
use crate::error::{HeadFenceMismatch, StoreError};
use crate::fence::{Head, Standing};
use crate::retry::{Asking, Settle, Unseen, is_transient};
use crate::store::{CommitRow, CommitStep, Durable};

/// How a step ended.
#[derive(Debug)]
pub(super) enum StepEnd {
    /// Durable, and the session still owns its database as far as is known.
    Durable,
    /// Durable, but the session has lost its database since.
    DurableThenFenced(HeadFenceMismatch),
    /// Not durable.
    Lost(Verdict, StoreError),
}

impl Shared {
    /// Sends `step` until there is a verdict. `tell` makes what the store may call sooner, once for
    /// each time that the step is sent.
    pub(super) async fn settle_step(
        &self,
        step: &CommitStep,
        tell: &(dyn Fn() -> Durable + Sync),
    ) -> StepEnd {
        let mut sending = Sending { shared: self, step, tell, in_doubt: false };
        self.retry().until_settled(&mut sending).await
    }
}

struct Sending<'a> {
    shared: &'a Shared,
    step: &'a CommitStep,
    tell: &'a (dyn Fn() -> Durable + Sync),
    /// A send may have been applied, or may still be on its way.
    in_doubt: bool,
}

impl Settle for Sending<'_> {
    type Answer = ();
    type Seen = (Option<Head>, Option<CommitRow>);
    type End = StepEnd;
    const UNSEEN: Unseen = Unseen::Look;

    fn send(&mut self) -> Asking<'_, ()> {
        self.shared.parts.store.commit_and_tell(self.step.clone(), (self.tell)())
    }

    fn answered(&mut self, (): ()) -> Result<StepEnd, StoreError> {
        Ok(StepEnd::Durable)
    }

    fn is_open(&mut self, error: &StoreError, sent_before: bool) -> bool {
        self.in_doubt |= may_be_applied(error);
        self.in_doubt || (sent_before && !is_transient(error))
    }

    fn look(&self) -> Asking<'_, Self::Seen> {
        self.shared.parts.store.verdict(self.step.fence.db, self.step.base.next())
    }

    fn seen(&mut self, (head, row): Self::Seen, _: &StoreError) -> Option<StepEnd> {
        judge(self.step, head, row)
    }

    /// A session that is dead for good sends nothing again: it may only ask.
    fn may_send_again(&self) -> bool {
        !self.shared.death.is_fatal()
    }

    fn given_up(&mut self, error: StoreError) -> StepEnd {
        lost(self.in_doubt, error)
    }
}

/// The end of a step that is given up.
fn lost(in_doubt: bool, error: StoreError) -> StepEnd {
    let verdict = if in_doubt { Verdict::Indeterminate } else { Verdict::NotCommitted };
    StepEnd::Lost(verdict, error)
}

/// Whether the answer leaves open that this step, or a copy of it, was applied.
pub(super) fn may_be_applied(error: &StoreError) -> bool {
    match error {
        StoreError::Unknown(_) => true,
        StoreError::Fenced(mismatch) => mismatch.actual == mismatch.expected,
        StoreError::Unavailable(_)
        | StoreError::DatabaseMissing(_)
        | StoreError::Refused { .. }
        | StoreError::Corrupt(_)
        | StoreError::HistoryGone { .. }
        | StoreError::NoCommit { .. }
        | StoreError::HasForks(_)
        | StoreError::Elsewhere { .. }
        | StoreError::Full(_)
        | StoreError::Failed(_)
        | StoreError::Closed => false,
    }
}

/// What head and commit row say about a step that was sent; `None`: the head is what it expects.
fn judge(step: &CommitStep, head: Option<Head>, row: Option<CommitRow>) -> Option<StepEnd> {
    let (db, txid) = (step.fence.db, step.base.next());
    let Some(head) = head else {
        // Head and rows went together: whether ours was among them is unknown.
        return Some(lost(true, StoreError::DatabaseMissing(db)));
    };
    let standing = head.check(&step.fence, step.base);
    let ours = |row: &CommitRow| {
        row.txid == txid && row.generation == step.fence.generation && row.content == step.content
    };
    if row.as_ref().is_some_and(ours) && !broken::is_off(Variant::Resend) {
        return Some(match standing.lost() {
            None => StepEnd::Durable,
            Some(mismatch) => StepEnd::DurableThenFenced(mismatch),
        });
    }
    match standing {
        Standing::Current => None,
        Standing::Sealed(mismatch) | Standing::Replaced(mismatch) => {
            // Asked so late that retention has passed it (a frozen process): no row says nothing.
            let in_doubt = row.is_none() && txid < head.floor;
            Some(lost(in_doubt, StoreError::Fenced(mismatch)))
        }
        Standing::Ahead(_) | Standing::Behind(_) => Some(StepEnd::Lost(
            Verdict::NotCommitted,
            StoreError::Corrupt(format!(
                "head of {db} is ours at txid {}, but commit {txid} is not",
                head.txid
            )),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::Fence;
    use crate::id::{DbId, Generation, NodeSession, PageCount, Shard, Token, Txid};
    use crate::store::Due;

    fn step() -> CommitStep {
        let db = DbId::new(Shard(0), [1; 15]);
        CommitStep {
            fence: Fence { db, generation: Generation(3), token: Token([7; 16]) },
            owner: NodeSession([9; 16]),
            base: Txid(5),
            page_count: PageCount(1),
            pages: Vec::new(),
            staged: None,
            chain: [0; 32],
            content: [2; 32],
            due: Due::Untouched,
        }
    }

    fn head(step: &CommitStep, txid: u64) -> Head {
        Head { owner: step.owner, ..Head::sample(step.fence, Txid(txid)) }
    }

    /// Head and commit rows are removed together: it is unknown whether the commit was among them.
    #[test]
    fn a_commit_of_a_database_that_is_gone_stays_in_doubt() {
        let settled = judge(&step(), None, None);
        let Some(StepEnd::Lost(verdict, error)) = settled else { panic!("{settled:?}") };
        assert_eq!(verdict, Verdict::Indeterminate);
        assert!(matches!(error, StoreError::DatabaseMissing(_)), "{error:?}");
    }

    /// No other process moves a head that is this session's.
    #[test]
    fn an_own_head_that_moved_without_the_commit_is_damage() {
        let step = step();
        assert!(judge(&step, Some(head(&step, 5)), None).is_none());
        for txid in [4, 6, 7] {
            let settled = judge(&step, Some(head(&step, txid)), None);
            let Some(StepEnd::Lost(verdict, error)) = settled else { panic!("{txid}") };
            assert_eq!(verdict, Verdict::NotCommitted);
            assert!(matches!(error, StoreError::Corrupt(_)), "{txid}: {error:?}");
        }
    }
}
