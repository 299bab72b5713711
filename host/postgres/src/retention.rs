//! Retention (D10): the floor, what trimming deletes, pins. Each step carries its own condition.
//!
//! Invariant: whether a pin holds the floor, and whether a pin may still be made, is asked behind a
//! lock of the head, in a statement that begins once the lock is had.
//!
//! ```text
//! Superseded.place   page number (25 bits) | txid (39 bits)
//! ```

use stockade_depot::store::limits::{self, COMMIT_ROWS_MS_MIN, FLOOR_COMMITS_MAX, TRIM_ROWS_MAX};
use stockade_depot::store::{FORK_PIN_PREFIX, History, Keep, Look, Superseded};
use stockade_depot::{DbId, Limit, Origin, Pgno, StoreError, Txid};

use crate::connection::params;
use crate::failure::Stop;
use crate::limits::PLACE_TXID_BITS;
use crate::link::{Transaction, in_transaction};
use crate::primary::Primary;
use crate::rows;
use crate::sql::ownership::HEAD_LOCK;
use crate::sql::retention as sql;

/// The largest txid that has a place.
const TXID_MAX: u64 = (1 << PLACE_TXID_BITS) - 1;

/// Where a page version is, as one number. `None`: it has none.
fn place(pgno: Pgno, txid: Txid) -> Option<i64> {
    let is_small = txid.0 <= TXID_MAX && pgno.0 >> (64 - PLACE_TXID_BITS) == 0;
    let place = u64::from(pgno.0) << PLACE_TXID_BITS | txid.0;
    is_small.then(|| i64::from_ne_bytes(place.to_ne_bytes()))
}

/// The page number and the txid of a place.
fn at(place: i64) -> (u64, u64) {
    let place = u64::from_ne_bytes(place.to_ne_bytes());
    (place >> PLACE_TXID_BITS, place & TXID_MAX)
}

impl Primary {
    pub(crate) async fn history_of(&self, db: DbId) -> Result<History, StoreError> {
        let found = self.link.read_row(sql::HISTORY, params![&db.0[..]]).await?;
        rows::history(&found.ok_or_else(|| rows::away(db))?)
    }

    pub(crate) async fn raise_floor_of(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        let newest = self.link.read_row(sql::NEWEST, params![&db.0[..]]).await?;
        let newest = newest.ok_or_else(|| rows::away(db))?;
        self.ages.looked(db, rows::txid(&newest, 0)?, rows::number(&newest, 1)?);
        if let Some(old) = self.ages.old_enough(db, keep.age_ms_min.max(COMMIT_ROWS_MS_MIN)) {
            in_transaction!(self.link, tx => raise_floor(&tx, db, old, keep))?;
        }
        self.history_of(db).await
    }

    pub(crate) async fn superseded_after(
        &self,
        db: DbId,
        after: (Pgno, Txid),
    ) -> Result<Look, StoreError> {
        let (pgno, txid) = (i64::from(after.0.0), rows::to_sql(after.1.0)?);
        let window = params![&db.0[..], pgno, txid, i64::from(TRIM_ROWS_MAX - 1)];
        let next = match self.link.read_row(sql::TRIM_WINDOW, window).await? {
            Some(row) => Some((rows::pgno(&row, 0)?, rows::txid(&row, 1)?)),
            None => None,
        };
        let (to_pgno, to_txid) = match next {
            Some((pgno, txid)) => (i64::from(pgno.0), rows::to_sql(txid.0)?),
            None => (i64::from(u32::MAX), i64::MAX),
        };
        let range = params![&db.0[..], pgno, txid, to_pgno, to_txid];
        let mut superseded = Vec::new();
        for row in self.link.read(sql::SUPERSEDED, range).await? {
            let place = place(rows::pgno(&row, 0)?, rows::txid(&row, 1)?);
            superseded.extend(place.map(|place| Superseded { db, place }));
        }
        Ok(Look { looked: TRIM_ROWS_MAX.into(), superseded, next })
    }

