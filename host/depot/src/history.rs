//! A database from its versions: exported as a plain SQLite file, and verified.
//!
//! ```text
//! export   commit row t ─► page count ─► pages as of t, 1 .. count, in order ─► file
//! verify   commit rows 1 .. head ─► each: pages ─► content hash ─► chain ─► equals the row's
//!                                   last chain and count equal the head's
//!          pages as of the head, 1 .. count: every one there, every checksum right
//! ```
//!
//! Both read in small steps. They need no fence and no long transaction: versions do not change.

use std::io;

use crate::chain::{self, Content};
use crate::error::StoreError;
use crate::fence::Head;
use crate::id::{DbId, PageCount, Pgno, Txid};
use crate::page::PageBytes;
use crate::store::{CommitRow, LIST_ROWS_MAX, READ_PAGES_MAX, Store};

/// Faults that a report lists one by one. More are counted.
pub const FAULTS_LISTED_MAX: usize = 100;

/// How far an export or a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pages done.
    pub done: u64,
    /// Pages in all, as far as known.
    pub total: u64,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The state that the file has.
    pub txid: Txid,
    /// Its pages.
    pub page_count: PageCount,
}

/// Why an export failed. What was written so far is not a database.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store did not give a page.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be written.
    #[error("write export: {0}")]
    Io(#[from] io::Error),
    /// There is no such commit (any more).
    #[error("database {db} has no commit {txid}")]
    NoCommit {
        /// The database.
        db: DbId,
        /// What was asked for.
        txid: Txid,
    },
}

/// Writes a database as of `txid` (`None`: the head's) as a plain SQLite file.
///
/// A database without any commit becomes an empty file, which SQLite takes for an empty database.
///
/// # Errors
/// `ExportError`; a damaged page ends the export.
pub async fn export(
    store: &dyn Store,
    db: DbId,
    txid: Option<Txid>,
    out: &mut (dyn io::Write + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Exported, ExportError> {
    let (txid, page_count) = state_at(store, db, txid).await?;
    let total = u64::from(page_count.0);
    let mut next = Pgno(1);
    progress(Progress { done: 0, total });
    while next.0 <= page_count.0 {
        let pages = store.read_at(db, txid, next, READ_PAGES_MAX).await?;
        for page in &pages {
            if page.pgno != next {
                return Err(missing(db, next, txid).into());
            }
            out.write_all(&page.bytes)?;
            next = Pgno(next.0 + 1);
        }
        if pages.is_empty() {
            return Err(missing(db, next, txid).into());
        }
        progress(Progress { done: u64::from(next.0 - 1), total });
    }
    out.flush()?;
    Ok(Exported { txid, page_count })
}

/// The commit to export and how many pages it has.
async fn state_at(
    store: &dyn Store,
    db: DbId,
    txid: Option<Txid>,
) -> Result<(Txid, PageCount), ExportError> {
    let (head, row) = store.verdict(db, txid.unwrap_or_default()).await?;
    let head = head.ok_or(StoreError::DatabaseMissing(db))?;
    if let Some(txid) = txid.filter(|txid| *txid < head.floor) {
        return Err(StoreError::HistoryGone { db, txid, floor: head.floor }.into());
    }
    match (txid, row) {
        (None, _) => Ok((head.txid, head.page_count)),
        (Some(Txid(0)), _) => Ok((Txid(0), PageCount(0))),
        (Some(txid), Some(row)) => Ok((txid, row.page_count)),
        (Some(txid), None) => Err(ExportError::NoCommit { db, txid }),
    }
}

fn missing(db: DbId, pgno: Pgno, txid: Txid) -> StoreError {
    StoreError::Corrupt(format!("page {pgno} of {db} as of txid {txid} is missing"))
}

/// What is wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page within the page count is missing or damaged.
    Page {
        /// Which page.
        pgno: Pgno,
        /// What the store says about it.
        error: StoreError,
    },
    /// The pages that a commit wrote cannot be read.
    CommitPages {
        /// Which commit.
        txid: Txid,
        /// What the store says about them.
        error: StoreError,
    },
    /// The pages of a commit are not those it was made of.
    Content {
        /// Which commit.
        txid: Txid,
    },
    /// A commit does not follow from the one before.
    Chain {
        /// Which commit.
        txid: Txid,
    },
    /// A commit's number does not follow the one before: rows are missing.
    Gap {
        /// The last commit before the gap.
        after: Txid,
    },
    /// The head is not what the last commit made.
    Head,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The database.
    pub db: DbId,
    /// The head that it was verified against.
    pub head: Head,
    /// Commit rows checked.
    pub commits: u64,
    /// Page versions read: those of each commit, and those of the head.
    pub pages: u64,
    /// What is wrong, the first [`FAULTS_LISTED_MAX`] of them.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_LISTED_MAX {
            self.faults.push(fault);
        }
    }
}

