//! A commit as the server takes it: checked, its pages packed, columns in arrays.

use stockade_depot::page::PageRecord;
use stockade_depot::store::embedded::{Run, old_count_min};
use stockade_depot::store::packed::{self, INLINE_PAGES_MAX, check_commit, pack};
use stockade_depot::store::{CommitStep, Due, Staged, limits};
use stockade_depot::{DbId, Fence, NodeSession, PageBytes, PageCount, Pgno, StoreError, Txid};
use tokio_postgres::types::ToSql;

use crate::rows;
use crate::sql::pages as sql;

/// No stage.
const UNSTAGED: &[u8] = &[];

/// Pages of one commit or chunk, each column by itself.
pub(crate) struct Packed {
    pub(crate) pages: Vec<(Pgno, PageRecord)>,
    pub(crate) numbers: Vec<i64>,
}

impl Packed {
    fn of(pages: Vec<(Pgno, PageRecord)>) -> Self {
        let numbers = pages.iter().map(|(pgno, _)| i64::from(pgno.0)).collect();
        Self { pages, numbers }
    }

    /// Packs pages for rows of `txid`, without holding up the threads of a runtime.
    ///
    /// # Errors
    /// `Corrupt` if they are not ascending, each once, and of page size.
    pub(crate) async fn packed(
        db: DbId,
        txid: Txid,
        pages: Vec<(Pgno, PageBytes)>,
    ) -> Result<Self, StoreError> {
        let is_long = pages.len() > INLINE_PAGES_MAX;
        Ok(Self::of(off_thread(is_long, move || pack(db, txid, &pages)).await?))
    }

    pub(crate) fn sums(&self) -> Vec<&[u8]> {
        self.pages.iter().map(|(_, page)| &page.sum[..]).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<&[u8]> {
        self.pages.iter().map(|(_, page)| &page.bytes[..]).collect()
    }

    /// What they weigh on the way.
    pub(crate) fn weight(&self) -> u64 {
        let row = |(_, page): &(Pgno, PageRecord)| page.bytes.len() + 64;
        limits::len(self.pages.iter().map(row).sum::<usize>() + 256)
    }
}

/// Does work on this thread, or on one that may block if it is long.
async fn off_thread<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if !is_long {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}

/// A commit whose pages are packed and checked.
pub(crate) struct PackedCommit {
    pub(crate) fence: Fence,
    pub(crate) owner: NodeSession,
    pub(crate) base: Txid,
    pub(crate) txid: Txid,
    pub(crate) page_count: PageCount,
    pub(crate) chain: [u8; 32],
    pub(crate) content: [u8; 32],
    pub(crate) pages: Packed,
    /// The last of `pages` that have no gap between them.
    pub(crate) run: Option<Run>,
    pub(crate) staged: Option<Staged>,
    pub(crate) due: Due,
}

impl PackedCommit {
    /// Checks and packs a commit.
    ///
    /// # Errors
    /// `Refused` over a limit; `Corrupt` if the pages are not ascending, each once, within the count,
    /// and of page size.
    pub(crate) async fn new(step: CommitStep) -> Result<Self, StoreError> {
        check_commit(&step)?;
        let is_long = step.pages.len() > INLINE_PAGES_MAX;
        let commit = off_thread(is_long, move || packed::PackedCommit::new(&step)).await?;
        rows::to_sql(commit.txid.0)?;
        rows::to_sql(commit.fence.generation.0)?;
        Ok(Self {
            fence: commit.fence,
            owner: commit.owner,
            base: commit.base,
            txid: commit.txid,
            page_count: commit.page_count,
            chain: commit.chain,
            content: commit.content,
            pages: Packed::of(commit.pages),
            run: commit.run,
            staged: commit.staged,
            due: commit.due,
        })
    }

    /// The head's numbers before this commit, and its own: generation, txid, count, least old count.
    pub(crate) fn numbers(&self, run: Option<Run>) -> Result<[i64; 4], StoreError> {
        Ok([
            rows::to_sql(self.fence.generation.0)?,
            rows::to_sql(self.base.0)?,
            i64::from(self.page_count.0),
            i64::from(old_count_min(run, self.page_count)),
        ])
    }

