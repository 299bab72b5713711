//! Import (D11): the pages of a plain SQLite file become a database.
//!
//! ```text
//! create, or take the import over that did not finish ─► empty what that one left ─► take over
//! commit, commit, ... in bounded steps             head of origin `importing`: cannot be opened
//! finish: one step, origin `imported`, sealed, floor at the head
//! ```
//! Every step that is no commit has the origin as a condition, so a head of another origin is never
//! touched. Emptying and filling have a generation each: an emptying step that arrives late is
//! fenced. An import that stops anywhere leaves a head that cannot be opened; the next one starts
//! over, and the one that it replaces, if it still runs, is fenced.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cause::{Cause, OpenError};
use crate::create;
use crate::error::StoreError;
use crate::fence::{Fence, Head, Origin, Standing};
use crate::history::Progress;
use crate::id::{ActorId, Digest, PageCount, Pgno, Txid};
use crate::page::PageBytes;
use crate::parts::Parts;
use crate::reason::Reason;
use crate::retry::{Asking, Settle};
use crate::session::Session;
use crate::store::{ActorState, CommitRow, Emptied, PreviousEnd, TakenOver, TakeoverStep, Wanted};

/// Pages of one commit: 4 MiB in memory at a time, and a short step for the store's other users.
pub const COMMIT_PAGES: usize = 1024;

/// Where the pages come from, in order.
#[async_trait]
pub trait PageSource: Send {
    /// The next pages, exactly `count`.
    async fn next(&mut self, count: usize) -> io::Result<Vec<PageBytes>>;
}

/// What an import made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its head: sealed, so that the actor's first call takes it over immediately.
    pub head: Head,
}

/// Why an import did not finish. What it left cannot be opened; the same import starts over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The actor exists and is no unfinished import. Nothing was changed.
    #[error("actor {} exists", .0.row.actor)]
    Exists(Box<ActorState>),
    /// The actor could not be made or taken over.
    #[error(transparent)]
    Open(OpenError),
    /// The pages could not be read.
    #[error("read pages: {0}")]
    Io(#[from] io::Error),
    /// A commit was lost: another import of the same actor began, or the store failed.
    #[error(transparent)]
    Lost(Cause),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(mismatch) => Self::Lost(Cause::Fenced(mismatch)),
            error => Self::Open(OpenError::Store(error)),
        }
    }
}

