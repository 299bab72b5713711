//! Pages and commits: fenced reads, commits, large ones, verdicts.
//!
//! ```text
//! small commit    committer: in a group, one statement
//! large commit    one statement on a connection of its own
//! staged commit   head held ─► stage row compared, taken away ─► the same statement   one transaction
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::store::embedded::Run;
use stockade_depot::store::packed::check_step_bytes;
use stockade_depot::store::{
    Collected, CommitRow, PageVersion, PagesRead, READ_PAGES_MAX, StageStep, Staged, limits,
};
use stockade_depot::{DbId, Fence, Head, Limit, Pgno, StoreError, Txid};

use crate::commit::{Packed, PackedCommit};
use crate::connection::params;
use crate::echo::Wrote;
use crate::failure::Stop;
use crate::limits::GROUPED_BYTES_MAX;
use crate::link::{Transaction, in_transaction};
use crate::primary::Primary;
use crate::refusal::{LEAVES_HOLES, refusal, refusal_in};
use crate::rows::{self, OWNER_COLUMNS, Row};
use crate::sql::ownership::{HEAD, HOLD, HOLD_AT};
use crate::sql::pages as sql;

/// Columns of a fenced read after those of the fence: base (two), page number, version (three),
/// floor. A read without a fence has the same from 0 on.
const BASE: usize = OWNER_COLUMNS;

/// The pages of [`sql::READ_FIRST`], if the database has all of them itself.
pub(crate) fn first_pages(rows: &[Row], db: DbId) -> Result<Option<Vec<PageVersion>>, StoreError> {
    let mut pages = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(page) = rows::version(row, BASE + 3, db, rows::pgno(row, BASE + 2)?)? else {
            return Ok(None);
        };
        pages.push(page);
    }
    Ok(Some(pages))
}

/// What a statement found for some pages of one database.
#[derive(Default)]
pub(crate) struct Found {
    /// The pages that the database itself has.
    pages: HashMap<Pgno, PageVersion>,
    /// Where to ask for the others.
    base: Option<(DbId, Txid)>,
}

impl Found {
    /// Adds what a row has, whose columns after the fence begin at `at`.
    fn add(&mut self, row: &Row, at: usize, db: DbId) -> Result<(), StoreError> {
        let pgno = rows::pgno(row, at + 2)?;
        if let Some(page) = rows::version(row, at + 3, db, pgno)? {
            self.pages.insert(pgno, page);
        }
        Ok(())
    }
}

/// Who answers for the bases of databases. A base may be on another primary than what is made of it.
#[async_trait]
pub(crate) trait Bases: Sync {
    /// What a base has of some pages as of `at`.
    async fn older(&self, db: DbId, at: Txid, pages: &[Pgno]) -> Result<Found, StoreError>;
}

/// The pages in the order asked for, those that are not there from the bases, each of which is
/// asked once for all that are left.
///
/// A base's versions are pinned and never change, so the fence of the statement that named the
/// base covers its answer too.
pub(crate) async fn in_order(
    bases: &dyn Bases,
    db: DbId,
    at: Txid,
    pages: &[Pgno],
    found: Found,
) -> Result<Vec<PageVersion>, StoreError> {
    let Found { pages: mut have, mut base } = found;
    for _ in 0..limits::BASE_DEPTH_MAX {
        let mut left: Vec<Pgno> =
            pages.iter().filter(|pgno| !have.contains_key(pgno)).copied().collect();
        left.sort_unstable();
        left.dedup();
        let Some((base_db, base_txid)) = base.filter(|_| !left.is_empty()) else { break };
        let older = bases.older(base_db, base_txid, &left).await?;
        have.extend(older.pages);
        base = older.base;
    }
    let row = |pgno: &Pgno| {
        have.get(pgno).cloned().ok_or_else(|| {
            StoreError::Corrupt(format!("page {pgno} of {db} as of txid {at} has no row"))
        })
    };
    pages.iter().map(row).collect()
}

/// What the row of a stage says.
struct Progress {
    owner: (u64, u64),
    chunks: u64,
    pages: u64,
    run: Run,
}

