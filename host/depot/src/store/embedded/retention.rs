//! The steps of retention, as they run inside a group's transaction.

use rusqlite::{Connection, Row, params};

use super::ages::Ages;
use super::read::all;
use super::rows;
use super::write::{execute, head, one};
use crate::error::StoreError;
use crate::id::{DbId, Pgno, Txid};
use crate::store::limits::{self, COMMIT_ROWS_MS_MIN, FLOOR_COMMITS_MAX, TRIM_ROWS_MAX};
use crate::store::sql::retention as sql;
use crate::store::{FORK_PIN_PREFIX, History, Keep, Look, Superseded};

type Done<T> = Result<T, StoreError>;

pub(super) fn history(conn: &Connection, db: DbId) -> Done<Option<History>> {
    one(conn, sql::HISTORY, [&db.0[..]], |row| rows::history(row))
}

pub(super) fn raise_floor(conn: &Connection, db: DbId, keep: Keep, ages: &Ages) -> Done<History> {
    let newest = |row: &Row<'_>| Ok((rows::txid(row, 0)?, rows::number(row, 1)?));
    let (head, time_ms) =
        one(conn, sql::NEWEST, [&db.0[..]], newest)?.ok_or(StoreError::DatabaseMissing(db))?;
    ages.looked(db, head, time_ms);
    if let Some(old) = ages.old_enough(db, keep.age_ms_min.max(COMMIT_ROWS_MS_MIN)) {
        // More commits than a head can have are all of them.
        let commits = i64::try_from(keep.commits_min).unwrap_or(i64::MAX);
        let row = params![&db.0[..], rows::to_sql(old.0)?, commits, FLOOR_COMMITS_MAX];
        execute(conn, sql::RAISE_FLOOR, row)?;
    }
    history(conn, db)?.ok_or(StoreError::DatabaseMissing(db))
}

pub(super) fn superseded(conn: &Connection, db: DbId, after: (Pgno, Txid)) -> Done<Look> {
    let (pgno, txid) = (after.0.0, rows::to_sql(after.1.0)?);
    let window = params![&db.0[..], pgno, txid, TRIM_ROWS_MAX - 1];
    let next =
        one(conn, sql::TRIM_WINDOW, window, |row| Ok((rows::pgno(row, 0)?, rows::txid(row, 1)?)))?;
    let (to_pgno, to_txid) = match next {
        Some((pgno, txid)) => (pgno.0, rows::to_sql(txid.0)?),
        None => (u32::MAX, i64::MAX),
    };
    let range = params![&db.0[..], pgno, txid, to_pgno, to_txid];
    let superseded =
        all(conn, sql::SUPERSEDED, range, |row| Ok(Superseded { db, place: row.get(0)? }))?;
    Ok(Look { looked: TRIM_ROWS_MAX.into(), superseded, next })
}

pub(super) fn trim_pages(conn: &Connection, rows: &[Superseded]) -> Done<u64> {
    let mut gone = 0;
    for row in rows {
        gone += execute(conn, sql::TRIM_PAGE, params![&row.db.0[..], row.place])?;
    }
    Ok(limits::len(gone))
}

pub(super) fn trim_commits(conn: &Connection, db: DbId, below: Txid) -> Done<u64> {
    let row = params![&db.0[..], rows::to_sql(below.0)?, TRIM_ROWS_MAX];
    execute(conn, sql::TRIM_COMMITS, row).map(limits::len)
}

pub(super) fn pin(conn: &Connection, db: DbId, txid: Txid, name: &str) -> Done<()> {
    let txid_sql = rows::to_sql(txid.0)?;
    if execute(conn, sql::PIN_HOLD, params![&db.0[..], txid_sql])? == 0 {
        let head = head(conn, db)?;
        return Err(match head.floor {
            floor if txid < floor => StoreError::HistoryGone { db, txid, floor },
            _ if txid > head.txid => StoreError::NoCommit { db, txid },
            _ => StoreError::DatabaseMissing(db),
        });
    }
    execute(conn, sql::PIN_INSERT, params![&db.0[..], txid_sql, name]).map(drop)
}

pub(super) fn unpin(conn: &Connection, db: DbId, txid: Txid, name: &str) -> Done<()> {
    execute(conn, sql::PIN_DELETE, params![&db.0[..], rows::to_sql(txid.0)?, name]).map(drop)
}

/// Refuses what would take away the base of another database.
pub(super) fn check_forks(conn: &Connection, db: DbId) -> Done<()> {
    let found = one(conn, sql::HAS_FORKS, params![&db.0[..], FORK_PIN_PREFIX], |_| Ok(()))?;
    if found.is_some() { Err(StoreError::HasForks(db)) } else { Ok(()) }
}
