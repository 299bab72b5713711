//! The write steps, as they run inside a group's transaction.
//!
//! Each starts with the statement that carries its condition. No row changed means refused: what
//! the head is then read for is the answer's facts, and the savepoint takes back the rest.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::due;
use super::retention;
use super::rows;
use super::staged;
use crate::broken::{self, Variant};
use crate::chain::Start;
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::{ActorId, DbId, NodeSession, Pgno, Txid};
use crate::page::PageRecord;
use crate::store::limits::DESTROY_ROWS_MAX;
use crate::store::packed::PackedCommit;
use crate::store::{
    CreateStep, Created, Destroyed, KindRow, PreviousEnd, SealStep, Snapshot, TakenOver,
    TakeoverStep, Wanted, sql,
};

type Done<T> = Result<T, StoreError>;

/// No stage.
const UNSTAGED: &[u8] = &[];
/// No process.
const NOBODY: &[u8] = &NodeSession::NOBODY.0;

/// One row through `read`, or none.
pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Done<T>,
) -> Done<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_row(params, |row| Ok(read(row))).optional()?;
    found.transpose()
}

pub(super) fn execute(conn: &Connection, sql: &str, params: impl Params) -> Done<usize> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// The head as it is.
pub(super) fn head(conn: &Connection, db: DbId) -> Done<Head> {
    one(conn, sql::HEAD, [&db.0[..]], |row| rows::head(row, 0, db))?
        .ok_or(StoreError::DatabaseMissing(db))
}

/// What a fenced step is compared with the head by: its owner's fence, unless a test has switched
/// the rule off.
pub(super) fn compared(conn: &Connection, rule: Variant, fence: Fence) -> Done<Fence> {
    if broken::is_off(rule) { head(conn, fence.db).map(|head| head.fence) } else { Ok(fence) }
}

/// Why a fenced step changed nothing.
pub(super) fn refusal(conn: &Connection, fence: &Fence, base: Txid, otherwise: &str) -> StoreError {
    let head = match head(conn, fence.db) {
        Ok(head) => head,
        Err(error) => return error,
    };
    match head.check(fence, base).at() {
        Ok(()) => StoreError::Corrupt(format!("{otherwise} of {} refused", fence.db)),
        Err(mismatch) => mismatch.into(),
    }
}

pub(super) fn create(conn: &Connection, step: &CreateStep, now_ms: u64) -> Done<Created> {
    let (kind, key) = (step.actor.kind(), step.actor.key());
    let actor = params![kind, key, &step.db.0[..], &step.component.0[..]];
    let found = || one(conn, sql::ACTOR, [kind, key], |row| rows::actor_of(row, &step.actor));
    let headless = || StoreError::Corrupt(format!("{} is listed but has no head", step.actor));
    if execute(conn, sql::ACTOR_INSERT, actor)? == 0 {
        return found()?.map(Created::Exists).ok_or_else(headless);
    }
    let (start, name) = (Start::Name, step.actor.name_hash());
    let row = params![
        &step.db.0[..],
        &step.token.0[..],
        &step.owner.0[..],
        &start.chain(name, step.db)[..],
        rows::origin_to_sql(step.origin),
        rows::start_to_sql(start),
        rows::to_sql(now_ms)?,
        &name.0[..],
    ];
    if execute(conn, sql::HEAD_INSERT, row)? == 0 {
        return Err(StoreError::Corrupt(format!("database id {} is in use", step.db)));
    }
    // Read as any call will read it: what was written must be what is found under this name.
    let made = found()?.ok_or_else(headless)?;
    rows::asked("directory", &step.db, &made.row.db)?;
    Ok(Created::Made(made.head))
}

