//! Bounds how many actors are awake: each costs memory and memory maps, and at the machine's limit
//! of either the whole process would end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::NodeLoad;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::HostError;
use crate::memory::{ACTOR_BYTES, GuestMemory, Part};

/// How long a start waits for the actor that it displaces to fall asleep.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// How often an idle actor is sought while all are busy.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Admits actors up to a number, as far as there is memory.
pub struct Awake {
    permits: Arc<Semaphore>,
    max: usize,
    memory: Arc<GuestMemory>,
}

/// The place of one actor. Held as long as the actor is awake.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    memory: Part,
}

impl Place {
    /// The actor's part of the memory of all guests.
    #[must_use]
    pub fn memory(&self) -> &Part {
        &self.memory
    }
}

impl Awake {
    /// Admits at most `max` actors, which share `memory`.
    #[must_use]
    pub fn new(max: usize, memory: Arc<GuestMemory>) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, memory }
    }

    /// The memory that the actors share.
    #[must_use]
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// Actors awake now.
    #[must_use]
    pub fn count(&self) -> usize {
        taken(&self.permits, self.max)
    }

    /// What measures how many are awake and the memory that they have, without keeping a router.
    pub fn measure(&self) -> impl Fn() -> NodeLoad + Send + Sync + use<> {
        let (permits, max, memory) =
            (Arc::clone(&self.permits), self.max, Arc::clone(&self.memory));
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        move || NodeLoad {
            awake: number(taken(&permits, max)),
            awake_max: number(max),
            guest_bytes: memory.pool().used(),
            guest_bytes_max: memory.pool().bytes_max(),
            cpu_permille: 0,
        }
    }

    /// Lets an actor wake. `make_room` asks an idle actor to sleep, and returns whether it did.
    ///
    /// # Errors
    /// `Overloaded` if all places or all memory are taken and no idle actor made room.
    pub async fn admit<M>(&self, make_room: impl Fn() -> M) -> Result<Place, HostError>
    where
        M: Future<Output = bool>,
    {
        let permit = self.permit(make_room).await?;
        let memory = self.memory.part();
        if self.memory.taken(|| memory.share.take(ACTOR_BYTES)).await {
            return Ok(Place { _permit: permit, memory });
        }
        let (what, max) = self.memory.overload();
        Err(HostError::Overloaded { what, max })
    }

    async fn permit<M>(&self, make_room: impl Fn() -> M) -> Result<OwnedSemaphorePermit, HostError>
    where
        M: Future<Output = bool>,
    {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let making_room = async {
            while !make_room().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // One eviction for each start: the first in the queue takes the place, and each start
            // makes one.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            Ok(permit) = Arc::clone(&self.permits).acquire_owned() => Ok(permit),
            never = making_room => match never {},
            () = tokio::time::sleep(ROOM_WITHIN) => {
                Err(HostError::Overloaded { what: "awake actors", max: self.max as u64 })
            }
        }
    }
}

/// How many of `max` permits are given out.
fn taken(permits: &Semaphore, max: usize) -> usize {
    max.saturating_sub(permits.available_permits())
}
