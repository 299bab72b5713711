//! The directory: what exists, how it is listed, and how it goes.

use std::cmp::Ordering;

use stockade_depot::store::limits::{self, DESTROY_ROWS_MAX};
use stockade_depot::store::rows::StoredRow as _;
use stockade_depot::store::{ActorState, Counted, Destroyed, LIST_ROWS_MAX};
use stockade_depot::{ActorId, DbId, Fence, Shard, StoreError, Txid};

use crate::connection::params;
use crate::failure::Stop;
use crate::link::{Transaction, in_transaction};
use crate::place::{self, Led};
use crate::primary::Primary;
use crate::refusal::refusal_in;
use crate::retention::check_forks;
use crate::rows::{self, Row};
use crate::sql::directory as sql;
use crate::sql::ownership::HOLD;

impl Primary {
    /// Rows of the next actors, and of all shards, in one snapshot: see [`sql::SHARD_ACTORS`].
    pub(crate) async fn list_by_shard(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.next_rows([sql::SHARD_ACTORS, sql::SHARD_ACTORS_OF_KIND], kind, after, max).await
    }

    pub(crate) async fn list_actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        let max = max.min(LIST_ROWS_MAX);
        let found = self.next_rows([sql::ACTORS, sql::ACTORS_OF_KIND], kind, after, max).await?;
        found.iter().map(rows::actor).collect()
    }

    /// The next rows of a statement for all kinds, or of one for a kind.
    async fn next_rows(
        &self,
        [all, of_kind]: [&'static str; 2],
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let most = rows::limit(max);
        let Some((after_kind, after_key)) = after_of(kind, after) else { return Ok(Vec::new()) };
        match kind {
            None => self.link.read(all, params![after_kind, after_key, most]).await,
            Some(kind) => self.link.read(of_kind, params![kind, after_key, most]).await,
        }
    }

    pub(crate) async fn count_actors(
        &self,
        kind: &str,
        shard: Shard,
        after: &str,
        led: Led,
    ) -> Result<Counted, StoreError> {
        let max = limits::COUNT_ROWS_MAX;
        let asked = params![kind, i64::from(shard.0), after, rows::limit(max)];
        let Some(row) = self.link.read_row(sql::COUNT, asked).await? else {
            return Ok(Counted::default());
        };
        let (actors, pages) = (rows::number(&row, 0)?, rows::number(&row, 1)?);
        let last = rows::text(&row, 2)?;
        let is_known = !rows::is_null(&row, 3)?;
        if !is_known || !place::state(&row, 3)?.is_here(rows::number(&row, 4)?, led) {
            return Err(StoreError::Elsewhere { shard, primary: None });
        }
        Ok(Counted { actors, pages, next: last.filter(|_| actors >= limits::len(max)) })
    }

    pub(crate) async fn list_destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        let most = rows::limit(max.min(LIST_ROWS_MAX));
        let found = self.link.read(sql::DESTROYING, params![most]).await?;
        found.iter().map(rows::actor).collect()
    }

    pub(crate) async fn destroy_actor(
        &self,
        actor: &ActorId,
        fence: Fence,
    ) -> Result<Destroyed, StoreError> {
        let destroyed = in_transaction!(self.link, tx => destroy_in(&tx, actor, &fence));
        if destroyed == Ok(Destroyed::Gone) {
            self.ages.forget(fence.db);
        }
        destroyed
    }

    pub(crate) async fn count_rows(&self, db: DbId, led: Led) -> Result<u64, StoreError> {
        let asked = params![&db.0[..], i64::from(db.shard().0)];
        let row = self.link.look_row(sql::ROWS_OF, asked).await?;
        let row = row.ok_or_else(|| place::no_row(db.shard()))?;
        let rows = rows::number(&row, 0)?;
        let has_all = place::state(&row, 1)?.has_all(rows::number(&row, 2)?, led);
        let is_away = if rows::is_null(&row, 3)? { !has_all } else { row.sealed(3, db).is_err() };
        if is_away { Err(rows::away(db)) } else { Ok(rows) }
    }
}

/// Kind and key that a list continues after. `None`: no actor of the kind comes after them.
fn after_of<'a>(kind: Option<&str>, after: Option<&'a ActorId>) -> Option<(&'a str, &'a str)> {
    let (after_kind, after_key) = after.map_or(("", ""), |actor| (actor.kind(), actor.key()));
    match kind.map(|kind| after_kind.cmp(kind)) {
        None | Some(Ordering::Equal) => Some((after_kind, after_key)),
        Some(Ordering::Less) => Some((after_kind, "")),
        Some(Ordering::Greater) => None,
    }
}

async fn destroy_in(tx: &Transaction, actor: &ActorId, fence: &Fence) -> Result<Destroyed, Stop> {
    let (db, generation) = (&fence.db.0[..], rows::to_sql(fence.generation.0)?);
    if tx.row(HOLD, params![db, generation, &fence.token.0[..]]).await?.is_none() {
        return Err(refusal_in(tx, fence, Txid(0), "destroy").await);
    }
    let name = params![actor.kind(), actor.key(), db];
    match tx.row(sql::ACTOR_WANTED, name).await? {
        Some(row) if rows::flag(&row, 0)? => {}
        Some(_) => {
            let what = format!("{actor} is not being destroyed");
            return Err(StoreError::Unavailable(what).into());
        }
        None => return Err(StoreError::DatabaseMissing(fence.db).into()),
    }
    check_forks(tx, fence.db).await?;
    let rows = delete_rows(tx, fence.db).await?;
    if rows >= u64::from(DESTROY_ROWS_MAX) {
        return Ok(Destroyed::More { rows });
    }
    tx.change(sql::ACTOR_DELETE, name).await?;
    tx.change(sql::HEAD_DELETE, params![db]).await?;
    Ok(Destroyed::Gone)
}

/// Deletes at most [`DESTROY_ROWS_MAX`] rows of a database beside its head and actor, behind a lock of
/// the head. How many.
pub(crate) async fn delete_rows(tx: &Transaction, db: DbId) -> Result<u64, Stop> {
    let mut rows = 0;
    for delete in sql::DESTROY_ROWS {
        let left = rows::to_sql(u64::from(DESTROY_ROWS_MAX) - rows)?;
        rows += tx.change(delete, params![&db.0[..], left]).await?;
        if rows >= u64::from(DESTROY_ROWS_MAX) {
            break;
        }
    }
    Ok(rows)
}
