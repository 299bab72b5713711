//! Messages on their way from a generation to their receivers.
//!
//! ```text
//!  a call has sent ──> receiver noted ──> packed, between calls ──> gate ──> the host's way ──┐
//!        ^                                                                                    │
//!        └── more waits, or again later <── recorded, between calls, several together <───────┘
//! ```
//! Invariants:
//! - One parcel is under way to a receiver, so its order is that of the numbers.
//! - No parcel leaves before its gate is passed: what it has, and that it was counted, is durable, and
//!   the fence is confirmed by a request that was sent after it was packed.
//! - A parcel that is under way holds nothing of the slot: two actors that send to each other work on.
//! - Parcels end with their generation. What became of them is found out by the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use stockade_depot::gate::Gate;
use stockade_depot::{ActorId, Session};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::due::DueState;
use crate::actor::generation::Generation;
use crate::actor::sending::Wanted;
use crate::capability::Outside;
use crate::clock::Clock;
use crate::eager::Eager;
use crate::limits::{MESSAGE_BACKOFF_MS_MAX, MESSAGE_PAUSE_MS, PARCELS_MAX};
use crate::messages::{Parcel, Sender};
use crate::sqlite::{Delivery, Followed, Packed, Packing};
use crate::supervision::Shared;

/// How often a generation that sends looks for conversations that were idle for long. 1 minute.
const CLOSE_EVERY: Duration = Duration::from_secs(60);
/// How long the outbox rests when its rows could not be read or written. 1 s.
const FAILED_REST_MS: i64 = 1_000;
/// How long a wait for a time lasts before the clock is read again: it may have been set.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
/// Questions that a generation may ask, as a power of two.
const QUESTION_BITS: u32 = 32;

/// The parcels of one generation. Dropping them ends those that are under way.
pub(super) struct Parcels {
    /// Whether messages of earlier generations were looked for.
    looked: bool,
    receivers: BTreeMap<ActorId, Receiver>,
    under_way: HashMap<ActorId, Option<Eager>>,
    /// What became of parcels that is not recorded yet.
    came: Vec<Delivery>,
    tell: mpsc::Sender<Delivery>,
    told: mpsc::Receiver<Delivery>,
    questions: u64,
    closed: Option<Instant>,
    had_turn: bool,
}

/// A receiver for which something may wait.
struct Receiver {
    /// When it may leave.
    at: i64,
    /// The last number that was packed.
    tried: i64,
    /// The pause after the last parcel, if that came to nothing.
    pause_ms: i64,
}

impl Receiver {
    fn new(at: i64) -> Self {
        Self { at, tried: 0, pause_ms: 0 }
    }

    fn next_pause(&self) -> i64 {
        (self.pause_ms * 2).clamp(MESSAGE_PAUSE_MS, MESSAGE_BACKOFF_MS_MAX)
    }
}

