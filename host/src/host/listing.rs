//! Lists actors: by the beginning of their keys, by what they do, sorted; and counts them.
//!
//! ```text
//! in order   1,000 rows of the store at a time ─► those wanted, until the page is full or 10,000
//!            were looked at; the next page begins after the last one that was looked at
//! sorted     all of them, 200,000 at most ─► the first ones by what they are sorted by
//! ```
//! What an actor does is known by this process only, so rows are looked at here; each answer looks at a
//! bounded number of them.

use std::cmp::Reverse;

use stockade_depot::ActorId;
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::store::{ActorState, LIST_ROWS_MAX};

use super::Host;
use super::info::{ActorInfo, ActorStatus};
use crate::error::HostError;
use crate::limits::{LIST_LOOKS_MAX, SORT_LOOKS_MAX};

/// Which actors are wanted.
#[derive(Clone, Debug, Default)]
pub struct ActorQuery {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only keys that begin so; needs a kind.
    pub prefix: Option<String>,
    /// Only those that do this.
    pub status: Option<ActorStatus>,
}

/// What a list of actors is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorOrder {
    /// Bytes of the database, largest first.
    Size,
    /// Crashes in a row, most first.
    Restarts,
    /// Commits, most first.
    Txid,
}

/// Some of the actors that are wanted.
#[derive(Debug)]
pub struct ActorPage {
    /// They.
    pub actors: Vec<ActorInfo>,
    /// Where the next page begins, though this one may not be full; `None`: there are no more.
    pub next: Option<ActorId>,
}

/// The first ones of the actors that are wanted, sorted.
#[derive(Debug)]
pub struct SortedActors {
    /// They.
    pub actors: Vec<ActorInfo>,
    /// How many are wanted.
    pub tally: ActorTally,
}

/// How many actors are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActorTally {
    /// So many.
    pub actors: u64,
    /// Bytes of their databases.
    pub bytes: u64,
    /// Whether all were looked at; if not there may be more.
    pub complete: bool,
}

impl Host {
    /// Actors in (kind, key) order after `after`, at most `max`.
    ///
    /// # Errors
    /// `InvalidActor` for a prefix that no key can begin with; those of the store.
    pub async fn list(
        &self,
        query: &ActorQuery,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<ActorPage, HostError> {
        let mut looking = Looking::new(self, query, after)?;
        let mut actors = Vec::new();
        let mut looked = 0;
        while actors.len() < max && looked < LIST_LOOKS_MAX {
            let Some(state) = looking.next(max).await? else {
                return Ok(ActorPage { actors, next: None });
            };
            looked += 1;
            actors.extend(looking.wanted(state).await);
        }
        Ok(ActorPage { actors, next: looking.after })
    }

    /// The first `max` actors by what they are sorted by.
    ///
    /// # Errors
    /// As [`Host::list`].
    pub async fn sorted(
        &self,
        query: &ActorQuery,
        order: ActorOrder,
        max: usize,
    ) -> Result<SortedActors, HostError> {
        let mut first: Vec<ActorInfo> = Vec::new();
        let by = |info: &ActorInfo| {
            let number = match order {
                ActorOrder::Size => info.bytes,
                ActorOrder::Restarts => info.restarts.into(),
                ActorOrder::Txid => info.txid.0,
            };
            (Reverse(number), info.actor.clone())
        };
        let keep = |first: &mut Vec<ActorInfo>| {
            first.sort_by_cached_key(by);
            first.truncate(max);
        };
        let tally = self
            .look_at_all(query, |info| {
                first.push(info);
                if first.len() >= max.saturating_add(LIST_ROWS_MAX) {
                    keep(&mut first);
                }
            })
            .await?;
        keep(&mut first);
        Ok(SortedActors { actors: first, tally })
    }

    /// How many actors there are, and what their databases take.
    ///
    /// # Errors
    /// As [`Host::list`].
    pub async fn tally(&self, query: &ActorQuery) -> Result<ActorTally, HostError> {
        self.look_at_all(query, drop).await
    }

    async fn look_at_all(
        &self,
        query: &ActorQuery,
        mut each: impl FnMut(ActorInfo),
    ) -> Result<ActorTally, HostError> {
        let mut looking = Looking::new(self, query, None)?;
        let mut tally = ActorTally { complete: true, ..ActorTally::default() };
        let mut looked = 0;
        while let Some(state) = looking.next(LIST_ROWS_MAX).await? {
            if looked == SORT_LOOKS_MAX {
                tally.complete = false;
                break;
            }
            looked += 1;
            let bytes = u64::from(state.head.page_count.0) * PAGE_SIZE as u64;
            if let Some(info) = looking.wanted(state).await {
                tally.actors += 1;
                tally.bytes += bytes;
                each(info);
            }
        }
        Ok(tally)
    }
}

/// A walk over the directory's rows that may be wanted.
struct Looking<'a> {
    host: &'a Host,
    query: &'a ActorQuery,
    /// Rows that were read and not looked at, the last one first.
    read: Vec<ActorState>,
    /// The last one that was looked at.
    after: Option<ActorId>,
    /// A key that is the prefix itself does not come after it.
    whole_prefix: bool,
}

impl<'a> Looking<'a> {
    fn new(
        host: &'a Host,
        query: &'a ActorQuery,
        after: Option<&ActorId>,
    ) -> Result<Self, HostError> {
        let mut looking =
            Self { host, query, read: Vec::new(), after: after.cloned(), whole_prefix: false };
        if let (Some(kind), Some(prefix)) = (&query.kind, &query.prefix) {
            let first = ActorId::new(kind, prefix)?;
            if looking.after.as_ref().is_none_or(|after| *after < first) {
                (looking.after, looking.whole_prefix) = (Some(first), true);
            }
        }
        Ok(looking)
    }

    /// The next row; `None`: there are no more.
    async fn next(&mut self, about: usize) -> Result<Option<ActorState>, HostError> {
        let store = &self.host.inner.store;
        if std::mem::take(&mut self.whole_prefix)
            && let Some(first) = &self.after
            && let Some(state) = store.actor(first).await?
        {
            return Ok(Some(state));
        }
        if self.read.is_empty() {
            let (kind, max) = (self.query.kind.as_deref(), about.clamp(1, LIST_ROWS_MAX));
            let max = if self.query.status.is_some() { LIST_ROWS_MAX } else { max };
            self.read = store.actors(kind, self.after.as_ref(), max).await?;
            self.read.reverse();
        }
        let Some(state) = self.read.pop() else { return Ok(None) };
        let begins = |prefix: &String| state.row.actor.key().starts_with(prefix.as_str());
        if !self.query.prefix.as_ref().is_none_or(begins) {
            return Ok(None);
        }
        self.after = Some(state.row.actor.clone());
        Ok(Some(state))
    }

    /// The row of an actor, if it is wanted.
    async fn wanted(&self, state: ActorState) -> Option<ActorInfo> {
        let info = self.host.info_of(state).await;
        self.query.status.is_none_or(|status| status == info.status).then_some(info)
    }
}
