//! Routes requests to the live generation of their actor. Holds requests while a generation starts
//! or ends.
//!
//! Every actor that is awake, starting or ending has one *slot*: a task that owns the actor's
//! generations one after the other, and a bounded queue in front of the task (`mailbox.rs`). A
//! sleeping actor has none.
//!
//! ```text
//!  dispatch ──> slot of the actor (made if missing) ──> queue ──> task: start, call, gate, end
//!  stop, destroy, upgrade, shutdown ──> control ────────────────^
//! ```

pub mod admission;
mod alarms;
mod calling;
mod due;
pub mod handle;
mod inbox;
mod mailbox;
mod outbox;
pub mod request;
mod slot;
pub mod slots;
mod waking;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use stockade_depot::ActorId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::actor::exit::Exit;
use crate::error::HostError;
use crate::limits::{DRAINED_AT_ONCE, Limits};
use crate::supervision::Shared;
use admission::Awake;
use handle::SlotHandle;
use mailbox::mailbox;
use request::{Control, Ending, Request};
use slot::Slot;
use slots::Slots;

/// Control messages that may wait for one actor.
const CONTROL_MAX: usize = 64;

/// Finds and makes slots. Cloning shares it.
#[derive(Clone)]
pub struct Router {
    slots: Arc<Slots>,
}

/// Requests that concern all slots go to the table.
impl Deref for Router {
    type Target = Slots;

    fn deref(&self) -> &Slots {
        &self.slots
    }
}

impl Router {
    /// A router without slots.
    #[must_use]
    pub fn new(shared: Arc<Shared>, awake: Awake) -> Self {
        Self { slots: Arc::new(Slots::new(shared, awake)) }
    }

    /// Puts a request into the queue of its actor's slot; makes the slot if there is none.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full, `ShuttingDown` after `close`, `Store` after `fail`. The
    /// request's caller is *not* answered then.
    pub fn dispatch(
        &self,
        limits: &Limits,
        actor: &ActorId,
        request: Request,
    ) -> Result<(), HostError> {
        let make = || self.new_slot(actor, limits);
        self.slots.send_to(actor, make, |slot| slot.requests.put(request))
    }

    /// Forgets the crashes of an actor, so that its next call starts it immediately.
    ///
    /// # Errors
    /// `Overloaded` if too many orders wait already, `ShuttingDown`, `ActorMissing`, those of the
    /// store.
    pub async fn forgive(&self, limits: &Limits, actor: &ActorId) -> Result<(), HostError> {
        let (done, forgiven) = oneshot::channel();
        let make = || self.new_slot(actor, limits);
        self.slots.send_to(actor, make, |slot| order(slot, Control::Forgive { done }).map(drop))?;
        forgiven.await.unwrap_or(Err(HostError::ShuttingDown))
    }

    /// Ends the live generation of an actor. `None`: the actor was not awake here.
    ///
    /// # Errors
    /// `Overloaded` if too many endings wait already.
    pub async fn end(&self, actor: &ActorId, ending: Ending) -> Result<Option<Exit>, HostError> {
        let Some(slot) = self.slot(actor) else { return Ok(None) };
        let (done, ended) = oneshot::channel();
        if !order(&slot, Control::End { ending, done })? {
            return Ok(None);
        }
        // After the order was sent: a call that begins now is not the last one.
        slot.hurry(ending.grace());
        Ok(ended.await.unwrap_or(None))
    }

    /// Makes the live generation's instance die, as by a trap, even during a call. `None`: the
    /// actor was not awake here.
    ///
    /// # Errors
    /// `Overloaded` if too many endings wait already.
    pub async fn crash(&self, actor: &ActorId) -> Result<Option<Exit>, HostError> {
        let Some(slot) = self.slot(actor) else { return Ok(None) };
        let Some(fence) = slot.fence() else { return Ok(None) };
        let (done, ended) = oneshot::channel();
        if !order(&slot, Control::Crash { fence, done })? {
            return Ok(None);
        }
        Ok(ended.await.unwrap_or(None))
    }

