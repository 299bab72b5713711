//! The read steps: each one statement, but for pages that a base holds.
//!
//! Rules of `docs/protocol.md`: D1, D12.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};

use super::rows;
use super::write::{compared, one};
use crate::broken::{self, Variant};
use crate::error::StoreError;
use crate::fence::{Fence, Head, OwnerRow};
use crate::id::{ActorId, DbId, PageCount, Pgno, Txid};
use crate::page;
use crate::store::{ActorState, CommitRow, Counted, PageVersion, limits, sql};

type Read<T> = Result<T, StoreError>;

/// Lengths of the lists that statements are made for; a list is filled up to the next one, so that
/// few statements are prepared.
const LISTS: [usize; 5] = [4, 16, 64, 256, 512];

/// Columns of a fenced read after those of the fence: base (two), page number, version (three),
/// floor.
const BASE: usize = rows::OWNER_COLUMNS;
const PGNO: usize = BASE + 2;
const VERSION: usize = PGNO + 1;
const FLOOR: usize = VERSION + 3;

/// A statement for each length of list.
type Lists = LazyLock<[String; LISTS.len()]>;
static READ_MANY: Lists = LazyLock::new(|| LISTS.map(sql::read_many));
static READ_AT: Lists = LazyLock::new(|| LISTS.map(sql::read_at));
static FENCES: Lists = LazyLock::new(|| LISTS.map(sql::fences));

/// The statement for a list of `len`, and how long its list is.
fn list(statements: &'static Lists, len: usize) -> (&'static str, usize) {
    let at = LISTS.iter().position(|max| *max >= len).unwrap_or(LISTS.len() - 1);
    (&statements[at], LISTS[at])
}

/// All rows of a statement.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut result = Vec::new();
    while let Some(row) = found.next()? {
        result.push(read(row)?);
    }
    Ok(result)
}

/// What a statement found for some pages of one database.
#[derive(Default)]
pub(super) struct Found {
    /// The pages that the database itself has.
    pub(super) pages: HashMap<Pgno, PageVersion>,
    /// Where to ask for the others.
    pub(super) base: Option<(DbId, Txid)>,
    /// Its head's txid.
    pub(super) head_txid: Txid,
}

/// A page and its txid: the columns `txid, sum, bytes` from `at` on. `None`: nulls.
///
/// That the row is the page that was asked for is proved by its checksum, which covers its key.
fn version(row: &Row<'_>, at: usize, db: DbId, pgno: Pgno) -> Read<Option<PageVersion>> {
    if rows::is_null(row, at)? {
        return Ok(None);
    }
    let txid = rows::txid(row, at)?;
    let bytes = page::decode(db, pgno, txid, rows::blob(row, at + 2)?, rows::blob(row, at + 1)?)?;
    Ok(Some(PageVersion { pgno, txid, bytes }))
}

/// A fenced read as it stands, unless a test has switched off that a stage must be named.
fn seen(sql: &str) -> Cow<'_, str> {
    if broken::is_off(Variant::StageId) {
        return Cow::Owned(sql.replace(" AND s.stage = v.stage", ""));
    }
    Cow::Borrowed(sql)
}

/// One page under a fence: the hot path.
pub(super) fn fenced_page(
    conn: &Connection,
    fence: &Fence,
    at: Txid,
    pgno: Pgno,
) -> Read<(Option<PageVersion>, Found)> {
    let fence = &compared(conn, Variant::ReadFence, *fence)?;
    let mut statement = conn.prepare_cached(&seen(sql::READ_ONE))?;
    let mut found = statement.query(params![
        &fence.db.0[..],
        pgno.0,
        rows::to_sql(at.0)?,
        rows::to_sql(fence.generation.0)?,
        &fence.token.0[..],
    ])?;
    let row = found.next()?.ok_or(StoreError::DatabaseMissing(fence.db))?;
    let owner = rows::owner_of(row, fence.db)?;
    owner.check(fence, at).at_or_after()?;
    rows::check_floor(row, FLOOR, fence.db, at)?;
    let page = version(row, VERSION, fence.db, pgno)?;
    let rest = Found {
        pages: HashMap::new(),
        base: if page.is_none() { rows::base(row, BASE)? } else { None },
        head_txid: owner.txid,
    };
    Ok((page, rest))
}

