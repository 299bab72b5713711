//! The table of slots, and whether requests are taken. Every actor that is awake, starting or
//! ending has a slot.
//!
//! Invariant: a slot leaves the table only while its queue is empty, and a message to a slot of the
//! table is sent under the table's lock.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use stockade_depot::{ActorId, DbId, Generation, Reason, StoreError, StoreFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::admission::{Awake, Place};
use super::handle::SlotHandle;
use super::mailbox::Mailbox;
use super::request::{Control, Ending};
use crate::error::HostError;
use crate::supervision::Shared;

/// How long aborted slots may take to stop. 5 s: they stop at their next tick or instruction of
/// SQLite.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);

/// The slots of a host.
pub struct Slots {
    shared: Arc<Shared>,
    awake: Awake,
    table: Mutex<Table>,
}

/// Whether a process runs a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Runs,
    /// It runs this one of the actor.
    Another(DbId, Generation),
    /// It begins or ends one of the actor. That may be this one.
    Busy,
    /// It runs none of the actor, and is not about to.
    Not,
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
    /// The error for requests that come now.
    fn refusal(&self) -> Option<HostError> {
        match self {
            Self::Open => None,
            Self::Closed => Some(HostError::ShuttingDown),
            Self::Failed(failure) => Some(HostError::Store(StoreError::Failed(failure.clone()))),
        }
    }
}

impl Slots {
    /// An empty table.
    #[must_use]
    pub fn new(shared: Arc<Shared>, awake: Awake) -> Self {
        let table = Table { slots: HashMap::new(), tasks: JoinSet::new(), intake: Intake::Open };
        Self { shared, awake, table: Mutex::new(table) }
    }

    /// The parts that every slot works with.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The number of actors that may be awake, and the memory that they share.
    #[must_use]
    pub fn awake(&self) -> &Awake {
        &self.awake
    }

    /// Lets an actor wake; the least recently used idle one makes room.
    ///
    /// # Errors
    /// As [`Awake::admit`].
    pub async fn admit(&self) -> Result<Place, HostError> {
        self.awake.admit(|| self.evict_oldest()).await
    }

