//! Due work of actors that sleep, as far as this process plans to wake them, and when it may run at all.
//!
//! ```text
//!  looks at the store ──┐                                      ┌─> woken, or refused: it rests
//!  ends of lives here ──┴─> planned, by time ── due ── a rate ─┘
//! ```
//! Invariants:
//! - A plan is a hint: the store says what is due, and the actor's own rows what runs.
//! - The memory is bounded: it keeps the earliest plans, so that those for later hide none. What does
//!   not fit is found by a later look.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{ActorId, DbId};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::recent::Recent;
use crate::clock::Clock;
use crate::limits::{DUE_ACTORS_MAX, DUE_REFUSED_WAIT, DUE_REFUSED_WAIT_MAX};
use crate::sqlite::CrashedAlarm;

/// How long a wait for a time lasts before the clock is read again: it may have been set.
const CLOCK_EVERY: Duration = Duration::from_secs(10);

/// What a process plans.
pub struct DueBook {
    clock: Clock,
    /// This process's clock and the store's are apart, so nothing runs.
    held: AtomicBool,
    plans: Mutex<Plans>,
    refused: Mutex<Recent<Refused>>,
    crashed: Mutex<Recent<CrashedAlarm>>,
    news: Notify,
}

#[derive(Default)]
struct Plans {
    of: HashMap<ActorId, (i64, DbId)>,
    by_time: BTreeSet<(i64, ActorId)>,
}

/// An actor whose wake was refused.
struct Refused {
    until: Instant,
    wait: Duration,
}

/// A time that is waited for.
pub struct DueTimer {
    book: Arc<DueBook>,
    at: Option<i64>,
    not_before: Option<Instant>,
}

impl DueBook {
    /// Nothing is planned.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            held: AtomicBool::new(false),
            plans: Mutex::default(),
            refused: Mutex::new(Recent::new(DUE_ACTORS_MAX)),
            crashed: Mutex::new(Recent::new(DUE_ACTORS_MAX)),
            news: Notify::new(),
        }
    }

    /// Plans to wake an actor. The earlier time of two counts. With as many plans as there may be, the
    /// latest one is dropped.
    pub fn plan(&self, actor: &ActorId, db: DbId, at: i64) {
        let mut plans = self.plans.lock();
        match plans.of.get(actor).copied() {
            Some((earlier, known)) if known == db && earlier <= at => return,
            Some((former, _)) => drop(plans.by_time.remove(&(former, actor.clone()))),
            None => {}
        }
        plans.of.insert(actor.clone(), (at, db));
        plans.by_time.insert((at, actor.clone()));
        if plans.of.len() > DUE_ACTORS_MAX
            && let Some((_, latest)) = plans.by_time.pop_last()
        {
            plans.of.remove(&latest);
        }
        drop(plans);
        self.news.notify_one();
    }

    /// The earliest time of a plan.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.plans.lock().by_time.first().map(|(at, _)| *at)
    }

    /// Takes the first plan whose time has come.
    #[must_use]
    pub fn take_due(&self) -> Option<(ActorId, DbId)> {
        let now = self.clock.now_ms();
        let mut plans = self.plans.lock();
        let (at, _) = plans.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, actor) = plans.by_time.pop_first()?;
        let (_, db) = plans.of.remove(&actor)?;
        Some((actor, db))
    }

    /// Resolves when something was planned.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// An actor was not woken, and rests for a while; for `wait` if that is given.
    pub fn refuse(&self, actor: &ActorId, wait: Option<Duration>) {
        self.refuse_at(actor, wait, Instant::now());
    }

    fn refuse_at(&self, actor: &ActorId, wait: Option<Duration>, now: Instant) {
        let mut refused = self.refused.lock();
        let last = refused.get(actor).map(|refused| refused.wait * 2);
        let next = last.unwrap_or(DUE_REFUSED_WAIT).min(DUE_REFUSED_WAIT_MAX);
        let wait = wait.unwrap_or(next);
        refused.put(actor, Refused { until: now + wait, wait });
    }

    /// An actor was woken.
    pub fn accept(&self, actor: &ActorId) {
        self.refused.lock().forget(actor);
    }

    /// Whether an actor rests.
    #[must_use]
    pub fn rests(&self, actor: &ActorId) -> bool {
        self.rests_at(actor, Instant::now())
    }

    fn rests_at(&self, actor: &ActorId, now: Instant) -> bool {
        self.refused.lock().get(actor).is_some_and(|refused| refused.until > now)
    }

    /// Remembers the crash that an alarm's run ended with, for its row.
    pub fn note_crash(&self, actor: &ActorId, crashed: CrashedAlarm) {
        self.crashed.lock().put(actor, crashed);
    }

    /// Takes that.
    #[must_use]
    pub fn take_crash(&self, actor: &ActorId) -> Option<CrashedAlarm> {
        let mut crashed = self.crashed.lock();
        let found = crashed.get(actor).cloned();
        crashed.forget(actor);
        found
    }

    /// Whether due work may run. Returns whether that is news.
    pub fn hold(&self, held: bool) -> bool {
        self.held.swap(held, Ordering::AcqRel) != held
    }

    /// Whether due work may not run: the clocks are apart.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Waits for a time, and not less than until `not_before`.
    #[must_use]
    pub fn timer(self: &Arc<Self>, at: Option<i64>, not_before: Option<Instant>) -> DueTimer {
        DueTimer { book: Arc::clone(self), at, not_before }
    }
}