pub(super) fn take_over(conn: &Connection, step: &TakeoverStep) -> Done<TakenOver> {
    let (generation, token) = step.replaces;
    let judged = Fence { db: step.db, generation, token };
    let Fence { generation, token, .. } = compared(conn, Variant::TakeoverCondition, judged)?;
    let fence = params![
        &step.db.0[..],
        rows::to_sql(generation.0)?,
        &token.0[..],
        &step.token.0[..],
        &step.owner.0[..],
    ];
    let Some(taken) = one(conn, sql::TAKE_OVER, fence, |row| rows::head(row, 0, step.db))? else {
        return head(conn, step.db).map(TakenOver::Moved);
    };
    let counter = match step.previous_end {
        PreviousEnd::Orderly => 0,
        PreviousEnd::Crashed => 1,
        PreviousEnd::Neutral => 2,
        PreviousEnd::FirstCrash => 3,
    };
    let actor = params![
        step.actor.kind(),
        step.actor.key(),
        &step.db.0[..],
        &step.component.0[..],
        counter,
        i64::from(step.destroying),
    ];
    // The actor has another database by now, or is gone: no caller may run this one.
    let restarts = one(conn, sql::ACTOR_TAKEN_OVER, actor, |row| rows::restarts(row, 0))?
        .ok_or(StoreError::DatabaseMissing(step.db))?;
    taken.check_name(&step.actor)?;
    if step.destroying {
        retention::check_forks(conn, step.db)?;
    }
    let snapshot: Option<Snapshot> =
        one(conn, sql::SNAPSHOT, [&step.db.0[..]], |row| rows::snapshot(row, step.db))?;
    let leftovers = staged::left(conn, &taken.fence)?.is_some();
    Ok(TakenOver::Owned { head: taken, restarts, snapshot, leftovers })
}

pub(super) fn seal(conn: &Connection, step: &SealStep) -> Done<Head> {
    let db = &step.fence.db.0[..];
    let generation = rows::to_sql(step.fence.generation.0)?;
    let txid = rows::to_sql(step.base.0)?;
    let owner = compared(conn, Variant::SealFence, step.fence)?;
    let (of, token) = (rows::to_sql(owner.generation.0)?, &owner.token.0[..]);
    let mut sealed = None;
    // A takeover reports the snapshot, and an heir begins without a takeover.
    if let Some(heir) = step.heir.filter(|_| step.snapshot.is_none()) {
        let fence = params![db, of, token, txid, &heir.0[..], NOBODY];
        sealed = one(conn, sql::SEAL_FOR_HEIR, fence, |row| rows::head(row, 0, step.fence.db))?;
    }
    if sealed.is_none() {
        let fence = params![db, of, token, txid];
        sealed = one(conn, sql::SEAL, fence, |row| rows::head(row, 0, step.fence.db))?;
    }
    let sealed = sealed.ok_or_else(|| refusal(conn, &step.fence, step.base, "seal"))?;
    drop_snapshot(conn, step.fence.db)?;
    if let Some(state) = &step.snapshot {
        let row = params![db, generation, txid, &step.component.0[..], state];
        execute(conn, sql::SNAPSHOT_INSERT, row)?;
    }
    Ok(sealed)
}

fn drop_snapshot(conn: &Connection, db: DbId) -> Done<()> {
    let dropped = one(conn, sql::SNAPSHOT_DROP, [&db.0[..]], |row| rows::db(row, 0))?;
    dropped.map_or(Ok(()), |dropped| rows::asked("snapshot", &db, &dropped))
}

/// Writes the process that runs heirs, where they are still what the head says.
pub(super) fn claim(conn: &Connection, owner: NodeSession, heirs: &[Fence]) -> Done<()> {
    for Fence { db, generation, token } in heirs {
        let fence =
            params![&db.0[..], rows::to_sql(generation.0)?, &token.0[..], &owner.0[..], NOBODY];
        execute(conn, sql::CLAIM, fence)?;
    }
    Ok(())
}

/// What a step with these pages writes, roughly.
pub(super) fn bytes_of(pages: &[(Pgno, PageRecord)]) -> u64 {
    let row = |(_, page): &(Pgno, PageRecord)| page.bytes.len() + 128;
    crate::store::limits::len(pages.iter().map(row).sum::<usize>() + 512)
}

/// Writes page rows of one commit, all with the same stage.
pub(super) fn insert_pages(
    conn: &Connection,
    db: DbId,
    txid: Txid,
    stage: &[u8],
    pages: &[(Pgno, PageRecord)],
) -> Done<()> {
    let txid = rows::to_sql(txid.0)?;
    let mut insert = conn.prepare_cached(sql::PAGE_INSERT)?;
    for (pgno, page) in pages {
        insert.execute(params![&db.0[..], pgno.0, txid, stage, &page.sum[..], &page.bytes[..]])?;
    }
    Ok(())
}