/// Several pages under a fence.
pub(super) fn fenced_pages(
    conn: &Connection,
    fence: &Fence,
    at: Txid,
    pages: &[Pgno],
) -> Read<Found> {
    let fence = &compared(conn, Variant::ReadFence, *fence)?;
    let (sql, len) = list(&READ_MANY, pages.len());
    let (at_sql, generation) = (rows::to_sql(at.0)?, rows::to_sql(fence.generation.0)?);
    let (db, token) = (&fence.db.0[..], &fence.token.0[..]);
    let first: [&dyn ToSql; 4] = [&db, &at_sql, &generation, &token];
    let mut statement = conn.prepare_cached(&seen(sql))?;
    bind(&mut statement, &first, pages, len)?;
    let mut result = Found::default();
    let mut rows = statement.raw_query();
    let mut any = false;
    while let Some(row) = rows.next()? {
        if !any {
            let owner = rows::owner_of(row, fence.db)?;
            owner.check(fence, at).at_or_after()?;
            rows::check_floor(row, FLOOR, fence.db, at)?;
            result.head_txid = owner.txid;
            result.base = rows::base(row, BASE)?;
            any = true;
        }
        let pgno = rows::pgno(row, PGNO)?;
        if let Some(page) = version(row, VERSION, fence.db, pgno)? {
            result.pages.insert(pgno, page);
        }
    }
    if any { Ok(result) } else { Err(StoreError::DatabaseMissing(fence.db)) }
}

/// Several pages of any database.
pub(super) fn pages_at(conn: &Connection, db: DbId, at: Txid, pages: &[Pgno]) -> Read<Found> {
    let (sql, len) = list(&READ_AT, pages.len());
    let (db_sql, at_sql) = (&db.0[..], rows::to_sql(at.0)?);
    let first: [&dyn ToSql; 2] = [&db_sql, &at_sql];
    let mut statement = conn.prepare_cached(sql)?;
    bind(&mut statement, &first, pages, len)?;
    let mut result = Found::default();
    let mut rows = statement.raw_query();
    let mut any = false;
    while let Some(row) = rows.next()? {
        if !any {
            rows::check_floor(row, 6, db, at)?;
            result.base = rows::base(row, 0)?;
            any = true;
        }
        let pgno = rows::pgno(row, 2)?;
        if let Some(page) = version(row, 3, db, pgno)? {
            result.pages.insert(pgno, page);
        }
    }
    if any { Ok(result) } else { Err(StoreError::DatabaseMissing(db)) }
}

/// Binds what comes first, then page numbers filled up with zeros to `len`.
fn bind(
    statement: &mut rusqlite::Statement<'_>,
    first: &[&dyn ToSql],
    pages: &[Pgno],
    len: usize,
) -> Read<()> {
    let fill = std::iter::repeat_n(0, len.saturating_sub(pages.len()));
    let mut index = 0;
    for value in first {
        index += 1;
        statement.raw_bind_parameter(index, value)?;
    }
    for pgno in pages.iter().map(|pgno| pgno.0).chain(fill) {
        index += 1;
        statement.raw_bind_parameter(index, pgno)?;
    }
    Ok(())
}

/// The page, or where to ask next.
type PageOrBase = (Option<PageVersion>, Option<(DbId, Txid)>);

/// One page of a base.
pub(super) fn base_page(conn: &Connection, db: DbId, at: Txid, pgno: Pgno) -> Read<PageOrBase> {
    let params = params![&db.0[..], pgno.0, rows::to_sql(at.0)?];
    let page = |row: &Row<'_>| {
        rows::check_floor(row, 5, db, at)?;
        Ok((version(row, 2, db, pgno)?, rows::base(row, 0)?))
    };
    one(conn, sql::READ_BASE, params, page)?.ok_or(StoreError::DatabaseMissing(db))
}

/// How many pages a database had as of `at`.
pub(super) fn page_count_at(conn: &Connection, db: DbId, at: Txid) -> Read<PageCount> {
    let params = params![&db.0[..], rows::to_sql(at.0)?];
    let count = one(conn, sql::PAGE_COUNT_AT, params, |row| {
        rows::check_floor(row, 2, db, at)?;
        if at == Txid(0) {
            return Ok(PageCount(0));
        }
        if rows::is_null(row, 1)? {
            let head = rows::txid(row, 0)?;
            return Err(StoreError::Corrupt(format!(
                "{db} has no commit row {at}; its head is at {head}"
            )));
        }
        rows::asked("commit", &(db, at), &(rows::db(row, 3)?, rows::txid(row, 4)?))?;
        rows::page_count(row, 1)
    })?;
    count.ok_or(StoreError::DatabaseMissing(db))
}

pub(super) fn actor(conn: &Connection, actor: &ActorId) -> Read<Option<ActorState>> {
    one(conn, sql::ACTOR, [actor.kind(), actor.key()], |row| rows::actor_of(row, actor))
}

