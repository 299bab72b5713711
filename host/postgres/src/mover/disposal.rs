//! What nothing leads to any more: rows of databases that have moved, and copies that will not arrive.
//!
//! Invariant: the head goes last, so that rows are found as long as there are some; and each part goes
//! behind a lock of what says that it may.

use stockade_depot::store::limits::DESTROY_ROWS_MAX;
use stockade_depot::{DbId, Shard};

use super::shard::said;
use super::stored::StoredHead;
use super::{MoveError, Mover, Side, ids};
use crate::connection::params;
use crate::directory::delete_rows;
use crate::failure::Stop;
use crate::limits;
use crate::link::{Transaction, in_transaction};
use crate::place::ShardState;
use crate::rows::{self, Sealed};
use crate::sql::moving as sql;

/// Databases of a statement that lists some, after one and up to another.
pub(super) async fn listed(
    primary: &Side<'_>,
    statement: &'static str,
    after: &[u8],
    last: &[u8],
) -> Result<Vec<DbId>, MoveError> {
    let found = primary.look(statement, params![after, last, limits::MOVE_LISTED_MAX]).await?;
    let dbs = found.iter().map(|row| rows::db(row, 0)).collect::<Result<_, _>>();
    dbs.map_err(|error| primary.failed(error))
}

/// Deletes everything of a shard at a primary that says it is gone since the move `version`.
pub(super) async fn clear(primary: &Side<'_>, shard: Shard, version: u64) -> Result<(), MoveError> {
    let (mut after, last) = ids(shard);
    loop {
        let dbs = listed(primary, sql::DATABASES, &after, &last).await?;
        let Some(next) = dbs.last() else { return Ok(()) };
        after = next.0.to_vec();
        let mut is_left = true;
        while is_left {
            let cleared = async {
                in_transaction!(primary.link, tx => clear_some(&tx, shard, version, &dbs))
            };
            is_left = cleared.await.map_err(|error| primary.failed(error))?;
        }
    }
}

/// Deletes some rows. Whether there are more.
async fn clear_some(
    tx: &Transaction,
    shard: Shard,
    version: u64,
    dbs: &[DbId],
) -> Result<bool, Stop> {
    let says = said(tx, sql::SHARD_SHARE, shard).await?;
    if !says.is_some_and(|says| says.state == ShardState::Gone && says.version == version) {
        // The shard comes back: what is here is of the move that brings it.
        return Ok(false);
    }
    let dbs: Vec<&[u8]> = dbs.iter().map(|db| &db.0[..]).collect();
    let most = i64::from(DESTROY_ROWS_MAX);
    for delete in sql::CLEAR_ROWS {
        if tx.change(delete, params![dbs, most]).await? >= u64::from(DESTROY_ROWS_MAX) {
            return Ok(true);
        }
    }
    tx.change(sql::CLEAR_ACTORS, params![dbs]).await?;
    tx.change(sql::CLEAR_HEADS, params![dbs]).await?;
    Ok(false)
}

/// How much of a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discard {
    /// Its rows: the mover that claims it begins again.
    Rows,
    /// All of it: there is no such database.
    All,
}

impl Mover<'_> {
    /// Deletes the source's rows of a database that has moved, but for those that lead to the target.
    pub(super) async fn dispose(&self, db: DbId) -> Result<(), MoveError> {
        let mut is_left = true;
        while is_left {
            let disposed = async { in_transaction!(self.source.link, tx => dispose_some(&tx, db)) };
            is_left = disposed.await.map_err(|error| self.source.failed(error))?;
        }
        Ok(())
    }

    /// Deletes an invalid copy. Only after the source's head was seen in a state from which no mover's
    /// earlier take can end in a move.
    pub(super) async fn discard(
        &self,
        db: DbId,
        claim: Option<&[u8]>,
        what: Discard,
    ) -> Result<(), MoveError> {
        let mut is_left = true;
        while is_left {
            let discarded = async {
                in_transaction!(self.target.link, tx => self.discard_some(&tx, db, claim, what))
            };
            is_left = discarded.await.map_err(|error| self.target.failed(error))?;
        }
        Ok(())
    }

    async fn discard_some(
        &self,
        tx: &Transaction,
        db: DbId,
        claim: Option<&[u8]>,
        what: Discard,
    ) -> Result<bool, Stop> {
        let id = &db.0[..];
        if !self.is_coming(tx).await? {
            return Ok(false);
        }
        let head = tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        let head = head.map(|row| StoredHead::of(&row)).transpose()?;
        let is_ours = |head: &StoredHead| claim.is_none_or(|claim| head.token == claim);
        if !head.is_some_and(|head| head.sealed == Sealed::Arriving && is_ours(&head)) {
            return Ok(false);
        }
        if delete_rows(tx, db).await? >= u64::from(DESTROY_ROWS_MAX) {
            return Ok(true);
        }
        tx.change(sql::ACTOR_CLEAR, params![id]).await?;
        if what == Discard::All {
            tx.change(sql::CLEAR_HEADS, params![vec![id]]).await?;
        }
        Ok(false)
    }
}

async fn dispose_some(tx: &Transaction, db: DbId) -> Result<bool, Stop> {
    let head = tx.row(sql::STORED_HEAD_LOCK, params![&db.0[..]]).await?;
    let head = head.map(|row| StoredHead::of(&row)).transpose()?;
    if head.is_none_or(|head| head.sealed != Sealed::Moved) {
        return Ok(false);
    }
    Ok(delete_rows(tx, db).await? >= u64::from(DESTROY_ROWS_MAX))
}
