//! Wakes sleeping actors that have due work (rule D14 of docs/protocol.md).
//!
//! ```text
//!  each second   the shards that fall to this process by hash over the living:
//!                actors due in the next seconds ──> planned
//!  each lease    all shards: what is overdue by more than a lease ──> planned, in any process
//!  at its time   ──> a rate ──> the slot of the actor: woken, run, or refused: it rests
//! ```
//! Invariants:
//! - A wake names the database, and creates no actor.
//! - Looks continue behind the last row that was seen, and actors that were refused rest in memory, so
//!   that those which cannot be woken hide none.
//! - Wakes are bounded in number and rate: calls find room beside them.
//! - A process whose clock and the store's are apart runs no due work.

use std::sync::Arc;
use std::time::{Duration, Instant as Elapsed};

use stockade_depot::store::{DueActor, DueLook};
use stockade_depot::{ActorId, DbId, NodeSession, Shard};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::HostError;
use crate::limits::{
    DUE_AHEAD_MS, DUE_CLOCKS_APART_MS_MAX, DUE_LOOK_EVERY, DUE_ROWS_MAX, DUE_WAKES_MAX,
    DUE_WAKES_PER_S,
};
use crate::router::Router;
use crate::router::request::{Request, Work};
use crate::supervision::due::DueBook;

/// Runs for as long as the host.
pub(super) async fn keep(router: Router) {
    let book = Arc::clone(&router.shared().due);
    let mut sweep = Sweep { router, is_away: false, overdue: None };
    let mut wakes = Wakes::default();
    let mut looks = interval(DUE_LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = book.timer(book.first(), wakes.rate.next_at());
        tokio::select! {
            // In an order that is the same in every run.
            biased;
            _ = looks.tick() => sweep.look().await,
            () = book.news() => {}
            Some(_) = wakes.running.join_next(), if !wakes.running.is_empty() => {}
            () = next.over(), if wakes.has_room() => {
                wakes.begin(&book, |actor, db| wake(sweep.router.clone(), actor, db));
            }
        }
    }
}

/// Wakes that are under way.
#[derive(Default)]
struct Wakes {
    running: JoinSet<()>,
    rate: Rate,
}

impl Wakes {
    /// Whether one more may be under way.
    fn has_room(&self) -> bool {
        self.running.len() < DUE_WAKES_MAX
    }

    /// Begins those that are due, as far as room and rate allow.
    fn begin<F>(&mut self, book: &DueBook, wake: impl Fn(ActorId, DbId) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.has_room()
            && self.rate.has_room(Instant::now())
            && let Some((actor, db)) = book.take_due()
        {
            self.rate.take(Instant::now());
            self.running.spawn(wake(actor, db));
        }
    }
}

/// Bounds how many actors are woken in a second; a twentieth of a second's may be woken together.
#[derive(Default)]
struct Rate {
    /// When the last one that was let in would have been woken at an even pace.
    paced: Option<Instant>,
}

impl Rate {
    const PACE: Duration = Duration::from_nanos(1_000_000_000 / DUE_WAKES_PER_S as u64);
    const AHEAD: Duration = Duration::from_millis(50);

    fn next_at(&self) -> Option<Instant> {
        self.paced.and_then(|paced| paced.checked_sub(Self::AHEAD))
    }

    fn has_room(&self, now: Instant) -> bool {
        self.next_at().is_none_or(|at| at <= now)
    }

    fn take(&mut self, now: Instant) {
        self.paced = Some(self.paced.map_or(now, |paced| paced.max(now)) + Self::PACE);
    }
}

struct Sweep {
    router: Router,
    /// The store does not answer.
    is_away: bool,
    /// When all shards are looked at next.
    overdue: Option<Instant>,
}

impl Sweep {
    async fn look(&mut self) {
        let shared = self.router.shared();
        let store = shared.depot.store();
        if shared.nodes.is_draining() || !store.keeps_due_work() {
            return;
        }
        let now = shared.ground.clock.now_ms();
        let all: Vec<Shard> = Shard::all(store.shards()).collect();
        let takers = shared.nodes.takers();
        let mut living: Vec<_> = takers.iter().map(|(peer, _)| peer.session).collect();
        let own = shared.depot.node();
        living.push(own);
        let mine: Vec<Shard> =
            all.iter().copied().filter(|shard| owner(&living, *shard) == Some(own)).collect();
        let mut looked = self.look_at(mine, now.saturating_add(DUE_AHEAD_MS)).await;
        if looked.is_ok() && self.overdue.is_none_or(|at| at <= Instant::now()) {
            let lease = shared.nodes.lease_time();
            let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
            looked = self.look_at(all, now.saturating_sub(lease_ms)).await;
            self.overdue = Some(Instant::now() + lease);
        }
        match looked {
            Ok(()) => self.is_away = false,
            Err(error) if self.is_away => tracing::debug!(%error, "still no look at due work"),
            Err(error) => {
                self.is_away = true;
                tracing::warn!(%error, "cannot look for due work; trying again");
            }
        }
    }

