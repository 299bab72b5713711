//! The faults that are armed, by database. Bounded; faults that are used up or over are dropped.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::DbId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Fault;
use crate::limits::FAULTS_ARMED_MAX;

/// The faults that are armed on a host.
#[derive(Debug, Default)]
pub struct Faults {
    table: Mutex<HashMap<DbId, Armed>>,
    cleared: Notify,
}

/// The armed faults of one database. One fault of each sort; arming the same sort again replaces
/// it.
#[derive(Debug, Default)]
struct Armed {
    lost_replies: u32,
    slow: Option<Slow>,
    full_until: Option<Instant>,
    frozen_until: Option<Instant>,
}

#[derive(Debug)]
struct Slow {
    delay: Duration,
    left: Option<u32>,
    until: Instant,
    /// When the requested confirmation may be answered.
    confirm_at: Option<Instant>,
}

impl Armed {
    /// Drops faults that are used up or over.
    fn prune(&mut self, now: Instant) {
        self.slow.take_if(|slow| slow.until <= now || slow.left == Some(0));
        self.full_until.take_if(|until| *until <= now);
        self.frozen_until.take_if(|until| *until <= now);
    }

    fn list(&self, now: Instant) -> Vec<Fault> {
        let left = |until: Instant| {
            u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        let lost = (self.lost_replies > 0).then_some(Fault::LostReply { count: self.lost_replies });
        let slow = self.slow.as_ref().map(|slow| Fault::SlowStore {
            delay_ms: u64::try_from(slow.delay.as_millis()).unwrap_or(u64::MAX),
            count: slow.left,
            for_ms: left(slow.until),
        });
        let full = self.full_until.map(|until| Fault::StoreFull { for_ms: left(until) });
        let frozen = self.frozen_until.map(|until| Fault::Freeze { for_ms: left(until) });
        [lost, slow, full, frozen].into_iter().flatten().collect()
    }
}

impl Faults {
    /// Arms a fault of the store for a database. `false`: the host has as many as it may. `Crash`
    /// and `Fence` are not armed: they happen immediately.
    pub(super) fn arm(&self, db: DbId, fault: Fault) -> bool {
        let now = Instant::now();
        let until = |ms: u64| now + Duration::from_millis(ms);
        let mut table = self.table.lock();
        prune(&mut table, now);
        if table.len() >= FAULTS_ARMED_MAX && !table.contains_key(&db) {
            return false;
        }
        let armed = table.entry(db).or_default();
        match fault {
            Fault::Crash | Fault::Fence => {}
            Fault::LostReply { count } => armed.lost_replies = count,
            Fault::SlowStore { delay_ms, count, for_ms } => {
                armed.slow = Some(Slow {
                    delay: Duration::from_millis(delay_ms),
                    left: count,
                    until: until(for_ms),
                    confirm_at: None,
                });
            }
            Fault::StoreFull { for_ms } => armed.full_until = Some(until(for_ms)),
            Fault::Freeze { for_ms } => armed.frozen_until = Some(until(for_ms)),
        }
        true
    }

    /// The armed faults of a database, with what is left of them.
    #[must_use]
    pub fn of(&self, db: DbId) -> Vec<Fault> {
        let now = Instant::now();
        let mut table = self.table.lock();
        prune(&mut table, now);
        table.get(&db).map(|armed| armed.list(now)).unwrap_or_default()
    }

    /// Removes the faults that have not fired, and releases steps that are frozen or slowed down.
    pub fn clear(&self, db: DbId) -> Vec<Fault> {
        let taken = self.of(db);
        self.table.lock().remove(&db);
        self.cleared.notify_waiters();
        taken
    }

    /// Waits until a step of this database may be sent.
    pub(super) async fn wait(&self, db: DbId) {
        while let Some(until) = self.frozen_until(db) {
            self.until(db, until, |armed| armed.frozen_until.is_some()).await;
        }
        let Some(delay) = self.take_delay(db) else { return };
        self.until(db, Instant::now() + delay, |armed| armed.slow.is_some()).await;
    }

    /// Waits until a moment, or until the awaited fault is cleared.
    async fn until(&self, db: DbId, moment: Instant, armed: impl Fn(&Armed) -> bool) {
        loop {
            let cleared = self.cleared.notified();
            tokio::pin!(cleared);
            cleared.as_mut().enable();
            if !self.table.lock().get(&db).is_some_and(&armed) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(moment) => return,
                () = cleared => {}
            }
        }
    }

