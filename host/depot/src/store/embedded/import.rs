//! The steps of an import, as they run inside a group's transaction.

use rusqlite::{Connection, params};

use super::rows;
use super::write::{execute, head, one};
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::Txid;
use crate::store::limits::{self, DESTROY_ROWS_MAX};
use crate::store::sql::{self, import};
use crate::store::{Emptied, TakenOver, TakeoverStep};

type Done<T> = Result<T, StoreError>;

pub(super) fn take_over(conn: &Connection, step: &TakeoverStep) -> Done<TakenOver> {
    let (generation, token) = step.replaces;
    let fence = params![
        &step.db.0[..],
        rows::to_sql(generation.0)?,
        &token.0[..],
        &step.token.0[..],
        &step.owner.0[..],
    ];
    match one(conn, import::TAKE_OVER, fence, |row| rows::head(row, 0, step.db))? {
        Some(head) => head.check_name(&step.actor).map(|()| TakenOver::Owned {
            head,
            restarts: 0,
            snapshot: None,
            leftovers: false,
        }),
        None => head(conn, step.db).map(TakenOver::Moved),
    }
}

pub(super) fn empty(conn: &Connection, fence: &Fence) -> Done<Emptied> {
    let db = &fence.db.0[..];
    let generation = rows::to_sql(fence.generation.0)?;
    if execute(conn, import::HOLD, params![db, generation, &fence.token.0[..]])? == 0 {
        return Err(refused(conn, fence, Txid(0)));
    }
    let mut rows = 0;
    for delete in sql::DESTROY_ROWS {
        let left = u64::from(DESTROY_ROWS_MAX) - rows;
        rows += limits::len(execute(conn, delete, params![db, rows::to_sql(left)?])?);
        if rows >= u64::from(DESTROY_ROWS_MAX) {
            return Ok(Emptied::More);
        }
    }
    let chain = head(conn, fence.db)?.first_chain();
    let empty = params![db, generation, &fence.token.0[..], &chain[..]];
    execute(conn, import::EMPTY, empty)?;
    Ok(Emptied::Done)
}

pub(super) fn finish(conn: &Connection, fence: &Fence, base: Txid) -> Done<Head> {
    let row = params![
        &fence.db.0[..],
        rows::to_sql(fence.generation.0)?,
        &fence.token.0[..],
        rows::to_sql(base.0)?
    ];
    one(conn, import::FINISH, row, |row| rows::head(row, 0, fence.db))?
        .ok_or_else(|| refused(conn, fence, base))
}

/// Why a step of an import changed nothing: the head is another's, or no import.
fn refused(conn: &Connection, fence: &Fence, base: Txid) -> StoreError {
    // If the fence holds, it is the origin: a head that is no import must not be imported into.
    head(conn, fence.db)
        .map_or_else(|error| error, |head| head.owner_row().mismatch(fence, base).into())
}
