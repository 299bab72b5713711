//! History without a fence: versions are immutable. A state below the floor is refused in the
//! snapshot of each read.

use stockade_depot::store::{CommitRow, LIST_ROWS_MAX, PageVersion, READ_PAGES_MAX};
use stockade_depot::{DbId, PageCount, Pgno, StoreError, Txid, page};

use crate::connection::params;
use crate::pages::{Bases, in_order};
use crate::primary::Primary;
use crate::rows;
use crate::sql::history as sql;

impl Primary {
    pub(crate) async fn read_history(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
        bases: &dyn Bases,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let count = self.page_count_at(db, at).await?;
        let max = u32::try_from(max.min(READ_PAGES_MAX)).unwrap_or(u32::MAX);
        let first = from.0.max(1);
        let end = first.saturating_add(max).min(count.0.saturating_add(1));
        let pages: Vec<Pgno> = (first..end).map(Pgno).collect();
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        // Two statements, one answer: versions as of a txid do not change between them.
        let found = self.found_at(db, at, &pages).await?;
        in_order(bases, db, at, &pages, found).await
    }

    /// How many pages a database had as of `at`.
    async fn page_count_at(&self, db: DbId, at: Txid) -> Result<PageCount, StoreError> {
        let asked = params![&db.0[..], rows::to_sql(at.0)?];
        let row = self.link.read_row(sql::PAGE_COUNT_AT, asked).await?;
        let row = row.ok_or_else(|| rows::away(db))?;
        rows::check_floor(&row, 2, db, at)?;
        if at == Txid(0) {
            return Ok(PageCount(0));
        }
        if rows::is_null(&row, 1)? {
            let head = rows::txid(&row, 0)?;
            return Err(StoreError::Corrupt(format!(
                "{db} has no commit row {at}; its head is at {head}"
            )));
        }
        rows::page_count(&row, 1)
    }

    pub(crate) async fn commits_after(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let most = rows::limit(max.min(LIST_ROWS_MAX));
        let asked = params![&db.0[..], rows::to_sql(after.0)?, most];
        let mut found = Vec::new();
        let rows = self.link.read(sql::COMMITS, asked).await?;
        if rows.is_empty() && most > 0 {
            return Err(rows::away(db));
        }
        for row in rows {
            rows::check_floor(&row, 0, db, Txid(after.0.saturating_add(1)))?;
            if !rows::is_null(&row, 1)? {
                found.push(rows::commit(&row, 1, db)?);
            }
        }
        Ok(found)
    }

    pub(crate) async fn pages_of_commit(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let most = rows::limit(max.min(READ_PAGES_MAX));
        let asked = params![&db.0[..], rows::to_sql(txid.0)?, i64::from(after.0), most];
        let mut found = Vec::new();
        let rows = self.link.read(sql::COMMIT_PAGES, asked).await?;
        if rows.is_empty() && most > 0 {
            return Err(rows::away(db));
        }
        for row in rows {
            rows::check_floor(&row, 0, db, txid)?;
            if rows::is_null(&row, 1)? {
                continue;
            }
            let pgno = rows::pgno(&row, 1)?;
            let bytes = page::decode(db, pgno, txid, rows::blob(&row, 3)?, rows::blob(&row, 2)?)?;
            found.push(PageVersion { pgno, txid, bytes });
        }
        Ok(found)
    }
}