/// See [`crate::Depot::import`].
pub(crate) async fn import(
    parts: &Arc<Parts>,
    actor: &ActorId,
    component: Digest,
    page_count: PageCount,
    source: &mut dyn PageSource,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Imported, ImportError> {
    let head = begin(parts, actor, component).await?;
    let session = Session::open(parts, actor, component, &head);
    let filled = fill(&session, page_count, source, progress).await;
    // Whatever it has accepted ran to its verdict in `fill`; the step below needs the fence alone.
    session.close(Reason::Operator);
    parts.cache.forget(head.fence.db);
    let head = finish(parts, head.fence, filled?).await?;
    tracing::debug!(%actor, db = %head.fence.db, pages = head.page_count.0, "actor imported");
    Ok(Imported { head })
}

/// A head of origin `Importing` that is ours, and empty.
async fn begin(
    parts: &Arc<Parts>,
    actor: &ActorId,
    component: Digest,
) -> Result<Head, ImportError> {
    let state = match create::make(parts, actor, component, Origin::Importing).await {
        Ok(head) => return Ok(head),
        Err(OpenError::Exists(state)) => state,
        Err(error) => return Err(ImportError::Open(error)),
    };
    if state.head.origin != Origin::Importing || state.row.wanted != Wanted::Present {
        return Err(ImportError::Exists(state));
    }
    let ours = take_over(parts, &state).await?;
    empty(parts, ours.fence).await?;
    take_over(parts, &ActorState { head: ours, ..*state }).await
}

/// Takes over an import that another process may still run: the new import replaces it, and the
/// fence ends the other one.
async fn take_over(parts: &Parts, state: &ActorState) -> Result<Head, ImportError> {
    let step = TakeoverStep {
        actor: state.row.actor.clone(),
        db: state.head.fence.db,
        replaces: (state.head.fence.generation, state.head.fence.token),
        token: parts.random.token()?,
        owner: parts.node,
        component: state.row.component,
        previous_end: PreviousEnd::Neutral,
        destroying: false,
    };
    let sent = || parts.store.take_over_import(step.clone());
    match parts.retry().until_answered(sent).await? {
        TakenOver::Owned { head, .. } => Ok(head),
        // Sent before, and the answer was lost.
        TakenOver::Moved(head) if head.is_made_by(step.db, step.token) => Ok(head),
        TakenOver::Moved(head) if head.origin != Origin::Importing => {
            Err(ImportError::Exists(Box::new(ActorState { head, ..state.clone() })))
        }
        TakenOver::Moved(head) => {
            Err(ImportError::Open(OpenError::Superseded { winner: Box::new(head) }))
        }
    }
}

/// Deletes what an import left that did not finish. Each step may take the deadline.
async fn empty(parts: &Parts, fence: Fence) -> Result<(), ImportError> {
    loop {
        match parts.retry().until_answered(|| parts.store.empty_import(fence)).await? {
            Emptied::Done => return Ok(()),
            Emptied::More => {}
        }
    }
}

/// Commits all pages, a bounded number at a time; the last txid.
async fn fill(
    session: &Session,
    page_count: PageCount,
    source: &mut dyn PageSource,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Txid, ImportError> {
    let total = u64::from(page_count.0);
    let (mut done, mut txid) = (0, Txid(0));
    progress(Progress { done: 0, total });
    while done < page_count.0 {
        let left = usize::try_from(page_count.0 - done).unwrap_or(COMMIT_PAGES);
        let pages = source.next(left.min(COMMIT_PAGES)).await?;
        if pages.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let numbered: Vec<(Pgno, PageBytes)> = (done + 1..).map(Pgno).zip(pages).collect();
        done = numbered.last().map_or(done, |(pgno, _)| pgno.0);
        session.publish(numbered, PageCount(done));
        txid = session.durable(session.mark()).await.map_err(ImportError::Lost)?;
        progress(Progress { done: u64::from(done), total });
    }
    Ok(txid)
}

/// The last step. A lost answer is settled by the head: no other attempt has our token.
async fn finish(parts: &Parts, fence: Fence, base: Txid) -> Result<Head, ImportError> {
    Ok(parts.retry().until_settled(&mut Finish { parts, fence, base }).await?)
}

struct Finish<'a> {
    parts: &'a Parts,
    fence: Fence,
    base: Txid,
}

impl Settle for Finish<'_> {
    type Answer = Head;
    type Seen = (Option<Head>, Option<CommitRow>);
    type End = Result<Head, StoreError>;

    fn send(&mut self) -> Asking<'_, Head> {
        self.parts.store.finish_import(self.fence, self.base)
    }

    fn answered(&mut self, head: Head) -> Result<Self::End, StoreError> {
        Ok(Ok(head))
    }

    /// A refusal says nothing either: a copy of the step may have come first.
    fn is_open(&mut self, _: &StoreError, _: bool) -> bool {
        true
    }

    fn look(&self) -> Asking<'_, Self::Seen> {
        self.parts.store.verdict(self.fence.db, self.base)
    }

    fn seen(&mut self, (head, _): Self::Seen, error: &StoreError) -> Option<Self::End> {
        match head {
            Some(head) if is_finished(self.fence, self.base, &head) => Some(Ok(head)),
            // No later send is judged otherwise.
            _ if matches!(error, StoreError::Fenced(_)) => Some(Err(error.clone())),
            _ => None,
        }
    }

    fn given_up(&mut self, error: StoreError) -> Self::End {
        Err(error)
    }
}

/// Whether a head is as the last step leaves it: sealed, with the fence that only this import has.
fn is_finished(fence: Fence, base: Txid, head: &Head) -> bool {
    matches!(head.check(&fence, base), Standing::Sealed(_)) && head.origin == Origin::Imported
}