/// A chunk whose pages are packed.
pub(crate) struct Chunk {
    step: StageStep,
    txid: Txid,
    pages: Packed,
}

impl Chunk {
    /// Checks and packs a chunk.
    ///
    /// # Errors
    /// `Refused` over a limit; `Corrupt` if the chunk is malformed.
    pub(crate) async fn new(mut step: StageStep) -> Result<Self, StoreError> {
        check_step_bytes(step.pages.len())?;
        let last = step.pages.last().map_or(0, |(pgno, _)| pgno.0);
        limits::check(Limit::DatabasePages, last.into(), limits::DATABASE_PAGES_MAX.into())?;
        let txid = step.base.0.checked_add(1).map(Txid);
        let txid = txid.ok_or_else(|| bad(&step.fence, "txid is out of range"))?;
        if step.pages.is_empty() || step.chunk == 0 {
            return Err(bad(&step.fence, "a chunk is empty or has no number"));
        }
        let pages = std::mem::take(&mut step.pages);
        let pages = Packed::packed(step.fence.db, txid, pages).await?;
        Ok(Self { step, txid, pages })
    }

    /// Whose pages they are.
    pub(crate) fn db(&self) -> DbId {
        self.step.fence.db
    }
}

fn bad(fence: &Fence, what: &str) -> StoreError {
    StoreError::Corrupt(format!("stage of {}: {what}", fence.db))
}

impl Primary {
    pub(crate) async fn read_fenced(
        &self,
        fence: Fence,
        at: Txid,
        pages: &[Pgno],
        bases: &dyn Bases,
    ) -> Result<PagesRead, StoreError> {
        let (asked, max) = (limits::len(pages.len()), limits::len(READ_PAGES_MAX));
        limits::check(Limit::PagesPerRead, asked, max)?;
        if let Some(read) = self.along.take(&fence, at, pages) {
            return self.link.check_open().map(|()| read);
        }
        let (db, token) = (&fence.db.0[..], &fence.token.0[..]);
        let (at_sql, generation) = (rows::to_sql(at.0)?, rows::to_sql(fence.generation.0)?);
        let numbers: Vec<i64> = pages.iter().map(|pgno| i64::from(pgno.0)).collect();
        // Of none, the head alone: there is no page 0.
        let first = numbers.first().copied().unwrap_or(0);
        let one = params![db, first, at_sql, generation, token];
        let many = params![db, at_sql, generation, token, numbers];
        let (sql, asked) =
            if pages.len() > 1 { (sql::READ_MANY, many) } else { (sql::READ_ONE, one) };
        let mut rows = self.link.read(sql, asked).await?;
        let is_owner =
            |row| rows::owner(row).is_ok_and(|owner| owner.check(&fence, at).at_or_after().is_ok());
        if !rows.first().is_some_and(is_owner) {
            // A refusal ends a generation: it must count.
            rows = self.link.look(sql, asked).await?;
        }
        let first = rows.first().ok_or_else(|| rows::away(fence.db))?;
        let owner = rows::owner(first)?;
        owner.check(&fence, at).at_or_after()?;
        rows::check_floor(first, BASE + 6, fence.db, at)?;
        let mut found = Found { base: rows::base(first, BASE)?, ..Found::default() };
        for row in &rows {
            found.add(row, BASE, fence.db)?;
        }
        let pages = in_order(bases, fence.db, at, pages, found).await?;
        Ok(PagesRead { head_txid: owner.txid, pages })
    }

    /// What a database itself has of some pages as of `at`.
    pub(crate) async fn found_at(
        &self,
        db: DbId,
        at: Txid,
        pages: &[Pgno],
    ) -> Result<Found, StoreError> {
        let numbers: Vec<i64> = pages.iter().map(|pgno| i64::from(pgno.0)).collect();
        let rows =
            self.link.read(sql::READ_AT, params![&db.0[..], rows::to_sql(at.0)?, numbers]).await?;
        let first = rows.first().ok_or_else(|| rows::away(db))?;
        rows::check_floor(first, 6, db, at)?;
        let mut found = Found { base: rows::base(first, 0)?, ..Found::default() };
        for row in &rows {
            found.add(row, 0, db)?;
        }
        Ok(found)
    }

