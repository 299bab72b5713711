//! How old the commits of a file's databases surely are: as old as this process has known them.
//!
//! Clocks of machines differ and jump, and commits are labelled by whichever process made them. So
//! the age of a commit is never read from its label: it is the time that has passed here, on a
//! clock that only goes forward, since this process made the commit or first saw it. A process that
//! has just started knows nothing to be old.
//!
//! ```text
//! sightings of a database   (txid 7, 10:00:00)  (txid 31, 10:00:08)  ...  (txid 90, 10:00:57)
//!                           each: this commit was there at that time, by this process's clock
//! ```
//! Invariant: a sighting is never earlier than its commit. A database without sightings is kept as
//! it is.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::config::Clock;
use crate::id::{DbId, Txid};
use crate::store::limits::{
    AGED_DATABASES_MAX, CLOCK_AWAY_MS, CLOCK_AWAY_TOLD_EVERY_MS, COMMIT_ROWS_MS_MIN,
};

/// Sightings of one database beside the newest one. 8: an age is known to an eighth of it, about.
const SIGHTINGS_MAX: usize = 8;
/// The least time between two of them, in milliseconds: the shortest age that is asked for, known
/// to an eighth of it.
const SIGHTING_EVERY_MS: u64 = COMMIT_ROWS_MS_MIN / SIGHTINGS_MAX as u64;

/// A commit, and when it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    txid: Txid,
    steady_ms: u64,
}

/// What is known of one database, oldest first. The last one is its newest commit.
type Sightings = Vec<Sighting>;

/// The ages of one file's commits.
pub struct Ages {
    clock: Clock,
    sightings: Mutex<HashMap<DbId, Sightings>>,
    /// When a clock was last reported as wrong.
    warned_ms: Mutex<Option<u64>>,
}

impl Ages {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, sightings: Mutex::default(), warned_ms: Mutex::default() }
    }

    /// What the clock says now, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// This process makes commit `txid` of a database, labelled `time_ms`.
    pub fn committed(&self, db: DbId, txid: Txid, time_ms: u64) {
        let steady_ms = self.clock.steady_ms();
        {
            let mut all = self.sightings.lock();
            let sightings = entry(&mut all, db);
            // One with this number was undone: it is another commit.
            sightings.retain(|sighting| sighting.txid < txid);
            push(sightings, Sighting { txid, steady_ms });
        }
        self.check_label(db, time_ms, steady_ms, None);
    }

    /// The newest commit of a database is `head`, labelled `time_ms`.
    pub fn looked(&self, db: DbId, head: Txid, time_ms: u64) {
        let steady_ms = self.clock.steady_ms();
        let before = {
            let mut all = self.sightings.lock();
            let sightings = entry(&mut all, db);
            sightings.retain(|sighting| sighting.txid <= head);
            let before = sightings.last().copied();
            if before.is_none_or(|sighting| sighting.txid < head) {
                push(sightings, Sighting { txid: head, steady_ms });
            }
            before
        };
        if let Some(before) = before.filter(|sighting| sighting.txid < head) {
            self.check_label(db, time_ms, steady_ms, Some(before));
        }
    }

    /// The newest commit of a database that is at least `age_ms` old; `None`: none is known to be.
    /// Sightings before it are given up: the floor that rises to it does not come back.
    pub fn old_enough(&self, db: DbId, age_ms: u64) -> Option<Txid> {
        let now = self.clock.steady_ms();
        let mut all = self.sightings.lock();
        let sightings = all.get_mut(&db)?;
        let is_old = |sighting: &Sighting| now.saturating_sub(sighting.steady_ms) >= age_ms;
        let newest = sightings.iter().rposition(is_old)?;
        sightings.drain(..newest);
        sightings.first().map(|sighting| sighting.txid)
    }

    /// The database is gone.
    pub fn forget(&self, db: DbId) {
        self.sightings.lock().remove(&db);
    }

    /// Warns if a label is far from this machine's clock: it was made just now, or after `before`.
    fn check_label(&self, db: DbId, time_ms: u64, steady_ms: u64, before: Option<Sighting>) {
        let now_ms = self.clock.now_ms();
        let since = before.map_or(0, |sighting| steady_ms.saturating_sub(sighting.steady_ms));
        let ahead_ms = time_ms.saturating_sub(now_ms);
        let behind_ms = now_ms.saturating_sub(time_ms).saturating_sub(since);
        if ahead_ms.max(behind_ms) <= CLOCK_AWAY_MS {
            return;
        }
        let mut warned = self.warned_ms.lock();
        let is_due = |at| steady_ms.saturating_sub(at) >= CLOCK_AWAY_TOLD_EVERY_MS;
        if warned.is_none_or(is_due) {
            *warned = Some(steady_ms);
            tracing::warn!(
                %db, ahead_ms, behind_ms,
                "a commit's time is far from this machine's clock: set the clocks of all machines \
                 that use this store; history is kept by elapsed time, not by them"
            );
        }
    }
}