    fn frozen_until(&self, db: DbId) -> Option<Instant> {
        let until = self.table.lock().get(&db)?.frozen_until?;
        (until > Instant::now()).then_some(until)
    }

    fn take_delay(&self, db: DbId) -> Option<Duration> {
        let mut table = self.table.lock();
        let slow = table.get_mut(&db)?.slow.as_mut()?;
        slow.take(Instant::now())
    }

    /// Whether a confirmation of this database must wait: it is frozen, or slow and requested less
    /// than its delay ago. A round carries many actors' confirmations, so the round cannot wait
    /// itself.
    pub(super) fn holds_confirmation(&self, db: DbId) -> bool {
        let now = Instant::now();
        let mut table = self.table.lock();
        let Some(armed) = table.get_mut(&db) else { return false };
        if armed.frozen_until.is_some_and(|until| until > now) {
            return true;
        }
        let Some(slow) = armed.slow.as_mut() else { return false };
        match slow.confirm_at {
            Some(at) if at <= now => {
                slow.confirm_at = None;
                false
            }
            Some(_) => true,
            None => {
                slow.confirm_at = slow.take(now).map(|delay| now + delay);
                slow.confirm_at.is_some()
            }
        }
    }

    /// Whether commits of this database are refused.
    pub(super) fn is_full(&self, db: DbId) -> bool {
        let until = self.table.lock().get(&db).and_then(|armed| armed.full_until);
        until.is_some_and(|until| until > Instant::now())
    }

    /// Whether the answer to an applied commit is to be lost.
    pub(super) fn loses_reply(&self, db: DbId) -> bool {
        let mut table = self.table.lock();
        let Some(armed) = table.get_mut(&db) else { return false };
        let loses = armed.lost_replies > 0;
        armed.lost_replies = armed.lost_replies.saturating_sub(1);
        loses
    }
}

impl Slow {
    /// The delay of one more step, if any is left.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if self.until <= now || self.left == Some(0) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.delay)
    }
}

fn prune(table: &mut HashMap<DbId, Armed>, now: Instant) {
    table.retain(|_, armed| {
        armed.prune(now);
        !armed.list(now).is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_depot::Shard;

    fn db(number: u8) -> DbId {
        DbId::new(Shard(0), [number; 15])
    }

    #[tokio::test]
    async fn a_freeze_ends_by_itself_or_when_it_is_cleared() {
        let faults = Faults::default();
        faults.wait(db(1)).await;
        assert!(faults.arm(db(1), Fault::Freeze { for_ms: 500 }));
        let begun = Instant::now();
        assert!(faults.holds_confirmation(db(1)));
        assert!(!faults.holds_confirmation(db(2)), "another actor waits");
        faults.wait(db(2)).await;
        faults.wait(db(1)).await;
        assert!(begun.elapsed() >= Duration::from_millis(500));
        assert!(!faults.holds_confirmation(db(1)));

        assert!(faults.arm(db(1), Fault::Freeze { for_ms: 600_000 }));
        let begun = Instant::now();
        let clear = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(faults.clear(db(1)).len(), 1);
        };
        tokio::join!(faults.wait(db(1)), clear);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(faults.of(db(1)), []);
    }

    #[tokio::test]
    async fn counts_are_used_up() {
        let faults = Faults::default();
        let slow = Fault::SlowStore { delay_ms: 100, count: Some(2), for_ms: 10_000 };
        assert!(faults.arm(db(1), slow));
        assert!(faults.arm(db(1), Fault::LostReply { count: 1 }));
        let begun = Instant::now();
        for _ in 0..3 {
            faults.wait(db(1)).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert!(faults.loses_reply(db(1)));
        assert!(!faults.loses_reply(db(1)));
        assert_eq!(faults.of(db(1)), []);
    }

    #[tokio::test]
    async fn no_more_are_armed_than_may_be() {
        let faults = Faults::default();
        for number in 0..FAULTS_ARMED_MAX {
            let number = u16::try_from(number).expect("small").to_le_bytes();
            let mut random = [0; 15];
            random[..2].copy_from_slice(&number);
            let full = Fault::StoreFull { for_ms: 600_000 };
            assert!(faults.arm(DbId::new(Shard(0), random), full));
        }
        assert!(!faults.arm(db(255), Fault::StoreFull { for_ms: 1_000 }));
        assert_eq!(faults.clear(DbId::new(Shard(0), [0; 15])).len(), 1);
        assert!(faults.arm(db(255), Fault::StoreFull { for_ms: 1_000 }));
    }
}