    /// Plans what is due in these shards until a time.
    async fn look_at(&self, shards: Vec<Shard>, until: i64) -> Result<(), HostError> {
        let shared = self.router.shared();
        let mut look = DueLook { shards, until, after: None, limit: DUE_ROWS_MAX };
        if look.shards.is_empty() {
            return Ok(());
        }
        loop {
            let begun = Elapsed::now();
            let page = shared.depot.store().due(look.clone()).await?;
            let apart = shared.ground.clock.now_ms().abs_diff(page.now);
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let held = apart.saturating_sub(took) > DUE_CLOCKS_APART_MS_MAX;
            if shared.due.hold(held) {
                match held {
                    true => tracing::warn!(
                        apart_ms = apart,
                        "the clocks of this process and of the store are apart: no alarms run here"
                    ),
                    false => tracing::info!("the clocks are together again: alarms run"),
                }
            }
            if held {
                return Ok(());
            }
            for DueActor { actor, db, at } in page.rows {
                let is_awake = self.router.slot(&actor).is_some_and(|slot| slot.live().is_some());
                if !is_awake && !shared.due.rests(&actor) {
                    shared.due.plan(&actor, db, at);
                }
            }
            look.after = page.next;
            if look.after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Which of the living processes looks at a shard: the one with the highest weight.
fn owner(living: &[NodeSession], shard: Shard) -> Option<NodeSession> {
    living.iter().copied().max_by_key(|session| (session.weight(shard), session.0))
}

/// Wakes an actor for its due work. The slot answers once the actor is awake.
async fn wake(router: Router, actor: ActorId, db: DbId) {
    let shared = Arc::clone(router.shared());
    // The slot of an actor that is awake has a timer of its own.
    if router.slot(&actor).is_some_and(|slot| slot.live().is_some()) || shared.due.is_held() {
        return;
    }
    let woken = async {
        if !shared.nodes.holds_lease().await {
            return Err(HostError::LeaseLost);
        }
        let program = shared.kinds.current(actor.kind()).await?;
        let limits = Arc::clone(&program.limits);
        let (reply, woken) = oneshot::channel();
        let work = Work::Due { db, program, reply };
        let request = Request { queued: Elapsed::now(), txid_min: stockade_depot::Txid(0), work };
        router.dispatch(&limits, &actor, request)?;
        woken.await.unwrap_or(Err(HostError::ShuttingDown))
    };
    match woken.await {
        Ok(()) => shared.due.accept(&actor),
        Err(error) => {
            // Its owner runs what is due; if that owner dies, a lease passes before another may.
            let elsewhere = matches!(error, HostError::Elsewhere { .. });
            shared.due.refuse(&actor, elsewhere.then(|| shared.nodes.lease_time()));
            tracing::debug!(%actor, %error, "not woken for its due work");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn each_shard_falls_to_one_of_the_living_and_moves_only_with_its_owner() {
        let living: Vec<NodeSession> = (1..=4).map(|n| NodeSession([n; 16])).collect();
        let shards: Vec<Shard> = (0..64).map(Shard).collect();
        let before: Vec<_> = shards.iter().map(|shard| owner(&living, *shard)).collect();
        let left = &living[1..];
        for (shard, former) in shards.iter().zip(&before) {
            let now = owner(left, *shard);
            assert!(now.is_some_and(|now| left.contains(&now)));
            if *former != Some(living[0]) {
                assert_eq!(now, *former, "{shard:?}");
            }
        }
        for session in &living {
            let share = before.iter().filter(|owner| **owner == Some(*session)).count();
            assert!((4..=32).contains(&share), "{share}");
        }
        assert_eq!(owner(&[], Shard(0)), None);
    }

    /// Processes of two versions agree, so a shard has one process that looks at it during an upgrade.
    #[test]
    fn golden_weights() {
        assert_eq!(NodeSession([1; 16]).weight(Shard(0)), 0x0860_2040_d486_4a12);
        assert_eq!(NodeSession([2; 16]).weight(Shard(5)), 0xc96f_1339_9fb3_2c9a);
    }

    /// Wakes that take long leave room for calls; what is due waits for their end.
    #[tokio::test]
    async fn wakes_that_are_under_way_are_bounded() {
        let book = DueBook::new(Clock::new(|| 100));
        for number in 0..DUE_WAKES_MAX + 10 {
            let actor = ActorId::new("kind", &number.to_string()).expect("a name");
            book.plan(&actor, DbId([1; 16]), 50);
        }
        let ends = Arc::new(Semaphore::new(0));
        let mut wakes = Wakes::default();
        let begin = |wakes: &mut Wakes| {
            for _ in 0..DUE_WAKES_MAX {
                // As after a while: the rate is not what bounds them.
                wakes.rate = Rate::default();
                wakes.begin(&book, |_, _| {
                    let ends = Arc::clone(&ends);
                    async move { ends.acquire_owned().await.expect("it is open").forget() }
                });
            }
            wakes.running.len()
        };
        assert_eq!(begin(&mut wakes), DUE_WAKES_MAX);
        ends.add_permits(3);
        for _ in 0..3 {
            wakes.running.join_next().await;
        }
        assert_eq!(wakes.running.len(), DUE_WAKES_MAX - 3);
        assert_eq!(begin(&mut wakes), DUE_WAKES_MAX);
        assert!(book.first().is_some(), "the rest is planned still");
    }

    #[test]
    fn wakes_have_a_rate() {
        let mut rate = Rate::default();
        let (begun, mut woken) = (Instant::now(), 0);
        for ms in 0..2_000 {
            let now = begun + Duration::from_millis(ms);
            while rate.has_room(now) {
                rate.take(now);
                woken += 1;
            }
        }
        let most = 2 * usize::try_from(DUE_WAKES_PER_S).expect("few") + 30;
        assert!((most - 100..=most).contains(&woken), "{woken}");
    }
}