    pub(crate) async fn trim_page_rows(&self, found: &[Superseded]) -> Result<u64, StoreError> {
        let (mut dbs, mut pgnos, mut txids) = (Vec::new(), Vec::new(), Vec::new());
        for row in found {
            let (pgno, txid) = at(row.place);
            dbs.push(&row.db.0[..]);
            pgnos.push(rows::to_sql(pgno)?);
            txids.push(rows::to_sql(txid)?);
        }
        if dbs.is_empty() {
            return self.link.check_open().map(|()| 0);
        }
        self.link.change(sql::TRIM_PAGES, params![dbs, pgnos, txids]).await
    }

    pub(crate) async fn trim_commit_rows(&self, db: DbId, below: Txid) -> Result<u64, StoreError> {
        let row = params![&db.0[..], rows::to_sql(below.0)?, i64::from(TRIM_ROWS_MAX)];
        self.link.change(sql::TRIM_COMMITS, row).await
    }

    pub(crate) async fn pin_txid(
        &self,
        db: DbId,
        txid: Txid,
        name: &str,
    ) -> Result<(), StoreError> {
        let bytes = limits::len(name.len());
        limits::check(Limit::PinNameBytes, bytes, limits::PIN_NAME_BYTES_MAX)?;
        in_transaction!(self.link, tx => pin(&tx, db, txid, name))
    }

    pub(crate) async fn unpin_txid(
        &self,
        db: DbId,
        txid: Txid,
        name: &str,
    ) -> Result<(), StoreError> {
        in_transaction!(self.link, tx => unpin(&tx, db, txid, name))
    }
}

async fn raise_floor(tx: &Transaction, db: DbId, old: Txid, keep: Keep) -> Result<(), Stop> {
    let row = tx.row(HEAD_LOCK, params![&db.0[..]]).await?;
    rows::head(&row.ok_or_else(|| rows::away(db))?, 0)?;
    // More commits than a head can have are all of them.
    let commits = i64::try_from(keep.commits_min).unwrap_or(i64::MAX);
    let row = params![&db.0[..], rows::to_sql(old.0)?, commits, i64::from(FLOOR_COMMITS_MAX)];
    tx.change(sql::RAISE_FLOOR, row).await?;
    Ok(())
}

async fn pin(tx: &Transaction, db: DbId, txid: Txid, name: &str) -> Result<(), Stop> {
    let row = tx.row(HEAD_LOCK, params![&db.0[..]]).await?;
    let head = rows::head(&row.ok_or_else(|| rows::away(db))?, 0)?;
    if txid < head.floor {
        return Err(StoreError::HistoryGone { db, txid, floor: head.floor }.into());
    }
    if txid > head.txid {
        return Err(StoreError::NoCommit { db, txid }.into());
    }
    let destroying = match tx.row(sql::WANTED, params![&db.0[..]]).await? {
        Some(row) => rows::flag(&row, 0)?,
        None => false,
    };
    if destroying || head.origin == Origin::Importing {
        return Err(StoreError::DatabaseMissing(db).into());
    }
    let row = params![&db.0[..], rows::to_sql(txid.0)?, name];
    tx.change(sql::PIN_INSERT, row).await?;
    Ok(())
}

/// Behind a lock of the head, so that a pin that goes is not moved along.
async fn unpin(tx: &Transaction, db: DbId, txid: Txid, name: &str) -> Result<(), Stop> {
    let row = tx.row(HEAD_LOCK, params![&db.0[..]]).await?;
    rows::head(&row.ok_or_else(|| rows::away(db))?, 0)?;
    tx.change(sql::PIN_DELETE, params![&db.0[..], rows::to_sql(txid.0)?, name]).await?;
    Ok(())
}

/// Refuses what would take away the base of another database. Behind a lock of its head.
pub(crate) async fn check_forks(tx: &Transaction, db: DbId) -> Result<(), Stop> {
    match tx.row(sql::HAS_FORKS, params![&db.0[..], FORK_PIN_PREFIX]).await? {
        Some(_) => Err(StoreError::HasForks(db).into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_page_and_a_txid() {
        for (pgno, txid) in [(0, 0), (1, 7), (1 << 24, 1 << 38), ((1 << 25) - 1, TXID_MAX)] {
            let place = place(Pgno(pgno), Txid(txid)).unwrap();
            assert_eq!(at(place), (pgno.into(), txid));
        }
        assert_eq!(place(Pgno(1), Txid(TXID_MAX + 1)), None);
        assert_eq!(place(Pgno(1 << 25), Txid(1)), None);
    }
}
