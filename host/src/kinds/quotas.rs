//! Quotas of a kind: how many actors it may have, what they may store together, and how fast they
//! may be created.
//!
//! ```text
//! first need   counted in the store, while the call waits            exact
//! from then on what this process creates, destroys, writes           exact, in memory
//! upkeep       counted again                                         what others did is added
//! ```
//! A kind without quotas is not counted and costs three comparisons.
//!
//! Within one process no two creations exceed a quota together. A quota may be exceeded by what
//! other processes on the same store create and write between two counts (a round of upkeep, and
//! twenty times as long as the count took), and by the transactions that are being committed at the
//! moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::tally::{Tally, change};
use stockade_depot::{PageShare, Shard, Store, StoreError};
use tokio::time::Instant;

use crate::error::HostError;
use crate::limits::{COUNT_REST, COUNTS_MAX, Limits};

/// How long a first count stays valid: callers that waited for it use its result.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The quotas of all kinds that have any.
#[derive(Default)]
pub struct Quotas {
    kinds: Mutex<HashMap<String, Arc<Quota>>>,
}

/// What the actors of one kind have in use together.
#[derive(Default)]
struct Quota {
    actors: Tally,
    pages: Arc<Tally>,
    /// Whether the kind was ever counted.
    counted: AtomicBool,
    /// Until when the count stays valid. One caller counts; the others wait only for the first
    /// count.
    rests: tokio::sync::Mutex<Option<Instant>>,
    rate: Mutex<Option<Rate>>,
}

/// What the actors of a kind have in use together, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Number of actors.
    pub actors: u64,
    /// Bytes of their databases.
    pub stored_bytes: u64,
}

/// A place for an actor that is about to be created, returned unless the actor was created.
pub struct Admission(Option<Arc<Quota>>);

impl Admission {
    /// The actor was created, with so many pages.
    pub fn keep(mut self, pages: u32) {
        if let Some(quota) = self.0.take() {
            quota.pages.add(change(0, pages.into()));
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(quota) = self.0.take() {
            quota.actors.add(-1);
        }
    }
}

/// The bucket of creations.
struct Rate {
    since: Instant,
    /// In creations; refilled with time, never above the number for one second.
    left: f64,
}

impl Rate {
    /// Takes one creation, or returns how long until there is one.
    fn take(rate: &mut Option<Self>, per_s: u64, now: Instant) -> Result<(), Duration> {
        // Far below what a float counts exactly: see the bounds of manifests.
        let per_s = per_s as f64;
        let last = rate.take().unwrap_or(Self { since: now, left: per_s });
        let passed = now.saturating_duration_since(last.since).as_secs_f64();
        let left = (last.left + passed * per_s).min(per_s);
        let enough = left >= 1.0;
        *rate = Some(Self { since: now, left: if enough { left - 1.0 } else { left } });
        if enough { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - left) / per_s)) }
    }
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE as u64)
}

/// The actors of a kind in a shard, and their pages.
async fn count(store: &dyn Store, kind: &str, shard: Shard) -> Result<(u64, u64), StoreError> {
    let (mut actors, mut pages, mut after) = (0, 0, String::new());
    loop {
        let found = store.count(kind, shard, &after).await?;
        (actors, pages) = (actors + found.actors, pages + found.pages);
        let Some(next) = found.next else { return Ok((actors, pages)) };
        after = next;
        // The store may answer without waiting; other tasks of this thread get a turn.
        tokio::task::yield_now().await;
    }
}

impl Quota {
    /// Counts the actors of a kind, unless they were counted a moment ago.
    async fn count(
        &self,
        store: &dyn Store,
        kind: &str,
        every: Duration,
    ) -> Result<(), StoreError> {
        let mut rests = self.rests.lock().await;
        let begun = Instant::now();
        if rests.is_some_and(|until| begun < until) {
            return Ok(());
        }
        let marks = (self.actors.mark(), self.pages.mark());
        let (mut actors, mut pages) = (0, 0);
        let shards = stream::iter(Shard::all(store.shards()));
        let mut counts = shards.map(|shard| count(store, kind, shard)).buffer_unordered(COUNTS_MAX);
        while let Some(found) = counts.next().await {
            let found = found?;
            (actors, pages) = (actors + found.0, pages + found.1);
        }
        self.actors.set(marks.0, actors);
        self.pages.set(marks.1, pages);
        self.counted.store(true, Ordering::Release);
        let rest = begun.elapsed() * COUNT_REST;
        *rests = Some(Instant::now() + rest.max(every));
        Ok(())
    }

    fn usage(&self) -> Usage {
        Usage { actors: self.actors.value(), stored_bytes: bytes(self.pages.value()) }
    }
}

