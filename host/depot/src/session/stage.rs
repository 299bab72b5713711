//! A commit that does not fit into one step: staged, then made by a last step that names the stage.
//!
//! ```text
//! chunk 1 ─► stage ─► chunk 2 ─► stage ─► ... ─► the last chunk goes with the commit itself
//!   read back, hashed, sent: one chunk in memory at a time
//! ```
//! Nothing of it can be seen, or be durable, before the commit was sent. So up to there whatever
//! goes wrong means *not committed*; from there on the rules of `verdict` hold, with the stage id
//! as part of the bytes that are sent again. What was staged in vain stays until a later generation
//! collects it.
//!
//! Rule of `docs/protocol.md`: D7.

use std::io;
use std::sync::Arc;

use super::Shared;
use super::pipeline::{Large, LargeCommit};
use super::verdict::StepEnd;
use crate::cause::{Cause, Verdict};
use crate::chain::{self, Content};
use crate::error::StoreError;
use crate::id::Pgno;
use crate::page::PageBytes;
use crate::parallel::INLINE_PAGES_MAX;
use crate::store::{CommitStep, StageStep, Staged};

/// Pages of one step.
type Chunk = Vec<(Pgno, PageBytes)>;

/// The error for the caller of a transaction that cannot be read back.
pub(super) fn lost(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("read back a large transaction: {error}"))
}

impl Shared {
    /// Sends a large commit to its verdict. Also returns its last step, without the pages.
    pub(super) async fn settle_large(&self, commit: &LargeCommit) -> (CommitStep, StepEnd) {
        let mut step = CommitStep {
            fence: commit.fence,
            owner: self.parts.node,
            base: commit.base,
            page_count: commit.page_count,
            pages: Vec::new(),
            staged: None,
            chain: [0; 32],
            content: [0; 32],
            due: commit.due,
        };
        let end = match self.stage_all(commit, &mut step).await {
            Ok(()) => self.settle_step(&step, &|| Box::new(|| ())).await,
            Err(error) => StepEnd::Lost(Verdict::NotCommitted, error),
        };
        step.pages = Vec::new();
        (step, end)
    }

    /// Stages all but the last chunk, which `step` then carries.
    async fn stage_all(
        &self,
        commit: &LargeCommit,
        step: &mut CommitStep,
    ) -> Result<(), StoreError> {
        let stage = self.parts.random.stage()?;
        let (db, generation) = (commit.fence.db, commit.fence.generation);
        let mut content = Content::new(db, generation, commit.base.next(), commit.page_count);
        let size = self.limits().step_pages_max();
        let all = commit.pages.pgnos().len();
        let (mut from, mut chunks) = (0, 0);
        loop {
            if self.death.is_fatal() {
                return Err(given_up(self.death.cause()));
            }
            let to = all.min(from + size);
            let (hashed, pages) = self.read_back(&commit.pages, from, to, content).await?;
            content = hashed;
            if to == all {
                step.pages = pages;
                break;
            }
            chunks += 1;
            let (fence, base) = (commit.fence, commit.base);
            self.send_chunk(&StageStep { fence, base, stage, chunk: chunks, pages }).await?;
            self.step_done();
            from = to;
        }
        if chunks > 0 {
            let pages = u64::try_from(from).unwrap_or(u64::MAX);
            step.staged = Some(Staged { stage, pages });
        }
        step.content = content.finish();
        step.chain = chain::next(&commit.chain, &step.content);
        Ok(())
    }

    /// Reads pages `from .. to` of a commit and adds them to its hash.
    async fn read_back(
        &self,
        pages: &Arc<Large>,
        from: usize,
        to: usize,
        mut content: Content,
    ) -> Result<(Content, Chunk), StoreError> {
        let pages = Arc::clone(pages);
        let read = move || {
            let chunk: io::Result<Chunk> = pages.pgnos()[from..to]
                .iter()
                .map(|pgno| Ok((*pgno, pages.read(*pgno)?)))
                .collect();
            let chunk = chunk.map_err(|error| lost(&error))?;
            content.add(&chunk);
            Ok((content, chunk))
        };
        if to - from <= INLINE_PAGES_MAX {
            return read();
        }
        let reading = self.parts.runtime.spawn_blocking(read);
        reading.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }

    /// Sends one chunk until the store has it. It may arrive twice: the store writes it once.
    async fn send_chunk(&self, step: &StageStep) -> Result<(), StoreError> {
        let send = || self.parts.store.stage(step.clone());
        self.retry().until_answered_while(|| !self.death.is_fatal(), send).await
    }
}

/// Why a dead session stages no further, as the error of callers that wait for the commit.
fn given_up(cause: Option<Cause>) -> StoreError {
    match cause {
        Some(Cause::Fenced(mismatch)) => StoreError::Fenced(mismatch),
        Some(Cause::CommitLost { error, .. } | Cause::Unconfirmed(error)) => error,
        Some(Cause::Corrupt(what)) => StoreError::Corrupt(what),
        Some(Cause::Gone(db)) => StoreError::DatabaseMissing(db),
        Some(Cause::Failed(failure)) => StoreError::Failed(failure),
        Some(Cause::Closed(_) | Cause::Sealed) | None => {
            StoreError::Unavailable("the session died in the middle of a large commit".into())
        }
    }
}
