//! Pages and commits of a database, as its owner reads and writes them.

use async_trait::async_trait;

use super::Due;
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::{DbId, Generation, NodeSession, PageCount, Pgno, StageId, Txid};
use crate::page::PageBytes;

/// One page as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageVersion {
    /// Which page.
    pub pgno: Pgno,
    /// The commit that wrote it.
    pub txid: Txid,
    /// Its bytes, checksum verified.
    pub bytes: PageBytes,
}

/// The answer to a fenced read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagesRead {
    /// The head's txid when the pages were read.
    pub head_txid: Txid,
    /// The pages in the order asked for.
    pub pages: Vec<PageVersion>,
}

/// Moves the head from (generation, token, txid) to txid + 1.
#[derive(Clone, Debug)]
pub struct CommitStep {
    /// The owner.
    pub fence: Fence,
    /// The owner's process: an heir is claimed by what it commits.
    pub owner: NodeSession,
    /// The head's txid before this step.
    pub base: Txid,
    /// Pages after this step. Cut-off pages never come back.
    pub page_count: PageCount,
    /// Changed pages, ascending, each once, and every page between the old and the new count. What
    /// was staged comes before them.
    pub pages: Vec<(Pgno, PageBytes)>,
    /// The pages of this commit that are in the store already.
    pub staged: Option<Staged>,
    /// Hash over (previous chain, this commit): see [`crate::chain`].
    pub chain: [u8; 32],
    /// Hash over this commit alone: tells a resend from another commit.
    pub content: [u8; 32],
    /// What the commit says of the actor's due time, which this step writes as well. It is no part
    /// of the history, nor of the hashes.
    pub due: Due,
}

/// Pages of a commit that were written before it, by [`Pages::stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The mark of their rows.
    pub stage: StageId,
    /// How many there are.
    pub pages: u64,
}

/// Writes rows of the coming commit. No read sees them before that commit names their stage.
#[derive(Clone, Debug)]
pub struct StageStep {
    /// The owner.
    pub fence: Fence,
    /// The head's txid, which staging does not move.
    pub base: Txid,
    /// Random value of this attempt.
    pub stage: StageId,
    /// Number of this step within the stage, from 1, so that a step that comes twice is written
    /// once.
    pub chunk: u64,
    /// At least one page, ascending, above those of the chunk before.
    pub pages: Vec<(Pgno, PageBytes)>,
}

/// Progress of collecting what large commits left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Rows deleted by this step.
    pub rows: u64,
    /// Rows remain: send the step again.
    pub more: bool,
}

/// A row of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRow {
    /// Its number.
    pub txid: Txid,
    /// The generation that made it.
    pub generation: Generation,
    /// Pages after it.
    pub page_count: PageCount,
    /// Hash over its own contents.
    pub content: [u8; 32],
    /// Hash over the history up to it.
    pub chain: [u8; 32],
    /// When the store wrote it: milliseconds since the Unix epoch, rising within a database.
    pub time_ms: u64,
}

/// Called once, on a thread of the store's, when a step is durable: it must not block.
pub type Durable = Box<dyn FnOnce() + Send>;

/// The steps of an owner that reads and writes.
#[async_trait]
pub trait Pages: Send + Sync + 'static {
    /// Pages as of `at`, at most [`super::READ_PAGES_MAX`], fence checked in the statement that
    /// returns them. A page without a visible row is `Corrupt`: callers ask only within the page
    /// count. A head below `at` is `Fenced`: the store has lost what the owner has seen. On the
    /// embedded store the future is ready immediately.
    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError>;
    /// Writes pages of the coming commit under a stage, in ascending chunks, with no other commit
    /// in flight. `Fenced` also if the txid is not `base`. A chunk that was written before is `Ok`
    /// and changes nothing; `Corrupt`, having done nothing, if it does not follow the one before.
    async fn stage(&self, step: StageStep) -> Result<(), StoreError>;
    /// Deletes some rows of stages that earlier generations left behind, in one bounded fenced
    /// step. Such rows stay invisible, so nothing waits for this. Where nothing is left it may
    /// answer without looking at the fence.
    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError>;
    /// Moves the head by one commit, and writes the actor's due time in the same step. `Fenced` also if the txid is not `base`. `Corrupt`, having
    /// done nothing, if the pages are malformed or would leave a hole, or if what was staged is not
    /// what the step says.
    async fn commit(&self, step: CommitStep) -> Result<(), StoreError>;
    /// [`Pages::commit`], for a caller that wants to know sooner: a store whose own thread sees the
    /// step become durable calls `durable` there, before this is `Ok`. Of any other end it tells
    /// nothing. A store without such a thread, and any layer in front of one, never calls it.
    async fn commit_and_tell(&self, step: CommitStep, durable: Durable) -> Result<(), StoreError> {
        drop(durable);
        self.commit(step).await
    }
    /// Head and the commit row `txid`, read in one statement: the facts for a verdict.
    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError>;
}
