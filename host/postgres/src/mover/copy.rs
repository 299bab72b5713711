//! Commits and pages of one database, from the source to the target.
//!
//! ```text
//! commit rows up to txid ─► visible pages of these commits, in the order of their key
//! ```
//! Each page is proved by its checksum, each commit row by the chain from the one before. What is read
//! counts (`Side::look`): a primary that comes back from a crash shows commits that no standby has,
//! and a copy of one of these would stay when it is gone.
//!
//! Rows of a commit never change, but for an import, which begins again and then makes other commits
//! under the same numbers: it is copied only while it is held.

use stockade_depot::store::rows::StoredRow as _;
use stockade_depot::{DbId, Pgno, StoreError, Txid, chain, page};

use super::stored::StoredHead;
use super::{MoveError, Mover};
use crate::connection::params;
use crate::limits;
use crate::rows::{self, Row};
use crate::sql::moving as sql;

/// How far a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Rows of commits up to this one are there.
    pub(super) upto: i64,
    /// The last commit row, and its chain.
    last: Option<(i64, Vec<u8>)>,
    /// Whether the copy may have rows that the source will not have: it begins again.
    pub(super) is_tainted: bool,
}

/// What became of a part of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It is there.
    There,
    /// Another mover has claimed the copy.
    ClaimLost,
    /// The source's commits do not follow from each other, or from what was copied.
    Broken(String),
}

/// Columns of commit rows.
#[derive(Default)]
struct Commits<'a> {
    txids: Vec<i64>,
    generations: Vec<i64>,
    counts: Vec<i64>,
    contents: Vec<&'a [u8]>,
    chains: Vec<&'a [u8]>,
    stages: Vec<&'a [u8]>,
    times: Vec<i64>,
}

impl<'a> Commits<'a> {
    fn of(rows: &'a [Row]) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for row in rows {
            all.txids.push(row.integer(0)?);
            all.generations.push(row.integer(1)?);
            all.counts.push(row.integer(2)?);
            all.contents.push(row.blob(3)?);
            all.chains.push(row.blob(4)?);
            all.stages.push(row.blob(5)?);
            all.times.push(row.integer(6)?);
        }
        Ok(all)
    }

    /// Whether each follows from the one before, the first from `last`. Where retention has left a gap
    /// there is nothing to compare.
    fn follow(&self, mut last: Option<(i64, Vec<u8>)>) -> Result<Option<(i64, Vec<u8>)>, String> {
        for ((txid, content), own) in self.txids.iter().zip(&self.contents).zip(&self.chains) {
            if let Some((before, chain)) = &last
                && before + 1 == *txid
                && !follows(chain, content, own)
            {
                return Err(format!("commit {txid} does not follow from the one before"));
            }
            last = Some((*txid, own.to_vec()));
        }
        Ok(last)
    }
}

fn follows(before: &[u8], content: &[u8], own: &[u8]) -> bool {
    match (before.try_into(), content.try_into()) {
        (Ok(before), Ok(content)) => chain::next(before, content) == own,
        _ => false,
    }
}

/// Columns of pages.
#[derive(Default)]
struct PageRows<'a> {
    pgnos: Vec<i64>,
    txids: Vec<i64>,
    stages: Vec<&'a [u8]>,
    sums: Vec<&'a [u8]>,
    bytes: Vec<&'a [u8]>,
}

impl<'a> PageRows<'a> {
    /// Rows of `db`, each of which is the page that it says.
    fn of(db: DbId, rows: &'a [Row]) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for row in rows {
            let (pgno, txid): (Pgno, Txid) = (rows::pgno(row, 0)?, rows::txid(row, 1)?);
            page::decode(db, pgno, txid, row.blob(4)?, row.blob(3)?)?;
            all.pgnos.push(row.integer(0)?);
            all.txids.push(row.integer(1)?);
            all.stages.push(row.blob(2)?);
            all.sums.push(row.blob(3)?);
            all.bytes.push(row.blob(4)?);
        }
        Ok(all)
    }
}

impl Mover<'_> {
    /// Copies what the source has up to the commit `upto`, after what is there already.
    pub(super) async fn copy(
        &self,
        db: DbId,
        token: &[u8],
        copied: &mut Copied,
        upto: i64,
    ) -> Result<Part, MoveError> {
        if upto <= copied.upto {
            return Ok(Part::There);
        }
        match self.copy_commits(db, token, copied, upto).await? {
            Part::There => {}
            other => return Ok(other),
        }
        let part = self.copy_pages(db, token, copied.upto, upto).await?;
        if part == Part::There {
            copied.upto = upto;
        }
        Ok(part)
    }

    async fn copy_commits(
        &self,
        db: DbId,
        token: &[u8],
        copied: &mut Copied,
        upto: i64,
    ) -> Result<Part, MoveError> {
        let mut after = copied.upto;
        let mut last = copied.last.clone();
        loop {
            let asked = params![&db.0[..], after, upto, limits::MOVE_COMMITS_MAX];
            let found = self.source.look(sql::COMMITS_OF, asked).await?;
            let all = Commits::of(&found).map_err(|error| self.source.failed(error))?;
            let Some(newest) = all.txids.last().copied() else { break };
            last = match all.follow(last) {
                Ok(last) => last,
                Err(what) => return Ok(Part::Broken(what)),
            };
            let row = params![
                &db.0[..],
                token,
                all.txids,
                all.generations,
                all.counts,
                all.contents,
                all.chains,
                all.stages,
                all.times,
            ];
            if self.target.change(sql::COMMITS_PUT, row).await? == 0 {
                return Ok(Part::ClaimLost);
            }
            after = newest;
            if found.len() < count(limits::MOVE_COMMITS_MAX) {
                break;
            }
        }
        copied.last = last;
        Ok(Part::There)
    }

    async fn copy_pages(
        &self,
        db: DbId,
        token: &[u8],
        above: i64,
        upto: i64,
    ) -> Result<Part, MoveError> {
        let (mut pgno, mut txid) = (0, 0);
        loop {
            let asked = params![&db.0[..], pgno, txid, above, upto, limits::MOVE_PAGES_MAX];
            let found = self.source.look(sql::PAGES_OF, asked).await?;
            let all = PageRows::of(db, &found).map_err(|error| self.source.failed(error))?;
            let (Some(last_pgno), Some(last_txid)) = (all.pgnos.last(), all.txids.last()) else {
                return Ok(Part::There);
            };
            (pgno, txid) = (*last_pgno, *last_txid);
            let row =
                params![&db.0[..], token, all.pgnos, all.txids, all.stages, all.sums, all.bytes];
            if self.target.change(sql::PAGES_PUT, row).await? == 0 {
                return Ok(Part::ClaimLost);
            }
            let bytes: usize = all.bytes.iter().map(|page| page.len()).sum();
            self.counted(|moved| {
                moved.pages += u64::try_from(found.len()).unwrap_or(u64::MAX);
                moved.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            });
            if found.len() < count(limits::MOVE_PAGES_MAX) {
                return Ok(Part::There);
            }
        }
    }
}

impl Copied {
    /// Where the copied commits do not end with the commit of a taken head.
    pub(super) fn ends_with(&self, taken: &StoredHead) -> Result<(), String> {
        if !taken.has_commit() {
            return Ok(());
        }
        match &self.last {
            Some((txid, chain)) if *txid == taken.txid && *chain == taken.chain => Ok(()),
            _ => Err("the head's commit is another one than was copied".to_owned()),
        }
    }
}

fn count(most: i64) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}