/// Moves the head by one commit. Returns the time that it is labelled with.
pub(super) fn commit(conn: &Connection, step: &PackedCommit, now_ms: u64) -> Done<u64> {
    let db = &step.fence.db.0[..];
    let generation = rows::to_sql(step.fence.generation.0)?;
    let txid = rows::to_sql(step.txid.0)?;
    let owner = compared(conn, Variant::CommitFence, step.fence)?;
    let run = match &step.staged {
        Some(named) => staged::take(conn, &step.fence, step.base, named, &step.pages, step.run)?,
        None => step.run,
    };
    let fence = params![
        db,
        rows::to_sql(owner.generation.0)?,
        &owner.token.0[..],
        rows::to_sql(step.base.0)?,
        step.page_count.0,
        &step.chain[..],
        rows::to_sql(now_ms)?,
        if broken::is_off(Variant::NoHoles) {
            0
        } else {
            staged::old_count_min(run, step.page_count)
        },
        &step.owner.0[..],
    ];
    let moved = |row: &Row<'_>| {
        let found = (rows::db(row, 1)?, rows::txid(row, 2)?);
        rows::asked("head", &(step.fence.db, step.txid), &found)?;
        rows::number(row, 0)
    };
    let time_ms = one(conn, sql::COMMIT, fence, moved)?
        .ok_or_else(|| refusal(conn, &step.fence, step.base, "a commit that leaves holes"))?;
    let row = params![
        db,
        txid,
        generation,
        step.page_count.0,
        &step.content[..],
        &step.chain[..],
        step.staged.as_ref().map_or(UNSTAGED, |staged| &staged.stage.0[..]),
        rows::to_sql(time_ms)?,
    ];
    execute(conn, sql::COMMIT_INSERT, row)?;
    insert_pages(conn, step.fence.db, step.txid, UNSTAGED, &step.pages)?;
    due::told(conn, step.fence.db, step.due)?;
    Ok(time_ms)
}

pub(super) fn destroy(conn: &Connection, actor: &ActorId, fence: &Fence) -> Done<Destroyed> {
    let db = &fence.db.0[..];
    let hold = params![db, rows::to_sql(fence.generation.0)?, &fence.token.0[..]];
    if execute(conn, sql::HOLD, hold)? == 0 {
        return Err(refusal(conn, fence, Txid(0), "destroy"));
    }
    let name = params![actor.kind(), actor.key(), db];
    match one(conn, sql::ACTOR_WANTED, name, |row| rows::wanted(row, 0))? {
        Some(Wanted::Destroying) => {}
        Some(Wanted::Present) => {
            return Err(StoreError::Unavailable(format!("{actor} is not being destroyed")));
        }
        None => return Err(StoreError::DatabaseMissing(fence.db)),
    }
    retention::check_forks(conn, fence.db)?;
    let mut rows = 0;
    for delete in sql::DESTROY_ROWS {
        let left = u64::from(DESTROY_ROWS_MAX) - rows;
        rows += crate::store::limits::len(execute(conn, delete, params![db, rows::to_sql(left)?])?);
        if rows >= u64::from(DESTROY_ROWS_MAX) {
            return Ok(Destroyed::More { rows });
        }
    }
    execute(conn, sql::ACTOR_DELETE, name)?;
    execute(conn, sql::HEAD_DELETE, [db])?;
    Ok(Destroyed::Gone)
}

pub(super) fn put_kind(
    conn: &Connection,
    kind: &str,
    component: &[u8],
    manifest: &str,
) -> Done<KindRow> {
    one(conn, sql::KIND_PUT, params![kind, component, manifest], |row| rows::kind_of(row, kind))?
        .ok_or_else(|| StoreError::Corrupt(format!("kind {kind} was not written")))
}

/// A step of one statement.
pub(super) fn statement(conn: &Connection, sql: &str, params: impl Params) -> Done<()> {
    execute(conn, sql, params).map(drop)
}