    /// The commit as a statement of its own, with the last pages without a gap as of `run`.
    pub(crate) fn alone(&self, now_ms: u64, run: Option<Run>) -> Result<Alone<'_>, StoreError> {
        let [generation, base, count, least] = self.numbers(run)?;
        Ok(Alone {
            numbers: [generation, base, count, rows::to_sql(now_ms)?, least],
            blobs: [
                &self.fence.db.0[..],
                &self.fence.token.0[..],
                &self.chain[..],
                &self.owner.0[..],
                &self.content[..],
                self.staged.as_ref().map_or(UNSTAGED, |staged| &staged.stage.0[..]),
            ],
            pgnos: &self.pages.numbers,
            sums: self.pages.sums(),
            bytes: self.pages.bytes(),
            due: self.due.change(),
        })
    }
}

/// A commit that is sent alone: its statement and the parameters.
pub(crate) struct Alone<'a> {
    numbers: [i64; 5],
    blobs: [&'a [u8]; 6],
    pgnos: &'a [i64],
    sums: Vec<&'a [u8]>,
    bytes: Vec<&'a [u8]>,
    /// If it is written.
    due: Option<Option<i64>>,
}

impl Alone<'_> {
    /// The statement.
    pub(crate) fn sql(&self) -> &'static str {
        if self.due.is_some() { sql::COMMIT_DUE } else { sql::COMMIT }
    }

    /// In the order of the statement.
    pub(crate) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let [generation, base, count, now, least] = &self.numbers;
        let [db, token, chain, owner, content, stage] = &self.blobs;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            db,
            generation,
            token,
            base,
            count,
            chain,
            now,
            least,
            owner,
            content,
            stage,
            &self.pgnos,
            &self.sums,
            &self.bytes,
        ];
        if let Some(due) = &self.due {
            params.push(due);
        }
        params
    }
}

/// The columns of a group of commits, in the order of `sql::pages::COMMIT_GROUP`.
pub(crate) struct Columns<'a> {
    pub(crate) dbs: Vec<&'a [u8]>,
    pub(crate) generations: Vec<i64>,
    pub(crate) tokens: Vec<&'a [u8]>,
    pub(crate) bases: Vec<i64>,
    pub(crate) counts: Vec<i64>,
    pub(crate) chains: Vec<&'a [u8]>,
    pub(crate) leasts: Vec<i64>,
    pub(crate) owners: Vec<&'a [u8]>,
    pub(crate) contents: Vec<&'a [u8]>,
    /// Of those commits that say something of due times.
    pub(crate) due_dbs: Vec<&'a [u8]>,
    pub(crate) dues: Vec<Option<i64>>,
    pub(crate) page_dbs: Vec<&'a [u8]>,
    pub(crate) pgnos: Vec<i64>,
    pub(crate) sums: Vec<&'a [u8]>,
    pub(crate) bytes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Of commits of databases that all differ.
    pub(crate) fn of(group: impl Iterator<Item = &'a PackedCommit>) -> Result<Self, StoreError> {
        let mut all = Self {
            dbs: Vec::new(),
            generations: Vec::new(),
            tokens: Vec::new(),
            bases: Vec::new(),
            counts: Vec::new(),
            chains: Vec::new(),
            leasts: Vec::new(),
            owners: Vec::new(),
            contents: Vec::new(),
            due_dbs: Vec::new(),
            dues: Vec::new(),
            page_dbs: Vec::new(),
            pgnos: Vec::new(),
            sums: Vec::new(),
            bytes: Vec::new(),
        };
        for commit in group {
            let [generation, base, count, least] = commit.numbers(commit.run)?;
            all.dbs.push(&commit.fence.db.0[..]);
            all.generations.push(generation);
            all.tokens.push(&commit.fence.token.0[..]);
            all.bases.push(base);
            all.counts.push(count);
            all.chains.push(&commit.chain[..]);
            all.leasts.push(least);
            all.owners.push(&commit.owner.0[..]);
            all.contents.push(&commit.content[..]);
            if let Some(due) = commit.due.change() {
                all.due_dbs.push(&commit.fence.db.0[..]);
                all.dues.push(due);
            }
            for (pgno, page) in &commit.pages.pages {
                all.page_dbs.push(&commit.fence.db.0[..]);
                all.pgnos.push(i64::from(pgno.0));
                all.sums.push(&page.sum[..]);
                all.bytes.push(&page.bytes[..]);
            }
        }
        Ok(all)
    }
}
