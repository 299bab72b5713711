//! Lists over several primaries.
//!
//! ```text
//! each primary    the next actors of the shards that have not gone, and all rows of shards: one snapshot
//! each shard      from the primary that says here or leaving; if the shard has gone and is not there
//!                 yet, from the one that it comes to, once it was looked at after that
//! each actor      that has moved before its shard: asked for by its name
//! ```
//! Invariant: of each shard the rows are those of one snapshot in which the primary had all of its
//! actors. A shard that no primary has said to have, since it moved between two looks, is looked at
//! again.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use stockade_depot::store::{ActorState, LIST_ROWS_MAX, Ownership as _};
use stockade_depot::{ActorId, Shard, StoreError};

use crate::limits::LIST_TRIES_MAX;
use crate::place::ShardState;
use crate::rows::{self, ACTOR_COLUMNS, HEAD_COLUMNS, Row};
use crate::store::PgStores;

/// Where the columns of a shard begin: behind the snapshot's generation and the number again.
const SHARD: usize = ACTOR_COLUMNS + HEAD_COLUMNS + 2;

/// An actor as a primary has it.
enum Listed {
    Here(Box<ActorState>),
    /// It has moved, or is not valid yet.
    Away(ActorId),
}

impl Listed {
    fn actor(&self) -> &ActorId {
        match self {
            Self::Here(state) => &state.row.actor,
            Self::Away(actor) => actor,
        }
    }
}

/// What one primary has answered.
struct Page {
    shards: HashMap<Shard, (ShardState, u64)>,
    actors: Vec<(Shard, Listed)>,
    /// The last one, if there may be more behind.
    last: Option<ActorId>,
}

impl Page {
    fn of(rows: &[Row], max: usize) -> Result<Self, StoreError> {
        let (mut shards, mut actors) = (HashMap::new(), Vec::new());
        for row in rows {
            let number = u8::try_from(rows::number(row, SHARD)?);
            let shard = Shard(number.map_err(|_| rows::out_of_range("shard"))?);
            let state = crate::place::state(row, SHARD + 1)?;
            shards.insert(shard, (state, rows::number(row, SHARD + 2)?));
            if rows::is_null(row, 0)? {
                continue;
            }
            let listed = match rows::actor(row) {
                Ok(state) => Listed::Here(Box::new(state)),
                Err(StoreError::Elsewhere { .. }) => Listed::Away(rows::actor_name(row)?),
                Err(error) => return Err(error),
            };
            actors.push((shard, listed));
        }
        let last = actors.iter().map(|(_, listed)| listed.actor()).max().cloned();
        let last = last.filter(|_| actors.len() >= max);
        Ok(Self { shards, actors, last })
    }
}

/// Which page has all actors of a shard. `gone`: versions in which shards were seen to have gone before
/// these pages were asked for.
fn keeper(pages: &[Page], shard: Shard, gone: &HashMap<Shard, u64>) -> Option<usize> {
    let of = |page: &Page| page.shards.get(&shard).copied();
    let here = |page: &Page| matches!(of(page), Some((ShardState::Here | ShardState::Leaving, _)));
    let newest = pages.iter().enumerate().filter(|(_, page)| here(page));
    let newest = newest.max_by_key(|(_, page)| of(page).map(|(_, version)| version));
    newest.map(|(at, _)| at).or_else(|| {
        let version = gone.get(&shard)?;
        pages.iter().position(|page| of(page) == Some((ShardState::Coming, *version)))
    })
}

/// The newest versions in which shards are gone.
fn gone(pages: &[Page]) -> HashMap<Shard, u64> {
    let mut gone = HashMap::new();
    for (shard, (state, version)) in pages.iter().flat_map(|page| &page.shards) {
        if *state == ShardState::Gone {
            let newest = gone.entry(*shard).or_insert(*version);
            *newest = (*newest).max(*version);
        }
    }
    gone
}

impl PgStores {
    /// Actors of all primaries, in order.
    pub(crate) async fn list_all(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        let max = max.min(LIST_ROWS_MAX);
        if let [alone] = &self.primaries[..] {
            return alone.list_actors(kind, after, max).await;
        }
        let mut after = after.cloned();
        loop {
            let (listed, last) = self.next_listed(kind, after.as_ref(), max).await?;
            let mut found = Vec::with_capacity(listed.len());
            for listed in listed {
                match listed {
                    Listed::Here(state) => found.push(*state),
                    // It may have been destroyed where it is.
                    Listed::Away(actor) => found.extend(self.actor(&actor).await?),
                }
            }
            if !found.is_empty() || last.is_none() {
                return Ok(found);
            }
            after = last;
        }
    }

    /// The next actors, and the last one that was looked at, if there may be more behind.
    async fn next_listed(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<(Vec<Listed>, Option<ActorId>), StoreError> {
        let mut gone_before = HashMap::new();
        for _ in 0..LIST_TRIES_MAX {
            let asked =
                self.primaries.iter().map(|primary| primary.list_by_shard(kind, after, max));
            let answers = try_join_all(asked).await?;
            if answers.iter().all(Vec::is_empty) {
                return Ok((Vec::new(), None));
            }
            let pages = answers.iter().map(|rows| Page::of(rows, max));
            let pages = pages.collect::<Result<Vec<_>, _>>()?;
            let keepers = Shard::all(self.shards).map(|shard| keeper(&pages, shard, &gone_before));
            if let Some(keepers) = keepers.collect::<Option<Vec<_>>>() {
                return Ok(merged(pages, &keepers, max));
            }
            gone_before = gone(&pages);
        }
        Err(StoreError::Unavailable("shards moved while actors were listed".into()))
    }

    /// Actors of all primaries that are being destroyed.
    pub(crate) async fn list_all_destroying(
        &self,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        let asked = self.primaries.iter().map(|primary| primary.list_destroying(max));
        let mut all = try_join_all(asked).await?.concat();
        all.sort_by(|a, b| a.row.actor.cmp(&b.row.actor));
        all.dedup_by(|a, b| a.row.actor == b.row.actor);
        all.truncate(max);
        Ok(all)
    }
}

/// The next actors of pages, up to where the first page ends that is full.
fn merged(pages: Vec<Page>, keepers: &[usize], max: usize) -> (Vec<Listed>, Option<ActorId>) {
    let last = pages.iter().filter_map(|page| page.last.clone()).min();
    let mut all = Vec::new();
    for (at, page) in pages.into_iter().enumerate() {
        all.extend(page.actors.into_iter().filter_map(|(shard, listed)| {
            let is_kept = keepers.get(usize::from(shard.0)) == Some(&at);
            let is_reached = last.as_ref().is_none_or(|last| listed.actor() <= last);
            (is_kept && is_reached).then_some(listed)
        }));
    }
    all.sort_by(|a, b| a.actor().cmp(b.actor()));
    let is_cut = all.len() > max;
    all.truncate(max);
    let last = if is_cut { all.last().map(|listed| listed.actor().clone()) } else { last };
    (all, last)
}
