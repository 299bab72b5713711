//! Large commits: rows that are written before the commit that shows them.
//!
//! ```text
//! stage 1 .. n   head held (fence, base) ─► page rows (coming txid, stage id) ─► stage row counts
//! commit         head held ─► stage row taken away ─► commit row names the stage: all visible
//! given up       the stage row stays; a later generation deletes its rows, then the row
//! ```
//! Invariants:
//! - G1: a stage has a row in `stage`, or a commit row that names it, or no page rows at all.
//! - G2: what has a row in `stage` is invisible. So collecting deletes only what no read can see.
//! - G3: rows of the generation that owns the head are not collected: it may still commit them.

use rusqlite::{Connection, params};

use super::rows;
use super::write::{compared, execute, insert_pages, one, refusal};
use crate::broken::Variant;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::id::{PageCount, Pgno, Txid};
use crate::page::PageRecord;
use crate::store::limits::{self, COLLECT_ROWS_MAX};
use crate::store::packed::pack;
use crate::store::{Collected, StageStep, Staged, sql};

type Done<T> = Result<T, StoreError>;

/// Pages without a gap between them, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub from: u32,
    /// The last one.
    pub last: u32,
}

impl Run {
    /// The run that ends with the last of `pages`, which ascend.
    #[must_use]
    pub fn last_of(pages: &[(Pgno, PageRecord)]) -> Option<Self> {
        let last = pages.last()?.0.0;
        let mut from = last;
        for (pgno, _) in pages.iter().rev().skip(1) {
            if pgno.0 + 1 != from {
                break;
            }
            from = pgno.0;
        }
        Some(Self { from, last })
    }

    /// The run that ends with the last page, `pages` coming after those that end with `self`.
    #[must_use]
    pub fn followed_by(self, pages: &[(Pgno, PageRecord)], run: Option<Self>) -> Self {
        match (pages.first(), run) {
            (Some((first, _)), Some(run)) if run.from == first.0 && run.from == self.last + 1 => {
                Self { from: self.from, last: run.last }
            }
            (_, Some(run)) => run,
            (_, None) => self,
        }
    }
}

/// The no-holes rule: with fewer pages than this before it, a commit whose last pages are `run`
/// would leave a page without a row.
#[must_use]
pub fn old_count_min(run: Option<Run>, page_count: PageCount) -> u32 {
    match run {
        Some(run) if run.last == page_count.0 => run.from - 1,
        Some(_) | None => page_count.0,
    }
}

/// What the row of a stage says.
struct Progress {
    owner: (u64, u64),
    chunks: u64,
    pages: u64,
    run: Run,
}

/// A chunk whose pages are packed.
pub(super) struct PackedChunk {
    step: StageStep,
    txid: Txid,
    pages: Vec<(Pgno, PageRecord)>,
}

impl PackedChunk {
    /// Packs the pages.
    ///
    /// # Errors
    /// `Corrupt` if there are none, or if they are not ascending, each once, and of page size.
    pub(super) fn new(mut step: StageStep) -> Done<Self> {
        let txid = step.base.0.checked_add(1).map(Txid);
        let txid = txid.ok_or_else(|| bad(&step.fence, "txid is out of range"))?;
        let pages = pack(step.fence.db, txid, &step.pages)?;
        if pages.is_empty() || step.chunk == 0 {
            return Err(bad(&step.fence, "a chunk is empty or has no number"));
        }
        step.pages = Vec::new();
        Ok(Self { step, txid, pages })
    }

    /// What it writes, roughly.
    pub(super) fn bytes(&self) -> u64 {
        super::write::bytes_of(&self.pages)
    }
}

fn bad(fence: &Fence, what: &str) -> StoreError {
    StoreError::Corrupt(format!("stage of {}: {what}", fence.db))
}

/// Locks the head for its owner, as `base` left it.
fn hold(conn: &Connection, fence: &Fence, base: Txid) -> Done<()> {
    let condition = params![
        &fence.db.0[..],
        rows::to_sql(fence.generation.0)?,
        &fence.token.0[..],
        rows::to_sql(base.0)?,
    ];
    if execute(conn, sql::HOLD_AT, condition)? == 0 {
        return Err(refusal(conn, fence, base, "a stage"));
    }
    Ok(())
}

