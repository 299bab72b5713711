//! Actor -> its live generation. Holds what arrives while a generation starts or ends.
//!
//! Every actor that is awake, starting or ending has one *slot*: a task that owns the actor's
//! generations one after the other, and a bounded queue in front of it. A sleeping actor has none.
//!
//! ```text
//!  dispatch ──> slot of the actor (made if missing) ──> queue ──> task: start, call, gate, end
//!  stop, destroy, upgrade, shutdown ──> control ────────────────^
//! ```

pub mod awake;
pub mod crashes;
pub mod damaged;
pub mod exits;
pub mod ground;
pub mod kinds;
pub mod nodes;
pub mod ownership;
pub mod quotas;
mod recent;
pub mod request;
pub mod reservations;
pub mod slot;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::ActorState;
use stockade_depot::{ActorId, Depot, Head, Reason, StoreError, StoreFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::actor::exit::Exit;
use crate::actor::trace::Observer;
use crate::capability::Rate;
use crate::cpu::Turns;
use crate::error::HostError;
use crate::fault::FaultingStore;
use crate::limits::Limits;
use crate::sqlite::Spares;
use awake::Awake;
use crashes::Crashes;
use damaged::Damaged;
use exits::Exits;
use ground::Ground;
use kinds::Kinds;
use nodes::Nodes;
use quotas::Quotas;
use request::{Control, Ending, Request};
use reservations::Reservations;
use slot::{Slot, SlotHandle};

/// Control messages that may wait for one actor.
const CONTROL_MAX: usize = 64;

/// How long aborted slots may take to let go. 5 s: they stop at their next tick or instruction of
/// SQLite.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);

fn queue_max(limits: &Limits) -> usize {
    usize::try_from(limits.mailbox_calls_max).unwrap_or(usize::MAX).max(1)
}

/// What every slot works with.
pub struct Shared {
    /// The authority over databases.
    pub depot: Arc<Depot>,
    /// Deployed kinds.
    pub kinds: Kinds,
    /// What the actors of each may have together.
    pub quotas: Quotas,
    /// Processes that share the store.
    pub nodes: Nodes,
    /// How former generations ended.
    pub exits: Exits,
    /// What those that were sealed have left, and the next generations that they have reserved.
    pub reservations: Reservations,
    /// Which of them were crashes, and what follows from that.
    pub crashes: Crashes,
    /// Actors that cannot be read.
    pub damaged: Damaged,
    /// Who watches endings.
    pub observer: Option<Arc<dyn Observer>>,
    /// Bounds how many actors are awake.
    pub awake: Awake,
    /// Connections of SQLite that the next wakes find open.
    pub spares: Arc<Spares>,
    /// What all guests may log in a second.
    pub log_rate: Arc<Rate>,
    /// Turns of long calls.
    pub turns: Turns,
    /// Where scratch files go.
    pub scratch_dir: std::path::PathBuf,
    /// Where guests run.
    pub ground: Ground,
    /// Faults on purpose; only on a host that allows them.
    pub faulting: Option<Arc<FaultingStore>>,
}

impl Shared {
    /// Whether the life before the next one ended in order, as far as the head and this process know.
    /// A reserved generation that is not claimed may never have begun.
    #[must_use]
    pub fn ended_in_order(&self, state: &ActorState) -> bool {
        let ActorState { row, head, .. } = state;
        head.sealed || (head.is_heir() && !self.exits.has_ended(&row.actor, &head.fence))
    }

    /// Looks after the process that runs this head, if one does, before it may be taken for dead.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn meet_owner(&self, head: &Head) -> Result<(), StoreError> {
        if head.is_free() { Ok(()) } else { self.nodes.meet(head.owner).await }
    }

    /// Whether no process but this one can run the head's generation.
    #[must_use]
    pub fn is_ours_or_nobodys(&self, head: &Head) -> bool {
        head.owner == self.depot.node() || head.is_heir()
    }

    /// The address of another live process that owns this head, if one does.
    #[must_use]
    pub fn elsewhere(&self, head: &Head) -> Option<String> {
        if head.is_free() || head.owner == self.depot.node() {
            return None;
        }
        self.nodes.address_if_alive(head.owner)
    }
}

/// Finds and makes slots. Cloning shares it.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    table: Mutex<Table>,
}

struct Table {
    slots: HashMap<ActorId, Arc<SlotHandle>>,
    tasks: JoinSet<()>,
    intake: Intake,
}

/// Whether requests are taken.
enum Intake {
    Open,
    /// The host shuts down.
    Closed,
    /// The store under the host has failed.
    Failed(StoreFailure),
}

impl Intake {
    /// What those hear who come now.
    fn refusal(&self) -> Option<HostError> {
        match self {
            Self::Open => None,
            Self::Closed => Some(HostError::ShuttingDown),
            Self::Failed(failure) => Some(HostError::Store(StoreError::Failed(failure.clone()))),
        }
    }
}