    pub(crate) async fn commit_packed(&self, commit: &Arc<PackedCommit>) -> Result<(), StoreError> {
        self.link.check_open()?;
        let moved = if let Some(named) = &commit.staged {
            in_transaction!(self.link, tx => self.commit_staged(&tx, commit, named))
        } else if commit.pages.weight() > GROUPED_BYTES_MAX {
            self.commit_alone(commit).await
        } else {
            self.committers.commit(Arc::clone(commit)).await
        };
        self.ages.committed(commit.fence.db, commit.txid, moved?);
        Ok(())
    }

    async fn commit_alone(&self, commit: &PackedCommit) -> Result<u64, StoreError> {
        let alone = commit.alone(self.clock.now_ms(), commit.run)?;
        let head = params![&commit.fence.db.0[..]];
        let columns = alone.params();
        match self.link.write_or_look((alone.sql(), &columns), (HEAD, head)).await? {
            Wrote::Row(row) => {
                self.link.has_room();
                // It is committed, whatever its label is.
                rows::number(&row, 0).map_err(unknown)
            }
            Wrote::Nothing(row) => Err(refusal(row, &commit.fence, commit.base, LEAVES_HOLES)),
        }
    }

    /// A commit that names a stage: after this its rows are the commit's.
    async fn commit_staged(
        &self,
        tx: &Transaction,
        commit: &PackedCommit,
        named: &Staged,
    ) -> Result<u64, Stop> {
        let fence = &commit.fence;
        hold(tx, fence, commit.base).await?;
        let run = take_stage(tx, commit, named).await?;
        let alone = commit.alone(self.clock.now_ms(), Some(run))?;
        match tx.row(alone.sql(), &alone.params()).await? {
            Some(row) => Ok(rows::number(&row, 0)?),
            None => {
                let what = format!("{LEAVES_HOLES} of {} refused", fence.db);
                Err(StoreError::Corrupt(what).into())
            }
        }
    }

    pub(crate) async fn stage_chunk(&self, chunk: &Chunk) -> Result<(), StoreError> {
        in_transaction!(self.link, tx => write_chunk(&tx, chunk))?;
        self.link.has_room();
        Ok(())
    }

    pub(crate) async fn collect_left(&self, fence: Fence) -> Result<Collected, StoreError> {
        // Most databases have nothing to collect: looking costs no write.
        let left = params![&fence.db.0[..], rows::to_sql(fence.generation.0)?];
        if self.link.read_row(sql::STAGE_LEFT, left).await?.is_none() {
            return Ok(Collected::default());
        }
        in_transaction!(self.link, tx => collect(&tx, &fence))
    }

    pub(crate) async fn verdict_of(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Head, Option<CommitRow>), StoreError> {
        let asked = params![&db.0[..], rows::to_sql(txid.0)?];
        let row = self.link.look_row(sql::VERDICT, asked).await?;
        rows::verdict(&row.ok_or_else(|| rows::away(db))?, db, txid)
    }
}

/// Locks the head for its owner, as `base` left it.
async fn hold(tx: &Transaction, fence: &Fence, base: Txid) -> Result<(), Stop> {
    let condition = params![
        &fence.db.0[..],
        rows::to_sql(fence.generation.0)?,
        &fence.token.0[..],
        rows::to_sql(base.0)?,
    ];
    if tx.row(HOLD_AT, condition).await?.is_none() {
        return Err(refusal_in(tx, fence, base, "a stage").await);
    }
    Ok(())
}