impl Parcels {
    /// Of a generation that has sent nothing yet.
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::channel(PARCELS_MAX);
        Self {
            looked: false,
            receivers: BTreeMap::new(),
            under_way: HashMap::new(),
            came: Vec::new(),
            tell,
            told,
            questions: 0,
            closed: None,
            had_turn: false,
        }
    }

    /// Ends the pauses of all receivers: an operator may have asked for that.
    pub(super) fn end_pauses(&mut self, now: i64) {
        for receiver in self.receivers.values_mut() {
            (receiver.at, receiver.pause_ms) = (receiver.at.min(now), 0);
        }
    }

    /// Whether parcels are under way.
    pub(super) fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether there is something to do for the outbox, whose turn it is. `due`: something waits
    /// there.
    pub(super) fn take_turn(&mut self, generation: &mut Generation, due: bool, now: i64) -> bool {
        for to in generation.take_receivers() {
            // What waits for a receiver that is paused goes with its next parcel.
            self.receivers.entry(to).or_insert_with(|| Receiver::new(now));
        }
        while let Ok(delivery) = self.told.try_recv() {
            self.came.push(delivery);
        }
        let is_ready = !self.came.is_empty() || (due && !self.looked) || self.ready_at(now);
        self.had_turn = is_ready && !self.had_turn;
        self.had_turn
    }

    fn ready_at(&self, now: i64) -> bool {
        self.next_at().is_some_and(|at| at <= now)
    }

    /// When a receiver gets its next parcel that has none under way.
    fn next_at(&self) -> Option<i64> {
        if self.under_way.len() >= PARCELS_MAX {
            return None;
        }
        let idle = self.receivers.iter().filter(|(to, _)| !self.under_way.contains_key(to));
        idle.map(|(_, receiver)| receiver.at).min()
    }

    /// Resolves when there is something to do.
    pub(super) async fn news(&mut self, clock: &Clock) {
        if !self.came.is_empty() {
            return;
        }
        let next = self.next_at();
        let timer = async {
            let Some(at) = next else { return std::future::pending().await };
            loop {
                let left = clock.until(at);
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(CLOCK_EVERY)).await;
            }
        };
        tokio::select! {
            biased;
            Some(delivery) = self.told.recv() => self.came.push(delivery),
            () = timer => {}
        }
    }

    /// Records what became of parcels.
    fn record(&mut self, generation: &mut Generation, now: i64) {
        let came = std::mem::take(&mut self.came);
        for delivery in &came {
            self.under_way.remove(&delivery.packed.to);
        }
        match generation.record_deliveries(&came) {
            Ok(followed) => {
                for (delivery, followed) in came.into_iter().zip(followed) {
                    self.follow(delivery, followed);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "what became of messages is not recorded");
                for delivery in came {
                    if let Some(receiver) = self.receivers.get_mut(&delivery.packed.to) {
                        receiver.at = now.saturating_add(FAILED_REST_MS);
                    }
                }
            }
        }
    }

    fn follow(&mut self, delivery: Delivery, Followed { at, paused, tried }: Followed) {
        let to = delivery.packed.to;
        let Some(at) = at else {
            self.receivers.remove(&to);
            return;
        };
        let receiver = self.receivers.entry(to).or_insert_with(|| Receiver::new(at));
        receiver.at = at;
        // What was surely not tried is delivered for the first time, as if it had not been packed.
        receiver.tried = tried.unwrap_or(receiver.tried);
        receiver.pause_ms = if paused { delivery.pause_ms } else { 0 };
    }

    /// The receivers that get a parcel now.
    fn wanted(&mut self, generation: u64, now: i64) -> Vec<Wanted> {
        let room = PARCELS_MAX.saturating_sub(self.under_way.len());
        let questions = &mut self.questions;
        let ready = self
            .receivers
            .iter()
            .filter(|(to, receiver)| receiver.at <= now && !self.under_way.contains_key(to));
        // The one that has waited longest comes first.
        let mut ready: Vec<_> = ready.collect();
        ready.sort_by_key(|(_, receiver)| receiver.at);
        ready
            .into_iter()
            .take(room)
            .map(|(to, receiver)| {
                *questions += 1;
                let question = (generation << QUESTION_BITS) | *questions;
                Wanted { to: to.clone(), tried: receiver.tried, question }
            })
            .collect()
    }

    /// Packs what is ready, and sends it.
    fn send(&mut self, generation: &mut Generation, outside: &Arc<dyn Outside>, now: i64) {
        let wanted = self.wanted(generation.fence().generation.0, now);
        if wanted.is_empty() {
            return;
        }
        let packings = match generation.pack(&wanted) {
            Ok(packings) => packings,
            Err(error) => {
                tracing::debug!(%error, "messages are not packed");
                for Wanted { to, .. } in wanted {
                    if let Some(receiver) = self.receivers.get_mut(&to) {
                        receiver.at = now.saturating_add(FAILED_REST_MS);
                    }
                }
                return;
            }
        };
        for (Wanted { to, .. }, packing) in wanted.into_iter().zip(packings) {
            match packing {
                Packing::Nothing => drop(self.receivers.remove(&to)),
                Packing::NotBefore(at) => {
                    if let Some(receiver) = self.receivers.get_mut(&to) {
                        receiver.at = at;
                    }
                }
                Packing::Ready(packed) => {
                    let pause_ms = match (self.receivers.get_mut(&to), packed.numbers()) {
                        (Some(receiver), numbers) => {
                            receiver.tried = numbers
                                .map_or(receiver.tried, |(_, last)| last.max(receiver.tried));
                            receiver.next_pause()
                        }
                        (None, _) => MESSAGE_PAUSE_MS,
                    };
                    self.start(generation, outside, packed, pause_ms);
                }
            }
        }
    }

    fn start(
        &mut self,
        generation: &Generation,
        outside: &Arc<dyn Outside>,
        packed: Packed,
        pause_ms: i64,
    ) {
        let session = generation.session().clone();
        let from = Sender::of(session.fence().db, generation.actor());
        let (outside, tell, to) = (Arc::clone(outside), self.tell.clone(), packed.to.clone());
        let work = Eager::begin(Handle::current(), async move {
            let parcel = Parcel { from, asks: Arc::clone(&packed.asks) };
            if let Some(came) = passed(&session, &outside, &packed.to, parcel).await {
                // The generation may have ended.
                drop(tell.send(Delivery { packed, came, pause_ms }).await);
            }
        });
        self.under_way.insert(to, work);
    }

    /// Works on the outbox: records what became of parcels, and sends what is ready.
    pub(super) fn post(
        &mut self,
        generation: &mut Generation,
        due: &mut DueState,
        shared: &Shared,
    ) {
        let now = shared.ground.clock.now_ms();
        if !self.looked && due.has_sent() {
            match generation.receivers() {
                Ok(receivers) => {
                    for (to, at) in receivers {
                        self.receivers.entry(to).or_insert_with(|| Receiver::new(at));
                    }
                }
                Err(error) => {
                    tracing::debug!(actor = %generation.actor(), %error, "the outbox is not read");
                    return due.rest();
                }
            }
        }
        self.looked = true;
        if !self.came.is_empty() {
            self.record(generation, now);
        }
        if let Some(outside) = shared.outside.get() {
            self.send(generation, outside, now);
            self.close(generation, outside);
        } else {
            // A simulation whose guests send nothing.
            self.receivers.clear();
        }
        due.follow(generation);
    }

    /// Tells receivers that conversations are over, now and then.
    fn close(&mut self, generation: &mut Generation, outside: &Arc<dyn Outside>) {
        if self.closed.is_some_and(|at| at.elapsed() < CLOSE_EVERY) {
            return;
        }
        self.closed = Some(Instant::now());
        match generation.close_conversations() {
            Ok(closed) => {
                for packed in closed {
                    if !self.under_way.contains_key(&packed.to) {
                        self.start(generation, outside, packed, 0);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "idle conversations are not closed"),
        }
    }
}

/// Sends a parcel once its gate is passed. `None`: the generation has lost its database.
async fn passed(
    session: &Session,
    outside: &Arc<dyn Outside>,
    to: &ActorId,
    parcel: Parcel,
) -> Option<Result<crate::messages::Said, crate::messages::Undelivered>> {
    Gate::effect(session).pass().await.ok()?;
    Some(outside.deliver(to.clone(), parcel).await)
}
