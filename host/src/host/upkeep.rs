//! What a host does for the store beside its actors: trims history (D10) and finishes destroys that
//! were interrupted.
//!
//! ```text
//! each round   destroys whose owner is gone            ─► finished
//!              actors awake here, and the next 1,000   ─► looked through, then trimmed together,
//!              of all actors, asleep or elsewhere         step by step, with pauses
//! ```
//! Every process that shares the store does this; each step carries its own condition, so they only
//! save each other work. A database that costs much to look through is looked at less often: its
//! pause is a multiple of what the last look cost. Those in which little had to go wait for a round
//! that takes all of them along, since neighbours on the disk go at the price of one.
//!
//! Of a store that is remote each question is a flight, and every process asks: the heads of a list
//! say already which of its databases have nothing to trim, and an actor that is awake is asked
//! about once in the time of such a round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stockade_depot::retention::{self, Sweep};
use stockade_depot::store::{History, Keep, LIST_ROWS_MAX, Store};
use stockade_depot::{ActorId, DbId, Head, OpenError, StoreError};
use tokio::time::Instant;

use super::readings::Readings;
use crate::error::HostError;
use crate::limits::Limits;
use crate::router::Router;

/// Pause between two steps of trimming: others' commits go in between. 2 ms, about as long as the
/// step.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// Pause of a database for each row that was looked at. 50 us, where looking takes about 1: so
/// trimming a database that is written all the time takes some percent of its store's time.
const ROW_PAUSE: Duration = Duration::from_micros(50);
/// Rows below which the trim of a database was hardly worth it: alone, each of them costs about two
/// pages of the store's file.
const FEW_ROWS: u64 = 512;
/// Every so many rounds, those databases are trimmed as well. 12, a minute: the history that is kept
/// longer for it is about as much as the history that is promised.
const FEW_ROWS_ROUNDS: u32 = 12;

/// Runs for as long as the host.
pub(super) async fn keep(router: Router, readings: Readings, every: Duration) {
    let rest_remote = every * FEW_ROWS_ROUNDS;
    let (after, rests) = (None, HashMap::new());
    let mut upkeep = Upkeep { router, readings, after, rests, rounds_left: 0, rest_remote };
    let mut period = tokio::time::interval(every);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        upkeep.finish_destroys().await;
        upkeep.router.shared().quotas.recount(upkeep.store().as_ref(), every).await;
        if let Err(error) = upkeep.trim_some().await {
            tracing::warn!(%error, "cannot trim history; trying again");
        }
    }
}

struct Upkeep {
    router: Router,
    readings: Readings,
    /// The last of all actors that was looked at; `None`: the next round begins with the first.
    after: Option<ActorId>,
    /// Databases that were looked at, until when they rest.
    rests: HashMap<DbId, Rest>,
    /// Rounds until the next one that looks at all of them.
    rounds_left: u32,
    /// How long a database of a remote store rests that had nothing to trim.
    rest_remote: Duration,
}

/// What one round has looked at.
struct Round<'a> {
    sweep: Sweep<'a>,
    looked: Vec<(ActorId, DbId, retention::Report)>,
}

/// How long a database is left alone.
struct Rest {
    until: Instant,
    /// And then until a round that looks at all: little had to go.
    few: bool,
}

impl Upkeep {
    fn store(&self) -> &Arc<dyn Store> {
        self.router.shared().depot.store()
    }