/// Writes one chunk, once.
async fn write_chunk(tx: &Transaction, chunk: &Chunk) -> Result<(), Stop> {
    let (step, fence) = (&chunk.step, &chunk.step.fence);
    hold(tx, fence, step.base).await?;
    let stage = &step.stage.0[..];
    let before = progress(tx, fence, stage).await?;
    let (chunks, pages) = before.as_ref().map_or((0, 0), |had| (had.chunks, had.pages));
    let owner = (chunk.txid.0, fence.generation.0);
    if before.as_ref().is_some_and(|had| had.owner != owner) {
        return Err(bad(fence, "its id belongs to another commit").into());
    }
    if step.chunk <= chunks {
        return Ok(());
    }
    let first = chunk.pages.pages.first().map_or(0, |(pgno, _)| pgno.0);
    if step.chunk != chunks + 1 || before.as_ref().is_some_and(|had| first <= had.run.last) {
        return Err(bad(fence, "a chunk does not follow the one before").into());
    }
    let db = &fence.db.0[..];
    let (sums, bytes) = (chunk.pages.sums(), chunk.pages.bytes());
    let txid = rows::to_sql(chunk.txid.0)?;
    tx.change(sql::STAGE_PAGES, params![db, txid, stage, chunk.pages.numbers, sums, bytes]).await?;
    let run = Run::last_of(&chunk.pages.pages);
    let run = match before {
        Some(had) => had.run.followed_by(&chunk.pages.pages, run),
        None => run.ok_or_else(|| bad(fence, "a chunk is empty"))?,
    };
    let row = params![
        db,
        stage,
        txid,
        rows::to_sql(fence.generation.0)?,
        rows::to_sql(step.chunk)?,
        rows::to_sql(pages + limits::len(chunk.pages.pages.len()))?,
        i64::from(run.from),
        i64::from(run.last),
    ];
    tx.change(sql::STAGE_PUT, row).await?;
    Ok(())
}

/// Deletes some rows of what earlier generations left behind.
async fn collect(tx: &Transaction, fence: &Fence) -> Result<Collected, Stop> {
    let (db, generation) = (&fence.db.0[..], rows::to_sql(fence.generation.0)?);
    if tx.row(HOLD, params![db, generation, &fence.token.0[..]]).await?.is_none() {
        return Err(refusal_in(tx, fence, Txid(0), "collect").await);
    }
    let max = u64::from(limits::COLLECT_ROWS_MAX);
    let mut deleted = 0;
    while let Some(row) = tx.row(sql::STAGE_LEFT, params![db, generation]).await? {
        let stage = rows::blob(&row, 0)?;
        let most = rows::to_sql(max - deleted)?;
        deleted += tx.change(sql::STAGE_ROWS_DELETE, params![db, stage, most]).await?;
        if deleted >= max {
            return Ok(Collected { rows: deleted, more: true });
        }
        tx.change(sql::STAGE_DELETE, params![db, stage]).await?;
        deleted += 1;
        if deleted >= max {
            break;
        }
    }
    let more = tx.row(sql::STAGE_LEFT, params![db, generation]).await?.is_some();
    Ok(Collected { rows: deleted, more })
}

/// What was written is there; what the answer said of it is not known.
fn unknown(error: StoreError) -> StoreError {
    StoreError::Unknown(error.to_string())
}

async fn progress(tx: &Transaction, fence: &Fence, stage: &[u8]) -> Result<Option<Progress>, Stop> {
    let Some(row) = tx.row(sql::STAGE, params![&fence.db.0[..], stage]).await? else {
        return Ok(None);
    };
    Ok(Some(Progress {
        owner: (rows::number(&row, 0)?, rows::number(&row, 1)?),
        chunks: rows::number(&row, 2)?,
        pages: rows::number(&row, 3)?,
        run: Run { from: rows::pgno(&row, 4)?.0, last: rows::pgno(&row, 5)?.0 },
    }))
}

/// Takes a stage for the commit that names it. Returns the run that ends with the commit's last page.
async fn take_stage(tx: &Transaction, commit: &PackedCommit, named: &Staged) -> Result<Run, Stop> {
    let fence = &commit.fence;
    let stage = &named.stage.0[..];
    let had = progress(tx, fence, stage).await?;
    let had = had.ok_or_else(|| bad(fence, "it was not staged"))?;
    let ours = had.owner == (commit.txid.0, fence.generation.0) && had.pages == named.pages;
    let follows = commit.pages.pages.first().is_none_or(|(pgno, _)| pgno.0 > had.run.last);
    if !ours || !follows {
        return Err(bad(fence, "the commit names other pages than were staged").into());
    }
    tx.change(sql::STAGE_DELETE, params![&fence.db.0[..], stage]).await?;
    Ok(had.run.followed_by(&commit.pages.pages, commit.run))
}