    /// Sends a message to the slot of an actor; to a new one, with its task, if there is none.
    ///
    /// # Errors
    /// `ShuttingDown` or `Store` if requests are no longer taken; those of `send`.
    pub(super) fn send_to(
        &self,
        actor: &ActorId,
        make: impl FnOnce() -> (Arc<SlotHandle>, BoxFuture<'static, ()>),
        send: impl FnOnce(&SlotHandle) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let mut table = self.table.lock();
        if let Some(refusal) = table.intake.refusal() {
            return Err(refusal);
        }
        let slot = match table.slots.get(actor) {
            Some(slot) if !slot.requests.is_closed() => Arc::clone(slot),
            // There is none, or its task has panicked: its generation is a ghost that is taken
            // over.
            _ => {
                let (slot, task) = make();
                table.tasks.spawn_on(task, &self.shared.ground.runtime);
                table.slots.insert(actor.clone(), Arc::clone(&slot));
                slot
            }
        };
        send(&slot)
    }

    /// Takes no more requests from now on.
    pub fn close_intake(&self) {
        let intake = &mut self.table.lock().intake;
        if let Intake::Open = intake {
            *intake = Intake::Closed;
        }
    }

    /// Ends every generation fatally, those that start included, and takes no more requests: the
    /// store under the host has failed.
    pub fn fail(&self, failure: &StoreFailure) {
        let slots: Vec<Arc<SlotHandle>> = {
            let mut table = self.table.lock();
            table.intake = Intake::Failed(failure.clone());
            table.slots.values().cloned().collect()
        };
        // After the intake is closed: a generation that is not seen here finds the intake closed.
        for slot in slots {
            slot.fail(failure);
        }
    }

    /// Gives up the slots that are left: their handles are revoked, their tasks aborted and joined.
    /// Returns how many those were.
    pub(super) async fn give_up(&self) -> usize {
        let unfinished = {
            let mut table = self.table.lock();
            // The handles first: SQL that runs gives its thread back only when it is interrupted.
            for slot in table.slots.values() {
                slot.revoke(Reason::Shutdown);
            }
            table.slots.clear();
            // Slots that have ended in the meantime are not given up.
            while table.tasks.try_join_next().is_some() {}
            table.tasks.abort_all();
            table.tasks.len()
        };
        if tokio::time::timeout(ABORTED_WITHIN, self.joined()).await.is_err() {
            tracing::error!("a generation does not end although it was aborted");
        }
        unfinished
    }

    /// Forgets the slots: all have ended.
    pub(super) fn clear(&self) {
        self.table.lock().slots.clear();
    }

    /// Resolves when no slot is left. The tasks stay in the table: a caller that gives up waiting
    /// must not abort them.
    pub(super) async fn joined(&self) {
        let next = || poll_fn(|context| self.table.lock().tasks.poll_join_next(context));
        while next().await.is_some() {}
    }

    /// Why requests are no longer taken; `None`: they are taken.
    #[must_use]
    pub fn refusal(&self) -> Option<HostError> {
        self.table.lock().intake.refusal()
    }

    /// The slot of an actor, if it has one.
    #[must_use]
    pub fn slot(&self, actor: &ActorId) -> Option<Arc<SlotHandle>> {
        self.table.lock().slots.get(actor).cloned()
    }

    /// Whether this generation of an actor runs here.
    #[must_use]
    pub fn standing(&self, actor: &ActorId, db: DbId, generation: Generation) -> Standing {
        let Some(slot) = self.slot(actor) else { return Standing::Not };
        match slot.fence() {
            Some(fence) if (fence.db, fence.generation) == (db, generation) => Standing::Runs,
            Some(fence) => Standing::Another(fence.db, fence.generation),
            None => Standing::Busy,
        }
    }

    /// Actors that have a slot here.
    pub fn awake_actors(&self, wanted: impl Fn(&ActorId) -> bool) -> Vec<ActorId> {
        let table = self.table.lock();
        let mut actors: Vec<ActorId> = table.slots.keys().filter(|a| wanted(a)).cloned().collect();
        // In an order that is the same in every run.
        actors.sort_unstable();
        actors
    }

    /// Actors that are idle here, those that have been for longest first; so many at most.
    pub(super) fn coldest(&self, count: usize) -> Vec<ActorId> {
        let table = self.table.lock();
        let idle = table.slots.iter();
        let idle = idle.filter_map(|(actor, slot)| Some((slot.idle_since()?, actor)));
        let mut idle: Vec<_> = idle.collect();
        idle.sort_unstable();
        idle.into_iter().take(count).map(|(_, actor)| actor.clone()).collect()
    }

    /// Asks the least recently used idle actor to sleep, to make room for another. Returns whether
    /// it did.
    async fn evict_oldest(&self) -> bool {
        self.evict(|slot| slot.idle_since().map(Reverse)).await
    }

    /// The same with the idle actor that holds the most memory, and at least so many bytes.
    pub(crate) async fn evict_largest(&self, bytes_min: u64) -> bool {
        self.evict(|slot| slot.idle_bytes().filter(|bytes| *bytes >= bytes_min)).await
    }

    /// Asks the actor of the highest rank to sleep.
    async fn evict<R: Ord>(&self, rank: impl Fn(&SlotHandle) -> Option<R>) -> bool {
        let chosen = {
            let table = self.table.lock();
            let idle = table.slots.values().filter_map(|slot| Some((rank(slot)?, slot)));
            let chosen = idle.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, slot)| Arc::clone(slot));
            // Under the lock, so that the next caller finds another one.
            chosen.inspect(|slot| slot.choose())
        };
        let Some(slot) = chosen else { return false };
        let (done, ended) = oneshot::channel();
        let asked = slot.control.try_send(Control::End { ending: Ending::Sleep, done });
        asked.is_ok() && matches!(ended.await, Ok(Some(_)))
    }

    /// Removes a slot that has no generation, unless a request waits. Called by the slot itself.
    pub(super) fn leave(
        &self,
        actor: &ActorId,
        queue: &Mailbox,
        orders: &mpsc::Receiver<Control>,
    ) -> bool {
        let mut table = self.table.lock();
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
}