/// What each of `fences` is worth, in their order.
pub(super) fn confirm(conn: &Connection, fences: &[Fence]) -> Read<Vec<Read<()>>> {
    let mut result = Vec::with_capacity(fences.len());
    for part in fences.chunks(LISTS[LISTS.len() - 1]) {
        let (sql, len) = list(&FENCES, part.len());
        let known = part.iter().map(|fence| Value::Blob(fence.db.0.to_vec()));
        let fill = std::iter::repeat_n(Value::Null, len - part.len());
        let owners: HashMap<DbId, OwnerRow> =
            all(conn, sql, params_from_iter(known.chain(fill)), |row| rows::owner(row))?
                .into_iter()
                .map(|owner| (owner.fence.db, owner))
                .collect();
        result.extend(part.iter().map(|fence| {
            let owner = owners.get(&fence.db).ok_or(StoreError::DatabaseMissing(fence.db))?;
            if broken::is_off(Variant::ConfirmFence) {
                return Ok(());
            }
            Ok(owner.check(fence, Txid(0)).at_or_after()?)
        }));
    }
    Ok(result)
}

pub(super) fn verdict(
    conn: &Connection,
    db: DbId,
    txid: Txid,
) -> Read<(Option<Head>, Option<CommitRow>)> {
    let params = params![&db.0[..], rows::to_sql(txid.0)?];
    let found = one(conn, sql::VERDICT, params, |row| rows::verdict(row, db, txid))?;
    Ok(found.map_or((None, None), |(head, commit)| (Some(head), commit)))
}

pub(super) fn commits(
    conn: &Connection,
    db: DbId,
    after: Txid,
    max: usize,
) -> Read<Vec<CommitRow>> {
    let params = params![&db.0[..], rows::to_sql(after.0)?, rows::limit(max)];
    let found = all(conn, sql::COMMITS, params, |row| {
        rows::check_floor(row, 0, db, Txid(after.0.saturating_add(1)))?;
        if rows::is_null(row, 1)? { Ok(None) } else { rows::commit(row, 1, db).map(Some) }
    })?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) fn commit_pages(
    conn: &Connection,
    db: DbId,
    txid: Txid,
    after: Pgno,
    max: usize,
) -> Read<Vec<PageVersion>> {
    let params = params![&db.0[..], rows::to_sql(txid.0)?, after.0, rows::limit(max)];
    let found = all(conn, sql::COMMIT_PAGES, params, |row| {
        rows::check_floor(row, 0, db, txid)?;
        if rows::is_null(row, 1)? {
            return Ok(None);
        }
        let pgno = rows::pgno(row, 1)?;
        let bytes = page::decode(db, pgno, txid, rows::blob(row, 4)?, rows::blob(row, 3)?)?;
        Ok(Some(PageVersion { pgno, txid, bytes }))
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Actors of one shard after `after`, in (kind, key) order.
pub(super) fn actors(
    conn: &Connection,
    kind: Option<&str>,
    after: Option<&ActorId>,
    max: usize,
) -> Read<Vec<ActorState>> {
    let max = rows::limit(max);
    let (after_kind, after_key) = after.map_or(("", ""), |actor| (actor.kind(), actor.key()));
    let Some(kind) = kind else {
        return all(conn, sql::ACTORS, params![after_kind, after_key, max], rows::actor);
    };
    let after_key = match after_kind.cmp(kind) {
        std::cmp::Ordering::Less => "",
        std::cmp::Ordering::Equal => after_key,
        std::cmp::Ordering::Greater => return Ok(Vec::new()),
    };
    all(conn, sql::ACTORS_OF_KIND, params![kind, after_key, max], rows::actor)
}

/// Actors of a kind in one shard with a key after `after`.
pub(super) fn count(conn: &Connection, kind: &str, after: &str) -> Read<Counted> {
    let max = limits::COUNT_ROWS_MAX;
    let found = one(conn, sql::COUNT, params![kind, after, rows::limit(max)], |row| {
        let (actors, pages) = (rows::number(row, 0)?, rows::number(row, 1)?);
        let last: Option<String> = row.get(2)?;
        Ok(Counted { actors, pages, next: last.filter(|_| actors >= limits::len(max)) })
    })?;
    Ok(found.unwrap_or_default())
}

pub(super) fn rows_of(conn: &Connection, db: DbId) -> Read<u64> {
    Ok(one(conn, sql::ROWS_OF, [&db.0[..]], |row| rows::number(row, 0))?.unwrap_or(0))
}