/// Verifies page checksums, the chain over all commits that are kept, and that no page is missing.
///
/// Commits that come during the run are left for the next time, and those that retention gives up
/// during the run are left out: the run continues with what is kept.
///
/// # Errors
/// `StoreError` if the store cannot answer. Damage is no error: it is in the report.
pub async fn verify(
    store: &dyn Store,
    db: DbId,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, StoreError> {
    let (head, _) = store.verdict(db, Txid(0)).await?;
    let head = head.ok_or(StoreError::DatabaseMissing(db))?;
    let mut report = Report { db, head, commits: 0, pages: 0, faults: Vec::new(), fault_count: 0 };
    let mut progress = |report: &Report, left: u64| {
        progress(Progress { done: report.pages, total: report.pages + left });
    };
    let pages_left = u64::from(report.head.page_count.0);
    verify_commits(store, &mut report, &mut |report| progress(report, pages_left)).await?;
    verify_pages(store, &mut report, &mut progress).await?;
    Ok(report)
}

async fn verify_commits(
    store: &dyn Store,
    report: &mut Report,
    progress: &mut (dyn FnMut(&Report) + Send),
) -> Result<(), StoreError> {
    let (db, head) = (report.db, report.head.clone());
    let mut last: Option<CommitRow> = None;
    // The commit at the floor is the first that is kept.
    let mut after = Txid(head.floor.0.saturating_sub(1));
    'lists: while after < head.txid {
        let rows = match store.commits(db, after, LIST_ROWS_MAX).await {
            Ok(rows) => rows,
            Err(StoreError::HistoryGone { floor, .. }) => {
                (after, last) = (Txid(floor.0.saturating_sub(1)), None);
                continue;
            }
            Err(error) => return Err(error),
        };
        let before = after;
        for row in rows.into_iter().take_while(|row| row.txid <= head.txid) {
            match verify_commit(store, report, after.next(), last.as_ref(), &row).await {
                Ok(()) => {}
                Err(StoreError::HistoryGone { floor, .. }) => {
                    (after, last) = (Txid(floor.0.saturating_sub(1)), None);
                    continue 'lists;
                }
                Err(error) => return Err(error),
            }
            after = row.txid;
            last = Some(row);
            progress(report);
        }
        if after == before {
            break;
        }
    }
    if after > head.txid || (after == head.txid && last.is_none() && after > Txid(0)) {
        // Retention has passed the head that was verified against: nothing is left to compare.
        return Ok(());
    }
    let (txid, page_count, chain) = last.map_or_else(
        || (Txid(0), PageCount(0), head.first_chain()),
        |row| (row.txid, row.page_count, row.chain),
    );
    if (txid, page_count, chain) != (head.txid, head.page_count, head.chain) {
        report.fault(Fault::Head);
    }
    Ok(())
}

async fn verify_commit(
    store: &dyn Store,
    report: &mut Report,
    due: Txid,
    last: Option<&CommitRow>,
    row: &CommitRow,
) -> Result<(), StoreError> {
    report.commits += 1;
    // Retention has taken the commits below the floor: its chain is then where we start.
    let chain = match last {
        Some(last) => Some(last.chain),
        None if row.txid == Txid(1) => Some(report.head.first_chain()),
        None => None,
    };
    if row.txid != due {
        report.fault(Fault::Gap { after: Txid(due.0 - 1) });
    } else if chain.is_some_and(|chain| chain::next(&chain, &row.content) != row.chain) {
        report.fault(Fault::Chain { txid: row.txid });
    }
    let mut content = Content::new(report.db, row.generation, row.txid, row.page_count);
    let mut after = Pgno(0);
    loop {
        // The store may answer without waiting; other tasks of this thread get a turn all the same.
        tokio::task::yield_now().await;
        // A commit may have more pages than memory: a few at a time.
        match store.commit_pages(report.db, row.txid, after, READ_PAGES_MAX).await {
            Ok(pages) => {
                let Some(last) = pages.last().map(|page| page.pgno) else { break };
                after = last;
                report.pages += crate::store::limits::len(pages.len());
                let pages: Vec<(Pgno, PageBytes)> =
                    pages.into_iter().map(|page| (page.pgno, page.bytes)).collect();
                content.add(&pages);
            }
            Err(error @ StoreError::Corrupt(_)) => {
                report.fault(Fault::CommitPages { txid: row.txid, error });
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    if content.finish() != row.content {
        report.fault(Fault::Content { txid: row.txid });
    }
    Ok(())
}

/// Every page of the head is there and undamaged. A batch with a fault is read page by page.
async fn verify_pages(
    store: &dyn Store,
    report: &mut Report,
    progress: &mut (dyn FnMut(&Report, u64) + Send),
) -> Result<(), StoreError> {
    let (db, mut at, mut count) = (report.db, report.head.txid, report.head.page_count.0);
    let mut next = Pgno(1);
    let mut batch = READ_PAGES_MAX;
    while next.0 <= count {
        tokio::task::yield_now().await;
        match store.read_at(db, at, next, batch).await {
            Ok(pages) if pages.first().is_some_and(|page| page.pgno == next) => {
                report.pages += crate::store::limits::len(pages.len());
                next = Pgno(pages.last().map_or(next.0, |page| page.pgno.0) + 1);
                batch = READ_PAGES_MAX;
            }
            Ok(_) => {
                report.fault(Fault::Page { pgno: next, error: missing(db, next, at) });
                next = Pgno(next.0 + 1);
            }
            // The rest as of the newest head: retention has passed the one that we began with.
            Err(StoreError::HistoryGone { .. }) => {
                let (head, _) = store.verdict(db, Txid(0)).await?;
                let head = head.ok_or(StoreError::DatabaseMissing(db))?;
                (at, count) = (head.txid, head.page_count.0);
            }
            Err(StoreError::Corrupt(_)) if batch > 1 => batch /= 2,
            Err(error @ StoreError::Corrupt(_)) => {
                report.fault(Fault::Page { pgno: next, error });
                next = Pgno(next.0 + 1);
            }
            Err(error) => return Err(error),
        }
        progress(report, u64::from(count.saturating_add(1).saturating_sub(next.0)));
    }
    Ok(())
}
