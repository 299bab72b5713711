//! A commit as a driver writes it: checked, its pages packed.
//!
//! Invariant: the pages ascend, each once, within the page count.

use crate::error::{Limit, StoreError};
use crate::fence::Fence;
use crate::id::{DbId, NodeSession, PageCount, Pgno, Txid};
use crate::page::{PAGE_SIZE, Packer, PageBytes, PageRecord};
use crate::parallel;
use crate::store::embedded::Run;
use crate::store::limits::{self, COMMIT_BYTES_MAX, DATABASE_PAGES_MAX};
use crate::store::{CommitStep, Due, Staged};

/// Pages up to which packing stays on the thread that has them, which need not be one that may block:
/// some 10 us a page.
pub const INLINE_PAGES_MAX: usize = parallel::INLINE_PAGES_MAX;

/// A commit whose pages are packed and checked, so that the driver only writes.
#[derive(Debug)]
pub struct PackedCommit {
    /// The owner's fence.
    pub fence: Fence,
    /// The process of the owner.
    pub owner: NodeSession,
    /// The commit that it follows.
    pub base: Txid,
    /// Its number.
    pub txid: Txid,
    /// Pages of the database as of it.
    pub page_count: PageCount,
    /// The chain's end as of it.
    pub chain: [u8; 32],
    /// The hash of its pages.
    pub content: [u8; 32],
    /// Its pages.
    pub pages: Vec<(Pgno, PageRecord)>,
    /// The last of `pages` that have no gap between them.
    pub run: Option<Run>,
    /// The stage that has its other pages.
    pub staged: Option<Staged>,
    /// What it says of the actor's due time.
    pub due: Due,
}

impl PackedCommit {
    /// Packs the pages. With more of them than [`INLINE_PAGES_MAX`] it blocks until all cores are done.
    ///
    /// # Errors
    /// `Corrupt` if the pages are not ascending, each once, within the count, and of page size.
    pub fn new(step: &CommitStep) -> Result<Self, StoreError> {
        let bad = |what: &str| {
            StoreError::Corrupt(format!("commit {} of {}: {what}", step.base.next(), step.fence.db))
        };
        let txid = Txid(step.base.0.checked_add(1).ok_or_else(|| bad("txid is out of range"))?);
        let pages = pack(step.fence.db, txid, &step.pages)?;
        if pages.last().is_some_and(|(last, _)| last.0 > step.page_count.0) {
            return Err(bad("pages above its count"));
        }
        Ok(Self {
            fence: step.fence,
            owner: step.owner,
            base: step.base,
            txid,
            page_count: step.page_count,
            chain: step.chain,
            content: step.content,
            run: Run::last_of(&pages),
            pages,
            staged: step.staged,
            due: step.due,
        })
    }
}

/// Refuses a commit over a limit, before it is packed.
///
/// # Errors
/// `Refused`.
pub fn check_commit(step: &CommitStep) -> Result<(), StoreError> {
    check_step_bytes(step.pages.len())?;
    let count = step.page_count.0;
    limits::check(Limit::DatabasePages, count.into(), DATABASE_PAGES_MAX.into())
}

/// Refuses a step with too many pages.
///
/// # Errors
/// `Refused`.
pub fn check_step_bytes(pages: usize) -> Result<(), StoreError> {
    let bytes = limits::len(pages.saturating_mul(PAGE_SIZE));
    limits::check(Limit::CommitBytes, bytes, COMMIT_BYTES_MAX)
}

/// Packs pages for rows of `txid`. With more of them than [`INLINE_PAGES_MAX`] it blocks until all cores
/// are done.
///
/// # Errors
/// `Corrupt` if they are not ascending, each once, and of page size.
pub fn pack(
    db: DbId,
    txid: Txid,
    pages: &[(Pgno, PageBytes)],
) -> Result<Vec<(Pgno, PageRecord)>, StoreError> {
    let ascending = pages.first().is_none_or(|(first, _)| first.0 > 0)
        && pages.is_sorted_by(|(before, _), (after, _)| before < after);
    if !ascending {
        let what = format!("commit {txid} of {db}: pages are not ascending");
        return Err(StoreError::Corrupt(what));
    }
    let packed = parallel::map(pages, Packer::new, |packer, pgno, bytes| {
        Ok((pgno, packer.pack(db, pgno, txid, bytes)?))
    });
    packed.into_iter().collect()
}