    /// Ends every live generation of a kind, several at a time. Returns how many ended.
    pub async fn end_kind(&self, kind: &str, ending: Ending) -> usize {
        let actors = self.awake_actors(|actor| actor.kind() == kind);
        self.end_all(actors, ending).await
    }

    /// Ends every generation in order, several at a time, and joins every slot. Generations that
    /// have not ended at the deadline are given up: their handles are revoked, their tasks aborted
    /// and joined, and their heads stay unsealed. Returns how many were given up.
    pub async fn close(&self, deadline: Duration) -> usize {
        self.close_intake();
        let work = async {
            self.end_all(self.awake_actors(|_| true), Ending::Shutdown).await;
            self.slots.joined().await;
        };
        if tokio::time::timeout(deadline, work).await.is_err() {
            return self.slots.give_up().await;
        }
        self.slots.clear();
        0
    }

    /// Ends every live generation for a drain, a few at a time, in the order of their names. Returns
    /// how many ended.
    pub async fn give_away(&self) -> usize {
        self.end_some(self.awake_actors(|_| true), Ending::Drain, DRAINED_AT_ONCE).await.len()
    }

    /// Ends so many idle generations at most, those that have been idle for longest, a few at a time.
    /// Returns the actors whose generation ended.
    pub async fn hand_over(&self, count: usize) -> Vec<ActorId> {
        let handed = &self.shared().handed;
        let coldest = self.slots.coldest(count);
        // Before they end: a call that comes then begins elsewhere.
        for actor in &coldest {
            handed.note(actor);
        }
        let ended = self.end_some(coldest.clone(), Ending::HandOver, DRAINED_AT_ONCE).await;
        for actor in coldest.iter().filter(|actor| !ended.contains(actor)) {
            handed.forget(actor);
        }
        ended
    }

    async fn end_all(&self, actors: Vec<ActorId>, ending: Ending) -> usize {
        // Bounded: each ending costs a sync, and a guest's hook may use a core.
        const AT_ONCE: usize = 64;
        self.end_some(actors, ending, AT_ONCE).await.len()
    }

    /// Returns the actors whose generation ended.
    async fn end_some(&self, actors: Vec<ActorId>, ending: Ending, at_once: usize) -> Vec<ActorId> {
        let mut ended = Vec::new();
        let mut running = JoinSet::new();
        let mut waiting = actors.into_iter();
        loop {
            while running.len() < at_once {
                let Some(actor) = waiting.next() else { break };
                let router = self.clone();
                running.spawn(async move { (router.end(&actor, ending).await, actor) });
            }
            match running.join_next().await {
                Some(Ok((Ok(Some(_)), actor))) => ended.push(actor),
                Some(_) => {}
                None => return ended,
            }
        }
    }

    /// A slot without a generation, and its task.
    fn new_slot(
        &self,
        actor: &ActorId,
        limits: &Limits,
    ) -> (Arc<SlotHandle>, BoxFuture<'static, ()>) {
        let (requests, queue) = mailbox(limits);
        let (control, endings) = mpsc::channel(CONTROL_MAX);
        let handle = Arc::new(SlotHandle::new(requests, control));
        let slots = Arc::clone(&self.slots);
        let slot = Slot::new(slots, actor.clone(), Arc::clone(&handle), queue, endings);
        (handle, self.shared().ground.place(slot.run()))
    }
}

/// Sends an order to a slot. `false`: the slot has left, so it had no generation.
///
/// # Errors
/// `Overloaded` if too many orders wait already.
fn order(slot: &SlotHandle, control: Control) -> Result<bool, HostError> {
    match slot.control.try_send(control) {
        Ok(()) => Ok(true),
        Err(mpsc::error::TrySendError::Closed(_)) => Ok(false),
        Err(mpsc::error::TrySendError::Full(_)) => {
            let max = CONTROL_MAX as u64;
            Err(HostError::Overloaded { what: "waiting endings", max })
        }
    }
}