impl Quotas {
    /// The quota of a kind, counted. `None`: the kind has none.
    async fn of(
        &self,
        store: &dyn Store,
        kind: &str,
        limits: &Limits,
    ) -> Result<Option<Arc<Quota>>, HostError> {
        let Limits { actors_max, stored_bytes_max, creates_per_s, .. } = limits;
        if (*actors_max, *stored_bytes_max, *creates_per_s) == (0, 0, 0) {
            return Ok(None);
        }
        let quota = Arc::clone(self.kinds.lock().entry(kind.to_owned()).or_default());
        let is_counted = quota.counted.load(Ordering::Acquire);
        if (*actors_max, *stored_bytes_max) != (0, 0) && !is_counted {
            // A caller that waited for another's count finds a valid one.
            quota.count(store, kind, FIRST_REST).await?;
        }
        Ok(Some(quota))
    }

    /// Lets an actor be created.
    ///
    /// # Errors
    /// `QuotaReached`, `CreatedTooFast`; those of the store, if the kind had to be counted.
    pub async fn admit(
        &self,
        store: &dyn Store,
        kind: &str,
        limits: &Limits,
    ) -> Result<Admission, HostError> {
        let Some(quota) = self.of(store, kind, limits).await? else { return Ok(Admission(None)) };
        let reached = |what, used, max| {
            let kind = kind.to_owned();
            HostError::QuotaReached { kind, what, used, max }
        };
        let Limits { actors_max, stored_bytes_max, creates_per_s, .. } = *limits;
        let stored = quota.usage().stored_bytes;
        if stored_bytes_max > 0 && stored >= stored_bytes_max {
            return Err(reached("stored_bytes_max", stored, stored_bytes_max));
        }
        // Taken before the comparison: of two creations at the same time one is too many.
        let actors = quota.actors.add(1);
        let admission = Admission(Some(Arc::clone(&quota)));
        if actors_max > 0 && actors > actors_max {
            return Err(reached("actors_max", actors - 1, actors_max));
        }
        if creates_per_s > 0 {
            let taken = Rate::take(&mut quota.rate.lock(), creates_per_s, Instant::now());
            taken.map_err(|wait| HostError::CreatedTooFast {
                kind: kind.to_owned(),
                max: creates_per_s,
                // Rounded up: a caller that comes back then is let in.
                retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) + 1,
            })?;
        }
        Ok(admission)
    }

    /// The share of a database in the quota of its kind. `None`: the kind has no quota.
    ///
    /// # Errors
    /// Those of the store, if the kind had to be counted.
    pub async fn share(
        &self,
        store: &dyn Store,
        kind: &str,
        limits: &Limits,
    ) -> Result<Option<PageShare>, HostError> {
        let pages_max = limits.stored_bytes_max / PAGE_SIZE as u64;
        let quota = self.of(store, kind, limits).await?.filter(|_| limits.stored_bytes_max > 0);
        Ok(quota.map(|quota| PageShare { pages: Arc::clone(&quota.pages), pages_max }))
    }

    /// An actor of a kind was destroyed, with so many pages.
    pub fn destroyed(&self, kind: &str, pages: u32) {
        if let Some(quota) = self.kinds.lock().get(kind) {
            quota.actors.add(-1);
            quota.pages.add(change(pages.into(), 0));
        }
    }

    /// What the actors of a kind have in use together; `None`: the kind is not counted.
    ///
    /// # Errors
    /// Those of the store, if the kind had to be counted.
    pub async fn usage(
        &self,
        store: &dyn Store,
        kind: &str,
        limits: &Limits,
    ) -> Result<Option<Usage>, HostError> {
        let counted = (limits.actors_max, limits.stored_bytes_max) != (0, 0);
        let quota = self.of(store, kind, limits).await?;
        Ok(quota.filter(|_| counted).map(|quota| quota.usage()))
    }

    /// Counts again the kinds whose count is old enough. Called by each round of upkeep.
    pub async fn recount(&self, store: &dyn Store, every: Duration) {
        let kinds: Vec<_> = self
            .kinds
            .lock()
            .iter()
            .map(|(kind, quota)| (kind.clone(), Arc::clone(quota)))
            .collect();
        for (kind, quota) in kinds {
            if quota.counted.load(Ordering::Acquire)
                && let Err(error) = quota.count(store, &kind, every).await
            {
                tracing::debug!(%kind, %error, "actors not counted");
            }
        }
    }

    /// A kind was removed.
    pub fn forget(&self, kind: &str) {
        self.kinds.lock().remove(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_so_many_in_each_second() {
        let (mut rate, begun) = (None, Instant::now());
        let mut take = |ms| Rate::take(&mut rate, 4, begun + Duration::from_millis(ms));
        for _ in 0..4 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Duration::from_millis(250)));
        assert_eq!(take(125), Err(Duration::from_millis(125)));
        assert_eq!(take(250), Ok(()));
        assert_eq!(take(250), Err(Duration::from_millis(250)));
        // Never more than the number for one second, however long no creation came.
        let admitted = (0..100).take_while(|_| take(60_000).is_ok()).count();
        assert_eq!(admitted, 4);
    }
}
