//! Bounds how many actors are awake: each costs memory maps, and at the machine's limit the whole
//! process would abort.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Router;
use crate::error::HostError;

/// How long a start waits for the actor that it displaces to fall asleep.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// How often an idle actor is looked for while all are busy.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Admits actors up to a number.
pub struct Awake {
    permits: Arc<Semaphore>,
    max: usize,
}

impl Awake {
    /// At most `max` actors awake.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max }
    }

    /// Actors awake now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.max - self.permits.available_permits().min(self.max)
    }

    /// Lets an actor wake. Held as long as it is awake.
    ///
    /// # Errors
    /// `Overloaded` if all places are taken and no idle actor made room.
    pub async fn admit(&self, router: &Router) -> Result<OwnedSemaphorePermit, HostError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let making_room = async {
            while !router.evict_one().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // One for each start: whoever waits in front takes the place, and makes one as well.
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