impl Router {
    /// A router without slots.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let table = Table { slots: HashMap::new(), tasks: JoinSet::new(), intake: Intake::Open };
        Self { inner: Arc::new(Inner { shared, table: Mutex::new(table) }) }
    }

    /// What every slot works with.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Puts a request into the queue of its actor's slot; makes the slot if there is none.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full, `ShuttingDown` after `close`, `Store` after `fail`. The
    /// request's caller is *not* answered then.
    pub fn dispatch(&self, limits: &Limits, request: Request) -> Result<(), HostError> {
        let queue_max = queue_max(limits);
        let mut table = self.inner.table.lock();
        let slot = self.slot_for(&mut table, &request.actor, queue_max)?;
        // Sent under the lock: a slot leaves the table only while its queue is empty.
        slot.requests.try_send(Box::new(request)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => HostError::Overloaded {
                what: "queued calls",
                // Of the queue as it was made, whatever was deployed since.
                max: slot.requests.max_capacity() as u64,
            },
            mpsc::error::TrySendError::Closed(_) => HostError::ShuttingDown,
        })
    }

    /// Forgets the crashes of an actor, so that its next call starts it at once.
    ///
    /// # Errors
    /// `Overloaded` if too many orders wait already, `ShuttingDown`, `ActorMissing`, those of the
    /// store.
    pub async fn forgive(&self, limits: &Limits, actor: &ActorId) -> Result<(), HostError> {
        let (done, forgiven) = oneshot::channel();
        {
            let mut table = self.inner.table.lock();
            let slot = self.slot_for(&mut table, actor, queue_max(limits))?;
            // Sent under the lock, as a request.
            slot.control.try_send(Control::Forgive { done }).map_err(|_| {
                HostError::Overloaded { what: "waiting endings", max: CONTROL_MAX as u64 }
            })?;
        }
        forgiven.await.unwrap_or(Err(HostError::ShuttingDown))
    }

    /// Ends the live generation of an actor. `None`: it was not awake here.
    ///
    /// # Errors
    /// `Overloaded` if too many endings wait already.
    pub async fn end(&self, actor: &ActorId, ending: Ending) -> Result<Option<Exit>, HostError> {
        let Some(slot) = self.slot(actor) else { return Ok(None) };
        let (done, ended) = oneshot::channel();
        match slot.control.try_send(Control::End { ending, done }) {
            Ok(()) => {
                // After it was sent: a call that begins now is not the last one.
                slot.hurry(ending.grace());
                Ok(ended.await.unwrap_or(None))
            }
            // A slot that left meanwhile had no generation.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(None),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(HostError::Overloaded { what: "waiting endings", max: CONTROL_MAX as u64 })
            }
        }
    }

    /// Makes the live generation's instance die, as by a trap: a call in progress, too. `None`: it
    /// was not awake here.
    ///
    /// # Errors
    /// `Overloaded` if too many endings wait already.
    pub async fn crash(&self, actor: &ActorId) -> Result<Option<Exit>, HostError> {
        let Some(slot) = self.slot(actor) else { return Ok(None) };
        let Some(fence) = slot.fence() else { return Ok(None) };
        let (done, ended) = oneshot::channel();
        match slot.control.try_send(Control::Crash { fence, done }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(None),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let max = CONTROL_MAX as u64;
                return Err(HostError::Overloaded { what: "waiting endings", max });
            }
        }
        Ok(ended.await.unwrap_or(None))
    }

    /// Ends every live generation of a kind, several at a time; returns how many ended.
    pub async fn end_kind(&self, kind: &str, ending: Ending) -> usize {
        let actors = self.awake_actors(|actor| actor.kind() == kind);
        self.end_all(actors, ending).await
    }

    /// Takes nothing more from now on.
    pub fn close_intake(&self) {
        let intake = &mut self.inner.table.lock().intake;
        if let Intake::Open = intake {
            *intake = Intake::Closed;
        }
    }

    /// Ends every life fatally, those that start included, and takes nothing more: the store under
    /// the host has failed.
    pub fn fail(&self, failure: &StoreFailure) {
        let slots: Vec<Arc<SlotHandle>> = {
            let mut table = self.inner.table.lock();
            table.intake = Intake::Failed(failure.clone());
            table.slots.values().cloned().collect()
        };
        // After the intake: a life that is not seen here finds it closed.
        for slot in slots {
            slot.fail(failure);
        }
    }

    /// Ends every generation in order, several at a time, and joins every slot. Those that have not
    /// ended at the deadline are given up: their handles are revoked and their tasks aborted and
    /// joined, their heads stay unsealed. Returns how many those were.
    pub async fn close(&self, deadline: Duration) -> usize {
        self.close_intake();
        let work = async {
            self.end_all(self.awake_actors(|_| true), Ending::Shutdown).await;
            self.joined().await;
        };
        if tokio::time::timeout(deadline, work).await.is_ok() {
            self.inner.table.lock().slots.clear();
            return 0;
        }
        let unfinished = {
            let mut table = self.inner.table.lock();
            // First their handles: SQL that runs gives its thread back only when it is interrupted.
            for slot in table.slots.values() {
                slot.revoke(Reason::Shutdown);
            }
            table.slots.clear();
            // Those that have ended meanwhile are not given up.
            while table.tasks.try_join_next().is_some() {}
            table.tasks.abort_all();
            table.tasks.len()
        };
        if tokio::time::timeout(ABORTED_WITHIN, self.joined()).await.is_err() {
            tracing::error!("a generation does not end although it was aborted");
        }
        unfinished
    }

    /// Resolves when no slot is left. The tasks stay in the table: who gives up here must not abort
    /// them.
    async fn joined(&self) {
        let next = || poll_fn(|context| self.inner.table.lock().tasks.poll_join_next(context));
        while next().await.is_some() {}
    }

    /// Why requests are not taken any more; `None`: they are.
    #[must_use]
    pub fn refusal(&self) -> Option<HostError> {
        self.inner.table.lock().intake.refusal()
    }

    /// The slot of an actor, if it has one.
    #[must_use]
    pub fn slot(&self, actor: &ActorId) -> Option<Arc<SlotHandle>> {
        self.inner.table.lock().slots.get(actor).cloned()
    }

    /// Actors that have a slot here.
    pub fn awake_actors(&self, wanted: impl Fn(&ActorId) -> bool) -> Vec<ActorId> {
        let table = self.inner.table.lock();
        let mut actors: Vec<ActorId> = table.slots.keys().filter(|a| wanted(a)).cloned().collect();
        // In an order that the next run has as well.
        actors.sort_unstable();
        actors
    }

    /// Asks the least recently used idle actor to sleep, to make room for another. Whether it did.
    pub(crate) async fn evict_oldest(&self) -> bool {
        self.evict(|slot| slot.idle_since().map(Reverse)).await
    }

    /// The same with the idle actor that holds the most memory, and at least so many bytes.
    pub(crate) async fn evict_largest(&self, bytes_min: u64) -> bool {
        self.evict(|slot| slot.idle_bytes().filter(|bytes| *bytes >= bytes_min)).await
    }

    /// Asks the actor of the highest rank to sleep.
    async fn evict<R: Ord>(&self, rank: impl Fn(&SlotHandle) -> Option<R>) -> bool {
        let chosen = {
            let table = self.inner.table.lock();
            let idle = table.slots.values().filter_map(|slot| Some((rank(slot)?, slot)));
            let chosen = idle.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, slot)| Arc::clone(slot));
            // Under the lock, so that the next who asks finds another one.
            chosen.inspect(|slot| slot.choose())
        };
        let Some(slot) = chosen else { return false };
        let (done, ended) = oneshot::channel();
        let asked = slot.control.try_send(Control::End { ending: Ending::Sleep, done });
        asked.is_ok() && matches!(ended.await, Ok(Some(_)))
    }

    /// Called by a slot that has no generation and would leave: removed only if nothing waits.
    pub(crate) fn leave(
        &self,
        actor: &ActorId,
        queue: &mpsc::Receiver<Box<Request>>,
        orders: &mpsc::Receiver<Control>,
    ) -> bool {
        let mut table = self.inner.table.lock();
        if !queue.is_empty() || !orders.is_empty() {
            return false;
        }
        table.slots.remove(actor);
        while let Some(ended) = table.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a slot's task failed");
            }
        }
        true
    }

    /// The slot of an actor; a new one if it has none.
    fn slot_for(
        &self,
        table: &mut Table,
        actor: &ActorId,
        queue_max: usize,
    ) -> Result<Arc<SlotHandle>, HostError> {
        if let Some(refusal) = table.intake.refusal() {
            return Err(refusal);
        }
        Ok(match table.slots.get(actor) {
            Some(slot) if !slot.requests.is_closed() => Arc::clone(slot),
            // None, or its task has panicked: its generation is a ghost that is taken over.
            _ => self.add_slot(table, actor.clone(), queue_max),
        })
    }

    fn add_slot(&self, table: &mut Table, actor: ActorId, queue_max: usize) -> Arc<SlotHandle> {
        let (requests, queue) = mpsc::channel(queue_max);
        let (control, endings) = mpsc::channel(CONTROL_MAX);
        let handle = Arc::new(SlotHandle::new(requests, control));
        let slot = Slot::new(self.clone(), actor.clone(), Arc::clone(&handle), queue, endings);
        let ground = &self.inner.shared.ground;
        table.tasks.spawn_on(ground.place(slot.run()), &ground.runtime);
        table.slots.insert(actor, Arc::clone(&handle));
        handle
    }

    async fn end_all(&self, actors: Vec<ActorId>, ending: Ending) -> usize {
        // Bounded: each ending costs a sync, and a guest's hook may use a core.
        const AT_ONCE: usize = 64;
        let mut ended = 0;
        let mut running = JoinSet::new();
        let mut waiting = actors.into_iter();
        loop {
            while running.len() < AT_ONCE {
                let Some(actor) = waiting.next() else { break };
                let router = self.clone();
                running.spawn(async move { router.end(&actor, ending).await });
            }
            match running.join_next().await {
                Some(Ok(Ok(Some(_)))) => ended += 1,
                Some(_) => {}
                None => return ended,
            }
        }
    }
}