    /// Finishes abandoned destroys: a destroy that is under way belongs to a process that
    /// lives, this one included.
    async fn finish_destroys(&self) {
        let shared = self.router.shared();
        let found = match self.store().destroying(LIST_ROWS_MAX).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot look for interrupted destroys; trying again");
                return;
            }
        };
        for state in found {
            let (actor, head) = (&state.row.actor, &state.head);
            if head.owner == shared.depot.node() && !head.is_free() {
                continue;
            }
            if shared.meet_owner(head).await.is_err() || shared.elsewhere(head).is_some() {
                continue;
            }
            // Its process has died: the calls of its other actors come first.
            let is_rescue = shared.is_anothers(head);
            let place = if is_rescue { shared.rescues.for_sweep() } else { None };
            if is_rescue && place.is_none() {
                return;
            }
            match shared.depot.destroy(&state).await {
                Ok(()) => tracing::info!(%actor, "finished an interrupted destroy"),
                Err(OpenError::Superseded { .. }) => {
                    tracing::debug!(%actor, "another process finishes the destroy");
                }
                Err(error) => tracing::warn!(%actor, %error, "cannot finish a destroy"),
            }
        }
    }

    async fn trim_some(&mut self) -> Result<(), HostError> {
        let (now, all) = (Instant::now(), self.rounds_left == 0);
        self.rounds_left = if all { FEW_ROWS_ROUNDS - 1 } else { self.rounds_left - 1 };
        self.rests.retain(|_, rest| rest.until > now || (rest.few && !all));
        let store = Arc::clone(self.store());
        let mut round = Round { sweep: Sweep::new(store.as_ref(), STEP_PAUSE), looked: Vec::new() };
        let mut policies = HashMap::new();
        for actor in self.router.awake_actors(|_| true) {
            let fence = self.router.slot(&actor).and_then(|slot| slot.fence());
            if let Some(fence) = fence {
                self.look(&mut round, &actor, fence.db, None, &mut policies).await?;
            }
        }
        let listed = store.actors(None, self.after.as_ref(), LIST_ROWS_MAX).await?;
        self.after = listed.last().map(|state| state.row.actor.clone());
        for state in listed {
            let (actor, head) = (&state.row.actor, &state.head);
            // Beside the floor, rows of an interrupted trim may be left: a round of all looks.
            let known = (store.reads_are_remote() && !all).then_some(head);
            self.look(&mut round, actor, head.fence.db, known, &mut policies).await?;
        }
        self.finish(&mut round).await;
        Ok(())
    }

    /// Looks what of a database may go; deletes what was found when that is much. A `head` that is
    /// known and says that nothing may go is believed.
    async fn look(
        &mut self,
        round: &mut Round<'_>,
        actor: &ActorId,
        db: DbId,
        head: Option<&Head>,
        policies: &mut HashMap<String, Keep>,
    ) -> Result<(), HostError> {
        if self.rests.contains_key(&db) || self.readings.is_read(db) {
            return Ok(());
        }
        let keep = match policies.get(actor.kind()) {
            Some(keep) => *keep,
            None => {
                let limits = self.router.shared().kinds.limits(actor.kind()).await?;
                let keep = keep_of(limits.as_deref().unwrap_or(&Limits::default()));
                policies.insert(actor.kind().to_owned(), keep);
                keep
            }
        };
        if head.is_some_and(|head| !retention::is_due(&as_of(head), keep)) {
            return Ok(());
        }
        let is_remote = self.store().reads_are_remote();
        let due = match self.store().history(db).await {
            Ok(history) => history.is_some_and(|it| retention::is_due(&it, keep)),
            // A server that is away answers for none of them.
            Err(error @ StoreError::Unavailable(_)) if is_remote => return Err(error.into()),
            // One that is damaged holds up no other.
            Err(error) => {
                tracing::debug!(%actor, %db, %error, "history not looked at");
                false
            }
        };
        if !due {
            if is_remote {
                let until = Instant::now() + self.rest_remote;
                self.rests.insert(db, Rest { until, few: false });
            }
            // The store may answer without waiting; who shares this thread gets a turn all the same.
            tokio::task::yield_now().await;
            return Ok(());
        }
        match round.sweep.look(db, keep).await {
            Ok(report) => round.looked.push((actor.clone(), db, report)),
            Err(error) => tracing::debug!(%actor, %db, %error, "history not trimmed"),
        }
        if round.sweep.is_full() {
            self.finish(round).await;
        }
        Ok(())
    }

    async fn finish(&mut self, round: &mut Round<'_>) {
        let looked = std::mem::take(&mut round.looked);
        match round.sweep.finish().await {
            Ok(gone) => {
                let now = Instant::now();
                for (actor, db, retention::Report { floor, looked, .. }) in looked {
                    let rows = gone.get(&db).copied().unwrap_or_default();
                    if rows > 0 {
                        tracing::debug!(%actor, %db, %floor, rows, "history trimmed");
                    }
                    let rest = ROW_PAUSE * u32::try_from(looked).unwrap_or(u32::MAX);
                    let few = looked > 0 && rows < FEW_ROWS;
                    self.rests.insert(db, Rest { until: now + rest, few });
                }
            }
            Err(error) => tracing::debug!(%error, "history not trimmed"),
        }
    }
}

/// A history as its head shows it: trimmed up to the floor.
fn as_of(head: &Head) -> History {
    History { head: head.txid, floor: head.floor, oldest: head.floor }
}

/// What a kind keeps.
fn keep_of(limits: &Limits) -> Keep {
    Keep { commits_min: limits.history_commits_min, age_ms_min: limits.history_ms }
}
