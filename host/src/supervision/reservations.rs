//! The states that the seals of this process have left: actors as their next generation finds them,
//! most of them with that generation reserved for this process (`Head::is_heir`).
//!
//! ```text
//!  sealed here ──> left ── taken by the next start ─┬─ reserved ──> begun ──> claimed
//!                                                   └─ not reserved: a takeover
//! ```
//! Beginning a reserved generation writes nothing, so that a wake waits for no disk. Until its head
//! names this process, another process that is asked for the actor takes it over without checking
//! whether its owner lives: that costs this generation, never data. So the reservation is claimed
//! in the store soon, many together, and no caller waits for the claim; the first commit claims it
//! as well.
//!
//! Invariants:
//! - The state that a seal has left is given away once: a token is good for one generation.
//! - The state may be stale: other processes may have changed the actor since. Beginning from it
//!   fails then.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{ActorId, Depot, Digest, Fence, Head, OpenError, Opened, StoreError};
use tokio::sync::Notify;

use super::recent::Recent;
use crate::membership::Nodes;

/// Actors whose state from their last seal here is remembered. 10,000: a few MiB.
const ACTORS_MAX: usize = 10_000;
/// How long a process that is alone collects claims. 1 s: most of a storm of wakes goes together.
/// With others beside it, a process claims immediately.
const CLAIM_AFTER: Duration = Duration::from_secs(1);
/// Claims that are kept while the store does not accept them. 10,000; later ones are given up.
const KEPT_MAX: usize = 10_000;

/// The states that seals of this process have left, and the reserved generations that have begun.
pub struct Reservations {
    left: Mutex<Recent<Left>>,
    /// Begun generations that are not claimed in the store yet.
    begun: Mutex<Vec<Fence>>,
    news: Notify,
}

/// The state that the newest seal of an actor has left.
enum Left {
    /// No start has taken the state.
    Waits(Box<ActorState>),
    /// A generation has begun from the state. The fence that the state named.
    Taken(Fence),
}

/// An actor, as its next generation finds it.
pub enum Known {
    /// As a seal of this process has left it.
    Left(Box<ActorState>),
    /// As the store has it.
    Stored(Box<ActorState>),
}

impl Known {
    /// The state itself.
    #[must_use]
    pub fn state(&self) -> &ActorState {
        match self {
            Self::Left(state) | Self::Stored(state) => state,
        }
    }

    /// Whether the store may have a newer state.
    #[must_use]
    pub fn is_left(&self) -> bool {
        matches!(self, Self::Left(_))
    }
}

impl Default for Reservations {
    fn default() -> Self {
        Self {
            left: Mutex::new(Recent::new(ACTORS_MAX)),
            begun: Mutex::default(),
            news: Notify::new(),
        }
    }
}

impl Reservations {
    /// Keeps the state that a seal has left.
    pub fn keep(&self, left: Box<ActorState>) {
        let actor = left.row.actor.clone();
        self.left.lock().put(&actor, Left::Waits(left));
    }

    /// Takes the state of the newest generation that was sealed here. Returns `None` if there is
    /// none or it was taken.
    #[must_use]
    pub fn take(&self, actor: &ActorId) -> Option<Known> {
        let mut all = self.left.lock();
        let left = all.get_mut(actor)?;
        let Left::Waits(state) = left else { return None };
        let fence = state.head.fence;
        match std::mem::replace(left, Left::Taken(fence)) {
            Left::Waits(state) => Some(Known::Left(state)),
            Left::Taken(_) => None,
        }
    }

    /// Whether a start here would begin from what a seal here has left, without a look at the store.
    #[must_use]
    pub fn has(&self, actor: &ActorId) -> bool {
        matches!(self.left.lock().get(actor), Some(Left::Waits(_)))
    }

    /// Wins the next generation: begins it if it was reserved for this process and for `component`,
    /// else takes the actor over.
    ///
    /// # Errors
    /// As [`Depot::inherit`] and [`Depot::take_over`].
    pub async fn begin(
        &self,
        depot: &Arc<Depot>,
        known: Known,
        component: Digest,
        end: PreviousEnd,
    ) -> Result<Opened, OpenError> {
        let opened = match known {
            Known::Left(state) if state.head.is_heir() && state.row.component == component => {
                depot.inherit(*state).await
            }
            Known::Left(state) | Known::Stored(state) => {
                depot.take_over(&state, component, end).await
            }
        }?;
        if opened.head.is_heir() {
            self.to_be_claimed(opened.head.fence);
        }
        Ok(opened)
    }

