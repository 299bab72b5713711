//! Due work: when an actor has something to do, so that a process wakes it.
//!
//! An actor has one due time: that of the earliest row of due work in its own database. The
//! directory keeps it beside the actor's name, so that one look finds the actors that are due.
//!
//! ```text
//! commit(pages, due) ──> head and due time, in one step      due(until, after) ──> actors, by time
//! settle_due(fence, txid, due) ──> the due time alone, if the head is still at that commit
//! ```
//! Invariant: the due time is the one of the head's commit. Each step that writes it carries the
//! fence and the txid, so neither a former owner nor a late copy of a step changes it.
//!
//! Rule of `docs/protocol.md`: D14.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::fence::Fence;
use crate::id::{ActorId, DbId, Shard, Txid};

/// A place in the order of due work: the time, then the actor's name.
pub type DueKey = (i64, ActorId);

/// What a commit says of its actor's due time. Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Due {
    /// The commit has not touched due work: the due time stays what it is.
    #[default]
    Untouched,
    /// Nothing is due.
    Nothing,
    /// The time of the earliest due work.
    At(i64),
}

impl Due {
    /// The due time that was found by a look at all due work.
    #[must_use]
    pub fn found(due: Option<i64>) -> Self {
        due.map_or(Self::Nothing, Self::At)
    }

    /// The due time to write; `None`: it is not written.
    #[must_use]
    pub fn change(self) -> Option<Option<i64>> {
        match self {
            Self::Untouched => None,
            Self::Nothing => Some(None),
            Self::At(time) => Some(Some(time)),
        }
    }

    /// What both say together, if `later` belongs to a later transaction of the same commit.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        if later == Self::Untouched { self } else { later }
    }
}

/// A look for actors that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueLook {
    /// The shards to look at, each once. A shard that the store does not have is left out.
    pub shards: Vec<Shard>,
    /// The latest due time to look for.
    pub until: i64,
    /// Where to continue; `None`: at the earliest.
    pub after: Option<DueKey>,
    /// Most actors to answer: 1 to [`super::limits::DUE_ROWS_MAX`], which it is brought to.
    pub limit: u32,
}

impl DueLook {
    /// Most rows that the answer has.
    #[must_use]
    pub fn rows_max(&self) -> usize {
        let asked = usize::try_from(self.limit).unwrap_or(usize::MAX);
        asked.clamp(1, super::limits::DUE_ROWS_MAX)
    }
}

/// An actor that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueActor {
    /// Its name.
    pub actor: ActorId,
    /// Its database: a wake names it, so that no later actor of the same name is woken for it.
    pub db: DbId,
    /// Its due time.
    pub at: i64,
}

impl DueActor {
    /// Its place in the order.
    #[must_use]
    pub fn key(&self) -> DueKey {
        (self.at, self.actor.clone())
    }
}

/// The actors that a look has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuePage {
    /// By due time, then by name. While a shard moves between servers, one of its actors may come
    /// twice, once with a former due time.
    pub rows: Vec<DueActor>,
    /// The time when the store looked, by its own clock: of several servers the earliest.
    pub now: i64,
    /// Where to continue; `None`: there was nothing behind.
    pub next: Option<DueKey>,
}

impl DuePage {
    /// The first rows of several parts, each of which is in order and has `rows_max` rows, if there are
    /// so many: those behind its end are behind the end of the page as well.
    #[must_use]
    pub fn merged(parts: Vec<Vec<DueActor>>, rows_max: usize, now: i64) -> Self {
        let mut rows = parts.concat();
        rows.sort_by_cached_key(DueActor::key);
        rows.truncate(rows_max);
        let last = rows.last().filter(|_| rows.len() >= rows_max);
        let next = last.map(DueActor::key);
        Self { rows, now, next }
    }
}

/// The steps of due work. What writes it otherwise is [`super::CommitStep::due`].
#[async_trait]
pub trait DueWork: Send + Sync + 'static {
    /// Actors that are due, in the order of [`DueKey`]. One bounded range of an index for each
    /// shard. A row says what a commit has said, not that the actor can be woken; the caller
    /// continues at `next` until that is `None`, so that actors that cannot be woken hide none.
    ///
    /// A server of the store that does not answer leaves its shards out, unless none answers.
    async fn due(&self, look: DueLook) -> Result<DuePage, StoreError>;
    /// Writes the due time of an actor whose owner has found it to be wrong. `Fenced` also if the
    /// head is not at `at`: what was found is then no longer the newest. Sent twice it does what it
    /// does once.
    async fn settle_due(&self, fence: Fence, at: Txid, due: Option<i64>) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: i64, key: &str) -> DueActor {
        DueActor { actor: ActorId::new("k", key).unwrap(), db: DbId([0; 16]), at }
    }

    #[test]
    fn the_last_transaction_that_has_touched_due_work_counts() {
        let (touched, nothing) = (Due::At(7), Due::Nothing);
        assert_eq!(touched.then(Due::Untouched), touched);
        assert_eq!(Due::Untouched.then(touched), touched);
        assert_eq!(touched.then(nothing), nothing);
        assert_eq!(nothing.then(touched), touched);
        assert_eq!(Due::found(None).change(), Some(None));
        assert_eq!(Due::found(Some(7)).change(), Some(Some(7)));
        assert_eq!(Due::Untouched.change(), None);
    }

    #[test]
    fn parts_are_merged_up_to_the_limit() {
        let merged = |parts, max| {
            let page = DuePage::merged(parts, max, 0);
            let keys: Vec<_> = page.rows.iter().map(|row| row.at).collect();
            (keys, page.next.map(|(at, _)| at))
        };
        let one = || vec![row(1, "a"), row(4, "b")];
        let two = || vec![row(2, "c"), row(3, "d"), row(9, "e")];
        assert_eq!(merged(vec![one(), two()], 9), (vec![1, 2, 3, 4, 9], None));
        assert_eq!(merged(vec![one(), two()], 3), (vec![1, 2, 3], Some(3)));
        assert_eq!(merged(vec![one(), vec![]], 2), (vec![1, 4], Some(4)));
        assert_eq!(merged(vec![one(), vec![row(9, "z")]], 2), (vec![1, 4], Some(4)));
        assert_eq!(merged(vec![], 2), (vec![], None));
    }
}