impl DueTimer {
    /// Whether the time has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let rests = self.not_before.is_some_and(|until| until > Instant::now());
        !rests && !self.book.is_held() && self.at.is_some_and(|at| at <= self.book.clock.now_ms())
    }

    /// Resolves when the time has come.
    pub async fn over(&self) {
        let Some(at) = self.at else { return std::future::pending().await };
        if let Some(until) = self.not_before {
            sleep_until(until).await;
        }
        while !self.is_over() {
            // At least a millisecond: the clock may show the one before.
            let left = self.book.clock.until(at).max(Duration::from_millis(1));
            let held = if self.book.is_held() { DUE_REFUSED_WAIT } else { Duration::ZERO };
            sleep(left.max(held).min(CLOCK_EVERY)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId::new("kind", key).expect("a name")
    }

    impl DueBook {
        /// Plans by actor and by time.
        fn len(&self) -> (usize, usize) {
            let plans = self.plans.lock();
            (plans.of.len(), plans.by_time.len())
        }
    }

    fn book(now: &Arc<AtomicI64>) -> Arc<DueBook> {
        let now = Arc::clone(now);
        Arc::new(DueBook::new(Clock::new(move || now.load(Ordering::Relaxed))))
    }

    #[test]
    fn plans_come_in_the_order_of_their_times_and_never_early() {
        let now = Arc::new(AtomicI64::new(10));
        let book = book(&now);
        let db = DbId([1; 16]);
        for (key, at) in [("b", 20), ("a", 30), ("b", 25), ("a", 12)] {
            book.plan(&actor(key), db, at);
        }
        assert_eq!((book.first(), book.take_due()), (Some(12), None));
        now.store(20, Ordering::Relaxed);
        assert_eq!(book.take_due(), Some((actor("a"), db)));
        assert_eq!(book.take_due(), Some((actor("b"), db)));
        assert_eq!((book.first(), book.take_due()), (None, None));
    }

    #[test]
    fn another_database_replaces_the_plan_for_the_former_one() {
        let book = book(&Arc::new(AtomicI64::new(100)));
        book.plan(&actor("a"), DbId([1; 16]), 20);
        book.plan(&actor("a"), DbId([2; 16]), 30);
        assert_eq!(book.take_due(), Some((actor("a"), DbId([2; 16]))));
        assert_eq!(book.take_due(), None);
    }

    /// Those that are due next month leave room for one that is due now.
    #[test]
    fn plans_are_bounded_and_the_earliest_are_kept() {
        let book = book(&Arc::new(AtomicI64::new(100)));
        let db = DbId([1; 16]);
        let late = |number: usize| 1_000 + i64::try_from(number).expect("few");
        for number in 0..DUE_ACTORS_MAX {
            book.plan(&actor(&number.to_string()), db, late(number));
        }
        assert_eq!(book.len(), (DUE_ACTORS_MAX, DUE_ACTORS_MAX));
        book.plan(&actor("later"), db, late(DUE_ACTORS_MAX));
        book.plan(&actor("now"), db, 50);
        assert_eq!(book.len(), (DUE_ACTORS_MAX, DUE_ACTORS_MAX));
        assert_eq!(book.take_due(), Some((actor("now"), db)));
        // The latest one has made room, and is planned again by the next look.
        book.plan(&actor("later"), db, late(DUE_ACTORS_MAX));
        assert_eq!(book.len(), (DUE_ACTORS_MAX, DUE_ACTORS_MAX));
    }

    #[test]
    fn a_refused_actor_rests_longer_each_time() {
        let book = book(&Arc::new(AtomicI64::new(0)));
        let mut now = Instant::now();
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            book.refuse_at(&actor("a"), None, now);
            now += Duration::from_secs(wait);
            assert!(book.rests_at(&actor("a"), now - Duration::from_millis(1)), "{wait}");
            assert!(!book.rests_at(&actor("a"), now), "{wait}");
        }
        book.accept(&actor("a"));
        book.refuse_at(&actor("a"), None, now);
        assert!(!book.rests_at(&actor("a"), now + Duration::from_secs(1)));
    }
}
