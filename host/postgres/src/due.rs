//! Due work: the look for it over all primaries, and the step that rewrites a due time.

use std::collections::HashSet;

use futures_util::future::join_all;
use stockade_depot::store::rows::StoredRow as _;
use stockade_depot::store::{DueActor, DueLook, DuePage};
use stockade_depot::{DbId, Fence, StoreError, Txid};

use crate::connection::params;
use crate::failure::Stop;
use crate::link::{Transaction, in_transaction};
use crate::primary::Primary;
use crate::refusal::refusal_in;
use crate::rows::{self, Sealed};
use crate::sql::due as sql;
use crate::sql::ownership::HOLD_AT;
use crate::store::PgStores;

/// What one primary has found.
#[derive(Default)]
struct Found {
    now: i64,
    /// In order, whether the actor has moved or not, so that the limit counts both.
    rows: Vec<DueActor>,
    /// Those that have moved to another primary, with their former due times.
    moved: HashSet<(DbId, i64)>,
}

impl PgStores {
    /// Actors of all primaries that are due. A primary that does not answer is left out, unless none
    /// does.
    pub(crate) async fn due_all(&self, look: &DueLook) -> Result<DuePage, StoreError> {
        let asked = self.primaries.iter().map(|primary| primary.find_due(look));
        let (mut found, mut failed) = (Vec::new(), None);
        for (primary, answer) in self.primaries.iter().zip(join_all(asked).await) {
            match answer {
                Ok(page) => found.push(page),
                Err(error) => {
                    tracing::debug!(primary = primary.name, %error, "no look for due work");
                    failed = Some(error);
                }
            }
        }
        let Some(now) = found.iter().map(|page| page.now).min() else {
            let none = || StoreError::Unavailable("the store has no primary".into());
            return Err(failed.unwrap_or_else(none));
        };
        let stale = stale(&found);
        let parts = found.into_iter().map(|page| page.rows).collect();
        let mut page = DuePage::merged(parts, look.rows_max(), now);
        page.rows.retain(|row| !stale.contains(&(row.db, row.at)));
        page.rows.dedup();
        Ok(page)
    }
}

/// What only a primary says that the actor has left.
fn stale(found: &[Found]) -> HashSet<(DbId, i64)> {
    let mut stale: HashSet<(DbId, i64)> =
        found.iter().flat_map(|page| &page.moved).copied().collect();
    for page in found {
        for key in page.rows.iter().map(|row| (row.db, row.at)) {
            if !page.moved.contains(&key) {
                stale.remove(&key);
            }
        }
    }
    stale
}

impl Primary {
    /// The next actors that are due in those of the shards that are here.
    async fn find_due(&self, look: &DueLook) -> Result<Found, StoreError> {
        let shards: Vec<i64> = look.shards.iter().map(|shard| i64::from(shard.0)).collect();
        // No kind has an empty name.
        let (at, kind, key) = match &look.after {
            Some((at, actor)) => (*at, actor.kind(), actor.key()),
            None => (i64::MIN, "", ""),
        };
        let most = rows::limit(look.rows_max());
        let asked = params![shards, look.until, at, kind, key, most];
        let mut found = Found::default();
        for row in self.link.read(sql::DUE, asked).await? {
            found.now = row.integer(0)?;
            if rows::is_null(&row, 1)? {
                continue;
            }
            let due = rows::due(&row, 1)?;
            if Sealed::of(&row, 5)? == Sealed::Moved {
                found.moved.insert((due.db, due.at));
            }
            found.rows.push(due);
        }
        Ok(found)
    }

    pub(crate) async fn settle_due_of(
        &self,
        fence: Fence,
        at: Txid,
        due: Option<i64>,
    ) -> Result<(), StoreError> {
        in_transaction!(self.link, tx => settle(&tx, &fence, at, due))
    }
}

/// Behind a lock of the head, which a commit of the same generation waits for.
async fn settle(tx: &Transaction, fence: &Fence, at: Txid, due: Option<i64>) -> Result<(), Stop> {
    let (db, generation) = (&fence.db.0[..], rows::to_sql(fence.generation.0)?);
    let hold = params![db, generation, &fence.token.0[..], rows::to_sql(at.0)?];
    if tx.row(HOLD_AT, hold).await?.is_none() {
        return Err(refusal_in(tx, fence, at, "a due time").await);
    }
    match tx.change(sql::DUE_SET, params![db, due]).await? {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!("database {} belongs to no actor", fence.db)).into()),
    }
}