    /// Whether the head names a generation that has not begun, as far as this process knows: what
    /// ended is the generation before it.
    #[must_use]
    pub fn is_waiting(&self, actor: &ActorId, head: &Head) -> bool {
        head.is_heir() && !self.has_begun(actor, &head.fence)
    }

    /// Whether a reserved generation has begun here: its predecessor's state was taken, or a later
    /// generation was sealed.
    fn has_begun(&self, actor: &ActorId, reserved: &Fence) -> bool {
        let (fence, is_over) = match self.left.lock().get(actor) {
            None => return false,
            Some(Left::Taken(fence)) => (*fence, true),
            Some(Left::Waits(state)) => (state.head.fence, state.head.sealed),
        };
        fence.db == reserved.db && (fence.generation, is_over) > (reserved.generation, false)
    }

    fn to_be_claimed(&self, reserved: Fence) {
        let mut begun = self.begun.lock();
        begun.push(reserved);
        if begun.len() == 1 {
            self.news.notify_one();
        }
    }

    /// Claims in the store the reserved generations that this process runs. Never returns; dropped
    /// at the end.
    pub async fn claim(&self, depot: &Depot, nodes: &Nodes) {
        loop {
            self.news.notified().await;
            if nodes.is_alone() {
                tokio::time::sleep(CLAIM_AFTER).await;
            }
            let begun = std::mem::take(&mut *self.begun.lock());
            match depot.claim(&begun).await {
                Ok(()) => {}
                Err(
                    error @ (StoreError::Unavailable(_)
                    | StoreError::Elsewhere { .. }
                    | StoreError::Unknown(_)),
                ) => {
                    tracing::warn!(%error, "cannot claim woken actors; trying again");
                    self.again(begun);
                    tokio::time::sleep(CLAIM_AFTER).await;
                }
                Err(error) => tracing::warn!(%error, "some woken actors are not claimed"),
            }
        }
    }

    fn again(&self, untold: Vec<Fence>) {
        let mut begun = self.begun.lock();
        begun.extend(untold);
        begun.truncate(KEPT_MAX);
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use stockade_depot::chain::Start;
    use stockade_depot::store::{ActorRow, Wanted};
    use stockade_depot::{DbId, Generation, NameHash, NodeSession, Origin, PageCount, Token, Txid};

    use super::*;

    fn actor() -> ActorId {
        ActorId::new("kind", "key").expect("a name")
    }

    /// The actor with generation `generation` reserved for the holder of the token.
    fn asleep(generation: u64) -> Box<ActorState> {
        let db = DbId([1; 16]);
        let row = ActorRow {
            actor: actor(),
            db,
            component: Digest([2; 32]),
            wanted: Wanted::Present,
            restarts: 0,
        };
        let head = Head {
            fence: Fence { db, generation: Generation(generation), token: Token([3; 16]) },
            owner: NodeSession::NOBODY,
            txid: Txid(1),
            page_count: PageCount(1),
            chain: [4; 32],
            sealed: false,
            origin: Origin::Native,
            floor: Txid(0),
            base: None,
            name: NameHash([0; 16]),
            start: Start::Name,
            due_work: false,
        };
        Box::new(ActorState { row, head, handed_over: None })
    }

    /// After a generation has begun from a state, a later caller gets nothing, even if the end of
    /// that generation was never recorded.
    #[test]
    fn what_a_life_left_is_given_away_once() {
        let reservations = Reservations::default();
        reservations.keep(asleep(2));
        assert!(reservations.take(&actor()).is_some_and(|known| known.state().head.is_heir()));
        assert!(reservations.take(&actor()).is_none());
        reservations.keep(asleep(3));
        assert!(reservations.take(&actor()).is_some());
    }

    #[test]
    fn a_reserved_generation_waits_until_a_life_has_begun_from_it() {
        let (reservations, head) = (Reservations::default(), asleep(2).head);
        assert!(reservations.is_waiting(&actor(), &head), "another process has sealed it");
        reservations.keep(asleep(2));
        assert!(reservations.is_waiting(&actor(), &head));
        drop(reservations.take(&actor()));
        assert!(!reservations.is_waiting(&actor(), &head));
        reservations.keep(asleep(3));
        assert!(!reservations.is_waiting(&actor(), &head), "it is over");
        assert!(reservations.is_waiting(&actor(), &asleep(3).head));
        let sealed = Head { sealed: true, ..head };
        assert!(!reservations.is_waiting(&actor(), &sealed), "nothing is reserved");
    }
}