/// The sightings of a database. Where too many databases are known, another one starts over.
fn entry(all: &mut HashMap<DbId, Sightings>, db: DbId) -> &mut Sightings {
    if all.len() >= AGED_DATABASES_MAX
        && !all.contains_key(&db)
        && let Some(other) = all.keys().next().copied()
    {
        all.remove(&other);
    }
    all.entry(db).or_default()
}

/// Adds a newest sighting. The one before stays if it is far enough from its own neighbour; of too
/// many, one goes that leaves the smallest gap, and never the oldest.
fn push(sightings: &mut Sightings, new: Sighting) {
    if let [.., before, last] = sightings[..]
        && last.steady_ms.saturating_sub(before.steady_ms) < SIGHTING_EVERY_MS
    {
        sightings.pop();
    }
    sightings.push(new);
    if sightings.len() > SIGHTINGS_MAX + 1 {
        let gap =
            |at: &usize| sightings[at + 1].steady_ms.saturating_sub(sightings[at - 1].steady_ms);
        if let Some(least) = (1..sightings.len() - 1).min_by_key(gap) {
            sightings.remove(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const DB: DbId = DbId([1; 16]);

    fn ages() -> (Ages, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let told = Arc::clone(&now);
        (Ages::new(Clock::new(move || told.load(Ordering::Relaxed))), now)
    }

    #[test]
    fn what_was_never_seen_is_not_old() {
        let (ages, now) = ages();
        assert_eq!(ages.old_enough(DB, 0), None);
        ages.looked(DB, Txid(9), 1);
        now.fetch_add(29_999, Ordering::Relaxed);
        assert_eq!(ages.old_enough(DB, 30_000), None);
        now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(ages.old_enough(DB, 30_000), Some(Txid(9)));
        ages.forget(DB);
        assert_eq!(ages.old_enough(DB, 0), None);
    }

    /// A day of commits and rounds of trimming: few sightings, none too young, and none much older
    /// than it has to be.
    #[test]
    fn ages_are_told_in_bounded_memory() {
        let (ages, now) = ages();
        let begun = now.load(Ordering::Relaxed);
        for second in 1..=86_400_u64 {
            now.fetch_add(1_000, Ordering::Relaxed);
            ages.committed(DB, Txid(second), now.load(Ordering::Relaxed));
            assert!(ages.sightings.lock()[&DB].len() <= SIGHTINGS_MAX + 1);
            let of = |sighting: &Sighting| (sighting.steady_ms - begun) / 1_000 == sighting.txid.0;
            assert!(ages.sightings.lock()[&DB].iter().all(of));
            if second.is_multiple_of(60) && second > 60 {
                let old = ages.old_enough(DB, 60_000).unwrap().0;
                assert!((60..=90).contains(&(second - old)), "{old} at {second}");
            }
        }
        assert_eq!(ages.old_enough(DB, 0), Some(Txid(86_400)));
    }

    #[test]
    fn a_commit_that_was_undone_does_not_lend_its_age() {
        let (ages, now) = ages();
        ages.committed(DB, Txid(1), 1_000_000);
        // So much later that it is kept beside the other one.
        now.fetch_add(10_000, Ordering::Relaxed);
        ages.committed(DB, Txid(2), 1_010_000);
        now.fetch_add(50_000, Ordering::Relaxed);
        ages.committed(DB, Txid(2), 1_060_000);
        assert_eq!(ages.old_enough(DB, 30_000), Some(Txid(1)));
        // An import that starts over.
        ages.looked(DB, Txid(0), 1_060_000);
        assert_eq!(ages.old_enough(DB, 30_000), None);
    }

    #[test]
    fn databases_are_bounded() {
        let (ages, _) = ages();
        for n in 0..=AGED_DATABASES_MAX as u128 {
            ages.committed(DbId(n.to_be_bytes()), Txid(1), 1_000_000);
        }
        assert_eq!(ages.sightings.lock().len(), AGED_DATABASES_MAX);
    }
}