fn progress(conn: &Connection, fence: &Fence, stage: &[u8]) -> Done<Option<Progress>> {
    one(conn, sql::STAGE, params![&fence.db.0[..], stage], |row| {
        let found = (rows::blob(row, 6)?, rows::blob(row, 7)?);
        rows::asked("stage", &(&fence.db.0[..], stage), &found)?;
        Ok(Progress {
            owner: (rows::number(row, 0)?, rows::number(row, 1)?),
            chunks: rows::number(row, 2)?,
            pages: rows::number(row, 3)?,
            run: Run { from: rows::pgno(row, 4)?.0, last: rows::pgno(row, 5)?.0 },
        })
    })
}

/// Writes one chunk, once.
pub(super) fn stage(conn: &Connection, chunk: &PackedChunk) -> Done<()> {
    let (step, fence) = (&chunk.step, &chunk.step.fence);
    hold(conn, &compared(conn, Variant::StageFence, *fence)?, step.base)?;
    let stage = &step.stage.0[..];
    let before = progress(conn, fence, stage)?;
    let (chunks, pages) = before.as_ref().map_or((0, 0), |had| (had.chunks, had.pages));
    if before.as_ref().is_some_and(|had| had.owner != (chunk.txid.0, fence.generation.0)) {
        return Err(bad(fence, "its id belongs to another commit"));
    }
    if step.chunk <= chunks {
        return Ok(());
    }
    let first = chunk.pages.first().map_or(0, |(pgno, _)| pgno.0);
    if step.chunk != chunks + 1 || before.as_ref().is_some_and(|had| first <= had.run.last) {
        return Err(bad(fence, "a chunk does not follow the one before"));
    }
    insert_pages(conn, fence.db, chunk.txid, stage, &chunk.pages)?;
    let run = Run::last_of(&chunk.pages);
    let run = match before {
        Some(had) => had.run.followed_by(&chunk.pages, run),
        None => run.ok_or_else(|| bad(fence, "a chunk is empty"))?,
    };
    let row = params![
        &fence.db.0[..],
        stage,
        rows::to_sql(chunk.txid.0)?,
        rows::to_sql(fence.generation.0)?,
        rows::to_sql(step.chunk)?,
        rows::to_sql(pages + limits::len(chunk.pages.len()))?,
        run.from,
        run.last,
    ];
    execute(conn, sql::STAGE_PUT, row).map(drop)
}

/// Takes a stage for the commit that names it: after this its rows are the commit's, if the commit
/// is made. Returns the run that ends with the commit's last page; `pages` and `run` are those that
/// the commit brings itself.
pub(super) fn take(
    conn: &Connection,
    fence: &Fence,
    base: Txid,
    named: &Staged,
    pages: &[(Pgno, PageRecord)],
    run: Option<Run>,
) -> Done<Option<Run>> {
    hold(conn, fence, base)?;
    let stage = &named.stage.0[..];
    let had = progress(conn, fence, stage)?.ok_or_else(|| bad(fence, "it was not staged"))?;
    let ours = had.owner == (base.next().0, fence.generation.0) && had.pages == named.pages;
    let follows = pages.first().is_none_or(|(pgno, _)| pgno.0 > had.run.last);
    if !ours || !follows {
        return Err(bad(fence, "the commit names other pages than were staged"));
    }
    execute(conn, sql::STAGE_DELETE, params![&fence.db.0[..], stage])?;
    Ok(Some(had.run.followed_by(pages, run)))
}

/// Whether an earlier generation left a stage behind.
pub(super) fn left(conn: &Connection, fence: &Fence) -> Done<Option<Vec<u8>>> {
    let params = params![&fence.db.0[..], rows::to_sql(fence.generation.0)?];
    one(conn, sql::STAGE_LEFT, params, |row| rows::blob(row, 0).map(<[u8]>::to_vec))
}

/// Deletes some rows of what earlier generations left behind.
pub(super) fn collect(conn: &Connection, fence: &Fence) -> Done<Collected> {
    let db = &fence.db.0[..];
    let holder = params![db, rows::to_sql(fence.generation.0)?, &fence.token.0[..]];
    if execute(conn, sql::HOLD, holder)? == 0 {
        return Err(refusal(conn, fence, Txid(0), "collect"));
    }
    let max = u64::from(COLLECT_ROWS_MAX);
    let mut rows = 0;
    while let Some(stage) = left(conn, fence)? {
        let most = rows::to_sql(max - rows)?;
        rows += limits::len(execute(conn, sql::STAGE_ROWS_DELETE, params![db, stage, most])?);
        if rows >= max {
            return Ok(Collected { rows, more: true });
        }
        execute(conn, sql::STAGE_DELETE, params![db, stage])?;
        rows += 1;
        if rows >= max {
            break;
        }
    }
    Ok(Collected { rows, more: left(conn, fence)?.is_some() })
}
